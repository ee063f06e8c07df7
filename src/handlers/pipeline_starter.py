"""Starts the SageMaker pipeline for an episode."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.core.values import Step
from retrain.deployed import adapters, settings
from retrain.episode.retraining import start_retraining


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status`, and the ARN of the one execution that this episode has, unless it waits for labels."""
    return start_retraining(
        Step.of(event),
        settings=settings.pipeline(),
        rules=settings.patience(),
        ledger=adapters.ledger(),
        store=adapters.store(),
        sagemaker=adapters.sagemaker(),
    )
