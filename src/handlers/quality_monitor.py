"""Judges the answers of a window by their labels, at the scheduled time; needs numpy, like the drift monitor."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.deployed import adapters, settings
from retrain.monitors.quality_monitor import watch_quality


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` is the verdict on the answers; or ignored, and why."""
    return watch_quality(
        event,
        rules=settings.watching_quality(),
        ledger=adapters.ledger(),
        store=adapters.store(),
        cloudwatch=adapters.cloudwatch(),
        bus=adapters.bus(),
    )
