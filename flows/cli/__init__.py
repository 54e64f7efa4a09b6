"""The command line: a thin skin over the functions of the same names."""

from flows.cli.app import main

__all__ = ["main"]
