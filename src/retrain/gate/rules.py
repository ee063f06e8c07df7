"""The gate: may the challenger replace the champion? Pure rules over numbers, no data, no model.

Rules are tried in the order of `RULES`. What cannot be judged is refused (the job fails, a person looks at it); a
challenger that was judged and did not pass is a kept champion, which is a success of the loop.

A gate can be one of two things, `[gate] policy`. As **insurance** it keeps catastrophes out and lets everything else
through that is better on the holdout at all: with the few hundred rows of one window most challengers that are better
can't be shown to be, and waiting for proof costs more than the drift does (docs/decisions/0055). Insured against are
answers that are not sane, labels that are suspect, and giving up more of the old than is gained. As **proof** it
promotes only what is better beyond doubt: the lower bound of the gain's interval exceeds a margin. `retrain.gate.power`
says how often either lets a better challenger through, and a worse one.

Margins are shares of what the champion is short of perfect (`shortfall`): of its error, or of what its score lacks to
1. A score of 0.99 and one of 0.999 are a hundredth apart by their value, and by a factor of ten in what goes wrong.

How often proof promotes a challenger that is no better: the holdout's interval is two-sided, so its lower bound lies
above a true difference of zero in at most (1 - confidence) / 2 of all cases, 2.5 % by default, and above the margin in
fewer. It knows that rows of one time are alike (`spans`). Intervals of segments do not: they are narrower than that,
and can only refuse.
Choosing among candidates does not add to that, because they are chosen on the validation slice, which the holdout does
not share. The other rules can only take promotions away. benchmarks/false_promotions.py measures it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from retrain.core.errors import Refused
from retrain.gate.comparison import Comparison
from retrain.gate.shadow import CODE, Shadow, failing
from retrain.model.spec import GATE_RULES, GateOptions

# What the rules that can be switched on keep out, and which measure two of them need.
_SWITCHED = {
    "forgets_reference": "being worse on old rows",
    "degrades_segment": "being worse for a part of the rows",
    "biased": "predicting too much or too little on the whole",
    "miscalibrated": "probabilities that are not observed",
}
_MEASURED = {"biased": "bias", "miscalibrated": "calibration_error"}
FEWEST_SURE = 50  # rows of which the champion is sure, below which their labels say nothing
FEWEST_OF_A_CLASS = 10  # rows of either class below which an AUC says nothing
_FINEST = 3  # rows: of n that are all right, as many in n may be wrong elsewhere (the rule of three, 95 %)


@dataclass(frozen=True)
class Sanity:
    """What the challenger's predictions on the holdout look like, beside the labels they should meet."""

    missing: int
    low: float
    high: float
    label_low: float
    label_high: float
    constant: bool  # every row gets the same prediction
    one_label: bool  # every row has the same label


@dataclass(frozen=True)
class Segment:
    """The holdout's rows of one category, or of all that are too rare to stand alone (`level` is None).

    `comparison` has the interval of `segment_confidence`; it is None where nothing could be said, and `why` says why.
    """

    feature: str
    level: str | None
    rows: int
    comparison: Comparison | None
    why: str | None = None

    @property
    def name(self) -> str:
        """The segment as text: `carrier=AA`, or `carrier (rare)`."""
        return f"{self.feature} (rare)" if self.level is None else f"{self.feature}={self.level}"


@dataclass(frozen=True)
class Fit:
    """How far predictions lie off the labels on the whole: `bias` of a regression, `calibration_error` of a classifier.

    Bias is the mean of prediction minus label, and its unit (`scale`) the labels' standard deviation. The calibration
    error is the mean gap between predicted and observed share, and its unit 4 p (1 - p) where the share is p: 1 for two
    classes as frequent as each other, and about four times its share for a rare one. `chance` is what so few rows do
    not tell from nothing. `champion` is None if there is none.
    """

    measure: str
    champion: float | None
    challenger: float
    scale: float
    chance: float = 0.0


