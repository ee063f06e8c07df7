"""What the gate looks at: champion and challenger score the same rows, on the whole, by segment and against the labels.

The evidence's size does not grow with the data: of segments the 20 largest are judged one by one, each from an
interval over at most 2,000 of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrain.gate.comparison import Comparison, compare
from retrain.gate.rules import FEWEST_OF_A_CLASS, FEWEST_SURE, Evidence, Fit, Level, Sanity, Segment, segment_confidence
from retrain.gate.shadow import Shadow
from retrain.model.serving import Model
from retrain.model.spec import MOST_SEGMENTS, Spec
from retrain.model.table import Table, thin
from retrain.quality.metrics import BINS, Numbers, bias, calibration_error, curve, score
from retrain.training.candidates import encode, truth

_JUDGED = 20  # segments that are judged one by one, the largest
_SEGMENT_ROWS = 2_000  # rows of a segment that its interval is computed from


@dataclass(frozen=True)
class Scored:
    """Rows with their labels and both models' output, each model having encoded the rows its own way."""

    rows: Table
    truth: Numbers
    champion: Numbers | None
    challenger: Numbers

    def models(self) -> Iterator[tuple[str, Numbers]]:
        """The models that there are, by name, with their output: (rows,), or of classes (rows, classes)."""
        if self.champion is not None:
            yield "champion", self.champion
        yield "challenger", self.challenger

    def take(self, index: NDArray[np.intp]) -> Scored:
        """The rows of those indices (taken,)."""
        champion = None if self.champion is None else self.champion[index]
        return Scored(self.rows.take(index), self.truth[index], champion, self.challenger[index])


def score_rows(spec: Spec, rows: Table, champion: Model | None, challenger: Model) -> Scored:
    """The rows as both models see them."""
    return Scored(
        rows,
        truth(spec, challenger.encoder, rows),
        champion.predict(encode(champion.encoder, rows)) if champion else None,
        challenger.predict(encode(challenger.encoder, rows)),
    )


def level_of(spec: Spec, labels: Numbers, output: Numbers) -> Level:
    """The metric of those answers, (rows,) or (rows, classes), that of the best constant one, and how sure they are."""
    if spec.task == "regression":
        constant = np.full(len(labels), np.median(labels) if spec.metric == "mae" else np.mean(labels))
    elif output.ndim == 1:
        constant = np.full(len(labels), np.mean(labels))
    else:
        shares = np.bincount(labels.astype(int), minlength=output.shape[1]) / len(labels)
        constant = np.tile(shares, (len(labels), 1))
    level = Level(score(spec.metric, labels, output), score(spec.metric, labels, constant))
    if spec.task == "regression" or not len(labels):
        return level
    answer, chance = _answered(output)
    sure = float(np.median(chance))
    return replace(level, sure=sure, contradicted=float(np.mean(answer[chance >= sure] != labels[chance >= sure])))


def _answered(output: Numbers) -> tuple[NDArray[np.intp], Numbers]:
    """The class (rows,) that a classifier's probabilities, (rows,) or (rows, classes), answer, and its probability."""
    chances = np.column_stack([1 - output, output]) if output.ndim == 1 else output
    return chances.argmax(axis=1), chances.max(axis=1)


def _contradicted(spec: Spec, scored: Scored, own: Level | None) -> tuple[float, float] | None:
    if spec.task == "regression" or own is None or scored.champion is None:
        return None
    answer, chance = _answered(scored.champion)
    sure = chance >= own.sure
    if sure.sum() < FEWEST_SURE:
        return None
    wrong = (answer != scored.truth, _answered(scored.challenger)[0] != scored.truth)
    return float(wrong[0][sure].mean()), float(wrong[1][sure].mean())


