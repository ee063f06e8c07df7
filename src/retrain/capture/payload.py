"""Payloads: the rows that one side of a capture holds, what was asked or what was answered, in CSV, JSON or BASE64."""

from __future__ import annotations

import csv
import io
import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from retrain.capture.quarantine import UnreadableError

Row = list[str]
_WRAPPERS = ("instances", "inputs", "dataframe_split", "dataframe_records")


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
        return _json_table(read_json(data) if isinstance(data, str) else data, each_is_a_row)
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
        return _json_table(read_json(text), each_is_a_row)
    return None, _csv_rows(text)


def read_json(text: str) -> Any:
    """What the text says as JSON, or a list of what its lines say. Raises UnreadableError without the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and "\n" in text.strip():
            return [read_json(line) for line in text.split("\n") if line.strip()]  # JSON lines
        raise UnreadableError("not_json", f"{error.msg} at character {error.pos} of {len(text)}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableError("not_json", f"{type(error).__name__} while reading JSON") from None


def _string(data: Any) -> str:
    if isinstance(data, str):
        check_unicode(data)
        return data
    raise UnreadableError("no_data", "the data is not a text")


def check_unicode(text: str) -> None:
    """Half a surrogate pair, which JSON can say and UTF-8 can't, must not reach those who write files."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnreadableError("bad_unicode", "a text holds half a surrogate pair") from None


def _csv_rows(text: str) -> list[Row]:
    """Rows of CSV without a header. Blank lines are no rows, which is also how the endpoint reads them.

    A quote that opens and never closes would swallow the rows behind it: then none is read.
    """
    text = text.removeprefix("\ufeff")
    if '"' not in text and "\r" not in text:
        return [line.split(",") for line in text.split("\n") if line]
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise UnreadableError("bad_csv", str(error)) from None


def _json_table(document: Any, each_is_a_row: bool) -> tuple[tuple[str, ...] | None, list[Row]]:
    if isinstance(document, dict):
        return _object_table(document, each_is_a_row)
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


def _object_table(document: dict[str, Any], each_is_a_row: bool) -> tuple[tuple[str, ...] | None, list[Row]]:
    """The rows of an object: of what it wraps, of a pandas frame in one of its forms, or the one row that it is."""
    if each_is_a_row and "SageMakerOutput" in document:  # beside the question, as JoinSource=Input has it
        return _json_table(document["SageMakerOutput"], each_is_a_row)
    if isinstance(document.get("predictions"), list):
        return _json_table(document["predictions"], each_is_a_row=True)
    for wrapper in _WRAPPERS:
        if isinstance(document.get(wrapper), (list, dict)):
            return _json_table(document[wrapper], each_is_a_row)
    if isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):
        names, rows = _texts(document["columns"]), [_texts(row) for row in document["data"]]
        return tuple(names), _of_one_length(names, rows)
    if document.keys() != {"features"} and (columns := _columns(document)):
        return tuple(document), [_texts(list(row)) for row in zip(*columns, strict=True)]
    return _json_table([document], each_is_a_row)


def _columns(document: dict[str, Any]) -> list[list[Any]] | None:
    """The columns of an object that has a list, or an object by row number, for each of them; None if it has not."""
    values = list(document.values())
    if values and all(isinstance(value, dict) for value in values):
        index = list(values[0])
        if not all(map(str.isdecimal, index)) or any(value.keys() != values[0].keys() for value in values):
            return None
        values = [[value[key] for key in index] for value in values]
    if not values or not all(isinstance(value, list) for value in values):
        return None
    flat = all(not isinstance(item, (list, dict)) for value in values for item in value)
    return values if flat and len({len(value) for value in values}) == 1 else None


def _of_one_length(names: Sequence[str], rows: list[Row]) -> list[Row]:
    if any(len(row) != len(names) for row in rows):
        raise UnreadableError("mixed_rows", "a row has more or fewer values than there are columns")
    return rows


def _features(row: Any) -> list[Any]:
    """The rows, usually one, that an element of the list of instances stands for."""
    for wrapper in ("data", "features", "values"):  # SageMaker's own algorithms have some of them, one in the other
        if isinstance(row, dict) and isinstance(row.get(wrapper), (list, dict)):
            row = row[wrapper]
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
        check_unicode(value)
        return value
    if isinstance(value, bool):  # before it is known what the column is: a flag, a number, or a text
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    raise UnreadableError("nested_value", "a value is a list or an object, a text or a number is expected")
