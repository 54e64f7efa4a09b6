"""One file a kind of source: how its rows are read."""
