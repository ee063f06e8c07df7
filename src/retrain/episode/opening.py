"""A drift episode: opened once, by one cause, and closed whatever happened in between.

The ledger decides, by conditional writes; names derived from the cause make every attempt converge. At any time an
endpoint has at most one open episode, and its lock is free exactly when it has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names, telemetry
from retrain.core.errors import InvalidSettings, MalformedEvent, Refused, RetrainError
from retrain.core.telemetry import logger, short
from retrain.core.window import window_ending

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker
    from retrain.aws.sns import Topic
    from retrain.aws.stepfunctions import StateMachine

# A lock outlives the longest execution (TimeoutSeconds of the state machine); until the execution is known to have
# started, it is only a lease, so that an alarm handler that died frees the endpoint within the hour.
LOCK_FOR = timedelta(days=25)
LEASE_FOR = timedelta(hours=1)
LONGEST_DETAIL = 1500


@dataclass(frozen=True)
class Episode:
    """What every payload of the state machine carries: which episode, whose, and the lock's fencing counter."""

    episode_id: str
    endpoint_name: str
    fence: int
    bootstrap: bool

    @classmethod
    def of(cls, payload: Any) -> Episode:
        """The payload's episode; MalformedEvent if it has none. Unknown fields are ignored."""
        try:
            fence = payload["fence"]
            episode = cls(payload["episode_id"], payload["endpoint_name"], int(fence), bool(payload["bootstrap"]))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvent(f"the payload has no valid episode: {error!r}") from error
        if not all(isinstance(text, str) and text for text in (episode.episode_id, episode.endpoint_name)):
            raise MalformedEvent("episode_id and endpoint_name must be text")
        return episode

    def payload(self) -> dict[str, Any]:
        """The form that travels through the state machine."""
        return {
            "episode_id": self.episode_id,
            "endpoint_name": self.endpoint_name,
            "fence": self.fence,
            "bootstrap": self.bootstrap,
        }


@dataclass(frozen=True)
class Step:
    """A state machine's call: what to do (`name`), for which episode, when, and what else the state passed."""

    name: str
    episode: Episode
    now: datetime
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, event: Any) -> Step:
        """The call that `event` is; MalformedEvent if it is none."""
        if not isinstance(event, Mapping):
            raise MalformedEvent(f"expected an object, got {type(event).__name__}")
        return cls(str(event.get("step", "")), Episode.of(event.get("episode")), moment(event, "now"), event)


def moment(event: Mapping[str, Any], field: str) -> datetime:
    """The time in the event's field; MalformedEvent if there is none."""
    try:
        return clock.parse(event[field])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedEvent(f"{field} is not a time: {error!r}") from error


@dataclass(frozen=True)
class Trigger:
    """Why an episode should be opened: `cause` is an alarm's ARN or "bootstrap", `at` when it happened.

    `evidence` names the ledger's analysis whose window raised the alarm: the drift monitor's, or the quality monitor's.
    """

    endpoint_name: str
    cause: str
    at: datetime
    text: str
    bootstrap: bool = False
    evidence: str = "ANALYSIS"

    @property
    def episode_id(self) -> str:
        """The id that this cause at this time always gives."""
        return names.episode_id(self.endpoint_name, self.cause, self.at)


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


@dataclass(frozen=True)
class ClosingRules:
    """How long after an episode's end no other one is opened."""

    cooldown: timedelta

    def __post_init__(self) -> None:
        if self.cooldown < timedelta(0):
            raise InvalidSettings("the cool-down can't be negative")


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


def announce(episode_id: str, endpoint_name: str, bus: Bus) -> None:
    """The report writer will hear that the ledger has news of the episode; if not, that is logged and counted."""
    detail = {"episode_id": episode_id, "endpoint_name": endpoint_name}
    _try("announce the episode", lambda: bus.put(names.EPISODE_CHANGED, detail))


def announce_window(report_uri: str, baseline_uri: str, endpoint_name: str, bus: Bus) -> None:
    """The same of a monitor's analysis; a page that is not drawn changes no verdict."""
    detail = {"endpoint_name": endpoint_name, "report_uri": report_uri, "baseline_uri": baseline_uri}
    _try("announce the window", lambda: bus.put(names.WINDOW_ANALYSED, detail))


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