def gather(
    spec: Spec,
    holdout: Scored,
    reference: Scored,
    *,
    bootstrap: bool,
    own: Level | None = None,
    serving: Numbers | None = None,
    shadow: Shadow | None = None,
) -> Evidence:
    """Everything that the gate looks at.

    The champion of the `reference` is the twin of the one that serves. `own` is that twin's level when it was promoted.
    `serving` is what the model would answer that serves after a promotion: it has learned from these rows, so that how
    good that is says nothing, only that it is sane.
    """
    answers = [holdout.challenger, *([] if serving is None else [serving])]
    return Evidence(
        metric=spec.metric,
        direction=spec.direction,
        bootstrap=bootstrap,
        has_champion=holdout.champion is not None,
        holdout_rows=len(holdout.truth),
        reference_rows=len(reference.truth),
        rarer=_rarer(spec, holdout.truth),
        reference_rarer=_rarer(spec, reference.truth),
        challenger=score(spec.metric, holdout.truth, holdout.challenger),
        holdout=_compare(spec, holdout, spec.gate.confidence, spec.gate.spans),
        reference=_compare(spec, reference, spec.gate.confidence),
        sanity=sanity(spec.task, holdout.truth, *answers),
        constant=level_of(spec, holdout.truth, holdout.challenger).constant if len(holdout.truth) else math.nan,
        own=own,
        contradicted=_contradicted(spec, holdout, own),
        fit=_fit(spec, holdout),
        segments=_segments(spec, holdout),
        shadow=shadow,
    )


def _compare(
    spec: Spec, scored: Scored, confidence: float, spans: int = 1, weights: Numbers | None = None
) -> Comparison | None:
    """The comparison on those rows; None without rows or champion. Far tails are drawn more often."""
    if scored.champion is None or not len(scored.truth):
        return None
    return compare(
        spec.metric,
        spec.direction,
        scored.truth,
        scored.champion,
        scored.challenger,
        confidence=confidence,
        resamples=max(spec.gate.resamples, int(16 / (1 - confidence))),  # eight beyond each end of the interval
        seed=spec.gate.seed,
        spans=spans,
        weights=weights,
    )


def _fit(spec: Spec, scored: Scored) -> Fit | None:
    """How far predictions lie off on the whole; None without rows."""
    if not len(scored.truth):
        return None
    if spec.task == "regression":
        measure, scale, chance = bias, float(np.std(scored.truth)), 0.0
    else:
        measure, (scale, chance) = calibration_error, _calibration_scale(scored)
    values = {name: measure(scored.truth, output) for name, output in scored.models()}
    return Fit(measure.__name__, values.get("champion"), values["challenger"], scale, chance)


def _calibration_scale(scored: Scored) -> tuple[float, float]:
    """The calibration error's unit, and the standard deviation of the observed share in a tenth of the rows.

    A gap of a hundredth is little where half the rows are positive, and as much as there is where one in a hundred is:
    the unit follows p (1 - p). A champion with class weights predicts other shares than it observes, on purpose; the
    share nearer to a half counts.
    """
    _, output = next(scored.models())
    bins, rows = curve(scored.truth, output), len(scored.truth)
    predicted = sum(b.rows * b.predicted for b in bins) / rows
    observed = sum(b.rows * b.observed for b in bins) / rows
    scale = 4 * max(predicted * (1 - predicted), observed * (1 - observed))
    return scale, math.sqrt(BINS * observed * (1 - observed) / rows)


def _segments(spec: Spec, scored: Scored) -> tuple[Segment, ...]:
    """The holdout by category, the largest first; without a champion there is nothing to judge them by."""
    if scored.champion is None:
        return ()
    names = spec.gate.segments
    if names is None:
        names = tuple(feature.name for feature in spec.features if feature.type == "categorical")[:MOST_SEGMENTS]
    found = sorted(
        (part for name in names for part in _parts(scored.rows, name, spec.gate.min_segment_rows)),
        key=lambda part: (-len(part[2]), part[0], part[1] or ""),
    )
    why = [_unjudgeable(spec, scored.truth[index], place) for place, (_, _, index) in enumerate(found)]
    confidence = segment_confidence(spec.gate, why.count(None))
    return tuple(
        Segment(feature, level, len(index), None, reason)
        if reason
        else _judged(spec, feature, level, scored.take(index), confidence)
        for (feature, level, index), reason in zip(found, why, strict=True)
        if level is None or reason is None
    )


