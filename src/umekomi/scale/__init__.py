"""The same verbs over many machines."""

from umekomi.scale.encoding import encode
from umekomi.scale.indexing import index

__all__ = ["encode", "index"]
