"""The roll-out: the endpoint converges to the approved package, or stays exactly as it was.

Names derive from the episode, so every attempt finds what the one before it made. A roll-out has succeeded only when
the endpoint is in service *and* serves the requested config: an update may roll back silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names, telemetry
from retrain.core.errors import (
    Diverged,
    EndpointBroken,
    EndpointBusy,
    EndpointTimeout,
    InvalidSettings,
    NotOurs,
    Permanent,
    Refused,
    RolledBack,
)
from retrain.core.telemetry import logger
from retrain.core.values import Enclosure, Episode, Step
from retrain.episode.adopting import is_foreign
from retrain.episode.seals import require_untampered

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker

# auto: a canary of one instance where there is more than one, else all at once.
STRATEGIES = ("auto", "all-at-once", "canary", "linear")
CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})


@dataclass(frozen=True)
class RolloutSettings:
    """How the endpoint is built and updated."""

    endpoint_role_arn: str
    instance_type: str
    instance_count: int
    bake_seconds: int
    rollback_alarms: tuple[str, ...]
    enclosure: Enclosure
    strategy: str = "auto"
    step_percent: int = 25  # of the new fleet: the canary, or each step

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise InvalidSettings(f"a roll-out is one of {', '.join(STRATEGIES)}, not {self.strategy!r}")
        if self.strategy in {"canary", "linear"} and self.instance_count < 2:
            raise InvalidSettings(f"a {self.strategy} roll-out needs two instances: one can't be divided")
        if not 10 <= self.step_percent <= 50:
            raise InvalidSettings(f"SageMaker takes steps of 10 to 50 percent, not of {self.step_percent}")
        if self.instance_count < 1:
            raise InvalidSettings("an endpoint needs at least one instance")
        if not 0 <= self.bake_seconds <= 3600:
            raise InvalidSettings("the bake time is 0 to 3600 seconds")
        if len(self.rollback_alarms) > 10:
            raise InvalidSettings("SageMaker takes at most 10 rollback alarms")


def converge_endpoint(
    step: Step,
    *,
    settings: RolloutSettings,
    ledger: Ledger,
    store: Store,
    sagemaker: SageMaker,
    cloudwatch: CloudWatch,
) -> dict[str, Any]:
    """The endpoint is changing to the approved package, or serves it already; `endpoint_config` names the target.

    EndpointBusy while something else is changing it; EndpointBroken, Diverged, or Refused (unsafe_to_start,
    artifact_tampered, unsupported_endpoint, fenced) before anything was touched.
    """
    episode = step.episode
    item = ledger.held(episode)
    ledger.require_lock(episode)
    if item.get("decision") != "approved":
        raise Refused("rejected", f"the decision is {item.get('decision') or 'still open'}")
    target = names.endpoint_config_name(episode.episode_id)
    endpoint = sagemaker.endpoint(episode.endpoint_name)
    if endpoint and _is_on_its_way(endpoint, target):
        return {"status": "updating", "endpoint_config": target}
    champion = ledger.champion(episode.endpoint_name)
    if item.get("asked") == "restore":
        champion = None  # whatever serves there, or nothing: the champion shall serve again
    elif endpoint and champion is None and is_foreign(endpoint, ledger):
        config = endpoint["EndpointConfigName"]
        if item.get("adopts_config") != config:
            raise NotOurs(f"{episode.endpoint_name} serves {config}, which no episode made; it is left alone")
    require_ready(episode, endpoint, champion)
    if alarming := cloudwatch.in_alarm(settings.rollback_alarms):
        raise Refused("unsafe_to_start", f"in ALARM before the roll-out: {', '.join(alarming)}")
    require_untampered(item, store=store, sagemaker=sagemaker)
    previous = str(endpoint["EndpointConfigName"]) if endpoint else ""
    ledger.note(episode, endpoint_config_name=target, previous_config_name=previous)
    sagemaker.put_model(target, model(item, episode, settings))
    sagemaker.put_endpoint_config(target, endpoint_config(target, episode, settings, store))
    if endpoint is None:
        sagemaker.create_endpoint(episode.endpoint_name, target, tags(episode))
    else:
        keep_counts = _instances(endpoint) > settings.instance_count  # scaled out: the new fleet must not be smaller
        deployment = deployment_config(settings, max(_instances(endpoint), settings.instance_count))
        sagemaker.update_endpoint(episode.endpoint_name, target, deployment, keep_counts=keep_counts)
    logger.info("endpoint is changing", endpoint_config=target, previous_config=previous or "none")
    return {"status": "updating", "endpoint_config": target}


def tags(episode: Episode) -> list[dict[str, str]]:
    """What a model, a config and an endpoint say of where they come from."""
    return [{"Key": "episode_id", "Value": episode.episode_id}]


def model(item: Mapping[str, Any], episode: Episode, settings: RolloutSettings) -> dict[str, Any]:
    """CreateModel's arguments: the package exactly as it was registered and approved."""
    return {
        "Containers": [{"ModelPackageName": item["model_package_arn"]}],
        "ExecutionRoleArn": settings.endpoint_role_arn,
        "EnableNetworkIsolation": True,
        **settings.enclosure.vpc(),
        "Tags": tags(episode),
    }


