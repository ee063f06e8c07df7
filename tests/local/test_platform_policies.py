"""Policies count on the embedded AWS as they do on AWS: whose call it is, on what, under which conditions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from workbench import SERVICES, TRUST, Bench, policy

from local import ACCOUNT, REGION, LocalAws

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
BY_ANYBODY = {**TRUST, "Principal": {"Service": SERVICES, "AWS": ROOT}}
JOB = {
    "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
    "AppSpecification": {"ImageUri": "image", "ContainerEntrypoint": ["python3", "-c", "print(1)"]},
}
CREATE = {"Effect": "Allow", "Action": "sagemaker:CreateProcessingJob", "Resource": "*"}


class Caller:
    """Whoever acts under a role; its clients are made anew for each service."""

    def __init__(self, bench: Bench, name: str, *statements: dict[str, Any]) -> None:
        self._bench = bench
        self.role = bench.make_role(name, *statements, trust=BY_ANYBODY)
        self._session = bench.client("sts").assume_role(RoleArn=self.role, RoleSessionName="test")["Credentials"]

    def client(self, service: str) -> Any:
        return boto3.Session(
            aws_access_key_id=self._session["AccessKeyId"],
            aws_secret_access_key=self._session["SecretAccessKey"],
            aws_session_token=self._session["SessionToken"],
            region_name=REGION,
        ).client(service, endpoint_url=self._bench.aws.url)


def denied(call: Any, **arguments: Any) -> str:
    """What AWS says to a call that is not allowed."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 403}
    assert refused.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}
    return str(refused.value)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with LocalAws(0, tmp_path_factory.mktemp("policies"), fresh=True) as aws:
        yield Bench(aws)


