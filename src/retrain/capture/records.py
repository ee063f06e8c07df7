"""Captures: what the endpoint was asked and what it answered, read from SageMaker's data-capture files.

One JSON object per line; its input and output are CSV, JSON or BASE64, of one row or of several. Whatever a file holds,
reading it never fails: a line that can't be read is quarantined with its reason and counted, and the lines around it
are read. Nothing of a bad line's content is kept, for it may be anybody's data.

Format: "Capture data from real-time endpoints", SageMaker Developer Guide.
"""

from __future__ import annotations

import csv
import io
import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from itertools import chain
from typing import Any

from retrain.core.clock import parse
from retrain.core.window import Window

zlib: Any
try:  # the same, and faster
    zlib = import_module("isal.isal_zlib")
except ImportError:  # the jobs of the pipeline run in an image that does not have it
    zlib = import_module("zlib")

Row = list[str]

MAX_LINE = 64 * 2**20  # bytes: the largest request SageMaker takes is 25 MB, BASE64 and escapes make it longer
_GZIP = b"\x1f\x8b"  # what a gz file begins with; as a line of its own: "the rest of this file is damaged"
_DAMAGED = b"\n" + _GZIP + b"\n"
_BOM = b"\xef\xbb\xbf"
DAMAGED = "damaged_gzip"  # the reason of a line that stands for the rest of a gz file
UNREADABLE_ANSWER = "output_"  # what such notes begin with; the reason follows
MAX_EXTRA = 100  # names of columns that the model does not know
_LONGEST_NAME = 200  # characters of one; a longer one is cut and told apart by a hash
_KEPT = 100  # bad lines of which source and number are kept; all are counted
_PACKED, _INFLATED = 2**17, 2**22  # bytes of a gz file that are unpacked at a time, and what they become at most
_REPLAYED = 2**25  # bytes of a gz file that are kept until it ends, in case of damage
_CHUNK = 2**22  # bytes


@dataclass(frozen=True, slots=True)
class BadLine:
    """Where a line is that can't be used, and why; never what it holds."""

    source: str
    line: int  # 1 is the first
    reason: str
    detail: str


@dataclass(slots=True)
class Quarantine:
    """What was read and what was not: `lines` counts every line that is not blank, `reasons` the bad ones by reason.

    `notes` counts, of captures in the window, what was noticed and did their rows no harm. `missing_columns` and
    `extra_columns` count, by name, the rows that name their values and lack a column of the model, or have one that it
    does not know; `extra_rows` are all that have such a one. Of names that the model does not know, those MAX_EXTRA
    whose hash is smallest are kept, in whatever order they come, and their counts are exact; `extra_others` counts the
    others' values.
    """

    lines: int = 0
    outside_window: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    missing_columns: Counter[str] = field(default_factory=Counter)
    extra_columns: Counter[str] = field(default_factory=Counter)
    extra_rows: int = 0
    extra_others: int = 0
    examples: list[BadLine] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """Number of lines in quarantine."""
        return self.reasons.total()

    @property
    def bad_share(self) -> float:
        """Share of the lines that are in quarantine, 0 if nothing was read."""
        return self.bad / self.lines if self.lines else 0.0

    @property
    def unreadable_answers(self) -> int:
        """Number of captures whose answer can't be read, though what was asked can."""
        return sum(count for note, count in self.notes.items() if note.startswith(UNREADABLE_ANSWER))

    def add(self, source: str, line: int, reason: str, detail: str) -> None:
        """The line is in quarantine."""
        self.reasons[reason] += 1
        if len(self.examples) < _KEPT:
            self.examples.append(BadLine(source, line, reason, detail))

    def add_extra(self, names: Iterable[str], rows: int) -> None:
        """So many rows have columns of those names, which the model does not know."""
        self.extra_rows += rows
        for name in names:
            readable = name.encode("utf-8", "replace").decode()  # it may hold half a surrogate pair
            if len(readable) > _LONGEST_NAME:
                readable = f"{readable[: _LONGEST_NAME - 17]}~{_name_hash(readable).hex()[:16]}"
            self.extra_columns[readable] += rows
        self.extra_others += _drop_names(self.extra_columns)


