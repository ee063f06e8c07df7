"""Captures of batch transform jobs: manifests under input/ and output/ that name the job's files, joined line by line.

A batch transform job copies nothing: below its capture folder there are, for each hour, manifests of the files it read
(`input/yyyy/mm/dd/hh/`) and of those it wrote (`output/yyyy/mm/dd/hh/`). With `GenerateInferenceId` every answer ends
with an id and a time: two more columns, or the keys SageMakerInferenceId and SageMakerInferenceTime.

Format: "Capture data from batch transform job", SageMaker Developer Guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import zip_longest
from typing import Any

from retrain.core.clock import parse, render
from retrain.core.errors import Refused

ID, TIME = "SageMakerInferenceId", "SageMakerInferenceTime"

Open = Callable[[str], Iterable[bytes]]  # the lines of the file at that URI

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OUT = ".out"  # what a transform job appends to the name of a file


def read_manifest(text: str | bytes, source: str) -> tuple[str, ...]:
    """The URIs of what the manifest lists; an empty name means that the prefix itself is the object.

    Raises Refused("capture_missing", …) that names `source`.

    >>> read_manifest('[{"prefix": "s3://bucket/in/"}, "part-0.csv"]', "input/a.manifest")
    ('s3://bucket/in/part-0.csv',)
    """
    try:
        first, *files = json.loads(text)
        prefix = first["prefix"]
    except (ValueError, KeyError, TypeError):
        raise _unusable(source, 'expected a list that begins with {"prefix": …}') from None
    if not isinstance(prefix, str) or not all(isinstance(name, str) for name in files):
        raise _unusable(source, "the prefix or a file name is no text")
    return tuple(prefix + name for name in files)


def transformed(
    inputs: Iterable[str], outputs: Iterable[str], open_file: Open, hour: datetime
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each file's URI and its captures, one line for each of its lines, as `retrain.capture.records` reads them.

    `inputs` and `outputs` are the URIs that the hour's manifests list. A line's time is its answer's, and the hour
    where answers have none. What has no counterpart is a capture of one side.
    """
    for asked, answered in paired(inputs, outputs):
        uri = asked or answered or ""
        yield uri, _joined(uri, open_file(asked) if asked else (), open_file(answered) if answered else (), hour)


def paired(inputs: Iterable[str], outputs: Iterable[str]) -> Iterator[tuple[str | None, str | None]]:
    """Each input with its output, which has the input's name and `.out`; None where there is none.

    Of several files of one name, in different folders, those belong together that share the most folders. Where two
    pairs share as many, nobody knows, and none of these files has a counterpart.

    >>> list(paired(["s3://b/in/x/0.csv", "s3://b/in/y/0.csv"], ["s3://b/out/y/0.csv.out", "s3://b/out/x/0.csv.out"]))
    [('s3://b/in/x/0.csv', 's3://b/out/x/0.csv.out'), ('s3://b/in/y/0.csv', 's3://b/out/y/0.csv.out')]
    """
    left = dict.fromkeys(outputs)
    asked = list(dict.fromkeys(inputs))
    shared = {
        (uri, answer): len(set(uri.split("/")[:-1]) & set(answer.split("/")[:-1]))
        for uri in asked
        for answer in left
        if _name(answer) in {_name(uri) + _OUT, _name(uri)}
    }
    for uri in asked:
        mine = sorted((count, answer) for (one, answer), count in shared.items() if one == uri)
        best = mine[-1][1] if mine and (len(mine) == 1 or mine[-2][0] < mine[-1][0]) else None
        rivals = [count for (one, answer), count in shared.items() if answer == best and one != uri]
        if best is None or any(count >= mine[-1][0] for count in rivals):
            yield uri, None
        else:
            del left[best]
            yield uri, best
    for answer in left:
        yield None, answer


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def _joined(uri: str, asked: Iterable[bytes], answered: Iterable[bytes], hour: datetime) -> Iterator[bytes]:
    pairs = zip_longest(filter(bytes.strip, asked), filter(bytes.strip, answered), fillvalue=b"")
    for number, (question, answer) in enumerate(pairs, 1):
        try:
            data, output = question.decode("utf-8-sig").strip(), answer.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            yield b"\xff\n"  # the reader counts a line that is no text
            continue
        identity, time, output = told_apart(output)
        metadata = {"eventId": identity or f"{uri}:{number}", "inferenceTime": time or render(hour)}
        captured = {
            **({"endpointInput": _side(data, "INPUT")} if data else {}),
            **({"batchTransformOutput": _side(output, "OUTPUT")} if output else {}),
        }
        yield json.dumps({"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}).encode() + b"\n"


def told_apart(answer: str) -> tuple[str | None, str | None, str]:
    """The id and the time that end the answer, None if it has none, and the answer without them.

    >>> told_apart("0.07,1f1d57b1-2e6f-488c-8c30-db4e6d757861,2022-08-30T00:49:15Z")
    ('1f1d57b1-2e6f-488c-8c30-db4e6d757861', '2022-08-30T00:49:15Z', '0.07')
    >>> told_apart("0.07,0.93")
    (None, None, '0.07,0.93')
    """
    if answer.startswith("{"):
        try:
            document: dict[str, Any] = json.loads(answer)
        except ValueError:
            return None, None, answer  # the reader says what is wrong with it
        identity, time = document.pop(ID, None), document.pop(TIME, None)
        return identity, time, answer if identity is None else json.dumps(document)
    parts = answer.rsplit(",", 2)
    if len(parts) == 3 and _UUID.fullmatch(parts[1].strip()) and _is_time(parts[2].strip()):
        return parts[1].strip(), parts[2].strip(), parts[0].strip()
    return None, None, answer


def _side(data: str, mode: str) -> dict[str, str]:
    encoding = "JSON" if data[:1] in {"{", "["} else "CSV"
    if encoding == "JSON" and mode == "OUTPUT":
        data = _answer(data)
    return {"data": data + ("\n" if encoding == "CSV" else ""), "encoding": encoding, "mode": mode}


def _answer(data: str) -> str:
    """JSON of an object with one value: the value alone, whatever the model calls it."""
    try:
        document = json.loads(data)
    except ValueError:
        return data
    return json.dumps(next(iter(document.values()))) if isinstance(document, dict) and len(document) == 1 else data


def _is_time(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _unusable(source: str, message: str) -> Refused:
    return Refused("capture_missing", f"{source}: no manifest of a batch transform job: {message}")
