"""Layers of torch that several recipes share: recurrent ones over sequences of different lengths."""
