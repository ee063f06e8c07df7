"""Nothing goes over the wire that botocore's models do not know."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from local.wire import ApiError, Wire

ARN = "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/flights"


def answering(answer: dict[str, Any]) -> Wire:
    return Wire("sagemaker", lambda operation, params: answer)


def test_a_known_call_gets_its_answer_with_times_as_numbers() -> None:
    group = {
        "ModelPackageGroupName": "flights",
        "ModelPackageGroupArn": ARN,
        "CreationTime": datetime(2013, 3, 1, tzinfo=UTC),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
    }
    status, headers, body = answering(group).call_json(
        "DescribeModelPackageGroup", b'{"ModelPackageGroupName": "flights"}'
    )
    assert (status, headers["Content-Type"]) == (200, "application/x-amz-json-1.1")
    assert json.loads(body)["CreationTime"] == 1362096000.0


def test_an_unknown_operation_is_refused_and_counted() -> None:
    wire = answering({})
    status, headers, _ = wire.call_json("DescribeWeather", b"{}")
    assert (status, headers["x-amzn-ErrorType"]) == (400, "UnknownOperationException")
    assert len(wire.violations) == 1


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"ModelPackageGroupName": 7},
        {"ModelPackageGroupName": "flights", "Colour": "blue"},
        {"ModelPackageGroupName": "no blanks"},
        {"ModelPackageGroupName": "x" * 64},
    ],
    ids=["missing", "of the wrong type", "unknown", "against the pattern", "too long"],
)
def test_a_parameter_is_refused_that_is(params: dict[str, Any]) -> None:
    status, headers, _ = answering({"ModelPackageGroupArn": ARN}).call_json(
        "CreateModelPackageGroup", json.dumps(params).encode()
    )
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationException")


def test_a_value_outside_its_enumeration_is_refused() -> None:
    with pytest.raises(ApiError, match="Perhaps"):
        answering({}).call("UpdateModelPackage", {"ModelPackageArn": ARN, "ModelApprovalStatus": "Perhaps"})


@pytest.mark.parametrize(
    "answer",
    [{}, {"ModelPackageGroupArn": ARN, "Colour": "blue"}],
    ids=["without a required field", "with a field that botocore does not define"],
)
def test_an_answer_is_a_violation(answer: dict[str, Any]) -> None:
    wire = answering(answer)
    status, headers, _ = wire.call_json("CreateModelPackageGroup", b'{"ModelPackageGroupName": "flights"}')
    assert (status, headers["x-amzn-ErrorType"]) == (500, "InternalFailure")
    assert len(wire.violations) == 1


def test_an_answer_with_a_status_that_does_not_exist_is_a_violation() -> None:
    wire = answering({"PipelineArn": "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p", "PipelineStatus": "Great"})
    assert wire.call_json("DescribePipeline", b'{"PipelineName": "p"}')[0] == 500


def test_what_is_not_json_is_a_serialization_exception() -> None:
    assert answering({}).call_json("ListEndpoints", b"{")[1]["x-amzn-ErrorType"] == "SerializationException"


def test_the_services_own_errors_reach_the_client() -> None:
    def refuse(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        raise ApiError("ResourceNotFound", "no such group", 404)

    status, _, body = Wire("sagemaker", refuse).call_json("ListEndpoints", b"{}")
    assert (status, json.loads(body)) == (404, {"__type": "ResourceNotFound", "message": "no such group"})
