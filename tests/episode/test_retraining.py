"""One pipeline execution per episode, and what its end means."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from control_plane import NOW, PATIENCE, PIPELINE, RUN, crowned, in_service, opened, step, trigger

from retrain.core.clock import parse, render
from retrain.core.errors import (
    ExecutionLost,
    InvalidSettings,
    PipelineFailed,
    PipelineMissing,
    PipelineOverQuota,
    PipelineTimeout,
    Refused,
    Throttled,
)
from retrain.core.window import full_hour
from retrain.episode.retraining import PatienceRules, PipelineSettings, check_pipeline, start_retraining


@pytest.fixture
def data(store: Any) -> None:
    store.put("capture/flights/AllTraffic/2013/03/05/10/a.jsonl", "{}")
    store.put("capture/flights/AllTraffic/2013/01/05/10/too-old.jsonl", "{}")
    store.put("labels/2013/03/06/10/a.jsonl", "{}")
    store.put("labels/2013/04/01/00/late.jsonl", "{}")


@pytest.fixture
def start(ledger: Any, store: Any, sagemaker: Any) -> Any:
    sagemaker.described = in_service("old-config")

    def call(episode: Any, now: Any = NOW, **fields: Any) -> dict[str, Any]:
        return start_retraining(
            step(episode, now=now, **fields),
            settings=PIPELINE,
            rules=PATIENCE,
            ledger=ledger,
            store=store,
            sagemaker=sagemaker,
        )

    return call


@pytest.fixture
def check(ledger: Any, sagemaker: Any) -> Any:
    def call(episode: Any, **fields: Any) -> dict[str, Any]:
        return check_pipeline(step(episode, "pipeline", **fields), rules=PATIENCE, ledger=ledger, sagemaker=sagemaker)

    return call


@pytest.fixture
def running(ledger: Any, start: Any, data: None) -> Any:
    crowned(ledger)
    episode = opened(ledger)
    start(episode)
    return episode


def test_the_pipeline_is_told_what_the_champions_statistics_were_when_they_were_sealed(
    ledger: Any, start: Any, sagemaker: Any, data: None
) -> None:
    crowned(ledger, seals={"s3://bucket/old/statistics.json": "5" * 64})
    start(opened(ledger))
    [parameters] = sagemaker.runs.values()
    assert parameters["ChampionStatisticsSha256"] == "5" * 64


def test_the_pipeline_gets_the_windows_captures_and_the_labels_since(
    ledger: Any, start: Any, store: Any, sagemaker: Any, data: None
) -> None:
    crowned(ledger)
    episode = opened(ledger)
    start(episode)
    [parameters] = sagemaker.runs.values()
    captures = json.loads(store.read(parameters["CapturesManifestUri"]))
    labels = json.loads(store.read(parameters["LabelsManifestUri"]))
    assert captures == [{"prefix": "s3://bucket/"}, "capture/flights/AllTraffic/2013/03/05/10/a.jsonl"]
    assert labels[1:] == ["labels/2013/03/06/10/a.jsonl", "labels/2013/04/01/00/late.jsonl"]
    assert parameters["ReferenceUri"] == "s3://bucket/episodes/old/dataset"
    assert parameters["ChampionModelUri"] == "s3://bucket/old/model.tar.gz"
    assert parameters["ChampionStatisticsUri"] == "s3://bucket/old/statistics.json"
    assert parameters["Bootstrap"] == "false"
    assert parameters["OutputUri"] == f"s3://bucket/episodes/{episode.episode_id}"


def test_the_pipeline_gets_the_rows_of_earlier_windows_but_those_that_are_excluded_or_too_old(
    ledger: Any, start: Any, store: Any, sagemaker: Any, data: None
) -> None:
    def kept(folder: str, *window: str) -> None:
        ledger.keep_rows(episode, (parse(window[0]), parse(window[-1])), folder, "7" * 64)

    crowned(ledger)
    episode = opened(ledger)
    kept("episodes/first/rows", "2011-01-01T00:00:00Z")  # the first model's data is of no window
    kept("rows/flights/older", "2011-02-01T00:00:00Z", "2011-02-08T00:00:00Z")
    kept("rows/flights/bad", "2013-01-08T00:00:00Z", "2013-01-15T00:00:00Z")
    kept("rows/flights/good", "2013-01-15T00:00:00Z", "2013-01-22T00:00:00Z")
    ledger.exclude("flights", (parse("2013-01-10T00:00:00Z"), parse("2013-01-15T00:00:00Z")), "a flood", NOW)
    start(episode)
    [parameters] = sagemaker.runs.values()
    folders = ("episodes/first/rows", "rows/flights/good")
    files = [f"{folder}/{name}" for folder in folders for name in ("manifest.json", "rows.csv")]
    assert json.loads(store.read(parameters["HistoryManifestUri"])) == [{"prefix": "s3://bucket/"}, *files]
    assert parameters["RowsUri"] == f"s3://bucket/rows/flights/{episode.episode_id}"


def test_a_window_of_ten_thousand_files_is_one_line_of_the_machine(
    ledger: Any, start: Any, store: Any, sagemaker: Any, data: None
) -> None:
    """Step Functions takes 256 KB from a state, DynamoDB 400 KB an item: files are named in a manifest only."""
    for number in range(10_000):
        store.put(f"capture/flights/AllTraffic/2013/03/10/10/{'f' * 100}{number}.jsonl", "a")
    crowned(ledger)
    episode = opened(ledger)
    assert len(json.dumps(start(episode))) < 1_000
    [parameters] = sagemaker.runs.values()
    assert len(json.loads(store.read(parameters["CapturesManifestUri"]))) == 10_002
    assert all(len(value) <= 1_024 for value in parameters.values()), "of a pipeline's parameter"
    assert len(json.dumps(ledger.episode(episode.episode_id), default=str)) < 10_000


def test_captures_of_an_excluded_span_are_left_out(ledger: Any, start: Any, store: Any, data: None) -> None:
    crowned(ledger)
    episode = opened(ledger)
    ledger.exclude("flights", (parse("2013-03-05T10:30:00Z"), parse("2013-03-05T10:40:00Z")), "a flood", NOW)
    with pytest.raises(Refused, match=r"capture_missing: no captures from .*, but those that were excluded"):
        start(episode)
    store.put("capture/flights/AllTraffic/2013/03/05/11/b.jsonl", "{}")
    assert start(episode)["status"] == "started"
    listed = json.loads(store.read(f"s3://bucket/episodes/{episode.episode_id}/captures.manifest"))
    assert listed[1:] == ["capture/flights/AllTraffic/2013/03/05/11/b.jsonl"]


def test_a_window_of_too_few_rows_waits_and_grows_by_what_was_labelled_since(
    ledger: Any, start: Any, check: Any, sagemaker: Any, running: Any
) -> None:
    before = ledger.episode(running.episode_id)["window_end"]
    sagemaker.status = "Failed"
    sagemaker.steps = [{"StepName": "BuildDriftDataset", "StepStatus": "Failed"}]
    sagemaker.texts["BuildDriftDataset"] = "too_few_rows: 600 labelled rows, at least 1000 are needed"
    assert check(running) == {"status": "waiting_for_labels"}
    until = render(parse(before) + timedelta(days=1))
    ledger.count_evidence("flights", parse(before), parse(until), 1812)
    start(running, now=NOW + timedelta(days=2))
    assert ledger.episode(running.episode_id)["window_end"] == until
    assert list(sagemaker.runs.values())[-1]["WindowEnd"] == until


def test_a_window_of_too_few_rows_grows_by_what_is_old_enough_for_labels(
    ledger: Any, start: Any, check: Any, sagemaker: Any, running: Any
) -> None:
    """The quality monitor counts whole windows: waiting for its next one, an episode of a day's rows was refused."""
    before = parse(ledger.episode(running.episode_id)["window_end"])
    sagemaker.status = "Failed"
    sagemaker.steps = [{"StepName": "BuildDriftDataset", "StepStatus": "Failed"}]
    sagemaker.texts["BuildDriftDataset"] = "too_few_rows: 600 labelled rows, at least 1000 are needed"
    ledger.record_analysis("flights", {"verdict": "STABLE", "label_delay_hours": 24.0}, before, of="QUALITY")
    for waited, grown in ((timedelta(hours=12), timedelta(0)), (timedelta(hours=47), timedelta(hours=23))):
        check(running)
        start(running, now=before + waited)
        ends = before if not grown else full_hour(before + grown)
        assert ledger.episode(running.episode_id)["window_end"] == render(ends)


