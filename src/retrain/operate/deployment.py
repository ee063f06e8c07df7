"""The deployed stack, as the credentials at hand see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from retrain.aws.cloudwatch import CloudWatch
from retrain.aws.functions import Functions
from retrain.aws.ledger import Ledger
from retrain.aws.s3 import Store
from retrain.aws.sagemaker import SageMaker
from retrain.aws.stacks import Caller, Stacks, caller
from retrain.aws.stepfunctions import Executions
from retrain.core.errors import NotDeployed
from retrain.core.telemetry import NAMESPACE

STACK = "drift-retrain"  # samconfig.toml's name
Clients = Callable[[str], Any]


@dataclass(frozen=True)
class Deployment:
    """A stack of this application: its parameters, outputs, and the physical id of each of its resources."""

    clients: Clients
    name: str
    stack_id: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    resources: Mapping[str, str]
    types: Mapping[str, str]

    @property
    def endpoint_name(self) -> str:
        """The endpoint that the stack owns."""
        return self.outputs["EndpointName"]

    @property
    def region(self) -> str:
        """Where the stack is."""
        return self.stack_id.split(":")[3]

    def caller(self) -> Caller:
        """Who asks, and what time it is now."""
        return caller(self.clients("sts"))

    @cached_property
    def ledger(self) -> Ledger:
        """The stack's ledger."""
        return Ledger(self.clients("dynamodb"), self.outputs["LedgerTable"])

    @cached_property
    def store(self) -> Store:
        """The stack's bucket."""
        return Store(self.clients("s3"), self.outputs["BucketName"])

    @cached_property
    def sagemaker(self) -> SageMaker:
        """SageMaker."""
        return SageMaker(self.clients("sagemaker"))

    @cached_property
    def cloudwatch(self) -> CloudWatch:
        """CloudWatch."""
        return CloudWatch(self.clients("cloudwatch"), NAMESPACE)

    @cached_property
    def executions(self) -> Executions:
        """Executions of the state machine."""
        return Executions(self.clients("stepfunctions"))

    @cached_property
    def functions(self) -> Functions:
        """The stack's functions."""
        return Functions(self.clients("lambda"))

    def of_type(self, kind: str) -> dict[str, str]:
        """Logical and physical ids of the resources of a type."""
        return {name: self.resources[name] for name, found in self.types.items() if found == kind}


def find(clients: Clients, name: str) -> Deployment:
    """The stack of that name (or id) as it is deployed; NotDeployed if there is none, or another application's."""
    stacks = Stacks(clients("cloudformation"))
    stack = stacks.stack(name)
    if stack is None:
        raise NotDeployed(f"there is no stack {name} in this account and region: say --stack, --region or --profile")
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
    if missing := {"EndpointName", "BucketName", "LedgerTable", "StateMachineArn"} - outputs.keys():
        raise NotDeployed(
            f"the stack {name} is {stack['StackStatus']} and has no output {', '.join(sorted(missing))}: "
            "it is another application's, or its deployment did not succeed"
        )
    found = list(stacks.resources(name))
    return Deployment(
        clients=clients,
        name=str(stack["StackName"]),
        stack_id=str(stack["StackId"]),
        parameters={item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", [])},
        outputs=outputs,
        resources={logical: physical for logical, _, physical in found},
        types={logical: kind for logical, kind, _ in found},
    )
