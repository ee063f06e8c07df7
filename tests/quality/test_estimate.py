"""What the main metric is before labels come: right where only rows have changed, silent where nobody can know."""

import json

import numpy as np
import pytest

from retrain.model.table import Category, Table
from retrain.quality.asked import read_asked
from retrain.quality.estimate import answers_of, estimate, learn_estimator, read_estimator
from retrain.quality.metrics import score

ROWS = 6_000
FEATURES = {"x": "numeric", "kind": "categorical"}


def world(seed, rows=ROWS, harder=0.0, noisy=0.3, task="regression"):
    """Rows, labels and answers of a model whose errors grow with x, and are three times as large where kind is b.

    `harder` moves x, `noisy` is the share of b; classes are 0 and 1, or three.
    """
    random = np.random.default_rng(seed)
    x = np.clip(random.normal(harder, 1.0, rows), -3.0, 3.0)
    kind = (random.random(rows) < noisy).astype(np.int32)
    table = Table({"x": x, "kind": Category(kind, ("a", "b"))})
    error = np.exp(0.3 * x) * np.where(kind == 1, 3.0, 1.0)
    if task == "regression":
        return table, x + random.normal(0, 1, rows) * error, x
    chance = 1 / (1 + np.exp(-3 * x / error))
    if task == "binary":
        return table, (random.random(rows) < chance).astype(float), chance
    drawn = random.random((rows, 1)) > np.cumsum([chance / 2, chance / 2], axis=0).T
    return table, drawn.sum(axis=1).astype(float), np.stack([chance / 2, chance / 2 + 1e-9, 1 - chance], axis=1)


CLASSES = {"regression": (), "binary": ("0", "1"), "multiclass": ("0", "1", "2")}
CASES = [("regression", "rmse"), ("regression", "mae"), ("binary", "auc"), ("binary", "accuracy")]
CASES += [("multiclass", "accuracy")]


def learned(task, metric, **changed):
    table, truth, output = world(1, task=task, **changed)
    known = learn_estimator(metric, table, truth, output, FEATURES, classes=CLASSES[task])
    assert known is not None
    return read_estimator(json.loads(json.dumps(known.document())))


@pytest.mark.parametrize(("task", "metric"), CASES)
@pytest.mark.parametrize("changed", [{}, {"harder": 0.7}, {"noisy": 0.8}])
def test_it_is_right_where_only_rows_have_changed(task, metric, changed):
    known = learned(task, metric)
    table, truth, output = world(2, task=task, **changed)
    found = estimate(known, table, answers_of(output, CLASSES[task]))
    realised = score(metric, truth, output)
    assert found.value == pytest.approx(realised, rel=0.07)
    assert found.interval[0] <= realised <= found.interval[1]
    before = score(metric, *world(1, task=task)[1:])
    if changed and metric != "auc":
        assert abs(found.value - realised) < abs(before - realised), "the holdout's own metric is further off"


def test_intervals_hold_what_was_realised():
    known, inside = learned("regression", "rmse"), 0
    for seed in range(40):
        table, truth, output = world(100 + seed, rows=1_000, noisy=0.5)
        low, high = estimate(known, table, output).interval
        inside += low <= score("rmse", truth, output) <= high
    assert inside >= 36


@pytest.mark.parametrize(
    ("rows", "spoil", "reason"),
    [
        (150, lambda table: table, "rows_insufficient"),
        (1_000, lambda table: table.having("x", table.numbers("x") + 3.0), "out_of_range"),
        (
            1_000,
            lambda table: table.having("kind", Category(table.categories("kind").codes, ("c", "d"))),
            "out_of_range",
        ),
        (1_000, lambda table: table.having("x", np.full(1_000, np.nan)), "out_of_range"),
    ],
)
def test_where_nobody_can_know_there_is_no_estimate(rows, spoil, reason):
    table, _, output = world(3, rows=rows)
    found = estimate(learned("regression", "rmse"), spoil(table), output)
    assert (found.reason, found.value, found.interval) == (reason, None, None)
    assert found.detail


def test_an_interval_that_tells_nothing_is_no_estimate():
    table, truth, output = world(1, rows=450)
    truth = output + (truth - output) ** 5  # losses with heavy tails
    known = learn_estimator("rmse", table, truth, output, FEATURES)
    assert estimate(known, *world(2, rows=300)[::2]).reason == "not_tellable"


def test_a_column_without_values_and_flags_do_not_mind():
    table, truth, output = world(1)
    rows = table.having("empty", np.full(ROWS, np.nan)).having("flag", (output > 0).astype(float))
    kinds = {**FEATURES, "empty": "numeric", "flag": "boolean"}
    known = learn_estimator("rmse", rows, truth, output, kinds)
    json.dumps(known.document(), allow_nan=False)
    assert estimate(known, rows, output).value == pytest.approx(score("rmse", truth, output), rel=0.05)


def test_of_few_rows_nothing_is_learned():
    table, truth, output = world(1, rows=300)
    assert learn_estimator("rmse", table, truth, output, FEATURES) is None


def test_rows_of_one_time_that_are_alike_widen_the_interval():
    table, truth, output = world(1)
    foggy = output + (truth - output) * np.exp(np.random.default_rng(4).normal(0, 0.25, 30)).repeat(ROWS // 30)
    window = world(2)
    calm, moody = (learn_estimator("rmse", table, labels, output, FEATURES) for labels in (truth, foggy))
    widths = [np.subtract(*estimate(known, window[0], window[2]).interval[::-1]) for known in (calm, moody)]
    assert calm.lasting == 0.0 < moody.lasting
    assert widths[1] > 1.3 * widths[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found.pop("parts"),
        lambda found: found.update(parts=[]),
        lambda found: found["parts"][1]["values"].pop(),
        lambda found: found.update(single=-1.0),
        lambda found: found.update(features=3),
    ],
)
def test_a_broken_document_is_named(spoil):
    document = learned("regression", "rmse").document()
    spoil(document)
    with pytest.raises(ValueError, match="estimate: "):
        read_estimator(document)


class TestWhatWasAsked:
    def test_rows_and_answers_become_columns_and_what_does_not_fit_is_left_out(self, capture):
        asked = [
            capture([["1.5", "a"], ["", "b"]], [["0.25"], ["0.5"]]),
            capture([["1.5"]], [["0.25"]]),  # another width
            capture([["1.5", "a"]], [["?"]]),
            capture([["1.5", "a"]], []),
        ]
        table, answers = read_asked(asked, FEATURES, ())
        assert answers.tolist() == [0.25, 0.5]
        assert np.array_equal(table.numbers("x"), [1.5, np.nan], equal_nan=True)
        assert table.categories("kind").levels == ("a", "b")

    def test_of_several_classes_the_one_that_was_decided_counts(self, capture):
        asked = [capture([["1", "a"]], [[answer]]) for answer in ("2.0", "0")]
        asked.append(capture([["1", "a"]], [["0.2", "0.7", "0.1"]]))
        _, answers = read_asked(asked, FEATURES, ("0", "1", "2"))
        assert [answers.levels[code] for code in answers.codes] == ["2", "0", "1"]

    def test_of_nothing_there_are_no_rows(self):
        table, answers = read_asked([], FEATURES, ())
        assert (len(table), len(answers)) == (0, 0)

    @pytest.fixture
    def capture(self):
        from retrain.capture.records import Capture
        from retrain.core.clock import parse

        return lambda rows, outputs: Capture("id", parse("2026-03-01T00:00:00Z"), rows, outputs)
