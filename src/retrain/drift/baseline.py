"""Baselines: what a window is compared with, as Model Monitor's statistics.json, written strictly and read liberally.

Format: "Schema for statistics (statistics.json file)", SageMaker Developer Guide, and real files. What we write, AWS's
tools read. What we read may be AWS's own, with parts missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from retrain.capture.answers import Answers
from retrain.core import names
from retrain.drift.chance import Blocks, read_blocks
from retrain.drift.constraints import render_constraints
from retrain.drift.distances import Steps
from retrain.drift.documents import feature_name, read_document, unusable
from retrain.drift.joint import Joint, read_joint
from retrain.drift.moments import Axes
from retrain.drift.profile import (
    C,
    CategoricalProfile,
    ColumnProfile,
    K,
    Layout,
    NumericProfile,
    Profile,
    categories_of,
    category_of,
    numbers_of,
    summarise,
)
from retrain.drift.rates import Rates, read_rates
from retrain.model.kinds import nature_of_numbers, nature_of_texts
from retrain.model.monitor_options import MonitorOptions
from retrain.model.values import in_precision, parse_numbers, spelled

PREDICTION = names.PREDICTION
BUCKETS = 10
_ANSWER = "answer"  # of the prediction: which value of an answer it is
MAX_BUCKETS = 2_000  # categories that statistics.json lists, the most frequent first


@dataclass(frozen=True)
class NumericBaseline:
    """A numeric feature of statistics.json; `steps` is its distribution, None if the file has none.

    `importance` is the feature's share of the serving model's gain, None if the file does not tell. `nature` is that of
    a feature which is no evidence of drift (`retrain.model.kinds`), None of others. `chance` is what blocks of the
    baseline's own time did, `rates` how often values were missing or the same, None if it did not know its time.
    """

    name: str
    inferred_type: str
    present: int
    missing: int
    steps: Steps | None
    importance: float | None = None
    nature: str | None = None
    chance: tuple[Blocks, ...] | None = None
    rates: tuple[Rates, ...] | None = None

    @property
    def completeness(self) -> float:
        """Share of the baseline's rows that have a value; 0 if there are no rows."""
        return self.present / (self.present + self.missing) if self.present else 0.0


@dataclass(frozen=True)
class CategoricalBaseline:
    """A categorical feature of statistics.json; `counts` may be fewer than `present`, the rest is not told apart."""

    name: str
    inferred_type: str
    present: int
    missing: int
    counts: Mapping[str, int]
    importance: float | None = None
    boolean: bool = False
    nature: str | None = None
    chance: tuple[Blocks, ...] | None = None
    rates: tuple[Rates, ...] | None = None

    @property
    def completeness(self) -> float:
        """Share of the baseline's rows that have a value; 0 if there are no rows."""
        return self.present / (self.present + self.missing) if self.present else 0.0

    @property
    def rest(self) -> int:
        """Values whose category the file does not name."""
        return max(self.present - sum(self.counts.values()), 0)


FeatureBaseline = NumericBaseline | CategoricalBaseline


@dataclass(frozen=True)
class Statistics:
    """statistics.json: the features in the order of the columns, and the model's output if the file has it."""

    item_count: int
    features: Mapping[str, FeatureBaseline]
    prediction: FeatureBaseline | None
    answer: str | int | None = None  # name or index of the prediction among an answer's values, if somebody said it
    joint: Joint | None = None  # how the features go together that the model leans on, if the file has it

    @cached_property
    def answers(self) -> Answers:
        """How an answer is read; a softmax by the classes that the baseline's answers have."""
        categories = self.prediction.counts if isinstance(self.prediction, CategoricalBaseline) else ()
        return Answers(self.answer, tuple(categories))

    @cached_property
    def layout(self) -> Layout:
        """The columns of a request, and what of them is to be counted."""
        return _layout(self.features, self.joint.axes if self.joint else None)

    @cached_property
    def prediction_layout(self) -> Layout:
        """The layout of the model's output, one column; numeric as long as nobody said otherwise."""
        return _layout({PREDICTION: self.prediction}) if self.prediction else Layout({PREDICTION: "numeric"})


# Writing ----------------------------------------------------------------------------------------------------------


