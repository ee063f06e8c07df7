"""The CloudFormation resource types that the embedded AWS adds: each delegates to the service that has the resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Properties = dict[str, Any]
Call = Callable[[str, Properties], Properties]
# Physical id and attributes for Fn::GetAtt.
Created = tuple[str, Properties]


def model_package_group(call: Call) -> dict[str, Callable[..., Any]]:
    """AWS::SageMaker::ModelPackageGroup. `call` is the SageMaker API."""

    def create(_logical_id: str, props: Properties, _stack: str) -> Created:
        wanted = {name: props[name] for name in ("ModelPackageGroupDescription", "Tags") if props.get(name)}
        arn = call("CreateModelPackageGroup", {"ModelPackageGroupName": props["ModelPackageGroupName"], **wanted})[
            "ModelPackageGroupArn"
        ]
        # Ref is the ARN, too.
        return arn, {"ModelPackageGroupArn": arn, "ModelPackageGroupStatus": "Completed"}

    def update(physical_id: str, old: Properties, new: Properties, stack: str) -> Created:
        if old["ModelPackageGroupName"] != new["ModelPackageGroupName"]:
            return create("", new, stack)
        # SageMaker has no call that changes a description; CloudFormation replaces the group, and so can't.
        if old.get("ModelPackageGroupDescription") != new.get("ModelPackageGroupDescription"):
            raise ValueError(f"{physical_id} already exists: a description can't be changed while the name stays")
        if new.get("Tags"):
            call("AddTags", {"ResourceArn": physical_id, "Tags": new["Tags"]})
        return physical_id, {"ModelPackageGroupArn": physical_id, "ModelPackageGroupStatus": "Completed"}

    def delete(physical_id: str, *_: Any) -> None:
        call("DeleteModelPackageGroup", {"ModelPackageGroupName": physical_id.rpartition("/")[2]})

    return {"create": create, "update": update, "delete": delete}


def trail(call: Call) -> dict[str, Callable[..., Any]]:
    """AWS::CloudTrail::Trail. `call` is the CloudTrail API."""
    settings = (
        "S3BucketName",
        "S3KeyPrefix",
        "SnsTopicName",
        "IncludeGlobalServiceEvents",
        "IsMultiRegionTrail",
        "EnableLogFileValidation",
        "CloudWatchLogsLogGroupArn",
        "CloudWatchLogsRoleArn",
        "KmsKeyId",
    )

    def apply(operation: str, name: str, props: Properties) -> Created:
        wanted = {setting: props[setting] for setting in settings if setting in props}
        arn = call(operation, {"Name": name, **wanted})["TrailARN"]
        if props.get("EventSelectors"):
            call("PutEventSelectors", {"TrailName": name, "EventSelectors": props["EventSelectors"]})
        call("StartLogging" if _true(props["IsLogging"]) else "StopLogging", {"Name": name})
        return name, {"Arn": arn}

    def create(logical_id: str, props: Properties, stack: str) -> Created:
        return apply("CreateTrail", props.get("TrailName") or f"{stack}-{logical_id}", props)

    def update(physical_id: str, _old: Properties, new: Properties, _stack: str) -> Created:
        return apply("UpdateTrail", physical_id, new)

    def delete(physical_id: str, *_: Any) -> None:
        call("DeleteTrail", {"Name": physical_id})

    return {"create": create, "update": update, "delete": delete}


def _true(value: Any) -> bool:
    """A template's boolean may come as text."""
    return str(value).lower() == "true"
