"""EventBridge: what the application says to itself."""

from __future__ import annotations

import json
from typing import Any

from retrain.aws.calls import classified
from retrain.core.errors import Throttled


class Bus:
    """The default event bus."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def put(self, detail_type: str, detail: dict[str, Any]) -> None:
        """The event of source `retrain` is on the bus."""
        entry = {"Source": "retrain", "DetailType": detail_type, "Detail": json.dumps(detail, sort_keys=True)}
        with classified("events:PutEvents"):
            answer = self._events.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:  # PutEvents fails one entry at a time, with status 200
            raise Throttled(f"events:PutEvents: {answer['Entries'][0].get('ErrorCode')}")
