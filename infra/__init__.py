"""What a sweep runs on: ledger, coordinator, Ray lanes, checkpoints and MLflow."""
