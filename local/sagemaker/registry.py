"""The Model Registry: package groups, versioned packages, and their approval."""

from __future__ import annotations

from typing import Any

from local.sagemaker.store import Resource, Store, page, pick, shown
from local.wire import ApiError

PACKAGE = (
    "ModelPackageGroupName",
    "ModelPackageDescription",
    "InferenceSpecification",
    "SourceAlgorithmSpecification",
    "CertifyForMarketplace",
    "ModelApprovalStatus",
    "MetadataProperties",
    "ModelMetrics",
    "CustomerMetadataProperties",
    "DriftCheckBaselines",
    "Domain",
    "Task",
    "SamplePayloadUrl",
    "AdditionalInferenceSpecifications",
    "SkipModelValidation",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


class Registry:
    """Groups and packages; every change of a package is told on the event bus, as AWS does."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create_model_package_group(self, params: Resource) -> Resource:
        """CreateModelPackageGroup."""
        name = params["ModelPackageGroupName"]
        group = {
            **pick(params, "ModelPackageGroupName", "ModelPackageGroupDescription"),
            "ModelPackageGroupArn": self.store.arn(f"model-package-group/{name}"),
            "CreationTime": self.store.clock.now(),
            "CreatedBy": {},
            "ModelPackageGroupStatus": "Completed",
        }
        with self.store.lock:
            if name in self.store.kinds["groups"]:
                raise ApiError(
                    "ValidationException", f"Model Package Group already exists: {group['ModelPackageGroupArn']}"
                )
            self.store.kinds["groups"][name] = group
            self.store.kinds["tags"][group["ModelPackageGroupArn"]] = {"Tags": params.get("Tags", [])}
        return pick(group, "ModelPackageGroupArn")

    def describe_model_package_group(self, params: Resource) -> Resource:
        """DescribeModelPackageGroup."""
        return shown(self._group(params["ModelPackageGroupName"]))

    def list_model_package_groups(self, params: Resource) -> Resource:
        """ListModelPackageGroups."""
        found, more = page(self.store.each("groups"), params, "ModelPackageGroup", order="Ascending")
        names = (
            "ModelPackageGroupName",
            "ModelPackageGroupArn",
            "ModelPackageGroupDescription",
            "CreationTime",
            "ModelPackageGroupStatus",
        )
        return {"ModelPackageGroupSummaryList": [pick(item, *names) for item in found], **more}

    def delete_model_package_group(self, params: Resource) -> Resource:
        """DeleteModelPackageGroup; refused while it holds packages."""
        group = self._group(params["ModelPackageGroupName"])
        name = group["ModelPackageGroupName"]
        if any(item["ModelPackageGroupName"] == name for item in self.store.each("packages")):
            raise ApiError("ConflictException", f"Model Package Group {name} is not empty: delete its packages first.")
        del self.store.kinds["groups"][name]
        return {}

    def create_model_package(self, params: Resource, made_by: str | None = None) -> Resource:
        """CreateModelPackage, the next version of its group. `made_by` is the pipeline execution that registers it."""
        if "ModelPackageGroupName" not in params:
            raise ApiError(
                "ValidationException", "Only versioned model packages are kept: ModelPackageGroupName is needed."
            )
        with self.store.lock:
            group = self._group(params["ModelPackageGroupName"])
            name = group["ModelPackageGroupName"]
            token = f"package/{name}/{params['ClientToken']}" if "ClientToken" in params else None
            if token in self.store.kinds["tokens"]:
                return dict(self.store.kinds["tokens"][str(token)])
            group["_versions"] = version = group.get("_versions", 0) + 1
            arn = self.store.arn(f"model-package/{name}/{version}")
            now = self.store.clock.now()
            package: Resource = {
                "ModelApprovalStatus": "PendingManualApproval",
                **pick(params, *PACKAGE),
                "ModelPackageGroupName": name,
                "ModelPackageName": name,
                "ModelPackageVersion": version,
                "ModelPackageArn": arn,
                "ModelPackageStatus": "Completed",
                "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
                "CreationTime": now,
                "LastModifiedTime": now,
                "CreatedBy": {},
            }
            if made_by:
                package["MetadataProperties"] = {**package.get("MetadataProperties", {}), "GeneratedBy": made_by}
            self.store.kinds["packages"][arn] = package
            self.store.kinds["tags"][arn] = {"Tags": params.get("Tags", [])}
            if token:
                self.store.kinds["tokens"][token] = {"ModelPackageArn": arn}
        self._tell(package)
        return {"ModelPackageArn": arn}

    def describe_model_package(self, params: Resource) -> Resource:
        """DescribeModelPackage."""
        described = shown(self._package(params["ModelPackageName"]))
        del described["ModelPackageName"]  # a versioned one has none
        return described

    def list_model_packages(self, params: Resource) -> Resource:
        """ListModelPackages of a group, by approval status and creation time."""
        wanted = params.get("ModelPackageGroupName")
        name = wanted.rpartition("/")[2] if wanted else None
        status = params.get("ModelApprovalStatus")
        packages = [
            item
            for item in self.store.each("packages")
            if name in {None, item["ModelPackageGroupName"]} and status in {None, item["ModelApprovalStatus"]}
        ]
        found, more = page(packages, params, "ModelPackage", order="Ascending")
        names = (
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "ModelPackageDescription",
            "CreationTime",
            "ModelPackageStatus",
            "ModelApprovalStatus",
        )
        return {"ModelPackageSummaryList": [pick(item, *names) for item in found], **more}

    def update_model_package(self, params: Resource) -> Resource:
        """UpdateModelPackage: approval status and description, customer metadata."""
        package = self._package(params["ModelPackageArn"])
        with self.store.lock:
            package.update(pick(params, "ModelApprovalStatus", "ApprovalDescription", "ModelCard", "ModelLifeCycle"))
            metadata = {**package.get("CustomerMetadataProperties", {}), **params.get("CustomerMetadataProperties", {})}
            for name in params.get("CustomerMetadataPropertiesToRemove", []):
                metadata.pop(name, None)
            package["CustomerMetadataProperties"] = metadata
            package["LastModifiedTime"] = self.store.clock.now()
        self._tell(package)
        return pick(package, "ModelPackageArn")

    def delete_model_package(self, params: Resource) -> Resource:
        """DeleteModelPackage."""
        package = self._package(params["ModelPackageName"])
        del self.store.kinds["packages"][package["ModelPackageArn"]]
        return {}

    def _group(self, name: str) -> Resource:
        name = name.rpartition("/")[2]
        missing = ApiError(
            "ValidationException", f"ModelPackageGroup {self.store.arn('model-package-group/' + name)} does not exist."
        )
        return self.store.find("groups", name, missing)

    def _package(self, arn: str) -> Resource:
        missing = ApiError("ValidationException", f"ModelPackage {arn} does not exist.")
        return self.store.find("packages", arn, missing)

    def _tell(self, package: Resource) -> None:
        detail: dict[str, Any] = pick(
            package,
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "InferenceSpecification",
            "ModelPackageStatus",
            "ModelPackageStatusDetails",
            "ModelApprovalStatus",
            "ApprovalDescription",
            "MetadataProperties",
            "ModelMetrics",
            "CustomerMetadataProperties",
            "DriftCheckBaselines",
        )
        for moment in ("CreationTime", "LastModifiedTime"):
            detail[moment] = f"{package[moment]:%Y-%m-%dT%H:%M:%SZ}"
        detail["CertifyForMarketplace"] = False
        arn = package["ModelPackageArn"]
        self.store.put_event("aws.sagemaker", "SageMaker Model Package State Change", detail, [arn])
