"""Champion against challenger on the same rows: how much better, and between which bounds that lies.

Two things make the difference uncertain. Other rows would have given another one: the paired bootstrap says how much
another. And rows that lie close in time are alike, they share the weather, the campaign, the outage, so that a thousand
rows of six days say hardly more than six days do: what the difference does when a span of time is left out says that.
The interval is the wider of the two, bound by bound. docs/decisions/0027 has what either is worth by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from retrain.quality.metrics import Numbers, resampled

_CELLS = 4_000_000  # resamples times rows held at once: 32 MB
_UNDEFINED = 0.01  # share of resamples without a metric (one class for `auc`) that an interval may leave out


@dataclass(frozen=True)
class Comparison:
    """Champion against challenger on the same rows.

    `difference` is how much better the challenger is, in the metric's unit, whatever the metric's direction; `low` and
    `high` bound it with the given confidence.
    """

    champion: float
    challenger: float
    difference: float
    low: float
    high: float


def compare(
    metric: str,
    direction: str,
    truth: Numbers,
    champion: Numbers,
    challenger: Numbers,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    spans: int = 1,
    weights: Numbers | None = None,
) -> Comparison:
    """Both models' metric on those rows, and a two-sided interval of the challenger's gain.

    `truth` (rows,) are values or class numbers, the models' answers (rows,), or of classes (rows, classes). `weights`
    (rows,) is for how many rows each one stands, where they are a sample of unequal shares; None: each for one. From
    two `spans` on, the rows are in the order of time, and the interval is the wider one of the rows' and that of so
    many spans of equally many rows. It is NaN where the metric is not defined: in more than one resample in a hundred,
    or without one of the spans.
    """
    sign = 1.0 if direction == "min" else -1.0
    of_champion, of_challenger = resampled(metric, truth, champion), resampled(metric, truth, challenger)
    once = np.ones((1, len(truth))) if weights is None else weights[None, :]
    first, second = float(of_champion(once)[0]), float(of_challenger(once)[0])

    def difference(times: Numbers) -> Numbers:
        drawn = times if weights is None else times * weights
        return sign * (of_champion(drawn) - of_challenger(drawn))

    found = sign * (first - second)
    low, high = _over_rows(difference, len(truth), confidence, resamples, seed)
    if (spans := min(spans, len(truth))) > 1:
        room = _over_spans(difference, len(truth), confidence, spans)
        low, high = np.minimum(low, found - room), np.maximum(high, found + room)
    return Comparison(first, second, found, float(low), float(high))


def _over_rows(
    difference: Callable[[Numbers], Numbers], rows: int, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Paired percentile bootstrap (Efron and Tibshirani 1993, chapter 13).

    Every resample draws rows with replacement and scores both models on the same draw, so what is easy or hard about
    the rows cancels out.
    """
    random = np.random.default_rng(seed)
    step = max(1, _CELLS // max(rows, 1))
    differences = np.empty(resamples)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
        times = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)
        differences[start : start + count] = difference(times)
    tail = (1.0 - confidence) / 2.0
    defined = differences[np.isfinite(differences)]
    if len(defined) < (1 - _UNDEFINED) * resamples:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def _over_spans(difference: Callable[[Numbers], Numbers], rows: int, confidence: float, spans: int) -> float:
    """Half the width of the grouped jackknife's interval, with Student's t (Efron and Tibshirani 1993, chapter 11)."""
    without = np.ones((spans, rows))
    for number, span in enumerate(np.array_split(np.arange(rows), spans)):
        without[number, span] = 0.0
    differences = difference(without)
    error = np.sqrt((spans - 1) / spans * np.sum((differences - differences.mean()) ** 2))
    return float(stdtrit(spans - 1, (1.0 + confidence) / 2.0) * error)
