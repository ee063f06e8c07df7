"""Profiles: what a set of columns looks like, in bounded memory, in one pass, mergeable.

A profile of a file merged with a profile of another file is the profile of both: counts add up exactly, quantiles
within the sketch's error. So files can be summarised one after the other, by several processes, or by Spark.

A window is compared with a baseline that is fixed. Its profile therefore also counts at the baseline's own points:
counts of fixed size that add up, from which the distance to the baseline follows exactly, without a sketch's error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import blake2b
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from retrain.drift.moments import Axes, Moments, merge_moments, moments_of
from retrain.model.values import Numbers, category_name, flag_name, in_precision, parse_numbers

Counts = NDArray[np.int64]

K, C = 2048, 0.64  # Model Monitor's sketch parameters: items of the top level, and how lower levels shrink
MAX_CATEGORIES = 50_000  # categories of a column that are told apart, beside those of the baseline
MAX_CATEGORY = 200  # characters of a category's name; a longer one is cut and told apart by a hash
_CELLS = 400_000  # values that are held as text at a time
_MAX_HASH = 2**64


@dataclass(frozen=True, slots=True)
class Sketch:
    """A quantile sketch: an item of `levels[h]` stands for 2**h values. Levels are sorted; up to K values it is exact.

    KLL (Karnin, Lang, Liberty 2016): of a full level's items every second one moves up. Whether those at even or at odd
    places is drawn by a hash of the items: the same values give the same sketch, and the errors cancel out.
    """

    levels: tuple[Numbers, ...] = (np.empty(0),)

    @property
    def weight(self) -> int:
        """Number of values that the sketch stands for."""
        return sum(len(level) << height for height, level in enumerate(self.levels))

    def items(self) -> tuple[Numbers, Counts]:
        """The sketch's distinct values in order, and how many values are at most as large as each; both (points,)."""
        values = np.concatenate(self.levels)
        weights = np.concatenate([np.full(len(level), 1 << height) for height, level in enumerate(self.levels)])
        order = np.argsort(values, kind="stable")
        values, upto = values[order], np.cumsum(weights[order], dtype=np.int64)
        last = np.append(values[1:] != values[:-1], True) if len(values) else np.empty(0, dtype=bool)
        return values[last], upto[last]


def sketch_of(values: Numbers) -> Sketch:
    """The sketch of values (n,) in rising order, none of them NaN."""
    return _compacted([values])


def merge_sketches(one: Sketch, other: Sketch) -> Sketch:
    """The sketch of both sets of values."""
    height = max(len(one.levels), len(other.levels))
    levels = []
    for index in range(height):
        parts = [sketch.levels[index] for sketch in (one, other) if index < len(sketch.levels)]
        levels.append(np.sort(np.concatenate(parts), kind="stable") if len(parts) > 1 else parts[0])
    return _compacted(levels)


@dataclass(frozen=True, slots=True)
class AtPoints:
    """Counts at a baseline's points, which are distinct and sorted: shape (points,) each.

    `below` and `upto` count the values that are smaller, and not larger, than each point; `sums` adds up the smaller,
    `total` all of them.
    """

    points: Numbers
    below: Counts
    upto: Counts
    sums: Numbers
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """A column of numbers. `present` values were numbers, `bad` ones were texts, the `missing` were not there.

    `total` is the sum, `squares` the sum of squared differences from the mean, `integral` counts whole numbers.
    """

    present: int = 0
    missing: int = 0
    bad: int = 0
    integral: int = 0
    total: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    sketch: Sketch = field(default_factory=Sketch)
    at: AtPoints | None = None

    @property
    def completeness(self) -> float:
        """Share of the rows that have a usable value, 1 if there are no rows."""
        rows = self.present + self.missing + self.bad
        return self.present / rows if rows else 1.0

    @property
    def inferred_type(self) -> str:
        """In Model Monitor's words: Fractional, Integral, or Unknown where there was no value."""
        if not self.present:
            return "Unknown"
        return "Integral" if self.integral == self.present else "Fractional"

    @property
    def mean(self) -> float:
        """NaN without values."""
        return self.total / self.present if self.present else math.nan

    @property
    def std_dev(self) -> float:
        """The population's standard deviation, as Deequ and Model Monitor have it; NaN without values."""
        return math.sqrt(self.squares / self.present) if self.present else math.nan


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """A column of categories: `counts` of those that are told apart, `rest` of the values whose categories are not.

    `known` categories (the baseline's) are always told apart. Of others, those MAX_CATEGORIES whose hash is smallest,
    which makes the result independent of the order in which parts were merged, and their counts exact.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    rest: int = 0
    missing: int = 0
    known: frozenset[str] = frozenset()

    @property
    def present(self) -> int:
        """Number of values."""
        return sum(self.counts.values()) + self.rest

    @property
    def completeness(self) -> float:
        """Share of the rows that have a value, 1 if there are no rows."""
        rows = self.present + self.missing
        return self.present / rows if rows else 1.0

    @property
    def inferred_type(self) -> str:
        """In Model Monitor's words: String, or Unknown where there was no value."""
        return "String" if self.present else "Unknown"

    @property
    def distinct(self) -> int:
        """Number of categories; estimated from the hashes that were kept if there were too many to count."""
        if not self.rest:
            return len(self.counts)
        kept = sorted(_hash(name) for name in self.counts.keys() - self.known)
        return len(self.counts) - len(kept) + round((len(kept) - 1) * _MAX_HASH / max(kept[-1], 1))


