"""The analysis of a window: drifted, stable, or undecided with the reason; and what is published of it."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from capture_records import captures_of, line

from retrain.core.errors import NoBaseline
from retrain.drift import profile
from retrain.drift.analysis import Analysis, analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.verdict import Verdict
from retrain.model.monitor_options import MonitorOptions
from retrain.report.words import consequence, headline

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
FEATURES = {"age": "numeric", "income": "numeric", "channel": "categorical"}


def rows(count: int, seed: int = 1, age: float = 40.0, channels: str = "aaabbc") -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [
        [f"{x:.4f}", f"{y:.2f}", channels[index]]
        for x, y, index in zip(
            random.normal(age, 10, count),
            random.lognormal(10, 1, count),
            random.integers(0, len(channels), count),
            strict=True,
        )
    ]


def baseline(predictions=None, count: int = 4000, **options):
    return baseline_of(rows(count), FEATURES, MonitorOptions.of(options), predictions)


BASELINE = baseline()


def analysis_of(lines, documents=BASELINE, **options) -> Analysis:
    found = analyse([("a.jsonl", lines)], *documents, WINDOW, **options)
    for document in (found.document(), found.statistics(), found.constraints(), found.constraint_violations()):
        json.dumps(document, allow_nan=False)
    published = {metric["MetricName"] for metric in found.metrics("e", "s")}
    assert ("drift_max" in published) == (found.verdict is not Verdict.UNDECIDED)
    assert (found.reason is None) == (found.verdict is not Verdict.UNDECIDED)
    if found.drift_max is not None:
        assert (found.drift_max > found.threshold) == (found.verdict is Verdict.DRIFTED)
    return found


class TestVerdicts:
    def test_the_same_distribution_is_stable(self):
        found = analysis_of(captures_of(rows(1000, seed=2)))
        assert (found.verdict, found.rows, found.triage) == (Verdict.STABLE, 1000, False)
        assert found.drift_max < 0.1
        assert found.drift_share == 0.0

    def test_one_feature_that_moved_is_named_with_its_numbers(self):
        found = analysis_of(captures_of(rows(1000, seed=2, age=50)))
        worst = found.features[0]
        assert (found.verdict, found.worst_feature, worst.name) == (Verdict.DRIFTED, "age", "age")
        assert found.drift_max == worst.distance == pytest.approx(0.38, abs=0.05)  # 2 Φ(1/2) - 1
        assert found.drift_share == pytest.approx(1 / 3)
        assert worst.wasserstein == pytest.approx(10, abs=1)
        assert worst.p_value < 1e-10
        assert worst.psi > 0.25
        assert [feature.verdict for feature in found.features[1:]] == [Verdict.STABLE] * 2

    def test_categories_that_moved(self):
        found = analysis_of(captures_of(rows(1000, seed=2, channels="cccccb")))
        assert (found.verdict, found.worst_feature) == (Verdict.DRIFTED, "channel")
        assert found.drift_max == pytest.approx(5 / 6 - 1 / 6, abs=0.05)

    @pytest.mark.parametrize("count", [1, 20, 499])
    @pytest.mark.parametrize("age", [40, 200])
    def test_too_few_rows_are_never_stable_and_never_drifted(self, count, age):
        found = analysis_of(captures_of(rows(count, seed=2, age=age)))
        assert (found.verdict, found.reason, found.triage) == (Verdict.UNDECIDED, "too_few_rows", False)
        assert found.drift_max is None

    def test_a_window_that_could_not_have_seen_the_drift_is_undecided(self):
        documents = baseline(threshold=0.05, min_rows=100)
        found = analysis_of(captures_of(rows(400, seed=3)), documents)
        assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "too_few_rows")
        alpha = 0.1 / (365 * 3 * 3 * 6)  # false alarms a year; of a day; sliding; features; lengths
        c = (-math.log(alpha / 2) / 2) ** 0.5
        assert found.min_detectable_drift == pytest.approx(c * ((400 + 4000) / (400 * 4000)) ** 0.5)
        assert analysis_of(captures_of(rows(6000, seed=3)), documents).verdict is Verdict.STABLE

    def test_no_captures(self):
        found = analysis_of([])
        assert (found.verdict, found.reason, found.rows) == (Verdict.UNDECIDED, "capture_missing", 0)
        assert found.min_detectable_drift == 1.0

    def test_captures_outside_the_window_do_not_count(self):
        lines = captures_of(rows(900, seed=2)) + captures_of(rows(900, age=90), time="2026-11-22T15:00:00Z")
        found = analysis_of(lines)
        assert (found.verdict, found.rows, found.outside_window) == (Verdict.STABLE, 900, 900)

    def test_robust_distances_are_less_what_chance_explains(self):
        simple = analysis_of(captures_of(rows(600, seed=2, age=50)))
        robust = analysis_of(captures_of(rows(600, seed=2, age=50)), baseline(method="Robust"))
        assert robust.features[0].method == "linf_robust"
        chance = simple.features[0].min_detectable_drift
        deequ = 1.8 * ((600 + 4000) / (600 * 4000)) ** 0.5
        assert robust.features[0].distance == pytest.approx(simple.features[0].distance - deequ)
        assert robust.features[0].min_detectable_drift == chance

    @pytest.mark.parametrize(("age", "verdict"), [(40, "STABLE"), (49, "UNDECIDED"), (54, "DRIFTED")])
    def test_robust_is_undecided_between_its_threshold_and_what_chance_adds(self, age, verdict):
        documents = baseline(method="Robust", threshold=0.3, min_rows=100)
        found = analysis_of(captures_of(rows(200, seed=2, age=age)), documents)
        worst = next(feature for feature in found.features if feature.name == "age")
        assert (found.verdict, worst.verdict) == (verdict, verdict)
        assert found.reason == ("too_few_rows" if verdict == "UNDECIDED" else None)

    def test_a_p_value_has_a_threshold_of_its_own_and_the_distance_keeps_its(self):
        documents = baseline(categorical_method="ChiSquared")
        drifted = analysis_of(captures_of(rows(1000, seed=2, channels="aabbcc")), documents, alarm_threshold=0.3)
        channel = drifted.features[0]
        assert (drifted.verdict, drifted.worst_feature) == (Verdict.DRIFTED, "channel")
        assert (channel.method, channel.threshold, channel.p_threshold) == ("chi_squared", 0.3, 0.003)
        assert channel.distance < 0.2
        assert channel.p_value < 1e-20
        assert channel.severity == pytest.approx((np.log(channel.p_value) / np.log(0.003)) ** 0.5)
        assert drifted.drift_max == pytest.approx(0.3 * channel.severity)
        (violation,) = drifted.violations
        assert violation.description == f"Baseline drift p-value: {channel.p_value} is below threshold: 0.003"
        assert f"which chance does with p = {channel.p_value:.2g}." in headline(drifted.document())

    def test_chi_square_raises_no_false_alarm(self):
        documents = baseline(categorical_method="ChiSquared")
        for seed in range(2, 42):
            assert analysis_of(captures_of(rows(600, seed=seed)), documents).verdict is Verdict.STABLE

    def test_chi_square_does_not_overlook_a_new_category(self):
        table = [[*row[:2], "new" if number % 20 < 9 else row[2]] for number, row in enumerate(rows(1000, seed=2))]
        found = analysis_of(captures_of(table), baseline(categorical_method="ChiSquared"))
        channel = found.features[0]
        assert (channel.name, channel.verdict, channel.distance) == ("channel", Verdict.DRIFTED, 0.45)
        assert channel.p_value > channel.p_threshold

    def test_chi_square_of_a_few_values_is_not_stable(self):
        table = [[*row[:2], row[2] if number < 40 else ""] for number, row in enumerate(rows(1000, seed=2))]
        documents = baseline_of(
            [[*row[:2], row[2] if number % 25 == 0 else ""] for number, row in enumerate(rows(10_000))],
            FEATURES,
            MonitorOptions(categorical_method="ChiSquared", categorical_threshold=0.02),
        )
        channel = next(item for item in analysis_of(captures_of(table), documents).features if item.name == "channel")
        assert (channel.verdict, channel.reason) == (Verdict.UNDECIDED, "too_few_rows")

    @pytest.mark.parametrize(("method", "name"), [("PSI", "psi"), ("JensenShannon", "jensen_shannon")])
    def test_a_feature_may_be_judged_by_another_metric(self, method, name):
        documents = baseline(methods={"age": method, "channel": method})
        stable = analysis_of(captures_of(rows(1000, seed=2)), documents, alarm_threshold=0.3)
        moved = analysis_of(captures_of(rows(1000, seed=2, age=50)), documents, alarm_threshold=0.3)
        assert (stable.verdict, moved.verdict, moved.worst_feature) == (Verdict.STABLE, Verdict.DRIFTED, "age")
        age = moved.features[0]
        assert (age.method, age.distance) == (name, getattr(age, name))
        assert age.threshold == {"psi": 0.25, "jensen_shannon": 0.2}[name]
        assert moved.drift_max == pytest.approx(0.3 * age.distance / age.threshold)
        assert {item.name: item.method for item in moved.features} == {
            "age": name,
            "channel": name,
            "income": "linf_simple",
        }
        assert moved.min_detectable_drift < 0.3

    @pytest.mark.parametrize("method", ["PSI", "JensenShannon"])
    def test_another_metric_knows_what_it_cannot_tell(self, method):
        documents = baseline(methods={"age": method}, thresholds={"age": 0.03}, min_rows=100)
        found = analysis_of(captures_of(rows(300, seed=2)), documents)
        age = next(item for item in found.features if item.name == "age")
        assert (age.verdict, age.reason) == (Verdict.UNDECIDED, "too_few_rows")
        assert age.min_detectable_drift > 0.03

    def test_categories_that_the_baseline_does_not_name_are_no_news_and_no_proof(self):
        random = np.random.default_rng(3)
        before, now = ([[f"k{level}"] for level in random.integers(0, 3000, count)] for count in (20_000, 10_000))
        documents = baseline_of(before, {"id": "categorical"}, MonitorOptions(threshold=0.1))
        found = analysis_of(captures_of(now), documents)
        (feature,) = found.features
        assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "not_judged")
        assert (feature.reason, feature.distance, feature.judged) == ("not_described", None, False)
        assert (feature.new_categories, feature.p_value) == (None, None)
        drifted = analysis_of(
            captures_of([["k1"] if number % 4 == 0 else row for number, row in enumerate(now)]), documents
        )
        assert drifted.drift_max == pytest.approx(0.25, abs=0.01)

    def test_a_categorical_baseline_without_categories_is_none(self):
        statistics, constraints = json.loads(json.dumps(BASELINE))
        del statistics["features"][2]["string_statistics"]["distribution"]
        found = analysis_of(captures_of(rows(1000, seed=2)), (statistics, constraints))
        channel = next(item for item in found.features if item.name == "channel")
        assert (found.verdict, channel.reason, channel.distance) == (Verdict.STABLE, "not_described", None)

    def test_a_features_own_threshold_decides_and_drift_max_is_in_the_alarms_unit(self):
        documents = baseline(thresholds={"age": 0.1})
        found = analysis_of(captures_of(rows(1000, seed=2, age=45)), documents)
        assert (found.verdict, found.worst_feature) == (Verdict.DRIFTED, "age")
        assert found.features[0].distance < 0.3
        assert found.drift_max == pytest.approx(found.features[0].distance * 3)
        other = analysis_of(captures_of(rows(1000, seed=2, age=45)), documents, alarm_threshold=1.0)
        assert other.drift_max == pytest.approx(found.features[0].distance * 10)

    @pytest.mark.parametrize(
        ("options", "thresholds"),
        [
            ({}, (0.5, 0.5)),
            ({"threshold": 0.2}, (0.2, 0.2)),
            ({"categorical_threshold": 0.2}, (0.5, 0.2)),
            ({"thresholds": {"age": 0.1}}, (0.1, 0.5)),
        ],
    )
    def test_the_alarms_threshold_is_that_of_features_for_which_none_was_chosen(self, options, thresholds):
        found = analysis_of(captures_of(rows(1000, seed=2, age=50)), baseline(**options), alarm_threshold=0.5)
        by_name = {feature.name: feature.threshold for feature in found.features}
        assert (by_name["age"], by_name["channel"]) == thresholds
        assert found.threshold == 0.5

    def test_an_ignored_feature_is_reported_and_not_judged(self):
        found = analysis_of(captures_of(rows(1000, seed=2, age=80)), baseline(ignored=["age"]))
        assert found.verdict is Verdict.STABLE
        assert (found.features[0].name, found.features[0].verdict, found.features[0].judged) == (
            "age",
            "DRIFTED",
            False,
        )

    def test_with_everything_switched_off_nothing_is_concluded(self):
        statistics, constraints = BASELINE
        config = constraints["monitoring_config"] | {"evaluate_constraints": "Disabled"}
        found = analysis_of(captures_of(rows(1000, seed=2)), (statistics, constraints | {"monitoring_config": config}))
        assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "not_judged")

    def test_a_feature_that_hardly_any_row_has_does_not_leave_the_window_undecided(self):
        def thinned(table):
            return [
                [age, income if number % 100 == 0 else "", channel]
                for number, (age, income, channel) in enumerate(table)
            ]

        documents = baseline_of(thinned(rows(4000)), FEATURES)
        found = analysis_of(captures_of(thinned(rows(1000, seed=2))), documents)
        income = next(feature for feature in found.features if feature.name == "income")
        assert (income.verdict, income.reason) == (Verdict.UNDECIDED, "too_few_rows")
        assert found.verdict is Verdict.STABLE

    def test_the_order_of_the_files_does_not_matter(self):
        parts = [captures_of(rows(700, seed=seed, age=44)) for seed in (2, 3, 4)]
        one = analyse([(str(i), part) for i, part in enumerate(parts)], *BASELINE, WINDOW)
        other = analyse([(str(i), part) for i, part in enumerate(parts[::-1])], *BASELINE, WINDOW)
        assert [(f.name, f.distance) for f in one.features] == [(f.name, f.distance) for f in other.features]


class TestTriage:
    def check(self, found: Analysis, reason: str, words: str) -> None:
        assert (found.verdict, found.reason, found.triage) == (Verdict.UNDECIDED, reason, True)
        assert words in found.detail

    @pytest.mark.parametrize(
        ("change", "check", "words"),
        [
            (lambda row: row[:2], "missing_column_check", "another number of columns, most of them 2"),
            (lambda row: [*row, "x"], "extra_column_check", "another number of columns, most of them 4"),
        ],
    )
    def test_missing_and_extra_columns_by_position(self, change, check, words):
        found = analysis_of(captures_of(map(change, rows(1000, seed=2))))
        self.check(found, "schema_mismatch", words)
        assert check in {violation.constraint_check_type for violation in found.violations}
        assert found.bad_rows == {"column_count": 1000}

    @pytest.mark.parametrize(
        ("change", "check"),
        [
            (lambda row: {"age": row[0], "channel": row[2]}, "missing_column_check"),
            (lambda row: {"age": row[0], "income": row[1], "channel": row[2], "more": 1}, "extra_column_check"),
            (lambda row: {"age": row[0], "income": row[1], "channel": row[2], row[0]: 1}, "extra_column_check"),
        ],
    )
    def test_missing_and_extra_columns_by_name(self, change, check):
        lines = [line(json.dumps(change(row)), encoding="JSON") for row in rows(1000, seed=2)]
        found = analysis_of(lines)
        self.check(found, "schema_mismatch", "1000 of 1000 rows")
        assert check in {violation.constraint_check_type for violation in found.violations}

    def test_text_in_a_numeric_column(self):
        found = analysis_of(
            captures_of(
                [row[0], "unknown" if i % 10 == 0 else row[1], row[2]] for i, row in enumerate(rows(1000, seed=2))
            )
        )
        self.check(found, "schema_mismatch", "100 of 1000 values of income are not numbers")
        assert "data_type_check" in {violation.constraint_check_type for violation in found.violations}

    def test_a_column_that_went_missing(self):
        found = analysis_of(captures_of(["", *row[1:]] for row in rows(1000, seed=2)))
        self.check(found, "schema_mismatch", "age is missing in 100% of the rows, in the baseline in 0%")
        assert "completeness_check" in {violation.constraint_check_type for violation in found.violations}
        assert "nothing is retrained on it: age is missing in 100% of the rows" in consequence(found.document())

    def test_a_negative_number_where_there_was_none_is_a_violation(self):
        table = rows(1000, seed=2)
        table[7][1] = "-3.5"
        found = analysis_of(captures_of(table))
        assert found.verdict is Verdict.STABLE
        (violation,) = [item for item in found.violations if item.feature_name == "income"]
        assert violation.constraint_check_type == "data_type_check"
        assert violation.description == "Value: -3.5 does not meet the constraint requirement! Expected: non-negative"

    def test_thresholds_of_types_and_domains_may_be_a_features_own(self):
        statistics, constraints = json.loads(json.dumps(BASELINE))
        table = [
            ["x", *row[1:]] if n % 50 == 0 else [*row[:2], "new"] if n % 50 == 1 else row
            for n, row in enumerate(rows(1000))
        ]
        before = {item.constraint_check_type for item in analysis_of(captures_of(table)).violations}
        assert {"data_type_check", "categorical_values_check"} <= before
        constraints["features"][0]["monitoringConfigOverrides"] = {"datatype_check_threshold": 0.9}
        constraints["features"][2]["monitoringConfigOverrides"] = {"domain_content_threshold": 0.9}
        found = analysis_of(captures_of(table), (statistics, constraints))
        assert not {"data_type_check", "categorical_values_check"} & {
            item.constraint_check_type for item in found.violations
        }

    def test_categories_of_another_column(self):
        found = analysis_of(captures_of([[a, b, f"{n % 9}"] for n, (a, b, _) in enumerate(rows(1000, seed=2))]))
        self.check(found, "schema_mismatch", "100% of the values of channel are numbers, where there were none")
        two = baseline_of(
            ([*row[:2], row[2], "xyz"[n % 3]] for n, row in enumerate(rows(2000))),
            {**FEATURES, "letter": "categorical"},
            MonitorOptions(),
        )
        swapped = [[*row[:2], "xyz"[n % 3], row[2]] for n, row in enumerate(rows(1000, seed=2))]
        words = "100% of the values of channel are unknown to the baseline, which knows them as values of letter"
        self.check(analysis_of(captures_of(swapped), two), "schema_mismatch", words)

    def test_categories_that_nobody_has_seen_have_drifted_as_far_as_one_can(self):
        found = analysis_of(captures_of(rows(1000, seed=2, channels="xyz")))
        assert (found.verdict, found.worst_feature, found.triage) == (Verdict.DRIFTED, "channel", False)

    def test_a_column_that_is_mostly_missing_may_have_no_value_on_a_calm_day(self):
        def thinned(table, every):
            return [[row[0] if n % 100 < every else "", *row[1:]] for n, row in enumerate(table)]

        sparse = baseline_of(thinned(rows(4000), 23), FEATURES, MonitorOptions())
        found = analysis_of(captures_of(thinned(rows(1000, seed=2), 0)), sparse)
        assert not found.triage
        often = baseline_of(thinned(rows(4000), 60), FEATURES, MonitorOptions())
        found = analysis_of(captures_of(thinned(rows(1000, seed=2), 0)), often)
        self.check(found, "schema_mismatch", "age is missing in 100% of the rows, in the baseline in 40%")

    def test_new_categories_are_a_violation_and_no_triage(self):
        found = analysis_of(captures_of(rows(1000, seed=2, channels="aaabbcn")))
        assert found.verdict is Verdict.STABLE
        assert [violation.constraint_check_type for violation in found.violations] == ["categorical_values_check"]
        assert next(feature for feature in found.features if feature.name == "channel").new_categories == 1

    def test_too_many_bad_lines(self):
        found = analysis_of([*captures_of(rows(1000, seed=2)), *[b"{"] * 60])
        self.check(found, "capture_corrupt", "not_json 60")
        assert analysis_of([*captures_of(rows(1000, seed=2)), *[b"{"] * 50]).verdict is Verdict.STABLE

    def test_a_folder_of_nothing_but_bad_lines(self):
        self.check(analysis_of([b"{"] * 10), "capture_corrupt", "10 of 10 lines can't be used: not_json 10")

    def test_bad_lines_are_held_against_lines_however_many_rows_a_good_one_has(self):
        table = rows(3000, seed=2)
        good = [line("\n".join(map(",".join, table[at : at + 100]))) for at in range(0, 3000, 100)]
        assert analysis_of([*good, b"{"]).verdict is Verdict.STABLE
        self.check(analysis_of([*good, *[b"{"] * 2]), "capture_corrupt", "2 of 32 lines can't be used: not_json 2")

    def test_good_lines_of_another_time_do_not_make_up_for_bad_ones(self):
        lines = [*captures_of(rows(600, seed=2)), *captures_of(rows(9000), time="2026-11-22T15:00:00Z")]
        self.check(analysis_of([*lines, *[b"{"] * 60]), "capture_corrupt", "60 of 660 lines")

    def test_bad_lines_and_misfitting_rows_count_together(self):
        lines = [*captures_of(rows(1000, seed=2)), *captures_of([row[:2] for row in rows(40)]), *[b"{"] * 40]
        self.check(analysis_of(lines), "capture_corrupt", "80 lines or rows beside 1000 good ones")

    def test_reasons_that_are_as_frequent_come_in_one_order(self):
        texts = [b"{"] * 9, [b"[1]"] * 9
        for lines in (texts[0] + texts[1], texts[1] + texts[0]):
            self.check(analysis_of(lines), "capture_corrupt", "can't be used: not_an_object 9, not_json 9")

    def test_what_a_cut_gz_file_lost_nobody_knows(self):
        packed = gzip.compress(b"".join(captures_of(rows(3000, seed=2))))
        assert analysis_of([packed]).verdict is Verdict.STABLE
        self.check(analysis_of([packed[:-99]]), "capture_corrupt", "1 gz files are damaged or cut, a.jsonl first")

    def test_columns_of_ever_new_names_are_counted_and_not_all_listed(self):
        table = rows(2000, seed=2)
        named = [dict(zip(FEATURES, row, strict=True)) | {f"key {n}": 1} for n, row in enumerate(table)]
        found = analysis_of([line(json.dumps(row), encoding="JSON") for row in named])
        self.check(found, "schema_mismatch", "2000 of 2000 rows have columns unknown to the model: key ")
        extra = [item for item in found.violations if item.constraint_check_type == "extra_column_check"]
        assert len(extra) == 101
        assert extra[-1].description == "1900 values are in unknown columns of other names, too many to list"
        assert len(json.dumps(found.document())) < 30_000

    def test_collapsed_volume(self):
        found = analysis_of(captures_of(rows(600, seed=2)), expected_rows=10_000)
        self.check(found, "volume_collapse", "600 rows, about 10000 were expected")
        assert analysis_of(captures_of(rows(1100, seed=2)), expected_rows=10_000).verdict is Verdict.STABLE


class TestPrediction:
    def test_drift_of_the_answers_is_reported_beside_the_verdict(self):
        random = np.random.default_rng(4)
        documents = baseline(predictions=random.normal(0, 1, 4000).tolist())
        lines = [
            line(",".join(row), output=f"{answer}\n")
            for row, answer in zip(rows(1000, seed=2), random.normal(3, 1, 1000), strict=True)
        ]
        found = analysis_of(lines, documents)
        assert found.verdict is Verdict.STABLE
        assert (found.prediction.name, found.prediction.verdict) == ("_prediction", Verdict.DRIFTED)
        assert found.drift_max < 0.3
        names = {metric["MetricName"] for metric in found.metrics("e", "s")}
        assert "feature_baseline_drift__prediction" in names

    def test_without_a_baseline_of_it_its_numbers_are_still_there(self):
        found = analysis_of(captures_of(rows(1000, seed=2), output="5\n"))
        assert (found.prediction.verdict, found.prediction.reason) == (Verdict.UNDECIDED, "no_baseline")
        assert found.prediction.distance is None
        assert found.statistics()["features"][-1]["numerical_statistics"]["mean"] == 5.0

    @pytest.mark.parametrize(("unreadable", "verdict"), [(40, "STABLE"), (60, "UNDECIDED"), (1000, "UNDECIDED")])
    def test_too_many_unreadable_answers_leave_it_undecided(self, unreadable, verdict):
        answers = np.random.default_rng(4).normal(0, 1, 5000).astype(str)
        documents = baseline(predictions=answers[:4000].tolist())
        lines = captures_of(rows(unreadable, seed=2), output='{"oops', output_encoding="JSON")
        for row, answer in zip(rows(1000 - unreadable, seed=3), answers[4000:], strict=False):
            lines.append(line(",".join(row), output=f"{answer}\n"))
        elsewhere = captures_of(rows(900), output='{"oops', output_encoding="JSON", time="2026-11-22T15:00:00Z")
        found = analysis_of([*lines, *elsewhere], documents)
        assert (found.verdict, found.prediction.verdict) == (Verdict.STABLE, verdict)
        assert (found.prediction.reason == "capture_corrupt") == (verdict == "UNDECIDED")
        assert found.notes == {"output_not_json": unreadable}
        words = f"Of 1,000 captures the answers of {unreadable:,} can't be read"
        assert (words in consequence(found.document())) == (verdict == "UNDECIDED")

    def test_answers_are_held_against_answers_however_many_rows_a_good_one_has(self):
        many = "\n".join(["0.5"] * 100)
        lines = [line(",".join(row), output=many) for row in rows(900, seed=2)]
        lines += captures_of(rows(100, seed=3), output='{"oops', output_encoding="JSON")
        assert analysis_of(lines, baseline(predictions=["0.5"] * 4000)).prediction.reason == "capture_corrupt"

    def test_classes_by_name(self):
        documents = baseline(predictions=["yes", "no"] * 2000)
        found = analysis_of(captures_of(rows(1000, seed=2), output="yes\n"), documents)
        assert (found.prediction.kind, found.prediction.distance) == ("categorical", 0.5)


class TestPublishing:
    DRIFTED = analyse([("a", captures_of(rows(1000, seed=2, age=60)))], *BASELINE, WINDOW)

    def test_metrics_are_what_cloudwatch_takes(self):
        metrics = self.DRIFTED.metrics("flights", "flights-drift")
        model = ServiceModel(Loader().load_service_model("cloudwatch", "service-2"))
        shape = model.operation_model("PutMetricData").input_shape
        report = ParamValidator().validate({"Namespace": "DriftRetrain", "MetricData": metrics}, shape)
        assert not report.has_errors(), report.generate_report()
        assert {metric["Timestamp"] for metric in metrics} == {WINDOW[1]}

    def test_names_and_dimensions(self):
        metrics = self.DRIFTED.metrics("flights", "flights-drift")
        found = {metric["MetricName"]: [d["Name"] for d in metric["Dimensions"]] for metric in metrics}
        for name in ("drift_max", "drift_share", "rows_analyzed", "bad_rows", "min_detectable_drift"):
            assert found[name] == ["Endpoint"]
        assert (
            found["feature_baseline_drift_age"] == found["feature_non_null_age"] == ["Endpoint", "MonitoringSchedule"]
        )

    def test_an_undecided_window_publishes_its_rows_and_no_distance(self):
        found = analysis_of(captures_of(rows(50, age=90)))
        names = {metric["MetricName"] for metric in found.metrics("e", "s")}
        assert {"rows_analyzed", "bad_rows", "min_detectable_drift", "feature_non_null_age"} <= names
        assert not [
            name for name in names if "drift_" in name and name != "min_detectable_drift" and "non_null" not in name
        ]

    def test_the_number_of_metrics_is_bounded_and_the_worst_come_first(self):
        names = [metric["MetricName"] for metric in self.DRIFTED.metrics("e", "s", most_features=1)]
        assert [name for name in names if "feature_baseline" in name] == [
            "feature_baseline_drift_age",
            "feature_baseline_drift__prediction",
        ][: 1 + (self.DRIFTED.prediction.verdict is not Verdict.UNDECIDED)]

    def test_the_values_of_numbers_are_a_statistic_set(self):
        metrics = {metric["MetricName"]: metric for metric in self.DRIFTED.metrics("e", "s")}
        column = self.DRIFTED.profile.columns["age"]
        assert metrics["feature_data_age"]["StatisticValues"] == {
            "SampleCount": column.present,
            "Sum": column.total,
            "Minimum": column.minimum,
            "Maximum": column.maximum,
        }
        assert "Value" not in metrics["feature_data_age"]
        assert "feature_data_channel" not in metrics, "categories have no sum"
        few = {metric["MetricName"] for metric in self.DRIFTED.metrics("e", "s", most_features=1)}
        assert {name for name in few if "data" in name} == {"feature_data_age", "feature_data__prediction"}

    def test_names_that_cloudwatch_would_not_take(self):
        features = {"größe in cm": "numeric", "x" * 300: "numeric", "y" * 300: "numeric"}
        table = [[str(number)] * 3 for number in range(1000)]
        found = analyse([("a", captures_of(table))], *baseline_of(table, features), WINDOW)
        names = [metric["MetricName"] for metric in found.metrics("e", "s")]
        assert len(set(names)) == len(names) == 6 + 3 * 3 + 2
        assert all(name.isascii() and len(name) <= 255 and " " not in name for name in names)

    def test_the_same_window_gives_the_same_files(self):
        again = analyse([("a", captures_of(rows(1000, seed=2, age=60)))], *BASELINE, WINDOW)
        assert again.document() == self.DRIFTED.document()
        assert again.statistics() == self.DRIFTED.statistics()

    def test_violations_in_model_monitors_words(self):
        (violation,) = self.DRIFTED.constraint_violations()["violations"]
        assert violation["feature_name"] == "age"
        assert violation["constraint_check_type"] == "baseline_drift_check"
        distance = self.DRIFTED.features[0].distance
        assert violation["description"] == f"Baseline drift distance: {distance} exceeds threshold: 0.3"

    def test_the_windows_statistics_can_be_the_next_baseline(self):
        window = captures_of(rows(1000, seed=2, age=60))
        documents = self.DRIFTED.statistics(), self.DRIFTED.constraints()
        found = analyse([("a", window)], *documents, WINDOW)
        assert (found.verdict, found.drift_max) == (Verdict.STABLE, 0.0)

    def test_the_document_says_everything(self):
        document = self.DRIFTED.document()
        assert document["verdict"] == "DRIFTED"
        assert (document["window_start"], document["window_end"]) == ("2026-11-22T14:00:00Z", "2026-11-22T15:00:00Z")
        assert document["features"][0]["name"] == document["worst_feature"] == "age"
        assert document["features"][0]["distance"] == document["drift_max"]
        assert document["bad_rows"] == {"total": 0, "by_reason": {}, "examples": []}


def test_an_unreadable_baseline_is_named():
    with pytest.raises(NoBaseline, match=r"statistics\.json"):
        analyse([], "{", BASELINE[1], WINDOW)


def test_memory_does_not_grow_with_the_window(monkeypatch):
    monkeypatch.setattr(profile, "_CELLS", 3000)  # blocks of a thousand rows
    template = captures_of(rows(1000, seed=2))

    def peak(blocks: int) -> int:
        tracemalloc.start()
        analyse([(str(number), template) for number in range(blocks)], *BASELINE, WINDOW)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(24) < 1.2 * peak(6)


class TestImportance:
    """GIVEN a baseline that knows which features the model listens to."""

    FEATURES = {"loud": "numeric", "quiet": "numeric", "deaf": "numeric"}

    def found(self, importance, moved, count=2000):
        random = np.random.default_rng(11)
        before = random.normal(0, 1, (4000, 3)).astype(str)
        now = random.normal(0, 1, (count, 3)) + np.array(moved)
        documents = baseline_of(before.tolist(), self.FEATURES, MonitorOptions(threshold=0.2), importance=importance)
        return analyse([("a", captures_of(now.tolist()))], *documents, WINDOW)

    def test_what_matters_to_the_model_comes_first_and_the_worst_feature_still_raises_the_alarm(self):
        found = self.found({"loud": 0.9, "quiet": 0.1, "deaf": 0.0}, [0.8, 1.2, 3.0])
        assert [feature.name for feature in found.features] == ["loud", "quiet", "deaf"]
        assert found.worst_feature == "deaf"
        assert found.drift_max == max(feature.distance for feature in found.features)
        listed = found.document()["features"]
        assert [feature["importance"] for feature in listed] == [0.9, 0.1, 0.0]
        assert [feature["severity"] for feature in listed] == [feature.severity for feature in found.features]

    def test_the_budget_of_metrics_is_spent_on_what_matters(self):
        found = self.found({"loud": 0.9, "quiet": 0.1, "deaf": 0.0}, [0.8, 1.2, 3.0])
        published = {metric["MetricName"] for metric in found.metrics("e", "s", most_features=1)}
        assert "feature_baseline_drift_loud" in published
        assert "feature_baseline_drift_deaf" not in published

    def test_without_importances_the_worst_comes_first(self):
        found = self.found(None, [0.8, 1.2, 3.0])
        assert [feature.name for feature in found.features] == ["deaf", "quiet", "loud"]
        assert [feature["importance"] for feature in found.document()["features"]] == [None] * 3

    @pytest.mark.parametrize("value", ["much", -0.1, 1.5, True])
    def test_an_importance_that_is_no_share_is_named(self, value):
        statistics, _ = baseline_of([["1", "2", "3"]] * 10, self.FEATURES)
        statistics["features"][1]["importance"] = value
        with pytest.raises(NoBaseline, match=r"statistics\.json: feature quiet: importance"):
            read_statistics(statistics)
