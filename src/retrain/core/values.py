"""What the rooms of the control plane hand to each other: an episode, a step of its machine, a trigger, an ending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retrain.core import clock, names
from retrain.core.errors import MalformedEvent

OUTCOMES = frozenset({"promoted", "champion_kept", "refused", "failed"})


@dataclass(frozen=True)
class Episode:
    """What every payload of the state machine carries: which episode, whose, and the lock's fencing counter."""

    episode_id: str
    endpoint_name: str
    fence: int
    bootstrap: bool

    @classmethod
    def of(cls, payload: Any) -> Episode:
        """The payload's episode; MalformedEvent if it has none. Unknown fields are ignored."""
        try:
            fence = payload["fence"]
            episode = cls(payload["episode_id"], payload["endpoint_name"], int(fence), bool(payload["bootstrap"]))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvent(f"the payload has no valid episode: {error!r}") from error
        if not all(isinstance(text, str) and text for text in (episode.episode_id, episode.endpoint_name)):
            raise MalformedEvent("episode_id and endpoint_name must be text")
        return episode

    def payload(self) -> dict[str, Any]:
        """The form that travels through the state machine."""
        return {
            "episode_id": self.episode_id,
            "endpoint_name": self.endpoint_name,
            "fence": self.fence,
            "bootstrap": self.bootstrap,
        }


@dataclass(frozen=True)
class Step:
    """A state machine's call: what to do (`name`), for which episode, when, and what else the state passed."""

    name: str
    episode: Episode
    now: datetime
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, event: Any) -> Step:
        """The call that `event` is; MalformedEvent if it is none."""
        if not isinstance(event, Mapping):
            raise MalformedEvent(f"expected an object, got {type(event).__name__}")
        return cls(str(event.get("step", "")), Episode.of(event.get("episode")), moment(event, "now"), event)


@dataclass(frozen=True)
class Trigger:
    """Why an episode should be opened: `cause` is an alarm's ARN or "bootstrap", `at` when it happened.

    `evidence` names the ledger's analysis whose window raised the alarm: the drift monitor's, or the quality monitor's.
    """

    endpoint_name: str
    cause: str
    at: datetime
    text: str
    bootstrap: bool = False
    evidence: str = "ANALYSIS"

    @property
    def episode_id(self) -> str:
        """The id that this cause at this time always gives."""
        return names.episode_id(self.endpoint_name, self.cause, self.at)


@dataclass(frozen=True)
class Ending:
    """How an episode ended: the outcome, its reason in one word, and a sentence."""

    outcome: str
    reason: str
    detail: str


def moment(event: Mapping[str, Any], field: str) -> datetime:
    """The time in the event's field; MalformedEvent if there is none."""
    try:
        return clock.parse(event[field])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedEvent(f"{field} is not a time: {error!r}") from error
