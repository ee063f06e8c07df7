"""Step 1: what the endpoint was asked and what it answered, and the labels that came later."""
