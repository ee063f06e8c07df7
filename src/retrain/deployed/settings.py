"""Settings from a function's environment, each built once and validated by its own class."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from retrain.core.enough import Plan
from retrain.core.errors import InvalidSettings
from retrain.core.values import Enclosure
from retrain.episode.approval import ApprovalRules
from retrain.episode.closing import ClosingRules
from retrain.episode.opening import OpeningRules
from retrain.episode.policy import ApprovalPolicy, OfficeHours
from retrain.episode.retention import RetentionRules
from retrain.episode.retraining import PatienceRules, PipelineSettings
from retrain.episode.rollout import RolloutSettings

if TYPE_CHECKING:
    from retrain.monitors.drift_monitor import WatchRules
    from retrain.monitors.quality_monitor import QualityWatchRules
    from retrain.pipeline.publishing import PublishingSettings

Value = TypeVar("Value")
Environment = Mapping[str, str]


def setting(name: str, of: Callable[[str], Value], environment: Environment | None = None) -> Value:
    """The environment's value of that name; InvalidSettings that names it if it is missing or not what it should be."""
    text = (os.environ if environment is None else environment).get(name)
    if text is None:
        raise InvalidSettings(f"the environment has no {name}")
    try:
        return of(text)
    except ValueError as error:
        raise InvalidSettings(f"{name}={text!r}: {error}") from error


@cache
def opening() -> OpeningRules:
    """The alarm handler's rules."""
    return OpeningRules(
        endpoint_name=setting("ENDPOINT_NAME", _text),
        account=setting("ACCOUNT", _text),
        region=setting("AWS_REGION", _text),
        alarm_arns=frozenset(setting("ALARM_ARNS", _list)),
        quality_alarm_arns=frozenset(setting("QUALITY_ALARM_ARNS", _list)),
        enabled=setting("RETRAINING_ENABLED", _flag),
        window=setting("WINDOW_HOURS", _hours),
        max_event_age=setting("MAX_EVENT_AGE_HOURS", _hours),
        monthly_episodes=setting("MONTHLY_EPISODES", int),
        monthly_dollars=setting("MONTHLY_DOLLARS", float),
        label_wait=setting("LABEL_WAIT_HOURS", _hours),
    )


@cache
def closing() -> ClosingRules:
    """The episode closer's rules."""
    return ClosingRules(cooldown=setting("COOLDOWN_HOURS", _hours))


@cache
def retention() -> RetentionRules:
    """How many models the sweeper keeps."""
    return RetentionRules(models=setting("KEEP_MODELS", int))


@cache
def endpoint_name() -> str:
    """The stack's endpoint."""
    return setting("ENDPOINT_NAME", _text)


@cache
def pipeline() -> PipelineSettings:
    """What the pipeline starter starts."""
    return PipelineSettings(
        pipeline_name=setting("PIPELINE_NAME", _text),
        code_uri=setting("CODE_URI", _text),
        initial_data_uri=setting("INITIAL_DATA_URI", str),
        job_role_arn=setting("JOB_ROLE_ARN", _text),
        image_uri=setting("IMAGE_URI", _text),
        training_instance_type=setting("TRAINING_INSTANCE_TYPE", _text),
        training_instance_count=setting("TRAINING_INSTANCE_COUNT", int),
        processing_instance_type=setting("PROCESSING_INSTANCE_TYPE", _text),
        model_package_group=setting("MODEL_PACKAGE_GROUP", _text),
        kms_key_arn=setting("KMS_KEY_ARN", _text),
        adopt=setting("ADOPT_ENDPOINT", _flag),
    )


@cache
def enclosure() -> Enclosure:
    """What jobs and models are kept in."""
    return Enclosure(
        key_arn=setting("KMS_KEY_ARN", _text),
        volumes=setting("KEY_OF_VOLUMES", _flag),
        subnets=tuple(setting("SUBNETS", _list)),
        security_groups=tuple(setting("SECURITY_GROUPS", _list)),
    )


@cache
def patience() -> PatienceRules:
    """How long an episode waits."""
    return PatienceRules(pipeline=setting("PIPELINE_TIMEOUT_HOURS", _hours), labels=setting("LABEL_WAIT_HOURS", _hours))


