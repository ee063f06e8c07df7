"""What an endpoint was asked and answered, as the columns that an estimate is made of; labels are not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from retrain.capture.payload import Row
from retrain.capture.records import Capture
from retrain.model.table import Category, Column, Table, category, class_name
from retrain.model.values import parse_flags, parse_number, parse_numbers


def read_asked(
    captures: Iterable[Capture], features: Mapping[str, str], classes: Sequence[str]
) -> tuple[Table, Column]:
    """The rows and the answers of captures that have both: `features` are name → kind in the order of the columns.

    Answers are numbers, or with several `classes` (more than two) the class that was decided, by name. Rows of another
    width, and answers that are neither, are left out.
    """
    rows: list[Row] = []
    answers: list[str | float] = []
    for capture in captures:
        if len(capture.rows) != len(capture.outputs):
            continue
        for row, answer in zip(capture.rows, capture.outputs, strict=True):
            found = _class(answer, classes) if len(classes) > 2 else _value(answer)
            if len(row) == len(features) and found is not None:
                rows.append(row)
                answers.append(found)
    texts = list(zip(*rows, strict=True)) if rows else [()] * len(features)
    columns = {name: _column(kind, column) for (name, kind), column in zip(features.items(), texts, strict=True)}
    if len(classes) > 2:
        return Table(columns), category([str(answer) for answer in answers])
    return Table(columns), np.array(answers, dtype=np.float64)


def _column(kind: str, texts: Sequence[str]) -> Column:
    if kind == "categorical":
        return category(texts) if texts else Category(np.empty(0, dtype=np.int32), ())
    return (parse_flags if kind == "boolean" else parse_numbers)(texts)[0]


def _value(answer: Row) -> float | None:
    value = parse_number(answer[0]) if len(answer) == 1 else None
    return None if value is None or value != value else value  # noqa: PLR0124  # NaN


def _class(answer: Row, classes: Sequence[str]) -> str | None:
    if len(answer) == 1:
        return class_name(answer[0]) or None
    chances = [parse_number(text) for text in answer]
    if len(answer) != len(classes) or None in chances:
        return None
    return classes[int(np.argmax(np.array(chances, dtype=np.float64)))]
