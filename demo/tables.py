"""Anybody's time-ordered table, made ready for the replay."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from demo.stack import DemoError
from demo.windows import Row, Source, Window
from retrain.spec import Spec, parse_spec

EPOCH_YEAR = 2020  # where windows that are not months of their own are laid out, one to a month


def read(model: Path, data: Path, *, time: str, window: str, train_windows: int) -> Source:
    """The table as the demo replays it.

    `time` names the column of ISO times that orders the rows. `window` is `month`, a number of rows, or the name of a
    column whose value changes from window to window; windows that are not months are spread over a month each, in
    order. The first `train_windows` windows are what the first model is trained on. Raises DemoError naming file and
    line.
    """
    try:
        text = model.read_text(encoding="utf-8")
        with data.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            spec = parse_spec(text, str(model))
            by = [] if window == "month" or window.isdigit() else [window]
            if missing := [name for name in (*spec.names, spec.label, time, *by) if name not in columns]:
                raise DemoError(f"{data} has no column {', '.join(missing)}; it has {', '.join(columns)}")
            rows = [_row(record, spec, time, by, f"{data}:{reader.line_num}") for record in reader]
    except OSError as error:
        raise DemoError(f"can't read {error.filename}: {error.strerror}") from error
    rows.sort(key=lambda item: item[0].time)
    windows = _months(rows) if window == "month" else spread(_groups(rows, window))
    if len(windows) <= train_windows:
        raise DemoError(
            f"{data} makes {len(windows)} windows by {window}; {train_windows} to train on leave none to replay"
        )
    initial = [row for part in windows[:train_windows] for row in part.rows]
    return Source(f"{data.name}: {spec.label}", text, spec, initial, windows[train_windows:])


def _row(record: dict[str, str | None], spec: Spec, time: str, by: Sequence[str], place: str) -> tuple[Row, str]:
    try:
        moment = datetime.fromisoformat(str(record[time]))
    except ValueError:
        raise DemoError(
            f"{place}: {time} is {record[time]!r}, an ISO time such as 2026-11-23T14:00 is expected"
        ) from None
    known = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    values = tuple(str(record[name] or "") for name in spec.names)
    return Row(known, values, str(record[spec.label] or "")), "".join(str(record[name]) for name in by)


def _months(rows: Sequence[tuple[Row, str]]) -> list[Window]:
    windows = []
    for (year, month), group in groupby((row for row, _ in rows), key=lambda row: (row.time.year, row.time.month)):
        start, end = _month(year, month)
        windows.append(Window(f"{start:%b %Y}", start, end, list(group)))
    return windows


def _groups(rows: Sequence[tuple[Row, str]], window: str) -> Iterator[tuple[str, list[Row]]]:
    if window.isdigit():
        size = int(window)
        for number, start in enumerate(range(0, len(rows) - size + 1, size), 1):
            yield f"{number}", [row for row, _ in rows[start : start + size]]
    else:
        for name, group in groupby(rows, key=lambda item: item[1]):
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
