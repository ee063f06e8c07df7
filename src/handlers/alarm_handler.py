"""Opens a drift episode when the drift alarm fires, or when the first model is asked for."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.deployed import adapters, settings
from retrain.episode import alarm


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`action` is opened, ignored or refused, with the reason."""
    return alarm.answer(
        event,
        rules=settings.opening(),
        ledger=adapters.ledger(),
        machine=adapters.machine(),
        rejected=adapters.rejected(),
        topic=adapters.topic(),
        store=adapters.store(),
        bus=adapters.bus(),
    )