@dataclass(frozen=True)
class Level:
    """A model's metric on some rows, and that of the best answer that is the same for all of them.

    Of a classifier also how `sure` it is of the surer half of its answers, the median probability of the class that it
    answers, and the share of these that the labels `contradicted`.
    """

    model: float
    constant: float
    sure: float = math.nan
    contradicted: float = math.nan


@dataclass(frozen=True)
class Evidence:
    """Everything the gate looks at. `holdout` and `reference` are None when there is no champion to compare with.

    `constant` is the metric that the best constant answer has on the holdout; `own` is where the champion was when it
    was promoted: its twin on its own holdout, None if that is not known.
    `contradicted` are the shares of labels other than the champion's and the challenger's answers where the champion is
    as sure as of the surer half of its own holdout; None of a regression, or of fewer than `FEWEST_SURE` such rows.
    `shadow` is what came of serving both, None if there were no captures to ask again.
    `rarer` and `reference_rarer` are the rows of the rarer class, None where the metric needs no two classes.
    """

    metric: str
    direction: str
    bootstrap: bool
    has_champion: bool
    holdout_rows: int
    reference_rows: int
    rarer: int | None
    reference_rarer: int | None
    challenger: float
    holdout: Comparison | None
    reference: Comparison | None
    sanity: Sanity
    fit: Fit | None
    segments: tuple[Segment, ...] = ()
    constant: float = math.nan
    own: Level | None = None
    contradicted: tuple[float, float] | None = None
    shadow: Shadow | None = None


@dataclass(frozen=True)
class Reason:
    """One thing that spoke against promotion, with its numbers."""

    code: str
    detail: str


@dataclass(frozen=True)
class Decision:
    """`decision` is promote, keep_champion or bootstrap; the last two thresholds are in the metric's unit."""

    decision: str
    reasons: tuple[Reason, ...]
    margin: float | None  # what the gain, or for proof its interval's lower bound, had to exceed
    limit: float | None  # what the challenger's metric on the reference may be at worst, by proof's rule


@dataclass(frozen=True)
class Rule:
    """`breach` says what is wrong, in numbers, or None; a `fatal` breach refuses instead of keeping the champion."""

    code: str
    fatal: bool
    breach: Callable[[Evidence, GateOptions], str | None]


def judge(evidence: Evidence, options: GateOptions) -> Decision:
    """The decision on the challenger. Raises `Refused` when the evidence does not allow one."""
    reasons = []
    for rule in RULES:
        if rule.code in GATE_RULES and rule.code not in options.active:
            continue
        if (detail := rule.breach(evidence, options)) is not None:
            if rule.fatal:
                raise Refused(rule.code, detail)
            reasons.append(Reason(rule.code, detail))
    if not evidence.has_champion:
        return Decision("bootstrap", (), None, None)
    decision = "keep_champion" if reasons else "promote"
    return Decision(decision, tuple(reasons), _margin(evidence, options), _limit(evidence, options))


def segment_confidence(options: GateOptions, segments: int) -> float:
    """The confidence of each segment's interval, so that all of them together have the gate's (Bonferroni).

    >>> segment_confidence(GateOptions(confidence=0.95), 5)
    0.99
    """
    return 1.0 - (1.0 - options.confidence) / max(segments, 1)


def segment_limit(segment: Segment, direction: str, options: GateOptions) -> float | None:
    """What the difference on the segment may be at worst: minus the segment margin's share of the shortfall there."""
    if segment.comparison is None:
        return None
    return -options.segment_margin * shortfall(direction, segment.comparison.champion)


def shortfall(direction: str, value: float) -> float:
    """What a metric's value is short of perfect, in the metric's unit: an error itself, or what a score lacks to 1.

    >>> shortfall("min", 12.5), shortfall("max", 0.75)
    (12.5, 0.25)
    """
    return abs(value) if direction == "min" else 1.0 - value


def _no_champion(evidence: Evidence, _: GateOptions) -> str | None:
    if evidence.has_champion or evidence.bootstrap:
        return None
    return "there is no champion to compare with, and this is not a bootstrap"


