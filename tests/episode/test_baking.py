"""While a new model bakes, answers that make no sense are found in the captures."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from control_plane import NOW as OPENED
from control_plane import crowned, in_service, opened, step

from retrain.episode.baking import answered, follow_rollout, insane_share, span_of, taking_since

NOW = OPENED.replace(microsecond=0)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
KNOWN = {"features": [{"name": "x"}, {"name": "_prediction", "numerical_statistics": {"min": 0.0, "max": 100.0}}]}
CLASSES = {"features": [{"name": "_prediction", "string_statistics": {}}]}


def line(at: datetime, question: int, answer: str, encoding: str = "CSV") -> bytes:
    data = base64.b64encode(answer.encode()).decode() if encoding == "BASE64" else answer
    sides = {
        "endpointInput": {"data": f"{question},1\n", "encoding": "CSV"},
        "endpointOutput": {"data": data, "encoding": encoding},
    }
    when = {"eventId": "e", "inferenceTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps({"captureData": sides, "eventMetadata": when}).encode()


def baking(stage: str = "Baking") -> dict[str, Any]:
    """The endpoint five minutes after its update began; for two, the new fleet has taken requests."""
    status = [{"Status": stage, "StartTime": NOW - 2 * MINUTE}]
    pending = {"StartTime": NOW - 5 * MINUTE, "ProductionVariants": [{"VariantStatus": status}]}
    return {**in_service("old-config", "Updating"), "PendingDeploymentSummary": pending}


@pytest.fixture
def follow(ledger: Any, sagemaker: Any, store: Any, cloudwatch: Any) -> Any:
    """What is published, with these answers before the roll-out, and these of the new model."""
    crowned(ledger)
    episode = opened(ledger)
    store.put("new/statistics.json", json.dumps(KNOWN))
    store.put("old/statistics.json", json.dumps(KNOWN))
    ledger.note(episode, endpoint_config_name="new", statistics_uri="s3://bucket/new/statistics.json")

    def call(before: list[str], after: list[str], endpoint: Any = None) -> list[float]:
        sagemaker.described = endpoint or baking()
        folder = f"capture/flights/AllTraffic/{NOW:%Y/%m/%d/%H}"
        for name, answers, since in (("00-a", before, NOW - 6 * MINUTE), ("55-b", after, NOW - 2 * MINUTE)):
            lines = [line(since + SECOND * number / 10, number, answer) for number, answer in enumerate(answers)]
            store.put(f"{folder}/{name}.jsonl", b"\n".join(lines))
        asked = step(episode, "endpoint")
        with_all = {"ledger": ledger, "sagemaker": sagemaker, "store": store, "cloudwatch": cloudwatch}
        assert follow_rollout(asked, **with_all) == {"status": "updating"}
        return [metric["Value"] for metric in cloudwatch.published]

    return call


SANE = [f"{number % 90}\n" for number in range(200)]


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (SANE, 0.0),
        ([*SANE[:180], *["nan\n"] * 20], 0.1),
        ([*SANE[:180], *["\n"] * 20], 0.1),
        ([*SANE[:180], *["-inf\n"] * 20], 0.1),
        ([*SANE[:180], *["200.1\n"] * 20], 0.1),  # beyond 0 to 100 by more than that
        ([*SANE[:180], *["199.9\n"] * 20], 0.0),
        (["42\n"] * 200, 1.0),
    ],
)
def test_while_a_model_bakes_the_share_of_senseless_answers_is_published(
    after: list[str], share: float, follow: Any
) -> None:
    assert follow(SANE, after) == [pytest.approx(share)]


def test_a_model_that_answers_nonsense_already_can_be_replaced(follow: Any) -> None:
    assert follow(["nan\n"] * 200, [*SANE[:100], *["nan\n"] * 100]) == [0.0]


@pytest.mark.parametrize("stage", ["Creating", "Updating"])
def test_before_the_new_fleet_takes_requests_nothing_is_said_of_it(stage: str, follow: Any) -> None:
    assert follow(SANE, ["nan\n"] * 200, baking(stage)) == []


def test_without_answers_nothing_is_published(follow: Any) -> None:
    assert follow(SANE, []) == []


def test_what_can_not_be_read_holds_nothing_up(follow: Any, store: Any) -> None:
    del store.objects["s3://bucket/new/statistics.json"]
    assert follow(SANE, SANE) == []


@pytest.mark.parametrize(
    ("answer", "encoding", "texts"),
    [
        ("1\n2.5\n", "CSV", ("1", "2.5")),
        ('{"predictions": [1.5, null, NaN]}', "JSON", ("1.5", "", "nan")),
        ("cat\n", "BASE64", ("cat",)),
    ],
)
def test_the_servings_own_answers_are_read(answer: str, encoding: str, texts: tuple[str, ...]) -> None:
    [found] = answered([line(NOW, 1, answer, encoding)])
    assert (found.time, found.answers) == (NOW, texts)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", line(NOW, 1, "[1]", "JSON").replace(b"2013", b"soon")])
def test_other_lines_tell_nothing(text: bytes) -> None:
    assert answered([text]) == []


def test_classes_have_no_range() -> None:
    assert span_of([CLASSES]) is None
    found = answered([line(NOW + number * SECOND, number, "cat\n" if number % 2 else "dog\n") for number in range(100)])
    assert insane_share(found, None) == 0.0
    assert insane_share(found, (0.0, 1.0)) == 1.0


def test_one_question_asked_again_and_again_has_one_answer() -> None:
    asked = answered([line(NOW, 1, "42\n")] * 300)
    assert insane_share(asked, (0.0, 100.0)) == 0.0
    assert insane_share([], None) is None


def test_the_range_is_that_of_both_models() -> None:
    other = {"features": [{"name": "_prediction", "numerical_statistics": {"min": -50.0, "max": 50.0}}]}
    assert span_of([KNOWN, other, CLASSES]) == (-200.0, 250.0)


def test_an_endpoint_that_does_not_tell_its_stage_is_not_judged() -> None:
    assert taking_since({}) is None
    assert taking_since({"ProductionVariants": [{}]}) is None
