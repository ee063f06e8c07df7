"""Evidence that somebody spoiled: a window with wrong labels, too few rows, a broken feature, a flood, an attacker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from demo.windows import Row, Window
from retrain.model.spec import Spec
from retrain.model.table import thin

FLIPPED, OWNED, BLOCK, COPIES, FEW = 0.2, 0.1, 0.1, 5, 300


def flipped(window: Window, spec: Spec, _: str) -> Window:
    """A fifth of the labels, drawn at random, are wrong."""
    random = np.random.default_rng(1)
    return _relabelled(window, spec, np.flatnonzero(random.random(len(window.rows)) < FLIPPED))


def few(window: Window, _: Spec, __: str) -> Window:
    """300 rows, evenly spread over the window."""
    return replace(window, rows=[window.rows[place] for place in thin(len(window.rows), FEW)])


def broken(window: Window, spec: Spec, feature: str) -> Window:
    """The number that the first model leans on most is 0 in every row."""
    place = spec.names.index(feature)
    rows = [replace(row, values=(*row.values[:place], "0", *row.values[place + 1 :])) for row in window.rows]
    return replace(window, rows=rows)


def flood(window: Window, spec: Spec, _: str) -> Window:
    """One source asks one question, wrongly labelled, as often as all the others together ask theirs."""
    wrong = _relabelled(window, spec, np.array([len(window.rows) // 2])).rows[len(window.rows) // 2]
    return _merged(window, [replace(wrong, time=row.time) for row in window.rows])


def copied(window: Window, _: Spec, __: str) -> Window:
    """A tenth of the window, a block of the middle, arrives five times more, at other times."""
    first = int(len(window.rows) * (0.5 - BLOCK / 2))
    block = list(window.rows)[first : first + int(len(window.rows) * BLOCK)]
    random = np.random.default_rng(2)
    times = [window.rows[place].time for place in random.integers(0, len(window.rows), COPIES * len(block))]
    return _merged(window, [replace(row, time=time) for row, time in zip(block * COPIES, times, strict=True)])


def attacker(window: Window, spec: Spec, feature: str) -> Window:
    """Who knows the rules mislabels a tenth of the rows all through the window, those where one number is highest.

    So training, validation and holdout agree, no stretch of the labels stands out, and no row is a copy.
    """
    place = spec.names.index(feature)
    values = np.array([float(row.values[place] or "-inf") for row in window.rows])
    return _relabelled(window, spec, np.argsort(-values, kind="stable")[: int(OWNED * len(values))])


KINDS: Mapping[str, Callable[[Window, Spec, str], Window]] = {
    "20 % of labels flipped": flipped,
    "300 rows": few,
    "a feature broken": broken,
    "a flood": flood,
    "a copied block": copied,
    "an attacker's tenth": attacker,
}


def _relabelled(window: Window, spec: Spec, places: NDArray[np.intp]) -> Window:
    """Those rows have a wrong label: mirrored in the middle of all, or another class."""
    rows = list(window.rows)
    if spec.task == "regression":
        labels = [float(row.label) for row in rows]
        middle = min(labels) + max(labels)
        for place in places.tolist():
            rows[place] = replace(rows[place], label=f"{middle - labels[place]:g}")
    else:
        classes = sorted({row.label for row in rows})
        for place in places.tolist():
            other = (classes.index(rows[place].label) + 1) % len(classes)
            rows[place] = replace(rows[place], label=classes[other])
    return replace(window, rows=rows)


def _merged(window: Window, more: Sequence[Row]) -> Window:
    return replace(window, rows=sorted([*window.rows, *more], key=lambda row: row.time))
