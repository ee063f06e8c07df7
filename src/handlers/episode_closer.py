"""Closes an episode, whether its state machine says so or its execution is simply over."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.core.values import Step
from retrain.deployed import adapters, settings
from retrain.episode.closing import close_ended_execution, close_episode


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` closed with outcome, reason and detail; or ignored, because it was closed before."""
    rules, ledger, sagemaker, topic = settings.closing(), adapters.ledger(), adapters.sagemaker(), adapters.topic()
    bus = adapters.bus()
    if "detail-type" in event:
        return close_ended_execution(event, rules=rules, ledger=ledger, sagemaker=sagemaker, topic=topic, bus=bus)
    return close_episode(Step.of(event), rules=rules, ledger=ledger, sagemaker=sagemaker, topic=topic, bus=bus)
