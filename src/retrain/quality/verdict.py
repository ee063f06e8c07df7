"""Concept drift: how good the answers of a window were, once their labels are known, against what they have to be.

Data may keep its distribution while the truth behind it changes. No distance between distributions sees that; the
metrics of evaluation do, on captures that found their ground truth. Reads and writes Model Monitor's model-quality
files: one block of statistics, one of constraints, each with a threshold and an operator per metric.

A threshold is what quality may cost, not a significance level, and a window's metric is uncertain. So a window has
drifted if a metric is beyond its threshold wherever the metric may lie for all that the window's rows tell; it is
stable if all metrics are within, and none may be so far beyond that an error has doubled or a score halved; otherwise
nothing is known.

Format: "Model Quality Metrics" and "Schema for constraints", SageMaker Developer Guide.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from statistics import NormalDist
from typing import Any

import numpy as np

from retrain.capture.answers import Answers
from retrain.capture.ground_truth import Labelled
from retrain.capture.quarantine import UnreadableError
from retrain.core.clock import render
from retrain.core.errors import NoBaseline
from retrain.core.window import HOUR, Window
from retrain.drift.verdict import Verdict
from retrain.model.table import class_name
from retrain.model.values import parse_number
from retrain.quality.days import Main, read_main
from retrain.quality.estimate import Estimate, Estimator, read_estimator
from retrain.quality.evenness import Evenness, evenness
from retrain.quality.labels import Labels, read_labels
from retrain.quality.metrics import BLOCKS, Numbers, intervals, model_quality, resampled

GREATER, LESS = "GreaterThanThreshold", "LessThanThreshold"  # what violates the constraint
DEFAULT_TOLERANCE = 0.25
_ERRORS = frozenset({"mae", "mse", "rmse"})  # better when smaller
_SAID_BY_OTHERS = frozenset({"mse", "r2"})  # by rmse; r2 also moves with the spread of the labels
_CONSTANT = "_best_constant_classifier"
_DRAWS = 200  # of weighted rows
_OWN = "drift_retrain"  # our members beside Model Monitor's
_CHANCE = 0.01  # of DRIFTED where a metric lies on its threshold; shared by the metrics (Bonferroni)
_PERFECT = 6.0  # rows: how many may be wrong later of as many as a holdout had, if none of those was (99.8 %)

Pair = tuple[str, Sequence[str]]  # label, and the model's answer: a value, a class, or probabilities of the classes


@dataclass(frozen=True, slots=True)
class QualityRules:
    """How much must be known before quality is judged. Raises ValueError naming the rule and what it may be."""

    min_labels: int = 200  # below, Model Monitor gives no standard deviation either
    min_label_coverage: float = 0.05  # share of the window's rows whose label has arrived: a sample is enough
    max_bad_share: float = 0.05  # of lines that can't be read, and of labelled rows whose label or answer is unusable
    label_delay_hours: float | None = None  # until labels are known; None: the deployment says it
    false_alarms_per_year: float = 0.1  # of a model whose quality has not changed
    evidence_rows: int | None = None  # labelled rows that are enough to train on and to judge by; None: nobody said it
    label_reach: float = 0.8  # share of the window to which labels have to have come
    cycle_hours: float = 24.0  # of traffic, which they have to cover
    training_dollars: float = 0.0  # what an episode costs, 0: nothing is reckoned
    error_dollars: float = 0.0  # a month, of a unit of the main metric's loss
    prediction: str | int | None = None  # which of an answer's values it is: name or index; None: the answer itself

    def __post_init__(self) -> None:
        if (delay := self.label_delay_hours) is not None and (not _is_number(delay) or delay < 0):
            raise ValueError(f"label_delay_hours: {delay!r} is not a number from 0")
        if not _is_number(self.min_labels) or self.min_labels < 1:
            raise ValueError(f"min_labels: {self.min_labels!r} is not a number from 1")
        for name in ("min_label_coverage", "max_bad_share"):
            if not _is_number(share := getattr(self, name)) or not 0 <= share <= 1:
                raise ValueError(f"{name}: {share!r} is not a number from 0 to 1")


@dataclass(frozen=True)
class QualityBaseline:
    """What a model's answers are held to: constraints.json of model quality.

    `classes` are a classifier's in the order of its class numbers; empty if the file does not say.
    """

    task: str
    classes: tuple[str, ...]
    demands: tuple[Demand, ...]
    rules: QualityRules
    main: Main | None = None
    estimator: Estimator | None = None
    labels: Labels | None = None

    def severity(self, metric: str, value: float) -> float | None:
        """The value in units of what is demanded of the metric; None where nothing is."""
        return next((demand.severity(value) for demand in self.demands if demand.metric == metric), None)


@dataclass(frozen=True)
class Pairs:
    """Labels and answers as numbers, as evaluation wants them: `output` is (rows,) or, of classes, (rows, classes).

    `bad` counts by reason the pairs that can't be used. `times` are those of the rows (rows,), in seconds since 1970.
    """

    task: str
    truth: Numbers
    output: Numbers
    classes: tuple[str, ...]
    bad: Mapping[str, int]
    times: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What is demanded of a metric: `operator` and `threshold` say what violates it."""

    metric: str
    threshold: float
    operator: str

    def violated(self, value: float) -> bool:
        """Whether the value does not meet the demand."""
        return value > self.threshold if self.operator == GREATER else value < self.threshold

    def severity(self, value: float) -> float:
        """How bad the value is in units of the threshold: above 1 exactly if the demand is violated.

        >>> Demand("rmse", 10.0, GREATER).severity(22.0), Demand("auc", 0.8, LESS).severity(0.6)
        (2.2, 1.25)
        """
        beyond = value - self.threshold if self.operator == GREATER else self.threshold - value
        severity = min(1 + beyond / (abs(self.threshold) or 1.0), 1e6)
        # Rounding must not bring it to the other side of what the alarm looks at.
        return max(severity, math.nextafter(1.0, math.inf)) if self.violated(value) else min(severity, 1.0)

    def verdict(self, value: float, interval: tuple[float, float]) -> Verdict:
        """What is known, if the metric is that value and lies in the interval.

        >>> demand = Demand("rmse", 10.0, GREATER)
        >>> [str(demand.verdict(*seen)) for seen in [(22.0, (12.0, 30.0)), (12.0, (9.0, 15.0)), (9.0, (8.0, 12.0))]]
        ['DRIFTED', 'UNDECIDED', 'STABLE']
        """
        best, worst = interval if self.operator == GREATER else interval[::-1]
        if self.violated(best):
            return Verdict.DRIFTED
        ruined = 2.0 if self.operator == GREATER else 1.5  # the error has doubled, the score halved
        hidden = self.violated(value) or self.severity(worst) > ruined
        return Verdict.UNDECIDED if hidden else Verdict.STABLE

    def said_of(self, value: float) -> str:
        """The value and what is demanded, for people.

        >>> Demand("rmse", 10.0, GREATER).said_of(22.04)
        'rmse is 22.04, at most 10 is allowed'
        """
        demanded = "at most {:.4g} is allowed" if self.operator == GREATER else "at least {:.4g} is needed"
        return f"{self.metric} is {value:.4g}, {demanded.format(self.threshold)}"


