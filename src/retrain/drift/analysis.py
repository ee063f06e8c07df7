"""The drift monitor's analysis of a window: captures and a baseline in, a verdict and its numbers out.

Broken data is not drift: a changed schema, a vanished column, unreadable lines or a collapsed volume make the window
UNDECIDED with `triage` set. A person is told, and nothing is retrained on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from retrain.capture.quarantine import BadLine
from retrain.core.clock import render
from retrain.core.window import HOUR, Window
from retrain.drift import verdict
from retrain.drift.baseline import PREDICTION, Statistics, read_statistics, render_statistics
from retrain.drift.chance import DAY, LENGTHS_JUDGED, YEAR, level
from retrain.drift.comparison import Look, compare, compare_prediction
from retrain.drift.conditional import LEANS, Harm, harm_of
from retrain.drift.constraints import Constraints, read_constraints, render_constraints
from retrain.drift.intake import Intake, read_captures
from retrain.drift.profile import ColumnProfile, NumericProfile, Profile
from retrain.drift.triage import bad_rows, triage
from retrain.drift.verdict import UNTELLABLE, FeatureDrift, Seen, Verdict
from retrain.drift.violations import Violation, violations
from retrain.model.monitor_options import ANY, HARM, ROWS, MonitorOptions

NAMESPACE = "DriftRetrain"
MAX_FEATURE_METRICS = 20
_UNBOUNDED = 20 * YEAR  # hours: a window that nobody asked for begins at the beginning of time
_METRIC_NAME = re.compile(r"[^A-Za-z0-9_.\-/#]")
_METRIC_NAME_LIMIT = 255


@dataclass(frozen=True)
class Analysis:
    """What is known about a window [start, end).

    `features` are in the order of relevance, what matters most to the model first. `drift_max` is the largest distance
    of a judged feature, that of `worst_feature`, whatever its importance, in the unit of `threshold`: it exceeds
    `threshold` exactly if the window has drifted. It is None, as `drift_share`
    (the share of the judged features that have drifted) is, unless the verdict is DRIFTED or STABLE.
    `min_detectable_drift` is the largest of the judged features'. `paths` counts the lines by how they were read
    (`retrain.drift.intake.Intake`). `hours` is the length that was judged, None if nobody knows it. `seen` is what
    looks of other lengths saw beside it (`retrain.drift.lengths`). `harm` is what of the drift of the window itself
    matters to the model, None where the baseline does not say what it leans on; `opens` is what begins an episode:
    harm, or any drift.
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
    hours: float | None = None
    seen: tuple[Seen, ...] = ()
    harm: Harm | None = None
    opens: str = ANY

    @property
    def drift_harm(self) -> float | None:
        """What begins an episode, in the unit of `threshold`, which it exceeds exactly if one is to begin.

        The gain's share of what the model leans on and has drifted, by the share from which on that matters; where
        nobody knows that, or any drift is to begin one, it is `drift_max`. None if the window is UNDECIDED.
        """
        if self.verdict is Verdict.UNDECIDED or self.harm is None or self.opens != HARM:
            return self.drift_max
        value = self.threshold * self.harm.share / LEANS
        if self.harm.likely:
            return max(value, math.nextafter(self.threshold, math.inf))
        return min(value, self.threshold)

    @property
    def chance_learned(self) -> bool:
        """Whether the baseline's own time said what chance does: its rows have times, and the window's length is known.

        If not, rows were taken for independent, and a day that is unlike others may be called drift.
        """
        return any(feature.chance_learned for feature in self.features)

    @property
    def untellable(self) -> tuple[str, ...]:
        """The judged features that move by more than their threshold anyhow in windows of this length."""
        return tuple(item.name for item in self.features if item.judged and item.reason in UNTELLABLE)

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
            "drift_harm": self.drift_harm,
            "harm": self.harm.document() if self.harm else None,
            "opens": self.opens,
            "min_detectable_drift": self.min_detectable_drift,
            "hours": self.hours,
            "chance_learned": self.chance_learned,
            "untellable": list(self.untellable),
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
            "seen": [item.document() for item in self.seen],
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
            ("drift_harm", self.drift_harm, "None"),
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
    covered: Window | Literal["told"] | None = "told",
) -> Analysis:
    """The analysis of the captures of the window [start, end) against the baseline.

    `captures` are (source, lines) of capture files, read one after the other; they may hold more than the window.
    Memory does not grow with them. `options` replace those in the constraints. `alarm_threshold` is the threshold of
    features for which model.toml chose none, and the unit of `drift_max`, so that the alarm and the verdict agree.
    `expected_rows` is how many rows the window should have had, where somebody knows. Without
    `fast` every line is read by itself, which gives the same and takes longer. `covered` is from when to when the rows
    were, where their captures do not tell it, as a table's do not; None where nobody knows. Raises NoBaseline.
    """
    if not isinstance(statistics, Statistics):
        statistics = read_statistics(statistics)
    if not isinstance(constraints, Constraints):
        constraints = read_constraints(constraints)
    intake = read_captures(captures, statistics, window, fast)
    if covered != "told":
        intake = replace(intake, first=covered and covered[0], last=covered and covered[1])
    return analyse_intake(
        intake,
        statistics,
        constraints,
        window,
        options=options,
        alarm_threshold=alarm_threshold,
        expected_rows=expected_rows,
    )


