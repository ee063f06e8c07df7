"""Episodes that the replayed year does not have, end to end, on a small table.

Approval in the Model Registry, given or refused; labels that come late; concept drift that only the answers show. Every
candidate is trained by a job of its own, on a spot instance; a schedule of Model Monitor gets each new baseline.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from a_line import MODEL, month, upload
from canary import CATEGORY, PLANTED, Listener, planted, said
from e2e import denials
from runbook import look_up
from troubled_way import OF_CHANGES, OF_READS, troubled

from demo.replay import Answer, Replay, WindowResult
from demo.stack import Stack, wait_for
from demo.windows import Window
from local import LocalAws
from retrain.model.read_spec import parse_spec

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NATIVE_METRIC = "feature_baseline_drift_x"


@pytest.fixture(scope="module")
def aws(free_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(port=free_port, root=tmp_path_factory.mktemp("state"), fresh=True, wait_scale=0.02) as aws:
        yield aws


@pytest.fixture(scope="module")
def stack(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The application with approval in the registry, its first model approved by hand and in service."""
    first = upload(month(1), aws, tmp_path_factory.mktemp("initial"))
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    aws.client("iam").create_role(
        RoleName="monitors", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    aws.client("sagemaker").create_monitoring_schedule(
        MonitoringScheduleName="hourly", MonitoringScheduleConfig=native_schedule("flights")
    )
    stack = Stack(aws, tmp_path_factory.mktemp("log") / "sam.log")
    stack.build()
    aws.set_clock(datetime(2026, 2, 1, tzinfo=UTC))
    with Registrar(stack, "Approved"):
        stack.deploy(
            {
                "InitialDataUri": first,
                "MonitorSchedule": "cron(0 0 1 * ? *)",
                "QualitySchedule": "cron(0 0 1 * ? *)",
                "LabelWaitHours": "1",
                "LabelDelayHours": "0",  # the same window for both, so that it does not matter whose alarm comes first
                "WindowHours": "744",
                "CooldownHours": "1",
                "ApprovalMode": "registry",
                "NotificationEmail": "elsewhere",
                "CandidateJobs": "each",
                "TrainingUseSpot": "true",
                "NativeMonitoringSchedule": "hourly",
                "NativeMonitoringRole": "monitors",
                "NativeDriftMetrics": f"{NATIVE_METRIC},feature_baseline_drift_group",
            }
        )
        wait_for("a champion", stack.champion, seconds=180)
        wait_for("the bootstrap's end", lambda: [e for e in stack.episodes() if e["status"] == "CLOSED"], seconds=60)
    return stack


class Registrar:
    """A person who gives every package that waits for approval the same answer, as soon as the loop asks for it."""

    def __init__(self, stack: Stack, answer: str) -> None:
        self._stack, self._answer = stack, answer
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._decide, daemon=True)

    def __enter__(self) -> Registrar:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _decide(self) -> None:
        while not self._done.wait(0.2):
            for episode in self._asking():
                sagemaker = self._stack.aws.client("sagemaker")
                arn = str(episode["model_package_arn"])
                if sagemaker.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"] == (
                    "PendingManualApproval"
                ):
                    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=self._answer)

    def _asking(self) -> list[dict[str, object]]:
        try:
            episodes = self._stack.episodes()
        except KeyError:  # not deployed yet
            return []
        return [episode for episode in episodes if episode["status"] == "OPEN" and episode.get("task_tokens")]


@pytest.fixture(scope="module")
def listener(stack: Stack) -> Listener:
    return Listener(stack)


def test_a_challenger_serves_after_a_person_approved_it_in_the_registry(stack: Stack, listener: Listener) -> None:
    before = stack.champion()
    result = replay(stack, planted(month(2, slope=-2.0, shift=3.0)), "Approved")
    assert (result.verdict, "drift" in result.alarms, result.outcome) == ("DRIFTED", True, "promoted")
    assert stack.champion()["model_package_arn"] != before["model_package_arn"]
    assert status(stack, str(stack.champion()["model_package_arn"])) == "Approved"
    jobs = stack.aws.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    told = [stack.aws.client("sagemaker").describe_training_job(TrainingJobName=job["TrainingJobName"]) for job in jobs]
    assert all(job["EnableManagedSpotTraining"] for job in told)
    tried = [job for job in told if job["HyperParameters"].get("candidate", "")]
    assert len(tried) > 1, [job["HyperParameters"] for job in told]


