"""What is sent to AWS, parameter by parameter, and what its errors become."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
)
from botocore.stub import Stubber
from moto import mock_aws

from retrain.aws.calls import classified
from retrain.aws.cloudformation import respond
from retrain.aws.cloudwatch import CloudWatch
from retrain.aws.events import Bus
from retrain.aws.kms import Macs
from retrain.aws.s3 import Store
from retrain.aws.sagemaker import SageMaker
from retrain.aws.sns import Topic
from retrain.aws.sqs import RejectedEvents
from retrain.aws.stepfunctions import Callbacks, Executions, StateMachine
from retrain.core import errors
from retrain.core.clock import parse

ROLE = "arn:aws:iam::000000000000:role/job-role"
PIPELINE = "arn:aws:sagemaker:us-east-1:000000000000:pipeline/flights-retrain"
RUN = f"{PIPELINE}/execution/abcdefghijkl"
MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:machine"
PACKAGE = "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/2"
TOKEN = "t" * 40


@pytest.fixture
def aws() -> Iterator[Any]:
    """Makes a stubbed client of a service; everything stubbed has to be called."""
    stubbers = []

    def client(service: str) -> tuple[Any, Stubber]:
        made = boto3.client(service, region_name="us-east-1")
        stubber = Stubber(made)
        stubber.activate()
        stubbers.append(stubber)
        return made, stubber

    yield client
    for stubber in stubbers:
        stubber.assert_no_pending_responses()


# SageMaker ------------------------------------------------------------------------------------------------------------


def test_a_pipeline_is_started_with_its_token_and_sorted_parameters(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_response(
        "start_pipeline_execution",
        {"PipelineExecutionArn": RUN},
        {
            "PipelineName": "flights-retrain",
            "PipelineExecutionDisplayName": "episode",
            "PipelineParameters": [{"Name": "A", "Value": "1"}, {"Name": "B", "Value": "2"}],
            "ClientRequestToken": TOKEN,
        },
    )
    assert SageMaker(client).start_pipeline("flights-retrain", TOKEN, "episode", {"B": "2", "A": "1"}) == RUN


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("ResourceNotFound", "Pipeline 'flights-retrain' does not exist", errors.PipelineMissing),
        ("ResourceLimitExceeded", "ml.m5.xlarge", errors.QuotaExceeded),
        ("ThrottlingException", "Rate exceeded", errors.Throttled),
        ("AccessDeniedException", "no", errors.AccessDenied),
        ("ValidationException", "1 validation error", errors.AwsRejected),
        ("InternalFailure", "", errors.Throttled),
    ],
)
def test_errors_of_a_start_are_classified(code: str, message: str, expected: type[Exception], aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("start_pipeline_execution", code, message)
    with pytest.raises(expected):
        SageMaker(client).start_pipeline("flights-retrain", TOKEN, "episode", {})


TAGS = [{"Key": "retrain:stack", "Value": "ours"}]


def test_an_existing_pipeline_is_updated(aws: Any) -> None:
    client, stub = aws("sagemaker")
    expected = {"PipelineName": "flights-retrain", "PipelineDefinition": "{}", "RoleArn": ROLE}
    stub.add_response("update_pipeline", {"PipelineArn": PIPELINE}, expected)
    stub.add_response("add_tags", {"Tags": TAGS}, {"ResourceArn": PIPELINE, "Tags": TAGS})
    assert SageMaker(client).put_pipeline("flights-retrain", "{}", ROLE, TOKEN, {"retrain:stack": "ours"}) == PIPELINE


def test_a_pipeline_that_is_not_there_is_created(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("update_pipeline", "ResourceNotFound", "Pipeline 'flights-retrain' does not exist")
    expected = {
        "PipelineName": "flights-retrain",
        "PipelineDefinition": "{}",
        "RoleArn": ROLE,
        "ClientRequestToken": TOKEN,
        "Tags": TAGS,
    }
    stub.add_response("create_pipeline", {"PipelineArn": PIPELINE}, expected)
    assert SageMaker(client).put_pipeline("flights-retrain", "{}", ROLE, TOKEN, {"retrain:stack": "ours"}) == PIPELINE


@pytest.mark.parametrize(
    ("tags", "role", "owner"),
    [
        (TAGS, "arn:aws:iam::000000000000:role/another", "ours"),
        ([], ROLE, None),
        ([], "arn:aws:iam::000000000000:role/another", "role arn:aws:iam::000000000000:role/another"),
    ],
)
def test_a_pipeline_tells_its_owner_by_its_tag_and_one_without_by_its_role(
    tags: Any, role: str, owner: str | None, aws: Any
) -> None:
    client, stub = aws("sagemaker")
    stub.add_response("describe_pipeline", {"PipelineArn": PIPELINE, "RoleArn": role})
    stub.add_response("list_tags", {"Tags": tags}, {"ResourceArn": PIPELINE})
    assert SageMaker(client).pipeline_owner("flights-retrain", "retrain:stack", ROLE) == owner


def test_a_pipeline_that_is_not_there_is_nobodys(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("describe_pipeline", "ResourceNotFound", "Pipeline does not exist")
    assert SageMaker(client).pipeline_owner("flights-retrain", "retrain:stack", ROLE) is None


def test_deleting_a_pipeline_that_is_gone_is_no_error(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("delete_pipeline", "ResourceNotFound", "Pipeline does not exist")
    SageMaker(client).delete_pipeline("flights-retrain", TOKEN)


@pytest.mark.parametrize(
    ("operation", "call", "named", "message"),
    [
        ("delete_model", "delete_model", {"ModelName": "a"}, 'Could not find model "a".'),
        ("delete_endpoint_config", "delete_endpoint_config", {"EndpointConfigName": "a"}, "Could not find it."),
        ("delete_model_package", "delete_package", {"ModelPackageName": "a"}, "ModelPackage a does not exist."),
    ],
)
def test_what_is_gone_already_is_removed(aws: Any, operation: str, call: str, named: Any, message: str) -> None:
    client, stub = aws("sagemaker")
    stub.add_response(operation, {}, named)
    stub.add_client_error(operation, "ValidationException", message, expected_params=named)
    stub.add_client_error(operation, "ThrottlingException", "Rate exceeded", expected_params=named)
    getattr(SageMaker(client), call)("a")
    getattr(SageMaker(client), call)("a")
    with pytest.raises(errors.Throttled):
        getattr(SageMaker(client), call)("a")


def test_an_unknown_execution_is_lost(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("describe_pipeline_execution", "ResourceNotFound", "")
    with pytest.raises(errors.ExecutionLost):
        SageMaker(client).pipeline_execution(RUN)


@pytest.mark.parametrize(("status", "calls"), [("Executing", 1), ("Succeeded", 0), ("Stopping", 0)])
def test_only_an_execution_that_runs_is_stopped(status: str, calls: int, aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_response("describe_pipeline_execution", {"PipelineExecutionStatus": status})
    if calls:
        token = "stop-abcdefghijkl".ljust(32, "-")
        expected = {"PipelineExecutionArn": RUN, "ClientRequestToken": token}
        stub.add_response("stop_pipeline_execution", {"PipelineExecutionArn": RUN}, expected)
    SageMaker(client).stop_pipeline_if_running(RUN)


def test_steps_come_from_every_page(aws: Any) -> None:
    client, stub = aws("sagemaker")
    first = {"PipelineExecutionSteps": [{"StepName": "A"}], "NextToken": "more"}
    stub.add_response("list_pipeline_execution_steps", first)
    stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [{"StepName": "B"}]})
    assert [step["StepName"] for step in SageMaker(client).pipeline_steps(RUN)] == ["A", "B"]


def test_a_jobs_own_words_are_found(aws: Any) -> None:
    client, stub = aws("sagemaker")
    arn = "arn:aws:sagemaker:us-east-1:000000000000:processing-job/pipelines-1"
    job = {
        "ProcessingJobName": "pipelines-1",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "Failed",
        "CreationTime": datetime(2013, 4, 1, tzinfo=UTC),
        "ExitMessage": "labels_insufficient: none",
    }
    stub.add_response("describe_processing_job", job, {"ProcessingJobName": "pipelines-1"})
    assert SageMaker(client).job_text({"Metadata": {"ProcessingJob": {"Arn": arn}}}) == "labels_insufficient: none"
    assert SageMaker(client).job_text({"Metadata": {}}) == ""


def test_an_endpoint_that_is_not_there_is_none(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("describe_endpoint", "ValidationException", 'Could not find endpoint "flights".')
    assert SageMaker(client).endpoint("flights") is None


def test_an_endpoint_that_is_being_updated_is_busy(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("update_endpoint", "ValidationException", "Cannot update in-progress endpoint flights.")
    with pytest.raises(errors.EndpointBusy):
        SageMaker(client).update_endpoint("flights", "config", {}, keep_counts=False)


MODEL = {
    "Containers": [{"ModelPackageName": PACKAGE}],
    "ExecutionRoleArn": ROLE,
    "EnableNetworkIsolation": True,
}


def described(**changes: Any) -> dict[str, Any]:
    return {
        "ModelName": "m",
        "ModelArn": "arn:aws:sagemaker:us-east-1:000000000000:model/m",
        "CreationTime": datetime(2013, 4, 1, tzinfo=UTC),
        **MODEL,
        **changes,
    }


def test_a_model_that_exists_with_the_same_content_is_fine(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("create_model", "ValidationException", "Cannot create already existing model")
    stub.add_response("describe_model", described(), {"ModelName": "m"})
    SageMaker(client).put_model("m", MODEL)


def test_a_model_that_exists_with_other_content_is_a_collision(aws: Any) -> None:
    client, stub = aws("sagemaker")
    stub.add_client_error("create_model", "ValidationException", "Cannot create already existing model")
    stub.add_response("describe_model", described(Containers=[{"ModelPackageName": PACKAGE + "0"}]))
    with pytest.raises(errors.NameCollision, match="Containers"):
        SageMaker(client).put_model("m", MODEL)


def test_a_package_is_approved_with_a_reason(aws: Any) -> None:
    client, stub = aws("sagemaker")
    expected = {"ModelPackageArn": PACKAGE, "ModelApprovalStatus": "Approved", "ApprovalDescription": "w" * 1024}
    stub.add_response("update_model_package", {"ModelPackageArn": PACKAGE}, expected)
    SageMaker(client).set_approval(PACKAGE, "Approved", "w" * 5000)


SCHEDULE = {
    "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
    "MonitoringJobDefinitionName": "job",
    "MonitoringType": "DataQuality",
}
DEFINITION = {
    "DataQualityBaselineConfig": {"StatisticsResource": {"S3Uri": "s3://bucket/statistics.json"}},
    "DataQualityAppSpecification": {"ImageUri": "image"},
    "DataQualityJobInput": {"EndpointInput": {"EndpointName": "flights", "LocalPath": "/opt/ml/processing/input"}},
    "DataQualityJobOutputConfig": {
        "MonitoringOutputs": [{"S3Output": {"S3Uri": "s3://bucket/native", "LocalPath": "/opt/ml/processing/output"}}]
    },
    "JobResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}},
    "RoleArn": ROLE,
}


def test_a_monitoring_schedule_is_described_and_updated_whole(aws: Any) -> None:
    client, stub = aws("sagemaker")
    arn = "arn:aws:sagemaker:us-east-1:000000000000:monitoring-schedule/hourly"
    now = datetime(2013, 4, 1, tzinfo=UTC)
    found = {
        "MonitoringScheduleArn": arn,
        "MonitoringScheduleName": "hourly",
        "MonitoringScheduleStatus": "Scheduled",
        "CreationTime": now,
        "LastModifiedTime": now,
        "MonitoringScheduleConfig": SCHEDULE,
    }
    stub.add_response("describe_monitoring_schedule", found, {"MonitoringScheduleName": "hourly"})
    expected = {"MonitoringScheduleName": "hourly", "MonitoringScheduleConfig": SCHEDULE}
    stub.add_response("update_monitoring_schedule", {"MonitoringScheduleArn": arn}, expected)
    sagemaker = SageMaker(client)
    assert sagemaker.monitoring_schedule("hourly")["MonitoringScheduleConfig"] == SCHEDULE
    sagemaker.update_monitoring_schedule("hourly", SCHEDULE)


@pytest.mark.parametrize("same", [True, False])
def test_a_job_definition_that_exists_is_fine_if_it_says_the_same(same: bool, aws: Any) -> None:
    client, stub = aws("sagemaker")
    arn = "arn:aws:sagemaker:us-east-1:000000000000:data-quality-job-definition/job"
    found = {"JobDefinitionArn": arn, "JobDefinitionName": "job", "CreationTime": datetime(2013, 4, 1, tzinfo=UTC)}
    stub.add_client_error("create_data_quality_job_definition", "ResourceInUse", "Job definition already exists")
    other = {} if same else {"DataQualityAppSpecification": {"ImageUri": "another"}}
    stub.add_response("describe_data_quality_job_definition", {**found, **DEFINITION, **other})
    if same:
        SageMaker(client).put_data_quality_definition("job", DEFINITION)
    else:
        with pytest.raises(errors.NameCollision, match="DataQualityAppSpecification"):
            SageMaker(client).put_data_quality_definition("job", DEFINITION)


# Step Functions -------------------------------------------------------------------------------------------------------


def test_an_execution_is_started_with_name_input_and_trace(aws: Any) -> None:
    client, stub = aws("stepfunctions")
    arn = MACHINE.replace("stateMachine", "execution") + ":episode"
    expected = {"stateMachineArn": MACHINE, "name": "episode", "input": "{}", "traceHeader": "Root=1"}
    stub.add_response("start_execution", {"executionArn": arn, "startDate": datetime(2013, 4, 1, tzinfo=UTC)}, expected)
    assert StateMachine(client, MACHINE).start("episode", "{}", "Root=1") == (arn, "RUNNING")


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "SUCCEEDED"])
def test_an_execution_that_exists_already_tells_its_status(status: str, aws: Any) -> None:
    client, stub = aws("stepfunctions")
    arn = MACHINE.replace("stateMachine", "execution") + ":episode"
    stub.add_client_error("start_execution", "ExecutionAlreadyExists", "")
    answer = {
        "executionArn": arn,
        "stateMachineArn": MACHINE,
        "status": status,
        "startDate": datetime(2013, 4, 1, tzinfo=UTC),
    }
    stub.add_response("describe_execution", answer, {"executionArn": arn})
    assert StateMachine(client, MACHINE).start("episode", "{}", None) == (arn, status)


def test_an_execution_that_was_cut_off_says_why_as_long_as_it_is_known(aws: Any) -> None:
    client, stub = aws("stepfunctions")
    arn = MACHINE.replace("stateMachine", "execution") + ":episode"
    started = {"executionArn": arn, "stateMachineArn": MACHINE, "startDate": datetime(2013, 4, 1, tzinfo=UTC)}
    stub.add_response("describe_execution", {**started, "status": "ABORTED", "cause": "bad labels"})
    stub.add_client_error("describe_execution", "ExecutionDoesNotExist", "")
    assert Executions(client).why(arn) == {"cause": "bad labels"}
    assert Executions(client).why(arn) == {}


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_state_that_waits_no_more_is_not_an_error(code: str, aws: Any) -> None:
    client, stub = aws("stepfunctions")
    stub.add_client_error("send_task_success", code, "")
    assert Callbacks(client).succeed("token", {"decision": "approved"}) is False


def test_a_waiting_state_gets_the_decision(aws: Any) -> None:
    client, stub = aws("stepfunctions")
    stub.add_response("send_task_success", {}, {"taskToken": "token", "output": '{"decision": "approved"}'})
    assert Callbacks(client).succeed("token", {"decision": "approved"}) is True


# KMS ------------------------------------------------------------------------------------------------------------------

KEY = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555"
SIGNED = {"KeyId": KEY, "Message": b"text", "MacAlgorithm": "HMAC_SHA_256"}


def test_a_text_is_signed_with_the_stacks_key(aws: Any) -> None:
    client, stub = aws("kms")
    stub.add_response("generate_mac", {"Mac": b"c" * 32, "MacAlgorithm": "HMAC_SHA_256", "KeyId": KEY}, SIGNED)
    assert Macs(client, KEY).make(b"text") == b"c" * 32


def test_what_the_key_signed_is_genuine_and_whatever_else_is_forged(aws: Any) -> None:
    client, stub = aws("kms")
    asked = {**SIGNED, "Mac": b"c" * 32}
    stub.add_response("verify_mac", {"KeyId": KEY, "MacValid": True, "MacAlgorithm": "HMAC_SHA_256"}, asked)
    stub.add_client_error("verify_mac", "KMSInvalidMacException", "", 400, expected_params=asked)
    macs = Macs(client, KEY)
    assert [macs.genuine(b"text", b"c" * 32) for _ in range(2)] == [True, False]
    assert not macs.genuine(b"text", b"short"), "nobody is asked about that"


@pytest.mark.parametrize(
    ("code", "error"),
    [("ThrottlingException", errors.Throttled), ("DisabledException", errors.AwsRejected)],
)
def test_a_key_that_does_not_answer_is_no_forgery(code: str, error: type[Exception], aws: Any) -> None:
    client, stub = aws("kms")
    stub.add_client_error("verify_mac", code, "")
    with pytest.raises(error, match="kms:VerifyMac"):
        Macs(client, KEY).genuine(b"text", b"c" * 32)


# The others -----------------------------------------------------------------------------------------------------------


def test_a_subject_is_what_sns_accepts(aws: Any) -> None:
    client, stub = aws("sns")
    expected = {"TopicArn": "arn:topic", "Subject": "drift? " + "x" * 93, "Message": "text"}
    stub.add_response("publish", {"MessageId": "1"}, expected)
    Topic(client, "arn:topic").publish("drift… " + "x" * 200, "text")


def test_a_huge_event_is_cut_to_what_a_queue_takes(aws: Any) -> None:
    with mock_aws():
        client = boto3.client("sqs", region_name="us-east-1")
        url = client.create_queue(QueueName="rejected")["QueueUrl"]
        RejectedEvents(client, url).keep({"detail": "x" * 1_000_000}, "malformed_event", "too long")
        [message] = client.receive_message(QueueUrl=url)["Messages"]
    body = json.loads(message["Body"])
    assert body["reason"] == "malformed_event"
    assert len(body["event"]) == 200_000


def test_an_event_that_the_bus_refused_is_an_error(aws: Any) -> None:
    client, stub = aws("events")
    stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]})
    with pytest.raises(errors.Throttled):
        Bus(client).put("Bootstrap Requested", {"endpoint_name": "flights"})


def test_an_event_has_the_source_that_the_rule_expects(aws: Any) -> None:
    client, stub = aws("events")
    entry = {"Source": "retrain", "DetailType": "Bootstrap Requested", "Detail": '{"endpoint_name": "flights"}'}
    stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, {"Entries": [entry]})
    Bus(client).put("Bootstrap Requested", {"endpoint_name": "flights"})


def test_metrics_are_published_in_requests_of_limited_size(aws: Any) -> None:
    client, stub = aws("cloudwatch")
    metrics = [{"MetricName": f"m{number}", "Value": 1.0} for number in range(501)]
    stub.add_response("put_metric_data", {}, {"Namespace": "DriftRetrain", "MetricData": metrics[:500]})
    stub.add_response("put_metric_data", {}, {"Namespace": "DriftRetrain", "MetricData": metrics[500:]})
    CloudWatch(client, "DriftRetrain").put_metrics(metrics)


def test_alarms_in_alarm_are_named(aws: Any) -> None:
    client, stub = aws("cloudwatch")
    alarms = [{"AlarmName": "b", "StateValue": "ALARM"}, {"AlarmName": "a", "StateValue": "OK"}]
    stub.add_response("describe_alarms", {"MetricAlarms": alarms})
    assert CloudWatch(client, "DriftRetrain").in_alarm(["a", "b"]) == ["b"]
    assert CloudWatch(client, "DriftRetrain").in_alarm([]) == []


def test_keys_of_a_window_are_those_of_its_hours() -> None:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        store = Store(client, "bucket")
        for key in ("28/23/a", "28/22/b", "29/05/c", "30/00/d", "30/01/e"):
            store.put(f"capture/flights/AllTraffic/2013/03/{key}.jsonl", "x\ny\n")
        store.put("capture/flights/AllTraffic/2013/03/29/06/empty.jsonl", b"")
        listed: list[str] = []
        client.meta.events.register(
            "provide-client-params.s3.ListObjectsV2", lambda params, **_: listed.append(params["Prefix"][-6:])
        )
        keys = store.keys_between(
            "capture/flights/AllTraffic", parse("2013-03-28T23:30:00Z"), parse("2013-03-30T01:00:00Z")
        )
        assert [key.rsplit("/", 1)[-1] for key in keys] == ["a.jsonl", "c.jsonl", "d.jsonl"]
        assert listed == ["03/28/", "03/29/", "03/30/"], "a day is one listing"
        assert [list(lines) for _, lines in store.files(keys)] == [[b"x\n", b"y\n"]] * 3
        assert not list(store.bodies(["none"]))
        assert store.sha256(store.uri(keys[0])) == sha256(b"x\ny\n").hexdigest()
        with pytest.raises(errors.NoArtifact):
            store.read("s3://bucket/none")
        with pytest.raises(errors.NoArtifact):
            store.sha256("s3://bucket/none")


def test_no_answer_at_all_is_worth_another_try() -> None:
    with pytest.raises(errors.Throttled, match="sagemaker:Anything"), classified("sagemaker:Anything"):
        raise EndpointConnectionError(endpoint_url="https://nowhere")


@pytest.mark.parametrize(
    "error", [NoRegionError(), ParamValidationError(report="no such parameter"), NoCredentialsError()]
)
def test_what_was_never_sent_is_rejected_by_name_and_not_tried_again(error: Exception) -> None:
    """C18: of botocore's own errors only those of the way to AWS may pass."""
    said = f"sagemaker:Anything: {type(error).__name__}: "
    with pytest.raises(errors.AwsRejected, match=said) as raised, classified("sagemaker:Anything"):
        raise error
    assert isinstance(raised.value, errors.Permanent)


def test_a_client_without_a_region_is_rejected_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(errors.AwsRejected, match="NoRegionError"), classified("dynamodb:GetItem"):
        boto3.Session().client("dynamodb")


def test_cloudformation_hears_how_a_request_ended() -> None:
    heard: list[tuple[str, dict[str, Any]]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    event = {
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "PublishedPipeline",
        "ResponseURL": f"http://127.0.0.1:{server.server_port}/response",
    }
    respond(event, "FAILED", "physical", {"CodeUri": "s3://code"}, "x" * 9000)
    thread.join(5)
    server.server_close()
    [(content_type, body)] = heard
    assert content_type == ""
    assert (body["Status"], body["PhysicalResourceId"], body["Data"]) == (
        "FAILED",
        "physical",
        {"CodeUri": "s3://code"},
    )
    assert len(json.dumps(body)) < 4096
