"""The SageMaker pipeline's run for an episode: started once, then watched until it is over.

Labels may come after the alarm. While they are too few, an episode waits, and its pipeline is started anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names, prices, telemetry
from retrain.core.errors import (
    InvalidSettings,
    PipelineFailed,
    PipelineOverQuota,
    PipelineTimeout,
    Refused,
    refusal_in,
)
from retrain.core.manifest import manifest
from retrain.core.telemetry import logger, short
from retrain.core.values import Episode, Step
from retrain.core.window import Window, full_hour
from retrain.episode.adopting import adoptable_archive, is_foreign
from retrain.episode.rollout import require_ready

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker

# The bucket keeps rows for longer than they are asked for (ForgetRowsOfOldWindows).
KEPT_FOR = timedelta(days=400)
MOST_WINDOWS = 400
RUNNING = frozenset({"Executing", "Stopping"})


@dataclass(frozen=True)
class PipelineSettings:
    """Which pipeline is started, and what its parameters say that is the same for every episode."""

    pipeline_name: str
    code_uri: str
    initial_data_uri: str
    job_role_arn: str
    image_uri: str
    training_instance_type: str
    training_instance_count: int
    processing_instance_type: str
    model_package_group: str
    kms_key_arn: str
    adopt: bool = False  # what serves before the first episode is its challenger

    def __post_init__(self) -> None:
        if not self.code_uri.startswith("s3://") or self.code_uri.endswith("/"):
            raise InvalidSettings(f"the code's URI has to be s3://… without a slash at its end, not {self.code_uri!r}")


@dataclass(frozen=True)
class PatienceRules:
    """How long a pipeline may take, and for how long after its opening an episode waits for labels."""

    pipeline: timedelta
    labels: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.pipeline <= timedelta(0):
            raise InvalidSettings("a pipeline needs some time")
        if self.labels < timedelta(0):
            raise InvalidSettings("nobody waits for a negative time")


def start_retraining(
    step: Step,
    *,
    settings: PipelineSettings,
    rules: PatienceRules,
    ledger: Ledger,
    store: Store,
    sagemaker: SageMaker,
) -> dict[str, Any]:
    """The episode's pipeline execution runs; the ledger knows it. Repeating it finds the same execution.

    `status` is started, or waiting_for_labels if there are none yet. Refused if the window has no captures
    (capture_missing), if labels did not come in time (labels_insufficient), or if there is no champion to challenge
    (no_champion). Diverged or EndpointBroken if the champion does not serve: what is trained could not be rolled out.
    """
    episode = step.episode
    item = ledger.held(episode)
    ledger.require_lock(episode)
    if arn := item.get("pipeline_execution_arn"):
        return {"status": "started", "pipeline_execution_arn": arn}
    champion = ledger.champion(episode.endpoint_name)
    if champion is None and not episode.bootstrap:
        raise Refused("no_champion", f"{episode.endpoint_name} has no champion to challenge; request a bootstrap")
    endpoint = sagemaker.endpoint(episode.endpoint_name)
    require_ready(episode, endpoint, champion)
    item = _grown(step, item, ledger)
    spans = exclusions(ledger, episode.endpoint_name)
    captures, labels = _evidence(step, item, store, spans)
    if not labels and not episode.bootstrap:
        none_yet = Refused("labels_insufficient", f"no labels were collected since {item['window_start']}")
        return _wait_for_labels(step, item, none_yet, rules, ledger)
    folder = f"episodes/{episode.episode_id}"
    none = f"{settings.code_uri}/none/"
    serves = none if champion is None else str(champion["model_data_uri"])
    if settings.adopt and champion is None and endpoint and is_foreign(endpoint, ledger):
        serves = adoptable_archive(endpoint, settings.initial_data_uri, sagemaker)
        ledger.note(episode, adopts_config=endpoint["EndpointConfigName"])  # and the roll-out replaces no other
    statistics = str((champion or {}).get("statistics_uri") or "")
    parameters = {
        "EpisodeId": episode.episode_id,
        "EndpointName": episode.endpoint_name,
        "Bootstrap": "true" if episode.bootstrap else "false",
        "CapturesManifestUri": store.put(f"{folder}/captures.manifest", manifest(captures, store.uri(""), none)),
        "LabelsManifestUri": store.put(f"{folder}/labels.manifest", manifest(labels, store.uri(""), none)),
        "HistoryManifestUri": store.put(
            f"{folder}/history.manifest", manifest(_history(step, ledger, spans), store.uri(""), none)
        ),
        "RowsUri": store.uri(rows_folder(episode)),
        "WindowStart": item["window_start"],
        "WindowEnd": item["window_end"],
        "ReferenceUri": settings.initial_data_uri if champion is None else champion["dataset_uri"],
        "ChampionModelUri": serves,
        "ChampionStatisticsUri": statistics or none,
        "ChampionStatisticsSha256": (champion or {}).get("seals", {}).get(statistics, "none"),
        "OutputUri": store.uri(folder),
        "CodeUri": settings.code_uri,
        "JobRoleArn": settings.job_role_arn,
        "KmsKeyArn": settings.kms_key_arn,
        "ImageUri": settings.image_uri,
        "TrainingInstanceType": settings.training_instance_type,
        "TrainingInstanceCount": str(settings.training_instance_count),
        "ProcessingInstanceType": settings.processing_instance_type,
        "ModelPackageGroupName": settings.model_package_group,
    }
    arn = sagemaker.start_pipeline(
        settings.pipeline_name,
        names.request_token(episode.episode_id, _attempt(item)),
        names.cut(episode.episode_id, 82),
        parameters,
    )
    hourly = prices.dollars_an_hour(
        settings.processing_instance_type, settings.training_instance_type, settings.training_instance_count
    )
    begun = {"pipeline_execution_arn": arn, "pipeline_started_at": clock.render(step.now)}
    ledger.note(episode, **begun, dollars_an_hour=hourly, waiting_for="")
    logger.info("pipeline started", pipeline_execution_arn=arn, captures=len(captures), labels=len(labels))
    return {"status": "started", "pipeline_execution_arn": arn}


def _grown(step: Step, item: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """The episode, whose window has grown by what was labelled since, where it was found to have too few rows.

    Labelled is what the quality monitor has counted, a whole window at a time, and what is so old that labels are due.
    """
    if not _attempt(item):
        return item
    known = str(ledger.evidence(step.episode.endpoint_name).get("until", ""))
    delay = (ledger.analysis(step.episode.endpoint_name, of="QUALITY") or {}).get("label_delay_hours")
    if delay is not None:
        known = max(known, clock.render(full_hour(step.now - timedelta(hours=float(delay)))))
    if known <= item["window_end"]:
        return item
    ledger.note(step.episode, window_end=known)
    logger.info("the window has grown", window_end=known, before=item["window_end"])
    return {**item, "window_end": known}


def rows_folder(episode: Episode) -> str:
    """Where the rows of the episode's window are kept; those of the first model's data for good, beside its episode."""
    if episode.bootstrap:
        return f"episodes/{episode.episode_id}/rows"
    return f"rows/{episode.endpoint_name}/{episode.episode_id}"


def exclusions(ledger: Ledger, endpoint_name: str) -> list[Window]:
    """The spans of time from which nothing is learned any more, because a person said so."""
    return [(clock.parse(item["start"]), clock.parse(item["end"])) for item in ledger.exclusions(endpoint_name)]


def learnable(rows: Mapping[str, Any], spans: Sequence[Window]) -> bool:
    """Whether kept rows are of a window that no excluded span touches. The first model's data is of no window."""
    start, end = clock.parse(rows["window_start"]), clock.parse(rows["window_end"])
    return start == end or not any(start < until and since < end for since, until in spans)