def merge_quarantines(one: Quarantine, other: Quarantine) -> Quarantine:
    """What was read and what was not, of both; the examples that are first by source and line are kept."""
    extra_columns = one.extra_columns + other.extra_columns
    dropped = _drop_names(extra_columns)
    return Quarantine(
        one.lines + other.lines,
        one.outside_window + other.outside_window,
        one.reasons + other.reasons,
        one.notes + other.notes,
        one.missing_columns + other.missing_columns,
        extra_columns,
        one.extra_rows + other.extra_rows,
        one.extra_others + other.extra_others + dropped,
        sorted([*one.examples, *other.examples], key=lambda bad: (bad.source, bad.line))[:_KEPT],
    )


def _drop_names(counts: Counter[str]) -> int:
    """The names beyond MAX_EXTRA, those of the largest hash, are gone; how many values they had."""
    if len(counts) <= MAX_EXTRA:
        return 0
    return sum(counts.pop(name) for name in sorted(counts, key=_name_hash)[MAX_EXTRA:])


@lru_cache(maxsize=1024)
def _name_hash(name: str) -> bytes:
    return sha256(name.encode()).digest()


@dataclass(frozen=True, slots=True)
class Capture:
    """One invocation of the endpoint.

    `id` is the inference id that the client gave, else SageMaker's event id. `rows` is the input, `outputs` the answer,
    each as rows of texts with "" for a missing value; both are empty where that side was not captured. `names` are the
    columns of `rows` if the request named them and `read` was not told an order.
    """

    id: str
    time: datetime
    rows: list[Row]
    outputs: list[Row]
    names: tuple[str, ...] | None = None


class UnreadableError(Exception):
    """A line that can't be used: a reason code, and a sentence without the line's content."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read(
    lines: Iterable[bytes | str],
    source: str,
    quarantine: Quarantine,
    window: Window | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[Capture]:
    """Every capture of the file whose inference time is in the window [start, end), in the file's order.

    `lines` are the file's lines as iterating over a file opened in binary mode gives them; the lines of a gz file are
    recognised and inflated. Bad lines, `source` and line number go into the quarantine. With `columns`, rows that name
    their values are put into that order, a name that is missing gives "".

    >>> line = ('{"captureData":{"endpointInput":{"mode":"INPUT","data":"34,0.51,web\\\\n","encoding":"CSV"}},'
    ...         '"eventMetadata":{"eventId":"5f2c","inferenceTime":"2026-11-22T14:03:09Z"},"eventVersion":"0"}')
    >>> quarantine = Quarantine()
    >>> [capture.rows for capture in read([line, "{"], "a.jsonl", quarantine)]
    [[['34', '0.51', 'web']]]
    >>> quarantine.lines, dict(quarantine.reasons)
    (2, {'not_json': 1})
    """
    for number, line in enumerate(inflated(lines), 1):
        capture = read_line(line, source, number, quarantine, window=window, columns=columns)
        if capture is not None:
            yield capture


def read_line(
    line: bytes | str,
    source: str,
    number: int,
    quarantine: Quarantine,
    *,
    window: Window | None = None,
    columns: Sequence[str] | None = None,
) -> Capture | None:
    """The line's capture, as `read` has it; None if it is bad, blank or of another time, which the quarantine knows."""
    record = _counted(line, source, number, quarantine)
    if record is None:
        return None
    notes: Counter[str] = Counter()
    try:
        capture = _capture(record, notes)
    except UnreadableError as bad:
        quarantine.add(source, number, bad.reason, bad.detail)
        return None
    if window is not None and not window[0] <= capture.time < window[1]:
        quarantine.outside_window += 1
        return None
    quarantine.notes.update(notes)
    return capture if columns is None or capture.names is None else _ordered(capture, columns, quarantine)


