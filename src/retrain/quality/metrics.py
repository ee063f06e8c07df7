"""How good predictions are: the main metric, curves, Model Monitor's model-quality metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.drift.chance import student

Numbers = NDArray[np.float64]
_FEW = 200  # Model Monitor gives no standard deviation below this many samples
_GROUPS, _DRAWS = 500, 4000  # of a bootstrap: 0.05 s whatever the number of rows
_SPANS = 24  # of a window's rows, in the order of time
_SEED = 7
_UNBOUNDED = frozenset({"mae", "mse", "rmse", "r2"})  # the others lie between 0 and 1
_EPSILON = 1e-15
BINS = 10
BLOCKS: Mapping[str, str] = MappingProxyType(
    {"regression": "regression", "binary": "binary_classification", "multiclass": "multiclass_classification"}
)  # Model Monitor's names of the tasks


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
    """The mean of prediction minus label, both (rows,), in the label's unit."""
    return float(np.mean(output - truth))


def calibration_error(truth: Numbers, output: Numbers) -> float:
    """The expected calibration error, 0 … 1, of labels 0 or 1 and probabilities, both (rows,).

    That is the gap of predicted and observed share, averaged over the rows of the curve.

    Naeini, Cooper and Hauskrecht 2015, with bins of equally many rows instead of equal width.
    """
    bins = curve(truth, output)
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / max(sum(b.rows for b in bins), 1)


def model_quality(
    task: str, truth: Numbers, output: Numbers, classes: tuple[str, ...], seed: int = 7
) -> dict[str, Any]:
    """The metrics block of Model Monitor's model-quality statistics for the task, as plain data.

    `truth` (rows,) are values or class numbers; `output` (rows,) values or probabilities, of classes (rows, classes).
    Each scalar is `{"value", "standard_deviation"}`; the deviation is that of five 80 % resamples, and the text "NaN"
    for fewer than 200 rows. What these rows do not define, as the recall where nothing is positive, is "NaN" too.
    """
    values = _measured(task, truth, output)
    deviations: dict[str, float] = {}
    if len(truth) >= _FEW:
        random = np.random.default_rng(seed)
        samples = []
        for _ in range(5):
            part = random.permutation(len(truth))[: int(len(truth) * 0.8)]
            samples.append(_measured(task, truth[part], output[part]))
        deviations = {key: float(np.std([sample[key] for sample in samples])) for key in values}
    block: dict[str, Any] = {
        key: {"value": _json(value), "standard_deviation": _json(deviations.get(key, float("nan")))}
        for key, value in values.items()
    }
    if task != "regression":
        block["confusion_matrix"] = _confusion(truth, _decided(output), classes)
    if task == "binary":
        block.update(_curves(truth, output))
    return {f"{BLOCKS[task]}_metrics": block}


def intervals(
    task: str, truth: Numbers, output: Numbers, tail: float, times: Numbers | None = None
) -> dict[str, tuple[float, float]]:
    """The ends between which each metric of `model_quality` lies for all that these rows tell: `tail` is outside each.

    Only of metrics that are defined, whose value lies between them. The Bayesian bootstrap (Rubin 1981) over at most
    500 groups of rows. Of a binary model, half a row is added to each cell of the confusion matrix, as in Jeffreys's
    interval of a share: three misses of three do not prove a recall of nothing.

    Rows of one time are alike: with their `times` the groups are spans of time as well, 24 of equally many rows in
    their order, and an interval is the wider of the two. Of so few spans Student's quantile makes up for their number.
    """
    every = np.arange(len(truth))
    found = _intervals(task, truth, output, tail, every % min(len(truth), _GROUPS))
    if times is None or len(truth) < 2 * _SPANS:
        return found
    span = np.empty(len(truth), np.intp)
    span[np.argsort(times, kind="stable")] = every * _SPANS // len(truth)
    wider = student(_SPANS - 1, 2 * tail) / NormalDist().inv_cdf(1 - tail)
    values = _measured(task, truth, output)
    for name, (low, high) in _intervals(task, truth, output, tail, span).items():
        worst, best = values[name] - wider * (values[name] - low), values[name] + wider * (high - values[name])
        found[name] = min(worst, found[name][0]), max(best, found[name][1])
        if name not in _UNBOUNDED:
            found[name] = max(found[name][0], 0.0), min(found[name][1], 1.0)
    return found


