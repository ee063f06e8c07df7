"""Baselines: profiles as Model Monitor's statistics.json and constraints.json, written strictly and read liberally.

Format: "Schema for statistics / constraints (constraints.json file)", SageMaker Developer Guide, and real files.
What we write, AWS's tools read. What we read may be AWS's own: both spellings of the methods and of the monitoring
overrides, the known typo, missing parts.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np

from retrain.core.errors import InvalidSpec, NoBaseline, Refused
from retrain.drift.distances import ALPHA, Steps
from retrain.drift.profile import (
    C,
    CategoricalProfile,
    ColumnProfile,
    K,
    Layout,
    NumericProfile,
    Profile,
    categories_of,
    numbers_of,
    summarise,
)
from retrain.model.table import parse_numbers

PREDICTION = "_prediction"  # name of the model's output among the features of statistics.json
BUCKETS = 10
MAX_BUCKETS = 2_000  # categories that statistics.json lists, the most frequent first
MAX_DOMAIN = 500  # a column with more categories has no domain: new ones are its nature
OPTIONS_KEY = "drift_retrain"  # our options within monitoring_config
_OURS = {"psi": "PSI", "jensenshannon": "JensenShannon", "jensen_shannon": "JensenShannon"}  # Model Monitor lacks them
METHODS = MappingProxyType(
    {"simple": "Simple", "linf_simple": "Simple", "robust": "Robust", "linf_robust": "Robust", **_OURS}
)
CATEGORICAL_METHODS = MappingProxyType(
    {"linfinity": "LInfinity", "linf": "LInfinity", "chisquared": "ChiSquared", "chi_squared": "ChiSquared", **_OURS}
)
DEFAULT_THRESHOLD = 0.3
_OWN_THRESHOLDS = MappingProxyType({"PSI": 0.25, "JensenShannon": 0.2})  # in units of their own; about as much drift
_UNCHOSEN = "default_thresholds"
_AWS_THRESHOLD = 0.1  # what the documentation says is meant if a file says nothing


class OptionError(InvalidSpec):
    """An option of [monitor] that can't be used: its key, and the remedy."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"[monitor] {key}: {detail}")
        self.key = key
        self.detail = detail


MOST_DELAY = 2208  # hours, three months


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How a window is judged: the section [monitor] of model.toml.

    The first part becomes Model Monitor's own fields of constraints.json, the second travels beside them.
    """

    threshold: float | None = None  # distance above which a numeric feature has drifted; None: the alarm's, else 0.3
    categorical_threshold: float | None = None  # None: the same
    method: str = "Simple"  # Simple | Robust | PSI | JensenShannon
    categorical_method: str = "LInfinity"  # LInfinity | ChiSquared | PSI | JensenShannon
    thresholds: Mapping[str, float] = field(default_factory=dict)  # by feature, in the unit of its method
    methods: Mapping[str, str] = field(default_factory=dict)  # by feature
    ignored: tuple[str, ...] = ()  # features that are reported, not judged

    p_threshold: float = ALPHA  # p-value below which ChiSquared says drift
    min_rows: int = 500  # rows below which a window is undecided
    max_bad_share: float = 0.05  # bad lines, rows or values above which the window is a case for a person
    max_missing_increase: float = 0.3  # how much more of a column may be missing than in the baseline
    max_unknown_categories: float = 0.5  # share of values outside the baseline's categories: another column, not drift
    min_volume_share: float = 0.1  # of the rows that were expected, if anybody said how many
    quality_tolerance: float = 0.25  # share by which the loss may exceed the holdout's: becomes quality's constraints
    label_delay_hours: float | None = None  # until labels are known, up to three months; None: the deployment's

    @classmethod
    def of(cls, section: Mapping[str, Any], features: Mapping[str, str] | None = None) -> MonitorOptions:
        """The options of a [monitor] section, checked. Raises OptionError naming the key and the remedy."""
        known = {item.name: item for item in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in section.items():
            if key not in known:
                raise OptionError(key, f"unknown key: one of {', '.join(known)} is expected")
            values[key] = _option(key, value, features)
        return cls(**values)

    @property
    def categorical(self) -> float | None:
        """The threshold of categorical features: if none was chosen the numeric one's, if that is of its unit."""
        if self.categorical_threshold is None and _alike(self.method, self.categorical_method):
            return self.threshold
        return self.categorical_threshold

    @property
    def carried(self) -> dict[str, Any]:
        """The options that Model Monitor has no field for, and which of its thresholds nobody chose."""
        unchosen = {"numeric": self.threshold, "categorical": self.categorical}
        return {
            **{name: getattr(self, name) for name in _CARRIED},
            _UNCHOSEN: [kind for kind, value in unchosen.items() if value is None],
        }


