"""Which span of time is looked at, and under which keys its files lie."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Window = tuple[datetime, datetime]  # [start, end)


class CaptureFile(NamedTuple):
    """A file under yyyy/mm/dd/hh/: its key, the tag that changes with its content, and its size in bytes."""

    key: str
    etag: str
    size: int


def window_ending(
    end: datetime, longest: timedelta, champion_since: datetime | None, rearmed_at: datetime | None
) -> Window:
    """The window that ends at `end`: evidence from before the champion served, or from before the end of the last
    episode's cool-down, was used already and is not used again. Empty (start = end) if nothing newer is left.

    Otherwise it begins with a full hour, so that it is between `longest` and an hour more.

    >>> from retrain.core.clock import parse
    >>> end = parse("2013-04-01T00:00:00Z")
    >>> window_ending(end, 31 * DAY, parse("2013-03-20T00:00:00Z"), parse("2013-03-20T01:00:00Z"))[0].isoformat()
    '2013-03-20T01:00:00+00:00'
    """
    slides = full_hour(end - longest)
    start = max(moment for moment in (slides, champion_since, rearmed_at) if moment is not None)
    return min(start, end), end


def full_hour(moment: datetime) -> datetime:
    """When the hour began."""
    return moment.replace(minute=0, second=0, microsecond=0)


def prefixes(start: datetime, end: datetime) -> Iterator[str]:
    """`yyyy/mm/dd/` for each whole UTC day in [start, end), `yyyy/mm/dd/hh/` for the hours of the days cut short.

    >>> from retrain.core.clock import parse
    >>> list(prefixes(parse("2013-03-01T22:30:00Z"), parse("2013-03-03T01:00:00Z")))
    ['2013/03/01/22/', '2013/03/01/23/', '2013/03/02/', '2013/03/03/00/']
    """
    hour = full_hour(start)
    while hour < end:
        if hour.hour == 0 and hour + DAY <= end:
            yield f"{hour:%Y/%m/%d/}"
            hour += DAY
        else:
            yield f"{hour:%Y/%m/%d/%H/}"
            hour += HOUR
