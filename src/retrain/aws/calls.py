"""How AWS is called, and what its errors mean: the one place that knows error codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError

from retrain.core.errors import AccessDenied, AwsRejected, EndpointBusy, QuotaExceeded, RetrainError, Throttled

# Standard mode backs off with jitter. A service that hangs is cut off by the function's own timeout, and whoever
# invoked the function tries again.
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=3, read_timeout=20)
# What people and other parts of the application are told is told within ten seconds or not at all: that must not use up
# the time of what it is about.
BRIEF = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=2, read_timeout=3)
_TELLING = frozenset({"sns", "events"})

_NO_ANSWER = (
    ChecksumError,
    NoConnection,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    ResponseParserError,  # a load balancer's answer, not the service's
)
_BUSY = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "InternalServiceError",
        "ExecutionLimitExceeded",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "403"})
_QUOTA = frozenset({"ResourceLimitExceeded", "LimitExceededException", "ServiceQuotaExceededException"})
_MISSING = frozenset({"ResourceNotFound", "ResourceNotFoundException", "NoSuchKey", "NotFound", "404"})


@cache
def client(service: str) -> Any:
    """The service's client, one per warm function."""
    return boto3.Session().client(service, config=BRIEF if service in _TELLING else CONFIG)  # type: ignore[call-overload]


@contextmanager
def classified(action: str, missing: type[RetrainError] = AwsRejected) -> Iterator[None]:
    """Whatever AWS raises inside leaves as one of ours; `missing` is what a thing that does not exist becomes."""
    try:
        yield
    except ClientError as error:
        raise _classify(error, action, missing) from error
    except _NO_ANSWER as error:  # name resolution, connection, time-out, an answer that was cut off
        raise Throttled(f"{action}: {error}") from error
    except BotoCoreError as error:  # the request was never sent: no region, a parameter that can't be
        raise AwsRejected(f"{action}: {type(error).__name__}: {error}") from error


def code_of(error: ClientError) -> str:
    """The error's code, "" if the service sent none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def message_of(error: ClientError) -> str:
    """The error's message, "" if the service sent none."""
    return str(error.response.get("Error", {}).get("Message", ""))


def is_missing(error: ClientError) -> bool:
    """Whether the thing asked for does not exist. SageMaker says so in the message of a ValidationException."""
    if code_of(error) in _MISSING:
        return True
    message = message_of(error).lower()
    return code_of(error) == "ValidationException" and ("could not find" in message or "does not exist" in message)


def is_taken(error: ClientError) -> bool:
    """Whether something of that name exists already."""
    message = message_of(error).lower()
    return code_of(error) in {"ValidationException", "ResourceInUse", "ConflictException"} and (
        "already exist" in message or "must be unique" in message
    )


def _classify(error: ClientError, action: str, missing: type[RetrainError]) -> RetrainError:
    code, text = code_of(error), f"{action}: {code_of(error)}: {message_of(error)}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _DENIED:
        return AccessDenied(text)
    if code in _QUOTA:
        return QuotaExceeded(text)
    if is_missing(error):
        return missing(text)
    if "in-progress" in message_of(error):  # "Cannot update in-progress endpoint …"
        return EndpointBusy(text)
    if code in _BUSY or status >= 500 or status == 429:
        return Throttled(text)
    return AwsRejected(text)
