"""How the baseline's features go together, as it travels in statistics.json beside Model Monitor's members."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrain.drift.chance import Blocks, read_blocks, render_blocks
from retrain.drift.moments import Axes
from retrain.model.values import Numbers

MOST = 32  # features: those that the model leans on most
KINDS = ("spread", "own")  # of what the regression on all others leaves over, and of the feature itself


@dataclass(frozen=True)
class Joint:
    """How the baseline's features go together, those that the model leans on most first.

    The axes' centres are their means, `covariance` is theirs; of `rows` rows, which without copies are `worth` so many.
    `tails` (features,) are the residuals' fourth moments by the
    squares of their second ones, less 1, which is 2 of a normal one: by rows, that is the variance of the logarithm of
    a variance. `chance` is, by feature, what blocks of the baseline's time did to the spread of what the regression on
    all others leaves over (`spread`), and to its own (`own`); empty where the baseline did not know its time.
    """

    axes: Axes
    covariance: Numbers
    rows: int
    worth: float
    tails: Numbers
    chance: Mapping[str, tuple[Blocks, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The features."""
        return self.axes.names

    def document(self) -> dict[str, Any]:
        """The member `joint` of statistics.json; of the covariance the lower triangle, row by row."""
        lower = self.covariance[np.tril_indices(len(self.names))]
        return {
            "features": list(self.names),
            "centres": self.axes.centres.tolist(),
            "covariance": [float(f"{value:.12g}") for value in lower.tolist()],
            "rows": self.rows,
            "worth": self.worth,
            "tails": [float(f"{value:.6g}") for value in self.tails.tolist()],
            "chance": {name: render_blocks(blocks, KINDS) for name, blocks in self.chance.items()},
        }


def read_joint(found: Any) -> Joint | None:
    """What `Joint.document` wrote; None if there is nothing. Raises ValueError for anything else."""
    if found is None:
        return None
    try:
        names = tuple(map(str, found["features"]))
        centres, lower = (np.array(found[key], dtype=np.float64) for key in ("centres", "covariance"))
        covariance = np.zeros((len(names), len(names)))
        covariance[np.tril_indices(len(names))] = lower
        covariance = covariance + np.tril(covariance, -1).T
        chance = {str(name): read_blocks(blocks, KINDS) for name, blocks in found["chance"].items()}
        tails = np.array(found["tails"], dtype=np.float64)
        rows, worth = int(found["rows"]), float(found["worth"])
        joint = Joint(Axes(names, centres), covariance, rows, worth, tails, chance)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"joint: features with their moments are expected: {error!r}") from None
    usable = 0 < len(names) <= MOST and centres.shape == tails.shape == (len(names),)
    if not usable or not np.isfinite(covariance).all() or not np.isfinite(centres).all() or not joint.worth > 0:
        raise ValueError("joint: features, centres and covariance do not fit together")
    if not math.isfinite(joint.worth) or joint.rows < 1:
        raise ValueError("joint: rows and worth are out of their bounds")
    return joint
