"""`velodrome reproduce`: a recorded run again."""
