"""Whether every node of a cluster reaches what a sweep shares, and runs the same."""
