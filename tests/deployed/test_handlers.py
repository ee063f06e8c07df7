"""Every event of events/ through its handler, as deployed: environment, adapters and decorators included."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from control_plane import (
    ALARM,
    NATIVE_ALARM,
    NOW,
    QUALITY_ALARM,
    RUN,
    FakeSageMaker,
    crowned,
    evaluated,
    in_service,
    make_table,
    trigger,
)
from moto import mock_aws

from retrain.aws import calls
from retrain.aws.ledger import Ledger
from retrain.core import errors, telemetry
from retrain.core.clock import parse
from retrain.core.values import Episode
from retrain.deployed import adapters, settings
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.constraints import read_constraints

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # the deployed function ignores it itself
ROOT = Path(__file__).parents[2]
EVENTS = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "events").glob("*.json"))}
ENVIRONMENT = {
    "ACCOUNT": "000000000000",
    "ALARM_ARNS": f"{ALARM},{NATIVE_ALARM}",
    "NATIVE_SCHEDULE": "",
    "QUALITY_ALARM_ARNS": QUALITY_ALARM,
    "KEEP_DATA_DAYS": "0",
    "LABEL_DELAY_HOURS": "24",
    "RETRAIN_ON": "evidence",
    "APPROVAL_MODE": "registry",
    "APPROVAL_PAGE_URL": "https://page.example/",
    "APPROVAL_TIMEOUT_HOURS": "72",
    "APPROVER_TOPICS": "",
    "LINK_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/2",
    "AWS_REGION": "us-east-1",
    "BAKE_SECONDS": "300",
    "BUCKET": "bucket",
    "CODE_URI": "s3://bucket/code/1",
    "COOLDOWN_HOURS": "1",
    "KEEP_MODELS": "2",
    "DRIFT_THRESHOLD": "0.3",
    "INTAKE_INSTANCES": "1",
    "INTAKE_ROLE_ARN": "arn:aws:iam::000000000000:role/intake",
    "METRIC_FEATURES": "20",
    "MONITOR_MAX_MEGABYTES": "2000",
    "ENDPOINT_INSTANCE_COUNT": "1",
    "ENDPOINT_INSTANCE_TYPE": "ml.m5.large",
    "ENDPOINT_NAME": "flights",
    "ENDPOINT_ROLE_ARN": "arn:aws:iam::000000000000:role/endpoint",
    "IMAGE_URI": "image",
    "INITIAL_DATA_URI": "s3://data/2013/",
    "ADOPT_ENDPOINT": "false",
    "AUTO_APPROVE_NEW_DATA": "true",
    "JOB_ROLE_ARN": "arn:aws:iam::000000000000:role/job",
    "KMS_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/1",
    "KEY_OF_VOLUMES": "true",
    "SUBNETS": "",
    "SECURITY_GROUPS": "",
    "LEDGER_TABLE": "ledger",
    "MAX_EVENT_AGE_HOURS": "24",
    "MONTHLY_EPISODES": "31",
    "MONTHLY_DOLLARS": "100",
    "MODEL_PACKAGE_GROUP": "flights",
    "PIPELINE_NAME": "flights-retrain",
    "PIPELINE_TIMEOUT_HOURS": "12",
    "LABEL_WAIT_HOURS": "48",
    "PROCESSING_INSTANCE_TYPE": "ml.m5.xlarge",
    "RETRAINING_ENABLED": "true",
    "ROLLBACK_ALARMS": "errors",
    "ROLLOUT": "auto",
    "ROLLOUT_STEP_PERCENT": "25",
    "TRAINING_INSTANCE_TYPE": "ml.m5.xlarge",
    "TRAINING_INSTANCE_COUNT": "1",
    "CANDIDATE_JOBS": "one",
    "APPROVERS": "1",
    "AUTO_APPROVE_GAIN": "0",
    "AUTO_APPROVE_A_WEEK": "0",
    "AUTO_APPROVE_HOURS": "",
    "TRAINING_USE_SPOT": "false",
    "WINDOW_HOURS": "744",
}


@dataclass
class Context:
    """What Lambda passes beside the event."""

    function_name: str = "function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:function"
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass
class World:
    """The stack that a handler finds around it."""

    ledger: Ledger
    sagemaker: FakeSageMaker
    s3: Any
    answers: list[Any]

    def invoke(self, handler: str, event: Any) -> dict[str, Any]:
        result: dict[str, Any] = importlib.import_module(f"handlers.{handler}").handler(event, Context())
        json.dumps(result)  # what Lambda does with it
        return result


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with mock_aws():
        aws = {name: boto3.client(name, region_name="us-east-1") for name in ("dynamodb", "s3", "sns", "sqs", "iam")}
        make_table(aws["dynamodb"], "ledger")
        aws["s3"].create_bucket(Bucket="bucket")
        states = boto3.client("stepfunctions", region_name="us-east-1")
        definition = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 1, "End": True}}})
        role = "arn:aws:iam::000000000000:role/machine"
        machine = states.create_state_machine(name="machine", definition=definition, roleArn=role)["stateMachineArn"]
        found = {
            **ENVIRONMENT,
            "TOPIC_ARN": aws["sns"].create_topic(Name="topic")["TopicArn"],
            "REJECTED_EVENTS_URL": aws["sqs"].create_queue(QueueName="rejected")["QueueUrl"],
            "STATE_MACHINE_ARN": machine,
        }
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        forget()
        sagemaker, answers = FakeSageMaker(), []  # type: ignore[var-annotated]
        monkeypatch.setattr(adapters, "sagemaker", lambda: sagemaker)
        import handlers.pipeline_publisher as publisher

        monkeypatch.setattr(publisher, "respond", lambda *said: answers.append(said))
        yield World(Ledger(aws["dynamodb"], "ledger"), sagemaker, aws["s3"], answers)
        forget()


def forget() -> None:
    """What a warm function keeps is gone."""
    for module in (adapters, settings, calls):
        for item in vars(module).values():
            if hasattr(item, "cache_clear"):
                item.cache_clear()


def open_episode(world: World, **fields: Any) -> Episode:
    """The episode that the state machine's events are about."""
    crowned(world.ledger)
    cause = trigger()
    assert not isinstance(world.ledger.open(cause, (NOW - timedelta(days=31), NOW), NOW + timedelta(hours=1)), str)
    fence = world.ledger.lock("flights")["fence"]
    episode = Episode(cause.episode_id, "flights", fence, bootstrap=False)
    world.ledger.note(episode, pipeline_execution_arn=RUN, pipeline_started_at="2013-04-01T00:00:42Z", **fields)
    return episode


