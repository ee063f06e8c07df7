"""Several lengths at once: what the last hour, weeks and their evidence show beside the window."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from capture_records import captures_of
from control_plane import ENCLOSURE, crowned, opened, trigger

from retrain.core.clock import parse
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.learning import with_chance
from retrain.drift.lengths import together
from retrain.drift.verdict import Seen, Verdict
from retrain.model.monitor_options import MonitorOptions
from retrain.monitors.drift_monitor import IntakeJobs, WatchRules, watch_endpoint

FEATURES = {"distance": "numeric", "weight": "numeric"}
START = parse("2013-03-01T00:00:00Z")
AN_HOUR = 24  # rows of the baseline
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
JOBS = IntakeJobs("s3://bucket/code/1", "image", "arn:aws:iam::000000000000:role/intake", "ml.m5.xlarge", 2, ENCLOSURE)
RULES = WatchRules("flights", DAY, 0.3, most_bytes=10**9, jobs=JOBS)


def rows(seed: Any, count: int, by: float = 0.0) -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [[f"{random.normal() + by:.4f}", f"{random.normal():.4f}"] for _ in range(count)]


@cache
def learned() -> tuple[str, str]:
    """The baseline of sixty days."""
    found = rows(1, 60 * 24 * AN_HOUR)
    statistics, constraints = baseline_of(found, FEATURES, MonitorOptions(min_rows=100), None)
    times = np.array([3600.0 * (number // AN_HOUR) + 1 for number in range(len(found))])
    return json.dumps(with_chance(statistics, found, times)), json.dumps(constraints)


@pytest.fixture
def world(ledger: Any, store: Any, cloudwatch: Any, sagemaker: Any, topic: Any, bus: Any) -> Any:
    """A champion with a baseline of sixty days; `day(n, by)` is what the monitor says after that day's traffic."""
    crowned(ledger)
    for name, text in zip(("statistics", "constraints"), learned(), strict=True):
        store.put(f"old/{name}.json", text)

    def watch(time: str) -> dict[str, Any]:
        return watch_endpoint(
            {"time": time},
            rules=RULES,
            ledger=ledger,
            store=store,
            cloudwatch=cloudwatch,
            sagemaker=sagemaker,
            topic=topic,
            bus=bus,
        )

    def put(moment: Any, of: list[list[str]]) -> None:
        body = captures(of, time=f"{moment:%Y-%m-%dT%H:30:00Z}")
        store.put(f"capture/flights/AllTraffic/{moment:%Y/%m/%d/%H}/a.jsonl", body)

    def day(number: int, by: float = 0.0, count: int = 400) -> dict[str, Any]:
        for part in range(4):
            put(START + number * DAY + part * 6 * HOUR, rows((number, part), count // 4, by))
        watch(f"{START + (number + 1) * DAY:%Y-%m-%dT%H:%M:%SZ}")  # the day's hours are read
        return watch(f"{START + (number + 1) * DAY + HOUR:%Y-%m-%dT%H:%M:%SZ}")

    day.watch, day.put = watch, put  # type: ignore[attr-defined]
    return day


def captures(found: list[list[str]], time: str) -> bytes:
    return b"".join(captures_of(found, time=time))


def metric(cloudwatch: Any, name: str) -> list[float]:
    return [item["Value"] for item in cloudwatch.published if item["MetricName"] == name]


def document(store: Any, answer: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(store.read(answer["report_uri"])))


def test_a_shift_below_the_threshold_that_lasts_is_drift(world: Any, store: Any, ledger: Any, cloudwatch: Any) -> None:
    for number in range(8):
        assert world(number)["status"] == "STABLE"
    said = [world(number, by=0.6)["status"] for number in range(8, 15)]
    assert said[:2] == ["STABLE", "STABLE"]
    assert said[-1] == "DRIFTED"
    item = ledger.analysis("flights")
    assert item["detail"].startswith("lasting: distance is off by 0.2")
    assert item["worst_feature"] == "distance"
    assert metric(cloudwatch, "drift_max")[-1] > RULES.drift_threshold > metric(cloudwatch, "drift_max")[0]


def test_a_week_says_what_a_day_of_few_rows_cannot(world: Any, store: Any) -> None:
    said = [world(number, count=60)["status"] for number in range(9)]
    assert said[0] == "UNDECIDED"
    assert said[-1] == "STABLE"


def test_the_days_are_read_once_a_day(world: Any, store: Any) -> None:
    for number in range(8):
        world(number)
    read: list[str] = []
    bodies = store.bodies

    def told(keys: list[str]) -> Any:
        read.extend(keys)
        return bodies(keys)

    store.bodies = told
    world.watch("2013-03-09T02:00:00Z")
    assert sum(key.endswith("looks.json") for key in read) == 1
    assert not any(key.startswith("profiles/flights") and "/2013/03/05/" in key for key in read)


def test_what_was_seen_before_a_cooldown_ended_is_not_seen_again(world: Any, ledger: Any) -> None:
    for number in range(7):
        world(number)
    assert world(7, by=0.0)["status"] == "STABLE"
    for number in range(8, 15):
        last = world(number, by=0.6)
    assert last["status"] == "DRIFTED"
    end = START + 15 * DAY + 2 * HOUR
    episode = opened(ledger, trigger(end))
    ledger.close(episode, closed_at=end, rearm_at=end, outcome="champion_kept", reason="", detail="")
    assert world(15, by=0.6)["status"] == "STABLE"


def test_an_hour_in_which_a_column_stands_still_is_drift_at_once(world: Any, store: Any) -> None:
    for number in range(2):
        world(number)
    world.put(START + 2 * DAY + 9 * HOUR, [["0.5", weight] for _, weight in rows(5, 60)])
    answer = world.watch("2013-03-03T10:00:00Z")
    assert answer["status"] == "DRIFTED"
    found = document(store, answer)
    assert found["detail"].startswith("seen within 1 hour: 60 of 60 values of distance are one and the same")
    assert {item["by"] for item in found["seen"]} >= {"distance", "break"}


def test_an_hour_without_values_is_a_case_for_a_person(world: Any, topic: Any) -> None:
    for number in range(2):
        world(number)
    world.put(START + 2 * DAY + 9 * HOUR, [["", weight] for _, weight in rows(5, 60)])
    assert world.watch("2013-03-03T10:00:00Z")["status"] == "UNDECIDED"
    [(subject, text)] = topic.messages
    assert "schema_mismatch" in subject
    assert "distance is missing in 60 of 60 rows" in text


def test_a_baseline_without_times_has_no_other_looks(world: Any, store: Any) -> None:
    statistics, _ = baseline_of(rows(1, 6000), FEATURES, MonitorOptions(min_rows=100), None)
    store.put("old/statistics.json", json.dumps(statistics))
    for number in range(9):
        answer = world(number)
    assert document(store, answer)["seen"] == []


@pytest.mark.parametrize("hours", [168.0, 672.0])
def test_the_window_keeps_its_word_beside_looks_that_are_undecided(world: Any, store: Any, hours: float) -> None:
    statistics, constraints = (
        json.loads(store.read(f"s3://bucket/old/{name}.json")) for name in ("statistics", "constraints")
    )
    window = START, START + DAY
    found = analyse(
        [("c", [captures(rows(2, 400), "2013-03-01T10:30:00Z")])], statistics, constraints, window, alarm_threshold=0.3
    )
    beside = Seen(hours, "distance", Verdict.UNDECIDED, 0)
    assert (together(found, [beside]).verdict, together(found, [beside]).seen) == (found.verdict, (beside,))
