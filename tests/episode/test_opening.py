"""What becomes of a trigger in a situation, and what it costs to find out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import ALARM, NOW, QUALITY_ALARM, crowned, opening_rules, trigger

from retrain.aws.ledger import Ledger
from retrain.core import clock
from retrain.core.errors import Throttled
from retrain.core.values import Situation, Trigger
from retrain.episode.opening import decide

EVENTS = Path(__file__).parents[2] / "events"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTHING = Situation(
    episode=None, lock={}, champion=None, analysis=None, quality=None, rearm_at=None, last_transition=None
)
CHAMPION = {"since": "2013-03-01T00:00:00Z"}
BOOTSTRAP = trigger(cause="bootstrap", bootstrap=True)


QUALITY = replace(trigger(cause=QUALITY_ALARM), evidence="QUALITY")
QUIET = {"window_start": "2013-01-01T00:00:00Z", "window_end": "2013-01-02T00:00:00Z"}


STANDS = {**QUIET, "verdict": "STABLE"}
WEEK = {"cycle_hours": 168, "label_delay_hours": 24}
KEPT: dict[str, Any] = {"champion": {**CHAMPION, "fence": 3}, "lock": {"fence": 4}}
LATE = {**QUIET, "needed_rows": 100, "needed_reach": 0.8}
SPARSE = {**QUIET, "window_start": "2013-03-31T00:00:00Z", "window_end": "2013-04-01T00:00:00Z", "rows": 300}
HARM = {"window_start": "2013-03-31T00:00:00Z", "window_end": "2013-04-01T00:00:00Z", "opens": "harm"}
STABLE: dict[str, Any] = {
    "verdict": "STABLE",
    "window_start": "2013-03-30T20:00:00Z",
    "window_end": "2013-03-31T20:00:00Z",
}
STABLE |= {"needed_reach": 0.8}


def held(owner: str = "another", until: datetime = NOW + HOUR) -> dict[str, Any]:
    return {"owner": owner, "fence": 7, "expires_at": clock.epoch(until)}


def episode(**fields: Any) -> dict[str, Any]:
    return {"status": "OPEN", "fence": 1, "bootstrap": False, **fields}


def analysis(start: datetime, end: datetime) -> dict[str, Any]:
    return {"window_start": clock.render(start), "window_end": clock.render(end), "report_uri": "s3://report"}


@pytest.mark.parametrize(
    ("asked", "known", "expected"),
    [
        (trigger(), {}, "open"),
        (trigger(), {"champion": CHAMPION}, "open"),
        (BOOTSTRAP, {}, "open"),
        (BOOTSTRAP, {"champion": CHAMPION}, "champion_exists"),
        # The trigger's own episode.
        (trigger(), {"episode": episode(), "lock": held(trigger().episode_id)}, "start"),
        (trigger(), {"episode": episode(), "last_transition": clock.millis(NOW) + 1}, "start"),
        (trigger(), {"episode": episode(execution_arn="arn")}, "duplicate"),
        (trigger(), {"episode": episode(status="CLOSED")}, "duplicate"),
        (BOOTSTRAP, {"episode": episode(execution_arn="arn"), "champion": CHAMPION}, "duplicate"),
        # News that is none.
        (trigger(), {"last_transition": clock.millis(NOW)}, "open"),
        (trigger(), {"last_transition": clock.millis(NOW) + 1}, "stale"),
        (replace(trigger(), suppressed=True), {}, "suppressed"),
        (replace(trigger(), told_at=NOW + 24 * HOUR), {}, "open"),
        (replace(trigger(), told_at=NOW + 25 * HOUR), {}, "too_old"),
        (trigger(), {"analysis": analysis(NOW, NOW + 25 * HOUR)}, "too_old"),
        # The cool-down, which a bootstrap does not wait for.
        (trigger(), {"rearm_at": NOW}, "open"),
        (trigger(), {"rearm_at": NOW + HOUR}, "cooldown"),
        (BOOTSTRAP, {"rearm_at": NOW + HOUR}, "open"),
        # The month's budget, in episodes and in dollars, which a bootstrap does not count on.
        (trigger(), {"opened": 30, "spent": 99.99}, "open"),
        (trigger(), {"opened": 31}, "budget_spent"),
        (trigger(), {"spent": 100.0}, "budget_spent"),
        (BOOTSTRAP, {"opened": 31, "spent": 100.0}, "open"),
        # An alarm whose window of 24 hours can't have its rows labelled when it has grown for 48 more.
        (trigger(), {"analysis": SPARSE, "quality": {**QUIET, "needed_rows": 901}}, "too_few_rows"),
        (trigger(), {"analysis": SPARSE, "quality": {**QUIET, "needed_rows": 900}}, "open"),
        (
            trigger(),
            {"analysis": SPARSE, "quality": {**QUIET, "needed_rows": 451, "label_coverage": 0.5}},
            "too_few_rows",
        ),
        (
            trigger(),
            {"analysis": SPARSE, "quality": {**LATE, "needed_rows": 601, "label_delay_hours": 24}},
            "too_few_rows",
        ),
        (trigger(), {"analysis": SPARSE, "quality": {**LATE, "needed_rows": 600, "label_delay_hours": 24}}, "open"),
        (trigger(), {"analysis": SPARSE, "quality": QUIET}, "open"),
        (trigger(), {"analysis": SPARSE, "quality": {**LATE, "label_delay_hours": 52}}, "open"),
        (trigger(), {"analysis": SPARSE, "quality": {**LATE, "label_delay_hours": 53}}, "too_few_rows"),
        (replace(trigger(), asked="retrain"), {"analysis": SPARSE, "quality": {**QUIET, "needed_rows": 901}}, "open"),
        # Drift that lasts, after an episode has left the champion where it is and labels deny that it is worse.
        (trigger(), {**KEPT, "rearm_at": NOW, "quality": STANDS}, "judged_already"),
        (trigger(), {**KEPT, "rearm_at": NOW - 23 * HOUR, "quality": STANDS}, "judged_already"),
        (trigger(), {**KEPT, "rearm_at": NOW - 24 * HOUR, "quality": STANDS}, "open"),
        (trigger(), {**KEPT, "rearm_at": NOW - 191 * HOUR, "quality": {**STANDS, **WEEK}}, "judged_already"),
        (trigger(), {**KEPT, "rearm_at": NOW - 192 * HOUR, "quality": {**STANDS, **WEEK}}, "open"),
        (trigger(), {**KEPT, "quality": STANDS}, "open"),
        (trigger(), {**KEPT, "rearm_at": NOW, "champion": {**CHAMPION, "fence": 4}, "quality": STANDS}, "open"),
        (trigger(), {**KEPT, "rearm_at": NOW, "champion": CHAMPION, "quality": STANDS}, "open"),
        (trigger(), {**KEPT, "rearm_at": NOW, "quality": QUIET}, "open"),
        (QUALITY, {**KEPT, "rearm_at": NOW, "quality": STANDS}, "open"),
        # What errors cost a month, where somebody says so, is held against a training: of alarms on quality.
        (QUALITY, {"quality": {**QUIET, "dollars_a_month": 19.0, "training_dollars": 20.0}}, "not_worth_it"),
        (QUALITY, {"quality": {**QUIET, "dollars_a_month": 20.0, "training_dollars": 20.0}}, "open"),
        (QUALITY, {"quality": QUIET}, "open"),
        (trigger(), {"quality": {**QUIET, "dollars_a_month": 0.0, "training_dollars": 20.0}}, "open"),
        # Labels that say the model is as good as it was, where harm alone opens an episode.
        (trigger(), {"analysis": HARM, "quality": STABLE}, "quality_stands"),
        (trigger(), {"analysis": HARM, "quality": {**STABLE, "window_end": "2013-03-31T19:00:00Z"}}, "open"),
        (trigger(), {"analysis": HARM, "quality": {**STABLE, "verdict": "UNDECIDED"}}, "open"),
        (trigger(), {"analysis": {**HARM, "opens": "any"}, "quality": STABLE}, "open"),
        (trigger(), {"analysis": HARM}, "open"),
        (QUALITY, {"analysis": HARM, "quality": STABLE}, "open"),
        (replace(trigger(), asked="retrain"), {"analysis": HARM, "quality": STABLE}, "open"),
        # The lock.
        (trigger(), {"lock": held()}, "episode_open"),
        (BOOTSTRAP, {"lock": held()}, "episode_open"),
        (trigger(), {"lock": held(until=NOW)}, "open"),
        (trigger(), {"lock": {"fence": 7}}, "open"),
        (trigger(), {"lock": held(), "rearm_at": NOW + HOUR}, "cooldown"),
    ],
)
def test_what_becomes_of_a_trigger(asked: Trigger, known: dict[str, Any], expected: str) -> None:
    decided = decide(asked, replace(NOTHING, **known), opening_rules())
    assert expected in {decided.action, decided.reason}
    assert (decided.window is not None) == (expected == "open")


def test_a_switch_that_is_off_ignores_what_it_would_open_and_starts_what_is_open() -> None:
    off = opening_rules(enabled=False)
    assert decide(trigger(), NOTHING, off).reason == "disabled"
    assert decide(trigger(), replace(NOTHING, episode=episode()), off).action == "start"


@pytest.mark.parametrize(
    ("known", "start"),
    [
        ({}, NOW - 10 * DAY),
        ({"champion": {"since": clock.render(NOW - 10 * DAY)}}, NOW - 10 * DAY),
        ({"rearm_at": NOW - 10 * DAY}, NOW - 10 * DAY),
        # The analysis saw what an episode used already: what has come since is the evidence.
        ({"champion": {"since": clock.render(NOW - 9 * DAY)}}, NOW - 9 * DAY),
        ({"rearm_at": NOW - 9 * DAY}, NOW - 9 * DAY),
    ],
)
def test_evidence_is_used_once(known: dict[str, Any], start: datetime) -> None:
    seen = replace(NOTHING, analysis=analysis(NOW - 10 * DAY, NOW - HOUR), **known)
    decided = decide(trigger(), seen, opening_rules())
    assert decided.window is not None
    assert decided.window[0] == start
    assert decided.report_uri == ("s3://report" if start == NOW - 10 * DAY else None)


class Counted:
    """DynamoDB, and which of its operations were asked for."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._dynamodb, name)


