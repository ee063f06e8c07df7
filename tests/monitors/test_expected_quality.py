"""What the quality of the newest answers is to be expected to be is filed and published, hours before their labels."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from control_plane import crowned

from retrain.model.table import Table
from retrain.monitors import expected_quality
from retrain.monitors.quality_monitor import QualityWatchRules, watch_quality
from retrain.quality.days import Main
from retrain.quality.estimate import learn_estimator
from retrain.quality.labels import learn_labels
from retrain.quality.verdict import GREATER, Demand, constraints_of

RULES = QualityWatchRules("flights", timedelta(hours=24), timedelta(hours=24))
EXPECTED = "s3://bucket/monitor/flights/flights-quality/2013/04/02/00/estimate.json"
ANALYSIS = "s3://bucket/monitor/flights/flights-quality/2013/04/02/00/analysis.json"


def rows(random: np.random.Generator, count: int, harder: float) -> tuple[Any, Any, Any]:
    """Rows, truth and answers of a model whose errors grow with x."""
    x = np.clip(random.normal(harder, 1.0, count), -3.0, 3.0)
    return x, 10 * x + random.normal(0, 1, count) * np.exp(0.5 * x), 10 * x


def told(value: float) -> dict[str, str]:
    return {"data": str(value), "encoding": "CSV"}


@pytest.fixture
def world(ledger: Any, store: Any, cloudwatch: Any, bus: Any) -> Any:
    class World:
        def __init__(self) -> None:
            self.random = np.random.default_rng(5)
            crowned(ledger)
            x, truth, output = rows(self.random, 4_000, 0.0)
            known = learn_estimator("rmse", Table({"x": x}), truth, output, {"x": "numeric"})
            assert known
            document = constraints_of("regression", [Demand("rmse", 2.0, GREATER)])
            document["drift_retrain"] = {"estimate": known.document(), "main": Main("rmse", 1.6).document()}
            store.put("old/quality/constraints.json", json.dumps(document))

        def ask(self, day: str, harder: float = 0.0, changed: float = 1.0, *, labelled: bool = True) -> None:
            x, truth, output = rows(self.random, 1_000, harder)
            truth = output + (truth - output) * changed
            captures, labels = [], []
            for number, (asked, label, answer) in enumerate(zip(x, truth, output, strict=True)):
                event = {"eventId": f"{day}-{number}", "inferenceTime": f"{day.replace('/', '-')}T10:30:00Z"}
                data = {"endpointInput": told(asked), "endpointOutput": told(answer)}
                captures.append(json.dumps({"captureData": data, "eventMetadata": event}))
                labels.append(json.dumps({"groundTruthData": told(label), "eventMetadata": event}))
            store.put(f"capture/flights/AllTraffic/{day}/10/a.jsonl", "\n".join(captures))
            if labelled:
                store.put(f"labels/{day}/12/a.jsonl", "\n".join(labels))

        def look(self, time: str = "2013-04-02T00:00:00Z") -> dict[str, Any]:
            return watch_quality(
                {"time": time}, rules=RULES, ledger=ledger, store=store, cloudwatch=cloudwatch, bus=bus
            )

        def published(self, name: str) -> list[float]:
            return [item["Value"] for item in cloudwatch.published if item["MetricName"] == name]

    return World()


def late(world: Any, harder: float = 0.0, changed: float = 1.0) -> None:
    """The judged day is 31 March; of the newest one, 1 April, there are captures, and no labels yet."""
    world.ask("2013/03/31", changed=changed)
    world.ask("2013/04/01", harder=harder, labelled=False)


def test_harder_rows_are_told_before_their_labels(world: Any, store: Any) -> None:
    late(world, harder=1.0)
    assert world.look()["status"] == "STABLE"
    found = json.loads(store.read(EXPECTED))
    assert (found["window_end"], found["reason"], found["rows"]) == ("2013-04-02T00:00:00Z", None, 1_000)
    assert found["value"] == pytest.approx(2.1, rel=0.1)
    assert found["interval"][0] < found["value"] < found["interval"][1]
    assert world.published("expected_rmse") == [found["value"]]
    assert world.published("quality_expected") == [pytest.approx(found["value"] / 2)]
    assert world.published("quality_expected_worst") == [pytest.approx(found["interval"][1] / 2)]


def test_the_judged_window_has_its_estimate_beside_what_was_realised(world: Any, store: Any) -> None:
    late(world)
    world.look()
    analysis = json.loads(store.read(ANALYSIS))
    [rmse] = analysis["metrics"]
    assert analysis["estimate"]["interval"][0] <= rmse["value"] <= analysis["estimate"]["interval"][1]
    assert analysis["estimate"]["contradicted"] is False


def test_without_news_of_labels_the_newest_answers_are_estimated_all_the_same(world: Any, store: Any) -> None:
    late(world)
    world.look()
    store.put(EXPECTED.removeprefix("s3://bucket/"), "{}")
    assert world.look("2013-04-02T00:30:00Z")["reason"] == "nothing_new"
    assert json.loads(store.read(EXPECTED))["value"] > 0


def test_labels_that_say_otherwise_end_the_estimates(world: Any, store: Any) -> None:
    late(world, changed=3.0)
    assert world.look()["status"] == "DRIFTED"
    assert json.loads(store.read(ANALYSIS))["estimate"]["contradicted"] is True
    found = json.loads(store.read(EXPECTED))
    assert (found["reason"], found["value"]) == ("relation_changed", None)
    assert world.published("expected_rmse") == world.published("quality_expected") == []


def test_of_many_captures_a_sample_is_read(world: Any, store: Any) -> None:
    late(world)
    store.put("capture/flights/AllTraffic/2013/04/01/11/b.jsonl", " " * (2 * expected_quality.MOST_BYTES))
    world.look()
    assert 300 < json.loads(store.read(EXPECTED))["rows"] < 500


def test_a_champion_that_nothing_was_learned_of_has_no_estimate(world: Any, store: Any) -> None:
    store.put("old/quality/constraints.json", json.dumps(constraints_of("regression", [Demand("rmse", 2.0, GREATER)])))
    late(world)
    assert world.look()["status"] == "STABLE"
    assert "estimate" not in json.loads(store.read(ANALYSIS))
    assert world.published("expected_rmse") == []


def test_a_shift_of_the_labels_is_said(world: Any, store: Any) -> None:
    known = json.loads(store.read("s3://bucket/old/quality/constraints.json"))
    truth = np.random.default_rng(1).normal(0, 10, 4_000)
    known["drift_retrain"]["labels"] = learn_labels(truth + 60, (), np.full(4_000, np.nan)).document()
    store.put("old/quality/constraints.json", json.dumps(known))
    late(world)
    world.look()
    assert json.loads(store.read(ANALYSIS))["labels"]["shifted"] is True


def test_a_champion_that_has_just_begun_to_serve_has_a_window_of_no_time_and_labels_of_no_distribution(
    world: Any, store: Any
) -> None:
    held = learn_labels(np.arange(100.0), (), np.arange(100.0) * 3_600)
    document = json.loads(store.read("s3://bucket/old/quality/constraints.json"))
    document["drift_retrain"]["labels"] = held.document()
    store.put("old/quality/constraints.json", json.dumps(document))
    assert world.look("2013-01-01T00:30:00Z")["status"] == "UNDECIDED"
