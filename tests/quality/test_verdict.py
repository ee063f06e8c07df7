"""Concept drift: answers that got worse while the data looks as it did, and what is said when labels are missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from capture_records import captures_of, label

from retrain.capture import ground_truth, records
from retrain.capture.ground_truth import Labelled
from retrain.capture.quarantine import Quarantine
from retrain.capture.records import Capture
from retrain.core.errors import NoBaseline
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.verdict import Verdict
from retrain.quality.metrics import model_quality
from retrain.quality.verdict import (
    GREATER,
    LESS,
    Demand,
    Pairs,
    QualityRules,
    judge_quality,
    pairs_of,
    read_baseline,
    read_constraints,
    read_pairs,
    suggest_constraints,
)

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
RANDOM = np.random.default_rng(3)


def regression(count: int, error: float):
    truth = RANDOM.normal(100, 20, count)
    answers = truth + RANDOM.normal(0, error, count)
    return [(f"{a:.6f}", [f"{b:.6f}"]) for a, b in zip(truth, answers, strict=True)]


def binary(count: int, flipped: float):
    truth = RANDOM.integers(0, 2, count)
    seen = np.where(RANDOM.random(count) < flipped, 1 - truth, truth)
    return [(str(a), [f"{0.2 + 0.6 * b:.2f}"]) for a, b in zip(truth, seen, strict=True)]


def multiclass(count: int, wrong: float):
    truth = RANDOM.integers(0, 3, count)
    seen = np.where(RANDOM.random(count) < wrong, (truth + 1) % 3, truth)
    return [("abc"[a], ["abc"[b]]) for a, b in zip(truth, seen, strict=True)]


MAKERS = {"regression": (regression, 5, 10), "binary": (binary, 0.05, 0.3), "multiclass": (multiclass, 0.05, 0.3)}
CLASSES = {"regression": (), "binary": ("0", "1"), "multiclass": ("a", "b", "c")}


@pytest.mark.parametrize("task", MAKERS)
class TestVerdicts:
    def judged(self, task, level, count=2000, rows=2000, rules=None):
        make, good, _ = MAKERS[task]
        before = judge_quality(read_pairs(task, make(4000, good), CLASSES[task]), 4000, [], WINDOW)
        demands = read_constraints(json.dumps(suggest_constraints(before.statistics(), task, 0.2)), task)
        found = judge_quality(read_pairs(task, make(count, level), CLASSES[task]), rows, demands, WINDOW, rules=rules)
        json.dumps([found.statistics(), found.constraint_violations()], allow_nan=False)
        assert (found.reason is None) == (found.verdict is not Verdict.UNDECIDED)
        return found

    def test_answers_as_good_as_the_baselines_are_stable(self, task):
        found = self.judged(task, MAKERS[task][1], rules=QualityRules(min_label_coverage=1.0))
        assert (found.verdict, found.violated) == (Verdict.STABLE, ())

    def test_worse_answers_have_drifted_and_the_violations_say_by_which_metric(self, task):
        found = self.judged(task, MAKERS[task][2])
        assert found.verdict is Verdict.DRIFTED
        metric = {"regression": "rmse", "binary": "accuracy", "multiclass": "weighted_f1"}[task]
        violation = {item["metric_name"]: item for item in found.constraint_violations()["violations"]}[metric]
        operator = GREATER if task == "regression" else LESS
        assert violation["constraint_check_type"] == operator
        assert violation["description"].startswith(f"Metric {metric} with {found.values[metric]} was {operator} ")

    @pytest.mark.parametrize(("count", "rows"), [(199, 199), (1000, 30_000), (0, 500), (0, 0)])
    def test_too_few_labels_are_undecided_however_bad_they_are(self, task, count, rows):
        found = self.judged(task, MAKERS[task][2], count, rows)
        assert (found.verdict, found.reason, found.violated) == (Verdict.UNDECIDED, "labels_insufficient", ())
        assert found.quality_max is None
        published = {metric["MetricName"] for metric in found.metrics("e", "s", WINDOW[1])}
        assert published == ({"label_coverage"} if rows else set())

    def test_it_is_published_under_model_monitors_names(self, task):
        found = self.judged(task, MAKERS[task][2])
        published = {metric["MetricName"]: metric for metric in found.metrics("e", "s", WINDOW[1])}
        assert {"regression": {"mae", "rmse", "r2"}, "binary": {"auc", "f1"}, "multiclass": {"weighted_f1"}}[
            task
        ] <= set(published)
        assert published["label_coverage"]["Value"] == 1.0
        assert published["quality_max"]["Value"] == found.quality_max > 1
        assert not any(name.endswith("constant_classifier") for name in published)


def errors(random, count, ruined=False):
    """Errors with heavy tails; twice as large when ruined."""
    truth = random.normal(0, 30, count)
    return truth, truth + random.standard_t(4, count) * (10 if ruined else 5)


def calibrated(middle):
    """Answers that are the very chance of their labels; every second label has nothing to do with them when ruined."""

    def answers(random, count, ruined=False):
        score = random.normal(middle, 2.5, count)
        chance = 1 / (1 + np.exp(-score))
        truth = (random.random(count) < chance).astype(float)
        return np.where(random.random(count) < 0.5 * ruined, random.permutation(truth), truth), chance

    return answers


def of_four(random, count, ruined=False):
    """One answer in nine is wrong; four in nine when ruined."""
    truth = random.integers(0, 4, count)
    guessed = np.where(random.random(count) < (0.6 if ruined else 0.15), random.integers(0, 4, count), truth)
    return truth.astype(float), np.eye(4)[guessed]


HOUSES = {
    "regression": ("regression", errors, ()),
    "half positive": ("binary", calibrated(0.0), ("0", "1")),
    "one in ten positive": ("binary", calibrated(-4.0), ("0", "1")),
    "one in forty positive": ("binary", calibrated(-6.5), ("0", "1")),
    "four classes": ("multiclass", of_four, tuple("abcd")),
}


@pytest.mark.parametrize("labels", [200, 500, 1000])
@pytest.mark.parametrize("house", HOUSES)
@pytest.mark.slow
class TestWindowsOfEverySize:
    """GIVEN a holdout of 5,000 rows and 40 windows of the same world, or of one that went bad."""

    def verdicts(self, house, labels, ruined=False):
        task, make, classes = HOUSES[house]
        random = np.random.default_rng(labels)
        statistics = model_quality(task, *make(random, 5000), classes)
        baseline = read_baseline(suggest_constraints(statistics, task, classes=classes))
        found = []
        for _ in range(40):
            pairs = Pairs(task, *make(random, labels, ruined), classes, {})
            analysis = judge_quality(pairs, labels, baseline.demands, WINDOW, rules=baseline.rules)
            drifted = analysis.quality_max is not None and analysis.quality_max > 1
            assert drifted == (analysis.verdict is Verdict.DRIFTED) == bool(analysis.violated)
            found.append(analysis.verdict)
        return found

    def test_where_nothing_changed_hardly_any_has_drifted(self, house, labels):
        assert self.verdicts(house, labels).count(Verdict.DRIFTED) <= 1

    def test_where_half_is_lost_hardly_any_is_stable_and_they_have_drifted_if_there_is_enough_to_see(
        self, house, labels
    ):
        found = self.verdicts(house, labels, ruined=True)
        assert found.count(Verdict.STABLE) <= 4  # those that happen to have no positive row among them
        few = {"one in forty positive": 10**9, "one in ten positive": 500}  # five positives of 200 tell nothing
        if labels >= few.get(house, 0):
            assert found.count(Verdict.DRIFTED) >= 36


class TestUncertainty:
    @pytest.mark.parametrize(
        ("wrong", "verdict"), [(10, Verdict.STABLE), (40, Verdict.UNDECIDED), (100, Verdict.DRIFTED)]
    )
    def test_a_threshold_within_the_interval_leaves_it_undecided(self, wrong, verdict):
        pairs = read_pairs("multiclass", [("a", ["b"])] * wrong + [("a", ["a"])] * (300 - wrong), ("a", "b"))
        found = judge_quality(pairs, 300, [Demand("accuracy", 0.9, LESS)], WINDOW)
        [metric] = found.document()["metrics"]
        low, high = metric["interval"]
        assert low < metric["value"] < high
        assert (found.verdict, metric["verdict"]) == (verdict, verdict)
        assert (found.quality_max is None) == (verdict is Verdict.UNDECIDED)

    def test_what_is_undecided_is_said_with_its_numbers(self):
        pairs = read_pairs("multiclass", [("a", ["b"])] * 40 + [("a", ["a"])] * 260, ("a", "b"))
        found = judge_quality(pairs, 300, [Demand("accuracy", 0.9, LESS)], WINDOW)
        assert found.reason == "labels_insufficient"
        assert found.detail.startswith(
            "300 labelled rows do not decide: accuracy is 0.8667, at least 0.9 is needed, and it may lie between 0.8"
        )

    def test_a_few_rows_that_count_prove_neither_that_all_is_well_nor_that_it_is_not(self):
        for answer in ("0.9", "0.1"):
            pairs = read_pairs("binary", [("1", [answer])] * 2 + [("0", ["0.1"])] * 298)
            found = judge_quality(pairs, 300, [Demand("recall", 0.6, LESS)], WINDOW)
            assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "labels_insufficient")

    def test_the_same_rows_give_the_same_interval(self):
        pairs = read_pairs("binary", binary(400, 0.1))
        first, second = (judge_quality(pairs, 400, [Demand("auc", 0.8, LESS)], WINDOW) for _ in range(2))
        assert first.intervals == second.intervals

    def test_the_first_mistake_after_a_holdout_without_one_is_no_drift(self):
        statistics = model_quality("binary", np.arange(600) % 2.0, np.arange(600) % 2.0, ("0", "1"))
        baseline = read_baseline(suggest_constraints(statistics, "binary", classes=("0", "1")))
        truth = np.arange(1000) % 2.0
        pairs = Pairs("binary", truth, np.where(np.arange(1000) == 500, 1.0, truth), ("0", "1"), {})
        assert judge_quality(pairs, 1000, baseline.demands, WINDOW).verdict is Verdict.STABLE


class TestPairs:
    @pytest.mark.parametrize(
        ("task", "pair", "reason"),
        [
            ("regression", ("x", ["1"]), "bad_label"),
            ("regression", ("1", ["nan"]), "bad_prediction"),
            ("regression", ("1", ["1", "2"]), "bad_prediction"),
            ("regression", ("1", ()), "no_prediction"),
            ("binary", ("2", ["0.5"]), "bad_label"),
            ("binary", ("1", ["1.5"]), "bad_prediction"),
            ("multiclass", ("", ["a"]), "bad_label"),
            ("multiclass", ("a", ["0.1", "0.9"]), "bad_prediction"),
        ],
    )
    def test_what_cannot_be_used_is_counted_by_reason(self, task, pair, reason):
        pairs = read_pairs(task, [pair], CLASSES[task])
        assert (dict(pairs.bad), len(pairs.truth)) == ({reason: 1}, 0)

    @pytest.mark.parametrize(
        ("prediction", "names", "answer", "taken"),
        [
            (None, None, ["0", "0.25"], ["0", "0.25"]),
            (1, None, ["0", "0.25"], ["0.25"]),
            ("score", ("label", "score"), ["0", "0.25"], ["0.25"]),
            ("chance", ("label", "score"), ["0", "0.25"], ()),
            (2, None, ["0", "0.25"], ()),
            (1, None, [], ()),
        ],
    )
    def test_of_several_values_the_one_that_the_owner_named_is_the_answer(self, prediction, names, answer, taken):
        capture = Capture("1", WINDOW[0], [[]], [answer] if answer else [], answer_names=names)
        assert list(pairs_of([Labelled(capture, ("1",))], prediction)) == [("1", taken)]

    def test_too_many_of_them_are_undecided(self):
        pairs = read_pairs("regression", [*regression(900, 5), *[("x", ["1"])] * 100])
        found = judge_quality(pairs, 1000, [Demand("rmse", 1.0, GREATER)], WINDOW)
        assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "suspect_data")

    def test_a_class_in_another_spelling_is_the_same(self):
        assert read_pairs("binary", [("1.0", ["0.9"]), ("no", ["0.1"])], ("0", "1")).truth.tolist() == [1.0]

    def test_a_class_that_the_model_never_saw_counts_as_wrong(self):
        pairs = read_pairs("multiclass", [("a", ["a"])] * 300 + [("new", ["a"])] * 100, ("a", "b"))
        found = judge_quality(pairs, 400, [Demand("accuracy", 0.9, LESS)], WINDOW)
        assert (found.values["accuracy"], found.verdict) == (0.75, Verdict.DRIFTED)


class TestConstraints:
    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ("{", "the file is not JSON"),
            ("[]", "the file holds no JSON object"),
            ({"binary_classification_constraints": {}}, "regression_constraints: an object is expected"),
            ({"regression_constraints": {"mae": {"threshold": "2"}}}, "mae: threshold: '2' is no number"),
            (
                {"regression_constraints": {"mae": {"threshold": 2, "comparison_operator": "<"}}},
                "mae: comparison_operator: '<' is unknown: write GreaterThanThreshold or LessThanThreshold",
            ),
        ],
    )
    def test_what_is_unusable_names_file_metric_and_field(self, document, message):
        with pytest.raises(NoBaseline, match=r"^c\.json: ") as raised:
            read_constraints(document, "regression", "c.json")
        assert message in str(raised.value)

    def test_a_metric_that_the_task_does_not_have(self):
        with pytest.raises(NoBaseline, match="auc: a regression model has no such metric, only mae, mse, rmse, r2"):
            judge_quality(read_pairs("regression", regression(300, 5)), 300, [Demand("auc", 0.7, LESS)], WINDOW)

    @pytest.mark.parametrize(
        ("label", "answer", "metrics"),
        [
            ("1", "0.9", ["auc", "true_negative_rate"]),  # one class only: there is no AUC
            ("0", "0.1", ["auc", "recall", "precision", "f0_5", "f1", "f2"]),  # nothing to find, and nothing found
        ],
    )
    def test_a_metric_that_is_not_defined_here_decides_nothing(self, label, answer, metrics):
        pairs = read_pairs("binary", [(label, [answer])] * 300)
        found = judge_quality(pairs, 300, [Demand(metric, 0.6, LESS) for metric in metrics], WINDOW)
        assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "not_judged")
        scalars = json.loads(json.dumps(found.statistics(), allow_nan=False))["binary_classification_metrics"]
        assert {scalars[metric]["value"] for metric in metrics} == {"NaN"}
        demands = [Demand(metric, 0.6, LESS) for metric in [*metrics, "accuracy"]]
        assert judge_quality(pairs, 300, demands, WINDOW).verdict is Verdict.STABLE


def test_a_truth_that_changed_is_seen_where_no_feature_moved() -> None:
    """GIVEN features as ever WHEN the error doubles THEN the data is stable and the quality has drifted."""
    kinds = {"distance": "numeric", "carrier": "categorical"}

    def rows(count: int) -> list[list[str]]:
        return [
            [f"{x:.3f}", c] for x, c in zip(RANDOM.gamma(3, 300, count), RANDOM.choice([*"ab"], count), strict=True)
        ]

    now = rows(1500)
    answers = [float(row[0]) / 8 + 20 for row in now]
    lines = captures_of(now)
    lines = [
        line.replace(b'"0.0713\\n"', json.dumps(f"{answer}\n").encode())
        for line, answer in zip(lines, answers, strict=True)
    ]
    labels = [label(f"{a + RANDOM.normal(0, 10)}", f"event-{n}") for n, a in enumerate(answers)]
    data = analyse([("a", lines)], *baseline_of(rows(4000), kinds), WINDOW)
    quarantine, coverage = Quarantine(), ground_truth.Coverage()
    captures = records.read(lines, "a", quarantine, WINDOW)
    joined = ground_truth.join(captures, ground_truth.read([("l", labels)], quarantine), quarantine, coverage)
    pairs = read_pairs("regression", pairs_of(joined))
    found = judge_quality(pairs, coverage.rows, [Demand("rmse", 6.0, GREATER)], WINDOW)
    assert data.verdict is Verdict.STABLE
    assert max(feature.psi for feature in data.features) < 0.1
    assert (found.verdict, found.label_coverage) == (Verdict.DRIFTED, 1.0)
    assert found.values["rmse"] == pytest.approx(10, rel=0.1)
