"""CloudWatch alarms as AWS evaluates them: dimensions, periods, M out of N, missing data.

The rules and the tables of tests/local/test_platform_alarms.py are those of "Configuring how CloudWatch alarms treat
missing data" in the CloudWatch user guide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (lambda value, threshold: value > threshold, "greater than"),
    "GreaterThanOrEqualToThreshold": (lambda value, threshold: value >= threshold, "greater than or equal to"),
    "LessThanThreshold": (lambda value, threshold: value < threshold, "less than"),
    "LessThanOrEqualToThreshold": (lambda value, threshold: value <= threshold, "less than or equal to"),
}
# CloudWatch looks further back than EvaluationPeriods, so that a datapoint that comes late still counts: its guide
# shows five periods for an alarm of three.
EXTRA_PERIODS = 2


_LARGEST = re.compile(r"MAX\(\[([\w\s,]+)\]\)")


@dataclass(frozen=True)
class Datapoint:
    """One period of a metric: when it began (epoch seconds), its statistic, and how many samples there were."""

    start: float
    value: float
    count: float


@dataclass(frozen=True)
class Evaluation:
    """What an alarm says now: its state, the sentence, and the datapoints it looked at, newest first."""

    state: str
    reason: str
    datapoints: Sequence[Datapoint]


def statistic(points: Sequence[Mapping[str, Any]], name: str) -> float:
    """One statistic of a period's metric points (`Value` with `Count`, or a statistic set under `_stat`)."""
    sets = [point.get("_stat") or _as_set(point) for point in points]
    if name == "Minimum":
        return min(float(each["Minimum"]) for each in sets)
    if name == "Maximum":
        return max(float(each["Maximum"]) for each in sets)
    count = sum(float(each["SampleCount"]) for each in sets)
    total = sum(float(each["Sum"]) for each in sets)
    if name == "Average":
        return total / count if count else math.nan
    return {"SampleCount": count, "Sum": total}[name]


def _as_set(point: Mapping[str, Any]) -> dict[str, float]:
    count, value = float(point.get("Count", 1.0)), float(point["Value"])
    return {"SampleCount": count, "Sum": value * count, "Minimum": value, "Maximum": value}


def datapoints(alarm: Mapping[str, Any], points: Sequence[Mapping[str, Any]], now: float) -> list[Datapoint]:
    """What there is in the alarm's evaluation range, newest first; the period that `now` is in counts as the newest."""
    period = float(alarm["Period"])
    newest = math.floor(now / period)
    since = (newest - int(alarm["EvaluationPeriods"]) - EXTRA_PERIODS + 1) * period
    inside: dict[int, list[Mapping[str, Any]]] = {}
    for point in points:  # all that there ever were, whenever anything happens: most of them are told by one look
        if since <= point["Timestamp"] <= now:
            inside.setdefault(math.floor(point["Timestamp"] / period), []).append(point)
    return [
        Datapoint(index * period, statistic(found, alarm["Statistic"]), statistic(found, "SampleCount"))
        for index, found in sorted(inside.items(), reverse=True)
    ]


def evaluate(alarm: Mapping[str, Any], points: Sequence[Mapping[str, Any]], now: float) -> Evaluation:
    """The alarm's state at `now` (epoch seconds), given every point of its metric with exactly its dimensions.

    The newest `EvaluationPeriods` datapoints of the evaluation range decide. Only when there are fewer does
    `TreatMissingData` stand in for the rest.
    """
    wanted = int(alarm["EvaluationPeriods"])
    needed = int(alarm.get("DatapointsToAlarm") or wanted)
    treat = alarm.get("TreatMissingData") or "missing"
    found = datapoints(alarm, points, now)[:wanted]
    missing = wanted - len(found)
    crosses, _ = COMPARISONS[alarm["ComparisonOperator"]]
    breaching = sum(crosses(point.value, float(alarm["Threshold"])) for point in found)
    if missing and treat in {"missing", "ignore"} and breaching == len(found) and breaching < needed:
        # No datapoint speaks for OK, and too few for ALARM.
        period = float(alarm["Period"])
        since = math.floor(now / period) - math.floor(found[-1].start / period) + 1 if found else 0
        if treat == "ignore":
            return Evaluation(str(alarm["StateValue"]), str(alarm["StateReason"]), found)
        if since < needed:
            reason = f"Insufficient Data: {missing} datapoint{'s were' if missing > 1 else ' was'} unknown."
            return Evaluation("INSUFFICIENT_DATA", reason, found)
        return _told(alarm, found, "ALARM", breaching)
    counted = breaching + (missing if treat == "breaching" else 0)
    return _told(alarm, found, "ALARM" if counted >= needed else "OK", counted)


