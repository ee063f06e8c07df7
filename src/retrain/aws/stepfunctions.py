"""Step Functions: starting the state machine, and waking a state that waits for a decision."""

from __future__ import annotations

import json
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
        arn = f"{self._arn.replace(':stateMachine:', ':execution:')}:{name}"
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