def records(lines: Iterable[bytes | str], source: str, quarantine: Quarantine) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and JSON object of every line that holds one; the others are in quarantine."""
    for number, line in enumerate(inflated(lines), 1):
        record = _counted(line, source, number, quarantine)
        if record is not None:
            yield number, record


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""The lines of a file that comes in chunks of any size, unpacked if it is a gz file (by content, not by name).

    A gz file that is damaged or cut gives every line before the damage, and then one line that `read` quarantines.

    >>> list(lines([b"on", b"e\ntwo\nth", b"ree"]))
    [b'one', b'two', b'three']
    """
    for block in blocks(chunks):
        yield from block[:-1].split(b"\n")


def blocks(chunks: Iterable[bytes], least: int = 0) -> Iterator[bytes]:
    r"""The same lines in blocks of at least that many bytes (the last one may have fewer). Every line has its end.

    >>> list(blocks([b"on", b"e\ntwo\nth", b"ree"]))
    [b'one\ntwo\n', b'three\n']
    """
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    whole = chain([head], chunks)
    pending: list[bytes] = []
    size = begun = 0  # bytes that are pending: all, and of the line that has not ended
    for chunk in _inflate(whole) if head.startswith(_GZIP) else whole:
        end = chunk.rfind(b"\n") + 1
        if end and size + end >= least:
            yield b"".join([*pending, memoryview(chunk)[:end]])
            chunk = chunk[end:]  # noqa: PLW2901
            pending, size, begun, end = [], 0, 0, 0
        if end or begun <= MAX_LINE:  # of a longer line the rest is dropped: it will not be read anyway
            pending.append(chunk)
            size += len(chunk)
        begun = len(chunk) - end + (0 if end else begun)
    if size:
        rest = b"".join(pending)
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def content(source: Iterable[bytes | str]) -> Iterator[bytes]:
    """The bytes, in chunks, of a binary file, or of lines that may lack their end."""
    if isinstance(source, io.BufferedIOBase):
        while chunk := source.read(_CHUNK):
            yield chunk
        return
    packed: bool | None = None
    for line in source:
        data = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
        if packed is None:
            packed = data.startswith(_GZIP)  # what looks like lines is a gz file, cut where it has their end
        yield data if packed or data.endswith(b"\n") else data + b"\n"


def decode(part: Mapping[str, Any], each_is_a_row: bool = False) -> tuple[tuple[str, ...] | None, list[Row]]:
    """Names (if the data has them) and rows of one side of a record, `{"data": …, "encoding": …}`.

    `each_is_a_row`: a bare JSON list of values is a column of answers, and not one row. Raises UnreadableError.
    """
    data, encoding = part.get("data"), part.get("encoding")
    if data is None:
        raise UnreadableError("no_data", "the key data is missing")
    kind = encoding.upper() if isinstance(encoding, str) else encoding
    if kind == "CSV":
        return None, _csv_rows(_string(data))
    if kind == "JSON":
        return _json_table(_json(data) if isinstance(data, str) else data, each_is_a_row)
    if kind != "BASE64":
        raise UnreadableError("unknown_encoding", "the encoding is none of CSV, JSON and BASE64")
    try:
        text = b64decode(_string(data), validate=True).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError("binary_data", "the BASE64 data is not UTF-8 text") from None
    except ValueError:
        raise UnreadableError("bad_base64", "the data is not BASE64") from None
    content_type = part.get("observedContentType")
    if (isinstance(content_type, str) and "json" in content_type.lower()) or text.lstrip()[:1] in {"{", "["}:
        return _json_table(_json(text), each_is_a_row)
    return None, _csv_rows(text)


def _counted(line: bytes | str, source: str, number: int, quarantine: Quarantine) -> dict[str, Any] | None:
    if not line or line.isspace():
        return None
    quarantine.lines += 1
    try:
        return _record(line)
    except UnreadableError as bad:
        quarantine.add(source, number, bad.reason, bad.detail)
        return None


