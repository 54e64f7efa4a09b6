"""The command that drives a sweep: its Ray, its runs of lanes, and who trains until they are up."""
