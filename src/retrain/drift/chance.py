"""What chance does to a window: learned from what blocks of the baseline's own time do against the rest of it.

Rows of one time are alike: a day has one exchange rate, a night has few travellers, a cold week has many cold rows. The
distance between two samples of independent rows says nothing of that, so that every day of an unchanged world would
drift. The baseline knows better, if it knows when its rows were: cut into blocks of an hour, of a day, of a week, each
is held against the others, and how far blocks of a length usually lie apart bounds what a window of that length may do
without anything having changed.

Of each length the root mean square of the distances is kept, less what so few rows do by themselves: that part depends
on the window's own number of rows and is added again when the window is known. The bound is Student's quantile times
it, at a level at which all features, all lengths and all looks of a year together raise `false_alarms_per_year`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.drift import distances
from retrain.model.monitor_options import ALPHA

DAY, YEAR = 24.0, 24.0 * 365  # hours
MIN_BLOCKS = 8  # of a length, below which the baseline says nothing of it
Numbers = NDArray[np.float64]
KINDS = ("linf", "psi", "jensen_shannon")
LENGTHS_JUDGED = 6  # an hour, the window, a week, four weeks; what breaks within an hour, what lasts for weeks
OVERLAP = 3  # how many times as often as a year has windows of a length, sliding ones find something new
_TAIL = 2.0  # of what was seen at most: about what a normal block exceeds once in years
_WINITZKI = 0.147
MOST_NEAR = 0.995
_LEAST_WORTH = 3.0  # independent blocks, of which a variance can be told at all


@dataclass(frozen=True, slots=True)
class Blocks:
    """What blocks of `hours` did: `count` of them that don't overlap, `near` the correlation of one with the next.

    Of each kind of distance (linf, psi, jensen_shannon) `usual` has the root mean square over the blocks, `most` the
    largest, both as a shift (`as_shift`), less what as many independent rows do.

    `over` is None where they are the baseline's own. Where they were an earlier baseline's, it is how many hours the
    baseline itself covers: then it is but another window of that earlier world, and moves as a window of its length.
    """

    hours: float
    count: int
    near: float
    usual: Mapping[str, float]
    most: Mapping[str, float]
    over: float | None = None

    @property
    def worth(self) -> float:
        """How many independent blocks they are worth: squares of an AR(1) process are worth (1 - r²) / (1 + r²)."""
        return self.count * (1 - self.near**2) / (1 + self.near**2)

    def beyond(self, kind: str, alpha: float, hours: float) -> float:
        """The shift that a window of so many hours exceeds with probability alpha at most, its rows' part apart.

        Student's quantile holds where blocks are about normal. Where they have heavy tails, the largest that was seen
        says so: twice that is more than a normal one exceeds in years.
        """
        most = self._scale(hours) * _TAIL * self.most[kind] if self.most[kind] else 0.0
        return max(self.normally(kind, alpha, hours), most)

    def normally(self, kind: str, alpha: float, hours: float) -> float:
        """The shift that a window exceeds with probability alpha at most, as far as blocks are normal."""
        if self.worth < _LEAST_WORTH:
            return math.inf
        return self._scale(hours) * student(int(self.worth) - 1, alpha) * self.usual[kind]

    def speaks_of(self, hours: float) -> bool:
        """Whether a window of so many hours, and the baseline itself, are at least as long as the blocks."""
        return self.count >= MIN_BLOCKS and self.hours <= min(hours, math.inf if self.over is None else self.over)

    def _scale(self, hours: float) -> float:
        """How much more, or less, the distance of a window is than a block's."""
        alone = self._share(hours)
        return alone if self.over is None else math.hypot(alone, self._share(self.over))

    def _share(self, hours: float) -> float:
        """How much more, or less, a window moves than a block.

        More, because the baseline's own level is that of so few blocks, and they vary about it rather than about the
        truth. Less, because a longer window is a mean of several blocks: of an AR(1) process, of (1 - r) / (1 + r)
        independent ones for each. That of hours is not, who know nothing of days.
        """
        own = math.sqrt((self.worth + 1) / (self.worth - 1)) if self.worth > 1 else math.inf
        if self.hours < DAY:
            return own
        return own * math.sqrt(min(1.0, self.hours / hours * (1 + self.near) / (1 - self.near)))


