"""What the demo replays: labelled rows in time order, cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled row: what the client knows when it asks, and what came true later."""

    time: datetime
    values: tuple[str, ...]
    label: float


@dataclass(frozen=True)
class Window:
    """A span of the replay, [start, end), after which the drift monitor looks back."""

    name: str
    start: datetime
    end: datetime
    rows: Sequence[Row]