_CARRIED = (
    "p_threshold",
    "min_rows",
    "max_bad_share",
    "max_missing_increase",
    "max_unknown_categories",
    "min_volume_share",
)


@dataclass(frozen=True)
class NumericBaseline:
    """A numeric feature of statistics.json; `steps` is its distribution, None if the file has none.

    `importance` is the feature's share of the serving model's gain, None if the file does not tell.
    """

    name: str
    inferred_type: str
    present: int
    missing: int
    steps: Steps | None
    importance: float | None = None


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

    @cached_property
    def layout(self) -> Layout:
        """The columns of a request, and what of them is to be counted."""
        return _layout(self.features)

    @cached_property
    def prediction_layout(self) -> Layout:
        """The same of the model's output; numeric as long as nobody said otherwise."""
        return _layout({PREDICTION: self.prediction}) if self.prediction else Layout({PREDICTION: "numeric"})


@dataclass(frozen=True, slots=True)
class FeatureConstraints:
    """What is demanded of a feature; None is "nothing"."""

    name: str
    inferred_type: str | None = None
    completeness: float | None = None
    is_non_negative: bool = False
    domain: frozenset[str] | None = None
    threshold: float | None = None
    method: str | None = None
    categorical_threshold: float | None = None
    categorical_method: str | None = None
    p_threshold: float | None = None
    datatype_threshold: float | None = None
    domain_threshold: float | None = None
    judged: bool = True


@dataclass(frozen=True, slots=True)
class Metric:
    """By what a feature is judged: `method` is linf_simple, linf_robust, chi_squared, psi or jensen_shannon.

    `threshold` is in its unit; that of chi_squared is of the largest difference of a share, which is judged beside the
    p-value, and `p_threshold` is the p-value's.
    """

    method: str
    threshold: float
    p_threshold: float


@dataclass(frozen=True)
class Constraints:
    """constraints.json. Thresholds and methods apply to features that have none of their own.

    `unchosen` are the kinds (numeric, categorical) whose threshold is a default that the alarm's may replace.
    """

    features: Mapping[str, FeatureConstraints]
    threshold: float
    method: str
    categorical_threshold: float
    categorical_method: str
    datatype_threshold: float
    domain_threshold: float
    judged: bool
    options: MonitorOptions
    unchosen: frozenset[str]
    monitoring_config: Mapping[str, Any]

    def with_threshold(self, threshold: float) -> Constraints:
        """The same with that threshold, as far as nobody chose another one, or a method of another unit."""
        numeric = "numeric" in self.unchosen and self.method not in _OWN_THRESHOLDS
        categorical = "categorical" in self.unchosen and self.categorical_method not in _OWN_THRESHOLDS
        return replace(
            self,
            threshold=threshold if numeric else self.threshold,
            categorical_threshold=threshold if categorical else self.categorical_threshold,
        )

    def feature(self, name: str) -> FeatureConstraints:
        """What is demanded of that feature."""
        return self.features.get(name) or FeatureConstraints(name)

    def metric(self, name: str, numeric: bool) -> Metric:
        """By what the feature is judged: its own method and threshold, else those of all.

        A threshold is of the method that it was chosen for: a feature with a method of another unit, and no threshold
        of its own, has that method's default.
        """
        own = self.feature(name)
        if numeric:
            method, threshold = own.method or self.method, own.threshold
            general, common = self.method, self.threshold
        else:
            method = own.categorical_method or self.categorical_method
            threshold = own.threshold if own.categorical_threshold is None else own.categorical_threshold
            general, common = self.categorical_method, self.categorical_threshold
        if threshold is None:
            threshold = common if _alike(method, general) else _OWN_THRESHOLDS.get(method, DEFAULT_THRESHOLD)
        if method == "LInfinity":
            method = "Robust" if (own.method or self.method) == "Robust" else "Simple"
        p_threshold = self.options.p_threshold if own.p_threshold is None else own.p_threshold
        return Metric(_METRICS[method], threshold, p_threshold)