def _unexpected_champion(evidence: Evidence, _: GateOptions) -> str | None:
    return (
        "a bootstrap was asked for, and there is a champion" if evidence.bootstrap and evidence.has_champion else None
    )


def _too_few_rows(evidence: Evidence, options: GateOptions) -> str | None:
    rows, few = evidence.holdout_rows, evidence.rarer
    if rows < options.min_rows:
        return f"{rows} holdout rows, at least {options.min_rows} are needed"
    if evidence.has_champion and few is not None and few < FEWEST_OF_A_CLASS:
        return (
            f"{few} of {rows} holdout rows are of the rarer class, at least {FEWEST_OF_A_CLASS} are needed for an "
            f"{evidence.metric}: take a longer window, or another metric"
        )
    if evidence.sanity.one_label:
        return (
            f"every one of {rows} holdout labels is the same, which tells no model from another: take a longer window"
        )
    return None


def _too_few_reference_rows(evidence: Evidence, options: GateOptions) -> str | None:
    if not evidence.has_champion or "forgets_reference" not in options.active:
        return None
    rows, few = evidence.reference_rows, evidence.reference_rarer
    if rows < options.least_reference_rows:
        return (
            f"{rows} reference rows, at least {options.least_reference_rows} are needed to see what was forgotten: "
            f"keep more by [dataset] max_reference_holdout_rows, or lower [gate] min_reference_rows"
        )
    if rows and few is not None and few < FEWEST_OF_A_CLASS:
        return (
            f"{few} of {rows} reference rows are of the rarer class, at least {FEWEST_OF_A_CLASS} are needed for an "
            f"{evidence.metric}: keep more by [dataset] max_reference_holdout_rows, or take another metric"
        )
    return None


def _bad_challenger(evidence: Evidence, _: GateOptions) -> str | None:
    if _sound(evidence.metric, evidence.challenger):
        return None
    return f"the challenger's {evidence.metric} is {evidence.challenger}"


def _bad_champion(evidence: Evidence, options: GateOptions) -> str | None:
    if not evidence.has_champion:
        return None
    looked_at = {"holdout": evidence.holdout}
    if "forgets_reference" in options.active and evidence.reference_rows:
        looked_at["reference"] = evidence.reference
    for where, comparison in looked_at.items():
        if comparison is None:
            return f"the champion has no {evidence.metric} on the {where}"
        if not _sound(evidence.metric, comparison.champion):
            return f"the champion's {evidence.metric} on the {where} is {comparison.champion}"
    return _bad_fit(evidence) if {"biased", "miscalibrated"} & set(options.active) else None


def _bad_fit(evidence: Evidence) -> str | None:
    if evidence.fit is None or evidence.fit.champion is None:
        return "how far the champion's predictions lie off on the whole is unknown"
    if not math.isfinite(evidence.fit.champion):
        return f"the champion's {evidence.fit.measure.replace('_', ' ')} is {evidence.fit.champion}"
    return None


def _bad_interval(evidence: Evidence, options: GateOptions) -> str | None:
    """Insurance goes by the difference, which is finite where both metrics are; an interval is needed to prove it."""
    if evidence.holdout is None or options.policy != "proof":
        return None
    numbers = (evidence.holdout.difference, evidence.holdout.low, evidence.holdout.high)
    if all(map(math.isfinite, numbers)):
        return None
    return f"the difference's bootstrap interval is [{numbers[1]}, {numbers[2]}]"


def _insane(evidence: Evidence, _: GateOptions) -> str | None:
    sanity = evidence.sanity
    if sanity.missing:
        return f"{sanity.missing} of {evidence.holdout_rows} predictions are not finite numbers"
    room = max(sanity.label_high - sanity.label_low, 1e-9)
    if sanity.low < sanity.label_low - room or sanity.high > sanity.label_high + room:
        return (
            f"predictions reach from {sanity.low:.6g} to {sanity.high:.6g}, "
            f"labels from {sanity.label_low:.6g} to {sanity.label_high:.6g}"
        )
    return "every prediction is the same" if sanity.constant else None


