"""Step Functions: starting the state machine, and waking a state that waits for a decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from retrain.aws.calls import classified, code_of

_OVER = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})


class StateMachine:
    """The state machine of the stack."""

    def __init__(self, stepfunctions: Any, arn: str) -> None:
        self._stepfunctions = stepfunctions
        self._arn = arn

    def start(self, name: str, text: str, trace: str | None) -> tuple[str, str]:
        """The execution of that name exists; its ARN and status.

        AWS answers a repeated start with the same ARN while the execution runs, and with ExecutionAlreadyExists
        afterwards; others raise ExecutionAlreadyExists in both cases. Either way the execution is what tells.
        """
        arn = self._execution_arn(name)
        more = {"traceHeader": trace} if trace else {}
        with classified("states:StartExecution"):
            try:
                started = self._stepfunctions.start_execution(stateMachineArn=self._arn, name=name, input=text, **more)
                return str(started["executionArn"]), "RUNNING"
            except ClientError as error:
                if code_of(error) != "ExecutionAlreadyExists":
                    raise
        with classified("states:DescribeExecution"):
            return arn, str(self._stepfunctions.describe_execution(executionArn=arn)["status"])

    def execution(self, name: str) -> tuple[str, datetime | None] | None:
        """The status of the execution of that name, and when it ended if it did; None if there is none."""
        with classified("states:DescribeExecution"):
            try:
                found = self._stepfunctions.describe_execution(executionArn=self._execution_arn(name))
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return None
                raise
        ended = found.get("stopDate")
        return str(found["status"]), ended.astimezone(UTC) if ended else None

    def _execution_arn(self, name: str) -> str:
        return f"{self._arn.replace(':stateMachine:', ':execution:')}:{name}"


class Executions:
    """Executions of the state machine, read only."""

    def __init__(self, stepfunctions: Any) -> None:
        self._stepfunctions = stepfunctions

    def states(self, arn: str) -> list[tuple[str, datetime, datetime | None]]:
        """Each state that the execution entered, in order: its name, when, and when it was left, None if it was not."""
        entered: list[tuple[str, datetime, datetime | None]] = []
        with classified("states:GetExecutionHistory"):
            pages = self._stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
            for page in pages:
                for event in page["events"]:
                    if "stateEnteredEventDetails" in event:
                        entered.append((event["stateEnteredEventDetails"]["name"], event["timestamp"], None))
                    elif "stateExitedEventDetails" in event:
                        name = event["stateExitedEventDetails"]["name"]
                        place = next(n for n in reversed(range(len(entered))) if entered[n][0] == name)
                        entered[place] = (name, entered[place][1], event["timestamp"])
        return entered

    def why(self, arn: str) -> dict[str, str]:
        """Error and cause of an execution that did not succeed, as far as it has them; {} if nobody knows of it."""
        with classified("states:DescribeExecution"):
            try:
                found = self._stepfunctions.describe_execution(executionArn=arn)
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return {}
                raise
        return {key: str(found[key]) for key in ("error", "cause") if found.get(key)}

    def stop(self, arn: str, cause: str) -> None:
        """The execution has ended as ABORTED, or was over already."""
        with classified("states:StopExecution"):
            self._stepfunctions.stop_execution(executionArn=arn, error="StoppedByOperator", cause=cause[:32768])


class Callbacks:
    """States that wait with a task token."""

    def __init__(self, stepfunctions: Any) -> None:
        self._stepfunctions = stepfunctions

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        """The waiting state goes on with `output`; False if it does not wait any more."""
        with classified("states:SendTaskSuccess"):
            try:
                self._stepfunctions.send_task_success(taskToken=token, output=json.dumps(output, sort_keys=True))
            except ClientError as error:
                if code_of(error) in _OVER:
                    return False
                raise
        return True
