"""`velodrome predict` and `velodrome serve`."""
