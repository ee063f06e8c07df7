"""Why a model got worse: other rows came, or what rows mean has changed.

Between its own holdout and new rows a model's metric changes by two parts. What was learned on the holdout says what is
to be expected of the new rows if they mean what such rows meant there: the way from the holdout's metric to that is the
rows' part, the way from that to what was realised the relation's. It is the decomposition of DISDE (Cai, Namkoong and
Yadlowsky 2023) with a model of the loss in the place of the densities' ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrain.model.table import Table
from retrain.quality.days import DECIDING
from retrain.quality.estimate import answers_of, estimate, learn_estimator
from retrain.quality.metrics import Numbers, score


@dataclass(frozen=True)
class Judged:
    """Rows in the order of time, their labels and a model's answers, as `score` takes them."""

    rows: Table
    truth: Numbers
    output: Numbers


def split_decay(
    metric: str,
    own: Judged,
    new: Judged,
    features: Mapping[str, str],
    *,
    classes: Sequence[str] = (),
    gains: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The metric before, as it was to be expected, and realised, as evaluation.json has it (`decay`).

    `own` is the model's holdout, `new` are rows that came later. `expected` and its interval are None where the new
    rows can't be compared with the holdout's; `reason` and `detail` say why. `relation` is whether the realised metric
    lies outside the interval: only then the relation has changed for sure.
    """
    metric = DECIDING.get(metric, metric)
    known = learn_estimator(metric, own.rows, own.truth, own.output, features, classes=classes, gains=gains)
    told: dict[str, Any] = {
        "metric": metric,
        "before": score(metric, own.truth, own.output),
        "realised": score(metric, new.truth, new.output),
        "expected": None,
        "interval": None,
        "relation": None,
    }
    if known is None:
        return told | {"reason": "rows_insufficient", "detail": "the champion's own holdout has too few rows"}
    found = estimate(known, new.rows, answers_of(new.output, classes))
    if found.value is None or found.interval is None:
        return told | {"reason": found.reason, "detail": found.detail}
    low, high = found.interval
    return told | {
        "expected": found.value,
        "interval": [low, high],
        "relation": not low <= told["realised"] <= high,
        "reason": None,
        "detail": None,
    }
