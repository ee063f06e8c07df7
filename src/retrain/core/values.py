"""What the rooms of the control plane hand to each other: an episode, a step of its machine, a trigger, an ending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from retrain.core import clock, names
from retrain.core.errors import MalformedEvent
from retrain.core.window import Window

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
class Enclosure:
    """What SageMaker keeps jobs and models in: disks and results have the key, network interfaces are in the subnets.

    Without `volumes`, disks are encrypted with AWS's own key, or by the hardware: SageMaker takes no key for the types
    that have disks of their own. Without `subnets`, it works from a network of its own.
    """

    key_arn: str
    volumes: bool = False
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()

    def vpc(self) -> dict[str, Any]:
        """The field VpcConfig of a job, of a job's network or of a model.

        >>> Enclosure("key").vpc(), Enclosure("key", subnets=("subnet-1",), security_groups=("sg-1",)).vpc()
        ({}, {'VpcConfig': {'Subnets': ['subnet-1'], 'SecurityGroupIds': ['sg-1']}})
        """
        if not self.subnets:
            return {}
        return {"VpcConfig": {"Subnets": list(self.subnets), "SecurityGroupIds": list(self.security_groups)}}

    def disk(self, key: Any = "") -> dict[str, Any]:
        """The field VolumeKmsKeyId of a job's instances; `key` is what it is called there, if not by its ARN."""
        return {"VolumeKmsKeyId": key or self.key_arn} if self.volumes else {}


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
    `asked` is what was asked for if it was no alarm: to retrain, or to rollback, adopt or restore a model, for which
    nothing is trained; `fields` are what the episode keeps of the request, `window` the one that was asked for.
    `told_at` is when the news of it came; suppression stops an alarm's actions, but not its events.
    """

    endpoint_name: str
    cause: str
    at: datetime
    text: str
    bootstrap: bool = False
    evidence: str = "ANALYSIS"
    told_at: datetime | None = None
    suppressed: bool = False
    asked: str = ""
    window: Window | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What began it, in a word: alarm, bootstrap, or what was asked for."""
        return "bootstrap" if self.bootstrap else self.asked or "alarm"

    @property
    def trains(self) -> bool:
        """Whether a model is trained on what happened since the last episode; then cool-down and pauses hold."""
        return self.kind in {"alarm", "retrain"}

    @property
    def episode_id(self) -> str:
        """The id that this cause at this time always gives."""
        return names.episode_id(self.endpoint_name, self.cause, self.at)


@dataclass(frozen=True)
class Situation:
    """What the ledger knows of an endpoint, and of the episode that a trigger asks for, all of it at one moment.

    `lock` has the fence, and owner and expires_at while it is held. `last_transition` is the newest change of state
    that is known of the trigger's alarm, in milliseconds since 1970.
    """

    episode: Mapping[str, Any] | None
    lock: Mapping[str, Any]
    champion: Mapping[str, Any] | None
    analysis: Mapping[str, Any] | None
    quality: Mapping[str, Any] | None
    rearm_at: datetime | None
    last_transition: int | None
    pause: Mapping[str, Any] | None = None
    opened: int = 0  # episodes that were opened to train in the trigger's month,
    spent: float = 0.0  # and dollars that their jobs have cost

    @property
    def fence(self) -> int:
        """The number of episodes that the endpoint had."""
        return int(self.lock.get("fence", 0))

    def paused(self, at: datetime) -> bool:
        """Whether a person keeps episodes from being opened at that time."""
        return pause_of(self.pause, at) is not None

    def owner(self, at: datetime) -> str | None:
        """The id of the episode that holds the lock at that time."""
        return self.lock.get("owner") if self.lock.get("expires_at", 0) > clock.epoch(at) else None


def pause_of(item: Mapping[str, Any] | None, at: datetime) -> dict[str, Any] | None:
    """What the ledger's pause says, None if it does not last at that time.

    >>> pause_of({"reason": "a fair", "until": "2026-11-22T00:00:00Z"}, clock.parse("2026-11-23T00:00:00Z"))
    >>> pause_of({"reason": "a fair", "until": ""}, clock.parse("2026-11-23T00:00:00Z"))
    {'reason': 'a fair'}
    """
    if not item or not item.get("reason") or (item.get("until") and clock.parse(item["until"]) <= at):
        return None
    return {name: item[name] for name in ("reason", "by", "at", "until") if item.get(name)}


@dataclass(frozen=True)
class Ending:
    """How an episode ended: the outcome, its reason in one word, and a sentence."""

    outcome: str
    reason: str
    detail: str


def moment(event: Mapping[str, Any], field: str) -> datetime:
    """The time in the event's field; MalformedEvent if there is none."""
    try:
        found = clock.parse(event[field])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MalformedEvent(f"{field} is not a time: {error!r}") from error
    if not 1970 <= found.year < 9000:  # nearer the ends of the calendar, nothing can be added to it
        raise MalformedEvent(f"{field} is {found}, at which nothing happens")
    return found
