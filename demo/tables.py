"""Anybody's time-ordered table, made ready for the replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from demo.stack import DemoError
from demo.windows import Row, Source, Window
from retrain.dataset import Dataset, bootstrap_dataset, kinds
from retrain.errors import InvalidSpec, Refused
from retrain.files import open_table
from retrain.spec import Spec, read_spec
from retrain.table import class_name, parse_column, parse_numbers, read_table

EPOCH_YEAR = 2020  # where windows that are not months of their own are laid out, one to a month
_EPOCH = datetime(EPOCH_YEAR, 1, 1, tzinfo=UTC)

Part = tuple[Row, str]  # a row, and what it has in the column that makes the windows


def read(model: Path, data: Path, *, time: str, window: str, train_windows: int) -> Source:
    """The table, CSV or parquet, as the demo replays it. Rows without a label are left out.

    `time` names the column that orders the rows: ISO times, or numbers where windows are not months. `window` is
    `month`, a number of rows, or the name of a column whose value changes from window to window; windows that are not
    months are spread over a month each, in order. The first `train_windows` windows are what the first model is trained
    on. Raises DemoError naming file, row (the header is row 1) and column, and what to do.
    """
    try:
        spec = read_spec(model)
        parts, left_out = _parts(spec, data, time, window)
        if window.isdigit() and not int(window):
            raise DemoError("WINDOW=0: a number of rows from 1 on is expected")
        windows = _months(row for row, _ in parts) if window == "month" else spread(_groups(parts, window))
        if len(windows) <= train_windows:
            raise DemoError(
                f"{data} makes {len(windows)} windows by {window}; {train_windows} to train on leave none to replay: "
                "make them smaller (WINDOW=), or train on fewer (TRAIN=)"
            )
        initial = [row for part in windows[:train_windows] for row in part.rows]
        gap = f" ({left_out:,} rows without a label left out)" if left_out else ""
        source = Source(
            f"{data.name}: {spec.label}{gap}",
            model.read_text(encoding="utf-8-sig"),
            spec,
            initial,
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


def _parts(spec: Spec, data: Path, time: str, window: str) -> tuple[list[Part], int]:
    """The labelled rows in the order of time, and how many had no label."""
    by = [] if window == "month" or window.isdigit() else [window]
    table = open_table(data)
    names = list(dict.fromkeys([*spec.names, spec.label, time, *by]))
    rows = list(table.rows(names))
    types = {**kinds(spec), **{name: "categorical" for name in (time, *by) if name not in spec.names}}
    for place, name in enumerate(names):
        if types[name] != "categorical":
            parse_column([row[place] for row in rows], types[name], 2, str(data), name)
    at = {name: place for place, name in enumerate(names)}
    moments = _moments([row[at[time]].strip() for row in rows], f"{data}, row", time, months=window == "month")
    features, label = [at[name] for name in spec.names], at[spec.label]
    order = sorted((place for place, row in enumerate(rows) if row[label].strip()), key=lambda place: moments[place])
    parts: list[Part] = []
    for place in order:
        row, moment = rows[place], moments[place]
        values = tuple(row[feature] for feature in features)
        when = moment if isinstance(moment, datetime) else _EPOCH  # numbers give an order, not a time
        parts.append((Row(when, values, row[label]), row[at[window]] if by else ""))
    return parts, len(rows) - len(parts)


def _moments(texts: Sequence[str], place: str, name: str, *, months: bool) -> Sequence[datetime] | Sequence[float]:
    """What orders the rows: times, or, if all are numbers and no calendar is needed, these."""
    if not months and all(texts):
        values, bad = parse_numbers(texts)
        if not bad.any() and not np.isnan(values).any():
            return [float(value) for value in values]
    moments = []
    for number, text in enumerate(texts, 2):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            other = "; for numbers, WINDOW has to be a number of rows or a column" if months else ", or a number"
            raise DemoError(
                f"{place} {number}: {name} is {text!r}, an ISO time such as 2026-11-23T14:00 is expected{other}"
            ) from None
        moments.append(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
    return moments


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
        rows = [*source.initial, *(row for part in source.windows for row in part.rows)]
        every = {class_name(row.label) for row in rows}
        wanted = 2 if spec.task == "binary" else int(spec.hyperparameters["num_class"])
        if len(known) != wanted:
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
        wanted = {name: kind for name, kind in kinds(source.spec).items() if not name.startswith("__")}
        return bootstrap_dataset(source.spec, read_table(Path(folder) / "train.csv", wanted))


def _months(rows: Iterable[Row]) -> list[Window]:
    windows = []
    for (year, month), group in groupby(rows, key=lambda row: (row.time.year, row.time.month)):
        start, end = _month(year, month)
        windows.append(Window(f"{start:%b %Y}", start, end, list(group)))
    return windows


def _groups(parts: Sequence[Part], window: str) -> Iterator[tuple[str, list[Row]]]:
    if window.isdigit():
        size = int(window)
        for number, start in enumerate(range(0, len(parts) - size + 1, size), 1):
            yield f"{number}", [row for row, _ in parts[start : start + size]]
    else:
        for name, group in groupby(parts, key=lambda part: part[1]):
            yield name, [row for row, _ in group]


def spread(groups: Iterator[tuple[str, list[Row]]]) -> list[Window]:
    """The groups as windows, each over a month, its rows evenly in it."""
    windows = []
    for number, (name, rows) in enumerate(groups):
        start, end = _month(EPOCH_YEAR + number // 12, number % 12 + 1)
        step = (end - start) / (len(rows) + 1)
        placed = [Row(start + step * (place + 1), row.values, row.label) for place, row in enumerate(rows)]
        windows.append(Window(name, start, end, placed))
    return windows


def _month(year: int, month: int) -> tuple[datetime, datetime]:
    start = datetime(year, month, 1, tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)
