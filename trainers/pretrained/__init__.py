"""Weights that others trained: folders, the hub, LoRA."""
