"""One window analysed, filed and published for each scheduled time."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_plane import ENCLOSURE, crowned, opened, trigger

from retrain.core.clock import parse, render
from retrain.core.errors import InvalidSettings, MalformedEvent, NoBaseline, Retryable, Throttled
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of
from retrain.jobs.intake import main as intake_job
from retrain.model.monitor_options import MonitorOptions
from retrain.monitors.drift_monitor import IntakeJobs, WatchRules, usual_rows, watch_endpoint

EVENT = json.loads((Path(__file__).parents[2] / "events" / "monitor-scheduled.json").read_text())
JOBS = IntakeJobs("s3://bucket/code/1", "image", "arn:aws:iam::000000000000:role/intake", "ml.m5.xlarge", 2, ENCLOSURE)
RULES = WatchRules("flights", timedelta(hours=744), 0.3, most_bytes=10**9, jobs=JOBS)
FEATURES = {"distance": "numeric", "carrier": "categorical"}
DAY = "2013/03/15/10"
DAY_LONG = timedelta(days=1)


def rows(seed: int, middle: float = 1000.0, count: int = 1500) -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [
        [f"{x:.1f}", "UADL"[i : i + 2]]
        for x, i in zip(random.normal(middle, 200, count), random.integers(0, 3, count), strict=True)
    ]


def captures(found: list[list[str]], time: str = "2013-03-15T10:30:00Z") -> bytes:
    lines = []
    for number, row in enumerate(found):
        data = {"mode": "INPUT", "observedContentType": "text/csv", "data": ",".join(row) + "\n", "encoding": "CSV"}
        metadata = {"eventId": f"event-{number}", "inferenceTime": time}
        lines.append(
            json.dumps({"captureData": {"endpointInput": data}, "eventMetadata": metadata, "eventVersion": "0"})
        )
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def watch(ledger: Any, store: Any, cloudwatch: Any, sagemaker: Any, topic: Any, bus: Any) -> Any:
    def call(time: str = "2013-04-01T00:00:00Z", event: Any = None, **rules: Any) -> dict[str, Any]:
        return watch_endpoint(
            {**EVENT, "time": time} if event is None else event,
            rules=replace(RULES, **rules),
            ledger=ledger,
            store=store,
            cloudwatch=cloudwatch,
            sagemaker=sagemaker,
            topic=topic,
            bus=bus,
        )

    return call


@pytest.fixture
def champion(ledger: Any, store: Any) -> None:
    """A champion whose baseline is known, since January."""
    crowned(ledger)
    statistics, constraints = baseline_of(rows(1), FEATURES, MonitorOptions.of({}), None)
    store.put("old/statistics.json", json.dumps(statistics))
    store.put("old/constraints.json", json.dumps(constraints))


def metric(cloudwatch: Any, name: str) -> list[float]:
    return [item["Value"] for item in cloudwatch.published if item["MetricName"] == name]


def put(store: Any, body: bytes, hour: str = DAY) -> None:
    store.put(f"capture/flights/AllTraffic/{hour}/a.jsonl", body)


def test_a_drifted_window_is_filed_published_and_in_the_ledger(
    watch: Any, champion: None, store: Any, ledger: Any, cloudwatch: Any, topic: Any
) -> None:
    put(store, captures(rows(2, middle=1500)))
    answer = watch()
    assert answer["status"] == "DRIFTED"
    folder = "s3://bucket/monitor/flights/flights-drift/2013/04/01/00"
    for name in ("statistics", "constraints", "constraint_violations", "analysis"):
        json.loads(store.read(f"{folder}/{name}.json"))
    item = ledger.analysis("flights")
    assert (item["verdict"], item["worst_feature"], item["published"]) == ("DRIFTED", "distance", True)
    assert item["report_uri"] == answer["report_uri"] == f"{folder}/00/analysis.json"
    assert store.read(f"{folder}/00/statistics.json") == store.read(f"{folder}/statistics.json")
    [drift_max] = metric(cloudwatch, "drift_max")
    assert drift_max > RULES.drift_threshold
    assert topic.messages == []


def test_a_stable_window_says_so(watch: Any, champion: None, store: Any, cloudwatch: Any) -> None:
    put(store, captures(rows(2)))
    assert watch()["status"] == "STABLE"
    assert metric(cloudwatch, "drift_max")[0] < RULES.drift_threshold


def test_a_window_without_captures_is_undecided_and_arms_the_alarm(watch: Any, champion: None, cloudwatch: Any) -> None:
    assert watch()["status"] == "UNDECIDED"
    assert metric(cloudwatch, "drift_max") == []
    assert metric(cloudwatch, "rows_analyzed") == [0.0]


def test_the_same_time_is_published_once(watch: Any, champion: None, store: Any, cloudwatch: Any) -> None:
    put(store, captures(rows(2, middle=1500)))
    watch()
    published = len(cloudwatch.published)
    assert watch() == {"action": "ignored", "reason": "analysed_already"}
    assert watch("2013-03-31T00:00:00Z") == {"action": "ignored", "reason": "analysed_already"}
    assert len(cloudwatch.published) == published


def test_two_runs_at_the_same_time_publish_once(
    watch: Any, champion: None, store: Any, cloudwatch: Any, topic: Any
) -> None:
    put(store, captures([row[:1] for row in rows(2)]))
    publish = cloudwatch.put_metrics

    def meanwhile(metrics: Any) -> None:
        cloudwatch.put_metrics = publish
        with pytest.raises(Retryable):  # Lambda will ask again, and find it published
            watch()
        publish(metrics)

    cloudwatch.put_metrics = meanwhile
    watch()
    assert watch() == {"action": "ignored", "reason": "analysed_already"}
    assert (len(metric(cloudwatch, "rows_analyzed")), len(topic.messages)) == (1, 1)


def test_a_monitor_that_died_before_publishing_is_made_up_for(
    watch: Any, champion: None, store: Any, cloudwatch: Any, seconds: Any
) -> None:
    put(store, captures(rows(2, middle=1500)))
    publish = cloudwatch.put_metrics

    def dies(_: Any) -> None:
        cloudwatch.put_metrics = publish
        raise Throttled("the function died here")

    cloudwatch.put_metrics = dies
    with pytest.raises(Throttled):
        watch()
    seconds.now += 60
    assert watch()["status"] == "DRIFTED"
    assert len(metric(cloudwatch, "drift_max")) == 1


def test_evidence_from_before_the_end_of_the_cooldown_is_not_used_again(
    watch: Any, champion: None, store: Any, ledger: Any, cloudwatch: Any
) -> None:
    put(store, captures(rows(2, middle=1500)))
    episode = opened(ledger, trigger(parse("2013-03-20T00:00:00Z")))
    end = parse("2013-03-20T01:00:00Z")
    ledger.close(episode, closed_at=end, rearm_at=end, outcome="champion_kept", reason="", detail="")
    assert watch()["status"] == "UNDECIDED"
    assert ledger.analysis("flights")["window_start"] == render(end)
    assert metric(cloudwatch, "drift_max") == []


def test_captures_outside_the_window_do_not_count(watch: Any, champion: None, store: Any, ledger: Any) -> None:
    put(store, captures(rows(2, middle=1500), time="2013-02-15T10:30:00Z"))
    assert watch()["status"] == "UNDECIDED"
    assert ledger.analysis("flights")["rows"] == 0


def test_a_gz_file_with_a_corrupt_line_is_read_and_the_line_counted(
    watch: Any, champion: None, store: Any, ledger: Any
) -> None:
    put(store, gzip.compress(captures(rows(2)) + b'{"captureData": \n'))
    assert watch()["status"] == "STABLE"
    item = ledger.analysis("flights")
    assert (item["rows"], item["bad_rows"]) == (1500, 1)


def test_broken_data_is_told_once_and_publishes_no_drift(
    watch: Any, champion: None, store: Any, cloudwatch: Any, topic: Any
) -> None:
    put(store, captures([row[:1] for row in rows(2)]))
    for time in ("2013-04-01T00:00:00Z", "2013-04-01T00:05:00Z"):
        assert watch(time)["status"] == "UNDECIDED"
    [(subject, text)] = topic.messages
    assert "schema_mismatch" in subject
    folder = "s3://bucket/monitor/flights/flights-drift/2013/04/01/00"
    assert f"{folder}/00/drift.html" in text
    assert json.loads(store.read(f"{folder}/00/analysis.json"))["window_end"] == "2013-04-01T00:00:00Z"
    assert json.loads(store.read(f"{folder}/analysis.json"))["window_end"] == "2013-04-01T00:05:00Z"
    assert not store.keys("monitor/flights/flights-drift/2013/04/01/00/05/")
    assert metric(cloudwatch, "drift_max") == []


def test_five_hundred_broken_columns_of_the_longest_names_are_told_in_bounds(
    watch: Any, ledger: Any, store: Any, topic: Any, cloudwatch: Any
) -> None:
    """DynamoDB takes 400 KB an item, SNS 256 KB a message."""
    crowned(ledger)
    names = [f"{'n' * 251}{number:04}" for number in range(500)]
    draw = np.random.default_rng(1)
    table = [[f"{value:.1f}" for value in row] for row in draw.normal(1000, 200, (300, len(names)))]
    statistics, constraints = baseline_of(table, dict.fromkeys(names, "numeric"), MonitorOptions.of({}), None)
    store.put("old/statistics.json", json.dumps(statistics))
    store.put("old/constraints.json", json.dumps(constraints))
    put(store, captures([["text"] * len(names)] * 300))
    assert watch()["status"] == "UNDECIDED"
    item = ledger.analysis("flights")
    assert (item["reason"], len(json.dumps(item, default=str)) < 5_000) == ("schema_mismatch", True)
    [(_, text)] = topic.messages
    assert len(text) < 5_000
    assert all(len(published["MetricName"]) <= 255 for published in cloudwatch.published)


def test_captures_that_stop_are_told_once_whatever_the_windows_length(
    watch: Any, champion: None, store: Any, ledger: Any, topic: Any
) -> None:
    put(store, captures(rows(2)))
    for hour in range(12, 23):
        watch(f"2013-03-15T{hour}:00:00Z", window=timedelta(hours=6))
    item = ledger.analysis("flights")
    assert (item["verdict"], item["reason"], item["triage"]) == ("UNDECIDED", "capture_missing", True)
    [(subject, text)] = topic.messages
    assert subject == "flights: broken data, capture_missing"
    assert "Window   2013-03-15T11:00:00Z to 2013-03-15T17:00:00Z" in text


def test_a_window_that_a_cooldown_cut_short_may_be_empty(watch: Any, champion: None, ledger: Any, topic: Any) -> None:
    episode = opened(ledger, trigger(parse("2013-03-20T00:00:00Z")))
    end = parse("2013-03-20T06:00:00Z")
    ledger.close(episode, closed_at=end, rearm_at=end, outcome="champion_kept", reason="", detail="")
    for time in ("2013-03-20T05:00:00Z", "2013-03-20T09:00:00Z"):
        assert watch(time, window=timedelta(hours=6))["status"] == "UNDECIDED"
    assert topic.messages == []
    watch("2013-03-20T12:00:00Z", window=timedelta(hours=6))
    assert len(topic.messages) == 1


def test_a_volume_that_collapses_is_told_and_raises_no_drift(
    watch: Any, champion: None, store: Any, ledger: Any, cloudwatch: Any, topic: Any
) -> None:
    put(store, captures(rows(2, count=6000), time="2013-03-15T10:30:00Z"))
    assert watch("2013-03-16T00:00:00Z", window=DAY_LONG)["status"] == "STABLE"
    assert ledger.analysis("flights")["usual_rows"] == 250.0
    put(store, captures(rows(2, middle=1500, count=590), time="2013-03-16T10:30:00Z"), "2013/03/16/10")
    assert watch("2013-03-17T00:00:00Z", window=DAY_LONG)["status"] == "UNDECIDED"
    item = ledger.analysis("flights")
    assert (item["reason"], item["detail"]) == ("volume_collapse", "590 rows, about 6000 were expected")
    [(subject, _)] = topic.messages
    assert "volume_collapse" in subject
    assert metric(cloudwatch, "drift_max")[1:] == []
    assert 225 < item["usual_rows"] < 250, "what is usual follows slowly"


def test_traffic_that_stops_is_a_collapse_and_a_short_window_is_none(
    watch: Any, champion: None, store: Any, ledger: Any
) -> None:
    put(store, captures(rows(2, count=6000), time="2013-03-15T10:30:00Z"))
    watch("2013-03-16T00:00:00Z", window=DAY_LONG)
    watch("2013-03-16T12:00:00Z", window=DAY_LONG / 2)
    assert ledger.analysis("flights")["reason"] == "capture_missing"
    watch("2013-03-17T00:00:00Z", window=DAY_LONG)
    assert ledger.analysis("flights")["reason"] == "volume_collapse"


@pytest.mark.parametrize(("days", "share"), [(7, 0.5), (14, 0.25), (0, 1.0)])
def test_what_is_usual_follows_with_a_half_life_of_a_week(days: int, share: float) -> None:
    end = parse("2013-03-20T00:00:00Z")
    window = (end - timedelta(days=2), end)
    nothing = analyse([], *baseline_of(rows(1), FEATURES), window)
    previous = {"usual_rows": 100.0, "window_end": render(end - timedelta(days=days))}
    assert usual_rows(previous, nothing) == pytest.approx(100 * share)


def test_the_next_run_reads_only_what_is_new(watch: Any, champion: None, store: Any) -> None:
    put(store, captures(rows(2)))
    assert reading(store, watch()) == {"files": 1, "files_read": 1, "bytes_read": len(captures(rows(2)))}
    put(store, captures(rows(3)), "2013/03/31/23")
    answer = watch("2013-04-01T00:05:00Z")
    assert reading(store, answer) == {"files": 2, "files_read": 1, "bytes_read": len(captures(rows(3)))}
    assert json.loads(store.read(answer["report_uri"]))["rows"] == 3000


def reading(store: Any, answer: dict[str, Any]) -> Any:
    return json.loads(store.read(answer["report_uri"]))["reading"]


def test_a_new_baseline_reads_anew(watch: Any, champion: None, store: Any) -> None:
    put(store, captures(rows(2)))
    watch()
    statistics, _ = baseline_of(rows(4), FEATURES, MonitorOptions.of({}), None)
    store.put("old/statistics.json", json.dumps(statistics))
    assert reading(store, watch("2013-04-01T00:05:00Z"))["files_read"] == 1


def test_as_many_features_have_metrics_as_were_asked_for(
    watch: Any, champion: None, store: Any, cloudwatch: Any
) -> None:
    put(store, captures(rows(2)))
    watch(most_features=1)
    found = [item["MetricName"] for item in cloudwatch.published if item["MetricName"].startswith("feature_baseline")]
    assert len(found) == 1
    cloudwatch.published.clear()
    watch("2013-04-01T00:05:00Z", most_features=0)
    assert [item for item in cloudwatch.published if item["MetricName"].startswith("feature_")] == []


def run_job(store: Any, wanted: Any, folder: Path, instances: int = 2) -> None:
    """The Processing job as SageMaker would run it: each instance has its share of the captures."""
    options = dict(zip(*[iter(wanted["AppSpecification"]["ContainerArguments"])] * 2, strict=True))
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in wanted["ProcessingInputs"]}
    prefix, *keys = json.loads(store.read(inputs["captures"]))
    for instance in range(instances):
        here = folder / str(instance)
        found = {key: store.read(prefix["prefix"] + key) for key in keys[instance::instances]}
        found = {f"captures/{key}": body for key, body in found.items()}
        found |= {
            f"{name}/{inputs[name].rsplit('/', 1)[1]}": store.read(inputs[name]) for name in ("files", "baseline")
        }
        found["resources.json"] = json.dumps({"current_host": f"algo-{instance + 1}"}).encode()
        for name, body in found.items():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_bytes(body)
        names = {"--captures": "captures", "--files": "files", "--baseline": "baseline", "--output": "output"}
        names |= {"--resources": "resources.json", "--message": "message"}
        assert options.keys() == {*names, "--part"}
        texts = [text for option, name in names.items() for text in (option, str(here / name))]
        assert intake_job([*texts, "--part", options["--part"]]) == 0
        target = wanted["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"].removeprefix("s3://bucket/")
        for file in (here / "output").rglob("*.intake"):
            store.put(f"{target}/{file.relative_to(here / 'output').as_posix()}", file.read_bytes())


def test_too_many_captures_are_read_by_a_job_and_judged_by_the_next_run(
    watch: Any, champion: None, store: Any, sagemaker: Any, ledger: Any, tmp_path: Path
) -> None:
    for number, hour in enumerate((DAY, DAY, "2013/03/20/07", "2013/03/31/23")):
        store.put(f"capture/flights/AllTraffic/{hour}/{number}.jsonl", captures(rows(number, middle=1500, count=400)))
    put(store, captures(rows(9, middle=1500), "2013-04-01T00:01:00Z"), "2013/04/01/00")  # of the hour that is not full
    least = 10_000
    answer = watch("2013-04-01T00:05:00Z", most_bytes=least)
    assert answer == {"action": "ignored", "reason": "window_in_processing"}
    assert watch("2013-04-01T00:10:00Z", most_bytes=least)["reason"] == "window_in_processing"
    [(name, wanted)] = sagemaker.jobs.items()
    assert name.startswith("flights-intake-2013040100-")
    assert wanted["NetworkConfig"]["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert wanted["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == "arn:key"
    assert wanted["ProcessingOutputConfig"]["KmsKeyId"] == "arn:key"
    assert ledger.analysis("flights") is None
    run_job(store, wanted, tmp_path)
    sagemaker.job_statuses[name] = "Completed"
    answer = watch("2013-04-01T00:15:00Z", most_bytes=least)
    assert answer["status"] == "DRIFTED"
    item = ledger.analysis("flights")
    assert (item["window_end"], item["rows"]) == ("2013-04-01T00:00:00Z", 1600)
    assert reading(store, answer) == {"files": 4, "files_read": 0, "bytes_read": 0}
    assert watch("2013-04-01T00:20:00Z", most_bytes=least)["reason"] == "analysed_already"


def test_the_metrics_of_an_hour_that_was_read_by_a_job_have_the_time_of_the_analysis(
    watch: Any, champion: None, store: Any, sagemaker: Any, cloudwatch: Any, tmp_path: Path
) -> None:
    put(store, captures(rows(2)))
    watch("2013-04-01T00:05:00Z", most_bytes=1)
    [wanted] = sagemaker.jobs.values()
    run_job(store, wanted, tmp_path, instances=1)
    watch("2013-04-01T00:15:00Z", most_bytes=1)
    assert {item["Timestamp"] for item in cloudwatch.published} == {parse("2013-04-01T00:15:00Z")}


def test_the_next_hour_has_a_job_of_its_own_when_one_failed(
    watch: Any, champion: None, store: Any, sagemaker: Any
) -> None:
    put(store, captures(rows(2)))
    watch("2013-04-01T00:05:00Z", most_bytes=1)
    sagemaker.job_statuses = dict.fromkeys(sagemaker.jobs, "Failed")
    watch("2013-04-01T00:10:00Z", most_bytes=1)
    assert len(sagemaker.jobs) == 1
    watch("2013-04-01T01:05:00Z", most_bytes=1)
    assert len(sagemaker.jobs) == 2


def test_an_endpoint_without_a_champion_is_not_watched_and_the_silence_alarm_knows(watch: Any, cloudwatch: Any) -> None:
    assert watch() == {"action": "ignored", "reason": "no_champion"}
    assert [(item["MetricName"], item["Value"]) for item in cloudwatch.published] == [("rows_analyzed", 0.0)]


@pytest.mark.parametrize("event", [[], {"no": "time"}, {"time": "noon"}, {"time": 3}])
def test_an_event_without_a_time_is_malformed(watch: Any, event: Any) -> None:
    with pytest.raises(MalformedEvent):
        watch(event=event)


def test_a_baseline_that_cannot_be_read_is_an_error_not_a_verdict(watch: Any, champion: None, store: Any) -> None:
    store.put("old/statistics.json", "not json")
    with pytest.raises(NoBaseline):
        watch()


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
def test_a_threshold_out_of_range_is_invalid(threshold: float) -> None:
    with pytest.raises(InvalidSettings):
        WatchRules("flights", timedelta(hours=1), threshold, most_bytes=1, jobs=JOBS)


def test_the_dashboard_knows_while_the_loop_is_paused(
    watch: Any, champion: None, store: Any, cloudwatch: Any, ledger: Any
) -> None:
    put(store, captures(rows(2)))
    at = {"by": "ada", "at": parse("2013-03-31T00:00:00Z")}
    ledger.pause("flights", reason="a fair", until=parse("2013-04-01T01:00:00Z"), **at)
    watch("2013-04-01T00:30:00Z")
    assert metric(cloudwatch, "paused") == [1.0]
    watch("2013-04-01T01:30:00Z")
    assert metric(cloudwatch, "paused") == [1.0], "it is over"