ColumnProfile = NumericProfile | CategoricalProfile


@dataclass(frozen=True, slots=True)
class Profile:
    """Profiles of columns with the same number of rows; `moments` are of those columns that the layout's `joint` names.

    They are None where it names none.
    """

    rows: int
    columns: Mapping[str, ColumnProfile]
    moments: Moments | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns rows have, in order: name → numeric | categorical; and what a baseline wants to be counted.

    `points` are a numeric baseline's points, `known` a categorical baseline's categories. Of the categorical columns,
    `booleans` have two categories, true and false, in whatever spelling. Of the columns of `joint` it is
    counted, too, how they go together.
    """

    kinds: Mapping[str, str]
    points: Mapping[str, Numbers] = field(default_factory=dict)
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)
    booleans: frozenset[str] = frozenset()
    joint: Axes | None = None

    @property
    def block_rows(self) -> int:
        """Rows that are summarised at once: the more the faster, as far as memory stays bounded."""
        return max(_CELLS // max(len(self.kinds), 1), 256)


def empty(layout: Layout) -> Profile:
    """The profile of no rows."""
    return summarise_block([], layout)


def summarise(rows: Iterable[Sequence[str]], layout: Layout) -> Profile:
    """The profile of the rows, which must have the layout's number of columns. Memory does not grow with the rows."""
    return reduce(merge, (summarise_block(block, layout) for block in blocks(rows, layout)), empty(layout))


def blocks(rows: Iterable[Sequence[str]], layout: Layout) -> Iterator[list[Sequence[str]]]:
    """The rows in lists of a size that keeps memory bounded."""
    rows = iter(rows)
    while block := list(islice(rows, layout.block_rows)):
        yield block


def summarise_block(rows: Sequence[Sequence[str]], layout: Layout) -> Profile:
    """The profile of rows that are in memory."""
    texts: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [()] * len(layout.kinds)
    columns: dict[str, ColumnProfile] = {}
    numbers: dict[str, Numbers] = {}
    for (name, kind), column in zip(layout.kinds.items(), texts, strict=True):
        if kind == "categorical":
            columns[name] = counted(name, Counter(column), layout)
        else:
            numbers[name], bad = parse_numbers(column)
            columns[name] = numbers_of(numbers[name], layout.points.get(name), int(bad.sum()))
    return Profile(len(rows), columns, together(numbers, layout))


def together(numbers: Mapping[str, Numbers], layout: Layout) -> Moments | None:
    """How the columns of numbers go together that the layout's `joint` names; None if it names none."""
    return None if layout.joint is None else moments_of(numbers, layout.joint)


def merge(one: Profile, other: Profile) -> Profile:
    """The profile of both sets of rows. Associative and commutative; sums and sketches within their error."""
    if one.columns.keys() != other.columns.keys():
        raise ValueError("profiles of different columns can't be merged")
    columns = {name: merge_columns(column, other.columns[name]) for name, column in one.columns.items()}
    both = one.moments and other.moments and merge_moments(one.moments, other.moments)
    return Profile(one.rows + other.rows, columns, both)


def merge_columns(one: ColumnProfile, other: ColumnProfile) -> ColumnProfile:
    """The profile of both columns' values; they are of the same kind and were counted at the same points."""
    if isinstance(one, NumericProfile) and isinstance(other, NumericProfile):
        return _merge_numeric(one, other)
    if isinstance(one, CategoricalProfile) and isinstance(other, CategoricalProfile):
        if one.known != other.known:
            raise ValueError("profiles with different known categories can't be merged")
        counts, rest = Counter(one.counts) + Counter(other.counts), one.rest + other.rest
        return _capped(counts, rest, one.missing + other.missing, one.known)
    raise ValueError("profiles of different kinds can't be merged")


def numbers_of(
    values: Numbers, points: Numbers | None = None, bad: int = 0, sort: Callable[[Numbers], Numbers] = np.sort
) -> NumericProfile:
    """The profile of a column of numbers, NaN for what is missing or, `bad` times, no number. `sort` orders them.

    Where they are compared, in the sketch and at a baseline's points, they are rounded to float32, as the model rounds
    them; those points are rounded already. Sums and extremes are of the values as they are.

    >>> numbers_of(np.array([1.0, 2.0, np.nan, 3.5])).mean
    2.1666666666666665
    """
    found = sort(values[~np.isnan(values)] + 0.0)  # -0.0 becomes 0.0, or the order of equal values would show
    rounded = in_precision(found)
    count = len(found)
    at = None if points is None else _count_at(points, rounded)
    if not count:
        return NumericProfile(missing=len(values) - bad, bad=bad, at=at)
    total = float(found.sum())
    return NumericProfile(
        present=count,
        missing=len(values) - count - bad,
        bad=bad,
        integral=int(np.count_nonzero(np.trunc(found) == found)),
        total=total,
        squares=float(np.square(found - total / count).sum()),
        minimum=float(found[0]),
        maximum=float(found[-1]),
        sketch=sketch_of(rounded),
        at=at,
    )


