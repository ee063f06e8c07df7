"""Before labels come: what a model's main metric is by now, as far as that follows from what was asked and answered.

Learned on a holdout: what a row's loss is to be expected by the model's answer and by the features, and of two classes
how probable the positive one is. A window's estimate is what its own rows make of it. For classifiers that is CBPE,
confidence-based performance estimation; for regression, DLE, direct loss estimation (NannyML's names, its
documentation). The model of the loss is additive, a table of values per feature, so that it travels as JSON, needs
nothing but numpy, and gives each feature its part.

It holds if the labels of the rows that come are what those of such rows were on the holdout. Where that has changed
(concept drift), nothing but labels can tell; where rows are unlike any of the holdout's, nobody knows. Then there is
no estimate, with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.drift.chance import student
from retrain.model.table import Category, Column, Table, thin
from retrain.quality.days import ERRORS, loss
from retrain.quality.metrics import Numbers, score

ANSWER = "_answer"  # the model's answer among the columns: a value, a probability, or the class that was decided
_BINS, _LEVELS, _FEATURES = 20, 50, 20  # per numeric column, per categorical column, columns
_MOST_ROWS = 30_000  # of a holdout that are learned from
_LEAST_ROWS = 400  # of a holdout; of fewer nothing is learned
_FEW = 30  # rows of a holdout that a bin's value may not be believed below
_FOLDS = 8  # spans of a holdout, each estimated from the others
_SHUFFLES, _SEED = 3, 7
_ROUNDS, _RATE, _SHRINK = 20, 0.3, 50.0  # of boosting; a bin's step is that of so many more rows without any
_BY_CHANCE = 2.36  # of two variances of 8 and 24 spans, the larger by the smaller: above it one time in twenty
_TAIL = 0.05  # of realised values outside the interval, where only rows have changed
_WIDEST, _WIDEST_SCORE = 0.7, 0.15  # of an interval, as a share of an error, and of a score: a wider one tells nothing
_BEYOND = 0.1  # share of the rows that may be unlike any of the holdout's, beyond those that were there themselves

Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """A column, cut into bins: what each adds to a row's expected loss, and how many of the holdout's rows it had.

    Numeric columns have `edges`, the bins' inclusive upper ends but for the last, and `ends`, the least and the largest
    value; others have `levels`. `values` and `rows` are (bins,): the last one is of values that are missing or new.
    """

    name: str
    edges: Numbers | None
    ends: tuple[float, float]
    levels: tuple[str, ...]
    values: Numbers
    rows: Numbers

    def codes(self, column: Column) -> Codes:
        """The rows' bins."""
        last = len(self.values) - 1
        if isinstance(column, Category):
            codes = np.asarray(column.codes_in(self.levels), dtype=np.intp)
            return np.where(codes < 0, last, codes)
        found = np.searchsorted(np.empty(0) if self.edges is None else self.edges, column, side="left")
        return np.where(np.isnan(column), last, found)

    def beyond(self, column: Column, codes: Codes) -> NDArray[np.bool_]:
        """Which rows have a value that so few of the holdout's rows had that nothing is known of it."""
        rare = self.rows[codes] < _FEW
        if isinstance(column, Category):
            return rare
        return np.asarray(rare | (column < self.ends[0]) | (column > self.ends[1]))

    def alike(self, codes: Codes) -> float:
        """How much of the holdout speaks for rows with these bins: (sum w)² / sum w², as a share of its rows.

        w is what a row of the holdout has to count to give the window's shares (Kish 1965).
        """
        own = self.rows / self.rows.sum()
        window = np.bincount(codes, minlength=len(own)) / max(len(codes), 1)
        known = own > 0
        return 1.0 / max(float((window[known] ** 2 / own[known]).sum()), 1.0)

    def document(self) -> dict[str, Any]:
        """The form in which it travels in constraints.json."""
        told: dict[str, Any] = {"name": self.name, "values": _spelled(self.values), "rows": _spelled(self.rows)}
        if self.edges is None:
            return told | {"levels": list(self.levels)}
        return told | {"edges": _spelled(self.edges), "ends": list(self.ends)}


@dataclass(frozen=True)
class Estimator:
    """What a holdout says of rows to come. `features` are the model's, name → kind, in the order of its columns.

    `base` is the mean loss. `single` and `lasting` are standard deviations of the logarithm of estimated by realised
    loss: what one row alone would add to it, and what rows of one time have in common, which no number of them makes
    less. `rare` is the share of the holdout's rows that have a rare value.
    """

    metric: str
    features: Mapping[str, str]
    classes: tuple[str, ...]
    rows: int
    base: float
    parts: tuple[Part, ...]
    single: float
    lasting: float
    rare: float

    def document(self) -> dict[str, Any]:
        """The form in which it travels in constraints.json."""
        return {
            "metric": self.metric,
            "features": dict(self.features),
            "classes": list(self.classes),
            "rows": self.rows,
            "base": self.base,
            "parts": [part.document() for part in self.parts],
            "single": self.single,
            "lasting": self.lasting,
            "rare": self.rare,
        }


