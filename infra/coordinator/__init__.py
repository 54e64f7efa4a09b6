"""Who trains what next: the coordinator's core, its policies, and the Ray actor around it."""
