"""Model Monitor's schedules: kept as AWS keeps them, and swapped to a new baseline by the roll-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from stand_ins import IMAGE, ROLE, START, House, embedded

from local.wire import ApiError, model
from retrain.aws.sagemaker import SageMaker
from retrain.core.errors import AwsRejected, InvalidSettings, Throttled
from retrain.core.values import Episode, Step
from retrain.episode.model_monitor import swap_native_baseline

OPERATIONS = {xform_name(name): name for name in model("sagemaker").operation_names}
OLD = {
    "ConstraintsResource": {"S3Uri": "s3://bucket/old/constraints.json"},
    "StatisticsResource": {"S3Uri": "s3://bucket/old/statistics.json"},
}
NEW = {
    "ConstraintsResource": {"S3Uri": "s3://bucket/new/constraints.json"},
    "StatisticsResource": {"S3Uri": "s3://bucket/new/statistics.json"},
}
HOURLY = {"ScheduleExpression": "cron(0 * ? * * *)"}
CLUSTER = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}}
OUTPUT = {
    "MonitoringOutputs": [
        {
            "S3Output": {
                "S3Uri": "s3://bucket/native",
                "LocalPath": "/opt/ml/processing/output",
                "S3UploadMode": "EndOfJob",
            }
        }
    ]
}


def watched(endpoint: str) -> dict[str, Any]:
    return {"EndpointName": endpoint, "LocalPath": "/opt/ml/processing/input"}


def inline(endpoint: str = "flights") -> dict[str, Any]:
    """A schedule's configuration that holds its job, as the API alone makes it."""
    return {
        "ScheduleConfig": HOURLY,
        "MonitoringJobDefinition": {
            "BaselineConfig": OLD,
            "MonitoringInputs": [{"EndpointInput": watched(endpoint)}],
            "MonitoringOutputConfig": OUTPUT,
            "MonitoringResources": CLUSTER,
            "MonitoringAppSpecification": {"ImageUri": IMAGE, "RecordPreprocessorSourceUri": "s3://bucket/p.py"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 1800},
            "Environment": {"publish_cloudwatch_metrics": "Enabled"},
            "RoleArn": ROLE,
        },
        "MonitoringType": "DataQuality",
    }


def named(house: House) -> dict[str, Any]:
    """A schedule's configuration that names its job, as the SDK makes it."""
    house.call(
        "CreateDataQualityJobDefinition",
        JobDefinitionName="first-job",
        DataQualityBaselineConfig={**OLD, "BaseliningJobName": "by-hand"},
        DataQualityAppSpecification={"ImageUri": IMAGE, "Environment": {"publish_cloudwatch_metrics": "Enabled"}},
        DataQualityJobInput={"EndpointInput": watched("flights")},
        DataQualityJobOutputConfig=OUTPUT,
        JobResources=CLUSTER,
        StoppingCondition={"MaxRuntimeInSeconds": 1800},
        RoleArn=ROLE,
    )
    return {"ScheduleConfig": HOURLY, "MonitoringJobDefinitionName": "first-job", "MonitoringType": "DataQuality"}


