"""MLflow as a projection of the ledger: sent from the driver, batched, never waited for by training."""