_METRICS = MappingProxyType(
    {
        "Simple": "linf_simple",
        "Robust": "linf_robust",
        "ChiSquared": "chi_squared",
        "PSI": "psi",
        "JensenShannon": "jensen_shannon",
    }
)


def _alike(one: str, other: str) -> bool:
    """Whether the two methods' thresholds are of the same unit."""
    return one == other or not {one, other} & _OWN_THRESHOLDS.keys()


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
    constraints = render_constraints(profile, options or MonitorOptions())
    for feature in constraints["features"]:
        if feature["name"] in booleans:
            feature["string_constraints"] = {"domains": ["false", "true"]}
    return statistics, constraints


def from_csv(
    path: Path | str,
    features: Mapping[str, str],
    options: Mapping[str, Any] | MonitorOptions | None = None,
    predictions: Iterable[str | float] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of a CSV file with a header; columns that are no features are left out. Memory stays bounded.

    `options` is the section [monitor] of model.toml. Raises Refused("schema_mismatch", …) naming file and column.
    """
    path = Path(path)
    options = options if isinstance(options, MonitorOptions) else MonitorOptions.of(options or {}, features)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if missing := [name for name in features if name not in header]:
            raise Refused(
                "schema_mismatch", f"{path.name} lacks the columns {', '.join(missing)}: it has {', '.join(header)}"
            )
        places = [header.index(name) for name in features]
        return baseline_of(_chosen(reader, places, len(header), path.name), features, options, predictions)


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


def render_constraints(
    profile: Profile, options: MonitorOptions | None = None, monitoring_config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """constraints.json that the profile suggests, with the options, or with another file's monitoring_config."""
    options = options or MonitorOptions()
    return {
        "version": 0.0,
        "features": [_feature_constraints(name, column, options) for name, column in profile.columns.items()],
        "monitoring_config": dict(monitoring_config or _monitoring_config(options)),
    }


def inferred_type(column: ColumnProfile) -> str:
    """Fractional, Integral, String, or Unknown where there was no value."""
    if not column.present:
        return "Unknown"
    if isinstance(column, CategoricalProfile):
        return "String"
    return "Integral" if column.integral == column.present else "Fractional"


def completeness(column: ColumnProfile) -> float:
    """Share of the rows that have a usable value, 1 if there are no rows."""
    absent = column.missing + (column.bad if isinstance(column, NumericProfile) else 0)
    return column.present / (column.present + absent) if column.present + absent else 1.0


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
                        "data": [level.tolist() for level in column.sketch.levels],
                    },
                }
            },
        }
    feature = {"name": name, "inferred_type": inferred_type(column), "numerical_statistics": statistics}
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
        "inferred_type": inferred_type(column),
        "string_statistics": {
            "common": {"num_present": column.present, "num_missing": column.missing},
            "distinct_count": float(column.distinct),
            "distribution": {
                "categorical": {"buckets": [{"value": value, "count": count} for value, count in ranked[:MAX_BUCKETS]]}
            },
        },
    }


