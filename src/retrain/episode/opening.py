"""A drift episode is opened: once, by one cause, and its execution runs.

The ledger decides, by conditional writes; names derived from the cause make every attempt converge. At any time an
endpoint has at most one open episode, and its lock is free exactly when it has none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names, telemetry
from retrain.core.answers import ignored, refused
from retrain.core.errors import InvalidSettings
from retrain.core.telemetry import logger
from retrain.core.values import Episode, Trigger
from retrain.core.window import Window, window_ending
from retrain.episode.afterthoughts import announce

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.stepfunctions import StateMachine

# A lock outlives the longest execution (TimeoutSeconds of the state machine); until the execution is known to have
# started, it is only a lease, so that an alarm handler that died frees the endpoint within the hour.
LOCK_FOR = timedelta(days=25)
LEASE_FOR = timedelta(hours=1)


@dataclass(frozen=True)
class OpeningRules:
    """What the alarm handler needs to know: who may trigger what, and how old news may be."""

    endpoint_name: str
    account: str
    region: str
    alarm_arns: frozenset[str]
    enabled: bool
    window: timedelta
    max_event_age: timedelta
    quality_alarm_arns: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.window <= timedelta(0) or self.max_event_age <= timedelta(0):
            raise InvalidSettings("the window and the greatest age of an event must be longer than nothing")


def open_episode(
    trigger: Trigger, *, rules: OpeningRules, ledger: Ledger, machine: StateMachine, store: Store, bus: Bus
) -> dict[str, Any]:
    """The endpoint has an open episode with a running execution, or the answer says why this trigger opened none."""
    telemetry.about(trigger.episode_id)
    if trigger.bootstrap and ledger.champion(trigger.endpoint_name):
        return ignored("champion_exists")
    window, report_uri = _window(trigger, rules, ledger)
    page_uri = store.uri(names.episode_page(trigger.episode_id))
    evidence = {"page_uri": page_uri, "page_url": store.link(page_uri)}
    if report_uri:
        evidence["report_uri"] = report_uri
    lost = ledger.open(trigger, window, lease_until=trigger.at + LEASE_FOR, **evidence)
    if lost == "cooldown":
        return ignored("cooldown")
    if lost == "lock_taken":
        ledger.count_occurrence(trigger)
        return ignored("episode_open")
    return _start(trigger, first=lost is None, ledger=ledger, machine=machine, bus=bus)


def _start(trigger: Trigger, *, first: bool, ledger: Ledger, machine: StateMachine, bus: Bus) -> dict[str, Any]:
    """The episode's execution runs. Safe to repeat: the name and, byte for byte, the input are the ledger's."""
    item = ledger.episode(trigger.episode_id) or {}
    if item.get("status") != "OPEN" or item.get("execution_arn"):
        return ignored("duplicate")
    episode = Episode(trigger.episode_id, trigger.endpoint_name, int(item["fence"]), bool(item["bootstrap"]))
    text = json.dumps({"episode": episode.payload()}, sort_keys=True, separators=(",", ":"))
    arn, status = machine.start(names.execution_name(episode.episode_id), text, telemetry.trace_id())
    if status != "RUNNING" and (ledger.episode(episode.episode_id) or {}).get("status") == "OPEN":
        # The execution is over and nobody closed the episode: the closer's event is lost or still to come.
        ledger.close(
            episode,
            closed_at=trigger.at,
            rearm_at=trigger.at,
            outcome="failed",
            reason="orphaned",
            detail=f"{arn} ended as {status} without closing the episode",
        )
        logger.error("execution ended and left the episode open", execution_arn=arn, execution_status=status)
        return refused("orphaned")
    ledger.record_execution(episode, arn, lock_until=trigger.at + LOCK_FOR)
    announce(episode.episode_id, episode.endpoint_name, bus)
    logger.info("episode opened", first=first, execution_arn=arn)
    telemetry.count("EpisodeOpened", reason="bootstrap" if trigger.bootstrap else "alarm")
    return {"action": "opened", "episode_id": episode.episode_id, "execution_arn": arn}


def _window(trigger: Trigger, rules: OpeningRules, ledger: Ledger) -> tuple[Window, str | None]:
    """The window that raised the alarm, and its report: the monitor's latest analysis, if it is recent."""
    if trigger.bootstrap:
        return (trigger.at, trigger.at), None
    analysis = ledger.analysis(trigger.endpoint_name, of=trigger.evidence)
    if analysis:
        start, end = clock.parse(analysis["window_start"]), clock.parse(analysis["window_end"])
        told_at = clock.parse(analysis.get("analysed_at") or analysis["window_end"])
        if told_at <= trigger.at <= told_at + rules.window:
            return (start, end), analysis.get("report_uri")
    champion = ledger.champion(trigger.endpoint_name)
    since = clock.parse(champion["since"]) if champion else None
    return window_ending(trigger.at, rules.window, since, ledger.rearm_at(trigger.endpoint_name)), None
