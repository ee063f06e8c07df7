"""A drift episode is closed, whatever happened in between: its outcome recorded, the lock free, people told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from retrain.core import telemetry
from retrain.core.answers import ignored
from retrain.core.errors import EndpointBusy, InvalidSettings, MalformedEvent, Refused
from retrain.core.telemetry import logger, short
from retrain.core.values import OUTCOMES, Ending, Episode, Step, moment
from retrain.episode.afterthoughts import announce, attempt
from retrain.episode.model_monitor import swap_native_baseline
from retrain.episode.rollout import CHANGING, crown

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker
    from retrain.aws.sns import Topic

RUNBOOK = "docs/runbook.md"  # has a section for every reason
LONGEST_DETAIL = 1500
LONGEST_CALL = timedelta(minutes=5)  # no function that changes the endpoint runs for longer


@dataclass(frozen=True)
class ClosingRules:
    """How long after an episode's end no other one is opened."""

    cooldown: timedelta

    def __post_init__(self) -> None:
        if self.cooldown < timedelta(0):
            raise InvalidSettings("the cool-down can't be negative")


@dataclass(frozen=True)
class Closer:
    """Closes episodes: what it needs for that, and how."""

    rules: ClosingRules
    ledger: Ledger
    sagemaker: SageMaker
    topic: Topic
    bus: Bus
    native_schedule: str = ""

    def close(
        self, episode: Episode, now: datetime, ending: Ending, ended_at: datetime | None = None
    ) -> dict[str, Any]:
        """The episode is closed, unless the endpoint still has to settle: then it is EndpointBusy, and stays open.

        The outcome is `ending`, but "promoted" if the endpoint serves what the episode rolled out. `ended_at` is when
        its execution ended, if it did. Repeating it changes nothing and tells nobody twice.
        """
        item = self.ledger.episode(episode.episode_id)
        if item is None:
            raise Refused("unknown_episode", f"the ledger has no episode {episode.episode_id}")
        while item.get("status") == "OPEN":  # more than once if a roll-out began between our look and our write
            settled_as = self._settled(episode, item, ending, now, ended_at)
            self.ledger.close(
                episode,
                closed_at=now,
                rearm_at=now + self.rules.cooldown,
                outcome=settled_as.outcome,
                reason=settled_as.reason,
                detail=settled_as.detail,
                rolled_out=item.get("endpoint_config_name", ""),
            )
            item = self.ledger.episode(episode.episode_id) or {}
        if not item.get("notified_at"):
            self._follow_up(episode, item, now)
        return {"status": "closed", **_result(item)}

    def _settled(
        self, episode: Episode, item: Mapping[str, Any], ending: Ending, now: datetime, ended_at: datetime | None
    ) -> Ending:
        """How the episode ended in truth; champion and baseline are its own if its model serves."""
        if ending.outcome == "promoted" or not item.get("endpoint_config_name"):
            return ending
        endpoint = self.sagemaker.endpoint(episode.endpoint_name)
        state = settled(item, endpoint, now, ended_at)
        if state == "unsettled":
            raise EndpointBusy(f"{episode.endpoint_name} has to settle before {episode.episode_id} can be closed")
        if state == "serves":
            try:
                crown(episode, item, now, self.ledger)
            except Refused as fenced:
                logger.warning("the episode lost its lock, its model serves", error=str(fenced))
                return ending
            asked = Step("swap_native_baseline", episode, now, {})
            attempt(
                "swap the native baseline",
                lambda: swap_native_baseline(
                    asked, schedule=self.native_schedule, ledger=self.ledger, sagemaker=self.sagemaker
                ),
            )
            return Ending("promoted", ending.reason, f"It serves, although: {ending.detail or ending.reason}")
        return ending

    def _follow_up(self, episode: Episode, item: Mapping[str, Any], now: datetime) -> None:
        """Nothing of the episode goes on, and people know how it ended."""
        outcome, reason = item.get("outcome"), item.get("reason")
        if outcome in {"failed", "refused"} and (arn := item.get("pipeline_execution_arn")):
            attempt("stop the pipeline", lambda: self.sagemaker.stop_pipeline_if_running(arn))
        # What an operator asked for again was promoted before: that it failed now is not the package's fault.
        own = item.get("asked", "retrain") == "retrain"
        if own and outcome != "promoted" and (package := item.get("model_package_arn")):
            why = f"episode {episode.episode_id} ended as {outcome}: {reason}"
            attempt("reject the package", lambda: self.sagemaker.set_approval(package, "Rejected", why))
        announce(episode.episode_id, episode.endpoint_name, self.bus)
        subject, text = message(episode.episode_id, item)
        if attempt("notify", lambda: self.topic.publish(subject, text)):
            # If that fails, the sweep tells once more; a step that failed here would tell with each attempt.
            attempt("record that people were told", lambda: self.ledger.record_notified(episode.episode_id, now))
        telemetry.count("EpisodeClosed", reason=str(outcome))
        logger.info("episode closed", outcome=outcome, outcome_reason=reason)