def judged(world: World) -> Episode:
    """… and whose challenger was judged."""
    episode = open_episode(world, endpoint_config_name=trigger().episode_id, previous_config_name="old-config")
    evaluated(adapters.store(), world.sagemaker, episode)
    world.sagemaker.registers(episode.episode_id)
    assert world.invoke("approver", with_fence(EVENTS["step-judge-challenger"], episode)) == {"decision": "await"}
    return episode


def with_fence(event: dict[str, Any], episode: Episode) -> dict[str, Any]:
    return {**event, "episode": episode.payload()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alarm-drift", {"action": "opened"}),
        ("alarm-quality", {"action": "opened"}),
        ("alarm-native", {"action": "opened"}),
        ("alarm-ok", {"action": "ignored", "reason": "not_alarm"}),
        ("alarm-insufficient-data", {"action": "ignored", "reason": "insufficient_data"}),
        ("alarm-unknown", {"action": "refused", "reason": "unknown_alarm"}),
        ("alarm-malformed", {"action": "refused", "reason": "malformed_event"}),
        ("alarm-foreign-account", {"action": "refused", "reason": "foreign_source"}),
        ("alarm-composite", {"action": "refused", "reason": "unsupported_alarm_kind"}),
        ("alarm-contributor", {"action": "refused", "reason": "foreign_source"}),
        ("bootstrap-requested", {"action": "opened"}),
        ("retraining-requested", {"action": "opened"}),
        ("rollback-requested", {"action": "opened"}),
        ("adoption-requested", {"action": "opened"}),
        ("restoration-requested", {"action": "opened"}),
        ("evidence-sufficient", {"action": "opened"}),
        ("exclusion-requested", {"action": "done"}),
        ("pause-requested", {"action": "done", "status": "paused"}),
        ("resume-requested", {"action": "done", "status": "resumed"}),
    ],
)
def test_the_alarm_handler(name: str, expected: dict[str, str], world: World) -> None:
    assert expected.items() <= world.invoke("alarm_handler", EVENTS[name]).items()


def test_the_alarm_handler_and_a_duplicate(world: World) -> None:
    world.invoke("alarm_handler", EVENTS["alarm-drift"])
    assert world.invoke("alarm_handler", EVENTS["alarm-duplicate"])["reason"] == "duplicate"


