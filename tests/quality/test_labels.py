"""A shift of the labels' own distribution is told from days that are unlike each other anyhow."""

import json

import numpy as np
import pytest

from retrain.quality.labels import learn_labels, read_labels

DAYS, A_DAY = 40, 200
TIMES = 1.7e9 + np.arange(DAYS * A_DAY) * 86_400.0 / A_DAY


def labels(seed, classes, moody=0.0, moved=0.0, days=DAYS):
    """Values, or class numbers: each day has its own level, `moody` apart, and all are `moved`."""
    random = np.random.default_rng(seed)
    level = moved + moody * random.normal(size=days).repeat(A_DAY)
    if not classes:
        return level + random.normal(size=days * A_DAY)
    return (random.random(days * A_DAY) < 0.2 + 0.1 * level).astype(float)


def shift(window, classes=(), moody=0.0, times=TIMES):
    known = learn_labels(labels(1, classes, moody), classes, times)
    return read_labels(json.loads(json.dumps(known.document()))).shift(window, 24.0, 0.1)


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_a_shift_is_told_and_an_unchanged_day_is_not(classes):
    assert shift(labels(2, classes, days=1), classes)["shifted"] is False
    found = shift(labels(2, classes, moved=6.0 if classes else 1.5, days=1), classes)
    assert found["shifted"] is True
    assert found["distance"] > found["chance"] > 0


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_days_that_differ_anyhow_are_chance(classes):
    window = labels(3, classes, moved=3.0 if classes else 0.8, days=1)
    moody = 1.5 if classes else 0.6
    assert shift(window, classes, moody=moody)["shifted"] is False
    assert shift(window, classes, moody=moody, times=np.full(len(TIMES), np.nan))["shifted"] is True


def test_of_a_holdout_that_is_shorter_than_the_window_nothing_is_told():
    known = learn_labels(labels(1, ())[:200], (), TIMES[:200])
    assert known.shift(labels(2, (), moved=3.0, days=1), 24.0, 0.1)["shifted"] is None


def test_a_class_that_nobody_knew_counts_as_another():
    assert shift(np.full(300, 5.0), ("no", "yes"))["shifted"] is True


def test_without_labels_there_is_no_distance():
    assert shift(np.empty(0)) == {"distance": None, "chance": None, "shifted": None}


@pytest.mark.parametrize("document", [{}, {"points": [1.0], "counts": [1.0], "blocks": None}, {"points": None}])
def test_a_broken_document_is_named(document):
    with pytest.raises(ValueError, match="labels"):
        read_labels(document)
