import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.quality.metrics import bias, calibration_error, curve, intervals, model_quality, score

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


@pytest.mark.slow
def test_a_metric_lies_within_its_interval_as_often_as_was_asked_for():
    beyond = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = (random.random(300) < 0.1).astype(float)
        output = np.where(random.random(300) < 0.7, truth, 1 - truth)
        low, high = intervals("binary", truth, output, 0.05)["recall"]
        beyond += not low <= 0.7 <= high
    assert 0.04 < beyond / 200 < 0.16


def test_the_interval_of_auc_is_that_of_resampled_rows():
    truth = (RANDOM.random(400) < 0.3).astype(float)
    output = 0.3 * truth + 0.7 * RANDOM.random(400)
    picks = [RANDOM.integers(0, 400, 400) for _ in range(1000)]
    expected = np.quantile([score("auc", truth[pick], output[pick]) for pick in picks], [0.05, 0.95])
    assert intervals("binary", truth, output, 0.05)["auc"] == pytest.approx(expected, abs=0.01)


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
