"""What instances cost, and what of it nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from retrain.core.prices import HOURLY, dollars_an_hour, dollars_of, episode_dollars

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_training_on_several_instances_costs_as_many_times_as_much() -> None:
    found = dollars_an_hour("ml.m5.large", "ml.m5.xlarge", 3)
    assert found == {"ProcessingJob": HOURLY["ml.m5.large"], "TrainingJob": 3 * HOURLY["ml.m5.xlarge"]}


def test_what_has_no_price_counts_for_nothing() -> None:
    assert dollars_an_hour("ml.nobody", "ml.m5.xlarge", 1) == {"TrainingJob": HOURLY["ml.m5.xlarge"]}
    assert episode_dollars("ml.nobody", "ml.nobody", 1) == 0.0


def test_a_step_costs_from_its_beginning_to_its_end_or_until_now() -> None:
    steps = [
        {"StartTime": NOW - timedelta(hours=2), "EndTime": NOW - timedelta(hours=1), "Metadata": {"TrainingJob": {}}},
        {"StartTime": NOW - timedelta(hours=3), "Metadata": {"ProcessingJob": {}}},
        {"StartTime": NOW, "EndTime": NOW, "Metadata": {"Condition": {"Outcome": "True"}}},
        {"Metadata": {"TrainingJob": {}}},
    ]
    assert dollars_of(steps, {"TrainingJob": 1.0, "ProcessingJob": 10.0}, NOW) == pytest.approx(31.0)
