"""What is installed here: families, `doctor`, the MLflow UI."""
