"""What breaks: seen in few rows, and nothing of it in the hours and days of an unbroken world."""

import numpy as np
import pytest

from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.breaks import breaks
from retrain.drift.constraints import read_constraints
from retrain.drift.learning import with_chance
from retrain.drift.profile import summarise
from retrain.model.monitor_options import MonitorOptions

FEATURES = {"x": "numeric", "gaps": "numeric", "flag": "boolean", "code": "categorical", "whole": "numeric"}
FEATURES |= {"warmth": "numeric"}
DAYS, AN_HOUR = 30, 40


def hour(number, seed):
    """Rows of an hour: `gaps` is missing at night, `code` the same all hour every third day, `warmth` nearly always."""
    random = np.random.default_rng((seed, number))
    warmth = np.random.default_rng(number // 24).normal()
    night, still = number % 24 < 6, number // 24 % 3 == 0
    for _ in range(AN_HOUR):
        gap = "" if night and random.random() < 0.8 else f"{random.normal():.4f}"
        code = "abc"[number // 24 % 3 if still else random.integers(0, 3)]
        yield [
            f"{random.normal():.4f}",
            gap,
            str(random.random() < 0.3).lower(),
            code,
            str(random.poisson(3)),
            f"{warmth + random.normal() / 50:.4f}",
        ]


@pytest.fixture(scope="module")
def known():
    rows = [(number, row) for number in range(DAYS * 24) for row in hour(number, 1)]
    statistics, constraints = baseline_of([row for _, row in rows], FEATURES, MonitorOptions(ignored=("whole",)))
    times = np.array([3600.0 * number + 1 for number, _ in rows])
    return read_statistics(with_chance(statistics, [row for _, row in rows], times)), read_constraints(constraints)


def found(known, rows, hours=1.0):
    statistics, constraints = known
    return breaks(summarise(rows, statistics.layout), statistics, constraints, constraints.options, hours)


def test_no_hour_of_an_unbroken_world_breaks(known):
    assert [broken for number in range(240) for broken in found(known, list(hour(number, 2)))] == []


@pytest.mark.parametrize("hours", [2, 6, 24])
def test_no_longer_stretch_of_an_unbroken_world_breaks(known, hours):
    stretches = (
        [row for part in range(hours) for row in hour(number + part, 2)] for number in range(0, 240, max(hours // 3, 1))
    )
    assert [broken for rows in stretches for broken in found(known, rows, float(hours))] == []


@pytest.mark.parametrize(
    ("column", "change", "broken"),
    [
        ("x", lambda value, random: "0.25", False),
        ("x", lambda value, random: f"{float(value) * 10 + 5:.3f}", False),
        ("x", lambda value, random: "" if random.random() < 0.5 else value, True),
        ("x", lambda value, random: "", True),
        ("flag", lambda value, random: "", True),
    ],
    ids=["constant", "another unit", "half missing", "missing", "a flag that is missing"],
)
def test_forty_rows_tell_a_break(known, column, change, broken):
    random, place = np.random.default_rng(5), list(FEATURES).index(column)
    rows = [[*row[:place], change(row[place], random), *row[place + 1 :]] for row in hour(12, 3)]
    [seen] = found(known, rows)
    assert (seen.feature, seen.broken) == (column, broken)
    assert column in seen.detail


def test_what_the_baselines_hours_did_themselves_is_no_break(known):
    still = [[*row[:3], "b", *row[4:]] for row in hour(12, 3)]
    assert found(known, still) == []
    night = [[row[0], "", *row[2:]] for row in list(hour(12, 3))[:30]] + list(hour(12, 4))[:10]
    assert found(known, night) == []


@pytest.mark.parametrize(("count", "hours"), [(7, 1.0), (7, 2.0), (12, 6.0)])
def test_a_column_that_stands_still_is_told_by_a_handful_of_rows_however_long_they_take(known, count, hours):
    rows = [["0.25", *row[1:]] for row in list(hour(12, 3))[:count]]
    [seen] = found(known, rows, hours)
    assert seen.feature == "x"


def test_the_third_value_that_is_missing_tells_of_a_column_that_always_had_one(known):
    rows = list(hour(12, 3))[:9]
    missing = [[*(["", *row[1:]] if place < 3 else row)] for place, row in enumerate(rows)]
    [seen] = found(known, missing)
    assert (seen.feature, seen.broken) == ("x", True)
    assert found(known, missing[1:]) == []


def test_ignored_features_and_baselines_without_times_break_nothing(known):
    rows = [[*row[:4], "700", row[5]] for row in hour(12, 3)]
    assert found(known, rows) == []
    statistics, constraints = baseline_of(list(hour(12, 3)), FEATURES)
    plain = read_statistics(statistics), read_constraints(constraints)
    assert found(plain, [["0.25", *row[1:]] for row in hour(12, 3)]) == []


def test_a_day_that_is_warmer_than_ever_is_no_break(known):
    assert found(known, [[*row[:5], f"{float(row[5]) + 20:.4f}"] for row in hour(12, 3)]) == []


def test_few_rows_tell_nothing(known):
    assert found(known, [["0.25", *row[1:]] for row in list(hour(12, 3))[:3]]) == []
    assert found(known, []) == []
