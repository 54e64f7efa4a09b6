"""Weights that take less room: int8 with scales, bfloat16, and without their smallest."""
