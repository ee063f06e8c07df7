"""What lasts: evidence that adds up over weeks, of changes that are too small for one look to be sure of.

Each week's distance of a feature is an e-value, whose mean is at most 1 while nothing has changed: a bet on the levels
that it is beyond. Shiryaev and Roberts' sum of the products since every possible week of change, R = (1 + R) · e, grows
with every week that is unlike the baseline and forgets one that is alike; while nothing changes it grows by 1 a week on
average, so that the features' mean reaches a limit once in as many weeks at most (Shin, Ramdas, Rinaldo 2024,
E-detectors; Vovk, Wang 2021, E-values, for bets and means). Products are of weeks that are alike by no more than the
baseline knows: of a baseline that is too short to know weeks, evidence is added and not multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from retrain.drift.chance import LENGTHS_JUDGED, OVERLAP, YEAR, Blocks, exceeded

WEEK, WEEKS = 168.0, 4  # hours of a window; windows that evidence is kept of
LEAST = 0.5  # of its threshold that a feature has to be off by in the last week: a change that nobody minds is none
_LEVELS = tuple(10.0**-power for power in range(1, 13))


def evidence(
    kind: str, distance: float, blocks: Sequence[Blocks] | None, hours: float | None, rows: tuple[int, int, int]
) -> float:
    """The e-value of a window's distance; parameters as `retrain.drift.chance.bound` has them.

    The stake is put evenly on every level: one that the distance is beyond pays its inverse.
    """
    beyond = takewhile(lambda level: distance > exceeded(kind, blocks, hours, rows, level), _LEVELS)
    return (1 + sum(1 / level for level in beyond)) / (1 + len(_LEVELS))


def accumulated(values: Sequence[float], blocks: Sequence[Blocks] | None) -> float:
    """What the weeks' e-values amount to, oldest first: Shiryaev and Roberts' sum where the baseline has blocks of a
    week, else the plain one.

    >>> accumulated([0.5, 10.0, 10.0], None)
    20.5
    """
    if not any(item.hours == WEEK and item.speaks_of(WEEK) for item in blocks or ()):
        return sum(values)
    total = 0.0
    for value in values:
        total = (1 + total) * value
    return total


def limit(false_alarms_per_year: float) -> float:
    """What the mean of the features' sums has to reach, so that a year has its share of that many false alarms.

    One look a day at weeks that overlap.

    >>> round(limit(0.1))
    9386
    """
    return YEAR / WEEK * OVERLAP * LENGTHS_JUDGED / false_alarms_per_year
