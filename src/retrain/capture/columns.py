"""Captures by the block: the columns of some thousand lines at once.

The lines of an endpoint's captures differ in a few texts only: the request's values, the answer, ids and the time. Such
a line is learned as a `Shape`. The lines of a block that are proven to have it are read as what they then are: CSV
without quotes, whose columns are the values, between JSON that never changes. Lines that are not alike are read as
JSON, one by one, and the CSV in them together. What neither covers is left to `capture.read_line`.

What is proven of a line that has the shape: it has the shape's number of commas; what stands around the values is the
shape's, byte by byte; it has no quote, no backslash and no control character beyond the shape's; it is UTF-8. Hence
JSON reads it as it reads the line that the shape was learned from, with other texts.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import compress, groupby
from operator import attrgetter
from timeit import repeat
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars
from numpy.typing import NDArray
from polars.exceptions import ComputeError

from retrain.capture.answers import Answers
from retrain.capture.gz import MAX_LINE
from retrain.capture.payload import decode
from retrain.capture.quarantine import UnreadableError
from retrain.core.clock import parse
from retrain.core.window import Window
from retrain.model.values import HIGHEST, Numbers, parse_number

Mask = NDArray[np.bool_]

_PART = 2**18  # bytes that stay in a processor's cache
_FIELDS = ("data", "eventId", "inferenceId", "inferenceTime")
_TRIED, _SAMPLE = 8, 64  # lines of a block from which a shape may be learned, and on which it is tried
_LONGEST_PAUSE = 32  # blocks
_WORTH = 8  # a shape is learned where more than one line in so many has no known one
_SHAPES = 4  # that are known at a time
_KNOWN_TIMES = 100_000
_PLAIN_TIME = "^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-5][0-9]:[0-5][0-9]Z$"  # as SageMaker writes them
_VALUE = "\x01"  # stands for a value while a shape is learned; a line with control characters has none
_CONTROL = bytes(range(32))
_SIGNS = b',"\\' + _CONTROL
_COMMA, _ESCAPE = b",\\"
_BOM = "\ufeff"
_OVER = "over"  # the column of what is beyond the last comma


@dataclass(frozen=True)
class Column:
    """What stands between two commas of a line: constant text, or a value with constant text around it.

    Fields are data (the request's values), output (the answer), id, inferenceTime and other.
    """

    before: str
    field: str | None = None
    after: str = ""


@dataclass(frozen=True)
class Shape:
    """A line of captures, of which everything is known but the values."""

    columns: tuple[Column, ...]
    begin: bytes  # what its lines begin with
    signs: int  # commas, quotes and backslashes
    low: int  # backslashes, and all that sorts up to a comma

    def places(self, field: str) -> list[int]:
        """The columns of the field's values."""
        return [place for place, column in enumerate(self.columns) if column.field == field]

    def may_have(self, line: bytes) -> bool:
        """Whether the line has the shape's beginning, and as many signs."""
        return line.startswith(self.begin) and len(line) - len(line.translate(None, _SIGNS)) == self.signs

    def adds_nothing_to(self, block: bytes, count: int) -> bool:
        """Whether so many lines, which have what stands around the values, have no sign more that JSON reads otherwise.

        Each of them has at least the shape's signs, and one for its end. A comma more would be a column beyond those
        that are proven.
        """
        signs = np.frombuffer(block, np.uint8)
        parts = [signs[begin : begin + _PART] for begin in range(0, len(signs), _PART)]
        found = sum(int(np.count_nonzero(part == _ESCAPE)) for part in parts)
        # Values seldom have blanks or others that sort below a comma. Where none has, one more look is enough.
        if found + sum(int(np.count_nonzero(part <= _COMMA)) for part in parts) != count * (self.low + 1):
            found += sum(int(np.count_nonzero(part == sign)) for part in parts for sign in b',"')
            found += sum(int(np.count_nonzero(part < len(_CONTROL))) for part in parts)
            if found != count * (self.signs + 1):
                return False
        return _is_text(block)


class Lines(NamedTuple):
    """Lines of a block, and their places in it; 0 is the first."""

    places: Sequence[int]
    lines: Sequence[bytes]

    def where(self, wanted: Sequence[bool]) -> Lines:
        """Those of the lines."""
        return Lines(list(compress(self.places, wanted)), list(compress(self.lines, wanted)))


@dataclass
class Columns:
    """Rows by the column: numbers (NaN where they are missing or bad, and how many are bad), how often each text."""

    rows: int = 0
    numbers: list[tuple[str, Numbers, int]] = field(default_factory=list)
    texts: list[tuple[str, Mapping[str, int]]] = field(default_factory=list)


@dataclass
class Batch:
    """What was read of a block: `fast` lines by their shape, `general` ones as JSON. The `odd` ones, with their
    places in the block (0 is the first), were not read.

    `times` are the earliest and the latest inference time of the records, which lie in the window. The values of `fast`
    lines, unlike their number, are not in the columns but `held` for `ColumnReader.columns`.
    """

    fast: int = 0
    general: int = 0
    odd: Sequence[tuple[int, bytes]] = ()
    records: int = 0
    outside: int = 0
    times: tuple[datetime, ...] = ()
    features: Columns = field(default_factory=Columns)
    answers: Columns = field(default_factory=Columns)
    held: list[polars.DataFrame] = field(default_factory=list)

    def saw(self, records: int, times: Iterable[datetime | None]) -> None:
        """So many records more, of those times."""
        self.records += records
        seen = [*self.times, *filter(None, times)]
        self.times = (min(seen), max(seen)) if seen else ()


def learn(line: bytes, width: int) -> Shape | None:  # noqa: PLR0911
    """The line's shape; None if it is no plain CSV capture of one row with that many values."""
    if not line.isascii() or b'\\"' in line or line.translate(None, _CONTROL) != line:
        return None
    parts = line.decode().split('"')  # every second one is a text: no quote is escaped
    marks, ends = parts.copy(), dict[int, str]()
    for place in range(3, len(parts) - 1, 2):
        if parts[place - 2] in _FIELDS and parts[place - 1].strip() == ":":
            ends[place] = "\\n" if parts[place].endswith("\\n") else ""
            if "\\" in parts[place].removesuffix(ends[place]):
                return None
            marks[place] = f"@{place}@{ends[place]}"
    try:
        fields = _fields(json.loads('"'.join(marks)))
    except (ValueError, RecursionError):
        return None
    if fields is None or not fields.keys() <= {f"@{place}@" for place in ends}:
        return None
    order: list[str] = []
    for place, end in ends.items():
        name = fields.get(f"@{place}@", "other")
        values = parts[place].removesuffix(end).count(",") + 1
        if name not in {"data", "output"} and values > 1:
            return None
        order += [name] * values
        parts[place] = ",".join([_VALUE] * values) + end
    columns = []
    left = iter(order)
    for text in '"'.join(parts).split(","):
        before, *after = text.split(_VALUE)
        if len(after) > 1:
            return None
        columns.append(Column(before, next(left), after[0]) if after else Column(before))
    whole = "".join(column.before + column.after for column in columns)
    begin = columns[0].before.encode()
    signs = len(columns) - 1 + sum(whole.count(sign) for sign in '"\\')
    low = len(columns) - 1 + sum(sign <= "," or sign == "\\" for sign in whole)
    shape = Shape(tuple(columns), begin, signs, low)
    return shape if len(shape.places("data")) == width and columns[0].field is None else None


def _fields(record: Any) -> dict[str, str] | None:
    """Mark → field, as the general reader would use the record; None if it would not, or not as plain CSV."""
    try:
        data, metadata = record["captureData"], record["eventMetadata"]
        asked, answered = data["endpointInput"], data.get("endpointOutput") or data.get("batchTransformOutput")
        fields = {
            asked["data"].removesuffix("\n"): "data",
            metadata["inferenceTime"]: "inferenceTime",
            metadata.get("inferenceId") or metadata.get("eventId"): "id",
        }
        plain = asked["encoding"].upper() == "CSV"
        if isinstance(answered, dict):
            fields[answered["data"].removesuffix("\n")] = "output"
            plain = plain and answered["encoding"].upper() == "CSV" and len(fields) == 4
        return fields if plain and len(fields) >= 3 and all(isinstance(mark, str) for mark in fields) else None
    except (KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class _Plan:
    """How lines of a shape are read: the columns of their CSV, and what is made of them.

    `found` is whether a line has everything that stands around the values (proof), its time, and the bare values of
    the request (data0 …) and the answer (output0 …).
    """

    shape: Shape
    schema: Mapping[str, type[polars.DataType]]
    found: Sequence[polars.Expr]


class ColumnReader:
    """Reads blocks of lines into columns: name → numeric | categorical, and a column for the answer's first value."""

    def __init__(
        self, kinds: Mapping[str, str], output: str, output_kind: str, window: Window, answers: Answers
    ) -> None:
        self.sort = fastest_sort()
        self._kinds, self._output = dict(kinds), {output: output_kind}
        self._window, self._answers = window, answers
        self._plans: list[_Plan] = []
        self._pause, self._longest = 0, 1  # blocks of which no shape is learned
        self._alike = True  # whether all lines of the last block had the first shape
        self._times: dict[str, datetime | None] = {}

    def read(self, block: bytes) -> Batch:
        """What the block holds; all of its lines end."""
        batch = Batch()
        if self._alike and self._plans and self._read_alike(self._plans[0], block, batch):
            return batch
        lines = block.split(b"\n")[:-1]
        count = len(lines)
        left = Lines(range(count), lines)
        for plan in tuple(self._plans):
            left = self._read_shape(plan, left, batch)
        while _WORTH * len(left.lines) > count:
            rest = self._read_learned(left, batch)
            if len(rest.lines) == len(left.lines):
                break
            left = rest
        self._alike = not left.lines
        batch.odd = self._read_json(left, batch)
        return batch

    def columns(self, held: Iterable[polars.DataFrame]) -> tuple[Columns, Columns]:
        """Values and answers that were held back, of many blocks at once. Their rows were counted with the blocks."""
        features, answers = Columns(), Columns()
        for _, frames in groupby(held, attrgetter("schema")):
            values = polars.concat(frames).get_columns()[2:]
            _add(features, self._kinds, values)
            _add(answers, self._output, values[len(self._kinds) :])
        return features, answers

    # Lines that have a shape

    def _read_learned(self, lines: Lines, batch: Batch) -> Lines:
        """Those of the lines are in the batch that have a shape which is learned of them; the others are returned.

        A shape that hardly another line has is not worth it. Where none was found, few blocks are looked at again.
        """
        if self._pause:
            self._pause -= 1
            return lines
        few = lines.lines[:: len(lines.lines) // _SAMPLE + 1]
        some = Lines(range(len(few)), few)
        for line in few[:: len(few) // _TRIED + 1]:
            shape = learn(line, len(self._kinds))
            if (
                shape is None
                or not self._answers_plainly(len(shape.places("output")))
                or any(shape == plan.shape for plan in self._plans)
            ):
                continue
            plan = _plan(shape, self._kinds, self._answers.index or 0)
            having = len(few) - len(self._read_shape(plan, some, Batch()).lines)
            if having > 1 and _WORTH * having >= len(few):
                self._plans, self._longest = [plan, *self._plans][:_SHAPES], 1
                return self._read_shape(plan, lines, batch)
        self._pause = self._longest = min(2 * self._longest, _LONGEST_PAUSE)
        return lines

    def _answers_plainly(self, values: int) -> bool:
        """Whether it is known which of the answer's values is the prediction, whatever they are."""
        if self._answers.index is None:
            return values <= 1
        return values == 0 or self._answers.index < values <= len(self._kinds)  # of more, some may repeat the question

    def _read_alike(self, plan: _Plan, block: bytes, batch: Batch) -> bool:
        """Whether all lines of the block are proven to have the shape. Then they are in the batch."""
        try:
            found = _csv(block, plan.schema).select(plan.found).collect()
        except ComputeError:
            return False
        if not plan.shape.adds_nothing_to(block, found.height):
            return False
        fitting, moments = self._fitting(found)
        if not fitting.all():
            return False
        self._take(found, fitting, moments, batch)
        return True

    def _read_shape(self, plan: _Plan, lines: Lines, batch: Batch) -> Lines:
        """Those of the lines that are proven to have the shape are in the batch; the others are returned."""
        may = [plan.shape.may_have(line) for line in lines.lines]
        some = list(compress(lines.lines, may))
        block = b"\n".join([*some, b""])
        if not _is_text(block):
            may = [possible and _is_text(line) for possible, line in zip(may, lines.lines, strict=True)]
            some = list(compress(lines.lines, may))
            block = b"\n".join([*some, b""])
        if not some:
            return lines
        try:
            found = _csv(block, plan.schema).select(plan.found).collect()
        except ComputeError:  # some text is no number
            found = _csv(block, dict.fromkeys(plan.schema, polars.String)).select(plan.found).collect()
        if found.height != len(some):
            raise RuntimeError(f"{len(some)} lines were read as {found.height} rows of CSV")
        fitting, moments = self._fitting(found)
        self._take(found, fitting, moments, batch)
        proven = iter(fitting.tolist())
        return lines.where([not (possible and next(proven)) for possible in may])

    def _fitting(self, found: polars.DataFrame) -> tuple[Mask, polars.DataFrame]:
        """Which lines have what stands around the values and a time that is one; those times, each once."""
        fitting: Mask = found["proof"].fill_null(value=False).to_numpy()
        times = self._moments(found["time"].unique())
        if times["moment"].null_count():
            times = times.filter(times["moment"].is_not_null())
            fitting = fitting & _one_of(found["time"], times["text"])
        return fitting, times

    def _take(self, found: polars.DataFrame, fitting: Mask, times: polars.DataFrame, batch: Batch) -> None:
        """The fitting lines are in the batch."""
        start, end = (moment.astimezone(UTC).replace(tzinfo=None) for moment in self._window)
        mask, inside = fitting, (times["moment"] >= start) & (times["moment"] < end)
        if not inside.all():
            times = times.filter(inside)
            mask = mask & _one_of(found["time"], times["text"])
        count, all_fitting = int(np.count_nonzero(mask)), int(np.count_nonzero(fitting))
        batch.fast += all_fitting
        batch.outside += all_fitting - count
        if count < found.height:
            found = found.filter(mask)
            times = times.filter(_one_of(times["text"], found["time"].unique()))
        seen = [times["moment"].min(), times["moment"].max()]
        batch.saw(count, [moment.replace(tzinfo=UTC) for moment in seen if isinstance(moment, datetime)])
        batch.features.rows += count
        if found.width > 2 + len(self._kinds):
            batch.answers.rows += count
        batch.held.append(found)

    # Lines that have none

    def _read_json(self, lines: Lines, batch: Batch) -> Sequence[tuple[int, bytes]]:
        """Those of the lines are in the batch that are JSON with CSV or lists of values; the others are returned.

        What is read here is read as `capture.read_line` reads it; in doubt a line is not.
        """
        left: list[tuple[int, bytes]] = []
        plain: list[str] = []  # rows of CSV without quotes
        listed: list[list[str]] = []
        answers: list[str] = []
        times: list[str] = []  # of records in the window
        inside: dict[str, bool] = {}
        outside, commas = 0, len(self._kinds) - 1
        start, end = self._window
        for place, line in zip(*lines, strict=True):
            try:
                record = _record(line)
                time = record["eventMetadata"]["inferenceTime"]
                if time not in inside:
                    moment = self._time(time)
                    if moment is None:
                        left.append((place, line))
                        continue
                    inside[time] = start <= moment < end
                data = record["captureData"]
                asked, answered = data["endpointInput"], data.get("endpointOutput") or data.get("batchTransformOutput")
                row, rows = _row(asked), None
                if row is None or row.count(",") != commas:  # seldom
                    row, rows = None, _rows(asked, commas + 1)
                count = 1 if row is not None else len(rows.plain or rows.listed) if rows else 0
                values = self._predictions(answered, count)
            except (ValueError, KeyError, TypeError, AttributeError, UnreadableError):
                left.append((place, line))
                continue
            if not inside[time]:
                outside += 1
                continue
            times.append(time)
            answers += values
            if row is not None:
                plain.append(row)
            elif rows is not None:
                plain += rows.plain
                listed += rows.listed
        batch.general += len(times) + outside
        batch.outside += outside
        batch.saw(len(times), map(self._time, set(times)))
        self._add_plain(plain, batch.features)
        _add_lists(batch.features, self._kinds, list(zip(*listed, strict=True)))
        _add_lists(batch.answers, self._output, [answers] if answers else [])
        return left

    def _predictions(self, answered: Any, rows: int) -> Sequence[str]:
        """The predictions of so many rows. Raises ValueError or UnreadableError where it takes more to know them."""
        if not isinstance(answered, dict):
            return ()
        row = _row(answered)
        if row is not None and rows == 1 and "," not in row and self._answers.index is None:
            return (row,)
        text, names = answered["data"], None
        if type(text) is not str:
            raise ValueError("data is no text")
        if answered["encoding"] == "CSV" and _is_plain(text):
            found = [line.split(",") for line in text.split("\n") if line]
        else:
            names, found = decode(answered, each_is_a_row=True)
        if len(found) != rows or any(len(answer) > len(self._kinds) for answer in found):
            raise ValueError("answers that have to be looked at beside their questions")
        return [self._answers.prediction(answer, names) for answer in found]

    def _add_plain(self, rows: Sequence[str], target: Columns) -> None:
        if not rows:
            return
        block = "\n".join(rows).encode()
        schema: dict[str, type[polars.DataType]] = {
            str(place): polars.String if kind == "categorical" else polars.Float64
            for place, kind in enumerate(self._kinds.values())
        }
        try:
            frame = _csv(block, schema).collect()
        except ComputeError:
            frame = _csv(block, dict.fromkeys(schema, polars.String)).collect()
        if frame.height != len(rows):
            raise RuntimeError(f"{len(rows)} rows of CSV were read as {frame.height}")
        target.rows += frame.height
        _add(target, self._kinds, frame.get_columns())

    # Times

    def _moments(self, texts: polars.Series) -> polars.DataFrame:
        """The texts, and the moments in UTC that they name; null for one that names none."""
        plain = texts.set(~texts.str.contains(_PLAIN_TIME), None)
        moments = plain.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False)
        others = texts.filter(moments.is_null()).to_list()
        if others:
            read = [moment and moment.replace(tzinfo=None) for moment in map(self._time, others)]
            moments = moments.scatter(moments.is_null().arg_true(), polars.Series(read, dtype=moments.dtype))
        return polars.DataFrame({"text": texts, "moment": moments})

    def _time(self, text: Any) -> datetime | None:
        """The moment; None if the text names none."""
        if text in self._times:
            return self._times[text]
        if len(self._times) >= _KNOWN_TIMES:
            self._times.clear()
        try:
            self._times[text] = parse(text)
        except (ValueError, TypeError, OverflowError):
            self._times[text] = None
        return self._times[text]


def _one_of(texts: polars.Series, wanted: polars.Series) -> Mask:
    return texts.is_in(wanted.implode()).fill_null(value=False).to_numpy()


@cache
def fastest_sort() -> Callable[[Numbers], Numbers]:
    """What sorts numbers fastest on this processor: numpy takes a quarter of polars' time where it uses AVX-512, and
    twice as long where it does not.
    """
    some = np.sin(np.arange(2.0**14))
    ways: tuple[Callable[[Numbers], Numbers], ...] = (np.sort, sort_bits)
    return min(ways, key=lambda sort: min(repeat(lambda: sort(some), number=1, repeat=3)))


def sort_bits(values: Numbers) -> Numbers:
    """The values (n,), of which none is NaN or -0.0, in order: in half of the time that numpy takes without AVX-512.

    A float's bits as a whole number have its order, those of negative ones in reverse.
    """
    bits = polars.Series(_turned(values.view(np.int64))).sort(multithreaded=False).to_numpy()
    return _turned(bits).view(np.float64)


def _turned(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bits of negative numbers in reverse; the sign stays."""
    return bits ^ (bits >> 63 & np.int64(2**63 - 1))


def _plan(shape: Shape, kinds: Mapping[str, str], answer: int) -> _Plan:
    """How lines of the shape are read: `kinds` of the request's values, `answer` is the prediction's place."""
    schema: dict[str, type[polars.DataType]] = {}
    proofs = [polars.col(_OVER).is_null()]
    left = iter(kinds.values())
    alone = {field for field in ("data", "output", "id") if len(shape.places(field)) == 1}
    for place, column in enumerate(shape.columns):
        text = polars.col(str(place))
        number = column.field == "data" and next(left) != "categorical" and not column.before and not column.after
        schema[str(place)] = polars.Float64 if number else polars.String
        if column.field is None:
            proofs.append(text == column.before)
        else:
            # An id must not be empty; a blank line of CSV is no row.
            least = len(column.before.encode()) + len(column.after.encode()) + (column.field in alone)
            if column.before:
                proofs.append(text.str.starts_with(column.before))
            if column.after:
                proofs.append(text.str.ends_with(column.after))
            if least > max(len(column.before.encode()), len(column.after.encode())):
                proofs.append(text.str.len_bytes() >= least)
    found = [polars.all_horizontal(proofs).alias("proof")]
    for name, places in (
        ("time", shape.places("inferenceTime")),
        ("data", shape.places("data")),
        ("output", shape.places("output")[answer : answer + 1]),
    ):
        found += [_bare(at, shape.columns[at]).alias(f"{name}{index}") for index, at in enumerate(places)]
    found[1] = found[1].alias("time")
    return _Plan(shape, {**schema, _OVER: polars.String}, found)


def _csv(block: bytes, schema: Mapping[str, type[polars.DataType]]) -> polars.LazyFrame:
    """The block as CSV without quotes. Collecting it raises ComputeError if a text is no number."""
    return polars.scan_csv(
        block,
        has_header=False,
        quote_char=None,
        schema=dict(schema),
        missing_columns="insert",
        extra_columns="ignore",
        raise_if_empty=False,
    )


def _is_text(block: bytes) -> bool:
    """Whether the block is UTF-8 without a byte order mark."""
    try:
        return block.isascii() or _BOM not in block.decode()
    except UnicodeDecodeError:
        return False


def _bare(place: int, column: Column) -> polars.Expr:
    """The values of a column; the text around them is that of the shape."""
    text = polars.col(str(place))
    if column.before:
        text = text.str.strip_prefix(column.before)
    return text.str.strip_suffix(column.after) if column.after else text


def _add(target: Columns, kinds: Mapping[str, str], columns: Sequence[polars.Series]) -> None:
    """The values, of which numbers may be numbers already, are in the target."""
    for (name, kind), texts in zip(kinds.items(), columns, strict=False):
        if kind == "categorical":
            counts = texts.value_counts()
            found = zip(counts[:, 0].fill_null("").to_list(), counts[:, 1].to_list(), strict=True)
            target.texts.append((name, dict(sorted(found))))  # polars has them in any order
        else:
            target.numbers.append((name, *_numbers(texts)))


def _numbers(texts: polars.Series) -> tuple[Numbers, int]:
    """The column as numbers, and how many are neither numbers nor missing, as `table.parse_numbers` has it."""
    found = texts if texts.dtype == polars.Float64 else texts.cast(polars.Float64, strict=False)
    values: Numbers = found.to_numpy()
    beyond = np.abs(values) > HIGHEST
    bad = int(np.count_nonzero(beyond))
    if bad:
        values = np.where(beyond, np.nan, values)
    if found is not texts:
        unsure = (found.is_null() & texts.is_not_null()).arg_true().to_list()
        if unsure:
            numbers = [parse_number(text) for text in texts[unsure].to_list()]
            bad += numbers.count(None)
            values = values.copy()
            values[unsure] = [np.nan if number is None else number for number in numbers]
    return values, bad


def _add_lists(target: Columns, kinds: Mapping[str, str], columns: Sequence[Sequence[str]]) -> None:
    if not columns:
        return
    target.rows += len(columns[0])
    for (name, kind), column in zip(kinds.items(), columns, strict=True):
        if kind == "categorical":
            target.texts.append((name, Counter(column)))
        else:
            target.numbers.append((name, *_numbers(polars.Series(column, dtype=polars.String))))


def _record(line: bytes) -> dict[str, Any]:
    """The line's object, if JSON has it as orjson does and it has an id."""
    if len(line) >= MAX_LINE:
        raise ValueError("too long")
    record: dict[str, Any] = orjson.loads(line)
    metadata = record["eventMetadata"]
    identity = metadata.get("inferenceId") or metadata.get("eventId")
    if type(identity) is not str or not identity:
        raise ValueError("no id")
    return record


class _Rows(NamedTuple):
    """Rows of a request: CSV without quotes, or lists of texts."""

    plain: Sequence[str] = ()
    listed: Sequence[list[str]] = ()


def _row(side: Mapping[str, Any]) -> str | None:
    """The only row, if that is CSV without quotes; None if it is not, or perhaps not."""
    text = side["data"]
    if type(text) is not str or side["encoding"] != "CSV" or not _is_plain(text):
        return None
    text = text.removesuffix("\n")
    return text if text and "\n" not in text else None


def _rows(asked: Mapping[str, Any], width: int) -> _Rows:
    """The request's rows, of that width each. Names are not ordered here."""
    text, encoding = asked["data"], asked["encoding"]
    if type(text) is not str:
        raise ValueError("data is no text")
    if encoding == "BASE64" and "json" not in str(asked.get("observedContentType")).lower():
        decoded = b64decode(text, validate=True).decode()
        if decoded.lstrip()[:1] not in {"{", "["}:
            text, encoding = decoded, "CSV"
    if encoding == "CSV" and _is_plain(text):
        found = text.removesuffix("\n").split("\n")
        if not all(found) or any(row.count(",") != width - 1 for row in found):
            raise ValueError("another width")
        return _Rows(found)
    names, rows = decode(asked)
    if names is not None or any(len(row) != width for row in rows):
        raise ValueError("names, or another width")
    joined = [",".join(row) for row in rows]
    if all(row.count(",") == width - 1 and "\n" not in row and _is_plain(row) for row in joined):
        return _Rows(joined)
    return _Rows(listed=rows)


def _is_plain(text: str) -> bool:
    """Whether the CSV has no quotes, and lines that end as they do in most files."""
    return '"' not in text and "\r" not in text and text[:1] != _BOM
