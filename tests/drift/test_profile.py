"""Profiles: one pass, bounded memory, and merging that does not depend on the order."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.drift import profile
from retrain.drift.profile import (
    CategoricalProfile,
    Layout,
    NumericProfile,
    categories_of,
    empty,
    merge,
    merge_columns,
    numbers_of,
    sketch_of,
    summarise,
)

POINTS = np.array([-5.0, 0.0, 0.5, 1.0, 100.0])
LAYOUT = Layout({"x": "numeric", "c": "categorical"}, {"x": POINTS}, {"c": frozenset({"a", "b"})})
NUMBERS = st.one_of(st.integers(-10, 10).map(float), st.floats(-1e9, 1e9, width=32))
ROWS = st.lists(
    st.tuples(
        st.one_of(NUMBERS.map(repr), st.sampled_from(["", "nan", "text", "inf", " 1 "])),
        st.one_of(st.sampled_from(["a", "b", "new", ""]), st.text(max_size=3)),
    ),
    max_size=30,
)


def same(one: profile.Profile, other: profile.Profile) -> None:
    """Equal: counts exactly, floating-point sums to rounding."""
    assert one.rows == other.rows
    assert one.columns["c"] == other.columns["c"]
    x, y = one.columns["x"], other.columns["x"]
    assert isinstance(x, NumericProfile)
    assert isinstance(y, NumericProfile)
    for name in ("present", "missing", "bad", "integral", "minimum", "maximum"):
        assert getattr(x, name) == getattr(y, name), name
    scale = max(abs(x.minimum), abs(x.maximum), 1.0) if x.present else 1.0
    assert x.total == pytest.approx(y.total, rel=1e-9, abs=1e-9 * scale)
    assert x.squares == pytest.approx(y.squares, rel=1e-9, abs=1e-9 * scale**2)
    assert [level.tolist() for level in x.sketch.levels] == [level.tolist() for level in y.sketch.levels]
    assert x.at is not None
    assert y.at is not None
    assert x.at.below.tolist() == y.at.below.tolist()
    assert x.at.upto.tolist() == y.at.upto.tolist()
    np.testing.assert_allclose(x.at.sums, y.at.sums, rtol=1e-9, atol=1e-9 * scale)


class TestMerging:
    @given(ROWS, ROWS)
    def test_is_commutative(self, one, other):
        a, b = summarise(one, LAYOUT), summarise(other, LAYOUT)
        same(merge(a, b), merge(b, a))

    @given(ROWS, ROWS, ROWS)
    def test_is_associative(self, one, two, three):
        a, b, c = (summarise(rows, LAYOUT) for rows in (one, two, three))
        same(merge(merge(a, b), c), merge(a, merge(b, c)))

    @given(ROWS, ROWS)
    def test_of_two_files_is_the_profile_of_both(self, one, other):
        same(merge(summarise(one, LAYOUT), summarise(other, LAYOUT)), summarise([*one, *other], LAYOUT))

    @given(ROWS)
    def test_with_nothing_changes_nothing(self, rows):
        same(merge(summarise(rows, LAYOUT), empty(LAYOUT)), summarise(rows, LAYOUT))

    @given(st.lists(st.lists(st.text("abcdefghij", min_size=1, max_size=2), max_size=40), min_size=2, max_size=4))
    def test_of_too_many_categories_is_exact_and_in_any_order(self, parts):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profile, "MAX_CATEGORIES", 5)
            columns = [categories_of(part, frozenset({"a", "b"})) for part in parts]
            forwards, backwards = reduce(merge_columns, columns), reduce(merge_columns, columns[::-1])
            whole = [text for part in parts for text in part]
            assert forwards == backwards == categories_of(whole, frozenset({"a", "b"}))
            assert isinstance(forwards, CategoricalProfile)
            assert forwards.present == len(whole)
            assert all(whole.count(name) == count for name, count in forwards.counts.items())
            assert {"a", "b"} & set(whole) <= forwards.counts.keys()

    def test_of_different_columns_or_points_is_refused(self):
        with pytest.raises(ValueError, match="different columns"):
            merge(empty(LAYOUT), empty(Layout({"x": "numeric"})))
        with pytest.raises(ValueError, match="different kinds"):
            merge_columns(numbers_of(np.empty(0)), categories_of([]))
        with pytest.raises(ValueError, match="different points"):
            merge_columns(numbers_of(np.empty(0), POINTS), numbers_of(np.empty(0), POINTS + 1))


class TestNumbers:
    def test_are_summarised_as_numpy_does(self):
        random = np.random.default_rng(7)
        values = random.normal(1e6, 0.01, size=200_000)  # a mean that would swallow the deviation
        rows = [(repr(value),) for value in values.tolist()]
        found = summarise(rows, Layout({"x": "numeric"})).columns["x"]
        assert isinstance(found, NumericProfile)
        assert found.mean == pytest.approx(values.mean(), rel=1e-14)
        assert found.std_dev == pytest.approx(values.std(), rel=1e-9)
        assert (found.minimum, found.maximum) == (values.min(), values.max())

    def test_missing_and_bad_values_are_told_apart(self):
        rows = [("1",), ("",), ("nan",), ("NA",), ("text",), ("inf",), ("1e300",), ("2.5",)]
        found = summarise(rows, Layout({"x": "numeric"})).columns["x"]
        assert isinstance(found, NumericProfile)
        assert (found.present, found.missing, found.bad, found.integral) == (2, 3, 3, 1)

    def test_counts_at_points_are_counts(self):
        values = np.array([3.0, 1.0, 1.0, 2.0, 7.0])
        at = numbers_of(values, np.array([1.0, 2.5, 9.0])).at
        assert at is not None
        assert (at.below.tolist(), at.upto.tolist(), at.sums.tolist()) == ([0, 3, 5], [2, 3, 5], [0.0, 4.0, 14.0])

    @given(st.lists(NUMBERS), st.sets(NUMBERS.map(lambda value: value + 0.0), max_size=9))
    def test_counts_at_any_points_are_counts(self, values, points):
        at = numbers_of(np.array(values, dtype=float), np.array(sorted(points), dtype=float)).at
        assert at is not None
        for point, below, upto, total in zip(
            *(part.tolist() for part in (at.points, at.below, at.upto, at.sums)), strict=True
        ):
            smaller = [value for value in values if value < point]
            assert (below, upto) == (len(smaller), sum(value <= point for value in values))
            assert total == pytest.approx(math.fsum(smaller), abs=1e-3)

    def test_nothing_has_no_mean(self):
        assert math.isnan(numbers_of(np.array([np.nan])).mean)


class TestSketch:
    def test_is_exact_up_to_its_size(self):
        values = np.sort(np.random.default_rng(1).integers(0, 99, profile.K).astype(float))
        points, upto = sketch_of(values).items()
        assert upto.tolist() == np.searchsorted(values, points, side="right").tolist()

    @pytest.mark.parametrize("shape", ["normal", "sorted", "few values"])
    def test_ranks_are_within_two_tenths_of_a_percent(self, shape):
        random = np.random.default_rng(5)
        values = (
            random.integers(0, 700, 300_000).astype(float) if shape == "few values" else random.normal(size=300_000)
        )
        if shape == "sorted":
            values.sort()
        found = reduce(merge_columns, (numbers_of(part) for part in np.array_split(values, 23)))
        assert isinstance(found, NumericProfile)
        points, upto = found.sketch.items()
        values.sort()
        true = np.searchsorted(values, points, side="right")
        assert np.abs(upto - true).max() < 0.002 * len(values)
        assert found.sketch.weight == len(values)
        assert sum(map(len, found.sketch.levels)) < 3 * profile.K

    @given(
        st.lists(st.integers(1, 12_000), min_size=2, max_size=6).filter(lambda sizes: sum(sizes) > profile.K),
        st.sampled_from(["normal", "few values", "sorted"]),
        st.randoms(use_true_random=False),
    )
    def test_merged_in_any_association_and_order_ranks_are_within_its_error(self, sizes, shape, draw):
        random = np.random.default_rng(sum(sizes))
        values = random.normal(size=sum(sizes))
        if shape == "few values":
            values = np.round(3 * values)
        if shape == "sorted":
            values.sort()
        parts = [numbers_of(part) for part in np.split(values, np.cumsum(sizes)[:-1])]
        while len(parts) > 1:
            draw.shuffle(parts)
            parts.append(merge_columns(parts.pop(), parts.pop()))
        (found,) = parts
        assert isinstance(found, NumericProfile)
        points, upto = found.sketch.items()
        assert found.sketch.weight == upto[-1] == found.present == len(values)
        values.sort()
        assert np.abs(upto - np.searchsorted(values, points, side="right")).max() < 0.002 * len(values)
        assert sum(map(len, found.sketch.levels)) < 3 * profile.K

    @given(st.lists(st.integers(1, 9000), min_size=2, max_size=2))
    def test_two_parts_give_the_same_sketch_in_either_order(self, sizes):
        one, other = (numbers_of(np.random.default_rng(size).normal(size=size)) for size in sizes)
        both, turned = merge_columns(one, other), merge_columns(other, one)
        assert isinstance(both, NumericProfile)
        assert isinstance(turned, NumericProfile)
        assert [level.tolist() for level in both.sketch.levels] == [level.tolist() for level in turned.sketch.levels]


class TestCategories:
    def test_long_names_are_cut_and_stay_apart(self):
        found = categories_of(["x" * 10_000, "x" * 10_001, "x" * 10_000])
        assert sorted(found.counts.values()) == [1, 2]
        assert max(map(len, found.counts)) == profile.MAX_CATEGORY

    def test_number_of_too_many_is_estimated(self, monkeypatch):
        monkeypatch.setattr(profile, "MAX_CATEGORIES", 1000)
        found = categories_of([str(number) for number in range(20_000)])
        assert found.present == 20_000
        assert found.rest == 19_000
        assert found.distinct == pytest.approx(20_000, rel=0.1)

    def test_lone_surrogates_do_not_matter(self):
        assert categories_of(["\ud800" * 300]).present == 1


def test_wide_tables_are_summarised_in_small_blocks():
    layout = Layout({f"x{number}": "numeric" for number in range(2000)})
    assert layout.block_rows == 256
    found = summarise((["1"] * 2000 for _ in range(300)), layout)
    assert {column.total for column in found.columns.values() if isinstance(column, NumericProfile)} == {300.0}
