"""What an operator asks of the loop goes through its front door, as an event to the alarm handler, which answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from retrain.core import clock, names
from retrain.core.errors import NotDeployed
from retrain.operate.deployment import Deployment


def ask(deployed: Deployment, request: str, **detail: Any) -> dict[str, Any]:
    """The loop's answer to a request of that kind (names.REQUESTS): `action` is opened, done, ignored or refused."""
    event = event_of(request, deployed, detail)
    return deployed.functions.ask(deployed.resources["AlarmHandler"], event)


def event_of(request: str, deployed: Deployment, detail: Mapping[str, Any]) -> dict[str, Any]:
    """The request as an event, as EventBridge would deliver it."""
    caller = deployed.caller()
    said = {name: value for name, value in detail.items() if value not in {None, ""}}
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": names.REQUESTS[request],
        "source": "retrain",
        "account": caller.account,
        "region": deployed.region,
        "time": clock.render(caller.now),
        "resources": [],
        "detail": {"endpoint_name": deployed.endpoint_name, "by": caller.arn, **said},
    }


def version_to_return_to(deployed: Deployment, version: str | None) -> str:
    """The id of the episode that promoted that version of the package, or, without one, the model before the champion.

    NotDeployed if there is none, with the versions that there are.
    """
    champion = deployed.ledger.champion(deployed.endpoint_name)
    if champion is None:
        raise NotDeployed("there is no champion yet: nothing can be rolled back")
    promoted: dict[str, str] = {}
    for item in deployed.ledger.episodes(deployed.endpoint_name):
        if item.get("outcome") == "promoted" and item.get("seals"):
            promoted.setdefault(str(item["model_package_arn"]), str(item["pk"]).removeprefix("EPISODE#"))
    others = {arn: episode for arn, episode in promoted.items() if arn != champion["model_package_arn"]}
    if version is None:
        before = [arn for arn in others if _number(arn) < _number(str(champion["model_package_arn"]))]
        if before:
            return others[max(before, key=_number)]
    else:
        found = next((episode for arn, episode in promoted.items() if arn.rpartition("/")[2] == version), None)
        if found:
            return found
    known = ", ".join(sorted((arn.rpartition("/")[2] for arn in others), key=int)) or "none"
    raise NotDeployed(f"no version {version or 'before the champion'} served here: those that did are {known}")


def bad_window(text: str) -> dict[str, str]:
    """What a request to exclude says of its window. ValueError for two times that are none.

    >>> bad_window("2026-11-01T00:00:00Z/2026-11-02T00:00:00Z")
    {'window_start': '2026-11-01T00:00:00Z', 'window_end': '2026-11-02T00:00:00Z'}
    >>> bad_window("flights-20130401-000012-3f07d80c")
    {'episode': 'flights-20130401-000012-3f07d80c'}
    """
    start, slash, end = text.partition("/")
    if not slash:
        return {"episode": text}
    return {"window_start": clock.render(clock.parse(start)), "window_end": clock.render(clock.parse(end))}


def moment_of(text: str, now: datetime) -> datetime:
    """A time, or how long from now: 90m, 12h, 3d. ValueError if it is neither.

    >>> clock.render(moment_of("12h", clock.parse("2026-11-22T14:00:00Z")))
    '2026-11-23T02:00:00Z'
    """
    from datetime import timedelta

    units = {"m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdigit() and text[-1:] in units:
        return now + timedelta(**{units[text[-1]]: int(text[:-1])})
    return clock.parse(text)


def _number(package_arn: str) -> int:
    return int(package_arn.rpartition("/")[2])
