"""`velodrome confirm`: the best configurations again on fresh seeds."""
