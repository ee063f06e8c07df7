"""Verdicts: on a feature from its distance, on a window from its features.

A threshold is an effect that matters, not a significance level. So a window has drifted if a distance exceeds its
threshold and chance doesn't explain it; it is stable if none does and chance could not have hidden it from a window of
that size; otherwise nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from retrain.drift.chance import Bound
from retrain.drift.distances import rarity

NAMED = 5  # features or columns in a sentence
UNTELLABLE = frozenset({"not_tellable", "window_short"})  # why a feature can't be told in a window of that length
_MOST_SEVERE = 1e6  # of a threshold of zero


class Verdict(StrEnum):
    """What is known about a feature or a window."""

    DRIFTED = "DRIFTED"
    STABLE = "STABLE"
    UNDECIDED = "UNDECIDED"


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

    `chance` is the largest distance that a window of this length may have by chance, None if the baseline can't say;
    `chance_learned` is whether the baseline's own time had a say in it, or rows were taken for independent.
    `min_detectable_drift` is the least difference that is told from chance, at most 1 but of PSI; the distance of
    `linf_robust` is already less what chance does to independent rows. `evidence` is the window's e-value against
    "nothing has changed" (`retrain.drift.lasting`), None where nobody asked.
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
    chance: float | None = None
    chance_learned: bool = False
    evidence: float | None = None

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
        return max(beyond, rarity(self.p_value, self.p_threshold))

    @property
    def relevance(self) -> float:
        """Severity times importance: how much the drift may matter to the model; severity alone where nobody knows."""
        return self.severity if self.importance is None else self.severity * self.importance


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look saw: over how many hours, and by what.

    `by` is `distance`, as a window is judged, `break` (`retrain.drift.breaks`), or `lasting` (`retrain.drift.lasting`).
    `drift_max` is the worst feature's distance in the unit of the alarm's threshold, above it exactly if it has
    drifted; None where nothing was decided. `triage` is whether it is a case for a person.
    """

    hours: float
    by: str
    verdict: Verdict
    rows: int
    triage: bool = False
    worst_feature: str | None = None
    drift_max: float | None = None
    drift_share: float | None = None
    detail: str | None = None

    def document(self) -> dict[str, Any]:
        """The form in which it is in analysis.json."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Seen:
        """What `document` wrote."""
        return cls(**{**document, "verdict": Verdict(document["verdict"])})


def on_distance(distance: float, threshold: float, chance: Bound, beyond: bool = False) -> tuple[Verdict, str | None]:
    """The verdict on a feature, and why it is undecided. `chance` is what chance may produce, in the distance's unit.

    `beyond`: drift is what exceeds the threshold by more than chance (Robust), and not what exceeds both. Undecided is
    "too_few_rows" where more rows would decide, "not_tellable" where only a longer window or baseline would,
    "window_short" where the baseline says nothing of so short a window.

    >>> def rows(chance):
    ...     return Bound(chance, chance, few=True, learned=False)
    >>> for distance, chance in (0.35, 0.06), (0.05, 0.06), (0.05, 0.5), (0.45, 0.5):
    ...     print(*on_distance(distance, 0.3, rows(chance)))
    DRIFTED None
    STABLE None
    UNDECIDED too_few_rows
    UNDECIDED too_few_rows
    >>> print(*on_distance(0.35, 0.3, rows(0.06), beyond=True))
    UNDECIDED too_few_rows
    >>> print(*on_distance(0.45, 0.3, Bound(0.5, 0.2, few=False, learned=True, hours=24)))
    UNDECIDED not_tellable
    """
    if math.isnan(distance):
        return Verdict.UNDECIDED, "too_few_rows"
    if distance > (threshold + chance.total if beyond else max(threshold, chance.total)):
        return Verdict.DRIFTED, None
    if distance <= threshold and chance.hides <= threshold:
        return Verdict.STABLE, None
    if chance.few:
        return Verdict.UNDECIDED, "too_few_rows"
    return Verdict.UNDECIDED, "window_short" if chance.hours is None else "not_tellable"


def on_window(
    judged: Sequence[FeatureDrift], rows: int, min_rows: int, reach: Mapping[str, float]
) -> tuple[Verdict, str | None, str | None]:
    """The verdict on a window of that many rows, and why it is undecided: the reason, and in a sentence.

    `judged` are the features that take part. `reach` is the share of the rows that have the feature, in the baseline or
    now: an undecided feature that so few rows have cannot move the data by its threshold, whatever it did. A feature
    that moves by more than its threshold from one window to the next anyhow is no reason to doubt the others.
    """
    if not rows:
        return Verdict.UNDECIDED, "capture_missing", "the window has no captured row"
    if rows < min_rows:
        return Verdict.UNDECIDED, "too_few_rows", f"{rows} rows, at least {min_rows} are needed"
    if any(feature.verdict is Verdict.DRIFTED for feature in judged):
        return Verdict.DRIFTED, None, None
    undecided = [item for item in judged if item.verdict is Verdict.UNDECIDED and reach[item.name] > item.threshold]
    matter = [item for item in undecided if item.reason not in UNTELLABLE]
    if matter:
        named = ", ".join(f"{item.name} ({item.reason})" for item in matter[:NAMED])
        return Verdict.UNDECIDED, matter[0].reason, f"{len(matter)} features are undecided: {named}"
    if any(feature.verdict is Verdict.STABLE for feature in judged):
        return Verdict.STABLE, None, None
    return Verdict.UNDECIDED, *_untold(undecided)


def _untold(undecided: Sequence[FeatureDrift]) -> tuple[str, str]:
    if any(item.reason == "not_tellable" for item in undecided):
        return "window_short", "in windows so short every feature moves by more than its threshold, whatever happens"
    if undecided:
        return "window_short", "the baseline says nothing of what windows so short do by chance"
    return "not_judged", "no feature could be judged"
