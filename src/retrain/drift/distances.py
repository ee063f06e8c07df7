"""Distances between a window and its baseline, and what may be concluded from them.

Numbers are compared by the largest difference between the two cumulative distributions (the Kolmogorov-Smirnov
statistic), categories by the largest difference between the two shares of one category. Both lie between 0 and 1, both
are Model Monitor's `Simple` distance, computed as Deequ computes it (`Distance.scala`). They drive the verdict unless
another metric is chosen, because they say in a unit that people understand how much of the data has moved, whatever the
feature's scale and the number of rows. `Robust` is the same less what chance may produce.

A threshold is an effect that matters, not a significance level. So a window has drifted if the distance exceeds the
threshold and chance doesn't explain it; it is stable if the distance does not and chance could not have hidden it from
a window of that size; otherwise nothing is known. A test's p-value has a threshold of its own, a significance level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from retrain.drift.profile import AtPoints, Sketch
from retrain.model.monitor_options import ALPHA
from retrain.model.values import Numbers

C_ALPHA = 1.8  # Deequ's default, for ALPHA: Knuth, The Art of Computer Programming 2, 3.3.1, eq. (15)
BINS = 10
_CLEARLY = 4  # standard deviations of a count
_NAMELESS = 0.05  # share of a baseline whose categories it does not name: beyond, those it names came first by chance
_RARE = 1.37  # what chance adds to Jensen-Shannon's divergence where a bin expects few values, at most (at 1.2 of them)
_SMALL_CATEGORY, _SMALL_SHARE, _SMALL_OF_TWO = 5, 0.2, 10  # Yates, Moore, McCabe 1999; Cochran 1952


@dataclass(frozen=True, slots=True)
class Steps:
    """A baseline's cumulative distribution: `upto` of `weight` values are at most as large as each of `points`.

    `exact` is False if it is known at the points only and not constant between them (ten buckets, no sketch). The
    points are then the buckets' upper bounds, which the buckets do not hold, the last one excepted: `upto` counts the
    values that are smaller than each point, at the last one also those that are equal.
    """

    points: Numbers
    upto: Numbers
    weight: float
    exact: bool = True

    def counted(self, window: AtPoints) -> Numbers:
        """How many of the window's values are at each point (points,), counted as `upto` counts the baseline's."""
        counts = window.upto if self.exact else np.append(window.below[:-1], window.upto[-1])
        return counts.astype(np.float64)


def steps_of(sketch: Sketch) -> Steps:
    """The sketch's cumulative distribution."""
    points, upto = sketch.items()
    return Steps(points, upto.astype(np.float64), float(sketch.weight))


def numeric_distance(baseline: Steps, window: AtPoints, count: int) -> float:
    """The Kolmogorov-Smirnov statistic between baseline and window (`count` values), 0 … 1; NaN without values.

    Exact with respect to the baseline's steps: between two points the baseline is constant, so that the difference is
    largest at a point or just before one, and there the window was counted.

    >>> from retrain.drift.profile import numbers_of, sketch_of
    >>> baseline = steps_of(sketch_of(np.array([1.0, 2.0, 3.0, 4.0])))
    >>> window = numbers_of(np.array([2.0, 3.0, 4.0, 5.0]), baseline.points)
    >>> numeric_distance(baseline, window.at, window.present)
    0.25
    """
    if not count or not baseline.weight:
        return math.nan
    cdf = baseline.upto / baseline.weight
    at = np.abs(cdf - baseline.counted(window) / count)
    if not baseline.exact:
        return float(at.max())
    before = np.abs(np.concatenate(([0.0], cdf[:-1])) - window.below / count)
    return float(max(at.max(), before.max()))


def categorical_distance(
    baseline: Mapping[str, int], window: Mapping[str, int], other: tuple[int, int] = (0, 0)
) -> float:
    """The largest difference between the shares of a category, 0 … 1; NaN without values.

    `other` are the baseline's and the window's values whose categories were not told apart: they count for the shares.

    >>> categorical_distance(dict(a=11, b=20, c=25, d=10, e=10), dict(a=10, b=20, c=25, d=10, e=5))
    0.06015037593984962
    """
    m, n = sum(baseline.values()) + other[0], sum(window.values()) + other[1]
    if not n or not m:
        return math.nan
    names = baseline.keys() | window.keys()
    return max((abs(window.get(name, 0) / n - baseline.get(name, 0) / m) for name in names), default=0.0)


