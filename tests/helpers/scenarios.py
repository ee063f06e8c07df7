"""What functions may answer to the state machine, scenario by scenario, and what the machine makes of it.

`make executions` writes executions.txt, the record that the tests hold the machine against. Read its
difference before you commit it: a line a state, `name: what it did`, and how the execution ended.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from machine import Run, TaskError, deployed, run, written

from retrain.core import errors

EXECUTIONS = Path(__file__).parents[1] / "stack" / "executions.txt"
END_OF_PAGE = "\n\n"
MOST_STEPS = 1000  # 397 is the most that any scenario takes
_RUNS: dict[str, tuple[dict[str, Any], Run]] = {}
GIVEN = {"episode": {"episode_id": "e1", "endpoint_name": "flights", "fence": 7, "bootstrap": False}}
ASKED = {"Reinstate Model": "rollback", "Reinstate_Model": "rollback", "Adopt What Serves": "adopt"}
TASKS = [
    "Start Pipeline",
    "Check Pipeline",
    "Judge Challenger",
    "Await Approval",
    "Reinstate Model",
    "Adopt What Serves",
    "Update Endpoint",
    "Check Endpoint",
    "Switch Champion",
    "Swap Native Baseline",
    "Close Episode",
]
# What the functions answer when everything is well and a person is asked. A list is answered one by one, then its last.
WELL: dict[str, Any] = {
    "Start Pipeline": {"status": "started"},
    "Check Pipeline": [{"status": "running"}, {"status": "succeeded"}],
    "Judge Challenger": {"decision": "await"},
    "Await Approval": {"decision": "approved"},
    "Reinstate Model": {"status": "reinstated"},
    "Adopt What Serves": {"status": "adopted"},
    "Update Endpoint": {"status": "updating"},
    "Check Endpoint": [{"status": "updating"}, {"status": "serving"}],
    "Switch Champion": {"status": "switched"},
    "Swap Native Baseline": {"status": "no_schedule"},
}
# What ends an attempt without an answer of ours, and is worth another one: what Lambda may answer without having run
# the function, of which AWS asks to retry all; what it says of a process that crashed or ran out of its time; and a
# state that did. Functions may run again: their effects are idempotent.
TRANSIENT = [
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.Timeout",
]
OURS = sorted(
    name
    for name, item in inspect.getmembers(errors, inspect.isclass)
    if issubclass(item, errors.RetrainError) and item is not errors.RetrainError
)


class Functions:
    """Lambda: answers as a scenario says, once per item of a list; an exception in it is raised."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {**WELL, **{name.replace("_", " "): item for name, item in answers.items()}}
        self._asked: dict[str, int] = {}

    def __call__(self, state: str, function: str, payload: dict[str, Any]) -> Any:
        number = self._asked.get(state, 0)
        self._asked[state] = number + 1
        answer = self._answers.get(state, _closed)
        if isinstance(answer, list):
            answer = answer[min(number, len(answer) - 1)]
        if isinstance(answer, TaskError):
            raise answer
        return answer(payload) if callable(answer) else answer


def _closed(payload: dict[str, Any]) -> dict[str, Any]:
    """What the closer answers: the ending that it was told, an error's name for a reason."""
    error = payload.get("error", {})
    refused = error.get("Error") == "Refused"
    return {
        "status": "closed",
        "outcome": "refused" if refused else payload.get("outcome", "nothing"),
        "reason": payload.get("reason", error.get("Error", "")),
        "detail": payload.get("detail", error.get("Cause", "")),
    }


def scenarios() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and answers of each."""
    yield "a person approves", {}
    yield "the gate alone approves", {"Judge_Challenger": {"decision": "approved"}}
    kept = {"decision": "keep_champion", "reason": "not_better", "detail": "5.1 against 5.0"}
    yield "the gate keeps the champion", {"Judge_Challenger": kept}
    yield "the gate says what nobody knows", {"Judge_Challenger": {"decision": "perhaps"}}
    yield "a person rejects", {"Await_Approval": {"decision": "rejected"}}
    waiting, started = {"status": "waiting_for_labels"}, {"status": "started"}
    yield "labels come late", {"Start_Pipeline": [waiting, waiting, started]}
    yield "labels are too few first", {"Check_Pipeline": [{"status": "running"}, waiting, {"status": "succeeded"}]}
    yield "labels never come", {"Start_Pipeline": [waiting] * 12 + [TaskError("Refused", "labels_insufficient")]}
    yield "the pipeline takes long", {"Check_Pipeline": [{"status": "running"}] * 125 + [{"status": "succeeded"}]}
    yield "the endpoint takes long", {"Check_Endpoint": [{"status": "updating"}] * 125 + [{"status": "serving"}]}
    yield "the closer says how it ended", {"Close_Episode": {"outcome": "refused", "reason": "late", "detail": "d"}}
    failing = TaskError("LedgerDown", "no answer")
    yield "the closer fails", {"Close_Episode": failing}
    yield "the closer fails without a word", {"Close_Episode": TaskError("LedgerDown")}
    for asked in ("rollback", "restore", "adopt"):
        yield f"an operator asks to {asked}", {"asked": asked}
    for task in TASKS[:-1]:
        yield f"{task} fails for good", {task: TaskError("PipelineFailed", "out of memory")}
    yield "Start Pipeline refuses", {"Start_Pipeline": TaskError("Refused", "capture_missing: none")}


def told(machine: Mapping[str, Any]) -> str:
    """Every scenario's execution, as text; of tasks that meet an error, what came of it, by error."""
    return END_OF_PAGE.join(pages(machine)) + "\n"


