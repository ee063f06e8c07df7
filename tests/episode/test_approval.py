"""The gate's evidence is verified, and a decision is made once."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from control_plane import (
    ALARM,
    GATE,
    MODEL,
    NOW,
    PACKAGE,
    REGISTRY,
    RUN,
    evaluated,
    opened,
    trigger,
)

from retrain.core.clock import parse
from retrain.core.errors import AwsRejected, InvalidSettings, MalformedEvent, NoArtifact, Refused, Throttled
from retrain.episode.approval import ApprovalRules

EVENTS = Path(__file__).parents[2] / "events"


@pytest.fixture
def episode(challenged: Any) -> Any:
    return challenged


def test_a_better_challenger_is_approved_by_the_automatic_policy(
    judge: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    assert judge(episode) == {"decision": "approved"}
    item = ledger.episode(episode.episode_id)
    assert (item["decision"], item["decided_by"]) == ("approved", "policy:auto")
    assert item["model_sha256"] == sha256(MODEL).hexdigest()
    assert item["dataset_uri"] == f"s3://bucket/episodes/{episode.episode_id}/dataset"
    assert sagemaker.approvals[0][:2] == (PACKAGE, "Approved")


def test_judging_again_says_the_same(judge: Any, episode: Any) -> None:
    assert judge(episode) == judge(episode)


def test_in_registry_mode_a_person_decides(judge: Any, episode: Any, ledger: Any, sagemaker: Any) -> None:
    assert judge(episode, REGISTRY) == {"decision": "await"}
    assert "decision" not in ledger.episode(episode.episode_id)
    assert sagemaker.approvals == []


def test_a_bootstrap_is_approved_by_its_policy_even_in_registry_mode(
    judge: Any, ledger: Any, store: Any, sagemaker: Any
) -> None:
    episode = opened(ledger, trigger(cause="bootstrap", bootstrap=True))
    ledger.note(episode, pipeline_execution_arn=RUN)
    evaluated(store, sagemaker, episode, decision="bootstrap", champion=None, interval=None, margin=None)
    sagemaker.registers(episode.episode_id)
    assert judge(episode, REGISTRY) == {"decision": "approved"}
    assert ledger.episode(episode.episode_id)["decided_by"] == "policy:bootstrap"


def test_a_challenger_that_is_not_better_keeps_the_champion(
    judge: Any, episode: Any, store: Any, sagemaker: Any
) -> None:
    reasons = [{"code": "not_better", "detail": "by 0.1"}, {"code": "forgets_reference", "detail": "by 5"}]
    evaluated(store, sagemaker, episode, decision="keep_champion", reasons=reasons)
    assert judge(episode) == {"decision": "keep_champion", "reason": "not_better", "detail": "by 0.1; by 5"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"challenger": math.nan}, "bad_metric"),
        ({"challenger": None}, "bad_metric"),
        ({"challenger": "12.0"}, "bad_metric"),
        ({"champion": None}, "no_champion_metric"),
        ({"champion": math.inf}, "no_champion_metric"),
        ({"interval": None}, "bad_metric"),
        ({"interval": [1.0, math.nan]}, "bad_metric"),
        ({"interval": [0.1, 2.0]}, "not_better"),
        ({"interval": [-1.0, 2.0], "margin": -5.0}, "not_better"),
        ({"margin": math.nan}, "not_better"),
        ({"reasons": [{"code": "forgets_reference", "detail": ""}]}, "not_better"),
        ({"decision": "bootstrap"}, "no_champion"),
    ],
)
def test_evidence_that_does_not_support_the_gate_is_refused(
    changes: dict[str, Any], code: str, judge: Any, episode: Any, store: Any, sagemaker: Any
) -> None:
    evaluated(store, sagemaker, episode, **changes)
    with pytest.raises(Refused) as caught:
        judge(episode)
    assert caught.value.code == code
    assert sagemaker.approvals == []


INSURANCE = {"policy": "insurance", "difference": 8.0, "trade_off": 0.25, "given_up": 3.0}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"interval": [-1.0, 17.0]}, None),
        ({"interval": None, "given_up": None}, None),
        ({"given_up": 32.5}, "trade_off"),
        ({"given_up": math.nan}, "trade_off"),
        ({"difference": 0.0}, "not_better"),
        ({"difference": None}, "bad_metric"),
        ({"difference": math.nan}, "bad_metric"),
        ({"trade_off": None}, "bad_metric"),
        ({"champion": None}, "no_champion_metric"),
        ({"reasons": [{"code": "trade_off", "detail": ""}]}, "not_better"),
    ],
)
def test_what_an_insuring_gate_promotes_is_better_and_gives_up_no_more_than_it_may(
    changes: dict[str, Any], code: str | None, judge: Any, episode: Any, store: Any, sagemaker: Any
) -> None:
    evaluated(store, sagemaker, episode, **{**INSURANCE, **changes})
    if code is None:
        assert judge(episode) == {"decision": "approved"}
        return
    with pytest.raises(Refused) as caught:
        judge(episode)
    assert caught.value.code == code


@pytest.mark.parametrize("decision", ["promote", "keep_champion"])
def test_the_rows_of_a_window_that_was_judged_are_kept_whatever_the_gate_said(
    decision: str, judge: Any, episode: Any, ledger: Any, store: Any, sagemaker: Any
) -> None:
    evaluated(store, sagemaker, episode, {"rows_sha256": "7" * 64, "history_sha256": {}}, decision=decision)
    judge(episode)
    (kept,) = ledger.kept_rows("flights")
    item = ledger.episode(episode.episode_id)
    assert (kept["episode_id"], kept["sha256"]) == (episode.episode_id, "7" * 64)
    assert kept["folder"] == f"rows/flights/{episode.episode_id}"
    assert (kept["window_start"], kept["window_end"]) == (item["window_start"], item["window_end"])


def test_old_rows_that_are_not_what_an_earlier_episode_kept_are_refused(
    judge: Any, episode: Any, ledger: Any, store: Any, sagemaker: Any
) -> None:
    window = parse("2013-02-01T00:00:00Z"), parse("2013-02-08T00:00:00Z")
    ledger.keep_rows(episode, window, "rows/flights/before", "7" * 64)
    said = {"rows_sha256": "8" * 64, "history_sha256": {episode.episode_id: "7" * 64}}
    evaluated(store, sagemaker, episode, said)
    ledger.exclude("flights", (window[1] - timedelta(days=1), window[1] + timedelta(days=1)), "flood", NOW)
    with pytest.raises(Refused, match=r"suspect_data: the rows of .* were learned from, and have been excluded since"):
        judge(episode)
    for wrong in ({episode.episode_id: "9" * 64}, {"nobody": "7" * 64}):
        evaluated(store, sagemaker, episode, {**said, "history_sha256": wrong})
        with pytest.raises(Refused, match="artifact_tampered: the rows of"):
            judge(episode)


def test_an_evaluation_that_the_job_did_not_write_is_refused(
    judge: Any, episode: Any, store: Any, sagemaker: Any
) -> None:
    uri = f"s3://bucket/episodes/{episode.episode_id}/evaluation/evaluation.json"
    store.objects[uri] = store.objects[uri].replace(b"12.0", b"11.0")
    with pytest.raises(Refused, match=r"artifact_tampered: .* which EvaluateChallenger did not write"):
        judge(episode)
    assert sagemaker.approvals == []


@pytest.mark.parametrize("known", ["model_sha256", "dataset_sha256"])
def test_a_challenger_of_another_champion_than_the_ledgers_is_refused(
    known: str, judge: Any, episode: Any, ledger: Any
) -> None:
    ledger.switch_champion(episode, {**ledger.champion("flights"), known: "2" * 64})
    with pytest.raises(Refused, match=r"artifact_tampered: the .* of the judgement has SHA-256"):
        judge(episode)


def test_what_the_decision_rests_on_is_sealed(judge: Any, episode: Any, ledger: Any, store: Any) -> None:
    judge(episode)
    item = ledger.episode(episode.episode_id)
    folder = f"s3://bucket/episodes/{episode.episode_id}"
    assert item["seals"] == {
        uri: store.sha256(uri)
        for uri in (
            "s3://bucket/model.tar.gz",
            f"{folder}/evaluation/evaluation.json",
            f"{folder}/dataset/manifest.json",
            f"{folder}/baseline/statistics.json",
            f"{folder}/baseline/constraints.json",
            f"{folder}/evaluation/constraints.json",
        )
    }


def test_the_registry_tells_the_way_from_the_alarm_to_the_endpoint(judge: Any, episode: Any, sagemaker: Any) -> None:
    judge(episode)
    [(arn, metadata, card, status)] = sagemaker.described_packages
    assert (arn, status) == (PACKAGE, "PendingReview")
    assert metadata["alarm"] == ALARM
    assert metadata["pipeline_execution"] == RUN
    assert metadata["model_sha256"] == sha256(MODEL).hexdigest()
    assert metadata["champion_package"] == PACKAGE.replace("/2", "/1")
    assert metadata["endpoint_config"] == episode.episode_id
    assert {"dataset_sha256", "champion_sha256", "window_start", "window_end", "raised_at"} <= set(metadata)
    assert json.loads(card)["evaluation_details"][0]["name"] == "drift holdout"


def test_a_registry_that_takes_no_card_stops_nothing(
    judge: Any, episode: Any, sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rejects(*_: Any) -> None:
        raise AwsRejected("sagemaker:UpdateModelPackage: ValidationException")

    monkeypatch.setattr(sagemaker, "describe_package", rejects)
    assert judge(episode) == {"decision": "approved"}


@pytest.mark.parametrize("text", [None, "", "not json", "[]", "{}", '{"gate": {}}', '{"gate": null}'])
def test_an_evaluation_that_is_missing_or_unreadable_is_no_artifact(
    text: str | None, judge: Any, episode: Any, store: Any
) -> None:
    uri = f"s3://bucket/episodes/{episode.episode_id}/evaluation/evaluation.json"
    del store.objects[uri]
    if text is not None:
        store.objects[uri] = text.encode()
    with pytest.raises(NoArtifact):
        judge(episode)


def test_an_unknown_decision_of_the_gate_deploys_nothing(judge: Any, episode: Any, store: Any, sagemaker: Any) -> None:
    evaluated(store, sagemaker, episode, decision="maybe")
    with pytest.raises(NoArtifact):
        judge(episode)


@pytest.mark.parametrize(
    "package",
    [
        {"ModelPackageStatus": "Failed"},
        {"ModelPackageGroupName": "others"},
        {"CustomerMetadataProperties": {"episode_id": "another"}},
        {"CustomerMetadataProperties": {}},
        {"InferenceSpecification": {"Containers": []}},
    ],
)
def test_a_package_that_is_not_this_episodes_is_no_artifact(
    package: dict[str, Any], judge: Any, episode: Any, sagemaker: Any
) -> None:
    sagemaker.package.update(package)
    with pytest.raises(NoArtifact):
        judge(episode)


def test_a_pipeline_that_registered_nothing_is_no_artifact(judge: Any, episode: Any, sagemaker: Any) -> None:
    del sagemaker.steps[1:]
    with pytest.raises(NoArtifact):
        judge(episode)


def test_a_package_that_is_still_being_registered_is_waited_for(judge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.package["ModelPackageStatus"] = "InProgress"
    with pytest.raises(Throttled):
        judge(episode)


def test_a_missing_baseline_is_no_artifact(judge: Any, episode: Any, store: Any) -> None:
    del store.objects[f"s3://bucket/episodes/{episode.episode_id}/baseline/constraints.json"]
    with pytest.raises(NoArtifact, match="baseline/constraints"):
        judge(episode)


def test_a_person_is_asked_without_the_token(judge: Any, request_: Any, episode: Any, ledger: Any, topic: Any) -> None:
    judge(episode, REGISTRY)
    assert request_(episode, "secret-token") == {"status": "requested"}
    [(subject, text)] = topic.messages
    assert "approve" in subject
    assert PACKAGE in text
    assert "secret-token" not in subject + text
    assert ledger.episode(episode.episode_id)["task_tokens"] == {"secret-token"}


def test_the_token_is_kept_even_when_nobody_can_be_asked(
    judge: Any, request_: Any, episode: Any, ledger: Any, topic: Any
) -> None:
    judge(episode, REGISTRY)
    topic.down = True
    assert request_(episode) == {"status": "requested"}
    assert ledger.episode(episode.episode_id)["task_tokens"] == {"token"}


@pytest.mark.parametrize("token", [None, "", 7])
def test_a_request_without_a_token_is_malformed(token: Any, judge: Any, request_: Any, episode: Any) -> None:
    judge(episode, REGISTRY)
    with pytest.raises(MalformedEvent):
        request_(episode, token)


@pytest.mark.parametrize(("name", "decision"), [("registry-approved", "approved"), ("registry-rejected", "rejected")])
def test_the_registrys_decision_wakes_the_state_machine(
    name: str, decision: str, judge: Any, request_: Any, hear: Any, episode: Any, ledger: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    assert hear(name) == {"decision": decision, "status": "passed_on"}
    assert callbacks.outputs == [("token", {"decision": decision})]
    item = ledger.episode(episode.episode_id)
    assert (item["decision"], item["decided_by"]) == (decision, "arn:aws:iam::000000000000:user/ada")


def test_a_decision_before_the_request_is_found_by_it(
    judge: Any, request_: Any, hear: Any, episode: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    assert hear()["status"] == "recorded"
    assert request_(episode) == {"status": "decided"}
    assert callbacks.outputs == [("token", {"decision": "approved"})]


def test_a_decision_whose_event_was_lost_is_read_from_the_registry(
    judge: Any, request_: Any, episode: Any, sagemaker: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    sagemaker.package["ModelApprovalStatus"] = "Rejected"
    assert request_(episode) == {"status": "decided"}
    assert callbacks.outputs == [("token", {"decision": "rejected"})]


def test_the_same_decision_twice_is_one(judge: Any, request_: Any, hear: Any, episode: Any, callbacks: Any) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    hear()
    callbacks.waiting = False
    assert hear() == {"action": "ignored", "reason": "already_decided"}
    assert len(callbacks.outputs) == 1


def test_the_first_decision_is_final_and_the_second_one_is_told_so(
    judge: Any, request_: Any, hear: Any, episode: Any, ledger: Any, topic: Any
) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    hear("registry-approved")
    assert hear("registry-rejected") == {"action": "ignored", "reason": "already_decided"}
    assert ledger.episode(episode.episode_id)["decision"] == "approved"
    assert "first decision is final" in topic.messages[-1][1]


def test_an_approver_that_died_half_way_passes_the_decision_on(
    judge: Any, request_: Any, hear: Any, episode: Any, ledger: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    ledger.decide(episode.episode_id, "approved", "ada", NOW)  # … and the function died here
    hear()
    assert callbacks.outputs == [("token", {"decision": "approved"})]


def test_an_approval_after_the_timeout_deploys_nothing(
    judge: Any, request_: Any, hear: Any, episode: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    callbacks.waiting = False
    assert hear() == {"action": "ignored", "reason": "expired"}


def test_an_approval_outside_any_episode_is_told_and_changes_nothing(
    hear: Any, sagemaker: Any, callbacks: Any, topic: Any
) -> None:
    assert hear() == {"action": "ignored", "reason": "no_open_episode"}
    assert callbacks.outputs == []
    assert "Nothing was deployed" in topic.messages[0][1]


def test_the_rejection_that_an_episodes_end_writes_is_no_news(hear: Any, topic: Any) -> None:
    assert hear("registry-rejected")["reason"] == "no_open_episode"
    assert topic.messages == []


def test_another_package_than_the_judged_one_decides_nothing(
    judge: Any, request_: Any, hear: Any, episode: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    assert hear(ModelPackageArn=PACKAGE.replace("/2", "/3"))["reason"] == "no_open_episode"
    assert callbacks.outputs == []


def test_a_package_that_points_elsewhere_now_is_refused(
    judge: Any, request_: Any, hear: Any, episode: Any, sagemaker: Any, callbacks: Any
) -> None:
    judge(episode, REGISTRY)
    request_(episode)
    sagemaker.package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] = "s3://evil/model.tar.gz"
    with pytest.raises(Refused, match="artifact_tampered"):
        hear()
    assert callbacks.outputs == []


@pytest.mark.parametrize(
    ("name", "detail", "reason"),
    [
        ("registry-pending", {}, "not_a_decision"),
        ("registry-approved", {"ModelPackageGroupName": "others"}, "foreign_source"),
        ("registry-approved", {"ModelApprovalStatus": "approve"}, "not_a_decision"),
    ],
)
def test_events_that_decide_nothing(name: str, detail: dict[str, Any], reason: str, hear: Any) -> None:
    assert hear(name, **detail) == {"action": "ignored", "reason": reason}


def test_an_event_without_a_package_is_malformed(hear: Any) -> None:
    with pytest.raises(MalformedEvent):
        hear(ModelPackageArn=None)


def test_an_unknown_mode_is_invalid() -> None:
    with pytest.raises(InvalidSettings):
        ApprovalRules("flights", "sometimes", "1", "r", "flights")


def test_the_gate_of_these_tests_is_one_the_gate_could_have_written() -> None:
    assert GATE["interval"][0] > GATE["margin"]  # type: ignore[index,operator]
