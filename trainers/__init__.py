"""Learning: data, the training loop and the model families. Knows nothing of Ray, Optuna or MLflow."""
