"""Looks of several lengths at once, and the verdict that they come to together.

A window is one look. Beside it an hour tells what broke, a week and four weeks what moves slowly, and evidence of
several weeks what is too small for one look. Each has its share of a year's false alarms. A look sees drift or it does
not: what it leaves undecided takes nothing from the window's verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from retrain.core.window import HOUR, Window
from retrain.drift import lasting
from retrain.drift.analysis import Analysis, analyse_intake
from retrain.drift.baseline import Statistics
from retrain.drift.breaks import breaks
from retrain.drift.constraints import Constraints
from retrain.drift.intake import Intake
from retrain.drift.verdict import NAMED, FeatureDrift, Seen, Verdict
from retrain.model.monitor_options import TIME

_TOO_SHORT = frozenset({"too_few_rows", "window_short"})  # why a window is undecided that a longer one may decide


def several(statistics: Statistics, constraints: Constraints) -> bool:
    """Whether lengths other than the window's can be judged: the baseline knows its time, and is asked for it."""
    timed = any(feature.chance for feature in statistics.features.values())
    return timed and constraints.options.chance == TIME


def look(
    intake: Intake, statistics: Statistics, constraints: Constraints, window: Window, alarm_threshold: float
) -> Analysis:
    """The analysis of a look of another length, with its features' evidence."""
    return analyse_intake(intake, statistics, constraints, window, alarm_threshold=alarm_threshold, evidence=True)


def seen_in(analysis: Analysis) -> Seen:
    """What the look saw by its distances."""
    hours = (analysis.window_end - analysis.window_start) / HOUR
    detail = None
    if analysis.verdict is Verdict.DRIFTED and analysis.worst_feature:
        worst = next(item for item in analysis.features if item.name == analysis.worst_feature)
        detail = f"seen over {length(hours)}: {_moved(worst)}"
    return Seen(
        hours,
        "distance",
        analysis.verdict,
        analysis.rows,
        worst_feature=analysis.worst_feature,
        drift_max=analysis.drift_max,
        drift_share=analysis.drift_share,
        detail=detail,
    )


def broken_in(
    intake: Intake, statistics: Statistics, constraints: Constraints, window: Window, alarm_threshold: float
) -> Seen:
    """What broke within the look, of an hour to a day or two."""
    hours = (window[1] - window[0]) / HOUR
    found = breaks(intake.profile, statistics, constraints, constraints.options, hours)
    rows = intake.profile.rows
    if not found:
        return Seen(hours, "break", Verdict.STABLE, rows)
    broken = [item for item in found if item.broken]
    told = broken or found
    detail = f"seen within {length(hours)}: " + "; ".join(item.detail for item in told[:NAMED])
    if broken:
        return Seen(hours, "break", Verdict.UNDECIDED, rows, True, detail=detail)
    share = len(told) / len(statistics.features)
    above = min(1.0, 2 * alarm_threshold)
    return Seen(hours, "break", Verdict.DRIFTED, rows, False, told[0].feature, above, share, detail)


def lasts(weeks: Sequence[Analysis], false_alarms_per_year: float) -> Seen | None:
    """What evidence of several weeks says; `weeks` are looks, oldest first, each of which begins where one ended.

    None without any. Features have drifted that are off by half of their threshold in the last week, if their evidence
    together is beyond doubt: that of which there is most, and those whose own would be enough.
    """
    if not weeks:
        return None
    last = weeks[-1]
    hours = sum((week.window_end - week.window_start) / HOUR for week in weeks)
    by_name = [{item.name: item.evidence for item in week.features} for week in weeks]
    judged = [item for item in last.features if item.judged and item.evidence is not None]
    sums = {item.name: sum(week.get(item.name) or 1.0 for week in by_name) for item in judged}
    off = [item for item in judged if item.severity >= lasting.LEAST]
    worst = max(off, key=lambda item: sums[item.name], default=None)
    rows = sum(week.rows for week in weeks)
    needed = lasting.limit(false_alarms_per_year) * len(judged)
    if worst is None or sum(sums[item.name] for item in off) < needed:
        return Seen(hours, "lasting", Verdict.STABLE, rows)
    drifted = [item for item in off if item is worst or sums[item.name] >= needed]
    detail = (
        f"lasting: {worst.name} is off by {worst.distance or 0.0:.3g} in the last week, a change beyond doubt by now"
    )
    return Seen(
        hours,
        "lasting",
        Verdict.DRIFTED,
        rows,
        worst_feature=worst.name,
        drift_max=last.threshold * worst.severity / lasting.LEAST,
        drift_share=len(drifted) / len(judged),
        detail=detail,
    )


def together(window: Analysis, seen: Sequence[Seen]) -> Analysis:
    """The window's analysis with what the other looks saw: drift, or a case for a person, that it had not seen itself.

    Broken data is no drift, whoever sees it. Where the window is too short to say, or has too few rows, a longer look
    that is stable says so.
    """
    analysis = replace(window, seen=tuple(seen))
    if window.triage:
        return analysis
    if case := next((item for item in seen if item.triage), None):
        return replace(
            analysis,
            verdict=Verdict.UNDECIDED,
            reason="schema_mismatch",
            detail=case.detail,
            triage=True,
            drift_max=None,
            drift_share=None,
        )
    drifted = [item for item in seen if item.verdict is Verdict.DRIFTED]
    worst = max(drifted, key=lambda item: item.drift_max or 0.0, default=None)
    if worst is None:
        return _said_by_longer(analysis, seen)
    if window.verdict is Verdict.DRIFTED:
        return replace(analysis, drift_max=max(window.drift_max or 0.0, worst.drift_max or 0.0))
    return replace(
        analysis,
        verdict=Verdict.DRIFTED,
        reason=None,
        detail=worst.detail,
        worst_feature=worst.worst_feature,
        drift_max=max(worst.drift_max or 0.0, analysis.threshold * (1 + 1e-9)),
        drift_share=worst.drift_share,
    )


def _said_by_longer(analysis: Analysis, seen: Sequence[Seen]) -> Analysis:
    told = [item for item in seen if item.verdict is Verdict.STABLE and item.by == "distance"]
    longer = [item for item in told if item.hours * HOUR > analysis.window_end - analysis.window_start]
    if not longer or analysis.reason not in _TOO_SHORT:
        return analysis
    by = min(longer, key=lambda item: item.hours)
    return replace(
        analysis,
        verdict=Verdict.STABLE,
        reason=None,
        detail=f"seen over {length(by.hours)}, because the window alone does not tell: {analysis.detail}",
        worst_feature=by.worst_feature,
        drift_max=by.drift_max,
        drift_share=by.drift_share,
    )


def length(hours: float) -> str:
    """How long, for people.

    >>> length(1), length(1.5), length(168.0)
    ('1 hour', '1.5 hours', '7 days')
    """
    if hours >= 48:
        return f"{hours / 24:.4g} days"
    return f"{hours:.3g} hour" + ("" if hours == 1 else "s")


def _moved(feature: FeatureDrift) -> str:
    return f"{feature.name} is off by {feature.distance or 0.0:.3g}, where {feature.threshold:.3g} is allowed"
