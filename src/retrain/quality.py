"""Concept drift: how good the answers of a window were, once their labels are known, against what they have to be.

Data may keep its distribution while the truth behind it changes. No distance between distributions sees that; the
metrics of evaluation do, on captures that found their ground truth. Reads and writes Model Monitor's model-quality
files: one block of statistics, one of constraints, each with a threshold and an operator per metric.

Format: "Model Quality Metrics" and "Schema for constraints", SageMaker Developer Guide.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np

from retrain.capture import Window
from retrain.clock import render
from retrain.drift import Verdict
from retrain.errors import NoBaseline
from retrain.evaluation import Numbers, model_quality
from retrain.ground_truth import Labelled
from retrain.table import parse_number

BLOCKS: Mapping[str, str] = MappingProxyType(
    {"regression": "regression", "binary": "binary_classification", "multiclass": "multiclass_classification"}
)
GREATER, LESS = "GreaterThanThreshold", "LessThanThreshold"  # what violates the constraint
_ERRORS = frozenset({"mae", "mse", "rmse"})  # better when smaller
_CONSTANT = "_best_constant_classifier"

Pair = tuple[str, Sequence[str]]  # label, and the model's answer: a value, a class, or probabilities of the classes


@dataclass(frozen=True, slots=True)
class QualityRules:
    """How much must be known before quality is judged."""

    min_labels: int = 200  # below, Model Monitor gives no standard deviation either
    min_label_coverage: float = 0.8  # share of the window's rows whose label has arrived
    max_bad_share: float = 0.05  # of the labelled rows, those whose label or answer can't be used


@dataclass(frozen=True)
class Pairs:
    """Labels and answers as numbers, as evaluation wants them: `output` is (rows,) or, of classes, (rows, classes).

    `bad` counts by reason the pairs that can't be used.
    """

    task: str
    truth: Numbers
    output: Numbers
    classes: tuple[str, ...]
    bad: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Demand:
    """What is demanded of a metric: `operator` and `threshold` say what violates it."""

    metric: str
    threshold: float
    operator: str

    def violated(self, value: float) -> bool:
        """Whether the value does not meet the demand."""
        return value > self.threshold if self.operator == GREATER else value < self.threshold


@dataclass(frozen=True)
class QualityAnalysis:
    """What is known about the quality of a window's answers; `values` are the metrics that are defined, by name.

    DRIFTED is what violates a constraint; too few labels are UNDECIDED(labels_insufficient), and never STABLE.
    """

    window: Window
    verdict: Verdict
    reason: str | None
    detail: str | None
    rows: int
    labelled: int
    bad: Mapping[str, int]
    values: Mapping[str, float]
    violated: tuple[Demand, ...]
    block: Mapping[str, Any] = field(repr=False)

    @property
    def label_coverage(self) -> float:
        """Share of the rows that have a label, 0 if there are no rows."""
        return self.labelled / self.rows if self.rows else 0.0

    def statistics(self) -> dict[str, Any]:
        """The window's model-quality statistics.json; without a block of metrics if there was nothing to compute."""
        count = self.labelled - sum(self.bad.values())
        dataset = {"item_count": count, "evaluation_time": render(self.window[1])}
        return {"version": 0.0, "dataset": dataset, **self.block}

    def constraint_violations(self) -> dict[str, Any]:
        """The window's constraint_violations.json."""
        return {
            "violations": [
                {
                    "metric_name": demand.metric,
                    "constraint_check_type": demand.operator,
                    "description": (
                        f"Metric {demand.metric} with {self.values[demand.metric]} was {demand.operator} "
                        f"{demand.threshold}"
                    ),
                }
                for demand in self.violated
            ]
        }

    def metrics(self, endpoint_name: str, schedule_name: str) -> list[dict[str, Any]]:
        """The window's metrics as boto3's PutMetricData takes them, under Model Monitor's names, at the window's end.

        `label_coverage` is published always, what was not decided is not.
        """
        endpoint = [{"Name": "Endpoint", "Value": endpoint_name}]
        schedule = [*endpoint, {"Name": "MonitoringSchedule", "Value": schedule_name}]
        found = [_metric("label_coverage", self.label_coverage, endpoint, self.window[1])]
        if self.verdict is not Verdict.UNDECIDED:
            found += [
                _metric(name, value, schedule, self.window[1])
                for name, value in self.values.items()
                if not name.endswith(_CONSTANT)
            ]
        return found


