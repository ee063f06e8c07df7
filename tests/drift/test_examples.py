"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest

import pytest

from retrain import baseline, capture, drift, ground_truth, monitor, profile, quality
from retrain.report import page, words


@pytest.mark.parametrize(
    "module", [baseline, capture, drift, ground_truth, monitor, page, profile, quality, words], ids=lambda m: m.__name__
)
def test_of_the_module(module):
    assert doctest.testmod(module).failed == 0