def _intervals(
    task: str, truth: Numbers, output: Numbers, tail: float, group: NDArray[np.intp]
) -> dict[str, tuple[float, float]]:
    groups = int(group.max()) + 1
    tally = _tally(task, truth, output, group, groups)
    random = np.random.default_rng(_SEED)
    sums = random.standard_exponential((_DRAWS, groups)) @ tally.sums
    sums += random.standard_gamma(0.5, (_DRAWS, len(tally.halves))) @ tally.halves
    drawn = _METRICS[task](sums)
    values = {name: value for name, value in _measured(task, truth, output).items() if np.isfinite(value)}
    ends = {name: np.nanquantile(drawn[name], [tail, 1 - tail]) for name in values}
    return {name: (float(min(low, values[name])), float(max(high, values[name]))) for name, (low, high) in ends.items()}


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


@dataclass(frozen=True)
class _Tally:
    """What the metrics of a task are made of: `sums` of groups of rows (groups, columns), and rows that count half."""

    sums: Numbers
    halves: Numbers


def _measured(task: str, truth: Numbers, output: Numbers) -> dict[str, float]:
    """The metrics of the rows, NaN where they are not defined."""
    every = _tally(task, truth, output, np.zeros(len(truth), dtype=np.intp), 1)
    return {name: float(value[0]) for name, value in _METRICS[task](every.sums).items()}


def _tally(task: str, truth: Numbers, output: Numbers, group: NDArray[np.intp], groups: int) -> _Tally:
    if task == "multiclass":
        return _of_classes(truth, output, group, groups)
    columns, halves = _of_values(truth, output) if task == "regression" else _of_two(truth, output)
    sums = [np.bincount(group, weights=column, minlength=groups) for column in columns]
    return _Tally(np.column_stack(sums), halves)


def _of_values(truth: Numbers, output: Numbers) -> tuple[list[Numbers], Numbers]:
    error, from_mean = output - truth, truth - truth.mean()
    return [np.ones(len(truth)), np.abs(error), error**2, from_mean, from_mean**2], np.empty((0, 5))


def _of_two(truth: Numbers, output: Numbers) -> tuple[list[Numbers], Numbers]:
    """The confusion matrix, and per row what AUC is the mean of: the share of the other class that is on its side.

    AUC is the mean of that over the positive rows. How much it moves with the negative ones is what theirs deviate
    (DeLong, DeLong and Clarke-Pearson 1988).
    """
    positive = truth == 1
    place = np.empty(len(truth))
    for own, other in ((positive, ~positive), (~positive, positive)):
        others = np.sort(output[other])
        below, upto = (np.searchsorted(others, output[own], side) for side in ("left", "right"))
        with np.errstate(invalid="ignore"):
            place[own] = (below + upto) / 2 / len(others) if len(others) else np.nan
    place[~positive] = 1 - place[~positive]
    auc = place[positive].mean() if positive.any() else np.nan
    cells = [cell.astype(np.float64) for cell in _cells(positive, _decided(output) == 1)]
    columns = [*cells, np.where(positive, place, 0.0), np.where(positive, 0.0, place - auc)]
    # One for each cell; who decides rightly ranks rightly.
    halves = np.column_stack([np.eye(4), [1.0, 0.0, 0.0, 0.0], [0.0, -auc, 0.0, 1 - auc]])
    return columns, halves