def baseline_of(
    rows: Iterable[Sequence[str]],
    features: Mapping[str, str],
    options: MonitorOptions | None = None,
    predictions: Iterable[str | float] | None = None,
    importance: Mapping[str, float] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """statistics.json and constraints.json of rows of texts in the features' order.

    Features are name → numeric | categorical | boolean; a boolean one is written as a String with its two values.

    `predictions` are the model's outputs for the rows; with them, drift of the predictions can be told. `importance` is
    each feature's share of the model's gain; with it, drift can be ranked by what it means to the model.
    """
    booleans = frozenset(name for name, kind in features.items() if kind == "boolean")
    kinds = {name: "categorical" if name in booleans else kind for name, kind in features.items()}
    profile = summarise(rows, Layout(kinds, booleans=booleans))
    prediction = None
    if predictions is not None:
        texts = [value if isinstance(value, str) else repr(float(value)) for value in predictions]
        prediction = _output(texts)
    statistics = render_statistics(profile, prediction)
    for feature in statistics["features"]:
        if importance and feature["name"] in importance:
            feature["importance"] = importance[feature["name"]]
        if feature["name"] in booleans:
            feature["boolean"] = True
        if feature["name"] == PREDICTION and options is not None and options.prediction is not None:
            feature[_ANSWER] = options.prediction
    constraints = render_constraints(profile, options or MonitorOptions())
    for feature in constraints["features"]:
        if feature["name"] in booleans:
            feature["string_constraints"] = {"domains": ["false", "true"]}
    return statistics, constraints


def render_statistics(profile: Profile, prediction: ColumnProfile | None = None) -> dict[str, Any]:
    """statistics.json of the profile, and of the model's output as one more feature."""
    columns = dict(profile.columns) | ({PREDICTION: prediction} if prediction is not None else {})
    return {
        "version": 0.0,
        "dataset": {"item_count": profile.rows},
        "features": [
            _numeric_statistics(name, column)
            if isinstance(column, NumericProfile)
            else _string_statistics(name, column)
            for name, column in columns.items()
        ],
    }


def _numeric_statistics(name: str, column: NumericProfile) -> dict[str, Any]:
    statistics: dict[str, Any] = {"common": {"num_present": column.present, "num_missing": column.missing + column.bad}}
    if column.present:
        statistics |= {
            "mean": column.mean,
            "sum": column.total,
            "std_dev": column.std_dev,
            "min": column.minimum,
            "max": column.maximum,
            "distribution": {
                "kll": {
                    "buckets": _buckets(column),
                    "sketch": {
                        "parameters": {"c": C, "k": float(K)},
                        "data": [spelled(level) for level in column.sketch.levels],
                    },
                }
            },
        }
    feature = {"name": name, "inferred_type": column.inferred_type, "numerical_statistics": statistics}
    return feature | ({"type_shares": _type_shares(column)} if column.present + column.bad else {})


def _type_shares(column: NumericProfile) -> dict[str, float]:
    """Of the values that are there; the format allows more metrics than it has."""
    counts = {"Integral": column.integral, "Fractional": column.present - column.integral, "String": column.bad}
    return {kind: count / (column.present + column.bad) for kind, count in counts.items()}


def _buckets(column: NumericProfile) -> list[dict[str, float]]:
    """Ten buckets of equal width; each holds its lower bound, the last one its upper bound too."""
    low, width = column.minimum, column.maximum - column.minimum
    bounds = [low + width * index / BUCKETS for index in range(BUCKETS)] + [column.maximum]
    points, upto = column.sketch.items()
    below = np.concatenate(([0], upto))[np.searchsorted(points, bounds, side="left")]
    below[0], below[-1] = 0, column.sketch.weight
    return [
        {
            "lower_bound": bounds[index],
            "upper_bound": bounds[index + 1],
            "count": float(below[index + 1] - below[index]),
        }
        for index in range(BUCKETS)
    ]


def _string_statistics(name: str, column: CategoricalProfile) -> dict[str, Any]:
    ranked = sorted(column.counts.items(), key=lambda item: (-item[1], item[0]))
    return {
        "name": name,
        "inferred_type": column.inferred_type,
        "string_statistics": {
            "common": {"num_present": column.present, "num_missing": column.missing},
            "distinct_count": float(column.distinct),
            "distribution": {
                "categorical": {"buckets": [{"value": value, "count": count} for value, count in ranked[:MAX_BUCKETS]]}
            },
        },
    }


def _output(texts: Sequence[str]) -> ColumnProfile:
    values, bad = parse_numbers(texts)
    return categories_of(texts) if bad.any() else numbers_of(values)


# Reading ----------------------------------------------------------------------------------------------------------


def read_statistics(document: Mapping[str, Any] | str | bytes, file: str = "statistics.json") -> Statistics:
    """The statistics that the file's content holds. Raises NoBaseline naming file, feature, field and remedy."""
    whole = read_document(document, file)
    listed = whole.get("features")
    if not isinstance(listed, list) or not listed:
        raise unusable(
            file, None, "features", "a list with at least one feature is expected: compute the baseline anew"
        )
    features: dict[str, FeatureBaseline] = {}
    for feature in listed:
        parsed = _feature_baseline(feature, file)
        if parsed.name in features:
            raise unusable(
                file, parsed.name, "name", "two features have this name: rename one and compute the baseline anew"
            )
        features[parsed.name] = parsed
    prediction = features.pop(PREDICTION, None)
    dataset = whole.get("dataset")
    count = dataset.get("item_count") if isinstance(dataset, dict) else None
    most = max((feature.present + feature.missing for feature in features.values()), default=0)
    rows = int(count) if isinstance(count, (int, float)) else most
    said = next((item.get(_ANSWER) for item in listed if item.get("name") == PREDICTION), None)
    answer = said if isinstance(said, (str, int)) and not isinstance(said, bool) else None
    try:
        joint = read_joint(whole.get("joint"))
    except ValueError as error:
        raise unusable(file, None, "joint", f"{error}: remove it, or compute the baseline anew") from None
    numeric = {name for name, item in features.items() if isinstance(item, NumericBaseline)}
    if joint and not numeric.issuperset(joint.names):
        raise unusable(file, None, "joint", "it names what is no numeric feature: remove it, or compute it anew")
    return Statistics(rows, MappingProxyType(features), prediction, answer, joint)


def _feature_baseline(feature: Any, file: str) -> FeatureBaseline:
    name = feature_name(feature, file)
    kind = feature.get("inferred_type")
    kind = kind if isinstance(kind, str) else "Unknown"
    numeric, strings = feature.get("numerical_statistics"), feature.get("string_statistics")
    if isinstance(numeric, dict):
        present, missing = _common(numeric, name, file)
        steps = _steps(numeric, name, file) if present else None
        importance, chance, rates = _importance(feature, file), _chance(feature, file), _rates(feature, file)
        nature = _nature_of_numbers(numeric, kind)
        return NumericBaseline(name, kind, present, missing, steps, importance, nature, chance, rates)
    if isinstance(strings, dict):
        present, missing = _common(strings, name, file)
        counts = _category_counts(strings, name, file)
        boolean, absent = feature.get("boolean") is True, counts.pop("", 0)
        present, missing = present - absent, missing + absent
        found = MappingProxyType(counts)
        distinct = strings.get("distinct_count")
        several = float(distinct) if isinstance(distinct, (int, float)) else len(counts)
        nature = None if boolean else nature_of_texts(several, present, counts)
        importance, chance, rates = _importance(feature, file), _chance(feature, file), _rates(feature, file)
        return CategoricalBaseline(name, kind, present, missing, found, importance, boolean, nature, chance, rates)
    raise unusable(
        file, name, "numerical_statistics", "neither this nor string_statistics is there: compute the baseline anew"
    )


def _nature_of_numbers(statistics: Mapping[str, Any], kind: str) -> str | None:
    ends = statistics.get("min"), statistics.get("max")
    if not all(isinstance(end, (int, float)) for end in ends):
        return None
    return nature_of_numbers(float(ends[0] or 0), float(ends[1] or 0), kind == "Integral")


def _importance(feature: Mapping[str, Any], file: str) -> float | None:
    value = feature.get("importance")
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1):
        raise unusable(file, feature["name"], "importance", f"{value!r} is not a share from 0 to 1: remove it")
    return value


