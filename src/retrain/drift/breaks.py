"""What breaks: a column that stands still, values without a value, numbers of another unit.

The largest difference of two distributions needs many rows. These three need few, because a baseline has hardly any of
what they count: k of n values are one and the same, missing, or far outside of the baseline's range. The stretch of the
baseline that had most of them is the null hypothesis (`retrain.drift.rates`), and Chernoff's bound on the binomial's
tail the probability: a handful of rows is enough, and one hour, two, six and a day are asked, whichever has them first.
Of a feature that has a level of its own each hour, such as a temperature, all values leave the range at once when it is
warmer than ever: only where hours are alike is that a break.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retrain.drift.baseline import FeatureBaseline, NumericBaseline, Statistics
from retrain.drift.chance import LENGTHS_JUDGED, as_distance, level
from retrain.drift.constraints import Constraints
from retrain.drift.profile import CategoricalProfile, ColumnProfile, NumericProfile, Profile
from retrain.drift.rates import STRETCHES, Rates, log_tail
from retrain.model.monitor_options import MonitorOptions

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
    """The judged features that broke within the stretch of so many hours of which the profile is.

    Only features of which the baseline knows what its hours did.
    """
    alpha = level(options.false_alarms_per_year, hours, len(statistics.features), LENGTHS_JUDGED)
    alpha /= _TESTS * len(STRETCHES)
    found: list[Break] = []
    for name, baseline in statistics.features.items():
        rates = max(
            (item for item in baseline.rates or () if item.hours <= hours), key=lambda item: item.hours, default=None
        )
        if rates is not None and not baseline.nature and constraints.judges(name):
            found += _of(profile.columns[name], baseline, rates, options, alpha)
    return found


def _of(
    column: ColumnProfile, baseline: FeatureBaseline, rates: Rates, options: MonitorOptions, alpha: float
) -> Iterator[Break]:
    name, n, rare = baseline.name, column.present, _NEVER / max(baseline.present, 1)
    rows = n + column.missing
    if rates.missing is not None and rows:
        usual = max(rates.missing, rare)
        allowed = options.max_missing_increase
        unsure = math.sqrt(allowed * (1 - allowed) / rows)  # few rows may have fewer than their share
        more = column.missing / rows - usual > allowed - unsure
        if more and _tail(column.missing, rows, usual) < alpha:
            detail = f"{name} is missing in {column.missing} of {rows} rows"
            yield Break(name, True, f"{detail}, at no time of the baseline in more than about {usual:.0%}")
    if not n:
        return
    usual = min(max(rates.single, _atom(baseline), rare), 1.0)
    same = _most_frequent(column)
    if same >= _MOSTLY * n and _tail(same, n, usual) / usual < alpha:  # any of 1 / usual values may be that frequent
        detail = f"{same} of {n} values of {name} are one and the same"
        yield Break(name, False, f"{detail}, at no time of the baseline more than about {usual:.0%}")
    if isinstance(column, NumericProfile) and isinstance(baseline, NumericBaseline):
        far = _far(column, baseline)
        if far >= _SEVERAL * n and _tail(far, n, rare) < alpha and _alike(baseline, rates.hours, alpha):
            yield Break(name, False, f"{far} of {n} values of {name} are far outside of the baseline's range")


def _tail(k: int, n: int, p: float) -> float:
    return float(np.exp(log_tail(np.array([k]), np.array([n]), p))[0])


def _alike(baseline: NumericBaseline, hours: float, alpha: float) -> bool:
    """Whether stretches of so many hours of the baseline were alike, or the shortest longer ones that it knows."""
    known = (item for item in baseline.chance or () if item.hours >= hours)
    shortest = min(known, key=lambda item: item.hours, default=None)
    return shortest is not None and as_distance("linf", shortest.beyond("linf", alpha, shortest.hours)) <= _ALIKE


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
