"""Rows F20 to F33, as far as the control plane meets them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from control_plane import GATE, NOW, RUN, evaluated, in_service
from whole_loop import Loop

from retrain.core.errors import (
    Diverged,
    EndpointBroken,
    ExecutionLost,
    NoArtifact,
    PipelineFailed,
    PipelineMissing,
    PipelineOverQuota,
    PipelineTimeout,
    QuotaExceeded,
    Refused,
    Throttled,
)

# Every operation that a whole run was seen to use; test_F20_every_operation_is_among_these keeps the list.
OPERATIONS = {
    "bus": ["put"],
    "callbacks": ["succeed"],
    "cloudwatch": ["in_alarm"],
    "dynamodb": ["get_item", "get_paginator", "transact_get_items", "transact_write_items", "update_item"],
    "machine": ["start"],
    "sagemaker": [
        *("describe_package", "endpoint", "job_text", "model_package", "pipeline_execution", "pipeline_steps"),
        *("put_endpoint_config", "put_model", "start_pipeline", "update_endpoint"),
    ],
    "store": ["keys_between", "link", "put", "read", "sha256", "uri"],
    "topic": ["publish"],
}
USED = {f"{service}.{operation}" for service, operations in OPERATIONS.items() for operation in operations}
FAILING = sorted(USED - {"store.uri", "store.link", "dynamodb.get_paginator"})  # these speak to nobody


def test_F20_every_operation_is_among_these(loop: Loop) -> None:
    loop.run()
    assert set(loop.calls) == USED


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["throttled", "answer-lost"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("operation", FAILING)
def test_F20_F57_an_operation_that_fails_a_few_times_changes_nothing(
    operation: str, times: int, after: bool, loop: Loop
) -> None:
    loop.breaks(operation, times, after=after)
    episode = loop.run()
    item, champion = loop.item(episode), loop.book.champion("flights") or {}
    assert (item["status"], item["outcome"]) == ("CLOSED", "promoted")
    assert champion["endpoint_config_name"] == episode.episode_id
    assert loop.book.open_episode_id("flights") is None
    assert len(loop.machine.inputs) == len(loop.sagemaker.runs) == len(loop.sagemaker.updates) == 1
    assert item.get("notified_at")
    ends = Counter(subject for subject, _ in loop.topic.messages)["flights: a new model serves"]
    assert ends == 1 or (operation == "topic.publish" and after)  # told again


@pytest.mark.parametrize(
    "operation", ["sagemaker.start_pipeline", "store.keys_between", "dynamodb.transact_write_items"]
)
def test_F20_throttled_for_ever_is_a_named_end_and_a_free_lock(operation: str, loop: Loop) -> None:
    episode = loop.opened()
    loop.breaks(operation, 99)
    with pytest.raises(Throttled):
        loop.start(episode)
    loop.breaks(operation, 0)
    loop.close(episode, outcome="failed", error={"Error": "Throttled", "Cause": "slow down"})
    assert loop.item(episode)["reason"] == "throttled"
    assert loop.book.open_episode_id("flights") is None
    assert "FAILED" in loop.topic.messages[-1][0]


def test_F21_a_start_whose_answer_is_lost_uses_its_token_again(loop: Loop) -> None:
    episode = loop.opened()
    loop.breaks("sagemaker.start_pipeline", 1, after=True)
    with pytest.raises(Throttled):
        loop.start(episode)
    assert loop.start(episode)["pipeline_execution_arn"] == RUN
    assert len(loop.sagemaker.runs) == 1


@pytest.mark.parametrize(
    ("operation", "error", "reason"),
    [
        pytest.param("sagemaker.start_pipeline", PipelineMissing, "pipeline_missing", id="F22"),
        pytest.param("sagemaker.start_pipeline", QuotaExceeded, "quota_exceeded", id="F23"),
        pytest.param("sagemaker.pipeline_execution", ExecutionLost, "execution_lost", id="F24"),
    ],
)
def test_F22_F23_F24_what_sagemaker_refuses_ends_by_name(
    operation: str, error: type[Exception], reason: str, loop: Loop
) -> None:
    episode = loop.opened()
    if operation == "sagemaker.pipeline_execution":
        loop.start(episode)
    loop.breaks(operation, 1, error=error)
    act = loop.poll if operation == "sagemaker.pipeline_execution" else loop.start
    with pytest.raises(error):
        act(episode)
    loop.close(episode, outcome="failed", error={"Error": error.__name__, "Cause": "said so"})
    assert loop.item(episode)["reason"] == reason


def test_F23_a_quota_that_the_pipeline_met_is_not_waited_for(loop: Loop) -> None:
    episode = loop.opened()
    loop.start(episode)
    loop.sagemaker.status = "Failed"
    loop.sagemaker.steps = [{"StepName": "Train", "StepStatus": "Failed", "FailureReason": "ResourceLimitExceeded: 0"}]
    with pytest.raises(PipelineOverQuota, match="ResourceLimitExceeded"):
        loop.poll(episode)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("Stopping", "running"), ("Executing", "running"), ("Failed", PipelineFailed), ("Stopped", Refused)],
)
def test_F25_a_pipeline_that_fails_or_is_stopped_ends_the_episode(status: str, expected: Any, loop: Loop) -> None:
    episode = loop.opened()
    loop.start(episode)
    loop.sagemaker.status = status
    if isinstance(expected, str):
        assert loop.poll(episode) == {"status": expected}
    else:
        with pytest.raises(expected):
            loop.poll(episode)


@pytest.mark.parametrize("status", ["CompletedWithFailures", "Hibernating", ""])
def test_F26_an_unknown_status_fails_closed(status: str, loop: Loop) -> None:
    episode = loop.opened()
    loop.start(episode)
    loop.sagemaker.status = status
    with pytest.raises(PipelineFailed):
        loop.poll(episode)


def test_F27_a_pipeline_that_never_ends_is_stopped(loop: Loop) -> None:
    episode = loop.opened()
    loop.start(episode)
    loop.sagemaker.status = "Executing"
    with pytest.raises(PipelineTimeout):
        loop.poll(episode, now=NOW + timedelta(hours=13))
    assert loop.sagemaker.stopped == [RUN]


def test_F28_a_pipeline_that_left_nothing_behind_is_no_challenger(loop: Loop) -> None:
    episode = loop.opened()
    loop.start(episode)
    with pytest.raises(NoArtifact):
        loop.judge(episode)
    loop.finish_pipeline(episode)
    loop.sagemaker.package["ModelPackageStatus"] = "Failed"
    with pytest.raises(NoArtifact):
        loop.judge(episode)


@pytest.mark.parametrize(
    ("row", "changes", "code"),
    [
        ("F29", {"challenger": float("nan")}, "bad_metric"),
        ("F31", {"champion": None}, "no_champion_metric"),
        ("F32", {"decision": "bootstrap"}, "no_champion"),
    ],
)
def test_F29_F31_F32_evidence_that_is_missing_or_absurd_is_refused(
    row: str, changes: dict[str, Any], code: str, loop: Loop
) -> None:
    episode = loop.opened()
    loop.start(episode)
    loop.finish_pipeline(episode)
    evaluated(loop.store, loop.sagemaker, episode, **changes)
    with pytest.raises(Refused, match=code):
        loop.judge(episode)


def test_F30_a_challenger_that_is_not_better_keeps_the_champion(loop: Loop) -> None:
    episode = loop.opened()
    loop.start(episode)
    loop.finish_pipeline(episode)
    reasons = [{"code": "not_better", "detail": "by 0.1"}]
    evaluated(loop.store, loop.sagemaker, episode, decision="keep_champion", reasons=reasons)
    assert loop.judge(episode)["decision"] == "keep_champion"
    assert str(GATE["metric"]) in loop.item(episode)["gate_summary"]


def test_F33_an_episode_without_labels_waits_and_then_refuses(loop: Loop) -> None:
    del loop.store.objects["s3://bucket/labels/2013/03/06/10/a.jsonl"]
    episode = loop.opened()
    assert loop.start(episode)["status"] == "waiting_for_labels"
    with pytest.raises(Refused, match="labels_insufficient"):
        loop.start(episode, now=NOW + timedelta(hours=49))


@pytest.mark.parametrize("serves", ["moved-by-hand", None])
def test_nothing_is_trained_against_a_champion_that_does_not_serve(serves: str | None, loop: Loop) -> None:
    episode = loop.opened()
    loop.sagemaker.described = in_service(serves) if serves else None
    with pytest.raises((Diverged, EndpointBroken), match="old-config"):
        loop.start(episode)
    assert loop.sagemaker.runs == {}
