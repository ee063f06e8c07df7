"""The protocol, every way that it can go: exhaustively where worlds are small, at random where they are large.

`make protocol` prints what is explored, and which seeded bugs are found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from control_plane import ALARM, NOW, FakeBus, FakeMachine, FakeQueue, FakeStore, FakeTopic, opening_rules, trigger
from explorations import CAUSES, EXPLORATIONS, LATER, SEEDED, alarm, beginning, explored, found, may
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_table import MemoryTable
from protocol import Explorer, Functions, Violation, check, check_end
from whole_loop import event

from retrain.aws.ledger import Ledger
from retrain.core.errors import Refused
from retrain.core.values import Episode
from retrain.episode import alarm as front_door

QUICK = {
    "two alarms, one of them twice",
    "an episode that nobody starts, and an alarm later",
    "an approval, and functions that die",
    "an approval when time is over",
    "a roll-out that dies, is aborted and rolls back",
    "a roll-out of which an attempt goes on unseen",
    "an abort that nobody hears of",
    "labels that come late or never",
    "a restoration that dies and rolls back",
    "two people who disagree",
    "two people, of whom each approves, and functions that die",
    "one of two people, before the question",
    "an adoption that is aborted",
}
HOUR = timedelta(hours=1)


def marked(names: Any, name_of: Callable[[str], str] = lambda name: name) -> list[Any]:
    """Those whose exploration takes long are slow."""
    return [pytest.param(one, marks=[] if name_of(one) in QUICK else [pytest.mark.slow]) for one in names]


@pytest.mark.parametrize("name", marked(EXPLORATIONS))
def test_the_invariants_hold_in_every_world_that_can_follow(name: str) -> None:
    assert explored(name).ends > 1


@pytest.mark.parametrize("bug", marked(SEEDED, lambda bug: SEEDED[bug][1]))
def test_a_bug_in_the_protocol_is_found(bug: str) -> None:
    assert found(bug)


FUNCTIONS = Functions(CAUSES)
ALL = {
    "crashes": 3,
    "zombies": 1,
    "duplicates": 2,
    "lost": 1,
    "aborts": 1,
    "rollbacks": 1,
    "timeouts": 1,
    "approvals": 1,
    "rejections": 1,
}


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_the_invariants_hold_on_long_ways_on_which_everything_goes_wrong(seed: int) -> None:
    """Three alarms, two hours, and all that may happen, in an order that is drawn."""
    random, explorer, way = Random(seed), Explorer(FUNCTIONS), []
    world = may(beginning(alarm(), alarm("alarm-quality"), alarm("alarm-quality", LATER)), **ALL)
    try:
        for _ in range(400):
            check(world)
            moves = list(explorer.moves(world))
            if not moves:
                break
            name, make = random.choice(moves)
            way.append(name)
            world = make()
        check_end(explorer.at_rest(world))
    except Violation as violation:
        pytest.fail("\n".join([str(violation), *way]))


# The storm -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_storm_of_alarms_opens_one_episode_an_endpoint_and_accounts_for_every_event() -> None:
    """10,000 events for 200 endpoints, in any order, some of them the same."""
    random, topic = Random(0), FakeTopic()
    ledger, machine, store = Ledger(MemoryTable(), "ledger"), FakeMachine(), FakeStore()
    events = []
    for endpoint in range(200):
        for number in range(40):
            one = event("alarm-drift", NOW + timedelta(seconds=number))
            events += [(f"model-{endpoint}", one)] * (2 if number < 10 else 1)
    random.shuffle(events)
    assert len(events) == 10_000
    became: Counter[str] = Counter()
    for name, one in events:
        services: Any = {"rejected": FakeQueue(), "bus": FakeBus()}
        answer = front_door.answer(
            one,
            rules=opening_rules(endpoint_name=name),
            **{"ledger": ledger, "machine": machine, "topic": topic, "store": store, **services},
        )
        became[answer.get("reason", answer["action"])] += 1
    assert became["opened"] == len(machine.inputs) == machine.starts == 200
    assert set(became) <= {"opened", "duplicate", "episode_open", "stale"}
    assert became.total() == 10_000
    for number in range(200):
        [item] = ledger.episodes(f"model-{number}")
        assert item["status"] == "OPEN"
        assert ledger.lock(f"model-{number}")["owner"] == item["pk"].removeprefix("EPISODE#")


# The table -----------------------------------------------------------------------------------------------------------

WINDOW = (NOW - HOUR, NOW)


def acts(random: Random) -> tuple[Callable[[Ledger, Any], Any], Any]:
    """Something to do with a ledger, and with what."""
    at = NOW + random.choice([0, 1, 2]) * HOUR
    cause = trigger(at, random.choice([ALARM, f"{ALARM}-2"]))
    episode = Episode(cause.episode_id, "flights", random.choice([1, 2, 3]), bootstrap=False)
    closing = {"closed_at": at, "rearm_at": at + HOUR, "outcome": "failed", "reason": "r", "detail": "d"}
    span = (at - HOUR, at)
    return random.choice(
        [
            (lambda ledger, _: ledger.open(cause, WINDOW, at + HOUR), cause),
            (lambda ledger, _: ledger.situation(cause), cause),
            (lambda ledger, _: ledger.count_occurrence(cause, episode.episode_id), cause),
            (lambda ledger, _: ledger.record_execution(episode, "arn", at + HOUR), episode),
            (lambda ledger, _: ledger.note(episode, seals={"a": "b"}, share=0.5), episode),
            (lambda ledger, _: ledger.keep_token(episode, random.choice("tu")), episode),
            (lambda ledger, _: ledger.decide(episode.episode_id, "approved", "ada", at), episode),
            (lambda ledger, _: ledger.close(episode, rolled_out="", **closing), episode),
            (lambda ledger, _: ledger.switch_champion(episode, {"seals": {}, "since": "x"}), episode),
            (lambda ledger, _: ledger.keep_rows(episode, span, "folder", "0" * 64), episode),
            (lambda ledger, _: (ledger.kept_rows("flights"), ledger.lock("flights")), episode),
            (lambda ledger, _: ledger.episodes("flights", 2), episode),
            (lambda ledger, _: ledger.note_transition("flights", ALARM, at), at),
            (lambda ledger, _: ledger.record_analysis("flights", {"window_end": "x"}, at), at),
        ]
    )


def outcome_of(act: Callable[[Ledger, Any], Any], ledger: Ledger, what: Any) -> Any:
    try:
        return act(ledger, what)
    except (Refused, Exception) as error:  # noqa: BLE001 - the two have to fail alike
        return f"{type(error).__name__}: {error}"


@pytest.mark.slow
def test_the_table_in_memory_answers_as_dynamodb_does(dynamodb: Any, seconds: Any) -> None:
    random, memory = Random(1), MemoryTable()
    theirs, ours = Ledger(dynamodb, "ledger", seconds), Ledger(memory, "ledger", seconds)
    outcomes = Counter[str]()
    for number in range(600):
        act, what = acts(random)
        expected, answered = outcome_of(act, theirs, what), outcome_of(act, ours, what)
        assert answered == expected, number
        outcomes[str(expected)[:20]] += 1
    assert len(outcomes) > 12, "too little of it happened"
    held = {(item["pk"]["S"], item["sk"]["S"]): item for item in dynamodb.scan(TableName="ledger")["Items"]}
    assert {key: _sorted(item) for key, item in memory.items.items()} == {
        key: _sorted(item) for key, item in held.items()
    }


def _sorted(item: Any) -> str:
    """The item, with its sets in order."""
    sets = {name: {"SS": sorted(wire["SS"])} for name, wire in item.items() if "SS" in wire}
    return json.dumps({**item, **sets}, sort_keys=True)


def test_a_world_is_the_same_in_whatever_order_its_events_came() -> None:
    one, other = alarm(), alarm("alarm-quality")
    worlds = [beginning(*events) for events in ((one, other), (other, one))]
    assert len({world.key() for world in worlds}) == 1
    assert worlds[0].key() != replace(worlds[0], pending=(one,)).key()
