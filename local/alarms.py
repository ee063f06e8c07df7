"""CloudWatch alarms as AWS evaluates them: dimensions, periods, M out of N, missing data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
# CloudWatch looks further back than EvaluationPeriods, so that a datapoint that comes late still counts.
EXTRA_PERIODS = 2


@dataclass(frozen=True)
class Evaluation:
    """What an alarm says now: its state, the sentence, and the datapoints it looked at, newest first."""

    state: str
    reason: str
    datapoints: Sequence[tuple[float, float, float]]  # (start of the period, value, sample count)


def statistic(points: Sequence[Mapping[str, Any]], name: str) -> float:
    """One statistic of a period's metric points (`Value`, `Count`, or a statistic set under `_stat`)."""
    counts, sums, lows, highs = [], [], [], []
    for point in points:
        if summary := point.get("_stat"):
            counts.append(float(summary["SampleCount"]))
            sums.append(float(summary["Sum"]))
            lows.append(float(summary["Minimum"]))
            highs.append(float(summary["Maximum"]))
        else:
            count, value = float(point.get("Count", 1.0)), float(point["Value"])
            counts.append(count)
            sums.append(value * count)
            lows.append(value)
            highs.append(value)
    return {
        "SampleCount": sum(counts),
        "Sum": sum(sums),
        "Average": sum(sums) / sum(counts) if sum(counts) else math.nan,
        "Minimum": min(lows),
        "Maximum": max(highs),
    }[name]


def evaluate(alarm: Mapping[str, Any], points: Sequence[Mapping[str, Any]], now: float) -> Evaluation:
    """The alarm's state at `now` (epoch seconds), given every point of its metric with exactly its dimensions.

    Periods are aligned to multiples of `Period`. The newest `EvaluationPeriods` datapoints of the evaluation range
    decide; where there are fewer, `TreatMissingData` stands in for the rest.
    """
    period, wanted = float(alarm["Period"]), int(alarm["EvaluationPeriods"])
    needed = int(alarm.get("DatapointsToAlarm") or wanted)
    treat = alarm.get("TreatMissingData") or "missing"
    last_start = math.floor(now / period) * period
    periods = [last_start - index * period for index in range(wanted + EXTRA_PERIODS)]
    datapoints = []
    for start in periods:
        inside = [point for point in points if start <= point["Timestamp"] < start + period]
        if inside:
            count = statistic(inside, "SampleCount")
            datapoints.append((start, statistic(inside, alarm["Statistic"]), count))
    datapoints = datapoints[:wanted]
    missing = wanted - len(datapoints)
    crosses = COMPARISONS[alarm["ComparisonOperator"]]
    threshold = float(alarm["Threshold"])
    breaching = sum(crosses(value, threshold) for _, value, _ in datapoints)
    standing = str(alarm["StateValue"])
    if not datapoints and treat == "ignore":
        return Evaluation(standing, str(alarm["StateReason"]), ())
    if not datapoints and treat == "missing":
        reason = f"Insufficient Data: {missing} datapoint{'s' * (missing > 1)} were unknown."
        return Evaluation("INSUFFICIENT_DATA", reason, ())
    if treat == "breaching":
        breaching += missing
    return _verdict(alarm, datapoints, breaching, needed, missing)


def _verdict(
    alarm: Mapping[str, Any],
    datapoints: Sequence[tuple[float, float, float]],
    breaching: int,
    needed: int,
    missing: int,
) -> Evaluation:
    state = "ALARM" if breaching >= needed else "OK"
    words = {
        "GreaterThanThreshold": "greater than",
        "GreaterThanOrEqualToThreshold": "greater than or equal to",
        "LessThanThreshold": "less than",
        "LessThanOrEqualToThreshold": "less than or equal to",
    }[alarm["ComparisonOperator"]]
    seen = ", ".join(
        f"{value:g} ({datetime.fromtimestamp(start, UTC):%d/%m/%y %H:%M:%S})" for start, value, _ in datapoints
    )
    if seen:
        verb = "was" if state == "ALARM" else "was not"
        old, change = ("OK", "ALARM") if state == "ALARM" else ("ALARM", "OK")
        total = int(alarm["EvaluationPeriods"])
        least = needed if state == "ALARM" else total - needed + 1
        reason = (
            f"Threshold Crossed: {breaching if state == 'ALARM' else total} out of the last {total} datapoints [{seen}] "
            f"{verb} {words} the threshold ({float(alarm['Threshold'])}) "
            f"(minimum {least} datapoint{'s' * (least > 1)} for {old} -> {change} transition)."
        )
    else:
        kind = "Breaching" if state == "ALARM" else "NonBreaching"
        reason = f"Threshold Crossed: no datapoints were received for {missing} period{'s' * (missing > 1)} and "
        reason += f"{missing} missing datapoint{'s were' if missing > 1 else ' was'} treated as [{kind}]."
    return Evaluation(state, reason, datapoints)


def reason_data(alarm: Mapping[str, Any], evaluation: Evaluation, now: float) -> dict[str, Any]:
    """`reasonData` of a state change, before it is made a JSON string."""
    data: dict[str, Any] = {
        "version": "1.0",
        "queryDate": timestamp(now),
        "statistic": alarm["Statistic"],
        "period": alarm["Period"],
        "recentDatapoints": [value for _, value, _ in reversed(evaluation.datapoints)],
        "threshold": alarm["Threshold"],
        "evaluatedDatapoints": [
            {"timestamp": timestamp(start), "sampleCount": count, "value": value}
            for start, value, count in evaluation.datapoints
        ],
    }
    if evaluation.datapoints:
        data["startDate"] = timestamp(evaluation.datapoints[-1][0])
    return data


def state_change(
    alarm: Mapping[str, Any], previous: Mapping[str, Any], current: Mapping[str, Any], metric_id: str
) -> dict[str, Any]:
    """`detail` of the EventBridge event "CloudWatch Alarm State Change" of a single-metric alarm."""
    metric = {
        "namespace": alarm["Namespace"],
        "name": alarm["MetricName"],
        "dimensions": {item["Name"]: item["Value"] for item in alarm.get("Dimensions") or []},
    }
    stat = {"metric": metric, "period": alarm["Period"], "stat": alarm["Statistic"]}
    return {
        "alarmName": alarm["AlarmName"],
        "configuration": {
            "description": alarm.get("AlarmDescription") or "",
            "metrics": [{"id": metric_id, "metricStat": stat, "returnData": True}],
        },
        "previousState": dict(previous),
        "state": dict(current),
    }


def timestamp(seconds: float) -> str:
    """The way CloudWatch writes times inside alarm events: milliseconds, and +0000 without a colon."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
