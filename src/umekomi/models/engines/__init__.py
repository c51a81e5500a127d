"""How a model is run: ONNX Runtime, OpenVINO, quantized weights, and which of them."""