def execution(machine: Mapping[str, Any], scenario: str) -> Run:
    """That scenario's execution."""
    return _execution(machine, dict(scenarios())[scenario])


def pages(machine: Mapping[str, Any]) -> Iterator[str]:
    """That text page by page, so that who looks for the first difference need not go through the rest."""
    before: list[str] = []
    for name, answers in scenarios():
        lines = _execution(machine, answers).lines
        if len(lines) > 60:
            lines = [*lines[:4], f"… {len(lines)} lines …", *_turns(lines), *lines[-6:]]
        same = next((at for at, pair in enumerate(zip(lines, before, strict=False)) if pair[0] != pair[1]), len(before))
        if before and same > 2:
            yield "\n".join([f"# {name}", f"… {same} lines as the first …", *lines[same:]])
        else:
            yield "\n".join([f"# {name}", *lines])
        before = before or lines
    for error in (*TRANSIENT, *OURS):
        lines = [f"# an attempt ends with {error}"]
        for what, answers_of in (("once", _once), ("for ever", _for_ever)):
            came: dict[str, list[str]] = {}
            for task in TASKS:
                made = _execution(machine, answers_of(task, error))
                met = [line.partition(": ")[2] for line in made.lines if line.startswith("  ")]
                came.setdefault("; ".join([*_counted(met), made.lines[-1]]), []).append(task)
            lines += [f"{what}, {', '.join(tasks)}: {line}" for line, tasks in came.items()]
        yield "\n".join(lines)


def _execution(machine: Mapping[str, Any], answers: Mapping[str, Any]) -> Run:
    """What the machine makes of the answers: what an earlier one made of them, if its way is the same in both."""
    key = repr((machine["StartAt"], sorted(answers.items())))
    if key in _RUNS and all(machine["States"].get(name) == state for name, state in _RUNS[key][0].items()):
        return _RUNS[key][1]
    made = _run(machine, answers)
    if key not in _RUNS:
        entered = {name: machine["States"][name] for name in dict.fromkeys(made.entered)}
        _RUNS[key] = copy.deepcopy(entered), made
    return made


def _run(machine: Mapping[str, Any], answers: Mapping[str, Any]) -> Run:
    answers = dict(answers)
    asked = answers.pop("asked", ASKED.get(next(iter(answers), "")))  # what leads to the task that is looked at
    given = {**GIVEN, "asked": asked} if asked else GIVEN
    functions = Functions(**{key.replace(" ", "_"): item for key, item in answers.items()})
    return run(machine, given, functions, MOST_STEPS)


def _once(task: str, error: str) -> dict[str, Any]:
    last = WELL.get(task, _closed)
    return {task: [TaskError(error, "once"), *(last if isinstance(last, list) else [last])]}


def _for_ever(task: str, error: str) -> dict[str, Any]:
    return {task: TaskError(error, "for ever")}


def _counted(lines: list[str]) -> Iterator[str]:
    """The lines, those that are repeated one after the other as one."""
    for line, group in groupby(lines):
        count = len(list(group))
        yield f"{line} ({count} times)" if count > 1 else line


def _turns(lines: list[str]) -> list[str]:
    """Lines that differ from the one two or three before: where a long loop changes."""
    return [line for at, line in enumerate(lines[4:-6], 4) if line not in lines[at - 4 : at]]


SUBSTITUTIONS = {
    **{
        f"{name}Arn": f"arn:aws:lambda:us-east-1:000000000000:function:drift-retrain-{name}"
        for name in ("PipelineStarter", "StatusPoller", "Approver", "EndpointUpdater", "EpisodeCloser")
    },
    "ApprovalTimeoutHours": "72",
    "LabelWaitHours": "48",
    "Partition": "aws",
}


if __name__ == "__main__":
    EXECUTIONS.write_text(told(deployed(written(), SUBSTITUTIONS)))
