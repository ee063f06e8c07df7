"""Lambda: what a deployed function is given, and its answer to an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retrain.aws.calls import classified
from retrain.core.errors import AwsRejected


class Functions:
    """Deployed functions."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions

    def configuration(self, name: str) -> dict[str, Any]:
        """The function as it is deployed: handler, runtime, environment and the rest."""
        with classified("lambda:GetFunctionConfiguration"):
            return dict(self._functions.get_function_configuration(FunctionName=name))

    def ask(self, name: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """The function's answer to the event; AwsRejected with its error if it raised one."""
        with classified("lambda:InvokeFunction"):
            answer = self._functions.invoke(FunctionName=name, Payload=json.dumps(event))
            body = json.load(answer["Payload"])
        if answer.get("FunctionError"):
            raise AwsRejected(f"{name}: {body.get('errorType')}: {body.get('errorMessage')}")
        return dict(body)