def endpoint_config(name: str, episode: Episode, settings: RolloutSettings, store: Store) -> dict[str, Any]:
    """CreateEndpointConfig's arguments: one variant, and the capture of every request."""
    return {
        "ProductionVariants": [
            {
                "VariantName": names.VARIANT,
                "ModelName": name,
                "InstanceType": settings.instance_type,
                "InitialInstanceCount": settings.instance_count,
                "InitialVariantWeight": 1.0,
            }
        ],
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": store.uri("capture"),
            "KmsKeyId": settings.enclosure.key_arn,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
        },
        **({"KmsKeyId": settings.enclosure.key_arn} if settings.enclosure.volumes else {}),
        "Tags": tags(episode),
    }


def deployment_config(settings: RolloutSettings, instances: int) -> dict[str, Any]:
    """UpdateEndpoint's DeploymentConfig: blue/green, in one go, after a canary or in equal steps, and rollback.

    The steps share the bake time, so that each way of rolling out takes as long.

    >>> settings = RolloutSettings("", "ml.m5.large", 1, 60, ("errors",), Enclosure(""))
    >>> deployment_config(settings, 1)["AutoRollbackConfiguration"]
    {'Alarms': [{'AlarmName': 'errors'}]}
    """
    share = {"Type": "CAPACITY_PERCENT", "Value": settings.step_percent}
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": settings.bake_seconds}
    if settings.strategy == "auto" and instances > 1:  # a canary may take at most half of the fleet
        routing |= {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}}
    elif settings.strategy == "canary":
        routing |= {"Type": "CANARY", "CanarySize": share}
    elif settings.strategy == "linear":
        steps = -(-100 // settings.step_percent)
        routing |= {"Type": "LINEAR", "LinearStepSize": share, "WaitIntervalInSeconds": settings.bake_seconds // steps}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": min(60, settings.bake_seconds),
            "MaximumExecutionTimeoutInSeconds": 1800 + 2 * settings.bake_seconds,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in settings.rollback_alarms]},
    }


def check_endpoint(step: Step, *, ledger: Ledger, sagemaker: SageMaker) -> dict[str, Any]:
    """`status` is updating, or serving when the endpoint is in service with the requested config.

    RolledBack when it is in service with the old one, Diverged with any other, EndpointBroken when it can't serve or
    has a status nobody knows, EndpointTimeout when `overdue` and still changing.
    """
    item = ledger.held(step.episode)
    name, target = step.episode.endpoint_name, item["endpoint_config_name"]
    endpoint = sagemaker.endpoint(name)
    if endpoint is None:
        raise EndpointBroken(f"{name} does not exist")
    status, serves = str(endpoint["EndpointStatus"]), str(endpoint["EndpointConfigName"])
    if status in CHANGING:
        if step.fields.get("overdue"):
            raise EndpointTimeout(f"{name} is still {status}")
        return {"status": "updating"}
    if status != "InService":
        raise _broken(name, status, endpoint)
    if serves == target:
        return {"status": "serving"}
    if serves == item.get("previous_config_name"):
        raise RolledBack(f"{name} serves {serves} again: {endpoint.get('FailureReason') or 'no reason given'}")
    raise Diverged(f"{name} serves {serves}, which is neither the old config nor {target}")


