import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.evaluation import bias, calibration_error, compare, curve, model_quality, score

RANDOM = np.random.default_rng(1)
TRUTH = RANDOM.normal(100, 30, 400)


@pytest.mark.parametrize(
    ("metric", "truth", "output", "expected"),
    [
        ("rmse", [0, 0], [3, 4], 12.5**0.5),
        ("mae", [0, 0], [3, -4], 3.5),
        ("accuracy", [0, 1, 1], [0.4, 0.5, 0.1], 2 / 3),
        ("logloss", [0, 1], [0.5, 0.5], np.log(2)),
        ("auc", [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ("auc", [0, 1], [0.5, 0.5], 0.5),
        ("mlogloss", [0, 1], [[0.5, 0.5], [0.75, 0.25]], (np.log(2) + np.log(4)) / 2),
        ("accuracy", [0, 1], [[0.6, 0.4], [0.75, 0.25]], 0.5),
    ],
)
def test_metrics_are_what_their_names_say(metric, truth, output, expected):
    assert score(metric, np.array(truth, float), np.array(output, float)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["auc", "rmse"])
def test_a_metric_without_rows_is_not_a_number(metric):
    assert np.isnan(score(metric, np.empty(0), np.empty(0)))


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(score("auc", np.ones(3), np.array([0.1, 0.2, 0.3])))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=40))
def test_auc_counts_ordered_pairs(rows):
    truth, output = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float)
    pairs = [(p, n) for t, p in zip(truth, output, strict=True) for u, n in zip(truth, output, strict=True) if t > u]
    value = score("auc", truth, output)
    if not pairs:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]))


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


@pytest.mark.parametrize(
    ("task", "output", "block", "names"),
    [
        ("regression", TRUTH + RANDOM.normal(0, 5, 400), "regression_metrics", {"mae", "mse", "rmse", "r2"}),
        (
            "binary",
            RANDOM.random(400),
            "binary_classification_metrics",
            {"recall", "precision", "accuracy", "auc", "f0_5", "f1", "f2", "true_positive_rate", "confusion_matrix"}
            | {"receiver_operating_characteristic_curve", "precision_recall_curve", "auc_best_constant_classifier"},
        ),
        (
            "multiclass",
            RANDOM.dirichlet([1, 1, 1], 400),
            "multiclass_classification_metrics",
            {"accuracy", "weighted_recall", "weighted_precision", "weighted_f1", "confusion_matrix"},
        ),
    ],
)
def test_statistics_have_model_monitors_names(task, output, block, names):
    classes = {"regression": (), "binary": ("0", "1"), "multiclass": ("a", "b", "c")}[task]
    truth = TRUTH if task == "regression" else np.arange(400.0) % len(classes)
    statistics = model_quality(task, truth, output, classes)
    assert set(statistics) == {block}
    assert names <= set(statistics[block])
    json.dumps(statistics, allow_nan=False)
    scalar = statistics[block]["mae" if task == "regression" else "accuracy"]
    assert scalar["standard_deviation"] > 0


def test_few_rows_have_no_standard_deviation():
    few = model_quality("regression", TRUTH[:199], TRUTH[:199] + 1, ())
    assert few["regression_metrics"]["mae"] == {"value": pytest.approx(1.0), "standard_deviation": "NaN"}


def test_the_curve_has_ten_bins_of_equally_many_rows_by_growing_prediction():
    bins = curve(TRUTH + 5, TRUTH)
    assert [b.rows for b in bins] == [40] * 10
    assert [b.predicted for b in bins] == sorted(b.predicted for b in bins)
    assert [b.observed - b.predicted for b in bins] == pytest.approx([5.0] * 10)


def test_the_curve_of_several_classes_is_that_of_the_chosen_ones():
    output = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    bins = curve(np.array([0.0, 1.0, 2.0, 2.0]), output)
    assert [(b.rows, b.predicted, b.observed) for b in bins] == [(2, 0.5, 1.0), (2, 0.9, 0.5)]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60), st.randoms(use_true_random=False)
)
def test_the_order_of_the_rows_changes_no_curve(rows, random):
    def bins(pairs):
        return curve(np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float) / 5)

    shuffled = random.sample(rows, len(rows))
    for first, second in zip(bins(rows), bins(shuffled), strict=True):
        assert first.rows == second.rows
        assert (first.predicted, first.observed) == pytest.approx((second.predicted, second.observed))


def test_honest_probabilities_are_calibrated_and_confident_ones_are_not():
    chance = RANDOM.random(20_000)
    truth = (RANDOM.random(20_000) < chance).astype(float)
    assert calibration_error(truth, chance) < 0.02
    assert calibration_error(truth, np.round(chance)) == pytest.approx(0.25, abs=0.02)


def test_bias_is_positive_when_predictions_are_too_high():
    assert bias(np.array([1.0, 2.0]), np.array([2.0, 2.0])) == 0.5


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
