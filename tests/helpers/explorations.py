"""What is explored of the protocol, and the bugs that have to be found in it: `make protocol`.

Each exploration begins with a world, some events that are still to be heard, and how often what may go wrong.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

from control_plane import ALARM, NOW, QUALITY_ALARM, REGISTRY, crowned, trigger
from memory_table import MemoryTable
from protocol import (
    BEFORE,
    Budget,
    Event,
    Execution,
    Explorer,
    Functions,
    Violation,
    World,
    heard,
    said_by_a_person,
    settled,
)
from whole_loop import event

from retrain.aws import ledger as ledger_module
from retrain.aws.dynamodb import check
from retrain.aws.ledger import Ledger
from retrain.core import names, telemetry
from retrain.episode import approval, closing, retraining, rollout, sweeping

MINUTE = timedelta(minutes=1)
LATER = NOW + timedelta(hours=2)
CAUSES = [trigger(at, cause) for at in (NOW, NOW + 2 * MINUTE, LATER) for cause in (ALARM, QUALITY_ALARM)]


# Worlds --------------------------------------------------------------------------------------------------------------


def beginning(*events: Event) -> World:
    """A champion serves, there is no episode, and these events are to be heard."""
    table = MemoryTable()
    crowned(Ledger(table, "ledger"))
    return World(table.items, pending=events)


def alarm(name: str = "alarm-drift", at: datetime = NOW) -> Event:
    return Event("alarm", json.dumps(event(name, at)), at)


def may(world: World, *held: str, **budget: int) -> World:
    """The world in which that may happen; the states that are held matter to what is explored after all else."""
    return replace(world, held=frozenset(held), budget=Budget(**budget))


def until(functions: Functions, state: str) -> World:
    """The world in which an episode's execution has just come to that state, without a fault."""
    world, explorer = beginning(alarm()), Explorer(functions)
    for _ in range(400):
        name, one = next(iter(world.executions.items()), ("", Execution("")))
        if one.state == state:
            return world
        if world.actors:
            world = explorer.stepped(world, 0)
        elif world.pending:
            world = heard(world, 0)
        elif one.state == "waiting":
            world = said_by_a_person(replace(world, budget=Budget(approvals=1)), name, "Approved")
        else:
            world = settled(world)
    raise AssertionError(f"the execution never comes to {state}")


def promoted(functions: Functions) -> tuple[World, str]:
    """The world in which an episode has promoted its model, and all is calm; and the episode."""
    world, explorer = until(functions, "close"), Explorer(functions)
    while world.actors or world.pending:
        world = explorer.stepped(world, 0) if world.actors else heard(world, 0)
    return world, next(iter(world.executions))


def asked(kind: str, **detail: str) -> Event:
    """What an operator asks for, later."""
    one = event(f"{kind}-requested", LATER)
    return Event("alarm", json.dumps({**one, "detail": {**one["detail"], **detail}}), LATER)


def rolling_back(functions: Functions, *more: Event) -> World:
    """… to what an episode has promoted, while that serves: the roll-out is one all the same."""
    world, episode = promoted(functions)
    return replace(world, pending=(asked("rollback", target=episode), *more))


def restoring(functions: Functions) -> World:
    """… the champion, where somebody has rolled out something else."""
    world, _ = promoted(functions)
    return replace(world, endpoint=("by-hand", "InService", ""), by_hand=True, pending=(asked("restoration"),))


def adopting(functions: Functions, *, while_it_changes: bool = False) -> World:
    """… what serves, where an earlier champion was rolled out again past the loop; or is about to be."""
    world, episode = promoted(functions)
    key = (f"EPISODE#{BEFORE}", "EPISODE")
    items = {**world.items, key: {**world.episode(episode), "pk": {"S": key[0]}}}
    serves = (episode, "Updating", BEFORE) if while_it_changes else (BEFORE, "InService", "")
    return replace(world, items=items, endpoint=serves, by_hand=True, pending=(asked("adoption"),))


def lacking(functions: Functions, **budget: int) -> World:
    """An alarm whose window has no labels yet."""
    del functions
    return may(replace(beginning(alarm()), labels=False), "judge", **budget)


def of_two(world: World) -> World:
    """… where two people have to approve."""
    return replace(world, people=("ada", "bob"))


TWO = replace(REGISTRY, policy=replace(REGISTRY.policy, eyes=2))
RULES = {
    "two people, of whom each approves, and functions that die": TWO,
    "two people who disagree": TWO,
    "one of two people, before the question": TWO,
}

