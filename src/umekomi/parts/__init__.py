"""Building blocks that recipes share: arrays and tensors in, arrays and tensors out."""
