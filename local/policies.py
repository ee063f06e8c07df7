"""Who may do what: the roles of template.yaml, and what AWS would say to a call under one of them.

MiniStack evaluates the policies; the facts of AWS's Service Authorization Reference are local/reference.py's.
`python -m local.policies CALLS` holds the calls that were really made against the policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local import ACCOUNT, REGION
from local.template import STACK, resolved

Statement = dict[str, Any]


@dataclass(frozen=True)
class Role:
    """A role of the template, with every statement of the policies that it carries, and who may assume it."""

    name: str
    trust: Mapping[str, Any]
    managed: tuple[str, ...]
    statements: list[Statement] = field(default_factory=list)


@dataclass(frozen=True)
class Grant:
    """One action on one resource, of a statement of a role."""

    role: str
    action: str
    resource: str

    def __str__(self) -> str:
        return f"{self.role:<24} {self.action:<40} {self.resource}"


@dataclass(frozen=True)
class Call:
    """A call that was made: the role that made it, the action and resource that it is authorized as, its context."""

    role: str
    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict, hash=False)


def roles(template: Mapping[str, Any], **parameters: str) -> dict[str, Role]:
    """The roles of a translated template by logical id, with the policies that are attached to them from outside."""
    found: dict[str, Role] = {}
    attached: list[tuple[str, list[Statement]]] = []
    for name, item in resolved(template, **parameters).items():
        made = item["Properties"]
        if item["Type"] == "AWS::IAM::Role":
            role = Role(name, made["AssumeRolePolicyDocument"], tuple(made.get("ManagedPolicyArns", [])))
            for policy in made.get("Policies", []):
                role.statements.extend(policy["PolicyDocument"]["Statement"])
            found[name] = role
        elif item["Type"] == "AWS::IAM::Policy":
            attached += [(role, made["PolicyDocument"]["Statement"]) for role in made["Roles"]]
    for name, statements in attached:
        found[name.removeprefix(f"{STACK}-")].statements.extend(statements)
    return found


def grants(role: Role) -> Iterator[Grant]:
    """Everything that the role's own statements allow, one action and one resource pattern at a time."""
    for statement in role.statements:
        if statement["Effect"] == "Allow":
            for name in as_list(statement["Action"]):
                for resource in as_list(statement["Resource"]):
                    yield Grant(role.name, name, resource)


def allows(role: Role, call: Call) -> bool:
    """What AWS would say to the call under the role's own policies."""
    from ministack.core import iam_evaluator as iam

    asked = iam.EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=call.action,
        resource_arn=call.resource,
        region=REGION,
        secure_transport=True,
        service_context={key.lower(): value for key, value in call.context.items()},
    )
    document = {"Version": "2012-10-17", "Statement": role.statements}
    return bool(iam.evaluate(asked, [iam.parse_policy_document(document)]).decision == "Allow")


def used_by(role: Role, call: Call) -> list[Grant]:
    """Those of the role's grants that allow the call by themselves."""
    found = []
    for statement in role.statements:
        for resource in as_list(statement["Resource"]):
            alone = Role(role.name, role.trust, (), [{**statement, "Resource": resource}])
            if allows(alone, call):
                found.append(Grant(role.name, call.action, resource))
    return found


@dataclass(frozen=True)
class Simulation:
    """The template's grants against calls: both used and granted, granted and never used, used and not granted."""

    used: dict[Grant, Call]
    unused: list[Grant]
    missing: list[Call]


def simulate(carried: Mapping[str, Role], calls: Iterable[Call]) -> Simulation:
    """What the calls need of what the roles grant. `used` has an example of each grant's use."""
    used: dict[Grant, Call] = {}
    missing = []
    for call in calls:
        found = used_by(carried[call.role], call)
        if not found:
            missing.append(call)
        for grant in found:
            used.setdefault(grant, call)
    unused = [grant for role in carried.values() for grant in grants(role) if grant not in used]
    return Simulation(used, unused, missing)


def read_calls(text: str) -> list[Call]:
    """Calls as `GET /_local/calls` and the recording in tests/ have them."""
    return [Call(item["role"], item["action"], item["resource"], item.get("context", {})) for item in json.loads(text)]


def as_list(value: Any) -> list[Any]:
    """A policy's element, which may be one thing or a list of them."""
    return value if isinstance(value, list) else [value]