def pairs_of(labelled: Iterable[Labelled]) -> Iterator[Pair]:
    """Label and answer of every row; a row without an answer gives an empty one, for it has to be counted."""
    for item in labelled:
        outputs = item.capture.outputs
        fits = len(outputs) == len(item.labels)
        for index, label in enumerate(item.labels):
            yield label, outputs[index] if fits else ()


def read_pairs(task: str, pairs: Iterable[Pair], classes: Sequence[str] = ()) -> Pairs:
    """The pairs as numbers. `classes` are the model's, in its order; of binary the second is the positive one.

    A label that a multiclass model has never seen is a class of its own, on which it is always wrong.

    >>> read_pairs("regression", [("1.5", ["2"]), ("x", ["2"])]).bad
    {'bad_label': 1}
    >>> read_pairs("multiclass", [("a", ["b"]), ("c", ["0.2", "0.8"])], ["a", "b"]).output.tolist()
    [[0.0, 1.0, 0.0], [0.2, 0.8, 0.0]]
    """
    if task not in BLOCKS:
        raise ValueError(f"unknown task {task}")
    bad: Counter[str] = Counter()
    if task == "multiclass":
        return _multiclass_pairs(pairs, tuple(classes), bad)
    known = tuple(classes) or (("0", "1") if task == "binary" else ())
    truth, output = [], []
    for label, answer in pairs:
        wanted = _number(label) if task == "regression" else _class(label, known)
        found = _number(answer[0]) if len(answer) == 1 else None
        if wanted is None:
            bad["bad_label"] += 1
        elif found is None or (task == "binary" and not 0 <= found <= 1):
            bad["bad_prediction" if answer else "no_prediction"] += 1
        else:
            truth.append(wanted)
            output.append(found)
    return Pairs(task, np.array(truth, dtype=np.float64), np.array(output, dtype=np.float64), known, dict(bad))


def _multiclass_pairs(pairs: Iterable[Pair], classes: tuple[str, ...], bad: Counter[str]) -> Pairs:
    usable: list[tuple[str, str | Numbers]] = []
    for label, answer in pairs:
        if not label.strip():
            bad["bad_label"] += 1
        elif len(answer) == 1 and answer[0].strip():
            usable.append((label.strip(), answer[0].strip()))
        elif len(answer) > 1 and len(answer) == len(classes) and None not in (chances := [*map(_number, answer)]):
            usable.append((label.strip(), np.array(chances, dtype=np.float64)))
        else:
            bad["bad_prediction" if answer else "no_prediction"] += 1
    seen = {label for label, _ in usable} | {name for _, name in usable if isinstance(name, str)}
    every = (*classes, *sorted(seen - set(classes)))
    place = {name: index for index, name in enumerate(every)}
    output = np.zeros((len(usable), len(every)))
    for row, (_, decided) in enumerate(usable):
        if isinstance(decided, str):
            output[row, place[decided]] = 1.0
        else:
            output[row, : len(decided)] = decided
    return Pairs("multiclass", np.array([float(place[label]) for label, _ in usable]), output, every, dict(bad))


def suggest_constraints(statistics: Mapping[str, Any], task: str, margin: float = 0.1) -> dict[str, Any]:
    """constraints.json that holds a window to the quality in those statistics, with a margin for what does not matter.

    The margin is a share of the metric, or three of its standard deviations if that is more. Of the binary rates only
    recall is held, of the constant classifier nothing: the other metrics say the same.
    """
    scalars = statistics.get(f"{BLOCKS[task]}_metrics", {})
    demands: dict[str, Any] = {}
    for name, value in _values(scalars).items():
        if name.endswith((_CONSTANT, "_rate")):
            continue
        deviation = scalars[name].get("standard_deviation")
        noise = 3 * deviation if isinstance(deviation, (int, float)) else 0.0
        leeway = max(margin * abs(value), noise)
        smaller = name in _ERRORS
        demands[name] = {
            "threshold": value + leeway if smaller else value - leeway,
            "comparison_operator": GREATER if smaller else LESS,
        }
    return {"version": 0.0, f"{BLOCKS[task]}_constraints": demands}