@dataclass(frozen=True)
class QualityAnalysis:
    """What is known about the quality of a window's answers; `values` are the metrics that are defined, by name.

    DRIFTED is what surely violates a constraint; too few labels are UNDECIDED(labels_insufficient), and never STABLE.
    `intervals` say where the metrics may lie for all that the window's rows tell, `verdicts` what follows from that.
    `judged` are the demands whose metric is defined, `deciding` the main metric's among them, or all if the file names
    none, `violated` those of them that are surely not met, the worst first. What does not decide is reported.
    """

    task: str
    window: Window
    verdict: Verdict
    reason: str | None
    detail: str | None
    rows: int
    labelled: int
    bad: Mapping[str, int]
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    verdicts: Mapping[str, Verdict]
    judged: tuple[Demand, ...]
    deciding: tuple[Demand, ...]
    violated: tuple[Demand, ...]
    block: Mapping[str, Any] = field(repr=False)
    sample: Evenness | None = None  # of the labels, where more rows were captured than have one

    @property
    def quality_max(self) -> float | None:
        """The worst metric in units of its threshold, above 1 exactly if the verdict is DRIFTED; None if UNDECIDED."""
        if self.verdict is Verdict.UNDECIDED:
            return None
        return max(demand.severity(self.values[demand.metric]) for demand in self.violated or self.deciding)

    @property
    def label_coverage(self) -> float:
        """Share of the rows that have a label, 0 if there are no rows."""
        return self.labelled / self.rows if self.rows else 0.0

    def contradicts(self, expected: Estimate) -> bool:
        """Whether the labels say otherwise than was to be expected of these rows: their relation has changed."""
        if expected.interval is None or (realised := self.intervals.get(expected.metric)) is None:
            return False
        return realised[0] > expected.interval[1] or realised[1] < expected.interval[0]

    def statistics(self) -> dict[str, Any]:
        """The window's model-quality statistics.json; without a block of metrics if there was nothing to compute."""
        count = self.labelled - sum(self.bad.values())
        dataset = {"item_count": count, "evaluation_time": render(self.window[1])}
        return {"version": 0.0, "dataset": dataset, **self.block}

    def constraints(self) -> dict[str, Any]:
        """The constraints.json that the window was judged by, as far as its metrics are defined."""
        return constraints_of(self.task, self.judged)

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

    def document(self) -> dict[str, Any]:
        """analysis.json: every number of the analysis, in JSON's types."""
        return {
            "version": 1,
            "task": self.task,
            "window_start": render(self.window[0]),
            "window_end": render(self.window[1]),
            "verdict": self.verdict.value,
            "reason": self.reason,
            "detail": self.detail,
            "rows": self.rows,
            "labelled": self.labelled,
            "label_coverage": self.label_coverage if self.rows else None,
            "bad_pairs": dict(self.bad),
            "label_sample": self.sample.document() if self.sample else None,
            "quality_max": self.quality_max,
            "metrics": [
                {
                    "name": demand.metric,
                    "value": self.values[demand.metric],
                    "interval": list(self.intervals[demand.metric]),
                    "verdict": self.verdicts[demand.metric].value,
                    "threshold": demand.threshold,
                    "comparison_operator": demand.operator,
                    "severity": demand.severity(self.values[demand.metric]),
                    "decides": demand in self.deciding,
                }
                for demand in self.judged
            ],
        }

    def metrics(self, endpoint_name: str, schedule_name: str, time: datetime) -> list[dict[str, Any]]:
        """The window's metrics as boto3's PutMetricData takes them, at the time of the analysis.

        That is not the window's end: labels come late, and an alarm does not look at what is long past. The metrics
        themselves have Model Monitor's names and dimensions; `label_coverage` and `quality_max` are the aggregates.
        What was not decided is not published, nor is the coverage of no rows.
        """
        endpoint = [{"Name": "Endpoint", "Value": endpoint_name}]
        schedule = [*endpoint, {"Name": "MonitoringSchedule", "Value": schedule_name}]
        found = [_metric("label_coverage", self.label_coverage, endpoint, time)] if self.rows else []
        if self.quality_max is not None:
            found.append(_metric("quality_max", self.quality_max, endpoint, time))
            found += [
                _metric(name, value, schedule, time)
                for name, value in self.values.items()
                if not name.endswith(_CONSTANT)
            ]
        return found


