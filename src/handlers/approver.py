"""Judges the challenger, asks people, and hears what they decided in the Model Registry."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.core.values import Step
from retrain.deployed import adapters, settings
from retrain.episode.approval import hear_decision, judge_challenger, request_approval


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`decision` of the gate and the policy, `status` of the request, or what became of the registry's event."""
    rules, ledger, sagemaker = settings.approval(), adapters.ledger(), adapters.sagemaker()
    if "step" not in event:
        return hear_decision(
            event,
            rules=rules,
            ledger=ledger,
            sagemaker=sagemaker,
            callbacks=adapters.callbacks(),
            topic=adapters.topic(),
        )
    step = Step.of(event)
    if step.name == "request_approval":
        return request_approval(
            step,
            rules=rules,
            ledger=ledger,
            sagemaker=sagemaker,
            callbacks=adapters.callbacks(),
            topic=adapters.topic(),
            links=adapters.links(),
        )
    return judge_challenger(
        step, rules=rules, ledger=ledger, store=adapters.store(), sagemaker=sagemaker, bus=adapters.bus()
    )
