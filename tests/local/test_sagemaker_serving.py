"""What serves: models, variants, roll-outs as they go on, crashes, and what containers print."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stand_ins import IMAGE, ROLE, START, House, Traffic, embedded, eventually, packed

from local.sagemaker.hosting import _plan
from local.wire import ApiError

ECHO = """
def model_fn(folder): return "{name}"
def input_fn(body, kind): return body
def predict_fn(rows, model): return model
def output_fn(answer, accept): return answer, accept
"""
FAILS_TO_LOAD = "print('looking for the model', flush=True)\nraise RuntimeError('no such model')"
CRASHES = """
import os
def model_fn(folder): return None
def input_fn(body, kind): return body
def predict_fn(rows, model):
    if rows == "crash":
        os._exit(3)
    return rows
def output_fn(answer, accept): return answer, accept
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with embedded(tmp_path) as house:
        house.sagemaker.hosting.wait_scale = 0.01
        yield house


def update(house: House, config: str, **settings: Any) -> None:
    house.call("UpdateEndpoint", EndpointName="flights", EndpointConfigName=config, **settings)


def variant(name: str, model: str, weight: float) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": weight,
    }


def blue_green(routing: dict[str, Any], bake: int = 0, *alarms: str) -> dict[str, Any]:
    watched = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}} if alarms else {}
    return {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": bake},
        **watched,
    }


CANARY = {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20}, "WaitIntervalInSeconds": 60}


# Variants -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(house: House) -> House:
    for name in ("a", "b"):
        house.model(name, ECHO.format(name=name))
    variants = [variant("often", "a", 3), variant("seldom", "b", 1)]
    house.call("CreateEndpointConfig", EndpointConfigName="both", ProductionVariants=variants)
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="both")
    assert house.settled()["EndpointStatus"] == "InService"
    return house


def test_variants_share_the_traffic_by_weight(two: House) -> None:
    answers = [two.invoke()[2] for _ in range(400)]
    assert 0.65 < answers.count("a") / 400 < 0.85
    assert set(answers) == {"a", "b"}


def test_a_request_can_name_its_variant(two: House) -> None:
    status, headers, text = two.invoke(x_amzn_sagemaker_target_variant="seldom")
    assert (status, headers["x-Amzn-Invoked-Production-Variant"], text) == (200, "seldom", "b")
    assert two.invoke(x_amzn_sagemaker_target_variant="nobody")[0] == 400


def test_every_variant_is_shown_with_its_weight(two: House) -> None:
    shown = {item["VariantName"]: item["CurrentWeight"] for item in two.endpoint()["ProductionVariants"]}
    assert shown == {"often": 3, "seldom": 1}


# Models ---------------------------------------------------------------------------------------------------------------


def test_a_model_without_data_is_refused(house: House) -> None:
    container = {"Image": IMAGE, "ModelDataUrl": "s3://bucket/none.tar.gz"}
    with pytest.raises(ApiError, match=r"Could not find model data at s3://bucket/none\.tar\.gz"):
        house.call("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a tar", "Could not unpack the model data at s3://bucket/models/v1.tar.gz"),
        (packed({"model.txt": "no code"}), "No module named 'inference'"),
    ],
    ids=["damaged", "without code"],
)
def test_an_endpoint_fails_whose_model_data_is(house: House, data: bytes, words: str) -> None:
    house.model("v1", "")
    house.s3.put("s3://bucket/models/v1.tar.gz", data)
    house.config("v1", "v1")
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
    failed = house.settled()
    assert failed["EndpointStatus"] == "Failed"
    assert words in failed["FailureReason"]


def test_a_program_with_nothing_but_a_model_gets_the_containers_default_functions(house: House) -> None:
    house.serve(
        """
import numpy, xgboost
def model_fn(folder):
    rows = numpy.arange(20).reshape(10, 2)
    return xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(rows, label=rows.sum(axis=1)), 20)
"""
    )
    status, _, text = house.invoke("0,1\n18,19\n")
    low, high = map(float, text.splitlines())
    assert (status, low < 10, high > 30) == (200, True, True)
    assert house.invoke("0,1", accept="application/json")[2].startswith("[")
    assert house.invoke("<x/>", content_type="text/xml")[0] == 424


# Roll-outs ------------------------------------------------------------------------------------------------------------


