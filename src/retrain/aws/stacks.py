"""CloudFormation and STS: which stack there is, what is in it, and who asks, at what time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from retrain.aws.calls import classified, is_missing, message_of


@dataclass(frozen=True)
class Caller:
    """Whose credentials these are, and what time it is where they were asked."""

    account: str
    arn: str
    now: datetime


class Stacks:
    """Deployed stacks, read only."""

    def __init__(self, cloudformation: Any) -> None:
        self._cloudformation = cloudformation

    def stack(self, name: str) -> dict[str, Any] | None:
        """The stack of that name or id, None if there is none."""
        with classified("cloudformation:DescribeStacks"):
            try:
                return dict(self._cloudformation.describe_stacks(StackName=name)["Stacks"][0])
            except ClientError as error:
                if is_missing(error) or "does not exist" in message_of(error):
                    return None
                raise

    def resources(self, name: str) -> Iterator[tuple[str, str, str]]:
        """Logical id, type and physical id of each resource of the stack."""
        with classified("cloudformation:ListStackResources"):
            pages = self._cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
            for page in pages:
                for item in page["StackResourceSummaries"]:
                    yield item["LogicalResourceId"], item["ResourceType"], item.get("PhysicalResourceId", "")


def caller(sts: Any) -> Caller:
    """Who asks, and the time by AWS's clock: the machine's own may be wrong, and the embedded AWS has another."""
    with classified("sts:GetCallerIdentity"):
        found = sts.get_caller_identity()
    told = found["ResponseMetadata"]["HTTPHeaders"]["date"]
    return Caller(str(found["Account"]), str(found["Arn"]), parsedate_to_datetime(told))
