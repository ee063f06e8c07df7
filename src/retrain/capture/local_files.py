"""Files on this machine, as the drift monitor takes them: tables to learn from, folders of captures to judge.

A table (CSV with a header, gzipped or not, or parquet where pyarrow is installed) that is to be judged becomes captures
of many rows each, so that there is one way to a verdict and not two. So do the files of batch transform jobs, which
their manifests name by URI: below the folder they are looked for by the end of their key, as `aws s3 sync` leaves them.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retrain.capture.batch_transform import read_manifest, transformed
from retrain.capture.ground_truth import collected_hour
from retrain.capture.records import lines
from retrain.core.clock import parse, render
from retrain.core.errors import Refused
from retrain.core.window import Window
from retrain.model.table import BrokenRowError, foreign_line, numbered, other_separator, parse_flags, parse_numbers

ALWAYS: Window = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_TABLES = (".csv", ".csv.gz", ".parquet")
_CHUNK = 2**20  # bytes
_CELLS = 100_000  # values of a table that are held at a time
_TIME = b'"inferenceTime"'
_MANIFEST = re.compile(r"(?:^|/)(input|output)/\d{4}/\d{2}/\d{2}/\d{2}/[^/]+$")

Advance = Callable[[int], None]  # told how many bytes more have been read
Captures = Iterator[tuple[str, Iterable[bytes]]]


def _silent(_: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Table:
    """A file with named columns: `header` are their names, `rows` begins to read it anew."""

    path: Path
    header: tuple[str, ...]
    _open: Callable[[Sequence[int], Advance], Iterator[list[str]]]

    def rows(self, names: Sequence[str], advance: Advance = _silent) -> Iterator[list[str]]:
        """The columns of those names, as texts with "" for a missing value. Raises Refused naming file and line."""
        if missing := [name for name in names if name not in self.header]:
            raise _unusable(
                self.path,
                None,
                f"the columns {', '.join(missing)} are missing; it has {', '.join(self.header)}: "
                "add them, or name the columns of a headerless file in its first line",
            )
        return self._open([self.header.index(name) for name in names], advance)


def open_table(path: Path) -> Table:
    """The table in that file. Raises Refused("schema_mismatch", …) naming file, line and remedy."""
    if not path.is_file():
        raise _unusable(path, None, "there is no such file: name a CSV with a header, or a parquet file")
    table = _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_csv(path)
    if double := sorted({name for name in table.header if table.header.count(name) > 1}):
        raise _unusable(path, 1, f"two columns have the name {', '.join(double)}: rename one")
    if not all(name.strip() for name in table.header):
        place = next(index for index, name in enumerate(table.header, 1) if not name.strip())
        raise _unusable(path, 1, f"column {place} has no name: write one into the header")
    return table


def infer_kinds(table: Table, names: Sequence[str], advance: Advance = _silent) -> dict[str, str]:
    """name → boolean, numeric or categorical, by the values that are there.

    Boolean are spellings of true and false (0 and 1, too: requests may have them as JSON's), numeric finite numbers.
    Always the same number is a number.
    """
    numeric = dict.fromkeys(names, True)
    flags: dict[str, set[float]] = {name: set() for name in names}  # those seen, as long as there is nothing else
    rows = table.rows(names, advance)
    while block := list(islice(rows, max(_CELLS // len(names), 1))):
        for name, texts in zip(names, zip(*block, strict=True), strict=True):
            if numeric[name] and parse_numbers(texts)[1].any():
                numeric[name] = False
            if name in flags:
                values, bad = parse_flags(texts)
                if bad.any():
                    del flags[name]
                else:
                    flags[name].update(values[~np.isnan(values)].tolist())
    boolean = {name for name, seen in flags.items() if len(seen) == 2 or not numeric[name]}
    return {
        name: "boolean" if name in boolean else "numeric" if yes else "categorical" for name, yes in numeric.items()
    }


@dataclass
class Evidence:
    """The files that a window's verdict rests on: captures, or tables.

    `window` becomes, once all is read, the span of time that the captures name, in which `start` and `end` take
    precedence; a table has no time but its file's.
    """

    paths: tuple[Path, ...]
    root: Path
    start: datetime | None = None
    end: datetime | None = None
    transformed: bool = False  # these are manifests of batch transform jobs
    _first: datetime | None = field(default=None, init=False)
    _last: datetime | None = field(default=None, init=False)

    @property
    def tabular(self) -> bool:
        """Whether these are tables."""
        return _is_table(self.paths[0])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        paths: Iterable[Path] = self.paths
        if self.transformed:
            paths = (self._file(uri) for _, *sides in self._manifests() for side in sides for uri in side.values())
        return sum(path.stat().st_size for path in paths)

    @property
    def asked(self) -> Window:
        """The window that was asked for, open where nobody said anything."""
        return self.start or ALWAYS[0], self.end or ALWAYS[1]

    @property
    def window(self) -> Window:
        """The window as far as it is known by now."""
        modified = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in self.paths]
        first, last = self._first or min(modified), self._last or max(modified)
        start = self.start or first.replace(microsecond=0)
        return start, self.end or max(start, last.replace(microsecond=0)) + timedelta(seconds=1)

    def captures(self, names: Sequence[str], advance: Advance = _silent, prediction: str | None = None) -> Captures:
        """Each file's name and its lines; of a table they have those columns, and its `prediction` for an answer."""
        if self.transformed:

            def opened(uri: str) -> Iterator[bytes]:
                return lines(_chunks(self._file(uri), advance))

            for hour, inputs, outputs in self._manifests():
                for source, found in transformed(inputs, outputs, opened, hour):
                    yield source, self._timed(found)
            return
        for path in self.paths:
            source = path.relative_to(self.root).as_posix() if path != self.root else path.name
            if self.tabular:
                yield source, self._table(path, names, advance, prediction)
            elif self.start and self.end:
                yield source, lines(_chunks(path, advance))
            else:
                yield source, self._timed(lines(_chunks(path, advance)))

    def _manifests(self) -> Iterator[tuple[datetime, dict[str, str], dict[str, str]]]:
        """Each hour, and name and URI of what was read and what was answered in it."""
        found: dict[datetime, dict[str, dict[str, str]]] = {}
        for path in self.paths:
            source = path.relative_to(self.root).as_posix()
            hour, side = collected_hour(source), _MANIFEST.search(source)
            assert hour is not None  # all manifests have both
            assert side is not None
            sides = found.setdefault(hour, {"input": {}, "output": {}})
            sides[side[1]].update(read_manifest(path.read_bytes(), source))
        for hour in sorted(found):
            yield hour, found[hour]["input"], found[hour]["output"]

    def _file(self, uri: str) -> Path:
        """Where the object of that URI lies below the folder."""
        parts = uri.split("://", 1)[-1].split("/")
        for first in range(len(parts)):
            if (path := self.root.joinpath(*parts[first:])).is_file():
                return path
        raise Refused("capture_missing", f"{self.root}: {uri} is in a manifest, and no file below: copy it there")

    def _timed(self, found: Iterable[bytes]) -> Iterator[bytes]:
        """The lines; first and last time are noted. Where nothing was asked, they are the window."""
        earliest = latest = b""
        odd: list[datetime] = []
        for line in found:
            at = line.find(b'"', line.find(b":", line.rfind(_TIME) + len(_TIME))) + 1
            text = line[at : line.find(b'"', at)]
            if len(text) == 20 and text[19:] == b"Z":  # what SageMaker writes: the texts sort as the times do
                earliest, latest = min(earliest or text, text), max(latest, text)
            elif _TIME in line and (moment := _moment(text)):
                odd.append(moment)
            yield line
        known = [*odd, *(moment for text in {earliest, latest} if (moment := _moment(text)))]
        inside = [moment for moment in known if self.asked[0] <= moment < self.asked[1]]
        if inside:
            self._first = min(inside) if self._first is None else min(self._first, *inside)
            self._last = max(inside) if self._last is None else max(self._last, *inside)

    def _table(self, path: Path, names: Sequence[str], advance: Advance, prediction: str | None) -> Iterator[bytes]:
        width = len(names)
        rows = open_table(path).rows([*names, *filter(None, [prediction])], advance)
        time = render(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        while block := list(islice(rows, max(_CELLS // width, 1))):
            captured = {"endpointInput": {"data": [row[:width] for row in block], "encoding": "JSON"}}
            if prediction:
                captured["endpointOutput"] = {"data": [row[width:] for row in block], "encoding": "JSON"}
            yield json.dumps(
                {
                    "captureData": captured,
                    "eventMetadata": {"eventId": "table", "inferenceTime": time},
                }
            ).encode()


def find_evidence(path: Path, start: datetime | None = None, end: datetime | None = None) -> Evidence:
    """The captures below that folder, or the tables in it, or that one file.

    Folders yyyy/mm/dd/hh that lie outside of [start, end) are left out. Raises Refused if there is nothing to read.
    """
    if not path.exists():
        raise Refused("capture_missing", f"{path}: there is no such file or folder: name a folder of captures or a CSV")
    if path.is_dir():
        visible = [
            item
            for item in sorted(path.rglob("*"))
            if item.is_file() and not any(part.startswith((".", "_")) for part in item.relative_to(path).parts)
        ]
        if manifests := [item for item in visible if _is_manifest(item, item.relative_to(path).as_posix())]:
            return _of_window(path, Evidence(tuple(manifests), path, start, end, transformed=True))
    else:
        visible = [path]
    tables = [item for item in visible if _is_table(item)]
    captures = [item for item in visible if _is_capture(item)]
    if tables and captures:
        raise Refused(
            "capture_missing",
            f"{path}: it holds captures ({captures[0].name}) and tables ({tables[0].name}): name the one or the other",
        )
    if not tables and not captures:
        known = "*.jsonl, *.jsonl.gz, *.csv, *.csv.gz or *.parquet"
        found = f"no file {known} is below it" if path.is_dir() else f"its name is none of {known}: rename it"
        raise Refused("capture_missing", f"{path}: {found}")
    if tables and (start or end):
        raise Refused("capture_missing", f"{tables[0]}: the rows of a table have no time: leave --start and --end out")
    return _of_window(path, Evidence(tuple(tables or captures), path, start, end))


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(_TABLES)


def _is_capture(path: Path) -> bool:
    return not _is_table(path) and (".jsonl" in path.name.lower() or path.suffix.lower() == ".gz")


def _is_manifest(path: Path, source: str) -> bool:
    """Whether it is one by its folder, and not of a variant that has such a name: captures begin with a brace."""
    if not _MANIFEST.search(source):
        return False
    if not _is_table(path) and not _is_capture(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"["


def _of_window(path: Path, evidence: Evidence) -> Evidence:
    """The evidence without the folders that lie outside of its window."""
    if evidence.tabular or not path.is_dir():
        return evidence
    inside = tuple(item for item in evidence.paths if _may_hold(collected_hour(item.as_posix()), evidence.asked))
    if not inside:
        raise Refused(
            "capture_missing",
            f"{path}: none of its {len(evidence.paths)} files is of the window: change --start or --end",
        )
    return replace(evidence, paths=inside)


def _may_hold(hour: datetime | None, window: Window) -> bool:
    return hour is None or (hour < window[1] and window[0] - hour < timedelta(hours=1))


def _moment(text: bytes) -> datetime | None:
    try:
        return parse(text.decode())
    except (ValueError, OverflowError):
        return None


def _chunks(path: Path, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            advance(len(chunk))
            yield chunk


def _open_csv(path: Path) -> Table:
    packed = path.suffix.lower() == ".gz"

    def read() -> Iterator[tuple[int, int, list[str]]]:
        """The line in which it begins, bytes read so far, and values of every row."""
        with path.open("rb") as raw:
            content = gzip.GzipFile(fileobj=raw) if packed else raw
            try:
                for number, row in numbered(io.TextIOWrapper(content, encoding="utf-8-sig", newline="")):
                    yield number, raw.tell(), row
            except UnicodeDecodeError:
                line = None if packed else foreign_line(path)
                raise _unusable(path, line, "it is no UTF-8 text: save the file as UTF-8") from None
            except BrokenRowError as error:
                raise _unusable(path, error.line, str(error)) from None
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise _unusable(path, None, f"the gz file is damaged ({error}): copy it anew") from None

    begun = read()
    _, _, header = next(begun, (0, 0, []))
    if not header:
        raise _unusable(path, None, "the file is empty: a header and rows are expected")
    if other := other_separator(header):
        raise _unusable(path, 1, other)

    def rows(places: Sequence[int], advance: Advance) -> Iterator[list[str]]:
        done = 0
        for line, position, row in islice(read(), 1, None):
            if len(row) != len(header):
                raise _unusable(
                    path, line, f"{len(row)} values, the header has {len(header)}: add or remove values or quotes"
                )
            if position != done:
                advance(position - done)
                done = position
            yield [row[place] for place in places]

    return Table(path, tuple(header), rows)


def _open_parquet(path: Path) -> Table:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise _unusable(path, None, "reading parquet needs pyarrow: pip install pyarrow, or save it as CSV") from None
    try:
        header = tuple(parquet.ParquetFile(path).schema_arrow.names)
    except (ValueError, OSError) as error:
        raise _unusable(path, None, f"not a parquet file ({error}): save it anew") from None

    def rows(places: Sequence[int], advance: Advance) -> Iterator[list[str]]:
        with parquet.ParquetFile(path) as file:
            for place in places:
                field = file.schema_arrow.field(place)
                if field.type.num_fields or "binary" in str(field.type):
                    remedy = "spread it over columns of numbers and texts, or leave it out"
                    raise _unusable(path, None, f"the values of {field.name} are {field.type}: {remedy}")
            size, count = path.stat().st_size, max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(columns=[header[place] for place in dict.fromkeys(places)]):
                columns = [list(map(_text, batch.column(header[place]).to_pylist())) for place in places]
                yield from map(list, zip(*columns, strict=True))
                advance(size * batch.num_rows // count)

    return Table(path, header, rows)


def _text(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else str(value)


def _unusable(path: Path, line: int | None, message: str) -> Refused:
    return Refused("schema_mismatch", f"{path}{f', line {line}' if line else ''}: {message}")