def _history(step: Step, ledger: Ledger, spans: Sequence[Window]) -> list[str]:
    """The files with the rows of earlier windows: of the first one, and of the latest of a bit more than a year."""
    if step.episode.bootstrap:
        return []
    kept = [item for item in ledger.kept_rows(step.episode.endpoint_name) if learnable(item, spans)]
    first = [item for item in kept if item["window_start"] == item["window_end"]]
    since = clock.render(step.now - KEPT_FOR)
    recent = [item for item in kept if item["window_end"] > since and item not in first]
    folders = [item["folder"] for item in [*first[-1:], *recent[-MOST_WINDOWS:]]]
    return [f"{folder}/{name}" for folder in folders for name in ("manifest.json", "rows.csv")]


def _evidence(
    step: Step, item: Mapping[str, Any], store: Store, spans: Sequence[Window]
) -> tuple[list[str], list[str]]:
    """Capture files of the window, and the files of all labels that were collected since it began.

    Captures are filed by the hour: those of an hour that an excluded span touches are left out.
    """
    if step.episode.bootstrap:
        return [], []
    start, end = clock.parse(item["window_start"]), clock.parse(item["window_end"])
    folder = f"capture/{step.episode.endpoint_name}/{names.VARIANT}"
    bad = {key for since, until in spans for key in store.keys_between(folder, since, until)}
    captures = [key for key in store.keys_between(folder, start, end) if key not in bad]
    if not captures:
        left_out = ", but those that were excluded" if bad else ""
        raise Refused("capture_missing", f"no captures from {item['window_start']} to {item['window_end']}{left_out}")
    return captures, store.keys_between("labels", start, max(end, step.now))