def metric_math(queries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A template's `Metrics`, in the API's types. Raises ValueError for other math than MAX([id, …]) of metrics."""
    found = [
        {
            **query,
            "ReturnData": str(query.get("ReturnData", True)).lower() == "true",
            **({"MetricStat": stat | {"Period": int(stat["Period"])}} if (stat := query.get("MetricStat")) else {}),
        }
        for query in queries
    ]
    ids = {query["Id"] for query in found if "MetricStat" in query}
    returned = [query.get("Expression", "") for query in found if query["ReturnData"]]
    if len(returned) != 1 or not (asked := _LARGEST.fullmatch(returned[0])):
        raise ValueError(f"Metrics: one expression MAX([id, ...]) is returned, not {returned}")
    if unknown := {name.strip() for name in asked[1].split(",")} - ids:
        raise ValueError(f"Metrics: no metric has the Id {', '.join(sorted(unknown))}")
    if len({query["MetricStat"]["Period"] for query in found if "MetricStat" in query}) > 1:
        raise ValueError("Metrics: their periods differ")
    return found


def largest(
    alarm: Mapping[str, Any], points_of: Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]], now: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An alarm on the largest of some metrics as an alarm on one metric, and that one's points.

    `points_of` are those of a `Metric`. Where some have no datapoint, the others' largest counts.
    """
    stats = [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]
    single = {**alarm, "Period": stats[0]["Period"], "Statistic": "Maximum"}
    found = [
        {"Timestamp": point.start, "Value": point.value, "Count": point.count}
        for stat in stats
        for point in datapoints({**single, "Statistic": stat["Stat"]}, points_of(stat["Metric"]), now)
    ]
    return single, found


def _told(alarm: Mapping[str, Any], found: Sequence[Datapoint], state: str, breaching: int) -> Evaluation:
    """The evaluation with the sentence that CloudWatch would write."""
    total = int(alarm["EvaluationPeriods"])
    needed, missing = int(alarm.get("DatapointsToAlarm") or total), total - len(found)
    if not found:
        kind = "Breaching" if state == "ALARM" else "NonBreaching"
        reason = (
            f"Threshold Crossed: no datapoints were received for {missing} period{'s' * (missing > 1)} and "
            f"{missing} missing datapoint{'s were' if missing > 1 else ' was'} treated as [{kind}]."
        )
        return Evaluation(state, reason, found)
    _, words = COMPARISONS[alarm["ComparisonOperator"]]
    seen = ", ".join(
        f"{point.value:g} ({datetime.fromtimestamp(point.start, UTC):%d/%m/%y %H:%M:%S})" for point in found
    )
    alarmed = state == "ALARM"
    decisive, least = (breaching, needed) if alarmed else (total - breaching, total - needed + 1)
    reason = (
        f"Threshold Crossed: {decisive} out of the last {total} datapoints [{seen}] {'was' if alarmed else 'was not'} "
        f"{words} the threshold ({float(alarm['Threshold'])}) (minimum {least} datapoint{'s' * (least > 1)} for "
        f"{'OK -> ALARM' if alarmed else 'ALARM -> OK'} transition)."
    )
    return Evaluation(state, reason, found)


def reason_data(alarm: Mapping[str, Any], evaluation: Evaluation, now: float) -> dict[str, Any]:
    """`reasonData` of a state change, before it is made a JSON string."""
    data: dict[str, Any] = {
        "version": "1.0",
        "queryDate": timestamp(now),
        **({} if "Metrics" in alarm else {"statistic": alarm["Statistic"]}),
        "period": alarm["Period"],
        "recentDatapoints": [point.value for point in reversed(evaluation.datapoints)],
        "threshold": alarm["Threshold"],
        "evaluatedDatapoints": [
            {"timestamp": timestamp(point.start), "sampleCount": point.count, "value": point.value}
            for point in evaluation.datapoints
        ],
    }
    if evaluation.datapoints:
        data["startDate"] = timestamp(evaluation.datapoints[-1].start)
    return data


def state_change(
    alarm: Mapping[str, Any], previous: Mapping[str, Any], current: Mapping[str, Any], metric_id: str
) -> dict[str, Any]:
    """`detail` of the EventBridge event "CloudWatch Alarm State Change". `metric_id` is a single metric's."""
    detail = {"alarmName": alarm["AlarmName"], "previousState": dict(previous), "state": dict(current)}
    if "AlarmRule" in alarm:
        return {**detail, "configuration": {"alarmRule": alarm["AlarmRule"]}}
    single = {
        "Id": metric_id,
        "MetricStat": {"Metric": alarm, "Period": alarm.get("Period"), "Stat": alarm.get("Statistic")},
    }
    configuration: dict[str, Any] = {"metrics": [_told_metric(query) for query in alarm.get("Metrics") or [single]]}
    if alarm.get("AlarmDescription"):
        configuration["description"] = alarm["AlarmDescription"]
    return {**detail, "configuration": configuration}


def _told_metric(query: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"id": query["Id"], "returnData": query.get("ReturnData", True)}
    if "MetricStat" not in query:
        return {**told, "expression": query["Expression"], "label": query.get("Label", query["Id"])}
    stat = query["MetricStat"]
    metric = {
        "namespace": stat["Metric"]["Namespace"],
        "name": stat["Metric"]["MetricName"],
        "dimensions": {item["Name"]: item["Value"] for item in stat["Metric"].get("Dimensions") or []},
    }
    return {**told, "metricStat": {"metric": metric, "period": stat["Period"], "stat": stat["Stat"]}}


def timestamp(seconds: float) -> str:
    """The way CloudWatch writes times inside alarm events: milliseconds, and +0000 without a colon."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
