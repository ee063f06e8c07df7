"""Alarm evaluation, held against the tables of the CloudWatch user guide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local.alarms import evaluate, largest, metric_math, reason_data, state_change, statistic, timestamp

PERIOD = 300
NOW = 1_362_114_000.0  # 2013-03-01T05:00:00Z, the beginning of a period
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
STATES = {"A": "ALARM", "O": "OK", "I": "INSUFFICIENT_DATA", "=": "OK"}  # "=": as it was, OK in these tests


def alarm(**changes: Any) -> dict[str, Any]:
    return {
        "AlarmName": "drift",
        "AlarmDescription": "drifted",
        "Namespace": "DriftRetrain",
        "MetricName": "drift_max",
        "Dimensions": [{"Name": "Endpoint", "Value": "flights"}],
        "Statistic": "Maximum",
        "Period": PERIOD,
        "EvaluationPeriods": 1,
        "Threshold": 0.3,
        "ComparisonOperator": "GreaterThanThreshold",
        "StateValue": "OK",
        "StateReason": "as before",
        **changes,
    }


def point(value: float, age: float = 0, **fields: Any) -> dict[str, Any]:
    """A metric point that was put `age` seconds ago."""
    return {"Timestamp": NOW - age, "Value": value, **fields}


def drawn(picture: str) -> list[dict[str, Any]]:
    """The points of a row such as `0 - X - X`: oldest first, one sign for each period."""
    signs = picture.split()
    values = {"X": 1.0, "0": 0.0}
    return [
        point(values[sign], PERIOD * (len(signs) - 1 - index)) for index, sign in enumerate(signs) if sign in values
    ]


@pytest.mark.parametrize(
    ("needed", "picture", "expected"),
    [
        (3, "0 - X - X", "OOOO"),
        (3, "0 - - - -", "OOOO"),
        (3, "- - - - -", "I=AO"),
        (3, "0 X X - X", "AAAA"),
        (3, "- - - - X", "I=AO"),
        (3, "- - X - -", "A=AO"),
        (3, "X - - - -", "A=AO"),
        (2, "0 - X - X", "AAAA"),
        (2, "0 0 X 0 X", "AAAA"),
        (2, "0 - X - -", "OOAO"),
        (2, "- - - - 0", "OOAO"),
        (2, "- - - - X", "I=AO"),
        (2, "- - - X -", "A=AO"),
    ],
)
def test_missing_data_is_treated_as_in_the_guide(needed: int, picture: str, expected: str) -> None:
    for treatment, sign in zip(TREATMENTS, expected, strict=True):
        settings = alarm(EvaluationPeriods=3, DatapointsToAlarm=needed, TreatMissingData=treatment)
        assert evaluate(settings, drawn(picture), NOW).state == STATES[sign], treatment


@pytest.mark.parametrize(
    ("operator", "at_the_threshold"),
    [
        ("GreaterThanThreshold", "OK"),
        ("GreaterThanOrEqualToThreshold", "ALARM"),
        ("LessThanThreshold", "OK"),
        ("LessThanOrEqualToThreshold", "ALARM"),
    ],
)
def test_the_threshold_itself_belongs_where_the_operator_says(operator: str, at_the_threshold: str) -> None:
    assert evaluate(alarm(ComparisonOperator=operator), [point(0.3)], NOW).state == at_the_threshold


@pytest.mark.parametrize(
    ("name", "expected"), [("SampleCount", 6), ("Sum", 15), ("Average", 2.5), ("Minimum", 1), ("Maximum", 4)]
)
def test_values_with_counts_and_statistic_sets_are_one_statistic(name: str, expected: float) -> None:
    points = [
        point(4.0),
        point(2.0, Count=3.0),
        point(0, _stat={"SampleCount": 2.0, "Sum": 5.0, "Minimum": 1.0, "Maximum": 4.0}),
    ]
    assert statistic(points, name) == expected


def test_an_old_breach_is_forgotten_after_the_evaluation_range() -> None:
    settings = alarm(TreatMissingData="notBreaching", StateValue="ALARM")
    assert evaluate(settings, [point(0.9, 2 * PERIOD)], NOW).state == "ALARM"
    assert evaluate(settings, [point(0.9, 3 * PERIOD)], NOW).state == "OK"


def test_points_from_after_now_do_not_count() -> None:
    assert evaluate(alarm(TreatMissingData="notBreaching"), [point(0.9, -PERIOD), point(0.9, -1)], NOW).state == "OK"


def test_points_of_one_period_are_one_datapoint() -> None:
    settings = alarm(EvaluationPeriods=2, Statistic="Average")
    found = evaluate(settings, [point(0.1, PERIOD), point(0.9, PERIOD - 1), point(0.6)], NOW)
    assert [round(each.value, 3) for each in found.datapoints] == [0.6, 0.5]
    assert found.state == "ALARM"


def test_silence_is_found_by_counting_samples() -> None:
    silence = alarm(
        Statistic="SampleCount",
        ComparisonOperator="LessThanThreshold",
        Threshold=1,
        EvaluationPeriods=3,
        TreatMissingData="breaching",
    )
    assert evaluate(silence, [], NOW).state == "ALARM"
    assert evaluate(silence, [point(7.0, PERIOD)], NOW).state == "OK"


def test_the_reason_reads_as_cloudwatch_writes_it() -> None:
    assert evaluate(alarm(), [point(0.2431 + 0.1)], NOW).reason == (
        "Threshold Crossed: 1 out of the last 1 datapoints [0.3431 (01/03/13 05:00:00)] was greater than the threshold "
        "(0.3) (minimum 1 datapoint for OK -> ALARM transition)."
    )
    silent = evaluate(alarm(TreatMissingData="breaching"), [], NOW).reason
    assert silent.startswith("Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint")


def test_the_state_change_has_the_fields_of_a_single_metric_event() -> None:
    settings = alarm()
    found = evaluate(settings, [point(0.5)], NOW)
    data = reason_data(settings, found, NOW)
    detail = state_change(settings, {"value": "OK"}, {"value": found.state}, "m1")
    assert data == {
        "version": "1.0",
        "queryDate": "2013-03-01T05:00:00.000+0000",
        "startDate": "2013-03-01T05:00:00.000+0000",
        "statistic": "Maximum",
        "period": PERIOD,
        "recentDatapoints": [0.5],
        "threshold": 0.3,
        "evaluatedDatapoints": [{"timestamp": "2013-03-01T05:00:00.000+0000", "sampleCount": 1.0, "value": 0.5}],
    }
    assert detail["configuration"] == {
        "description": "drifted",
        "metrics": [
            {
                "id": "m1",
                "metricStat": {
                    "metric": {
                        "namespace": "DriftRetrain",
                        "name": "drift_max",
                        "dimensions": {"Endpoint": "flights"},
                    },
                    "period": PERIOD,
                    "stat": "Maximum",
                },
                "returnData": True,
            }
        ],
    }


def query(name: str, **changes: Any) -> dict[str, Any]:
    """A metric of an alarm on math, as a template has it."""
    metric = {"Namespace": "N", "MetricName": name.upper(), "Dimensions": [{"Name": "Endpoint", "Value": "flights"}]}
    stat = {"Metric": metric, "Period": str(PERIOD), "Stat": "Maximum"}
    return {"Id": name, "ReturnData": "false", "MetricStat": stat, **changes}


def math(expression: str = "MAX([a, b])") -> list[dict[str, Any]]:
    return [{"Id": "worst", "Expression": expression, "Label": "largest"}, query("a"), query("b")]


@pytest.mark.parametrize(
    ("a", "b", "state", "seen"),
    [
        ([point(0.1)], [point(0.5)], "ALARM", [0.5]),
        ([point(0.5)], [], "ALARM", [0.5]),
        ([point(0.1)], [point(0.2)], "OK", [0.2]),
        ([point(0.9, PERIOD)], [point(0.1)], "ALARM", [0.1, 0.9]),
        ([], [], "OK", []),
    ],
)
def test_an_alarm_on_the_largest_of_some_metrics(a: list[Any], b: list[Any], state: str, seen: list[float]) -> None:
    settings = alarm(
        Metrics=metric_math(math()), EvaluationPeriods=2, DatapointsToAlarm=1, TreatMissingData="notBreaching"
    )
    points = {"A": a, "B": b}
    single, found = largest(settings, lambda metric: points[metric["MetricName"]], NOW)
    evaluation = evaluate(single, found, NOW)
    assert (evaluation.state, [each.value for each in evaluation.datapoints]) == (state, seen)
    assert "statistic" not in reason_data(single, evaluation, NOW)


def test_the_state_change_of_an_alarm_on_math_has_its_expression_and_its_metrics() -> None:
    settings = alarm(Metrics=metric_math(math()))
    first, *metrics = state_change(settings, {}, {}, "unused")["configuration"]["metrics"]
    assert first == {"id": "worst", "expression": "MAX([a, b])", "label": "largest", "returnData": True}
    stat = {"metric": {"namespace": "N", "name": "A", "dimensions": {"Endpoint": "flights"}}}
    assert metrics[0] == {"id": "a", "metricStat": {**stat, "period": PERIOD, "stat": "Maximum"}, "returnData": False}


@pytest.mark.parametrize(
    ("queries", "wrong"),
    [
        (math("AVG([a, b])"), "AVG"),
        (math("MAX([a, c])"), "Id c"),
        ([query("a", ReturnData="true")], "one expression"),
        ([*math(), query("c", MetricStat={"Metric": {}, "Period": 60, "Stat": "Maximum"})], "periods differ"),
    ],
)
def test_other_math_is_refused_not_ignored(queries: list[Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        metric_math(queries)


def test_times_in_alarm_events_have_no_colon_in_their_offset() -> None:
    assert timestamp(datetime(2026, 11, 22, 16, 20, 41, 318_000, UTC).timestamp()) == "2026-11-22T16:20:41.318+0000"
