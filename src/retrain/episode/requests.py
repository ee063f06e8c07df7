"""What people, the calendar and other applications ask of the loop, recognised: an episode of some kind, or a pause.

The event's endpoint is what ties it to this stack; who may put events of the source `retrain`, or invoke the alarm
handler, may ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names
from retrain.core.errors import MalformedEvent, Refused
from retrain.core.telemetry import logger, short
from retrain.core.values import Trigger, moment
from retrain.core.window import Window
from retrain.episode.afterthoughts import attempt

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.sns import Topic

KINDS = {("retrain", detail_type): kind for kind, detail_type in names.REQUESTS.items()}
_LONGEST = 500  # characters of a reason, or of a name


@dataclass(frozen=True)
class Pause:
    """Whether episodes are opened: why not, until when (None: until resumed), and who says so."""

    endpoint_name: str
    at: datetime
    by: str
    reason: str = ""  # "": they are opened again
    until: datetime | None = None


@dataclass(frozen=True)
class Exclusion:
    """What a person called bad, and why: a span of time, or the window of an episode."""

    endpoint_name: str
    at: datetime
    by: str
    reason: str
    span: Window | None = None
    episode_id: str = ""


def recognise_request(event: Mapping[str, Any], kind: str, endpoint_name: str) -> Trigger | Pause | Exclusion:
    """What is asked for; Refused("unknown_endpoint") if it is not for this stack, MalformedEvent without a reason."""
    detail = event.get("detail")
    if not isinstance(detail, Mapping):
        raise MalformedEvent("detail is missing or not what it should be")
    if detail.get("endpoint_name") != endpoint_name:
        name = short(str(detail.get("endpoint_name")), 100)
        raise Refused("unknown_endpoint", f"{name} is not the endpoint of this stack")
    at = moment(event, "time")
    if kind == "bootstrap":
        return Trigger(endpoint_name, "bootstrap", at, "the first model of this endpoint", bootstrap=True)
    if kind == "evidence":
        rows, window = detail.get("rows"), _window(detail)
        if window is None or window[1] > at or not isinstance(rows, int):
            raise MalformedEvent("evidence is a number of rows, and a window that is over")
        text, fields = (
            f"{rows} labelled rows that nobody has learned from",
            {"asked": "retrain", "asked_by": "evidence"},
        )
        return Trigger(endpoint_name, "evidence", at, text, asked="retrain", window=window, fields=fields)
    by = _text(detail, "by") or "unknown"
    if kind == "resume":
        return Pause(endpoint_name, at, by)
    reason = _text(detail, "reason")
    if not reason:
        raise MalformedEvent(f"a {names.REQUESTS[kind]} needs detail.reason")
    if kind == "pause":
        return Pause(endpoint_name, at, by, reason, moment(detail, "until") if detail.get("until") else None)
    if kind == "exclude":
        return Exclusion(endpoint_name, at, by, reason, _window(detail), _text(detail, "episode"))
    fields = {"asked": kind, "asked_by": by}
    if kind == "rollback":
        fields["target"] = _text(detail, "target")
        if not fields["target"]:
            raise MalformedEvent("a Rollback Requested needs detail.target, the episode whose model shall serve again")
    text = f"{kind}, asked for by {by}: {reason}"
    return Trigger(endpoint_name, kind, at, text, asked=kind, window=_window(detail), fields=fields)


def keep(asked: Pause | Exclusion, ledger: Ledger, topic: Topic) -> dict[str, Any]:
    """What was asked for, and opens no episode, is in the ledger, and people were told."""
    return keep_pause(asked, ledger, topic) if isinstance(asked, Pause) else exclude(asked, ledger, topic)


def keep_pause(pause: Pause, ledger: Ledger, topic: Topic) -> dict[str, Any]:
    """The ledger knows of the pause, or that it is over, and people were told."""
    if pause.reason:
        ledger.pause(pause.endpoint_name, reason=pause.reason, by=pause.by, at=pause.at, until=pause.until)
        until = clock.render(pause.until) if pause.until else "it is resumed"
        said, more = "paused", f"No episode is opened until {until}: {pause.reason}\nAn open one goes on."
    else:
        ledger.resume(pause.endpoint_name, by=pause.by, at=pause.at)
        said, more = "resumed", "Episodes are opened again."
    logger.info("pausing changed", said=said)
    subject = f"{pause.endpoint_name}: retraining is {said}"
    attempt("notify", lambda: topic.publish(subject, f"{subject}, by {pause.by}.\n\n{more}"))
    return {"action": "done", "status": said}


def exclude(asked: Exclusion, ledger: Ledger, topic: Topic) -> dict[str, Any]:
    """Nothing is learned any more from what was captured in that span, or in that episode's window; people know it."""
    span = asked.span
    if asked.episode_id:
        item = ledger.episode(asked.episode_id)
        if item is None or item["endpoint_name"] != asked.endpoint_name or item["window_start"] == item["window_end"]:
            raise Refused("unknown_episode", f"{asked.episode_id} has no window that could be excluded")
        span = clock.parse(item["window_start"]), clock.parse(item["window_end"])
    if span is None:
        raise MalformedEvent("an Exclusion Requested needs detail.episode, or detail.window_start and window_end")
    ledger.exclude(asked.endpoint_name, span, f"{asked.reason} ({asked.by})", asked.at)
    start, end = map(clock.render, span)
    subject = f"{asked.endpoint_name}: a window was excluded"
    text = (
        f"Nothing captured from {start} to {end} is learned from any more.\n\nAsked for by {asked.by}: {asked.reason}"
    )
    attempt("notify", lambda: topic.publish(subject, text))
    logger.info("excluded", start=start, end=end)
    return {"action": "done", "status": "excluded", "window_start": start, "window_end": end}


def _window(detail: Mapping[str, Any]) -> Window | None:
    """The window that is asked for, None if the loop's own will do."""
    if not detail.get("window_start") and not detail.get("window_end"):
        return None
    start, end = moment(detail, "window_start"), moment(detail, "window_end")
    if start >= end:
        raise MalformedEvent(f"the window ends at {clock.render(end)}, before it begins")
    return start, end


def _text(detail: Mapping[str, Any], name: str) -> str:
    value = detail.get(name, "")
    if not isinstance(value, str):
        raise MalformedEvent(f"detail.{name} is no text")
    return short(value, _LONGEST)
