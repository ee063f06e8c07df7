"""The approval page on the embedded AWS: the template's own resources for it, their roles, and a machine that waits.

What asks and what decides is there; the rest of the stack is not needed, so this takes seconds.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from e2e import browse, denials_of
from workbench import Bench

from local import LocalAws
from local.template import STACK, source, translated
from retrain.core.clock import parse, render
from retrain.core.values import Trigger
from retrain.episode.seals import container_sha256

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PARTS = {
    *("DataKey", "LinkKey", "DataBucket", "Ledger", "ModelPackages", "Notifications", "NotificationsPolicy"),
    *("FirstApprover", "SecondApprover", "ApproversPolicy"),
    *("Approver", "ApproverRole", "ApproverLogs", "ApproverSendsLinks"),
    *("ApprovalPage", "ApprovalPageRole", "ApprovalPageLogs"),
    *("ApprovalApi", "ApprovalApiStage", "ApprovalApiIntegration", "ApprovalApiMayAsk"),
    *("ApprovalApiShows", "ApprovalApiDecides"),
}
PARAMETERS = {
    "XGBoostImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0",
    "EndpointName": "flights",
    "LambdaRuntime": "python3.11",
    "Architecture": "x86_64",
    "Approvers": "2",
    "ApproverEmail": "ada@example.com",
    "SecondApproverEmail": "ben@example.com",
}
NOW = parse("2026-02-01T00:00:00Z")


def packed() -> bytes:
    """The rooms of the control plane, and what the telemetry layer has."""
    packed = io.BytesIO()
    libraries = [Path(str(find_spec(name).origin)) for name in ("aws_lambda_powertools", "aws_xray_sdk", "wrapt")]  # type: ignore[union-attr]
    files = {file: file.relative_to(ROOT / "src") for file in (ROOT / "src").rglob("*.*")}
    for library in libraries:
        files |= {file: file.relative_to(library.parents[1]) for file in library.parent.rglob("*.*")}
    single = Path(str(find_spec("typing_extensions").origin))  # type: ignore[union-attr]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, name in {**files, single: Path(single.name)}.items():
            if file.is_file() and file.suffix != ".pyc":
                archive.write(file, name)
    return packed.getvalue()


def template() -> str:
    """The page's part of the template, with one archive for both functions."""
    made = translated(source())
    parts = {name: made["Resources"][name] for name in PARTS}
    for name in ("Approver", "ApprovalPage"):
        parts[name]["Properties"].pop("Layers")
        parts[name]["Properties"]["Code"] = {"S3Bucket": "code", "S3Key": "code.zip"}
    document = {name: made[name] for name in ("AWSTemplateFormatVersion", "Parameters", "Conditions")}
    url = {"Value": {"Fn::Sub": "${ApprovalApi.ApiEndpoint}/"}}
    return json.dumps({**document, "Resources": parts, "Outputs": {"Page": url}}, default=str)


class Desk:
    """The deployed page, and an episode that waits for a decision on it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self.bench = aws, Bench(aws)
        s3, stacks = aws.client("s3"), aws.client("cloudformation")
        s3.create_bucket(Bucket="code")
        s3.put_object(Bucket="code", Key="code.zip", Body=packed())
        given = [{"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()]
        stacks.create_stack(StackName=STACK, TemplateBody=template(), Parameters=given, Capabilities=["CAPABILITY_IAM"])
        done = self.bench.eventually(lambda: self._stack("CREATE_COMPLETE"), seconds=120)
        self.page = done["Outputs"][0]["OutputValue"]
        found = stacks.describe_stack_resources(StackName=STACK)["StackResources"]
        self.names = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in found}
        self.mail = {name: self._mailbox(name) for name in ("FirstApprover", "SecondApprover", "Notifications")}
        self.arn = self._package()
        self.execution = self._ask()

    def _stack(self, status: str) -> Any:
        [stack] = self.aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        assert "FAILED" not in stack["StackStatus"], stack.get("StackStatusReason")
        assert "ROLLBACK" not in stack["StackStatus"], stack.get("StackStatusReason")
        return stack if stack["StackStatus"] == status else None

    def _mailbox(self, topic: str) -> str:
        url, arn = self.bench.queue(topic)
        self.aws.client("sns").subscribe(TopicArn=self.names[topic], Protocol="sqs", Endpoint=arn)
        return url

    def _package(self) -> str:
        group = self.names["ModelPackages"].rpartition("/")[2]
        inference = {
            "Containers": [{"Image": PARAMETERS["XGBoostImageUri"], "ModelDataUrl": "s3://bucket/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        }
        made = self.aws.client("sagemaker").create_model_package(
            ModelPackageGroupName=group, InferenceSpecification=inference
        )
        return str(made["ModelPackageArn"])

    def _ask(self) -> str:
        """An execution that waits in a state that asks as the state machine's does."""
        from retrain.aws.ledger import Ledger
        from retrain.core.values import Episode

        ledger = Ledger(self.aws.client("dynamodb"), self.names["Ledger"])
        trigger = Trigger("flights", "an alarm", NOW, "it fired")
        opened = ledger.open(trigger, (NOW, NOW), parse("2027-02-01T00:00:00Z"))
        assert not isinstance(opened, str)
        self.episode = Episode(trigger.episode_id, "flights", int(opened["fence"]), bootstrap=False)
        described = self.aws.client("sagemaker").describe_model_package(ModelPackageName=self.arn)
        ledger.note(
            self.episode,
            model_package_arn=self.arn,
            model_sha256="0" * 64,
            container_sha256=container_sha256(described),
            gate_summary="promote: rmse 12 -> 10.5, better by 1 to 2",
        )
        self.ledger = ledger
        payload = {
            "step": "request_approval",
            "now": render(NOW),
            "episode": self.episode.payload(),
            "task_token.$": "$$.Task.Token",
        }
        asking = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {"FunctionName": self.names["Approver"], "Payload": payload},
            "TimeoutSeconds": 600,
            "End": True,
        }
        machines = self.aws.client("stepfunctions")
        machine = machines.create_state_machine(
            name="asks", definition=json.dumps({"StartAt": "Ask", "States": {"Ask": asking}}), roleArn=self.bench.role
        )
        started = machines.start_execution(stateMachineArn=machine["stateMachineArn"], input="{}")
        return str(started["executionArn"])

    def letter(self, topic: str) -> str:
        """The next mail to who hears of that topic."""
        sqs = self.aws.client("sqs")
        [message] = self.bench.eventually(
            lambda: sqs.receive_message(QueueUrl=self.mail[topic], WaitTimeSeconds=1).get("Messages"), seconds=120
        )
        return str(json.loads(message["Body"])["Message"])

    def item(self) -> dict[str, Any]:
        return dict(self.ledger.episode(self.episode.episode_id) or {})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with LocalAws(0, tmp_path_factory.mktemp("aws"), fresh=True) as aws:
        aws.set_clock(NOW)
        yield Desk(aws)
        assert aws.violations() == []


