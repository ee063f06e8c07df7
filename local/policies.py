"""Who may do what: the roles of template.yaml, and what AWS would say to a call under one of them.

MiniStack evaluates the policies; the facts of AWS's Service Authorization Reference are local/reference.py's.
`python -m local.policies` holds the calls that the tests of the whole loop really made (RECORDING) against the
policies; `python -m local.policies FILE…` puts what newer runs recorded into it first.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local import ACCOUNT, REGION
from local.template import ARNS, STACK, resolved, source, translated

RECORDING = Path(__file__).parent / "recording" / "calls.json"
UNUSED = Path(__file__).parent / "recording" / "unused.toml"
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


@dataclass(frozen=True)
class Reason:
    """Why roles have grants that no recorded call uses, and which tests make such calls.

    `resources` are the ends of the grants' resources; without them the actions are meant on whatever they are granted.
    """

    roles: frozenset[str]
    actions: frozenset[str]
    why: str
    resources: frozenset[str] = frozenset({""})
    tests: tuple[str, ...] = ()

    def covers(self, grant: Grant) -> bool:
        """Whether the grant is one of those."""
        ours = grant.role in self.roles and grant.action in self.actions
        return ours and grant.resource.endswith(tuple(self.resources))

    def absent(self, there: Iterable[Grant]) -> list[str]:
        """What it explains, although nobody grants it."""
        named = [(role, action, end) for role in self.roles for action in self.actions for end in self.resources]
        known = [(grant.role, grant.action, grant.resource) for grant in there if self.covers(grant)]
        return [
            f"{role} {action} {end}".rstrip()
            for role, action, end in sorted(named)
            if not any(known_as[:2] == (role, action) and known_as[2].endswith(end) for known_as in known)
        ]


def reasons() -> list[Reason]:
    """Those in unused.toml."""
    read = tomllib.loads(UNUSED.read_text())["grant"]
    return [
        Reason(
            frozenset(item["roles"]),
            frozenset(item["actions"]),
            item["why"],
            frozenset(item.get("resources", [""])),
            tuple(item.get("tests", [])),
        )
        for item in read
    ]


def as_recorded() -> dict[str, Role]:
    """The template's roles with the parameters of the runs that are recorded."""
    return roles(translated(source()), EndpointName="flights")


def recorded() -> list[Call]:
    """The calls of RECORDING: of each grant that was used, an example."""
    return [Call(item["role"], item["action"], item["resource"], item.get("context", {})) for item in _read(RECORDING)]


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def named_as_in_the_template(calls: Iterable[Mapping[str, Any]], cloudformation: Any) -> list[Call]:
    """The stack's calls, as `GET /_local/calls` has them, with the template's names for what the stack calls its own.

    Those of other roles, and those that were denied, are left out.
    """
    names = {}
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK):
        for item in page["StackResourceSummaries"]:
            physical = re.split(r"[:/]", str(item["PhysicalResourceId"]).rstrip("/"))[-1]
            kind, logical = item["ResourceType"], f"{STACK}-{item['LogicalResourceId']}"
            if kind in ARNS and physical != STACK:
                names[physical] = logical.lower() if kind == "AWS::S3::Bucket" else logical
            elif kind == "AWS::SageMaker::ModelPackageGroup":
                names[physical] = f"{physical.rpartition('-')[0]}-11111111"
    [stack] = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    given = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
    bucket, _, folder = given["InitialDataUri"].removeprefix("s3://").partition("/")
    names |= {f":::{bucket}/{folder}": ":::initial/first/", f":::{bucket}": ":::initial"} if bucket else {}
    order = sorted(names, key=len, reverse=True)

    def renamed(text: str) -> str:
        for name in order:
            text = text.replace(name, names[name])
        return text

    found = []
    for call in calls:
        role = names.get(call["role"], "").removeprefix(f"{STACK}-")
        if role and call["allowed"]:
            context = {
                key: renamed(value) if isinstance(value, str) else value for key, value in call["context"].items()
            }
            found.append(Call(role, call["action"], renamed(call["resource"]), context))
    return found


def as_json(calls: Iterable[Call]) -> str:
    """The calls, one on a line."""
    lines = [
        json.dumps(
            {
                "role": call.role,
                "action": call.action,
                "resource": call.resource,
                **({"context": dict(call.context)} if call.context else {}),
            }
        )
        for call in sorted(calls, key=lambda call: (call.role, call.action, call.resource))
    ]
    return "[\n " + ",\n ".join(lines) + "\n]\n"


def as_list(value: Any) -> list[Any]:
    """A policy's element, which may be one thing or a list of them."""
    return value if isinstance(value, list) else [value]


def main(files: list[str]) -> int:
    """0 when every call is granted, and every grant used or explained."""
    carried = as_recorded()
    calls = recorded()
    for name in files:
        calls += [Call(c["role"], c["action"], c["resource"], c.get("context", {})) for c in _read(Path(name))]
    found = simulate(carried, calls)
    if files:
        RECORDING.parent.mkdir(exist_ok=True)
        RECORDING.write_text(as_json({*found.used.values(), *found.missing}))
    known = reasons()
    explained = {grant: reason for grant in found.unused for reason in known if reason.covers(grant)}
    print(f"granted and used: {len(found.used)}")
    print(f"granted and never used, with a reason: {len(explained)}")
    for reason in known:
        print(f"  {sum(each is reason for each in explained.values()):>3}  {reason.why}")
    unexplained = [grant for grant in found.unused if grant not in explained]
    print(f"granted and never used: {len(unexplained)}")
    for grant in unexplained:
        print(f"  {grant}")
    print(f"used and not granted: {len(found.missing)}")
    for call in found.missing:
        print(f"  {call.role:<24} {call.action:<40} {call.resource} {dict(call.context) or ''}")
    return 1 if unexplained or found.missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
