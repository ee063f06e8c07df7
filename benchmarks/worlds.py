"""Eight synthetic worlds whose truth is known: what changes, when, and whether a retrained model can be any better.

Each has ten windows after the rows that the first model is trained on, 2,000 rows a window, six numbers, a category
and, where something rolls on, a second one. Window 0 is the first that is replayed; `turn` windows are as the training
rows were. The random numbers of a world do not depend on the seeds of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import ANY, CHOSE, VERIFIED, model_toml, replayed
from demo.windows import Row, Source, text

Numbers = NDArray[np.float64]
ROWS, WINDOWS, FIRST = 2_000, 10, 2  # rows a window, windows that are replayed, windows to train on
TURN = 3  # the first replayed window of another kind, where a world turns
_NUMBERS = 6
_METRICS = {"regression": "rmse", "binary": "logloss", "multiclass": "mlogloss"}
_CUTS = (-1.0, 1.0)  # of a score, between three classes
_CITIES = ("Aarhus", "Bergen", "Cork", "Dresden", "Esbjerg")


@dataclass(frozen=True)
class World:
    """One world; `truth` says what changes."""

    name: str
    role: str
    task: str
    truth: str
    make: Callable[[np.random.Generator, int], _Made]

    def source(self) -> Source:
        """The world's rows, the same each time."""
        random = np.random.default_rng(crc32(self.name.encode()))
        groups = []
        rolls = False
        for window in range(-FIRST, WINDOWS):
            made = self.make(random, window)
            rolls = rolls or made.campaign is not None
            groups.append((f"{window + 1}", made.rows(self.task, random)))
        features = {f"x{number}": "numeric" for number in range(_NUMBERS)} | {"city": "categorical"}
        if rolls:
            features["campaign"] = "categorical"
        more = "num_class = 3" if self.task == "multiclass" else ""
        model = model_toml("y", self.task, _METRICS[self.task], features, more)
        return replayed(f"{self.name}: {self.truth}", model, groups, FIRST)


@dataclass
class _Made:
    """The rows of a window: numbers, cities, campaign if there is one, and the score that makes the label."""

    x: Numbers
    city: NDArray[np.int64]
    score: Numbers
    campaign: list[str] | None = None
    flipped: float = 0.0  # share of the labels that are wrong

    def rows(self, task: str, random: np.random.Generator) -> list[Row]:
        """Labelled rows.

        A regression's label is the score and noise, one of three classes where that lies between two cuts, one of two
        a draw of its probability.
        """
        if task in {"regression", "multiclass"}:
            values = self.score + random.normal(0, 1, len(self.score))
            found = np.digitize(values, _CUTS).tolist() if task == "multiclass" else values.tolist()
            labels = [text(value) for value in found]
        else:
            drawn = random.random(len(self.score)) < 1 / (1 + np.exp(-1.5 * self.score))
            labels = ["yes" if one else "no" for one in drawn ^ (random.random(len(drawn)) < self.flipped)]
        campaigns = [[name] for name in self.campaign] if self.campaign else [[]] * len(labels)
        return [
            Row(ANY, (*map(text, values), _CITIES[city], *campaign), label)
            for values, city, campaign, label in zip(
                self.x.tolist(), self.city.tolist(), campaigns, labels, strict=True
            )
        ]


def _drawn(random: np.random.Generator, shift: float = 0.0) -> tuple[Numbers, NDArray[np.int64]]:
    x = random.normal(0, 1, (ROWS, _NUMBERS))
    x[:, 0] += shift
    return x, random.integers(0, len(_CITIES), ROWS)


def _old(x: Numbers, city: NDArray[np.int64]) -> Numbers:
    return 2 * x[:, 0] + np.abs(x[:, 1]) * x[:, 2] + np.sin(2 * x[:, 3]) + (city == 1) - (city == 2)  # type: ignore[no-any-return]


def _new(x: Numbers, city: NDArray[np.int64]) -> Numbers:
    return -x[:, 0] + np.abs(x[:, 1]) * x[:, 4] + 2 * np.cos(x[:, 3]) + (city == 3) - (city == 4)  # type: ignore[no-any-return]


def _mixed(random: np.random.Generator, share: float, shift: float = 0.0) -> _Made:
    """Rows of which that share obeys the new relation."""
    x, city = _drawn(random, shift)
    return _Made(x, city, np.where(random.random(ROWS) < share, _new(x, city), _old(x, city)))


def _abrupt(random: np.random.Generator, window: int) -> _Made:
    return _mixed(random, float(window >= TURN), shift=float(window >= TURN))


def _still(random: np.random.Generator, _: int) -> _Made:
    return _mixed(random, 0.0)


def _gradual(random: np.random.Generator, window: int) -> _Made:
    return _mixed(random, min(max((window - 1) / 6, 0.0), 1.0))


def _recurring(random: np.random.Generator, window: int) -> _Made:
    new = window >= 1 and (window - 1) % 4 < 2
    return _mixed(random, float(new), shift=1.5 * new)


def _level(random: np.random.Generator, window: int) -> _Made:
    made = _mixed(random, 0.0)
    made.score *= 2.0 if window >= TURN else 1.0
    made.score += 10.0 if window >= TURN else 0.0
    return made


def _rolling(random: np.random.Generator, window: int) -> _Made:
    """Campaigns of which each lives for two windows; what x0 does depends on the campaign."""
    made = _mixed(random, 0.0)
    number = (window + FIRST + (random.random(ROWS) < 0.5)).astype(int) // 2 + 1
    made.score += np.where(number % 2 == 0, 1.5, -1.5) * made.x[:, 0]
    made.campaign = [f"campaign {one}" for one in number.tolist()]
    return made


def _harmless(random: np.random.Generator, window: int) -> _Made:
    """x5, which the label does not depend on, goes away, and x4 with it."""
    made = _mixed(random, 0.0)
    if window >= TURN:
        made.x[:, 4:] += 2.0
    return made


def _concept(random: np.random.Generator, window: int) -> _Made:
    return _mixed(random, float(window >= TURN))


def _noise(random: np.random.Generator, window: int) -> _Made:
    made = _mixed(random, 0.0)
    made.flipped = 0.2 if TURN <= window < TURN + 3 else 0.0
    return made


WORLDS: Mapping[str, World] = {
    world.name: world
    for world in (
        World("abrupt", CHOSE, "regression", "rows and relation change for good in window 4", _abrupt),
        World("recurring", CHOSE, "regression", "two regimes take turns, two windows each", _recurring),
        World("level", CHOSE, "regression", "the labels double and rise by ten in window 4", _level),
        World("harmless", CHOSE, "binary", "a feature moves that no label depends on: nothing is lost", _harmless),
        World("gradual", VERIFIED, "binary", "the relation changes row by row over six windows", _gradual),
        World("rolling", VERIFIED, "binary", "a category never comes back, and decides", _rolling),
        World("concept", VERIFIED, "binary", "the relation changes in window 4, the rows do not", _concept),
        World("noise", VERIFIED, "binary", "a fifth of the labels is wrong in windows 4 to 6", _noise),
    )
}

# Worlds whose evidence is poisoned, one window after the first of them has turned: see benchmarks/poison.py.
SPOILED: Mapping[str, World] = {
    f"{task} {name}": World(f"{task} {name}", VERIFIED, task, told, make)
    for task in _METRICS
    for name, told, make in (
        ("abrupt", "rows and relation change for good in window 4", _abrupt),
        ("still", "nothing changes", _still),
    )
}