def test_the_pipeline_starter(world: World) -> None:
    crowned(world.ledger)
    opened = world.invoke("alarm_handler", EVENTS["alarm-drift"])
    world.sagemaker.described = in_service("old-config")
    for key in ("capture/flights/AllTraffic/2013/03/05/10/a.jsonl", "labels/2013/03/06/10/a.jsonl"):
        world.s3.put_object(Bucket="bucket", Key=key, Body=b"{}")
    episode = Episode(opened["episode_id"], "flights", 2, bootstrap=False)
    answer = world.invoke("pipeline_starter", with_fence(EVENTS["step-start-pipeline"], episode))
    assert answer == {"status": "started", "pipeline_execution_arn": RUN}


def test_the_status_poller_and_the_pipeline(world: World) -> None:
    event = with_fence(EVENTS["step-check-pipeline"], open_episode(world))
    assert world.invoke("status_poller", event) == {"status": "succeeded"}
    world.sagemaker.status = "Failed"
    with pytest.raises(errors.PipelineFailed):
        world.invoke("status_poller", event)


def test_the_status_poller_and_the_endpoint(world: World) -> None:
    episode = judged(world)
    world.sagemaker.described = in_service(episode.episode_id)
    assert world.invoke("status_poller", with_fence(EVENTS["step-check-endpoint"], episode)) == {"status": "serving"}


def test_the_approver_judges_asks_and_hears(world: World) -> None:
    judged(world)
    assert world.invoke("approver", EVENTS["registry-pending"])["reason"] == "not_a_decision"
    world.sagemaker.package["ModelApprovalStatus"] = "Approved"
    assert world.invoke("approver", EVENTS["registry-approved"]) == {"decision": "approved", "status": "recorded"}
    assert world.invoke("approver", EVENTS["registry-rejected"])["reason"] == "already_decided"


def test_the_approver_and_a_decision_of_nobody(world: World) -> None:
    assert world.invoke("approver", EVENTS["registry-approved"])["reason"] == "no_open_episode"


def test_a_request_for_approval_returns_and_logs_no_token(world: World) -> None:
    log = io.StringIO()
    telemetry.logger.handlers[0].setStream(log)  # type: ignore[attr-defined]
    episode = judged(world)
    world.sagemaker.registers(episode.episode_id)
    event = with_fence(EVENTS["step-request-approval"], episode)
    assert world.invoke("approver", event) == {"status": "requested"}
    assert event["task_token"] not in log.getvalue()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert lines
    assert all(line["episode_id"] == episode.episode_id for line in lines)


def test_the_endpoint_updater(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    episode = judged(world)
    world.ledger.decide(episode.episode_id, "approved", "ada", NOW)
    world.sagemaker.described = in_service("old-config")
    answer = world.invoke("endpoint_updater", with_fence(EVENTS["step-update-endpoint"], episode))
    assert answer == {"status": "updating", "endpoint_config": episode.episode_id}
    world.sagemaker.described = in_service(episode.episode_id)
    answer = world.invoke("endpoint_updater", with_fence(EVENTS["step-switch-champion"], episode))
    assert answer == {"status": "switched"}
    answer = world.invoke("endpoint_updater", with_fence(EVENTS["step-swap-native-baseline"], episode))
    assert answer == {"status": "none"}, "there is no schedule of Model Monitor"


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("step-close-promoted", "promoted", ""),
        ("step-close-champion-kept", "champion_kept", "not_better"),
        ("step-close-refused", "refused", "labels_insufficient"),
        ("step-close-expired", "refused", "approval_expired"),
        ("step-close-failed", "failed", "pipeline_failed"),
        ("execution-failed", "failed", "execution_failed"),
        ("execution-timed-out", "failed", "execution_timed_out"),
        ("execution-aborted", "failed", "execution_aborted"),
    ],
)
def test_the_episode_closer(name: str, outcome: str, reason: str, world: World) -> None:
    episode = open_episode(world)
    event = EVENTS[name] if "detail-type" in EVENTS[name] else with_fence(EVENTS[name], episode)
    answer = world.invoke("episode_closer", event)
    assert (answer["outcome"], answer["reason"]) == (outcome, reason)
    assert world.ledger.open_episode_id("flights") is None


def test_the_episode_sweeper(world: World) -> None:
    world.sagemaker.described = in_service("old-config")
    episode = open_episode(world)
    answer = world.invoke("episode_sweeper", EVENTS["sweep-scheduled"])
    assert answer == {"status": "swept", "closed": [episode.episode_id], "told": [], "serving": "", "removed": []}
    assert (world.ledger.episode(episode.episode_id) or {})["reason"] == "no_execution"


