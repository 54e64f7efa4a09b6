"""What a kept model shows of its answers."""
