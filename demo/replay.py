"""Months of real traffic against the deployed endpoint, with the loop at work behind it."""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count, groupby
from typing import Any
from urllib.parse import urlparse

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from demo.stack import DemoError, Stack, wait_for
from demo.windows import Row, Window
from retrain.model import serving
from retrain.model.spec import Spec
from retrain.model.table import class_name
from retrain.quality import metrics

ROWS_PER_REQUEST = 8
HOURS_PER_STEP = 6
CLIENTS = 4
SAME = 1e-3  # two predictions of one model differ by float formatting only


@dataclass
class Answer:
    """One request as its client saw it."""

    inference_id: str
    rows: Sequence[Row]
    predictions: list[str]  # a line for each row; empty: the request failed
    sent_at: float  # time.monotonic()


@dataclass
class WindowResult:
    """What happened in one window: a line of the final table, and of summary.json."""

    name: str
    verdict: str = ""
    worst_feature: str = ""
    drift_max: float | None = None
    quality: str = ""  # the quality monitor's verdict on the answers
    quality_max: float | None = None
    alarms: list[str] = field(default_factory=list)  # those that fired: drift, quality
    episode: str | None = None
    outcome: str | None = None
    served_model: str = ""
    served_metric: float = math.nan
    stale_metric: float = math.nan
    rows: int = 0
    features: dict[str, float] = field(default_factory=dict)
    gate: dict[str, Any] | None = None
    reason: str | None = None
    seconds: float = 0.0


