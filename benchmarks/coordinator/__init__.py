"""What the coordinator costs: `python -m benchmarks.coordinator`."""