def _capture(record: dict[str, Any], notes: Counter[str]) -> Capture:
    metadata = _object(record, "eventMetadata")
    identity = metadata.get("inferenceId") or metadata.get("eventId")
    if not isinstance(identity, str) or not identity:
        raise UnreadableError("no_id", "eventMetadata has neither inferenceId nor eventId")
    _check_unicode(identity)
    data = _object(record, "captureData")
    asked, answered = data.get("endpointInput"), data.get("endpointOutput") or data.get("batchTransformOutput")
    names, rows = decode(asked) if isinstance(asked, dict) else (None, [])
    outputs: list[Row] = []
    if isinstance(answered, dict):
        try:
            outputs = decode(answered, each_is_a_row=True)[1]
        except UnreadableError as bad:  # what was asked is good all the same
            if not rows:
                raise
            notes[f"{UNREADABLE_ANSWER}{bad.reason}"] += 1
    elif not isinstance(asked, dict):
        raise UnreadableError("no_data", "captureData has neither endpointInput nor an output")
    return Capture(identity, _time(metadata), rows, outputs, names)


def _time(metadata: dict[str, Any]) -> datetime:
    text = metadata.get("inferenceTime")
    if text is None:
        raise UnreadableError("no_time", "eventMetadata has no inferenceTime")
    try:
        return parse(text)
    except (ValueError, TypeError, OverflowError):
        raise UnreadableError("bad_time", "inferenceTime is not an ISO-8601 time with its zone") from None


