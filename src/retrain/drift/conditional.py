"""Does the drift matter? Drift in what the model leans on, told apart from rows that merely come in other proportions.

Where only the selection of rows has changed, features move, and what goes together still goes together: of a feature,
what a regression on the others leaves over may have another mean and keeps its spread (exactly so for normal features
and a selection whose logarithm is linear in them). Where a sensor breaks, values are filled in, a unit changes or a
part of the rows is another kind, the spread of what is left over changes. So a feature counts if the variance of its
residual is another one than the baseline's, beyond what chance does to it, whether or not features that have moved
themselves take part in the regression. It counts, too, if it has moved so far that hardly any of the baseline's rows
speaks for it. The drift matters if features that count hold a tenth of the model's gain.

What cannot be seen: that labels mean something else (concept drift); an offset of a feature that goes together with no
other, by less than one and a half of its standard deviations, which is the same as another selection of rows.

Time has its say as in drift/chance.py: rows of one day are alike, and so is what regressions leave over on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import NormalDist
from typing import Any

import numpy as np

from retrain.drift.baseline import NumericBaseline, read_statistics
from retrain.drift.chance import LENGTHS_JUDGED, MIN_BLOCKS, Blocks, as_shift, near
from retrain.drift.comparison import Look
from retrain.drift.joint import KINDS, MOST, Joint
from retrain.drift.learning import LENGTHS
from retrain.drift.moments import Axes, Moments, merge_moments, moments_of, nothing
from retrain.drift.verdict import FeatureDrift
from retrain.model.values import Numbers, parse_numbers

LEANS = 0.1  # share of the model's gain, from which on a drift matters
LEAST = 0.05  # of a logarithm of variances: less is no harm, however sure
FAR = 1.5  # standard deviations of a feature; of a normal one's rows, a tenth speaks for such a window
_FLOOR = 1e-6  # of a feature's variance: what is left over by copies of each other is rounding
_UNIQUE = 1.5  # copies of a value in the baseline's mean, up to which a feature tells copies of rows
_BLOCK = 10_000  # rows that are read at a time
_LEAST_ROWS = 20  # of a block of time
_SECONDS = 3600.0
Rows = Callable[[], Iterable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Leaning:
    """A feature that the model leans on: `spread` is the logarithm of its residual's variance by the baseline's.

    Of the regressions with and without the features that have moved themselves it is the smaller one, without its sign;
    `chance` is what it may be by chance, infinite where the baseline does not know windows of this length. `far` is
    whether the feature has moved beyond what the baseline's rows speak for. Both are None and False of categories,
    which have no regression, as long as they have not moved far.
    """

    name: str
    importance: float
    spread: float | None
    chance: float | None
    far: bool

    @property
    def counts(self) -> bool:
        """Whether the drift of this feature matters."""
        broken = self.spread is not None and self.chance is not None and self.spread > max(self.chance, LEAST)
        return broken or self.far


@dataclass(frozen=True)
class Harm:
    """What of the drift matters: `share` is the part of the model's gain that features hold which count."""

    share: float
    features: tuple[Leaning, ...]

    @property
    def likely(self) -> bool:
        """Whether the model is likely to be worse for it."""
        return self.share >= LEANS

    def document(self) -> dict[str, Any]:
        """The member `harm` of analysis.json, with the features that count."""
        return {
            "likely": self.likely,
            "share": self.share,
            "features": [
                {
                    "name": item.name,
                    "importance": item.importance,
                    "spread": item.spread,
                    "chance": item.chance if item.chance is not None and math.isfinite(item.chance) else None,
                    "far": item.far,
                }
                for item in self.features
                if item.counts
            ],
        }


def harm_of(joint: Joint, moments: Moments, features: Sequence[FeatureDrift], look: Look) -> Harm | None:
    """What of the window's drift matters; None where the baseline does not say what the model leans on."""
    known = [item for item in features if item.importance]
    if not known:
        return None
    moved = {item.name for item in features if item.distance is not None and item.severity > 1}
    spreads = spreads_of(joint, moments, moved) if moments.rows else {}
    # One length is looked at, and of the features those that the model leans on.
    alpha = min(look.alpha * LENGTHS_JUDGED * len(features) / len(known), 0.5)
    found = []
    for item in known:
        leaning = Leaning(item.name, item.importance or 0.0, None, None, _far(item))
        if item.name in spreads:
            limit = _chance(joint, item.name, moments, look.hours, alpha)
            leaning = replace(leaning, spread=spreads[item.name], chance=limit)
        found.append(leaning)
    return Harm(min(sum(item.importance for item in found if item.counts), 1.0), tuple(found))