EXPLORATIONS: dict[str, Callable[[Functions], World]] = {
    "two alarms, one of them twice": lambda _: may(beginning(alarm(), alarm("alarm-quality")), "start", duplicates=1),
    "three alarms, and a function that dies": lambda _: may(
        beginning(alarm(), alarm("alarm-quality"), alarm(at=NOW + 2 * MINUTE)), "start", crashes=1
    ),
    "an episode that nobody starts, and an alarm later": lambda _: may(
        beginning(alarm(), alarm("alarm-quality", LATER)), "start", crashes=1, lost=1
    ),
    "a start that dies or is aborted": lambda made: may(until(made, "start"), "judge", crashes=1, aborts=1),
    "an approval, and functions that die": lambda made: may(
        until(made, "ask"), "update", "close", approvals=1, crashes=1
    ),
    "an approval twice": lambda made: may(until(made, "ask"), "update", "close", approvals=1, duplicates=1),
    "an approval and a rejection": lambda made: may(until(made, "ask"), "update", "close", approvals=1, rejections=1),
    "an approval when time is over": lambda made: may(until(made, "ask"), "update", "close", approvals=1, timeouts=1),
    "a roll-out that dies, is aborted and rolls back": lambda made: may(
        until(made, "update"), crashes=1, aborts=1, rollbacks=1
    ),
    "a roll-out of which an attempt goes on unseen": lambda made: may(until(made, "update"), zombies=1, rollbacks=1),
    "an abort that nobody hears of": lambda made: may(until(made, "update"), aborts=1, lost=1),
    "an end and an alarm at the same time": lambda made: may(
        replace(until(made, "close"), pending=(alarm("alarm-quality", NOW + 2 * MINUTE),)), "start", crashes=1, aborts=1
    ),
    "an approval of which an attempt goes on unseen": lambda made: may(
        until(made, "ask"), "update", "close", approvals=1, zombies=1
    ),
    "labels that come late or never": lambda made: lacking(made, labels=1, waits=1, crashes=1),
    "a start of which an attempt goes on unseen": lambda made: lacking(made, labels=1, waits=1, zombies=1),
    "two people, of whom each approves, and functions that die": lambda made: may(
        of_two(until(made, "waiting")), "update", "close", approvals=2, crashes=1
    ),
    "two people who disagree": lambda made: may(
        of_two(until(made, "waiting")), "update", "close", approvals=1, rejections=1
    ),
    "one of two people, before the question": lambda made: may(
        of_two(until(made, "ask")), "update", "close", approvals=1
    ),
    "a roll-back that dies, is aborted and rolls back": lambda made: may(
        rolling_back(made), crashes=1, aborts=1, rollbacks=1
    ),
    "a roll-back and an alarm at the same time": lambda made: may(
        rolling_back(made, alarm("alarm-quality", LATER)), "start", "update", duplicates=1
    ),
    "a restoration that dies and rolls back": lambda made: may(restoring(made), crashes=1, rollbacks=1),
    "an adoption that is aborted": lambda made: may(adopting(made), aborts=1),
    "an adoption while the endpoint changes": lambda made: may(
        adopting(made, while_it_changes=True), crashes=1, duplicates=1
    ),
}


# Bugs ----------------------------------------------------------------------------------------------------------------


def _clause(name: str, instead: str = "attribute_not_exists(nothing)") -> AbstractContextManager[Any]:
    return patch.object(ledger_module, name, instead)


@contextmanager
def _the_token_is_kept_after_the_look() -> Iterator[None]:
    """request_approval as it would be if it kept the token last."""
    keep, held = Ledger.keep_token, Ledger.held
    kept: list[str] = []

    def later(_: Ledger, _episode: Any, token: str) -> None:
        kept.append(token)

    def look(self: Ledger, episode: Any) -> Any:
        found = held(self, episode)
        if kept:
            keep(self, episode, kept.pop())
        return found

    with patch.object(Ledger, "keep_token", later), patch.object(Ledger, "held", look):
        yield


def _told_before_it_is(self: Any, episode: Any, item: Any, now: Any) -> None:
    self.ledger.record_notified(episode.episode_id, now)
    FOLLOW_UP(self, episode, item, now)


def _left_open(episode_id: str, at: Any, ending: Any, *more: Any) -> Any:
    if ending.reason == "lock_expired":
        return check({"pk": f"EPISODE#{episode_id}", "sk": "EPISODE"}, "attribute_exists(pk)", {})
    return CLOSING_WRITE(episode_id, at, ending, *more)


FOLLOW_UP, CLOSING_WRITE = closing.Closer._follow_up, Ledger._closing


def _serving(step: Any, *, ledger: Any, sagemaker: Any) -> dict[str, Any]:
    ledger.held(step.episode)
    status = sagemaker.endpoint(step.episode.endpoint_name)["EndpointStatus"]
    return {"status": "serving" if status == "InService" else "updating"}


def _the_latest_token(self: Ledger, episode: Any, token: str) -> None:
    self.note(episode, task_tokens={token})


def _patient(step: Any, item: Any, refusal: Any, rules: Any, ledger: Ledger, **noted: Any) -> dict[str, Any]:
    return WAIT(replace(step, fields={**step.fields, "overdue": False}), item, refusal, rules, ledger, **noted)


def _as_for_one(act: Callable[..., Any]) -> Callable[..., Any]:
    """The act as it would be if one person's approval were enough."""

    def acted(said: Any, *, rules: Any, **more: Any) -> Any:
        return act(said, rules=replace(rules, policy=replace(rules.policy, eyes=1)), **more)

    return acted


