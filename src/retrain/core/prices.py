"""What instances cost, in dollars an hour: typed in, of us-east-1, and checked against no price list.

Budgets go by them. What is not in the table counts for nothing, and `python -m retrain doctor` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

HOURS_A_MONTH = 730
JOBS = 4  # of an episode: dataset, training, evaluation, baseline
JOB_MINUTES = 5.0  # of each, most of them an instance's beginning; larger tables take longer
HOURLY: Mapping[str, float] = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.m5.12xlarge": 2.765,
    "ml.m5.24xlarge": 5.53,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.c5.4xlarge": 0.816,
    "ml.c5.9xlarge": 1.836,
    "ml.t2.medium": 0.056,
    "ml.t3.medium": 0.05,
    "ml.t3.large": 0.1,
    "ml.t3.xlarge": 0.2,
}


def dollars_an_hour(processing: str, training: str, instances: int) -> dict[str, float]:
    """The price of an hour of each kind of a pipeline's jobs, by SageMaker's names; only of those that are known."""
    found = {"ProcessingJob": (processing, 1), "TrainingJob": (training, instances)}
    return {job: HOURLY[kind] * count for job, (kind, count) in found.items() if kind in HOURLY}


def dollars_of(steps: Iterable[Mapping[str, Any]], hourly: Mapping[str, float], now: datetime) -> float:
    """What a pipeline's steps have cost until now, from their beginning to their end, instances' starts included."""
    total = 0.0
    for step in steps:
        if begun := step.get("StartTime"):
            hours = max(((step.get("EndTime") or now) - begun).total_seconds(), 0.0) / 3600
            total += hours * sum(hourly.get(job, 0.0) for job in step.get("Metadata") or {})
    return round(total, 4)


def episode_dollars(processing: str, training: str, instances: int) -> float:
    """What an episode is taken to cost whose jobs last `JOB_MINUTES` each.

    >>> round(episode_dollars("ml.m5.xlarge", "ml.m5.xlarge", 1), 3)
    0.077
    """
    hourly = dollars_an_hour(processing, training, instances)
    jobs = {"ProcessingJob": JOBS - 1, "TrainingJob": 1}
    return sum(hourly.get(job, 0.0) * count for job, count in jobs.items()) * JOB_MINUTES / 60
