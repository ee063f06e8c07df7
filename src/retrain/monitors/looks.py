"""Looks beside the window: the last hour and what breaks at every run, a week, four weeks and what lasts once a day.

The long ones end with the last whole UTC day and are of the days that the monitor has stored, so that no capture is
listed or read again. What they saw is stored beside them and stands until the next day. They begin after the champion
did, and after the last cool-down: evidence is used once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from retrain.core import clock
from retrain.core.window import DAY, HOUR, Window
from retrain.drift import lasting
from retrain.drift.analysis import Analysis
from retrain.drift.baseline import Statistics
from retrain.drift.constraints import Constraints
from retrain.drift.intake import Intake, merge_intakes
from retrain.drift.intake_cache import Reading, Shelf, stored_day
from retrain.drift.lengths import broken_in, lasts, look, seen_in
from retrain.drift.verdict import Seen

_WEEK = timedelta(hours=lasting.WEEK)
_FOUR = lasting.WEEKS * _WEEK


@dataclass(frozen=True)
class Looking:
    """What every look is held against: the baseline, and the threshold of the alarm."""

    statistics: Statistics
    constraints: Constraints
    threshold: float

    def at(self, intake: Intake, window: Window) -> Analysis:
        """The look's analysis."""
        return look(intake, self.statistics, self.constraints, window, self.threshold)

    def within_the_day(self, reading: Reading, window: Window) -> list[Seen]:
        """What the last hour shows of a window that is longer, and what breaks in the last hour, six hours and day."""
        seen: list[Seen] = []
        since, hour = reading.newest[0]
        if since > window[0] and hour.profile.rows:
            seen.append(seen_in(self.at(hour, (since, window[1]))))
        for since, intake in reading.newest:
            if intake.profile.rows:
                of = since, window[1]
                seen.append(broken_in(intake, self.statistics, self.constraints, of, self.threshold))
        return seen

    def over_weeks(self, end: datetime, since: datetime, longer_than: timedelta, shelf: Shelf) -> list[Seen]:
        """What a week and four show, those that are longer than the window, and what lasts; `since` is when they may
        begin. As stored, if it was found today.
        """
        until = _midnight(end - HOUR)  # by then the day's captures have come
        begin = _midnight(since + DAY - timedelta.resolution)
        weeks = min(int((until - begin) / _WEEK), lasting.WEEKS)
        if weeks < 1:
            return []
        key = f"{shelf.prefix}/{until - DAY:%Y/%m/%d/}looks.json"
        of = {"since": clock.render(begin), "threshold": self.threshold, "longer_than": longer_than / HOUR}
        for _, body in shelf.places.bodies([key]):
            found: dict[str, Any] = json.loads(body)
            if found["of"] == of:
                return [Seen.of(item) for item in found["seen"]]
        seen = self._over(until, weeks, longer_than, shelf)
        text = json.dumps({"of": of, "seen": [item.document() for item in seen]}, sort_keys=True)
        shelf.places.put(key, text.encode(), "application/json")
        return seen

    def _over(self, until: datetime, weeks: int, longer_than: timedelta, shelf: Shelf) -> list[Seen]:
        analyses: list[Analysis] = []
        whole: list[Intake] = []
        for back in range(weeks, 0, -1):
            week = until - back * _WEEK, until - (back - 1) * _WEEK
            if days := list(_days(week, self.statistics, shelf)):
                intake = reduce(merge_intakes, days)
                analyses.append(self.at(intake, week))
                whole = [reduce(merge_intakes, [*whole, intake])]
        if not analyses or analyses[-1].window_end < until:
            return []
        seen = [seen_in(analyses[-1])] if longer_than < _WEEK else []
        if weeks == lasting.WEEKS and longer_than < _FOUR:
            seen += [seen_in(self.at(whole[0], (until - _FOUR, until)))]
        lasted = lasts(analyses, self.constraints.options.false_alarms_per_year)
        return [*seen, lasted] if lasted else seen


def _days(window: Window, statistics: Statistics, shelf: Shelf) -> Iterator[Intake]:
    day = window[0]
    while day < window[1]:
        if (intake := stored_day(day, statistics, shelf)) is not None:
            yield intake
        day += DAY


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
