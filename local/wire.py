"""What goes over the wire, held against botocore's service models: nothing unknown comes in or goes out."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

# What AWS leaves out although its own model requires it: a versioned package has no name. The SDK asks again by the
# name, if it has one, and by the ARN else (github.com/aws/sagemaker-python-sdk/issues/5606).
_LEFT_OUT = {"DescribeModelPackage": {"ModelPackageName": "none"}}

Handler = Callable[[str, dict[str, Any]], dict[str, Any]]


class ApiError(Exception):
    """An error as the service's clients see it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@functools.cache
def model(service: str) -> ServiceModel:
    """botocore's model of the service."""
    try:
        return botocore.session.get_session().get_service_model(service)
    except UnknownServiceError as error:  # pragma: no cover - a typo in this folder
        raise ValueError(f"botocore knows no service {service!r}") from error


class Wire:
    """Calls `handle` with requests that the model knows, and lets only responses pass that the model defines.

    `violations` lists what was not so: a call that no model knows, or a response with a field that botocore does
    not define or without one that it requires.
    """

    def __init__(self, service: str, handle: Handler) -> None:
        self.service, self.handle = service, handle
        self.violations: list[str] = []

    def call(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The operation's answer; ApiError for what the service refuses."""
        known = model(self.service)
        if operation not in known.operation_names:
            self._note(f"{self.service}: no operation {operation}")
            raise ApiError("UnknownOperationException", f"no operation {operation} in {self.service}")
        shapes = known.operation_model(operation)
        if shapes.input_shape is not None:
            report = ParamValidator().validate(params, shapes.input_shape)
            refused = report.generate_report() or "; ".join(unlike(shapes.input_shape, params))
            if refused:
                raise ApiError("ValidationException", refused)
        answer = self.handle(operation, params)
        if shapes.output_shape is None:
            return {}
        report = ParamValidator().validate({**_LEFT_OUT.get(operation, {}), **answer}, shapes.output_shape)
        undefined = report.generate_report() or "; ".join(unlike(shapes.output_shape, answer, patterns=False))
        if undefined:
            fault = f"{self.service}.{operation} answered what botocore does not define: {undefined}"
            self._note(fault)
            raise ApiError("InternalFailure", fault, 500)
        return answer

    def _note(self, fault: str) -> None:
        self.violations.append(fault)
        logging.getLogger("local").error(fault)

    def call_json(self, operation: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The same, from and to the bytes of the JSON protocols."""
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        try:
            try:
                params = json.loads(body or b"{}")
            except ValueError as error:
                raise ApiError("SerializationException", f"the body is not JSON: {error}") from error
            answer = self.call(operation, params)
        except ApiError as error:
            problem = {"__type": error.code, "message": error.message}
            return error.status, {**headers, "x-amzn-ErrorType": error.code}, json.dumps(problem).encode()
        return 200, headers, json.dumps(answer, default=_epoch).encode()


def unlike(shape: Shape, value: Any, where: str = "", *, patterns: bool = True) -> Iterator[str]:
    """What botocore leaves to the service to check: values outside an enumeration, a pattern or a length."""
    if isinstance(shape, StructureShape):
        for name, inner in value.items():
            if name in shape.members:
                yield from unlike(shape.members[name], inner, f"{where}.{name}", patterns=patterns)
    elif isinstance(shape, ListShape):
        for index, inner in enumerate(value):
            yield from unlike(shape.member, inner, f"{where}[{index}]", patterns=patterns)
    elif isinstance(shape, MapShape):
        for key, inner in value.items():
            yield from unlike(shape.value, inner, f"{where}.{key}", patterns=patterns)
    rules = shape.metadata
    if isinstance(value, str):
        if rules.get("enum") and value not in rules["enum"]:
            yield f"{where.lstrip('.')}: {value!r} is none of {rules['enum']}"
        elif patterns and not _matches(rules.get("pattern"), value):
            yield f"{where.lstrip('.')}: {value!r} must satisfy the pattern {rules['pattern']}"
    if isinstance(value, str | list | dict) and len(value) > rules.get("max", math.inf):
        yield f"{where.lstrip('.')}: longer than {rules['max']}"


def _matches(pattern: str | None, value: str) -> bool:
    if pattern is None:
        return True
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:  # Java's classes, such as \\p{L}
        return True


def _epoch(value: Any) -> float:
    """JSON protocols write timestamps as seconds since the epoch."""
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    raise TypeError(f"{type(value).__name__} can't be written as JSON")
