"""Watching the endpoint: one window analysed, filed, published, once for each scheduled time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names
from retrain.core.answers import ignored
from retrain.core.errors import InvalidSettings, MalformedEvent, RetrainError
from retrain.core.manifest import manifest
from retrain.core.telemetry import count, logger, short
from retrain.core.values import Enclosure, moment
from retrain.core.window import DAY, HOUR, CaptureFile, Window, full_hour, window_ending
from retrain.drift import intake_cache
from retrain.drift.analysis import MAX_FEATURE_METRICS, Analysis, analyse_intake
from retrain.drift.baseline import Statistics, read_statistics
from retrain.drift.constraints import read_constraints
from retrain.drift.intake_cache import Reading, Shelf
from retrain.drift.lengths import several, together
from retrain.drift.verdict import Seen, Verdict
from retrain.episode.afterthoughts import announce_window
from retrain.episode.seals import read_sealed
from retrain.monitors.looks import Looking

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker
    from retrain.aws.sns import Topic

Item = Mapping[str, Any]

LONGEST_DETAIL = 1500  # characters of what is said of a window: hundreds of columns can be broken at once
FORGOTTEN_BY_HALF = timedelta(days=7)  # how long it takes until a new volume is half of what is usual


@dataclass(frozen=True)
class IntakeJobs:
    """What the Processing jobs are that read captures when there are too many of them for this function."""

    code_uri: str
    image_uri: str
    role_arn: str
    instance_type: str
    instances: int
    enclosure: Enclosure


@dataclass(frozen=True)
class WatchRules:
    """Which endpoint is watched, over how long a window, and the threshold of the alarm on `drift_max`.

    New captures of more than `most_bytes` are left to Processing jobs. `most_features` have metrics of their own.
    """

    endpoint_name: str
    window: timedelta
    drift_threshold: float
    most_bytes: int
    jobs: IntakeJobs
    most_features: int = MAX_FEATURE_METRICS

    def __post_init__(self) -> None:
        if self.window <= timedelta(0):
            raise InvalidSettings("the window must be longer than nothing")
        if not 0 < self.drift_threshold < 1:
            raise InvalidSettings(f"the drift threshold lies between 0 and 1, not at {self.drift_threshold}")


def watch_endpoint(
    event: Any,
    *,
    rules: WatchRules,
    ledger: Ledger,
    store: Store,
    cloudwatch: CloudWatch,
    sagemaker: SageMaker,
    topic: Topic,
    bus: Bus,
) -> dict[str, Any]:
    """The window that ends at the event's time is analysed against the champion's baseline.

    Its four files are in the bucket, the ledger has the analysis, the metrics are published. The same time again, or
    an earlier one, is ignored: `analysed_already`; while another run publishes it, it is Retryable. Broken data is told
    to people when it begins; so is a volume that collapsed, in windows of a day or longer, and that a window has no
    captures at all, unless the champion or the end of a cool-down cut it short.

    Where the captures that nobody has read yet are too many for this function, the window ends with the last full
    hour, and a Processing job reads them; until it has, the event is ignored: `window_in_processing`.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an object, got {type(event).__name__}")
    now = moment(event, "time")
    endpoint = rules.endpoint_name
    champion, previous = ledger.champion(endpoint), ledger.analysis(endpoint) or {}
    if champion is None:  # there is nothing to watch yet, and the silence alarm knows it
        cloudwatch.put_metrics([_aggregate("rows_analyzed", endpoint, 0.0, now)])
        return ignored("no_champion")
    if _analysed(now, previous):
        return ignored("analysed_already")
    watched = _Watched(rules, champion, ledger.rearm_at(endpoint), store)
    read = _read(watched, now, previous, sagemaker)
    if isinstance(read, str):
        return ignored(read)
    window, reading = read
    end = window[1]
    analysis = watched.judge(reading, window, expected_rows(previous, window))
    said = _digest(analysis)
    begins = not previous.get("published") or any(previous[key] != said[key] for key in ("verdict", "reason", "triage"))
    report_uri = _file(analysis, reading, endpoint, store, keep=begins and _matters(analysis))
    known = {"report_uri": report_uri, "usual_rows": usual_rows(previous, analysis)}
    if not ledger.record_analysis(endpoint, {**said, **known}, end):
        return ignored("analysed_already")
    schedule = names.schedule_name(endpoint)
    # CloudWatch's alarms look at recent data points only, so their time is that of the analysis.
    metrics = analysis.metrics(endpoint, schedule, rules.most_features, now)
    if ledger.paused(endpoint, now):  # what the dashboard shows of it
        metrics.append(_aggregate("paused", endpoint, 1.0, now))
    cloudwatch.put_metrics(metrics)
    if analysis.triage and begins:
        _tell(analysis, endpoint, store, report_uri, topic)
    ledger.mark_published(endpoint, end)
    announce_window(report_uri, watched.statistics_uri, endpoint, bus)
    logger.info("window analysed", **{**said, **_effort(reading)})
    count("Window", reason=analysis.verdict.value)
    return {"status": analysis.verdict.value, "report_uri": report_uri}