WAIT = retraining._wait_for_labels


def _with_tokens_of_their_own() -> AbstractContextManager[Any]:
    number = count()
    return patch.object(names, "request_token", lambda episode, _=0: f"{episode}-{next(number)}".ljust(40, "0"))


SEEDED: dict[str, tuple[Callable[[], AbstractContextManager[Any]], str]] = {
    "who takes a dead episode's lock does not close it": (
        lambda: patch.object(Ledger, "_closing", staticmethod(_left_open)),
        "an episode that nobody starts, and an alarm later",
    ),
    "the last decision counts": (lambda: _clause("UNDECIDED"), "an approval and a rejection"),
    "who closes does not ask the endpoint": (
        lambda: patch.object(closing, "settled", lambda *_: "untouched"),
        "a roll-out that dies, is aborted and rolls back",
    ),
    "who closes does not mind a roll-out that began since": (
        lambda: _clause("ROLLED_OUT_AS_SEEN", "(attribute_not_exists(nothing) OR nothing = :rolled_out)"),
        "a roll-out that dies, is aborted and rolls back",
    ),
    "an aborted function is believed dead at once": (
        lambda: patch.object(closing, "LONGEST_CALL", timedelta(0)),
        "a roll-out that dies, is aborted and rolls back",
    ),
    "a closed episode keeps the lock": (
        lambda: _clause("LOCK_IS_OURS", "#owner = :me AND fence = :fence AND attribute_exists(nothing)"),
        "an end and an alarm at the same time",
    ),
    "the token is kept after the look at the decision": (
        _the_token_is_kept_after_the_look,
        "an approval, and functions that die",
    ),
    "a decision that is heard again is not passed on": (
        lambda: patch.object(approval, "_repeat", lambda *_, **__: {"action": "ignored", "reason": "already_decided"}),
        "an approval, and functions that die",
    ),
    "an end counts as told before it is": (
        lambda: patch.object(closing.Closer, "_follow_up", _told_before_it_is),
        "an end and an alarm at the same time",
    ),
    "each attempt starts a pipeline of its own": (_with_tokens_of_their_own, "a start that dies or is aborted"),
    "the sweep closes nothing": (
        lambda: patch.object(sweeping, "_close_what_is_over", lambda *_: ([], False)),
        "an abort that nobody hears of",
    ),
    "a roll-back is taken for a roll-out": (
        lambda: patch.object(rollout, "check_endpoint", _serving),
        "a roll-out that dies, is aborted and rolls back",
    ),
    "only the latest attempt's token is kept": (
        lambda: patch.object(Ledger, "keep_token", _the_latest_token),
        "an approval of which an attempt goes on unseen",
    ),
    "it is waited for labels for ever": (
        lambda: patch.object(retraining, "_wait_for_labels", _patient),
        "labels that come late or never",
    ),
    "one of two approvals is enough": (
        lambda: patch.object(approval, "hear_decision", _as_for_one(approval.hear_decision)),
        "two people who disagree",
    ),
    "one of two approvals is enough where it came before the question": (
        lambda: patch.object(approval, "request_approval", _as_for_one(approval.request_approval)),
        "one of two people, before the question",
    ),
    "nobody tells of an episode that was taken over": (
        lambda: patch.object(sweeping, "_tell_what_was_not", lambda *_: []),
        "an episode that nobody starts, and an alarm later",
    ),
}


def explored(name: str) -> Explorer:
    """The exploration of that name, done; Violation if something does not hold."""
    functions = Functions(CAUSES, RULES.get(name, REGISTRY))
    begin = EXPLORATIONS[name](functions)
    explorer = Explorer(functions)
    explorer.explore(begin)
    return explorer


def found(bug: str) -> str | None:
    """What the exploration says of the application with that bug, None if it notices nothing."""
    seeded, name = SEEDED[bug]
    rules = RULES.get(name, REGISTRY)
    begin = EXPLORATIONS[name](Functions(CAUSES, rules))
    with seeded():
        try:
            Explorer(Functions(CAUSES, rules)).explore(begin)
        except Violation as violation:
            return str(violation)
    return None


def main() -> int:
    """0 if every exploration is without a violation, and every bug is found."""
    telemetry.logger.setLevel("CRITICAL")
    states = 0
    for name in EXPLORATIONS:
        began = time.monotonic()
        one = explored(name)
        states += one.states
        print(f"{one.states:7} worlds, {one.ends:4} at rest, {time.monotonic() - began:4.0f} s  {name}", flush=True)
    print(f"{states} worlds, violations 0\n")
    noticed = {bug: found(bug) for bug in SEEDED}
    for bug, said in noticed.items():
        print(f"{'found ' if said else 'MISSED'}  {bug}: {(said or '-').splitlines()[0]}", flush=True)
    print(f"bugs seeded {len(SEEDED)}, found {sum(1 for said in noticed.values() if said)}")
    return 0 if all(noticed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