@pytest.fixture
def counted(dynamodb: Any) -> Counted:
    return Counted(dynamodb)


@pytest.fixture
def seen(counted: Counted) -> Ledger:
    """A ledger of which every call is counted, with a champion and an analysis."""
    ledger = Ledger(counted, "ledger")
    crowned(ledger)
    ledger.record_analysis("flights", analysis(NOW - DAY, NOW), NOW)
    counted.calls.clear()
    return ledger


def event(name: str = "alarm-drift", **changes: Any) -> dict[str, Any]:
    return {**json.loads((EVENTS / f"{name}.json").read_text()), **changes}


def test_opening_an_episode_takes_three_calls_of_dynamodb(ask: Any, seen: Ledger, counted: Counted, topic: Any) -> None:
    assert ask(event(), seen)["action"] == "opened"
    assert counted.calls == {"transact_get_items": 1, "transact_write_items": 2}  # read, open, mark as started
    [(_, told)] = topic.messages
    assert f"Window   {clock.render(NOW - DAY)} to {clock.render(NOW)}" in told


@pytest.mark.parametrize(
    ("again", "calls"),
    [
        (event(), {"transact_get_items": 1}),
        (event("alarm-quality"), {"transact_get_items": 1, "update_item": 1}),
        (event("alarm-ok"), {"update_item": 1}),
        (event("alarm-unknown"), {}),
    ],
)
def test_what_opens_nothing_takes_less(
    again: Any, calls: dict[str, int], ask: Any, seen: Ledger, counted: Counted
) -> None:
    ask(event(), seen)
    counted.calls.clear()
    ask(again, seen)
    assert counted.calls == calls


