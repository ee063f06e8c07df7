"""Sides: which columns of a native baseline are the question's and which the answer's.

Model Monitor's own baselines describe both sides of a capture in one row, the answer's columns first, while training
data often has them last. Its monitor compares by position (`captureIndexNames`); so whoever made the baseline from the
training data compares every feature with its neighbour. Here the columns are told apart by looking at some captures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from types import MappingProxyType

from retrain.capture.answers import Answers
from retrain.capture.payload import Row
from retrain.capture.quarantine import Quarantine, UnreadableError
from retrain.capture.records import Capture, read
from retrain.drift.baseline import PREDICTION, CategoricalBaseline, FeatureBaseline, Statistics
from retrain.drift.profile import category_of
from retrain.model.values import parse_number

_LOOKED_AT = 500  # captures
_LEAST_FIT = 0.8  # share of the values that their columns have to know
_CLEARLY = 0.1  # share of the values by which one reading has to fit better than the documented one
Captures = Iterable[tuple[str, Iterable[bytes | str]]]


def with_answer(statistics: Statistics, answer: str | int | None) -> Statistics:
    """The statistics, with that value of an answer for the prediction where somebody said one."""
    return statistics if answer is None else replace(statistics, answer=answer)


def told_apart(statistics: Statistics, captures: Captures) -> Statistics:
    """The statistics with the answer's column apart from the features, if they are a native baseline of both sides.

    They are if they have no prediction of their own, a column more than the captures' rows, and values like theirs. The
    answer is the column of its name (`Statistics.answer`); else the first one, as Model Monitor has it, unless the
    values fit clearly better if it is the last.
    """
    columns = list(statistics.features.values())
    if statistics.prediction is not None or len(columns) < 2:
        return statistics
    looked_at = islice((item for source, lines in captures for item in _read(source, lines)), _LOOKED_AT)
    pairs = [pair for capture in looked_at for pair in _answered(capture, statistics.answers)]
    if not pairs or any(len(row) != len(columns) - 1 for row, _ in pairs):
        return statistics
    first, last = (_fit(columns, pairs, place) for place in (0, len(columns) - 1))
    if max(first, last) < _LEAST_FIT:
        return statistics
    place = len(columns) - 1 if last > first + _CLEARLY else 0
    if statistics.answer in statistics.features:
        place = [column.name for column in columns].index(str(statistics.answer))
    chosen = columns.pop(place)
    return Statistics(
        statistics.item_count,
        MappingProxyType({column.name: column for column in columns}),
        replace(chosen, name=PREDICTION, nature=None),
        statistics.answer,
    )


def one_side(lines: Iterable[bytes | str], side: str) -> Iterator[bytes]:
    """The lines with that side of each capture for its question, and no answer; other lines as they are."""
    for line in lines:
        try:
            record = json.loads(line)
            captured = record["captureData"]
            record["captureData"] = {"endpointInput": captured[side]} if side in captured else {}
            yield json.dumps(record).encode() + b"\n"
        except (ValueError, KeyError, TypeError):
            yield line if isinstance(line, bytes) else line.encode()


def _read(source: str, lines: Iterable[bytes | str]) -> Iterator[Capture]:
    return read(lines, source, Quarantine())


def _answered(capture: Capture, answers: Answers) -> Iterator[tuple[Row, str]]:
    """Each row with its prediction; rows whose answer can't be told are left to the intake, which counts them."""
    for row, answer in zip(capture.rows, capture.outputs, strict=False):
        with suppress(UnreadableError):
            yield row, answer[0] if len(answer) == 1 else answers.prediction(answer, capture.answer_names)


def _fit(columns: Sequence[FeatureBaseline], pairs: Sequence[tuple[Row, str]], place: int) -> float:
    """Share of the values that their columns know, if the answer's is at that place; an answer may be out of range."""
    rows = [[*row[:place], answer, *row[place:]] for row, answer in pairs]
    known = sum(
        _knows(column, text, anywhere=index == place)
        for row in rows
        for index, (column, text) in enumerate(zip(columns, row, strict=True))
    )
    return known / (len(rows) * len(columns))


def _knows(column: FeatureBaseline, text: str, *, anywhere: bool) -> bool:
    if isinstance(column, CategoricalBaseline):
        return not column.counts or category_of(text) in column.counts
    value = parse_number(text)
    if value is None:
        return False
    return anywhere or column.steps is None or bool(column.steps.points[0] <= value <= column.steps.points[-1])
