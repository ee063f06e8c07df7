"""Faults on the wire: whatever AWS, or the way to it, does instead of answering is something that may succeed later."""

from __future__ import annotations

from typing import Any

import pytest
from chaos import TIMES, operations, outcome
from faulty_wire import FAULTS, calls, faulty, url
from samcli.yamlhelper import yaml_parse
from wiring import ROOT

from retrain.aws import calls as clients
from retrain.aws.sns import Topic
from retrain.core.errors import RetrainError, Throttled
from retrain.episode import retention


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_F18_F20_every_call_that_gets_no_answer_may_be_made_again(fault: str) -> None:
    """Every call of the loop, over botocore's HTTP, to a server with that fault."""
    became: dict[str, str] = {}
    with faulty(fault) as server:
        for name, call in calls(server).items():
            with pytest.raises(RetrainError) as error:
                call()
            became[name] = type(error.value).__name__
    assert {name: found for name, found in became.items() if found != Throttled.__name__} == {}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hung", "500"])
def test_F51_a_notification_that_hangs_ends_after_two_attempts(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the deployed function's own client: two attempts of three seconds each."""
    with faulty(fault) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", url(server))
        topic = Topic(clients.client.__wrapped__("sns"), "arn:aws:sns:us-east-1:000000000000:topic")
        with pytest.raises(Throttled):
            topic.publish("subject", "text")
        assert server.met == 2


def test_F51_what_people_are_told_takes_a_small_part_of_any_functions_time() -> None:
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    every = [item for item in template["Resources"].values() if item["Type"] == "AWS::Serverless::Function"]
    functions = [
        item for item in every if "TOPIC_ARN" in item["Properties"].get("Environment", {}).get("Variables", {})
    ]
    assert len(functions) >= 5
    default = template["Globals"]["Function"]["Timeout"]
    shortest = min(item["Properties"].get("Timeout", default) for item in functions)
    brief: Any = clients.BRIEF
    longest = brief.retries["total_max_attempts"] * (brief.connect_timeout + brief.read_timeout)
    assert longest * 3 <= shortest, "no step tells more than three times: people, and the report writer twice"


@pytest.mark.parametrize("after", [False, True], ids=["fails", "answer-lost"])
@pytest.mark.parametrize("often", TIMES)
def test_F20_whatever_operation_fails_no_episode_is_lost_and_nothing_happens_twice(often: str, after: bool) -> None:
    for operation in operations():
        came = outcome(operation, TIMES[often], after=after)
        assert (came.lost, came.duplicates, came.failed_predictions) == (False, 0, 0), operation
        assert came.ended in NAMED, operation
        assert came.ended == "promoted" or often == "for ever", operation
        assert came.told_again <= (3 if operation in {"topic.publish", "dynamodb.update_item"} else 0), operation


def test_predictions_that_fail_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If what serves were removed with what is old, the run of the loop would tell."""
    monkeypatch.setattr(retention, "outdated", lambda episodes, *_: (list(episodes), frozenset()))
    assert outcome("topic.publish", 0, after=False).failed_predictions > 0


NAMED = {"promoted", "throttled", "execution_failed", "opened later"}
