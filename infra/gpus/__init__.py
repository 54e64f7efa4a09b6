"""Lanes that share a GPU: how many one has room for, by the memory that trials were seen to take."""
