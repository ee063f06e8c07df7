"""A link shows what it is about, and decides once; whatever is no such link gets one and the same answer."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from control_plane import NOW, PACKAGE, FakeMacs, past_end
from desk import Desk

from retrain.core.errors import MalformedEvent, Throttled
from retrain.episode.approval_links import Link, read, sign

Made = Callable[..., Desk]


@pytest.fixture
def desk(challenged: Any, judge: Any, request_: Any, ledger: Any, sagemaker: Any, callbacks: Any) -> Made:
    """A desk before which the episode's challenger lies."""

    def make(eyes: int = 1) -> Desk:
        made = Desk(ledger, sagemaker, callbacks, eyes)
        assert judge(challenged, made.rules) == {"decision": "await"}
        assert request_(challenged, rules=made.rules, links=made.links) == {"status": "requested"}
        return made

    return make


@pytest.fixture
def item(challenged: Any, ledger: Any) -> Callable[[], dict[str, Any]]:
    return lambda: dict(ledger.episode(challenged.episode_id))


def test_a_link_shows_the_evidence_and_decides_nothing(desk: Made, item: Any, callbacks: Any) -> None:
    made = desk()
    shown = [made.show(made.token()) for _ in range(3)]
    assert {each["statusCode"] for each in shown} == {200}
    for known in (
        "rmse 20 -&gt; 12, better by 7 to 9",
        PACKAGE,
        item()["model_sha256"],
        "2013-04-04T00:00",
    ):
        assert known in shown[0]["body"], known
    assert "decision" not in item()
    assert callbacks.outputs == []


@pytest.mark.parametrize(("wanted", "decision"), [("approve", "approved"), ("reject", "rejected")])
@pytest.mark.parametrize("base64_", [True, False])
def test_a_decision_is_kept_passed_on_and_told_to_the_registry(
    desk: Made, item: Any, callbacks: Any, sagemaker: Any, wanted: str, decision: str, base64_: bool
) -> None:
    made = desk()
    said = made.decide(made.token(), wanted, base64_=base64_)
    assert (said["statusCode"], f"You {decision} the challenger" in said["body"]) == (200, True)
    assert (item()["decision"], item()["decided_by"]) == (decision, "the first approver, by link")
    assert callbacks.outputs == [("token", {"decision": decision})]
    [(arn, status, why)] = sagemaker.approvals
    assert (arn, status) == (PACKAGE, decision.capitalize())
    assert why.startswith("the first approver, by link: promote: rmse")


def test_what_is_no_link_that_waits_gets_one_answer(
    desk: Made, item: Any, challenged: Any, ledger: Any, callbacks: Any
) -> None:
    made = desk()
    token, link = made.token(), Link(challenged.episode_id, item()["model_sha256"], "first", int(NOW.timestamp()) + 9)
    claims, _, code = token.partition(".")
    other = base64.urlsafe_b64encode(link.claims).rstrip(b"=").decode()
    bad = {
        "none": "",
        "nonsense": "x",
        "three parts": "a.b.c",
        "no base64": "é.é",
        "too long": "a" * 100_000,
        "without a code": claims,
        "another's code": f"{other}.{code}",
        "a code cut short": token[:-4],
        "by another key": sign(link, FakeMacs(b"another's")),  # type: ignore[arg-type]
        "unknown episode": sign(Link("nowhere", link.model_sha256, "first", link.until), made.macs),  # type: ignore[arg-type]
        "another model": sign(Link(link.episode_id, "0" * 64, "first", link.until), made.macs),  # type: ignore[arg-type]
        "expired": sign(Link(link.episode_id, link.model_sha256, "first", int(NOW.timestamp())), made.macs),  # type: ignore[arg-type]
    }
    answers = {name: made.show(token) for name, token in bad.items()}
    answers |= {f"{name}, posted": made.decide(token, "approve") for name, token in bad.items()}
    answers["no decision"] = made.decide(token, "")
    answers["another decision"] = made.decide(token, "maybe")
    assert "decision" not in item()
    made.decide(token, "reject")
    answers |= {"used": made.show(token), "replayed": made.decide(token, "reject")}
    answers["the other decision"] = made.decide(token, "approve")
    ledger.close(challenged, closed_at=past_end(), rearm_at=past_end(), outcome="refused", reason="rejected", detail="")
    answers["over"] = made.show(token)
    assert len({json.dumps(each, sort_keys=True) for each in answers.values()}) == 1
    assert answers["none"]["statusCode"] == 404
    assert item()["decision"] == "rejected"
    assert {output["decision"] for _, output in callbacks.outputs} == {"rejected"}


