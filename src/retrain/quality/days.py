"""What days do to the main metric where nothing has changed: learned from the holdout's own days.

Rows of one time are alike, and so are a model's errors on them: a foggy day is worse than the others, and no sign of a
changed world. Each day's loss is held against the holdout's; how far days lie apart bounds what a window may do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from retrain.drift.chance import DAY, MIN_BLOCKS, Blocks, level, near
from retrain.quality.metrics import Numbers, score

# Of a specification's main metrics the one that decides, by Model Monitor's names, which have no log loss.
DECIDING: Mapping[str, str] = MappingProxyType({"logloss": "auc", "mlogloss": "accuracy"})
ERRORS = frozenset({"mae", "mse", "rmse"})  # better when smaller
_LEAST_ROWS = 20  # of a day
_KIND = "loss"
_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Main:
    """The metric that decides: its value on the holdout, and what days do to its loss; None where nobody knows."""

    metric: str
    value: float
    days: Blocks | None = None

    def chance(self, hours: float, false_alarms_per_year: float) -> float:
        """The logarithm of how much larger a window's loss may be by chance; 0 where nobody knows."""
        if self.days is None:
            return 0.0
        alpha = level(false_alarms_per_year, hours, 1, 1)
        return self.days.beyond(_KIND, 2 * alpha if alpha < 0.5 else 1.0, max(hours, DAY))

    def growth(self, value: float) -> float:
        """The logarithm of how much larger the loss is than the holdout's."""
        before, now = loss(self.metric, self.value), loss(self.metric, value)
        if not before > 0:
            return math.inf if now > 0 else 0.0
        return math.log(now / before) if now > 0 else -math.inf

    def excess(self, value: float) -> float:
        """How much larger the loss is than the holdout's, in the metric's unit; below 0 if it is smaller."""
        return loss(self.metric, value) - loss(self.metric, self.value)

    def document(self) -> dict[str, Any]:
        """The form in which it travels in constraints.json."""
        days = self.days
        told = (
            {"days": days.count, "near": days.near, "usual": days.usual[_KIND], "most": days.most[_KIND]}
            if days
            else {}
        )
        return {"metric": self.metric, "value": self.value, **told}


def read_main(document: Any) -> Main | None:
    """What `Main.document` wrote; None if there is nothing. Raises ValueError for anything else."""
    if document is None:
        return None
    try:
        metric, value = str(document["metric"]), float(document["value"])
        if "days" not in document:
            return Main(metric, value)
        count, correlation = int(document["days"]), float(document["near"])
        usual, most = float(document["usual"]), float(document["most"])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"main: a metric, its value and its days are expected: {error!r}") from None
    if not (count >= 1 and 0 <= correlation < 1 and 0 <= usual < math.inf and 0 <= most < math.inf):
        raise ValueError("main: days, near, usual and most are out of their bounds")
    return Main(metric, value, Blocks(DAY, count, correlation, {_KIND: usual}, {_KIND: most}))


def learn_main(metric: str, truth: Numbers, output: Numbers, times: Numbers) -> Main | None:
    """The main metric on a holdout, and what its days do.

    `truth` and `times` (rows,), the latter in seconds since 1970, NaN where unknown; `output` (rows,), or of classes
    (rows, classes).

    None if the metric is not defined there. Days of fewer than 20 rows, or on which it is not defined, do not count,
    and of fewer than eight days nothing is known.
    """
    metric = DECIDING.get(metric, metric)
    value = score(metric, truth, output)
    if not math.isfinite(value):
        return None
    whole = loss(metric, value)
    day = np.floor(times / _SECONDS)
    found = []
    for one in np.unique(day[np.isfinite(day)]):
        inside = day == one
        if inside.sum() >= _LEAST_ROWS and math.isfinite(of_day := score(metric, truth[inside], output[inside])):
            found.append(max(loss(metric, of_day), _LEAST_LOSS * whole))
    if len(found) < MIN_BLOCKS or not whole > 0:
        return Main(metric, value)
    series = np.log(np.array(found) / whole)
    usual, most = float(np.sqrt(np.mean(series**2))), float(np.abs(series).max())
    return Main(metric, value, Blocks(DAY, len(found), near(series - series.mean()), {_KIND: usual}, {_KIND: most}))


def loss(metric: str, value: float) -> float:
    """What is to be small: an error itself, or what a score lacks to 1."""
    return value if metric in ERRORS else 1.0 - value


_LEAST_LOSS = 0.01  # of the holdout's: a day without a mistake is not infinitely better
