"""Intake: capture files in, one mergeable summary of what they held out.

An intake of some files merged with the intake of others is the intake of all of them. So a window's files can be read
one after the other, by several processes, or long before the window ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from retrain.capture.gz import blocks, content
from retrain.capture.quarantine import UNREADABLE_ANSWER, Quarantine, UnreadableError, merge_quarantines
from retrain.capture.records import Capture, read_line
from retrain.core.window import Window
from retrain.drift.baseline import PREDICTION, Statistics
from retrain.drift.profile import (
    ColumnProfile,
    Layout,
    Profile,
    counted,
    empty,
    merge,
    numbers_of,
    together,
)
from retrain.model.values import Numbers, parse_numbers

if TYPE_CHECKING:
    from polars import DataFrame

    from retrain.capture.columns import ColumnReader, Columns

_BLOCK = 2**22  # bytes of lines that are read at once; one of them may be longer


@dataclass(frozen=True)
class Intake:
    """What the captures of a window held.

    `records` counts captures, `profile` summarises their rows against the baseline's points, `prediction` what their
    answers predict (`retrain.capture.answers`). `widths` counts rows that have another number of columns. `paths`
    counts the lines that were read by their shape (`fast`), as JSON with their CSV together (`general`), and one by one
    (`single`); which of the three it was changes nothing else. `first` and `last` are the earliest and the latest
    inference time of those captures, None if there is none.
    """

    profile: Profile
    prediction: Profile
    records: int
    widths: Mapping[int, int]
    quarantine: Quarantine
    paths: Mapping[str, int]
    first: datetime | None = None
    last: datetime | None = None


def read_captures(
    captures: Iterable[tuple[str, Iterable[bytes | str]]], statistics: Statistics, window: Window, fast: bool = True
) -> Intake:
    """The intake of capture files, (source, content), of which only what lies in the window [start, end) counts.

    The content is a binary file, which is the fastest, or its lines, or its lines some at a time. Memory does not grow
    with it. Without `fast` every line is read by itself, which gives the same and takes longer.
    """
    reader = _Taking(statistics, window, fast)
    for source, found in captures:
        reader.read(source, found)
    return reader.intake()


def merge_intakes(one: Intake, other: Intake) -> Intake:
    """The intake of both sets of files. They were read against the same baseline."""
    return Intake(
        merge(one.profile, other.profile),
        merge(one.prediction, other.prediction),
        one.records + other.records,
        Counter(one.widths) + Counter(other.widths),
        merge_quarantines(one.quarantine, other.quarantine),
        {path: count + other.paths[path] for path, count in one.paths.items()},
        min((time for time in (one.first, other.first) if time), default=None),
        max((time for time in (one.last, other.last) if time), default=None),
    )


class _Pending:
    """Rows that are not yet summarised: their columns as numbers, and as how often each text is there."""

    def __init__(self, layout: Layout, sort: Callable[[Numbers], Numbers]) -> None:
        self.layout = layout
        self._sort = sort
        self.profile = empty(layout)
        self._begin()

    def _begin(self) -> None:
        self.rows = 0
        self._numbers: dict[str, list[Numbers]] = {
            name: [] for name, kind in self.layout.kinds.items() if kind != "categorical"
        }
        self._bad: Counter[str] = Counter()
        self._texts: dict[str, Counter[str]] = {
            name: Counter() for name in self.layout.kinds.keys() - self._numbers.keys()
        }

    def add(self, columns: Columns) -> None:
        """The rows, which come by the column."""
        self.rows += columns.rows
        for name, values, bad in columns.numbers:
            self._numbers[name].append(values)
            self._bad[name] += bad
        for name, texts in columns.texts:
            self._texts[name].update(texts)

    def add_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """The rows, which have the layout's number of columns."""
        self.rows += len(rows)
        for name, column in zip(self.layout.kinds, zip(*rows, strict=True), strict=False):
            if name in self._texts:
                self._texts[name].update(column)
            else:
                values, bad = parse_numbers(column)
                self._numbers[name].append(values)
                self._bad[name] += int(bad.sum())

    def settle(self) -> None:
        """The rows are in the profile."""
        layout = self.layout
        columns: dict[str, ColumnProfile] = {}
        numbers: dict[str, Numbers] = {}
        for name in layout.kinds:
            if name in self._texts:
                columns[name] = counted(name, self._texts[name], layout)
            else:
                numbers[name] = values = np.concatenate([*self._numbers.pop(name), np.empty(0)])
                columns[name] = numbers_of(values, layout.points.get(name), self._bad[name], self._sort)
        self.profile = merge(self.profile, Profile(self.rows, columns, together(numbers, layout)))
        self._begin()