def test_a_link_is_good_until_its_time_and_not_a_second_longer(desk: Made) -> None:
    made = desk()
    made.now = NOW.replace(microsecond=0) + timedelta(hours=72) - timedelta(seconds=1)
    assert made.show(made.token())["statusCode"] == 200
    made.now += timedelta(seconds=1)
    assert made.show(made.token())["statusCode"] == 404


def test_the_first_decision_is_final_wherever_it_was_made(desk: Made, hear: Any, item: Any) -> None:
    made = desk()
    assert hear("registry-rejected", rules=made.rules)["decision"] == "rejected"
    assert made.decide(made.token(), "approve")["statusCode"] == 404
    assert item()["decision"] == "rejected"


def test_the_registrys_news_of_the_pages_decision_changes_nothing(desk: Made, hear: Any, item: Any) -> None:
    made = desk()
    made.decide(made.token(), "approve")
    assert hear(rules=made.rules) == {"action": "ignored", "reason": "already_decided"}
    assert item()["decided_by"] == "the first approver, by link"


def test_two_approvals_need_both_links(desk: Made, item: Any, callbacks: Any) -> None:
    made = desk(eyes=2)
    first, second = made.token(0), made.token(1)
    assert "first of two" in made.decide(first, "approve")["body"]
    assert callbacks.outputs == []
    assert made.show(first)["statusCode"] == made.decide(first, "approve")["statusCode"] == 404, "it was used"
    assert "the first approver, by link so far" in made.show(second)["body"]
    assert made.decide(second, "approve")["statusCode"] == 200
    assert item()["decided_by"] == "the first approver, by link and the second approver, by link"
    assert callbacks.outputs == [("token", {"decision": "approved"})]


def test_one_rejection_is_enough_before_and_after_an_approval(desk: Made, item: Any) -> None:
    made = desk(eyes=2)
    made.decide(made.token(1), "approve")
    assert made.decide(made.token(1), "reject")["statusCode"] == 404, "a link is used once"
    assert made.decide(made.token(0), "reject")["statusCode"] == 200
    assert item()["decision"] == "rejected"


def test_two_who_approve_at_the_same_moment_are_two(desk: Made, item: Any, ledger: Any) -> None:
    made = desk(eyes=2)
    episode = ledger.episode

    def as_it_was(episode_id: str) -> Any:
        """The other approval comes between this look and the write."""
        ledger.episode = episode
        seen = episode(episode_id)
        assert made.decide(made.token(0), "approve")["statusCode"] == 200
        return seen

    ledger.episode = as_it_was
    assert made.decide(made.token(1), "approve")["statusCode"] == 200
    assert item()["decision"] == "approved"


def test_with_links_for_two_an_approval_in_the_registry_is_none_and_a_rejection_is_one(
    desk: Made, hear: Any, item: Any, sagemaker: Any, topic: Any
) -> None:
    made = desk(eyes=2)
    assert hear(rules=made.rules) == {"action": "ignored", "reason": "not_by_link"}
    assert sagemaker.package["ModelApprovalStatus"] == "PendingManualApproval"
    assert "Two people have to, by their links." in topic.messages[-1][1]
    assert "decision" not in item()
    assert hear("registry-rejected", rules=made.rules)["decision"] == "rejected"