def test_the_bootstrap_has_no_champion_no_captures_and_no_labels(
    ledger: Any, start: Any, store: Any, sagemaker: Any
) -> None:
    start(opened(ledger, trigger(cause="bootstrap", bootstrap=True)))
    [parameters] = sagemaker.runs.values()
    nothing = [{"prefix": "s3://bucket/code/1/none/"}, "none.jsonl"]
    assert json.loads(store.read(parameters["CapturesManifestUri"])) == nothing
    assert json.loads(store.read(parameters["LabelsManifestUri"])) == nothing
    assert parameters["ChampionModelUri"] == parameters["ChampionStatisticsUri"] == "s3://bucket/code/1/none/"
    assert parameters["ChampionStatisticsSha256"] == "none"
    assert parameters["ReferenceUri"] == "s3://data/2013/"
    assert parameters["Bootstrap"] == "true"
    assert json.loads(store.read(parameters["HistoryManifestUri"])) == nothing
    assert parameters["RowsUri"] == f"{parameters['OutputUri']}/rows"


def test_the_parameters_are_those_of_the_pipelines_definition(start: Any, running: Any, sagemaker: Any) -> None:
    from retrain.pipeline.definition import CANDIDATE_JOBS, definition

    [parameters] = sagemaker.runs.values()
    for jobs in CANDIDATE_JOBS:
        known = definition(jobs, spot=False)["Parameters"]
        assert sorted(parameters) == sorted(parameter["Name"] for parameter in known)