class _Taking:
    """Captures, read and summarised by the batch."""

    def __init__(self, statistics: Statistics, window: Window, fast: bool) -> None:
        self.quarantine = Quarantine()
        self.records = 0
        self.widths: Counter[int] = Counter()  # of rows that have another number of columns
        self.paths = {"fast": 0, "general": 0, "single": 0}
        self.times: set[datetime] = set()  # the earliest and the latest
        self._window = window
        self._names = tuple(statistics.features)
        self._reading = statistics.answers
        self._reader = _column_reader(statistics, window) if fast else None
        self._held: list[DataFrame] = []
        sort = self._reader.sort if self._reader else np.sort
        self._features = _Pending(statistics.layout, sort)
        self._answers = _Pending(statistics.prediction_layout, sort)

    def read(self, source: str, found: Iterable[bytes | str]) -> None:
        """The lines of one file."""
        number = 1
        for block in blocks(content(found), _BLOCK):
            number += self._read(source, number, block)
            # Values take an eighth of the memory of texts.
            if max(self._features.rows, self._answers.rows) >= 4 * self._features.layout.block_rows:
                self._settle()

    def intake(self) -> Intake:
        """What was read so far."""
        self._settle()
        return Intake(
            self._features.profile,
            self._answers.profile,
            self.records,
            self.widths,
            self.quarantine,
            self.paths,
            min(self.times, default=None),
            max(self.times, default=None),
        )

    def _settle(self) -> None:
        if self._reader is not None:
            features, answers = self._reader.columns(self._held)
            self._features.add(features)
            self._answers.add(answers)
            self._held.clear()
        self._features.settle()
        self._answers.settle()

    def _read(self, source: str, number: int, block: bytes) -> int:
        """The number of the block's lines, which are in the intake."""
        read = 0
        if self._reader is None:
            odd: Sequence[tuple[int, bytes]] = list(enumerate(block[:-1].split(b"\n")))
        else:
            batch = self._reader.read(block)
            odd = batch.odd
            self.records += batch.records
            self._saw(batch.times)
            self._features.add(batch.features)
            self._answers.add(batch.answers)
            self._held += batch.held
            self.quarantine.lines += batch.fast + batch.general
            self.quarantine.outside_window += batch.outside
            read = batch.fast + batch.general
            self.paths["fast"] += batch.fast
            self.paths["general"] += batch.general
        self.paths["single"] += len(odd)
        found = (
            read_line(line, source, number + place, self.quarantine, window=self._window, columns=self._names)
            for place, line in odd
        )
        self._add([capture for capture in found if capture is not None])
        return read + len(odd)

    def _saw(self, times: Iterable[datetime]) -> None:
        seen = self.times.union(times)
        self.times = {min(seen), max(seen)} if seen else seen

    def _add(self, captures: Sequence[Capture]) -> None:
        self.records += len(captures)
        self._saw(capture.time for capture in captures)
        width = len(self._names)
        rows = [row for capture in captures for row in capture.rows]
        fitting = [row for row in rows if len(row) == width]
        if len(fitting) < len(rows):
            self.widths.update(len(row) for row in rows if len(row) != width)
        self._features.add_rows(fitting)
        self._answers.add_rows([[text] for capture in captures for text in self._predictions(capture)])

    def _predictions(self, capture: Capture) -> list[str]:
        try:
            return [self._reading.prediction(answer, capture.answer_names) for answer in capture.outputs if answer]
        except UnreadableError as bad:
            self.quarantine.notes[f"{UNREADABLE_ANSWER}{bad.reason}"] += 1
            return []


def _column_reader(statistics: Statistics, window: Window) -> ColumnReader | None:
    """None in an image without the libraries, such as that of the pipeline's jobs; `Intake.paths` tells."""
    try:
        from retrain.capture.columns import ColumnReader
    except ModuleNotFoundError as error:
        if error.name not in {"polars", "orjson"}:
            raise
        return None
    kind = statistics.prediction_layout.kinds[PREDICTION]
    return ColumnReader(statistics.layout.kinds, PREDICTION, kind, window, statistics.answers)