def as_shift(kind: str, distance: Numbers | float) -> Numbers:
    """The distance, of any shape, as a shift: in standard deviations of a normal feature, to which PSI's root is equal.

    A distance of at most 1 says less and less of how far a feature has moved: 0.95 is twice as far as 0.68.

    >>> as_shift("linf", np.array([0.3829, 0.6827, 0.9545])).round(2), as_shift("psi", np.array([0.25]))
    (array([1., 2., 4.]), array([0.5]))
    """
    if kind == "psi":
        return np.asarray(np.sqrt(distance), dtype=np.float64)
    # 2 Φ⁻¹((1 + d) / 2) by Winitzki's inverse of the error function, within 0.2 %
    d = np.minimum(np.asarray(distance, dtype=np.float64), 1 - 1e-9)
    log = np.log1p(-d * d)
    half = 2 / (math.pi * _WINITZKI) + log / 2
    return np.asarray(2 * math.sqrt(2) * np.sqrt(np.sqrt(half**2 - log / _WINITZKI) - half), dtype=np.float64)


def as_distance(kind: str, shift: float) -> float:
    """The distance that is such a shift.

    >>> round(as_distance("linf", 1.0), 3), as_distance("psi", 0.5), as_distance("linf", math.inf)
    (0.383, 0.25, 1.0)
    """
    return shift**2 if kind == "psi" else math.erf(shift / (2 * math.sqrt(2)))


@dataclass(frozen=True, slots=True)
class Bound:
    """What chance may do to a distance, in its unit.

    A larger distance than `total` is no chance, at the level of a year's false alarms. `hides` is what chance may hide
    of a distance, or add to it, in three windows of a thousand. Both are infinite where the baseline says nothing of so
    short a window. `few` is whether that is for lack of rows rather than of time. `learned` is whether the baseline's
    time had a say, `hours` the length of the blocks that it was learned from.
    """

    total: float
    hides: float
    few: bool
    learned: bool
    hours: float | None = None


def level(false_alarms_per_year: float, hours: float, features: int, lengths: int) -> float:
    """The level of one look at one feature over a window of so many hours, so that a year has that many false alarms.

    >>> round(level(0.1, 24, 25, 4) * 365 * 25 * 4 * 3, 9)
    0.1
    """
    looks = max(YEAR / hours, 1.0) * OVERLAP
    return min(false_alarms_per_year / (looks * max(features, 1) * max(lengths, 1)), 0.5)


def bound(
    kind: str, blocks: Sequence[Blocks] | None, hours: float | None, rows: tuple[int, int, int], alpha: float
) -> Bound:
    """What chance may do with probability `alpha` to the distance of a window.

    `kind` is linf, psi or jensen_shannon, `rows` the values of the window and of the baseline and the bins that they
    were counted in, `hours` the window's length, None if nobody knows it. Longer windows inherit the bound of shorter
    ones. Where no length of at most `hours` has enough blocks, `total` is infinite. Where the baseline does not know
    its time (`blocks` is None) it is that of independent rows. A distance of at most 1 that is nearer to it than one of
    the window's rows is 1: a category that is the same all day shares no row with a baseline that lacks its day.
    """
    alone, usual = _of_rows(kind, rows, alpha), _of_rows(kind, rows, ALPHA)
    if blocks is None or hours is None:
        return Bound(alone, usual, few=True, learned=False)
    known = [item for item in blocks if item.speaks_of(hours)]
    if not known:
        return Bound(math.inf, math.inf, few=False, learned=True)
    time, of = min((item.beyond(kind, alpha, hours), item.hours) for item in known)
    hidden = min(item.normally(kind, ALPHA, hours) for item in known)
    by_rows, usually = (float(as_shift(kind, part)) for part in (alone, usual))
    total, hides = (as_distance(kind, math.hypot(*parts)) for parts in ((time, by_rows), (hidden, usually)))
    if kind != "psi" and total > 1 - 1 / max(rows[0], 1):
        total = 1.0
    return Bound(total, hides, few=by_rows >= time, learned=True, hours=of)


def exceeded(
    kind: str, blocks: Sequence[Blocks] | None, hours: float | None, rows: tuple[int, int, int], alpha: float
) -> float:
    """The distance that a window exceeds with probability `alpha` at most, as far as its blocks are normal; infinite
    where the baseline says nothing of its length. Parameters as `bound` has them.
    """
    known = [item for item in blocks or () if hours is not None and item.speaks_of(hours)]
    time = min((item.normally(kind, alpha, hours or 0.0) for item in known), default=math.inf)
    if not math.isfinite(time):
        return math.inf
    return as_distance(kind, math.hypot(time, float(as_shift(kind, _of_rows(kind, rows, alpha)))))