def _window(trigger: Trigger, rules: OpeningRules, ledger: Ledger) -> tuple[tuple[datetime, datetime], str | None]:
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


def close_episode(
    step: Step, *, rules: ClosingRules, ledger: Ledger, sagemaker: SageMaker, topic: Topic, bus: Bus
) -> dict[str, Any]:
    """The episode is closed with its outcome, the lock is free, the cool-down runs, and people were told.

    What the machine says is `outcome` (promoted, champion_kept, refused, failed), `reason` and `detail`, or the
    `error` that a state caught. Repeating it changes nothing and tells nobody twice.
    """
    ending = ending_of(step.fields)
    return _close(step.episode, step.now, ending, rules=rules, ledger=ledger, sagemaker=sagemaker, topic=topic, bus=bus)


def close_ended_execution(
    event: Mapping[str, Any], *, rules: ClosingRules, ledger: Ledger, sagemaker: SageMaker, topic: Topic, bus: Bus
) -> dict[str, Any]:
    """The episode of an execution that ended outside of every Catch is closed as failed, its pipeline stopped."""
    detail = event.get("detail")
    if not isinstance(detail, Mapping) or not isinstance(detail.get("name"), str):
        raise MalformedEvent("an execution status event needs detail.name")
    now = moment(event, "time")
    item = ledger.episode(detail["name"])
    if item is None:
        return ignored("unknown_episode")
    episode = Episode(detail["name"], item["endpoint_name"], int(item["fence"]), bool(item["bootstrap"]))
    telemetry.about(episode.episode_id)
    if item["status"] == "CLOSED" and item.get("notified_at"):
        return ignored("already_closed")
    status = str(detail.get("status", "")).lower()
    said = ": ".join(str(detail[key]) for key in ("error", "cause") if detail.get(key))
    ending = Ending("failed", f"execution_{status}", said or f"the execution ended as {status}")
    if arn := item.get("pipeline_execution_arn"):
        _try("stop the pipeline", lambda: sagemaker.stop_pipeline_if_running(arn))
    return _close(episode, now, ending, rules=rules, ledger=ledger, sagemaker=sagemaker, topic=topic, bus=bus)


@dataclass(frozen=True)
class Ending:
    """How an episode ended: the outcome, its reason in one word, and a sentence."""

    outcome: str
    reason: str
    detail: str


OUTCOMES = frozenset({"promoted", "champion_kept", "refused", "failed"})


def ending_of(fields: Mapping[str, Any]) -> Ending:
    """The ending that the state machine's words describe; an outcome that is not known is a failure.

    >>> ending_of({"error": {"Error": "Refused", "Cause": '{"errorMessage": "not_better: by a hair"}'}})
    Ending(outcome='refused', reason='not_better', detail='by a hair')
    >>> ending_of({"error": {"Error": "PipelineFailed", "Cause": '{"errorMessage": "TrainChallenger"}'}})
    Ending(outcome='failed', reason='pipeline_failed', detail='TrainChallenger')
    >>> ending_of({"outcome": "promoted"})
    Ending(outcome='promoted', reason='', detail='')
    >>> ending_of({"outcome": "promoted", "reason": "native_baseline_kept", "detail": '{"errorMessage": "no role"}'})
    Ending(outcome='promoted', reason='native_baseline_kept', detail='no role')
    """
    error = fields.get("error")
    if isinstance(error, Mapping):
        name, cause = str(error.get("Error", "")), _message(str(error.get("Cause", "")))
        if name == "Refused":
            code, _, detail = cause.partition(": ")
            return Ending("refused", code, short(detail, LONGEST_DETAIL))
        return Ending("failed", _snake(name), short(cause, LONGEST_DETAIL))
    outcome = str(fields.get("outcome", ""))
    if outcome not in OUTCOMES:
        return Ending("failed", "unknown_outcome", short(outcome))
    said = _message(str(fields.get("detail", "")))
    return Ending(outcome, str(fields.get("reason", "")), short(said, LONGEST_DETAIL))


