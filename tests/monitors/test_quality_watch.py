"""The answers of a window judged by their labels, filed and published once for each scheduled time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_plane import crowned, opened, trigger

from retrain.core.clock import parse, render
from retrain.core.errors import InvalidSettings, MalformedEvent, NoBaseline, Throttled
from retrain.core.names import REQUESTS
from retrain.monitors import quality_monitor
from retrain.monitors.quality_monitor import QualityWatchRules, watch_quality
from retrain.quality.verdict import GREATER, Demand, QualityRules, constraints_of

EVENT = json.loads((Path(__file__).parents[2] / "events" / "quality-scheduled.json").read_text())
RULES = QualityWatchRules("flights", timedelta(hours=744), timedelta(hours=24))
NOW = "2013-04-01T00:00:00Z"
ASKED, KNOWN = "2013/03/15/10", "2013/03/16/11"
FOLDER = "s3://bucket/monitor/flights/flights-quality/2013/04/01/00"


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def world(ledger: Any, store: Any, cloudwatch: Any, bus: Any) -> Any:
    """A champion whose rmse may be 10 at most, and ways to ask it things, to learn the truth, and to look back."""

    class World:
        answer, encoding = "{}\n", "CSV"

        def __init__(self) -> None:
            self.random = np.random.default_rng(5)
            self.truth: dict[str, float] = {}
            crowned(ledger)
            demands = constraints_of("regression", [Demand("rmse", 10.0, GREATER)])
            store.put("old/quality/constraints.json", json.dumps(demands))

        def ask(self, count: int, error: float, hour: str = ASKED, name: str = "a") -> None:
            records = []
            for number in range(count):
                identity = f"{hour}-{name}-{number}"
                self.truth[identity] = float(self.random.normal(100, 20))
                answer = self.answer.format(self.truth[identity] + self.random.normal(0, error))
                output = {"mode": "OUTPUT", "data": answer, "encoding": self.encoding}
                year, month, day, begun = hour.split("/")
                metadata = {"eventId": identity, "inferenceTime": f"{year}-{month}-{day}T{begun}:30:00Z"}
                records.append(
                    {"captureData": {"endpointOutput": output}, "eventMetadata": metadata, "eventVersion": "0"}
                )
            store.put(f"capture/flights/AllTraffic/{hour}/{name}.jsonl", lines(records))

        def learn(self, share: float = 1.0, hour: str = KNOWN) -> None:
            known = list(self.truth.items())[: int(share * len(self.truth))]
            records = [
                {"groundTruthData": {"data": str(truth), "encoding": "CSV"}, "eventMetadata": {"eventId": identity}}
                for identity, truth in known
            ]
            store.put(f"labels/{hour}/a.jsonl", lines(records))

        def look(self, time: str = NOW, rules: QualityWatchRules = RULES) -> dict[str, Any]:
            return watch_quality(
                {**EVENT, "time": time}, rules=rules, ledger=ledger, store=store, cloudwatch=cloudwatch, bus=bus
            )

        def published(self, name: str) -> list[float]:
            return [item["Value"] for item in cloudwatch.published if item["MetricName"] == name]

        def item(self) -> dict[str, Any]:
            return dict(ledger.analysis("flights", of="QUALITY"))

    return World()


def test_answers_that_got_worse_are_filed_published_and_in_the_ledger(world: Any, store: Any, cloudwatch: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    assert world.look() == {"status": "DRIFTED", "report_uri": f"{FOLDER}/analysis.json"}
    documents = {
        name: json.loads(store.read(f"{FOLDER}/{name}.json"))
        for name in ("statistics", "constraints", "constraint_violations", "analysis")
    }
    rmse = documents["statistics"]["regression_metrics"]["rmse"]["value"]
    assert rmse == pytest.approx(20, rel=0.1)
    [violation] = documents["constraint_violations"]["violations"]
    assert (violation["metric_name"], violation["constraint_check_type"]) == ("rmse", GREATER)
    assert documents["constraints"]["regression_constraints"]["rmse"]["threshold"] == 10
    assert documents["analysis"]["sample"] == {
        "share": 1.0,
        "captures": 800,
        "rows": 800,
        "drawn": 800,
        "most_rows": 100_000,
    }
    item = world.item()
    assert (item["verdict"], item["published"]) == ("DRIFTED", True)
    assert item["detail"] == f"rmse is {rmse:.4g}, at most 10 is allowed"
    assert world.published("rmse") == [rmse]
    assert world.published("quality_max") == [pytest.approx(rmse / 10)]
    assert world.published("label_coverage") == [1.0]
    assert {point["Timestamp"] for point in cloudwatch.published} == {parse(NOW)}, "an alarm looks at what is new"


def test_the_report_writer_hears_of_it_and_may_be_deaf(world: Any, bus: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    world.look()
    detail = {
        "endpoint_name": "flights",
        "report_uri": f"{FOLDER}/analysis.json",
        "baseline_uri": "s3://bucket/old/quality/constraints.json",
    }
    assert bus.events == [("Window Analysed", detail)]
    bus.down = True
    world.ask(10, error=20, name="b")
    assert world.look("2013-04-01T01:00:00Z")["status"] == "DRIFTED"


def test_answers_as_good_as_ever_are_stable(world: Any) -> None:
    world.ask(800, error=8)
    world.learn()
    assert world.look()["status"] == "STABLE"
    assert 0.5 < world.published("quality_max")[0] < 1


def test_of_several_values_the_one_that_the_model_s_owner_named_is_judged_a_sample_too(
    world: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.answer, world.encoding = '{{"version": 7, "price": {}}}\n', "JSON"
    monkeypatch.setattr(quality_monitor, "MOST_ROWS", 500)
    world.ask(800, error=8)
    world.learn()
    assert world.look()["status"] == "UNDECIDED", "nobody said which value it is"
    demands = constraints_of("regression", [Demand("rmse", 10.0, GREATER)])
    own = {**asdict(QualityRules(prediction="price")), "classes": []}
    store.put("old/quality/constraints.json", json.dumps({**demands, "drift_retrain": own}))
    world.ask(1, error=8, name="b")
    assert world.look("2013-04-01T01:00:00Z")["status"] == "STABLE"


def test_without_enough_labels_nothing_but_their_coverage_is_published(world: Any) -> None:
    world.ask(800, error=20)
    world.learn(share=0.125)
    assert world.look()["status"] == "UNDECIDED"
    assert (world.item()["verdict"], world.item()["reason"]) == ("UNDECIDED", "labels_insufficient")
    assert world.published("label_coverage") == [0.125]
    assert world.published("quality_max") == world.published("rmse") == []


def test_captures_whose_labels_are_not_due_yet_do_not_count(world: Any) -> None:
    world.ask(400, error=8)
    world.ask(400, error=50, hour="2013/03/31/01")
    world.learn(hour="2013/03/31/12")
    assert world.look()["status"] == "STABLE"
    assert (world.item()["rows"], world.item()["window_end"]) == (400, "2013-03-31T00:00:00Z")
    none = QualityWatchRules("flights", timedelta(hours=744), timedelta(0))
    assert world.look("2013-04-01T01:00:00Z", none)["status"] == "DRIFTED"


def test_labels_from_the_future_of_an_analysis_are_not_looked_at(world: Any) -> None:
    world.ask(800, error=20)
    world.learn(hour="2013/04/01/05")
    assert world.look()["status"] == "UNDECIDED"
    assert world.look("2013-04-01T05:20:00Z")["status"] == "DRIFTED"


def test_the_same_time_is_published_once(world: Any, cloudwatch: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    world.look()
    count = len(cloudwatch.published)
    assert world.look() == {"action": "ignored", "reason": "analysed_already"}
    assert world.look("2013-03-31T23:00:00Z") == {"action": "ignored", "reason": "analysed_already"}
    assert len(cloudwatch.published) == count


def test_the_same_files_are_judged_once(world: Any, cloudwatch: Any, store: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    world.look()
    count = len(cloudwatch.published)
    assert world.look("2013-04-01T01:00:00Z") == {"action": "ignored", "reason": "nothing_new"}
    assert len(cloudwatch.published) == count
    store.put("labels/2013/04/01/00/late.jsonl", "")
    assert world.look("2013-04-01T02:00:00Z")["status"] == "DRIFTED"


def test_a_monitor_that_died_before_publishing_is_made_up_for(world: Any, cloudwatch: Any, seconds: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    publish = cloudwatch.put_metrics

    def dies(_: Any) -> None:
        cloudwatch.put_metrics = publish
        raise Throttled("the function died here")

    cloudwatch.put_metrics = dies
    with pytest.raises(Throttled):
        world.look()
    seconds.now += 60
    assert world.look()["status"] == "DRIFTED"
    assert len(world.published("quality_max")) == 1


def test_evidence_from_before_the_end_of_the_cooldown_is_not_used_again(world: Any, ledger: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    episode = opened(ledger, trigger(parse("2013-03-20T00:00:00Z")))
    end = parse("2013-03-20T01:00:00Z")
    ledger.close(episode, closed_at=end, rearm_at=end, outcome="champion_kept", reason="", detail="")
    assert world.look()["status"] == "UNDECIDED"
    assert (world.item()["window_start"], world.item()["rows"]) == (render(end), 0)
    assert world.published("quality_max") == world.published("label_coverage") == []


def test_a_champion_from_before_there_were_quality_constraints_is_undecided(world: Any, ledger: Any) -> None:
    episode = opened(ledger)
    ledger.switch_champion(episode, {"since": "2013-01-01T00:00:00Z", "statistics_uri": "s", "constraints_uri": "c"})
    world.ask(800, error=20)
    world.learn()
    assert world.look() == {"status": "UNDECIDED", "reason": "no_baseline"}
    assert world.item()["reason"] == "no_baseline"
    assert world.published("quality_max") == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", "the file is not JSON"),
        ('{"regression_constraints": {}, "binary_classification_constraints": {}}', "exactly one of"),
        ('{"regression_constraints": {}, "drift_retrain": {"min_labels": "two"}}', "min_labels: 'two' is not a number"),
    ],
)
def test_constraints_that_cannot_be_read_are_an_error_not_a_verdict(
    world: Any, store: Any, content: str, says: str
) -> None:
    store.put("old/quality/constraints.json", content)
    with pytest.raises(NoBaseline, match=says):
        world.look()


def test_corrupt_captures_and_contradictory_labels_are_undecided(world: Any, store: Any) -> None:
    world.ask(800, error=20)
    world.learn()
    store.put(f"capture/flights/AllTraffic/{ASKED}/b.jsonl", "{\n" * 100)
    assert world.look()["status"] == "UNDECIDED"
    assert world.item()["reason"] == "capture_corrupt"
    store.put(f"capture/flights/AllTraffic/{ASKED}/b.jsonl", "")
    for identity in world.truth:
        world.truth[identity] += 1
    world.learn(hour="2013/03/17/00")
    assert world.look("2013-04-01T01:00:00Z")["status"] == "UNDECIDED"
    assert world.item()["reason"] == "suspect_data"


def test_more_answers_than_fit_are_sampled_and_the_report_says_so(
    world: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality_monitor, "MOST_ROWS", 1000)
    world.ask(3000, error=20)
    world.learn()
    assert world.look()["status"] == "DRIFTED"
    analysis = json.loads(store.read(f"{FOLDER}/analysis.json"))
    assert (analysis["sample"]["share"], analysis["sample"]["rows"]) == (0.25, 3000)
    assert analysis["rows"] == analysis["labelled"] == analysis["sample"]["drawn"] < 1000
    assert analysis["label_coverage"] == 1.0


def test_an_endpoint_without_a_champion_is_not_watched(ledger: Any, store: Any, cloudwatch: Any, bus: Any) -> None:
    answer = watch_quality(EVENT, rules=RULES, ledger=ledger, store=store, cloudwatch=cloudwatch, bus=bus)
    assert answer == {"action": "ignored", "reason": "no_champion"}
    assert [(item["MetricName"], item["Value"]) for item in cloudwatch.published] == [("answers_without_labels", 0.0)]


@pytest.mark.parametrize("event", [[], {"no": "time"}, {"time": "noon"}, {"time": 3}])
def test_an_event_without_a_time_is_malformed(event: Any, ledger: Any, store: Any, cloudwatch: Any, bus: Any) -> None:
    with pytest.raises(MalformedEvent):
        watch_quality(event, rules=RULES, ledger=ledger, store=store, cloudwatch=cloudwatch, bus=bus)


@pytest.mark.parametrize(("said", "rows"), [(0, 400), (24 * 20, 0), (None, 400)])
def test_how_long_labels_take_is_said_by_the_model_or_else_by_the_deployment(
    world: Any, store: Any, said: float | None, rows: int
) -> None:
    """Asked on the 15th: a window that ended twenty days before April does not hold it."""
    demands = constraints_of("regression", [Demand("rmse", 10.0, GREATER)])
    if said is not None:
        demands["drift_retrain"] = {"label_delay_hours": said}
    store.put("old/quality/constraints.json", json.dumps(demands))
    world.ask(400, error=1)
    world.learn()
    world.look()
    assert world.item().get("rows", 0) == rows


@pytest.mark.parametrize(("window", "delay"), [(0, 24), (-1, 24), (24, -1)])
def test_times_that_make_no_sense_are_invalid(window: int, delay: int) -> None:
    with pytest.raises(InvalidSettings):
        QualityWatchRules("flights", timedelta(hours=window), timedelta(hours=delay))


def test_silence_is_told_only_where_answers_are_old_enough_and_none_has_a_label(world: Any) -> None:
    world.look()
    assert world.published("answers_without_labels") == [0.0], "nobody asked anything yet"
    world.ask(800, error=8)
    world.look("2013-04-01T01:00:00Z")
    assert world.published("answers_without_labels") == [0.0, 1.0]
    world.learn(0.01)
    world.look("2013-04-01T02:00:00Z")
    assert world.published("answers_without_labels") == [0.0, 1.0, 0.0]


def test_as_long_as_nothing_is_asked_every_look_says_so(world: Any) -> None:
    for hour in range(3):
        world.look(f"2013-04-01T0{hour}:00:00Z")
    assert world.published("answers_without_labels") == [0.0, 0.0, 0.0]


def told(bus: Any) -> list[dict[str, Any]]:
    return [detail for name, detail in bus.events if name == REQUESTS["evidence"]]


@pytest.fixture
def enough(store: Any) -> QualityWatchRules:
    """A champion to which 1,000 labelled rows of a day are enough, and a monitor that says so."""
    document = constraints_of("regression", [Demand("rmse", 10.0, GREATER)])
    rules = asdict(QualityRules(evidence_rows=1000, cycle_hours=24.0))
    store.put("old/quality/constraints.json", json.dumps({**document, "drift_retrain": {"classes": [], **rules}}))
    return replace(RULES, window=timedelta(hours=24), on_evidence=True)


def test_enough_labelled_rows_since_the_last_window_that_was_learned_from_are_told(
    world: Any, ledger: Any, bus: Any, enough: QualityWatchRules
) -> None:
    begun = parse("2013-03-14T10:00:00Z")
    episode = opened(ledger, trigger(parse("2013-03-14T00:00:00Z")))
    ledger.keep_rows(episode, (begun - timedelta(days=1), begun), "rows/flights/before", "7" * 64)
    for day, rows in (("15", 600), ("16", 700), ("17", 500)):
        world.ask(rows, error=5, hour=f"2013/03/{day}/09")
    for day in ("16", "17", "18"):
        world.learn(hour=f"2013/03/{day}/09")
    world.look("2013-03-16T10:00:00Z", enough)  # labels are due for what was asked until the 15th, 10 o'clock
    assert told(bus) == []
    assert ledger.evidence("flights")["rows"] == 600
    world.look("2013-03-16T20:00:00Z", enough)  # nothing is counted twice
    assert ledger.evidence("flights")["rows"] == 600
    world.look("2013-03-17T10:00:00Z", enough)
    window = {"window_start": "2013-03-14T10:00:00Z", "window_end": "2013-03-16T10:00:00Z"}
    assert told(bus) == [{"endpoint_name": "flights", **window, "rows": 1300}]
    ledger.keep_rows(episode, (begun, parse("2013-03-16T10:00:00Z")), "rows/flights/now", "8" * 64)
    world.look("2013-03-18T10:00:00Z", enough)
    assert ledger.evidence("flights")["rows"] == 500
    assert len(told(bus)) == 1


def test_where_only_alarms_count_one_that_was_postponed_begins_when_there_are_enough_rows(
    world: Any, ledger: Any, bus: Any, enough: QualityWatchRules
) -> None:
    episode = opened(ledger, trigger(parse("2013-03-14T00:00:00Z")))
    begun = parse("2013-03-14T10:00:00Z")
    ledger.keep_rows(episode, (begun - timedelta(days=1), begun), "rows/flights/before", "7" * 64)
    world.ask(1500, error=5, hour="2013/03/15/09")
    world.learn(hour="2013/03/16/09")
    rules = replace(enough, on_evidence=False)
    ledger.postpone(trigger(begun - timedelta(hours=1)))
    world.look("2013-03-16T10:00:00Z", rules)
    assert told(bus) == [], "what was postponed before the last window has had its episode"
    ledger.postpone(trigger(parse("2013-03-15T12:00:00Z")))
    world.ask(10, error=5, name="b", hour="2013/03/15/09")
    world.look("2013-03-16T11:00:00Z", rules)
    assert [detail["rows"] for detail in told(bus)] == [1500]
    assert world.item()["needed_rows"] == 1000


def test_with_economics_enough_rows_are_told_when_what_was_lost_is_worth_a_training(
    world: Any, ledger: Any, bus: Any, store: Any, enough: QualityWatchRules
) -> None:
    """An error of about 9 where the holdout's was 5, 730 dollars a month and unit: 4 or so a day and hour lost."""
    file = "old/quality/constraints.json"
    document = json.loads(store.read(f"s3://bucket/{file}"))
    document["drift_retrain"] |= {
        "training_dollars": 150.0,
        "error_dollars": 730.0,
        "main": {"metric": "rmse", "value": 5.0},
    }
    store.put(file, json.dumps(document))
    episode = opened(ledger, trigger(parse("2013-03-14T00:00:00Z")))
    begun = parse("2013-03-14T10:00:00Z")
    ledger.keep_rows(episode, (begun - timedelta(days=1), begun), "rows/flights/before", "7" * 64)
    for day in ("15", "16"):
        world.ask(1500, error=9, hour=f"2013/03/{day}/09")
    for day in ("16", "17"):
        world.learn(hour=f"2013/03/{day}/09")
    world.look("2013-03-16T10:00:00Z", enough)
    counted = ledger.evidence("flights")
    assert (counted["rows"], counted["training_dollars"]) == (1500, 150.0)
    assert counted["lost"] == pytest.approx(4 * 24, rel=0.1)
    assert world.item()["dollars_a_month"] == pytest.approx(4 * 730, rel=0.1)
    assert told(bus) == []
    world.look("2013-03-17T10:00:00Z", enough)
    assert ledger.evidence("flights")["lost"] == pytest.approx(8 * 24, rel=0.1)
    assert [detail["rows"] for detail in told(bus)] == [3000]


