"""The deployed application, as its user sees it: `sam` builds and deploys it, AWS APIs tell how it is doing."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from platform import machine
from typing import Any, TypeVar

from boto3.dynamodb.types import TypeDeserializer

from local import LocalAws

ROOT = Path(__file__).resolve().parent.parent
STACK_NAME = "drift-retrain"
_read = TypeDeserializer().deserialize
T = TypeVar("T")


class DemoError(Exception):
    """The demo cannot go on; the message says what to look at."""


class Stack:
    """The application, deployed from the unchanged template.yaml to the AWS that `aws` speaks for."""

    def __init__(self, aws: LocalAws, log: Path, name: str = STACK_NAME) -> None:
        self.aws = aws
        self.name = name
        self.log = log
        self._outputs: dict[str, str] = {}

    def build(self) -> None:
        """`.aws-sam/build` holds the packages of this checkout, for this machine's Python and processor."""
        self._sam("build", "--config-env", "local", "--parameter-overrides", *self._machine())

    def deploy(self, parameters: dict[str, str]) -> None:
        """The stack exists with `parameters` on top of those that samconfig.toml's `local` names."""
        # sam takes its overrides from the command line or from samconfig.toml, not from both.
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        named = config["local"]["deploy"]["parameters"]["parameter_overrides"]
        merged = dict(item.split("=", 1) for item in [*named, *self._machine()]) | parameters
        overrides = [f'{name}="{value}"' for name, value in merged.items()]
        self._sam("deploy", "--config-env", "local", "--stack-name", self.name, "--parameter-overrides", *overrides)
        self.read_outputs()

    def read_outputs(self) -> None:
        """The outputs of the stack as deployed are at hand."""
        stacks = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        self._outputs = {item["OutputKey"]: item["OutputValue"] for item in stacks[0]["Outputs"]}

    @staticmethod
    def _machine() -> list[str]:
        architecture = "arm64" if machine() in {"arm64", "aarch64"} else "x86_64"
        return [
            f"LambdaRuntime=python{sys.version_info.major}.{sys.version_info.minor}",
            f"Architecture={architecture}",
        ]

    def _sam(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "samcli", *arguments]
        with self.log.open("ab") as log:
            done = subprocess.run(
                command, cwd=ROOT, env=self.aws.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False
            )
        if done.returncode:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise DemoError(f"`sam {arguments[0]}` failed (exit {done.returncode}); the end of {self.log}:\n{tail}")

    def __getitem__(self, output: str) -> str:
        """The stack's output of that name."""
        return self._outputs[output]

    # What the ledger, the alarm and the endpoint say --------------------------------------------------------------

    def item(self, pk: str, sk: str) -> dict[str, Any]:
        """The ledger's item, {} if there is none."""
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        found = self.aws.client("dynamodb").get_item(TableName=self["LedgerTable"], Key=key, ConsistentRead=True)
        return {name: _read(value) for name, value in found.get("Item", {}).items()}

    def champion(self) -> dict[str, Any]:
        """The champion pointer: the model that serves and its baseline."""
        return self.item(f"ENDPOINT#{self['EndpointName']}", "CHAMPION")

    def analysis(self, of: str = "ANALYSIS") -> dict[str, Any]:
        """The drift monitor's latest analysis; of="QUALITY": the quality monitor's."""
        return self.item(f"ENDPOINT#{self['EndpointName']}", of)

    def episodes(self) -> list[dict[str, Any]]:
        """Every drift episode of the endpoint, oldest first."""
        pages = (
            self.aws.client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=self["LedgerTable"],
                IndexName="by_endpoint",
                KeyConditionExpression="endpoint_name = :name",
                ExpressionAttributeValues={":name": {"S": self["EndpointName"]}},
            )
        )
        items = [{name: _read(value) for name, value in item.items()} for page in pages for item in page["Items"]]
        return sorted(items, key=lambda item: str(item["opened_at"]))

    def alarm_state(self, output: str = "DriftAlarmName") -> str:
        """OK, ALARM or INSUFFICIENT_DATA of the alarm that the stack's output names."""
        alarms = self.aws.client("cloudwatch").describe_alarms(AlarmNames=[self[output]])
        return str(alarms["MetricAlarms"][0]["StateValue"])

    def serving(self) -> str:
        """The name of the endpoint config that serves."""
        described = self.aws.client("sagemaker").describe_endpoint(EndpointName=self["EndpointName"])
        return str(described["EndpointConfigName"])


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 120.0, pause: float = 0.1) -> T:
    """The first answer of `look` that is not None or false; DemoError naming `what` after `seconds` of waiting."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(pause)
    raise DemoError(f"waited {seconds:.0f} s for {what}, in vain")