def test_a_challenger_that_a_person_rejected_never_serves(stack: Stack) -> None:
    champion, serving = stack.champion(), stack.serving()
    result = replay(stack, month(3, slope=5.0, shift=-3.0), "Rejected")
    assert (result.verdict, "drift" in result.alarms, result.outcome) == ("DRIFTED", True, "refused")
    assert (stack.champion(), stack.serving()) == (champion, serving)
    package = next(e for e in stack.episodes() if e["pk"] == f"EPISODE#{result.episode}")["model_package_arn"]
    assert status(stack, str(package)) == "Rejected"
    look_up("rejected", stack, EPISODE=str(result.episode))
    assert "owner" not in stack.item(f"ENDPOINT#{stack['EndpointName']}", "LOCK")


def test_an_episode_waits_for_labels_first_for_any_then_for_enough(stack: Stack) -> None:
    result = replay(stack, month(4, slope=-4.0, shift=6.0), "Approved", LateLabels)
    assert (result.verdict, result.alarms, result.outcome) == ("DRIFTED", ["drift"], "promoted")
    episode = stack.item(f"EPISODE#{result.episode}", "EPISODE")
    assert (episode["pipeline_attempt"], episode["waiting_for"]) == (1, "")
    history = stack.aws.client("stepfunctions").get_execution_history(
        executionArn=str(episode["execution_arn"]), maxResults=1000
    )
    entered = [
        event["stateEnteredEventDetails"]["name"] for event in history["events"] if "stateEnteredEventDetails" in event
    ]
    assert entered.count("Wait for Labels") == entered.count("Start Pipeline") - 1 >= 2


def test_concept_drift_that_no_feature_shows_opens_an_episode_too(stack: Stack) -> None:
    result = replay(stack, planted(month(5, slope=-5.0, shift=6.0)), "Approved")
    assert (result.verdict, result.quality, result.alarms) == ("STABLE", "DRIFTED", ["quality"])
    assert result.outcome == "promoted", result.reason


def test_model_monitors_schedule_has_the_baseline_of_the_model_that_serves(stack: Stack) -> None:
    config = stack.aws.client("sagemaker").describe_monitoring_schedule(MonitoringScheduleName="hourly")
    champion = stack.champion()
    assert config["MonitoringScheduleConfig"]["MonitoringJobDefinition"]["BaselineConfig"] == {
        "StatisticsResource": {"S3Uri": champion["statistics_uri"]},
        "ConstraintsResource": {"S3Uri": champion["constraints_uri"]},
    }


def test_drift_that_model_monitors_schedule_sees_opens_an_episode(stack: Stack) -> None:
    before = len(stack.episodes())
    stack.aws.set_clock(datetime(2026, 6, 20, 12, tzinfo=UTC))
    stack.aws.client("cloudwatch").put_metric_data(
        Namespace="aws/sagemaker/Endpoints/data-metrics",
        MetricData=[
            {
                "MetricName": NATIVE_METRIC,
                "Dimensions": [
                    {"Name": "Endpoint", "Value": stack["EndpointName"]},
                    {"Name": "MonitoringSchedule", "Value": "hourly"},
                ],
                "Value": 0.9,
            }
        ],
    )
    opened = wait_for("the alarm to open an episode", lambda: stack.episodes()[before:], seconds=30)
    assert ["NativeDriftAlarm" in str(episode["cause"]) for episode in opened] == [True]
    wait_for("the episode to end", lambda: stack.episodes()[before]["status"] == "CLOSED", seconds=300)


# What goes wrong on the way, in the bucket, and with this AWS ---------------------------------------------------------


