"""The approval page: GET shows what a link is about, and decides nothing; POST decides, once.

A link that is forged, expired, used or about nothing gets the same answer in each case, so that nobody learns from it.
The first decision is final, wherever it was made. What is left undone when a request dies half-way is done when the
same link is used for the same decision again.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from retrain.core import clock, telemetry
from retrain.core.errors import MalformedEvent, Refused, RetrainError
from retrain.core.telemetry import logger, short
from retrain.episode.approval import pass_on
from retrain.episode.approval_links import Link, read
from retrain.episode.seals import container_sha256

if TYPE_CHECKING:
    from retrain.aws.kms import Macs
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker
    from retrain.aws.stepfunctions import Callbacks

_WANTED = {"approve": "approved", "reject": "rejected"}
_FIRST = "<p>It is the first of two: the other approver has a link, too. One rejection is enough to refuse it.</p>"
_DECIDED = {
    "approved": "<p>It is rolled out now, and turned back if its alarms fire. A mail tells how that ended.</p>",
    "rejected": "<p>The champion goes on serving. A mail tells that the episode is over.</p>",
}
_ROWS = (
    ("Gate", "gate_summary"),
    ("Shadow", "shadow_summary"),
    ("Because", "asked_because"),
    ("Episode", "_episode"),
    ("Model package", "model_package_arn"),
    ("SHA-256", "model_sha256"),
)
_STYLE = """
:root { color-scheme: light dark; --soft: #5c636a; --line: #d5d9dd }
@media (prefers-color-scheme: dark) { :root { --soft: #a6adb4; --line: #40464c } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 }
main { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.4rem; line-height: 1.3; overflow-wrap: anywhere }
dt { color: var(--soft); font-size: .85rem; margin-top: .7rem } dd { margin: 0; overflow-wrap: anywhere }
form { display: flex; flex-wrap: wrap; gap: .8rem; border-top: 1px solid var(--line); margin-top: 1.5rem;
  padding-top: 1.2rem }
button { font: inherit; font-weight: 600; flex: 1 1 8rem; min-height: 3rem; border: 2px solid; border-radius: 8px;
  background: none; cursor: pointer }
button[value=approve] { color: #fff; background: #2b6e3b; border-color: #2b6e3b }
button:focus-visible, a:focus-visible { outline: 3px solid #1c7ed6; outline-offset: 2px }
"""
# A second click is none; and a page that the browser kept is asked for again.
_SCRIPT = """
let sent = false;
document.forms[0].addEventListener("submit", (event) => { if (sent) event.preventDefault(); sent = true; });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
"""
_PAGE = Template(Path(__file__).with_name("approval_page.html").read_text(encoding="utf-8"))


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src {_allowed(_STYLE)}; script-src {_allowed(_SCRIPT)}; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Page:
    """Whose challengers are decided on here, how many have to approve, and what the decisions are made with."""

    endpoint_name: str
    eyes: int
    macs: Macs
    ledger: Ledger
    sagemaker: SageMaker
    callbacks: Callbacks


def answer(event: Mapping[str, Any], *, page: Page) -> dict[str, Any]:
    """The HTTP response to a request of API Gateway (payload format 2.0): 200, 404, or 503 when AWS did not answer."""
    try:
        request = event["requestContext"]
        now, method = clock.of_epoch(request["timeEpoch"] / 1000), request["http"]["method"]
        fields = parse_qs(_body(event) if method == "POST" else event.get("rawQueryString") or "", errors="replace")
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedEvent(f"this is no request of API Gateway: {type(error).__name__}") from error
    token, wanted = ((fields.get(name) or [""])[0] for name in ("token", "decision"))
    try:
        link = read(token, page.macs, now)
        if link is None:
            telemetry.count("ForgedApproval", reason="no_such_link")
            return _gone()
        item = _item(link, page)
        if item is None:
            return _gone()
        telemetry.about(link.episode_id)
        if method == "POST":
            return _decide(link, item, _WANTED[wanted], now, page) if wanted in _WANTED else _gone()
        return _show(link, token, item, page) if _waits(item, link) else _gone()
    except RetrainError as error:
        logger.warning("the page failed", error=type(error).__name__, detail=short(str(error)))
        telemetry.count("StepError", reason=type(error).__name__)
        said = "Try again in a minute. If it goes on, the log of the function ApprovalPage says why."
        return _response(503, "This did not work", f"<p>{said}</p>")


def _item(link: Link, page: Page) -> Mapping[str, Any] | None:
    """The open episode that the link is about, if its model is still the one that people are asked for."""
    item = page.ledger.episode(link.episode_id)
    if item is None or item.get("status") != "OPEN" or item["endpoint_name"] != page.endpoint_name:
        return None
    return item if item.get("model_sha256") == link.model_sha256 and item.get("task_tokens") else None


def _waits(item: Mapping[str, Any], link: Link) -> bool:
    """Whether the link was not used yet, and nobody decided."""
    return not item.get("decision") and item.get("first_approval_by") != link.who


def _decide(link: Link, item: Mapping[str, Any], decision: str, now: datetime, page: Page) -> dict[str, Any]:
    who = link.who
    if decision == "approved" and page.eyes == 2 and item.get("first_approval_by") != who:
        if _waits(item, link) and not item.get("first_approval_by"):
            _require_same_package(item, page)
            if page.ledger.approve_first(link.episode_id, who):
                logger.info("first of two approvals", by=who)
                return _response(200, "Your approval is kept", _FIRST)
            item = page.ledger.episode(link.episode_id) or item  # the other approver was quicker
        who = f"{item.get('first_approval_by')} and {who}"
    if not _waits(item, link):
        if (item.get("decision"), item.get("decided_by")) == (decision, who):
            _carry_out(link, item, page)
        return _gone()
    _require_same_package(item, page)
    if not page.ledger.decide(link.episode_id, decision, who, now):
        return _gone()
    logger.info("decision made", decision=decision, by=who)
    if not _carry_out(link, {**item, "decision": decision, "decided_by": who}, page):
        return _gone()
    return _response(200, f"You {decision} the challenger", _DECIDED[decision])


def _carry_out(link: Link, item: Mapping[str, Any], page: Page) -> bool:
    """The state machine goes on with the decision, and the registry tells of it; False if it does not wait any more."""
    decision, why = item["decision"], f"{item['decided_by']}: {item.get('gate_summary')}"
    if pass_on(link.episode_id, decision, page.ledger, page.callbacks).get("reason") == "expired":
        return False
    page.sagemaker.set_approval(str(item["model_package_arn"]), decision.capitalize(), why)
    return True


def _require_same_package(item: Mapping[str, Any], page: Page) -> None:
    arn = str(item["model_package_arn"])
    if container_sha256(page.sagemaker.model_package(arn)) != item["container_sha256"]:
        raise Refused("artifact_tampered", f"{arn} is another container than the one that was judged")


def _show(link: Link, token: str, item: Mapping[str, Any], page: Page) -> dict[str, Any]:
    known = {**item, "_episode": link.episode_id}
    rows = [(label, escape(str(known[name]))) for label, name in _ROWS if known.get(name)]
    if page.eyes == 2:
        first = item.get("first_approval_by")
        rows.append(("Approvals", f"two, of different people; {escape(first) if first else 'none'} so far"))
    rows.append(("Until", clock.render(clock.of_epoch(link.until))))
    if item.get("page_url"):
        rows.append(("Evidence", f'<a href="{escape(str(item["page_url"]))}" rel="noreferrer">its page</a>'))
    shown = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in rows)
    content = (
        f"<dl>{shown}</dl>"
        f'<form method="post"><input type="hidden" name="token" value="{escape(token)}">'
        '<button name="decision" value="approve">Approve</button>'
        '<button name="decision" value="reject">Reject</button></form>'
        f"<script>{_SCRIPT}</script>"
    )
    return _response(200, f"Shall the challenger serve {page.endpoint_name}?", content)


def _gone() -> dict[str, Any]:
    """The one answer to whatever is no link that waits for its use."""
    said = (
        "It was used, its time is over, or it never was a link. A decision that was made is final, "
        "and the mail at the episode's end tells what became of it."
    )
    return _response(404, "This link leads nowhere", f"<p>{said}</p>")


def _response(status: int, title: str, content: str) -> dict[str, Any]:
    body = _PAGE.substitute(title=escape(title), style=_STYLE, content=content)
    return {"statusCode": status, "headers": _HEADERS, "body": body}


def _body(event: Mapping[str, Any]) -> str:
    text = str(event.get("body") or "")
    return base64.b64decode(text).decode("utf-8", "replace") if event.get("isBase64Encoded") else text
