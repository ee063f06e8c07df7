"""Which cycle rows show, and what of it a holdout has."""

from __future__ import annotations

import numpy as np
import pytest

from retrain.model.table import category
from retrain.training.cycle import DAY, WEEK, Cycle, coverage, cycle_of, partial

MONDAY = 1_767_571_200.0  # 2026-01-05
HOUR = 3600.0


def rows(days: int, *, daily: float = 0.0, weekly: float = 0.0, wander: float = 0.0, seed: int = 1, a_day: int = 240):
    """Times, and a number of spread 1 that has a cycle of a day, another Sunday, and an AR(1) of days, as asked."""
    random = np.random.default_rng(seed)
    times = MONDAY + np.arange(days * a_day) * 24 * HOUR / a_day
    day = ((times - MONDAY) // (24 * HOUR)).astype(int)
    level = np.zeros(days)
    for one in range(1, days):
        level[one] = 0.8 * level[one - 1] + random.normal(0, 0.6)
    cycle = daily * np.sin(2 * np.pi * times / (24 * HOUR)) + weekly * (day % 7 == 6)
    return times, random.normal(0, 1, len(times)) + cycle + wander * level[day]


@pytest.mark.parametrize(
    ("days", "shape", "hours"),
    [
        (28, {"daily": 1.0}, DAY),
        (28, {"weekly": 1.0}, WEEK),
        (28, {"daily": 1.0, "weekly": 1.0}, WEEK),
        (60, {"weekly": 1.0, "wander": 0.5}, WEEK),
        (14, {"weekly": 1.0}, DAY),  # of two weeks nobody can tell
        (28, {"wander": 1.0}, DAY),
        (28, {}, DAY),
        (1, {"daily": 1.0}, DAY),
    ],
)
def test_a_week_is_found_where_a_day_of_it_is_unlike_the_others(days, shape, hours):
    times, values = rows(days, **shape)
    found = cycle_of({"x": values, "y": np.ones(len(values))}, times)
    assert found.hours == hours
    shown = (hours == WEEK or "daily" in shape) and days > 2
    assert found.shown_by == ("x" if shown else "")


def test_a_category_shows_it_too_and_rows_without_times_say_nothing():
    times, values = rows(28, weekly=2.0)
    column = category(["weekend" if value > 1.5 else "week" for value in values])
    assert cycle_of({"kind": column}, times) == Cycle(WEEK, "kind")
    assert cycle_of({"kind": column}, np.full(len(times), np.nan)) == Cycle()


def test_what_never_repeats_is_hardly_ever_taken_for_a_cycle():
    """A wandering level and noise, no cycle in either: at most one of a hundred tables."""
    found = [
        cycle_of({"x": rows(42, wander=1.0, seed=seed, a_day=96)[1]}, rows(42, a_day=96)[0]) for seed in range(100)
    ]
    assert sum(one.shown_by != "" for one in found) <= 1


def test_a_holdout_of_the_evening_says_so():
    evening = MONDAY + np.arange(19 * 60, 24 * 60) * 60.0
    found = coverage(Cycle(DAY, "load"), 24.0, evening)
    assert found["holdout"] == {"share": 0.25, "hours": [19, 20, 21, 22, 23], "weekdays": ["Mon"]}
    [said] = partial(found)
    assert said == (
        "being worse at times of the day that the holdout has not, which is of Mon, hours 19 to 23 UTC "
        "(load depends on the day)"
    )


def test_a_window_that_is_shorter_than_the_cycle_says_so():
    found = coverage(Cycle(WEEK, "load"), 24.0, MONDAY + np.arange(24) * HOUR)
    assert partial(found)[0] == "the rest of the week, which load depends on: the window is shorter"


@pytest.mark.parametrize("found", [Cycle(), Cycle(WEEK, "load")])
def test_where_no_cycle_is_shown_or_no_time_is_known_nothing_is_missing(found):
    times = np.full(10, np.nan) if found.shown_by else MONDAY + np.arange(10) * HOUR
    assert partial(coverage(found, 24.0, times)) == []


def test_a_window_that_is_shorter_than_what_model_toml_asks_for_says_so():
    found = coverage(Cycle(72.0, "", asked=True), 24.0, MONDAY + np.arange(24) * HOUR)
    assert partial(found)[0] == (
        "the rest of the cycle of 72 hours, which model.toml asks for (cycle_hours): the window is shorter"
    )
    assert "cycle of 72 hours that the holdout has not" in partial(found)[1]


def test_a_holdout_of_the_whole_cycle_lacks_nothing():
    assert partial(coverage(Cycle(WEEK, "load"), 168.0, MONDAY + np.arange(168) * HOUR)) == []