def pairs_of(labelled: Iterable[Labelled], prediction: str | int | None = None) -> Iterator[Pair]:
    """Label and answer of every row; a row without an answer gives an empty one, for it has to be counted.

    The answer is its value of the name or at the index `prediction`, or all of it. One without such a value is empty.
    """
    answers = Answers(prediction)
    for item in labelled:
        outputs, names = item.capture.outputs, item.capture.answer_names
        fits = len(outputs) == len(item.labels)
        for index, label in enumerate(item.labels):
            answer: Sequence[str] = outputs[index] if fits else ()
            if answer and prediction is not None:
                try:
                    answer = [answers.prediction(list(answer), names)]
                except UnreadableError:
                    answer = ()
            yield label, answer


def times_of(labelled: Iterable[Labelled]) -> list[float]:
    """When each row was asked, in seconds since 1970, in the order of `pairs_of`."""
    return [item.capture.time.timestamp() for item in labelled for _ in item.labels]


def read_pairs(
    task: str, pairs: Iterable[Pair], classes: Sequence[str] = (), times: Sequence[float] | None = None
) -> Pairs:
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
        return _multiclass_pairs(pairs, tuple(classes), bad, times)
    known = tuple(classes) or (("0", "1") if task == "binary" else ())
    truth, output, kept = [], [], []
    for place, (label, answer) in enumerate(pairs):
        wanted = _number(label) if task == "regression" else _class(label, known)
        found = _number(answer[0]) if len(answer) == 1 else None
        if wanted is None:
            bad["bad_label"] += 1
        elif found is None or (task == "binary" and not 0 <= found <= 1):
            bad["bad_prediction" if answer else "no_prediction"] += 1
        else:
            truth.append(wanted)
            output.append(found)
            kept.append(place)
    numbers = np.array(truth, dtype=np.float64), np.array(output, dtype=np.float64)
    return Pairs(task, *numbers, known, dict(bad), _those(times, kept))


