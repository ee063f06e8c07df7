"""The state machine's structure: what every Task, loop and end must have."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse
from scenarios import TRANSIENT

from retrain.core import errors
from retrain.episode.opening import LOCK_FOR

ROOT = Path(__file__).parents[2]
MACHINE = json.loads((ROOT / "statemachine" / "retrain.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
OURS = {name for name, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.RetrainError)}
LAMBDA = set(TRANSIENT)


def following(state: dict[str, Any]) -> set[str]:
    """Every state that may come next."""
    branches = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return {branch[key] for branch in branches for key in ("Next", "Default") if key in branch}


def reachable(start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += following(STATES[name])
    return seen


def test_every_state_is_reached_and_every_next_state_exists() -> None:
    assert reachable(MACHINE["StartAt"]) == set(STATES)


def test_the_machine_says_what_it_guarantees_and_has_an_end_in_time() -> None:
    assert len(MACHINE["Comment"]) > 100
    assert MACHINE["QueryLanguage"] == "JSONata"
    assert 0 < MACHINE["TimeoutSeconds"] < LOCK_FOR.total_seconds()


def test_states_are_title_case_sentences() -> None:
    small = {"a", "and", "for", "in", "of", "the", "to"}
    for name in STATES:
        words = name.split()
        assert all(word[0].isupper() or word in small for word in words), name


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_timeout_the_shared_retriers_and_a_catch(name: str) -> None:
    task = TASKS[name]
    assert "TimeoutSeconds" in task
    *shared, last = task["Retry"]
    assert shared == TASKS["Start Pipeline"]["Retry"][:-1]
    assert {**last, "ErrorEquals": []} == {**TASKS["Start Pipeline"]["Retry"][-1], "ErrorEquals": []}
    # Whom nobody answered in time is not asked once more.
    assert set(last["ErrorEquals"]) == LAMBDA - ({"States.Timeout"} if name == "Await Approval" else set())
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
    closing = {catch["Next"] for catch in task["Catch"]}
    assert closing == ({"Episode Left Open"} if name == "Close Episode" else {"Close Episode"})


def test_retriers_share_one_shape_and_have_jitter() -> None:
    for retrier in TASKS["Start Pipeline"]["Retry"]:
        assert {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "JitterStrategy"} <= set(retrier)


def test_every_error_name_is_ours_or_aws() -> None:
    clauses = [clause for task in TASKS.values() for clause in task["Retry"] + task["Catch"]]
    names = {name for clause in clauses for name in clause["ErrorEquals"]}
    assert names - OURS <= LAMBDA | {"States.ALL", "States.Timeout"}


def test_only_what_may_succeed_later_is_retried() -> None:
    retried = {name for retrier in TASKS["Start Pipeline"]["Retry"] for name in retrier["ErrorEquals"]} & OURS
    retryable = {name for name in OURS if issubclass(getattr(errors, name), errors.Retryable)}
    assert retried == retryable - {"Retryable"} | {"QuotaExceeded"}


def test_no_loop_is_without_a_counter() -> None:
    for name, state in STATES.items():
        if state["Type"] == "Wait":
            [check] = following(state)
            counter = "waits" if name == "Wait for Labels" else "lap"
            assigned = STATES[check].get("Assign", {}) | state.get("Assign", {})
            assert f"${counter} + 1" in assigned[counter], name
            assert re.search(rf"{counter} >= \d+", STATES[check]["Arguments"]["Payload"]["overdue"])


def test_laps_are_counted_on_when_the_pipeline_starts_anew() -> None:
    counting = {name for name, state in STATES.items() if "lap" in state.get("Assign", {})}
    assert counting == {"What Was Asked", "Check Pipeline", "Update Endpoint", "Check Endpoint"}


def test_the_longest_run_stays_far_below_the_history_limit() -> None:
    """A lap is nine events; the limit is 25,000."""
    laps = [
        int(re.search(r"(?:lap|waits) >= (\d+)", task["Arguments"]["Payload"]["overdue"]).group(1))  # type: ignore[union-attr]
        for task in TASKS.values()
        if isinstance(task["Arguments"]["Payload"], dict) and "overdue" in task["Arguments"]["Payload"]
    ]
    assert len(laps) == 3
    assert 9 * sum(laps) < 25_000 * 0.6


def test_a_model_that_serves_stays_promoted_when_only_the_native_baseline_could_not_follow() -> None:
    assert STATES["Switch Champion"]["Next"] == "Swap Native Baseline"
    [catch] = STATES["Swap Native Baseline"]["Catch"]
    assert catch["Assign"]["ending"]["outcome"] == "promoted"
    assert catch["Assign"]["ending"]["reason"] == "native_baseline_kept"


def test_every_end_but_a_failed_closing_goes_through_close_episode() -> None:
    ends = {name for name, state in STATES.items() if state["Type"] in {"Succeed", "Fail"}}
    for name, state in STATES.items():
        for end in following(state) & ends:
            assert name == "How Did It End" or (name, end) == ("Close Episode", "Episode Left Open")


def test_fail_states_name_their_error_and_cause() -> None:
    for name, state in STATES.items():
        if state["Type"] == "Fail":
            assert state["Error"], name
            assert state["Cause"], name


def test_payloads_carry_the_episode_and_the_time_of_the_event() -> None:
    for name, task in TASKS.items():
        payload = json.dumps(task["Arguments"]["Payload"])
        assert "episode" in payload, name
        assert "$states.context.State.EnteredTime" in payload, name


def test_the_task_token_goes_to_the_approver_only() -> None:
    with_token = [name for name, state in STATES.items() if "Task.Token" in json.dumps(state)]
    assert with_token == ["Await Approval"]
    assert "Output" not in STATES["Await Approval"]


def test_substitutions_are_those_that_the_template_makes() -> None:
    template = yaml_parse((ROOT / "template.yaml").read_text())
    made = template["Resources"]["RetrainMachine"]["Properties"]["DefinitionSubstitutions"]
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(MACHINE)))
    assert used == set(made)


def test_expressions_are_jsonata() -> None:
    import jsonata

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str) and value.startswith("{%"):
            jsonata.Jsonata.jsonata(re.sub(r"\$\{\w+\}", "1", value[2:-2].strip()))

    walk(MACHINE)
