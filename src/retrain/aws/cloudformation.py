"""CloudFormation's side of a custom resource: the answer goes to a signed URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen

from retrain.core.telemetry import short


def respond(event: Mapping[str, Any], status: str, physical_id: str, data: Mapping[str, str], reason: str = "") -> None:
    """CloudFormation knows how the request ended, and goes on."""
    body = {
        "Status": status,
        "Reason": short(reason, 1000) or "see the function's log",
        "PhysicalResourceId": physical_id,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": dict(data),
    }
    # The URL is signed for exactly this: a PUT with an empty content type.
    request = Request(  # noqa: S310 - the URL comes from CloudFormation
        event["ResponseURL"], data=json.dumps(body).encode(), method="PUT", headers={"Content-Type": ""}
    )
    with urlopen(request, timeout=15):  # noqa: S310 - as above # nosec B310
        return
