"""Step 2b: how good a window's answers were. Pure, as drift is."""