def spreads_of(joint: Joint, moments: Moments, moved: set[str]) -> dict[str, float]:
    """By feature, how far the logarithm of its residual's variance lies from the baseline's, without its sign.

    The smaller one of the regressions on all others, and on those that have not moved.
    """
    window, found = moments.covariance, {}
    for place, name in enumerate(joint.names):
        others = [other for other in range(len(joint.names)) if other != place]
        still = [other for other in others if joint.names[other] not in moved]
        found[name] = min(
            abs(math.log(max(of, _FLOOR * own) / max(before, _FLOOR * own)))
            for chosen in ([others, still] if len(still) < len(others) else [others])
            for weights in [_weights(joint.covariance, place, chosen)]
            for own in [joint.covariance[place, place]]
            for of, before in [(_left(window, weights), _left(joint.covariance, weights))]
        )
    return found


def _weights(covariance: Numbers, place: int, others: Sequence[int]) -> Numbers:
    """By what the features are multiplied to leave the residual: 1 for the feature itself, less the regression."""
    weights = np.zeros(len(covariance))
    weights[place] = 1.0
    if others:
        ours = covariance[np.ix_(others, others)]
        ridge = ours + np.diag(1e-9 * np.diag(ours) + 1e-300)
        weights[list(others)] = -np.linalg.lstsq(ridge, covariance[others, place], rcond=None)[0]
    return weights


def _left(covariance: Numbers, weights: Numbers) -> float:
    """The residual's variance."""
    return max(float(weights @ covariance @ weights), 0.0)


def _far(item: FeatureDrift) -> bool:
    if item.distance is None or item.severity <= 1:
        return False
    kind = item.method if item.method in {"psi", "jensen_shannon"} else "linf"
    return float(as_shift(kind, item.distance)) > FAR


def _chance(joint: Joint, name: str, moments: Moments, hours: float | None, alpha: float) -> float:
    """What chance may do to the feature's spread with probability `alpha`."""
    place = joint.names.index(name)
    copied = joint.rows / joint.worth < _UNIQUE
    rows = moments.worth if copied else float(moments.rows)
    by_rows = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(joint.tails[place] * (1 / rows + 1 / joint.rows))
    blocks = joint.chance.get(name)
    if blocks is None or hours is None:
        return by_rows
    known = [item for item in blocks if item.hours <= hours and item.count >= MIN_BLOCKS]
    if not known:
        return math.inf
    return math.hypot(by_rows, min(max(item.beyond(kind, alpha, hours) for kind in KINDS) for item in known))


# Learning ------------------------------------------------------------------------------------------------------------


def with_joint(document: Mapping[str, Any], rows: Rows, times: Numbers | None = None) -> dict[str, Any]:
    """statistics.json with how the features go together that the model leans on; as it was where it does not say so.

    `rows` gives the rows that the document is of, in its order of features, as often as it is called; `times` are
    theirs in seconds since 1970, NaN where unknown.
    """
    statistics = read_statistics(document)
    leading = sorted(
        (item for item in statistics.features.values() if isinstance(item, NumericBaseline) and item.importance),
        key=lambda item: -(item.importance or 0.0),
    )[:MOST]
    leading = [item for item in leading if item.present and not item.nature]
    if not leading:
        return dict(document)
    names = tuple(item.name for item in leading)
    places = [list(statistics.features).index(name) for name in names]
    means = {
        item["name"]: item["numerical_statistics"].get("mean", 0.0)
        for item in document["features"]
        if item["name"] in names
    }
    centres = np.array([float(means[name]) for name in names])
    axes, moments = Axes(names, centres), nothing(len(names))
    for columns in _columns(rows(), names, places):
        moments = merge_moments(moments, moments_of(columns, axes))
    joint = Joint(axes, moments.covariance, moments.rows, moments.worth, np.full(len(names), 2.0), {})
    return {**document, "joint": _timed(joint, rows, places, times).document()}


