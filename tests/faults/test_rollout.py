"""Rows F53 to F72: the endpoint, and every way an episode can end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from control_plane import NOW, PACKAGE, ROLLOUT, in_service
from whole_loop import Loop

from retrain.core import clock
from retrain.core.errors import (
    Diverged,
    EndpointBroken,
    EndpointBusy,
    InvalidSettings,
    MalformedEvent,
    NameCollision,
    Refused,
    RolledBack,
    Throttled,
)
from retrain.core.values import Step
from retrain.episode.rollout import deployment_config

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize("status", ["Updating", "SystemUpdating", "Creating", "RollingBack"])
def test_F53_a_changing_endpoint_is_waited_for(status: str, loop: Loop) -> None:
    episode = loop.approved()
    loop.sagemaker.described = in_service("old-config", status)
    with pytest.raises(EndpointBusy):
        loop.update(episode)
    assert loop.sagemaker.updates == []


def test_F54_an_endpoint_that_begins_to_change_at_that_moment_is_waited_for(loop: Loop) -> None:
    episode = loop.approved()
    loop.breaks("sagemaker.update_endpoint", 1, error=EndpointBusy)
    with pytest.raises(EndpointBusy):
        loop.update(episode)
    assert loop.update(episode)["status"] == "updating"
    assert len(loop.sagemaker.updates) == 1


@pytest.mark.parametrize("status", ["Failed", "OutOfService", "Deleting", "UpdateRollbackFailed", None])
def test_F55_an_endpoint_that_no_update_mends_is_left_alone(status: str | None, loop: Loop) -> None:
    episode = loop.approved()
    loop.sagemaker.described = in_service("old-config", status) if status else None
    with pytest.raises(EndpointBroken):
        loop.update(episode)


def test_F56_a_model_of_that_name_with_other_content_stops_the_roll_out_before_the_endpoint(loop: Loop) -> None:
    episode = loop.approved()
    loop.breaks("sagemaker.put_model", 1, error=NameCollision)
    with pytest.raises(NameCollision):
        loop.update(episode)
    loop.close(episode, outcome="failed", error={"Error": "NameCollision", "Cause": "exists with another Containers"})
    assert (loop.item(episode)["reason"], loop.sagemaker.updates) == ("name_collision", [])


@pytest.mark.parametrize("operation", ["put_model", "put_endpoint_config", "update_endpoint"])
def test_F56_F57_an_updater_that_dies_after_any_call_makes_nothing_twice(operation: str, loop: Loop) -> None:
    episode = loop.approved()
    loop.breaks(f"sagemaker.{operation}", 1, after=True)
    with pytest.raises(Throttled):
        loop.update(episode)
    assert loop.update(episode)["endpoint_config"] == episode.episode_id
    assert (len(loop.sagemaker.models), len(loop.sagemaker.configs), len(loop.sagemaker.updates)) == (1, 1, 1)


def test_F58_F59_an_update_that_rolled_back_leaves_everything_as_it_was(loop: Loop) -> None:
    episode = loop.approved()
    loop.update(episode)
    loop.sagemaker.described = in_service("old-config", "RollingBack")
    assert loop.check(episode) == {"status": "updating"}
    loop.sagemaker.described = in_service("old-config")
    with pytest.raises(RolledBack):
        loop.check(episode)
    loop.close(episode, outcome="failed", error={"Error": "RolledBack", "Cause": "old-config again"})
    assert (loop.book.champion("flights") or {})["endpoint_config_name"] == "old-config"
    assert loop.sagemaker.approvals[-1][:2] == (PACKAGE, "Rejected")


def test_F60_a_rollback_alarm_that_rings_already_forbids_the_start(loop: Loop) -> None:
    episode = loop.approved()
    loop.fakes["cloudwatch"].alarming = ["errors"]
    with pytest.raises(Refused, match="unsafe_to_start"):
        loop.update(episode)


def test_F65_what_serves_or_could_be_rolled_back_to_is_never_removed(loop: Loop) -> None:
    """Four models, of which two are kept: the third's, and the second's, which the fourth episode rolled out again."""
    first, *_, last = [loop.promoted(version, NOW + version * DAY) for version in (0, 1, 2)] + [
        loop.promoted(1, NOW + 3 * DAY)
    ]
    loop.sagemaker.described = in_service(last)
    later = NOW + 9 * DAY
    loop.breaks("sagemaker.delete_model", 1)
    assert loop.sweep(later)["removed"] == []  # one call failed: nothing is believed gone
    assert loop.sweep(later + MINUTE)["removed"] == [first]
    gone = {("config", first), ("model", first), ("package", PACKAGE.replace("/2", "/0"))}
    assert set(loop.sagemaker.deleted) == gone
    assert loop.sweep(later + HOUR)["removed"] == []


@pytest.mark.parametrize("instead", ["another config", "updating", "no endpoint", "an open episode"])
def test_F65_nothing_is_removed_while_it_is_not_certain_what_serves(instead: str, loop: Loop) -> None:
    last = [loop.promoted(version, NOW + version * DAY) for version in (0, 1, 2)][-1]
    later = NOW + 9 * DAY
    loop.sagemaker.described = {
        "another config": in_service("somebody's"),
        "updating": in_service(last, "Updating"),
        "no endpoint": None,
        "an open episode": in_service(last),
    }[instead]
    if instead == "an open episode":
        loop.machine.inputs[loop.opened(later).episode_id] = "{}"
    assert loop.sweep(later)["removed"] == []
    assert loop.sagemaker.deleted == []


def test_F61_with_auto_one_instance_changes_all_at_once_and_two_begin_with_a_canary() -> None:
    kinds = [deployment_config(ROLLOUT, instances)["BlueGreenUpdatePolicy"] for instances in (1, 2)]
    assert [kind["TrafficRoutingConfiguration"]["Type"] for kind in kinds] == ["ALL_AT_ONCE", "CANARY"]


@pytest.mark.parametrize("strategy", ["canary", "linear"])
def test_F61_what_one_instance_can_not_do_is_refused_when_it_is_asked_for_by_name(strategy: str) -> None:
    with pytest.raises(InvalidSettings, match="needs two instances"):
        replace(ROLLOUT, strategy=strategy)
    assert replace(ROLLOUT, strategy=strategy, instance_count=2)


def test_F61_how_the_endpoint_was_changed_is_told_to_sagemaker_by_name(loop: Loop) -> None:
    loop.update(loop.approved())
    [update] = loop.sagemaker.updates
    assert update["deployment"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"


def test_F62_an_endpoint_that_somebody_else_changed_is_left_alone(loop: Loop) -> None:
    episode = loop.approved()
    loop.sagemaker.described = in_service("somebody-elses")
    with pytest.raises(Diverged):
        loop.update(episode)
    assert loop.sagemaker.updates == []


def test_F63_champion_and_baseline_switch_together_and_the_cooldown_follows(loop: Loop) -> None:
    episode = loop.run()
    champion = loop.book.champion("flights") or {}
    assert champion["statistics_uri"] == f"s3://bucket/episodes/{episode.episode_id}/baseline/statistics.json"
    assert loop.book.rearm_at("flights") == NOW + HOUR


def test_F64_an_endpoint_that_cannot_roll_back_is_refused(loop: Loop) -> None:
    episode = loop.approved()
    loop.sagemaker.described = in_service("old-config")
    loop.sagemaker.described["ProductionVariants"][0]["VariantName"] = "mine"
    with pytest.raises(Refused, match="unsupported_endpoint"):
        loop.update(episode)


@pytest.mark.parametrize("act", ["start", "judge", "update", "switch"])
def test_F66_F68_an_episode_that_lost_its_lock_does_nothing_more(act: str, loop: Loop) -> None:
    episode = loop.approved()
    loop.opened(NOW + timedelta(days=26))
    with pytest.raises(Refused, match="fenced"):
        getattr(loop, act)(episode)
    assert loop.sagemaker.updates == []


@pytest.mark.parametrize("act", ["start", "update"])
def test_F66_what_costs_or_serves_is_only_begun_by_who_holds_the_lock_itself(act: str, loop: Loop) -> None:
    """Also where the ledger was changed by hand, and the episode's own item still calls it open."""
    episode = loop.opened() if act == "start" else loop.approved()
    loop.dynamodb.update_item(
        TableName="ledger",
        Key={"pk": {"S": "ENDPOINT#flights"}, "sk": {"S": "LOCK"}},
        UpdateExpression="SET fence = :more",
        ExpressionAttributeValues={":more": {"N": str(episode.fence + 1)}},
    )
    with pytest.raises(Refused, match="fenced: the lock of flights"):
        getattr(loop, act)(episode)
    assert (len(loop.sagemaker.runs), loop.sagemaker.models) == (int(act == "update"), {})


