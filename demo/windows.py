"""What is replayed: labelled rows in time order, the first of them to train on, the others cut into windows."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import overload

from retrain.core.clock import render
from retrain.model.spec import Spec


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled row: what the client knows when it asks, and what came true later."""

    time: datetime
    values: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Rows(Sequence[Row]):
    """Rows that are made when they are looked at, so that a million of them need not be there at once."""

    make: Callable[[int], Row]
    places: range

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        return Rows(self.make, self.places[index]) if isinstance(index, slice) else self.make(self.places[index])


@dataclass(frozen=True)
class Window:
    """A span of the replay, [start, end), after which the drift monitor looks back."""

    name: str
    start: datetime
    end: datetime
    rows: Sequence[Row]


@dataclass(frozen=True)
class Source:
    """A table to replay: its model.toml, the rows that the first model is trained on, and what comes after."""

    title: str
    model: str
    spec: Spec
    initial: Sequence[Row]
    windows: Sequence[Window]

    def write_initial(self, folder: Path) -> None:
        """The folder holds what InitialDataUri asks for: `model.toml` and `train.csv`."""
        (folder / "model.toml").write_text(self.model, encoding="utf-8")
        with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            time = [self.spec.time] if self.spec.time else []
            writer.writerow([*self.spec.names, self.spec.label, *time])
            writer.writerows([*row.values, row.label, *(render(row.time) for _ in time)] for row in self.initial)


def text(value: object) -> str:
    """The value as a request carries it: nothing for a missing one, no needless `.0`."""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(round(value, 5)).removesuffix(".0")
    return str(value)
