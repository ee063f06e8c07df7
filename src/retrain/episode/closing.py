"""A drift episode is closed, whatever happened in between: its outcome recorded, the lock free, people told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import telemetry
from retrain.core.answers import ignored
from retrain.core.errors import InvalidSettings, MalformedEvent
from retrain.core.telemetry import logger, short
from retrain.core.values import OUTCOMES, Ending, Episode, Step, moment
from retrain.episode.afterthoughts import announce, attempt

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker
    from retrain.aws.sns import Topic

LONGEST_DETAIL = 1500


@dataclass(frozen=True)
class ClosingRules:
    """How long after an episode's end no other one is opened."""

    cooldown: timedelta

    def __post_init__(self) -> None:
        if self.cooldown < timedelta(0):
            raise InvalidSettings("the cool-down can't be negative")


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
        attempt("stop the pipeline", lambda: sagemaker.stop_pipeline_if_running(arn))
    return _close(episode, now, ending, rules=rules, ledger=ledger, sagemaker=sagemaker, topic=topic, bus=bus)


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
    # What an operator asked for again was promoted before: that it failed now is not the package's fault.
    own = item.get("asked", "retrain") == "retrain"
    if own and item.get("outcome") != "promoted" and (arn := item.get("model_package_arn")):
        why = f"episode {episode.episode_id} ended as {item.get('outcome')}: {item.get('reason')}"
        attempt("reject the package", lambda: sagemaker.set_approval(arn, "Rejected", why))
    announce(episode.episode_id, episode.endpoint_name, bus)
    subject, text = message(episode.episode_id, item)
    if attempt("notify", lambda: topic.publish(subject, text)):
        ledger.record_notified(episode.episode_id, now)
    telemetry.count("EpisodeClosed", reason=str(item.get("outcome")))
    logger.info("episode closed", outcome=item.get("outcome"), outcome_reason=item.get("reason"))
    return {"status": "closed", **_result(item)}


def message(episode_id: str, item: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of the notification about an episode's end, for people."""
    endpoint, outcome = item.get("endpoint_name", "?"), item.get("outcome", "?")
    asked = item.get("asked", "retrain")
    serves = {"rollback": "an earlier model serves again", "adopt": "what serves is the champion now"}
    what = "retraining" if asked == "retrain" else str(asked)
    said = {
        "promoted": {**serves, "restore": "the champion serves again"}.get(asked, "a new model serves"),
        "champion_kept": "the challenger was not better, the champion goes on",
        "refused": f"{what} was refused",
        "failed": f"{what} FAILED",
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


def _result(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(item.get(key, "")) for key in ("outcome", "reason", "detail")}


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
