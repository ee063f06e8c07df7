"""The parts of the embedded AWS that need no server: clock, meter, X-Ray, CloudFormation types."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local import cloudformation
from local.clock import Clock
from local.metering import Meter, embedded_metrics
from local.wire import Wire
from local.xray import XRay

MARCH = datetime(2013, 3, 1, 5, 0, tzinfo=UTC)
ENDPOINT = (("EndpointName", "flights"), ("VariantName", "AllTraffic"))


# Clock ----------------------------------------------------------------------------------------------------------------


def test_a_clock_that_was_set_goes_on_from_there_after_a_restart(tmp_path: Path) -> None:
    first, second = Clock(), Clock()
    first.set(MARCH)
    first.save(tmp_path / "clock.json")
    second.load(tmp_path / "clock.json")
    assert timedelta(0) <= second.now() - MARCH < timedelta(seconds=5)


def test_a_clock_that_nobody_set_is_the_wall_clock_after_a_restart(tmp_path: Path) -> None:
    Clock().save(tmp_path / "clock.json")
    clock = Clock()
    clock.load(tmp_path / "clock.json")
    assert abs(clock.time() - time.time()) < 1


def test_listeners_see_the_new_time_in_the_order_they_came(tmp_path: Path) -> None:
    clock, seen = Clock(), []
    clock.on_set(lambda: seen.append(("first", clock.now().year)))
    clock.on_set(lambda: seen.append(("second", clock.now().year)))
    clock.set(MARCH)
    assert seen == [("first", 2013), ("second", 2013)]


# Meter ----------------------------------------------------------------------------------------------------------------


def test_invocations_of_a_minute_are_one_statistic_set_per_metric() -> None:
    meter = Meter(lambda: 119.0)
    meter.add_invocation("flights", "AllTraffic", 200, b"", 1000.0)
    meter.add_invocation("flights", "AllTraffic", 424, b'{"OriginalStatusCode": 500}', 3000.0)
    meter.add_invocation("flights", "AllTraffic", 424, b'{"OriginalStatusCode": 415}', 2000.0)
    taken = {
        (name, minute): found
        for (space, name, dimensions, minute), found in meter.take().items()
        if (space, dimensions) == ("AWS/SageMaker", ENDPOINT)
    }
    errors, latency = taken["Invocation5XXErrors", 60], taken["ModelLatency", 60]
    assert (errors.count, errors.total, errors.low, errors.high) == (3, 1, 0, 1)
    assert (latency.total, latency.low, latency.high) == (6000, 1000, 3000)
    assert meter.take() == {}


def test_what_never_reached_a_model_is_not_an_invocation() -> None:
    meter = Meter(time.time)
    meter.add_invocation("nobody", "AllTraffic", 400, b"{}", 10.0)
    assert meter.take() == {}


@pytest.mark.parametrize(
    "line",
    ["plain", '{"CloudWatchMetrics": 1', '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N"}]}}'],
    ids=["no metric", "cut off", "incomplete"],
)
def test_log_lines_that_are_no_metrics_are_ignored(line: str) -> None:
    assert embedded_metrics(line) == []


# X-Ray ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def xray() -> XRay:
    return XRay(time.time)


def documents(xray: XRay, trace: str) -> list[dict[str, Any]]:
    (found,) = Wire("xray", xray.handle).call("BatchGetTraces", {"TraceIds": [trace]})["Traces"]
    return [json.loads(segment["Document"]) for segment in found["Segments"]]


def fields(header: str) -> dict[str, str]:
    return dict(part.split("=") for part in header.split(";"))


def test_what_the_sdk_sends_by_udp_is_inside_the_functions_segment(xray: XRay) -> None:
    header = fields(xray.open_segment("handler", "AWS::Lambda::Function", None))
    sent = {
        "id": "00000000000000aa",
        "trace_id": header["Root"],
        "parent_id": header["Parent"],
        "type": "subsegment",
        "name": "## handler",
        "start_time": time.time(),
        "end_time": time.time() + 1,
        "annotations": {"episode_id": "e1"},
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for document in (b"not json", json.dumps(sent).encode()):
            udp.sendto(b'{"format":"json","version":1}\n' + document, ("127.0.0.1", xray.port))
    deadline = time.monotonic() + 5
    while not (inside := documents(xray, header["Root"])[0]["subsegments"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [each["name"] for each in inside] == ["## handler"]
    now = datetime.now(UTC)
    asked = {"StartTime": now - timedelta(minutes=1), "EndTime": now + timedelta(minutes=1)}
    (summary,) = Wire("xray", xray.handle).call("GetTraceSummaries", asked)["TraceSummaries"]
    assert summary["Annotations"]["episode_id"][0]["AnnotationValue"] == {"StringValue": "e1"}
    assert summary["Duration"] >= 1


def test_a_failed_invocation_is_a_fault_of_its_trace(xray: XRay) -> None:
    header = xray.open_segment("handler", "AWS::Lambda::Function", None)
    xray.close_segment(header, fault=True)
    assert documents(xray, fields(header)["Root"])[0]["fault"] is True


def test_the_service_graph_shows_who_called_whom(xray: XRay) -> None:
    machine = xray.open_segment("machine", "AWS::StepFunctions::StateMachine", None)
    for _ in range(2):
        xray.close_segment(xray.open_segment("handler", "AWS::Lambda::Function", machine), fault=False)
    xray.close_segment(machine, fault=False)
    now = datetime.now(UTC)
    asked = {"StartTime": now - timedelta(minutes=1), "EndTime": now + timedelta(minutes=1)}
    services = Wire("xray", xray.handle).call("GetServiceGraph", asked)["Services"]
    by_name = {service["Name"]: service for service in services}
    (edge,) = by_name["machine"]["Edges"]
    assert edge["ReferenceId"] == by_name["handler"]["ReferenceId"]
    assert edge["SummaryStatistics"]["TotalCount"] == 2
    assert by_name["machine"]["Root"] is True


def test_traces_are_there_again_after_a_restart(xray: XRay, tmp_path: Path) -> None:
    header = xray.open_segment("handler", "AWS::Lambda::Function", None)
    xray.save(tmp_path / "xray.json")
    again = XRay(time.time)
    again.load(tmp_path / "xray.json")
    assert [each["name"] for each in documents(again, fields(header)["Root"])] == ["handler"]


# CloudFormation -------------------------------------------------------------------------------------------------------


def test_a_groups_description_can_not_be_changed_in_place() -> None:
    handlers = cloudformation.model_package_group(lambda operation, params: pytest.fail(operation))
    old = {"ModelPackageGroupName": "g", "ModelPackageGroupDescription": "a"}
    with pytest.raises(ValueError, match="description"):
        handlers["update"]("arn", old, {**old, "ModelPackageGroupDescription": "b"}, "stack")


def test_a_renamed_group_is_a_new_group() -> None:
    called = []

    def call(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        called.append((operation, params))
        return {"ModelPackageGroupArn": "arn:new"}

    handlers = cloudformation.model_package_group(call)
    physical, _ = handlers["update"]("arn:old", {"ModelPackageGroupName": "a"}, {"ModelPackageGroupName": "b"}, "stack")
    assert physical == "arn:new"
    assert called == [("CreateModelPackageGroup", {"ModelPackageGroupName": "b"})]


def test_a_trails_settings_reach_cloudtrail_and_a_template_may_write_booleans_as_text() -> None:
    called = []

    def call(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        called.append(operation)
        return {"TrailARN": "arn:trail"}

    props = {"S3BucketName": "b", "IsLogging": "true", "EventSelectors": [{"ReadWriteType": "All"}]}
    assert cloudformation.trail(call)["create"]("Trail", props, "stack") == ("stack-Trail", {"Arn": "arn:trail"})
    assert called == ["CreateTrail", "PutEventSelectors", "StartLogging"]
