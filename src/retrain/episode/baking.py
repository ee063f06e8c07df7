"""While a new model bakes, the answers that clients get are looked at: an alarm on what is found turns it back.

SageMaker's own metrics know errors and latency, not what was answered. So each time the state machine asks how far the
endpoint is, the newest captures are read, and the share of answers that make no sense is published, less what that
share was before the roll-out: a model that answers nonsense already must be replaceable.

An answer makes no sense that is empty or no finite number, that lies beyond everything either model answered on what it
was trained on by more than the breadth of that, or that is the same for a hundred different questions on end. Data
capture brings answers minutes late, so a bake time of five minutes or more is what this needs.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from retrain.core import clock, names
from retrain.core.telemetry import logger
from retrain.core.values import Step
from retrain.episode.afterthoughts import attempt
from retrain.episode.rollout import check_endpoint

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker

METRIC = "insane_predictions"
_FILES = 20  # of the oldest captures that are looked at, and of the newest
_ALIKE = 100  # different questions that one answer to all of them needs to be suspicious
_TAKING = frozenset({"ActivatingTraffic", "Baking"})  # stages in which the new fleet answers
_LONGEST = timedelta(hours=3)  # that a roll-out takes
Range = tuple[float, float]


@dataclass(frozen=True)
class Answered:
    """One captured request: when, what was asked, and its answers as texts."""

    time: datetime
    asked: str
    answers: tuple[str, ...]


def follow_rollout(
    step: Step, *, ledger: Ledger, sagemaker: SageMaker, store: Store, cloudwatch: CloudWatch
) -> dict[str, Any]:
    """What `check_endpoint` says; while it says `updating`, the share of senseless answers is published, too.

    That this fails, as long as SageMaker answers, changes nothing about the roll-out.
    """
    answer = check_endpoint(step, ledger=ledger, sagemaker=sagemaker)
    if answer["status"] == "updating":
        attempt(
            "look at the answers",
            partial(_publish, step, ledger=ledger, sagemaker=sagemaker, store=store, cloudwatch=cloudwatch),
        )
    return answer


def _publish(step: Step, *, ledger: Ledger, sagemaker: SageMaker, store: Store, cloudwatch: CloudWatch) -> None:
    name = step.episode.endpoint_name
    pending = (sagemaker.endpoint(name) or {}).get("PendingDeploymentSummary") or {}
    since = taking_since(pending)
    if since is None:
        return
    begun = pending["StartTime"].astimezone(UTC)  # captures lie below hours of UTC
    keys = store.keys_between(f"capture/{name}/{names.VARIANT}", begun - timedelta(hours=1), begun + _LONGEST)
    some = dict.fromkeys([*keys[:_FILES], *keys[-_FILES:]])
    found = [one for _, body in store.bodies(list(some)) for one in answered(body.splitlines())]
    models = ledger.held(step.episode), ledger.champion(name) or {}
    uris = [str(model["statistics_uri"]) for model in models if model.get("statistics_uri")]
    known = span_of([json.loads(store.read(uri)) for uri in uris])
    before = insane_share([one for one in found if one.time < begun], known)
    after = insane_share([one for one in found if one.time >= since], known)
    if after is None:
        return
    value = max(after - (before or 0.0), 0.0)
    logger.info("answers looked at", insane=value, before=before)
    dimensions = [{"Name": "Endpoint", "Value": name}]
    cloudwatch.put_metrics([{"MetricName": METRIC, "Dimensions": dimensions, "Value": value, "Unit": "None"}])


def taking_since(pending: Mapping[str, Any]) -> datetime | None:
    """Since when the new fleet has answered requests, as far as DescribeEndpoint tells; None if it does not yet."""
    stages = [
        stage
        for variant in pending.get("ProductionVariants", [])
        for stage in variant.get("VariantStatus", [])
        if stage.get("Status") in _TAKING
    ]
    return min((stage.get("StartTime") or pending["StartTime"] for stage in stages), default=None)


def answered(lines: Iterable[bytes]) -> list[Answered]:
    """The captured requests whose answer is of a kind that the serving code gives; all others tell nothing."""
    found = []
    for line in lines:
        try:
            record = json.loads(line)
            asked, told = record["captureData"]["endpointInput"], record["captureData"]["endpointOutput"]
            time = clock.parse(record["eventMetadata"]["inferenceTime"])
            found.append(Answered(time, str(asked["data"]), _texts(told)))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _texts(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers of `{"predictions": […]}` or of a line each."""
    data = str(told["data"])
    if told["encoding"] == "BASE64":
        data = b64decode(data).decode()
    if data.lstrip().startswith("{"):
        return tuple("" if value is None else str(value) for value in json.loads(data)["predictions"])
    return tuple(line.strip() for line in data.splitlines())


def span_of(statistics: Iterable[Mapping[str, Any]]) -> Range | None:
    """From where to where answers make sense, by the baselines of both models; None where they are no numbers."""
    low, high = math.inf, -math.inf
    for document in statistics:
        for feature in document.get("features", []):
            numbers = feature.get("numerical_statistics") or {}
            if feature["name"] == names.PREDICTION and numbers.get("min") is not None:
                low, high = min(low, numbers["min"]), max(high, numbers["max"])
    return (low - (high - low), high + (high - low)) if low <= high else None


def insane_share(found: Iterable[Answered], known: Range | None) -> float | None:
    """The share of the answers that make no sense, None without answers.

    >>> at = clock.parse("2026-11-22T14:00:00Z")
    >>> insane_share([Answered(at, "1", ("0.5", "nan")), Answered(at, "2", ("0.7", "9"))], (0, 1))
    0.5
    """
    ordered = sorted(found, key=lambda one: one.time)
    answers = [text for one in ordered for text in one.answers]
    if not answers:
        return None
    newest = ordered[-_ALIKE:]
    if len({one.asked for one in newest}) == _ALIKE and len({text for one in newest for text in one.answers}) == 1:
        return 1.0
    return sum(map(partial(_senseless, known=known), answers)) / len(answers)


def _senseless(text: str, known: Range | None) -> bool:
    """Whether the answer is none; a class's name, where nobody knows a range, is one."""
    if known is None:
        return not text or text.lower() == "nan"
    try:
        number = float(text)
    except ValueError:
        return True
    return not (math.isfinite(number) and known[0] <= number <= known[1])
