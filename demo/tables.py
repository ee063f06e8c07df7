"""Anybody's time-ordered table, made ready for the replay."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from demo.stack import DemoError
from demo.windows import Row, Rows, Source, Window
from retrain.core.errors import InvalidSpec, Refused
from retrain.model.read_spec import read_spec
from retrain.model.spec import Spec
from retrain.model.table import class_name, parse_column
from retrain.model.tables_on_disk import open_table
from retrain.model.values import parse_numbers
from retrain.training.dataset import Dataset, bootstrap_dataset, initial_rows, kinds

EPOCH_YEAR = 2020  # where windows that are not months of their own are laid out, one to a month
COLUMN = "column:"  # before the name of a column that would be taken for something else
_EPOCH = datetime(EPOCH_YEAR, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CELLS = 100_000  # values that are held as they are read
_packed = json.JSONEncoder(separators=(",", ":")).encode


def read(model: Path, data: Path, *, time: str, window: str, train_windows: int) -> Source:
    """The table, CSV or parquet, as the demo replays it. Rows without a label are left out.

    `time` names the column that orders the rows: ISO times, or numbers where windows are not months. `window` is
    `month`, a number of rows, or the name of a column whose value changes from window to window (`column:` before one
    that is named `month` or is a number); windows that are not months are spread over a month each, in order. The first
    `train_windows` windows are what the first model is trained on. Raises DemoError naming file, row (the header is
    row 1) and column, and what to do.
    """
    try:
        spec = read_spec(model)
        if train_windows < 1:
            raise DemoError(f"TRAIN={train_windows}: a number of windows from 1 on is expected")
        size, by = _window(window)
        months = not size and not by
        held = _hold(spec, data, time, by, months=months)
        windows = _months(held) if months else spread(_parts(held, size))
        if len(windows) <= train_windows:
            raise DemoError(
                f"{data} makes {len(windows)} windows by {window}; {train_windows} to train on leave none to replay: "
                "make them smaller (WINDOW=), or train on fewer (TRAIN=)"
            )
        first = sum(len(part.rows) for part in windows[:train_windows])
        source = Source(
            f"{data.name}: {spec.label}{held.left_out(windows)}",
            model.read_text(encoding="utf-8-sig"),
            spec,
            Rows(held.row, range(first)),
            windows[train_windows:],
        )
        _check_sizes(source, data, window, train_windows)
    except Refused as refusal:
        raise DemoError(refusal.detail) from refusal
    except InvalidSpec as error:
        raise DemoError(str(error)) from error
    except OSError as error:
        raise DemoError(f"can't read {error.filename}: {error.strerror}") from error
    return source


def _window(window: str) -> tuple[int, list[str]]:
    """What makes the windows: how many rows, or the name of a column; neither, where they are months."""
    if window == "month":
        return 0, []
    if re.fullmatch(r"[+-]?[0-9]{1,18}", window):
        if int(window) < 1:
            raise DemoError(f"WINDOW={window}: a number of rows from 1 on is expected")
        return int(window), []
    return 0, [window.removeprefix(COLUMN)]


@dataclass
class _Held:
    """A table's labelled rows in the order of time, a text each, because a million are to fit into memory."""

    texts: list[str] = field(default_factory=list)  # JSON: the features, and the label behind them
    marks: list[str] = field(default_factory=list)  # what the rows have in the column that makes the windows
    unlabelled: int = 0
    times: NDArray[np.int64] | None = None  # microseconds after _EPOCH, where the windows are months

    def __len__(self) -> int:
        return len(self.texts)

    def row(self, place: int) -> Row:
        *values, label = json.loads(self.texts[place])
        return Row(self.moment(place), tuple(values), label)

    def moment(self, place: int) -> datetime:
        return _EPOCH if self.times is None else _EPOCH + int(self.times[place]) * _MICROSECOND

    def left_out(self, windows: Sequence[Window]) -> str:
        """What the replay does not have of the table, in words."""
        rest = len(self) - sum(len(window.rows) for window in windows)
        gaps = [f"{self.unlabelled:,} rows without a label left out"] if self.unlabelled else []
        gaps += [f"the last {rest:,} rows, fewer than a window has, left out"] if rest else []
        return f" ({', '.join(gaps)})" if gaps else ""


