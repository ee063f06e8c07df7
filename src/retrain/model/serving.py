"""Serving in SageMaker's XGBoost container, script mode: what the model artefact carries as `code/inference.py`.

Rows come in as a client has them, with categories as text and nothing for a missing value; predictions go out one per
row. The encoder that turned text into numbers at training travels in the artefact (`code/encoder.json`) and is the one
used here. A request that does not fit is answered with a 4xx that says which row and column, never with a score.

This file stands alone: the container may install it without anything beside it, so it imports nothing of this package.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    class InferenceError(Exception):
        status_code: int
        message: str

        def __init__(self, status_code: int, message: str, phrase: str) -> None: ...

else:
    try:  # what sagemaker-inference answers with its status; any other exception becomes a 500
        from sagemaker_inference.errors import BaseInferenceToolkitError as InferenceError
    except ImportError:

        class InferenceError(Exception):
            """A request that is answered with this status."""

            def __init__(self, status_code: int, message: str, phrase: str) -> None:
                super().__init__(message)
                self.status_code, self.message, self.phrase = status_code, message, phrase


MODEL = "xgboost-model.ubj"
ENCODER = "code/encoder.json"
CSV, JSON = "text/csv", "application/json"
# As retrain.model.values has them, which a test holds these against.
MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)

FLAGS = {  # words of a boolean, in small letters; and the numbers 1 and 0
    **dict.fromkeys(("true", "t", "yes", "y", "on"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "off"), 0.0),
}

_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")  # a whole number with a fraction
_HIGHEST = float(np.finfo(np.float32).max)  # XGBoost computes in float32


class BadRequestError(InferenceError):
    """The request does not fit the model: 400 for its content, 415 for its type, 406 for the answer's type."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(int(status), message, status.phrase)

    def __str__(self) -> str:
        return str(self.message)


