"""The sweep: every few minutes it finds what an event that got lost, or a call that failed, has left behind.

An open episode whose execution is over is closed; an end that people were not told of is told; and what the endpoint
serves is held against the ledger, so that nobody trains against a champion that does not serve. Where all is well, old
models are removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names, telemetry
from retrain.core.errors import EndpointBusy, MalformedEvent, RetrainError
from retrain.core.telemetry import logger
from retrain.core.values import Ending, moment
from retrain.episode.afterthoughts import attempt
from retrain.episode.closing import RUNBOOK, Closer, ended, episode_of
from retrain.episode.opening import LEASE_FOR
from retrain.episode.retention import RetentionRules, remove_outdated
from retrain.episode.rollout import CHANGING
from retrain.episode.seals import broken_seals

if TYPE_CHECKING:
    from retrain.aws.s3 import Store
    from retrain.aws.stepfunctions import StateMachine

EVERY = timedelta(minutes=5)  # as template.yaml schedules it
EVENTS_FIRST = timedelta(minutes=5)  # what an event is about to do is left to it
TOLD_WITHIN = timedelta(days=1)  # an end that nobody could be told of for so long is old news
_LAST = 10  # episodes that are looked at
_RUNNING = frozenset({"RUNNING", "PENDING_REDRIVE"})


@dataclass(frozen=True)
class Sweeper:
    """What the sweep needs beside a closer."""

    endpoint_name: str
    closer: Closer
    machine: StateMachine
    store: Store
    retention: RetentionRules


def sweep(event: Any, *, sweeper: Sweeper) -> dict[str, Any]:
    """`closed` and `told` are the episodes that the sweep made up for, `serving` what is wrong with the endpoint.

    `removed` are old episodes whose models are gone.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an object, got {type(event).__name__}")
    now = moment(event, "time")
    closer, endpoint_name = sweeper.closer, sweeper.endpoint_name
    closed, open_ = _close_what_is_over(now, sweeper)
    last = closer.ledger.episodes(endpoint_name, _LAST)
    told = _tell_what_was_not(last, now, sweeper)
    serving, removed = "", []
    champion = None if open_ else closer.ledger.champion(endpoint_name)
    if champion is not None:
        endpoint = closer.sagemaker.endpoint(endpoint_name)
        serving = _compare_with_ledger(champion, endpoint, now, sweeper)
        few = len(last) < _LAST and len(last) <= sweeper.retention.models  # all there are, and none too many
        if not serving and not few and _hourly(now) and not any(what_is_wrong(champion, endpoint)):
            removed = _remove_what_is_old(champion, now, sweeper)
    if closed or told:
        logger.warning("the sweep made up for something", closed=closed, told=told)
    return {"status": "swept", "closed": closed, "told": told, "serving": serving, "removed": removed}


def _close_what_is_over(now: datetime, sweeper: Sweeper) -> tuple[list[str], bool]:
    """The episode that was closed, and whether one is still open."""
    ledger = sweeper.closer.ledger
    lock = ledger.lock(sweeper.endpoint_name)
    item = ledger.episode(lock["owner"]) if lock.get("owner") else None
    if item is None or item["status"] != "OPEN":
        return [], False
    execution = sweeper.machine.execution(names.execution_name(lock["owner"]))
    ending, ended_at = how_it_ended(execution, clock.parse(item["opened_at"]), now)
    if ending is None:
        return [], True
    episode = episode_of(lock["owner"], item)
    telemetry.about(episode.episode_id)
    try:
        sweeper.closer.close(episode, now, ending, ended_at)
    except EndpointBusy as busy:
        logger.warning("the episode stays open", error=str(busy))
        return [], True
    telemetry.count("Swept", reason=ending.reason)
    return [episode.episode_id], False