def _labels_suspect(evidence: Evidence, options: GateOptions) -> str | None:
    """Even the better model answers far worse than the champion did when it was promoted: are these labels true?

    In a world that grew, errors grow with what there is to predict. So the better model has to be as much worse beside
    the best constant answer, too.
    """
    if evidence.holdout is None or evidence.own is None:
        return None
    pick = min if evidence.direction == "min" else max
    now = Level(pick(evidence.holdout.champion, evidence.holdout.challenger), evidence.constant)
    most = options.suspect_labels
    short = [shortfall(evidence.direction, level.model) for level in (evidence.own, now)]
    beside = [
        _share_of(part, shortfall(evidence.direction, level.constant))
        for part, level in zip(short, (evidence.own, now), strict=True)
    ]
    if not all(map(math.isfinite, (*short, *beside))) or short[1] <= most * short[0] or beside[1] <= most * beside[0]:
        return None
    return (
        f"{evidence.metric} of the better model is {now.model:.6g} on {evidence.holdout_rows} new rows, the champion's "
        f"was {evidence.own.model:.6g} when it was promoted; a constant answer has {now.constant:.6g} here and had "
        f"{evidence.own.constant:.6g} there. Worse by both by more than {most:g} times ([gate] suspect_labels): look "
        "at the labels of this window"
    )


def _labels_contradict(evidence: Evidence, options: GateOptions) -> str | None:
    """Labels contradict what the champion is sure of, and the challenger has not learned why: are they true?

    Where the world has changed, the challenger has learned from the same labels and meets them. Labels that are wrong
    at random can't be learned, only be less sure of.
    """
    if evidence.own is None or evidence.contradicted is None or not math.isfinite(evidence.own.contradicted):
        return None
    then, (champion, challenger), most = evidence.own.contradicted, evidence.contradicted, options.max_contradicted
    if min(champion, challenger) - then <= most:
        return None
    return (
        f"where the champion is as sure as of its own holdout's surer half, {champion:.0%} of the labels contradict "
        f"it and {challenger:.0%} the challenger, {then:.0%} did when it was promoted: above by more than {most:g} "
        "([gate] max_contradicted): look at the labels of this window"
    )


