"""Evidence that adds up over weeks: e-values of a distance, their sum, and how seldom chance reaches the limit."""

import numpy as np
import pytest

from retrain.drift import lasting
from retrain.drift.chance import KINDS, Blocks, as_distance

ROWS = (7_000, 60_000, 10)


def blocks(usual=0.05, count=60):
    return (Blocks(24, count, 0.0, dict.fromkeys(KINDS, usual), dict.fromkeys(KINDS, 0.0)),)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_farther_away_is_more_evidence(kind):
    found = [
        lasting.evidence(kind, as_distance(kind, shift), blocks(), 168.0, ROWS) for shift in (0, 0.05, 0.2, 0.5, 2)
    ]
    assert found == sorted(found)
    assert found[0] == 1 / 13
    assert found[-1] > 1e10


def test_nothing_is_evidence_where_the_baseline_cannot_speak():
    assert lasting.evidence("linf", 0.9, blocks(count=7), 168.0, ROWS) == 1 / 13


def test_on_average_a_week_of_an_unchanged_world_pays_less_than_its_stake():
    """Blocks of normal levels, known from sixty of them: the mean of the e-values is at most 1."""
    random = np.random.default_rng(3)
    values = []
    for shift in np.abs(random.standard_normal(4_000)) * 0.05 / 7**0.5:  # a week is a mean of seven days
        values.append(lasting.evidence("linf", as_distance("linf", shift), blocks(), 168.0, (10**7, 10**8, 10)))
    assert np.mean(values) < 1


def test_fewer_false_alarms_ask_for_more():
    assert lasting.limit(0.1) == 10 * lasting.limit(1.0)
