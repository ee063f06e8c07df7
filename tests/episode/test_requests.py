"""What people, the calendar and other applications ask for, through the same door as the alarms."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import CLOSING, NOW, FakeBus, crowned, opened, step

from retrain.core.clock import render
from retrain.core.values import Episode
from retrain.episode.closing import Closer, close_episode

EVENTS = Path(__file__).parents[2] / "events"
LATER = render(NOW + timedelta(hours=3))


ALARM = json.loads((EVENTS / "alarm-drift.json").read_text())


def request_of(kind: str, at: str | None = None, **detail: Any) -> dict[str, Any]:
    found = json.loads((EVENTS / f"{kind}-requested.json").read_text())
    return {**found, "time": at or found["time"], "detail": {**found["detail"], **detail}}


def test_an_application_of_the_users_own_opens_an_episode_as_an_alarm_does(ask: Any, ledger: Any, machine: Any) -> None:
    crowned(ledger)
    answer = ask(request_of("retraining"))
    assert answer["action"] == "opened"
    item = ledger.episode(answer["episode_id"])
    assert (item["trigger"], item["asked_by"]) == ("retrain", "the catalogue's nightly import")
    assert item["trigger_text"].endswith(": the new tariff is in force")
    assert json.loads(machine.inputs[answer["episode_id"]])["asked"] == "retrain"
    assert ask(request_of("retraining")) == {"action": "ignored", "reason": "duplicate"}
    assert ask(request_of("retraining", LATER)) == {"action": "ignored", "reason": "episode_open"}


def test_the_window_may_be_asked_for(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    window = {"window_start": "2013-03-01T00:00:00Z", "window_end": "2013-03-08T00:00:00Z"}
    item = ledger.episode(ask(request_of("retraining", **window))["episode_id"])
    assert {name: item[name] for name in window} == window
    reversed_ = {"window_start": window["window_end"], "window_end": window["window_start"]}
    assert ask(request_of("retraining", LATER, **reversed_))["reason"] == "malformed_event"


def test_the_cool_down_holds_for_requests_too_but_not_for_what_trains_nothing(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    last = opened(ledger)
    ledger.close(last, closed_at=NOW, rearm_at=NOW + timedelta(days=1), outcome="failed", reason="", detail="")
    assert ask(request_of("retraining", LATER)) == {"action": "ignored", "reason": "cooldown"}
    assert ask(request_of("rollback", LATER))["action"] == "opened"


def test_while_it_is_paused_no_alarm_and_no_request_opens_an_episode(ask: Any, ledger: Any, topic: Any) -> None:
    crowned(ledger)
    assert ask(request_of("pause", "2013-03-31T00:00:00Z")) == {"action": "done", "status": "paused"}
    assert ledger.paused("flights", NOW)["reason"] == "the answers for night flights are wrong"
    assert "No episode is opened until 2013-04-08T00:00:00Z" in topic.messages[-1][1]
    assert ask(ALARM) == {"action": "ignored", "reason": "paused"}
    assert ask(request_of("retraining")) == {"action": "ignored", "reason": "paused"}
    assert ask(request_of("rollback"))["action"] == "opened", "a person may turn it back all the same"


def test_a_pause_ends_when_it_said_or_when_it_is_resumed(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    ask(request_of("pause", "2013-03-31T00:00:00Z", until="2013-04-01T00:00:00Z"))
    assert ledger.paused("flights", NOW) is None
    ask(request_of("pause", "2013-03-31T00:00:00Z", until=""))
    assert ledger.paused("flights", NOW + timedelta(days=900)) is not None
    assert ask(request_of("resume")) == {"action": "done", "status": "resumed"}
    assert ask(ALARM)["action"] == "opened"


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("retraining", {"endpoint_name": "trains"}, "unknown_endpoint"),
        ("retraining", {"reason": ""}, "malformed_event"),
        ("retraining", {"reason": 7}, "malformed_event"),
        ("rollback", {"target": ""}, "malformed_event"),
        ("pause", {"until": "tomorrow"}, "malformed_event"),
        ("restoration", {"endpoint_name": None}, "unknown_endpoint"),
    ],
)
def test_what_is_not_for_this_stack_or_says_too_little_is_refused(
    kind: str, changes: Any, reason: str, ask: Any, machine: Any
) -> None:
    assert ask(request_of(kind, **changes)) == {"action": "refused", "reason": reason}
    assert machine.starts == 0


def test_a_bootstrap_can_be_asked_for_again(ask: Any, ledger: Any) -> None:
    first = ask(request_of("bootstrap"))
    assert ask(request_of("bootstrap")) == {"action": "ignored", "reason": "duplicate"}
    episode = Episode(first["episode_id"], "flights", ledger.lock("flights")["fence"], bootstrap=True)
    ledger.close(episode, closed_at=NOW, rearm_at=NOW, outcome="failed", reason="pipeline_failed", detail="")
    assert ask(request_of("bootstrap", LATER))["action"] == "opened", "what failed may be tried again"


def test_a_package_that_served_before_is_not_rejected_because_its_rollback_failed(
    ask: Any, ledger: Any, sagemaker: Any, topic: Any
) -> None:
    crowned(ledger)
    answer = ask(request_of("rollback"))
    episode = Episode(answer["episode_id"], "flights", ledger.lock("flights")["fence"], bootstrap=False)
    ledger.note(episode, model_package_arn="arn:of:an:old/package/1")
    error = {"Error": "RolledBack", "Cause": json.dumps({"errorMessage": "errors"})}
    asked = step(episode, outcome="failed", error=error)
    close_episode(asked, closer=Closer(CLOSING, ledger, sagemaker, topic, FakeBus()))
    assert sagemaker.approvals == []
    assert "rollback FAILED" in topic.messages[-1][0]
