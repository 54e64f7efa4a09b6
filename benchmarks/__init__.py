"""Programs that measure Velodrome, beside other ways to do the same: `python -m benchmarks.NAME`."""