def test_a_roll_out_says_what_it_is_at(house: House) -> None:
    house.serve(ECHO.format(name="old"))
    house.model("v2", ECHO.format(name="new"))
    house.config("v2", "v2")
    update(house, "v2", DeploymentConfig=blue_green(CANARY, 30))

    def baking() -> dict[str, Any] | None:
        pending = house.endpoint().get("PendingDeploymentSummary", {})
        status = pending.get("ProductionVariants", [{}])[0].get("VariantStatus", [{}])[0].get("Status")
        return pending if status == "Baking" else None

    assert eventually(baking)["EndpointConfigName"] == "v2"
    assert house.endpoint()["EndpointConfigName"] == "v1"
    done = house.settled()
    assert (done["EndpointConfigName"], "PendingDeploymentSummary" in done) == ("v2", False)
    told = house.told("SageMaker Endpoint Deployment State Change")
    stages = [item["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]["Status"] for item in told]
    assert stages == ["Creating", "ActivatingTraffic", "Baking", "ActivatingTraffic", "Baking", "Baking"]
    assert isinstance(told[0]["PendingDeploymentSummary"]["StartTime"], float)


def test_no_request_fails_while_the_traffic_moves_and_afterwards_the_new_model_answers(
    house: House,
) -> None:
    house.serve(ECHO.format(name="old"))
    house.model("v2", ECHO.format(name="new"))
    house.config("v2", "v2")
    with Traffic(house) as traffic:
        update(house, "v2", DeploymentConfig=blue_green(CANARY, 20))
        assert house.settled()["EndpointConfigName"] == "v2"
        assert {house.invoke()[2] for _ in range(20)} == {"new"}
    assert {status for status, _ in traffic.answers} == {200}
    assert {text for _, text in traffic.answers} == {"old", "new"}


def test_an_alarm_while_it_bakes_takes_the_traffic_back_without_a_failed_request(house: House) -> None:
    house.serve(ECHO.format(name="old"))
    house.model("v2", ECHO.format(name="new"))
    house.config("v2", "v2")
    with Traffic(house) as traffic:
        update(house, "v2", DeploymentConfig=blue_green(CANARY, 600, "errors"))
        eventually(lambda: "new" in {text for _, text in traffic.answers})
        house.alarms.alarmed.add("errors")
        back = house.settled()
        assert {house.invoke()[2] for _ in range(20)} == {"old"}
    assert (back["EndpointStatus"], back["EndpointConfigName"]) == ("InService", "v1")
    assert {status for status, _ in traffic.answers} == {200}
    said = [item["EndpointStatus"] for item in house.told("SageMaker Endpoint State Change")]
    assert said[-3:] == ["UPDATING", "ROLLING_BACK", "IN_SERVICE"]


def test_a_roll_back_to_a_fleet_that_is_gone_has_failed(house: House) -> None:
    house.serve(ECHO.format(name="old"))
    house.model("v2", FAILS_TO_LOAD)
    house.config("v2", "v2")
    os.kill(house.server()._process.pid, signal.SIGKILL)
    update(house, "v2")
    assert house.settled()["EndpointStatus"] == "UpdateRollbackFailed"


@pytest.mark.parametrize(
    ("deployment", "shares"),
    [
        ({}, [1.0]),
        (blue_green({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}), [1.0]),
        (blue_green(CANARY), [0.2, 1.0]),
        (
            blue_green(
                {
                    "Type": "LINEAR",
                    "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 40},
                    "WaitIntervalInSeconds": 5,
                }
            ),
            [0.4, 0.8, 1.0],
        ),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                    "WaitIntervalInSeconds": 5,
                }
            },
            [0.5, 1.0],
        ),
    ],
    ids=["none", "all at once", "canary", "linear", "rolling"],
)
def test_traffic_moves_in_the_steps_of_the_policy(deployment: dict[str, Any], shares: list[float]) -> None:
    assert [share for share, _ in _plan(deployment)] == pytest.approx(shares)


# Crashes and logs -----------------------------------------------------------------------------------------------------


def test_a_container_that_crashes_is_started_again(house: House) -> None:
    house.serve(CRASHES)
    status, headers, text = house.invoke("crash")
    assert (status, headers["x-amzn-ErrorType"]) == (424, "ModelError")
    assert "Received server error (0) from primary" in text
    eventually(lambda: house.invoke("back")[2] == "back")


