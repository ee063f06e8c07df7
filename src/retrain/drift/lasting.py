"""What lasts: evidence that adds up over weeks, of changes that are too small for one look to be sure of.

Each week's distance of a feature is an e-value, whose mean is at most 1 while nothing has changed: a bet on the levels
that it is beyond. The weeks' e-values are added, and the features' averaged: that holds however alike neighbouring
weeks are, and columns (Vovk, Wang 2021, E-values: calibration, combination and applications). Their products, as
Shiryaev and Roberts have them, find more, and take a warm month for a change (docs/decisions/0081).
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


def limit(false_alarms_per_year: float) -> float:
    """What the features' sums have to reach on average, so that a year has its share of that many false alarms.

    One look a day at weeks that overlap.

    >>> round(limit(0.1))
    9386
    """
    return YEAR / WEEK * OVERLAP * LENGTHS_JUDGED / false_alarms_per_year
