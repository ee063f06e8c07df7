"""Step 2: what a window looks like against its baseline. Pure: documents in, a verdict and its numbers out."""