@dataclass(frozen=True)
class Estimate:
    """The metric of a window as it is to be expected, and where the realised one will be in 95 of 100 cases.

    Both are None where it cannot be known, and `reason` and `detail` say why. `beyond` is the share of the rows that
    are unlike any of the holdout's, `alike` how much of the holdout speaks for them.
    """

    metric: str
    rows: int
    value: float | None
    interval: tuple[float, float] | None
    reason: str | None = None
    detail: str | None = None
    beyond: float = 0.0
    alike: float = 1.0

    def document(self) -> dict[str, Any]:
        """The estimate as analysis.json has it."""
        return {
            "metric": self.metric,
            "rows": self.rows,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "reason": self.reason,
            "detail": self.detail,
            "beyond": self.beyond,
            "alike": self.alike,
        }


def learn_estimator(
    metric: str,
    rows: Table,
    truth: Numbers,
    output: Numbers,
    features: Mapping[str, str],
    *,
    classes: Sequence[str] = (),
    gains: Mapping[str, float] | None = None,
) -> Estimator | None:
    """What the holdout `rows`, in the order of time, say of the metric; None where they are too few to say anything.

    `truth` and `output` are as `score` takes them, `features` name → kind. Looked at are the twenty with the largest
    `gains`.
    """
    looked = sorted(features, key=lambda name: -(gains or {}).get(name, 0.0))[:_FEATURES]
    index = thin(len(truth), _MOST_ROWS)
    truth, output = truth[index], output[index]
    if len(truth) < _LEAST_ROWS or not math.isfinite(score(metric, truth, output)):
        return None
    columns = {ANSWER: answers_of(output, classes)} | {
        name: column.take(index) if isinstance(column, Category) else column[index]
        for name, column in rows.columns.items()
        if name in looked
    }
    cuts = [_cut(name, columns[name]) for name in (ANSWER, *looked)]
    held = _Held(metric, truth, output, cuts, [part.codes(columns[part.name]) for part in cuts])
    base, values = held.learn(np.arange(len(truth)))
    parts = tuple(_valued(part, found, at) for part, found, at in zip(cuts, values, held.codes, strict=True))
    single, lasting = _deviations(held, base, values)
    if not math.isfinite(single) or not math.isfinite(lasting):
        return None
    rare = np.any([part.rows[at] < _FEW for part, at in zip(parts, held.codes, strict=True)], axis=0)
    told = dict(features), tuple(classes), len(truth), base, parts, single, lasting
    return Estimator(metric, *told, rare=float(rare.mean()))


def estimate(known: Estimator, rows: Table, answers: Column) -> Estimate:
    """The window's metric, by its rows and the model's answers: values, probabilities, or classes by name."""
    count = len(answers.codes if isinstance(answers, Category) else answers)
    if count < 200:
        return Estimate(
            known.metric, count, None, None, "rows_insufficient", f"{count} rows of the window can be used, of 200"
        )
    columns: dict[str, Column] = {**rows.columns, ANSWER: answers}
    codes = [part.codes(columns[part.name]) for part in known.parts]
    unlike = np.zeros(count, dtype=bool)
    outside: dict[str, float] = {}
    for part, found in zip(known.parts, codes, strict=True):
        there = part.beyond(columns[part.name], found)
        outside[part.name] = float(there.mean())
        unlike |= there
    alike = min(part.alike(found) for part, found in zip(known.parts, codes, strict=True))
    beyond = float(unlike.mean())
    if beyond > known.rare + _BEYOND:
        worst = max(outside, key=lambda name: outside[name])
        said = f"{beyond:.0%} of the rows have a value that hardly a row of the holdout had, most often {worst}"
        return Estimate(known.metric, count, None, None, "out_of_range", said, beyond, alike)
    expected = known.base + sum(part.values[found] for part, found in zip(known.parts, codes, strict=True))
    value = _aggregated(known.metric, np.asarray(expected), None if isinstance(answers, Category) else answers)
    if value is None:
        said = f"{known.metric} is not defined for these answers"
        return Estimate(known.metric, count, None, None, "not_defined", said, beyond, alike)
    low, high = interval = _between(known.metric, value, student(_FOLDS, _TAIL) * _deviation(known, count, alike))
    if high - low > (_WIDEST * value if known.metric in ERRORS else _WIDEST_SCORE):
        said = f"it may lie between {low:.4g} and {high:.4g}, which tells nothing"
        return Estimate(known.metric, count, None, None, "not_tellable", said, beyond, alike)
    return Estimate(known.metric, count, value, interval, None, None, beyond, alike)


