"""Labels that are a sample: an even one counts as it is, an uneven one by weights, and either is said."""

from __future__ import annotations

import numpy as np
import pytest

from retrain.core.clock import parse
from retrain.drift.verdict import Verdict
from retrain.quality.days import Main
from retrain.quality.evenness import evenness
from retrain.quality.metrics import score
from retrain.quality.verdict import GREATER, Demand, Pairs, judge_quality

WINDOW = parse("2026-01-01T00:00:00Z"), parse("2026-01-02T00:00:00Z")


def world(rows=20_000, seed=1):
    """Answers of which the small ones are good and the large ones bad: an error of 1, and of 3."""
    random = np.random.default_rng(seed)
    output = random.uniform(0, 10, rows)
    truth = output + random.normal(size=rows) * np.where(output > 5, 3.0, 1.0)
    return truth, output, random


def of(truth, output, rows):
    return Pairs("regression", truth[rows], output[rows], (), {})


def test_an_even_sample_has_no_weights() -> None:
    truth, output, random = world()
    for _ in range(20):
        found = evenness(output[random.random(len(truth)) < 0.05], output)
        assert found.weights is None


def test_labels_of_the_easy_rows_count_for_those_that_have_none() -> None:
    truth, output, random = world()
    labelled = random.random(len(truth)) < np.where(output > 5, 0.02, 0.18)
    found = evenness(output[labelled], output)
    assert found.weights is not None
    assert found.weights.mean() == pytest.approx(1.0)
    assert found.distance > 3 * found.chance / 2


@pytest.mark.parametrize("easy", [True, False])
def test_an_uneven_sample_is_judged_by_weights_and_says_so(easy: bool) -> None:
    """Of all rows the error is 2.24; of labels of the easy ones 1.4, of the hard ones 2.8."""
    truth, output, random = world()
    often = output > 5 if not easy else output <= 5
    rows = random.random(len(truth)) < np.where(often, 0.18, 0.02)
    pairs, main = of(truth, output, rows), Main("rmse", 2.2)
    plain = judge_quality(pairs, len(truth), [Demand("rmse", 2.5, GREATER)], WINDOW, main=main)
    found = judge_quality(pairs, len(truth), [Demand("rmse", 2.5, GREATER)], WINDOW, main=main, answers=output)
    real = score("rmse", truth, output)
    assert abs(plain.values["rmse"] - real) > 0.4
    assert found.values["rmse"] == pytest.approx(real, abs=0.3)
    low, high = found.intervals["rmse"]
    assert low < real < high
    assert plain.verdict is (Verdict.STABLE if easy else Verdict.DRIFTED)
    assert found.verdict is not Verdict.DRIFTED
    said = found.document()["label_sample"]
    assert said["even"] is False
    assert plain.document()["label_sample"] is None


def test_a_tenth_of_the_answers_without_a_label_is_told() -> None:
    _, output, random = world()
    found = evenness(output[(random.random(len(output)) < 0.1) & (output < 9)], output)
    assert found.unlabelled == pytest.approx(0.1, abs=0.02)


def test_classes_are_strata() -> None:
    random = np.random.default_rng(3)
    every = np.eye(3)[random.integers(0, 3, 6_000)]
    assert evenness(every[:600], every).weights is None
    few = np.concatenate([every[every[:, 0] == 1][:500], every[every[:, 0] == 0][:100]])
    assert evenness(few, every).weights is not None
