"""An operator's commands on a deployed stack: what it does, what it would do next, and how to turn it."""
