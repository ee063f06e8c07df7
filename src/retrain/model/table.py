"""Tables of model rows: columns of numbers and of categories, read from CSV and written back.

Held by column, so that a table of a million rows takes a few bytes per value and is cut, joined and encoded without
looking at single values.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from retrain.core.errors import Refused
from retrain.model.values import Numbers, category_name, parse_flags, parse_numbers, plain_number

_CHUNK = 20_000
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Category:
    """A column of texts: `codes` are indices into `levels`, -1 is missing. Levels are distinct and sorted."""

    codes: NDArray[np.int32]
    levels: tuple[str, ...]

    def take(self, index: Index | slice) -> Category:
        """Those rows; levels that none of them has are gone."""
        codes = self.codes[index]
        used = np.unique(codes[codes >= 0])
        if len(used) == len(self.levels):
            return Category(codes, self.levels)
        return _recode(
            codes, tuple(self.levels[code] for code in used), dict(zip(used.tolist(), range(len(used)), strict=True))
        )

    def codes_in(self, levels: Sequence[str]) -> NDArray[np.int32]:
        """The codes with respect to other levels, -1 for what is not among them."""
        position = {level: code for code, level in enumerate(levels)}
        return _lookup(self.codes, [position.get(level, -1) for level in self.levels])


Column = Numbers | Category


@dataclass(frozen=True)
class Table:
    """Columns of the same length, by name."""

    columns: Mapping[str, Column]

    def __len__(self) -> int:
        for column in self.columns.values():
            return len(column.codes if isinstance(column, Category) else column)
        return 0

    def take(self, index: Index | slice) -> Table:
        """Those rows, in the index's order."""
        return Table(
            {
                name: column.take(index) if isinstance(column, Category) else column[index]
                for name, column in self.columns.items()
            }
        )

    def numbers(self, name: str) -> Numbers:
        """The numeric column of that name."""
        column = self.columns[name]
        if isinstance(column, Category):
            raise TypeError(f"{name} is a categorical column")
        return column

    def categories(self, name: str) -> Category:
        """The categorical column of that name."""
        column = self.columns[name]
        if not isinstance(column, Category):
            raise TypeError(f"{name} is a numeric column")
        return column

    def having(self, name: str, column: Column) -> Table:
        """The table with that column added or replaced."""
        return Table({**self.columns, name: column})

    def without(self, name: str) -> Table:
        """The table without that column."""
        return Table({known: column for known, column in self.columns.items() if known != name})


def concat(tables: Sequence[Table]) -> Table:
    """The rows of all tables, one after the other. They must have the same columns of the same kinds."""
    names = list(tables[0].columns)
    return Table({name: _concat_column([table.columns[name] for table in tables]) for name in names})


def category(values: Sequence[str]) -> Category:
    """A column of those texts."""
    distinct = {value: category_name(value) for value in set(values)}
    levels = sorted(set(distinct.values()) - {""})
    position = {level: code for code, level in enumerate(levels)}
    code = {value: position.get(level, -1) for value, level in distinct.items()}
    return Category(np.array([code[value] for value in values], dtype=np.int32), tuple(levels))


def class_name(text: str) -> str:
    """The one spelling of a class: numbers without a needless fraction.

    >>> class_name("1.0"), class_name(" yes")
    ('1', 'yes')
    """
    text = text.strip()
    try:
        number = plain_number(text)
    except ValueError:
        return text
    return repr(number).removesuffix(".0") if abs(number) < 1e15 else text  # beyond, repr has an exponent


def class_order(name: str) -> tuple[float, str]:
    """What classes are sorted by: numbers first, by their size.

    >>> sorted(["10", "2", "other"], key=class_order)
    ['2', '10', 'other']
    """
    try:
        return plain_number(name), name
    except ValueError:
        return float("inf"), name


def ordered_classes(names: Iterable[str], positive: str | None = None) -> tuple[str, ...]:
    """The classes in the order of their numbers: as `class_order` sorts them, but a positive one is the last.

    >>> ordered_classes(["legit", "fraud"]), ordered_classes(["legit", "fraud"], "fraud")
    (('fraud', 'legit'), ('legit', 'fraud'))
    """
    last = None if positive is None else class_name(positive)
    return tuple(sorted(names, key=lambda name: (name == last, class_order(name))))


def thin(rows: int, most: int) -> Index:
    """Indices of at most `most` of the rows, evenly spread, the same ones every time.

    >>> thin(10, 4).tolist()
    [0, 2, 5, 7]
    >>> thin(3, 4).tolist()
    [0, 1, 2]
    """
    if rows <= most:
        return np.arange(rows)
    return np.arange(most) * rows // max(most, 1)