class _Watched:
    """The endpoint's captures, held against the baseline of the champion that serves it."""

    def __init__(self, rules: WatchRules, champion: Item, rearmed_at: datetime | None, store: Store) -> None:
        self.rules = rules
        self.statistics_uri = str(champion["statistics_uri"])
        self.store = store
        self._since, self._rearmed_at = clock.parse(champion["since"]), rearmed_at
        text = read_sealed(champion, self.statistics_uri, store)
        self.shelf = intake_cache.folder(rules.endpoint_name, text)
        self._statistics: Statistics = read_statistics(text)
        self._constraints = read_constraints(read_sealed(champion, champion["constraints_uri"], store))

    def read(self, end: datetime) -> tuple[Window, Reading]:
        """The window that ends there, and what its captures held as far as the budget goes."""
        window = window_ending(end, self.rules.window, self._since, self._rearmed_at)
        files = self.store.files_between(f"capture/{self.rules.endpoint_name}/{names.VARIANT}", *window)
        reading = intake_cache.take_in(
            files, window, self._statistics, Shelf(self.store, self.shelf), self.rules.most_bytes
        )
        return window, reading

    def judge(self, reading: Reading, window: Window, expected: int | None) -> Analysis:
        analysis = analyse_intake(
            reading.intake,
            self._statistics,
            self._constraints,
            window,
            alarm_threshold=self.rules.drift_threshold,
            expected_rows=expected,
        )
        # A shorter window follows a roll-out or a cool-down, and may well be empty.
        stopped = analysis.reason == "capture_missing" and window[1] - window[0] >= self.rules.window
        analysis = replace(analysis, triage=analysis.triage or stopped)
        return together(analysis, self._beside(reading, window))

    def _beside(self, reading: Reading, window: Window) -> list[Seen]:
        """What other lengths show, where the baseline knows what they do by chance."""
        if not several(self._statistics, self._constraints):
            return []
        looking = Looking(self._statistics, self._constraints, self.rules.drift_threshold)
        since = max(self._since, self._rearmed_at or self._since)
        shelf = Shelf(self.store, self.shelf)
        return [
            *looking.within_the_day(reading, window),
            *looking.over_weeks(window[1], since, self.rules.window, shelf),
        ]


