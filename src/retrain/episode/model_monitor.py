"""Native Model Monitor, for accounts that have it: after a roll-out its schedule compares with the champion's baseline.

The schedule is its user's. Everything about it stays as it is, but for the two URIs of its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retrain.core import names
from retrain.core.errors import InvalidSettings, Throttled
from retrain.core.telemetry import logger
from retrain.core.values import Step

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker

# What DescribeDataQualityJobDefinition adds to what CreateDataQualityJobDefinition takes.
_DESCRIBED = frozenset({"JobDefinitionArn", "JobDefinitionName", "CreationTime", "ResponseMetadata"})


def swap_native_baseline(step: Step, *, schedule: str, ledger: Ledger, sagemaker: SageMaker) -> dict[str, Any]:
    """`status`: the schedule of that name has the champion's baseline (`swapped`); `none` if there is no name.

    Repeating it changes nothing. InvalidSettings if the schedule watches something else; Throttled while it changes.
    """
    if not schedule:
        return {"status": "none"}
    endpoint = step.episode.endpoint_name
    champion = ledger.champion(endpoint) or {}
    described = sagemaker.monitoring_schedule(schedule)
    config = dict(described["MonitoringScheduleConfig"])
    kind = config.get("MonitoringType") or described.get("MonitoringType") or "DataQuality"
    if kind != "DataQuality" or described.get("EndpointName", endpoint) != endpoint:
        watched = described.get("EndpointName", "another endpoint")
        raise InvalidSettings(
            f"the schedule {schedule} watches {kind} of {watched}: name one that watches DataQuality of {endpoint}"
        )
    if described["MonitoringScheduleStatus"] == "Pending":
        raise Throttled(f"the schedule {schedule} is changing")
    baseline = {
        "StatisticsResource": {"S3Uri": champion["statistics_uri"]},
        "ConstraintsResource": {"S3Uri": champion["constraints_uri"]},
    }
    if job := config.get("MonitoringJobDefinition"):
        if job.get("BaselineConfig") == baseline:
            return {"status": "swapped"}
        config["MonitoringJobDefinition"] = {**job, "BaselineConfig": baseline}
    else:
        name = names.cut(f"{schedule}-{step.episode.episode_id}", 63)
        if config["MonitoringJobDefinitionName"] == name:
            return {"status": "swapped"}
        definition = sagemaker.data_quality_definition(config["MonitoringJobDefinitionName"])
        sagemaker.put_data_quality_definition(name, _with_baseline(definition, baseline))
        config["MonitoringJobDefinitionName"] = name
    sagemaker.update_monitoring_schedule(schedule, config)
    logger.info("native baseline swapped", schedule=schedule, statistics_uri=champion["statistics_uri"])
    return {"status": "swapped"}


def _with_baseline(definition: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """CreateDataQualityJobDefinition's arguments, but for the name: a definition can't be changed, only made anew."""
    kept = {key: value for key, value in definition.items() if key not in _DESCRIBED}
    return {**kept, "DataQualityBaselineConfig": dict(baseline)}
