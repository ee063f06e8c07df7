"""Step Functions where MiniStack's is not AWS's: its clock, its roles, its ends, and executions that go on.

An execution keeps where it is: the state, its input, the variables, and the token that it waits for. So it goes on
after this AWS has ended, however it did; and RedriveExecution goes on from where it failed.

Import it after `ministack.prepare`.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import threading
import time as wall
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ministack.services import cloudwatch_logs
from ministack.services import stepfunctions as sfn

from local import ACCOUNT, REGION
from local.authorization import Check
from local.clock import Clock
from local.metering import Meter
from local.scope import as_account, trace_header
from local.wire import ApiError
from local.xray import XRay

Execution = dict[str, Any]
# The role, the execution and the run of it that this thread works for.
_at_work: contextvars.ContextVar[tuple[str, Execution, str]] = contextvars.ContextVar("at_work")
START_SECONDS = 0.15  # on AWS, too, StartExecution is answered before the first state
REDRIVABLE = {"FAILED", "ABORTED", "TIMED_OUT"}
REDRIVABLE_FOR = timedelta(days=14)
MOST_EVENTS = 24_999


class _EndedError(Exception):
    """Somebody has ended the execution while this thread was at work for it."""


class StateMachines:
    """Step Functions. `require(role, checks)` raises ApiError, `keep()` has the executions on disk afterwards."""

    def __init__(
        self,
        clock: Clock,
        meter: Meter,
        xray: XRay,
        require: Callable[[str, list[Check]], None],
        keep: Callable[[], None],
    ) -> None:
        self._clock, self._meter, self._xray, self._require, self._keep = clock, meter, xray, require, keep
        self._interrupted: list[Execution] = []
        self._headers: dict[str, str] = {}
        self._start, self._stop, self._describe = sfn._start_execution, sfn._stop_execution, sfn._describe_execution
        self._load, self._tell, self._handle = (
            sfn.load_persisted_state,
            sfn._emit_execution_status_event,
            sfn.handle_request,
        )
        self._task, self._callback, self._call = sfn._execute_task, sfn._invoke_with_callback, sfn._call_lambda
        self._add = sfn._add_event
        self._describe_as_written = sfn._describe_state_machine
        sfn._describe_state_machine = self._describe_machine
        sfn._add_event = self._add_event
        sfn._start_execution = self._start_execution
        sfn._stop_execution = self._stop_execution
        sfn._describe_execution = self._describe_execution
        sfn._run_execution = self._run_execution
        sfn._execute_task = self._execute_task
        sfn._call_lambda = self._call_lambda
        sfn._invoke_with_callback = self._invoke_with_callback
        sfn._emit_execution_status_event = self._tell_status
        sfn.load_persisted_state = self._load_state
        sfn.handle_request = self._handle_request

    def resume(self) -> None:
        """Executions that the end of the last process interrupted go on from where they were."""
        for execution in self._interrupted:
            self._begin(execution)
        self._interrupted = []

    # Operations -------------------------------------------------------------------------------------------------------

    async def _handle_request(self, method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return sfn._finalize_response(self._redrive_execution(json.loads(body or b"{}")))
        return await self._handle(method, path, headers, body, query)

    def _start_execution(self, data: dict[str, Any]) -> Any:
        data = {**data, "name": data.get("name") or str(uuid.uuid4())}
        machine = sfn._resolve_state_machine_arn(data.get("stateMachineArn", ""))
        arn = f"{str(machine).replace(':stateMachine:', ':execution:')}:{data['name']}"
        standing = sfn._executions.get(arn)
        if standing and standing["status"] == "RUNNING" and standing["input"] == data.get("input", "{}"):
            return sfn.json_response({"executionArn": arn, "startDate": standing["startDate"]})
        if data.get("traceHeader"):
            self._headers[arn] = data["traceHeader"]
        return self._start(data)

    def _stop_execution(self, data: dict[str, Any]) -> Any:
        answer = self._stop(data)
        if execution := sfn._executions.get(data.get("executionArn")):
            self._end_waiting(execution)
        return answer

    def _describe_execution(self, data: dict[str, Any]) -> Any:
        status, headers, body = self._describe(data)
        if status == 200:
            execution = sfn._executions[data["executionArn"]]
            why = self._not_redrivable(execution)
            shown = {
                **json.loads(body),
                "redriveCount": execution.get("_redriven", 0),
                "redriveStatus": "NOT_REDRIVABLE" if why else "REDRIVABLE",
            }
            if why:
                shown["redriveStatusReason"] = why
            if "_redriven_at" in execution:
                shown["redriveDate"] = execution["_redriven_at"]
            return sfn.json_response(shown)
        return status, headers, body

    def _redrive_execution(self, data: dict[str, Any]) -> Any:
        """The execution runs again: from the state that it ended in, with its input, variables and definition."""
        arn = data.get("executionArn", "")
        execution = sfn._executions.get(arn)
        if execution is None:
            return sfn.error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
        token = data.get("clientToken")
        if token and token == execution.get("_redriven_by"):
            return sfn.json_response({"redriveDate": execution["_redriven_at"]})
        if why := self._not_redrivable(execution):
            return sfn.error_response_json("ExecutionNotRedrivable", why, 400)
        self._end_waiting(execution)
        execution["_redriven"] = execution.get("_redriven", 0) + 1
        execution.update(_redriven_at=sfn.now_iso(), _redriven_by=token)
        execution.update(status="RUNNING", stopDate=None, output=None, error=None, cause=None)
        at = execution["_at"]
        at.pop("entered", None)
        at["again"] = True
        details = {"executionRedrivenEventDetails": {"redriveCount": execution["_redriven"]}}
        sfn._add_event(execution, "ExecutionRedriven", details)
        self._tell_status(execution)
        self._begin(execution)
        return sfn.json_response({"redriveDate": execution["_redriven_at"]})

    def _not_redrivable(self, execution: Execution) -> str | None:
        status = execution["status"]
        if status not in REDRIVABLE:
            return f"Execution is {status} and cannot be redriven"
        if len(execution["events"]) >= MOST_EVENTS:
            return "Execution history event limit exceeded"
        if self._clock.now() - datetime.fromisoformat(execution["stopDate"]).astimezone(UTC) > REDRIVABLE_FOR:
            return "Execution redrivable period exceeded"
        return None

    # Running ----------------------------------------------------------------------------------------------------------

    def _begin(self, execution: Execution) -> None:
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._go_on_alone, execution["executionArn"]), name="execution", daemon=True
        ).start()

    def _go_on_alone(self, arn: str) -> None:
        as_account()
        self._run_execution(arn)

    def _run_execution(self, arn: str) -> None:
        """In a thread of its own: the execution is over, or another run of it has taken over."""
        execution = sfn._executions[arn]
        machine = sfn._state_machines[execution["stateMachineArn"]]
        definition = json.loads(execution.setdefault("_definition", machine["definition"]))
        first = {"name": definition["StartAt"], "input": json.loads(execution["input"]), "variables": {}}
        execution.setdefault("_at", first)
        execution["_run"] = run = str(uuid.uuid4())
        header = self._xray.open_segment(
            machine["name"], "AWS::StepFunctions::StateMachine", self._headers.pop(arn, None)
        )
        trace_header.set(header)
        _at_work.set((machine.get("roleArn", ""), execution, run))
        if len(execution["events"]) == 1:  # that it has started
            self._log(execution, execution["events"][0])
        limit = definition.get("TimeoutSeconds", 99_999_999) * (sfn._SFN_WAIT_SCALE or 1)
        timer = threading.Timer(min(limit, threading.TIMEOUT_MAX), self._time_out, (execution, run))
        timer.daemon = True
        timer.start()
        wall.sleep(START_SECONDS)
        try:
            self._walk(execution, definition, machine["name"], run)
        except _EndedError:
            pass
        except sfn._ExecutionError as error:
            self._fail(execution, run, error.error, error.cause)
        except Exception as error:  # noqa: BLE001 - a fault of the machine's definition, or of this interpreter
            self._fail(execution, run, "States.Runtime", f"{type(error).__name__}: {error}")
        finally:
            timer.cancel()
            self._xray.close_segment(header, fault=execution["status"] != "SUCCEEDED")
            self._keep()

    def _walk(self, execution: Execution, definition: dict[str, Any], name: str, run: str) -> None:
        at = execution["_at"]
        context = {
            "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
            "Execution": {
                "Id": execution["executionArn"],
                "Input": json.loads(execution["input"]),
                "Name": execution["name"],
                "StartTime": execution["startDate"],
                "RedriveCount": execution.get("_redriven", 0),
            },
            "StateMachine": {"Id": execution["stateMachineArn"], "Name": name},
            "variables": at["variables"],
        }
        while at["name"]:
            output, following = self._state(execution, definition["States"], context)
            if not _is_running(execution, run):
                return
            at.update(name=following, input=output)
            for used in ("entered", "token", "asked"):
                at.pop(used, None)
        execution.update(status="SUCCEEDED", output=json.dumps(at["input"]), stopDate=sfn.now_iso())
        details = {"executionSucceededEventDetails": {"output": execution["output"]}}
        sfn._add_event(execution, "ExecutionSucceeded", details)
        self._tell_status(execution)

    def _state(self, execution: Execution, states: dict[str, Any], context: dict[str, Any]) -> tuple[Any, str | None]:
        """What the state that the execution is at makes of its input, and the name of the next one."""
        at = execution["_at"]
        state, given = states[at["name"]], at["input"]
        kind = state["Type"]
        interrupted = "entered" in at
        at.setdefault("entered", sfn.now_iso())
        context["State"] = {"Name": at["name"], "EnteredTime": at["entered"], "RetryCount": 0}
        # A task that is redriven, or goes on after this AWS ended, is scheduled again, and not entered again.
        if not (interrupted or at.pop("again", False)):
            details = {"stateEnteredEventDetails": {"name": at["name"], "input": json.dumps(given)}}
            sfn._add_event(execution, f"{kind}StateEntered", details)
        self._keep()
        if kind == "Fail":
            raise sfn._ExecutionError(*sfn._fail_state_error(state, given, context))
        if kind == "Succeed":
            output, following = self._succeed(state, given, context), None
        elif kind in {"Task", "Parallel", "Map"}:
            working = {"Task": self._execute_task, "Parallel": sfn._execute_parallel, "Map": sfn._execute_map}
            output, following = working[kind](state, given, execution, context)
        else:
            quick = {"Choice": sfn._execute_choice, "Pass": sfn._execute_pass, "Wait": sfn._execute_wait}
            output, following = quick[kind](state, given, context)
        details = {"stateExitedEventDetails": {"name": at["name"], "output": json.dumps(output)}}
        sfn._add_event(execution, f"{kind}StateExited", details)
        return output, following

    def _succeed(self, state: dict[str, Any], given: Any, context: dict[str, Any]) -> Any:
        if sfn._state_query_language(state, context) == "JSONata":
            return sfn._apply_jsonata_output(state, given, context, default=given)
        return sfn._apply_output_path(state, sfn._apply_input_path(state, given, context), context)

    def _fail(self, execution: Execution, run: str, error: str, cause: str) -> None:
        # One that was stopped or timed out stays so, whatever becomes of its last task.
        if not _is_running(execution, run):
            return
        output = json.dumps({"Error": error, "Cause": cause})
        execution.update(status="FAILED", error=error, cause=cause, output=output, stopDate=sfn.now_iso())
        details = {"executionFailedEventDetails": {"error": error, "cause": cause}}
        sfn._add_event(execution, "ExecutionFailed", details)
        self._tell_status(execution)

    def _time_out(self, execution: Execution, run: str) -> None:
        if not _is_running(execution, run):
            return
        as_account()
        execution.update(status="TIMED_OUT", stopDate=sfn.now_iso())
        sfn._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
        self._tell_status(execution)
        self._end_waiting(execution)

    def _end_waiting(self, execution: Execution) -> None:
        """Nothing wakes the execution any more, and the thread that waited for it ends."""
        waiting = sfn._task_tokens.pop(execution.get("_at", {}).get("token"), None)
        if waiting:
            waiting["event"].set()

    # Tasks ------------------------------------------------------------------------------------------------------------

    def _execute_task(
        self, state: dict[str, Any], given: Any, execution: Execution, context: dict[str, Any]
    ) -> tuple[Any, str | None]:
        if isinstance(state.get("TimeoutSeconds"), str):
            seconds = sfn._jsonata_state_field(state, "TimeoutSeconds", "number", given, context)
            state = {**state, "TimeoutSeconds": seconds}
        answer: tuple[Any, str | None] = self._task(state, given, execution, context)
        return answer

    def _call_lambda(self, function: str, event: Any) -> Any:
        role, execution, run = _at_work.get()
        if not _is_running(execution, run):  # nobody tries for an execution that is over
            raise _EndedError
        arn = function if function.startswith("arn:") else f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
        try:
            self._require(role, [Check("lambda:InvokeFunction", arn)])
        except ApiError as error:
            raise sfn._ExecutionError("Lambda.AWSLambdaException", error.message) from None
        return self._call(function, event)

    def _invoke_with_callback(self, resource: str, given: dict[str, Any], token: str, state: dict[str, Any]) -> Any:
        if not resource.startswith("arn:aws:states:::lambda:invoke"):
            return self._callback(resource, given, token, state)
        _, execution, run = _at_work.get()
        at = execution["_at"]
        if at.get("asked"):  # before this AWS ended; whoever was asked has that token
            token = at["token"]
        at["token"] = token
        waiting: dict[str, Any] = {"event": threading.Event(), "result": None, "error": None, "heartbeat": None}
        sfn._task_tokens[token] = waiting
        try:
            if not at.get("asked"):
                # A function that fails has failed the task, whether or not it passed the token on.
                sfn._invoke_resource(resource.replace(".waitForTaskToken", ""), given)
                at["asked"] = True
                self._keep()
            # People are waited for as long as everything else: scaled.
            seconds = state.get("TimeoutSeconds", 99_999_999) * (sfn._SFN_WAIT_SCALE or 1)
            if not waiting["event"].wait(timeout=min(seconds, threading.TIMEOUT_MAX)):
                raise sfn._ExecutionError("States.Timeout", "Task timed out waiting for callback")
        finally:
            sfn._task_tokens.pop(token, None)
            at.pop("asked", None)
        if not _is_running(execution, run):
            raise _EndedError
        if error := waiting["error"]:
            raise sfn._ExecutionError(error.get("Error", "TaskFailed"), error.get("Cause", ""))
        return json.loads(waiting["result"])

    # What is told, and what is kept -----------------------------------------------------------------------------------

    def _tell_status(self, execution: Execution) -> None:
        name = {
            "RUNNING": "ExecutionsRedriven" if execution.get("_redriven") else "ExecutionsStarted",
            "SUCCEEDED": "ExecutionsSucceeded",
            "FAILED": "ExecutionsFailed",
            "TIMED_OUT": "ExecutionsTimedOut",
            "ABORTED": "ExecutionsAborted",
        }[execution["status"]]
        self._meter.add("AWS/States", {"StateMachineArn": execution["stateMachineArn"]}, {name: 1.0})
        self._tell(execution)

    def _add_event(self, execution: Execution, kind: str, details: dict[str, Any] | None = None) -> Any:
        event = self._add(execution, kind, details)
        self._log(execution, event)
        return event

    @staticmethod
    def _log(execution: Execution, event: dict[str, Any]) -> None:
        machine = sfn._state_machines.get(execution["stateMachineArn"]) or {}
        with contextlib.suppress(Exception):  # as on AWS, an execution goes on without its log
            _log_execution(machine, execution["executionArn"], event)

    def _describe_machine(self, data: dict[str, Any]) -> Any:
        if machine := sfn._state_machines.get(data.get("stateMachineArn")):  # a template writes names in capitals
            machine["loggingConfiguration"] = _in_small(machine.get("loggingConfiguration") or {})
        return self._describe_as_written(data)

    def _load_state(self, data: dict[str, Any] | None) -> None:
        running = [key for key, saved in (data or {}).get("executions", {}).items() if saved["status"] == "RUNNING"]
        self._load(data)
        for key in running:
            if (execution := sfn._executions.get(key)) and "_at" in execution:
                # MiniStack takes it for failed.
                execution.update(status="RUNNING", stopDate=None, error=None, cause=None)
                self._interrupted.append(execution)


def _is_running(execution: Execution, run: str) -> bool:
    """Whether that run of the execution is the one that counts, and nobody has ended it."""
    return bool(execution["status"] == "RUNNING" and execution["_run"] == run)


def _in_small(value: Any) -> Any:
    """The same with names as the API has them: `LogGroupArn` is `logGroupArn`."""
    if isinstance(value, dict):
        return {name[:1].lower() + name[1:]: _in_small(inner) for name, inner in value.items()}
    return [_in_small(inner) for inner in value] if isinstance(value, list) else value


def _log_execution(machine: dict[str, Any], execution: str, event: dict[str, Any]) -> None:
    """The event is in the machine's log group, if it has one; without what states pass on, unless that is asked for."""
    config = _in_small(machine.get("loggingConfiguration") or {})
    if config.get("level") != "ALL":
        return
    arn = config["destinations"][0]["cloudWatchLogsLogGroup"]["logGroupArn"]
    group = arn.removesuffix(":*").rpartition(":log-group:")[2]
    details: dict[str, Any] = next((value for name, value in event.items() if name.endswith("Details")), {})
    if not config.get("includeExecutionData"):
        details = {name: value for name, value in details.items() if name not in {"input", "output", "parameters"}}
    line = {
        "id": str(event["id"]),
        "type": event["type"],
        "details": details,
        "previous_event_id": str(event["id"] - 1),
        "event_timestamp": str(int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1000)),
        "execution_arn": execution,
    }
    stream = {"logGroupName": group, "logStreamName": f"states/{execution.rpartition(':')[2]}"}
    cloudwatch_logs._create_log_stream(stream)
    cloudwatch_logs._put_log_events(
        {**stream, "logEvents": [{"timestamp": int(wall.time() * 1000), "message": json.dumps(line)}]}
    )