def test_every_operation_meets_faults_on_its_way_to_aws_and_the_episode_is_as_any_other(stack: Stack) -> None:
    runs, versions = pipeline_runs(stack), packages(stack)
    with troubled(stack.aws, functions(stack)) as way:
        result = replay(stack, month(7, slope=3.0, shift=-4.0), "Approved")
    assert (result.verdict, result.outcome) == ("DRIFTED", "promoted"), result.reason
    assert (pipeline_runs(stack) - runs, packages(stack) - versions) == (1, 1)
    assert stack.serving() == result.episode == stack.champion()["endpoint_config_name"]
    lost = {name for name, faults in way.met.items() if "answer lost" in faults}
    assert lost >= {
        *("StartExecution", "SendTaskSuccess", "StartPipelineExecution", "CreateModel", "CreateEndpointConfig"),
        *("UpdateEndpoint", "TransactWriteItems", "UpdateItem", "PutObject", "Publish", "PutEvents"),
    }
    assert {fault for faults in way.met.values() for fault in faults} == {*OF_READS, *OF_CHANGES}
    assert len(way.met) >= 25, sorted(way.met)


def test_aws_that_was_killed_while_an_approval_was_awaited_goes_on_where_it_was(stack: Stack) -> None:
    runs = pipeline_runs(stack)
    result = replay(stack, month(8, slope=-3.0, shift=4.0), "Approved", KilledWhileItWaits)
    assert (result.verdict, result.outcome) == ("DRIFTED", "promoted"), result.reason
    assert pipeline_runs(stack) - runs == 1
    assert stack.serving() == result.episode == stack.champion()["endpoint_config_name"]


def test_aws_that_was_killed_while_a_pipeline_ran_leaves_no_episode_open(stack: Stack) -> None:
    champion, serving = stack.champion(), stack.serving()
    result = replay(stack, month(9, slope=4.0, shift=-4.0), "Approved", KilledWhileItTrains)
    assert (result.verdict, result.outcome, result.reason) == ("DRIFTED", "failed", "pipeline_failed")
    assert (stack.champion(), stack.serving()) == (champion, serving)
    assert "owner" not in stack.item(f"ENDPOINT#{stack['EndpointName']}", "LOCK")


def test_what_was_stopped_and_is_redriven_finds_its_episode_closed_and_changes_nothing(stack: Stack) -> None:
    champion, serving = stack.champion(), stack.serving()
    result = replay(stack, month(10, slope=4.0, shift=-4.0), "Approved", Redriven)
    assert (result.verdict, result.outcome, result.reason) == ("DRIFTED", "failed", "execution_aborted")
    assert (stack.champion(), stack.serving()) == (champion, serving)
    assert "owner" not in stack.item(f"ENDPOINT#{stack['EndpointName']}", "LOCK")


def test_a_model_that_was_replaced_while_it_awaited_approval_never_serves(stack: Stack) -> None:
    champion, serving = stack.champion(), stack.serving()
    result = replay(stack, month(11, slope=-4.0, shift=-4.0), "Approved", ReplacedWhileItWaits)
    assert (result.verdict, result.outcome, result.reason) == ("DRIFTED", "refused", "artifact_tampered")
    assert (stack.champion(), stack.serving()) == (champion, serving)


def test_a_model_that_is_replaced_while_it_serves_is_told_within_the_hour_and_so_is_its_end(stack: Stack) -> None:
    uri = urlsplit(str(stack.champion()["model_data_uri"]))
    place = {"Bucket": uri.netloc, "Key": uri.path.lstrip("/")}
    s3 = stack.aws.client("s3")
    original = s3.get_object(**place)["Body"].read()
    for hour, body, expected in ((3, original + b"one byte more", "artifact_tampered"), (4, original, "")):
        s3.put_object(**place, Body=body)
        stack.aws.set_clock(datetime(2026, 12, 2, hour, 1, tzinfo=UTC))

        def seen(expected: str = expected) -> bool:
            return str(stack.item(f"ENDPOINT#{stack['EndpointName']}", "SERVING").get("reason", "")) == expected

        wait_for(f"the sweep to see {expected or 'that it is mended'}", seen, seconds=30)


