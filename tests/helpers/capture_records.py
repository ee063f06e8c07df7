"""Capture and label records as SageMaker writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

TIME = "2026-11-22T14:03:09Z"


def record(data: Any = "34,0.51,web\n", **changes: Any) -> dict[str, Any]:
    """A capture record; `changes` are data, encoding, content_type, output, event_id, inference_id, time."""
    encoding, output = changes.get("encoding", "CSV"), changes.get("output", "0.0713\n")
    metadata = {"eventId": changes.get("event_id", "5f2c"), "inferenceTime": changes.get("time", TIME)}
    if "inference_id" in changes:
        metadata["inferenceId"] = changes["inference_id"]
    captured = {}
    if data is not None:
        content_type = changes.get("content_type", "text/csv")
        captured["endpointInput"] = {
            "observedContentType": content_type,
            "mode": "INPUT",
            "data": data,
            "encoding": encoding,
        }
    if output is not None:
        kind = changes.get("output_encoding", "CSV")
        captured[changes.get("output_key", "endpointOutput")] = {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "OUTPUT",
            "data": output,
            "encoding": kind,
        }
    return {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}


def line(data: Any = "34,0.51,web\n", **changes: Any) -> bytes:
    """The record as a line of a capture file."""
    return json.dumps(record(data, **changes)).encode() + b"\n"


def label(data: Any = "1", event_id: str = "5f2c", encoding: str = "CSV") -> bytes:
    """A ground-truth record as a line of a label file."""
    return json.dumps(
        {
            "groundTruthData": {"data": data, "encoding": encoding},
            "eventMetadata": {"eventId": event_id},
            "eventVersion": "0",
        }
    ).encode()


def captures_of(rows: Iterable[Iterable[Any]], time: str = TIME, **changes: Any) -> list[bytes]:
    """A capture file with one line per row."""
    return [
        line(",".join(map(str, row)) + "\n", event_id=f"event-{number}", time=time, **changes)
        for number, row in enumerate(rows)
    ]