def test_starting_again_finds_the_same_execution(start: Any, running: Any, sagemaker: Any) -> None:
    assert start(running)["pipeline_execution_arn"] == RUN
    assert len(sagemaker.runs) == 1


def test_a_starter_that_died_before_writing_uses_the_same_token_again(
    ledger: Any, start: Any, store: Any, sagemaker: Any, data: None
) -> None:
    crowned(ledger)
    episode = opened(ledger)

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            if name == "note":
                raise Throttled("the function died here")
            return getattr(ledger, name)

    with pytest.raises(Throttled):
        start_retraining(
            step(episode), settings=PIPELINE, rules=PATIENCE, ledger=Forgetful(), store=store, sagemaker=sagemaker
        )
    start(episode)
    assert len(sagemaker.runs) == 1


def test_a_window_without_captures_is_refused(ledger: Any, start: Any) -> None:
    crowned(ledger)
    with pytest.raises(Refused, match="capture_missing"):
        start(opened(ledger))


@pytest.fixture
def unlabelled(ledger: Any, store: Any) -> Any:
    crowned(ledger)
    store.put("capture/flights/AllTraffic/2013/03/05/10/a.jsonl", "{}")
    return opened(ledger)


def test_without_labels_the_episode_waits_for_them(
    unlabelled: Any, start: Any, ledger: Any, store: Any, sagemaker: Any
) -> None:
    assert start(unlabelled) == {"status": "waiting_for_labels"}
    assert ledger.episode(unlabelled.episode_id)["waiting_for"] == "labels"
    assert sagemaker.runs == {}
    store.put("labels/2013/04/01/00/late.jsonl", "{}")
    assert start(unlabelled)["status"] == "started"
    assert ledger.episode(unlabelled.episode_id)["waiting_for"] == ""


@pytest.mark.parametrize("fields", [{"overdue": True}, {"now": NOW + PATIENCE.labels}])
def test_labels_that_never_come_are_a_refusal(unlabelled: Any, start: Any, fields: Any) -> None:
    start(unlabelled)
    with pytest.raises(Refused, match="labels_insufficient: no labels were collected since"):
        start(unlabelled, **fields)


