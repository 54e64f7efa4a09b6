"""Sweeps as jobs of a cluster that runs: Ray's job server, spoken to with limits."""
