"""The drift monitor's analysis of a window: captures and a baseline in, a verdict and its numbers out.

Broken data is not drift: a changed schema, a vanished column, unreadable lines or a collapsed volume make the window
UNDECIDED with `triage` set. A person is told, and nothing is retrained on it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np

from retrain.capture.records import DAMAGED, BadLine
from retrain.core.clock import render
from retrain.core.window import Window
from retrain.drift import distances
from retrain.drift.baseline import (
    PREDICTION,
    CategoricalBaseline,
    FeatureBaseline,
    NumericBaseline,
    Statistics,
    read_statistics,
    render_statistics,
)
from retrain.drift.constraints import Constraints, FeatureConstraints, read_constraints, render_constraints
from retrain.drift.distances import Verdict
from retrain.drift.intake import Intake, read_captures
from retrain.drift.profile import (
    CategoricalProfile,
    ColumnProfile,
    NumericProfile,
    Profile,
)
from retrain.model.monitor_options import MonitorOptions

NAMESPACE = "DriftRetrain"
MAX_FEATURE_METRICS = 20
_NAMED = 5  # features or columns in a sentence
_MOST_SEVERE = 1e6  # of a threshold of zero
TRIAGE = frozenset({"schema_mismatch", "capture_corrupt", "volume_collapse"})
_METRIC_NAME = re.compile(r"[^A-Za-z0-9_.\-/#]")
_METRIC_NAME_LIMIT = 255
_Key = TypeVar("_Key", str, int)


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature of a window against its baseline.

    `distance` is in the unit of `threshold` and None where nothing could be compared. `method` says what it is:
    `linf_simple` or `linf_robust` (numeric: Kolmogorov-Smirnov, categorical: largest difference of a share; 0 … 1),
    `psi`, `jensen_shannon` (0 … 1), or `chi_squared`, whose distance is linf_simple's: it has drifted as well if the
    p-value is below `p_threshold`, None for others. `p_value` takes the baseline for a sample too. `wasserstein` is in
    the feature's unit. `new_categories` is None if the baseline does not name all of its own. `judged` is False for
    what is reported without taking part in the window's verdict. `importance` is the share of the serving model's gain,
    None if the baseline does not tell.

    `min_detectable_drift` is the least distance that is told from chance; of `linf_robust` what the largest difference
    must exceed to be drift, which is its threshold more.
    """

    name: str
    kind: str
    verdict: Verdict
    reason: str | None
    distance: float | None
    threshold: float
    method: str
    min_detectable_drift: float
    present: int
    missing: int
    bad: int
    completeness: float
    judged: bool = True
    p_value: float | None = None
    p_threshold: float | None = None
    psi: float | None = None
    jensen_shannon: float | None = None
    wasserstein: float | None = None
    new_categories: int | None = 0
    importance: float | None = None

    @property
    def severity(self) -> float:
        """Distance in thresholds, or if that is more the p-value in its own: above 1 it is exceeded.

        -1 where nothing could be compared.
        """
        if self.distance is None:
            return -1.0
        beyond = _MOST_SEVERE if self.distance > 0 else 0.0
        if self.threshold > 0:
            beyond = min(self.distance / self.threshold, _MOST_SEVERE)
        if self.p_threshold is None or self.p_value is None:
            return beyond
        return max(beyond, distances.rarity(self.p_value, self.p_threshold))

    @property
    def relevance(self) -> float:
        """Severity times importance: how much the drift may matter to the model; severity alone where nobody knows."""
        return self.severity if self.importance is None else self.severity * self.importance


@dataclass(frozen=True, slots=True)
class Violation:
    """A constraint that the window does not meet, as Model Monitor reports it."""

    feature_name: str
    constraint_check_type: str
    description: str