def test_too_few_labels_are_waited_for_and_the_pipeline_starts_anew(
    running: Any, start: Any, check: Any, ledger: Any, sagemaker: Any
) -> None:
    sagemaker.status = "Failed"
    sagemaker.steps = [{"StepName": "BuildDriftDataset", "StepStatus": "Failed"}]
    sagemaker.texts = {"BuildDriftDataset": "labels_insufficient: 12 of 900 rows have a label"}
    for _ in range(2):  # the answer may be lost, and the call repeated
        assert check(running) == {"status": "waiting_for_labels"}
    assert ledger.episode(running.episode_id)["pipeline_attempt"] == 1
    assert start(running)["status"] == "started"
    assert start(running)["status"] == "started"
    assert len(sagemaker.runs) == 2, "one execution per attempt"
    sagemaker.status = "Succeeded"
    assert check(running) == {"status": "succeeded"}


def job(kind: str, name: str, minutes: float, status: str = "Succeeded") -> dict[str, Any]:
    ended = {"EndTime": NOW + timedelta(minutes=minutes)} if status != "Executing" else {}
    return {"StepName": name, "StepStatus": status, "StartTime": NOW, "Metadata": {kind: {"Arn": "arn"}}, **ended}


def test_what_the_jobs_cost_is_counted_on_the_episode_and_its_month_once_for_each_pipeline(
    running: Any, start: Any, check: Any, ledger: Any, sagemaker: Any
) -> None:
    """By the prices of the instances that the pipeline was started with: both 0.23 dollars an hour."""
    sagemaker.status = "Failed"
    sagemaker.steps = [job("ProcessingJob", "BuildDriftDataset", 60, "Failed")]
    sagemaker.texts = {"BuildDriftDataset": "labels_insufficient: 12 of 900 rows have a label"}
    for _ in range(2):
        check(running)
    assert ledger.episode(running.episode_id)["dollars"] == 0.23
    start(running)
    sagemaker.status = "Succeeded"
    sagemaker.steps = [job("ProcessingJob", "BuildDriftDataset", 30), job("TrainingJob", "Train", 90)]
    for _ in range(2):
        check(running)
    assert ledger.episode(running.episode_id)["dollars"] == pytest.approx(0.69)
    assert ledger.spent("flights", NOW)["dollars"] == pytest.approx(0.69)
    assert ledger.situation(trigger()).spent == pytest.approx(0.69)
    assert ledger.spent("flights", NOW + timedelta(days=31)) == {}


def test_a_pipeline_that_takes_too_long_is_paid_for_until_it_was_stopped(
    running: Any, check: Any, ledger: Any, sagemaker: Any
) -> None:
    sagemaker.status = "Executing"
    sagemaker.steps = [job("TrainingJob", "Train", 0, "Executing")]
    with pytest.raises(PipelineTimeout):
        check(running, now=NOW + timedelta(hours=13))
    assert ledger.episode(running.episode_id)["dollars"] == pytest.approx(13 * 0.23)


def test_too_few_labels_are_refused_when_they_are_overdue(running: Any, check: Any, sagemaker: Any) -> None:
    sagemaker.status = "Failed"
    sagemaker.steps = [{"StepName": "BuildDriftDataset", "StepStatus": "Failed"}]
    sagemaker.texts = {"BuildDriftDataset": "labels_insufficient: 12 of 900 rows have a label"}
    with pytest.raises(Refused, match="labels_insufficient: 12 of 900"):
        check(running, now=NOW + PATIENCE.labels)


def test_without_a_champion_only_a_bootstrap_may_start(ledger: Any, start: Any, data: None) -> None:
    with pytest.raises(Refused, match="no_champion"):
        start(opened(ledger))


def test_a_closed_episode_starts_nothing(ledger: Any, start: Any, data: None, sagemaker: Any) -> None:
    crowned(ledger)
    episode = opened(ledger)
    ledger.close(episode, closed_at=NOW, rearm_at=NOW, outcome="failed", reason="", detail="")
    with pytest.raises(Refused, match="fenced"):
        start(episode)
    assert sagemaker.runs == {}