def categories_of(texts: Iterable[str], known: frozenset[str] = frozenset()) -> CategoricalProfile:
    """The profile of a column of texts, as `retrain.model.values.category_name` reads them.

    >>> categories_of(["web", "app ", "web", ""]).counts
    {'web': 2, 'app': 1}
    """
    return categories_counted(Counter(texts), known)


def counted(name: str, texts: Mapping[str, int], layout: Layout) -> CategoricalProfile:
    """The profile of the layout's categorical column, of texts that come with how often each is there."""
    if name in layout.booleans:
        spelled: Counter[str] = Counter()
        for text, count in texts.items():
            spelled[flag_name(text)] += count
        texts = spelled
    return categories_counted(texts, layout.known.get(name, frozenset()))


def categories_counted(texts: Mapping[str, int], known: frozenset[str] = frozenset()) -> CategoricalProfile:
    """The profile of texts that come with how often each is there."""
    counts: Counter[str] = Counter()
    for text, count in texts.items():
        counts[category_of(text)] += count
    missing = counts.pop("", 0)
    return _capped(counts, 0, missing, known)


def _merge_numeric(one: NumericProfile, other: NumericProfile) -> NumericProfile:
    present, total = one.present + other.present, one.total + other.total
    squares = one.squares + other.squares
    if one.present and other.present:  # Chan, Golub, LeVeque 1979, eq. 1.5
        squares += (one.mean - other.mean) ** 2 * (one.present * other.present / present)
    at = None
    if one.at is not None and other.at is not None:
        if one.at.points is not other.at.points and not np.array_equal(one.at.points, other.at.points):
            raise ValueError("profiles that were counted at different points can't be merged")
        at = AtPoints(
            one.at.points,
            one.at.below + other.at.below,
            one.at.upto + other.at.upto,
            one.at.sums + other.at.sums,
            one.at.total + other.at.total,
        )
    return NumericProfile(
        present,
        one.missing + other.missing,
        one.bad + other.bad,
        one.integral + other.integral,
        total,
        squares,
        min(one.minimum, other.minimum),
        max(one.maximum, other.maximum),
        merge_sketches(one.sketch, other.sketch),
        at,
    )


def _count_at(points: Numbers, found: Numbers) -> AtPoints:
    below = np.searchsorted(found, points, side="left")
    upto = np.searchsorted(found, points, side="right")
    begin = np.append(0, below[:-1])
    between = np.add.reduceat(np.append(found[: below[-1]], 0.0), begin) if len(below) else np.empty(0)
    between[begin == below] = 0.0  # where there is nothing to add, reduceat has the value at `begin`
    return AtPoints(points, below.astype(np.int64), upto.astype(np.int64), np.cumsum(between), float(found.sum()))


def _compacted(levels: list[Numbers]) -> Sketch:
    height = 0
    while height < len(levels):
        level = levels[height]
        if len(level) > _capacity(len(levels) - 1 - height):
            if height + 1 == len(levels):
                levels.append(np.empty(0))
            even = len(level) // 2 * 2
            levels[height] = level[even:]
            moved = level[_coin(level) : even : 2]
            levels[height + 1] = np.sort(np.concatenate((levels[height + 1], moved)), kind="stable")
        height += 1
    return Sketch(tuple(levels))


def _coin(level: Numbers) -> int:
    """0 or 1, drawn by the values."""
    mixed = int(np.bitwise_xor.reduce(level.view(np.uint64))) * 0x9E3779B97F4A7C15 + len(level)  # Fibonacci hashing
    return (mixed ^ (mixed >> 29)) >> 35 & 1


def _capacity(depth: int) -> int:
    """Items that a level may hold, `depth` levels below the top."""
    return 2 * (math.ceil(K * C**depth / 2) + 1)


def _capped(counts: Counter[str], rest: int, missing: int, known: frozenset[str]) -> CategoricalProfile:
    if len(counts) > MAX_CATEGORIES:
        others = counts.keys() - known
        if len(others) > MAX_CATEGORIES:
            for name in sorted(others, key=_hash)[MAX_CATEGORIES:]:
                rest += counts.pop(name)
    return CategoricalProfile(dict(counts), rest, missing, known)


def category_of(text: str) -> str:
    """The category's name, cut and told apart by a hash where it is very long."""
    text = category_name(text)
    return text if len(text) <= MAX_CATEGORY else f"{text[: MAX_CATEGORY - 17]}~{_hash(text):016x}"


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