def _feature_constraints(name: str, column: ColumnProfile, options: MonitorOptions) -> dict[str, Any]:
    feature: dict[str, Any] = {
        "name": name,
        "inferred_type": inferred_type(column),
        "completeness": completeness(column),
    }
    if isinstance(column, NumericProfile):
        feature["num_constraints"] = {"is_non_negative": column.present > 0 and column.minimum >= 0}
    elif not column.rest and len(column.counts) <= MAX_DOMAIN:
        feature["string_constraints"] = {"domains": sorted(column.counts)}
    overrides: dict[str, Any] = {}
    if name in options.ignored:
        overrides["evaluate_constraints"] = "Disabled"
    comparison: dict[str, Any] = {}
    numeric = isinstance(column, NumericProfile)
    if name in options.thresholds:
        key = "comparison_threshold" if numeric else "categorical_comparison_threshold"
        comparison[key] = options.thresholds[name]
    if name in options.methods:
        comparison["comparison_method" if numeric else "categorical_drift_method"] = options.methods[name]
    if comparison:
        overrides["distribution_constraints"] = comparison
    if overrides:
        feature["monitoringConfigOverrides"] = overrides
    return feature


def _monitoring_config(options: MonitorOptions) -> dict[str, Any]:
    return {
        "evaluate_constraints": "Enabled",
        "emit_metrics": "Enabled",
        "datatype_check_threshold": 1.0,
        "domain_content_threshold": 1.0,
        "distribution_constraints": {
            "perform_comparison": "Enabled",
            "comparison_threshold": _or_default(options.threshold, options.method),
            "comparison_method": options.method,
            "categorical_comparison_threshold": _or_default(options.categorical, options.categorical_method),
            "categorical_drift_method": options.categorical_method,
        },
        OPTIONS_KEY: options.carried,
    }


def _or_default(threshold: float | None, method: str) -> float:
    return _OWN_THRESHOLDS.get(method, DEFAULT_THRESHOLD) if threshold is None else threshold


def _chosen(reader: Iterator[list[str]], places: Sequence[int], width: int, file: str) -> Iterator[list[str]]:
    number = 1
    while chunk := list(islice(reader, 10_000)):
        for row in chunk:
            number += 1
            if len(row) != width:
                raise Refused("schema_mismatch", f"{file}, row {number}: {len(row)} columns, the header has {width}")
            yield [row[place] for place in places]


def _output(texts: Sequence[str]) -> ColumnProfile:
    values, bad = parse_numbers(texts)
    return categories_of(texts) if bad.any() else numbers_of(values)


# Reading ----------------------------------------------------------------------------------------------------------


def read_statistics(document: Mapping[str, Any] | str | bytes, file: str = "statistics.json") -> Statistics:
    """The statistics that the file's content holds. Raises NoBaseline naming file, feature, field and remedy."""
    whole = _document(document, file)
    listed = whole.get("features")
    if not isinstance(listed, list) or not listed:
        raise _unusable(
            file, None, "features", "a list with at least one feature is expected: compute the baseline anew"
        )
    features: dict[str, FeatureBaseline] = {}
    for feature in listed:
        parsed = _feature_baseline(feature, file)
        if parsed.name in features:
            raise _unusable(
                file, parsed.name, "name", "two features have this name: rename one and compute the baseline anew"
            )
        features[parsed.name] = parsed
    prediction = features.pop(PREDICTION, None)
    dataset = whole.get("dataset")
    count = dataset.get("item_count") if isinstance(dataset, dict) else None
    most = max((feature.present + feature.missing for feature in features.values()), default=0)
    return Statistics(int(count) if isinstance(count, (int, float)) else most, MappingProxyType(features), prediction)


