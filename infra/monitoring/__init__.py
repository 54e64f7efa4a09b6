"""What is noticed of the requests that a server answers: drift from training, and a log of predictions."""
