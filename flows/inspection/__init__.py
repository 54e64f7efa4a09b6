"""`velodrome inspect`: rows whose labels are likely wrong."""
