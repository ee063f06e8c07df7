"""Step 3: the scheduled services that analyse windows, file what they found and publish it."""
