"""When the gate's word is enough, and when a person is asked after all; and how many persons.

The conditions hold for ApprovalMode=auto. One that is not met does not refuse the challenger: it is put to people, as
with ApprovalMode=registry, and the notification says which condition it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from retrain.core import clock
from retrain.core.errors import InvalidSettings

WEEK = timedelta(days=7)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)-(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([0-2]\d)-([0-2]\d) ([\w/+-]+)")


@dataclass(frozen=True)
class OfficeHours:
    """The days and hours at which somebody is there: [first, last] of the week, [start, end) of the day."""

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo

    @classmethod
    def of(cls, text: str) -> OfficeHours:
        """What the text says; ValueError if it says nothing.

        >>> from retrain.core.clock import parse
        >>> hours = OfficeHours.of("Mon-Fri 08-17 Europe/Berlin")
        >>> hours.hold(parse("2026-11-23T07:30:00Z")), hours.hold(parse("2026-11-22T07:30:00Z"))
        (True, False)
        """
        found = _HOURS.fullmatch(text)
        if not found:
            raise ValueError("write office hours as Mon-Fri 08-17 Europe/Berlin")
        first, last, start, end = DAYS.index(found[1]), DAYS.index(found[2]), int(found[3]), int(found[4])
        if not start < end <= 24:
            raise ValueError(f"the hours from {start} to {end} are none")
        try:
            zone = ZoneInfo(found[5])
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{found[5]} is no time zone") from error
        days = frozenset((first + day) % 7 for day in range((last - first) % 7 + 1))
        return cls(days, start, end, zone)

    def hold(self, at: datetime) -> bool:
        """Whether it is then."""
        there = at.astimezone(self.zone)
        return there.weekday() in self.days and self.start <= there.hour < self.end


@dataclass(frozen=True)
class ApprovalPolicy:
    """What the gate's own approval needs besides: `least_gain` of the champion's metric (a share) as the lower bound,
    `most_a_week` promotions (0: any number), `hours`, and, unless `news`, no data that is new in kind. `eyes`: how many
    persons have to approve, where any is asked.
    """

    least_gain: float = 0.0
    most_a_week: int = 0
    hours: OfficeHours | None = None
    eyes: int = 1
    news: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.least_gain < 1:
            raise InvalidSettings(f"the least gain is a share of the champion's metric, 0 to 1, not {self.least_gain}")
        if self.most_a_week < 0 or self.eyes not in {1, 2}:
            raise InvalidSettings("promotions a week are a number or 0, and one or two persons approve")


def unmet(
    policy: ApprovalPolicy,
    evaluation: Mapping[str, Any],
    episodes: Iterable[Mapping[str, Any]],
    now: datetime,
) -> Iterator[str]:
    """Each condition that does not hold, in words. `episodes` are the endpoint's, for how many were promoted lately."""
    gate = evaluation["gate"]
    if policy.least_gain:
        champion, bounds = gate.get("champion"), gate.get("interval")
        gain = bounds[0] / abs(champion) if bounds and champion else None
        if gain is None or gain < policy.least_gain:
            known = "is not known" if gain is None else f"is {gain:.2%} of the champion's metric"
            yield f"the gain's lower bound {known}, {policy.least_gain:.2%} are asked for"
    if policy.most_a_week:
        lately = sum(1 for episode in episodes if _promoted_since(episode, now - WEEK))
        if lately >= policy.most_a_week:
            yield f"{lately} models were promoted within a week, {policy.most_a_week} may be"
    if policy.hours and not policy.hours.hold(now):
        yield "it is outside office hours"
    if not policy.news and (news := evaluation.get("news")):
        features = ", ".join(sorted({str(said).partition(":")[0] for said in news}))  # and no value of theirs
        yield f"the window's data is new in kind: {features}"


def _promoted_since(episode: Mapping[str, Any], since: datetime) -> bool:
    closed = episode.get("closed_at")
    return (
        episode.get("outcome") == "promoted"
        and not episode.get("bootstrap")
        and bool(closed)
        and clock.parse(str(closed)) >= since
    )