def test_what_died_half_way_is_done_by_the_same_link_again(
    desk: Made, item: Any, callbacks: Any, sagemaker: Any
) -> None:
    made = desk()
    succeed = callbacks.succeed

    def throttled(*_: Any) -> bool:
        raise Throttled("states:SendTaskSuccess: slow down")

    callbacks.succeed = throttled
    assert made.decide(made.token(), "approve")["statusCode"] == 503
    assert item()["decision"] == "approved"
    callbacks.succeed = succeed
    assert made.decide(made.token(), "reject")["statusCode"] == 404
    assert callbacks.outputs == [], "that was another decision"
    assert made.decide(made.token(), "approve")["statusCode"] == 404
    assert callbacks.outputs == [("token", {"decision": "approved"})]
    assert sagemaker.approvals[-1][1] == "Approved"


def test_who_is_a_moment_too_late_is_not_told_that_it_was_done(desk: Made, callbacks: Any, sagemaker: Any) -> None:
    made = desk()
    callbacks.waiting = False
    assert made.decide(made.token(), "approve")["statusCode"] == 404
    assert sagemaker.approvals == []


@pytest.mark.parametrize("eyes", [1, 2])
def test_a_package_that_was_changed_is_not_approved(desk: Made, item: Any, sagemaker: Any, eyes: int) -> None:
    made = desk(eyes)
    sagemaker.package["InferenceSpecification"] = {"Containers": [{"ModelDataUrl": "s3://elsewhere/model.tar.gz"}]}
    assert made.decide(made.token(), "approve")["statusCode"] == 503
    assert not {"decision", "first_approval_by"} & set(item())


def test_mails_to_approvers_carry_a_link_and_those_to_everybody_do_not(desk: Made, topic: Any) -> None:
    made = desk(eyes=2)
    assert made.token(0) != made.token(1)
    [(subject, text)] = topic.messages
    assert subject == "flights: approve the challenger?"
    assert "page.example" not in text
    assert "Approvers were sent a link each." in text
    assert "--model-approval-status Rejected" in text, "approvals come by link"


def test_without_a_page_nobody_has_a_link(challenged: Any, judge: Any, request_: Any, topic: Any) -> None:
    from control_plane import REGISTRY

    judge(challenged, REGISTRY)
    request_(challenged)
    assert "link" not in topic.messages[0][1]


def test_no_token_is_in_a_log_or_in_the_ledger(desk: Made, item: Any, caplog: Any, capsys: Any) -> None:
    caplog.set_level(logging.DEBUG)
    made = desk()
    token = made.token()
    made.show(token)
    made.decide(token, "approve")
    made.decide(token + "x", "approve")
    said = caplog.text + capsys.readouterr().out + repr(item())
    assert said
    assert not [part for part in token.split(".") if part in said]


def test_names_are_shown_and_not_run(desk: Made, challenged: Any, ledger: Any) -> None:
    made = desk()
    ledger.note(challenged, asked_because="<script>alert(1)</script>")
    assert "&lt;script&gt;alert(1)" in made.show(made.token())["body"]


def test_a_page_loads_nothing_is_kept_nowhere_and_is_in_no_frame(desk: Made) -> None:
    made = desk()
    said = made.show(made.token())
    headers = said["headers"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert not re.findall(r"""(?:src|href)=["'](?!data:,|https://us-east-1\.console)""", said["body"])


def test_a_key_that_does_not_answer_decides_nothing_and_says_so(desk: Made, item: Any) -> None:
    made = desk()
    token = made.token()

    def throttled(*_: Any) -> bool:
        raise Throttled("kms:VerifyMac: slow down")

    made.macs.genuine = throttled  # type: ignore[method-assign]
    assert made.decide(token, "approve")["statusCode"] == 503
    assert "decision" not in item()


@pytest.mark.parametrize("event", [{}, {"requestContext": {}}, {"requestContext": {"timeEpoch": 1, "http": None}}])
def test_what_is_no_request_is_malformed(desk: Made, event: dict[str, Any]) -> None:
    from retrain.episode.approval_page import answer

    with pytest.raises(MalformedEvent, match="no request of API Gateway"):
        answer(event, page=desk().page)


def test_a_link_says_what_it_was_made_with() -> None:
    macs: Any = FakeMacs()
    link = Link("flights-1", "0" * 64, "second", int(NOW.timestamp()) + 60)
    assert read(sign(link, macs), macs, NOW) == link
    assert len(sign(link, macs)) < 400