def read_constraints(
    document: Mapping[str, Any] | str | bytes, task: str, file: str = "constraints.json"
) -> tuple[Demand, ...]:
    """The demands that the file's content holds. Raises NoBaseline naming file, metric, field and remedy."""
    if isinstance(document, (str, bytes)):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            raise NoBaseline(f"{file}: the file is not JSON: compute the baseline anew") from None
    name = f"{BLOCKS[task]}_constraints"
    block = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(block, dict):
        raise NoBaseline(f"{file}: {name}: an object is expected: compute the baseline of a {task} model")
    return tuple(_demand(metric, found, file) for metric, found in block.items() if metric != "confusion_matrix")


def _demand(metric: str, found: Any, file: str) -> Demand:
    found = found if isinstance(found, dict) else {}
    threshold, operator = found.get("threshold"), found.get("comparison_operator")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise NoBaseline(f"{file}: {metric}: threshold: {threshold!r} is no number: write one")
    if operator not in {GREATER, LESS}:
        raise NoBaseline(f"{file}: {metric}: comparison_operator: {operator!r} is unknown: write {GREATER} or {LESS}")
    return Demand(metric, float(threshold), operator)


def judge_quality(
    pairs: Pairs, rows: int, demands: Sequence[Demand], window: Window, rules: QualityRules | None = None
) -> QualityAnalysis:
    """The verdict on the answers of the window, in which `rows` rows were captured. Raises NoBaseline.

    DRIFTED if a constraint is violated, STABLE if all that could be computed are met, else UNDECIDED(reason):
    labels_insufficient, suspect_data, or not_judged.
    """
    rules = rules or QualityRules()
    good, bad = len(pairs.truth), sum(pairs.bad.values())
    block = model_quality(pairs.task, pairs.truth, pairs.output, pairs.classes) if good else {}
    scalars = block.get(f"{BLOCKS[pairs.task]}_metrics", {})
    values = _values(scalars)
    for demand in demands:
        if good and demand.metric not in scalars:
            known = ", ".join(name for name, value in scalars.items() if "value" in value)
            raise NoBaseline(
                f"constraints.json: {demand.metric}: a {pairs.task} model has no such metric, only {known}"
            )
    judged = [demand for demand in demands if demand.metric in values]
    violated = tuple(demand for demand in judged if demand.violated(values[demand.metric]))
    labelled = good + bad
    verdict, reason, detail = Verdict.UNDECIDED, None, None
    if bad > rules.max_bad_share * labelled:
        reasons = ", ".join(f"{name} {count}" for name, count in pairs.bad.items())
        reason, detail = "suspect_data", f"{bad} of {labelled} labelled rows can't be used: {reasons}"
    elif good < rules.min_labels or labelled < rules.min_label_coverage * rows:
        reason = "labels_insufficient"
        detail = (
            f"{labelled} of {rows} rows have a label, {good} of them can be used; at least {rules.min_labels} and "
            f"{rules.min_label_coverage:.0%} are needed"
        )
    elif not judged:
        reason, detail = "not_judged", "no constraint names a metric that is defined for these rows"
    else:
        verdict = Verdict.DRIFTED if violated else Verdict.STABLE
    return QualityAnalysis(
        window=window,
        verdict=verdict,
        reason=reason,
        detail=detail,
        rows=rows,
        labelled=labelled,
        bad=pairs.bad,
        values=values,
        violated=violated if verdict is Verdict.DRIFTED else (),
        block=block,
    )


def _values(scalars: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that have one number, and have it."""
    return {
        name: float(entry["value"])
        for name, entry in scalars.items()
        if isinstance(entry, dict) and isinstance(entry.get("value"), (int, float))
    }


def _class(label: str, classes: Sequence[str]) -> float | None:
    """The class's number, also if it is a number in another spelling: 1.0 is 1."""
    label = label.strip()
    if label in classes:
        return float(classes.index(label))
    number = _number(label)
    same = [index for index, name in enumerate(classes) if number is not None and _number(name) == number]
    return float(same[0]) if same else None


def _number(text: str) -> float | None:
    value = parse_number(text)
    return None if value is None or math.isnan(value) else value


def _metric(name: str, value: float, dimensions: list[dict[str, str]], time: datetime) -> dict[str, Any]:
    return {"MetricName": name, "Dimensions": dimensions, "Timestamp": time, "Value": float(value), "Unit": "None"}
