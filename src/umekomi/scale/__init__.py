"""The same verbs over many machines."""

from umekomi.scale.encoding import encode

__all__ = ["encode"]
