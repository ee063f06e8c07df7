"""One embedded AWS in a process of its own: clock, schedules, alarms and endpoints, and again after a restart."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from stand_ins import IMAGE, packed
from workbench import Bench

from local import REGION, LocalAws

NIGHT = datetime(2013, 3, 1, 3, 30, tzinfo=UTC)
PROGRAM = """
class BadRequest(Exception):
    status_code = 400
    message = "two columns are needed"

def model_fn(folder):
    return "37"

def input_fn(body, content_type):
    if body.count(",") != 1:
        raise BadRequest
    return body

def predict_fn(rows, model):
    return model

def output_fn(answer, accept):
    return answer, accept
"""
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://kept/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def own(root: Path) -> Iterator[Bench]:
    """An embedded AWS that serves the endpoint `flights`. The last test of this module ends it."""
    with LocalAws(0, root, fresh=True) as aws:
        aws.set_clock(NIGHT)
        bench = Bench(aws)
        bench.client("s3").create_bucket(Bucket="kept")
        bench.client("s3").put_object(Bucket="kept", Key="model.tar.gz", Body=packed({"code/inference.py": PROGRAM}))
        sagemaker = bench.client("sagemaker")
        sagemaker.create_model(
            ModelName="v1",
            ExecutionRoleArn=bench.role,
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://kept/model.tar.gz"},
        )
        variant = {"VariantName": "AllTraffic", "ModelName": "v1", "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName="v1",
            ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
            DataCaptureConfig=CAPTURE,
        )
        sagemaker.create_endpoint(EndpointName="flights", EndpointConfigName="v1")
        in_service(bench)
        yield bench


def in_service(bench: Bench) -> None:
    endpoint = lambda: bench.client("sagemaker").describe_endpoint(EndpointName="flights")  # noqa: E731
    bench.eventually(lambda: endpoint()["EndpointStatus"] == "InService")


def predict(bench: Bench, body: str = "1,2") -> str:
    answer = bench.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="flights", ContentType="text/csv", Accept="text/csv", Body=body, InferenceId="flight-7"
    )
    return str(answer["Body"].read().decode())


def captures(bench: Bench, folder: str) -> list[dict[str, Any]]:
    s3 = bench.client("s3")
    found = s3.list_objects_v2(Bucket="kept", Prefix=f"capture/flights/AllTraffic/{folder}/").get("Contents", [])
    bodies = [s3.get_object(Bucket="kept", Key=item["Key"])["Body"].read().decode() for item in found]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def test_setting_the_clock_fires_a_cron_rule_at_its_hour_only(own: Bench) -> None:
    own.aws.set_clock(NIGHT)
    nightly = own.listen("nightly", ScheduleExpression="cron(0 4 * * ? *)")
    own.aws.set_clock(NIGHT + timedelta(minutes=29))
    assert own.received(nightly) == []
    own.aws.set_clock(NIGHT + timedelta(minutes=31))
    (event,) = own.received(nightly)
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.events", "Scheduled Event", {})
    assert event["time"].startswith("2013-03-01T04:0")
    assert event["resources"] == ["arn:aws:events:us-east-1:000000000000:rule/nightly"]


def test_an_alarm_reaches_a_queue_in_the_format_of_cloudwatch(own: Bench) -> None:
    own.aws.set_clock(NIGHT)
    events = own.listen("alarms", EventPattern={"source": ["aws.cloudwatch"]})
    cloudwatch = own.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="drift",
        AlarmDescription="drifted",
        Namespace="DriftRetrain",
        MetricName="drift_max",
        Dimensions=[{"Name": "Endpoint", "Value": "flights"}],
        Statistic="Maximum",
        Period=3600,
        EvaluationPeriods=1,
        Threshold=0.1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    datum = {"MetricName": "drift_max", "Dimensions": [{"Name": "Endpoint", "Value": "flights"}], "Value": 0.25}
    cloudwatch.put_metric_data(Namespace="DriftRetrain", MetricData=[{**datum, "Timestamp": NIGHT}])
    event = own.eventually(lambda: [each for each in own.received(events) if to_alarm(each)])[-1]
    assert set(event) == {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
    }  # fmt: skip
    assert (event["version"], event["account"], event["region"]) == ("0", "000000000000", "us-east-1")
    assert (event["source"], event["detail-type"]) == ("aws.cloudwatch", "CloudWatch Alarm State Change")
    assert event["resources"] == ["arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift"]
    assert datetime.fromisoformat(event["time"]) - NIGHT < timedelta(minutes=1)
    assert event["time"].endswith("Z")
    detail = event["detail"]
    assert set(detail) == {"alarmName", "configuration", "previousState", "state"}
    assert set(detail["state"]) == {"value", "reason", "reasonData", "timestamp"}
    (metric,) = detail["configuration"]["metrics"]
    assert metric.pop("id")
    assert metric == {
        "metricStat": {
            "metric": {"namespace": "DriftRetrain", "name": "drift_max", "dimensions": {"Endpoint": "flights"}},
            "period": 3600,
            "stat": "Maximum",
        },
        "returnData": True,
    }
    assert detail["configuration"]["description"] == "drifted"
    data = json.loads(detail["state"]["reasonData"])
    assert data.pop("queryDate").endswith("+0000")
    assert data == {
        "version": "1.0",
        "startDate": "2013-03-01T03:00:00.000+0000",
        "statistic": "Maximum",
        "period": 3600,
        "recentDatapoints": [0.25],
        "threshold": 0.1,
        "evaluatedDatapoints": [{"timestamp": "2013-03-01T03:00:00.000+0000", "sampleCount": 1.0, "value": 0.25}],
    }


def to_alarm(event: dict[str, Any]) -> bool:
    return bool(event["detail"]["state"]["value"] == "ALARM")


def test_an_endpoint_answers_boto3_and_its_captures_are_there_when_the_clock_is_set(own: Bench) -> None:
    own.aws.set_clock(NIGHT)
    assert predict(own) == "37"
    own.aws.set_clock(NIGHT + timedelta(hours=1))
    (record,) = captures(own, "2013/03/01/03")
    assert record["captureData"]["endpointInput"]["data"] == "1,2"
    assert record["captureData"]["endpointOutput"]["data"] == "37"
    assert record["eventMetadata"]["inferenceId"] == "flight-7"


def test_what_the_model_refuses_is_boto3s_model_error(own: Bench) -> None:
    with pytest.raises(ClientError) as refused:
        predict(own, "1,2,3")
    assert refused.value.response["Error"]["Code"] == "ModelError"
    assert refused.value.response["OriginalStatusCode"] == 400  # type: ignore[typeddict-item]
    assert refused.value.response["OriginalMessage"] == "two columns are needed"  # type: ignore[typeddict-item]


def test_invocations_are_metrics_of_the_endpoint(own: Bench) -> None:
    own.aws.set_clock(NIGHT + timedelta(hours=2))
    for body in ("1,2", "1,2,3"):
        try:
            predict(own, body)
        except ClientError:
            continue
    own.aws.set_clock(NIGHT + timedelta(hours=3))
    sums = {
        name: own.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=[
                {"Name": "EndpointName", "Value": "flights"},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
            StartTime=NIGHT + timedelta(hours=2),
            EndTime=NIGHT + timedelta(hours=3),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
    }
    assert {name: sum(point["Sum"] for point in points) for name, points in sums.items()} == {
        "Invocations": 2,
        "Invocation4XXErrors": 1,
        "Invocation5XXErrors": 0,
    }


def test_a_call_that_botocore_does_not_know_is_listed_as_a_violation(own: Bench) -> None:
    assert own.aws.violations() == []
    headers = {"X-Amz-Target": "SageMaker.DescribeWeather", "Content-Type": "application/x-amz-json-1.1"}
    asked = AWSRequest("POST", own.aws.url, data=b"{}", headers=headers)
    SigV4Auth(Credentials("test", "test"), "sagemaker", REGION).add_auth(asked)
    request = urllib.request.Request(own.aws.url, data=b"{}", headers=dict(asked.headers))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    assert own.aws.violations() == ["sagemaker: no operation DescribeWeather"]


def test_a_port_that_is_taken_is_a_clear_error(own: Bench, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=f"port {own.aws.port} is taken"),
        LocalAws(own.aws.port, tmp_path, fresh=True),
    ):
        pass
    assert predict(own) == "37", "and whoever has it goes on"


def test_an_endpoint_serves_again_after_a_restart_and_the_last_captures_were_kept(own: Bench, root: Path) -> None:
    own.aws.set_clock(NIGHT + timedelta(hours=5))
    predict(own)
    own.aws.stop()
    with LocalAws(0, root, fresh=False) as aws:
        own.aws, own.client = aws, aws.client
        assert len(captures(own, "2013/03/01/08")) == 1
        assert predict(own) == "37"
        rules = aws.client("events").list_rules()["Rules"]
        assert "nightly" in [rule["Name"] for rule in rules]
    with LocalAws(0, root, fresh=True) as aws:
        assert aws.client("sagemaker").list_endpoints()["Endpoints"] == []
        assert aws.client("s3").list_buckets()["Buckets"] == []
