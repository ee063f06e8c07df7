from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.core.errors import Refused
from retrain.model.table import (
    Category,
    Table,
    category,
    class_name,
    concat,
    ordered_classes,
    read_table,
    thin,
    write_table,
)
from retrain.model.values import parse_numbers

KINDS = {"a": "numeric", "b": "categorical"}
numbers = st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), max_size=30)
names = st.sampled_from(["", "x", "y,z", 'q"', "ü", "New\nline"])


@given(data=st.data(), values=numbers)
def test_what_was_written_is_read_back(tmp_path_factory, data, values):
    texts = data.draw(st.lists(names, min_size=len(values), max_size=len(values)))
    table = Table({"a": np.array(values, dtype=np.float64), "b": category(texts)})
    path = tmp_path_factory.mktemp("t") / "t.csv"
    write_table(path, table)
    again = read_table(path, KINDS)
    assert len(again) == len(values)
    np.testing.assert_array_equal(again.numbers("a"), table.numbers("a"))
    assert _texts(again.categories("b")) == _texts(table.categories("b"))
    other = path.with_name("again.csv")
    write_table(other, again)
    assert other.read_bytes() == path.read_bytes()


@given(st.lists(st.lists(names, max_size=8), min_size=1, max_size=4), st.data())
def test_joined_and_cut_columns_keep_their_texts(parts, data):
    joined = concat([Table({"b": category(part)}) for part in parts])
    flat = [text for part in parts for text in part]
    assert _texts(joined.categories("b")) == flat
    index = data.draw(st.lists(st.integers(0, len(flat) - 1), max_size=10)) if flat else []
    assert _texts(joined.take(np.array(index, dtype=int)).categories("b")) == [flat[i] for i in index]


@given(st.integers(0, 500), st.integers(1, 500))
def test_thinning_keeps_order_and_never_repeats_a_row(rows, most):
    kept = thin(rows, most)
    assert len(kept) == min(rows, most)
    assert np.all(np.diff(kept) > 0)
    assert not len(kept) or kept[-1] < rows


@pytest.mark.parametrize("text", ["abc", "inf", "1e39", "1,5", "0x10", "1_0"])
def test_what_is_no_finite_number_is_marked(text):
    values, bad = parse_numbers(["1", text, "", "NA"])
    assert bad.tolist() == [False, True, False, False]
    assert values[0] == 1.0
    assert np.isnan(values[1:]).all()


def test_classes_with_an_underline_are_words():
    assert [class_name(text) for text in ("1_0", "10.0")] == ["1_0", "10"]
    assert ordered_classes(["1_0", "9"]) == ("9", "1_0")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a\n1\n", "lacks the columns b: it has a"),
        ("a,b,a\n1,x,2\n", "columns of the same name: a"),
        ("a,b\n1,x\n2\n", "t.csv, line 3: 1 columns, the header has 2"),
        ("a,b\n1,x\nten,x\n", "t.csv, line 3: a: 'ten' is not a finite number"),
        ("a,b\n1,x\n\nten,x\n", "t.csv, line 4: a: 'ten' is not a finite number"),
        ('a,b\n1,"x\ny"\n2\n', "t.csv, line 4: 1 columns, the header has 2"),
        ('a,b\n1,x\n2,"x\n3,x\n4,x\n5",x\n', "t.csv, line 3: 3 columns, the header has 2"),
        ("a;b\n1;x\n", "t.csv, line 1: its columns are separated by ';': save the file with commas"),
        ("a\tb\n1\tx\n", "t.csv, line 1: its columns are separated by '\\t': save the file with commas"),
        ("", "t.csv is empty: a header and rows are expected"),
        ("\n\n", "t.csv is empty: a header and rows are expected"),
        (b"a,b\n1,x\n2,\xfc\n", "t.csv, line 3: no UTF-8 text: save the file as UTF-8"),
        ("a,b\n1,x\n2," + "x" * 200_000 + "\n", "t.csv, line 3: field larger than field limit (131072)"),
        (
            'a,b\n1,x\n2,"y\n3,z\n',
            "t.csv, line 3: unexpected end of data, in the row that begins here: close its quotes",
        ),
    ],
)
def test_a_file_that_does_not_fit_says_where(tmp_path: Path, content, says):
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Refused) as refusal:
        read_table(tmp_path / "t.csv", KINDS)
    assert refusal.value.code == "schema_mismatch"
    assert says in refusal.value.detail


def test_a_byte_order_mark_spaces_and_blank_lines_do_no_harm(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n 1 , x \r\n\r\n")
    table = read_table(tmp_path / "t.csv", KINDS)
    assert table.numbers("a").tolist() == [1.0]
    assert _texts(table.categories("b")) == ["x"]


def _texts(column: Category) -> list[str]:
    return [column.levels[code] if code >= 0 else "" for code in column.codes.tolist()]
