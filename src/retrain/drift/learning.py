"""Learning chance from a baseline's own time: what its blocks do against the rest of it.

Rows are counted by the hour (the six hours, the day, where there are many features or years) at a few places of each
feature's distribution; what is longer adds up. So memory is bounded, and one pass over the rows is enough.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.drift import distances
from retrain.drift.baseline import PREDICTION, FeatureBaseline, NumericBaseline, Statistics, read_statistics
from retrain.drift.chance import DAY, KINDS, MIN_BLOCKS, Blocks, as_shift, near, render_blocks
from retrain.drift.distances import Steps
from retrain.drift.profile import Layout, counted
from retrain.drift.rates import rates_of, render_rates
from retrain.model.values import Numbers, parse_numbers

LENGTHS = (1, 6, 24, 48, 168, 336, 672)  # hours
_ENOUGH_DAYS = 28  # of a baseline, from which on its own time speaks
_LEAST_VALUES = 20  # of a block, below which it says nothing
_MOSTLY = 0.5  # of a length's blocks have to be worth comparing: the busy ones alone do not speak for all
_POINTS = 100  # of a numeric feature's distribution, evenly spread over the baseline's rows
_CATEGORIES = 100  # of a categorical feature, the most frequent; others count as one
_CELLS = 2**24  # counts that are held at a time: 64 MB
_UNITS = (1, 6, 24)  # hours: the finest of which the baseline's blocks fit into the cells
_DRAWS = 200
_MEAN_SQUARE = math.pi**2 / 6  # twice that of Kolmogorov's distribution, whose tail is 2 exp(-2 x²)
_STARTS = 8  # of blocks, over a block's length: windows begin at any hour
_SECONDS = 3600.0
Counts = NDArray[np.int32]


def with_chance(
    document: Mapping[str, Any],
    rows: Iterable[Sequence[str]],
    times: Numbers,
    predictions: Iterable[str | float] | None = None,
) -> dict[str, Any]:
    """statistics.json with what chance does to each feature, and to the predictions if it has them.

    `rows` are those that the document is of, in its order of features, `times` theirs (rows,) in seconds since 1970,
    NaN where unknown: such rows have no part in it. Without any time the document is as it was.
    """
    known = times[np.isfinite(times)] / _SECONDS
    if not len(known):
        return dict(document)
    statistics = read_statistics(document)
    baselines = dict(statistics.features)
    names = list(baselines)
    if predictions is not None and statistics.prediction is not None:
        baselines[PREDICTION] = statistics.prediction
        rows = (
            [*row, answer if isinstance(answer, str) else repr(float(answer))]
            for row, answer in zip(rows, predictions, strict=True)
        )
        names.append(PREDICTION)
    references = {name: found for name, item in baselines.items() if (found := _reference(item)) is not None}
    learning = Learning(references, statistics.layout, float(known.min()), float(known.max()))
    rows, place = iter(rows), 0
    while block := list(islice(rows, statistics.layout.block_rows)):
        learning.add(times[place : place + len(block)] / _SECONDS, block, names)
        place += len(block)
    learned = learning.learned()
    features = [feature | learned.get(feature["name"], {}) for feature in document["features"]]
    return {**document, "features": features}


def inherit(document: Mapping[str, Any], earlier: Statistics, times: Numbers) -> dict[str, Any]:
    """statistics.json in which features have what an earlier baseline learned of chance, where that knows more days
    than their own time and `_ENOUGH_DAYS` are not in that: a baseline of a day knows nothing of the next one, and one
    of a week has not seen every day of the year.

    `times` are its rows', in seconds since 1970. Without any the document is as it was.
    """
    known = times[np.isfinite(times)]
    if not len(known):
        return dict(document)
    over = float(known.max() - known.min()) / _SECONDS
    own = read_statistics(document)
    had = {**earlier.features, PREDICTION: earlier.prediction}
    features = []
    for feature in document["features"]:
        name = feature["name"]
        mine, before = own.prediction if name == PREDICTION else own.features[name], had.get(name)
        given = (before.chance if before else None) or ()
        if _days_in(mine.chance if mine else None) < min(_days_in(given), _ENOUGH_DAYS):
            inherited = render_blocks([replace(item, over=round(over, 4)) for item in given])
            rates = render_rates(before.rates or ()) if before else []
            features.append(feature | {"chance": inherited, "rates": rates})
        else:
            features.append(feature)
    return {**document, "features": features}


def _days_in(blocks: Sequence[Blocks] | None) -> int:
    """Of how many blocks of a day or longer something is known."""
    return max((item.count for item in blocks or () if item.hours >= DAY), default=0)


def _reference(baseline: FeatureBaseline) -> Reference | None:
    if isinstance(baseline, NumericBaseline):
        return reference_of_numbers(baseline.steps) if baseline.steps else None
    return reference_of_categories(baseline.counts) if baseline.counts else None


@dataclass(frozen=True)
class Reference:
    """A feature's places to count at: distinct points of numbers, or categories. `deciles` are ends of wider bins."""

    points: Numbers | None
    deciles: NDArray[np.intp]
    names: Mapping[str, int]

    @property
    def bins(self) -> int:
        """Of numbers, below, at and between the points; of categories, each and all others."""
        return len(self.names) + 1 if self.points is None else 2 * len(self.points) + 1