def answers_of(output: Numbers, classes: Sequence[str]) -> Column:
    """The model's output as a column: of several classes the one that was decided."""
    if output.ndim == 1:
        return output
    decided = np.argmax(output, axis=1).astype(np.int32)
    order = sorted(range(len(classes)), key=lambda place: classes[place])
    place = np.argsort(np.array(order, dtype=np.int32)).astype(np.int32)
    return Category(place[decided], tuple(classes[index] for index in order))


def read_estimator(document: Any) -> Estimator | None:
    """What `Estimator.document` wrote; None if there is nothing. Raises ValueError for anything else."""
    if document is None:
        return None
    try:
        parts = tuple(starmap(_read_part, ((item, place) for place, item in enumerate(document["parts"]))))
        known = Estimator(
            str(document["metric"]),
            {str(name): str(kind) for name, kind in document["features"].items()},
            tuple(map(str, document["classes"])),
            int(document["rows"]),
            float(document["base"]),
            parts,
            float(document["single"]),
            float(document["lasting"]),
            float(document["rare"]),
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"estimate: what was learned on a holdout is expected: {error!r}") from None
    if known.rows < 1 or not parts or not (0 <= known.single < math.inf and 0 <= known.lasting < math.inf):
        raise ValueError("estimate: rows, parts, single and lasting are out of their bounds")
    return known


def _read_part(item: Mapping[str, Any], place: int) -> Part:
    values, rows = (np.array(item[key], dtype=np.float64) for key in ("values", "rows"))
    edges = np.array(item["edges"], dtype=np.float64) if "edges" in item else None
    levels = tuple(map(str, item.get("levels", ())))
    bins = (len(levels) if edges is None else len(edges) + 1) + 1
    if values.shape != (bins,) or rows.shape != (bins,) or not np.isfinite(values).all():
        raise ValueError(f"parts[{place}] has not a value and a count for each of its {bins} bins")
    low, high = item.get("ends", (0.0, 0.0))
    return Part(str(item["name"]), edges, (float(low), float(high)), levels, values, rows)


def _target(metric: str, truth: Numbers, output: Numbers) -> Numbers:
    """What is expected of a row: its loss, or of two classes that it is the positive one."""
    if metric in ERRORS:
        return np.asarray(np.abs(output - truth) if metric == "mae" else (output - truth) ** 2)
    if output.ndim == 1:
        return truth
    return np.asarray(np.argmax(output, axis=1) != truth, dtype=np.float64)


def _aggregated(metric: str, expected: Numbers, answers: Numbers | None) -> float | None:
    """The metric of rows whose `_target` is expected to be that; None where it is not defined."""
    if metric in ERRORS:
        mean = max(float(expected.mean()), 0.0)
        value = math.sqrt(mean) if metric == "rmse" else mean
    elif answers is None:
        value = 1.0 - float(np.clip(expected, 0.0, 1.0).mean())
    else:
        chance = np.clip(expected, 0.0, 1.0)
        value = _expected_auc(chance, answers)
        if metric == "accuracy":
            value = float(np.where(answers >= 0.5, chance, 1.0 - chance).mean())
    return value if math.isfinite(value) else None


def _expected_auc(chance: Numbers, answers: Numbers) -> float:
    """AUC of rows that are positive with these chances: the share of pairs in order, each by how likely it is one.

    >>> float(_expected_auc(np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9])))
    0.75
    """
    order = np.argsort(answers, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(answers[order]) > 0])
    up, down = np.add.reduceat(chance[order], starts), np.add.reduceat(1.0 - chance[order], starts)
    pairs = up.sum() * down.sum()
    return float((up * (np.cumsum(down) - down / 2)).sum() / pairs) if pairs > 0 else math.nan


def _cut(name: str, column: Column) -> Part:
    """The column's bins, of about as many rows each; of categories the most frequent ones."""
    if isinstance(column, Category):
        times = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
        levels = tuple(column.levels[code] for code in np.argsort(-times, kind="stable")[:_LEVELS])
        bins = np.zeros(len(levels) + 1)
        return Part(name, None, (0.0, 0.0), levels, bins, bins)
    there = column[~np.isnan(column)]
    if not len(there):
        return Part(name, np.empty(0), (0.0, 0.0), (), np.zeros(2), np.zeros(2))
    edges = np.unique(np.quantile(there, np.arange(1, _BINS) / _BINS, method="lower"))
    bins = np.zeros(len(edges) + 2)
    return Part(name, edges, (float(there.min()), float(there.max())), (), bins, bins)


def _valued(part: Part, values: Numbers, codes: Codes) -> Part:
    rows = np.bincount(codes, minlength=len(values)).astype(np.float64)
    return Part(part.name, part.edges, part.ends, part.levels, values, rows)


