"""Tells how far the pipeline, or the endpoint, of an episode is."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.core.values import Step
from retrain.deployed import adapters, settings
from retrain.episode.baking import follow_rollout
from retrain.episode.retraining import check_pipeline


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status`; every bad end is an error with a name of its own."""
    step = Step.of(event)
    if step.name == "endpoint":
        return follow_rollout(
            step,
            ledger=adapters.ledger(),
            sagemaker=adapters.sagemaker(),
            store=adapters.store(),
            cloudwatch=adapters.cloudwatch(),
        )
    return check_pipeline(step, rules=settings.patience(), ledger=adapters.ledger(), sagemaker=adapters.sagemaker())