@dataclass
class Replay:
    """The replay of a table through a deployed stack.

    After `run`, `results` has one entry per window, `sent`, `failed` and `misversioned` count predictions: sent to
    InvokeEndpoint, not answered, and answered by a model that was neither the champion nor, during a roll-out, its
    challenger. `violations` lists AWS calls and answers that botocore's models do not define.
    """

    stack: Stack
    title: str
    spec: Spec
    windows: Sequence[Window]
    tell: Callable[[str, WindowResult | None, float], None]
    results: list[WindowResult] = field(default_factory=list)
    sent: int = 0
    failed: int = 0
    misversioned: int = 0
    violations: list[str] = field(default_factory=list)
    _models: dict[str, Any] = field(default_factory=dict)
    _labels_due: list[tuple[datetime, str]] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _stale: str = ""
    _in_service_at: float = math.inf

    def run(self) -> None:
        """Every window was sent, labelled, analysed and, where the alarm fired, carried through its episode."""
        self._stale = self.stack.champion()["model_data_uri"]
        already: list[Answer] = []  # what the traffic during the last window's episode already sent of this window
        for number, window in enumerate(self.windows):
            began = time.monotonic()
            result = WindowResult(window.name, served_model=_version(self.stack.champion()))
            self.results.append(result)
            model = self.stack.champion()["model_data_uri"]
            answers = self._traffic(window, skip=sum(len(answer.rows) for answer in already), result=result)
            self._check_versions(answers, [model])
            self._score(result, [*already, *answers])
            following = self.windows[number + 1] if number + 1 < len(self.windows) else None
            already = self._look_back(window, following, result, model)
            result.seconds = time.monotonic() - began
            self.tell("window", result, 1.0)
        self.violations = self.stack.aws.violations()

    # Traffic ------------------------------------------------------------------------------------------------------

    def _traffic(self, window: Window, skip: int, result: WindowResult) -> list[Answer]:
        """The window's rows from `skip` on were sent, each at its time, and labels delivered as they became known."""
        answers: list[Answer] = []
        rows = window.rows[skip:]
        done = 0
        with ThreadPoolExecutor(CLIENTS) as clients:
            for step, group in groupby(rows, key=lambda row: _floor(row.time, HOURS_PER_STEP)):
                self._deliver_labels(step)
                self.stack.aws.set_clock(step)
                for answer in clients.map(self._invoke, _requests(list(group))):
                    answers.append(answer)
                    self._keep(answer)
                    done += len(answer.rows)
                self.tell("traffic", result, done / max(1, len(rows)))
        self._deliver_labels(window.end)
        return answers

    def _invoke(self, rows: Sequence[Row]) -> Answer:
        """The answer to one request of those rows."""
        inference_id = f"request-{next(self._ids):07d}"
        sent_at = time.monotonic()
        predictions: list[str] = []
        try:
            response = self.stack.aws.client("sagemaker-runtime").invoke_endpoint(
                EndpointName=self.stack["EndpointName"],
                ContentType="text/csv",
                Accept="text/csv",
                InferenceId=inference_id,
                Body=_body(rows),
            )
            predictions = response["Body"].read().decode().splitlines()
        except (ClientError, BotoCoreError, UnicodeDecodeError):
            predictions = []
        return Answer(inference_id, rows, predictions if len(predictions) == len(rows) else [], sent_at)

    def _keep(self, answer: Answer) -> None:
        """The answer is counted, and its ground truth will be known when model.toml says, or else a day later."""
        self.sent += len(answer.rows)
        if not answer.predictions:
            self.failed += len(answer.rows)
            return
        label = {
            "groundTruthData": {"data": "\n".join(row.label for row in answer.rows), "encoding": "CSV"},
            "eventMetadata": {"eventId": answer.inference_id},
            "eventVersion": "0",
        }
        delay = self.spec.monitor.label_delay_hours
        known = answer.rows[-1].time + timedelta(hours=24 if delay is None else delay)
        self._labels_due.append((known, json.dumps(label)))

    def _deliver_labels(self, now: datetime) -> None:
        """Every label that is due by `now` is in the bucket, under the hour in which it was collected."""
        ready = [label for at, label in self._labels_due if at <= now]
        if not ready:
            return
        self._labels_due = [(at, label) for at, label in self._labels_due if at > now]
        self.stack.aws.client("s3").put_object(
            Bucket=self.stack["BucketName"],
            Key=f"labels/{now:%Y/%m/%d/%H}/{now:%M%S}.jsonl",
            Body="\n".join(ready).encode(),
        )

    # The loop at the end of a window ------------------------------------------------------------------------------

    def _look_back(self, window: Window, following: Window | None, result: WindowResult, model: str) -> list[Answer]:
        """The monitors analysed the window; if an alarm fired, the episode has ended. Traffic went on meanwhile."""
        before = {episode["pk"] for episode in self.stack.episodes()}
        self.tell("monitor", result, 0.0)
        self.stack.aws.set_clock(window.end)
        end = f"{window.end:%Y-%m-%dT%H:%M}"
        analysis = wait_for(
            f"the drift monitor's analysis of {window.name}",
            lambda: a if str((a := self.stack.analysis()).get("window_end", "")).startswith(end) else None,
        )
        result.verdict = str(analysis["verdict"])
        result.worst_feature = str(analysis.get("worst_feature") or "")
        result.drift_max = float(analysis["drift_max"]) if analysis.get("drift_max") is not None else None
        result.features = self._distances(analysis)
        quality = wait_for(
            f"the quality monitor's analysis of {window.name}",
            lambda: a if str((a := self.stack.analysis("QUALITY")).get("analysed_at", "")).startswith(end) else None,
        )
        result.quality = str(quality["verdict"])
        result.quality_max = float(quality["quality_max"]) if quality.get("quality_max") is not None else None
        fired = {"drift": (result.verdict, "DriftAlarmName"), "quality": (result.quality, "QualityAlarmName")}
        for name, (verdict, output) in fired.items():
            if verdict == "DRIFTED":
                wait_for(f"the {name} alarm to fire", partial(self._fired, output))
                result.alarms.append(name)
        if not result.alarms:
            return []
        opened = wait_for(
            "the alarm to open an episode",
            lambda: [episode for episode in self.stack.episodes() if episode["pk"] not in before],
        )
        self.tell("episode", result, 0.0)
        answers, episode = self._traffic_during_episode(opened[0]["pk"], following)
        new = [item["pk"] for item in self.stack.episodes() if item["pk"] not in before]
        if len(new) != 1:
            raise DemoError(f"one window opened {len(new)} episodes: {', '.join(new)}")
        result.episode = str(episode["pk"]).removeprefix("EPISODE#")
        result.outcome, result.reason = str(episode["outcome"]), str(episode.get("reason") or "")
        result.gate = self._gate(result.episode)
        challenger = self.stack.champion()["model_data_uri"]
        self._check_versions(answers, [model, challenger])
        if challenger != model:
            # The first request sent after the endpoint said InService with the new config must be the new model's.
            self._check_versions([a for a in answers if a.sent_at > self._in_service_at], [challenger])
        return answers

    def _fired(self, output: str) -> bool:
        return self.stack.alarm_state(output) == "ALARM"

    def _traffic_during_episode(self, pk: str, following: Window | None) -> tuple[list[Answer], dict[str, Any]]:
        """The closed episode, and the answers to the traffic that ran from before the roll-out until after it."""
        answers: list[Answer] = []
        closed = threading.Event()
        rows = following.rows if following else ()
        pause = max(0.1, 120 / max(len(rows), 1))  # of a small window, most is to come after the episode
        serving = self.stack.serving()
        self._in_service_at = math.inf

        def keep_asking() -> None:
            for row in rows:
                answers.append(self._invoke([row]))
                if closed.wait(pause):
                    return

        asking = threading.Thread(target=keep_asking, daemon=True)
        asking.start()
        try:

            def look() -> dict[str, Any] | None:
                endpoint = self.stack.aws.client("sagemaker").describe_endpoint(EndpointName=self.stack["EndpointName"])
                changed = endpoint["EndpointConfigName"] != serving and endpoint["EndpointStatus"] == "InService"
                if changed and self._in_service_at == math.inf:
                    self._in_service_at = time.monotonic()
                item = self.stack.item(pk, "EPISODE")
                return item if item.get("status") == "CLOSED" else None

            episode = wait_for("the episode to end", look, seconds=300)
            time.sleep(0.3)
        finally:
            closed.set()
            asking.join()
        for answer in answers:
            self._keep(answer)
        return answers, episode

    def _distances(self, analysis: dict[str, Any]) -> dict[str, float]:
        """Distance per feature, from the analysis that the monitor wrote to the bucket."""
        report = self._json(str(analysis["report_uri"]))
        return {item["name"]: item["distance"] for item in report["features"] if item["distance"] is not None}

    def _gate(self, episode_id: str) -> dict[str, Any] | None:
        """The gate's numbers of the episode, None if it never got that far."""
        try:
            uri = f"s3://{self.stack['BucketName']}/episodes/{episode_id}/evaluation/evaluation.json"
            gate: dict[str, Any] = self._json(uri)["gate"]
        except ClientError:
            return None
        return gate

    def _json(self, uri: str) -> Any:
        return json.loads(self._read(uri))

    def _read(self, uri: str) -> bytes:
        parts = urlparse(uri)
        body = self.stack.aws.client("s3").get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))["Body"]
        return bytes(body.read())

    # Scores, by the models' own artefacts ---------------------------------------------------------------------------

    def _predict(self, uri: str, rows: Sequence[Row]) -> list[str]:
        """What the model of that artefact says of the rows, asked outside the endpoint."""
        if uri not in self._models:
            folder = tempfile.mkdtemp(prefix="model-")
            with tarfile.open(fileobj=io.BytesIO(self._read(uri))) as tar:
                tar.extractall(folder, filter="data")
            self._models[uri] = serving.model_fn(folder)
        model = self._models[uri]
        answer, _ = serving.transform_fn(model, _body(rows), "text/csv", "text/csv")
        return str(answer).splitlines()

    def _check_versions(self, answers: Sequence[Answer], uris: Sequence[str]) -> None:
        """`misversioned` counts the rows of the answers that none of the models would have given."""
        answered = [answer for answer in answers if answer.predictions]
        rows = [row for answer in answered for row in answer.rows]
        if not rows:
            return
        given = [value for answer in answered for value in answer.predictions]
        possible = list(zip(*(self._predict(uri, rows) for uri in uris), strict=True))
        self.misversioned += sum(
            not any(_same(value, candidate) for candidate in candidates)
            for value, candidates in zip(given, possible, strict=True)
        )

    def _score(self, result: WindowResult, answers: Sequence[Answer]) -> None:
        """The metric of the answers that clients got, and of those the never-retrained model would have given."""
        answered = [answer for answer in answers if answer.predictions]
        rows = [row for answer in answered for row in answer.rows]
        result.rows = len(rows)
        truth = [row.label for row in rows]
        stale = self._predict(self._stale, rows)
        classes = self._models[self._stale].encoder.classes
        served = [line for answer in answered for line in answer.predictions]
        result.served_metric = score(self.spec, classes, truth, served)
        result.stale_metric = score(self.spec, classes, truth, stale)