@pytest.mark.parametrize("change", [{"on_evidence": False}, {"rows": 10_000}, {"cycle_hours": 72.0}])
def test_evidence_is_not_told_before_it_is_enough_or_where_only_alarms_count(
    change: dict[str, Any], world: Any, ledger: Any, bus: Any, store: Any, enough: QualityWatchRules
) -> None:
    if "on_evidence" not in change:
        file = "old/quality/constraints.json"
        document = json.loads(store.read(f"s3://bucket/{file}"))
        document["drift_retrain"]["evidence_rows"] = change.get("rows", 1000)
        document["drift_retrain"]["cycle_hours"] = change.get("cycle_hours", 24.0)
        store.put(file, json.dumps(document))
    episode = opened(ledger, trigger(parse("2013-03-14T00:00:00Z")))
    begun = parse("2013-03-14T10:00:00Z")
    ledger.keep_rows(episode, (begun - timedelta(days=1), begun), "rows/flights/before", "7" * 64)
    world.ask(1500, error=5, hour="2013/03/15/09")
    world.learn(hour="2013/03/16/09")
    world.look("2013-03-16T10:00:00Z", replace(enough, on_evidence=change.get("on_evidence", True)))
    assert ledger.evidence("flights")["rows"] == 1500
    assert told(bus) == []