def test_a_missing_pipeline_is_permanent(ledger: Any, start: Any, data: None, sagemaker: Any) -> None:
    crowned(ledger)

    def gone(*_: Any) -> str:
        raise PipelineMissing("no such pipeline")

    sagemaker.start_pipeline = gone
    with pytest.raises(PipelineMissing):
        start(opened(ledger))


@pytest.mark.parametrize(
    ("status", "expected"), [("Executing", "running"), ("Stopping", "running"), ("Succeeded", "succeeded")]
)
def test_a_pipeline_that_goes_on_or_is_done(
    status: str, expected: str, check: Any, running: Any, sagemaker: Any
) -> None:
    sagemaker.status = status
    assert check(running) == {"status": expected}


def test_a_pipeline_that_somebody_stopped_is_refused(check: Any, running: Any, sagemaker: Any) -> None:
    sagemaker.status = "Stopped"
    with pytest.raises(Refused, match="stopped_by_operator"):
        check(running)


@pytest.mark.parametrize("status", ["Failed", "CompletedWithFailures", "Hibernating", ""])
def test_every_other_status_fails_closed(status: str, check: Any, running: Any, sagemaker: Any) -> None:
    sagemaker.status = status
    sagemaker.steps = [{"StepName": "TrainChallenger", "StepStatus": "Failed", "FailureReason": "out of memory"}]
    with pytest.raises(PipelineFailed, match="TrainChallenger: out of memory"):
        check(running)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("suspect_data: a row has 1.8 identical others", "suspect_data"),
        ("labels_suspect: rmse of the better model is 81", "labels_suspect"),
        ("AlgorithmError: schema_mismatch: column 3 is text, exit code: 1", "schema_mismatch"),
        ("ClientError: Please see log\nbad_metric: rmse is nan", "bad_metric"),
    ],
)
def test_what_a_job_refused_is_refused_with_its_code(
    text: str, code: str, check: Any, running: Any, sagemaker: Any
) -> None:
    sagemaker.status = "Failed"
    sagemaker.steps = [
        {"StepName": "ComputeBaseline", "StepStatus": "Succeeded"},
        {"StepName": "BuildDriftDataset", "StepStatus": "Failed", "FailureReason": "ClientError: see the job"},
    ]
    sagemaker.texts = {"BuildDriftDataset": text}
    with pytest.raises(Refused) as caught:
        check(running)
    assert caught.value.code == code


def test_a_used_up_quota_is_named(check: Any, running: Any, sagemaker: Any) -> None:
    sagemaker.status = "Failed"
    reason = "ResourceLimitExceeded: ml.m5.xlarge for training job usage"
    sagemaker.steps = [{"StepName": "TrainChallenger", "StepStatus": "Failed", "FailureReason": reason}]
    with pytest.raises(PipelineOverQuota, match="m5"):
        check(running)


@pytest.mark.parametrize("fields", [{"overdue": True}, {"now": NOW + timedelta(hours=13)}])
def test_an_overdue_pipeline_is_stopped(fields: Any, check: Any, running: Any, sagemaker: Any) -> None:
    sagemaker.status = "Executing"
    with pytest.raises(PipelineTimeout):
        check(running, **fields)
    assert sagemaker.stopped == [RUN]


def test_an_unknown_execution_is_lost_not_running(check: Any, running: Any, sagemaker: Any) -> None:
    def unknown(arn: str) -> dict[str, Any]:
        raise ExecutionLost(arn)

    sagemaker.pipeline_execution = unknown
    with pytest.raises(ExecutionLost):
        check(running)


@pytest.mark.parametrize("uri", ["", "bucket/code", "s3://bucket/code/"])
def test_settings_without_a_usable_code_uri_are_invalid(uri: str) -> None:
    with pytest.raises(InvalidSettings):
        PipelineSettings("p", uri, "", "role", "image", "t", 1, "t", "g", "key")


def test_no_patience_is_invalid() -> None:
    with pytest.raises(InvalidSettings):
        PatienceRules(timedelta(0))
