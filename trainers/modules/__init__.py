"""The networks: layers and what they compose to."""