def _wait_for_labels(
    step: Step, item: Mapping[str, Any], refusal: Refused, rules: PatienceRules, ledger: Ledger, **noted: Any
) -> dict[str, Any]:
    """The ledger knows that the episode waits for labels. Raises the refusal if it is another, or they are overdue."""
    overdue = step.fields.get("overdue") or step.now - clock.parse(item["opened_at"]) >= rules.labels
    if refusal.code not in {"labels_insufficient", "too_few_rows"} or step.episode.bootstrap or overdue:
        raise refusal
    ledger.note(step.episode, waiting_for="labels", waiting_since=clock.render(step.now), **noted)
    logger.info("waiting for labels", detail=str(refusal))
    telemetry.count("EpisodeWaits", reason="labels")
    return {"status": "waiting_for_labels"}


def _attempt(item: Mapping[str, Any]) -> int:
    """How many pipeline executions of the episode ended for want of labels."""
    return int(item.get("pipeline_attempt", 0))


def check_pipeline(step: Step, *, rules: PatienceRules, ledger: Ledger, sagemaker: SageMaker) -> dict[str, Any]:
    """`status` is running, succeeded or waiting_for_labels; every other end of the pipeline is raised.

    A job that refused makes this Refused with the job's code; a stopped pipeline Refused("stopped_by_operator"); a
    failed one, or one with a status nobody knows, PipelineFailed; one that takes too long is stopped: PipelineTimeout.
    """
    item = ledger.held(step.episode)
    if item.get("waiting_for"):  # an earlier call said so, and its answer was lost
        return {"status": "waiting_for_labels"}
    arn = item["pipeline_execution_arn"]
    execution = sagemaker.pipeline_execution(arn)
    status = str(execution["PipelineExecutionStatus"])
    if status in RUNNING:
        if step.fields.get("overdue") or _overdue(step.now, item, rules):
            sagemaker.stop_pipeline_if_running(arn)
            _count_dollars(step, item, list(sagemaker.pipeline_steps(arn)), ledger)
            raise PipelineTimeout(f"{arn} was still {status} {clock.render(step.now)}, and was stopped")
        return {"status": "running"}
    steps = list(sagemaker.pipeline_steps(arn))
    _count_dollars(step, item, steps, ledger)
    if status == "Succeeded":
        return {"status": "succeeded"}
    if status == "Stopped":
        raise Refused("stopped_by_operator", f"{arn} was stopped")
    if status != "Failed":
        telemetry.count("UnknownStatus", reason=status)
    failure = _failure(status, str(execution.get("FailureReason", "")), steps, sagemaker)
    if not isinstance(failure, Refused):
        raise failure
    again = {"pipeline_execution_arn": "", "pipeline_attempt": _attempt(item) + 1}
    return _wait_for_labels(step, item, failure, rules, ledger, **again)


def _overdue(now: datetime, item: Mapping[str, Any], rules: PatienceRules) -> bool:
    return now - clock.parse(item["pipeline_started_at"]) > rules.pipeline


def _count_dollars(step: Step, item: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], ledger: Ledger) -> None:
    """What the pipeline's jobs have cost is counted on the episode and on its month, once."""
    spent = prices.dollars_of(steps, item.get("dollars_an_hour", {}), step.now)
    ledger.count_dollars(step.episode, item["pipeline_execution_arn"], spent, step.now)


def _failure(status: str, said: str, steps: Sequence[Mapping[str, Any]], sagemaker: SageMaker) -> Exception:
    """The error that the failed steps amount to: the first refusal among them, or the names of them all."""
    failed = []
    for pipeline_step in steps:
        if pipeline_step.get("StepStatus") != "Failed":
            continue
        texts = (sagemaker.job_text(pipeline_step), str(pipeline_step.get("FailureReason", "")))
        for text in texts:
            if refusal := refusal_in(text):
                return refusal
        failed.append(f"{pipeline_step['StepName']}: {short(texts[0] or texts[1], 600)}")
    detail = "; ".join(failed) or said or "no step says why"
    if "ResourceLimitExceeded" in detail:
        return PipelineOverQuota(detail)
    return PipelineFailed(f"{status}: {detail}")
