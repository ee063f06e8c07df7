"""Logs, traces and metrics of every handler, in one place; the only importer of Powertools.

Nothing here may change a result: what can't be logged, traced or counted is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any
from warnings import filterwarnings

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from retrain.core.errors import RetrainError

NAMESPACE = "DriftRetrain"
LONGEST = 2000  # characters of somebody else's text in a log line

Handler = Callable[[Any, Any], dict[str, Any]]

# A step that counts nothing is no mistake.
filterwarnings("ignore", message="No application metrics to publish")

logger = Logger(service="drift-retrain")
tracer = Tracer(service="drift-retrain", patch_modules=("botocore",))
metrics = Metrics(namespace=NAMESPACE, service="drift-retrain")


def observed(handler: Handler) -> Handler:
    """The handler, with its logs, trace and metrics: every handler wears exactly this.

    Payloads and results are never logged or traced, because task tokens travel in them.
    """

    @wraps(handler)
    def with_outcome(event: Any, context: Any) -> dict[str, Any]:
        _recognise(event)
        try:
            result = handler(event, context)
        except RetrainError as error:
            logger.warning("step ended in an error", error=type(error).__name__, detail=short(str(error)))
            count("StepError", reason=type(error).__name__)
            raise
        logger.info("done", **{key: result[key] for key in ("action", "status", "decision", "reason") if key in result})
        return result

    logged = logger.inject_lambda_context(with_outcome, clear_state=True)
    traced = tracer.capture_lambda_handler(logged, capture_response=False)
    return metrics.log_metrics(traced)


def about(episode_id: str) -> None:
    """Every further log line of this invocation, and its trace, carry the episode's id."""
    logger.append_keys(episode_id=episode_id)
    with suppress(Exception):
        tracer.put_annotation("episode_id", episode_id)


def count(name: str, reason: str) -> None:
    """One more `name`, for that reason, in the application's namespace."""
    with suppress(Exception), single_metric(name, MetricUnit.Count, 1, namespace=NAMESPACE) as metric:
        metric.add_dimension("Reason", reason)


def trace_id() -> str | None:
    """The trace of this invocation, so that what it starts joins it; None outside of a trace."""
    with suppress(Exception):
        recorder: Any = tracer.provider
        segment = None if tracer.disabled else recorder.get_trace_entity()
        if segment is not None:
            return f"Root={segment.trace_id};Parent={segment.id};Sampled={int(segment.sampled)}"
    return None


def short(text: str, limit: int = LONGEST) -> str:
    """`text`, or its beginning and how much is missing.

    >>> short("abcdef", 4)
    'abcd… (2 more)'
    """
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more)"


def _recognise(event: Any) -> None:
    """Whatever names an episode in a state machine's payload is taken into logs and trace."""
    episode = event.get("episode") if isinstance(event, Mapping) else None
    if isinstance(episode, Mapping) and isinstance(episode.get("episode_id"), str):
        about(episode["episode_id"])