class Client:
    """What boto3 makes of the embedded SageMaker."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        def call(**params: Any) -> dict[str, Any]:
            self.called.append(name)
            try:
                return self.house.call(OPERATIONS[name], **params)
            except ApiError as error:
                raise ClientError({"Error": {"Code": error.code, "Message": error.message}}, OPERATIONS[name]) from None

        return call


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with embedded(tmp_path) as house:
        yield house


@pytest.fixture
def swap(house: House) -> Any:
    """What the endpoint updater does after a roll-out; `client` is what it spoke to."""
    client = Client(house)
    champion = {
        "statistics_uri": "s3://bucket/new/statistics.json",
        "constraints_uri": "s3://bucket/new/constraints.json",
    }
    episode = Episode("flights-20130401-000041-3f07d80c", "flights", 2, bootstrap=False)

    def call(schedule: str = "hourly") -> dict[str, Any]:
        step = Step("swap_native_baseline", episode, START, {})
        ledger: Any = SimpleNamespace(champion=lambda _: champion)
        return swap_native_baseline(step, schedule=schedule, ledger=ledger, sagemaker=SageMaker(client))

    call.client = client  # type: ignore[attr-defined]
    return call


def schedule(house: House, config: dict[str, Any], name: str = "hourly") -> None:
    house.call("CreateMonitoringSchedule", MonitoringScheduleName=name, MonitoringScheduleConfig=config)


def configured(house: House) -> dict[str, Any]:
    found = house.call("DescribeMonitoringSchedule", MonitoringScheduleName="hourly")
    return dict(found["MonitoringScheduleConfig"])


def test_a_schedule_that_holds_its_job_gets_the_baseline_and_keeps_the_rest(house: House, swap: Any) -> None:
    schedule(house, inline())
    assert swap() == {"status": "swapped"}
    wanted = inline()
    wanted["MonitoringJobDefinition"]["BaselineConfig"] = NEW
    assert configured(house) == wanted


def test_a_schedule_that_names_its_job_gets_another_job_that_differs_in_the_baseline_only(
    house: House, swap: Any
) -> None:
    schedule(house, named(house))
    assert swap() == {"status": "swapped"}
    config = configured(house)
    name = config["MonitoringJobDefinitionName"]
    assert name.startswith("hourly-flights-20130401")
    assert {**config, "MonitoringJobDefinitionName": "first-job"} == {
        "ScheduleConfig": HOURLY,
        "MonitoringJobDefinitionName": "first-job",
        "MonitoringType": "DataQuality",
    }
    before, after = (
        house.call("DescribeDataQualityJobDefinition", JobDefinitionName=job) for job in ("first-job", name)
    )
    assert after["DataQualityBaselineConfig"] == NEW
    assert {key for key in before if before[key] != after[key]} == {
        "JobDefinitionName",
        "JobDefinitionArn",
        "CreationTime",
        "DataQualityBaselineConfig",
    }


@pytest.mark.parametrize("how", ["inline", "named"])
def test_swapping_again_changes_nothing(how: str, house: House, swap: Any) -> None:
    schedule(house, inline() if how == "inline" else named(house))
    swap()
    swap.client.called.clear()
    assert swap() == {"status": "swapped"}
    assert swap.client.called == ["describe_monitoring_schedule"]


def test_a_swap_that_died_half_way_is_finished_by_the_next_one(house: House, swap: Any) -> None:
    schedule(house, named(house))
    update = house.sagemaker.monitoring.update_monitoring_schedule

    def dies(_: Any) -> Any:
        house.sagemaker.monitoring.update_monitoring_schedule = update  # type: ignore[method-assign]
        raise ApiError("ThrottlingException", "slow down")

    house.sagemaker.monitoring.update_monitoring_schedule = dies  # type: ignore[method-assign]
    with pytest.raises(Throttled):
        swap()
    assert swap() == {"status": "swapped"}
    assert configured(house)["MonitoringJobDefinitionName"] != "first-job"


def test_without_a_schedule_nobody_is_asked(swap: Any) -> None:
    assert swap("") == {"status": "none"}
    assert swap.client.called == []


def test_a_schedule_of_another_endpoint_is_left_alone(house: House, swap: Any) -> None:
    schedule(house, inline("trains"))
    with pytest.raises(InvalidSettings, match="hourly watches DataQuality of trains: name one that"):
        swap()
    assert configured(house) == inline("trains")


def test_a_schedule_that_does_not_exist_is_an_error_by_name(swap: Any) -> None:
    with pytest.raises(AwsRejected, match="DescribeMonitoringSchedule: ResourceNotFound"):
        swap()


def test_a_schedule_that_is_changing_is_tried_again_later(house: House, swap: Any) -> None:
    schedule(house, inline())
    house.sagemaker.store.kinds["schedules"]["hourly"]["MonitoringScheduleStatus"] = "Pending"
    with pytest.raises(Throttled, match="hourly is changing"):
        swap()


def test_schedules_are_listed_deleted_and_outlive_a_restart(house: House) -> None:
    schedule(house, named(house), "a")
    schedule(house, inline(), "b")
    house.reopen()
    listed = house.call("ListMonitoringSchedules", SortBy="Name", SortOrder="Ascending")["MonitoringScheduleSummaries"]
    assert [(item["MonitoringScheduleName"], item["EndpointName"]) for item in listed] == [
        ("a", "flights"),
        ("b", "flights"),
    ]
    house.call("DeleteMonitoringSchedule", MonitoringScheduleName="a")
    house.call("DeleteDataQualityJobDefinition", JobDefinitionName="first-job")
    for operation, name in (
        ("DescribeMonitoringSchedule", {"MonitoringScheduleName": "a"}),
        ("DescribeDataQualityJobDefinition", {"JobDefinitionName": "first-job"}),
    ):
        with pytest.raises(ApiError, match="not found"):
            house.call(operation, **name)


def test_a_schedule_has_one_job_and_a_name_of_its_own(house: House) -> None:
    with pytest.raises(ApiError, match="Either MonitoringJobDefinition or"):
        schedule(house, {"ScheduleConfig": HOURLY})
    schedule(house, inline())
    with pytest.raises(ApiError, match="already existing monitoring schedule"):
        schedule(house, inline())
