"""CloudWatch: the monitor's metrics, and the state of alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retrain.aws.calls import classified

_MOST = 500  # metrics of one request; the limits are 1000, and 1 MB


class CloudWatch:
    """Metrics go in, alarm states come out."""

    def __init__(self, cloudwatch: Any, namespace: str) -> None:
        self._cloudwatch = cloudwatch
        self._namespace = namespace

    def put_metrics(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Each metric, in PutMetricData's own form, is published."""
        for start in range(0, len(metrics), _MOST):
            with classified("cloudwatch:PutMetricData"):
                self._cloudwatch.put_metric_data(
                    Namespace=self._namespace, MetricData=list(metrics[start : start + _MOST])
                )

    def alarms(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The alarms of those names as they are now."""
        if not names:
            return []
        with classified("cloudwatch:DescribeAlarms"):
            found = self._cloudwatch.describe_alarms(
                AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
        return [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]

    def in_alarm(self, names: Sequence[str]) -> list[str]:
        """Which of the alarms are in ALARM now."""
        return sorted(alarm["AlarmName"] for alarm in self.alarms(names) if alarm["StateValue"] == "ALARM")
