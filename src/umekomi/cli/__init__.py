"""The command line: one thin file a verb, each calling the Python function of the same name."""

from umekomi.cli.main import main

__all__ = ["main"]
