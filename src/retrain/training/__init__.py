"""Step 5: the drift dataset, and the candidates that are trained on it."""
