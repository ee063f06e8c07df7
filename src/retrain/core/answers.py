"""What a function answers when it leaves everything as it is: why, logged and counted."""

from __future__ import annotations

from typing import Any

from retrain.core import telemetry
from retrain.core.telemetry import logger


def ignored(reason: str) -> dict[str, Any]:
    """The answer to something that changes nothing, counted and logged with its reason."""
    telemetry.count("Ignored", reason=reason)
    logger.info("ignored", reason=reason)
    return {"action": "ignored", "reason": reason}


def refused(reason: str) -> dict[str, Any]:
    """The answer to something that should not have been asked, counted and logged with its reason."""
    telemetry.count("Refused", reason=reason)
    logger.warning("refused", reason=reason)
    return {"action": "refused", "reason": reason}
