"""Finds, every few minutes, what a lost event or a failed call has left behind, and makes up for it."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.deployed import adapters, settings
from retrain.episode.closing import Closer
from retrain.episode.sweeping import Sweeper, sweep


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` swept: which episodes were `closed` or `told` of, and what is wrong with what is `serving`."""
    closer = Closer(
        rules=settings.closing(),
        ledger=adapters.ledger(),
        sagemaker=adapters.sagemaker(),
        topic=adapters.topic(),
        bus=adapters.bus(),
        native_schedule=settings.native_schedule(),
    )
    sweeper = Sweeper(settings.endpoint_name(), closer, adapters.machine(), adapters.store(), settings.retention())
    return sweep(event, sweeper=sweeper)
