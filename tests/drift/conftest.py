"""Hypothesis without a deadline: a busy machine is not a bug."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None, derandomize=True)
settings.load_profile("unhurried")
