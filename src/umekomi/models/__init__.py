"""What recipes make: embedders, scorers, backbones. ``load`` opens a saved folder, a catalogue name or a hub id."""

from umekomi.models.opening import load, load_embedder
from umekomi.models.transformed import TransformedEmbedder

__all__ = ["TransformedEmbedder", "load", "load_embedder"]
