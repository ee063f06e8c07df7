"""Baselines: Model Monitor's files, written as AWS writes them and read as AWS and others wrote them."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from retrain.core.errors import InvalidSpec, NoBaseline
from retrain.drift import baseline
from retrain.drift import constraints as demands
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.constraints import Metric, read_constraints
from retrain.drift.profile import K
from retrain.model.monitor_options import MonitorOptions
from retrain.model.tables_on_disk import open_table

FEATURES = {"age": "numeric", "channel": "categorical"}
CHANNELS = ["web", "web", "app", "web", "app", "web", "app", ""]
ROWS = [(str(age), channel) for age, channel in zip(range(1, 9), CHANNELS, strict=True)]

STATISTICS = json.loads(
    """{"version":0.0,"dataset":{"item_count":8},"features":[{"name":"age","inferred_type":"Integral",
    "numerical_statistics":{"common":{"num_present":8,"num_missing":0},"mean":4.5,"sum":36.0,"std_dev":2.29128784747792,
    "min":1.0,"max":8.0,"distribution":{"kll":{"buckets":[{"lower_bound":1.0,"upper_bound":1.7,"count":1.0},
    {"lower_bound":1.7,"upper_bound":2.4,"count":1.0},{"lower_bound":2.4,"upper_bound":3.1,"count":1.0},
    {"lower_bound":3.1,"upper_bound":3.8,"count":0.0},{"lower_bound":3.8,"upper_bound":4.5,"count":1.0},
    {"lower_bound":4.5,"upper_bound":5.2,"count":1.0},{"lower_bound":5.2,"upper_bound":5.9,"count":0.0},
    {"lower_bound":5.9,"upper_bound":6.6,"count":1.0},{"lower_bound":6.6,"upper_bound":7.3,"count":1.0},
    {"lower_bound":7.3,"upper_bound":8.0,"count":1.0}],"sketch":{"parameters":{"c":0.64,"k":2048.0},
    "data":[[1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0]]}}}},
    "type_shares":{"Integral":1.0,"Fractional":0.0,"String":0.0}},{"name":"channel","inferred_type":"String","string_statistics":
    {"common":{"num_present":7,"num_missing":1},"distinct_count":2.0,"distribution":{"categorical":{"buckets":
    [{"value":"web","count":4},{"value":"app","count":3}]}}}}]}"""
)
CONSTRAINTS = json.loads(
    """{"version":0.0,"features":[{"name":"age","inferred_type":"Integral","completeness":1.0,
    "num_constraints":{"is_non_negative":true}},{"name":"channel","inferred_type":"String","completeness":0.875,
    "string_constraints":{"domains":["app","web"]}}],"monitoring_config":{"evaluate_constraints":"Enabled",
    "emit_metrics":"Enabled","datatype_check_threshold":1.0,"domain_content_threshold":1.0,"distribution_constraints":
    {"perform_comparison":"Enabled","comparison_threshold":0.3,"comparison_method":"Simple",
    "categorical_comparison_threshold":0.3,"categorical_drift_method":"LInfinity"},
    "drift_retrain":{"false_alarms_per_year":0.1,"chance":"time","opens":"any","p_threshold":0.003,"min_rows":500,"max_bad_share":0.05,"max_missing_increase":0.3,"max_unknown_categories":0.5,
    "min_volume_share":0.1,"default_thresholds":["numeric","categorical"]}}}"""
)


class TestWriting:
    def test_statistics_are_the_documented_ones_to_the_last_digit(self):
        assert baseline_of(ROWS, FEATURES)[0] == STATISTICS

    def test_constraints_are_the_documented_ones(self):
        assert baseline_of(ROWS, FEATURES)[1] == CONSTRAINTS

    def test_keys_are_in_the_documented_order(self):
        written = json.dumps(baseline_of(ROWS, FEATURES)[0])
        assert written == json.dumps(STATISTICS)

    def test_from_a_csv_file_with_more_columns_in_another_order(self, tmp_path):
        path = tmp_path / "train.csv"
        text = "\ufeffchannel,label,age\n" + "".join(f"{channel},7,{age}\n" for age, channel in ROWS)
        path.write_text(text, encoding="utf-8")
        assert baseline_of(open_table(path).rows([*FEATURES]), FEATURES) == (STATISTICS, CONSTRAINTS)

    def test_one_single_value_fills_the_last_bucket(self):
        feature = baseline_of([("5",)] * 3, {"x": "numeric"})[0]["features"][0]
        buckets = feature["numerical_statistics"]["distribution"]["kll"]["buckets"]
        assert [bucket["count"] for bucket in buckets] == [0.0] * 9 + [3.0]

    def test_a_column_without_values_is_unknown_and_still_json(self):
        statistics, constraints = baseline_of([("", "")] * 3, FEATURES)
        assert [feature["inferred_type"] for feature in statistics["features"]] == ["Unknown", "Unknown"]
        json.dumps([statistics, constraints], allow_nan=False)
        assert read_statistics(statistics).features["age"].present == 0
        assert constraints["features"][0]["completeness"] == 0.0

    def test_buckets_of_a_sketched_column_count_every_value(self):
        values = np.random.default_rng(1).normal(size=50_000)
        feature = baseline_of(((repr(value),) for value in values.tolist()), {"x": "numeric"})[0]["features"][0]
        kll = feature["numerical_statistics"]["distribution"]["kll"]
        counts = [bucket["count"] for bucket in kll["buckets"]]
        assert sum(counts) == 50_000
        assert counts == pytest.approx(np.histogram(values, bins=10)[0].tolist(), abs=0.002 * 50_000)
        assert sum(len(level) << height for height, level in enumerate(kll["sketch"]["data"])) == 50_000
        assert len(kll["sketch"]["data"][-1]) <= K + 2

    def test_options_of_the_model_become_model_monitors_fields(self):
        options = {"threshold": 0.2, "thresholds": {"age": 0.4, "channel": 0.1}, "ignored": ["channel"], "min_rows": 50}
        _, constraints = baseline_of(ROWS, FEATURES, MonitorOptions.of(options, FEATURES))
        read = read_constraints(constraints)
        assert (read.threshold, read.categorical_threshold) == (0.2, 0.2)
        assert (read.metric("age", True).threshold, read.metric("channel", False).threshold) == (0.4, 0.1)
        assert (read.feature("age").judged, read.feature("channel").judged) == (True, False)
        assert read.options.min_rows == 50

    def test_methods_of_the_model_become_model_monitors_fields(self):
        options = {"methods": {"age": "psi", "channel": "ChiSquared"}, "thresholds": {"age": 0.5}, "p_threshold": 0.01}
        _, constraints = baseline_of(ROWS, FEATURES, MonitorOptions.of(options, FEATURES))
        overrides = [
            feature["monitoringConfigOverrides"]["distribution_constraints"] for feature in constraints["features"]
        ]
        assert overrides == [
            {"comparison_threshold": 0.5, "comparison_method": "PSI"},
            {"categorical_drift_method": "ChiSquared"},
        ]
        read = read_constraints(constraints)
        assert read.metric("age", True) == Metric("psi", 0.5, 0.01)
        assert read.metric("channel", False) == Metric("chi_squared", 0.3, 0.01)

    @pytest.mark.parametrize(
        ("options", "numeric", "categorical"),
        [
            ({}, 0.3, 0.3),
            ({"method": "PSI"}, 0.25, 0.3),
            ({"method": "PSI", "threshold": 0.5}, 0.5, 0.3),
            ({"method": "PSI", "categorical_method": "PSI", "threshold": 0.5}, 0.5, 0.5),
            ({"threshold": 0.1, "categorical_method": "JensenShannon"}, 0.1, 0.2),
            ({"threshold": 0.1, "categorical_method": "ChiSquared"}, 0.1, 0.1),
        ],
    )
    def test_a_threshold_is_not_taken_for_one_of_another_unit(self, options, numeric, categorical):
        read = read_constraints(baseline_of(ROWS, FEATURES, MonitorOptions.of(options, FEATURES))[1])
        assert (read.metric("age", True).threshold, read.metric("channel", False).threshold) == (numeric, categorical)
        alarmed = read.with_threshold(0.7)
        chosen = "threshold" in options or options.get("method") == "PSI"
        assert alarmed.metric("age", True).threshold == (numeric if chosen else 0.7)

    def test_shares_of_types_are_metrics_of_their_own(self):
        rows = [("1",), ("2.5",), ("x",), ("",), ("4",)]
        assert baseline_of(rows, {"x": "numeric"})[0]["features"][0]["type_shares"] == {
            "Integral": 0.5,
            "Fractional": 0.25,
            "String": 0.25,
        }

    def test_predictions_are_a_feature_of_their_own_beside_the_columns(self):
        statistics, constraints = baseline_of(ROWS, FEATURES, predictions=[0.5, 1.5])
        read = read_statistics(statistics)
        assert read.prediction is not None
        assert read.prediction.present == 2
        assert list(read.features) == list(FEATURES)
        assert [feature["name"] for feature in constraints["features"]] == list(FEATURES)

    def test_what_was_written_is_read(self):
        statistics = read_statistics(json.dumps(STATISTICS))
        age, channel = statistics.features["age"], statistics.features["channel"]
        assert statistics.layout.kinds == FEATURES
        assert age.steps.points.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert age.steps.upto.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert (channel.counts, channel.rest, channel.missing) == ({"web": 4, "app": 3}, 0, 1)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"treshold": 0.1}, "treshold: unknown key: one of threshold"),
        ({"threshold": 1.5}, "threshold: 1.5 is not a number from 0 to 1"),
        ({"threshold": True}, "threshold: True is not a number"),
        ({"method": "exact"}, "method: 'exact' is unknown: write one of Simple, Robust"),
        ({"categorical_method": 7}, "categorical_method: 7 is unknown"),
        ({"min_rows": 0}, "min_rows: 0 is not a whole number"),
        ({"thresholds": {"agee": 0.1}}, "thresholds: 'agee' is no feature: it is none of age, channel"),
        ({"thresholds": {"age": "x"}}, "thresholds.age: 'x' is not a number"),
        ({"thresholds": 0.1}, "thresholds: a table"),
        ({"methods": "PSI"}, "methods: a table of feature = method"),
        ({"methods": {"agee": "PSI"}}, "methods: 'agee' is no feature"),
        ({"methods": {"age": "ChiSquared"}}, "methods.age: 'ChiSquared' is unknown: write one of Simple, Robust, PSI"),
        ({"methods": {"channel": "Robust"}}, "methods.channel: 'Robust' is unknown: write one of LInfinity, ChiSq"),
        ({"p_threshold": 0}, "p_threshold: 0 is not between 0 and 1"),
        ({"ignored": "age"}, "ignored: a list"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(section, words):
    with pytest.raises(InvalidSpec, match=rf"\[monitor\] {words}"):
        MonitorOptions.of(section, FEATURES)


class TestReadingConstraints:
    @pytest.mark.parametrize(
        ("written", "method"),
        [("Simple", "Simple"), ("Robust", "Robust"), ("linf_simple", "Simple"), ("linf_robust", "Robust")],
    )
    @pytest.mark.parametrize("key", ["comparison_method", "comparion_method"])
    def test_every_spelling_of_the_method(self, written, method, key):
        config = {"distribution_constraints": {key: written, "comparison_threshold": 0.2}}
        read = read_constraints({"version": 0, "features": [], "monitoring_config": config})
        assert (read.method, read.threshold, read.categorical_threshold) == (method, 0.2, 0.2)

    @pytest.mark.parametrize(
        "feature",
        [
            {"string_constraints": {"monitoring_config_overrides": {"evaluate_constraints": "Disabled"}}},
            {"num_constraints": {"monitoring_config_overrides": {"evaluate_constraints": "Disabled"}}},
            {"monitoringConfigOverrides": {"evaluate_constraints": "Disabled"}},
            {"monitoring_config_overrides": {"distribution_constraints": {"perform_comparison": "Disabled"}}},
        ],
    )
    def test_both_spellings_of_the_overrides(self, feature):
        read = read_constraints({"features": [{"name": "age", **feature}, {"name": "channel"}]})
        assert not read.feature("age").judged
        assert read.feature("channel").judged

    def test_an_override_of_threshold_and_method(self):
        overrides = {"distribution_constraints": {"comparison_threshold": 0.7, "comparion_method": "linf_robust"}}
        read = read_constraints({"features": [{"name": "age", "monitoringConfigOverrides": overrides}]})
        assert (read.feature("age").threshold, read.feature("age").method) == (0.7, "Robust")

    @pytest.mark.parametrize("key", ["monitoring_config_overrides", "monitoringConfigOverrides"])
    def test_overrides_are_of_a_kind(self, key):
        comparison = {
            "comparison_threshold": 0.5,
            "categorical_comparison_threshold": 0.9,
            "comparison_method": "Robust",
            "categorical_drift_method": "ChiSquared",
            "p_threshold": 0.02,
        }
        overrides = {
            "distribution_constraints": comparison,
            "datatype_check_threshold": 0.8,
            "domain_content_threshold": 0.7,
        }
        read = read_constraints({"features": [{"name": "age", key: overrides}]})
        assert read.metric("age", True) == Metric("linf_robust", 0.5, 0.02)
        assert read.metric("age", False) == Metric("chi_squared", 0.9, 0.02)
        assert (read.feature("age").datatype_threshold, read.feature("age").domain_threshold) == (0.8, 0.7)
        assert read.metric("other", False) == Metric("linf_simple", 0.1, 0.003)

    @pytest.mark.parametrize(
        ("overrides", "metric"),
        [
            ({}, Metric("linf_simple", 0.15, 0.003)),
            ({"comparison_threshold": 0.5}, Metric("linf_simple", 0.5, 0.003)),
            ({"categorical_drift_method": "jensen_shannon"}, Metric("jensen_shannon", 0.2, 0.003)),
            ({"categorical_drift_method": "PSI", "comparison_threshold": 0.5}, Metric("psi", 0.5, 0.003)),
            ({"comparison_method": "Robust"}, Metric("linf_robust", 0.15, 0.003)),
        ],
    )
    def test_a_categorical_feature_has_the_general_threshold_if_that_is_of_its_unit(self, overrides, metric):
        general = {"comparison_threshold": 0.05, "categorical_comparison_threshold": 0.15}
        feature = {"name": "channel", "monitoringConfigOverrides": {"distribution_constraints": overrides}}
        document = {"features": [feature], "monitoring_config": {"distribution_constraints": general}}
        assert read_constraints(document).metric("channel", False) == metric

    def test_what_is_missing_is_what_the_documentation_says(self):
        read = read_constraints(b"\xef\xbb\xbf{}")
        assert (read.threshold, read.method, read.categorical_method, read.judged) == (0.1, "Simple", "LInfinity", True)
        assert read.options == MonitorOptions()
        assert read.feature("anything").completeness is None

    def test_switched_off_altogether(self):
        assert not read_constraints({"monitoring_config": {"evaluate_constraints": "Disabled"}}).judged

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"features": 7}, "constraints.json: features: a list is expected"),
            ({"features": [{}]}, "constraints.json: name: a feature has no name"),
            (
                {"features": [{"name": "age", "completeness": 2}]},
                "feature age: completeness: 2 is not a number from 0 to 1",
            ),
            (
                {"features": [{"name": "age", "string_constraints": {"domains": "web"}}]},
                "feature age: string_constraints.domains: a list",
            ),
            (
                {"features": [{"name": "age", "monitoringConfigOverrides": {"p_threshold": 1}}]},
                "feature age: p_threshold: 1.0 is not between 0 and 1",
            ),
            ({"monitoring_config": []}, "monitoring_config: an object is expected"),
            (
                {"monitoring_config": {"distribution_constraints": {"comparison_method": "KS"}}},
                "comparison_method: 'KS' is unknown: write one of Simple, Robust",
            ),
            (
                {"monitoring_config": {"drift_retrain": {"min_rows": "x"}}},
                "drift_retrain: .*min_rows: 'x' is not a whole number",
            ),
        ],
    )
    def test_errors_name_feature_field_and_remedy(self, change, words):
        with pytest.raises(NoBaseline, match=words):
            read_constraints(CONSTRAINTS | change)


class TestReadingStatistics:
    @pytest.mark.parametrize("version", [0, 0.0, None])
    def test_any_version(self, version):
        assert read_statistics(STATISTICS | {"version": version}).item_count == 8

    def test_without_an_item_count(self):
        assert read_statistics(STATISTICS | {"dataset": None}).item_count == 8

    def test_with_buckets_and_no_sketch(self):
        document = copy.deepcopy(STATISTICS)
        del document["features"][0]["numerical_statistics"]["distribution"]["kll"]["sketch"]
        steps = read_statistics(document).features["age"].steps
        assert not steps.exact
        assert steps.points[-1] == 8.0
        assert steps.upto.tolist() == [1, 2, 3, 3, 4, 5, 5, 6, 7, 8]

    def test_without_any_distribution(self):
        document = copy.deepcopy(STATISTICS)
        del document["features"][0]["numerical_statistics"]["distribution"]
        assert read_statistics(document).features["age"].steps is None

    def test_an_item_of_a_higher_level_stands_for_more_values(self):
        document = copy.deepcopy(STATISTICS)
        sketch = document["features"][0]["numerical_statistics"]["distribution"]["kll"]["sketch"]
        sketch["data"] = [[1.0, 1.0], [], [3.0]]
        steps = read_statistics(document).features["age"].steps
        assert (steps.points.tolist(), steps.upto.tolist(), steps.weight) == ([1.0, 3.0], [2.0, 6.0], 6.0)

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ("{", "statistics.json: the file is not JSON"),
            ("[]", "statistics.json: the file holds no JSON object"),
            (
                "{}",
                "statistics.json: features: a list with at least one feature is expected: compute the baseline anew",
            ),
            ({"features": [{"name": "x"}]}, "feature x: numerical_statistics: neither this nor string_statistics"),
            (
                {"features": [{"name": "x", "string_statistics": {}}]},
                "feature x: common.num_present: a count is expected",
            ),
            (
                {"features": [{"name": "x", "string_statistics": {"common": {"num_present": 0}}}] * 2},
                "feature x: name: two features have this name",
            ),
            (
                {
                    "features": [
                        {
                            "name": "x",
                            "string_statistics": {
                                "common": {"num_present": 3},
                                "distribution": {"categorical": {"buckets": [{"value": "a", "count": -1}]}},
                            },
                        }
                    ]
                },
                "feature x: distribution.categorical.buckets: buckets with value and count",
            ),
            (
                {
                    "features": [
                        {
                            "name": "x",
                            "numerical_statistics": {
                                "common": {"num_present": 3},
                                "distribution": {"kll": {"sketch": {"data": [["a"]]}}},
                            },
                        }
                    ]
                },
                "feature x: distribution.kll: levels of numbers",
            ),
        ],
    )
    def test_errors_name_file_feature_field_and_remedy(self, document, words):
        with pytest.raises(NoBaseline, match=words):
            read_statistics(document)


def test_a_column_of_many_categories_has_no_domain_and_says_how_many_there_were(monkeypatch):
    monkeypatch.setattr(baseline, "MAX_BUCKETS", 10)
    monkeypatch.setattr(demands, "MAX_DOMAIN", 50)
    statistics, constraints = baseline_of([(f"id{number % 100}",) for number in range(1000)], {"id": "categorical"})
    read = read_statistics(statistics).features["id"]
    assert (len(read.counts), read.rest, read.present) == (10, 900, 1000)
    assert statistics["features"][0]["string_statistics"]["distinct_count"] == 100.0
    assert "string_constraints" not in constraints["features"][0]