@pytest.mark.parametrize(
    "name", ["custom-resource-create", "custom-resource-update", "custom-resource-delete", "custom-resource-bootstrap"]
)
def test_the_pipeline_publisher(name: str, world: World) -> None:
    assert world.invoke("pipeline_publisher", EVENTS[name])["status"] == "success"
    assert [said[1] for said in world.answers] == ["SUCCESS"]


def test_the_drift_monitor(world: World) -> None:
    assert world.invoke("drift_monitor", EVENTS["monitor-scheduled"])["reason"] == "no_champion"


def test_the_quality_monitor(world: World) -> None:
    assert world.invoke("quality_monitor", EVENTS["quality-scheduled"])["reason"] == "no_champion"


def test_the_report_writer_and_an_analysis(world: World) -> None:
    statistics, constraints = baseline_of([[str(x % 90)] for x in range(2000)], {"distance": "numeric"}, None)
    window = parse("2013-03-01T00:00:00Z"), parse("2013-04-01T00:00:00Z")
    read = read_statistics(json.dumps(statistics)), read_constraints(json.dumps(constraints))
    analysis = analyse([], *read, window)
    detail = EVENTS["window-analysed"]["detail"]
    for uri, document in (
        (detail["baseline_uri"], statistics),
        (detail["report_uri"], analysis.document()),
        (detail["report_uri"].replace("analysis", "statistics"), analysis.statistics()),
    ):
        world.s3.put_object(Bucket="bucket", Key=uri.removeprefix("s3://bucket/"), Body=json.dumps(document))
    answer = world.invoke("report_writer", EVENTS["window-analysed"])
    assert answer["status"] == "drawn"
    page = world.s3.get_object(Bucket="bucket", Key=answer["page_uri"].removeprefix("s3://bucket/"))
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert b"the window has no captured row" in page["Body"].read()


def test_the_report_writer_and_an_episode(world: World) -> None:
    assert world.invoke("report_writer", EVENTS["episode-changed"])["reason"] == "unknown_episode"
    opened = world.invoke("alarm_handler", EVENTS["bootstrap-requested"])["episode_id"]
    event = {**EVENTS["episode-changed"], "detail": {"endpoint_name": "flights", "episode_id": opened}}
    answer = world.invoke("report_writer", event)
    assert answer == {"status": "drawn", "page_uri": f"s3://bucket/episodes/{opened}/episode.html"}
    assert world.ledger.episode(opened)["page_uri"] == answer["page_uri"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("request_name", "step_name"),
    [("rollback-requested", "step-reinstate-model"), ("adoption-requested", "step-adopt-what-serves")],
)
def test_the_endpoint_updater_and_a_model_that_no_episode_made(request_name: str, step_name: str, world: World) -> None:
    opened = world.invoke("alarm_handler", EVENTS[request_name])["episode_id"]
    world.sagemaker.described = in_service("by-hand")
    episode = Episode(opened, "flights", 1, bootstrap=False)
    with pytest.raises(errors.Refused, match="unknown_model"):
        world.invoke("endpoint_updater", with_fence(EVENTS[step_name], episode))


def test_every_event_has_a_test_here() -> None:
    text = Path(__file__).read_text()
    assert [name for name in EVENTS if f'"{name}"' not in text] == []


def test_no_event_names_an_account_that_could_be_somebodys() -> None:
    import re

    for name, event in EVENTS.items():
        assert set(re.findall(r"\b\d{12}\b", json.dumps(event))) <= {"000000000000", "123456789012"}, name


HANDLERS = sorted(file.stem for file in (ROOT / "src" / "handlers").glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_handler_is_a_few_lines_and_wears_the_same_decorator(handler: str) -> None:
    text = (ROOT / "src" / "handlers" / f"{handler}.py").read_text()
    assert text.count("@observed\ndef handler(event: Any, _context: Any) -> dict[str, Any]:") == 1
    assert len(text.splitlines()) < 50


def test_missing_settings_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COOLDOWN_HOURS")
    with pytest.raises(errors.InvalidSettings, match="COOLDOWN_HOURS"):
        world.invoke("episode_closer", EVENTS["execution-failed"])


@pytest.mark.parametrize(
    ("name", "value"), [("RETRAINING_ENABLED", "maybe"), ("WINDOW_HOURS", "long"), ("ENDPOINT_NAME", " ")]
)
def test_settings_that_make_no_sense_are_named(name: str, value: str, world: World, monkeypatch: Any) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(errors.InvalidSettings, match=name):
        world.invoke("alarm_handler", EVENTS["alarm-drift"])
