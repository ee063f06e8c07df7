"""Short ways to put things on an embedded AWS, for tests."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from typing import Any

from local import LocalAws

SERVICES = [f"{name}.amazonaws.com" for name in ("lambda", "sagemaker", "states")]
TRUST = {"Effect": "Allow", "Principal": {"Service": SERVICES}, "Action": "sts:AssumeRole"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def policy(*statements: dict[str, Any]) -> str:
    """A policy document of the statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Bench:
    """An embedded AWS, and short ways to put things on it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.client = aws.client
        self.role = self.make_role("bench", EVERYTHING)

    def make_role(self, name: str, *statements: dict[str, Any], trust: dict[str, Any] = TRUST) -> str:
        """The ARN of a new role that may do what the statements say."""
        iam = self.client("iam")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
        return str(arn)

    def function(self, name: str, code: str, **settings: Any) -> str:
        """The ARN of a new function of `code`, whose entry is `handler`; rules may invoke it."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("app.py", code)
        created = self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=self.role,
            Handler="app.handler",
            Code={"ZipFile": packed.getvalue()},
            **settings,
        )
        functions = self.client("lambda")
        self.eventually(lambda: functions.get_function(FunctionName=name)["Configuration"]["State"] == "Active")
        functions.add_permission(
            FunctionName=name, StatementId="rules", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
        )
        return str(created["FunctionArn"])

    def invoke(self, name: str, payload: Any) -> Any:
        """What the function returned, or the error it raised."""
        return json.load(self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload))["Payload"])

    def queue(self, name: str) -> tuple[str, str]:
        """URL and ARN of a new queue, to which rules and topics may send."""
        url = self.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        attributes = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        arn = str(attributes["QueueArn"])
        senders = {"Service": ["events.amazonaws.com", "sns.amazonaws.com"]}
        sending = {"Effect": "Allow", "Principal": senders, "Action": "sqs:SendMessage", "Resource": arn}
        self.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(sending)})
        return url, arn

    def listen(self, name: str, **rule: Any) -> str:
        """The URL of a new queue that gets what the rule matches."""
        url, arn = self.queue(name)
        if "EventPattern" in rule:
            rule["EventPattern"] = json.dumps(rule["EventPattern"])
        self.client("events").put_rule(Name=name, **rule)
        self.client("events").put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
        return url

    def received(self, url: str, seconds: int = 0) -> list[Any]:
        """The bodies of the messages in the queue, which is empty afterwards; waits up to `seconds` for the first."""
        bodies: list[Any] = []
        while True:
            wait = 0 if bodies else seconds
            found = self.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=wait, MaxNumberOfMessages=10)
            messages = found.get("Messages", [])
            for message in messages:
                bodies.append(json.loads(message["Body"]))
                self.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            if not messages:
                return bodies

    def machine(self, name: str, states: dict[str, Any], start: str, **fields: Any) -> str:
        """The ARN of a new JSONata state machine."""
        definition = {"QueryLanguage": "JSONata", "StartAt": start, "States": states, **fields}
        created = self.client("stepfunctions").create_state_machine(
            name=name, definition=json.dumps(definition), roleArn=self.role, tracingConfiguration={"enabled": True}
        )
        return str(created["stateMachineArn"])

    def execute(self, machine: str, **start: Any) -> dict[str, Any]:
        """The finished execution, as DescribeExecution shows it."""
        sfn = self.client("stepfunctions")
        arn = sfn.start_execution(stateMachineArn=machine, **start)["executionArn"]
        return self.eventually(lambda: _finished(sfn.describe_execution(executionArn=arn)))

    @staticmethod
    def eventually(look: Callable[[], Any], seconds: float = 15.0) -> Any:
        """The first answer of `look` that is true."""
        deadline = time.monotonic() + seconds
        while not (answer := look()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.05)
        return answer


def _finished(execution: dict[str, Any]) -> dict[str, Any] | None:
    return None if execution["status"] == "RUNNING" else execution
