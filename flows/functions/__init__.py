"""Sweeps given as a Python function or a mapping, instead of a file."""