def test_no_planted_value_leaves_the_bucket(stack: Stack, listener: Listener) -> None:
    """Category, number, label and id were captured and learned from; they are in nothing that is said of it."""
    places = {**said(stack), "notifications": listener.heard()}
    assert all(places.values()), {place: len(texts) for place, texts in places.items()}
    found = [(place, value) for place, texts in places.items() for value in PLANTED if value in "\n".join(texts)]
    assert found == []
    s3, bucket = stack.aws.client("s3"), stack["BucketName"]
    keys = [
        item["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="rows/")
        for item in page.get("Contents", [])
    ]
    kept = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys if key.endswith("rows.csv")]
    assert any(CATEGORY.encode() in text for text in kept), "they were there to be found"


def test_every_call_of_the_application_was_allowed(stack: Stack) -> None:
    assert denials(stack, "episodes") == []


class LateLabels(Replay):
    """Labels are known to nobody until an episode waits: then half of them, and when it waits again, the others."""

    def _deliver_labels(self, now: datetime) -> None:
        """Not yet."""

    def _traffic_during_episode(self, pk: str, following: Window | None) -> tuple[list[Answer], dict[str, Any]]:
        labels = [(at, label) for at, label in self._labels_due if at <= self.windows[0].end]
        helper = threading.Thread(target=self._bring, args=(pk, labels), daemon=True)
        helper.start()
        found = super()._traffic_during_episode(pk, following)
        helper.join()
        return found

    def _bring(self, pk: str, labels: list[tuple[datetime, str]]) -> None:
        half = len(labels) // 2
        for attempt, share in enumerate((labels[:half], labels[half:])):

            def waiting(attempt: int = attempt) -> bool:
                episode = self.stack.item(pk, "EPISODE")
                return episode.get("waiting_for") == "labels" and episode.get("pipeline_attempt", 0) == attempt

            wait_for("the episode to wait for labels", waiting, seconds=120)
            self._labels_due = share
            super()._deliver_labels(self.windows[0].end + timedelta(seconds=attempt))  # a file of its own


class Disturbed(Replay):
    """During the episode nobody asks the endpoint, and something happens."""

    def _traffic_during_episode(self, pk: str, following: Window | None) -> tuple[list[Answer], dict[str, Any]]:
        self._disturb(pk)

        def closed() -> dict[str, Any] | None:
            item = self.stack.item(pk, "EPISODE")
            return item if item.get("status") == "CLOSED" else None

        return [], wait_for("the episode to end", closed, seconds=240)

    def _disturb(self, pk: str) -> None:
        raise NotImplementedError

    def _once(self, pk: str, field: str) -> dict[str, Any]:
        """The episode, once it has that field."""
        return wait_for(field, lambda: e if (e := self.stack.item(pk, "EPISODE")).get(field) else None, seconds=120)

    def _kill(self) -> None:
        """The embedded AWS is killed, and is there again."""
        self.stack.aws.kill()
        self.stack.aws.fresh = False
        self.stack.aws.__enter__()


class Unanswered(Disturbed):
    """Whoever is asked answers after what happens only."""

    def _disturb(self, pk: str) -> None:
        episode = self._once(pk, "task_tokens")
        self._meanwhile(episode)
        assert self.stack.item(pk, "EPISODE")["task_tokens"] == episode["task_tokens"]
        package = str(episode["model_package_arn"])
        self.stack.aws.client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")

    def _meanwhile(self, episode: dict[str, Any]) -> None:
        raise NotImplementedError


class KilledWhileItWaits(Unanswered):
    """The embedded AWS is killed between question and answer."""

    def _meanwhile(self, episode: dict[str, Any]) -> None:
        self._kill()


