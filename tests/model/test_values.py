"""One place reads values: baseline, init, monitor, dataset and endpoint read the same spelled value alike."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from retrain.core.errors import Refused
from retrain.drift.profile import Layout, NumericProfile, summarise
from retrain.model import serving, values
from retrain.model.kinds import Column
from retrain.model.serving import BadRequestError, Encoder
from retrain.model.table import category, parse_column
from retrain.model.values import (
    category_name,
    flag_name,
    is_missing,
    parse_flag,
    parse_number,
    parse_numbers,
    spelled,
)

BAD = "bad"
SPELLED = {  # text → as a number, as a boolean, as a category
    "": (None, None, ""),
    " ": (None, None, ""),
    "nan": (None, None, ""),
    "NAN": (None, None, ""),
    "N/A": (None, None, ""),
    "NULL": (None, None, ""),
    "<NA>": (None, None, ""),
    "None": (None, None, ""),
    "none": (BAD, BAD, "none"),
    "-": (BAD, BAD, "-"),
    "?": (BAD, BAD, "?"),
    "inf": (BAD, BAD, "inf"),
    "1e39": (BAD, BAD, "1e39"),
    "1_0": (BAD, BAD, "1_0"),
    "1": (1.0, 1.0, "1"),
    "1.0": (1.0, 1.0, "1"),
    "1.000000": (1.0, 1.0, "1"),
    "0.000000": (0.0, 0.0, "0"),
    "-0.0": (0.0, 0.0, "0"),
    "007": (7.0, BAD, "007"),
    "1.10": (1.1, BAD, "1.10"),
    " 2.5 ": (2.5, BAD, "2.5"),
    "1e3": (1000.0, BAD, "1e3"),
    "true": (1.0, 1.0, "true"),
    "False": (0.0, 0.0, "False"),
    "yes": (BAD, 1.0, "yes"),
    "off": (BAD, 0.0, "off"),
    "ähm": (BAD, BAD, "ähm"),
}


def by_monitor(text: str, kind: str) -> object:
    """As the monitor and the baseline summarise it."""
    booleans = frozenset({"x"} if kind == "boolean" else ())
    layout = Layout({"x": "numeric" if kind == "numeric" else "categorical"}, booleans=booleans)
    found = summarise([(text,)], layout).columns["x"]
    if isinstance(found, NumericProfile):
        return BAD if found.bad else None if found.missing else found.minimum
    if found.missing:
        return "" if kind == "categorical" else None
    [name] = found.counts
    return name if kind == "categorical" else {"true": 1.0, "false": 0.0}.get(name, BAD)


def by_dataset(text: str, kind: str) -> object:
    """As train.csv and the window's rows are read."""
    if kind == "categorical":
        return next(iter(category([text]).levels), "")
    try:
        [value] = parse_column([text], kind, "t.csv, row", [2], "x")
    except Refused:
        return BAD
    return None if math.isnan(value) else value


def by_endpoint(text: str, kind: str) -> object:
    """As inference.py encodes it; of a category, whether it is the level of that name."""
    level = category_name(text)
    encoder = Encoder("regression", ("x",), ((level,) if kind == "categorical" else None,))
    if kind == "boolean":
        encoder = Encoder("regression", ("x",), (None,), booleans=("x",))
    try:
        [[value]] = encoder.encode([[text]]).tolist()
    except BadRequestError:
        return BAD
    if kind == "categorical":
        return "" if level == "" else level if value == 0 else BAD
    return None if math.isnan(value) else pytest.approx(value)


def by_init(text: str, kind: str) -> object:
    """As the proposal looks at a column: what it counts as a number, and what as missing."""
    column = Column("x")
    column.read([text])
    if kind == "numeric":
        return None if column.missing else column.low if column.numbers else BAD
    if column.missing:
        return "" if kind == "categorical" else None
    [level] = column.levels or {}
    found = parse_flag(level)
    return category_name(level) if kind == "categorical" else BAD if found is None else found


@pytest.mark.parametrize("kind", ["numeric", "boolean", "categorical"])
@pytest.mark.parametrize("text", SPELLED)
@pytest.mark.parametrize("read", [by_monitor, by_dataset, by_endpoint, by_init])
def test_d12_d13_every_reader_reads_a_spelled_value_alike(read, text: str, kind: str) -> None:
    assert read(text, kind) == SPELLED[text][("numeric", "boolean", "categorical").index(kind)]


def test_d12_missing_is_what_pandas_takes_for_missing_and_the_endpoint_has_the_same_list() -> None:
    assert values.MISSING >= STR_NA_VALUES
    assert values.MISSING == serving.MISSING
    assert dict(values.FLAGS) == serving.FLAGS
    table = "x\n" + "".join(f'"{text}"\n' for text in sorted(values.MISSING))
    assert pandas.read_csv(io.StringIO(table), skip_blank_lines=False)["x"].isna().all()


@given(st.lists(st.one_of(st.text(max_size=6), st.sampled_from(list(SPELLED)), st.floats().map(repr))))
def test_many_numbers_are_read_as_one_by_one(texts: list[str]) -> None:
    found, bad = parse_numbers(texts)
    single = [parse_number(text) for text in texts]
    assert bad.tolist() == [value is None for value in single]
    np.testing.assert_array_equal(found, [math.nan if value is None else value for value in single])


@given(st.text(max_size=8))
def test_a_category_s_name_is_its_own_name_and_missing_is_no_flag(text: str) -> None:
    name = category_name(text)
    assert category_name(name) == name
    assert (name == "") == is_missing(text)
    assert (flag_name(text) == "") == is_missing(text)


def test_d07_values_are_spelled_as_short_as_float32_allows() -> None:
    assert spelled(np.array([0.1, 0.10000000149011612, 1e-30, 16777217.0])) == [0.1, 0.1, 1e-30, 16777216.0]


def test_a_number_with_an_underscore_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"t\.csv, row 2: x: '1_0' is not a finite number"):
        parse_column(["1_0"], "numeric", "t.csv, row", [2], "x")