def _record(line: bytes | str) -> dict[str, Any]:
    if len(line) >= MAX_LINE:
        raise UnreadableError("line_too_long", f"the line has more than {MAX_LINE} bytes")
    if isinstance(line, str):
        line = line.removeprefix("\ufeff")
    elif line.startswith(_GZIP):
        raise UnreadableError(DAMAGED, "the gz file is damaged or cut here; what follows is lost")
    else:
        try:
            line = line.removeprefix(_BOM).decode()
        except UnicodeDecodeError:
            raise UnreadableError("not_utf8", "the line is not UTF-8 text") from None
    record = _json(line)
    if not isinstance(record, dict):
        raise UnreadableError("not_an_object", "the line is JSON, but no object")
    return record


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and "\n" in text.strip():
            return [_json(line) for line in text.split("\n") if line.strip()]  # JSON lines
        raise UnreadableError("not_json", f"{error.msg} at character {error.pos} of {len(text)}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableError("not_json", f"{type(error).__name__} while reading JSON") from None


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    if not isinstance(value, dict):
        raise UnreadableError("not_a_capture", f"the key {key} is missing or no object")
    return value


def _string(data: Any) -> str:
    if isinstance(data, str):
        _check_unicode(data)
        return data
    raise UnreadableError("no_data", "the data is not a text")


def _check_unicode(text: str) -> None:
    """Half a surrogate pair, which JSON can say and UTF-8 can't, must not reach those who write files."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnreadableError("bad_unicode", "a text holds half a surrogate pair") from None


def _csv_rows(text: str) -> list[Row]:
    """Rows of CSV without a header. Blank lines are no rows, which is also how the endpoint reads them."""
    text = text.removeprefix("\ufeff")
    if '"' not in text and "\r" not in text:
        return [line.split(",") for line in text.split("\n") if line]
    try:
        return [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise UnreadableError("bad_csv", str(error)) from None


def _json_table(document: Any, each_is_a_row: bool) -> tuple[tuple[str, ...] | None, list[Row]]:
    if isinstance(document, dict):
        if isinstance(document.get("predictions"), list):
            document, each_is_a_row = document["predictions"], True
        elif isinstance(document.get("instances"), list):
            document = document["instances"]
        else:
            document = [document]
    if not isinstance(document, list):
        return None, [[_text(document)]]
    if document and not isinstance(document[0], (list, dict)):
        return None, [[_text(value)] for value in document] if each_is_a_row else [_texts(document)]
    rows = list(chain.from_iterable(map(_features, document)))
    named = [row for row in rows if isinstance(row, dict)]
    if not named:
        return None, [_texts(row) for row in rows]
    if len(named) < len(rows):
        raise UnreadableError("mixed_rows", "some rows name their values and some do not")
    names = tuple(dict.fromkeys(chain.from_iterable(named)))
    return names, [[_text(row.get(name)) for name in names] for row in named]


def _features(row: Any) -> list[Any]:
    """The rows, usually one, that an element of the list of instances stands for."""
    if isinstance(row, dict) and isinstance(row.get("features"), (list, dict)):
        row = row["features"]
        if isinstance(row, list) and row and all(isinstance(value, (list, dict)) for value in row):
            return row
    if not isinstance(row, (list, dict)):
        raise UnreadableError("mixed_rows", "some rows are lists or objects and some are single values")
    return [row]


def _texts(row: list[Any]) -> Row:
    return [_text(value) for value in row]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        _check_unicode(value)
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return repr(value)
    raise UnreadableError("nested_value", "a value is a list or an object, a text or a number is expected")


def _ordered(capture: Capture, columns: Sequence[str], quarantine: Quarantine) -> Capture:
    names = capture.names or ()
    place = {name: index for index, name in enumerate(names)}
    order = [place.get(name) for name in columns]
    for name in columns:
        if name not in place:
            quarantine.missing_columns[name] += len(capture.rows)
    if extra := place.keys() - set(columns):
        quarantine.add_extra(extra, len(capture.rows))
    rows = [["" if index is None else row[index] for index in order] for row in capture.rows]
    return Capture(capture.id, capture.time, rows, capture.outputs)


def inflated(source: Iterable[bytes | str]) -> Iterator[bytes | str]:
    """The lines, of the unpacked file if they turn out to be a gz file's."""
    iterator = iter(source)
    for first in iterator:
        if isinstance(first, bytes) and first.startswith(_GZIP):
            yield from lines(chain([first], (chunk for chunk in iterator if isinstance(chunk, bytes))))
        else:
            yield first
            yield from iterator


def _inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a gz file, of all its members; at damage a line that says so.

    Of a member of more than 32 MB, what was unpacked together with the damage is lost with it.
    """
    unpacker = zlib.decompressobj(wbits=31)
    begun, given = True, 0  # whether this is within a member, and how many bytes the member gave
    replay, kept = list[bytes](), 0
    for part in (chunk[at : at + _PACKED] for chunk in chunks for at in range(0, len(chunk), _PACKED)):
        data = part if begun else part.lstrip(b"\0")  # files may be padded after their last member
        if begun:
            kept += len(data)
            replay.append(data)
            if kept > _REPLAYED:
                replay.clear()
        more = False  # although all of `data` was taken
        while data or more:
            if not begun:
                unpacker, begun, given = zlib.decompressobj(wbits=31), True, 0
                replay, kept = [data], len(data)
            try:
                content = unpacker.decompress(data, _INFLATED)
            except zlib.error:
                yield from _before_damage(replay, given)
                yield _DAMAGED
                return
            yield content
            given += len(content)
            data, more = unpacker.unconsumed_tail, len(content) == _INFLATED
            if unpacker.eof:
                begun, data, more = False, unpacker.unused_data.lstrip(b"\0"), False
    if begun:
        yield _DAMAGED


def _before_damage(member: Sequence[bytes], given: int) -> Iterator[bytes]:
    """What can be unpacked of the member up to the byte that can't, after what it gave before.

    The unpacker drops it if the bad byte comes along with the good ones.
    """
    unpacker = zlib.decompressobj(wbits=31)
    for data in (*member[:-1], *(part[at : at + 1] for part in member[-1:] for at in range(len(part)))):
        left = data
        while True:
            try:
                content = unpacker.decompress(left, _INFLATED)
            except zlib.error:
                return
            yield content[given:]
            given -= min(given, len(content))
            left = unpacker.unconsumed_tail
            if not left and len(content) < _INFLATED:
                break
