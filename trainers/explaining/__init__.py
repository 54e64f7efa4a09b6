"""Which columns, pixels or words an answer came from."""
