"""What the tests of the whole loop share."""

from __future__ import annotations

from pathlib import Path

from demo.stack import Stack
from local.policies import as_json, as_recorded, named_as_in_the_template, simulate

CALLS = Path(__file__).parents[2] / ".bench" / "calls"


def denials(stack: Stack, run: str) -> list[str]:
    """What the application was denied, and what it was allowed that the template's policies do not say.

    The run's calls are in .bench/calls afterwards; `make policies` puts them into the recording.
    """
    calls = stack.aws.calls()
    ours = named_as_in_the_template(calls, stack.aws.client("cloudformation"))
    CALLS.mkdir(parents=True, exist_ok=True)
    (CALLS / f"{run}.json").write_text(as_json(ours))
    denied = [f"denied: {call['role']} {call['action']} {call['resource']}" for call in calls if not call["allowed"]]
    return denied + [f"allowed, and not granted: {call}" for call in simulate(as_recorded(), ours).missing]
