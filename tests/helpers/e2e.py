"""What the tests of the whole loop share."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from demo.stack import Stack
from local import LocalAws
from local.policies import as_json, as_recorded, named_as_in_the_template, simulate

CALLS = Path(__file__).parents[2] / ".bench" / "calls"


def denials(stack: Stack, run: str) -> list[str]:
    """What the application was denied, and what it was allowed that the template's policies do not say.

    The run's calls are in .bench/calls afterwards; `make policies` puts them into the recording.
    """
    return denials_of(stack.aws, run)


def denials_of(aws: LocalAws, run: str) -> list[str]:
    """The same of a stack of that name that was made in another way."""
    calls = aws.calls()
    ours = named_as_in_the_template(calls, aws.client("cloudformation"))
    CALLS.mkdir(parents=True, exist_ok=True)
    (CALLS / f"{run}.json").write_text(as_json(ours))
    denied = [f"denied: {call['role']} {call['action']} {call['resource']}" for call in calls if not call["allowed"]]
    return denied + [f"allowed, and not granted: {call}" for call in simulate(as_recorded(), ours).missing]


def browse(address: str, **fields: str) -> tuple[int, str, dict[str, str]]:
    """Status, page and headers of what a browser would ask for; names below localhost are this machine there."""
    split = urlsplit(address)
    where = f"http://127.0.0.1:{split.port}{split.path}" + (f"?{split.query}" if split.query else "")
    data = urlencode(fields).encode() if fields else None
    request = urllib.request.Request(where, data, headers={"Host": split.netloc})
    try:
        with urllib.request.urlopen(request) as said:
            return said.status, said.read().decode(), dict(said.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)