def read_constraints(document: Mapping[str, Any] | str | bytes, file: str = "constraints.json") -> Constraints:
    """The constraints that the file's content holds. Raises NoBaseline naming file, feature, field and remedy."""
    whole = _document(document, file)
    reader = _ConstraintsReader(file)
    config = reader.section(whole, "monitoring_config", None)
    comparison = reader.section(config, "distribution_constraints", None)
    listed = whole.get("features", [])
    if not isinstance(listed, list):
        raise _unusable(file, None, "features", "a list is expected: compute the baseline anew")
    features = [reader.feature(feature) for feature in listed]
    method = reader.method(comparison, None) or "Simple"
    threshold = reader.share(comparison, "comparison_threshold", None, _OWN_THRESHOLDS.get(method, _AWS_THRESHOLD))
    categorical = reader.choice(comparison, "categorical_drift_method", CATEGORICAL_METHODS, None) or "LInfinity"
    other = threshold if _alike(method, categorical) else _OWN_THRESHOLDS.get(categorical, _AWS_THRESHOLD)
    carried = reader.section(config, OPTIONS_KEY, None)
    try:
        options = MonitorOptions.of({name: carried[name] for name in _CARRIED if name in carried})
    except InvalidSpec as error:
        raise NoBaseline(f"{file}: monitoring_config.{OPTIONS_KEY}: {error}") from None
    return Constraints(
        features=MappingProxyType({feature.name: feature for feature in features}),
        threshold=threshold,
        method=method,
        categorical_threshold=reader.share(comparison, "categorical_comparison_threshold", None, other),
        categorical_method=categorical,
        datatype_threshold=reader.share(config, "datatype_check_threshold", None, 1.0),
        domain_threshold=reader.share(config, "domain_content_threshold", None, 1.0),
        judged=reader.enabled(config, "evaluate_constraints") and reader.enabled(comparison, "perform_comparison"),
        options=options,
        unchosen=frozenset(map(str, unchosen)) if isinstance(unchosen := carried.get(_UNCHOSEN), list) else frozenset(),
        monitoring_config=config,
    )


@dataclass(frozen=True, slots=True)
class _ConstraintsReader:
    """Reads the parts of a constraints.json, and names file, feature and field where that is impossible."""

    file: str

    def feature(self, feature: Any) -> FeatureConstraints:
        name = _name(feature, self.file)
        strings = self.section(feature, "string_constraints", name)
        overrides: dict[str, Any] = {}
        for holder in (strings, self.section(feature, "num_constraints", name), feature):
            for key in ("monitoring_config_overrides", "monitoringConfigOverrides"):
                overrides |= self.section(holder, key, name)
        comparison = overrides | self.section(overrides, "distribution_constraints", name)
        domains = strings.get("domains")
        if domains is not None and not isinstance(domains, list):
            raise _unusable(self.file, name, "string_constraints.domains", "a list of texts is expected")
        kind = feature.get("inferred_type")
        return FeatureConstraints(
            name=name,
            inferred_type=kind if isinstance(kind, str) and kind != "Unknown" else None,
            completeness=self.share(feature, "completeness", name),
            is_non_negative=self.section(feature, "num_constraints", name).get("is_non_negative") is True,
            domain=None if domains is None else frozenset(map(str, domains)),
            threshold=self.share(comparison, "comparison_threshold", name),
            method=self.method(comparison, name),
            categorical_threshold=self.share(comparison, "categorical_comparison_threshold", name),
            categorical_method=self.choice(comparison, "categorical_drift_method", CATEGORICAL_METHODS, name),
            p_threshold=self.p_threshold(comparison, name),
            datatype_threshold=self.share(overrides, "datatype_check_threshold", name),
            domain_threshold=self.share(overrides, "domain_content_threshold", name),
            judged=self.enabled(overrides, "evaluate_constraints") and self.enabled(comparison, "perform_comparison"),
        )

    def section(self, holder: Mapping[str, Any], key: str, feature: str | None) -> dict[str, Any]:
        value = holder.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise _unusable(self.file, feature, key, "an object is expected")
        return value

    @overload
    def share(self, holder: Mapping[str, Any], key: str, feature: str | None, default: float) -> float: ...

    @overload
    def share(self, holder: Mapping[str, Any], key: str, feature: str | None) -> float | None: ...

    def share(
        self, holder: Mapping[str, Any], key: str, feature: str | None, default: float | None = None
    ) -> float | None:
        value = holder.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise _unusable(self.file, feature, key, f"{value!r} is not a number from 0 to 1")
        return float(value)

    def p_threshold(self, comparison: Mapping[str, Any], feature: str) -> float | None:
        value = self.share(comparison, "p_threshold", feature)
        if value in {0, 1}:
            raise _unusable(self.file, feature, "p_threshold", f"{value!r} is not between 0 and 1")
        return value

    def method(self, comparison: Mapping[str, Any], feature: str | None) -> str | None:
        for key in ("comparison_method", "comparion_method"):  # the second one is in AWS's own samples
            if (found := self.choice(comparison, key, METHODS, feature)) is not None:
                return found
        return None

    def choice(self, holder: Mapping[str, Any], key: str, known: Mapping[str, str], feature: str | None) -> str | None:
        value = holder.get(key)
        if value is None:
            return None
        found = known.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise _unusable(
                self.file,
                feature,
                key,
                f"{value!r} is unknown: write one of {', '.join(dict.fromkeys(known.values()))}",
            )
        return found

    def enabled(self, holder: Mapping[str, Any], key: str) -> bool:
        return str(holder.get(key, "Enabled")).lower() != "disabled"


