"""`velodrome gc`: what was left behind, and its removal."""