@pytest.mark.parametrize("name", ["execution-failed", "execution-timed-out", "execution-aborted"])
def test_F67_an_execution_that_ended_is_closed_told_and_frees_the_lock(name: str, loop: Loop) -> None:
    episode = loop.opened()
    assert loop.ended(name)["outcome"] == "failed"
    assert loop.item(episode)["notified_at"]
    assert loop.book.open_episode_id("flights") is None
    assert loop.ended(name)["reason"] == "already_closed"


def test_F67_an_event_that_was_lost_is_made_up_for_by_the_sweep(loop: Loop) -> None:
    episode = loop.opened()
    loop.machine.ended[episode.episode_id] = ("ABORTED", NOW)
    assert loop.sweep(NOW + 5 * MINUTE)["closed"] == [episode.episode_id]
    assert loop.opened(NOW + 2 * HOUR).fence == episode.fence + 1


@pytest.mark.parametrize("serves", ["the challenger", "old-config"])
def test_F67_an_abort_in_a_roll_out_converges_to_what_serves(serves: str, loop: Loop) -> None:
    episode = loop.approved()
    loop.update(episode)
    assert loop.ended("execution-aborted")["reason"] == "endpoint_unsettled"
    loop.machine.ended[episode.episode_id] = ("ABORTED", NOW)
    config = episode.episode_id if serves == "the challenger" else serves
    loop.sagemaker.described = in_service(config)
    loop.sweep(NOW + 5 * MINUTE)
    assert (loop.book.champion("flights") or {})["endpoint_config_name"] == config
    assert loop.item(episode)["outcome"] == ("promoted" if serves == "the challenger" else "failed")
    rejected = [approval[1] for approval in loop.sagemaker.approvals] == ["Rejected"]
    assert rejected == (serves == "old-config")


