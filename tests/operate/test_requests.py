"""What an operator asks for, through the handlers and the state machine as they are, on a stack in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.cloud import Cloud
from benchmarks.simulate import Traffic, play
from local import ACCOUNT, REGION
from retrain.core import clock, names
from retrain.deployed import adapters
from retrain.operate.deployment import Deployment
from retrain.operate.requests import event_of


class Hands:
    """An operator's, on a stack whose first model serves."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.endpoint = cloud, cloud.template.parameters["EndpointName"]

    def ask(self, kind: str, **detail: str) -> dict[str, Any]:
        self.cloud.now += timedelta(hours=1)
        return self.cloud.call(
            "alarm_handler",
            {
                "source": "retrain",
                "detail-type": names.REQUESTS[kind],
                "account": ACCOUNT,
                "region": REGION,
                "time": clock.render(self.cloud.now),
                "detail": {"endpoint_name": self.endpoint, "by": "ada", "reason": "why", **detail},
            },
        )

    def follow(self, kind: str, **detail: str) -> dict[str, Any]:
        """The ledger's episode, when it is over."""
        answer = self.ask(kind, **detail)
        assert answer["action"] == "opened", answer
        for _ in range(20):
            self.cloud.now += timedelta(minutes=1)
            self.cloud.run_executions()
        item = adapters.ledger().episode(answer["episode_id"])
        assert item
        assert item["status"] == "CLOSED", item
        return dict(item)

    def serving(self) -> str:
        return str(self.cloud.sagemaker.endpoints[self.endpoint])

    def champion(self) -> dict[str, Any]:
        return dict(adapters.ledger().champion(self.endpoint) or {})


@pytest.fixture(scope="module")
def hands() -> Iterator[Hands]:
    given = {"InitialDataUri": "s3://initial/data/", "ApprovalMode": "auto", "CooldownHours": "0"}
    with Cloud(**given) as cloud:
        play(cloud, Traffic(600, "unchanged", 7), days=1, every=12, history=6, verbose=False)
        yield Hands(cloud)


def test_the_champion_is_restored_by_a_roll_out_of_its_own(hands: Hands) -> None:
    before = hands.champion()
    item = hands.follow("restore")
    assert (item["outcome"], item["reason"]) == ("promoted", "restore"), item.get("detail")
    after = hands.champion()
    assert after["model_sha256"] == before["model_sha256"]
    assert after["statistics_uri"] == before["statistics_uri"]
    assert hands.serving() == after["endpoint_config_name"] != before["endpoint_config_name"]


def test_a_lost_endpoint_is_made_again(hands: Hands) -> None:
    del hands.cloud.sagemaker.endpoints[hands.endpoint]
    assert hands.follow("restore")["outcome"] == "promoted"
    assert hands.serving() == hands.champion()["endpoint_config_name"]


def test_a_rollback_serves_what_that_episode_was_promoted_with(hands: Hands) -> None:
    first = hands.champion()
    item = hands.follow("rollback", target=str(first["episode_id"]))
    assert (item["outcome"], item["reason"], item["decided_by"]) == ("promoted", "rollback", "operator:ada")
    assert hands.champion()["model_data_uri"] == first["model_data_uri"]


def test_a_rollback_to_a_model_that_never_served_changes_nothing(hands: Hands) -> None:
    serving, champion = hands.serving(), hands.champion()
    item = hands.follow("rollback", target="nobody")
    assert (item["outcome"], item["reason"]) == ("refused", "unknown_model")
    assert (hands.serving(), hands.champion()) == (serving, champion)


def test_what_somebody_put_there_by_hand_is_adopted_if_an_episode_made_it(hands: Hands) -> None:
    earlier = hands.champion()["endpoint_config_name"]
    hands.follow("restore")
    hands.cloud.sagemaker.endpoints[hands.endpoint] = earlier
    item = hands.follow("adopt")
    assert (item["outcome"], item["reason"]) == ("promoted", "adopt"), item.get("detail")
    assert hands.serving() == hands.champion()["endpoint_config_name"] == earlier


def test_a_paused_loop_opens_nothing_until_it_is_resumed(hands: Hands) -> None:
    assert hands.ask("pause")["status"] == "paused"
    assert hands.ask("retrain")["reason"] == "paused"
    assert hands.ask("resume")["status"] == "resumed"
    assert json.loads(json.dumps(hands.ask("retrain")))["action"] == "opened"


def test_in_the_middle_of_an_episode_nothing_is_turned_back(hands: Hands) -> None:
    assert adapters.ledger().open_episode_id(hands.endpoint)
    assert hands.ask("rollback", target="x") == {"action": "ignored", "reason": "episode_open"}


class Sts:
    """Tells who asks; its clock goes on."""

    def __init__(self) -> None:
        self.minutes = 0

    def get_caller_identity(self) -> dict[str, Any]:
        self.minutes += 1
        headers = {"date": f"Sun, 01 Feb 2026 00:{self.minutes:02}:00 GMT"}
        return {"Account": ACCOUNT, "Arn": "arn:ada", "ResponseMetadata": {"HTTPHeaders": headers}}


def test_a_request_has_the_time_at_which_it_is_made_however_long_the_process_lives() -> None:
    sts = Sts()
    stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/drift-retrain/1"
    deployed = Deployment(lambda _: sts, "drift-retrain", stack_id, {}, {"EndpointName": "flights"}, {}, {})
    first, later = (event_of("resume", deployed, {}) for _ in range(2))
    assert (first["time"], later["time"]) == ("2026-02-01T00:01:00Z", "2026-02-01T00:02:00Z")
    assert first["detail"] == {"endpoint_name": "flights", "by": "arn:ada"}
