"""An approver's desk: a challenger that waits, the mails with links, and the page that they lead to."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from control_plane import NOW, REGISTRY, FakeCallbacks, FakeMacs, FakeSageMaker, FakeTopic

from retrain.aws.ledger import Ledger
from retrain.episode.approval import ApprovalRules
from retrain.episode.approval_links import Links
from retrain.episode.approval_page import Page, answer
from retrain.episode.policy import ApprovalPolicy

PAGE = "https://page.example/"


class Desk:
    """What approvers have before them. `eyes`: how many of them have to approve."""

    def __init__(self, ledger: Ledger, sagemaker: FakeSageMaker, callbacks: FakeCallbacks, eyes: int = 1) -> None:
        self.macs, self.now = FakeMacs(), NOW
        self.topics = tuple(FakeTopic() for _ in range(eyes))
        self.links = Links(PAGE, self.macs, self.topics, timedelta(hours=72))  # type: ignore[arg-type]
        self.rules: ApprovalRules = replace(REGISTRY, policy=ApprovalPolicy(eyes=eyes), by_link=True)
        self.page = Page("flights", eyes, self.macs, ledger, sagemaker, callbacks)  # type: ignore[arg-type]

    def token(self, approver: int = 0) -> str:
        """Of the link in the approver's last mail."""
        address = self.topics[approver].messages[-1][1].splitlines()[-1]
        assert address.startswith(f"{PAGE}?token=")
        return parse_qs(urlsplit(address).query)["token"][0]

    def ask(self, method: str, query: str = "", body: str = "", *, base64_: bool = True) -> dict[str, Any]:
        """The page's answer to a request, as API Gateway passes it on."""
        event: dict[str, Any] = {
            "version": "2.0",
            "rawQueryString": query,
            "requestContext": {"http": {"method": method}, "timeEpoch": int(self.now.timestamp() * 1000)},
            "isBase64Encoded": bool(body) and base64_,
        }
        if body:
            event["body"] = base64.b64encode(body.encode()).decode() if base64_ else body
        return answer(event, page=self.page)

    def show(self, token: str) -> dict[str, Any]:
        return self.ask("GET", urlencode({"token": token}))

    def decide(self, token: str, decision: str, *, base64_: bool = True) -> dict[str, Any]:
        return self.ask("POST", body=urlencode({"token": token, "decision": decision}), base64_=base64_)