def _chance(feature: Mapping[str, Any], file: str) -> tuple[Blocks, ...] | None:
    if (found := feature.get("chance")) is None:
        return None
    try:
        return read_blocks(found)
    except ValueError as error:
        raise unusable(file, feature["name"], "chance", f"{error}: remove it, or compute the baseline anew") from None


def _rates(feature: Mapping[str, Any], file: str) -> tuple[Rates, ...] | None:
    if (found := feature.get("rates")) is None:
        return None
    try:
        return read_rates(found)
    except ValueError as error:
        raise unusable(file, feature["name"], "rates", f"{error}: remove it, or compute the baseline anew") from None


def _common(statistics: Mapping[str, Any], name: str, file: str) -> tuple[int, int]:
    common = statistics.get("common")
    common = common if isinstance(common, dict) else {}
    counts = [common.get("num_present"), common.get("num_missing", 0)]
    for key, value in zip(("common.num_present", "common.num_missing"), counts, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise unusable(file, name, key, "a count is expected: compute the baseline anew")
    return int(counts[0]), int(counts[1])


def _steps(statistics: Mapping[str, Any], name: str, file: str) -> Steps | None:
    """The feature's distribution: of its sketch, or else of its ten buckets."""
    distribution = statistics.get("distribution")
    kll = distribution.get("kll") if isinstance(distribution, dict) else None
    if not isinstance(kll, dict):
        return None
    sketch = kll.get("sketch")
    try:
        levels = sketch.get("data") if isinstance(sketch, dict) else None
        if levels and any(levels):
            return _sketch_steps([np.asarray(level, dtype=np.float64) for level in levels])
        buckets = kll.get("buckets")
        if not buckets:
            return None
        bounds = in_precision(np.array([bucket["upper_bound"] for bucket in buckets], np.float64))
        least = float(np.float32(buckets[0].get("lower_bound", -math.inf)))
        counts = np.array([bucket["count"] for bucket in buckets], dtype=np.float64)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise unusable(
            file, name, "distribution.kll", "levels of numbers, or buckets, are expected: compute it anew"
        ) from None
    upto = np.cumsum(counts)
    last = np.append(bounds[1:] != bounds[:-1], True)
    one_value = bool((bounds == least).all())
    return Steps(bounds[last], upto[last], float(upto[-1]), exact=one_value) if upto[-1] > 0 else None


def _sketch_steps(levels: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> Steps:
    if any(level.ndim != 1 or not np.isfinite(level).all() for level in levels):
        raise ValueError("a level is a list of finite numbers")
    values = in_precision(np.concatenate(levels))
    weights = np.concatenate([np.full(len(level), float(2**height)) for height, level in enumerate(levels)])
    order = np.argsort(values, kind="stable")
    values, upto = values[order], np.cumsum(weights[order])
    last = np.append(values[1:] != values[:-1], True)
    return Steps(values[last], upto[last], float(upto[-1]))


def _category_counts(statistics: Mapping[str, Any], name: str, file: str) -> dict[str, int]:
    distribution = statistics.get("distribution")
    categorical = distribution.get("categorical") if isinstance(distribution, dict) else None
    buckets = categorical.get("buckets") if isinstance(categorical, dict) else None
    counts: dict[str, int] = {}
    try:
        for bucket in buckets or []:
            category = category_of(str(bucket["value"]))
            counts[category] = counts.get(category, 0) + int(bucket["count"])
    except (TypeError, ValueError, KeyError, OverflowError):
        counts = {"": -1}
    if any(count < 0 for count in counts.values()):
        where = "distribution.categorical.buckets"
        raise unusable(file, name, where, "buckets with value and count are expected: compute it anew")
    return counts


def _layout(features: Mapping[str, FeatureBaseline], joint: Axes | None = None) -> Layout:
    return Layout(
        {name: "numeric" if isinstance(item, NumericBaseline) else "categorical" for name, item in features.items()},
        {
            name: item.steps.points
            for name, item in features.items()
            if isinstance(item, NumericBaseline) and item.steps
        },
        {name: frozenset(item.counts) for name, item in features.items() if isinstance(item, CategoricalBaseline)},
        frozenset(name for name, item in features.items() if isinstance(item, CategoricalBaseline) and item.boolean),
        joint,
    )
