"""Watching the answers: how good they turned out to be, once the labels of a window are known.

Captures are judged later than they are watched for drift, by the delay that labels need. What was asked does not
matter here, only what was answered, so that the memory of an analysis is bounded by a sample of the answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from retrain.capture import ground_truth, records
from retrain.capture.ground_truth import Coverage, Labelled, Sample
from retrain.capture.quarantine import Quarantine
from retrain.core import clock, names
from retrain.core.answers import ignored
from retrain.core.errors import InvalidSettings, MalformedEvent
from retrain.core.telemetry import count, logger, short
from retrain.core.values import moment
from retrain.core.window import HOUR, Window, window_ending
from retrain.episode.afterthoughts import announce_window
from retrain.episode.seals import read_sealed
from retrain.monitors.expected_quality import expect, tell_expected
from retrain.quality.metrics import Numbers
from retrain.quality.verdict import (
    QualityAnalysis,
    QualityBaseline,
    judge_quality,
    pairs_of,
    read_baseline,
    read_pairs,
    times_of,
)

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store

Files = Iterable[tuple[str, Iterable[bytes | str]]]
MONTH = timedelta(hours=730)
_NEARLY_ALL = 0.95  # of the labels: nobody asks how even a sample they are
MOST_ROWS = 100_000  # answers that are in memory with their labels; more of them are sampled
WITHOUT_LABELS = "answers_without_labels"


@dataclass(frozen=True)
class QualityWatchRules:
    """Which endpoint's answers are judged, over how long a window, and how long labels take unless the model says."""

    endpoint_name: str
    window: timedelta
    label_delay: timedelta
    on_evidence: bool = False  # whether enough labels begin an episode

    def __post_init__(self) -> None:
        if self.window <= timedelta(0):
            raise InvalidSettings("the window must be longer than nothing")
        if self.label_delay < timedelta(0):
            raise InvalidSettings("labels can't come before the captures they belong to")


