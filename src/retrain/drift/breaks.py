"""What breaks within an hour: a column that stands still, values without a value, numbers of another unit.

An hour has few rows, and the largest difference of two distributions needs many. These three need few, because a
baseline has hardly any of what they count: k of n values are one and the same, missing, or far outside of the
baseline's range. How many of them an hour of the baseline had at most is the null hypothesis, and Chernoff's bound on
the binomial's tail the probability. Of a feature that has a level of its own each hour, such as a temperature, all
values leave the range at once when it is warmer than ever: only where hours are alike is that a break.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retrain.drift.baseline import FeatureBaseline, NumericBaseline, Statistics
from retrain.drift.chance import LENGTHS_JUDGED, Blocks, as_distance, level
from retrain.drift.constraints import Constraints
from retrain.drift.profile import CategoricalProfile, ColumnProfile, NumericProfile, Profile
from retrain.model.monitor_options import MonitorOptions

HOUR = 1.0
_TESTS = 3
_MOSTLY = 0.5  # of the values are one and the same
_SEVERAL = 0.2  # of the values lie far outside
_BEYOND = 0.5  # of the baseline's range, on either side of it, is far outside
_ALIKE = 0.5  # the distance that an hour may have by chance, its rows apart, where hours are alike
_NEVER = 3.0  # rows of which one may be what none of the baseline's is (the rule of three)


@dataclass(frozen=True, slots=True)
class Break:
    """A feature that broke. Values that are not there are a case for a person (`broken`), others have drifted."""

    feature: str
    broken: bool
    detail: str


def breaks(
    profile: Profile, statistics: Statistics, constraints: Constraints, options: MonitorOptions, hours: float
) -> list[Break]:
    """The judged features that broke within the hour, or the hour and a part, of which the profile is.

    Only features of which the baseline knows what its hours did.
    """
    alpha = level(options.false_alarms_per_year, hours, len(statistics.features), LENGTHS_JUDGED) / _TESTS
    found: list[Break] = []
    for name, baseline in statistics.features.items():
        hour = next((item for item in baseline.chance or () if item.hours == HOUR), None)
        if hour is not None and not baseline.nature and constraints.judges(name):
            found += _of(profile.columns[name], baseline, hour, options, alpha)
    return found


def _of(
    column: ColumnProfile, baseline: FeatureBaseline, hour: Blocks, options: MonitorOptions, alpha: float
) -> Iterator[Break]:
    name, n, rare = baseline.name, column.present, _NEVER / max(baseline.present, 1)
    rows = n + column.missing
    if hour.missing is not None and rows:
        usual = max(hour.missing, rare)
        more = column.missing / rows - usual > options.max_missing_increase
        if more and _tail(column.missing, rows, usual) < alpha:
            detail = f"{name} is missing in {column.missing} of {rows} rows"
            yield Break(name, True, f"{detail}, in an hour of the baseline in {usual:.0%} at most")
    if not n:
        return
    if hour.single is not None:
        usual = min(max(hour.single, _atom(baseline), rare), 1.0)
        same = _most_frequent(column)
        if same >= _MOSTLY * n and _tail(same, n, usual) < alpha:
            detail = f"{same} of {n} values of {name} are one and the same"
            yield Break(name, False, f"{detail}, in an hour of the baseline {usual:.0%} at most")
    alike = as_distance("linf", hour.beyond("linf", alpha, HOUR)) <= _ALIKE
    if alike and isinstance(column, NumericProfile) and isinstance(baseline, NumericBaseline):
        far = _far(column, baseline)
        if far >= _SEVERAL * n and _tail(far, n, rare) < alpha:
            yield Break(name, False, f"{far} of {n} values of {name} are far outside of the baseline's range")


def _tail(k: int, n: int, p: float) -> float:
    """What the probability of k or more of n is at most, each with probability p (Chernoff 1952).

    >>> _tail(6, 15, 0.4), f"{_tail(6, 15, 1e-4):.0e}"
    (1.0, '2e-20')
    """
    share = k / n
    if share <= p:
        return 1.0
    miss = (1 - share) * math.log((1 - share) / (1 - p)) if share < 1 else 0.0
    return math.exp(-n * (share * math.log(share / p) + miss))


def _most_frequent(column: ColumnProfile) -> int:
    """How many of the values are the most frequent one; of numbers as their sketch has them."""
    if isinstance(column, CategoricalProfile):
        return max(column.counts.values(), default=0)
    _, upto = column.sketch.items()
    return int(np.diff(upto, prepend=0).max(initial=0))


def _atom(baseline: FeatureBaseline) -> float:
    """The share of the baseline's values that its most frequent one has."""
    if isinstance(baseline, NumericBaseline):
        return float(np.diff(baseline.steps.upto, prepend=0).max() / baseline.steps.weight) if baseline.steps else 1.0
    return max(baseline.counts.values(), default=0) / max(baseline.present, 1)


def _far(column: NumericProfile, baseline: NumericBaseline) -> int:
    """How many values are farther outside of the baseline's range than half of it."""
    if baseline.steps is None or not baseline.steps.exact:
        return 0
    least, most = float(baseline.steps.points[0]), float(baseline.steps.points[-1])
    beyond = _BEYOND * (most - least)
    values, upto = column.sketch.items()
    counts = np.diff(upto, prepend=0)
    return int(counts[(values < least - beyond) | (values > most + beyond)].sum())
