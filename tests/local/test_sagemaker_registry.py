"""The Model Registry: versions, approval, and what the event bus hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stand_ins import IMAGE, ROLE, START, House, embedded, packed

from local.wire import ApiError

EVENT = "SageMaker Model Package State Change"
GROUP = "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/flights"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with embedded(tmp_path) as house:
        house.call("CreateModelPackageGroup", ModelPackageGroupName="flights", Tags=[{"Key": "team", "Value": "air"}])
        yield house


def register(house: House, group: str = "flights", **fields: Any) -> str:
    inference = {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://bucket/model.tar.gz"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    params = {"ModelPackageGroupName": group, "InferenceSpecification": inference, **fields}
    return str(house.call("CreateModelPackage", **params)["ModelPackageArn"])


def test_versions_of_a_group_count_up_and_are_never_used_again(house: House) -> None:
    first, second = register(house), register(house)
    assert second.endswith(":model-package/flights/2")
    house.call("DeleteModelPackage", ModelPackageName=second)
    assert register(house).endswith(":model-package/flights/3")
    assert house.call("DescribeModelPackage", ModelPackageName=first)["ModelPackageVersion"] == 1
    with pytest.raises(ApiError, match="does not exist"):
        house.call("DescribeModelPackage", ModelPackageName=second)


def test_versions_go_on_after_a_restart(house: House) -> None:
    register(house)
    house.reopen()
    assert register(house).endswith("/2")


def test_a_package_waits_for_approval_unless_it_says_otherwise(house: House) -> None:
    waiting, approved = register(house), register(house, ModelApprovalStatus="Approved")
    found = [house.call("DescribeModelPackage", ModelPackageName=arn) for arn in (waiting, approved)]
    assert [package["ModelApprovalStatus"] for package in found] == ["PendingManualApproval", "Approved"]
    assert not any("ModelPackageName" in package for package in found), "by which the SDK would ask"


def test_packages_are_searched_by_what_they_say(house: House) -> None:
    first = register(house, CustomerMetadataProperties={"episode_id": "e1"})
    second = register(house, ModelApprovalStatus="Approved", CustomerMetadataProperties={"episode_id": "e2"})

    def found(*filters: tuple[str, str, str], **more: Any) -> list[str]:
        asked = [{"Name": name, "Operator": operator, "Value": value} for name, operator, value in filters]
        said = house.call("Search", Resource="ModelPackage", SearchExpression={"Filters": asked, **more})
        return sorted(item["ModelPackage"]["ModelPackageArn"] for item in said["Results"])

    assert found(("ModelApprovalStatus", "Equals", "Approved")) == [second]
    assert found(("CustomerMetadataProperties.episode_id", "In", "e1,e3")) == [first]
    assert found(("ModelPackageVersion", "GreaterThan", "1")) == [second]
    assert found(("CreationTime", "LessThan", "2000-01-01T00:00:00Z")) == []
    either = (("ModelPackageVersion", "Equals", "1"), ("ModelPackageVersion", "Equals", "2"))
    assert found(*either) == []
    assert found(*either, Operator="Or") == [first, second]
    [page] = house.call("Search", Resource="ModelPackage", MaxResults=1)["Results"]
    assert page["ModelPackage"]["ModelPackageArn"] in {first, second}
    tagged = {"Filters": [{"Name": "Tags.team", "Value": "air"}]}
    [group] = house.call("Search", Resource="ModelPackageGroup", SearchExpression=tagged)["Results"]
    assert group["ModelPackageGroup"]["ModelPackageGroupArn"] == GROUP
    with pytest.raises(ApiError, match="and no Experiment"):
        house.call("Search", Resource="Experiment")


def test_the_same_client_token_registers_one_version(house: House) -> None:
    assert register(house, ClientToken="t") == register(house, ClientToken="t")
    assert not register(house, ClientToken="u").endswith("/1")


@pytest.mark.parametrize("group", ["flights", GROUP])
def test_a_group_is_known_by_name_and_by_arn(house: House, group: str) -> None:
    register(house, group)
    listed = house.call("ListModelPackages", ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert [package["ModelPackageVersion"] for package in listed] == [1]


def test_a_package_needs_its_group(house: House) -> None:
    with pytest.raises(ApiError, match="does not exist"):
        register(house, "trains")
    with pytest.raises(ApiError, match="Only versioned"):
        house.call("CreateModelPackage", ModelPackageName="alone")


def test_a_decision_is_kept_with_its_words(house: House) -> None:
    arn = register(house, CustomerMetadataProperties={"episode_id": "e-1", "draft": "yes"})
    house.clock.set(START + timedelta(hours=1))
    house.call(
        "UpdateModelPackage",
        ModelPackageArn=arn,
        ModelApprovalStatus="Rejected",
        ApprovalDescription="too slow",
        CustomerMetadataProperties={"decided_by": "ann"},
        CustomerMetadataPropertiesToRemove=["draft"],
    )
    package = house.call("DescribeModelPackage", ModelPackageName=arn)
    assert (package["ModelApprovalStatus"], package["ApprovalDescription"]) == ("Rejected", "too slow")
    assert package["CustomerMetadataProperties"] == {"episode_id": "e-1", "decided_by": "ann"}
    assert package["LastModifiedTime"] - package["CreationTime"] >= timedelta(minutes=59)


def test_the_event_bus_hears_of_every_change_in_the_format_of_sagemaker(house: House) -> None:
    metrics = {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://bucket/e.json"}}}
    arn = register(house, ModelMetrics=metrics, CustomerMetadataProperties={"episode_id": "e-1"})
    house.call("UpdateModelPackage", ModelPackageArn=arn, ModelApprovalStatus="Approved")
    house.call("UpdateModelPackage", ModelPackageArn=arn, CustomerMetadataProperties={"note": "kept"})
    told = house.told(EVENT)
    assert [detail["ModelApprovalStatus"] for detail in told] == ["PendingManualApproval", "Approved", "Approved"]
    for moment in ("CreationTime", "LastModifiedTime"):
        assert told[0].pop(moment).startswith("2013-03-01T05:00:")
    assert told[0] == {
        "ModelPackageGroupName": "flights",
        "ModelPackageVersion": 1,
        "ModelPackageArn": arn,
        "InferenceSpecification": {
            "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://bucket/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CertifyForMarketplace": False,
        "ModelApprovalStatus": "PendingManualApproval",
        "ModelMetrics": metrics,
        "CustomerMetadataProperties": {"episode_id": "e-1"},
    }
    assert [(source, resources) for source, _, _, resources in house.events] == [("aws.sagemaker", [arn])] * 3


def test_packages_are_listed_by_group_and_decision_oldest_first(house: House) -> None:
    house.call("CreateModelPackageGroup", ModelPackageGroupName="trains")
    for status in ("Approved", "Rejected", "Approved"):
        register(house, ModelApprovalStatus=status)
    register(house, "trains", ModelApprovalStatus="Approved")

    def listed(**asked: Any) -> list[int]:
        found = house.call("ListModelPackages", ModelPackageGroupName="flights", **asked)["ModelPackageSummaryList"]
        return [package["ModelPackageVersion"] for package in found]

    assert listed() == [1, 2, 3]
    assert listed(ModelApprovalStatus="Approved", SortOrder="Descending") == [3, 1]
    assert listed(MaxResults=1, SortOrder="Descending", SortBy="CreationTime") == [3]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, ["a", "b", "flights"]),
        ({"SortBy": "Name", "SortOrder": "Ascending"}, ["a", "b", "flights"]),
        ({"SortOrder": "Ascending", "MaxResults": 2}, ["flights", "b"]),
        ({"NameContains": "light"}, ["flights"]),
        ({"CreationTimeAfter": START + timedelta(minutes=30)}, ["a", "b"]),
        ({"CreationTimeBefore": (START + timedelta(minutes=30)).timestamp()}, ["flights"]),
    ],
    ids=["newest first", "by name", "a page", "part of a name", "after", "before"],
)
def test_a_listing_has_what_was_asked_for(house: House, asked: dict[str, Any], names: list[str]) -> None:
    for hours, name in enumerate(("flights", "b", "a")):
        data = house.s3.put(f"s3://bucket/{name}.tar.gz", b"")
        house.clock.set(START + timedelta(hours=hours))
        container = {"Image": IMAGE, "ModelDataUrl": data}
        house.call("CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    assert [item["ModelName"] for item in house.call("ListModels", **asked)["Models"]] == names


def test_a_group_is_deleted_when_it_is_empty(house: House) -> None:
    arn = register(house)
    with pytest.raises(ApiError, match="not empty") as refused:
        house.call("DeleteModelPackageGroup", ModelPackageGroupName="flights")
    assert refused.value.code == "ConflictException"
    house.call("DeleteModelPackage", ModelPackageName=arn)
    house.call("DeleteModelPackageGroup", ModelPackageGroupName="flights")
    assert house.call("ListModelPackageGroups")["ModelPackageGroupSummaryList"] == []


def test_a_groups_name_is_used_once(house: House) -> None:
    with pytest.raises(ApiError, match="already exists"):
        house.call("CreateModelPackageGroup", ModelPackageGroupName="flights")


def test_tags_are_added_changed_and_taken_away(house: House) -> None:
    house.call("AddTags", ResourceArn=GROUP, Tags=[{"Key": "team", "Value": "rail"}, {"Key": "stage", "Value": "test"}])
    house.call("DeleteTags", ResourceArn=GROUP, TagKeys=["stage"])
    assert house.call("ListTags", ResourceArn=GROUP)["Tags"] == [{"Key": "team", "Value": "rail"}]


def test_a_model_serves_the_registered_package_it_names(house: House) -> None:
    program = "\n".join(
        [
            "def model_fn(folder): return 'registered'",
            "def input_fn(body, kind): return body",
            "def predict_fn(rows, model): return model",
            "def output_fn(answer, accept): return answer",
        ]
    )
    house.s3.put("s3://bucket/model.tar.gz", packed({"code/inference.py": program}))
    container = {"ModelPackageName": register(house)}
    house.call("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    house.config("c", "m")
    house.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="c")
    house.settled()
    assert house.invoke()[2] == "registered"


def test_a_model_of_a_package_that_is_not_there_is_refused(house: House) -> None:
    container = {"ModelPackageName": f"{GROUP.replace('-group', '')}/9"}
    with pytest.raises(ApiError, match="does not exist"):
        house.call("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)


def test_what_this_sagemaker_does_not_do_it_says(house: House) -> None:
    with pytest.raises(ApiError, match="does not do ListHubs") as refused:
        house.call("ListHubs")
    assert refused.value.status == 501
