"""Closes an episode, whether its state machine says so or its execution is simply over."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.core.values import Step
from retrain.deployed import adapters, settings
from retrain.episode.closing import Closer, close_ended_execution, close_episode


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` closed with outcome, reason and detail; or ignored, and why."""
    closer = Closer(
        rules=settings.closing(),
        ledger=adapters.ledger(),
        sagemaker=adapters.sagemaker(),
        topic=adapters.topic(),
        bus=adapters.bus(),
        native_schedule=settings.native_schedule(),
    )
    if "detail-type" in event:
        return close_ended_execution(event, closer=closer)
    return close_episode(Step.of(event), closer=closer)