def _judged(spec: Spec, feature: str, level: str | None, part: Scored, confidence: float) -> Segment:
    """The segment of those rows; of many a sample is compared."""
    index, weights = sample(part.truth, _SEGMENT_ROWS, classes=spec.task != "regression")
    comparison = _compare(spec, part.take(index), confidence, weights=weights)
    if comparison is None or not all(map(math.isfinite, astuple(comparison))):
        return Segment(feature, level, len(part.truth), None, f"{spec.metric} undefined in too many resamples")
    return Segment(feature, level, len(part.truth), comparison)


def sample(labels: Numbers, most: int, *, classes: bool) -> tuple[NDArray[np.intp], Numbers | None]:
    """Indices of at most so many rows (drawn,), evenly spread, and for how many each stands; None: all for as many.

    Of `classes` the rarer ones keep as many rows as the others, or all they have. An even share of all rows would keep
    two of twelve positives, and hardly say how either model answers them; weights put their share right again.
    """
    groups = [np.arange(len(labels))]
    if classes and len(labels) > most:
        groups = sorted((np.flatnonzero(labels == value) for value in np.unique(labels)), key=len)
    kept: list[NDArray[np.intp]] = []
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        room = (most - sum(map(len, kept))) // left
        kept.append(group[thin(len(group), max(room, 1))])
    weights = [np.full(len(part), len(group) / len(part)) for part, group in zip(kept, groups, strict=True)]
    return np.concatenate(kept), np.concatenate(weights) if len(groups) > 1 else None


def _parts(rows: Table, name: str, least: int) -> Iterator[tuple[str, str | None, NDArray[np.intp]]]:
    """Feature, category and rows of every category that has enough of them, and of all the others together."""
    column = rows.categories(name)
    times = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
    often = np.flatnonzero(times >= least)
    for code in often:
        yield name, column.levels[code], np.flatnonzero(column.codes == code)
    if len(rare := np.flatnonzero(~np.isin(column.codes, often))):
        yield name, None, rare


def _unjudgeable(spec: Spec, labels: Numbers, place: int) -> str | None:
    """Why nothing can be said about a segment that has these labels and is the `place`-th largest."""
    if len(labels) < spec.gate.min_segment_rows:
        return f"fewer than {spec.gate.min_segment_rows} rows"
    if (few := _rarer(spec, labels)) is not None and few < FEWEST_OF_A_CLASS:
        return f"{few} rows of one class"
    return f"not among the {_JUDGED} largest" if place >= _JUDGED else None


def _rarer(spec: Spec, labels: Numbers) -> int | None:
    """Rows of the rarer one of two classes, None if the metric is defined without."""
    return int(min(labels.sum(), len(labels) - labels.sum())) if spec.metric == "auc" else None


def sanity(task: str, labels: Numbers, *answers: Numbers) -> Sanity:
    """What the gate wants to know about one or two models' predictions, and the labels' span.

    That is 0 to 1 where predictions are probabilities. Without rows nothing is missing, and everything is the same.
    """
    output = np.concatenate([given.ravel() for given in answers])
    finite = output[np.isfinite(output)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    values = task == "regression" and len(labels)
    return Sanity(
        missing=int(output.size - finite.size),
        low=low,
        high=high,
        label_low=float(labels.min()) if values else 0.0,
        label_high=float(labels.max()) if values else 1.0,
        constant=any(bool(np.all(given == given[:1])) for given in answers),
        one_label=bool(np.all(labels == labels[:1])),
    )
