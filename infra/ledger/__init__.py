"""The durable, ordered record of sweeps: tables, who may write, and what can be read."""