def test_F69_a_payload_with_fields_of_another_version_is_understood(loop: Loop) -> None:
    episode = loop.opened()
    payload = {"step": "x", "episode": {**episode.payload(), "new": 1}, "now": clock.render(NOW), "more": {}}
    assert Step.of(payload).episode == episode
    with pytest.raises(MalformedEvent):
        Step.of({**payload, "episode": {"episode_id": "a"}})


def test_F69_a_champion_of_before_there_were_seals_can_be_challenged_and_replaced(loop: Loop) -> None:
    assert "seals" not in (loop.book.champion("flights") or {}), "the loop's first champion is such a one"
    episode = loop.run()
    assert (loop.book.champion("flights") or {})["endpoint_config_name"] == episode.episode_id


def test_F69_an_episode_that_was_judged_before_there_were_seals_ends_by_name(loop: Loop) -> None:
    """Decision 95: what nobody sealed can't be shown to be what was judged."""
    episode = loop.approved()
    loop.dynamodb.update_item(
        TableName="ledger",
        Key={"pk": {"S": f"EPISODE#{episode.episode_id}"}, "sk": {"S": "EPISODE"}},
        UpdateExpression="REMOVE seals",
    )
    with pytest.raises(Refused, match="artifact_tampered"):
        loop.update(episode)


def test_F70_a_lease_that_ran_out_is_over_although_its_item_is_still_there(loop: Loop) -> None:
    episode = loop.opened()
    assert loop.book.lock("flights")["owner"] == episode.episode_id
    heir = loop.opened(NOW + timedelta(days=26))
    assert loop.item(episode)["reason"] == "lock_expired"
    assert heir.fence == episode.fence + 1


@pytest.mark.parametrize("operation", ["topic.publish", "bus.put"])
def test_F71_what_can_not_be_told_changes_no_result(operation: str, loop: Loop) -> None:
    loop.breaks(operation, 999)
    episode = loop.run()
    assert loop.item(episode)["outcome"] == "promoted"


def test_F72_a_huge_cause_is_cut(loop: Loop) -> None:
    episode = loop.opened()
    loop.close(episode, outcome="failed", error={"Error": "PipelineFailed", "Cause": "x" * 300_000})
    assert len(loop.item(episode)["detail"]) < 2000


def test_no_open_episode_and_no_lock_after_any_end(loop: Loop) -> None:
    said: dict[str, Any] = {"outcome": "nonsense"}
    episode = loop.opened()
    loop.close(episode, **said)
    assert loop.book.open_episode_id("flights") is None