def _those(times: Sequence[float] | None, kept: Sequence[int]) -> Numbers | None:
    return None if times is None else np.array(times, dtype=np.float64)[np.array(kept, dtype=np.intp)]


def _multiclass_pairs(
    pairs: Iterable[Pair], classes: tuple[str, ...], bad: Counter[str], times: Sequence[float] | None
) -> Pairs:
    usable: list[tuple[str, str | Numbers]] = []
    kept: list[int] = []
    for number, (label, answer) in enumerate(pairs):
        before = len(usable)
        if not label.strip():
            bad["bad_label"] += 1
        elif len(answer) == 1 and answer[0].strip():
            usable.append((class_name(label), class_name(answer[0])))
        elif len(answer) > 1 and len(answer) == len(classes) and None not in (chances := [*map(_number, answer)]):
            usable.append((class_name(label), np.array(chances, dtype=np.float64)))
        else:
            bad["bad_prediction" if answer else "no_prediction"] += 1
        if len(usable) > before:
            kept.append(number)
    seen = {label for label, _ in usable} | {name for _, name in usable if isinstance(name, str)}
    every = (*classes, *sorted(seen - {class_name(known) for known in classes}))
    place = {class_name(name): index for index, name in enumerate(every)}
    output = np.zeros((len(usable), len(every)))
    for row, (_, decided) in enumerate(usable):
        if isinstance(decided, str):
            output[row, place[decided]] = 1.0
        else:
            output[row, : len(decided)] = decided
    truth = np.array([float(place[label]) for label, _ in usable])
    return Pairs("multiclass", truth, output, every, dict(bad), _those(times, kept))