@dataclass(frozen=True)
class Encoder:
    """How raw rows become the model's matrix, and the model's output becomes an answer.

    `levels[i]` are the categories of column i in the order of their codes, None for a number. A category that was not
    seen in training is encoded as missing, which every tree of XGBoost has a learned direction for. `classes` are the
    label's values of a classifier in the order of XGBoost's class numbers, empty for a regression. Of the numbers,
    `booleans` come as true and false, in whatever spelling. `ignored` are columns that a row by name may have, too.
    """

    task: str
    names: tuple[str, ...]
    levels: tuple[tuple[str, ...] | None, ...]
    classes: tuple[str, ...] = ()
    booleans: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def feature_types(self) -> list[str]:
        """The columns' types as XGBoost writes them: `c` categorical, `q` quantitative."""
        return ["q" if levels is None else "c" for levels in self.levels]

    def encode(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """The rows as a matrix, one line each. Raises BadRequestError naming row and column."""
        width = len(self.names)
        for number, row in enumerate(rows, 1):
            if len(row) != width:
                raise BadRequestError(f"row {number} has {len(row)} columns, {width} are expected: {_few(self.names)}")
        matrix = np.empty((len(rows), width), dtype=np.float32)
        for index, (name, levels) in enumerate(zip(self.names, self.levels, strict=True)):
            if levels is None:
                parse = _flag if name in self.booleans else _number
                matrix[:, index] = [parse(row[index], number, name) for number, row in enumerate(rows, 1)]
            else:
                codes = {level: code for code, level in enumerate(levels)}
                matrix[:, index] = [codes.get(_category(row[index]), math.nan) for row in rows]
        return matrix

    def dump(self) -> str:
        """The encoder as JSON text, the same bytes for the same encoder."""
        document = {
            "version": 1,
            "task": self.task,
            "classes": list(self.classes),
            "features": [
                {"name": name, "type": "boolean" if name in self.booleans else "numeric"}
                if levels is None
                else {"name": name, "type": "categorical", "levels": list(levels)}
                for name, levels in zip(self.names, self.levels, strict=True)
            ],
            "ignored": list(self.ignored),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, text: str | bytes) -> Encoder:
        """The encoder that `dump` wrote."""
        document = json.loads(text)
        features = document["features"]
        return cls(
            task=document["task"],
            names=tuple(feature["name"] for feature in features),
            levels=tuple(tuple(feature["levels"]) if "levels" in feature else None for feature in features),
            classes=tuple(document["classes"]),
            booleans=tuple(feature["name"] for feature in features if feature["type"] == "boolean"),
            ignored=tuple(document.get("ignored", ())),
        )


@dataclass(frozen=True)
class Model:
    """A booster and the encoder of its rows."""

    booster: xgb.Booster
    encoder: Encoder

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """The booster's output for encoded rows: a value or a probability each, or a row of class probabilities."""
        if not len(matrix):
            return np.empty(0)
        data = xgb.DMatrix(matrix, feature_types=self.encoder.feature_types, enable_categorical=True)
        return np.asarray(self.booster.predict(data), dtype=np.float64)


def model_fn(model_dir: str) -> Model:
    """The model of an unpacked artefact."""
    booster = xgb.Booster()
    booster.load_model(Path(model_dir) / MODEL)
    return Model(booster, Encoder.load((Path(model_dir) / ENCODER).read_text(encoding="utf-8")))


def transform_fn(model: Model, body: str | bytes | bytearray, content_type: str, accept: str) -> Any:
    """The answer to a request: body and type. Raises BadRequestError.

    Both toolkits of the container call it. sagemaker-inference takes a 4xx from the error; sagemaker-containers, which
    is Flask, makes a 500 of any error, but hands on a response with its status.
    """
    try:
        return answer(predict(read_rows(body, content_type), model), accept)
    except BadRequestError as error:
        flask = sys.modules.get("flask")
        if flask is None or not flask.has_request_context():
            raise
        return flask.Response(f"{error}\n", status=error.status_code, mimetype="text/plain")


def read_rows(body: str | bytes | bytearray, content_type: str) -> list[Any]:
    """The request's rows: lists of text in column order, or objects by column name (JSON only).

    JSON is a row, a list of rows, or `{"instances": [rows]}`; a row may also be `{"features": row}`. Their fit to the
    model is checked by `predict`, which knows the model.
    """
    try:
        text = body if isinstance(body, str) else bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body is not UTF-8 text: {error}") from error
    kind = (content_type or CSV).split(";")[0].strip().lower()
    if kind == CSV:
        rows = _csv_rows(text)
    elif kind == JSON:
        rows = _json_rows(text)
    else:
        raise BadRequestError(
            f"content type {kind} is not supported: send {CSV} or {JSON}", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        )
    if not rows:
        raise BadRequestError("the body holds no row")
    return rows


def predict(rows: Iterable[Any], model: Model) -> list[Any]:
    """One prediction per row: a number, the positive class's probability, or the most probable class."""
    encoder = model.encoder
    output = model.predict(encoder.encode([_in_order(row, n, encoder) for n, row in enumerate(rows, 1)]))
    if encoder.task == "multiclass":
        return [encoder.classes[index] for index in np.argmax(output, axis=1)]
    # A float32 has no more than nine digits to say, and repr() of the shortest says them.
    return [float(np.format_float_positional(np.float32(value), unique=True)) for value in output]


def answer(predictions: list[Any], accept: str) -> tuple[str, str]:
    """The answer's body and type: text/csv with a prediction per line, or JSON `{"predictions": […]}`."""
    kinds = [part.split(";")[0].strip().lower() for part in (accept or "").split(",")]
    if JSON in kinds:
        return json.dumps({"predictions": predictions}), JSON
    if CSV in kinds or "*/*" in kinds or kinds == [""]:
        return "".join(f"{prediction}\n" for prediction in predictions), CSV
    raise BadRequestError(f"accept {accept} is not supported: ask for {CSV} or {JSON}", HTTPStatus.NOT_ACCEPTABLE)


def _csv_rows(text: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise BadRequestError(f"the body is not CSV: {error}") from error


def _json_rows(text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if isinstance(document, dict):
        document = document.get("instances", [document])
    if not isinstance(document, list):
        raise BadRequestError('the JSON is neither a row, nor a list of rows, nor {"instances": [rows]}')
    if document and not isinstance(document[0], (list, dict)):
        document = [document]
    return document


def _in_order(row: Any, number: int, encoder: Encoder) -> list[str]:
    """The row as text in the model's column order. SageMaker's own formats put it under `features`."""
    if isinstance(row, dict) and list(row) == ["features"] and isinstance(row["features"], (list, dict)):
        row = row["features"]
    names = encoder.names
    if isinstance(row, dict):
        if missing := [name for name in names if name not in row]:
            raise BadRequestError(
                f"row {number} lacks {_few(missing)}; null stands for a missing value. Expected are {_few(names)}"
            )
        if extra := [name for name in row if name not in names and name not in encoder.ignored]:
            raise BadRequestError(f"row {number} has unknown columns: {_few(extra)}. Expected are {_few(names)}")
        row = [row[name] for name in names]
    if not isinstance(row, list):
        raise BadRequestError(f"row {number} is neither a list nor an object")
    return ["" if value is None else value if isinstance(value, str) else _text(value, number) for value in row]


def _few(names: Sequence[str]) -> str:
    """The names, the first twenty if there are many."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _text(value: Any, number: int) -> str:
    if not isinstance(value, (int, float)):
        raise BadRequestError(f"row {number} holds {type(value).__name__}, a text or a number is expected")
    return ("true" if value else "false") if isinstance(value, bool) else repr(value)


def _missing(text: str) -> bool:
    return text in MISSING or text.lower() == "nan"


def _category(text: str) -> str:
    """The category's one spelling: a whole number's fraction, which JSON and pandas write, is none of it."""
    text = text.strip()
    if _missing(text):
        return ""
    whole = _WHOLE.fullmatch(text)
    return text if whole is None else "0" if whole[1] == "-0" else whole[1]


def _flag(text: str, number: int, name: str) -> float:
    text = text.strip()
    if _missing(text):
        return math.nan
    value = FLAGS.get(text.lower())
    if value is None:
        try:
            value = float(text.replace("_", "?"))
        except ValueError:
            value = math.nan
    if value not in {0.0, 1.0}:
        raise BadRequestError(f"row {number}, column {name}: {text[:40]!r} is neither true nor false")
    return value


def _number(text: str, number: int, name: str) -> float:
    text = text.strip()
    if _missing(text):
        return math.nan
    if text.lower() in {"true", "false"}:  # JSON's
        return FLAGS[text.lower()]
    try:
        value = float(text.replace("_", "?"))  # 1_0 is a number in Python's source only
    except ValueError:
        raise BadRequestError(f"row {number}, column {name}: {text[:40]!r} is not a number") from None
    if not abs(value) <= _HIGHEST:
        raise BadRequestError(f"row {number}, column {name}: {text[:40]!r} is not a finite number")
    return value
