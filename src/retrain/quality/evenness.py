"""Labels that are a sample: whether they are an even one of the window's answers, and weights where they are not.

Who asks for labels of what looks suspicious, or has those of the easy rows first, has labels of other answers than the
window's. Of what the answers tell, weights make up for it (post-stratification, Holt and Smith 1979): a labelled row
counts for as many rows as its tenth of the answers has for each label. What answers do not tell, nobody makes up for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.quality.metrics import Numbers

_STRATA = 10  # tenths of the answers, or a class each
_LEVEL = 0.001  # of weights where the labels are an even sample


@dataclass(frozen=True)
class Evenness:
    """How far the labelled rows' answers are from all answers' shares: `distance` the largest difference of a stratum's
    share, `chance` what an even sample has. `weights` (rows,) are of mean 1 over the labelled rows, None where they are
    even; `unlabelled` is the share of the rows in strata without a label, for which no weights make up.
    """

    distance: float
    chance: float
    weights: Numbers | None
    unlabelled: float

    def document(self) -> dict[str, Any]:
        """The member `label_sample` of analysis.json."""
        return {
            "even": self.weights is None,
            "distance": self.distance,
            "chance": self.chance,
            "unlabelled": self.unlabelled,
        }


def evenness(labelled: Numbers, every: Numbers) -> Evenness:
    """How even a sample the labelled rows' answers are, (rows,) or by class (rows, classes), of all rows' answers.

    A stratum's share of the labels differs by chance by Hoeffding's (1963) bound, for all strata together.

    >>> even = evenness(np.arange(0.0, 1000.0, 5.0), np.arange(1000.0))
    >>> even.weights is None, round(even.distance, 3)
    (True, 0.0)
    """
    of_every, of_labelled, strata = _strata(every, labelled)
    shares = np.bincount(of_every, minlength=strata) / len(every)
    counts = np.bincount(of_labelled, minlength=strata)
    drawn = counts / len(labelled)
    distance = float(np.abs(drawn - shares).max())
    chance = math.sqrt(math.log(2 * strata / _LEVEL) / (2 * len(labelled)))
    unlabelled = float(shares[counts == 0].sum())
    if distance <= chance:
        return Evenness(distance, chance, None, unlabelled)
    weights = (shares / np.maximum(drawn, 1e-300))[of_labelled]
    return Evenness(distance, chance, weights / weights.mean(), unlabelled)


def _strata(every: Numbers, labelled: Numbers) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """The stratum of each row, and how many there are."""
    if every.ndim == 2:
        classes = max(every.shape[1], labelled.shape[1])
        return np.argmax(every, axis=1), np.argmax(labelled, axis=1), classes
    edges = np.unique(np.quantile(every, np.arange(1, _STRATA) / _STRATA))
    return np.searchsorted(edges, every), np.searchsorted(edges, labelled), len(edges) + 1
