"""Answering requests: the protocol, its limits, batching, and which version of a model answers."""
