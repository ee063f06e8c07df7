"""SQS: events that were refused, kept for people to look at."""

from __future__ import annotations

import json
from typing import Any

from retrain.aws.calls import classified

_LONGEST = 200_000  # characters; a message may have 256 KiB


class RejectedEvents:
    """The queue of refused events."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def keep(self, event: Any, reason: str, detail: str) -> None:
        """The event, cut if it is huge, is in the queue with the reason."""
        text = json.dumps(event, default=str)
        body = {"reason": reason, "detail": detail, "event": event if len(text) <= _LONGEST else text[:_LONGEST]}
        with classified("sqs:SendMessage"):
            self._sqs.send_message(QueueUrl=self._url, MessageBody=json.dumps(body, default=str))
