"""Analyses the captures of the window that ends at the scheduled time; the only handler that needs numpy."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.deployed import adapters, settings
from retrain.monitors.drift_monitor import watch_endpoint


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` is the window's verdict; or ignored, and why."""
    return watch_endpoint(
        event,
        rules=settings.watching(),
        ledger=adapters.ledger(),
        store=adapters.store(),
        cloudwatch=adapters.cloudwatch(),
        sagemaker=adapters.sagemaker(),
        topic=adapters.topic(),
        bus=adapters.bus(),
    )
