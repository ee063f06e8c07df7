"""What AWS services count about themselves: a metric for each minute, kept as statistic sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Dimensions = tuple[tuple[str, str], ...]


@dataclass
class StatisticSet:
    """SampleCount, Sum, Minimum and Maximum of one metric in one minute."""

    count: float = 0.0
    total: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, value: float) -> None:
        """`value` is one more sample."""
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)


class Meter:
    """Samples by metric and minute of the AWS clock, until `take` hands them on; thread-safe."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._sets: dict[tuple[str, str, Dimensions, int], StatisticSet] = {}

    def add(self, namespace: str, dimensions: Mapping[str, str], samples: Mapping[str, float]) -> None:
        """Every metric in `samples` has one more sample, in this minute."""
        minute = int(self._now() // 60) * 60
        named = tuple(dimensions.items())
        with self._lock:
            for name, value in samples.items():
                self._sets.setdefault((namespace, name, named, minute), StatisticSet()).add(value)

    def add_invocation(self, endpoint: str, variant: str, status: int, content: bytes, microseconds: float) -> None:
        """InvokeEndpoint has answered `status`; SageMaker counts what reached the model."""
        if status not in {200, 424}:
            return
        original = 200 if status == 200 else int(json.loads(content)["OriginalStatusCode"])
        samples = {
            "Invocations": 1.0,
            "Invocation4XXErrors": float(400 <= original < 500),
            "Invocation5XXErrors": float(original >= 500),
            "ModelLatency": microseconds,
        }
        self.add("AWS/SageMaker", {"EndpointName": endpoint, "VariantName": variant}, samples)

    def take(self) -> dict[tuple[str, str, Dimensions, int], StatisticSet]:
        """What came in since the last call."""
        with self._lock:
            taken, self._sets = self._sets, {}
        return taken


def embedded_metrics(text: str) -> list[tuple[str, dict[str, str], dict[str, float]]]:
    """Namespace, dimensions and samples of every CloudWatch embedded-metric-format line in a log's text."""
    found = []
    for line in text.splitlines():
        if '"CloudWatchMetrics"' not in line:
            continue
        try:
            said = json.loads(line)
            for directive in said["_aws"]["CloudWatchMetrics"]:
                for names in directive["Dimensions"] or [[]]:
                    dimensions = {name: str(said[name]) for name in names}
                    for metric in directive["Metrics"]:
                        values = said[metric["Name"]]
                        for value in values if isinstance(values, list) else [values]:
                            found.append((directive["Namespace"], dimensions, {metric["Name"]: float(value)}))
        except (ValueError, KeyError, TypeError):
            continue  # CloudWatch ignores what is not in the format, too
    return found
