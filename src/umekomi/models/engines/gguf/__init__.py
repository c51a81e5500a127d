"""GGUF files, in which llama.cpp's models are published: read, checked, run with their weights quantized, written."""
