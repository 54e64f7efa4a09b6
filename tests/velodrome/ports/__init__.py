"""Scripts in the shape of well-known examples, and what is changed in them to be swept."""
