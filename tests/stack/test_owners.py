"""One owner for each endpoint: a stack that wants what is another's, or is other than it was built, is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from platform import machine
from typing import Any

import houses
import pytest

from demo.stack import ROOT, STACK_NAME, DemoError, Stack, wait_for
from local import LocalAws
from retrain.model.table import write_table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

QUIET = {"MonitorSchedule": "rate(30 days)", "QualitySchedule": "rate(30 days)"}
LONG_NAME = "a-name-of-a-stack-that-is-cut-in-the-names-of-its-rules"


@pytest.fixture(scope="module")
def aws(free_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(port=free_port, root=tmp_path_factory.mktemp("state"), fresh=True) as aws:
        yield aws


@pytest.fixture(scope="module")
def stack(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The application without a first model: the endpoint `flights` is its own."""
    stack = Stack(aws, tmp_path_factory.mktemp("log") / "sam.log")
    stack.build()
    stack.deploy(QUIET)
    return stack


def owner(aws: LocalAws, pipeline: str = "flights-retrain") -> str:
    sagemaker = aws.client("sagemaker")
    arn = sagemaker.describe_pipeline(PipelineName=pipeline)["PipelineArn"]
    return {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}["retrain:stack"]


def described(aws: LocalAws, name: str = STACK_NAME) -> dict[str, Any]:
    return dict(aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0])


def refusal(aws: LocalAws, stack: Stack, parameters: dict[str, str]) -> str:
    """What CloudFormation tells who deploys the stack with these parameters, which does not succeed."""
    with pytest.raises(DemoError):
        stack.deploy(parameters)
    events = aws.client("cloudformation").describe_stack_events(StackName=stack.name)["StackEvents"]
    return "\n".join(str(event.get("ResourceStatusReason", "")) for event in events)


def test_a_second_stack_of_the_same_endpoint_is_refused_and_the_first_one_keeps_its_pipeline(
    aws: LocalAws, stack: Stack
) -> None:
    first = described(aws)["StackId"]
    assert owner(aws) == first
    said = refusal(aws, Stack(aws, stack.log, "second"), QUIET)
    assert f"EndpointName flights is taken: the pipeline flights-retrain belongs to {first}" in said
    aws.client("cloudformation").delete_stack(StackName="second")
    assert owner(aws) == first


def test_a_stack_keeps_the_name_of_its_endpoint(aws: LocalAws, stack: Stack) -> None:
    assert "this stack owns endpoint flights" in refusal(aws, stack, {**QUIET, "EndpointName": "trains"})
    pipelines = aws.client("sagemaker").list_pipelines()["PipelineSummaries"]
    assert [pipeline["PipelineName"] for pipeline in pipelines] == ["flights-retrain"]


def test_functions_that_were_built_for_another_processor_are_refused_in_words(aws: LocalAws, stack: Stack) -> None:
    runs_on = "arm64" if machine() in {"arm64", "aarch64"} else "x86_64"
    other = {"arm64": "x86_64", "x86_64": "arm64"}[runs_on]
    package = ROOT / ".aws-sam" / "build" / "PipelinePublisher" / "built-for"
    built_for = package.read_text()
    package.write_text(built_for.replace(runs_on, other))  # as `sam build` with another Architecture leaves it
    try:
        said = refusal(aws, Stack(aws, stack.log, "other"), {**QUIET, "EndpointName": "other"})
    finally:
        package.write_text(built_for)
    assert f"the functions were built for {built_for.strip().replace(runs_on, other)} and deployed to" in said


