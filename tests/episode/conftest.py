"""The front door, and a challenger that is judged, asked for and decided upon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from control_plane import ACCOUNT, APPROVAL, REGISTRY, RUN, crowned, evaluated, opened, opening_rules, step

from retrain.episode import alarm
from retrain.episode.approval import hear_decision, judge_challenger, request_approval

EVENTS = Path(__file__).parents[2] / "events"
Answer = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(ledger: Any, machine: Any, rejected: Any, topic: Any, store: Any, bus: Any) -> Answer:
    """What becomes of an event at the front door; `on` is another ledger, `rules` what differs of the rules."""

    def answer(event: Any, on: Any = ledger, **rules: Any) -> dict[str, Any]:
        more = {"machine": machine, "rejected": rejected, "topic": topic, "store": store, "bus": bus}
        return alarm.answer(event, rules=opening_rules(**rules), ledger=on, **more)

    return answer


@pytest.fixture
def challenged(ledger: Any, store: Any, sagemaker: Any) -> Any:
    """An episode whose pipeline succeeded with a good challenger."""
    crowned(ledger)
    episode = opened(ledger)
    ledger.note(episode, pipeline_execution_arn=RUN)
    evaluated(store, sagemaker, episode)
    sagemaker.registers(episode.episode_id)
    return episode


@pytest.fixture
def judge(ledger: Any, store: Any, sagemaker: Any, bus: Any) -> Answer:
    def call(episode: Any, rules: Any = APPROVAL) -> dict[str, Any]:
        asked = step(episode, "judge")
        return judge_challenger(asked, rules=rules, ledger=ledger, store=store, sagemaker=sagemaker, bus=bus)

    return call


@pytest.fixture
def request_(ledger: Any, sagemaker: Any, callbacks: Any, topic: Any) -> Answer:
    def call(episode: Any, token: Any = "token", rules: Any = REGISTRY, links: Any = None) -> dict[str, Any]:
        asked = step(episode, "request_approval", task_token=token)
        return request_approval(
            asked, rules=rules, ledger=ledger, sagemaker=sagemaker, callbacks=callbacks, topic=topic, links=links
        )

    return call


@pytest.fixture
def hear(ledger: Any, sagemaker: Any, callbacks: Any, topic: Any) -> Answer:
    """What becomes of a registry's event, of which the registry says the same, and that `by` changed the package."""

    def call(name: str = "registry-approved", by: str = "ada", rules: Any = REGISTRY, **detail: Any) -> dict[str, Any]:
        event = json.loads((EVENTS / f"{name}.json").read_text())
        event["detail"].update(detail)
        if status := event["detail"].get("ModelApprovalStatus"):
            sagemaker.package["ModelApprovalStatus"] = status
        sagemaker.package["LastModifiedBy"] = {"IamIdentity": {"Arn": f"arn:aws:iam::{ACCOUNT}:user/{by}"}}
        return hear_decision(event, rules=rules, ledger=ledger, sagemaker=sagemaker, callbacks=callbacks, topic=topic)

    return call
