"""How good predictions are: the main metric, curves, Model Monitor's model-quality metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_FEW = 200  # Model Monitor gives no standard deviation below this many samples
_EPSILON = 1e-15
BINS = 10


def score(metric: str, truth: Numbers, output: Numbers) -> float:
    """The metric of a model's output: values, positive-class probabilities, or rows of class probabilities.

    `truth` holds values, or class numbers from 0. NaN when the metric is not defined (no rows, one class for `auc`).

    >>> score("rmse", np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    1.4142135623730951
    >>> score("auc", np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9]))
    0.75
    """
    if not len(truth):
        return float("nan")
    return float(resampled(metric, truth, output)(np.ones((1, len(truth))))[0])


@dataclass(frozen=True)
class Bin:
    """Rows that a model gives about the same prediction: the prediction's mean, and the mean of what was true.

    For a classifier both are shares: of the positive class, or of several classes the confidence in the chosen one and
    how often it was right.
    """

    rows: int
    predicted: float
    observed: float


def curve(truth: Numbers, output: Numbers) -> tuple[Bin, ...]:
    """At most ten bins of equally many rows, by growing prediction; equal predictions share a bin.

    Of a classifier it is the reliability curve, of a regression observed minus predicted is the residual by decile.

    >>> curve(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9, 0.9]))
    (Bin(rows=2, predicted=0.2, observed=0.5), Bin(rows=2, predicted=0.9, observed=1.0))
    """
    if output.ndim == 2:
        truth, output = np.asarray(_decided(output) == truth, dtype=np.float64), output.max(axis=1)
    edges = np.unique(np.quantile(output, np.arange(1, BINS) / BINS, method="lower")) if len(output) else output
    place = np.searchsorted(edges, output, side="left")
    found = []
    for number in range(len(edges) + 1):
        inside = place == number
        if rows := int(inside.sum()):
            found.append(Bin(rows, float(output[inside].mean()), float(truth[inside].mean())))
    return tuple(found)


def bias(truth: Numbers, output: Numbers) -> float:
    """The mean of prediction minus label."""
    return float(np.mean(output - truth))


def calibration_error(truth: Numbers, output: Numbers) -> float:
    """The expected calibration error: the gap of predicted and observed share, averaged over the rows of the curve.

    Naeini, Cooper and Hauskrecht 2015, with bins of equally many rows instead of equal width.
    """
    bins = curve(truth, output)
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / max(sum(b.rows for b in bins), 1)


def model_quality(
    task: str, truth: Numbers, output: Numbers, classes: tuple[str, ...], seed: int = 7
) -> dict[str, Any]:
    """The metrics block of Model Monitor's model-quality statistics for the task, as plain data.

    Each scalar is `{"value", "standard_deviation"}`; the deviation is that of five 80 % resamples, and the text "NaN"
    for fewer than 200 rows.
    """
    blocks: Mapping[str, tuple[str, Callable[[Numbers, Numbers], dict[str, float]]]] = {
        "regression": ("regression_metrics", _regression),
        "binary": ("binary_classification_metrics", _binary),
        "multiclass": ("multiclass_classification_metrics", _multiclass),
    }
    name, metrics = blocks[task]
    values = metrics(truth, output)
    deviations: dict[str, float] = {}
    if len(truth) >= _FEW:
        random = np.random.default_rng(seed)
        samples = []
        for _ in range(5):
            part = random.permutation(len(truth))[: int(len(truth) * 0.8)]
            samples.append(metrics(truth[part], output[part]))
        deviations = {key: float(np.std([sample[key] for sample in samples])) for key in values}
    block: dict[str, Any] = {
        key: {"value": _json(value), "standard_deviation": _json(deviations.get(key, float("nan")))}
        for key, value in values.items()
    }
    if task != "regression":
        block["confusion_matrix"] = _confusion(truth, _decided(output), classes)
    if task == "binary":
        block.update(_curves(truth, output))
    return {name: block}


def resampled(metric: str, truth: Numbers, output: Numbers) -> Callable[[Numbers], Numbers]:
    """The metric as a function of how often each row was drawn: (resamples, rows) → (resamples,)."""
    if metric == "auc":
        return _auc(truth, output)
    loss = _loss(metric, truth, output)

    def mean(times: Numbers) -> Numbers:
        value = times @ loss / times.sum(axis=1)
        return np.asarray(np.sqrt(value) if metric == "rmse" else value)

    return mean


def _loss(metric: str, truth: Numbers, output: Numbers) -> Numbers:
    """Per row, what the metric is the mean of (its square, for `rmse`)."""
    if metric == "rmse":
        return np.asarray((output - truth) ** 2)
    if metric == "mae":
        return np.abs(output - truth)
    if metric == "accuracy":
        return np.asarray(_decided(output) == truth, dtype=np.float64)
    if metric == "logloss":
        chance = np.clip(output, _EPSILON, 1 - _EPSILON)
        return np.asarray(-(truth * np.log(chance) + (1 - truth) * np.log(1 - chance)))
    if metric == "mlogloss":
        of_truth = output[np.arange(len(truth)), truth.astype(int)]
        return np.asarray(-np.log(np.clip(of_truth, _EPSILON, 1)))
    raise ValueError(f"unknown metric {metric}")


def _auc(truth: Numbers, output: Numbers) -> Callable[[Numbers], Numbers]:
    """Area under the ROC curve by rank: the share of (positive, negative) pairs in order, ties counting half."""
    order = np.argsort(output, kind="stable")
    positive = truth[order] == 1
    starts = np.flatnonzero(np.r_[True, np.diff(output[order]) > 0])

    def auc(times: Numbers) -> Numbers:
        drawn = times[:, order]
        up = np.add.reduceat(drawn * positive, starts, axis=1)
        down = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = np.cumsum(down, axis=1) - down
        pairs = up.sum(axis=1) * down.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((up * (below + down / 2)).sum(axis=1) / pairs)

    return auc


def _decided(output: Numbers) -> Numbers:
    """Class numbers from probabilities."""
    return np.asarray(np.argmax(output, axis=1) if output.ndim == 2 else output >= 0.5, dtype=np.float64)


def _regression(truth: Numbers, output: Numbers) -> dict[str, float]:
    error = output - truth
    mse = float(np.mean(error**2))
    spread = float(np.mean((truth - truth.mean()) ** 2))
    return {
        "mae": float(np.mean(np.abs(error))),
        "mse": mse,
        "rmse": mse**0.5,
        "r2": 1.0 - mse / spread if spread else float("nan"),
    }


def _binary(truth: Numbers, output: Numbers) -> dict[str, float]:
    decided = _decided(output)
    values = _rates(truth, decided)
    values["auc"] = score("auc", truth, output)
    majority = np.full(len(truth), float(truth.mean() >= 0.5))
    best = _rates(truth, majority)
    best["auc"] = 0.5
    return values | {f"{key}_best_constant_classifier": value for key, value in best.items() if "rate" not in key}


def _rates(truth: Numbers, decided: Numbers) -> dict[str, float]:
    tp = float(np.sum((decided == 1) & (truth == 1)))
    fp = float(np.sum((decided == 1) & (truth == 0)))
    fn = float(np.sum((decided == 0) & (truth == 1)))
    tn = float(np.sum((decided == 0) & (truth == 0)))
    recall, precision = _ratio(tp, tp + fn), _ratio(tp, tp + fp)
    return {
        "recall": recall,
        "precision": precision,
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "true_positive_rate": recall,
        "true_negative_rate": _ratio(tn, tn + fp),
        "false_positive_rate": _ratio(fp, fp + tn),
        "false_negative_rate": _ratio(fn, fn + tp),
        **{name: _f(precision, recall, beta) for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0))},
    }


def _multiclass(truth: Numbers, output: Numbers) -> dict[str, float]:
    decided = _decided(output)
    totals = {
        "weighted_recall": 0.0,
        "weighted_precision": 0.0,
        "weighted_f0_5": 0.0,
        "weighted_f1": 0.0,
        "weighted_f2": 0.0,
    }
    for number in range(output.shape[1]):
        share = float(np.mean(truth == number))
        if share:
            rates = _rates((truth == number).astype(float), (decided == number).astype(float))
            for key in totals:
                totals[key] += share * rates[key.removeprefix("weighted_")]
    return {"accuracy": float(np.mean(decided == truth)), **totals}


def _confusion(truth: Numbers, decided: Numbers, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Rows are true classes, columns decided ones."""
    return {
        actual: {other: int(np.sum((truth == i) & (decided == j))) for j, other in enumerate(classes)}
        for i, actual in enumerate(classes)
    }


def _curves(truth: Numbers, output: Numbers, points: int = 51) -> dict[str, Any]:
    """ROC and precision-recall curves at evenly spaced thresholds, strictest first."""
    rates = [_rates(truth, (output >= limit).astype(float)) for limit in np.linspace(1.0, 0.0, points)]
    return {
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": [_json(rate["false_positive_rate"]) for rate in rates],
            "true_positive_rates": [_json(rate["true_positive_rate"]) for rate in rates],
        },
        "precision_recall_curve": {
            "precisions": [_json(rate["precision"]) for rate in rates],
            "recalls": [_json(rate["recall"]) for rate in rates],
        },
    }


def _f(precision: float, recall: float, beta: float) -> float:
    return _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _json(value: float) -> float | str:
    """Model Monitor writes what is not a number as the text "NaN"; JSON has no other way."""
    return value if np.isfinite(value) else "NaN"