def test_an_error_of_the_model_says_where_its_log_is(house: House) -> None:
    house.serve(ECHO.format(name="x").replace("return body", "raise ValueError('column 3')"))
    status, _, text = house.invoke("a")
    assert status == 424
    assert "log-group:/aws/sagemaker/Endpoints/flights" in text
    assert "column 3" in text


def test_what_a_container_prints_is_in_cloudwatch_logs_even_if_it_never_came_up(house: House) -> None:
    house.serve("print('hello', flush=True)\n" + ECHO.format(name="x"))
    eventually(lambda: any("hello" in lines for name, lines in house.logs.streams.items() if "/AllTraffic/" in name))
    house.model("v2", FAILS_TO_LOAD)
    house.config("v2", "v2")
    update(house, "v2")
    back = house.settled()
    assert (back["EndpointConfigName"], "no such model" in back["FailureReason"]) == ("v1", True)
    assert "looking for the model" in house.logs.streams["/aws/sagemaker/Endpoints/flights/AllTraffic/failed"]


def test_a_fleet_that_comes_up_while_everything_ends_is_not_left_behind(house: House) -> None:
    house.serve(ECHO.format(name="old"))
    house.model("v2", "import time; time.sleep(0.5)\n" + ECHO.format(name="new"))
    house.config("v2", "v2")
    update(house, "v2")
    rolling_out = [thread for thread in threading.enumerate() if thread.name == "flights"]
    house.sagemaker.shutdown()
    for thread in rolling_out:
        thread.join(timeout=10)
    everything = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert len(rolling_out) == 1
    assert [line for line in everything.splitlines() if str(house.root) in line] == []
    house.reopen()
    assert (house.settled()["EndpointConfigName"], house.invoke()[2]) == ("v1", "old")


def test_the_last_words_of_a_container_are_kept_too(house: House) -> None:
    words = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit()))\n"
    house.serve(words + ECHO.format(name="x"))
    house.call("DeleteEndpoint", EndpointName="flights")
    eventually(lambda: any("bye" in lines for lines in house.logs.streams.values()))


def test_a_model_server_ends_when_its_platform_was_killed(house: House) -> None:
    house.serve(ECHO.format(name="x"))
    process, sockets = house.server()._process, Path(house.server()._path).parent
    assert process.stdin
    process.stdin.close()  # what the kernel does for a process that is gone
    assert process.wait(timeout=5) == 0
    assert not sockets.exists()


def test_an_invocation_costs_less_than_two_milliseconds(house: House) -> None:
    house.serve(ECHO.format(name="x"))
    costs = []
    for _ in range(300):
        began = time.perf_counter()
        house.invoke()
        costs.append(time.perf_counter() - began)
    assert sorted(costs)[150] < 0.002


# Capture --------------------------------------------------------------------------------------------------------------


CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
}


def test_custom_attributes_are_captured(house: House) -> None:
    house.serve(ECHO.format(name="x"), DataCaptureConfig=CAPTURE)
    house.invoke(x_amzn_sagemaker_custom_attributes="trace=1")
    assert house.captured()[0]["eventMetadata"]["customAttributes"] == ["trace=1"]


def test_captures_that_could_not_be_written_are_written_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.serve(ECHO.format(name="x"), DataCaptureConfig=CAPTURE)

    def down(**_: Any) -> None:
        raise ConnectionError("S3 is down")

    with monkeypatch.context() as patch:
        patch.setattr(house.s3, "put_object", down)
        house.invoke("first")
        with pytest.raises(ConnectionError):
            house.sagemaker.hosting.capture.flush()
    house.invoke("second")
    assert [record["captureData"]["endpointInput"]["data"] for record in house.captured()] == ["first", "second"]


def test_captures_lie_under_endpoint_variant_and_hour_in_files_of_minute_second_and_millisecond(house: House) -> None:
    house.serve(ECHO.format(name="x"), DataCaptureConfig=CAPTURE)
    house.clock.set(START + timedelta(minutes=59, seconds=58))
    house.invoke()
    house.clock.set(START + timedelta(hours=2))
    (key,) = house.s3.under("s3://bucket/capture/")
    folder, _, name = key.rpartition("/")
    assert folder == "flights/AllTraffic/2013/03/01/05"
    minute, second, millisecond, *_ = name.split("-")
    assert (minute, second, len(millisecond), name.endswith(".jsonl")) == ("59", "58", 3, True)
