"""When the gate's word is enough, when people are asked after all, and when two of them have to be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from control_plane import APPROVAL, REGISTRY

from retrain.core import clock
from retrain.core.errors import InvalidSettings
from retrain.episode.policy import ApprovalPolicy, OfficeHours, unmet

EVALUATION: dict[str, Any] = {"gate": {"champion": 20.0, "challenger": 18.0, "interval": [1.0, 3.0]}}
NEWS = {**EVALUATION, "news": ["carrier: 60% of the values are categories never seen before", "x: far"]}
MONDAY = clock.parse("2026-11-23T09:00:00Z")
HOURS = OfficeHours.of("Mon-Fri 08-17 UTC")


def promoted(days_ago: int, **changes: Any) -> dict[str, Any]:
    return {"outcome": "promoted", "closed_at": clock.render(MONDAY - timedelta(days=days_ago)), **changes}


@pytest.mark.parametrize(
    ("policy", "episodes", "at", "why"),
    [
        (ApprovalPolicy(), [promoted(1)] * 9, MONDAY, None),
        (ApprovalPolicy(least_gain=0.05), [], MONDAY, None),
        (ApprovalPolicy(least_gain=0.06), [], MONDAY, "the gain's lower bound is 5.00%"),
        (ApprovalPolicy(most_a_week=2), [promoted(1), promoted(8)], MONDAY, None),
        (ApprovalPolicy(most_a_week=2), [promoted(1), promoted(6)], MONDAY, "2 models were promoted within a week"),
        (ApprovalPolicy(most_a_week=1), [promoted(1, bootstrap=True), promoted(1, outcome="failed")], MONDAY, None),
        (ApprovalPolicy(hours=HOURS), [], MONDAY, None),
        (ApprovalPolicy(hours=HOURS), [], MONDAY + timedelta(hours=8), "it is outside office hours"),
        (ApprovalPolicy(hours=HOURS), [], MONDAY - timedelta(days=1), "it is outside office hours"),
    ],
)
def test_a_condition_that_is_not_met_is_said(policy: ApprovalPolicy, episodes: Any, at: Any, why: str | None) -> None:
    found = list(unmet(policy, EVALUATION, episodes, at))
    assert found == [] if why is None else why in found[0]


def test_a_gain_that_is_not_known_is_not_enough() -> None:
    assert "is not known" in next(unmet(ApprovalPolicy(least_gain=0.01), {"gate": {"champion": 20.0}}, [], MONDAY))


@pytest.mark.parametrize(
    ("policy", "evaluation", "why"),
    [
        (ApprovalPolicy(), NEWS, []),
        (ApprovalPolicy(news=False), EVALUATION, []),
        (ApprovalPolicy(news=False), {**EVALUATION, "news": []}, []),
        (ApprovalPolicy(news=False), NEWS, ["the window's data is new in kind: carrier, x"]),
    ],
)
def test_data_that_is_new_in_kind_is_put_to_people_where_that_is_asked_for(
    policy: ApprovalPolicy, evaluation: Any, why: list[str]
) -> None:
    assert list(unmet(policy, evaluation, [], MONDAY)) == why


@pytest.mark.parametrize("text", ["always", "Mon-Fri 17-08 UTC", "Mon-Fri 08-17 Nowhere/City", "Mon-Fri 08-25 UTC"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hours|zone"):
        OfficeHours.of(text)


@pytest.mark.parametrize("changes", [{"least_gain": 1.0}, {"most_a_week": -1}, {"eyes": 3}])
def test_a_policy_that_makes_no_sense_is_invalid(changes: Any) -> None:
    with pytest.raises(InvalidSettings):
        ApprovalPolicy(**changes)


def test_a_challenger_outside_the_policy_is_put_to_people_who_learn_why(
    judge: Any, request_: Any, challenged: Any, sagemaker: Any, topic: Any
) -> None:
    rules = replace(APPROVAL, policy=ApprovalPolicy(least_gain=0.9))
    assert judge(challenged, rules) == {"decision": "await"}
    request_(challenged, rules=rules)
    assert "Because        the gain's lower bound is 35.00%" in topic.messages[-1][1]
    assert sagemaker.package["ModelApprovalStatus"] == "PendingManualApproval"


def test_a_challenger_within_the_policy_is_approved_by_it(judge: Any, challenged: Any, sagemaker: Any) -> None:
    rules = replace(APPROVAL, policy=ApprovalPolicy(least_gain=0.3))
    assert judge(challenged, rules) == {"decision": "approved"}
    assert sagemaker.package["ModelApprovalStatus"] == "Approved"


class TestFourEyes:
    """Two people approve, one after the other, and they are two."""

    @pytest.fixture
    def says(self, judge: Any, request_: Any, hear: Any, challenged: Any) -> Any:
        rules = replace(REGISTRY, policy=ApprovalPolicy(eyes=2))
        judge(challenged, rules)
        request_(challenged, rules=rules)
        return lambda who, name="registry-approved": hear(name, who, rules)

    def test_the_second_one_decides(
        self, says: Any, challenged: Any, ledger: Any, callbacks: Any, sagemaker: Any
    ) -> None:
        assert says("ada") == {"action": "ignored", "reason": "first_of_two"}
        assert callbacks.outputs == []
        assert sagemaker.package["ModelApprovalStatus"] == "PendingManualApproval"
        assert says("bob")["decision"] == "approved"
        assert callbacks.outputs == [("token", {"decision": "approved"})]
        by = ledger.episode(challenged.episode_id)["decided_by"]
        assert by.endswith("user/ada and arn:aws:iam::000000000000:user/bob")

    def test_the_same_person_twice_is_one(self, says: Any, callbacks: Any, topic: Any) -> None:
        says("ada")
        assert says("ada") == {"action": "ignored", "reason": "first_of_two"}
        assert callbacks.outputs == []
        assert "It needs another person's approval, too." in topic.messages[-1][1]

    def test_one_may_reject(self, says: Any, callbacks: Any) -> None:
        says("ada")
        assert says("bob", "registry-rejected")["decision"] == "rejected"
        assert callbacks.outputs == [("token", {"decision": "rejected"})]
