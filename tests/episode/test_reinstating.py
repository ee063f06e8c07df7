"""What was judged before serves again, or what serves is the champion: no training, the same guarded way."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from control_plane import APPROVAL, NOW, ROLLOUT, RUN, FakeBus, evaluated, in_service, opened, step, trigger

from retrain.core.errors import Diverged, EndpointBroken, EndpointBusy, NotOurs, Refused
from retrain.core.values import Episode, Trigger
from retrain.episode.approval import judge_challenger
from retrain.episode.reinstating import JUDGED, adopt_what_serves, reinstate_model
from retrain.episode.rollout import converge_endpoint, switch_champion


class World:
    """Two models were promoted, one after the other; the second serves."""

    def __init__(self, ledger: Any, store: Any, sagemaker: Any, cloudwatch: Any) -> None:
        self.ledger, self.store, self.sagemaker, self.cloudwatch = ledger, store, sagemaker, cloudwatch
        self.now = NOW
        self.first = self.promote(bootstrap=True)
        self.second = self.promote(bootstrap=False)

    def promote(self, *, bootstrap: bool) -> Episode:
        self.now += timedelta(hours=2)
        cause = {"cause": "bootstrap", "bootstrap": True} if bootstrap else {}
        episode = opened(self.ledger, trigger(self.now, **cause))
        self.ledger.note(episode, pipeline_execution_arn=RUN)
        changes = {"decision": "bootstrap"} if bootstrap else {}
        champion = self.ledger.champion("flights")
        document = evaluated(self.store, self.sagemaker, episode, **changes)
        if champion:
            document |= {"champion_sha256": champion["model_sha256"], "reference_sha256": champion["dataset_sha256"]}
            text = json.dumps(document)
            self.store.put(f"episodes/{episode.episode_id}/evaluation/evaluation.json", text)
            self.sagemaker.texts["EvaluateChallenger"] = f"evaluation.json {sha256(text.encode()).hexdigest()}"
        self.sagemaker.registers(episode.episode_id)
        judge_challenger(
            step(episode, "judge", self.now),
            rules=APPROVAL,
            ledger=self.ledger,
            store=self.store,
            sagemaker=self.sagemaker,
            bus=FakeBus(),
        )
        self.roll_out(episode)
        return episode

    def roll_out(self, episode: Episode) -> None:
        self.converge(episode)
        self.finish(episode)

    def converge(self, episode: Episode) -> None:
        converge_endpoint(
            step(episode, "update", self.now),
            settings=ROLLOUT,
            ledger=self.ledger,
            store=self.store,
            sagemaker=self.sagemaker,
            cloudwatch=self.cloudwatch,
        )
        self.sagemaker.described = in_service(episode.episode_id)

    def finish(self, episode: Episode) -> None:
        switch_champion(step(episode, "switch_champion", self.now), ledger=self.ledger, sagemaker=self.sagemaker)
        self.ledger.close(episode, closed_at=self.now, rearm_at=self.now, outcome="promoted", reason="", detail="")

    def ask(self, kind: str, **fields: str) -> Episode:
        self.now += timedelta(hours=2)
        asked = Trigger(
            "flights", kind, self.now, "why", asked=kind, fields={"asked": kind, "asked_by": "ada", **fields}
        )
        return opened(self.ledger, asked)

    def judged(self, episode: Episode) -> dict[str, Any]:
        item = self.ledger.episode(episode.episode_id)
        return {name: item.get(name) for name in JUDGED}


@pytest.fixture
def world(ledger: Any, store: Any, sagemaker: Any, cloudwatch: Any) -> World:
    return World(ledger, store, sagemaker, cloudwatch)


def test_a_rollback_rolls_out_what_was_sealed_then_and_switches_the_baseline_with_it(world: World) -> None:
    episode = world.ask("rollback", target=world.first.episode_id)
    assert reinstate_model(step(episode, now=world.now), ledger=world.ledger)["target"] == world.first.episode_id
    assert world.judged(episode) == world.judged(world.first)
    item = world.ledger.episode(episode.episode_id)
    assert (item["decision"], item["decided_by"]) == ("approved", "operator:ada")
    world.roll_out(episode)
    champion = world.ledger.champion("flights")
    first = world.ledger.episode(world.first.episode_id)
    assert champion["statistics_uri"] == first["statistics_uri"]
    assert champion["episode_id"] == champion["endpoint_config_name"] == episode.episode_id
    assert world.sagemaker.updates[-1]["deployment"]["AutoRollbackConfiguration"]["Alarms"], "guarded as ever"


def test_a_rollback_of_something_that_was_changed_since_is_refused_before_anything_is_touched(world: World) -> None:
    episode = world.ask("rollback", target=world.first.episode_id)
    reinstate_model(step(episode, now=world.now), ledger=world.ledger)
    world.store.put("model.tar.gz", b"another")
    updates = len(world.sagemaker.updates)
    with pytest.raises(Refused, match="artifact_tampered"):
        world.converge(episode)
    assert len(world.sagemaker.updates) == updates


def test_a_rollback_does_not_overwrite_what_somebody_else_deployed(world: World) -> None:
    episode = world.ask("rollback", target=world.first.episode_id)
    reinstate_model(step(episode, now=world.now), ledger=world.ledger)
    world.sagemaker.described = in_service("by-hand")
    with pytest.raises(Diverged):
        world.converge(episode)


@pytest.mark.parametrize("target", ["nobody", ""])
def test_what_never_served_here_is_refused(world: World, target: str) -> None:
    episode = world.ask("rollback", target=target or "flights-none")
    with pytest.raises(Refused, match="unknown_model"):
        reinstate_model(step(episode, now=world.now), ledger=world.ledger)


@pytest.mark.parametrize("serves", [None, "by-hand"])
def test_the_champion_serves_again_after_its_endpoint_was_lost_or_changed_by_hand(
    world: World, serves: str | None
) -> None:
    world.sagemaker.described = in_service(serves) if serves else None
    before = world.judged(world.second)
    episode = world.ask("restore")
    reinstate_model(step(episode, now=world.now), ledger=world.ledger)
    created = len(world.sagemaker.created)
    world.roll_out(episode)
    assert len(world.sagemaker.created) - created == (0 if serves else 1)
    assert world.judged(episode) == before
    assert world.ledger.champion("flights")["endpoint_config_name"] == episode.episode_id


def test_what_serves_is_adopted_with_its_own_baseline_and_nothing_is_deployed(world: World) -> None:
    world.sagemaker.described = in_service(world.first.episode_id)  # somebody went back by hand
    episode = world.ask("adopt")
    updates = len(world.sagemaker.updates)
    adopt_what_serves(step(episode, now=world.now), ledger=world.ledger, sagemaker=world.sagemaker)
    world.finish(episode)
    champion = world.ledger.champion("flights")
    assert champion["endpoint_config_name"] == world.first.episode_id
    assert champion["statistics_uri"] == world.ledger.episode(world.first.episode_id)["statistics_uri"]
    assert len(world.sagemaker.updates) == updates


@pytest.mark.parametrize(
    ("described", "error"),
    [
        (in_service("by-hand"), Refused),
        (in_service("by-hand", "Updating"), EndpointBusy),
        (in_service("by-hand", "Failed"), EndpointBroken),
        (None, EndpointBroken),
    ],
)
def test_what_can_not_be_compared_or_does_not_serve_is_not_adopted(world: World, described: Any, error: Any) -> None:
    world.sagemaker.described = described
    episode = world.ask("adopt")
    with pytest.raises(error):
        adopt_what_serves(step(episode, now=world.now), ledger=world.ledger, sagemaker=world.sagemaker)
    assert world.ledger.champion("flights")["episode_id"] == world.second.episode_id


def test_a_model_that_was_removed_does_not_serve_again(world: World) -> None:
    world.ledger.record_removed(world.first.episode_id, NOW)
    episode = world.ask("rollback", target=world.first.episode_id)
    with pytest.raises(Refused, match=r"unknown_model: the model of .* was removed at 2013"):
        reinstate_model(step(episode, now=world.now), ledger=world.ledger)


def test_a_first_model_does_not_take_an_endpoint_over_that_no_episode_made(
    ledger: Any, store: Any, sagemaker: Any, cloudwatch: Any
) -> None:
    sagemaker.described = in_service("by-hand")
    episode = opened(ledger, trigger(cause="bootstrap", bootstrap=True))
    ledger.note(episode, decision="approved")
    with pytest.raises(NotOurs, match="flights serves by-hand, which no episode made"):
        converge_endpoint(
            step(episode, "update"),
            settings=ROLLOUT,
            ledger=ledger,
            store=store,
            sagemaker=sagemaker,
            cloudwatch=cloudwatch,
        )
    assert sagemaker.updates == []