def suggest_constraints(
    statistics: Mapping[str, Any],
    task: str,
    tolerance: float = DEFAULT_TOLERANCE,
    *,
    classes: Sequence[str] = (),
    rules: QualityRules | None = None,
    main: Main | None = None,
    estimator: Estimator | None = None,
    labels: Labels | None = None,
) -> dict[str, Any]:
    """constraints.json that holds a window to the quality in those statistics; the file says of which classes.

    What may grow by the tolerance, a share, is the loss: an error itself, or what a score lacks to 1. It may grow by
    more where so few rows tell nothing finer: by two standard errors, each twice the standard deviation of Model
    Monitor's 80 % resamples, which vary half as much as new samples would (the window's own uncertainty comes on top);
    and by six of a classifier's rows, because a holdout without a mistake shows no deviation. Of the binary rates only
    recall is held, of regression neither mse nor r2, of the constant classifier nothing: the other metrics say the
    same.
    """
    scalars = statistics.get(f"{BLOCKS[task]}_metrics", {})
    rows = [sum(row.values()) for row in scalars.get("confusion_matrix", {}).values()]
    demands = []
    for name, value in _values(scalars).items():
        if name.endswith((_CONSTANT, "_rate")) or name in _SAID_BY_OTHERS:
            continue
        deviation = scalars[name].get("standard_deviation")
        noise = 4 * deviation if isinstance(deviation, (int, float)) else 0.0
        smaller = name in _ERRORS
        of_class = task == "binary" and name != "accuracy"
        if told := (min(rows) if of_class else sum(rows)) if rows else 0:
            noise = max(noise, _PERFECT / told)
        leeway = max(tolerance * abs(value if smaller else 1 - value), noise)
        demands.append(Demand(name, value + leeway, GREATER) if smaller else Demand(name, value - leeway, LESS))
    own: dict[str, Any] = {"classes": list(classes), **asdict(rules or QualityRules())}
    own |= {"main": main.document()} if main else {}
    own |= {"estimate": estimator.document()} if estimator else {}
    own |= {"labels": labels.document()} if labels else {}
    return {**constraints_of(task, demands), _OWN: own}


def constraints_of(task: str, demands: Iterable[Demand]) -> dict[str, Any]:
    """constraints.json of those demands on a model of that task."""
    block = {
        demand.metric: {"threshold": demand.threshold, "comparison_operator": demand.operator} for demand in demands
    }
    return {"version": 0.0, f"{BLOCKS[task]}_constraints": block}


def read_baseline(document: Mapping[str, Any] | str | bytes, file: str = "constraints.json") -> QualityBaseline:
    """The model-quality constraints that the file's content holds, whatever the model's task.

    Where the file does not say how much has to be known, the defaults apply. Raises NoBaseline naming file and field.
    """
    document = _object(document, file)
    tasks = [task for task, block in BLOCKS.items() if f"{block}_constraints" in document]
    if len(tasks) != 1:
        wanted = ", ".join(f"{block}_constraints" for block in BLOCKS.values())
        raise NoBaseline(f"{file}: exactly one of {wanted} is expected: compute the baseline anew")
    own = document.get(_OWN, {})
    try:
        classes = tuple(map(str, own.get("classes", ())))
        rules = QualityRules(**{item.name: own[item.name] for item in fields(QualityRules) if item.name in own})
        main, estimator = read_main(own.get("main")), read_estimator(own.get("estimate"))
        labels = read_labels(own.get("labels"))
    except (TypeError, ValueError, AttributeError) as error:
        raise NoBaseline(f"{file}: {_OWN}: {error}: compute the baseline anew") from None
    return QualityBaseline(
        tasks[0], classes, read_constraints(document, tasks[0], file), rules, main, estimator, labels
    )


def read_constraints(
    document: Mapping[str, Any] | str | bytes, task: str, file: str = "constraints.json"
) -> tuple[Demand, ...]:
    """The demands that the file's content holds. Raises NoBaseline naming file, metric, field and remedy."""
    name = f"{BLOCKS[task]}_constraints"
    block = _object(document, file).get(name)
    if not isinstance(block, dict):
        raise NoBaseline(f"{file}: {name}: an object is expected: compute the baseline of a {task} model")
    return tuple(_demand(metric, found, file) for metric, found in block.items() if metric != "confusion_matrix")


