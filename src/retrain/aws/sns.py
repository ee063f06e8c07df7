"""SNS: notifications for people."""

from __future__ import annotations

from typing import Any

from retrain.aws.calls import classified
from retrain.core.telemetry import short

_LONGEST = 50_000  # characters; a message may have 256 KB


class Topic:
    """The topic that people subscribe to."""

    def __init__(self, sns: Any, arn: str) -> None:
        self._sns = sns
        self._arn = arn

    def publish(self, subject: str, text: str) -> None:
        """Subscribers will be told. A subject is ASCII and at most 100 characters, says SNS."""
        subject = subject.encode("ascii", "replace").decode()[:100].replace("\n", " ")
        text = short(text, _LONGEST)
        with classified("sns:Publish"):
            self._sns.publish(TopicArn=self._arn, Subject=subject, Message=text)
