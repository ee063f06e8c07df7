"""CloudFormation's custom resource: publishes the pipeline and its code, and asks for the first episode."""

from __future__ import annotations

from typing import Any

from retrain.aws.cloudformation import respond
from retrain.core.telemetry import observed
from retrain.deployed import adapters, settings
from retrain.pipeline import publishing


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` that CloudFormation was told: success or failed."""
    return publishing.answer(
        event,
        settings=settings.publishing,
        ledger=adapters.ledger,
        store=adapters.store,
        sagemaker=adapters.sagemaker,
        cloudwatch=adapters.cloudwatch,
        bus=adapters.bus,
        respond=respond,
    )
