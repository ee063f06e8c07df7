"""How often values are missing or the same in the stretch of a baseline that had most of them."""

import numpy as np
import pytest

from retrain.drift.rates import STRETCHES, rates_of, read_rates, render_rates

DAYS = 30


def counts(shares, a_day=240, present=1.0, seed=1):
    """Of each hour the values by bin, and the rows; `shares` are (hours, bins), `present` (hours,) or one for all."""
    random = np.random.default_rng(seed)
    rows = random.poisson(a_day / 24, DAYS * 24)
    values = random.binomial(rows, present)
    return np.array([random.multinomial(n, share) for n, share in zip(values, shares, strict=True)], np.int32), rows


def same(bins=10):
    return np.full((DAYS * 24, bins), 1 / bins)


def test_of_independent_rows_the_rates_are_those_of_the_whole_baseline():
    values, rows = counts(same(), present=0.9)
    every = rates_of(values, 1, rows)
    assert [item.hours for item in every] == list(STRETCHES)
    for item in every:
        assert item.single == pytest.approx(0.1, abs=0.01)
        assert item.missing == pytest.approx(0.1, abs=0.02)


def test_a_night_without_values_and_a_day_of_one_value_are_their_own_rates():
    hour = np.arange(DAYS * 24)
    still = np.where((hour // 24 == 11)[:, None], np.eye(10)[3], same())
    values, rows = counts(still, present=np.where(hour % 24 < 6, 0.2, 1.0))
    one, *_, day = rates_of(values, 1, rows)
    assert day.single > 0.99
    assert one.single >= day.single
    assert one.missing > 0.8
    assert 0.15 < day.missing < 0.4


def test_rates_do_not_grow_with_the_traffic():
    hour = np.arange(DAYS * 24)
    for a_day in (240, 2400):
        values, rows = counts(same(), a_day, np.where(hour % 24 < 6, 0.5, 1.0))
        found = rates_of(values, 1, rows)
        assert 0.5 < found[0].missing < 0.95


def test_less_than_eight_days_say_nothing():
    values, rows = counts(same())
    assert rates_of(values[: 7 * 24], 1, rows[: 7 * 24]) == ()
    assert rates_of(np.zeros_like(values), 1, rows) == ()


def test_rows_that_nobody_counted_say_nothing_of_what_is_missing():
    values, _ = counts(same())
    assert {item.missing for item in rates_of(values, 1, None)} == {None}


def test_a_baseline_counted_by_the_day_speaks_of_days():
    values, rows = (part.reshape(DAYS, 24, -1).sum(axis=1) for part in counts(same()))
    assert [item.hours for item in rates_of(values.astype(np.int32), 24, rows[:, 0])] == [24]


def test_they_travel():
    values, rows = counts(same(), present=0.9)
    found = rates_of(values, 1, rows)
    again = read_rates(render_rates(found))
    assert [item.hours for item in again] == list(STRETCHES)
    assert all(0 <= new.single - old.single < 2e-6 for new, old in zip(again, found, strict=True))


@pytest.mark.parametrize(
    "found",
    [
        3,
        [3],
        [{"hours": 1}],
        [{"hours": 5, "single": 0.1}],
        [{"hours": 1, "single": 1.5}],
        [{"hours": 1, "single": True}],
    ],
)
def test_other_things_are_no_rates(found):
    with pytest.raises(ValueError, match=r"rates|hours|share"):
        read_rates(found)