def _of_rows(kind: str, rows: tuple[int, int, int], alpha: float) -> float:
    n, m, bins = rows
    if kind == "psi":
        return distances.psi_by_chance(n, m, bins, alpha)
    if kind == "jensen_shannon":
        return distances.jensen_shannon_by_chance(n, m, bins, alpha)
    return distances.min_detectable_drift(n, m, alpha)


@lru_cache(maxsize=1024)
def student(degrees: int, alpha: float) -> float:
    """The two-sided quantile of Student's t: |t| exceeds it with probability alpha.

    The finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4), solved by Newton's method
    in logarithms, in which the tail is about straight.

    >>> round(student(7, 0.05), 3), round(student(59, 1e-6), 2)
    (2.365, 5.46)
    """
    odd = degrees % 2
    steps = np.arange(2 + odd, degrees, 2)
    ratios = (steps - 1.0) / steps

    def inside(value: float) -> float:
        angle = math.atan(value / math.sqrt(degrees))
        squared = math.cos(angle) ** 2
        series = 1 + float(np.cumprod(ratios * squared).sum())
        if not odd:
            return math.sin(angle) * series
        rest = math.sin(angle) * math.cos(angle) * series if degrees > 1 else 0.0
        return 2 / math.pi * (angle + rest)

    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(math.pi * degrees) / 2
    value = 1.0
    for _ in range(200):
        outside = max(1 - inside(value), 1e-16)
        density = 2 * math.exp(scale - (degrees + 1) / 2 * math.log1p(value * value / degrees))
        step = math.log(outside / alpha) * outside / max(density * value, 1e-300)
        value *= math.exp(min(max(step, -0.5), 0.5))  # further out there is nothing left of the tail but rounding
        if abs(step) < 1e-9:
            break
    return value


def near(series: Numbers, by_rows: float = 0.0) -> float:
    """The correlation of one block with the next, of a series (blocks,) about its mean: 0 … 0.995, rather too large.

    `by_rows` is the rows' part in its variance, which hides it. Its bias (Kendall 1954) and a standard error are added:
    few blocks do not tell how alike neighbours are.
    """
    variance = float(series @ series) / len(series) - by_rows
    if variance <= 0:
        return 0.0
    lagged = min(max(float(series[1:] @ series[:-1]) / (len(series) - 1) / variance, -1.0), 1.0)
    unsure = math.sqrt((1 - lagged**2) / len(series))
    return min(max(lagged + (1 + 3 * lagged) / len(series) + unsure, 0.0), MOST_NEAR)


def render_blocks(blocks: Sequence[Blocks], kinds: Sequence[str] = KINDS) -> list[dict[str, Any]]:
    """The form in which they travel in statistics.json, as a feature's `chance`."""
    return [
        {
            "hours": item.hours,
            "blocks": item.count,
            "near": round(item.near, 4),
            "usual": {kind: round(item.usual[kind], 6) for kind in kinds},
            "most": {kind: round(item.most[kind], 6) for kind in kinds},
            **({} if item.over is None else {"over": round(item.over, 6)}),
        }
        for item in blocks
    ]


def read_blocks(found: Any, kinds: Sequence[str] = KINDS) -> tuple[Blocks, ...]:
    """What `render_blocks` wrote. Raises ValueError for anything else.

    >>> blocks = (Blocks(24, 60, 0.25, dict.fromkeys(KINDS, 0.02), dict.fromkeys(KINDS, 0.05)),)
    >>> read_blocks(render_blocks(blocks)) == blocks
    True
    """
    try:
        blocks = tuple(
            Blocks(
                _number(item["hours"]),
                int(_number(item["blocks"])),
                min(_number(item["near"]), MOST_NEAR),
                {kind: _number(item["usual"][kind]) for kind in kinds},
                {kind: _number(item["most"][kind]) for kind in kinds},
                _number(item["over"]) if "over" in item else None,
            )
            for item in found
        )
    except (TypeError, KeyError) as error:
        raise ValueError(f"a list of blocks is expected: {error!r}") from None
    return blocks


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is not a number from 0")
    return value
