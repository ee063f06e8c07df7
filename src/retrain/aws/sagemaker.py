"""SageMaker: pipelines, the Model Registry, endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from retrain.aws.calls import classified, is_missing, is_taken
from retrain.core.errors import AwsRejected, ExecutionLost, NameCollision, NoArtifact, PipelineMissing

Description = dict[str, Any]


class SageMaker:
    """What the loop asks of SageMaker, with its answers as they come."""

    def __init__(self, sagemaker: Any) -> None:
        self._sagemaker = sagemaker

    # Pipelines --------------------------------------------------------------------------------------------------------

    def pipeline_owner(self, name: str, tag: str, role_arn: str) -> str | None:
        """Who owns the pipeline by its tag; one without that tag is its role's: None if that is ours, or there is none.

        Earlier versions of this application made pipelines without the tag.
        """
        pipeline = self._describe("sagemaker:DescribePipeline", self._sagemaker.describe_pipeline, PipelineName=name)
        if pipeline is None:
            return None
        with classified("sagemaker:ListTags"):
            tags = self._sagemaker.list_tags(ResourceArn=pipeline["PipelineArn"])["Tags"]
        owner = next((str(found["Value"]) for found in tags if found["Key"] == tag), None)
        return owner or (None if pipeline["RoleArn"] == role_arn else f"role {pipeline['RoleArn']}")

    def put_pipeline(self, name: str, definition: str, role_arn: str, token: str, tags: Mapping[str, str]) -> str:
        """The pipeline has that definition, role and tags; its ARN."""
        wanted = {"PipelineName": name, "PipelineDefinition": definition, "RoleArn": role_arn}
        tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
        with classified("sagemaker:UpdatePipeline"):
            try:
                arn = str(self._sagemaker.update_pipeline(**wanted)["PipelineArn"])
            except ClientError as error:
                if not is_missing(error):
                    raise
                arn = ""
        if arn:
            with classified("sagemaker:AddTags"):
                self._sagemaker.add_tags(ResourceArn=arn, Tags=tagged)
            return arn
        with classified("sagemaker:CreatePipeline", NameCollision):
            created = self._sagemaker.create_pipeline(**wanted, Tags=tagged, ClientRequestToken=token)
        return str(created["PipelineArn"])

    def delete_pipeline(self, name: str, token: str) -> None:
        """There is no pipeline of that name."""
        call = self._sagemaker.delete_pipeline
        self._delete("sagemaker:DeletePipeline", call, PipelineName=name, ClientRequestToken=token)

    def start_pipeline(self, name: str, token: str, display_name: str, parameters: Mapping[str, str]) -> str:
        """An execution runs; the same token always gives the same one. Its ARN; PipelineMissing without a pipeline."""
        with classified("sagemaker:StartPipelineExecution", PipelineMissing):
            started = self._sagemaker.start_pipeline_execution(
                PipelineName=name,
                PipelineExecutionDisplayName=display_name,
                PipelineParameters=[{"Name": key, "Value": value} for key, value in sorted(parameters.items())],
                ClientRequestToken=token,
            )
        return str(started["PipelineExecutionArn"])

    def pipeline_execution(self, arn: str) -> Description:
        """The execution as it is now; ExecutionLost if SageMaker does not know it."""
        with classified("sagemaker:DescribePipelineExecution", ExecutionLost):
            return dict(self._sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn))

    def pipeline_steps(self, arn: str) -> Iterator[Description]:
        """Every step of the execution that began."""
        with classified("sagemaker:ListPipelineExecutionSteps", ExecutionLost):
            pages = self._sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=arn)
            for page in pages:
                yield from page["PipelineExecutionSteps"]

    def stop_pipeline_if_running(self, arn: str) -> None:
        """The execution is stopping, or was over already."""
        if self.pipeline_execution(arn)["PipelineExecutionStatus"] != "Executing":
            return
        with classified("sagemaker:StopPipelineExecution", ExecutionLost):
            # The token may be any; its own execution's name makes repeated stops the same request.
            token = f"stop-{arn.rsplit('/', 1)[-1]}".ljust(32, "-")
            self._sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=token)

    def job_text(self, step: Mapping[str, Any]) -> str:
        """What the step's job said about its failure, "" if it said nothing."""
        metadata = step.get("Metadata", {})
        if arn := metadata.get("ProcessingJob", {}).get("Arn"):
            with classified("sagemaker:DescribeProcessingJob"):
                job = self._sagemaker.describe_processing_job(ProcessingJobName=arn.rsplit("/", 1)[-1])
            return str(job.get("ExitMessage") or job.get("FailureReason") or "")
        if arn := metadata.get("TrainingJob", {}).get("Arn"):
            with classified("sagemaker:DescribeTrainingJob"):
                job = self._sagemaker.describe_training_job(TrainingJobName=arn.rsplit("/", 1)[-1])
            return str(job.get("FailureReason") or "")
        return ""

    # Processing -------------------------------------------------------------------------------------------------------

    def start_processing(self, name: str, wanted: Mapping[str, Any]) -> None:
        """A Processing job of that name runs, or ran already."""
        with classified("sagemaker:CreateProcessingJob"):
            try:
                self._sagemaker.create_processing_job(ProcessingJobName=name, **wanted)
            except ClientError as error:
                if not is_taken(error):
                    raise

    def processing_status(self, name: str) -> str | None:
        """The job's status, None if there is no job of that name."""
        job = self._describe(
            "sagemaker:DescribeProcessingJob", self._sagemaker.describe_processing_job, ProcessingJobName=name
        )
        return None if job is None else str(job["ProcessingJobStatus"])

    # Registry ---------------------------------------------------------------------------------------------------------

    def model_package(self, arn: str) -> Description:
        """The package as registered; NoArtifact if there is none."""
        with classified("sagemaker:DescribeModelPackage", NoArtifact):
            return dict(self._sagemaker.describe_model_package(ModelPackageName=arn))

    def describe_package(self, arn: str, metadata: Mapping[str, str], card: str, card_status: str) -> None:
        """The package has this metadata besides what it had, and this model card."""
        with classified("sagemaker:UpdateModelPackage", NoArtifact):
            self._sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties=dict(metadata))
            self._sagemaker.update_model_package(
                ModelPackageArn=arn, ModelCard={"ModelCardContent": card, "ModelCardStatus": card_status}
            )

    def set_approval(self, arn: str, status: str, why: str) -> None:
        """The package has that approval status, and says why."""
        with classified("sagemaker:UpdateModelPackage", NoArtifact):
            self._sagemaker.update_model_package(
                ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=why[:1024]
            )

    def delete_package(self, arn: str) -> None:
        """There is no package of that name."""
        self._delete("sagemaker:DeleteModelPackage", self._sagemaker.delete_model_package, ModelPackageName=arn)

    # Endpoints --------------------------------------------------------------------------------------------------------

    def endpoint(self, name: str) -> Description | None:
        """The endpoint as it is now, None if there is none."""
        return self._describe("sagemaker:DescribeEndpoint", self._sagemaker.describe_endpoint, EndpointName=name)

    def endpoint_config(self, name: str) -> Description | None:
        """The endpoint config, None if there is none."""
        return self._describe(
            "sagemaker:DescribeEndpointConfig", self._sagemaker.describe_endpoint_config, EndpointConfigName=name
        )

    def model(self, name: str) -> Description | None:
        """The model, None if there is none."""
        return self._describe("sagemaker:DescribeModel", self._sagemaker.describe_model, ModelName=name)

    def put_model(self, name: str, wanted: Mapping[str, Any]) -> None:
        """The model exists with that content; NameCollision if one with other content has its name."""
        with classified("sagemaker:CreateModel", NoArtifact):
            try:
                self._sagemaker.create_model(ModelName=name, **wanted)
            except ClientError as error:
                if not is_taken(error):
                    raise
                _require_same(name, wanted, self._sagemaker.describe_model(ModelName=name))

    def put_endpoint_config(self, name: str, wanted: Mapping[str, Any]) -> None:
        """The endpoint config exists with that content; NameCollision if one with other content has its name."""
        with classified("sagemaker:CreateEndpointConfig", AwsRejected):
            try:
                self._sagemaker.create_endpoint_config(EndpointConfigName=name, **wanted)
            except ClientError as error:
                if not is_taken(error):
                    raise
                _require_same(name, wanted, self._sagemaker.describe_endpoint_config(EndpointConfigName=name))

    def delete_endpoint_config(self, name: str) -> None:
        """There is no endpoint config of that name."""
        call = self._sagemaker.delete_endpoint_config
        self._delete("sagemaker:DeleteEndpointConfig", call, EndpointConfigName=name)

    def delete_model(self, name: str) -> None:
        """There is no model of that name."""
        self._delete("sagemaker:DeleteModel", self._sagemaker.delete_model, ModelName=name)

    def create_endpoint(self, name: str, config: str, tags: list[dict[str, str]]) -> None:
        """The endpoint is being created with that config, or something of its name exists already."""
        with classified("sagemaker:CreateEndpoint"):
            try:
                self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tags)
            except ClientError as error:
                if not is_taken(error):
                    raise

    def update_endpoint(self, name: str, config: str, deployment: Mapping[str, Any], *, keep_counts: bool) -> None:
        """The endpoint is being updated to that config; EndpointBusy while it is changing already."""
        more = (
            {"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}]} if keep_counts else {}
        )
        with classified("sagemaker:UpdateEndpoint"):
            self._sagemaker.update_endpoint(
                EndpointName=name,
                EndpointConfigName=config,
                DeploymentConfig=deployment,
                RetainDeploymentConfig=False,
                RetainAllVariantProperties=keep_counts,
                **more,
            )

    # Native Model Monitor ---------------------------------------------------------------------------------------------

    def monitoring_schedule(self, name: str) -> Description:
        """The monitoring schedule as it is now; AwsRejected if there is none."""
        with classified("sagemaker:DescribeMonitoringSchedule"):
            return dict(self._sagemaker.describe_monitoring_schedule(MonitoringScheduleName=name))

    def update_monitoring_schedule(self, name: str, config: Mapping[str, Any]) -> None:
        """The monitoring schedule has that MonitoringScheduleConfig."""
        with classified("sagemaker:UpdateMonitoringSchedule"):
            self._sagemaker.update_monitoring_schedule(MonitoringScheduleName=name, MonitoringScheduleConfig=config)

    def data_quality_definition(self, name: str) -> Description:
        """The data-quality job definition; AwsRejected if there is none."""
        with classified("sagemaker:DescribeDataQualityJobDefinition"):
            return dict(self._sagemaker.describe_data_quality_job_definition(JobDefinitionName=name))

    def put_data_quality_definition(self, name: str, wanted: Mapping[str, Any]) -> None:
        """The data-quality job definition exists with that content; NameCollision if another has its name."""
        with classified("sagemaker:CreateDataQualityJobDefinition"):
            try:
                self._sagemaker.create_data_quality_job_definition(JobDefinitionName=name, **wanted)
            except ClientError as error:
                if not is_taken(error):
                    raise
                _require_same(
                    name, wanted, self._sagemaker.describe_data_quality_job_definition(JobDefinitionName=name)
                )

    @staticmethod
    def _delete(action: str, call: Any, **arguments: str) -> None:
        with classified(action):
            try:
                call(**arguments)
            except ClientError as error:
                if not is_missing(error):
                    raise

    @staticmethod
    def _describe(action: str, call: Any, **arguments: str) -> Description | None:
        with classified(action):
            try:
                return dict(call(**arguments))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise


def _require_same(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """NameCollision unless everything wanted was found. What SageMaker adds to it on its own does not matter."""
    for key, value in wanted.items():
        if key != "Tags" and not _covers(found.get(key), value):
            raise NameCollision(f"{name} exists with another {key}")


def _covers(found: Any, wanted: Any) -> bool:
    """
    >>> _covers({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1.0}]})
    True
    >>> _covers({"a": 1}, {"a": 2})
    False
    """
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_covers(*pair) for pair in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)