class Meddled:
    """A DynamoDB on which somebody else acts between our look and our write, `times` in a row."""

    def __init__(self, dynamodb: Any, times: int, act: Any) -> None:
        self._dynamodb, self.times, self._act = dynamodb, times, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dynamodb, name)

    def transact_write_items(self, **arguments: Any) -> Any:
        if self.times:
            self.times -= 1
            self._act(self.times)
        return self._dynamodb.transact_write_items(**arguments)


def meddling(dynamodb: Any, times: int) -> Ledger:
    """A ledger where other episodes come and go behind one's back."""
    others = Ledger(dynamodb, "ledger")

    def act(number: int) -> None:
        at = NOW - (number + 1) * HOUR
        others.open(trigger(at, f"{ALARM}-{number}"), (at, at), lease_until=at + HOUR / 2)

    return Ledger(Meddled(dynamodb, times, act), "ledger")


def test_a_situation_that_changed_is_looked_at_again(dynamodb: Any, ask: Any) -> None:
    ledger = meddling(dynamodb, 2)
    answer = ask(event(), ledger)
    assert answer["action"] == "opened"
    assert (ledger.episode(answer["episode_id"]) or {})["fence"] == 3


def test_a_situation_that_never_rests_is_throttling(dynamodb: Any, machine: Any, ask: Any) -> None:
    with pytest.raises(Throttled, match="changes too quickly"):
        ask(event(), meddling(dynamodb, 99))
    assert machine.starts == 0
