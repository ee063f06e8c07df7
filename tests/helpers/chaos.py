"""`make chaos`: every operation that a run of the loop uses fails once, thrice, for ever, before or after its effect.

What a fault on the wire becomes for the application is what tests/faults/test_wire.py holds: a call that may be made
again. Here the calls fail in the middle of the loop, and what came of the episode is looked at.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from control_plane import NOW
from faulty_wire import FAULTS, calls, faulty
from memory_table import MemoryTable
from whole_loop import Loop, event, retried

from retrain.core import telemetry
from retrain.core.errors import RetrainError, Retryable, Throttled
from retrain.core.values import Episode

MINUTE = timedelta(minutes=1)
TIMES = {"once": 1, "thrice": 3, "for ever": 1_000_000}
SILENT = {"store.uri", "store.link", "dynamodb.get_paginator"}  # these speak to nobody


@dataclass(frozen=True)
class Outcome:
    """What came of an episode: how it ended; whether it is lost (it has not ended, holds the lock, or nobody was told);
    effects beyond the first of their kind; how often people were told of the end once more; and after how many calls
    the endpoint could not have answered.
    """

    ended: str
    lost: bool
    duplicates: int
    told_again: int
    failed_predictions: int


def old_loop() -> Loop:
    """A loop that has promoted two models before, of which a third will push one out."""
    loop = Loop(MemoryTable())
    for version, days in ((3, 60), (4, 30)):
        loop.settled_on(loop.promoted(version, NOW - timedelta(days=days)))
    loop.calls.clear()
    return loop


def operations() -> list[str]:
    """Every operation that a whole run was seen to use."""
    loop = old_loop()
    loop.run()
    return sorted(set(loop.calls) - SILENT)


def outcome(operation: str, times: int, *, after: bool) -> Outcome:
    """What comes of an alarm if the operation fails so often; after that, everything works, and the sweep comes by."""
    loop = old_loop()
    earlier = len(loop.book.episodes("flights"))
    loop.breaks(operation, times, after=after)
    try:
        loop.run()
    except Retryable:
        _give_up(loop)
    loop.breaks(operation, 0)
    for minutes in (80, 120, 180):
        loop.sweep(NOW + minutes * MINUTE)
    items = loop.book.episodes("flights")
    made = (len(loop.machine.inputs), len(loop.sagemaker.runs), len(loop.sagemaker.updates))
    duplicates = sum(max(0, number - 1) for number in made)
    free = loop.book.open_episode_id("flights") is None
    failed = loop.failed_predictions
    if len(items) == earlier:  # none since: the alarm's event was kept for another time, which is now
        opened = loop.alarm(event("alarm-drift")).get("action") == "opened"
        return Outcome("opened later", not (free and opened), duplicates, 0, failed)
    told = sum("Outcome  " in text for _, text in loop.topic.messages)
    lost = items[0]["status"] != "CLOSED" or not free or not told
    return Outcome(str(items[0].get("reason") or items[0]["outcome"]), lost, duplicates, max(0, told - 1), failed)


def _give_up(loop: Loop) -> None:
    """What the state machine does when a state has failed for good: it closes; and if that fails, it ends, too."""
    episode_id = loop.book.open_episode_id("flights")
    if episode_id is None:
        return
    fence = int((loop.book.episode(episode_id) or {})["fence"])
    episode = Episode(episode_id, "flights", fence, bootstrap=False)
    if loop.sagemaker.updates:
        loop.settle(episode)
    try:
        retried(lambda: loop.close(episode, outcome="failed", error={"Error": "Throttled", "Cause": "slow down"}))
    except RetrainError:
        if episode_id in loop.machine.inputs:
            loop.machine.ended[episode_id] = ("FAILED", NOW)


def matrix() -> dict[tuple[str, str], Outcome]:
    """What came of every operation with every fault."""
    return {
        (operation, f"{often}{', its answer lost' if after else ''}"): outcome(operation, times, after=after)
        for operation in operations()
        for often, times in TIMES.items()
        for after in (False, True)
    }


def on_the_wire() -> dict[tuple[str, str], str]:
    """What every call becomes that meets a fault on the way to AWS: the error that the application sees."""
    became = {}
    for fault in FAULTS:
        with faulty(fault) as server:
            for name, call in calls(server).items():
                try:
                    call()
                    became[name, fault] = "an answer"
                except RetrainError as error:
                    became[name, fault] = type(error).__name__
    return became


def main() -> int:
    """0 if nothing is lost, made twice or unanswered, and whatever met a fault on the wire may be tried again."""
    telemetry.logger.setLevel("CRITICAL")
    with contextlib.redirect_stdout(io.StringIO()):  # metrics go there
        found, wire = matrix(), on_the_wire()
    for operation in dict.fromkeys(name for name, _ in found):
        ends = Counter(one.ended for (name, _), one in found.items() if name == operation)
        print(f"{operation:32} {', '.join(f'{end} {number}' for end, number in ends.most_common())}")
    lost = [key for key, one in found.items() if one.lost]
    twice = sum(one.duplicates for one in found.values())
    again = sum(one.told_again for one in found.values())
    failed = sum(one.failed_predictions for one in found.values())
    faults = len({fault for _, fault in found})
    print(f"\n{len(found) // faults} operations x {faults} faults: {len(found)} episodes,")
    print(f"lost episodes {len(lost)}, duplicate effects {twice}, failed predictions {failed}")
    print(f"ends told once more {again}")
    other = {key: error for key, error in wire.items() if error != Throttled.__name__}
    print(f"on the wire: {len(wire)} calls x faults, not to be tried again {len(other)}")
    for key in [*lost, *other]:
        print("  ", *key)
    return 1 if lost or twice or failed or other else 0


if __name__ == "__main__":
    sys.exit(main())
