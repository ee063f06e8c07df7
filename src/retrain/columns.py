"""Captures by the thousand: the columns of many lines at once, for lines that are alike.

The lines of an endpoint's captures differ in a few texts only: the request's values, the answer, ids and the time. Such
a line is learned as a `Shape`: the constant bytes, and which fields stand between them. Of a batch, those lines that
are proven to have the shape are read with numpy, without looking at each; all others are the general reader's.

What is proven of a line: its constant parts are the shape's, byte by byte, from its first byte to its last; it has no
quote, no backslash, no comma and no control character beside those of the constant parts and the commas between the
values; it is ASCII. Hence JSON reads it as it reads the line that the shape was learned from, with other texts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain import digits
from retrain.capture import Window
from retrain.clock import parse
from retrain.profile import Numbers
from retrain.table import parse_number

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Texts = Counter[str]

_FIELDS = ("data", "eventId", "inferenceId", "inferenceTime")
_KNOWN_TIMES = 100_000
_TRIED = 8  # lines of a batch from which a shape may be learned
_LONGEST_NAME = 32  # characters of a category up to which columns are counted without making texts
_TOGETHER = 4  # columns of numbers that are parsed at once: what stays in the processor's cache
_NOWHERE = -(2**40)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing

# glibc gives memory back to the system as soon as the largest block seen so far is free, and gets it again a moment
# later, which costs more than the arithmetic on it. One large block that is freed unused teaches it not to.
np.empty(30 * 2**20, dtype=np.uint8)


@dataclass(frozen=True)
class Shape:
    """A line of captures: `texts` are its constant parts, between which stand the `fields`.

    Fields are data (the request's values), output (the answer), id (which must not be empty), inferenceTime, and other.
    """

    texts: tuple[bytes, ...]
    fields: tuple[str, ...]
    width: int  # values of data
    outputs: int  # values of output
    time_length: int

    def values(self, field: str) -> int:
        """Number of values between commas."""
        return {"data": self.width, "output": self.outputs}.get(field, 1)


@dataclass
class Batch:
    """What was read of a batch: `odd` lines are the general reader's. Numbers are NaN where they are missing or bad.

    `times` are the earliest and the latest inference time of the records.
    """

    odd: Sequence[int]
    records: int = 0
    outside: int = 0
    times: tuple[datetime, ...] = ()
    numbers: dict[str, tuple[Numbers, int]] = field(default_factory=dict)  # column → values, how many of them are bad
    texts: dict[str, Texts] = field(default_factory=dict)  # column → how often each text


def learn(line: bytes | str, width: int) -> Shape | None:
    """The line's shape; None if it is no plain CSV capture of one row with that many values."""
    if not isinstance(line, bytes) or not line.isascii() or min(line, default=0) < 32 or b'\\"' in line:
        return None
    parts = line.split(b'"')  # every second one is a text: no quote is escaped
    marked: dict[str, int] = {}
    for place in range(1, len(parts) - 2, 2):
        if parts[place].decode() in _FIELDS and parts[place + 1].strip() == b":":
            marked[f"@{place + 2}@"] = place + 2
    marks = parts.copy()
    for mark, place in marked.items():
        end = b"\\n" if parts[place].endswith(b"\\n") else b""
        if b"\\" in parts[place].removesuffix(end):
            return None
        marks[place] = mark.encode() + end
    try:
        fields = _fields(json.loads(b'"'.join(marks)))
    except (ValueError, RecursionError):
        return None
    if fields is None or not fields.keys() <= marked.keys():
        return None
    texts: list[bytes] = []
    order: list[str] = []
    lengths = dict.fromkeys(("data", "output", "inferenceTime"), 0)
    last, lead = 0, b""
    for mark, place in marked.items():
        end = b"\\n" if parts[place].endswith(b"\\n") else b""
        name, value = fields.get(mark, "other"), parts[place].removesuffix(end)
        texts.append(lead + b'"'.join(parts[last:place]) + b'"')
        order.append(name)
        lengths[name] = len(value) if name == "inferenceTime" else value.count(b",") + 1
        last, lead = place + 1, end + b'"'
    texts.append(lead + b'"'.join(parts[last:]))
    shape = Shape(tuple(texts), tuple(order), lengths["data"], lengths["output"], lengths["inferenceTime"])
    usable = (
        shape.width == width
        and min(map(len, texts)) >= 8
        and len(texts[0]) >= digits.REACH
        and shape.time_length > 0
        and all(b"," in text and b"." not in text[: text.index(b",")] for text in texts[1:-1])
        and order[-1] not in {"data", "output"}
    )
    return shape if usable else None


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


class ColumnReader:
    """Reads batches of lines into columns: name → numeric | categorical, and a column for the answer's first value."""

    def __init__(self, kinds: Mapping[str, str], output: str, output_kind: str, window: Window) -> None:
        self._kinds, self._output, self._output_kind = dict(kinds), output, output_kind
        self._window = window
        self._shape: Shape | None = None
        self._times: dict[bytes, datetime | None] = {}

    def read(self, lines: Sequence[bytes | str]) -> Batch:
        """The batch's columns, and which of the lines are odd. Lines that fit badly teach another shape."""
        best, kept = self._read(lines, self._shape), self._shape
        if 2 * len(best.odd) > len(lines):
            tried = {None, kept}
            for index in best.odd[:: len(best.odd) // _TRIED + 1]:
                shape = learn(_bare(lines[index]), len(self._kinds))
                if shape in tried:
                    continue
                tried.add(shape)
                batch = self._read(lines, shape)
                if len(batch.odd) < len(best.odd):
                    best, kept = batch, shape
        self._shape = kept
        return best

    def _read(self, lines: Sequence[bytes | str], shape: Shape | None) -> Batch:
        if shape is None:
            return Batch(range(len(lines)))
        bare = [_bare(line) for line in lines] if lines[0][-1:] in {b"\n", "\n"} else lines
        try:
            whole = b"".join(bare)  # type: ignore[arg-type]  # a text among them is the TypeError
        except TypeError:
            return Batch(range(len(lines)))
        if len(whole) < 64:
            return Batch(range(len(lines)))
        found = _Match(shape, whole, np.fromiter(map(len, bare), np.intp, len(bare)))
        time = found.fields["inferenceTime"]
        states, times = self._states(found, time)
        good = np.flatnonzero(states > 0)
        if not len(good):
            odd = np.flatnonzero(states == 0)
            return Batch(odd.tolist(), outside=len(lines) - len(odd))
        odd = np.flatnonzero(states == 0)
        batch = Batch(odd.tolist(), len(good), len(lines) - len(odd) - len(good), times)
        found.keep(good)
        self._columns(found, batch)
        return batch

    def _states(self, found: _Match, time: int) -> tuple[NDArray[np.int8], tuple[datetime, ...]]:
        """Of each line: 0 odd, 1 within the window, -1 outside of it. And the first and the last time within it."""
        length = found.shape.time_length
        states = np.zeros(len(found.fits), dtype=np.int8)
        fitting = np.flatnonzero(found.fits & (found.ends[time] - found.starts[time] == length))
        texts = np.ndarray((len(found.whole) - length + 1,), f"S{length}", found.whole, strides=(1,))
        times: list[bytes] = texts[found.starts[time][fitting]].tolist()
        known = self._times
        if len(known) > _KNOWN_TIMES:
            known.clear()
        distinct = set(times)
        for text in distinct - known.keys():
            known[text] = _time(text)
        start, end = self._window
        moments = {text: known[text] for text in distinct}
        of_text = {text: 0 if time is None else 1 if start <= time < end else -1 for text, time in moments.items()}
        states[fitting] = [of_text[text] for text in times]
        within = [time for time in moments.values() if time is not None and start <= time < end]
        return states, (min(within), max(within)) if within else ()

    def _columns(self, found: _Match, batch: Batch) -> None:
        data = found.values("data")
        names = list(self._kinds)
        numeric = [index for index, kind in enumerate(self._kinds.values()) if kind != "categorical"]
        for index in range(len(names)):
            if self._kinds[names[index]] == "categorical":
                batch.texts[names[index]] = _count(found, data[0][index], data[1][index])
        self._numbers(found, batch, names, numeric, data)
        if "output" in found.fields:
            answers = found.values("output")
            if self._output_kind == "categorical":
                batch.texts[self._output] = _count(found, answers[0][0], answers[1][0])
            else:
                self._numbers(found, batch, [self._output], [0], answers)

    @staticmethod
    def _numbers(
        found: _Match, batch: Batch, names: Sequence[str], chosen: Sequence[int], places: tuple[Index, Index, Index]
    ) -> None:
        for first in range(0, len(chosen), _TOGETHER):
            few = chosen[first : first + _TOGETHER]
            start, end, point = (part[few].ravel() for part in places)
            values, bad = _numbers(found, start, end, point)
            size = len(values) // len(few)
            for place, index in enumerate(few):
                mine = slice(place * size, (place + 1) * size)
                batch.numbers[names[index]] = values[mine], int(bad[mine].sum())


class _Match:
    """The lines of a batch that have the shape, and where their fields are.

    `starts` and `ends` are (fields, lines) places in `whole`; `fits` says which lines have the shape.
    """

    def __init__(self, shape: Shape, whole: bytes, lengths: Index) -> None:
        self.shape, self.whole = shape, whole
        self.buffer = np.frombuffer(whole, np.uint8)
        self.words = digits.words(whole)
        self.fields = {name: index for index, name in enumerate(shape.fields) if name != "other"}
        line_ends = np.cumsum(lengths)
        line_starts = line_ends - lengths
        self._tokens(line_starts, line_ends)
        self._locate(line_starts, line_ends)
        self._verify(line_starts, line_ends)

    def _tokens(self, line_starts: Index, line_ends: Index) -> None:
        """Commas of every line, (lines, commas), and the last point before each."""
        places = np.flatnonzero((self.buffer & 0xFD) == 44)  # commas and points
        point = self.buffer[places] == ord(".")
        which = np.flatnonzero(~point)
        commas = places[which]
        points = np.where(point[which - 1], places[which - 1], _NOWHERE)
        shape = self.shape
        expected = sum(text.count(b",") for text in shape.texts) + sum(shape.values(name) - 1 for name in shape.fields)
        first = np.searchsorted(commas, line_starts)
        counts = np.diff(first, append=len(commas))
        self.fits: Mask = counts == expected
        if self.fits.all():
            self._commas, self._points = commas.reshape(-1, expected), points.reshape(-1, expected)
            return
        # lines that do not fit get places of nowhere in particular, which are within the buffer
        chosen = np.minimum(first[:, None] + np.arange(expected), len(commas) - 1) if len(commas) else None
        if chosen is None:
            self._commas = np.zeros((len(line_ends), expected), dtype=np.intp)
            self._points = np.full((len(line_ends), expected), _NOWHERE)
        else:
            self._commas, self._points = commas[chosen], points[chosen]

    def _locate(self, line_starts: Index, line_ends: Index) -> None:
        shape, size = self.shape, len(self.shape.fields)
        self.starts = np.empty((size, len(line_starts)), dtype=np.intp)
        self.ends = np.empty((size, len(line_starts)), dtype=np.intp)
        self._first_comma: list[int] = []
        at, begin = 0, line_starts
        for index, name in enumerate(shape.fields):
            self.starts[index] = begin + len(shape.texts[index])
            at += shape.texts[index].count(b",")
            self._first_comma.append(at)
            at += shape.values(name) - 1
            following = shape.texts[index + 1]
            if index + 1 == size:
                self.ends[index] = line_ends - len(following)
            else:
                self.ends[index] = self._commas[:, at] - following.index(b",")
            begin = self.ends[index]

    def _verify(self, line_starts: Index, line_ends: Index) -> None:
        shape, whole, buffer = self.shape, self.whole, self.buffer
        self.fits &= (self.starts <= self.ends).all(axis=0) & (line_starts <= self.starts[0])
        if "id" in self.fields:
            self.fits &= self.ends[self.fields["id"]] > self.starts[self.fields["id"]]
        for name in ("data", "output"):
            if name in self.fields and shape.values(name) == 1:  # a blank line of CSV is no row
                self.fits &= self.ends[self.fields[name]] > self.starts[self.fields[name]]
        for text, place in zip(shape.texts, [line_starts, *self.ends], strict=True):
            last = len(whole) - len(text)
            sound = (place >= 0) & (place <= last)
            if not sound.all():
                self.fits &= sound
                place = np.clip(place, 0, max(last, 0))  # noqa: PLW2901
            if last < 0:
                self.fits[:] = False
            else:
                self.fits &= _is_at(whole, text, place)
        if buffer.min() < 32 or buffer.max() > 126:
            self._misfits(np.flatnonzero((buffer < 32) | (buffer > 126)), line_ends, 0)
        fixed = b"".join(shape.texts)
        for sign in b'"\\':
            mask = buffer == sign
            expected = fixed.count(sign)
            if not self.fits.all() or np.count_nonzero(mask) != expected * len(line_ends):
                self._misfits(np.flatnonzero(mask), line_ends, expected)

    def _misfits(self, places: Index, line_ends: Index, expected: int) -> None:
        """Lines that do not have the expected number of those places do not fit."""
        counts = np.diff(np.searchsorted(places, line_ends), prepend=0)
        self.fits &= counts == expected

    def keep(self, lines: Index) -> None:
        """Only those lines count from now on."""
        if len(lines) < len(self.fits):
            self.starts, self.ends = self.starts[:, lines], self.ends[:, lines]
            self._commas, self._points = self._commas[lines], self._points[lines]

    def values(self, name: str) -> tuple[Index, Index, Index]:
        """Starts, ends, and last points before the ends, of a field's values: (values, lines) each."""
        index, size = self.fields[name], self.shape.values(name)
        first = self._first_comma[index]
        starts = np.empty((size, self.starts.shape[1]), dtype=np.intp)
        ends = np.empty_like(starts)
        starts[0], ends[-1] = self.starts[index], self.ends[index]
        commas = self._commas[:, first : first + size - 1].T
        ends[:-1] = commas
        np.add(commas, 1, out=starts[1:])
        return starts, ends, self._points[:, first : first + size].T


def _time(text: bytes) -> datetime | None:
    try:
        return parse(text.decode())
    except (ValueError, OverflowError):
        return None


def _bare(line: bytes | str) -> bytes | str:
    return line.removesuffix(b"\n") if isinstance(line, bytes) else line


def _is_at(whole: bytes, text: bytes, places: Index) -> Mask:
    """Whether the text, of eight bytes at least, is at each of the places. Compared by eight bytes."""
    size = len(text) // 8 * 8
    head = np.ndarray((len(whole) - size + 1,), f"V{size}", whole, strides=(1,))[places].view("<u8")
    same = head.reshape(len(places), -1) == np.frombuffer(text[:size], "<u8")
    found: Mask = np.ones(len(places), dtype=bool) if same.all() else same.all(axis=1)
    if size < len(text):
        found &= digits.words(whole)[places + (len(text) - 8)].view("<u8") == np.frombuffer(text[-8:], "<u8")
    return found


def _numbers(found: _Match, start: Index, end: Index, point: Index) -> tuple[Numbers, Mask]:
    """The texts as numbers, and which of them are neither numbers nor missing, as `table.parse_numbers` has it."""
    values, sure = digits.parse(found.words, found.buffer[start], start, end, point)
    bad: Mask = np.zeros(len(values), dtype=bool)
    unsure = np.flatnonzero(~sure)
    for index, first, last in zip(unsure.tolist(), start[unsure].tolist(), end[unsure].tolist(), strict=True):
        number = parse_number(found.whole[first:last].decode())
        values[index], bad[index] = (np.nan, True) if number is None else (number, False)
    return values, bad


def _count(found: _Match, start: Index, end: Index) -> Texts:
    """How often each text is there."""
    size = end - start
    longest = int(size.max(initial=0))
    if longest > _LONGEST_NAME:
        return _count_texts(found, start, end)
    keys = [_masked(found, start + at, size - at) for at in range(0, max(longest, 1), 8)]
    mixed = keys[0]
    for key in keys[1:]:
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX + key
    distinct = np.unique(mixed)
    codes = np.searchsorted(distinct, mixed)
    example = np.empty(len(distinct), dtype=np.intp)
    example[codes] = np.arange(len(codes))
    if len(keys) > 1 and any((key[example][codes] != key).any() for key in keys):  # two texts have the same mixture
        return _count_texts(found, start, end)
    texts = (found.whole[first:last].decode() for first, last in zip(start[example], end[example], strict=True))
    return Counter(dict(zip(texts, np.bincount(codes).tolist(), strict=True)))


def _count_texts(found: _Match, start: Index, end: Index) -> Texts:
    pairs = zip(start.tolist(), end.tolist(), strict=True)
    counts = Counter([found.whole[first:last] for first, last in pairs])
    return Counter({text.decode(): count for text, count in counts.items()})


_HEAD = np.array([2 ** (8 * count) - 1 for count in range(9)], dtype=np.uint64)


def _masked(found: _Match, start: Index, size: Index) -> NDArray[np.uint64]:
    """The first eight characters as a number, 0 for those beyond the size."""
    places = np.minimum(start, len(found.words) - 1)
    word: NDArray[np.uint64] = found.words[places].view("<u8")
    return word & _HEAD[np.clip(size, 0, 8)]