def test_sagemaker_asks_for_the_right_to_pass_the_jobs_role(bench: Bench) -> None:
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": bench.role}
    to_lambda = {**passing, "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}}
    to_sagemaker = {**passing, "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}}
    asked = {**JOB, "ProcessingJobName": "passed", "RoleArn": bench.role}
    without = Caller(bench, "without", CREATE).client("sagemaker")
    assert f"iam:PassRole on resource: {bench.role}" in denied(without.create_processing_job, **asked)
    elsewhere = Caller(bench, "elsewhere", CREATE, to_lambda).client("sagemaker")
    denied(elsewhere.create_processing_job, **asked)
    Caller(bench, "right", CREATE, to_sagemaker).client("sagemaker").create_processing_job(**asked)


def test_sagemaker_asks_for_the_resource_and_a_wrong_one_is_denied(bench: Bench) -> None:
    mine = {**CREATE, "Resource": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:processing-job/mine-*"}
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": bench.role}
    sagemaker = Caller(bench, "mine", mine, passing).client("sagemaker")
    denied(sagemaker.create_processing_job, **JOB, ProcessingJobName="yours-1", RoleArn=bench.role)
    sagemaker.create_processing_job(**JOB, ProcessingJobName="mine-1", RoleArn=bench.role)


def test_a_role_that_sagemaker_may_not_assume_is_refused(bench: Bench) -> None:
    only_lambda = {**TRUST, "Principal": {"Service": "lambda.amazonaws.com"}}
    other = {**TRUST, "Condition": {"StringEquals": {"aws:SourceAccount": "111111111111"}}}
    roles = [bench.make_role("only-lambda", trust=only_lambda), bench.make_role("other-account", trust=other)]
    for role in [*roles, f"arn:aws:iam::{ACCOUNT}:role/nobody"]:
        with pytest.raises(ClientError, match="Could not assume role"):
            bench.client("sagemaker").create_processing_job(**JOB, ProcessingJobName="a", RoleArn=role)


def test_a_job_reads_and_writes_under_its_own_role(bench: Bench) -> None:
    s3 = bench.client("s3")
    s3.create_bucket(Bucket="rows")
    s3.put_object(Bucket="rows", Key="in/a.csv", Body=b"1\n")
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::rows"}
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::rows/in/*"}
    writing = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::rows/out/*"}
    logging = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}
    program = "open('/opt/ml/processing/out/b', 'w').write(open('/opt/ml/processing/in/a.csv').read())"
    job = {
        **JOB,
        "AppSpecification": {"ImageUri": "image", "ContainerEntrypoint": ["python3", "-c", program]},
        "ProcessingInputs": [transfer("in", "S3Input", S3DataType="S3Prefix", S3InputMode="File")],
        "ProcessingOutputConfig": {"Outputs": [transfer("out", "S3Output", S3UploadMode="EndOfJob")]},
    }
    roles = {
        "all": [listing, reading, writing, logging],
        "no-reading": [listing, writing, logging],
        "no-writing": [listing, reading, logging],
    }
    for name, statements in roles.items():
        role = bench.make_role(f"job-{name}", *statements)
        bench.client("sagemaker").create_processing_job(**job, ProcessingJobName=name, RoleArn=role)
    ended = {name: finished(bench, name) for name in roles}
    assert [job["ProcessingJobStatus"] for job in ended.values()] == ["Completed", "Failed", "Failed"], ended
    assert "AccessDenied" in ended["no-writing"]["FailureReason"]
    assert s3.get_object(Bucket="rows", Key="out/b")["Body"].read() == b"1\n"


def transfer(folder: str, kind: str, **more: Any) -> dict[str, Any]:
    place = {"S3Uri": f"s3://rows/{folder}", "LocalPath": f"/opt/ml/processing/{folder}"}
    return {f"{kind[2:]}Name": folder, kind: {**place, **more}}


def finished(bench: Bench, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = bench.client("sagemaker").describe_processing_job(ProcessingJobName=name)
        return job if job["ProcessingJobStatus"] != "InProgress" else None

    found: dict[str, Any] = bench.eventually(look, 30)
    return found


def test_composite_alarms_are_described_with_everything_in_scope_only(bench: Bench) -> None:
    describing = {"Effect": "Allow", "Action": "cloudwatch:DescribeAlarms"}
    narrow = Caller(bench, "narrow", {**describing, "Resource": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:*"})
    denied(narrow.client("cloudwatch").describe_alarms)
    Caller(bench, "wide", {**describing, "Resource": "*"}).client("cloudwatch").describe_alarms()


def test_metrics_and_events_are_held_against_their_conditions(bench: Bench) -> None:
    caller = Caller(
        bench,
        "teller",
        {
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": "Mine"}},
        },
        {
            "Effect": "Allow",
            "Action": "events:PutEvents",
            "Resource": "*",
            "Condition": {"StringEquals": {"events:source": "mine"}},
        },
    )
    put = caller.client("cloudwatch").put_metric_data
    put(Namespace="Mine", MetricData=[{"MetricName": "m", "Value": 1.0}])
    denied(put, Namespace="Yours", MetricData=[{"MetricName": "m", "Value": 1.0}])
    tell = caller.client("events").put_events
    mine = {"Source": "mine", "DetailType": "t", "Detail": "{}"}
    tell(Entries=[mine])
    denied(tell, Entries=[mine, {**mine, "Source": "yours"}])


def test_an_encrypted_bucket_asks_for_its_key(bench: Bench) -> None:
    key = bench.client("kms").create_key()["KeyMetadata"]["Arn"]
    bench.client("s3").create_bucket(Bucket="secret")
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    bench.client("s3").put_bucket_encryption(
        Bucket="secret",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
    )
    objects = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::secret/*"}
    using = {"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key}
    without = Caller(bench, "without-key", objects).client("s3")
    denied(without.put_object, Bucket="secret", Key="a", Body=b"1")
    writer = Caller(bench, "writer", objects, using).client("s3")
    writer.put_object(Bucket="secret", Key="a", Body=b"1")
    denied(writer.get_object, Bucket="secret", Key="a")


def test_a_state_machine_invokes_what_its_role_may(bench: Bench) -> None:
    one, other = (bench.function(name, "def handler(event, context):\n    return 1\n") for name in ("one", "other"))
    role = bench.make_role("machine", {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": one})
    ended = {}
    for function in (one, other):
        task = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": function, "Payload": {}},
            "End": True,
        }
        definition = {"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": task}}
        machine = bench.client("stepfunctions").create_state_machine(
            name=function.rpartition(":")[2], definition=json.dumps(definition), roleArn=role
        )["stateMachineArn"]
        ended[function] = bench.execute(machine)
    assert ended[one]["status"] == "SUCCEEDED"
    assert ended[other]["status"] == "FAILED"
    assert f"not authorized to perform: lambda:InvokeFunction on resource: {other}" in ended[other]["cause"]


def test_a_rule_invokes_functions_that_let_it_only(bench: Bench) -> None:
    url, arn = bench.queue("unheard")
    function = bench.function("deaf", "def handler(event, context):\n    return 1\n")
    bench.client("lambda").remove_permission(FunctionName="deaf", StatementId="rules")
    bench.client("events").put_rule(Name="unheard", EventPattern=json.dumps({"source": ["tests.unheard"]}))
    target = {"Id": "f", "Arn": function, "DeadLetterConfig": {"Arn": arn}}
    bench.client("events").put_targets(Rule="unheard", Targets=[target])
    event = {"Source": "tests.unheard", "DetailType": "t", "Detail": '{"n": 1}'}
    bench.client("events").put_events(Entries=[event])
    assert [each["detail"] for each in bench.received(url, seconds=3)] == [{"n": 1}]


def test_an_alarm_tells_topics_that_let_it_only(bench: Bench) -> None:
    url, arn = bench.queue("heard")
    topics = {name: bench.client("sns").create_topic(Name=name)["TopicArn"] for name in ("open", "closed")}
    for topic in topics.values():
        bench.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    nobody = {"Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": topics["closed"]}
    bench.client("sns").set_topic_attributes(
        TopicArn=topics["closed"], AttributeName="Policy", AttributeValue=policy(nobody)
    )
    bench.client("cloudwatch").put_metric_alarm(
        AlarmName="two",
        Namespace="n",
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=list(topics.values()),
    )
    bench.client("cloudwatch").set_alarm_state(AlarmName="two", StateValue="ALARM", StateReason="a drill")
    assert [message["TopicArn"] for message in bench.received(url, seconds=3)] == [topics["open"]]


def test_every_call_under_a_role_is_recorded_with_what_became_of_it(bench: Bench) -> None:
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::listed"}
    bench.client("s3").create_bucket(Bucket="listed")
    s3 = Caller(bench, "lister", listing).client("s3")
    s3.list_objects_v2(Bucket="listed", Prefix="a/")
    denied(s3.put_object, Bucket="listed", Key="a/1", Body=b"")
    made = [call for call in bench.aws.calls() if call["role"] == "lister"]
    assert [(call["action"], call["resource"], call["allowed"]) for call in made] == [
        ("s3:ListBucket", "arn:aws:s3:::listed", True),
        ("s3:PutObject", "arn:aws:s3:::listed/a/1", False),
    ]
    assert made[0]["context"]["s3:prefix"] == "a/"
