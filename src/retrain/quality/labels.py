"""Are the labels themselves distributed as they were? A base rate that moves is told apart from a model that got worse.

What blocks of the holdout's time did to the labels' distribution bounds what a window may do by chance, as it does for
features (`retrain.drift.chance`). It is reported: whether the model is worse for it, the main metric says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.drift.chance import Blocks, bound, level, read_blocks, render_blocks
from retrain.drift.distances import steps_of
from retrain.drift.learning import Reference, blocks_of, reference_of_numbers
from retrain.drift.profile import sketch_of
from retrain.quality.metrics import Numbers

_LEAST = 0.02  # of a distance: less is not worth a word, however sure
_MOST_UNITS = 2_000  # spans of time that are counted apart: hours, or else days
_SECONDS = 3600.0


@dataclass(frozen=True)
class Labels:
    """The labels of a holdout: of values counted at `points` (below, at and between them), of classes by their number.

    `blocks` are what blocks of its time did, None if it did not know its time.
    """

    points: Numbers | None
    counts: Numbers
    blocks: tuple[Blocks, ...] | None

    def document(self) -> dict[str, Any]:
        """The form in which it travels in constraints.json."""
        return {
            "points": None if self.points is None else self.points.tolist(),
            "counts": self.counts.tolist(),
            "blocks": None if self.blocks is None else render_blocks(self.blocks),
        }

    def shift(self, truth: Numbers, hours: float, false_alarms_per_year: float) -> dict[str, Any]:
        """How far a window's labels lie from the holdout's, as analysis.json has it.

        `distance` is the largest difference of the cumulative distributions, of classes of a share; `shifted` whether
        it is beyond chance, None where the holdout does not know windows of so many hours.
        """
        window = _counted(truth, self.points, len(self.counts)).sum(axis=0)
        gap = window / max(window.sum(), 1.0) - self.counts / self.counts.sum()
        distance = float(np.abs(gap if self.points is None else np.cumsum(gap)).max())
        rows = len(truth), int(self.counts.sum()), len(self.counts)
        limit = bound("linf", self.blocks, hours, rows, level(false_alarms_per_year, hours, 1, 1)).total
        known = math.isfinite(limit) and len(truth) > 0
        return {
            "distance": distance if len(truth) else None,
            "chance": limit if known else None,
            "shifted": distance > max(limit, _LEAST) if known else None,
        }


def learn_labels(truth: Numbers, classes: Sequence[str], times: Numbers) -> Labels:
    """The holdout's labels, values or class numbers: `times` are the rows', in seconds since 1970, NaN unknown."""
    points, reference = None, Reference(None, np.empty(0, dtype=np.intp), {name: k for k, name in enumerate(classes)})
    if not classes:
        reference = reference_of_numbers(steps_of(sketch_of(np.sort(truth))))
        points = reference.points
    bins = reference.bins
    known = np.isfinite(times)
    counts = _counted(truth, points, bins).sum(axis=0)
    if not known.any():
        return Labels(points, counts, None)
    hours = np.floor(times[known] / _SECONDS)
    unit = 1 if hours.max() - hours.min() < _MOST_UNITS else 24
    return Labels(
        points,
        counts,
        blocks_of(
            _counted(truth[known], points, bins, (hours - hours.min()) // unit).astype(np.int32), unit, reference
        ),
    )


def read_labels(document: Any) -> Labels | None:
    """What `Labels.document` wrote; None if there is nothing. Raises ValueError for anything else."""
    if document is None:
        return None
    try:
        points = None if document["points"] is None else np.array(document["points"], dtype=np.float64)
        counts = np.array(document["counts"], dtype=np.float64)
        blocks = None if document["blocks"] is None else read_blocks(document["blocks"])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"labels: counts of a holdout's labels are expected: {error!r}") from None
    if counts.ndim != 1 or not counts.sum() > 0 or (points is not None and len(counts) != 2 * len(points) + 1):
        raise ValueError("labels: points and counts do not fit together")
    return Labels(points, counts, blocks)


def _counted(truth: Numbers, points: Numbers | None, bins: int, unit: NDArray[np.floating] | None = None) -> Numbers:
    """How many labels each bin has, by unit of time: (units, bins). A class that nobody knew is of the last bin."""
    place = np.minimum(truth, bins - 1).astype(np.intp)
    if points is not None:
        low, high = (np.searchsorted(points, truth, side) for side in ("left", "right"))
        place = low + high
    at = np.zeros(len(truth), dtype=np.intp) if unit is None else unit.astype(np.intp)
    units = int(at.max()) + 1 if len(at) else 1
    return np.bincount(at * bins + place, minlength=units * bins).reshape(units, bins).astype(np.float64)
