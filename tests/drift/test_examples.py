"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest

import pytest

from retrain import baseline, capture, drift, ground_truth, monitor, profile, quality, stored, transform
from retrain.report import drift_page, episode_page, words


@pytest.mark.parametrize(
    "module",
    [
        baseline,
        capture,
        drift,
        drift_page,
        episode_page,
        ground_truth,
        monitor,
        profile,
        quality,
        stored,
        transform,
        words,
    ],
    ids=lambda m: m.__name__,
)
def test_of_the_module(module):
    assert doctest.testmod(module).failed == 0