def watch_quality(
    event: Any, *, rules: QualityWatchRules, ledger: Ledger, store: Store, cloudwatch: CloudWatch, bus: Bus
) -> dict[str, Any]:
    """The answers of the window that ended a label delay before the event's time are judged by their labels.

    The window's files are in the bucket, the ledger has the analysis, the metrics are published. The same time again,
    or an earlier one, is ignored: `analysed_already`; and so is a window that holds the files of the last analysis and
    no others: `nothing_new`. Retryable while another run publishes it. A champion without quality constraints is
    UNDECIDED: `no_baseline`.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an object, got {type(event).__name__}")
    now, endpoint = moment(event, "time"), rules.endpoint_name
    champion, previous = ledger.champion(endpoint), ledger.analysis(endpoint, of="QUALITY") or {}
    if champion is None:
        cloudwatch.put_metrics([_silence(endpoint, now, unlabelled=False)])
        return ignored("no_champion")
    if previous.get("window_end_epoch", -1) >= clock.epoch(now) and previous.get("published"):
        return ignored("analysed_already")
    since, rearmed_at = clock.parse(champion["since"]), ledger.rearm_at(endpoint)
    baseline_uri = champion.get("quality_constraints_uri")
    baseline = read_baseline(read_sealed(champion, baseline_uri, store), baseline_uri) if baseline_uri else None
    delay = rules.label_delay
    if baseline and baseline.rules.label_delay_hours is not None:
        delay = timedelta(hours=baseline.rules.label_delay_hours)
    window = window_ending(_whole_hour(now - delay), rules.window, since, rearmed_at)
    captures = store.keys_between(f"capture/{endpoint}/{names.VARIANT}", *window)
    if not captures:  # nothing is old enough to have labels
        cloudwatch.put_metrics([_silence(endpoint, now, unlabelled=False)])
    # Labels that are known by now; this hour's folder is still being filled.
    labels = store.keys_between("labels", window[0], now + HOUR) if captures else []
    latest = window_ending(_whole_hour(now), rules.window, since, rearmed_at)
    evidence = _fingerprint([baseline_uri, clock.render(max(since, rearmed_at or since)), captures, labels])
    if previous.get("evidence") == evidence and previous.get("published"):
        if baseline:
            contradicted = bool(previous.get("contradicted"))
            tell_expected(baseline, latest, endpoint, contradicted=contradicted, store=store, cloudwatch=cloudwatch)
        return ignored("nothing_new")
    known: dict[str, Any] = {"evidence": evidence, "analysed_at": clock.render(now)}
    if baseline is None:
        digest: dict[str, Any] = {**_times(window), "verdict": "UNDECIDED", "reason": "no_baseline"}
        ledger.record_analysis(endpoint, {**digest, **known}, now, of="QUALITY")
        ledger.mark_published(endpoint, now, of="QUALITY")
        logger.info("the champion has no quality constraints", **digest)
        return {"status": digest["verdict"], "reason": digest["reason"]}
    analysis, details = _analyse((store.files(captures), store.files(labels)), baseline, window, now)
    expected = expect(baseline.estimator, window, endpoint, store) if baseline.estimator else None
    known["contradicted"] = expected is not None and analysis.contradicts(expected)
    if expected is not None:
        details["estimate"] = {**expected.document(), "contradicted": known["contradicted"]}
    report_uri = _file(analysis, details, endpoint, now, store)
    worth = _worth(analysis, baseline, delay)
    if not ledger.record_analysis(
        endpoint, {**_digest(analysis), **known, **worth, "report_uri": report_uri}, now, of="QUALITY"
    ):
        return ignored("analysed_already")
    metrics = analysis.metrics(endpoint, names.quality_schedule_name(endpoint), now)
    if captures:
        metrics.append(_silence(endpoint, now, unlabelled=bool(analysis.rows) and not analysis.label_coverage))
    cloudwatch.put_metrics(metrics)
    ledger.mark_published(endpoint, now, of="QUALITY")
    contradicted = known["contradicted"]
    tell_expected(baseline, latest, endpoint, contradicted=contradicted, store=store, cloudwatch=cloudwatch)
    announce_window(report_uri, str(baseline_uri), endpoint, bus)
    _weigh_evidence(analysis, baseline, champion, rules=rules, ledger=ledger, bus=bus)
    logger.info("quality analysed", **_digest(analysis), files=len(captures), label_files=len(labels))
    count("QualityWindow", reason=analysis.verdict.value)
    return {"status": analysis.verdict.value, "report_uri": report_uri}


def _silence(endpoint: str, now: datetime, *, unlabelled: bool) -> dict[str, Any]:
    """The metric that the quality silence alarm watches: 1 where answers are old enough for labels and none has one."""
    dimensions = [{"Name": "Endpoint", "Value": endpoint}]
    return {"MetricName": WITHOUT_LABELS, "Dimensions": dimensions, "Value": float(unlabelled), "Timestamp": now}


def _weigh_evidence(
    analysis: QualityAnalysis,
    baseline: QualityBaseline,
    champion: Mapping[str, Any],
    *,
    rules: QualityWatchRules,
    ledger: Ledger,
    bus: Bus,
) -> None:
    """The labelled rows of the window count as evidence, once; where there is enough, the alarm handler hears of it.

    Enough are the rows that dataset and gate ask for, over a whole cycle of traffic, since the last window that was
    learned from. It is told with every analysis until an episode has learned from them. Where somebody said what
    errors and a training cost, they also have to have cost as much as a training: whoever rents until he has paid the
    price, and buys then, never pays more than twice what he would who knew the future (Karlin et al. 1988).
    """
    endpoint, needed = rules.endpoint_name, baseline.rules
    begun = ledger.learned_until(endpoint) or clock.parse(champion["since"])
    counted = ledger.evidence(endpoint)
    until, rows, lost = begun, 0, 0.0
    if counted and clock.parse(counted["since"]) == begun:
        until, rows, lost = clock.parse(counted["until"]), int(counted["rows"]), float(counted.get("lost", 0.0))
    if analysis.window[0] >= until and (analysis.label_coverage or 0.0) >= needed.min_label_coverage:
        until, rows = analysis.window[1], rows + analysis.labelled
        lost = max(lost + _month(analysis, baseline) * (analysis.window[1] - analysis.window[0]) / MONTH, 0.0)
        ledger.count_evidence(endpoint, begun, until, rows, lost=lost, training_dollars=needed.training_dollars)
    enough = needed.evidence_rows is not None and rows >= needed.evidence_rows
    enough = enough and until - begun >= timedelta(hours=needed.cycle_hours)
    if enough and lost < needed.training_dollars:
        logger.info("an episode would not pay yet", lost=lost, training_dollars=needed.training_dollars, rows=rows)
        count("EpisodeSkipped", reason="not_worth_it")
    elif enough and (rules.on_evidence or ledger.postponed(endpoint, begun)):
        window = {"window_start": clock.render(begun), "window_end": clock.render(until)}
        bus.put(names.REQUESTS["evidence"], {"endpoint_name": endpoint, **window, "rows": rows})
        logger.info("enough labelled rows to learn from", rows=rows, window=window)


def _worth(analysis: QualityAnalysis, baseline: QualityBaseline, delay: timedelta) -> dict[str, float]:
    """What an alarm is held against: the rows that a training needs, when labels come, what it and errors cost."""
    training, needed = baseline.rules.training_dollars, {"label_delay_hours": delay / HOUR}
    if rows := baseline.rules.evidence_rows:
        needed |= {"needed_rows": rows, "needed_reach": baseline.rules.label_reach}
        needed["cycle_hours"] = baseline.rules.cycle_hours
    reckoned = {"dollars_a_month": _month(analysis, baseline), "training_dollars": training} if training else {}
    return {**needed, **reckoned}


def _month(analysis: QualityAnalysis, baseline: QualityBaseline) -> float:
    """0 where nobody reckons, or the main metric is not known."""
    main = baseline.main
    if not baseline.rules.error_dollars or main is None or main.metric not in analysis.values:
        return 0.0
    return baseline.rules.error_dollars * main.excess(analysis.values[main.metric])


def _analyse(
    files: tuple[Files, Files], baseline: QualityBaseline, window: Window, now: datetime
) -> tuple[QualityAnalysis, dict[str, Any]]:
    """The analysis of files of captures and of labels, and what of them it rests on."""
    captures, labels = files
    bad_captures, bad_labels, coverage = Quarantine(), Quarantine(), Coverage()
    sample = ground_truth.draw(
        (found for source, lines in captures for found in records.read(lines, source, bad_captures, window)),
        MOST_ROWS,
    )
    wanted = {drawn.id for drawn in sample.drawn}
    known = ground_truth.read(labels, bad_labels, now, wanted) if wanted else ground_truth.Labels()
    joined = list(ground_truth.join(sample.drawn, known, bad_labels, coverage))
    answered = pairs_of(joined, baseline.rules.prediction)
    pairs = read_pairs(baseline.task, answered, baseline.classes, times_of(joined))
    analysis = judge_quality(
        pairs,
        coverage.rows,
        baseline.demands,
        window,
        rules=baseline.rules,
        main=baseline.main,
        broken=_broken(bad_captures, bad_labels, baseline),
        answers=_answers(sample, baseline) if coverage.share < _NEARLY_ALL else None,
    )
    details = _details(sample, bad_captures, bad_labels)
    if baseline.labels and len(pairs.truth):
        hours = (window[1] - window[0]) / HOUR
        details["labels"] = baseline.labels.shift(pairs.truth, hours, baseline.rules.false_alarms_per_year)
    return analysis, details


def _answers(sample: Sample, baseline: QualityBaseline) -> Numbers:
    """All answers of the window's sample, as numbers: as if each row had a label."""
    label = baseline.classes[0] if baseline.classes else "0"
    rows = (Labelled(capture, (label,) * len(capture.outputs)) for capture in sample.drawn)
    return read_pairs(baseline.task, pairs_of(rows, baseline.rules.prediction), baseline.classes).output


