"""An interpreter for the state machine: every state, expression, retrier and catcher, without time or Lambda."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonata

ROOT = Path(__file__).parents[2]
NOW = "2026-02-01T00:00:00.000Z"
TOKEN = "the token"
MOST_STEPS = 20_000
State = dict[str, Any]


class TaskError(Exception):
    """A task failed with this error, as Step Functions names it."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error, self.cause = error, cause


Answer = Callable[[str, str, dict[str, Any]], Any]


@dataclass
class Run:
    """What an execution did, a line a state, and how it ended."""

    status: str = "RUNNING"
    error: str = ""
    cause: str = ""
    output: Any = None
    lines: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def written() -> State:
    """The machine as statemachine/retrain.asl.json has it."""
    read: State = json.loads((ROOT / "statemachine" / "retrain.asl.json").read_text())
    return read


def deployed(machine: Mapping[str, Any], substitutions: Mapping[str, str]) -> State:
    """The machine with its substitutions made."""
    text = re.sub(r"\$\{(\w+)\}", lambda found: str(substitutions[found[1]]), json.dumps(machine))
    made: State = json.loads(text)
    return made


def run(machine: Mapping[str, Any], given: Any, answer: Answer, most: int = MOST_STEPS) -> Run:
    """The execution from `given` to its end. `answer(state, function, payload)` is Lambda; it may raise TaskError.

    Raises AssertionError after `most` states.
    """
    return _Interpreter(machine, answer, most).run(given)


class _Interpreter:
    def __init__(self, machine: Mapping[str, Any], answer: Answer, most: int) -> None:
        self._machine, self._answer, self._most = machine, answer, most
        self._variables: dict[str, Any] = {}
        self._run = Run()

    def run(self, given: Any) -> Run:
        name: str | None = self._machine["StartAt"]
        while name is not None:
            state = self._machine["States"][name]
            self._run.entered.append(name)
            if len(self._run.entered) > self._most:
                raise AssertionError("the execution does not end")
            given, name = getattr(self, f"_{state['Type'].lower()}")(name, state, given)
        return self._run

    def _task(self, name: str, state: State, given: Any) -> tuple[Any, str | None]:
        attempts = [0] * len(state.get("Retry", []))
        while True:
            try:
                result = self._call(name, state, given)
            except TaskError as error:
                number = _first(state.get("Retry", []), error.error)
                if number is not None and attempts[number] < state["Retry"][number].get("MaxAttempts", 3):
                    self._run.lines.append(
                        f"  {error.error}: again in {_pause(state['Retry'][number], attempts[number])} s"
                    )
                    attempts[number] += 1
                    continue
                number = _first(state.get("Catch", []), error.error)
                if number is None:
                    return self._end("FAILED", error.error, error.cause)
                catch = state["Catch"][number]
                self._run.lines.append(f"  {error.error}: caught")
                said = {"input": given, "errorOutput": {"Error": error.error, "Cause": error.cause}}
                self._assign(catch, said)
                return self._value(catch.get("Output", said["errorOutput"]), said), catch["Next"]
            said = {"input": given, "result": result}
            output = self._value(state.get("Output", result), said)
            self._assign(state, said)
            return output, state.get("Next")

    def _call(self, name: str, state: State, given: Any) -> Any:
        said = {"input": given}
        asked = self._value(state["Arguments"], said)
        function = asked["FunctionName"].rpartition(":")[2]
        payload = asked["Payload"]
        seconds = self._value(state.get("TimeoutSeconds", "none"), said)
        shown = {key: value for key, value in payload.items() if key not in {"episode", "now"}}
        whose = payload.get("episode", {}).get("episode_id", "nobody")
        when = "now" if payload.get("now") == NOW else "some time"
        how = state["Resource"].rpartition(":")[2]
        self._run.lines.append(
            f"{name}: {function} for {whose}, {when}, {json.dumps(shown)}, {how}, within {seconds} s"
        )
        self._run.calls.append((name, payload))
        result = self._answer(name, function, payload)
        return result if state["Resource"].endswith(".waitForTaskToken") else {"StatusCode": 200, "Payload": result}

    def _choice(self, name: str, state: State, given: Any) -> tuple[Any, str | None]:
        said = {"input": given}
        for rule in state.get("Choices", []):
            if self._value(rule["Condition"], said) is True:
                self._assign(rule, said)
                self._run.lines.append(f"{name}: {rule['Next']}")
                return given, rule["Next"]
        self._assign(state, said)
        if "Default" not in state:
            return self._end("FAILED", "States.NoChoiceMatched", name)
        self._run.lines.append(f"{name}: {state['Default']}")
        return given, state["Default"]

    def _wait(self, name: str, state: State, given: Any) -> tuple[Any, str | None]:
        said = {"input": given}
        self._run.lines.append(f"{name}: {self._value(state['Seconds'], said)} s")
        self._assign(state, said)
        return self._value(state.get("Output", given), said), state["Next"]

    def _succeed(self, name: str, state: State, given: Any) -> tuple[Any, str | None]:
        self._run.output = self._value(state.get("Output", given), {"input": given})
        self._run.lines.append(f"{name}: {json.dumps(self._run.output)}")
        self._run.status = "SUCCEEDED"
        return given, None

    def _fail(self, name: str, state: State, given: Any) -> tuple[Any, str | None]:
        said = {"input": given}
        return self._end("FAILED", self._value(state.get("Error"), said), self._value(state.get("Cause"), said))

    def _end(self, status: str, error: Any, cause: Any) -> tuple[Any, None]:
        self._run.status, self._run.error, self._run.cause = status, error, cause
        self._run.lines.append(f"{status}: {error}: {cause}")
        return None, None

    def _assign(self, state: Mapping[str, Any], said: dict[str, Any]) -> None:
        self._variables.update(self._value(state.get("Assign", {}), said))

    def _value(self, item: Any, said: dict[str, Any]) -> Any:
        if isinstance(item, dict):
            return {key: self._value(value, said) for key, value in item.items()}
        if isinstance(item, list):
            return [self._value(value, said) for value in item]
        if isinstance(item, str) and item.startswith("{%"):
            text = item[2:-2].strip()
            expression = _expression(text)
            context = {"State": {"EnteredTime": NOW}, "Task": {"Token": TOKEN}}
            frame = expression.create_frame()
            for name, value in {**self._variables, "states": {**said, "context": context}}.items():
                if f"${name}" in text:
                    frame.bind(name, copy.deepcopy(value))
            return expression.evaluate(None, frame)
        return item


@cache
def _expression(text: str) -> Any:
    return jsonata.Jsonata(text)


def _first(clauses: list[State], error: str) -> int | None:
    """The first clause that names the error; States.ALL names all, States.TaskFailed all but States.Timeout."""
    for number, clause in enumerate(clauses):
        names = clause["ErrorEquals"]
        if error in names or "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout"):
            return number
    return None


def _pause(retrier: State, attempt: int) -> float:
    """The longest pause before the next attempt; with full jitter it is any shorter one."""
    longest = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2) ** attempt
    return float(min(longest, retrier.get("MaxDelaySeconds", longest)))