def _object(document: Mapping[str, Any] | str | bytes, file: str) -> Mapping[str, Any]:
    if isinstance(document, (str, bytes)):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            raise NoBaseline(f"{file}: the file is not JSON: compute the baseline anew") from None
    if not isinstance(document, Mapping):
        raise NoBaseline(f"{file}: the file holds no JSON object: compute the baseline anew")
    return document


def _demand(metric: str, found: Any, file: str) -> Demand:
    found = found if isinstance(found, dict) else {}
    threshold, operator = found.get("threshold"), found.get("comparison_operator")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise NoBaseline(f"{file}: {metric}: threshold: {threshold!r} is no number: write one")
    if operator not in {GREATER, LESS}:
        raise NoBaseline(f"{file}: {metric}: comparison_operator: {operator!r} is unknown: write {GREATER} or {LESS}")
    return Demand(metric, float(threshold), operator)


def judge_quality(
    pairs: Pairs,
    rows: int,
    demands: Sequence[Demand],
    window: Window,
    *,
    rules: QualityRules | None = None,
    main: Main | None = None,
    broken: tuple[str, str] | None = None,
    answers: Numbers | None = None,
) -> QualityAnalysis:
    """The verdict on the answers of the window, in which `rows` rows were captured. Raises NoBaseline.

    With the `answers` of all rows, of the shape of the pairs' output, the main metric of labels that are no even sample
    of them is a weighted one.

    DRIFTED if a constraint is surely violated, STABLE if all that could be computed are met and so many rows would have
    shown a ruin, else UNDECIDED(reason): labels_insufficient, suspect_data, not_judged, or that of `broken`: why
    (reason, detail) what was read can't be relied upon, if it can't.
    """
    rules = rules or QualityRules()
    good = len(pairs.truth)
    block = model_quality(pairs.task, pairs.truth, pairs.output, pairs.classes) if good else {}
    scalars = block.get(f"{BLOCKS[pairs.task]}_metrics", {})
    values = _values(scalars)
    for demand in demands:
        if good and demand.metric not in scalars:
            known = ", ".join(name for name, value in scalars.items() if "value" in value)
            raise NoBaseline(
                f"constraints.json: {demand.metric}: a {pairs.task} model has no such metric, only {known}"
            )
    judged = tuple(demand for demand in demands if demand.metric in values)
    deciding = tuple(demand for demand in judged if main is None or demand.metric == main.metric) or judged
    between = intervals(pairs.task, pairs.truth, pairs.output, _CHANCE / len(deciding), pairs.times) if deciding else {}
    sample = evenness(pairs.output, answers) if good and answers is not None and len(answers) else None
    if main and sample and sample.weights is not None and main.metric in between:
        values[main.metric], between[main.metric] = _weighted(main.metric, pairs, sample.weights, between[main.metric])
    unfit = broken or _unfit(pairs, rows, rules)
    if not unfit and not judged:
        unfit = "not_judged", "no constraint names a metric that is defined for these rows"
    found = {
        demand: Verdict.UNDECIDED if unfit else demand.verdict(values[demand.metric], between[demand.metric])
        for demand in judged
    }
    usual = _usual(main, deciding, values, (window[1] - window[0]) / HOUR, rules.false_alarms_per_year)
    if usual and Verdict.DRIFTED in {found[demand] for demand in deciding}:
        found |= dict.fromkeys(deciding, Verdict.UNDECIDED)
    violated = sorted(
        (demand for demand in deciding if found[demand] is Verdict.DRIFTED),
        key=lambda demand: (-demand.severity(values[demand.metric]), demand.metric),
    )
    undecided = [demand for demand in deciding if found[demand] is Verdict.UNDECIDED]
    verdict, reason, detail = Verdict.STABLE, None, None
    if usual and undecided and not unfit:
        verdict, reason, detail = Verdict.UNDECIDED, "not_tellable", usual
    elif unfit:
        verdict, (reason, detail) = Verdict.UNDECIDED, unfit
    elif violated:
        verdict = Verdict.DRIFTED
        detail = "; ".join(demand.said_of(values[demand.metric]) for demand in violated[:3])
    elif undecided:
        told = "; ".join(
            f"{demand.said_of(values[demand.metric])}, and it may lie between {low:.4g} and {high:.4g}"
            for demand in undecided[:3]
            for low, high in [between[demand.metric]]
        )
        verdict, reason = Verdict.UNDECIDED, "labels_insufficient"
        detail = f"{good} labelled rows do not decide: {told}"
    return QualityAnalysis(
        task=pairs.task,
        window=window,
        verdict=verdict,
        reason=reason,
        detail=detail,
        rows=rows,
        labelled=good + sum(pairs.bad.values()),
        bad=pairs.bad,
        values=values,
        intervals=between,
        verdicts={demand.metric: found[demand] for demand in judged},
        judged=judged,
        deciding=deciding,
        violated=tuple(violated),
        block=block,
        sample=sample,
    )


