"""Rolls the approved package out, and switches champion and baseline when it serves."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.core.values import Step
from retrain.deployed import adapters, settings
from retrain.episode.model_monitor import swap_native_baseline
from retrain.episode.reinstating import adopt_what_serves, reinstate_model
from retrain.episode.rollout import converge_endpoint, switch_champion


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status`: updating, switched, or what became of a native schedule's baseline."""
    step = Step.of(event)
    if step.name == "swap_native_baseline":
        return swap_native_baseline(
            step, schedule=settings.native_schedule(), ledger=adapters.ledger(), sagemaker=adapters.sagemaker()
        )
    if step.name == "reinstate":
        return reinstate_model(step, ledger=adapters.ledger())
    if step.name == "adopt":
        return adopt_what_serves(step, ledger=adapters.ledger(), sagemaker=adapters.sagemaker())
    if step.name == "switch_champion":
        return switch_champion(step, ledger=adapters.ledger(), sagemaker=adapters.sagemaker())
    return converge_endpoint(
        step,
        settings=settings.rollout(),
        ledger=adapters.ledger(),
        store=adapters.store(),
        sagemaker=adapters.sagemaker(),
        cloudwatch=adapters.cloudwatch(),
    )
