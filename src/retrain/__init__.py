"""Drift-triggered retraining: the modules are named after the steps of the loop."""
