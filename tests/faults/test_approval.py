"""Rows F41 to F52: an approval is given once, for what was judged, or not at all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from control_plane import PACKAGE, in_service
from whole_loop import Loop, event

from retrain.core.errors import Refused, Throttled

MINUTE = timedelta(minutes=1)


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
    assert loop.item(episode)["task_token"] == "token"
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