@dataclass(frozen=True)
class Analysis:
    """What is known about a window [start, end).

    `features` are in the order of relevance, what matters most to the model first. `drift_max` is the largest distance
    of a judged feature, that of `worst_feature`, whatever its importance, in the unit of `threshold`: it exceeds
    `threshold` exactly if the window has drifted. It is None, as `drift_share`
    (the share of the judged features that have drifted) is, unless the verdict is DRIFTED or STABLE.
    `min_detectable_drift` is the largest of the judged features'. `paths` counts the lines by how they were read
    (`retrain.drift.intake.Intake`).
    """

    window_start: datetime
    window_end: datetime
    verdict: Verdict
    reason: str | None
    detail: str | None
    triage: bool
    features: tuple[FeatureDrift, ...]
    prediction: FeatureDrift | None
    worst_feature: str | None
    drift_max: float | None
    drift_share: float | None
    threshold: float
    min_detectable_drift: float
    records: int
    rows: int
    outside_window: int
    bad_rows: Mapping[str, int]
    notes: Mapping[str, int]
    bad_examples: tuple[BadLine, ...]
    violations: tuple[Violation, ...]
    baseline_rows: int
    profile: Profile = field(repr=False)
    prediction_profile: ColumnProfile | None = field(repr=False)
    monitoring_config: Mapping[str, Any] = field(repr=False)
    paths: Mapping[str, int] = field(default_factory=dict)

    def statistics(self) -> dict[str, Any]:
        """The window's statistics.json."""
        return render_statistics(self.profile, self.prediction_profile)

    def constraints(self) -> dict[str, Any]:
        """The constraints.json that the window's own data suggest, with the monitoring_config it was judged by."""
        return render_constraints(self.profile, monitoring_config=self.monitoring_config)

    def constraint_violations(self) -> dict[str, Any]:
        """The window's constraint_violations.json."""
        return {
            "violations": [
                {
                    "feature_name": item.feature_name,
                    "constraint_check_type": item.constraint_check_type,
                    "description": item.description,
                }
                for item in self.violations
            ]
        }

    def document(self) -> dict[str, Any]:
        """analysis.json: every number of the analysis, in JSON's types."""
        return {
            "version": 1,
            "window_start": render(self.window_start),
            "window_end": render(self.window_end),
            "verdict": self.verdict.value,
            "reason": self.reason,
            "detail": self.detail,
            "triage": self.triage,
            "worst_feature": self.worst_feature,
            "drift_max": self.drift_max,
            "drift_share": self.drift_share,
            "threshold": self.threshold,
            "min_detectable_drift": self.min_detectable_drift,
            "records": self.records,
            "rows": self.rows,
            "outside_window": self.outside_window,
            "bad_rows": {
                "total": sum(self.bad_rows.values()),
                "by_reason": dict(self.bad_rows),
                "examples": [
                    {"source": bad.source, "line": bad.line, "reason": bad.reason, "detail": bad.detail}
                    for bad in self.bad_examples
                ],
            },
            "notes": dict(self.notes),
            "baseline_rows": self.baseline_rows,
            "features": [_feature_document(feature) for feature in self.features],
            "prediction": _feature_document(self.prediction) if self.prediction else None,
            "violations": self.constraint_violations()["violations"],
        }

    def metrics(
        self,
        endpoint_name: str,
        schedule_name: str,
        most_features: int = MAX_FEATURE_METRICS,
        at: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """The window's metrics as boto3's PutMetricData takes them (`MetricData`, at most 1000 a call).

        Their time is `at`, or the window's end.

        The aggregates carry the dimension Endpoint, those of the `most_features` first features Model Monitor's two:
        distance, completeness and, of numbers, a statistic set of their values. What was not decided is not published:
        a distance from too few rows would raise somebody's alarm.
        """
        endpoint = [{"Name": "Endpoint", "Value": endpoint_name}]
        schedule = [*endpoint, {"Name": "MonitoringSchedule", "Value": schedule_name}]
        aggregates = [
            ("drift_max", self.drift_max, "None"),
            ("drift_share", self.drift_share, "None"),
            ("rows_analyzed", self.rows, "Count"),
            ("bad_rows", sum(self.bad_rows.values()), "Count"),
            ("min_detectable_drift", self.min_detectable_drift if self.rows else None, "None"),
        ]
        time = at or self.window_end
        found = [_metric(name, value, unit, endpoint, time) for name, value, unit in aggregates if value is not None]
        decided = self.verdict is not Verdict.UNDECIDED
        first = self.features[:most_features] + ((self.prediction,) if self.prediction and most_features else ())
        for feature in first:
            if decided and feature.distance is not None and feature.verdict is not Verdict.UNDECIDED:
                name = _metric_name("feature_baseline_drift_", feature.name)
                found.append(_metric(name, feature.distance, "None", schedule, time))
            if self.rows:
                name = _metric_name("feature_non_null_", feature.name)
                found.append(_metric(name, feature.completeness, "None", schedule, time))
            column = self.prediction_profile if feature is self.prediction else self.profile.columns[feature.name]
            if isinstance(column, NumericProfile) and column.present:
                name = _metric_name("feature_data_", feature.name)
                values = {"SampleCount": float(column.present), "Sum": column.total}
                values |= {"Minimum": column.minimum, "Maximum": column.maximum}
                found.append(_metric(name, values, "None", schedule, time))
        return found


def analyse(
    captures: Iterable[tuple[str, Iterable[bytes | str]]],
    statistics: Statistics | Mapping[str, Any] | str | bytes,
    constraints: Constraints | Mapping[str, Any] | str | bytes,
    window: Window,
    *,
    options: MonitorOptions | None = None,
    alarm_threshold: float | None = None,
    expected_rows: int | None = None,
    fast: bool = True,
) -> Analysis:
    """The analysis of the captures of the window [start, end) against the baseline.

    `captures` are (source, lines) of capture files, read one after the other; they may hold more than the window.
    Memory does not grow with them. `options` replace those in the constraints. `alarm_threshold` is the threshold of
    features for which model.toml chose none, and the unit of `drift_max`, so that the alarm and the verdict agree.
    `expected_rows` is how many rows the window should have had, where somebody knows. Without
    `fast` every line is read by itself, which gives the same and takes longer. Raises NoBaseline.
    """
    if not isinstance(statistics, Statistics):
        statistics = read_statistics(statistics)
    if not isinstance(constraints, Constraints):
        constraints = read_constraints(constraints)
    return judge(
        read_captures(captures, statistics, window, fast),
        statistics,
        constraints,
        window,
        options=options,
        alarm_threshold=alarm_threshold,
        expected_rows=expected_rows,
    )


def judge(
    intake: Intake,
    statistics: Statistics,
    constraints: Constraints,
    window: Window,
    *,
    options: MonitorOptions | None = None,
    alarm_threshold: float | None = None,
    expected_rows: int | None = None,
) -> Analysis:
    """The same, of captures that were read already."""
    if alarm_threshold is not None:
        constraints = constraints.with_threshold(alarm_threshold)
    return _Judgement(statistics, constraints, options or constraints.options, intake).analysis(
        window, constraints.threshold if alarm_threshold is None else alarm_threshold, expected_rows
    )


class _Judgement:
    """The rules by which an intake becomes an analysis."""

    def __init__(
        self,
        statistics: Statistics,
        constraints: Constraints,
        options: MonitorOptions,
        intake: Intake,
    ) -> None:
        self.statistics = statistics
        self.constraints = constraints
        self.options = options
        self.quarantine = intake.quarantine
        self.intake = intake
        self.rows = intake.profile.rows
        self.violations: list[Violation] = []
        self.broken: list[str] = []  # what makes the window a case of schema_mismatch, in words

    def analysis(self, window: Window, alarm_threshold: float, expected_rows: int | None) -> Analysis:
        bad = Counter(self.quarantine.reasons)
        if self.intake.widths:
            bad["column_count"] = sum(self.intake.widths.values())
        self._check_columns()
        features = [self._feature(name) for name in self.statistics.features]
        features.sort(key=lambda feature: (-feature.relevance, -feature.severity, feature.name))
        reason, detail = self._triage(bad, expected_rows)
        triage = reason is not None
        judged = [feature for feature in features if feature.judged]
        verdict = Verdict.UNDECIDED
        if not triage:
            verdict, reason, detail = self._verdict(judged)
        decided = verdict is not Verdict.UNDECIDED
        compared = [feature for feature in judged if feature.verdict is not Verdict.UNDECIDED]
        comparable = [feature for feature in judged if feature.distance is not None]
        worst = sorted(compared if decided else comparable, key=lambda feature: -feature.severity)[:1]
        return Analysis(
            window_start=window[0],
            window_end=window[1],
            verdict=verdict,
            reason=reason,
            detail=detail,
            triage=triage,
            features=tuple(features),
            prediction=self._prediction(),
            worst_feature=worst[0].name if worst else None,
            drift_max=_in_unit(worst[0], alarm_threshold) if decided and worst else None,
            drift_share=sum(item.verdict is Verdict.DRIFTED for item in compared) / len(compared) if decided else None,
            threshold=alarm_threshold,
            min_detectable_drift=max((_detectable(item, alarm_threshold) for item in compared or judged), default=1.0),
            records=self.intake.records,
            rows=self.rows,
            outside_window=self.quarantine.outside_window,
            bad_rows=dict(sorted(bad.items())),
            notes=dict(sorted(self.quarantine.notes.items())),
            bad_examples=tuple(self.quarantine.examples),
            violations=tuple(self.violations),
            baseline_rows=self.statistics.item_count,
            profile=self.intake.profile,
            prediction_profile=self.intake.prediction.columns[PREDICTION] if self.intake.prediction.rows else None,
            monitoring_config=self.constraints.monitoring_config,
            paths=self.intake.paths,
        )

    def _triage(self, bad: Counter[str], expected_rows: int | None) -> tuple[str | None, str | None]:
        """Why the window is a case for a person, if it is."""
        total, limit = bad.total(), self.options.max_bad_share
        lines = self.quarantine.lines - self.quarantine.outside_window
        misfits = bad["column_count"]
        if misfits > limit * (self.rows + misfits):
            width = _most(self.intake.widths)[0][0]
            self.broken.insert(0, f"{misfits} rows have another number of columns, most of them {width}")
        if self.broken:
            return "schema_mismatch", "; ".join(self.broken)
        if bad[DAMAGED]:
            where = next((f", {item.source} first" for item in self.quarantine.examples if item.reason == DAMAGED), "")
            detail = f"{bad[DAMAGED]} gz files are damaged or cut{where}: what they held beyond is lost"
            return "capture_corrupt", f"{detail}, and nobody knows how much that is"
        reasons = ", ".join(f"{reason} {count}" for reason, count in _most(bad))
        if self.quarantine.bad > limit * lines:  # lines against lines: one of them may hold a hundred rows
            return "capture_corrupt", f"{self.quarantine.bad} of {lines} lines can't be used: {reasons}"
        if total > limit * (self.rows + total):
            return "capture_corrupt", f"{total} lines or rows beside {self.rows} good ones can't be used: {reasons}"
        if expected_rows and self.rows < self.options.min_volume_share * expected_rows:
            return "volume_collapse", f"{self.rows} rows, about {expected_rows} were expected"
        return None, None

    def _verdict(self, judged: Sequence[FeatureDrift]) -> tuple[Verdict, str | None, str | None]:
        if not self.rows:
            return Verdict.UNDECIDED, "capture_missing", "the window has no captured row"
        if self.rows < self.options.min_rows:
            detail = f"{self.rows} rows, at least {self.options.min_rows} are needed"
            return Verdict.UNDECIDED, "too_few_rows", detail
        if any(feature.verdict is Verdict.DRIFTED for feature in judged):
            return Verdict.DRIFTED, None, None
        # An undecided feature that so few rows have cannot move the data by its threshold, whatever it did.
        matter = [item for item in judged if item.verdict is Verdict.UNDECIDED and self._reach(item) > item.threshold]
        if not matter and any(feature.verdict is Verdict.STABLE for feature in judged):
            return Verdict.STABLE, None, None
        if not matter:
            return Verdict.UNDECIDED, "not_judged", "no feature could be judged"
        named = ", ".join(f"{item.name} ({item.reason})" for item in matter[:_NAMED])
        return Verdict.UNDECIDED, matter[0].reason, f"{len(matter)} features are undecided: {named}"

    def _reach(self, feature: FeatureDrift) -> float:
        """Share of the rows that have the feature, in the baseline or now."""
        baseline = self.statistics.features[feature.name]
        whole = baseline.present + baseline.missing
        return max(baseline.present / whole if whole else 0.0, feature.completeness)

    def _feature(self, name: str) -> FeatureDrift:
        baseline, column = self.statistics.features[name], self.intake.profile.columns[name]
        demanded = self.constraints.feature(name)
        self._check_values(baseline, column, demanded)
        judged = self.constraints.judged and demanded.judged
        feature = _compare(baseline, column, self.constraints, judged)
        if feature.verdict is Verdict.DRIFTED and judged and self.rows >= self.options.min_rows:
            description = f"Baseline drift distance: {feature.distance} exceeds threshold: {feature.threshold}"
            if feature.distance is not None and feature.distance <= feature.threshold:
                description = f"Baseline drift p-value: {feature.p_value} is below threshold: {feature.p_threshold}"
            self.violations.append(Violation(name, "baseline_drift_check", description))
        return feature

    def _prediction(self) -> FeatureDrift | None:
        answers = self.intake.prediction.rows
        unreadable = self.quarantine.unreadable_answers
        if not answers and not unreadable:
            return None
        column = self.intake.prediction.columns[PREDICTION]
        baseline = self.statistics.prediction
        if baseline is None:  # nothing to compare with: its numbers are in statistics.json
            baseline = NumericBaseline(PREDICTION, "Unknown", 0, 0, None)
        found = _compare(baseline, column, self.constraints, judged=False)
        # A capture has one answer or none, of one row or of several.
        if unreadable > self.options.max_bad_share * min(self.intake.records, answers + unreadable):
            usable = found.completeness * answers / (answers + unreadable)
            return replace(found, verdict=Verdict.UNDECIDED, reason="capture_corrupt", completeness=usable)
        return found

    def _check_columns(self) -> None:
        """Columns that rows lack or have too many of."""
        expected = len(self.statistics.features)
        for width, count in _most(self.intake.widths)[:1]:
            check = "missing_column_check" if width < expected else "extra_column_check"
            words = "missing" if width < expected else "extra"
            description = (
                f"There are {words} columns in current dataset. Number of columns in current dataset: {width}, "
                f"Number of columns in baseline constraints: {expected} ({count} rows)"
            )
            self.violations.append(Violation(" ", check, description))
        found, limit = self.quarantine, self.options.max_bad_share * self.rows
        for name, count in sorted(found.missing_columns.items()):
            words = f"{count} of {self.rows} rows lack {name}"
            self.violations.append(Violation(name, "missing_column_check", words))
            if count > limit:
                self.broken.append(words)
        for name, count in sorted(found.extra_columns.items()):
            words = f"{count} of {self.rows} rows have the unknown column {name}"
            self.violations.append(Violation(name, "extra_column_check", words))
        if found.extra_others:
            words = f"{found.extra_others} values are in unknown columns of other names, too many to list"
            self.violations.append(Violation(" ", "extra_column_check", words))
        if found.extra_rows > limit:
            named = ", ".join(name for name, _ in _most(found.extra_columns)[:_NAMED])
            named += ", …" if len(found.extra_columns) > _NAMED else ""
            self.broken.append(f"{found.extra_rows} of {self.rows} rows have columns unknown to the model: {named}")

    def _check_values(self, baseline: FeatureBaseline, column: ColumnProfile, demanded: FeatureConstraints) -> None:
        """Type, completeness and domain: what Model Monitor calls a violation, and what is broken beyond drift."""
        if not self.rows:
            return
        enough = self.rows >= min(self.options.min_rows, 100)  # below, one odd row would be a broken schema
        full = column.completeness
        if demanded.completeness is not None and full < demanded.completeness:
            wanted = demanded.completeness
            description = f"Value: {full} does not meet the constraint requirement! Expected completeness: {wanted}"
            self.violations.append(Violation(baseline.name, "completeness_check", description))
        if isinstance(column, NumericProfile):
            self._check_type(column, demanded)
            if demanded.is_non_negative and column.minimum < 0:
                description = (
                    f"Value: {column.minimum} does not meet the constraint requirement! Expected: non-negative"
                )
                self.violations.append(Violation(baseline.name, "data_type_check", description))
            if enough and column.bad > self.options.max_bad_share * self.rows:
                self.broken.append(f"{column.bad} of {self.rows} values of {baseline.name} are not numbers")
        else:
            self._check_domain(baseline, column, demanded, enough)
        whole = baseline.present + baseline.missing
        before, now = baseline.missing / whole if whole else 1.0, column.missing / self.rows
        if enough and (now - before > self.options.max_missing_increase or (now == 1.0 > before)):
            self.broken.append(f"{baseline.name} is missing in {now:.0%} of the rows, in the baseline in {before:.0%}")

    def _check_type(self, column: NumericProfile, demanded: FeatureConstraints) -> None:
        values = column.present + column.bad
        kind = demanded.inferred_type
        if kind not in {"Integral", "Fractional"} or not values:
            return
        share = (column.integral if kind == "Integral" else column.present) / values
        own, general = demanded.datatype_threshold, self.constraints.datatype_threshold
        least = general if own is None else own
        if share < least:
            description = (
                f"Data type match requirement is not met. Expected data type: {kind}, Expected match: "
                f"{least:.1%}. Observed: Only {share:.1%} of data is {kind}."
            )
            self.violations.append(Violation(demanded.name, "data_type_check", description))

    def _check_domain(
        self, baseline: FeatureBaseline, column: CategoricalProfile, demanded: FeatureConstraints, enough: bool
    ) -> None:
        if not column.present:
            return
        if demanded.domain is not None:
            share = sum(count for name, count in column.counts.items() if name in demanded.domain) / column.present
            own, general = demanded.domain_threshold, self.constraints.domain_threshold
            if share < (general if own is None else own):
                description = f"Value: {share} does not meet the constraint requirement!"
                self.violations.append(Violation(baseline.name, "categorical_values_check", description))
        known = column.known
        if known and isinstance(baseline, CategoricalBaseline) and not baseline.rest:
            unknown = 1 - sum(column.counts.get(name, 0) for name in known) / column.present
            if enough and unknown > self.options.max_unknown_categories:
                self.broken.append(f"{unknown:.0%} of the values of {baseline.name} are unknown to the baseline")


@dataclass(frozen=True, slots=True)
class _Compared:
    """A window's column and its baseline: NaN is what can't be compared.

    `difference` is the largest one of the cumulative distributions, or of a share; `bins` are those that `psi` and
    `jensen_shannon` were computed over.
    """

    difference: float = math.nan
    p_value: float = math.nan
    psi: float = math.nan
    jensen_shannon: float = math.nan
    wasserstein: float = math.nan
    bins: int = 0
    new_categories: int | None = 0


def _compare(
    baseline: FeatureBaseline, column: ColumnProfile, constraints: Constraints, judged: bool = True
) -> FeatureDrift:
    n, m = column.present, baseline.present
    metric = constraints.metric(baseline.name, isinstance(baseline, NumericBaseline))
    found = _Compared()
    if isinstance(column, NumericProfile) and isinstance(baseline, NumericBaseline):
        found = _compare_numbers(baseline, column)
    elif isinstance(column, CategoricalProfile) and isinstance(baseline, CategoricalBaseline):
        found = _compare_categories(baseline, column)
    if metric.method == "psi":
        distance, chance = found.psi, distances.psi_by_chance(n, m, found.bins)
    elif metric.method == "jensen_shannon":
        distance, chance = found.jensen_shannon, distances.jensen_shannon_by_chance(n, m, found.bins)
    else:
        distance, chance = found.difference, distances.min_detectable_drift(n, m)
    detectable = chance
    verdict, reason = distances.judge(distance, metric.threshold, chance, beyond=metric.method == "linf_robust")
    if metric.method == "linf_robust":
        distance, detectable = distances.robust(distance, n, m), min(1.0, metric.threshold + chance)
    if metric.method == "chi_squared" and found.p_value < metric.p_threshold:
        verdict, reason = Verdict.DRIFTED, None
    if m == 0 or not (baseline.steps if isinstance(baseline, NumericBaseline) else baseline.counts):
        verdict, reason = Verdict.UNDECIDED, "no_baseline"
    return FeatureDrift(
        name=baseline.name,
        kind="numeric" if isinstance(baseline, NumericBaseline) else "categorical",
        verdict=verdict,
        reason=reason,
        distance=_known(distance),
        threshold=metric.threshold,
        method=metric.method,
        min_detectable_drift=detectable,
        present=n,
        missing=column.missing,
        bad=column.bad if isinstance(column, NumericProfile) else 0,
        completeness=column.completeness,
        judged=judged,
        new_categories=found.new_categories,
        importance=baseline.importance,
        p_value=_known(found.p_value),
        p_threshold=metric.p_threshold if metric.method == "chi_squared" else None,
        psi=_known(found.psi),
        jensen_shannon=_known(found.jensen_shannon),
        wasserstein=_known(found.wasserstein),
    )


def _compare_numbers(baseline: NumericBaseline, column: NumericProfile) -> _Compared:
    if column.at is None or baseline.steps is None:
        return _Compared()
    n, m = column.present, baseline.present
    difference = distances.numeric_distance(baseline.steps, column.at, n)
    bins = distances.bin_counts(baseline.steps, column.at, n)
    return _Compared(
        difference=difference,
        p_value=distances.ks_p_value(difference, n, m),
        psi=distances.psi(*bins),
        jensen_shannon=distances.jensen_shannon(*bins),
        wasserstein=distances.wasserstein(baseline.steps, column.at, n, column.total),
        bins=len(bins[0]),
    )


def _compare_categories(baseline: CategoricalBaseline, column: CategoricalProfile) -> _Compared:
    before, now, other = baseline.counts, column.counts, (0, column.rest)
    if not before:
        return _Compared(new_categories=None)
    new: int | None = len(now.keys() - before.keys())
    p_value = distances.chi_square_p_value(before, now, sampled=True)
    if baseline.rest:  # of which categories nobody knows: the window's others may be the same ones
        before, now = distances.told_apart(before, baseline.rest, now, column.present)
        other, new, p_value = (0, 0), None, math.nan  # the test sees that the frequent ones were chosen by their counts
    names = sorted(before.keys() | now.keys())
    both = zip((before, now), other, strict=True)
    bins = np.array([[*(counts.get(name, 0) for name in names), rest] for counts, rest in both], dtype=np.float64)
    bins = bins[:, bins.any(axis=0)]
    return _Compared(
        difference=distances.categorical_distance(before, now, other),
        p_value=p_value,
        psi=distances.psi(*bins),
        jensen_shannon=distances.jensen_shannon(*bins),
        bins=bins.shape[1],
        new_categories=new,
    )


def _most(counts: Mapping[_Key, int]) -> list[tuple[_Key, int]]:
    """The most frequent first, whatever order they were counted in."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _in_unit(feature: FeatureDrift, threshold: float) -> float | None:
    """The feature's distance as it would be if its threshold were the given one."""
    if feature.distance is None:
        return None
    same = feature.threshold == threshold and feature.p_threshold is None
    value = feature.distance if same else feature.severity * threshold
    if feature.verdict is Verdict.DRIFTED:  # rounding must not bring it below what the alarm looks at
        return max(value, math.nextafter(threshold, math.inf))
    return min(value, threshold)


def _detectable(feature: FeatureDrift, threshold: float) -> float:
    """The feature's min_detectable_drift; where its unit is another one, as if its threshold were the given one."""
    if feature.method not in {"psi", "jensen_shannon"}:
        return feature.min_detectable_drift
    share = feature.min_detectable_drift / feature.threshold if feature.threshold else math.inf
    return min(1.0, share * threshold)


def _feature_document(feature: FeatureDrift) -> dict[str, Any]:
    return {
        "name": feature.name,
        "kind": feature.kind,
        "verdict": feature.verdict.value,
        "reason": feature.reason,
        "distance": feature.distance,
        "threshold": feature.threshold,
        "severity": None if feature.distance is None else feature.severity,
        "importance": feature.importance,
        "method": feature.method,
        "judged": feature.judged,
        "min_detectable_drift": feature.min_detectable_drift,
        "p_value": feature.p_value,
        "p_threshold": feature.p_threshold,
        "psi": feature.psi,
        "jensen_shannon": feature.jensen_shannon,
        "wasserstein": feature.wasserstein,
        "present": feature.present,
        "missing": feature.missing,
        "bad": feature.bad,
        "completeness": feature.completeness,
        "new_categories": feature.new_categories,
    }


def _metric(
    name: str, value: float | dict[str, float], unit: str, dimensions: list[dict[str, str]], time: datetime
) -> dict[str, Any]:
    """One number, or a statistic set of many."""
    told = {"StatisticValues": value} if isinstance(value, dict) else {"Value": float(value)}
    return {"MetricName": name, "Dimensions": dimensions, "Timestamp": time, **told, "Unit": unit}


def _metric_name(prefix: str, feature: str) -> str:
    """The metric's name, within CloudWatch's characters and 255 of them; a changed name keeps apart by a hash."""
    name = prefix + _METRIC_NAME.sub("_", feature)
    if name == prefix + feature and len(name) <= _METRIC_NAME_LIMIT:
        return name
    suffix = sha256(feature.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: _METRIC_NAME_LIMIT - 9]}-{suffix}"
