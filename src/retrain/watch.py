"""Watching the endpoint: one window analysed, filed, published, once for each scheduled time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain import clock, names
from retrain.episode import ignored, moment
from retrain.errors import InvalidSettings, MalformedEvent, RetrainError
from retrain.monitor import Analysis, analyse
from retrain.telemetry import count, logger
from retrain.window import window_ending

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sns import Topic


@dataclass(frozen=True)
class WatchRules:
    """Which endpoint is watched, over how long a window, and the threshold of the alarm on `drift_max`."""

    endpoint_name: str
    window: timedelta
    drift_threshold: float

    def __post_init__(self) -> None:
        if self.window <= timedelta(0):
            raise InvalidSettings("the window must be longer than nothing")
        if not 0 < self.drift_threshold < 1:
            raise InvalidSettings(f"the drift threshold lies between 0 and 1, not at {self.drift_threshold}")


def watch_endpoint(
    event: Any, *, rules: WatchRules, ledger: Ledger, store: Store, cloudwatch: CloudWatch, topic: Topic
) -> dict[str, Any]:
    """The window that ends at the event's time is analysed against the champion's baseline.

    Its four files are in the bucket, the ledger has the analysis, the metrics are published. The same time again, or
    an earlier one, is ignored: `analysed_already`. Broken data is told to people when it begins.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an object, got {type(event).__name__}")
    end = moment(event, "time")
    endpoint = rules.endpoint_name
    champion, previous = ledger.champion(endpoint), ledger.analysis(endpoint) or {}
    if champion is None:
        return ignored("no_champion")
    if previous.get("window_end_epoch", -1) >= clock.epoch(end) and previous.get("published"):
        return ignored("analysed_already")
    since, rearmed_at = clock.parse(champion["since"]), ledger.rearm_at(endpoint)
    window = window_ending(end, rules.window, since, rearmed_at)
    keys = store.keys_between(f"capture/{endpoint}/{names.VARIANT}", *window)
    analysis = analyse(
        store.files(keys),
        store.read(champion["statistics_uri"]),
        store.read(champion["constraints_uri"]),
        window,
        alarm_threshold=rules.drift_threshold,
    )
    report_uri = _file(analysis, endpoint, end, store)
    if not ledger.record_analysis(endpoint, {**_digest(analysis), "report_uri": report_uri}, end):
        return ignored("analysed_already")
    cloudwatch.put_metrics(analysis.metrics(endpoint, names.schedule_name(endpoint)))
    ledger.mark_published(endpoint, end)
    logger.info("window analysed", **{**_digest(analysis), "files": len(keys)})
    count("Window", reason=analysis.verdict.value)
    if analysis.triage and not (previous.get("triage") and previous.get("reason") == analysis.reason):
        _tell(analysis, endpoint, report_uri, topic)
    return {"status": analysis.verdict.value, "report_uri": report_uri}


def _file(analysis: Analysis, endpoint: str, end: datetime, store: Store) -> str:
    """The window's files are where Model Monitor would put them; analysis.json's URI."""
    folder = f"monitor/{endpoint}/{names.schedule_name(endpoint)}/{end:%Y/%m/%d/%H}"
    documents = {
        "statistics": analysis.statistics(),
        "constraints": analysis.constraints(),
        "constraint_violations": analysis.constraint_violations(),
        "analysis": analysis.document(),
    }
    for name, document in documents.items():
        store.put(f"{folder}/{name}.json", json.dumps(document, sort_keys=True))
    return store.uri(f"{folder}/analysis.json")


def _digest(analysis: Analysis) -> dict[str, Any]:
    """What the ledger and the log say about the window."""
    return {
        "window_start": clock.render(analysis.window_start),
        "window_end": clock.render(analysis.window_end),
        "verdict": analysis.verdict.value,
        "reason": analysis.reason,
        "detail": analysis.detail,
        "triage": analysis.triage,
        "worst_feature": analysis.worst_feature,
        "drift_max": analysis.drift_max,
        "threshold": analysis.threshold,
        "rows": analysis.rows,
        "bad_rows": sum(analysis.bad_rows.values()),
    }


def _tell(analysis: Analysis, endpoint: str, report_uri: str, topic: Topic) -> None:
    lines = [
        f"The captures of endpoint {endpoint} are broken: {analysis.reason}.",
        "",
        str(analysis.detail),
        "",
        f"Window   {clock.render(analysis.window_start)} to {clock.render(analysis.window_end)}",
        f"Report   {report_uri}",
        "",
        "Nothing is retrained on broken data. This is told once; it ends when a window is sound again.",
    ]
    try:
        topic.publish(f"{endpoint}: broken data, {analysis.reason}", "\n".join(lines))
    except RetrainError as error:
        logger.warning("notification failed", error=str(error))