def _timed(joint: Joint, rows: Rows, places: Sequence[int], times: Numbers | None) -> Joint:
    """The joint moments with how heavy the residuals' tails are, and with what blocks of time do to their spread."""
    count = len(joint.names)
    every = [[other for other in range(count) if other != place] for place in range(count)]
    weights = np.stack([_weights(joint.covariance, place, others) for place, others in enumerate(every)], axis=1)
    hours = np.full(joint.rows, np.nan) if times is None else np.floor(times / _SECONDS)
    known = np.isfinite(hours)
    first = hours[known].min() if known.any() else 0.0
    units = int(hours[known].max() - first) + 1 if known.any() else 0
    sums = np.zeros((units, len(KINDS) * count, 3))  # of each hour: rows, values, squares
    powers, begin = np.zeros((2, len(KINDS) * count)), 0
    for columns in _columns(rows(), joint.names, places):
        centred = np.stack([*columns.values()], axis=1) - joint.axes.centres
        centred[~np.isfinite(centred)] = 0.0
        left = np.concatenate([centred @ weights, centred], axis=1)
        powers += np.stack([(left**2).sum(axis=0), (left**4).sum(axis=0)])
        at, begin = hours[begin : begin + len(left)], begin + len(left)
        inside = np.isfinite(at)
        unit = (at[inside] - first).astype(np.intp)
        for power in range(3):
            np.add.at(sums[:, :, power], unit, left[inside] ** power)
    mean = powers / max(joint.rows, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        tails = np.nan_to_num(mean[1] / mean[0] ** 2 - 1.0, nan=2.0, posinf=2.0).reshape(len(KINDS), count).max(axis=0)
    tails = np.maximum(tails, 2.0)
    if not units:
        return replace(joint, tails=tails)
    chance = {name: _blocks(sums[:, [place, count + place]], tails[place]) for place, name in enumerate(joint.names)}
    return replace(joint, tails=tails, chance=chance)


def _blocks(sums: Numbers, tails: float) -> tuple[Blocks, ...]:
    """What blocks of each length did to the logarithm of the variances; `sums` are (hours, kinds, powers)."""
    upto = np.concatenate([np.zeros((1, *sums.shape[1:])), np.cumsum(sums, axis=0)])
    every = _variance(upto[-1])
    found = []
    for hours in LENGTHS:
        if hours * MIN_BLOCKS > len(sums):
            continue
        ends = np.arange(hours, len(sums) + 1, max(1, hours // 8))
        block = upto[ends] - upto[ends - hours]
        usable = block[:, 0, 0] >= _LEAST_ROWS
        independent = int(len(sums) // hours * usable.mean())
        if independent < MIN_BLOCKS or usable.mean() < 0.5:
            continue
        block = block[usable]
        shifts = np.log(np.maximum(_variance(block), _FLOOR * every + 1e-300) / np.maximum(every, 1e-300))
        by_rows = tails / block[:, :1, 0]
        surely = max(0.0, 1 - 2 / math.sqrt(independent))
        squares = shifts**2
        mean = squares.mean(axis=0)
        usual = np.sqrt(np.maximum(np.maximum(mean - by_rows.mean(), mean * (1 - surely)), 0.0))
        most = np.sqrt(np.maximum((squares - by_rows * 2 * math.log(2 * len(block))).max(axis=0), 0.0))
        apart = shifts[:: max(1, hours // max(1, hours // 8)), 0]
        found.append(
            Blocks(
                hours,
                independent,
                near(apart - apart.mean(), float(by_rows.mean())),
                dict(zip(KINDS, usual.tolist(), strict=True)),
                dict(zip(KINDS, most.tolist(), strict=True)),
            )
        )
    return tuple(found)


def _variance(sums: Numbers) -> Numbers:
    """(…, powers) → (…): the variance of what was added up."""
    rows = np.maximum(sums[..., 0], 1.0)
    return np.maximum(sums[..., 2] / rows - (sums[..., 1] / rows) ** 2, 0.0)


def _columns(
    rows: Iterable[Sequence[str]], names: Sequence[str], places: Sequence[int]
) -> Iterable[dict[str, Numbers]]:
    """Those columns of the rows as numbers, some rows at a time."""
    rows = iter(rows)
    while block := list(islice(rows, _BLOCK)):
        columns = (parse_numbers([row[place] for row in block])[0] for place in places)
        yield dict(zip(names, columns, strict=True))
