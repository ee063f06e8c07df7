"""The interval of the difference between two models on the same rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.gate.comparison import compare

RANDOM = np.random.default_rng(1)
TRUTH = RANDOM.normal(100, 30, 400)


def test_the_interval_holds_the_difference_and_repeats_itself():
    champion, challenger = TRUTH + RANDOM.normal(0, 12, 400), TRUTH + RANDOM.normal(0, 10, 400)
    first, second = (
        compare("rmse", "min", TRUTH, champion, challenger, confidence=0.95, resamples=500, seed=7) for _ in range(2)
    )
    assert first == second
    assert first.low < first.difference < first.high
    assert first.difference == pytest.approx(first.champion - first.challenger)


def test_a_model_compared_with_itself_differs_by_nothing():
    output = TRUTH + 1
    result = compare("rmse", "min", TRUTH, output, output, confidence=0.95, resamples=200, seed=7)
    assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)


def test_better_is_positive_for_a_metric_that_grows():
    truth = (RANDOM.random(300) < 0.5).astype(float)
    good, bad = truth * 0.5 + RANDOM.random(300) * 0.6, RANDOM.random(300)
    assert compare("auc", "max", truth, bad, good, confidence=0.95, resamples=200, seed=7).low > 0
    assert compare("auc", "max", truth, good, bad, confidence=0.95, resamples=200, seed=7).high < 0


def test_the_bootstrap_agrees_with_redrawing_by_hand():
    champion, challenger = TRUTH + RANDOM.normal(0, 12, 400), TRUTH + RANDOM.normal(0, 10, 400)
    result = compare("mae", "min", TRUTH, champion, challenger, confidence=0.9, resamples=4000, seed=7)
    differences = []
    for _ in range(4000):
        rows = RANDOM.integers(0, 400, 400)
        differences.append(np.abs(champion - TRUTH)[rows].mean() - np.abs(challenger - TRUTH)[rows].mean())
    low, high = np.quantile(differences, [0.05, 0.95])
    assert result.low == pytest.approx(low, abs=0.08)
    assert result.high == pytest.approx(high, abs=0.08)


def test_false_promotions_stay_below_the_stated_rate():
    better = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = random.normal(size=300)
        champion, challenger = truth + random.normal(size=300), truth + random.normal(size=300)
        better += compare("rmse", "min", truth, champion, challenger, confidence=0.95, resamples=200, seed=seed).low > 0
    assert better / 200 <= 0.05


def test_a_resample_without_one_of_the_classes_does_not_spoil_the_interval():
    truth = np.r_[np.ones(7), np.zeros(193)]
    champion, challenger = RANDOM.random(200), truth + RANDOM.normal(0, 0.1, 200)
    assert (
        compare("auc", "max", truth, champion, challenger, confidence=0.95, resamples=2000, seed=7).low > 0
    )  # e^-7 of the resamples have no positive row


def test_an_interval_of_which_too_much_is_undefined_is_not_a_number():
    truth = np.r_[np.ones(2), np.zeros(198)]
    champion, challenger = RANDOM.random(200), truth + RANDOM.normal(0, 0.1, 200)
    result = compare("auc", "max", truth, champion, challenger, confidence=0.95, resamples=500, seed=7)
    assert np.isnan([result.low, result.high]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("spans", "least", "most"), [(1, 0.2, 1.0), (6, 0.0, 0.05)])
def test_rows_of_one_day_are_not_so_many_witnesses(spans, least, most):
    better = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        day = np.repeat(random.normal(size=6), 100)
        truth = day + random.normal(size=600)
        options = {"confidence": 0.95, "resamples": 200, "seed": seed, "spans": spans}
        better += compare("rmse", "min", truth, np.full(600, -0.5), np.full(600, 0.5), **options).low > 0
    assert least <= better / 200 <= most


@given(st.integers(2, 30), st.integers(0, 1000))
def test_spans_only_ever_widen_the_interval(spans, seed):
    random = np.random.default_rng(seed)
    truth, champion, challenger = random.normal(size=(3, 60))
    rows = compare("mae", "min", truth, champion, challenger, confidence=0.9, resamples=100, seed=1)
    both = compare("mae", "min", truth, champion, challenger, confidence=0.9, resamples=100, seed=1, spans=spans)
    assert both.low <= rows.low
    assert both.high >= rows.high
    assert (both.champion, both.challenger, both.difference) == (rows.champion, rows.challenger, rows.difference)


@pytest.mark.filterwarnings("error")
def test_of_one_row_there_are_no_spans():
    result = compare("mae", "min", TRUTH[:1], TRUTH[:1] + 2, TRUTH[:1], confidence=0.9, resamples=100, seed=1, spans=6)
    assert (result.low, result.high) == (2.0, 2.0)


def test_of_a_mean_the_spans_interval_is_students():
    champion = TRUTH + RANDOM.normal(0, 12, 400)
    gains = np.abs(champion - TRUTH)  # of a challenger that is always right
    means = gains.reshape(4, 100).mean(axis=1)
    result = compare("mae", "min", TRUTH, champion, TRUTH, confidence=0.95, resamples=100, seed=7, spans=4)
    room = 3.182446 * means.std(ddof=1) / 2  # t of three degrees of freedom, four spans
    narrow = compare("mae", "min", TRUTH, champion, TRUTH, confidence=0.95, resamples=100, seed=7)
    assert result.low == pytest.approx(min(gains.mean() - room, narrow.low))
    assert result.high == pytest.approx(max(gains.mean() + room, narrow.high))


def test_a_class_that_only_one_span_has_leaves_the_difference_unknown():
    truth = np.r_[np.zeros(150), np.tile([0.0, 1.0], 25)]
    champion, challenger = RANDOM.random(200), truth + RANDOM.normal(0, 0.1, 200)
    options = {"confidence": 0.95, "resamples": 200, "seed": 7}
    assert compare("auc", "max", truth, champion, challenger, **options).low > 0
    result = compare("auc", "max", truth, champion, challenger, spans=4, **options)
    assert np.isnan([result.low, result.high]).all()