def reference_of_numbers(steps: Steps) -> Reference:
    """The points that part the baseline's values evenly; every tenth of them ends one of ten wider bins."""
    shares = np.arange(1, _POINTS) / _POINTS * steps.weight
    places = np.unique(np.searchsorted(steps.upto, shares))
    tenths = np.unique(np.searchsorted(steps.upto, shares[_POINTS // 10 - 1 :: _POINTS // 10]))
    tenths = tenths[tenths < len(steps.points) - 1]
    return Reference(steps.points[places], 2 * np.searchsorted(places, tenths) + 1, {})


def reference_of_categories(counts: Mapping[str, int]) -> Reference:
    """The most frequent categories."""
    ranked = sorted(counts, key=lambda name: (-counts[name], name))[:_CATEGORIES]
    return Reference(None, np.empty(0, np.intp), {name: place for place, name in enumerate(ranked)})


class Learning:
    """Counts of a baseline's rows by block of time, added up batch by batch; memory does not grow with the rows."""

    def __init__(self, references: Mapping[str, Reference], layout: Layout, begin: float, end: float) -> None:
        """`begin` and `end` are the first and the last row's time, in hours since the epoch."""
        cells = sum(item.bins for item in references.values())
        first = math.floor(begin)
        span = math.floor(end) + 1 - first
        self._unit = next((unit for unit in _UNITS if span / unit * cells <= _CELLS), _UNITS[-1])
        self._blocks = max(1, min(math.ceil(span / self._unit), _CELLS // max(cells, 1)))
        self._first = math.floor(end) + 1 - self._blocks * self._unit  # of a very long baseline the newest part
        self._references, self._layout = references, layout
        self._rows = np.zeros(self._blocks, np.int64)
        self._counts: dict[str, Counts] = {
            name: np.zeros((self._blocks, item.bins), np.int32) for name, item in references.items()
        }

    def add(self, hours: Numbers, rows: Sequence[Sequence[str]], names: Sequence[str]) -> None:
        """The rows, whose columns are `names`; `hours` (rows,) are their times since 1970, NaN where unknown."""
        block = np.floor((hours - self._first) / self._unit)
        with np.errstate(invalid="ignore"):
            usable = (block >= 0) & (block < self._blocks)
        block = np.where(usable, block, -1).astype(np.intp)
        self._rows += np.bincount(block[usable], minlength=self._blocks)
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            if (reference := self._references.get(name)) is None:
                continue
            place = _places(name, column, reference, self._layout)
            seen = (place >= 0) & (block >= 0)
            np.add.at(self._counts[name].reshape(-1), block[seen] * reference.bins + place[seen], 1)

    def learned(self) -> dict[str, dict[str, Any]]:
        """What blocks of each length did, feature by feature, as statistics.json has it."""
        return {
            name: {
                "chance": render_blocks(blocks_of(self._counts[name], self._unit, reference)),
                "rates": render_rates(rates_of(self._counts[name], self._unit, self._rows)),
            }
            for name, reference in self._references.items()
        }


def _places(name: str, column: Sequence[str], reference: Reference, layout: Layout) -> NDArray[np.intp]:
    """The bin of each value, -1 of a missing one."""
    if reference.points is not None:
        values, _ = parse_numbers(column)
        values = values + 0.0
        low = np.searchsorted(reference.points, values, side="left")
        high = np.searchsorted(reference.points, values, side="right")
        return np.where(np.isnan(values), -1, low + high).astype(np.intp)
    known: dict[str, int] = {}
    for text in set(column):
        [spelled] = counted(name, Counter((text,)), layout).counts or [None]
        known[text] = -1 if spelled is None else reference.names.get(spelled, len(reference.names))
    return np.fromiter((known[text] for text in column), np.intp, len(column))


def blocks_of(counts: Counts, unit: int, reference: Reference, seed: int = 7) -> tuple[Blocks, ...]:
    """What blocks of each length did; `counts` are those of the units of time, (units, bins), one after the other."""
    numeric = reference.points is not None
    every = counts.sum(axis=0, dtype=np.int64)
    upto = np.vstack([np.zeros((1, counts.shape[1]), np.int64), np.cumsum(counts, axis=0, dtype=np.int64)])
    random = np.random.default_rng(seed)
    found = []
    for hours in LENGTHS:
        size = hours // unit
        if hours % unit or not size or size > len(counts) // MIN_BLOCKS:
            continue
        step = max(1, size // _STARTS)
        ends = np.arange(size, len(counts) + 1, step)
        block = (upto[ends] - upto[ends - size]).astype(np.float64)
        rest = every - block
        n, m = block.sum(axis=1), rest.sum(axis=1)
        usable = (n >= _LEAST_VALUES) & (m >= _LEAST_VALUES)
        independent = int(len(counts) // size * usable.mean())
        if independent < MIN_BLOCKS or usable.mean() < _MOSTLY:
            continue
        block, rest, n, m = block[usable], rest[usable], n[usable], m[usable]
        shifts = _shifts(block, rest, numeric, reference.deciles)
        expected = _by_rows(every, float(np.median(n)), numeric, reference.deciles, random)
        # Of few blocks less is taken off than is to be expected: not more than is surely there.
        surely = max(0.0, 1 - 2 / math.sqrt(independent))
        harmonic = 1 / n + 1 / m
        usual, most = {}, {}
        for kind, shift, by_rows in zip(KINDS, shifts, expected, strict=True):
            square = shift**2
            mean = float(np.mean(square))
            usual[kind] = math.sqrt(max(0.0, mean - by_rows * float(np.mean(harmonic)), mean * (1 - surely)))
            extreme = by_rows * math.log(2 * len(n)) / _MEAN_SQUARE
            most[kind] = math.sqrt(max(0.0, float(np.max(square - extreme * harmonic))))
        found.append(Blocks(hours, independent, _near(block[:: max(1, size // step)]), usual, most))
    return tuple(found)


def _near(blocks: Numbers) -> float:
    """The correlation of a block with the next: neighbours are alike, and repeat what the others say.

    That of the direction in which the blocks' shares differ most.
    """
    rows = blocks.sum(axis=1)
    shares = blocks / rows[:, None]
    common = shares.mean(axis=0)
    _, vectors = np.linalg.eigh((shares - common).T @ (shares - common))
    direction = vectors[:, -1]
    series = (shares - common) @ direction
    by_rows = float(common @ direction**2 - (common @ direction) ** 2) * float((1 / rows).mean())
    return near(series, by_rows)


def _by_rows(
    every: NDArray[np.int64], n: float, numeric: bool, deciles: NDArray[np.intp], random: np.random.Generator
) -> list[float]:
    """The mean square of each shift between two samples of independent rows, times the harmonic sum of their rows.

    Drawn, because it depends on how many values are equal.
    """
    shares = every / every.sum()
    size, other = max(int(n), 1), max(int(every.sum() - n), 1)
    one = random.multinomial(size, shares, _DRAWS).astype(np.float64)
    two = random.multinomial(other, shares, _DRAWS).astype(np.float64)
    return [float(np.mean(found**2)) / (1 / size + 1 / other) for found in _shifts(one, two, numeric, deciles)]


def _shifts(one: Numbers, two: Numbers, numeric: bool, deciles: NDArray[np.intp]) -> list[Numbers]:
    """The distances, as shifts, of pairs of counts: (pairs, bins) each → (pairs,) of each kind."""
    p, q = (part / part.sum(axis=1, keepdims=True) for part in (one, two))
    if numeric:
        largest = np.abs(np.cumsum(p, axis=1) - np.cumsum(q, axis=1)).max(axis=1)
        starts = np.unique(np.concatenate(([0], deciles + 1)))
        starts = starts[starts < one.shape[1]]
        one, two = (np.add.reduceat(part, starts, axis=1) for part in (one, two))
    else:
        largest = np.abs(p - q).max(axis=1)
    found = (largest, distances.psi_of(one, two), distances.jensen_shannon_of(one, two))
    return [as_shift(kind, distance) for kind, distance in zip(KINDS, found, strict=True)]