@cache
def approval() -> ApprovalRules:
    """The approver's rules."""
    return ApprovalRules(
        endpoint_name=setting("ENDPOINT_NAME", _text),
        mode=setting("APPROVAL_MODE", _text),
        account=setting("ACCOUNT", _text),
        region=setting("AWS_REGION", _text),
        model_package_group=setting("MODEL_PACKAGE_GROUP", _text),
        policy=ApprovalPolicy(
            least_gain=setting("AUTO_APPROVE_GAIN", float),
            most_a_week=setting("AUTO_APPROVE_A_WEEK", int),
            hours=setting("AUTO_APPROVE_HOURS", lambda text: OfficeHours.of(text) if text else None),
            eyes=approvers(),
            news=setting("AUTO_APPROVE_NEW_DATA", _flag),
        ),
        by_link=bool(setting("APPROVER_TOPICS", _list)),
    )


@cache
def approvers() -> int:
    """How many people have to approve."""
    return setting("APPROVERS", int)


@cache
def rollout() -> RolloutSettings:
    """What the endpoint updater builds."""
    return RolloutSettings(
        endpoint_role_arn=setting("ENDPOINT_ROLE_ARN", _text),
        instance_type=setting("ENDPOINT_INSTANCE_TYPE", _text),
        instance_count=setting("ENDPOINT_INSTANCE_COUNT", int),
        bake_seconds=setting("BAKE_SECONDS", int),
        rollback_alarms=tuple(setting("ROLLBACK_ALARMS", _list)),
        enclosure=enclosure(),
        strategy=setting("ROLLOUT", _text),
        step_percent=setting("ROLLOUT_STEP_PERCENT", int),
    )


@cache
def native_schedule() -> str:
    """The name of Model Monitor's own schedule, "" if there is none."""
    return setting("NATIVE_SCHEDULE", str)


@cache
def watching() -> WatchRules:
    """The drift monitor's rules. Its module needs numpy, which no other function has."""
    from retrain.monitors.drift_monitor import IntakeJobs, WatchRules

    return WatchRules(
        endpoint_name=setting("ENDPOINT_NAME", _text),
        window=setting("WINDOW_HOURS", _hours),
        drift_threshold=setting("DRIFT_THRESHOLD", float),
        most_bytes=setting("MONITOR_MAX_MEGABYTES", int) * 10**6,
        most_features=setting("METRIC_FEATURES", int),
        jobs=IntakeJobs(
            code_uri=setting("CODE_URI", _text),
            image_uri=setting("IMAGE_URI", _text),
            role_arn=setting("INTAKE_ROLE_ARN", _text),
            instance_type=setting("PROCESSING_INSTANCE_TYPE", _text),
            instances=setting("INTAKE_INSTANCES", int),
            enclosure=enclosure(),
        ),
    )


@cache
def watching_quality() -> QualityWatchRules:
    """The quality monitor's rules. Its module needs numpy, too."""
    from retrain.monitors.quality_monitor import QualityWatchRules

    return QualityWatchRules(
        endpoint_name=setting("ENDPOINT_NAME", _text),
        window=setting("WINDOW_HOURS", _hours),
        label_delay=setting("LABEL_DELAY_HOURS", _hours),
        on_evidence=setting("RETRAIN_ON", _text) == "evidence",
    )


@cache
def publishing() -> PublishingSettings:
    """What the pipeline publisher publishes. Its room is in no other function's package."""
    from retrain.pipeline.publishing import PublishingSettings

    return PublishingSettings(
        pipeline_name=setting("PIPELINE_NAME", _text),
        job_role_arn=setting("JOB_ROLE_ARN", _text),
        endpoint_name=setting("ENDPOINT_NAME", _text),
        initial_data_uri=setting("INITIAL_DATA_URI", str),
        candidate_jobs=setting("CANDIDATE_JOBS", _text),
        spot=setting("TRAINING_USE_SPOT", _flag),
        enclosure=enclosure(),
        plan=Plan(
            window=setting("WINDOW_HOURS", float),
            delay=setting("LABEL_DELAY_HOURS", float),
            wait=setting("LABEL_WAIT_HOURS", float),
            keep=24 * setting("KEEP_DATA_DAYS", float),
            evidence=setting("RETRAIN_ON", _text) == "evidence",
            cycle=0.0,  # model.toml and the rows say it
        ),
        adopt=setting("ADOPT_ENDPOINT", _flag),
        runs_on=f"python{sys.version_info.major}.{sys.version_info.minor}-{_processor(platform.machine())}",
    )


def _processor(machine: str) -> str:
    """The machine in the words of Lambda's architectures."""
    return {"aarch64": "arm64", "AMD64": "x86_64"}.get(machine, machine)


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return text == "true"


def _hours(text: str) -> timedelta:
    return timedelta(hours=float(text))
