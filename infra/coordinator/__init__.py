"""Who trains what next: the coordinator's core and its policies; `shell` is the Ray actor around it."""
