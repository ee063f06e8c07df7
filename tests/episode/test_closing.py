"""Every episode ends: recorded, told, and with a free lock."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import CLOSING, NOW, PACKAGE, RUN, opened, step

from retrain.core.errors import MalformedEvent, Refused
from retrain.core.values import Episode
from retrain.episode.closing import Closer, close_ended_execution, close_episode

EVENTS = Path(__file__).parents[2] / "events"


@pytest.fixture
def episode(ledger: Any) -> Any:
    return opened(ledger)


@pytest.fixture
def closer(ledger: Any, sagemaker: Any, topic: Any, bus: Any) -> Closer:
    return Closer(CLOSING, ledger, sagemaker, topic, bus)


@pytest.fixture
def close(closer: Closer) -> Any:
    def call(asked: Any) -> dict[str, Any]:
        return close_episode(asked, closer=closer)

    return call


@pytest.fixture
def end(closer: Closer) -> Any:
    def call(name: str = "execution-failed", **changes: Any) -> dict[str, Any]:
        event = {**json.loads((EVENTS / f"{name}.json").read_text()), **changes}
        return close_ended_execution(event, closer=closer)

    return call


def caught(error: str, message: str) -> dict[str, Any]:
    return {"outcome": "failed", "error": {"Error": error, "Cause": json.dumps({"errorMessage": message})}}


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        ({"outcome": "promoted"}, "promoted", ""),
        ({"outcome": "champion_kept", "reason": "not_better"}, "champion_kept", "not_better"),
        ({"outcome": "refused", "reason": "approval_expired"}, "refused", "approval_expired"),
        (caught("Refused", "labels_insufficient: 12 of 900"), "refused", "labels_insufficient"),
        (caught("Throttled", "sagemaker: slow down"), "failed", "throttled"),
        (caught("PipelineMissing", "gone"), "failed", "pipeline_missing"),
        (caught("RolledBack", "serves the old one"), "failed", "rolled_back"),
        ({"outcome": "failed", "error": {"Error": "States.Timeout", "Cause": ""}}, "failed", "states_timeout"),
        ({"outcome": "failed", "error": {"Error": "Lambda.Unknown"}}, "failed", "lambda_unknown"),
        ({"outcome": "nonsense"}, "failed", "unknown_outcome"),
        ({}, "failed", "unknown_outcome"),
    ],
)
def test_endings_have_an_outcome_and_a_reason(
    said: dict[str, Any], outcome: str, reason: str, episode: Any, close: Any, ledger: Any, topic: Any
) -> None:
    result = close(step(episode, **said))
    assert (result["outcome"], result["reason"]) == (outcome, reason)
    item = ledger.episode(episode.episode_id)
    assert (item["status"], item["outcome"], item["reason"]) == ("CLOSED", outcome, reason)
    assert ledger.open_episode_id("flights") is None
    assert ledger.rearm_at("flights") == NOW + CLOSING.cooldown
    assert len(topic.messages) == 1


def test_an_episode_that_nobody_knows_is_refused_by_name(close: Any, topic: Any) -> None:
    """C14."""
    with pytest.raises(Refused, match="unknown_episode: the ledger has no episode flights-nobody"):
        close(step(Episode("flights-nobody", "flights", 1, bootstrap=False), outcome="promoted"))
    assert topic.messages == []


def test_closing_again_tells_nobody_again_and_keeps_the_first_ending(episode: Any, close: Any, topic: Any) -> None:
    close(step(episode, outcome="promoted"))
    assert close(step(episode, **caught("PipelineFailed", "late")))["outcome"] == "promoted"
    assert len(topic.messages) == 1


def test_a_notification_that_failed_is_not_fatal_and_is_made_up_for(episode: Any, close: Any, topic: Any) -> None:
    topic.down = True
    assert close(step(episode, outcome="promoted"))["status"] == "closed"
    topic.down = False
    close(step(episode, outcome="promoted"))
    assert len(topic.messages) == 1


def test_the_message_says_what_happened_in_words(episode: Any, close: Any, ledger: Any, topic: Any) -> None:
    ledger.note(episode, gate_summary="keep_champion: rmse 12 -> 12.1")
    ledger.keep_token(episode, "secret-token")
    close(step(episode, outcome="champion_kept", reason="not_better", detail="by a hair"))
    [(subject, text)] = topic.messages
    assert subject == "flights: the challenger was not better, the champion goes on"
    assert episode.episode_id in text
    assert "rmse 12 -> 12.1" in text
    assert "secret-token" not in text


def test_a_package_that_does_not_serve_ends_as_rejected(episode: Any, close: Any, ledger: Any, sagemaker: Any) -> None:
    ledger.note(episode, model_package_arn=PACKAGE)
    close(step(episode, **caught("RolledBack", "old config again")))
    [(arn, status, why)] = sagemaker.approvals
    assert (arn, status) == (PACKAGE, "Rejected")
    assert "rolled_back" in why


def test_a_promoted_package_stays_approved(episode: Any, close: Any, ledger: Any, sagemaker: Any) -> None:
    ledger.note(episode, model_package_arn=PACKAGE)
    close(step(episode, outcome="promoted"))
    assert sagemaker.approvals == []


def test_a_huge_cause_is_cut(episode: Any, close: Any, ledger: Any) -> None:
    close(step(episode, **caught("PipelineFailed", "x" * 300_000)))
    assert len(ledger.episode(episode.episode_id)["detail"]) < 2000


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("execution-failed", "execution_failed"),
        ("execution-timed-out", "execution_timed_out"),
        ("execution-aborted", "execution_aborted"),
    ],
)
def test_an_execution_that_ended_outside_every_catch_is_closed(
    event: str, reason: str, episode: Any, end: Any, ledger: Any, topic: Any
) -> None:
    assert end(event)["outcome"] == "failed"
    assert ledger.episode(episode.episode_id)["reason"] == reason
    assert ledger.open_episode_id("flights") is None
    assert len(topic.messages) == 1


def test_its_pipeline_is_stopped(episode: Any, end: Any, ledger: Any, sagemaker: Any) -> None:
    ledger.note(episode, pipeline_execution_arn=RUN)
    end()
    assert sagemaker.stopped == [RUN]


def test_the_failed_execution_of_a_closed_episode_is_no_news(episode: Any, close: Any, end: Any, topic: Any) -> None:
    close(step(episode, **caught("Refused", "capture_missing: none")))
    assert end() == {"action": "ignored", "reason": "already_closed"}
    assert len(topic.messages) == 1


def test_an_execution_of_nobody_is_ignored(end: Any) -> None:
    assert end() == {"action": "ignored", "reason": "unknown_episode"}


def test_the_cooldown_starts_when_the_execution_ended(episode: Any, end: Any, ledger: Any) -> None:
    end(time="2013-04-01T05:00:00Z")
    assert ledger.rearm_at("flights") == NOW.replace(hour=6, minute=0, second=0, microsecond=0)
    assert timedelta(0) < CLOSING.cooldown


@pytest.mark.parametrize("detail", [None, {}, {"name": 7}])
def test_a_malformed_execution_event_is_an_error(detail: Any, end: Any) -> None:
    with pytest.raises(MalformedEvent):
        end(detail=detail)
