"""Samplers and pruners over the ledger: Optuna is known here alone."""
