"""A trained model as a folder: weights, description, signature, and its predictor."""