def metric_of(spec: Spec) -> str:
    """What served answers are scored by: the model's main metric; accuracy where only classes are answered."""
    return "accuracy" if spec.task == "multiclass" else spec.metric


def score(spec: Spec, classes: Sequence[str], truth: Sequence[str], lines: Sequence[str]) -> float:
    """`metric_of` the answered lines; NaN if there are none. A probability is that of the last of the two classes."""
    if not truth:
        return math.nan
    if spec.task == "multiclass":
        return sum(class_name(a) == b for a, b in zip(truth, lines, strict=True)) / len(truth)
    values = np.array([classes.index(class_name(label)) if classes else float(label) for label in truth])
    return metrics.score(spec.metric, values, np.array([float(line) for line in lines]))


def summary(replay: Replay, seconds: dict[str, float]) -> dict[str, Any]:
    """The demo's result as plain data: what summary.json holds."""
    return {
        "title": replay.title,
        "metric": metric_of(replay.spec),
        "direction": replay.spec.direction,
        "windows": [asdict(result) for result in replay.results],
        "predictions_sent": replay.sent,
        "predictions_failed": replay.failed,
        "predictions_misversioned": replay.misversioned,
        "violations": replay.violations,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def _body(rows: Sequence[Row]) -> str:
    """The rows as a request carries them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row.values for row in rows)
    return text.getvalue()


def _requests(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), ROWS_PER_REQUEST):
        yield rows[start : start + ROWS_PER_REQUEST]


def _floor(time_: datetime, hours: int) -> datetime:
    return time_.replace(hour=time_.hour - time_.hour % hours, minute=0, second=0, microsecond=0)


def _same(one: str, other: str) -> bool:
    """Whether two answers are one model's: equal, but for how a float is written."""
    if one == other:
        return True
    try:
        return math.isclose(float(one), float(other), rel_tol=SAME, abs_tol=SAME)
    except ValueError:
        return False


def _version(champion: dict[str, Any]) -> str:
    """The model package's version number, as people speak of it: v3."""
    return "v" + str(champion["model_package_arn"]).rsplit("/", 1)[-1]
