"""Pages are drawn of news, beside the files that they are drawn of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from control_plane import crowned, opened

from retrain.baseline import baseline_of, read_constraints, read_statistics
from retrain.clock import parse
from retrain.errors import MalformedEvent, NoArtifact
from retrain.monitor import analyse
from retrain.reporting import draw_page

FOLDER = "monitor/flights/flights-drift/2013/04/01/00"
WINDOW = parse("2013-03-01T00:00:00Z"), parse("2013-04-01T00:00:00Z")


def rows(seed: int, middle: float) -> list[list[str]]:
    return [[f"{x:.1f}"] for x in np.random.default_rng(seed).normal(middle, 200, 1500)]


@pytest.fixture
def filed(store: Any) -> None:
    """An analysis of a window that has drifted, as the monitor files it, and the champion's baseline."""
    statistics, constraints = (json.dumps(d) for d in baseline_of(rows(1, 1000), {"distance": "numeric"}, None))
    line = {
        "captureData": {"endpointInput": {"data": rows(2, 1500), "encoding": "JSON"}},
        "eventMetadata": {"eventId": "1", "inferenceTime": "2013-03-15T00:00:00Z"},
    }
    analysis = analyse(
        [("a.jsonl", [json.dumps(line).encode()])], read_statistics(statistics), read_constraints(constraints), WINDOW
    )
    store.put("old/statistics.json", statistics)
    store.put(f"{FOLDER}/statistics.json", json.dumps(analysis.statistics()))
    store.put(f"{FOLDER}/analysis.json", json.dumps(analysis.document()))


@pytest.fixture
def tell(ledger: Any, store: Any) -> Any:
    def call(kind: str, **detail: Any) -> dict[str, Any]:
        event = {"detail-type": kind, "detail": {"endpoint_name": "flights", **detail}}
        return draw_page(event, endpoint_name="flights", ledger=ledger, store=store)

    return call


def test_an_analysis_has_its_page_beside_it_and_again_the_same(tell: Any, filed: None, store: Any) -> None:
    news = {"report_uri": f"s3://bucket/{FOLDER}/analysis.json", "baseline_uri": "s3://bucket/old/statistics.json"}
    answer = tell("Window Analysed", **news)
    assert answer == {"status": "drawn", "page_uri": f"s3://bucket/{FOLDER}/drift.html"}
    page = store.read(answer["page_uri"])
    assert b"Drifted: distance moved by" in page
    tell("Window Analysed", **news)
    assert store.read(answer["page_uri"]) == page


def test_an_analysis_that_is_not_the_endpoints_is_not_drawn(tell: Any) -> None:
    with pytest.raises(MalformedEvent, match="monitor/flights"):
        tell("Window Analysed", report_uri="s3://elsewhere/analysis.json", baseline_uri="s3://bucket/s")


def test_an_analysis_that_is_gone_fails_by_name(tell: Any) -> None:
    with pytest.raises(NoArtifact):
        tell("Window Analysed", report_uri=f"s3://bucket/{FOLDER}/analysis.json", baseline_uri="s3://bucket/s")


def test_news_of_others_are_ignored(tell: Any, store: Any) -> None:
    assert tell("Episode Changed", episode_id="x", endpoint_name="other")["reason"] == "unknown_endpoint"
    assert tell("Episode Changed", episode_id="x")["reason"] == "unknown_episode"
    assert store.objects == {}


@pytest.mark.parametrize("event", [None, {}, {"detail": {"endpoint_name": "flights"}, "detail-type": "Odd"}])
def test_an_event_that_is_no_news_is_malformed(event: Any, ledger: Any, store: Any) -> None:
    with pytest.raises(MalformedEvent):
        draw_page(event, endpoint_name="flights", ledger=ledger, store=store)


def test_the_analysis_that_opened_an_episode_stays_with_it(tell: Any, filed: None, ledger: Any, store: Any) -> None:
    crowned(ledger)
    episode = opened(ledger)
    item = ledger.episode(episode.episode_id)
    uri = f"s3://bucket/{FOLDER}/analysis.json"
    document = {**json.loads(store.read(uri)), "window_end": item["window_end"]}
    store.put(f"{FOLDER}/analysis.json", json.dumps(document))
    ledger.note(episode, report_uri=uri)
    tell("Episode Changed", episode_id=episode.episode_id)
    folder = f"s3://bucket/episodes/{episode.episode_id}"
    assert b"Drifted: distance moved by" in store.read(f"{folder}/drift/drift.html")
    first = store.read(f"{folder}/episode.html")
    assert b"distance" in first
    store.put(f"{FOLDER}/analysis.json", "{}")  # a later window of the hour
    tell("Episode Changed", episode_id=episode.episode_id)
    assert store.read(f"{folder}/episode.html") == first


def test_another_window_of_the_hour_is_not_taken_for_the_one_that_opened_the_episode(
    tell: Any, filed: None, ledger: Any, store: Any
) -> None:
    crowned(ledger)
    episode = opened(ledger)
    uri = f"s3://bucket/{FOLDER}/analysis.json"
    store.put(
        f"{FOLDER}/analysis.json", json.dumps({**json.loads(store.read(uri)), "window_end": "2013-04-01T00:55:00Z"})
    )
    ledger.note(episode, report_uri=uri)
    tell("Episode Changed", episode_id=episode.episode_id)
    page = store.read(f"s3://bucket/episodes/{episode.episode_id}/episode.html").decode()
    assert "The analysis of the window is not kept with this episode." in page
