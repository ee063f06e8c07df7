"""What the roles of template.yaml allow, under AWS's rules: its reference, its special cases, and calls made."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import boto3
import pytest
from moto import mock_aws
from mutants import policy_mutants

from local import ACCOUNT, REGION, reference
from local.policies import (
    Call,
    Grant,
    Reason,
    Role,
    allows,
    as_list,
    as_recorded,
    grants,
    reasons,
    recorded,
    roles,
    simulate,
)
from local.template import ROOT, STACK, resolved, source, translated
from retrain.aws.ledger import Ledger
from retrain.core.clock import parse
from retrain.core.values import Episode, Trigger

NOW = parse("2026-02-01T00:00:00Z")
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{STACK}-Ledger"


@cache
def carried() -> dict[str, Role]:
    return roles(translated(source()))


def statements() -> list[tuple[str, dict[str, Any]]]:
    return [(name, statement) for name, role in carried().items() for statement in role.statements]


def granted() -> list[Grant]:
    return [grant for role in carried().values() for grant in grants(role)]


@pytest.mark.parametrize("action", sorted({grant.action for grant in granted()}))
def test_aws_knows_the_action(action: str) -> None:
    assert reference.known(action), f"{action} is not in local/reference.json: `make reference`"


@pytest.mark.parametrize("grant", granted(), ids=str)
def test_what_aws_grants_on_everything_only_is_granted_so_and_nothing_else_is(grant: Grant) -> None:
    """A narrower resource denies such a call; a wider one allows more than is needed."""
    assert (grant.resource == "*") == reference.granted_on_everything_only(grant.action)


@pytest.mark.parametrize(("role", "statement"), statements())
def test_conditions_are_keys_that_the_action_has(role: str, statement: dict[str, Any]) -> None:
    """A key that a call does not carry makes its statement worthless."""
    keys = {key for operator in statement.get("Condition", {}).values() for key in operator}
    for action in as_list(statement["Action"]):
        assert keys <= reference.action(action).conditions, (role, action)


class Ledgers:
    """A ledger on moto's DynamoDB, and the calls that it was asked for, each write of a transaction as one."""

    WRITES = {"Get": "GetItem", "Put": "PutItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheckItem"}

    def __init__(self) -> None:
        client = boto3.client("dynamodb", region_name=REGION)
        keys = ("pk", "sk")
        client.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=True)
            ],
        )
        self.actions: set[str] = set()
        client.meta.events.register("provide-client-params.dynamodb.*", self._note)
        self.ledger = Ledger(client, "ledger")

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        writes = [next(iter(item)) for item in params.get("TransactItems", [])]
        names = [self.WRITES[write] for write in writes] or [model.name]
        self.actions |= {f"dynamodb:{name}" for name in names}

    def since(self) -> set[str]:
        """The actions since the last call."""
        found, self.actions = self.actions, set()
        return found


def test_the_status_poller_may_write_down_that_an_episode_waits_for_labels() -> None:
    with mock_aws():
        ledgers = Ledgers()
        trigger = Trigger("flights", "an alarm", NOW, "it fired")
        ledgers.ledger.open(trigger, (NOW, NOW), parse("2026-02-02T00:00:00Z"))
        ledgers.since()
        ledgers.ledger.note(Episode(trigger.episode_id, "flights", 1, bootstrap=False), waiting_for="labels")
    needed = ledgers.since()
    assert needed == {"dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"}
    assert all(allows(carried()["StatusPollerRole"], Call("StatusPollerRole", name, TABLE)) for name in needed)


def test_alarms_are_described_with_the_scope_that_composite_ones_need() -> None:
    for name in ("EndpointUpdaterRole", "EndpointRole"):
        assert allows(carried()[name], Call(name, "cloudwatch:DescribeAlarms", "*")), name


def test_every_role_has_the_boundary_that_was_asked_for_and_none_otherwise() -> None:
    template = translated(source())
    for boundary in ("arn:aws:iam::aws:policy/PowerUserAccess", ""):
        there = resolved(template, PermissionsBoundary=boundary)
        bounds = {
            name: item["Properties"].get("PermissionsBoundary")
            for name, item in there.items()
            if item["Type"] == "AWS::IAM::Role"
        }
        assert set(bounds.values()) == {boundary or None}, bounds


def test_every_call_that_was_recorded_is_granted() -> None:
    """`make policies` prints the whole simulation, with what is granted and never used."""
    assert len(recorded()) > 100
    assert simulate(as_recorded(), recorded()).missing == []


def test_every_grant_is_used_by_a_recorded_call_or_has_a_reason() -> None:
    unused = simulate(as_recorded(), recorded()).unused
    assert [str(grant) for grant in unused if not any(reason.covers(grant) for reason in reasons())] == []


def test_every_reason_for_an_unused_grant_names_one_that_there_is() -> None:
    there = [grant for role in as_recorded().values() for grant in grants(role)]
    assert [absent for reason in reasons() for absent in reason.absent(there)] == []


@pytest.mark.parametrize("reason", reasons(), ids=lambda reason: reason.why)
def test_a_test_that_a_reason_names_is_there(reason: Reason) -> None:
    for name in reason.tests:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), name


@pytest.mark.parametrize("seed", range(20))
def test_an_action_or_a_resource_that_is_taken_away_is_missed(seed: int) -> None:
    """Twenty of the mutants; all of them: `make mutate-policies`."""
    name, missed = Random(seed).choice(list(policy_mutants()))
    assert missed() is not None, name


@pytest.mark.parametrize("grant", granted(), ids=str)
def test_an_action_is_granted_on_what_it_can_act_on(grant: Grant) -> None:
    """A statement of several actions and several resources grants all their pairs; a pair that AWS has no use for hides
    what is meant."""
    if grant.resource != "*" and grant.action.startswith("sagemaker:") and "Tags" not in grant.action:
        kind = grant.resource.split(":", 5)[5].split("/")[0]
        kinds = {"pipeline": {"pipeline", "pipeline-execution"}}.get(kind, {kind})
        assert kinds & set(reference.action(grant.action).resources), grant