@dataclass(frozen=True)
class _Held:
    """A holdout: labels, answers, and the rows' bins of each part."""

    metric: str
    truth: Numbers
    output: Numbers
    parts: Sequence[Part]
    codes: Sequence[Codes]

    def learn(self, index: Codes) -> tuple[float, list[Numbers]]:
        """The mean of those rows' target, and what each bin of each part adds: boosted in turns, small bins less.

        The answer comes first and is fitted in full: what remains is the features' to explain.
        """
        target = _target(self.metric, self.truth[index], self.output[index])
        codes = [at[index] for at in self.codes]
        base = float(target.mean())
        rest = target - base
        values = [np.zeros(len(part.values)) for part in self.parts]
        counts = [np.bincount(at, minlength=len(found)) for at, found in zip(codes, values, strict=True)]
        for turn in range(_ROUNDS):
            for place, at in enumerate(codes):
                rate, shrink = (1.0, _SHRINK / 10) if place == turn == 0 else (_RATE, _SHRINK)
                step = rate * np.bincount(at, rest, minlength=len(values[place])) / (counts[place] + shrink)
                values[place] += step
                rest -= step[at]
        return base, values

    def expected(self, base: float, values: Sequence[Numbers], index: Codes) -> Numbers:
        """The target of those rows as it is to be expected."""
        return np.asarray(base + sum(found[at[index]] for at, found in zip(self.codes, values, strict=True)))

    def apart(self, order: Codes) -> list[float]:
        """The logarithm of estimated by realised loss of eight spans of the rows, each estimated from the others."""
        found = []
        for inside in np.array_split(order, _FOLDS):
            base, values = self.learn(np.setdiff1d(order, inside, assume_unique=True))
            answers = self.output[inside] if self.output.ndim == 1 else None
            value = _aggregated(self.metric, self.expected(base, values, inside), answers)
            realised = score(self.metric, self.truth[inside], self.output[inside])
            if value is not None and math.isfinite(realised):
                found.append(_apart(self.metric, value, realised, len(inside)))
        return found


def _deviations(held: _Held, base: float, values: Sequence[Numbers]) -> tuple[float, float]:
    """`single` and `lasting`, of eight spans of the holdout, each estimated from the others.

    Spans of shuffled rows lie apart by their number of rows; by how much those in the order of time lie further apart
    is what rows of one time have in common. Where losses have heavy tails the spans may have missed them: then the
    rows' own deviation is larger, and taken.
    """
    random, rows = np.random.default_rng(_SEED), len(held.truth)
    by_rows = _spread([gap for _ in range(_SHUFFLES) for gap in held.apart(random.permutation(rows))])
    in_time = _spread(held.apart(np.arange(rows)))
    single = by_rows / math.sqrt(_FOLDS / rows * _FOLDS / (_FOLDS - 1))
    if held.metric != "auc" and base:  # which is no mean of rows; the logarithm of a root moves half as much
        rest = _target(held.metric, held.truth, held.output) - held.expected(base, values, np.arange(rows))
        single = max(single, float(np.std(rest)) / (base * (2 if held.metric == "rmse" else 1)))
    if in_time**2 <= _BY_CHANCE * by_rows**2:
        return single, 0.0
    return single, math.sqrt(in_time**2 - by_rows**2)


def _spread(gaps: Sequence[float]) -> float:
    """Their root mean square; infinite where there are too few of them."""
    return math.sqrt(sum(gap**2 for gap in gaps) / len(gaps)) if len(gaps) >= _FOLDS // 2 else math.inf


def _apart(metric: str, value: float, realised: float, rows: int) -> float:
    """The logarithm of estimated by realised loss; of no loss at all, as if half a row in all had one."""
    least = 0.0 if metric in ERRORS else 0.5 / rows
    losses = [max(loss(metric, item), least) for item in (value, realised)]
    return math.log(losses[0] / losses[1]) if min(losses) > 0 else math.inf


def _deviation(known: Estimator, rows: int, alike: float) -> float:
    """Standard deviation of the logarithm of estimated by realised loss, for so many rows.

    The window's rows and the holdout's that speak for them each add their part, as means do.
    """
    return math.hypot(known.lasting, known.single * math.sqrt(1 / rows + 1 / (alike * known.rows)))


def _between(metric: str, value: float, half: float) -> tuple[float, float]:
    """The ends of the interval: `half` to each side of the loss's logarithm."""
    ends = [loss(metric, value) * math.exp(side * half) for side in (-1, 1)]
    low, high = sorted(end if metric in ERRORS else 1.0 - end for end in ends)
    return low, high


def _spelled(values: Numbers) -> list[float]:
    """Six digits, as many as there is to say."""
    return [float(f"{value:.6g}") for value in values.tolist()]