def settled(
    item: Mapping[str, Any], endpoint: Mapping[str, Any] | None, now: datetime, ended_at: datetime | None
) -> Literal["serves", "untouched", "unsettled"]:
    """What became of the roll-out that the episode began: its model serves, or does not, or that is still to be seen.

    When an execution is aborted, the function that it had called runs on for as long as it may, and may change the
    endpoint yet.
    """
    status = str(endpoint["EndpointStatus"]) if endpoint else "missing"
    if status in CHANGING:
        return "unsettled"
    if endpoint and status == "InService" and endpoint["EndpointConfigName"] == item["endpoint_config_name"]:
        return "serves"
    if ended_at is not None and now < ended_at + LONGEST_CALL:
        return "unsettled"
    return "untouched"


def close_episode(step: Step, *, closer: Closer) -> dict[str, Any]:
    """The episode is closed with its outcome, the lock is free, the cool-down runs, and people were told.

    What the machine says is `outcome` (promoted, champion_kept, refused, failed), `reason` and `detail`, or the
    `error` that a state caught. Refused("unknown_episode") if there was none.
    """
    return closer.close(step.episode, step.now, ending_of(step.fields))


def close_ended_execution(event: Mapping[str, Any], *, closer: Closer) -> dict[str, Any]:
    """The episode of an execution that ended outside of every Catch is closed.

    Ignored while nobody knows yet what becomes of the endpoint that it was changing (endpoint_unsettled); the sweep
    closes it then.
    """
    detail = event.get("detail")
    if not isinstance(detail, Mapping) or not isinstance(detail.get("name"), str):
        raise MalformedEvent("an execution status event needs detail.name")
    now = moment(event, "time")
    item = closer.ledger.episode(detail["name"])
    if item is None:
        return ignored("unknown_episode")
    episode = episode_of(detail["name"], item)
    telemetry.about(episode.episode_id)
    if item["status"] == "CLOSED" and item.get("notified_at"):
        return ignored("already_closed")
    said = ": ".join(str(detail[key]) for key in ("error", "cause") if detail.get(key))
    ending = ended(str(detail.get("status", "")), said)
    try:
        return closer.close(episode, now, ending, ended_at=now)
    except EndpointBusy as busy:
        logger.warning("the episode stays open", error=str(busy))
        return ignored("endpoint_unsettled")


def ended(status: str, said: str = "") -> Ending:
    """The ending of an episode whose execution ended with that status.

    >>> ended("ABORTED")
    Ending(outcome='failed', reason='execution_aborted', detail='the execution ended as aborted')
    """
    word = status.lower()
    return Ending("failed", f"execution_{word}", short(said, LONGEST_DETAIL) or f"the execution ended as {word}")


def episode_of(episode_id: str, item: Mapping[str, Any]) -> Episode:
    """The episode that the ledger's item is."""
    return Episode(episode_id, item["endpoint_name"], int(item["fence"]), bool(item["bootstrap"]))


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
    known = {**item, "pk": episode_id, "runbook": f"{RUNBOOK}, {item.get('reason') or outcome}"}
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
        ("Shadow", "shadow_summary"),
        ("Model package", "model_package_arn"),
        ("Decided by", "decided_by"),
        ("Pipeline", "pipeline_execution_arn"),
        ("Execution", "execution_arn"),
        ("Report", "page_uri"),
        ("", "page_url"),
        ("What to do", "runbook"),
    ):
        if value := known.get(key):
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
    """An error's name in the ledger's spelling.

    >>> _snake("PipelineFailed"), _snake("Lambda.AWSLambdaException")
    ('pipeline_failed', 'lambda_aws_lambda_exception')
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[A-Z]", name)
    return "_".join(word.lower() for word in words) or "unknown"
