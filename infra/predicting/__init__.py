"""Predictions for whole files: parts that are read, scored, committed one by one, and joined."""
