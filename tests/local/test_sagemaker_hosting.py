"""Endpoints: model servers, roll-outs with traffic shifting and rollback, captures."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stand_ins import START, FakeS3, House, Traffic, embedded, eventually

from local.sagemaker.hosting import _shifts, retained
from local.wire import ApiError

ONE = """
import os

class BadRequest(Exception):
    status_code = 400
    message = "two columns are needed"

def model_fn(folder):
    return os.environ.get("ANSWER", "one")

def input_fn(body, content_type):
    body = body if isinstance(body, str) else body.decode()
    if body.startswith("wait"):
        import time
        time.sleep(1.0 if body.startswith("wait long") else 0.3)
    if body == "die":
        os._exit(1)
    if body == "raise":
        raise ValueError("no such leaf")
    if content_type.startswith("text/csv") and body.count(",") != 1:
        raise BadRequest
    return body

def predict_fn(body, model):
    return model

def output_fn(answer, accept):
    return answer, accept
"""
TWO = ONE.replace('"one"', '"two"')
BROKEN = "raise RuntimeError('the booster can not be read')"
SECOND = 1.0 / 0.05  # of the wall, in the scaled seconds of a deployment
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SFN_WAIT_SCALE", "0.05")
    with embedded(tmp_path) as house:
        yield house


def deployment(share: int = 50, bake: float = 0, stay: float = 0, alarms: tuple[str, ...] = ()) -> dict[str, Any]:
    routing = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": share},
        "WaitIntervalInSeconds": int(bake),
    }
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": int(stay)}
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}} if alarms else {}
    return {"BlueGreenUpdatePolicy": policy, **rollback}


def update(house: House, config: str = "v2", **settings: Any) -> None:
    house.call("UpdateEndpoint", EndpointName="flights", EndpointConfigName=config, **settings)


def offer(house: House, program: str = TWO, **settings: Any) -> None:
    """There is a config v2 of the program."""
    house.model("v2", program)
    house.config("v2", "v2", **settings)


# Serving --------------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_creating_until_its_model_answers(house: House) -> None:
    house.model("v1", "import time; time.sleep(0.2)\n" + ONE)
    house.config("v1", "v1")
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
    assert house.endpoint()["EndpointStatus"] == "Creating"
    assert house.invoke()[0] == 400
    endpoint = house.settled()
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", "v1")
    assert [variant["VariantName"] for variant in endpoint["ProductionVariants"]] == ["AllTraffic"]
    told = [detail["EndpointStatus"] for detail in house.told("SageMaker Endpoint State Change")]
    assert told == ["CREATING", "IN_SERVICE"]


def test_a_request_is_answered_by_the_models_own_code(house: House) -> None:
    house.model("v1", ONE, ANSWER="from the environment")
    house.config("v1", "v1")
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
    house.settled()
    status, headers, text = house.invoke("1,2", accept="text/plain")
    assert (status, headers["Content-Type"], text) == (200, "text/plain", "from the environment")
    assert headers["x-Amzn-Invoked-Production-Variant"] == "AllTraffic"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (BROKEN, "the booster can not be read"),
        ("def model_fn(folder): raise ValueError('not a booster')", "not a booster"),
    ],
    ids=["at its import", "in model_fn"],
)
def test_an_endpoint_whose_model_does_not_come_up_fails_and_says_why(house: House, program: str, words: str) -> None:
    house.model("v1", program)
    house.config("v1", "v1")
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
    endpoint = house.settled()
    assert endpoint["EndpointStatus"] == "Failed"
    assert words in endpoint["FailureReason"]
    assert "ping health check" in endpoint["FailureReason"]


def test_an_endpoint_without_model_data_fails(house: House) -> None:
    house.model("v1", ONE)
    house.config("v1", "v1")
    house.s3.objects.clear()
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
    assert house.settled()["FailureReason"] == "Could not find model data at s3://bucket/models/v1.tar.gz."


@pytest.mark.parametrize(
    ("body", "original", "message", "side"),
    [("1,2,3", 400, "two columns are needed", "client"), ("raise", 500, "no such leaf", "server")],
    ids=["refuses", "raises"],
)
def test_what_the_model_refuses_or_raises_is_a_model_error(
    house: House, body: str, original: int, message: str, side: str
) -> None:
    house.serve(ONE)
    status, headers, text = house.invoke(body)
    problem = json.loads(text)
    assert (status, headers["x-amzn-ErrorType"]) == (424, "ModelError")
    assert (problem["OriginalStatusCode"], problem["OriginalMessage"]) == (original, message)
    assert problem["Message"].startswith(f'Received {side} error ({original}) from primary with message "{message}".')


def test_a_container_that_dies_is_a_model_error(house: House) -> None:
    house.serve(ONE)
    status, _, text = house.invoke("die")
    assert (status, json.loads(text)["OriginalStatusCode"]) == (424, 500)
    eventually(lambda: house.invoke()[0] == 200)


def test_a_request_to_no_endpoint_is_a_validation_error(house: House) -> None:
    status, headers, text = house.invoke(endpoint="nobody")
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationError")
    assert json.loads(text)["Message"] == "Endpoint nobody of account 000000000000 not found."


def test_requests_are_served_at_once(house: House) -> None:
    house.serve(ONE)
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(house.invoke("wait,2")[0])) for _ in range(8)]
    began = datetime.now().astimezone()
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert answers == [200] * 8
    assert datetime.now().astimezone() - began < timedelta(seconds=1.5), "one after the other takes 2.4 s"


def test_a_deleted_endpoint_answers_what_is_on_its_way_and_nothing_more(house: House) -> None:
    house.serve(ONE)
    server = house.server()
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(house.invoke("wait,2")[0]))
    slow.start()
    eventually(lambda: server._in_flight == 1)
    house.call("DeleteEndpoint", EndpointName="flights")
    assert house.invoke()[0] == 400
    slow.join()
    assert answers == [200]
    eventually(lambda: server._process.poll() is not None)
    with pytest.raises(ApiError, match="Could not find endpoint"):
        house.endpoint()


def test_names_are_used_once_and_have_to_lead_somewhere(house: House) -> None:
    house.serve(ONE)
    for again in (
        lambda: house.model("v1", ONE),
        lambda: house.config("v1", "v1"),
        lambda: house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1"),
    ):
        with pytest.raises(ApiError, match="already existing"):
            again()
    with pytest.raises(ApiError, match='Could not find model "'):
        house.config("v9", "v9")
    with pytest.raises(ApiError, match="Could not find endpoint configuration"):
        update(house, "v9")


def test_shadow_variants_are_refused_since_they_would_not_be_served(house: House) -> None:
    house.model("v1", ONE)
    variants = [
        {"VariantName": name, "ModelName": "v1", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        for name in ("Blue", "Green")
    ]
    with pytest.raises(ApiError, match="no shadow variants"):
        house.call(
            "CreateEndpointConfig",
            EndpointConfigName="both",
            ProductionVariants=variants[:1],
            ShadowProductionVariants=variants[1:],
        )


# Roll-outs ------------------------------------------------------------------------------------------------------------


def test_no_request_fails_while_an_endpoint_is_updated(house: House) -> None:
    house.serve(ONE)
    offer(house)
    with Traffic(house) as traffic:
        update(house, DeploymentConfig=deployment(bake=0.2 * SECOND))
        assert house.settled()["EndpointConfigName"] == "v2"
        seen = len(traffic.answers)
        eventually(lambda: len(traffic.answers) > seen + 10)
    assert {status for status, _ in traffic.answers} == {200}
    assert {text for _, text in traffic.answers} == {"one", "two"}
    assert {text for _, text in traffic.answers[seen + 5 :]} == {"two"}


def test_a_canary_gets_its_share_until_it_has_baked(house: House) -> None:
    house.serve(ONE)
    offer(house)
    update(house, DeploymentConfig=deployment(share=30, bake=0.6 * SECOND))
    traffic = house.sagemaker.hosting._traffic["flights"]
    eventually(lambda: traffic.share == 0.3)
    answers = [house.invoke()[2] for _ in range(400)]
    assert house.endpoint()["EndpointStatus"] == "Updating"
    assert 60 <= answers.count("two") <= 180, "120 of 400 are expected"
    house.settled()
    assert [house.invoke()[2] for _ in range(5)] == ["two"] * 5


def test_what_was_on_its_way_to_the_old_fleet_is_answered_after_the_update(house: House) -> None:
    house.serve(ONE)
    offer(house)
    server = house.server()
    answers: list[tuple[int, str]] = []
    slow = threading.Thread(target=lambda: answers.append(house.invoke("wait long,2")[::2]))
    slow.start()
    eventually(lambda: server._in_flight == 1)
    update(house)
    assert house.settled()["EndpointConfigName"] == "v2"
    assert answers == []
    slow.join()
    assert answers == [(200, "one")]


def test_the_old_fleet_is_gone_after_an_update(house: House) -> None:
    house.serve(ONE)
    old = house.server()
    offer(house)
    update(house)
    assert house.settled()["EndpointConfigName"] == "v2"
    eventually(lambda: old._process.poll() is not None)


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ({}, [(1.0, 0.0)]),
        ({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 9}, [(1.0, 9.0)]),
        (
            {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}, "WaitIntervalInSeconds": 9},
            [(0.1, 9.0), (1.0, 0.0)],
        ),
        (
            {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 9},
            [(0.5, 9.0), (1.0, 0.0)],
        ),
        (
            {"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50}, "WaitIntervalInSeconds": 9},
            [(0.5, 9.0), (1.0, 0.0)],
        ),
        (
            {"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 40}, "WaitIntervalInSeconds": 9},
            [(0.4, 9.0), (0.8, 9.0), (1.0, 0.0)],
        ),
    ],
    ids=["default", "all at once", "canary", "one instance", "two steps", "steps that do not divide the whole"],
)
def test_traffic_moves_in_the_steps_of_the_routing(
    routing: dict[str, Any], expected: list[tuple[float, float]]
) -> None:
    assert [(round(share, 6), wait) for share, wait in _shifts(routing)] == expected


def test_an_alarm_rolls_back_silently(house: House) -> None:
    house.serve(ONE)
    offer(house)
    with Traffic(house) as traffic:
        update(house, DeploymentConfig=deployment(bake=20 * SECOND, alarms=("latency", "errors")))
        eventually(lambda: any(text == "two" for _, text in list(traffic.answers)))
        house.alarms.alarmed.add("errors")
        endpoint = house.settled()
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", "v1")
    assert endpoint["FailureReason"] == "Rolled back: alarm errors is in ALARM."
    assert "PendingDeploymentSummary" not in endpoint
    assert {status for status, _ in traffic.answers} == {200}
    assert {house.invoke()[2] for _ in range(20)} == {"one"}
    told = [detail["EndpointStatus"] for detail in house.told("SageMaker Endpoint State Change")]
    assert told == ["CREATING", "IN_SERVICE", "UPDATING", "ROLLING_BACK", "IN_SERVICE"]


@pytest.mark.parametrize("alarm", ["errors", "of another endpoint"])
def test_only_the_deployments_own_alarms_roll_back(house: House, alarm: str) -> None:
    house.serve(ONE)
    offer(house)
    house.alarms.alarmed.add(alarm)
    update(house, DeploymentConfig=deployment(alarms=("errors",)))
    assert house.settled()["EndpointConfigName"] == ("v1" if alarm == "errors" else "v2")


def test_an_alarm_after_the_shift_still_rolls_back_while_the_old_fleet_waits(house: House) -> None:
    house.serve(ONE)
    offer(house)
    update(house, DeploymentConfig=deployment(stay=20 * SECOND, alarms=("errors",)))
    eventually(lambda: house.sagemaker.hosting._traffic["flights"].share == 1.0)
    assert house.invoke()[2] == "two"
    house.alarms.alarmed.add("errors")
    assert house.settled()["EndpointConfigName"] == "v1"
    assert house.invoke()[2] == "one"


def test_a_model_that_does_not_load_is_rolled_back_without_a_failed_request(house: House) -> None:
    house.serve(ONE)
    offer(house, BROKEN)
    with Traffic(house) as traffic:
        update(house, DeploymentConfig=deployment())
        endpoint = house.settled()
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", "v1")
    assert "the booster can not be read" in endpoint["FailureReason"]
    assert set(traffic.answers) == {(200, "one")}


def test_an_update_that_works_takes_the_reason_of_the_last_failure_away(house: House) -> None:
    house.serve(ONE)
    offer(house, BROKEN)
    update(house)
    assert "FailureReason" in house.settled()
    house.model("v3", TWO)
    house.config("v3", "v3")
    update(house, "v3")
    assert "FailureReason" not in house.settled()


def test_an_endpoint_in_progress_is_neither_updated_nor_deleted(house: House) -> None:
    house.serve(ONE)
    offer(house)
    update(house, DeploymentConfig=deployment(bake=0.5 * SECOND))
    assert house.endpoint()["PendingDeploymentSummary"]["EndpointConfigName"] == "v2"
    with pytest.raises(ApiError, match="Cannot update in-progress endpoint"):
        update(house)
    with pytest.raises(ApiError, match="Cannot delete in-progress endpoint"):
        house.call("DeleteEndpoint", EndpointName="flights")
    assert house.settled()["EndpointConfigName"] == "v2"


def test_a_guarded_update_may_not_rename_the_variant(house: House) -> None:
    house.serve(ONE)
    house.model("v2", TWO)
    variant = {"VariantName": "Other", "ModelName": "v2", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    house.call("CreateEndpointConfig", EndpointConfigName="v2", ProductionVariants=[variant])
    with pytest.raises(ApiError, match="must stay the same"):
        update(house, DeploymentConfig=deployment())
    assert house.endpoint()["EndpointStatus"] == "InService"


@pytest.mark.parametrize("retain", [True, False])
def test_the_last_deployment_config_is_used_again_only_if_asked_for(house: House, retain: bool) -> None:
    house.serve(ONE)
    offer(house)
    update(house, DeploymentConfig=deployment(alarms=("errors",)))
    assert house.settled()["LastDeploymentConfig"] == deployment(alarms=("errors",))
    house.alarms.alarmed.add("errors")
    update(house, "v1", RetainDeploymentConfig=retain)
    assert house.settled()["EndpointConfigName"] == ("v2" if retain else "v1")


def test_an_endpoint_survives_its_deleted_config(house: House) -> None:
    house.serve(ONE)
    house.call("DeleteEndpointConfig", EndpointConfigName="v1")
    house.reopen()
    assert house.settled()["ProductionVariants"][0]["VariantName"] == "AllTraffic"
    offer(house)
    update(house, DeploymentConfig=deployment())
    assert house.settled()["EndpointConfigName"] == "v2"


def test_endpoints_serve_again_after_a_restart(house: House) -> None:
    house.serve(ONE)
    offer(house)
    update(house, DeploymentConfig=deployment(bake=20 * SECOND))
    house.reopen()
    assert house.settled()["EndpointConfigName"] == "v1"
    assert house.invoke()[2] == "one"
    update(house)
    assert house.settled()["EndpointConfigName"] == "v2"


def test_an_endpoint_that_was_coming_up_comes_up_after_a_restart(house: House) -> None:
    house.model("v1", "import time; time.sleep(0.3)\n" + ONE)
    house.config("v1", "v1")
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
    house.sagemaker.save(house.root / "state.json")
    house.settled()
    house.sagemaker.shutdown()
    house.open()
    house.sagemaker.load(house.root / "state.json")
    assert house.settled()["EndpointStatus"] == "InService"


# Captures -------------------------------------------------------------------------------------------------------------


def capture(**changes: Any) -> dict[str, Any]:
    return {"DataCaptureConfig": CAPTURE | changes}


def test_a_capture_has_the_format_of_data_capture(house: House) -> None:
    house.serve(ONE, **capture())
    house.invoke("3,4", x_amzn_sagemaker_inference_id="flight-7")
    (record,) = house.captured()
    event = record["eventMetadata"].pop("eventId")
    assert len(event) == 36
    assert datetime.fromisoformat(record["eventMetadata"].pop("inferenceTime")) - START < timedelta(minutes=1)
    assert record == {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "3,4", "encoding": "CSV"},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "one", "encoding": "CSV"},
        },
        "eventMetadata": {"inferenceId": "flight-7"},
        "eventVersion": "0",
    }


def test_captures_lie_under_the_hour_of_the_aws_clock(house: House) -> None:
    house.serve(ONE, **capture())
    house.invoke()
    house.clock.set(START.replace(month=12, day=31, hour=23))
    house.invoke()
    house.captured()
    folders = [key.rpartition("/")[0] for key in house.s3.under("s3://bucket/capture/")]
    assert folders == ["flights/AllTraffic/2013/03/01/05", "flights/AllTraffic/2013/12/31/23"]


def test_captures_from_before_the_clock_was_set_are_in_s3_when_it_shows_the_new_time(house: House) -> None:
    house.serve(ONE, **capture())
    house.invoke()
    house.clock.set(START + timedelta(hours=1))
    assert len(house.s3.under("s3://bucket/capture/")) == 1


def test_a_flush_waits_for_captures_that_another_thread_is_writing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.serve(ONE, **capture())
    going, written = threading.Event(), FakeS3.put_object

    def slow(self: FakeS3, **what: Any) -> None:
        going.set()
        threading.Event().wait(0.2)
        written(self, **what)

    monkeypatch.setattr(FakeS3, "put_object", slow)
    house.invoke()
    writing = threading.Thread(target=house.sagemaker.hosting.capture.flush)
    writing.start()
    assert going.wait(5)
    house.sagemaker.hosting.capture.flush()
    found = len(house.s3.under("s3://bucket/capture/"))
    writing.join()
    assert found == 1


@pytest.mark.parametrize(
    ("content_type", "encoding", "data"),
    [
        ("text/csv", "CSV", "1,2"),
        ("text/csv; charset=utf-8", "CSV", "1,2"),
        ("application/json", "JSON", "1,2"),
        ("application/x-custom", "BASE64", base64.b64encode(b"1,2").decode()),
    ],
)
def test_the_encoding_follows_from_the_content_type(house: House, content_type: str, encoding: str, data: str) -> None:
    house.serve(ONE, **capture())
    house.invoke("1,2", content_type=content_type)
    (record,) = house.captured()
    side = record["captureData"]["endpointInput"]
    assert (side["observedContentType"], side["encoding"], side["data"]) == (content_type, encoding, data)


def test_without_content_type_headers_everything_is_base64(house: House) -> None:
    config = {name: value for name, value in CAPTURE.items() if name != "CaptureContentTypeHeader"}
    house.serve(ONE, DataCaptureConfig=config)
    house.invoke()
    (record,) = house.captured()
    assert {side["encoding"] for side in record["captureData"].values()} == {"BASE64"}


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        (["Input"], {"endpointInput"}),
        (["Output"], {"endpointOutput"}),
        (["InputAndOutput"], {"endpointInput", "endpointOutput"}),
    ],
)
def test_only_the_sides_are_captured_that_the_options_name(house: House, options: list[str], sides: set[str]) -> None:
    house.serve(ONE, **capture(CaptureOptions=[{"CaptureMode": option} for option in options]))
    house.invoke()
    (record,) = house.captured()
    assert set(record["captureData"]) == sides
    assert "inferenceId" not in record["eventMetadata"]


def test_a_share_of_the_requests_is_captured(house: House) -> None:
    house.serve(ONE, **capture(InitialSamplingPercentage=30))
    for _ in range(400):
        house.invoke()
    assert 60 <= len(house.captured()) <= 180, "120 of 400 are expected"
    shown = house.endpoint()["DataCaptureConfig"]
    assert (shown["CaptureStatus"], shown["CurrentSamplingPercentage"]) == ("Started", 30)


@pytest.mark.parametrize(
    ("settings", "body"),
    [({}, "1,2"), (capture(EnableCapture=False), "1,2"), (capture(), "raise")],
    ids=["unasked", "disabled", "of requests that fail"],
)
def test_there_are_no_captures(house: House, settings: dict[str, Any], body: str) -> None:
    house.serve(ONE, **settings)
    house.invoke(body)
    assert house.captured() == []


def test_the_last_captures_are_written_when_the_process_ends(house: House) -> None:
    house.serve(ONE, **capture())
    house.invoke()
    house.sagemaker.shutdown()
    assert len(house.s3.under("s3://bucket/capture/")) == 1


def test_a_model_server_that_was_killed_does_not_keep_the_rest_from_ending(house: House) -> None:
    house.serve(ONE)
    server = house.server()
    os.kill(server._process.pid, signal.SIGKILL)
    house.call("DeleteEndpoint", EndpointName="flights")
    eventually(lambda: not Path(server._path).parent.exists())


BEFORE = {
    "ProductionVariants": [{"VariantName": "AllTraffic", "InitialInstanceCount": 5, "InitialVariantWeight": 0.5}],
    "DataCaptureConfig": {"InitialSamplingPercentage": 10},
}
AFTER = {
    "EndpointConfigName": "b",
    "ProductionVariants": [
        {"VariantName": "AllTraffic", "ModelName": "b", "InitialInstanceCount": 2, "InitialVariantWeight": 1.0}
    ],
    "DataCaptureConfig": {"InitialSamplingPercentage": 100},
}


@pytest.mark.parametrize(
    ("excluded", "count", "weight", "sampled"),
    [
        (set(), 5, 0.5, 10),
        ({"DataCaptureConfig"}, 5, 0.5, 100),
        ({"DesiredInstanceCount", "DesiredWeight"}, 2, 1.0, 10),
    ],
)
def test_an_update_retains_what_variants_were_scaled_to(
    excluded: set[str], count: int, weight: float, sampled: int
) -> None:
    kept = retained(BEFORE, AFTER, excluded)
    [variant] = kept["ProductionVariants"]
    assert (variant["ModelName"], kept["EndpointConfigName"]) == ("b", "b")
    assert (variant["InitialInstanceCount"], variant["InitialVariantWeight"]) == (count, weight)
    assert kept["DataCaptureConfig"]["InitialSamplingPercentage"] == sampled


@pytest.mark.parametrize("name", ["another", None])
def test_a_variant_that_was_not_there_keeps_its_own(name: str | None) -> None:
    before = {"ProductionVariants": [{"VariantName": name, "InitialInstanceCount": 9}]} if name else {**BEFORE}
    before = before if name else {"ProductionVariants": [{"VariantName": "AllTraffic"}]}
    [variant] = retained(before, AFTER, set())["ProductionVariants"]
    assert variant["InitialInstanceCount"] == 2
