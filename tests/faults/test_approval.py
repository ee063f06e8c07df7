"""Rows F41 to F52: an approval is given once, for what was judged, or not at all."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from control_plane import NOW, PACKAGE, REGISTRY, FakeMacs, in_service
from desk import Desk
from machine import TaskError, deployed, run, written
from scenarios import GIVEN, SUBSTITUTIONS, Functions
from whole_loop import Loop, event, person
from wiring import Wiring, of_type

from local.template import source
from retrain.core import clock, telemetry
from retrain.core.errors import Refused, Throttled
from retrain.episode.approval_links import Link, sign
from retrain.episode.policy import ApprovalPolicy

MINUTE = timedelta(minutes=1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every metric that was counted, and its reason."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(telemetry, "count", lambda name, reason: found.append((name, reason)))
    return found


def test_F41_an_artefact_that_was_replaced_is_not_rolled_out(loop: Loop) -> None:
    episode = loop.approved()
    loop.store.put("model.tar.gz", b"another model")
    with pytest.raises(Refused, match="artifact_tampered"):
        loop.update(episode)
    assert loop.sagemaker.models == {}


def test_F42_F43_an_approval_that_nobody_gave_expires_and_is_too_late_afterwards(loop: Loop) -> None:
    episode = loop.judged()
    loop.ask(episode)
    loop.close(episode, outcome="refused", reason="approval_expired")
    assert loop.sagemaker.approvals[-1][:2] == (PACKAGE, "Rejected")
    assert loop.book.open_episode_id("flights") is None
    assert loop.hear("registry-approved")["reason"] == "no_open_episode"
    assert "Nothing was deployed" in loop.topic.messages[-1][1]
    assert loop.sagemaker.updates == []


def test_F42_a_state_that_waited_in_vain_closes_the_episode_as_refused() -> None:
    functions = Functions(Await_Approval=TaskError("States.Timeout"))
    made = run(deployed(written(), SUBSTITUTIONS), GIVEN, functions)
    assert made.entered.count("Await Approval") == 1, "nobody is asked twice"
    [(_, said)] = [call for call in made.calls if call[0] == "Close Episode"]
    assert (said["outcome"], said["reason"]) == ("refused", "approval_expired")
    assert (made.status, made.error) == ("FAILED", "approval_expired")


def test_F43_an_approval_that_the_machine_does_not_wait_for_is_expired(loop: Loop) -> None:
    episode = loop.judged()
    loop.ask(episode)
    loop.fakes["callbacks"].waiting = False
    assert loop.hear("registry-approved")["reason"] == "expired"


def test_F44_the_same_approval_twice_is_one(loop: Loop) -> None:
    loop.approved()
    assert loop.hear("registry-approved")["reason"] == "already_decided"


def test_F45_the_first_decision_is_final(loop: Loop) -> None:
    episode = loop.approved()
    assert loop.hear("registry-rejected")["reason"] == "already_decided"
    assert loop.item(episode)["decision"] == "approved"
    assert "the first decision is final" in loop.topic.messages[-1][1]


def test_F46_F48_nothing_of_the_stack_can_be_reached_by_a_link_unless_that_is_asked_for() -> None:
    """Without ApproverEmail there is nothing to forge, nor for a mail scanner to visit."""
    wiring = Wiring(source(), written())
    without = wiring.resources(ApproverEmail="", SecondApproverEmail="", Approvers="1")
    kinds = {item["Type"] for item in without.values()}
    assert not {kind for kind in kinds if re.search(r"::(Url|ApiGateway|ApiGatewayV2|CloudFront|ElasticLoad)", kind)}
    for name, function in of_type(wiring.template["Resources"], "AWS::Serverless::Function").items():
        assert "FunctionUrlConfig" not in function, name
        assert not {"Api", "HttpApi"} & {event["Type"] for event in function.get("Events", {}).values()}, name


def test_F46_F48_a_link_that_is_forged_or_looked_at_decides_nothing_and_forgeries_are_counted(
    loop: Loop, counted: list[tuple[str, str]]
) -> None:
    episode = loop.judged()
    loop.ask(episode)
    desk = Desk(loop.book, loop.sagemaker, loop.fakes["callbacks"])
    link = Link(episode.episode_id, loop.item(episode)["model_sha256"], "first", clock.epoch(NOW + MINUTE))
    genuine, other = sign(link, desk.macs), sign(link, FakeMacs(b"another key"))  # type: ignore[arg-type]
    forged = [other, genuine[:-3], genuine[1:], f"{genuine.partition('.')[0]}.{other.partition('.')[2]}"]
    said = {desk.decide(token, "approve")["statusCode"] for token in forged}
    for method in ("GET", "HEAD", "GET"):
        assert desk.ask(method, urlencode({"token": genuine}))["statusCode"] == 200
    assert (said, loop.item(episode).get("decision")) == ({404}, None)
    assert [reason for name, reason in counted if name == "ForgedApproval"] == ["no_such_link"] * 4
    assert desk.decide(genuine, "approve")["statusCode"] == 200


def test_F48_the_links_that_people_get_only_show(loop: Loop) -> None:
    loop.ask(loop.judged())
    links = re.findall(r"https?://\S+", "".join(text for _, text in loop.topic.messages))
    assert links
    assert all(link.startswith("https://us-east-1.console.aws.amazon.com/s3/object/") for link in links)


TWO = replace(REGISTRY, policy=ApprovalPolicy(eyes=2))


@pytest.mark.parametrize(("registry", "decision"), [("Rejected", "rejected"), ("PendingManualApproval", None)])
def test_F46_an_event_that_says_otherwise_than_the_registry_is_not_believed(
    registry: str, decision: str | None, loop: Loop
) -> None:
    episode = loop.judged()
    loop.ask(episode)
    assert loop.hear("registry-approved", registry).get("decision") == decision
    assert loop.item(episode).get("decision") == decision


def test_F47_with_two_approvers_one_person_is_not_enough_however_often(loop: Loop) -> None:
    episode = loop.judged(TWO)
    loop.ask(episode)
    for _ in range(2):
        assert loop.hear("registry-approved", by="ada")["reason"] == "first_of_two"
    assert loop.sagemaker.package["ModelApprovalStatus"] == "PendingManualApproval"
    assert "It needs another person's approval" in loop.topic.messages[-1][1]
    assert (loop.item(episode)["first_approval_by"], loop.item(episode).get("decision")) == (person("ada"), None)
    with pytest.raises(Refused, match="rejected"):
        loop.update(episode)


def test_F47_two_people_decide_and_are_named(loop: Loop) -> None:
    episode = loop.judged(TWO)
    loop.ask(episode)
    loop.hear("registry-approved", by="ada")
    assert loop.hear("registry-approved", by="bob") == {"decision": "approved", "status": "passed_on"}
    assert loop.item(episode)["decided_by"] == f"{person('ada')} and {person('bob')}"


@pytest.mark.parametrize("operation", ["dynamodb.transact_write_items", "sagemaker.set_approval"])
@pytest.mark.parametrize("after", [False, True])
def test_F47_an_approver_function_that_dies_makes_no_second_person_of_the_first(
    operation: str, after: bool, loop: Loop
) -> None:
    episode = loop.judged(TWO)
    loop.ask(episode)
    loop.breaks(operation, 1, after=after)
    with pytest.raises(Throttled):
        loop.hear("registry-approved", by="ada")
    loop.hear("registry-approved", by="ada")
    assert loop.item(episode)["first_approval_by"] == person("ada")
    assert "decision" not in loop.item(episode)


def test_F49_an_approval_outside_any_episode_is_told_and_deploys_nothing(loop: Loop) -> None:
    loop.sagemaker.registers("nobody")
    assert loop.hear("registry-approved")["reason"] == "no_open_episode"
    assert "no open episode waits" in loop.topic.messages[-1][1]


def test_F50_a_package_that_is_another_one_than_was_judged_is_refused(loop: Loop) -> None:
    episode = loop.judged()
    loop.ask(episode)
    loop.sagemaker.package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] = "s3://elsewhere/model.tar.gz"
    with pytest.raises(Refused, match="artifact_tampered"):
        loop.hear("registry-approved")
    assert "decision" not in loop.item(episode)


def test_F51_a_request_that_nobody_heard_still_waits_for_its_answer(loop: Loop) -> None:
    episode = loop.judged()
    loop.topic.down = True
    assert loop.ask(episode) == {"status": "requested"}
    assert loop.item(episode)["task_tokens"] == {"token"}
    assert loop.hear("registry-approved") == {"decision": "approved", "status": "passed_on"}


@pytest.mark.parametrize("operation", ["callbacks.succeed", "dynamodb.update_item"])
@pytest.mark.parametrize("after", [False, True])
def test_F52_an_approver_that_dies_half_way_converges(operation: str, after: bool, loop: Loop) -> None:
    episode = loop.judged()
    loop.ask(episode)
    loop.breaks(operation, 1, after=after)
    with pytest.raises(Throttled):
        loop.hear("registry-approved")
    loop.hear("registry-approved")
    assert loop.item(episode)["decision"] == "approved"
    assert {decision["decision"] for _, decision in loop.fakes["callbacks"].outputs} == {"approved"}


def test_a_package_that_serves_and_is_rejected_is_told(loop: Loop) -> None:
    serving = PACKAGE.replace("/2", "/1")
    loop.sagemaker.described = in_service("old-config")
    assert loop.hear("registry-rejected", ModelPackageArn=serving)["reason"] == "no_open_episode"
    assert "it serves" in loop.topic.messages[-1][1]
    assert event("registry-rejected")["detail"]["ModelApprovalStatus"] == "Rejected"
