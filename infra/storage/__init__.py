"""Checkpoints, sealed folders and the paths they stand at."""