def analyse_intake(
    intake: Intake,
    statistics: Statistics,
    constraints: Constraints,
    window: Window,
    *,
    options: MonitorOptions | None = None,
    alarm_threshold: float | None = None,
    expected_rows: int | None = None,
    evidence: bool = False,
) -> Analysis:
    """The analysis of captures that were read already; parameters as `analyse` has them.

    `evidence` is whether each feature's evidence is wanted that something has changed, to be added up over windows.
    """
    options = options or constraints.options
    look = replace(look_at(intake, window, statistics, options), evidence=evidence)
    if alarm_threshold is not None:
        constraints = constraints.with_threshold(alarm_threshold)
    threshold = constraints.threshold if alarm_threshold is None else alarm_threshold
    rows, quarantine = intake.profile.rows, intake.quarantine
    compared = [
        compare(baseline, intake.profile.columns[name], constraints, look, constraints.judges(name))
        for name, baseline in statistics.features.items()
    ]
    unmet = violations(intake, constraints, compared, options.min_rows)
    features = sorted(compared, key=lambda feature: (-feature.relevance, -feature.severity, feature.name))
    judged = [feature for feature in features if feature.judged]
    broken = triage(intake, statistics, options, expected_rows)
    reach = {item.name: max(statistics.features[item.name].completeness, item.completeness) for item in judged}
    found, reason, detail = verdict.on_window(judged, rows, options.min_rows, reach)
    if broken:
        found, (reason, detail) = Verdict.UNDECIDED, broken
    decided = found is not Verdict.UNDECIDED
    told = [feature for feature in judged if feature.verdict is not Verdict.UNDECIDED]
    comparable = [feature for feature in judged if feature.distance is not None]
    worst = max(told if decided else comparable, key=lambda feature: feature.severity, default=None)
    return Analysis(
        window_start=window[0],
        window_end=window[1],
        verdict=found,
        reason=reason,
        detail=detail,
        triage=broken is not None,
        features=tuple(features),
        prediction=compare_prediction(statistics, constraints, intake, look, options.max_bad_share),
        worst_feature=worst.name if worst else None,
        drift_max=_in_unit(worst, threshold) if decided and worst else None,
        drift_share=sum(item.verdict is Verdict.DRIFTED for item in told) / len(told) if decided else None,
        threshold=threshold,
        min_detectable_drift=max((_detectable(item, threshold) for item in told or judged), default=1.0),
        records=intake.records,
        rows=rows,
        outside_window=quarantine.outside_window,
        bad_rows=dict(sorted(bad_rows(intake).items())),
        notes=dict(sorted(quarantine.notes.items())),
        bad_examples=tuple(quarantine.examples),
        violations=tuple(unmet),
        baseline_rows=statistics.item_count,
        profile=intake.profile,
        prediction_profile=intake.prediction.columns[PREDICTION] if intake.prediction.rows else None,
        monitoring_config=constraints.monitoring_config,
        paths=intake.paths,
        hours=look.hours,
        harm=_harm(intake, statistics, features, look) if decided else None,
        opens=options.opens,
    )


def _harm(intake: Intake, statistics: Statistics, features: Sequence[FeatureDrift], look: Look) -> Harm | None:
    if statistics.joint is None or intake.profile.moments is None:
        return None
    return harm_of(statistics.joint, intake.profile.moments, features, look)


def look_at(intake: Intake, window: Window, statistics: Statistics, options: MonitorOptions) -> Look:
    """How long the window is, and the level at which a feature is told by it.

    The length is that of the captures where they cover less than half of the window, and where it has no end. A
    baseline without times has the level of a day for every length: what hours do is beyond its knowledge.
    """
    span = (window[1] - window[0]) / HOUR
    hours: float | None = span
    if options.chance == ROWS:
        hours = None
    elif intake.first is not None and intake.last is not None:
        covered = float(math.ceil((intake.last - intake.first) / HOUR))
        hours = max(covered, 1.0) if covered < span / 2 and span > 1 else span
    elif span > _UNBOUNDED:
        hours = None
    timed = any(feature.chance is not None for feature in statistics.features.values())
    each = hours if timed and hours else DAY
    return Look(hours, level(options.false_alarms_per_year, each, len(statistics.features), LENGTHS_JUDGED))


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
        "chance": feature.chance,
        "chance_learned": feature.chance_learned,
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
