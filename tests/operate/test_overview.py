"""What status says, and what it would do next."""

from __future__ import annotations

from typing import Any

import pytest

from retrain.core.errors import NotDeployed
from retrain.operate import overview, words

PARAMETERS = {
    "ApprovalTimeoutHours": "72",
    "LabelWaitHours": "48",
    "MonitorSchedule": "rate(5 minutes)",
    "RetrainingEnabled": "true",
}
CHAMPION = {"endpoint_config_name": "flights-2", "model_package_arn": "arn:aws:x:package/flights/2"}
CALM: dict[str, Any] = {
    "endpoint": {"name": "flights", "status": "InService", "config": "flights-2", "instances": 1},
    "champion": CHAMPION,
    "lock": None,
    "episode": None,
    "analysis": None,
    "quality": None,
    "alarms": [],
    "evidence": None,
    "month": None,
    "paused": None,
    "rearmed_at": None,
    "time": "2026-11-22T14:00:00Z",
}
SERVES = {"EndpointStatus": "InService", "EndpointConfigName": "flights-2"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the next analysis at rate(5 minutes); an alarm opens an episode"),
        ({"champion": None}, "nothing is watched before there is a first model: `python -m retrain bootstrap`"),
        ({"rearmed_at": "2026-11-22T15:00:00Z"}, "no episode is opened before 2026-11-22T15:00:00Z"),
        ({"rearmed_at": "2026-11-22T13:00:00Z"}, "the next analysis"),
        ({"paused": {"reason": "a fair", "until": "2026-11-23T00:00:00Z"}}, "no episode until 2026-11-23T00:00:00Z"),
        ({"paused": {"reason": "a fair"}}, "no episode until `python -m retrain resume`"),
        ({"episode": {"state": "Await Approval"}}, "waits for a decision in the Model Registry, for 72 hours at most"),
        ({"episode": {"state": "Wait for Labels"}}, "waits for labels, until 48 hours after its opening"),
        ({"episode": {"state": None}}, "goes on from its beginning"),
    ],
)
def test_what_comes_next_is_a_sentence(changes: dict[str, Any], said: str) -> None:
    assert said in overview.following({**CALM, **changes}, PARAMETERS)


def test_the_kill_switch_is_told() -> None:
    assert "RetrainingEnabled is false" in overview.following(CALM, {**PARAMETERS, "RetrainingEnabled": "false"})


@pytest.mark.parametrize(
    ("serving", "said"),
    [
        (SERVES, None),
        (None, "flights does not exist, although flights-2 should serve there: restore"),
        ({**SERVES, "EndpointConfigName": "by-hand"}, "serves by-hand, not the champion's flights-2: adopt or restore"),
        ({**SERVES, "EndpointStatus": "Failed", "FailureReason": "no capacity"}, "flights is Failed: no capacity"),
    ],
)
def test_a_person_is_asked_to_look_at_what_is_not_as_it_should_be(serving: Any, said: str | None) -> None:
    found = overview.attention(CALM, serving)
    assert found == [] if said is None else said in found[0]


def test_another_config_is_no_news_while_an_episode_rolls_one_out() -> None:
    changing = {**SERVES, "EndpointConfigName": "flights-3"}
    assert overview.attention({**CALM, "episode": {"state": "Switch Champion"}}, changing) == []


def test_an_alarm_is_told_with_its_reason() -> None:
    alarm = {"name": "SilenceAlarm", "state": "ALARM", "since": "2026-11-22T12:00:00Z", "reason": "no datapoints"}
    assert overview.attention({**CALM, "alarms": [alarm, {**alarm, "state": "OK"}]}, SERVES) == [
        "SilenceAlarm is in ALARM since 2026-11-22T12:00:00Z: no datapoints"
    ]


def test_status_is_readable_in_every_state() -> None:
    episode = {"episode_id": "flights-1", "state": "Check Pipeline", "age_seconds": 7260, "trigger": "alarm"}
    full = {
        **CALM,
        "episode": {**episode, "trigger_text": "drift_max 0.74"},
        "lock": {"owner": "flights-1", "expires_at": "2026-12-01T00:00:00Z"},
        "analysis": {"verdict": "DRIFTED", "drift_max": 0.74, "worst_feature": "age", "window_end": "t", "rows": 9},
        "evidence": {"rows": 900, "since": "s", "until": "u", "lost": 12.5, "training_dollars": 20.0},
        "month": {"opened": 3, "dollars": 0.25},
        "paused": {"reason": "a fair", "by": "ada", "at": "now"},
        "alarms": [{"name": "DriftAlarm", "state": "ALARM", "since": "t", "reason": "r"}],
        "next": "goes on",
        "attention": ["look"],
    }
    text = "\n".join(words.status(full))
    counted = ("900 labelled rows, s to u, 12.50 of 20 dollars lost", "3 episodes, 0.25 dollars")
    for said in (
        "flights-1, 2 h 1 min old, in Check Pipeline",
        "DRIFTED, 0.74 age, 9 rows",
        "until resumed",
        "look",
        *counted,
    ):
        assert said in text
    assert "none yet" in "\n".join(words.status({**CALM, "champion": None, "next": "", "attention": []}))


def test_the_waterfall_shows_where_the_time_went() -> None:
    spans = [
        {"kind": "state", "name": "Start Pipeline", "start": "2026-11-22T14:00:00Z", "seconds": 10.0, "over": True},
        {"kind": "pipeline", "name": "Train", "start": "2026-11-22T14:00:10Z", "seconds": 30.0, "over": False},
    ]
    first, second = words.waterfall(spans)
    assert first.split() == ["Start", "Pipeline", "10.0", "s", "█" * 10]
    assert second.split() == ["Train", "30.0", "s", "▒" * 30, "…"]
    assert list(words.waterfall([])) == ["nothing of it ran yet"]


@pytest.mark.parametrize(("reason", "told"), [("execution_aborted", True), ("pipeline_failed", False), ("", False)])
def test_of_an_execution_that_was_cut_off_is_told_by_whom(reason: str, told: bool) -> None:
    item = {"status": "CLOSED", "reason": reason, "execution_arn": "arn:1", "task_tokens": {"secret"}}

    class Deployed:
        class ledger:
            @staticmethod
            def episode(_: str) -> dict[str, str]:
                return item

        class executions:
            @staticmethod
            def why(arn: str) -> dict[str, str]:
                return {"error": "StoppedByOperator", "cause": f"{arn}: bad labels (ada)"}

    found = overview.show(Deployed(), "flights-9")  # type: ignore[arg-type]
    assert "task_tokens" not in found
    assert found.get("execution_cause") == ("arn:1: bad labels (ada)" if told else None)


def test_an_unknown_episode_is_refused_by_name() -> None:
    class Deployed:
        class ledger:
            @staticmethod
            def episode(_: str) -> None:
                return None

    with pytest.raises(NotDeployed, match="there is no episode flights-9"):
        overview.show(Deployed(), "flights-9")  # type: ignore[arg-type]