def switch_champion(step: Step, *, ledger: Ledger, sagemaker: SageMaker) -> dict[str, Any]:
    """Champion and baseline are the challenger's, in one write, and the endpoint does serve it."""
    episode = step.episode
    item = ledger.held(episode)
    if check_endpoint(step, ledger=ledger, sagemaker=sagemaker)["status"] != "serving":
        raise EndpointBusy(f"{episode.endpoint_name} is changing again")
    crown(episode, item, step.now, ledger)
    return {"status": "switched"}


def crown(episode: Episode, item: Mapping[str, Any], now: datetime, ledger: Ledger) -> None:
    """Champion and baseline are the episode's; Refused("fenced") if the lock is another's."""
    seals = item.get("seals", {})
    baseline = {name: item.get(name, "") for name in ("statistics_uri", "constraints_uri", "quality_constraints_uri")}
    ledger.switch_champion(
        episode,
        {
            "model_package_arn": item["model_package_arn"],
            "model_name": item["endpoint_config_name"],
            "endpoint_config_name": item["endpoint_config_name"],
            "model_data_uri": item["model_data_uri"],
            "model_sha256": item["model_sha256"],
            "dataset_uri": item["dataset_uri"],
            "dataset_sha256": item["dataset_sha256"],
            **baseline,
            # What is read while it serves has to stay what was judged.
            "seals": {uri: seals[uri] for uri in (item["model_data_uri"], *baseline.values()) if uri in seals},
            "since": clock.render(now),
            "episode_id": episode.episode_id,
            "fence": episode.fence,
        },
    )
    logger.info("champion switched", model_package_arn=item["model_package_arn"])


def _is_on_its_way(endpoint: Mapping[str, Any], target: str) -> bool:
    """Whether an earlier attempt got as far as changing the endpoint."""
    pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    serves = endpoint["EndpointConfigName"] == target and endpoint["EndpointStatus"] in {"InService", *CHANGING}
    return serves or pending == target


def require_ready(episode: Episode, endpoint: Mapping[str, Any] | None, champion: Mapping[str, Any] | None) -> None:
    """The endpoint may be changed: it rests, it is of a kind that can roll back, and nobody else changed it."""
    name = episode.endpoint_name
    if endpoint is None:
        if champion is not None:
            raise EndpointBroken(
                f"{name} does not exist, although {champion['endpoint_config_name']} should serve there"
            )
        return
    status = str(endpoint["EndpointStatus"])
    if status in CHANGING:
        raise EndpointBusy(f"{name} is {status}")
    if status != "InService":
        raise _broken(name, status, endpoint)
    if champion is not None and endpoint["EndpointConfigName"] != champion["endpoint_config_name"]:
        raise Diverged(f"{name} serves {endpoint['EndpointConfigName']}, not {champion['endpoint_config_name']}")
    variants = endpoint.get("ProductionVariants", [])
    if [variant.get("VariantName") for variant in variants] != [names.VARIANT]:
        raise Refused("unsupported_endpoint", f"blue/green updates need exactly one variant, named {names.VARIANT}")
    if variants[0].get("CurrentServerlessConfig") or endpoint.get("AsyncInferenceConfig"):
        raise Refused("unsupported_endpoint", f"{name} is not a real-time endpoint on instances")


def _instances(endpoint: Mapping[str, Any]) -> int:
    return int(endpoint["ProductionVariants"][0].get("DesiredInstanceCount") or 1)


def _broken(name: str, status: str, endpoint: Mapping[str, Any]) -> Permanent:
    telemetry.count("EndpointBroken", reason=status)
    return EndpointBroken(f"{name} is {status}: {endpoint.get('FailureReason') or 'no reason given'}")
