"""Captures: what the endpoint was asked and what it answered, read from SageMaker's data-capture files.

One JSON object per line; its input and output are CSV, JSON or BASE64, of one row or of several. Whatever a file holds,
reading it never fails: a line that can't be read is quarantined with its reason and counted, and the lines around it
are read. Nothing of a bad line's content is kept, for it may be anybody's data.

Format: "Capture data from real-time endpoints", SageMaker Developer Guide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retrain.capture.answers import without_question
from retrain.capture.gz import MAGIC, MAX_LINE, inflated
from retrain.capture.payload import Row, check_unicode, decode, read_json
from retrain.capture.quarantine import UNREADABLE_ANSWER, Quarantine, UnreadableError
from retrain.core.clock import parse
from retrain.core.window import Window

DAMAGED = "damaged_gzip"  # the reason of a line that stands for the rest of a gz file
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Capture:
    """One invocation of the endpoint.

    `id` is the inference id that the client gave, else SageMaker's event id. `rows` is the input, `outputs` the answer,
    each as rows of texts with "" for a missing value; both are empty where that side was not captured. `names` are the
    columns of `rows` if the request named them and `read` was not told an order, `answer_names` those of `outputs`.
    """

    id: str
    time: datetime
    rows: list[Row]
    outputs: list[Row]
    names: tuple[str, ...] | None = None
    answer_names: tuple[str, ...] | None = None


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
    check_unicode(identity)
    data = _object(record, "captureData")
    asked, answered = data.get("endpointInput"), data.get("endpointOutput") or data.get("batchTransformOutput")
    names, rows = decode(asked) if isinstance(asked, dict) else (None, [])
    outputs: list[Row] = []
    answer_names: tuple[str, ...] | None = None
    if isinstance(answered, dict):
        try:
            answer_names, outputs = decode(answered, each_is_a_row=True)
        except UnreadableError as bad:  # what was asked is good all the same
            if not rows:
                raise
            notes[f"{UNREADABLE_ANSWER}{bad.reason}"] += 1
    elif not isinstance(asked, dict):
        raise UnreadableError("no_data", "captureData has neither endpointInput nor an output")
    if isinstance(asked, dict) and isinstance(answered, dict) and not notes:
        if len(rows) == 1 < len(outputs) and _is_list(answered.get("data")):  # a bare list, of the only row
            answer_names, outputs = None, [[answer[0] for answer in outputs]]
        if answer_names is None and len(outputs) == 1 < len(rows) == len(outputs[0]):  # one line has them all
            outputs = [[value] for value in outputs[0]]
        outputs = _of_rows(outputs, rows, notes)
    return Capture(identity, _time(metadata), rows, outputs, names, answer_names)


def _is_list(data: Any) -> bool:
    """Whether it is a JSON list of values, and not one of rows."""
    if isinstance(data, str) and data.lstrip().startswith("["):
        data = read_json(data)
    return isinstance(data, list) and not any(isinstance(item, (list, dict)) for item in data)


def _of_rows(outputs: list[Row], rows: list[Row], notes: Counter[str]) -> list[Row]:
    """One answer for each row, without what it repeats of it. What has no counterpart is counted."""
    if len(outputs) > len(rows):
        notes["answers_without_question"] += len(outputs) - len(rows)
    elif len(outputs) < len(rows):
        notes["questions_without_answer"] += len(rows) - len(outputs)
    if len(outputs) != len(rows):
        return outputs
    return [without_question(answer, row) for answer, row in zip(outputs, rows, strict=True)]


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
    elif line.startswith(MAGIC):
        raise UnreadableError(DAMAGED, "the gz file is damaged or cut here; what follows is lost")
    else:
        try:
            line = line.removeprefix(_BOM).decode()
        except UnicodeDecodeError:
            raise UnreadableError("not_utf8", "the line is not UTF-8 text") from None
    record = read_json(line)
    if not isinstance(record, dict):
        raise UnreadableError("not_an_object", "the line is JSON, but no object")
    return record


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    if not isinstance(value, dict):
        raise UnreadableError("not_a_capture", f"the key {key} is missing or no object")
    return value


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
