"""Why a model got worse is split into rows that came and a relation that changed."""

import numpy as np
import pytest

from retrain.model.table import Table
from retrain.quality.decay import Judged, split_decay
from retrain.quality.metrics import score


def judged(seed, harder=0.0, noise=1.0, rows=4_000):
    """Rows of a model whose errors grow with x: `harder` moves x, `noise` is what the relation has become."""
    random = np.random.default_rng(seed)
    x = np.clip(random.normal(harder, 1.0, rows), -3.0, 3.0)
    return Judged(Table({"x": x}), x + random.normal(0, noise, rows) * np.exp(0.5 * x), x)


def split(new, own=None):
    return split_decay("rmse", own or judged(1), new, {"x": "numeric"})


@pytest.mark.parametrize(
    ("new", "rows_part", "relation_part", "relation"),
    [
        ({}, 0.0, 0.0, False),
        ({"harder": 1.0}, 0.7, 0.0, False),
        ({"noise": 1.6}, 0.0, 0.8, True),
        ({"harder": 1.0, "noise": 1.6}, 0.7, 1.2, True),
    ],
)
def test_both_parts_are_found(new, rows_part, relation_part, relation):
    found = split(judged(2, **new))
    assert found["expected"] - found["before"] == pytest.approx(rows_part, abs=0.25)
    assert found["realised"] - found["expected"] == pytest.approx(relation_part, abs=0.25)
    assert found["relation"] is relation


@pytest.mark.parametrize(
    ("new", "own", "reason"),
    [
        (judged(2, rows=100), judged(1), "rows_insufficient"),
        (judged(2), judged(1, rows=200), "rows_insufficient"),
        (Judged(Table({"x": np.full(1_000, 9.0)}), np.zeros(1_000), np.ones(1_000)), judged(1), "out_of_range"),
    ],
)
def test_where_rows_cannot_be_compared_the_parts_are_unknown(new, own, reason):
    found = split(new, own)
    assert (found["expected"], found["relation"], found["reason"]) == (None, None, reason)
    assert found["realised"] == score("rmse", new.truth, new.output)
    assert found["detail"]
