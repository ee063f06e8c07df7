"""Draws the pages that people look at; the only handler that needs plotly."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.deployed import adapters
from retrain.deployed.settings import setting
from retrain.report.writer import draw_page


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """`status` drawn and the page's URI; or ignored, and why."""
    return draw_page(
        event, endpoint_name=setting("ENDPOINT_NAME", str), ledger=adapters.ledger(), store=adapters.store()
    )
