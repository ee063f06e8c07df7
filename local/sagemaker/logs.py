"""What containers print, in CloudWatch Logs."""

from __future__ import annotations

import sys
import time
from typing import Any

GROUP = "/aws/sagemaker"
LINES_AT_ONCE = 1000


def keep(logs: Any, group: str, stream: str, text: str) -> None:
    """The text's lines are in the log stream. Nothing fails because its log could not be kept."""
    lines = [line for line in text.splitlines() if line.strip()][-LINES_AT_ONCE:]
    try:
        for create, names in (
            (logs.create_log_group, {"logGroupName": group}),
            (logs.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
        ):
            try:
                create(**names)
            except logs.exceptions.ResourceAlreadyExistsException:
                continue
        if lines:
            stamp = int(time.time() * 1000)
            events = [{"timestamp": stamp, "message": line} for line in lines]
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    except Exception as error:  # noqa: BLE001
        print(f"the log of {group}/{stream} was not kept: {error}", file=sys.stderr)
