"""How features go together: first and second moments of rows, of a window and of the baseline.

From them follows what any linear regression of one feature on others leaves over, whichever others are chosen later.
They merge by adding up, and their size does not grow with the rows: at most 32 features take part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retrain.model.values import Numbers

_PART = 2**12  # rows that stay in a processor's cache


@dataclass(frozen=True, slots=True)
class Axes:
    """Which features take part, and what their differences are taken from."""

    names: tuple[str, ...]
    centres: Numbers


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over rows of the differences from the centres: `sums` (features,), `products` (features, features).

    A value that is missing counts as its centre. `copies` is the sum of c² over rows of which there are c alike, among
    those that were read at once.
    """

    rows: int
    copies: float
    sums: Numbers
    products: Numbers

    @property
    def worth(self) -> float:
        """How many rows there would be without copies: (sum c)² / sum c² (Kish 1965)."""
        return self.rows**2 / self.copies if self.copies else 0.0

    @property
    def covariance(self) -> Numbers:
        """About the rows' own means, of the population: (features, features)."""
        mean = self.sums / max(self.rows, 1)
        return np.asarray(self.products / max(self.rows, 1) - np.outer(mean, mean))


def nothing(features: int) -> Moments:
    """The moments of no rows."""
    return Moments(0, 0.0, np.zeros(features), np.zeros((features, features)))


def moments_of(columns: Mapping[str, Numbers], axes: Axes) -> Moments:
    """The moments of rows, which come by the column: (rows,) each.

    >>> found = moments_of({"x": np.array([1.0, 2.0, 2.0, np.nan])}, Axes(("x",), np.array([1.0])))
    >>> found.sums.tolist(), found.products.tolist(), found.copies
    ([2.0], [[2.0]], 8.0)
    """
    count, features = len(columns[axes.names[0]]), len(axes.names)
    key, sums, products = np.zeros(count), np.zeros(features), np.zeros((features, features))
    for begin in range(0, count, _PART):
        part = slice(begin, begin + _PART)
        rows = np.stack([columns[name][part] for name in axes.names]) - axes.centres[:, np.newaxis]
        rows[~np.isfinite(rows)] = 0.0
        # Rows that are alike have the same sum; others have it once in as many rows as a float tells apart.
        for place, row in enumerate(rows):
            key[part] += row * math.sqrt(place + 2)
        sums += rows.sum(axis=1)
        products += rows @ rows.T
    key.sort()
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if count else np.empty(0, dtype=np.intp)
    copies = np.diff(np.r_[starts, count]).astype(np.float64)
    return Moments(count, float(copies @ copies), sums, products)


def merge_moments(one: Moments, other: Moments) -> Moments:
    """The moments of both sets of rows, which were taken about the same centres."""
    return Moments(
        one.rows + other.rows, one.copies + other.copies, one.sums + other.sums, one.products + other.products
    )
