"""Tells how far the pipeline, or the endpoint, of an episode is."""

from __future__ import annotations

from typing import Any

from retrain.aws import adapters, settings
from retrain.episode import Step
from retrain.retraining import check_pipeline
from retrain.rollout import check_endpoint
from retrain.telemetry import observed


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status`; every bad end is an error with a name of its own."""
    step = Step.of(event)
    if step.name == "endpoint":
        return check_endpoint(step, ledger=adapters.ledger(), sagemaker=adapters.sagemaker())
    return check_pipeline(step, rules=settings.patience(), ledger=adapters.ledger(), sagemaker=adapters.sagemaker())
