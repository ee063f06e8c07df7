"""docs/runbook.md has a section for every alarm and every word that an end is called by, and its commands exist."""

from __future__ import annotations

import ast
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from runbook import RETRAIN, Command, filled, looks, sections

from local.template import source
from retrain.__main__ import _parser
from retrain.core import errors, names
from retrain.core.errors import REFUSALS, Permanent, Retryable
from retrain.core.values import OUTCOMES
from retrain.episode.closing import ending_of, message
from retrain.episode.sweeping import what_is_wrong

ROOT = Path(__file__).parents[1]
MACHINE = json.loads((ROOT / "statemachine" / "retrain.asl.json").read_text())
COMMANDS = sorted({command for commands in sections().values() for command in commands})
EXAMPLES = {"EPISODE": "flights-20260201-000000-3f07d80c", "BUCKET": "bucket", "ENDPOINT": "flights"}


def alarms() -> dict[str, dict[str, Any]]:
    return {name: item for name, item in source()["Resources"].items() if item["Type"] == "AWS::CloudWatch::Alarm"}


def words() -> set[str]:
    """All that an episode's end may be called by, and what may be wrong with what serves."""
    raised = {
        name
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, Permanent | Retryable) and item is not Permanent
    }
    caught = {
        error
        for state in MACHINE["States"].values()
        for clause in [*state.get("Retry", []), *state.get("Catch", [])]
        for error in clause["ErrorEquals"]
        if error != "States.ALL"
    }
    failing = {state["Error"] for state in MACHINE["States"].values() if "{%" not in state.get("Error", "{%")}
    as_reasons = {ending_of({"error": {"Error": name}}).reason for name in raised | caught | failing}
    statuses = next(
        event["Properties"]["Pattern"]["detail"]["status"]
        for event in source()["Resources"]["EpisodeCloser"]["Properties"]["Events"].values()
    )
    return (
        REFUSALS
        | as_reasons
        | {f"execution_{status.lower()}" for status in statuses}
        | set(re.findall(r'"reason": "([a-z_]+)"', json.dumps(MACHINE)))
        | written_in_code()
        | {"promoted", *(name for name in names.REQUESTS if name in {"rollback", "restore", "adopt"})}
        | {what_is_wrong({"endpoint_config_name": "a"}, None)[0], ending_of({"error": {"Error": ""}}).reason}
    )


def written_in_code() -> set[str]:
    """The reasons of endings that the rooms of the loop write out: `Ending(outcome, reason, …)` and the ledger's."""
    found = set()
    for file in [*(ROOT / "src/retrain/episode").glob("*.py"), ROOT / "src/retrain/aws/ledger.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Ending", "self._closing"}:
                values = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                found |= {str(reason) for outcome, reason in pairwise(values) if outcome in OUTCOMES}
    return found


def test_every_alarm_and_every_word_of_an_end_has_a_section_and_no_section_is_stale() -> None:
    assert words() | set(alarms()) == set(sections()) - {""}


@pytest.mark.parametrize("name", alarms())
def test_an_alarm_names_its_section(name: str) -> None:
    assert f"See docs/runbook.md, {name}." in json.dumps(alarms()[name]["Properties"]["AlarmDescription"])


@pytest.mark.parametrize("reason", ["diverged", ""])
def test_the_mail_about_an_end_names_its_section(reason: str) -> None:
    _, text = message("e", {"endpoint_name": "flights", "outcome": "promoted", "reason": reason})
    assert text.endswith(f"docs/runbook.md, {reason or 'promoted'}")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_is_one_that_there_is(command: Command) -> None:
    arguments = [filled(word, EXAMPLES) for word in command]
    if command[:3] == RETRAIN:
        _parser().parse_args(arguments[3:])
    elif command[:2] == ("aws", "s3"):
        assert command[2] == "ls"
        assert arguments[3].startswith("s3://")
    elif command[0] == "aws":
        operation, known = operation_of(*arguments[1:3])
        given = {xform(word) for word in arguments[3:] if word.startswith("--")} - PAGING
        assert given <= known, (operation, given - known)
    else:
        assert command[:4] == ("sam", "logs", "--stack-name", "drift-retrain")
        assert source()["Resources"][command[-1]]["Type"] == "AWS::Serverless::Function"


PAGING = {"max_items", "page_size", "starting_token", "descending"}


def xform(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def operation_of(service: str, name: str) -> tuple[str, set[str]]:
    """The operation of the AWS CLI's command, and its parameters' names, from botocore's model."""
    model = botocore.session.get_session().get_service_model(
        service.replace("s3api", "s3").replace("configservice", "config")
    )
    [operation] = [each for each in model.operation_names if botocore.xform_name(each, "-") == name]
    shape = model.operation_model(operation).input_shape
    return operation, {botocore.xform_name(member) for member in shape.members}


def test_what_only_looks_is_told_from_what_changes_something() -> None:
    changing = {command[3] if command[0] == "python" else command[2] for command in COMMANDS if not looks(command)}
    assert changing == {
        "pause",
        "resume",
        "exclude",
        "rollback",
        "restore",
        "adopt",
        "retrain",
        "bootstrap",
        "purge-queue",
    }