class ReplacedWhileItWaits(Unanswered):
    """The model is another one when the answer comes."""

    def _meanwhile(self, episode: dict[str, Any]) -> None:
        described = self.stack.aws.client("sagemaker").describe_model_package(
            ModelPackageName=str(episode["model_package_arn"])
        )
        uri = urlsplit(described["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
        place = {"Bucket": uri.netloc, "Key": uri.path.lstrip("/")}
        body = self.stack.aws.client("s3").get_object(**place)["Body"].read()
        self.stack.aws.client("s3").put_object(**place, Body=body + b"one byte more")


class KilledWhileItTrains(Disturbed):
    """The embedded AWS is killed while the pipeline runs: its jobs end with it."""

    def _disturb(self, pk: str) -> None:
        self._once(pk, "pipeline_execution_arn")
        self._kill()


class Redriven(Disturbed):
    """The execution is stopped while the pipeline runs, and redriven when its episode is closed."""

    def _disturb(self, pk: str) -> None:
        episode = self._once(pk, "pipeline_execution_arn")
        states, arn = self.stack.aws.client("stepfunctions"), str(episode["execution_arn"])
        states.stop_execution(executionArn=arn)
        wait_for("the episode to end", lambda: self.stack.item(pk, "EPISODE")["status"] == "CLOSED", seconds=60)
        states.redrive_execution(executionArn=arn)
        ended = wait_for(
            "the execution to end",
            lambda: e if (e := states.describe_execution(executionArn=arn))["status"] != "RUNNING" else None,
            seconds=60,
        )
        assert (ended["status"], ended["redriveCount"]) == ("FAILED", 1)
        history = states.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        at = [event["type"] for event in history].index("ExecutionRedriven")
        entered = [
            event["stateEnteredEventDetails"]["name"] for event in history[at:] if "stateEnteredEventDetails" in event
        ]
        assert not {"Judge Challenger", "Update Endpoint", "Switch Champion"} & set(entered), entered


def functions(stack: Stack) -> list[str]:
    """The names of the stack's functions."""
    resources = stack.aws.client("cloudformation").describe_stack_resources(StackName=stack.name)["StackResources"]
    kind = "AWS::Lambda::Function"
    return [item["PhysicalResourceId"] for item in resources if item["ResourceType"] == kind]


def pipeline_runs(stack: Stack) -> int:
    name = f"{stack['EndpointName']}-retrain"
    listed = stack.aws.client("sagemaker").list_pipeline_executions(PipelineName=name, MaxResults=100)
    return len(listed["PipelineExecutionSummaries"])


def packages(stack: Stack) -> int:
    group = str(stack.champion()["model_package_arn"]).split("/")[1]
    listed = stack.aws.client("sagemaker").list_model_packages(ModelPackageGroupName=group, MaxResults=100)
    return len(listed["ModelPackageSummaryList"])


def replay(stack: Stack, window: Window, answer: str, how: type[Replay] = Replay) -> WindowResult:
    """What the loop made of the window, with a person who answers so; every prediction was right."""
    run = how(stack, "a line", parse_spec(MODEL, "model.toml"), [window], lambda *_: None)
    with contextlib.nullcontext() if issubclass(how, Unanswered) else Registrar(stack, answer):
        run.run()
    assert (run.failed, run.misversioned, run.violations) == (0, 0, [])
    return run.results[0]


def native_schedule(endpoint: str) -> dict[str, Any]:
    """A schedule of Model Monitor as its user has made it, with a baseline of his own."""
    return {
        "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
        "MonitoringJobDefinition": {
            "BaselineConfig": {"ConstraintsResource": {"S3Uri": "s3://initial/constraints.json"}},
            "MonitoringInputs": [
                {"EndpointInput": {"EndpointName": endpoint, "LocalPath": "/opt/ml/processing/input"}}
            ],
            "MonitoringOutputConfig": {
                "MonitoringOutputs": [
                    {"S3Output": {"S3Uri": "s3://initial/native", "LocalPath": "/opt/ml/processing/output"}}
                ]
            },
            "MonitoringResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}
            },
            "MonitoringAppSpecification": {"ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/monitor:1"},
            "RoleArn": "arn:aws:iam::000000000000:role/monitors",
        },
        "MonitoringType": "DataQuality",
    }


def status(stack: Stack, package: str) -> str:
    return str(stack.aws.client("sagemaker").describe_model_package(ModelPackageName=package)["ModelApprovalStatus"])
