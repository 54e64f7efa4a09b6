"""A sweep from its file to its trials: new, plan, sweep, status and what changes it."""
