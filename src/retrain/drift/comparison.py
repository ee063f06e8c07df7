"""Comparison: one feature of a window against its baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from retrain.capture.quarantine import UNREADABLE_ANSWER
from retrain.drift import chance, distances, lasting, verdict
from retrain.drift.baseline import PREDICTION, CategoricalBaseline, FeatureBaseline, NumericBaseline, Statistics
from retrain.drift.constraints import Constraints
from retrain.drift.intake import Intake
from retrain.drift.profile import CategoricalProfile, ColumnProfile, NumericProfile
from retrain.drift.verdict import FeatureDrift, Verdict

_MOST = 0.5  # of the values in categories that are not told apart: what is compared says little


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a window: how long it is, None if nobody knows, and the level at which a feature is told by it.

    `evidence` is whether its evidence is wanted, too.
    """

    hours: float | None
    alpha: float
    evidence: bool = False


def compare(
    baseline: FeatureBaseline, column: ColumnProfile, constraints: Constraints, look: Look, judged: bool = True
) -> FeatureDrift:
    """How far the feature is from its baseline, and what follows. `judged`: whether the window's verdict heeds it.

    It does not heed what the baseline does not describe: identifiers and times, a column without a distribution, and
    one of which most values are of categories that the baseline does not name, unless the others have drifted.
    """
    n, m = column.present, baseline.present
    metric = constraints.metric(baseline.name, isinstance(baseline, NumericBaseline))
    found = _Compared()
    if baseline.nature:
        pass  # later rows have other values by their nature: nothing is compared
    elif isinstance(column, NumericProfile) and isinstance(baseline, NumericBaseline):
        found = _compare_numbers(baseline, column)
    elif isinstance(column, CategoricalProfile) and isinstance(baseline, CategoricalBaseline):
        found = _compare_categories(baseline, column)
    kind = metric.method if metric.method in {"psi", "jensen_shannon"} else "linf"
    distance = {"psi": found.psi, "jensen_shannon": found.jensen_shannon, "linf": found.difference}[kind]
    bound = chance.bound(kind, baseline.chance, look.hours, (n, m, found.bins), look.alpha)
    found_verdict, reason = verdict.on_distance(
        distance, metric.threshold, bound, beyond=metric.method == "linf_robust"
    )
    told_by = None
    if look.evidence and not math.isnan(distance):
        told_by = lasting.evidence(kind, distance, baseline.chance, look.hours, (n, m, found.bins))
    if metric.method == "linf_robust":
        distance = distances.robust(distance, n, m)
    # A p-value takes rows for independent: where the baseline knows better, the difference has to be beyond that, too.
    told = not bound.learned or found.difference > bound.total
    if metric.method == "chi_squared" and found.p_value < metric.p_threshold and told:
        found_verdict, reason = Verdict.DRIFTED, None
    if m == 0:
        found_verdict, reason = Verdict.UNDECIDED, "no_baseline"
    elif n == 0 and isinstance(column, NumericProfile) and column.bad:
        found_verdict, reason = Verdict.UNDECIDED, "not_numbers"
    if m and (undescribed := _undescribed(baseline, found, found_verdict)):
        found_verdict, reason, judged, distance = Verdict.UNDECIDED, undescribed, False, math.nan
    return FeatureDrift(
        name=baseline.name,
        kind="numeric" if isinstance(baseline, NumericBaseline) else "categorical",
        verdict=found_verdict,
        reason=reason,
        distance=_known(distance),
        threshold=metric.threshold,
        method=metric.method,
        min_detectable_drift=bound.total if kind == "psi" and math.isfinite(bound.total) else min(1.0, bound.total),
        chance=bound.total if math.isfinite(bound.total) else None,
        chance_learned=bound.learned,
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
        evidence=told_by,
    )


def _undescribed(baseline: FeatureBaseline, found: _Compared, verdict: Verdict) -> str | None:
    """Why the baseline says nothing about the feature that the window's verdict could rest on, None if it does."""
    if baseline.nature:
        return baseline.nature
    if not (baseline.steps if isinstance(baseline, NumericBaseline) else baseline.counts):
        return "not_described"
    return "not_described" if found.others > _MOST and verdict is not Verdict.DRIFTED else None


def compare_prediction(
    statistics: Statistics, constraints: Constraints, intake: Intake, look: Look, max_bad_share: float
) -> FeatureDrift | None:
    """The model's answers against the baseline's, reported and not judged; None if the window has no answer.

    UNDECIDED "capture_corrupt" if more than that share of the answers can't be read, "ambiguous_answer" if that is
    because nobody said which of their values is the prediction.
    """
    answers, unreadable = intake.prediction.rows, intake.quarantine.unreadable_answers
    if not answers and not unreadable:
        return None
    baseline = statistics.prediction
    if baseline is None:  # nothing to compare with: its numbers are in statistics.json
        baseline = NumericBaseline(PREDICTION, "Unknown", 0, 0, None)
    found = compare(baseline, intake.prediction.columns[PREDICTION], constraints, look, judged=False)
    # A capture has one answer or none, of one row or of several.
    if unreadable > max_bad_share * min(intake.records, answers + unreadable):
        usable = found.completeness * answers / (answers + unreadable)
        ambiguous = 2 * intake.quarantine.notes[f"{UNREADABLE_ANSWER}ambiguous"] > unreadable
        reason = "ambiguous_answer" if ambiguous else "capture_corrupt"
        return replace(found, verdict=Verdict.UNDECIDED, reason=reason, completeness=usable)
    return found


@dataclass(frozen=True, slots=True)
class _Compared:
    """A window's column and its baseline: NaN is what can't be compared.

    `difference` is the largest one of the cumulative distributions, or of a share; `bins` are those that `psi` and
    `jensen_shannon` were computed over. `others` is the share of the baseline's values whose categories are not told
    apart.
    """

    difference: float = math.nan
    p_value: float = math.nan
    psi: float = math.nan
    jensen_shannon: float = math.nan
    wasserstein: float = math.nan
    bins: int = 0
    new_categories: int | None = 0
    others: float = 0.0


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
        wasserstein=distances.wasserstein(baseline.steps, column.at, n, column.sketch),
        bins=len(bins[0]),
    )


def _compare_categories(baseline: CategoricalBaseline, column: CategoricalProfile) -> _Compared:
    before, now, other = baseline.counts, column.counts, (0, column.rest)
    if not before:
        return _Compared(new_categories=None)
    unseen = now.keys() - before.keys()
    excess = distances.unseen_excess(
        before, baseline.rest, sum(now[name] for name in unseen) + column.rest, column.present
    )
    new: int | None = len(unseen)
    p_value, others = distances.chi_square_p_value(before, now, sampled=True), 0.0
    if baseline.rest:  # of which categories nobody knows: the window's others may be the same ones
        before, now = distances.told_apart(before, baseline.rest, now, column.present)
        others = before[""] / baseline.present
        other, new, p_value = (0, 0), None, math.nan  # the test sees that the frequent ones were chosen by their counts
    names = sorted(before.keys() | now.keys())
    both = zip((before, now), other, strict=True)
    bins = np.array([[*(counts.get(name, 0) for name in names), rest] for counts, rest in both], dtype=np.float64)
    bins = bins[:, bins.any(axis=0)]
    return _Compared(
        difference=max(distances.categorical_distance(before, now, other), excess) if column.present else math.nan,
        p_value=p_value,
        psi=distances.psi(*bins),
        jensen_shannon=distances.jensen_shannon(*bins),
        bins=bins.shape[1],
        new_categories=new,
        others=others,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
