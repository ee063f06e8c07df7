"""Links to the approval page: signed by KMS, each for one approver, one episode and one model, until a time.

Whoever has a link may decide, so it goes to its approver's topic and nowhere else: not into the ledger, a log or the
notifications. What it was used for is in the ledger, as the episode's decision; that makes it a link of one use.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from retrain.core import clock
from retrain.core.values import Step
from retrain.episode.afterthoughts import attempt

if TYPE_CHECKING:
    from retrain.aws.kms import Macs
    from retrain.aws.sns import Topic

APPROVERS = ("first", "second")  # in the order of their topics
_PURPOSE = b"retrain: decide on a challenger\n"  # what the key signs for anything else, no link can be made of
_LONGEST = 2000  # characters of a token; one that was made here has 400


@dataclass(frozen=True)
class Link:
    """What a link says: who may decide on which model of which episode, and until when (seconds since 1970)."""

    episode_id: str
    model_sha256: str
    approver: str
    until: int

    @property
    def who(self) -> str:
        """Its approver, as the ledger and the registry tell of a decision."""
        return f"the {self.approver} approver, by link"

    @property
    def claims(self) -> bytes:
        """What is signed."""
        said = [self.episode_id, self.model_sha256, self.approver, self.until]
        return json.dumps(said, separators=(",", ":")).encode()


def sign(link: Link, macs: Macs) -> str:
    """The token that proves the link."""
    return ".".join(map(_encode, (link.claims, macs.make(_PURPOSE + link.claims))))


def read(token: str, macs: Macs, now: datetime) -> Link | None:
    """The link that the token proves, None if it is forged, not one at all, or its time is over."""
    try:
        claims, code = map(_decode, token[:_LONGEST].split("."))
    except ValueError:
        return None
    if not macs.genuine(_PURPOSE + claims, code):
        return None
    link = Link(*json.loads(claims))
    return link if clock.epoch(now) < link.until else None


@dataclass(frozen=True)
class Links:
    """Where links lead to, whom they are sent to, in the order of APPROVERS, and for how long they can be used."""

    page_url: str
    macs: Macs
    topics: tuple[Topic, ...]
    lasting: timedelta

    def send(self, step: Step, item: Mapping[str, Any], subject: str, text: str) -> None:
        """Every approver has the text, with a link of his own."""
        until = step.now + self.lasting
        for approver, topic in zip(APPROVERS, self.topics, strict=False):
            link = Link(step.episode.episode_id, str(item["model_sha256"]), approver, clock.epoch(until))
            address = f"{self.page_url}?{urlencode({'token': sign(link, self.macs)})}"
            said = f"{text}\n\nDecide here, until {clock.render(until)}. Whoever has this link can, once:\n{address}"
            attempt("send a link", lambda topic=topic, said=said: topic.publish(subject, said))  # type: ignore[misc]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
