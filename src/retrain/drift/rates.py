"""How often the baseline's values are missing, or one and the same, in the stretch of its time that had most of them.

A stretch is a block of hours, however few rows it has. As long as every stretch of the baseline is what independent
rows do, the rate is the whole baseline's, and a handful of rows tells what is another way. Where one is not, because
values are missing at night or a code stays for a day, the rate is that stretch's own: at which it would have been an
even chance. Rates do not depend on how many rows a day has, so that traffic may grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.drift.chance import DAY, MIN_BLOCKS
from retrain.model.values import Numbers

STRETCHES = (1, 2, 6, 24)  # hours
_SURELY = 20  # times as many stretches, among which one like that would come by itself
_STARTS = 8  # of stretches, over a stretch's length


@dataclass(frozen=True, slots=True)
class Rates:
    """Of stretches of `hours`: the probability of a row's value to be missing (None if nobody knows how many rows there
    were), and of a value to be the same as most of them (`single`), where the baseline had most of it.
    """

    hours: float
    missing: float | None
    single: float


def log_tail(k: Numbers, n: Numbers, p: float) -> Numbers:
    """The logarithm of what the probability of k or more of n is at most, each with probability p (Chernoff 1952).

    All of one shape; 0 where k is not more than p · n.

    >>> log_tail(np.array([6.0, 6.0]), np.array([15.0, 15.0]), 0.4).tolist()
    [0.0, 0.0]
    >>> f"{np.exp(log_tail(np.array([6.0]), np.array([15.0]), 1e-4))[0]:.0e}"
    '2e-20'
    """
    share = k / np.maximum(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(share > 0, share * np.log(share / p), 0.0)
        miss = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - p)), 0.0)
    return np.where(share > p, -n * (hit + miss), 0.0)


def rates_of(counts: NDArray[np.int32], unit: int, rows: NDArray[np.int64] | None) -> tuple[Rates, ...]:
    """The rates of stretches of each length; of less than eight days nothing, for one day does not know the next.

    `counts` are those of the units of time, (units, bins), each `unit` hours, `rows` (units,) those with a value or
    without. A longer stretch's rates are a shorter one's too, at least.
    """
    if len(counts) * unit < MIN_BLOCKS * DAY or not counts.any():
        return ()
    upto, asked = (
        np.concatenate([np.zeros_like(part[:1]), np.cumsum(part, axis=0, dtype=np.int64)])
        for part in (counts.astype(np.int64), np.zeros(len(counts), np.int64) if rows is None else rows)
    )
    every = upto[-1]
    single, missing = float(every.max() / every.sum()), float(1 - every.sum() / max(asked[-1], 1))
    usual_single, usual_missing, found = single, missing, []
    for hours in sorted(STRETCHES, reverse=True):
        size = hours // unit
        if hours % unit or not size:
            continue
        ends = np.arange(size, len(counts) + 1, max(1, size // _STARTS))
        block = (upto[ends] - upto[ends - size]).astype(np.float64)
        n, all_rows = block.sum(axis=1), (asked[ends] - asked[ends - size]).astype(np.float64)
        # Any of the values may be the most frequent one: one in 1 / single of them is as frequent as that.
        single = max(single, _worst(block.max(axis=1), n, usual_single, 1 / usual_single, len(counts) // size))
        if rows is not None:
            missing = max(missing, _worst(all_rows - n, all_rows, usual_missing, 1.0, len(counts) // size))
        found.append(Rates(hours, None if rows is None else missing, single))
    return tuple(reversed(found))


def _worst(k: Numbers, n: Numbers, p: float, values: float, independent: int) -> float:
    """The largest rate of the stretches which independent rows do not explain; 0 if they explain all.

    A stretch with k of n had an even chance to have so many at the rate of about (k - 1/3) / (n + 1/3), the median of
    the beta distribution.
    """
    if p >= 1:
        return 1.0
    told = np.exp(log_tail(k, n, max(p, 1e-12))) * values < 1 / (_SURELY * independent)
    told &= (n > 0) & (k > 0)
    return float(np.max((k[told] - 1 / 3) / (n[told] + 1 / 3), initial=0.0))


def render_rates(rates: Sequence[Rates]) -> list[dict[str, Any]]:
    """The form in which they travel in statistics.json, as a feature's `rates`; rounded upwards."""
    return [
        {"hours": item.hours, "single": _up(item.single)}
        | ({} if item.missing is None else {"missing": _up(item.missing)})
        for item in rates
    ]


def _up(rate: float) -> float:
    return min(float(np.ceil(rate * 1e6) / 1e6), 1.0)


def read_rates(found: Any) -> tuple[Rates, ...]:
    """What `render_rates` wrote. Raises ValueError for anything else.

    >>> read_rates([{"hours": 1, "single": 0.25, "missing": 0.0}])
    (Rates(hours=1, missing=0.0, single=0.25),)
    """
    try:
        return tuple(
            Rates(item["hours"], None if "missing" not in item else _share(item["missing"]), _share(item["single"]))
            for item in found
            if _hours(item)
        )
    except (TypeError, KeyError) as error:
        raise ValueError(f"a list of rates is expected: {error!r}") from None


def _hours(item: Mapping[str, Any]) -> bool:
    if item["hours"] not in STRETCHES:
        raise ValueError(f"hours are one of {STRETCHES}, not {item['hours']!r}")
    return True


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is not a share from 0 to 1")
    return value
