"""Schedules of Model Monitor: kept and changed, never run, for they run AWS's own containers."""

from __future__ import annotations

from local.sagemaker.store import Resource, Store, page, pick, shown
from local.wire import ApiError

DEFINITION = (
    "JobDefinitionName",
    "DataQualityBaselineConfig",
    "DataQualityAppSpecification",
    "DataQualityJobInput",
    "DataQualityJobOutputConfig",
    "JobResources",
    "NetworkConfig",
    "RoleArn",
    "StoppingCondition",
)


class Monitoring:
    """Monitoring schedules and data-quality job definitions by name."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create_monitoring_schedule(self, params: Resource) -> Resource:
        """CreateMonitoringSchedule."""
        name = params["MonitoringScheduleName"]
        now = self.store.clock.now()
        schedule = {
            "MonitoringScheduleArn": self.store.arn(f"monitoring-schedule/{name}"),
            "MonitoringScheduleName": name,
            "MonitoringScheduleStatus": "Scheduled",
            "CreationTime": now,
            "LastModifiedTime": now,
            **self._configured(params["MonitoringScheduleConfig"]),
        }
        self.store.add("schedules", name, schedule, "monitoring schedule")
        self.store.kinds["tags"][schedule["MonitoringScheduleArn"]] = {"Tags": params.get("Tags", [])}
        return pick(schedule, "MonitoringScheduleArn")

    def describe_monitoring_schedule(self, params: Resource) -> Resource:
        """DescribeMonitoringSchedule."""
        return shown(self._schedule(params["MonitoringScheduleName"]))

    def update_monitoring_schedule(self, params: Resource) -> Resource:
        """UpdateMonitoringSchedule: the whole configuration is replaced."""
        schedule = self._schedule(params["MonitoringScheduleName"])
        configured = self._configured(params["MonitoringScheduleConfig"])
        with self.store.lock:
            schedule.update({**configured, "LastModifiedTime": self.store.clock.now()})
        return pick(schedule, "MonitoringScheduleArn")

    @staticmethod
    def list_monitoring_executions(params: Resource) -> Resource:  # noqa: ARG004
        """ListMonitoringExecutions: schedules are never run here."""
        return {"MonitoringExecutionSummaries": []}

    def list_monitoring_schedules(self, params: Resource) -> Resource:
        """ListMonitoringSchedules."""
        found, more = page(self.store.each("schedules"), params, "MonitoringSchedule")
        names = (
            "MonitoringScheduleName",
            "MonitoringScheduleArn",
            "CreationTime",
            "LastModifiedTime",
            "MonitoringScheduleStatus",
            "EndpointName",
            "MonitoringType",
        )
        return {"MonitoringScheduleSummaries": [pick(item, *names) for item in found], **more}

    def delete_monitoring_schedule(self, params: Resource) -> Resource:
        """DeleteMonitoringSchedule."""
        del self.store.kinds["schedules"][self._schedule(params["MonitoringScheduleName"])["MonitoringScheduleName"]]
        return {}

    def create_data_quality_job_definition(self, params: Resource) -> Resource:
        """CreateDataQualityJobDefinition."""
        name = params["JobDefinitionName"]
        definition = {
            **pick(params, *DEFINITION),
            "JobDefinitionArn": self.store.arn(f"data-quality-job-definition/{name}"),
            "CreationTime": self.store.clock.now(),
        }
        with self.store.lock:
            if name in self.store.kinds["definitions"]:
                raise ApiError("ResourceInUse", f"Job definition {definition['JobDefinitionArn']} already exists.")
            self.store.kinds["definitions"][name] = definition
        return pick(definition, "JobDefinitionArn")

    def describe_data_quality_job_definition(self, params: Resource) -> Resource:
        """DescribeDataQualityJobDefinition."""
        return shown(self._definition(params["JobDefinitionName"]))

    def delete_data_quality_job_definition(self, params: Resource) -> Resource:
        """DeleteDataQualityJobDefinition."""
        del self.store.kinds["definitions"][self._definition(params["JobDefinitionName"])["JobDefinitionName"]]
        return {}

    def _configured(self, config: Resource) -> Resource:
        """What Describe says of a schedule's configuration; ApiError for one that AWS would not take."""
        if ("MonitoringJobDefinition" in config) == ("MonitoringJobDefinitionName" in config):
            raise ApiError(
                "ValidationException", "Either MonitoringJobDefinition or MonitoringJobDefinitionName is needed."
            )
        if name := config.get("MonitoringJobDefinitionName"):
            where = self._definition(name)["DataQualityJobInput"]
        else:
            where = config["MonitoringJobDefinition"]["MonitoringInputs"][0]
        endpoint = where.get("EndpointInput", {}).get("EndpointName")
        return {
            "MonitoringScheduleConfig": config,
            "MonitoringType": config.get("MonitoringType", "DataQuality"),
            "EndpointName": endpoint,
        }

    def _schedule(self, name: str) -> Resource:
        arn = self.store.arn(f"monitoring-schedule/{name}")
        return self.store.find("schedules", name, ApiError("ResourceNotFound", f"Monitoring schedule {arn} not found."))

    def _definition(self, name: str) -> Resource:
        arn = self.store.arn(f"data-quality-job-definition/{name}")
        return self.store.find("definitions", name, ApiError("ResourceNotFound", f"Job definition {arn} not found."))