def how_it_ended(
    execution: tuple[str, datetime | None] | None, opened_at: datetime, now: datetime
) -> tuple[Ending | None, datetime | None]:
    """How the execution of an open episode ended and when, or None if it runs or its events are still to come.

    Without an execution: as long as its lease, whoever opened the episode may start it yet.
    """
    if execution is None:
        if now < opened_at + LEASE_FOR:
            return None, None
        return Ending("failed", "no_execution", "its execution was never started, or nobody knows of it any more"), None
    status, ended_at = execution
    if status in _RUNNING or ended_at is None or now < ended_at + EVENTS_FIRST:
        return None, None
    return ended(status), ended_at


def _tell_what_was_not(last: Sequence[Mapping[str, Any]], now: datetime, sweeper: Sweeper) -> list[str]:
    """People know of every end, also where the notification failed or the episode was taken over."""
    told = []
    for item in last:
        episode_id = item["pk"].removeprefix("EPISODE#")
        if item["status"] != "CLOSED" or item.get("notified_at"):
            continue
        if not EVENTS_FIRST <= now - clock.parse(item["closed_at"]) <= TOLD_WITHIN:
            continue
        sweeper.closer.close(episode_of(episode_id, item), now, Ending("", "", ""))
        told.append(episode_id)
    return told


def _compare_with_ledger(
    champion: Mapping[str, Any], endpoint: Mapping[str, Any] | None, now: datetime, sweeper: Sweeper
) -> str:
    """What is wrong with what serves, "" if nothing; people are told when that changes."""
    closer, endpoint_name = sweeper.closer, sweeper.endpoint_name
    if endpoint and endpoint["EndpointStatus"] in CHANGING:
        return ""
    known = closer.ledger.serving(endpoint_name)
    reason, detail = what_is_wrong(champion, endpoint)
    if not reason and (_hourly(now) or known.get("reason") == "artifact_tampered"):
        try:
            broken = broken_seals(champion, sweeper.store)
        except RetrainError as error:  # can't be read now, so nothing new is known
            logger.warning("seals could not be checked", error=str(error))
            return str(known.get("reason", ""))
        reason, detail = ("artifact_tampered", "; ".join(broken)[:1500]) if broken else ("", "")
    if reason == known.get("reason", "") and detail == known.get("detail", ""):
        return reason
    if reason:
        telemetry.count("Serving", reason=reason)
        logger.error("what serves is not what the ledger says", serving=reason, detail=detail)
        text = (
            f"{detail}.\n\nNo episode can be rolled out until that is mended: {RUNBOOK}, {reason}. This is told once."
        )
        if not attempt("notify", lambda: closer.topic.publish(f"{endpoint_name}: {reason}", text)):
            return reason  # the next sweep tells
    closer.ledger.record_serving(endpoint_name, {"reason": reason, "detail": detail}, now)
    return reason


def _remove_what_is_old(champion: Mapping[str, Any], now: datetime, sweeper: Sweeper) -> list[str]:
    """The episodes whose models are gone now. Nothing but the champion serves."""
    return remove_outdated(
        sweeper.endpoint_name,
        champion,
        now,
        rules=sweeper.retention,
        ledger=sweeper.closer.ledger,
        sagemaker=sweeper.closer.sagemaker,
    )


def _hourly(now: datetime) -> bool:
    """Whether this sweep is the hour's first."""
    return now.minute < EVERY / timedelta(minutes=1)


def what_is_wrong(champion: Mapping[str, Any], endpoint: Mapping[str, Any] | None) -> tuple[str, str]:
    """In one word and a sentence, why the endpoint does not serve the champion; ("", "") if it does.

    >>> what_is_wrong({"endpoint_config_name": "a"}, {"EndpointStatus": "InService", "EndpointConfigName": "b"})
    ('diverged', 'The endpoint serves b, and the champion is a')
    """
    expected = champion["endpoint_config_name"]
    if endpoint is None:
        return "endpoint_missing", f"The endpoint does not exist, and the champion is {expected}"
    status, serves = str(endpoint["EndpointStatus"]), str(endpoint["EndpointConfigName"])
    if status != "InService":
        return "endpoint_broken", f"The endpoint is {status}: {endpoint.get('FailureReason') or 'no reason given'}"
    if serves != expected:
        return "diverged", f"The endpoint serves {serves}, and the champion is {expected}"
    return "", ""
