"""The approval page: shows what a signed link is about, and takes its reader's decision."""

from __future__ import annotations

from typing import Any

from retrain.core.telemetry import observed
from retrain.deployed import adapters, settings
from retrain.episode.approval_page import Page, answer


@observed
def handler(event: Any, _context: Any) -> dict[str, Any]:
    """The HTTP response to API Gateway's event."""
    page = Page(
        endpoint_name=settings.endpoint_name(),
        eyes=settings.approvers(),
        macs=adapters.macs(),
        ledger=adapters.ledger(),
        sagemaker=adapters.sagemaker(),
        callbacks=adapters.callbacks(),
    )
    return answer(event, page=page)
