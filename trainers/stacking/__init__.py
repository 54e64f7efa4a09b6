"""Many trials of one structure trained as one program."""