def unseen_excess(baseline: Mapping[str, int], rest: int, unseen: int, count: int) -> float:
    """How much larger the share of values that the baseline does not name (`unseen` of `count`) is than the
    baseline leads to expect; 0 where it names too few of its values (`rest` are of others) to say.

    To the model all of them are one category, the unknown one, however many names they have. What is expected is what
    the baseline does not name itself, and its share of categories that it saw once (Good, Biometrika 40, 1953).

    >>> unseen_excess({"a": 60, "b": 38, "c": 1, "d": 1}, 0, unseen=90, count=100)
    0.88
    """
    total = sum(baseline.values()) + rest
    if not count or rest > _NAMELESS * total:
        return 0.0
    once = sum(value for value in baseline.values() if value == 1)
    return max(0.0, unseen / count - (rest + once) / total)


def told_apart(
    baseline: Mapping[str, int], rest: int, window: Mapping[str, int], count: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Counts of the baseline and of the window (`count` values) by categories that can be compared, "" for all others.

    The baseline names its most frequent categories, and `rest` values are of others. Those it names came first by
    chance as well, where their counts are near to the least one: they are no more frequent in the next sample. So a
    category is told apart if the baseline has clearly more of it than of the least one, by four standard deviations;
    or if the window has clearly more of it than the baseline, where one without a name has at most as many as the
    least one.

    >>> told_apart({"a": 500, "b": 5, "c": 4}, 91, {"a": 40, "c": 1, "d": 2, "new": 17}, 60)
    ({'a': 500, 'new': 4, '': 96}, {'a': 40, 'new': 17, '': 3})
    """
    least = min(*baseline.values(), rest)
    total = sum(baseline.values()) + rest
    clearly = least + _CLEARLY * math.sqrt(least)
    before = {name: value for name, value in baseline.items() if name and value > clearly}
    for name, value in sorted(window.items(), key=lambda item: (-item[1], item[0])):
        expected = baseline.get(name, least) * count / total
        if name not in before and value > expected + _CLEARLY * math.sqrt(expected) + 1:
            before[name] = baseline[name] if name in baseline else min(least, rest)
            rest -= 0 if name in baseline else before[name]
    now = {name: window.get(name, 0) for name in before}
    before[""], now[""] = total - sum(before.values()), count - sum(now.values())
    return before, now


def robust(distance: float, n: float, m: float, alpha: float | None = None) -> float:
    """The distance less what chance may produce between n and m values, at least 0 (Deequ's linf_robust)."""
    if not n or not m or math.isnan(distance):
        return math.nan
    return max(0.0, distance - c_alpha(alpha) * math.sqrt((n + m) / (n * m)))


def c_alpha(alpha: float | None = None) -> float:
    """The factor c of the two-sample Kolmogorov-Smirnov test at significance `alpha`; None is Deequ's 1.8."""
    return C_ALPHA if alpha is None else math.sqrt(-math.log(alpha / 2) / 2)


def min_detectable_drift(n: float, m: float, alpha: float | None = None) -> float:
    """The smallest distance that can be told from chance with n values in the window and m in the baseline, at most 1.

    Two samples of the same distribution are farther apart with probability alpha (0.003 by default) at most. 1 says
    that nothing can be told.

    >>> round(min_detectable_drift(1000, 10_000), 4)
    0.0597
    """
    if not n or not m:
        return 1.0
    return min(1.0, c_alpha(alpha) * math.sqrt((n + m) / (n * m)))


def psi_by_chance(n: float, m: float, bins: int, alpha: float = ALPHA) -> float:
    """The PSI that n and m values of the same distribution exceed with probability alpha; 1 if there are none.

    Yurdakul 2018: about chi-square's quantile times 1/n + 1/m. Where a bin expects few values, it is less.

    >>> round(psi_by_chance(1000, 10_000, 10), 4)
    0.0276
    """
    if not n or not m:
        return 1.0
    degrees = max(bins, 2) - 1
    spread = 2 / (9 * degrees)  # the quantile by Wilson and Hilferty 1931
    return float((1 / n + 1 / m) * degrees * (1 - spread + NormalDist().inv_cdf(1 - alpha) * math.sqrt(spread)) ** 3)


def jensen_shannon_by_chance(n: float, m: float, bins: int, alpha: float = ALPHA) -> float:
    """The Jensen-Shannon distance that chance exceeds with probability `alpha`, at most 1.

    For small differences its square is PSI / (8 ln 2), so it follows from `psi_by_chance`.
    """
    if not n or not m:
        return 1.0
    return min(1.0, math.sqrt(_RARE * psi_by_chance(n, m, bins, alpha) / (8 * math.log(2))))


def ks_p_value(distance: float, n: float, m: float) -> float:
    """Probability of at least that distance by chance, asymptotic (Smirnov 1948); NaN without values."""
    if not n or not m or math.isnan(distance):
        return math.nan
    value = math.sqrt(n * m / (n + m)) * distance
    if value < 0.2:  # the series below converges slowly, and the probability is 1 to twelve places
        return 1.0
    terms = ((1 if j % 2 else -1) * math.exp(-2 * (j * value) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def chi_square_p_value(baseline: Mapping[str, int], window: Mapping[str, int], sampled: bool = False) -> float:
    """Probability of the window's counts if its shares are the baseline's; NaN if fewer than two categories are left.

    Deequ's rules: categories that the baseline lacks are ignored, its counts are scaled to the window's, and the
    smallest category is joined to the next until at most a fifth of the expected counts are below 5 (of two: none below
    10). New categories are therefore not seen here: the domain check and the distance see them.

    Deequ takes the baseline's shares for the truth. With `sampled` they are a sample's as the window's are, which the
    statistic is made smaller for: a window as large as the baseline would else be another one in 7 of 100 cases at
    0.003.
    """
    expected_sum = sum(baseline.values())
    count = sum(window.get(name, 0) for name in baseline)
    if not count or not expected_sum:
        return math.nan
    expected = {name: value / expected_sum * count for name, value in baseline.items()}
    observed = {name: float(window.get(name, 0)) for name in baseline}
    while len(expected) >= 2:
        two = len(expected) == 2
        limit, allowed = (_SMALL_OF_TWO, 0) if two else (_SMALL_CATEGORY, int(_SMALL_SHARE * len(expected)))
        if sum(value < limit for value in expected.values()) <= allowed:
            break
        smallest = min(expected, key=lambda name: (expected[name], name))
        value, seen = expected.pop(smallest), observed.pop(smallest)
        following = min(expected, key=lambda name: (expected[name], name))
        expected[following] += value
        observed[following] += seen
    if len(expected) < 2:
        return math.nan
    statistic = sum((observed[name] - expected[name]) ** 2 / expected[name] for name in expected)
    if sampled:
        statistic *= expected_sum / (expected_sum + count)
    return upper_gamma((len(expected) - 1) / 2, statistic / 2)


def rarity(p_value: float, threshold: float) -> float:
    """How far beyond its threshold (between 0 and 1) a p-value is: above 1 it is smaller.

    The root of their logarithms' ratio, because they grow with the square of a distance.

    >>> rarity(1e-6, 1e-3), rarity(1.0, 1e-3)
    (1.4142135623730951, 0.0)
    """
    return math.sqrt(abs(math.log(max(p_value, 1e-300)) / math.log(threshold)))


def upper_gamma(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(a, x) (DLMF 8.2.4).

    Series below a + 1, Lentz's continued fraction above (Press et al., Numerical Recipes, 6.2). About 12 digits.
    """
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for k in range(1, 10_000):
            term *= x / (a + k)
            total += term
            if term < total * 1e-17:
                break
        return max(0.0, 1 - scale * total)
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for k in range(1, 10_000):
        step = -k * (k - a)
        b += 2
        d = 1 / (step * d + b or tiny)
        c = b + step / c or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return min(1.0, scale * fraction)


def bin_counts(baseline: Steps, window: AtPoints, count: int) -> tuple[Numbers, Numbers]:
    """Counts of baseline and window (bins,) in ten bins that hold about the same share of the baseline each.

    The outer bins are open. If the baseline is one single value, the bins are below, at and above it.
    """
    if len(baseline.points) == 1 and baseline.exact:
        below, upto = float(window.below[0]), float(window.upto[0])
        return np.array([0.0, baseline.weight, 0.0]), np.array([below, upto - below, count - upto])
    shares = np.arange(1, BINS) / BINS * baseline.weight
    edges = np.unique(np.searchsorted(baseline.upto, shares))
    edges = edges[edges < len(baseline.points) - 1]
    return (
        np.diff(np.concatenate(([0.0], baseline.upto[edges], [baseline.weight]))),
        np.diff(np.concatenate(([0.0], baseline.counted(window)[edges], [float(count)]))),
    )


def psi(baseline: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """The Population Stability Index of two arrays of counts (bins,), Σ (a - e) ln(a / e); NaN if one is empty.

    Half a value is added to every bin, so that an empty bin gives a large number and not infinity, and the less so the
    fewer values there are.
    """
    if not baseline.sum() or not window.sum():
        return math.nan
    return float(psi_of(baseline, window))


def psi_of(baseline: Numbers, window: Numbers) -> Numbers:
    """The Population Stability Index of many arrays of counts at once, (..., bins) → (...), none of them empty."""
    bins = baseline.shape[-1]
    expected = (baseline + 0.5) / (baseline.sum(axis=-1, keepdims=True) + 0.5 * bins)
    actual = (window + 0.5) / (window.sum(axis=-1, keepdims=True) + 0.5 * bins)
    return np.asarray(((actual - expected) * np.log(actual / expected)).sum(axis=-1))


def jensen_shannon(baseline: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """The Jensen-Shannon distance of two arrays of counts (bins,), base 2, 0 … 1; NaN if one is empty.

    The root of the divergence of Lin 1991.
    """
    if not baseline.sum() or not window.sum():
        return math.nan
    return float(jensen_shannon_of(baseline, window))


def jensen_shannon_of(baseline: Numbers, window: Numbers) -> Numbers:
    """The Jensen-Shannon distance of many arrays of counts at once, (..., bins) → (...), none of them empty."""
    p, q = baseline / baseline.sum(axis=-1, keepdims=True), window / window.sum(axis=-1, keepdims=True)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(share > 0, share * np.log2(share / middle), 0.0).sum(axis=-1) for share in (p, q)]
    return np.asarray(np.sqrt(np.maximum(0.0, parts[0] + parts[1]) / 2))


def wasserstein(baseline: Steps, window: AtPoints, count: int, sketch: Sketch) -> float:
    """The Wasserstein-1 distance, ∫|F - G|, in the feature's unit; `sketch` is of the window's values.

    Exact but in the intervals between two points in which the window's distribution crosses the baseline's: there its
    values lie as in the sketch, which is exact up to K values, and of more is wrong by about a thousandth of them. The
    baseline's own sketch is, too. So the distance is within 0.2 % of the range that both span of the one between all
    values. NaN without values, or if the baseline is known at its points only.
    """
    if not count or not baseline.weight or not baseline.exact:
        return math.nan
    points, low, high = baseline.points, window.upto[:-1] / count, window.below[1:] / count
    level = baseline.upto[:-1] / baseline.weight
    width = np.diff(points)
    inside = (window.sums[1:] - window.sums[:-1] - points[:-1] * (window.upto[:-1] - window.below[:-1])) / count
    between = np.abs(points[1:] * high - points[:-1] * low - inside - level * width)  # |∫(G - F)|
    crossing = (low < level) & (level < high)
    if crossing.any():
        between = np.where(crossing, np.maximum(between, _crossing(points, low, high, level, sketch)), between)
    left = points[0] * window.below[0] - window.sums[0]
    last = window.sums[-1] + points[-1] * (window.upto[-1] - window.below[-1])
    right = (window.total - last) - points[-1] * (count - window.upto[-1])
    return float(between.sum() + max(0.0, left) / count + max(0.0, right) / count)


def _crossing(points: Numbers, low: Numbers, high: Numbers, level: Numbers, sketch: Sketch) -> Numbers:
    """∫|G - level| between every two points, with G's steps from `low` to `high` where the sketch has its values."""
    values, upto = sketch.items()
    weights = np.diff(upto, prepend=0)
    place = np.searchsorted(points, values, side="right") - 1
    inner = (place >= 0) & (place < len(level)) & (values > points[np.maximum(place, 0)])
    values, weights, place = values[inner], weights[inner], place[inner]
    whole = np.bincount(place, weights, len(level))
    first = np.append(True, place[1:] != place[:-1])[: len(place)]
    passed = np.cumsum(weights)
    begun = np.maximum.accumulate(np.where(first, passed - weights, 0))
    reached = low[place] + (passed - begun) / whole[place] * (high - low)[place]
    until = np.where(
        np.append(first[1:], True)[: len(place)], points[place + 1], np.append(values[1:], 0.0)[: len(place)]
    )
    area = np.bincount(place, np.abs(reached - level[place]) * (until - values), len(level))
    entry = np.bincount(place[first], np.abs(low - level)[place[first]] * (values - points[place])[first], len(level))
    width, span = np.diff(points), np.maximum(high - low, 1e-12)
    even = width * ((level - low) ** 2 + (high - level) ** 2) / (2 * span)  # where the sketch has none of the values
    return np.where(whole > 0, area + entry, even)