def _share_of(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _fails_in_shadow(evidence: Evidence, options: GateOptions) -> str | None:
    return failing(evidence.shadow, options) if evidence.shadow else None


def _not_better(evidence: Evidence, options: GateOptions) -> str | None:
    if evidence.holdout is None:
        return None
    margin = _margin(evidence, options) or 0.0
    if options.policy != "proof":
        if evidence.holdout.difference > 0:
            return None
        return (
            f"{evidence.metric} {evidence.holdout.champion:.6g} → {evidence.holdout.challenger:.6g} on "
            f"{evidence.holdout_rows} rows: no better"
        )
    if evidence.holdout.low > margin:
        return None
    return (
        f"{evidence.metric} {evidence.holdout.champion:.6g} → {evidence.holdout.challenger:.6g} on "
        f"{evidence.holdout_rows} rows: better by {evidence.holdout.difference:.6g}, {options.confidence:.0%} interval "
        f"[{evidence.holdout.low:.6g}, {evidence.holdout.high:.6g}], the lower bound must exceed {margin:.6g}, "
        f"{_share(options.margin, evidence)}"
    )


def given_up(evidence: Evidence) -> float | None:
    """How much worse the challenger is on the reference, in the metric's unit; None where that can't be said."""
    few = evidence.reference_rarer
    if evidence.reference is None or (few is not None and few < FEWEST_OF_A_CLASS):
        return None
    return -evidence.reference.difference if math.isfinite(evidence.reference.difference) else None


def _trade_off(evidence: Evidence, options: GateOptions) -> str | None:
    """More is lost of the old than is gained on the new, where what once was counts for a part of what is."""
    lost, share = given_up(evidence), options.trade_off
    if options.policy == "proof" or evidence.holdout is None or evidence.reference is None or lost is None:
        return None
    if share * lost <= evidence.holdout.difference:
        return None
    return (
        f"{evidence.metric} {evidence.reference.champion:.6g} → {evidence.reference.challenger:.6g} on "
        f"{evidence.reference_rows} old rows: {share:g} of what is lost there exceeds what is gained on the new ones, "
        f"{evidence.holdout.difference:.6g} ([gate] trade_off)"
    )


def _forgets(evidence: Evidence, options: GateOptions) -> str | None:
    """Wherever the difference on old rows may lie, the challenger has to be within the limit.

    So one that is truly beyond it passes in at most (1 - confidence) / 2 of all cases, however few old rows there are;
    with few of them, many pass not that forget nothing.
    """
    seen, limit = evidence.reference, _limit(evidence, options)
    if seen is None or limit is None:
        return None
    worst = seen.champion - seen.low if evidence.direction == "min" else seen.champion + seen.low
    if all(map(math.isfinite, (worst, seen.challenger))) and (
        worst <= limit if evidence.direction == "min" else worst >= limit
    ):
        return None
    rows = "" if evidence.direction == "min" else f", or {_FINEST} rows"
    return (
        f"{evidence.metric} {seen.champion:.6g} → {seen.challenger:.6g} on {evidence.reference_rows} reference rows, "
        f"at worst {worst:.6g}, the limit is {limit:.6g}: worse by {_share(options.reference_margin, evidence)}{rows}"
    )


def _degrades_segment(evidence: Evidence, options: GateOptions) -> str | None:
    """A segment speaks against the challenger only when its whole interval lies beyond the margin.

    One of many segments looks worse by chance nearly always. With Bonferroni's intervals, a challenger that degrades
    none is refused for it in at most (1 - confidence) / 2 of all cases, however many segments there are.
    """
    worse = []
    for segment in evidence.segments:
        comparison, limit = segment.comparison, segment_limit(segment, evidence.direction, options)
        if comparison is None or limit is None:
            continue
        known = all(map(math.isfinite, (comparison.challenger, comparison.low, comparison.high, limit)))
        if not known or comparison.high < limit:
            worse.append(
                f"{segment.name}: {evidence.metric} {comparison.champion:.6g} → {comparison.challenger:.6g} on "
                f"{segment.rows} rows, better by {comparison.low:.6g} to {comparison.high:.6g}, the limit is "
                f"{limit:.6g}: {_share(options.segment_margin, evidence)}"
            )
    return "; ".join(worse) or None


def _segment_unknown(evidence: Evidence, options: GateOptions) -> str | None:
    """Segments that were asked for by name have to be seen; those that are judged by default need not be there."""
    if not evidence.has_champion or "degrades_segment" not in options.active:
        return None
    seen = {segment.feature for segment in evidence.segments if segment.comparison is not None}
    if not (unseen := [name for name in options.segments or () if name not in seen]):
        return None
    return (
        f"no segment of {', '.join(unseen)} could be judged: none has {options.min_segment_rows} of the "
        f"{evidence.holdout_rows} holdout rows with a defined {evidence.metric}"
    )


def _biased(evidence: Evidence, options: GateOptions) -> str | None:
    return _off(evidence, "bias", options.max_bias)


def _miscalibrated(evidence: Evidence, options: GateOptions) -> str | None:
    return _off(evidence, "calibration_error", options.max_calibration_error)


def _off(evidence: Evidence, measure: str, most: float) -> str | None:
    """The challenger may lie further off than the champion by at most that many of the measure's units."""
    fit = evidence.fit
    if fit is None or fit.measure != measure or fit.champion is None:
        return None  # the champion's absence is another rule's
    limit = abs(fit.champion) + max(most * fit.scale, fit.chance)
    if abs(fit.challenger) <= limit < math.inf:
        return None
    return (
        f"{measure.replace('_', ' ')} {fit.champion:.6g} → {fit.challenger:.6g} on {evidence.holdout_rows} rows, "
        f"the limit is {limit:.6g}"
    )


RULES: tuple[Rule, ...] = (
    Rule("no_champion", True, _no_champion),
    Rule("unsafe_to_start", True, _unexpected_champion),
    Rule("too_few_rows", True, _too_few_rows),
    Rule("too_few_rows", True, _too_few_reference_rows),
    Rule("bad_metric", True, _bad_challenger),
    Rule("no_champion_metric", True, _bad_champion),
    Rule("bad_metric", True, _bad_interval),
    Rule("bad_metric", True, _insane),
    Rule("labels_suspect", True, _labels_suspect),
    Rule("labels_suspect", True, _labels_contradict),
    Rule(CODE, False, _fails_in_shadow),
    Rule("not_better", False, _not_better),
    Rule("trade_off", False, _trade_off),
    Rule("forgets_reference", False, _forgets),
    Rule("degrades_segment", False, _degrades_segment),
    Rule("segment_unknown", False, _segment_unknown),
    Rule("biased", False, _biased),
    Rule("miscalibrated", False, _miscalibrated),
)


def assurance(evidence: Evidence, options: GateOptions) -> tuple[list[str], list[str]]:
    """What a promotion would be insured against or has shown, and what it has not, for people."""
    shown = ["answers that are not sane"]
    unproven: list[str] = []
    if evidence.holdout is None:
        return shown, ["that the first model is any good: there was none to compare it with"]
    (shown if evidence.own else unproven).append("labels that are suspect")
    rows = evidence.shadow.rows if evidence.shadow else 0
    (shown if rows else unproven).append("answering requests otherwise than it was judged, or not at all")
    if options.policy != "proof" and options.trade_off:
        worst = f"losing {1 / options.trade_off:.3g} times as much on old rows as is gained"
        (unproven if given_up(evidence) is None else shown).append(worst)
    for code, said in _SWITCHED.items():
        if code in options.active:
            shown.append(said)
        elif code not in _MEASURED or (evidence.fit and evidence.fit.measure == _MEASURED[code]):
            unproven.append(said)
    if options.policy == "proof":
        shown.append(f"not being better by more than {options.margin:.3g} of what the champion is short of perfect")
    elif not evidence.holdout.low > 0:
        between = f"{evidence.holdout.low:.4g} to {evidence.holdout.high:.4g}"
        unproven.append(f"being no better than the champion (with {options.confidence:.0%} confidence {between})")
    return shown, unproven


def _margin(evidence: Evidence, options: GateOptions) -> float | None:
    """The margin in the metric's unit: a share of the champion's shortfall; for insurance, anything above 0 will do."""
    if evidence.holdout is None:
        return None
    share = options.margin if options.policy == "proof" else 0.0
    return share * shortfall(evidence.direction, evidence.holdout.champion)


def _limit(evidence: Evidence, options: GateOptions) -> float | None:
    """The champion's metric, less the reference margin's share of its shortfall.

    So many rows don't tell a score any finer than by three of them: a perfect one leaves that much room.
    """
    if evidence.reference is None:
        return None
    champion = evidence.reference.champion
    room = options.reference_margin * shortfall(evidence.direction, champion)
    if evidence.direction == "min":
        return champion + room
    return champion - max(room, _FINEST / max(evidence.reference_rows, 1))


def _share(margin: float, evidence: Evidence) -> str:
    champion = f"the champion's {evidence.metric}"
    return f"{100 * margin:.4g} % of {champion if evidence.direction == 'min' else f'what {champion} lacks to 1'}"


def _sound(metric: str, value: float) -> bool:
    """A finite number in the metric's range."""
    highest = 1.0 if metric in {"auc", "accuracy"} else math.inf
    return math.isfinite(value) and 0.0 <= value <= highest
