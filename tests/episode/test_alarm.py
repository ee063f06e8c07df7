"""The front door: which events open an episode."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import ALARM, CLOSING, NOW, crowned, opened, step, trigger

from retrain.core.clock import render
from retrain.core.errors import Throttled
from retrain.core.values import Episode

EVENTS = Path(__file__).parents[2] / "events"


def event(name: str = "alarm-drift", at: str | None = None, **changes: Any) -> dict[str, Any]:
    found = json.loads((EVENTS / f"{name}.json").read_text())
    if at:
        found["time"] = at
        found["detail"]["state"]["timestamp"] = at
    return {**found, **changes}


def test_a_drift_alarm_opens_one_episode_with_one_execution(ask: Any, ledger: Any, machine: Any) -> None:
    answer = ask(event())
    assert answer["action"] == "opened"
    item = ledger.episode(answer["episode_id"])
    assert item["status"] == "OPEN"
    assert item["execution_arn"] == answer["execution_arn"]
    assert list(machine.inputs) == [answer["episode_id"]]


def test_the_execution_input_is_byte_identical_whenever_it_is_sent(ask: Any, machine: Any) -> None:
    machine.fails = 1
    with pytest.raises(Throttled):
        ask(event())
    assert ask(event())["action"] == "opened"
    [text] = machine.inputs.values()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alarm-ok", {"action": "ignored", "reason": "not_alarm"}),
        ("alarm-insufficient-data", {"action": "ignored", "reason": "insufficient_data"}),
        ("alarm-unknown", {"action": "refused", "reason": "unknown_alarm"}),
        ("alarm-foreign-account", {"action": "refused", "reason": "foreign_source"}),
        ("alarm-contributor", {"action": "refused", "reason": "foreign_source"}),
        ("alarm-composite", {"action": "refused", "reason": "unsupported_alarm_kind"}),
        ("alarm-malformed", {"action": "refused", "reason": "malformed_event"}),
        ("registry-approved", {"action": "refused", "reason": "foreign_source"}),
    ],
)
def test_events_that_open_nothing_say_why(name: str, expected: dict[str, str], ask: Any, machine: Any) -> None:
    assert ask(event(name)) == expected
    assert machine.starts == 0


def test_a_quality_alarm_opens_an_episode_that_says_what_decayed_on_the_window_that_has_labels(
    ask: Any, ledger: Any
) -> None:
    crowned(ledger)
    window = {"window_start": "2013-03-01T00:00:00Z", "window_end": "2013-03-31T00:00:00Z"}
    ledger.record_analysis("flights", {"window_start": "2013-03-02T00:00:00Z", "window_end": render(NOW)}, NOW)
    found = {**window, "verdict": "DRIFTED", "detail": "rmse is 22.04, at most 13.5 is allowed"}
    ledger.record_analysis("flights", {**found, "analysed_at": "2013-04-01T00:00:00Z"}, NOW, of="QUALITY")
    answer = ask(event("alarm-quality"), window=timedelta(hours=12))  # shorter than the delay of the labels
    item = ledger.episode(answer["episode_id"])
    assert {"window_start": item["window_start"], "window_end": item["window_end"]} == window
    assert item["trigger_text"].startswith(
        "The quality of the answers decayed: rmse is 22.04, at most 13.5 is allowed. Threshold Crossed"
    )


def test_a_drift_alarm_opens_an_episode_that_says_which_look_saw_it(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    said = {"verdict": "DRIFTED", "detail": "seen over 7 days: age is off by 0.35, where 0.3 is allowed"}
    ledger.record_analysis("flights", {"window_start": "2013-03-31T00:00:00Z", "window_end": render(NOW), **said}, NOW)
    text = ledger.episode(ask(event("alarm-drift"))["episode_id"])["trigger_text"]
    assert text.startswith("Drift, seen over 7 days: age is off by 0.35, where 0.3 is allowed. Threshold Crossed")


def test_the_second_of_two_alarms_on_one_decay_is_an_occurrence(ask: Any, ledger: Any) -> None:
    opened_by = ask(event("alarm-drift"))
    assert ask(event("alarm-quality"))["reason"] == "episode_open"
    assert ledger.episode(opened_by["episode_id"])["occurrences"] == 2


def test_a_refused_event_is_kept_and_people_are_told_once(ask: Any, rejected: Any, topic: Any) -> None:
    ask(event("alarm-unknown"))
    assert [reason for _, reason in rejected.kept] == ["unknown_alarm"]
    assert len(topic.messages) == 1


def test_a_refusal_stands_even_when_nobody_can_be_told(ask: Any, rejected: Any, topic: Any) -> None:
    topic.down = True
    assert ask(event("alarm-unknown"))["action"] == "refused"
    assert len(rejected.kept) == 1


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "text",
        {**event(), "detail": None},
        {**event(), "detail": {"state": {"value": "ALARM"}}},
        {**event(), "detail": {"state": {"value": "ALARM", "timestamp": "soon"}}},
        {**event(), "detail": {"state": {"value": "ALARM", "timestamp": "2013-04-01T00:00:41"}}},
        {**event(), "resources": []},
        {**event(), "resources": [ALARM, ALARM]},
        {**event(), "resources": None},
        {**event(), "time": 7},
        {**event(), "time": "9999-12-31T23:59:59-05:00"},
        event(at="0001-01-01T00:00:00+05:00"),
        event(at="9999-06-01T00:00:00Z"),
        {**event(), "time": "2013-03-31T23:00:00Z"},  # told of before it happened
    ],
)
def test_a_malformed_event_is_refused_and_burns_no_retry(broken: Any, ask: Any, rejected: Any) -> None:
    assert ask(broken) == {"action": "refused", "reason": "malformed_event"}
    assert len(rejected.kept) == 1


@pytest.mark.parametrize("source", [["aws.cloudwatch"], {"of": "aws.cloudwatch"}, None, 7])
def test_an_event_of_a_source_that_is_no_text_is_refused(source: Any, ask: Any) -> None:
    assert ask(event(source=source)) == {"action": "refused", "reason": "foreign_source"}


def test_an_alarm_that_is_dated_ahead_does_not_make_later_ones_stale(ask: Any) -> None:
    ahead = event("alarm-ok")
    ahead["detail"]["state"]["timestamp"] = "2014-04-01T00:00:00Z"
    assert ask(ahead) == {"action": "refused", "reason": "malformed_event"}
    assert ask(event())["action"] == "opened"


def test_extra_fields_and_a_megabyte_of_reason_are_accepted_and_cut(ask: Any, ledger: Any) -> None:
    huge = event(extra={"more": 1})
    huge["detail"]["state"]["reason"] = "x" * 1_000_000
    answer = ask(huge)
    assert answer["action"] == "opened"
    assert len(ledger.episode(answer["episode_id"])["trigger_text"]) < 1000


def test_the_same_alarm_twice_is_one_execution(ask: Any, machine: Any) -> None:
    ask(event())
    assert ask(event("alarm-duplicate")) == {"action": "ignored", "reason": "duplicate"}
    assert machine.starts == 1


def test_an_alarm_older_than_the_newest_known_transition_is_stale(ask: Any) -> None:
    ask(event("alarm-ok", at="2013-04-01T00:10:00Z"))
    assert ask(event(at="2013-04-01T00:05:00Z")) == {"action": "ignored", "reason": "stale"}


def test_another_alarm_during_an_episode_is_counted_on_it(ask: Any, ledger: Any) -> None:
    episode = ask(event())["episode_id"]
    later = event(at="2013-04-01T00:20:00Z")
    assert ask(later) == {"action": "ignored", "reason": "episode_open"}
    assert ask(later) == {"action": "ignored", "reason": "episode_open"}
    assert ledger.episode(episode)["occurrences"] == 2


def test_two_alarms_in_the_same_second_open_one_episode(ask: Any, ledger: Any, machine: Any) -> None:
    both = frozenset({ALARM, f"{ALARM}-2"})
    first = ask(event(), alarm_arns=both)
    assert ask(event(resources=[f"{ALARM}-2"]), alarm_arns=both)["reason"] == "episode_open"
    assert ledger.episode(first["episode_id"])["occurrences"] == 2
    assert len(machine.inputs) == 1


def test_flapping_within_the_cooldown_opens_nothing(ask: Any, ledger: Any) -> None:
    episode = opened(ledger)
    end = NOW + timedelta(minutes=30)
    ledger.close(episode, closed_at=end, rearm_at=end + CLOSING.cooldown, outcome="champion_kept", reason="", detail="")
    assert ask(event(at="2013-04-01T01:00:00Z")) == {"action": "ignored", "reason": "cooldown"}
    assert ask(event(at="2013-04-01T02:00:00Z"))["action"] == "opened"


def test_a_replayed_event_is_too_old(ask: Any, ledger: Any) -> None:
    ledger.record_analysis("flights", {"window_end": "2013-04-09T00:00:00Z"}, NOW + timedelta(days=8))
    assert ask(event()) == {"action": "ignored", "reason": "too_old"}


def test_an_event_that_was_delivered_a_day_late_is_too_old(ask: Any) -> None:
    assert ask(event(time="2013-04-02T06:00:00Z")) == {"action": "ignored", "reason": "too_old"}


def test_the_kill_switch_ignores_every_alarm(ask: Any) -> None:
    assert ask(event(), enabled=False) == {"action": "ignored", "reason": "disabled"}
    assert ask(event("bootstrap-requested"), enabled=False) == {"action": "ignored", "reason": "disabled"}


def test_a_suppressed_alarm_opens_nothing(ask: Any) -> None:
    suppressed = event()
    suppressed["detail"]["state"]["actionsSuppressedBy"] = "WaitPeriod"
    assert ask(suppressed) == {"action": "ignored", "reason": "suppressed"}


def test_the_bootstrap_opens_an_episode_without_a_champion_only(ask: Any, ledger: Any, machine: Any) -> None:
    answer = ask(event("bootstrap-requested"))
    assert answer["action"] == "opened"
    assert json.loads(machine.inputs[answer["episode_id"]])["episode"]["bootstrap"] is True


def test_a_bootstrap_with_a_champion_is_ignored(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    assert ask(event("bootstrap-requested")) == {"action": "ignored", "reason": "champion_exists"}


def test_a_bootstrap_of_another_endpoint_is_refused(ask: Any) -> None:
    other = event("bootstrap-requested", detail={"endpoint_name": "other"})
    assert ask(other) == {"action": "refused", "reason": "unknown_endpoint"}


def test_the_window_is_the_one_whose_drift_raised_the_alarm(ask: Any, ledger: Any) -> None:
    analysis = {"window_start": "2013-03-05T00:00:00Z", "window_end": "2013-04-01T00:00:00Z"}
    ledger.record_analysis("flights", analysis, NOW)
    item = ledger.episode(ask(event())["episode_id"])
    assert (item["window_start"], item["window_end"]) == ("2013-03-05T00:00:00Z", "2013-04-01T00:00:00Z")


def test_without_a_recent_analysis_the_window_obeys_the_rearming_rule(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    item = ledger.episode(ask(event())["episode_id"])
    assert item["window_end"] == "2013-04-01T00:00:41.318Z"
    assert item["window_start"] == "2013-03-01T00:00:00Z"


def test_an_execution_that_ended_and_left_its_episode_open_is_an_orphan(ask: Any, ledger: Any, machine: Any) -> None:
    machine.status = "FAILED"
    assert ask(event()) == {"action": "refused", "reason": "orphaned"}
    assert ledger.open_episode_id("flights") == trigger().episode_id  # until the sweep closes it


def test_an_alarm_handler_that_died_after_starting_converges(ask: Any, ledger: Any, machine: Any) -> None:
    cause = trigger()
    assert not isinstance(ledger.open(cause, (NOW, NOW), NOW + timedelta(hours=1)), str)
    assert ask(event())["action"] == "opened"
    assert ask(event())["reason"] == "duplicate"
    assert step(opened_again(ledger)).episode.fence == 1


def opened_again(ledger: Any) -> Any:
    from retrain.core.values import Episode

    return Episode(trigger().episode_id, "flights", ledger.lock("flights")["fence"], False)


def test_enough_evidence_opens_an_episode_with_its_own_window(ask: Any, ledger: Any, topic: Any) -> None:
    crowned(ledger)
    answer = ask(event("evidence-sufficient"))
    assert answer["action"] == "opened"
    item = ledger.episode(answer["episode_id"])
    assert (item["trigger"], item["cause"], item["asked_by"]) == ("retrain", "evidence", "evidence")
    assert (item["window_start"], item["window_end"]) == ("2013-03-30T00:00:00Z", "2013-03-31T00:00:00Z")
    assert item["trigger_text"] == "1812 labelled rows that nobody has learned from"
    assert topic.messages[-1][0] == "flights: enough labels came, retraining begins"
    again = event("evidence-sufficient", time="2013-04-01T01:00:00Z")
    assert ask(again) == {"action": "ignored", "reason": "episode_open"}
    assert ledger.episode(answer["episode_id"])["occurrences"] == 1


def test_evidence_of_no_window_is_malformed(ask: Any, rejected: Any) -> None:
    wrong = event("evidence-sufficient")
    wrong["detail"]["window_end"] = "2013-04-02T00:00:00Z"
    assert ask(wrong) == {"action": "refused", "reason": "malformed_event"}


def test_no_more_episodes_begin_in_a_month_than_its_budget_and_people_are_told_once(
    ask: Any, ledger: Any, topic: Any
) -> None:
    crowned(ledger)
    for day in (1, 2):
        answer = ask(event("evidence-sufficient", time=f"2013-04-0{day}T00:00:00Z"), monthly_episodes=2)
        fence = int(ledger.episode(answer["episode_id"])["fence"])
        closing = {"closed_at": NOW, "rearm_at": NOW, "outcome": "champion_kept", "reason": "", "detail": ""}
        ledger.close(Episode(answer["episode_id"], "flights", fence, bootstrap=False), **closing)
    for day in (3, 4):
        late = event("evidence-sufficient", time=f"2013-04-0{day}T00:00:00Z")
        assert ask(late, monthly_episodes=2) == {"action": "ignored", "reason": "budget_spent"}
    told = [subject for subject, _ in topic.messages if "budget" in subject]
    assert told == ["flights: the month's budget is spent"]
    [text] = [text for subject, text in topic.messages if "budget" in subject]
    assert "2 episodes were opened (MonthlyEpisodes 2)" in text
    following = event("evidence-sufficient", time="2013-05-01T00:00:00Z")
    assert ask(following, monthly_episodes=2)["action"] == "opened"


def test_a_span_that_a_person_excludes_is_never_learned_from_again(ask: Any, ledger: Any, topic: Any) -> None:
    span = {"window_start": "2013-03-05T10:00:00Z", "window_end": "2013-03-05T18:00:00Z"}
    assert ask(event("exclusion-requested")) == {"action": "done", "status": "excluded", **span}
    [excluded] = ledger.exclusions("flights")
    assert excluded["start"] == "2013-03-05T10:00:00Z"
    assert excluded["why"].startswith("the feed was flooded (arn:aws:iam::")
    assert topic.messages[-1][0] == "flights: a window was excluded"


def test_an_episode_s_window_is_excluded_by_its_name(ask: Any, ledger: Any) -> None:
    crowned(ledger)
    known = ask(event())["episode_id"]
    asked = event("exclusion-requested")
    asked["detail"] = {"endpoint_name": "flights", "reason": "flooded", "episode": known}
    assert ask(asked)["action"] == "done"
    [excluded] = ledger.exclusions("flights")
    assert excluded["start"] == ledger.episode(known)["window_start"]
    asked["detail"]["episode"] = "nobody"
    assert ask(asked) == {"action": "refused", "reason": "unknown_episode"}
    asked["detail"] = {"endpoint_name": "flights", "reason": "flooded"}
    assert ask(asked) == {"action": "refused", "reason": "malformed_event"}
