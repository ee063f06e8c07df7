"""Which cycle the traffic has, a day or a week: learned from the rows' own times, and what of it a holdout covers.

A window that is shorter than a cycle, and a holdout of its last hours, know one side of the world: a challenger may be
better in the evening and worse the rest of the day. How long is long enough, the rows say themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from retrain.model.table import Category, Column, thin
from retrain.model.values import Numbers

DAY, WEEK = 24.0, 168.0  # hours
_PHASES: Mapping[float, int] = {DAY: 8, WEEK: 7}  # parts of a cycle that are held against each other
_LEAST_CYCLES = 3  # before one can be told from chance
_LEAST_ROWS = 5  # of a part of one cycle
LOOKED_AT = 50_000  # rows, evenly of all
_CATEGORIES = 3  # of a column, the most frequent
_LEVEL = 0.001  # of a cycle where there is none, whatever the number of columns
_LEAST_SPREAD = 0.1  # of the phases' means, in standard deviations of the rows: less is no matter
_SECONDS = 3600.0
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Cycle:
    """A cycle's length in hours, and the column that shows it; that of a day and "" where none is shown.

    `asked` is whether model.toml says the length, whatever the rows show.
    """

    hours: float = DAY
    shown_by: str = ""
    asked: bool = False


def cycle_of(columns: Mapping[str, Column], times: Numbers) -> Cycle:
    """The longest cycle that any of the columns shows, a day or a week.

    Parameters
    ----------
    columns : the rows' features and label
    times : of the rows, (rows,), in seconds since 1970, NaN where unknown

    Cut into the parts of a cycle (three hours of a day, days of a week), a column's means in one part have to differ
    from those in others by more than from those in the same part of other cycles: one-way analysis of variance over the
    parts, each of one cycle an observation (Fisher 1925), because the rows of one time are alike. Numbers count by
    their rank.
    """
    known = np.flatnonzero(np.isfinite(times))
    known = known[thin(len(known), LOOKED_AT)]
    hours = times[known] / _SECONDS
    for length in sorted(_PHASES, reverse=True):
        phases = _PHASES[length]
        part = np.floor(hours * phases / length).astype(np.int64)
        if not len(part) or part.max() - part.min() < _LEAST_CYCLES * phases:
            continue
        for name, column in columns.items():
            for series in _series(column, known):
                if _shown(series, part, phases, _LEVEL / len(columns)):
                    return Cycle(length, name)
    return Cycle()


def _series(column: Column, index: NDArray[np.intp]) -> Iterator[Numbers]:
    """The column as numbers of spread 1: ranks, or whether it is a category, of the most frequent ones."""
    if isinstance(column, Category):
        codes = column.codes[index]
        counts = np.bincount(codes[codes >= 0], minlength=len(column.levels))
        found = [(codes == code).astype(np.float64) for code in np.argsort(-counts)[:_CATEGORIES]]
    else:
        values = np.asarray(column)[index]
        ranks = np.full(len(values), np.nan)
        present = ~np.isnan(values)
        _, place, times = np.unique(values[present], return_inverse=True, return_counts=True)
        ranks[present] = (np.cumsum(times) - (times - 1) / 2)[place]
        found = [ranks]
    for series in found:
        spread = float(np.nanstd(series)) if np.isfinite(series).any() else 0.0
        if spread > 0:
            yield (series - np.nanmean(series)) / spread


def _shown(series: Numbers, part: NDArray[np.int64], phases: int, level: float) -> bool:
    """Whether the series' means differ by phase, each part of a cycle with enough rows being an observation."""
    present = np.isfinite(series)
    parts, place = np.unique(part[present], return_inverse=True)
    rows = np.bincount(place)
    means = np.bincount(place, weights=series[present]) / rows
    parts, means = parts[rows >= _LEAST_ROWS], means[rows >= _LEAST_ROWS]
    phase = parts % phases
    seen, group = np.unique(phase, return_inverse=True)
    times = np.bincount(group)
    if len(seen) < 2 or times.min() < _LEAST_CYCLES:
        return False
    of_phase = np.bincount(group, weights=means) / times
    between = float(np.sum(times * (of_phase - means.mean()) ** 2)) / (len(seen) - 1)
    within = float(np.sum((means - of_phase[group]) ** 2)) / (len(means) - len(seen))
    spread = max(between - within, 0.0) / float(times.mean())
    chance = float(fdtrc(len(seen) - 1, len(means) - len(seen), between / within)) if within > 0 else 0.0
    return chance < level and spread > _LEAST_SPREAD**2


def coverage(cycle: Cycle, window_hours: float, times: Numbers) -> dict[str, Any]:
    """What of the cycle a window of so many hours has, and its holdout, whose rows' times these are: for people.

    `hours` and `weekdays` are UTC's in which the holdout has rows, `share` is that of the cycle's parts.
    """
    known = times[np.isfinite(times)] / _SECONDS
    phases = _PHASES.get(cycle.hours, _PHASES[DAY])
    covered = len(np.unique(np.floor(known * phases / cycle.hours) % phases)) / phases
    days = np.unique(np.floor(known / DAY + 3) % 7).astype(int)  # 1970 began on a Thursday
    return {
        "hours": cycle.hours,
        "shown_by": cycle.shown_by,
        "asked": cycle.asked,
        "window_hours": round(window_hours, 3),
        "holdout": {
            "share": round(covered, 4),
            "hours": [int(hour) for hour in np.unique(np.floor(known % DAY))],
            "weekdays": [_DAYS[day] for day in days],
        },
    }


def spans_of(hours: Iterable[int]) -> str:
    """Hours of the day as spans, for people.

    >>> spans_of([0, 1, 2, 19, 20, 23]), spans_of(range(24))
    ('0 to 2, 19 to 20, 23', '0 to 23')
    """
    spans: list[list[int]] = []
    for hour in hours:
        if spans and hour == spans[-1][1] + 1:
            spans[-1][1] = hour
        else:
            spans.append([hour, hour])
    return ", ".join(f"{first} to {last}" if last > first else f"{first}" for first, last in spans)


def partial(found: Mapping[str, Any]) -> list[str]:
    """What of a cycle that the rows show, or model.toml asks for, neither window nor holdout can speak for, in
    sentences, of `coverage`.
    """
    if not (found["shown_by"] or found["asked"]) or not found["holdout"]["hours"]:
        return []
    name = {DAY: "day", WEEK: "week"}.get(found["hours"], f"cycle of {found['hours']:g} hours")
    held, column = found["holdout"], found["shown_by"]
    on = f"{column} depends on" if column else "model.toml asks for (cycle_hours)"
    why = f"{column} depends on the {name}" if column else "model.toml asks for all of it"
    said = []
    if found["window_hours"] < found["hours"]:
        said.append(f"the rest of the {name}, which {on}: the window is shorter")
    if held["share"] < 1:
        said.append(
            f"being worse at times of the {name} that the holdout has not, which is of {', '.join(held['weekdays'])}, "
            f"hours {spans_of(held['hours'])} UTC ({why})"
        )
    return said