def _weighted(
    metric: str, pairs: Pairs, weights: Numbers, between: tuple[float, float]
) -> tuple[float, tuple[float, float]]:
    """The metric of weighted rows, and where it may lie: as far as without weights, or as the Bayesian bootstrap
    (Rubin 1981) of weighted rows says if that is farther.
    """
    measure = resampled(metric, pairs.truth, pairs.output)
    plain, value = (float(measure(times[None, :])[0]) for times in (np.ones(len(weights)), weights))
    random = np.random.default_rng(len(weights))
    drawn = [measure(random.standard_exponential((1, len(weights))) * weights)[0] for _ in range(_DRAWS)]
    room = NormalDist().inv_cdf(1 - _CHANCE) * float(np.nanstd(drawn))
    low, high = value - max(plain - between[0], room), value + max(between[1] - plain, room)
    return value, (low, high) if metric in _ERRORS else (max(low, 0.0), min(high, 1.0))


def _usual(
    main: Main | None, deciding: Sequence[Demand], values: Mapping[str, float], hours: float, false_alarms: float
) -> str | None:
    """That the main metric is no worse than days make it where nothing has changed, in words; None if it is worse."""
    if main is None or [demand.metric for demand in deciding] != [main.metric]:
        return None
    growth, chance = main.growth(values[main.metric]), main.chance(hours, false_alarms)
    if growth > chance or chance == 0.0:
        return None
    return (
        f"{main.metric} is {values[main.metric]:.4g}, on the holdout it was {main.value:.4g}; where nothing has "
        f"changed, windows of {hours:.4g} hours have a loss up to {math.exp(min(chance, 50.0)):.3g} times as large"
    )


def _unfit(pairs: Pairs, rows: int, rules: QualityRules) -> tuple[str, str] | None:
    """Why (reason, detail) nothing can be concluded from the labels of so many rows, whatever the metrics are."""
    good, bad = len(pairs.truth), sum(pairs.bad.values())
    labelled = good + bad
    if bad > rules.max_bad_share * labelled:
        reasons = ", ".join(f"{name} {count}" for name, count in pairs.bad.items())
        return "suspect_data", f"{bad} of {labelled} labelled rows can't be used: {reasons}"
    if good < rules.min_labels or labelled < rules.min_label_coverage * rows:
        return "labels_insufficient", (
            f"{labelled} of {rows} rows have a label, {good} of them can be used; at least {rules.min_labels} and "
            f"{rules.min_label_coverage:.0%} are needed"
        )
    return None


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


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    value = parse_number(text)
    return None if value is None or math.isnan(value) else value


def _metric(name: str, value: float, dimensions: list[dict[str, str]], time: datetime) -> dict[str, Any]:
    return {"MetricName": name, "Dimensions": dimensions, "Timestamp": time, "Value": float(value), "Unit": "None"}