def _close(
    episode: Episode,
    now: datetime,
    ending: Ending,
    *,
    rules: ClosingRules,
    ledger: Ledger,
    sagemaker: SageMaker,
    topic: Topic,
    bus: Bus,
) -> dict[str, Any]:
    ledger.close(
        episode,
        closed_at=now,
        rearm_at=now + rules.cooldown,
        outcome=ending.outcome,
        reason=ending.reason,
        detail=ending.detail,
    )
    item = ledger.episode(episode.episode_id) or {}
    if item.get("notified_at"):
        return {"status": "closed", **_result(item)}
    if item.get("outcome") != "promoted" and (arn := item.get("model_package_arn")):
        why = f"episode {episode.episode_id} ended as {item.get('outcome')}: {item.get('reason')}"
        _try("reject the package", lambda: sagemaker.set_approval(arn, "Rejected", why))
    announce(episode.episode_id, episode.endpoint_name, bus)
    subject, text = message(episode.episode_id, item)
    if _try("notify", lambda: topic.publish(subject, text)):
        ledger.record_notified(episode.episode_id, now)
    telemetry.count("EpisodeClosed", reason=str(item.get("outcome")))
    logger.info("episode closed", outcome=item.get("outcome"), outcome_reason=item.get("reason"))
    return {"status": "closed", **_result(item)}


def message(episode_id: str, item: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of the notification about an episode's end, for people."""
    endpoint, outcome = item.get("endpoint_name", "?"), item.get("outcome", "?")
    said = {
        "promoted": "a new model serves",
        "champion_kept": "the challenger was not better, the champion goes on",
        "refused": "retraining was refused",
        "failed": "retraining FAILED",
    }.get(str(outcome), str(outcome))
    lines = [f"Endpoint {endpoint}: {said}.", ""]
    for label, key in (
        ("Episode", "pk"),
        ("Opened", "opened_at"),
        ("Closed", "closed_at"),
        ("Trigger", "trigger"),
        ("Why", "trigger_text"),
        ("Window from", "window_start"),
        ("Window to", "window_end"),
        ("Outcome", "outcome"),
        ("Reason", "reason"),
        ("Detail", "detail"),
        ("Gate", "gate_summary"),
        ("Model package", "model_package_arn"),
        ("Decided by", "decided_by"),
        ("Pipeline", "pipeline_execution_arn"),
        ("Execution", "execution_arn"),
        ("Report", "page_uri"),
        ("", "page_url"),
    ):
        value = episode_id if key == "pk" else item.get(key)
        if value:
            lines.append(f"{label:14} {value}")
    return f"{endpoint}: {said}"[:100], "\n".join(lines)


def ignored(reason: str) -> dict[str, Any]:
    """The answer to something that changes nothing, counted and logged with its reason."""
    telemetry.count("Ignored", reason=reason)
    logger.info("ignored", reason=reason)
    return {"action": "ignored", "reason": reason}


def refused(reason: str) -> dict[str, Any]:
    """The answer to something that should not have been asked, counted and logged with its reason."""
    telemetry.count("Refused", reason=reason)
    logger.warning("refused", reason=reason)
    return {"action": "refused", "reason": reason}


def require_held(item: Mapping[str, Any] | None, episode: Episode) -> Mapping[str, Any]:
    """The ledger's open episode; Refused("fenced") if it is closed or another episode went ahead."""
    if item is None or item.get("status") != "OPEN" or int(item.get("fence", -1)) != episode.fence:
        raise Refused("fenced", f"episode {episode.episode_id} is not open any more")
    return item


def _result(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(item.get(key, "")) for key in ("outcome", "reason", "detail")}


def _try(what: str, act: Any) -> bool:
    """Whether it worked; if not, that is logged and counted, and the episode's end is none the worse for it."""
    try:
        act()
    except RetrainError as error:
        logger.warning("an afterthought failed", what=what, error=str(error))
        telemetry.count("AfterthoughtFailed", reason=what.replace(" ", "_"))
        return False
    return True


def _message(cause: str) -> str:
    """The message in a Lambda error's cause, which is JSON, or the cause itself."""
    try:
        body = json.loads(cause)
        return str(body["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return cause


def _snake(name: str) -> str:
    """A class name in the ledger's spelling: `PipelineFailed` becomes `pipeline_failed`."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name.replace(".", ""))
    return words.strip("_") or "unknown"
