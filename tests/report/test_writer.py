"""Pages are drawn of news, beside the files that they are drawn of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from control_plane import crowned, opened

from retrain.core.clock import parse
from retrain.core.errors import MalformedEvent, NoArtifact
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.constraints import read_constraints
from retrain.quality.verdict import GREATER, Demand, Pairs, judge_quality, read_pairs
from retrain.report.writer import draw_page

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


@pytest.fixture
def judged(store: Any) -> str:
    """The URI of an analysis of answers that got worse, as the quality monitor files it."""
    random = np.random.default_rng(1)
    truth = random.normal(100, 20, 800)
    pairs = Pairs("regression", truth, truth + random.normal(0, 20, 800), (), {})
    analysis = judge_quality(pairs, 1000, [Demand("mae", 30.0, GREATER), Demand("rmse", 10.0, GREATER)], WINDOW)
    return store.put("monitor/flights/flights-quality/2013/04/02/00/analysis.json", json.dumps(analysis.document()))


def test_answers_that_got_worse_have_a_page_with_every_metric_and_where_it_may_lie(
    tell: Any, judged: str, store: Any
) -> None:
    answer = tell("Window Analysed", report_uri=judged, baseline_uri="s3://bucket/old/quality/constraints.json")
    assert answer["page_uri"] == judged.replace("analysis.json", "quality.html")
    page = store.read(answer["page_uri"]).decode()
    document = json.loads(store.read(judged))
    for metric in document["metrics"]:
        low, high = metric["interval"]
        assert f"{low:.4g} and {high:.4g}" in page
    assert f"Drifted: rmse is {document['metrics'][1]['value']:.4g}, where at most 10 is allowed." in page
    assert "80.0 %" in page
    assert 'class="plot"' in page
    assert "https://" not in page.split("<script", maxsplit=1)[0], "it needs nothing from the network"


def test_what_was_to_be_expected_before_labels_is_drawn_beside_what_they_say(
    tell: Any, judged: str, store: Any
) -> None:
    estimate = {"metric": "rmse", "value": 11.0, "interval": [9.0, 13.0], "reason": None, "contradicted": True}
    document = {**json.loads(store.read(judged)), "estimate": estimate}
    store.put(judged.removeprefix("s3://bucket/"), json.dumps(document))
    page = store.read(tell("Window Analysed", report_uri=judged, baseline_uri="s3://bucket/c")["page_uri"]).decode()
    assert "rmse was to be expected to be 11, between 9 and 13; by its labels it is" in page
    assert "what they mean has changed" in page
    assert "diamond-open" in page


@pytest.mark.parametrize(
    ("pairs", "broken", "says"),
    [
        ([], None, "Undecided: there are too few labels to tell."),
        ([], ("capture_corrupt", "9 of 9 capture lines can't be used"), "Undecided: too much of the captures can"),
        ([("1", ["1"])] * 300, None, "Stable: the metric that is judged is within what is allowed."),
    ],
)
def test_answers_that_did_not_get_worse_or_nobody_knows_have_one_too(
    tell: Any, store: Any, pairs: Any, broken: Any, says: str
) -> None:
    demands = [Demand("mae", 1.0, GREATER)]
    analysis = judge_quality(read_pairs("regression", pairs), len(pairs), demands, WINDOW, broken=broken)
    uri = store.put("monitor/flights/flights-quality/2013/04/02/00/analysis.json", json.dumps(analysis.document()))
    assert (
        says in store.read(tell("Window Analysed", report_uri=uri, baseline_uri="s3://bucket/c")["page_uri"]).decode()
    )


def test_an_episode_that_answers_opened_links_their_page(tell: Any, judged: str, ledger: Any, store: Any) -> None:
    crowned(ledger)
    episode = opened(ledger)
    document = {**json.loads(store.read(judged)), "window_end": ledger.episode(episode.episode_id)["window_end"]}
    store.put(judged.removeprefix("s3://bucket/"), json.dumps(document))
    ledger.note(episode, report_uri=judged)
    tell("Episode Changed", episode_id=episode.episode_id)
    folder = f"s3://bucket/episodes/{episode.episode_id}"
    assert b"Drifted: rmse is" in store.read(f"{folder}/drift/quality.html")
    page = store.read(f"{folder}/episode.html").decode()
    assert "The quality report of that window" in page
    assert f"episodes/{episode.episode_id}/drift/quality.html" in page


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