def _broken(captures: Quarantine, labels: Quarantine, baseline: QualityBaseline) -> tuple[str, str] | None:
    """Why the files can't be relied upon, if they can't: too much of them is in quarantine."""
    for reason, what, found in (("capture_corrupt", "capture", captures), ("suspect_data", "label", labels)):
        if found.bad_share > baseline.rules.max_bad_share:
            reasons = ", ".join(f"{name} {times}" for name, times in found.reasons.most_common())
            return reason, f"{found.bad} of {found.lines} {what} lines can't be used: {reasons}"
    return None


def _details(sample: Sample, captures: Quarantine, labels: Quarantine) -> dict[str, Any]:
    return {
        "sample": {
            "share": sample.share,
            "captures": sample.captures,
            "rows": sample.rows,
            "drawn": len(sample.drawn),
            "most_rows": MOST_ROWS,
        },
        "quarantined": {"captures": dict(captures.reasons), "labels": dict(labels.reasons)},
        "notes": {"captures": dict(captures.notes), "labels": dict(labels.notes)},
    }


def _file(analysis: QualityAnalysis, details: Mapping[str, Any], endpoint: str, now: datetime, store: Store) -> str:
    """The window's files are where Model Monitor would put them; analysis.json's URI."""
    folder = f"monitor/{endpoint}/{names.quality_schedule_name(endpoint)}/{now:%Y/%m/%d/%H}"
    documents = {
        "statistics": analysis.statistics(),
        "constraints": analysis.constraints(),
        "constraint_violations": analysis.constraint_violations(),
        "analysis": {**analysis.document(), **details},
    }
    for name, document in documents.items():
        store.put(f"{folder}/{name}.json", json.dumps(document, sort_keys=True))
    return store.uri(f"{folder}/analysis.json")


def _digest(analysis: QualityAnalysis) -> dict[str, Any]:
    """What the ledger and the log say about the window."""
    return {
        **_times(analysis.window),
        "verdict": analysis.verdict.value,
        "reason": analysis.reason,
        "detail": analysis.detail and short(analysis.detail, 1500),
        "quality_max": analysis.quality_max,
        "rows": analysis.rows,
        "label_coverage": analysis.label_coverage,
    }


def _times(window: Window) -> dict[str, str]:
    return {"window_start": clock.render(window[0]), "window_end": clock.render(window[1])}


def _whole_hour(time: datetime) -> datetime:
    """The hour's beginning: captures and labels are filed by the hour, so the same files are the same evidence."""
    return time.replace(minute=0, second=0, microsecond=0)


def _fingerprint(parts: Sequence[Any]) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()
