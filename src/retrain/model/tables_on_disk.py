"""Tables on this machine, to be learned from or judged: CSV with a header, gzipped or not, and parquet with pyarrow."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from retrain.core.errors import Refused
from retrain.model.table import BrokenRowError, foreign_line, numbered, other_separator

SUFFIXES = (".csv", ".csv.gz", ".parquet")
CELLS = 100_000  # values of a table that are held at a time

Advance = Callable[[int], None]  # told how many bytes more have been read


def silent(_: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class TableFile:
    """A file with named columns: `header` are their names without blanks around them, `rows` begins to read it anew."""

    path: Path
    header: tuple[str, ...]
    _open: Callable[[Sequence[int], Advance], Iterator[list[str]]]

    def rows(self, names: Sequence[str], advance: Advance = silent) -> Iterator[list[str]]:
        """The columns of those names, as texts with "" for a missing value. Raises Refused naming file and line."""
        if missing := [name for name in names if name not in self.header]:
            raise _unusable(
                self.path,
                None,
                f"the columns {', '.join(missing)} are missing; it has {', '.join(self.header)}: "
                "add them, or name the columns of a headerless file in its first line",
            )
        return self._open([self.header.index(name) for name in names], advance)


def open_table(path: Path) -> TableFile:
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


def _open_csv(path: Path) -> TableFile:
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
    if any("\0" in name for name in header):
        raise _unusable(path, 1, "it is no text, but perhaps a workbook or an archive: save the table as CSV")
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

    return TableFile(path, tuple(name.strip() for name in header), rows)


def _open_parquet(path: Path) -> TableFile:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise _unusable(path, None, "reading parquet needs pyarrow: pip install pyarrow, or save it as CSV") from None
    try:
        names = tuple(parquet.ParquetFile(path).schema_arrow.names)
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
            for batch in file.iter_batches(columns=[names[place] for place in dict.fromkeys(places)]):
                columns = [list(map(_text, batch.column(names[place]).to_pylist())) for place in places]
                yield from map(list, zip(*columns, strict=True))
                advance(size * batch.num_rows // count)

    return TableFile(path, tuple(name.strip() for name in names), rows)


def _text(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _unusable(path: Path, line: int | None, message: str) -> Refused:
    return Refused("schema_mismatch", f"{path}{f', line {line}' if line else ''}: {message}")