def test_two_people_approve_by_their_links_and_nobody_by_anything_else(desk: Desk) -> None:
    links = [desk.letter(name).splitlines()[-1] for name in ("FirstApprover", "SecondApprover")]
    assert all(link.startswith(f"{desk.page}?token=") for link in links)
    assert "token=" not in desk.letter("Notifications")
    first, second = (parse_qs(urlsplit(link).query)["token"][0] for link in links)
    status, shown, _ = browse(links[0])
    assert (status, "Shall the challenger serve flights?" in shown, desk.arn in shown) == (200, True, True)
    claims, _, code = first.partition(".")
    bad = [browse(desk.page), browse(f"{desk.page}?token={second.partition('.')[0]}.{code}")]
    bad += [browse(desk.page, token=f"{claims[:-2]}AA.{code}", decision="approve")]
    assert browse(desk.page, token=first, decision="approve")[0] == 200
    bad += [browse(links[0]), browse(desk.page, token=first, decision="approve")]
    assert (desk.item()["first_approval_by"], desk.item().get("decision")) == ("the first approver, by link", None)
    desk.aws.set_clock(parse("2026-02-04T00:00:00Z"))
    bad += [browse(desk.page, token=second, decision="approve")]
    desk.aws.set_clock(parse("2026-02-03T23:59:00Z"))
    status, said, _ = browse(desk.page, token=second, decision="approve")
    assert (status, "You approved the challenger" in said) == (200, True)
    bad += [browse(links[1]), browse(desk.page, token=second, decision="reject")]
    assert {(status, said) for status, said, _ in bad} == {(404, bad[0][1])}, (
        "none, another's, forged, used, expired, decided"
    )
    machines = desk.aws.client("stepfunctions")
    ended = desk.bench.eventually(lambda: over(machines.describe_execution(executionArn=desk.execution)), seconds=30)
    assert (ended["status"], json.loads(ended["output"])) == ("SUCCEEDED", {"decision": "approved"})
    package = desk.aws.client("sagemaker").describe_model_package(ModelPackageName=desk.arn)
    assert package["ModelApprovalStatus"] == "Approved"
    assert "the first approver, by link and the second approver, by link" in package["ApprovalDescription"]


def over(execution: dict[str, Any]) -> dict[str, Any] | None:
    return execution if execution["status"] != "RUNNING" else None


def test_no_part_of_a_link_is_in_a_log(desk: Desk) -> None:
    logs = desk.aws.client("logs")
    groups = [desk.names[name] for name in ("ApproverLogs", "ApprovalPageLogs")]
    said = "".join(event["message"] for name in groups for event in logs.filter_log_events(logGroupName=name)["events"])
    assert "decision made" in said
    assert "token" not in said
    assert "WyJmbGlnaHRz" not in said, "how every token for this endpoint begins"


def test_another_caller_than_the_api_is_not_let_through(desk: Desk) -> None:
    """The function's own policy names the API; without it, nobody is answered."""
    functions, name = desk.aws.client("lambda"), desk.names["ApprovalPage"]
    [statement] = json.loads(functions.get_policy(FunctionName=name)["Policy"])["Statement"]
    functions.remove_permission(FunctionName=name, StatementId=statement["Sid"])
    assert browse(desk.page)[:2] == (500, '{"message": "Internal Server Error"}')


def test_every_call_was_allowed_and_is_granted_by_the_template(desk: Desk) -> None:
    assert denials_of(desk.aws, "approval-page") == []