def _feature_baseline(feature: Any, file: str) -> FeatureBaseline:
    name = _name(feature, file)
    kind = feature.get("inferred_type")
    kind = kind if isinstance(kind, str) else "Unknown"
    numeric, strings = feature.get("numerical_statistics"), feature.get("string_statistics")
    if isinstance(numeric, dict):
        present, missing = _common(numeric, name, file)
        steps = _steps(numeric, name, file) if present else None
        return NumericBaseline(name, kind, present, missing, steps, _importance(feature, file))
    if isinstance(strings, dict):
        present, missing = _common(strings, name, file)
        counts = MappingProxyType(_category_counts(strings, name, file))
        boolean = feature.get("boolean") is True
        return CategoricalBaseline(name, kind, present, missing, counts, _importance(feature, file), boolean)
    raise _unusable(
        file, name, "numerical_statistics", "neither this nor string_statistics is there: compute the baseline anew"
    )


def _importance(feature: Mapping[str, Any], file: str) -> float | None:
    value = feature.get("importance")
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1):
        raise _unusable(file, feature["name"], "importance", f"{value!r} is not a share from 0 to 1: remove it")
    return value


def _common(statistics: Mapping[str, Any], name: str, file: str) -> tuple[int, int]:
    common = statistics.get("common")
    common = common if isinstance(common, dict) else {}
    counts = [common.get("num_present"), common.get("num_missing", 0)]
    for key, value in zip(("common.num_present", "common.num_missing"), counts, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise _unusable(file, name, key, "a count is expected: compute the baseline anew")
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
        bounds = np.array([bucket["upper_bound"] for bucket in buckets], dtype=np.float64)
        least = float(buckets[0].get("lower_bound", -math.inf))
        counts = np.array([bucket["count"] for bucket in buckets], dtype=np.float64)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise _unusable(
            file, name, "distribution.kll", "levels of numbers, or buckets, are expected: compute it anew"
        ) from None
    upto = np.cumsum(counts)
    last = np.append(bounds[1:] != bounds[:-1], True)
    one_value = bool((bounds == least).all())
    return Steps(bounds[last], upto[last], float(upto[-1]), exact=one_value) if upto[-1] > 0 else None


def _sketch_steps(levels: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> Steps:
    if any(level.ndim != 1 or not np.isfinite(level).all() for level in levels):
        raise ValueError("a level is a list of finite numbers")
    values = np.concatenate(levels)
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
            counts[str(bucket["value"])] = counts.get(str(bucket["value"]), 0) + int(bucket["count"])
    except (TypeError, ValueError, KeyError, OverflowError):
        counts = {"": -1}
    if any(count < 0 for count in counts.values()):
        where = "distribution.categorical.buckets"
        raise _unusable(file, name, where, "buckets with value and count are expected: compute it anew")
    return counts


def _layout(features: Mapping[str, FeatureBaseline]) -> Layout:
    return Layout(
        {name: "numeric" if isinstance(item, NumericBaseline) else "categorical" for name, item in features.items()},
        {
            name: item.steps.points
            for name, item in features.items()
            if isinstance(item, NumericBaseline) and item.steps
        },
        {name: frozenset(item.counts) for name, item in features.items() if isinstance(item, CategoricalBaseline)},
        frozenset(name for name, item in features.items() if isinstance(item, CategoricalBaseline) and item.boolean),
    )


def _document(document: Mapping[str, Any] | str | bytes, file: str) -> Mapping[str, Any]:
    if isinstance(document, (str, bytes)):
        try:
            text = document.decode("utf-8-sig") if isinstance(document, bytes) else document.removeprefix("\ufeff")
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NoBaseline(
                f"{file}: the file is not JSON ({type(error).__name__}): compute the baseline anew"
            ) from None
    if not isinstance(document, Mapping):
        raise NoBaseline(f"{file}: the file holds no JSON object: compute the baseline anew")
    return document


def _name(feature: Any, file: str) -> str:
    name = feature.get("name") if isinstance(feature, dict) else None
    if not isinstance(name, str) or not name:
        raise _unusable(file, None, "name", "a feature has no name: compute the baseline anew")
    return name


def _unusable(file: str, feature: str | None, where: str, message: str) -> NoBaseline:
    return NoBaseline(f"{file}: {f'feature {feature}: ' if feature else ''}{where}: {message}")


def _option(key: str, value: Any, features: Mapping[str, str] | None) -> Any:
    if key in {"method", "categorical_method"}:
        return _method(key, value, METHODS if key == "method" else CATEGORICAL_METHODS)
    if key in {"thresholds", "methods", "ignored"}:
        return _by_feature(key, value, features)
    if key == "label_delay_hours":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_DELAY:
            raise OptionError(key, f"{value!r} is not a number of hours from 0 to {MOST_DELAY}")
        return float(value)
    if key == "min_rows":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise OptionError(key, f"{value!r} is not a whole number from 1")
        return value
    found = _share(key, value)
    if key == "p_threshold" and found in {0, 1}:
        raise OptionError(key, f"{value!r} is not between 0 and 1")
    return found


def _by_feature(key: str, value: Any, features: Mapping[str, str] | None) -> Any:
    if not isinstance(value, (list, tuple) if key == "ignored" else dict):
        wanted = "a list" if key == "ignored" else f"a table of feature = {key.removesuffix('s')}"
        raise OptionError(key, f"{wanted} is expected")
    for name in value:
        if features is not None and name not in features:
            raise OptionError(key, f"{name!r} is no feature: it is none of {', '.join(features)}")
    if key == "thresholds":
        return {name: _share(f"{key}.{name}", value[name]) for name in value}
    if key == "methods":
        return {name: _method(f"{key}.{name}", value[name], _methods_of(name, features)) for name in value}
    return tuple(value)


def _methods_of(name: str, features: Mapping[str, str] | None) -> Mapping[str, str]:
    if features is None:
        return METHODS | CATEGORICAL_METHODS
    return METHODS if features[name] == "numeric" else CATEGORICAL_METHODS


def _method(key: str, value: Any, known: Mapping[str, str]) -> str:
    found = known.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise OptionError(key, f"{value!r} is unknown: write one of {', '.join(dict.fromkeys(known.values()))}")
    return found


def _share(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise OptionError(key, f"{value!r} is not a number from 0 to 1")
    return float(value)
