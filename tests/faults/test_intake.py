"""Rows F01 to F19: what events open, and what they don't. A test's name begins with its row's id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from control_plane import ALARM, NOW, QUALITY_ALARM, trigger
from whole_loop import Loop, event

from retrain.core.errors import Throttled
from retrain.core.values import Episode
from retrain.core.window import DAY, HOUR

MINUTE = timedelta(minutes=1)


def test_F01_the_same_alarm_twice_is_one_execution(loop: Loop) -> None:
    assert loop.alarm(event("alarm-drift"))["action"] == "opened"
    assert loop.alarm(event("alarm-duplicate")) == {"action": "ignored", "reason": "duplicate"}
    assert loop.machine.starts == 1


def test_F02_the_same_alarm_at_the_same_time_is_opened_once(ledger: Any) -> None:
    with ThreadPoolExecutor(8) as openers:
        answers = list(openers.map(lambda _: ledger.open(trigger(), (NOW, NOW), NOW + HOUR), range(8)))
    assert [answer for answer in answers if isinstance(answer, str)] == ["known"] * 7


def test_F03_an_alarm_older_than_a_known_change_of_state_is_stale(loop: Loop) -> None:
    loop.alarm(event("alarm-ok", NOW + 10 * MINUTE))
    assert loop.alarm(event("alarm-drift"))["reason"] == "stale"


def test_F04_a_flapping_alarm_is_one_episode_until_the_cooldown_is_over(loop: Loop) -> None:
    episode = loop.opened()
    for minute in range(1, 10):
        loop.alarm(event("alarm-ok", NOW + (2 * minute - 1) * MINUTE))
        assert loop.alarm(event("alarm-drift", NOW + 2 * minute * MINUTE))["reason"] == "episode_open"
    loop.close(episode, outcome="champion_kept")
    assert loop.alarm(event("alarm-drift", NOW + 30 * MINUTE))["reason"] == "cooldown"
    assert loop.alarm(event("alarm-drift", NOW + 61 * MINUTE))["action"] == "opened"


def test_F05_an_alarm_during_an_episode_is_counted_on_it(loop: Loop) -> None:
    episode = loop.opened()
    assert loop.alarm(event("alarm-drift", NOW + MINUTE))["reason"] == "episode_open"
    assert loop.item(episode)["occurrences"] == 2


def test_F06_the_second_of_two_alarms_in_a_second_is_named_on_the_episode(loop: Loop) -> None:
    episode = loop.opened()
    other = event("alarm-quality", NOW)
    assert loop.alarm(other)["reason"] == "episode_open"
    assert loop.item(episode)["also_raised_by"] == {f"{QUALITY_ALARM}@2013-04-01T00:00:41.318Z"}


def test_F07_an_ok_is_ignored_and_ends_no_episode(loop: Loop) -> None:
    episode = loop.opened()
    assert loop.alarm(event("alarm-ok", NOW + MINUTE))["reason"] == "not_alarm"
    assert loop.item(episode)["status"] == "OPEN"
    assert loop.start(episode)["status"] == "started"


def test_F08_insufficient_data_retrains_nothing(loop: Loop) -> None:
    assert loop.alarm(event("alarm-insufficient-data"))["reason"] == "insufficient_data"
    assert loop.machine.starts == 0


def test_F09_an_alarm_that_only_begins_like_ours_is_refused(loop: Loop) -> None:
    assert loop.alarm(event("alarm-drift", resources=[f"{ALARM}-evil"]))["reason"] == "unknown_alarm"
    assert loop.machine.starts == 0


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "text",
        {"source": ["aws.cloudwatch"]},
        event("alarm-malformed"),
        event("alarm-drift", time="9999-12-31T23:59:59-12:00"),
    ],
)
def test_F10_a_malformed_event_is_refused_once_and_kept(broken: Any, loop: Loop) -> None:
    assert loop.alarm(broken)["action"] == "refused"
    assert len(loop.fakes["queue"].kept) == 1


@pytest.mark.parametrize("foreign", [{"account": "123456789012"}, {"region": "eu-west-1"}, {"source": "aws.ec2"}])
def test_F11_an_event_from_elsewhere_is_refused(foreign: dict[str, str], loop: Loop) -> None:
    assert loop.alarm(event("alarm-drift", **foreign))["reason"] == "foreign_source"


@pytest.mark.parametrize(
    ("name", "reason"), [("alarm-composite", "unsupported_alarm_kind"), ("alarm-contributor", "foreign_source")]
)
def test_F12_alarms_of_other_kinds_are_refused(name: str, reason: str, loop: Loop) -> None:
    assert loop.alarm(event(name)) == {"action": "refused", "reason": reason}


def test_F13_an_alarm_that_was_set_by_hand_is_an_alarm_and_uses_no_evidence_twice(loop: Loop) -> None:
    seen = {"window_start": "2013-03-01T00:00:00Z", "window_end": "2013-04-01T00:00:00Z"}
    loop.ledger.record_analysis("flights", seen, NOW)
    loop.close(loop.opened(), outcome="champion_kept")
    by_hand = event("alarm-drift", NOW + 2 * HOUR)
    by_hand["detail"]["state"]["reason"] = "tried by hand"
    answer = loop.alarm(by_hand)
    item = loop.ledger.episode(answer["episode_id"]) or {}
    assert (item["trigger_text"], item["window_start"]) == ("tried by hand", "2013-04-01T01:00:41.318Z")


def test_F14_a_replayed_event_is_too_old(loop: Loop) -> None:
    assert loop.alarm(event("alarm-drift", time="2013-04-02T06:00:00Z"))["reason"] == "too_old"


@pytest.mark.parametrize("after", [False, True])
def test_F15_F16_a_start_that_is_throttled_or_whose_answer_is_lost_is_one_execution(after: bool, loop: Loop) -> None:
    loop.breaks("machine.start", 1, after=after)
    with pytest.raises(Throttled):
        loop.alarm(event("alarm-drift"))
    assert loop.alarm(event("alarm-drift"))["action"] == "opened"
    assert len(loop.machine.inputs) == 1


def test_F17_an_execution_that_is_over_leaves_its_episode_to_the_sweep_which_tells(loop: Loop) -> None:
    loop.machine.status = "FAILED"
    assert loop.alarm(event("alarm-drift"))["reason"] == "orphaned"
    loop.machine.ended[trigger().episode_id] = ("FAILED", NOW)
    assert loop.sweep(NOW + 5 * MINUTE)["closed"] == [trigger().episode_id]
    assert "FAILED" in loop.topic.messages[-1][0]


@pytest.mark.parametrize("operation", ["dynamodb.transact_get_items", "dynamodb.transact_write_items"])
def test_F18_without_a_ledger_nothing_starts(operation: str, loop: Loop) -> None:
    loop.breaks(operation, 99)
    with pytest.raises(Throttled):
        loop.alarm(event("alarm-drift"))
    assert loop.machine.starts == 0


def test_F19_the_switch_that_is_off_ignores_every_alarm(loop: Loop) -> None:
    assert loop.alarm(event("alarm-drift"), enabled=False)["reason"] == "disabled"
    assert loop.machine.starts == 0


def test_F19_a_month_whose_budget_is_spent_opens_nothing_more_and_tells_once(loop: Loop) -> None:
    for number, at in enumerate((NOW, NOW + 3 * HOUR, NOW + 6 * HOUR)):
        answer = loop.alarm(event("alarm-drift", at), monthly_episodes=1)
        if number == 0:
            episode = Episode(answer["episode_id"], "flights", loop.book.lock("flights")["fence"], bootstrap=False)
            loop.close(episode, outcome="champion_kept")
        else:
            assert answer == {"action": "ignored", "reason": "budget_spent"}
    assert [subject for subject, _ in loop.topic.messages if "budget" in subject] == [
        "flights: the month's budget is spent"
    ]
    assert loop.machine.starts == 1
    assert loop.alarm(event("alarm-drift", NOW + 31 * DAY), monthly_episodes=1)["action"] == "opened"