@dataclass
class _Order:
    """What orders the rows, all of them: times, or, where no calendar is needed and all are numbers, these."""

    months: bool
    numeric: bool = True
    numbers: array[float] = field(default_factory=lambda: array("d"))
    times: array[int] = field(default_factory=lambda: array("q"))
    odd: tuple[int, str] | None = None  # row and text of the first that is no time

    def read(self, texts: Sequence[str]) -> None:
        values, bad = parse_numbers(texts)
        self.numeric = self.numeric and not bad.any() and not np.isnan(values).any()
        for text, number in zip(texts, values.tolist(), strict=True):
            self.numbers.append(number)
            if self.odd is None:
                try:
                    moment = datetime.fromisoformat(text)
                except ValueError:
                    self.odd = (len(self.numbers) + 1, text)
                else:  # the difference has no limits, other than a time in another zone
                    self.times.append(
                        ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
                    )

    def found(self, place: str, name: str) -> Sequence[float]:
        """What to sort by: numbers, or microseconds after _EPOCH."""
        if not self.months and self.numeric:
            return self.numbers
        if self.odd:
            row, text = self.odd
            other = "; for numbers, WINDOW has to be a number of rows or a column" if self.months else ", or a number"
            raise DemoError(
                f"{place} {row}: {name} is {text!r}, an ISO time such as 2026-11-23T14:00 is expected{other}"
            )
        if self.months:
            first, last = ((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND for year in (2, 9999))
            for row, moment in enumerate(self.times, 2):
                if not first <= moment < last:
                    raise DemoError(
                        f"{place} {row}: {name} is in the year {'1' if moment < first else '9999'}: correct it, remove "
                        "the row, or make windows of a number of rows (WINDOW=5000)"
                    )
        return self.times


def _hold(spec: Spec, data: Path, time: str, by: list[str], *, months: bool) -> _Held:
    """The labelled rows of the table, which was read once, each value looked at."""
    table = open_table(data)
    names = list(dict.fromkeys([*spec.names, spec.label, time, *by]))
    at = {name: place for place, name in enumerate(names)}
    types = {**kinds(spec), **{name: "categorical" for name in (time, *by) if name not in spec.names}}
    wanted, label, marks = [at[name] for name in (*spec.names, spec.label)], at[spec.label], [at[name] for name in by]
    held, order, kept, known = _Held(), _Order(months), array("q"), dict[str, str]()
    rows, first = table.rows(names), 2
    while block := list(islice(rows, max(_CELLS // len(names), 1))):
        numbers = range(first, first + len(block))
        columns = list(zip(*block, strict=True))
        for name, texts in zip(names, columns, strict=True):
            if types[name] != "categorical":
                parse_column(texts, types[name], f"{data}, row", numbers, name)
        order.read([text.strip() for text in columns[at[time]]])
        for number, row in zip(numbers, block, strict=True):
            if row[label].strip():
                kept.append(number - 2)
                held.texts.append(_packed([row[place] for place in wanted]))
                held.marks += [known.setdefault(row[place], row[place]) for place in marks]
            else:
                held.unlabelled += 1
        first += len(block)
    moments = np.array(order.found(f"{data}, row", time))[np.array(kept, dtype=np.intp)]
    places = np.argsort(moments, kind="stable").tolist()
    held.texts = [held.texts[place] for place in places]
    held.marks = [held.marks[place] for place in places] if by else []
    held.times = np.sort(moments) if months else None
    return held


def _check_sizes(source: Source, data: Path, window: str, train_windows: int) -> None:
    """Raises DemoError where the loop could only refuse: too few rows to begin with or in a window, unknown classes."""
    spec = source.spec
    more = f"train on more than {train_windows} windows (TRAIN=)"
    try:
        dataset = _first_dataset(source)
    except Refused as refusal:
        said = refusal.detail.removeprefix("train.csv has ")
        raise DemoError(f"{data}: of what comes first, the model can't be made: {said}: {more}") from refusal
    if spec.task != "regression":
        known = set(dataset.parts["train"].categories(spec.label).levels)
        wanted = 2 if spec.task == "binary" else int(spec.hyperparameters["num_class"])
        if len(known) != wanted:
            parts = [source.initial, *(part.rows for part in source.windows)]
            every = {class_name(row.label) for rows in parts for row in rows}
            raise DemoError(
                f"{data}: the rows that the first model learns from have {len(known)} classes of {spec.label} "
                f"({', '.join(sorted(known)[:10])}), model.toml says {wanted}, the table has {len(every)}: {more}"
            )
    middle = int(median(len(part.rows) for part in source.windows))
    if middle < spec.dataset.min_rows:
        raise DemoError(
            f"{data} makes windows by {window} of {middle} rows; [dataset] min_rows of model.toml asks for "
            f"{spec.dataset.min_rows}: make them larger (WINDOW=), or ask for less"
        )


def _first_dataset(source: Source) -> Dataset:
    """What the dataset job will make of the initial data."""
    with TemporaryDirectory() as folder:
        source.write_initial(Path(folder))
        return bootstrap_dataset(source.spec, initial_rows(source.spec, Path(folder) / "train.csv"))


def _months(held: _Held) -> list[Window]:
    windows, first = [], 0
    moments = (held.moment(place) for place in range(len(held)))
    for (year, month), group in groupby((moment.year, moment.month) for moment in moments):
        start, end = _month(year, month)
        last = first + sum(1 for _ in group)
        windows.append(Window(f"{start:%b %Y}", start, end, Rows(held.row, range(first, last))))
        first = last
    return windows


def _parts(held: _Held, size: int) -> Iterator[tuple[str, Sequence[Row]]]:
    """So many rows each, all but the rest; or the rows of one mark after the other."""
    first = 0
    if size:
        for number in range(len(held) // size):
            yield f"{number + 1}", Rows(held.row, range(number * size, (number + 1) * size))
    for mark, group in groupby(held.marks):
        last = first + sum(1 for _ in group)
        yield mark, Rows(held.row, range(first, last))
        first = last


def spread(groups: Iterable[tuple[str, Sequence[Row]]]) -> list[Window]:
    """The groups as windows, each over a month, its rows evenly in it."""
    windows = []
    for number, (name, rows) in enumerate(groups):
        start, end = _month(EPOCH_YEAR + number // 12, number % 12 + 1)
        step = (end - start) / (len(rows) + 1)
        windows.append(Window(name, start, end, Rows(partial(_placed, rows, start, step), range(len(rows)))))
    return windows


def _placed(rows: Sequence[Row], start: datetime, step: timedelta, place: int) -> Row:
    row = rows[place]
    return Row(start + step * (place + 1), row.values, row.label)


def _month(year: int, month: int) -> tuple[datetime, datetime]:
    start = datetime(year, month, 1, tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)
