"""constraints.json: what is demanded of each feature and by what it is compared, written strictly and read liberally.

Format: "Schema for constraints (constraints.json file)", SageMaker Developer Guide, and real files. What we write,
AWS's tools read. What we read may be AWS's own: both spellings of the methods and of the monitoring overrides, the
known typo, missing parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, overload

from retrain.core.errors import InvalidSpec, NoBaseline
from retrain.drift.documents import feature_name, read_document, unusable
from retrain.drift.profile import ColumnProfile, NumericProfile, Profile, category_of
from retrain.model.monitor_options import (
    CARRIED,
    CATEGORICAL_METHODS,
    DEFAULT_THRESHOLD,
    METHODS,
    OWN_THRESHOLDS,
    UNCHOSEN,
    MonitorOptions,
    alike,
)

MAX_DOMAIN = 500  # a column with more categories has no domain: new ones are its nature
OPTIONS_KEY = "drift_retrain"  # our options within monitoring_config
_AWS_THRESHOLD = 0.1  # what the documentation says is meant if a file says nothing


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
        """Constraints with that threshold, as far as nobody chose another one, or a method of another unit."""
        numeric = "numeric" in self.unchosen and self.method not in OWN_THRESHOLDS
        categorical = "categorical" in self.unchosen and self.categorical_method not in OWN_THRESHOLDS
        return replace(
            self,
            threshold=threshold if numeric else self.threshold,
            categorical_threshold=threshold if categorical else self.categorical_threshold,
        )

    def feature(self, name: str) -> FeatureConstraints:
        """What is demanded of that feature."""
        return self.features.get(name) or FeatureConstraints(name)

    @property
    def native(self) -> bool:
        """Whether Model Monitor wrote the file."""
        return OPTIONS_KEY not in self.monitoring_config

    def judges(self, name: str) -> bool:
        """Whether the feature takes part in the window's verdict."""
        return self.judged and self.feature(name).judged

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
            threshold = common if alike(method, general) else OWN_THRESHOLDS.get(method, DEFAULT_THRESHOLD)
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


def _feature_constraints(name: str, column: ColumnProfile, options: MonitorOptions) -> dict[str, Any]:
    feature: dict[str, Any] = {
        "name": name,
        "inferred_type": column.inferred_type,
        "completeness": column.completeness,
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
    return OWN_THRESHOLDS.get(method, DEFAULT_THRESHOLD) if threshold is None else threshold


def read_constraints(document: Mapping[str, Any] | str | bytes, file: str = "constraints.json") -> Constraints:
    """The constraints that the file's content holds. Raises NoBaseline naming file, feature, field and remedy."""
    whole = read_document(document, file)
    reader = _ConstraintsReader(file)
    config = reader.section(whole, "monitoring_config", None)
    comparison = reader.section(config, "distribution_constraints", None)
    listed = whole.get("features", [])
    if not isinstance(listed, list):
        raise unusable(file, None, "features", "a list is expected: compute the baseline anew")
    features = [reader.feature(feature) for feature in listed]
    method = reader.method(comparison, None) or "Simple"
    threshold = reader.share(comparison, "comparison_threshold", None, OWN_THRESHOLDS.get(method, _AWS_THRESHOLD))
    categorical = reader.choice(comparison, "categorical_drift_method", CATEGORICAL_METHODS, None) or "LInfinity"
    other = threshold if alike(method, categorical) else OWN_THRESHOLDS.get(categorical, _AWS_THRESHOLD)
    carried = reader.section(config, OPTIONS_KEY, None)
    try:
        options = MonitorOptions.of({name: carried[name] for name in CARRIED if name in carried})
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
        unchosen=frozenset(map(str, unchosen)) if isinstance(unchosen := carried.get(UNCHOSEN), list) else frozenset(),
        monitoring_config=config,
    )


@dataclass(frozen=True, slots=True)
class _ConstraintsReader:
    """Reads the parts of a constraints.json, and names file, feature and field where that is impossible."""

    file: str

    def feature(self, feature: Any) -> FeatureConstraints:
        name = feature_name(feature, self.file)
        strings = self.section(feature, "string_constraints", name)
        overrides: dict[str, Any] = {}
        for holder in (strings, self.section(feature, "num_constraints", name), feature):
            for key in ("monitoring_config_overrides", "monitoringConfigOverrides"):
                overrides |= self.section(holder, key, name)
        comparison = overrides | self.section(overrides, "distribution_constraints", name)
        domains = strings.get("domains")
        if domains is not None and not isinstance(domains, list):
            raise unusable(self.file, name, "string_constraints.domains", "a list of texts is expected")
        kind = feature.get("inferred_type")
        return FeatureConstraints(
            name=name,
            inferred_type=kind if isinstance(kind, str) and kind != "Unknown" else None,
            completeness=self.share(feature, "completeness", name),
            is_non_negative=self.section(feature, "num_constraints", name).get("is_non_negative") is True,
            domain=None if domains is None else frozenset(category_of(str(value)) for value in domains),
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
            raise unusable(self.file, feature, key, "an object is expected")
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
            raise unusable(self.file, feature, key, f"{value!r} is not a number from 0 to 1")
        return float(value)

    def p_threshold(self, comparison: Mapping[str, Any], feature: str) -> float | None:
        value = self.share(comparison, "p_threshold", feature)
        if value in {0, 1}:
            raise unusable(self.file, feature, "p_threshold", f"{value!r} is not between 0 and 1")
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
            raise unusable(
                self.file,
                feature,
                key,
                f"{value!r} is unknown: write one of {', '.join(dict.fromkeys(known.values()))}",
            )
        return found

    def enabled(self, holder: Mapping[str, Any], key: str) -> bool:
        return str(holder.get(key, "Enabled")).lower() != "disabled"
