"""The state machine on the embedded AWS, its functions stubs: the ways that tests/stack/executions.txt has it go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from machine import deployed, written
from scenarios import GIVEN, SUBSTITUTIONS
from workbench import Bench

STUB = """
import boto3, json, pathlib
def handler(event, context):
    episode, step = event["episode"], event.get("step", "start")
    if step == "request_approval":
        output = json.dumps({"decision": "approved"})
        return boto3.client("stepfunctions").send_task_success(taskToken=event["task_token"], output=output)
    if step == "start" and "error" not in event and "outcome" not in event:
        seen = pathlib.Path(episode["labels"])
        if not seen.exists():
            seen.touch()
            return {"status": "waiting_for_labels"}
        return {"status": "started"}
    answers = {
        "pipeline": {"status": "succeeded"},
        "judge": {"decision": "await"},
        "reinstate": {"status": "reinstated"},
        "update": {"status": "updating"},
        "endpoint": {"status": "serving"},
        "switch_champion": {"status": "switched"},
        "swap_native_baseline": {"status": "no_schedule"},
    }
    closed = {"outcome": event.get("outcome"), "reason": event.get("reason", ""), "detail": ""}
    return answers.get(step, closed)
"""


@pytest.fixture(scope="module")
def machine(bench: Bench) -> str:
    stub = bench.function("stub", STUB)
    functions = {name: stub for name in SUBSTITUTIONS if name.endswith("Arn")}
    ready = deployed(written(), {**SUBSTITUTIONS, **functions, "LabelWaitHours": "0.1"})
    return bench.machine("retrain", ready.pop("States"), ready.pop("StartAt"), **ready)


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        (
            {},
            [
                *("What Was Asked", "Start Pipeline", "Are There Labels", "Wait for Labels", "Start Pipeline"),
                *("Are There Labels", "Wait for Pipeline", "Check Pipeline", "Is the Pipeline Done"),
                *("Judge Challenger", "What Did the Gate Say", "Await Approval", "Was It Approved"),
            ],
        ),
        ({"asked": "rollback"}, ["What Was Asked", "Reinstate Model"]),
    ],
    ids=["a person approves after labels came late", "an operator rolls back"],
)
def test_an_execution_goes_through_the_machine(
    bench: Bench, machine: str, tmp_path: Path, asked: dict[str, Any], way: list[str]
) -> None:
    given = {**GIVEN, "episode": {**GIVEN["episode"], "labels": str(tmp_path / "labels")}, **asked}
    done = bench.execute(machine, input=json.dumps(given))
    assert done["status"] == "SUCCEEDED", (done.get("error"), done.get("cause"))
    assert json.loads(done["output"])["outcome"] == "promoted"
    history = bench.client("stepfunctions").get_execution_history(executionArn=done["executionArn"], maxResults=1000)
    entered = [
        event["stateEnteredEventDetails"]["name"] for event in history["events"] if "stateEnteredEventDetails" in event
    ]
    assert entered[: len(way)] == way
    assert entered[-4:] == ["Swap Native Baseline", "Close Episode", "How Did It End", "Model Promoted"]