@pytest.fixture(scope="module")
def by_hand(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An endpoint `by-hand` that no stack made; its model's archive lies beside model.toml and train.csv."""
    folder = tmp_path_factory.mktemp("by-hand")
    files = {"model.tar.gz": houses.archive(folder / "made", seed=3), "model.toml": folder / "made" / "model.toml"}
    files["train.csv"] = folder / "train.csv"
    write_table(files["train.csv"], houses.table(600, seed=1))
    aws.client("s3").create_bucket(Bucket="theirs")
    for name, file in files.items():
        aws.client("s3").upload_file(str(file), "theirs", f"model/{name}")
    sagemaker, iam = aws.client("sagemaker"), aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="by-hand", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    may = {"Effect": "Allow", "Action": ["s3:*", "logs:*", "cloudwatch:*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    iam.put_role_policy(RoleName="by-hand", PolicyName="all", PolicyDocument=policy)
    container = {
        "Image": "000000000000.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0",
        "ModelDataUrl": "s3://theirs/model/model.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
    }
    sagemaker.create_model(ModelName="by-hand", PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {"VariantName": "AllTraffic", "ModelName": "by-hand", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="by-hand", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName="by-hand", EndpointConfigName="by-hand")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="by-hand", WaiterConfig={"Delay": 1})
    return "by-hand"


def test_an_endpoint_that_exists_is_not_taken_over(aws: LocalAws, stack: Stack, by_hand: str) -> None:
    said = refusal(aws, Stack(aws, stack.log, "third"), {**QUIET, "EndpointName": by_hand})
    assert "the endpoint by-hand exists and serves by-hand, which no episode of this stack made" in said
    assert aws.client("sagemaker").describe_endpoint(EndpointName=by_hand)["EndpointConfigName"] == "by-hand"


def test_an_endpoint_that_exists_is_adopted_when_asked_and_what_serves_is_the_first_champion(
    aws: LocalAws, stack: Stack, by_hand: str
) -> None:
    adopting = {**QUIET, "EndpointName": by_hand, "AdoptEndpoint": "true", "InitialDataUri": "s3://theirs/model/"}
    elsewhere = {**adopting, "InitialDataUri": "s3://theirs/another/"}
    said = refusal(aws, Stack(aws, stack.log, "fourth"), elsewhere)
    assert "by-hand can't be adopted: it serves s3://theirs/model/model.tar.gz, and InitialDataUri" in said
    rows, _ = houses.texts(houses.table(50, seed=9))
    asked = "".join(",".join(row) + "\n" for row in rows)
    before = answers(aws, by_hand, asked)
    owner_of_it = Stack(aws, stack.log, "fifth")
    owner_of_it.deploy(adopting)
    champion = wait_for("a champion", owner_of_it.champion, seconds=240)
    wait_for("the adoption's end", lambda: [e for e in owner_of_it.episodes() if e["status"] == "CLOSED"], seconds=60)
    [episode] = owner_of_it.episodes()
    assert (episode["outcome"], episode["adopts_config"]) == ("promoted", "by-hand"), episode
    assert owner_of_it.serving() == champion["endpoint_config_name"] == episode["pk"].removeprefix("EPISODE#")
    assert answers(aws, by_hand, asked) == before
    assert aws.client("sagemaker").describe_endpoint(EndpointName=by_hand)["DataCaptureConfig"]["EnableCapture"]


def answers(aws: LocalAws, endpoint: str, asked: str) -> str:
    told = aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=asked, ContentType="text/csv", Accept="text/csv"
    )
    return str(told["Body"].read().decode())


def test_a_stack_with_a_long_name_may_send_its_dead_letters(aws: LocalAws, stack: Stack) -> None:
    Stack(aws, stack.log, LONG_NAME).deploy({**QUIET, "EndpointName": "long"})
    resources = aws.client("cloudformation").describe_stack_resources(StackName=LONG_NAME)["StackResources"]
    ids = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in resources}
    policy = aws.client("sqs").get_queue_attributes(QueueUrl=ids["UndeliveredEvents"], AttributeNames=["Policy"])
    for item in resources:
        if item["ResourceType"] == "AWS::Events::Rule":
            arn = aws.client("events").describe_rule(Name=item["PhysicalResourceId"].rpartition("/")[2])["Arn"]
            assert arn in policy["Attributes"]["Policy"], item["LogicalResourceId"]