def _cells(truth: NDArray[np.bool_], decided: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    """True positive, false positive, false negative, true negative."""
    return truth & decided, ~truth & decided, truth & ~decided, ~truth & ~decided


def _of_classes(truth: Numbers, output: Numbers, group: NDArray[np.intp], groups: int) -> _Tally:
    """Of each class how often it was found, decided, and true."""
    count, decided = output.shape[1], _decided(output)
    found = [
        np.bincount(group[rows] * count + of[rows].astype(np.intp), minlength=groups * count).reshape(groups, count)
        for of, rows in ((truth, decided == truth), (decided, slice(None)), (truth, slice(None)))
    ]
    return _Tally(np.hstack(found).astype(np.float64), np.empty((0, 3 * count)))


def _regression(sums: Numbers) -> dict[str, Numbers]:
    rows, absolute, squared, from_mean, spread = sums.T
    mse, variance = squared / rows, spread / rows - (from_mean / rows) ** 2
    return {"mae": absolute / rows, "mse": mse, "rmse": np.sqrt(mse), "r2": 1.0 - _ratio(mse, variance)}


def _binary(sums: Numbers) -> dict[str, Numbers]:
    tp, fp, fn, tn, ranked, moved = sums.T
    positive, negative = tp + fn, fp + tn
    auc = np.clip(_ratio(ranked, positive) + _ratio(moved, negative), 0.0, 1.0)
    majority = positive >= negative
    best = _rates(
        np.where(majority, positive, 0.0),
        np.where(majority, negative, 0.0),
        np.where(majority, 0.0, positive),
        np.where(majority, 0.0, negative),
    ) | {"auc": np.full(len(auc), 0.5)}
    values = _rates(tp, fp, fn, tn) | {"auc": auc}
    return values | {f"{key}_best_constant_classifier": value for key, value in best.items() if "rate" not in key}


def _rates(tp: Numbers, fp: Numbers, fn: Numbers, tn: Numbers) -> dict[str, Numbers]:
    """NaN is the share of nothing; with no positive row to find, the F measures are, too."""
    positive, decided = tp + fn, tp + fp
    recall = _ratio(tp, positive)
    f = {
        name: np.where(positive > 0, _ratio((1 + beta**2) * tp, beta**2 * positive + decided), np.nan)
        for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0))
    }
    return {
        "recall": recall,
        "precision": _ratio(tp, decided),
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "true_positive_rate": recall,
        "true_negative_rate": _ratio(tn, tn + fp),
        "false_positive_rate": _ratio(fp, fp + tn),
        "false_negative_rate": _ratio(fn, fn + tp),
        **f,
    }


def _multiclass(sums: Numbers) -> dict[str, Numbers]:
    """Means over the classes that occur, by how often they do; a class that is never decided has a precision of 0."""
    found, decided, true = np.split(sums, 3, axis=1)
    rows = true.sum(axis=1)

    def weighted(part: Numbers, whole: Numbers) -> Numbers:
        return np.asarray((true * np.nan_to_num(_ratio(part, whole))).sum(axis=1) / rows)

    f = {
        f"weighted_{name}": weighted((1 + beta**2) * found, beta**2 * true + decided)
        for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0))
    }
    accuracy = found.sum(axis=1) / rows
    return {"accuracy": accuracy, "weighted_recall": accuracy, "weighted_precision": weighted(found, decided), **f}


_METRICS: Mapping[str, Callable[[Numbers], dict[str, Numbers]]] = MappingProxyType(
    {"regression": _regression, "binary": _binary, "multiclass": _multiclass}
)


def _confusion(truth: Numbers, decided: Numbers, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Rows are true classes, columns decided ones."""
    return {
        actual: {other: int(np.sum((truth == i) & (decided == j))) for j, other in enumerate(classes)}
        for i, actual in enumerate(classes)
    }


def _curves(truth: Numbers, output: Numbers, points: int = 51) -> dict[str, Any]:
    """ROC and precision-recall curves at evenly spaced thresholds, strictest first; the share of nothing is 0 there."""
    limits = np.linspace(1.0, 0.0, points)
    cells = [[cell.sum() for cell in _cells(truth == 1, output >= limit)] for limit in limits]
    rates = {name: np.nan_to_num(rate).tolist() for name, rate in _rates(*np.array(cells, dtype=np.float64).T).items()}
    return {
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": rates["false_positive_rate"],
            "true_positive_rates": rates["true_positive_rate"],
        },
        "precision_recall_curve": {"precisions": rates["precision"], "recalls": rates["recall"]},
    }


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    """NaN where the whole is nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole != 0, part / whole, np.nan)


def _json(value: float) -> float | str:
    """Model Monitor writes what is not a number as the text "NaN"; JSON has no other way."""
    return value if np.isfinite(value) else "NaN"
