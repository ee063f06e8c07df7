"""What AWS authorizes a request as, where MiniStack does not know: every action and resource that it needs.

A request may need several: UpdateEndpoint the endpoint and its config; a job with a role the right to pass that role;
an object in an encrypted bucket its key. The facts are local/reference.py's; those below have their source beside them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from local import REGION, reference
from local.keeping import write_text

Params = Mapping[str, Any]
# The request's field that names a resource of that type. An ARN is taken as it is.
FIELDS = {
    "data-quality-job-definition": ("JobDefinitionName",),
    "endpoint": ("EndpointName",),
    "endpoint-config": ("EndpointConfigName",),
    "model": ("ModelName",),
    "model-package": ("ModelPackageArn", "ModelPackageName"),
    "model-package-group": ("ModelPackageGroupName",),
    "monitoring-schedule": ("MonitoringScheduleName",),
    "pipeline": ("PipelineName",),
    "pipeline-execution": ("PipelineExecutionArn",),
    "processing-job": ("ProcessingJobName",),
    "training-job": ("TrainingJobName",),
}
# What a service needs of the key of an encrypted resource, on the caller's behalf. On docs.aws.amazon.com:
# AmazonS3/latest/userguide/UsingKMSEncryption.html, "Permissions"; sns/latest/dg/sns-key-management.html;
# AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html; and, for a table, whose key each caller
# decrypts, amazondynamodb/latest/developerguide/encryption.usagenotes.html.
KEY_USES = {
    "s3:GetObject": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sns:Publish": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "dynamodb:GetItem": ("kms:Decrypt",),
    "dynamodb:PutItem": ("kms:Decrypt",),
    "dynamodb:UpdateItem": ("kms:Decrypt",),
    "dynamodb:ConditionCheckItem": ("kms:Decrypt",),
    "dynamodb:Query": ("kms:Decrypt",),
}

_DIFFERS = re.compile(r"[0-9a-f]{8,}|[0-9]+")


@dataclass(frozen=True)
class Check:
    """One thing that the caller has to be allowed: an action on a resource, and what conditions may ask about it."""

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)


def of_sagemaker(operation: str, params: Params) -> list[Check]:
    """What a request to SageMaker needs: its own action on every resource it concerns, and what depends on it."""
    name = f"sagemaker:{operation}"
    if not reference.known(name):
        return [Check(name, "*")]
    facts = reference.action(name)
    resources = list(_resources(facts, params))
    checks = [Check(name, resource) for resource in resources] or [Check(name, "*")]
    if "iam:PassRole" in facts.dependents:
        checks += [passing(role) for role in roles_in(params)]
    if "sagemaker:AddTags" in facts.dependents and params.get("Tags"):
        checks.append(Check("sagemaker:AddTags", resources[0]))
    return checks


def _resources(facts: reference.Action, params: Params) -> Iterator[str]:
    if "ResourceArn" in params:
        yield params["ResourceArn"]
        return
    for kind in facts.resources:
        fields = [name for name in FIELDS.get(kind, ()) if params.get(name)]
        if fields:
            yield _arn(kind, str(params[fields[0]]))
        elif kind == "model-package" and "ModelPackageGroupName" in params:  # a new version of the group's
            yield reference.arn("sagemaker", kind, f"{_name(params['ModelPackageGroupName'])}/1")


def _arn(kind: str, name: str) -> str:
    return name if name.startswith("arn:") else reference.arn("sagemaker", kind, name)


def _name(name: str) -> str:
    return name.rpartition("/")[2]


def roles_in(params: Any) -> Iterator[str]:
    """Every role that the request hands to SageMaker."""
    if isinstance(params, Mapping):
        for name, value in params.items():
            if name in {"RoleArn", "ExecutionRoleArn"} and isinstance(value, str):
                yield value
            else:
                yield from roles_in(value)
    elif isinstance(params, list):
        for value in params:
            yield from roles_in(value)


def passing(role: str, service: str = "sagemaker.amazonaws.com") -> Check:
    """The right to hand a role to a service."""
    return Check("iam:PassRole", role, {"iam:PassedToService": service})


def key_uses(action: str, key: str | None) -> list[Check]:
    """What the action needs of the key that its resource is encrypted with; nothing without a key."""
    service = action.partition(":")[0]
    context = {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}
    return [Check(use, key, context) for use in KEY_USES.get(action, ())] if key else []


def contexts(action: str, body: bytes, content_type: str) -> list[dict[str, Any]]:
    """The condition keys of a request that MiniStack leaves out; several where AWS authorizes each of its entries."""
    if action == "events:PutEvents":
        entries = json.loads(body)["Entries"]
        return [{"events:source": item.get("Source"), "events:detail-type": item.get("DetailType")} for item in entries]
    if action == "cloudwatch:PutMetricData":
        return [{"cloudwatch:namespace": _decoded(body, content_type).get("Namespace")}]
    if action in {"dynamodb:GetItem", "dynamodb:UpdateItem"} and (key := json.loads(body).get("Key")):
        return [{"dynamodb:LeadingKeys": [key["pk"]["S"]]}]
    return [{}]


def _decoded(body: bytes, content_type: str) -> dict[str, Any]:
    """A request of CloudWatch, in whichever of its protocols it came."""
    read: dict[str, Any]
    if "cbor" in content_type:
        import cbor2

        read = cbor2.loads(body)
    elif "json" in content_type:
        read = json.loads(body)
    else:
        read = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    return read


class Record:
    """The calls that were made under roles: of those that differ in numbers and ids only, one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, str, str, str], dict[str, Any]] = {}

    def note(self, role: str, check: Check, *, allowed: bool) -> None:
        """The role asked for that, and was allowed it or not."""
        call = {
            "role": role,
            "action": check.action,
            "resource": check.resource,
            "context": dict(check.context),
            "allowed": allowed,
        }
        alike = _DIFFERS.sub("0", f"{check.resource} {sorted(check.context.items())}")
        with self._lock:
            self._calls.setdefault((role, check.action, alike, str(allowed)), call)

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far, as JSON has it."""
        with self._lock:
            return [self._calls[key] for key in sorted(self._calls)]

    def save(self, path: Path) -> None:
        """The calls lie in `path`, for `load`."""
        write_text(path, json.dumps(self.calls()))

    def load(self, path: Path) -> None:
        """The calls of `path` come before those from here on; none if there is no such file."""
        for call in json.loads(path.read_text()) if path.exists() else []:
            self.note(call["role"], Check(call["action"], call["resource"], call["context"]), allowed=call["allowed"])