def _aggregate(name: str, endpoint: str, value: float, at: datetime) -> dict[str, Any]:
    dimensions = [{"Name": "Endpoint", "Value": endpoint}]
    return {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": "Count", "Timestamp": at}


def _analysed(end: datetime, previous: Item) -> bool:
    return previous.get("window_end_epoch", -1) >= clock.epoch(end) and bool(previous.get("published"))


def _read(watched: _Watched, now: datetime, previous: Item, sagemaker: SageMaker) -> tuple[Window, Reading] | str:
    """The window that ends now, or with the last full hour if that is too much to read; or why there is none."""
    window, reading = watched.read(now)
    if not reading.unread:
        return window, reading
    if _analysed(full_hour(now), previous):
        return "analysed_already"
    window, reading = watched.read(full_hour(now))
    if window[0] == window[1]:
        return "hour_not_full"
    if not reading.unread:
        return window, reading
    _hand_over(reading.unread, window, watched, sagemaker)
    return "window_in_processing"


def _hand_over(unread: Sequence[CaptureFile], window: Window, watched: _Watched, sagemaker: SageMaker) -> None:
    """A Processing job reads those files and stores what they hold, at most one for the hour that the window ends with.

    If it fails, the next hour's reads what is left.
    """
    jobs, store = watched.rules.jobs, watched.store
    name = names.intake_job_name(watched.rules.endpoint_name, watched.shelf, window[1])
    folder = f"{watched.shelf}/jobs/{name}"
    status = sagemaker.processing_status(name)
    if status is None:
        files = {file.key: file.etag for file in unread}
        document = {"start": clock.render(window[0]), "end": clock.render(window[1]), "files": files}
        inputs = {
            "code": ("S3Prefix", jobs.code_uri),
            "captures": ("ManifestFile", store.put(f"{folder}/manifest.json", manifest(sorted(files), store.uri("")))),
            "files": ("S3Prefix", store.put(f"{folder}/files.json", json.dumps(document))),
            "baseline": ("S3Prefix", watched.statistics_uri),
        }
        sagemaker.start_processing(name, intake_job(jobs, inputs, store.uri(watched.shelf), name))
        status = "InProgress"
    size = sum(file.size for file in unread)
    logger.info("window in processing", job=name, job_status=status, files=len(unread), bytes=size)


def intake_job(jobs: IntakeJobs, inputs: Mapping[str, tuple[str, str]], output: str, name: str) -> dict[str, Any]:
    """The job as CreateProcessingJob takes it. Each instance gets its share of the captures, and writes documents."""
    root = "/opt/ml/processing"
    paths = {f"--{key}": f"{root}/input/{key}" for key in inputs if key != "code"}
    arguments = {
        **paths,
        "--output": f"{root}/output",
        "--resources": "/opt/ml/config/resourceconfig.json",
        "--message": "/opt/ml/output/message",
        "--part": name,
    }
    return {
        "RoleArn": jobs.role_arn,
        "AppSpecification": {
            "ImageUri": jobs.image_uri,
            "ContainerEntrypoint": ["python3", "-m", "retrain.jobs.intake"],
            "ContainerArguments": [text for pair in arguments.items() for text in pair],
        },
        "Environment": {"PYTHONPATH": f"{root}/code"},
        "ProcessingInputs": [
            {
                "InputName": key,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": f"{root}/code" if key == "code" else f"{root}/input/{key}",
                    "S3DataType": kind,
                    "S3InputMode": "File",
                    "S3DataDistributionType": "ShardedByS3Key" if key == "captures" else "FullyReplicated",
                },
            }
            for key, (kind, uri) in inputs.items()
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "intakes",
                    "S3Output": {"S3Uri": output, "LocalPath": f"{root}/output", "S3UploadMode": "EndOfJob"},
                }
            ],
            "KmsKeyId": jobs.enclosure.key_arn,
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": jobs.instance_type,
                "InstanceCount": jobs.instances,
                "VolumeSizeInGB": 100,
                **jobs.enclosure.disk(),
            }
        },
        "NetworkConfig": {
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": True,
            **jobs.enclosure.vpc(),
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def expected_rows(previous: Item, window: Window) -> int | None:
    """How many rows the window should have by what is usual; None if it is shorter than a day, or nothing is usual yet.

    >>> from retrain.core.clock import parse
    >>> expected_rows({"usual_rows": 50.0}, (parse("2013-03-01T00:00:00Z"), parse("2013-03-03T00:00:00Z")))
    2400
    """
    usual = previous.get("usual_rows")
    span = window[1] - window[0]
    return round(usual * (span / HOUR)) if usual and span >= DAY else None


def usual_rows(previous: Item, analysis: Analysis) -> float | None:
    """Rows an hour as they usually are, None if that is not known yet: what windows had, those of a week ago half.

    Windows of less than a day say nothing, for nights are not days; those that could not be read say nothing either.
    """
    usual = previous.get("usual_rows")
    start, end = analysis.window_start, analysis.window_end
    if end - start < DAY or analysis.reason in {"schema_mismatch", "capture_corrupt"}:
        return usual
    now = analysis.rows / ((end - start) / HOUR)
    if usual is None:
        return now or None
    passed = max(end - clock.parse(previous["window_end"]), timedelta(0))
    return float(now + (usual - now) * 0.5 ** (passed / FORGOTTEN_BY_HALF))


def _effort(reading: Reading) -> dict[str, int]:
    """What the analysis had to read, of how many files."""
    return {"files": reading.files, "files_read": reading.files_read, "bytes_read": reading.bytes_read}


def _matters(analysis: Analysis) -> bool:
    """Whether a person or an episode may want to see the analysis later."""
    harmful = analysis.harm is not None and analysis.harm.likely
    return analysis.triage or analysis.verdict is Verdict.DRIFTED or harmful


def _file(analysis: Analysis, reading: Reading, endpoint: str, store: Store, *, keep: bool) -> str:
    """The window's files are where Model Monitor would put them; analysis.json's URI.

    Later windows of the hour replace them there. What is kept lies below, in a folder of its minute, and its URI is
    that one.
    """
    folder = f"monitor/{endpoint}/{names.schedule_name(endpoint)}/{analysis.window_end:%Y/%m/%d/%H}"
    documents = {
        "statistics": analysis.statistics(),
        "constraints": analysis.constraints(),
        "constraint_violations": analysis.constraint_violations(),
        "analysis": {**analysis.document(), "reading": _effort(reading)},
    }
    folders = [folder, f"{folder}/{analysis.window_end:%M}"][: 1 + keep]
    for place in folders:
        for name, document in documents.items():
            store.put(f"{place}/{name}.json", json.dumps(document, sort_keys=True))
    return store.uri(f"{folders[-1]}/analysis.json")


def _digest(analysis: Analysis) -> dict[str, Any]:
    """What the ledger and the log say about the window."""
    return {
        "window_start": clock.render(analysis.window_start),
        "window_end": clock.render(analysis.window_end),
        "verdict": analysis.verdict.value,
        "reason": analysis.reason,
        "detail": analysis.detail and short(analysis.detail, LONGEST_DETAIL),
        "triage": analysis.triage,
        "worst_feature": analysis.worst_feature,
        "drift_max": analysis.drift_max,
        "drift_harm": analysis.drift_harm,
        "opens": analysis.opens,
        "threshold": analysis.threshold,
        "rows": analysis.rows,
        "bad_rows": sum(analysis.bad_rows.values()),
    }


def _tell(analysis: Analysis, endpoint: str, store: Store, report_uri: str, topic: Topic) -> None:
    page_uri = names.drift_page(report_uri)
    lines = [
        f"The captures of endpoint {endpoint} are broken: {analysis.reason}.",
        "",
        short(str(analysis.detail), LONGEST_DETAIL),
        "",
        f"Window   {clock.render(analysis.window_start)} to {clock.render(analysis.window_end)}",
        f"Report   {page_uri}",
        f"         {store.link(page_uri)}",
        "",
        "Nothing is retrained on broken data. This is told once; it ends when a window is sound again.",
    ]
    try:
        topic.publish(f"{endpoint}: broken data, {analysis.reason}", "\n".join(lines))
    except RetrainError as error:
        logger.warning("notification failed", error=str(error))
