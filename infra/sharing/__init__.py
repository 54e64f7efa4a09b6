"""Several sweeps on one cluster: how many lanes each may have now."""