def read_table(path: Path, kinds: Mapping[str, str], optional: Iterable[str] = ()) -> Table:
    """The columns named in `kinds` (name → numeric | categorical | boolean) of a CSV file with a header.

    Other columns are left out, and so are blank lines. Columns in `optional` may be absent. Raises
    `Refused("schema_mismatch", …)` naming file, line and column.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = _records(file, path)
        _, header = next(reader, (0, []))
        header = [name.strip() for name in header]
        if not header:
            raise Refused("schema_mismatch", f"{path.name} is empty: a header and rows are expected")
        if other := other_separator(header):
            raise Refused("schema_mismatch", f"{path.name}, line 1: {other}")
        if missing := [name for name in kinds if name not in header and name not in set(optional)]:
            raise Refused(
                "schema_mismatch", f"{path.name} lacks the columns {', '.join(missing)}: it has {', '.join(header)}"
            )
        if len(set(header)) != len(header):
            double = sorted({name for name in header if header.count(name) > 1})
            raise Refused("schema_mismatch", f"{path.name} has columns of the same name: {', '.join(double)}")
        position = {name: header.index(name) for name in kinds if name in header}
        parts: dict[str, list[Column]] = {name: [] for name in position}
        for lines, rows in _chunks(reader, len(header), path):
            columns = list(zip(*rows, strict=True))
            for name, at in position.items():
                texts = columns[at]
                parts[name].append(
                    category(texts)
                    if kinds[name] == "categorical"
                    else parse_column(texts, kinds[name], f"{path.name}, line", lines, name)
                )
    empty: dict[str, Column] = {
        name: Category(np.empty(0, np.int32), ()) if kinds[name] == "categorical" else np.empty(0) for name in position
    }
    return Table({name: _concat_column(parts.pop(name) or [empty[name]]) for name in position})


def write_table(path: Path, table: Table) -> None:
    """The file holds the table as CSV with a header; the same table gives the same bytes."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        for start in range(0, len(table), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            writer.writerows(zip(*(_texts(column, chunk) for column in table.columns.values()), strict=True))


class BrokenRowError(csv.Error):
    """A row that is no CSV; `line` is the one in which it begins."""

    def __init__(self, line: int, why: str) -> None:
        remedy = "close its quotes, write a quote within a value twice, separate values by commas"
        super().__init__(f"{why}, in the row that begins here: {remedy}")
        self.line = line


def numbered(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of the line in which it begins.

    Raises BrokenRowError; a quote that is not closed would otherwise swallow the rest of the file.
    """
    reader = csv.reader(file, strict=True)
    begins = 1
    try:
        for row in reader:
            if row:
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise BrokenRowError(begins, str(error)) from None


def other_separator(header: Sequence[str]) -> str | None:
    """What is wrong with a header of one column that is several, with another separator than a comma between them."""
    found = next((sign for sign in ";\t|" if len(header) == 1 and sign in header[0]), None)
    return found and f"its columns are separated by {found!r}: save the file with commas"


def _records(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """As `numbered`. Raises Refused for what is no CSV."""
    try:
        yield from numbered(file)
    except UnicodeDecodeError:
        where = f"{path.name}, line {foreign_line(path)}"
        raise Refused("schema_mismatch", f"{where}: no UTF-8 text: save the file as UTF-8") from None
    except BrokenRowError as error:
        raise Refused("schema_mismatch", f"{path.name}, line {error.line}: {error}") from None


def foreign_line(path: Path) -> int:
    """Number of the first line that is no UTF-8; 0 if there is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


def _chunks(
    reader: Iterator[tuple[int, list[str]]], width: int, path: Path
) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Some rows at a time, and the numbers of their lines."""
    while found := list(islice(reader, _CHUNK)):
        for number, row in found:
            if len(row) != width:
                raise Refused(
                    "schema_mismatch", f"{path.name}, line {number}: {len(row)} columns, the header has {width}"
                )
        yield [number for number, _ in found], [row for _, row in found]


def parse_column(texts: Sequence[str], kind: str, place: str, numbers: Sequence[int], name: str) -> Numbers:
    """The texts of a numeric or boolean column.

    Raises `Refused("schema_mismatch", …)` naming the first value of another kind by its `place`, such as "t.csv, row",
    its number there and the column's name.
    """
    values, bad = (parse_flags if kind == "boolean" else parse_numbers)(texts)
    if bad.any():
        row = int(np.argmax(bad))
        wanted = "neither true nor false (yes, no, 1, 0)" if kind == "boolean" else "not a finite number"
        raise Refused("schema_mismatch", f"{place} {numbers[row]}: {name}: {texts[row][:40]!r} is {wanted}")
    return values


def _texts(column: Column, chunk: slice) -> list[str]:
    if isinstance(column, Category):
        names = (*column.levels, "")  # -1 is the last one
        return [names[code] for code in column.codes[chunk].tolist()]
    return [_text(value) for value in column[chunk].tolist()]


def _text(value: float) -> str:
    if value != value:  # noqa: PLR0124  (NaN)
        return ""
    text = repr(value)
    return text.removesuffix(".0")


def _concat_column(parts: Sequence[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    categories = [part for part in parts if isinstance(part, Category)]
    if not categories:
        return np.concatenate([part for part in parts if not isinstance(part, Category)])
    levels = tuple(sorted(set().union(*(part.levels for part in categories))))
    return Category(np.concatenate([part.codes_in(levels) for part in categories]), levels)


def _recode(codes: NDArray[np.int32], levels: tuple[str, ...], new: Mapping[int, int]) -> Category:
    return Category(_lookup(codes, [new.get(code, -1) for code in range(max(new, default=-1) + 1)]), levels)


def _lookup(codes: NDArray[np.int32], new: Sequence[int]) -> NDArray[np.int32]:
    table = np.array([*new, -1], dtype=np.int32)  # -1 picks the last entry
    return table[codes]
