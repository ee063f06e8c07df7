"""What the endpoint was asked, byte for byte as a client sent it: to ask somebody else the same."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from retrain.capture.payload import Row
from retrain.capture.quarantine import Quarantine
from retrain.capture.records import read_line

CSV, JSON = "text/csv", "application/json"


@dataclass(frozen=True)
class Asked:
    """One request and what it was answered: `rows` are its values in the model's order, `outputs` the answer's."""

    body: str
    content_type: str
    accept: str
    rows: list[Row]
    outputs: list[Row]


def spread(lines: Iterable[bytes], most: int) -> list[bytes]:
    """At most `most` of the lines, evenly spread over all of them, in one pass and little memory.

    >>> spread([b"a", b"b", b"c", b"d", b"e"], 3)
    [b'a', b'c', b'e']
    """
    kept: list[bytes] = []
    step = 1
    for number, line in enumerate(lines):
        if number % step == 0:
            kept.append(line)
            if len(kept) > most:
                kept, step = kept[::2], 2 * step
    return kept[:most]


def read_asked(line: bytes, columns: Sequence[str]) -> Asked | None:
    """The request of a capture's line; None if it can't be read, or nobody answered it."""
    capture = read_line(line, "", 1, Quarantine(), columns=columns)
    if capture is None or not capture.rows or not capture.outputs:
        return None
    data = json.loads(line.removeprefix(b"\xef\xbb\xbf"))["captureData"]
    asked = data["endpointInput"]
    answered = data.get("endpointOutput") or data["batchTransformOutput"]
    return Asked(_body(asked), _type(asked), _type(answered), capture.rows, capture.outputs)


def _body(part: dict[str, Any]) -> str:
    data = part["data"]
    if str(part["encoding"]).upper() == "BASE64":
        return b64decode(data).decode("utf-8-sig")
    return data if isinstance(data, str) else json.dumps(data)


def _type(part: dict[str, Any]) -> str:
    """What the content was said to be, or what its encoding says."""
    said = part.get("observedContentType")
    if isinstance(said, str) and said:
        return said
    return JSON if str(part.get("encoding")).upper() == "JSON" else CSV
