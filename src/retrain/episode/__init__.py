"""Step 4, the control plane: an episode is opened, followed, approved, rolled out and closed. No numpy here."""
