"""Reporting: pages for people, drawn when the monitor or the ledger has news, never on the way to a decision.

Whatever fails here changes no verdict. The same news draws the same page again while what it tells of is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retrain.core import names, telemetry
from retrain.core.answers import ignored
from retrain.core.errors import MalformedEvent, NoArtifact
from retrain.drift.baseline import read_statistics
from retrain.report.drift_page import render_drift
from retrain.report.episode_page import Evidence, render_episode
from retrain.report.quality_page import render_quality
from retrain.report.words import when

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store

HTML = "text/html; charset=utf-8"


def draw_page(event: Any, *, endpoint_name: str, ledger: Ledger, store: Store) -> dict[str, Any]:
    """The page of what the event tells about is in the bucket: of an analysis, or of an episode as it is now."""
    if not isinstance(event, Mapping) or not isinstance(detail := event.get("detail"), Mapping):
        raise MalformedEvent("an event with a detail is expected")
    if detail.get("endpoint_name") != endpoint_name:
        return ignored("unknown_endpoint")
    kind = event.get("detail-type")
    if kind == names.WINDOW_ANALYSED:
        return draw_analysis(_uri(detail, "report_uri"), _uri(detail, "baseline_uri"), endpoint_name, store)
    if kind == names.EPISODE_CHANGED and isinstance(episode_id := detail.get("episode_id"), str):
        return draw_episode(episode_id, ledger=ledger, store=store)
    raise MalformedEvent(f"{telemetry.short(str(kind), 100)} is no news that a page is drawn of")


def draw_analysis(report_uri: str, baseline_uri: str, endpoint_name: str, store: Store) -> dict[str, Any]:
    """The analysis has its page beside it."""
    folder = store.uri(f"monitor/{endpoint_name}/")
    if not report_uri.startswith(folder):
        raise MalformedEvent(f"no analysis of this endpoint lies below {folder}")
    analysis = json.loads(store.read(report_uri))
    return _drawn(
        store.put(
            _page_of(analysis, report_uri.removeprefix(store.uri(""))),
            _page(store, analysis, report_uri, baseline_uri, endpoint_name),
            HTML,
        )
    )


def draw_episode(episode_id: str, *, ledger: Ledger, store: Store) -> dict[str, Any]:
    """The episode's page shows what the ledger and the pipeline's files say by now.

    The analysis that opened it is kept beside it, with its page: the monitor's own files are of the hour, and later
    windows of the hour replace them.
    """
    telemetry.about(episode_id)
    item = ledger.episode(episode_id)
    if item is None:
        return ignored("unknown_episode")
    folder = f"episodes/{episode_id}"
    kept = f"{folder}/drift/analysis.json"
    analysis = _document(store, store.uri(kept)) or _keep(item, kept, ledger, store)
    evidence = Evidence(
        episode_id=episode_id,
        item=item,
        analysis=analysis,
        analysis_link=store.link(store.uri(_page_of(analysis, kept))) if analysis else None,
        manifest=_document(store, store.uri(f"{folder}/dataset/manifest.json")),
        evaluation=_document(store, store.uri(f"{folder}/evaluation/evaluation.json")),
    )
    return _drawn(store.put(names.episode_page(episode_id), render_episode(evidence), HTML))


def _keep(item: Mapping[str, Any], key: str, ledger: Ledger, store: Store) -> Mapping[str, Any] | None:
    """The analysis that opened the episode, which has its copy and its page now; None if there is none."""
    report_uri, champion = item.get("report_uri"), ledger.champion(item["endpoint_name"])
    if not report_uri or item["status"] != "OPEN" or champion is None:
        return None
    analysis = _document(store, report_uri)
    if analysis is None or analysis.get("window_end") != item["window_end"]:
        return None  # a later window of the hour came first; what it says opened nothing
    drawn = _page(store, analysis, report_uri, champion["statistics_uri"], item["endpoint_name"])
    store.put(_page_of(analysis, key), drawn, HTML)
    store.put(key, json.dumps(analysis, sort_keys=True))
    return analysis


def _page(store: Store, analysis: Mapping[str, Any], report_uri: str, baseline_uri: str, endpoint_name: str) -> str:
    source = f"endpoint {endpoint_name}, {when(analysis['window_start'])} to {when(analysis['window_end'])}"
    if not _of_drift(analysis):
        return render_quality(analysis, source)
    window_uri = f"{report_uri.rpartition('/')[0]}/statistics.json"
    baseline, window = (read_statistics(store.read(uri), uri) for uri in (baseline_uri, window_uri))
    return render_drift(analysis, baseline, window, source)


def _page_of(analysis: Mapping[str, Any], key: str) -> str:
    return names.drift_page(key) if _of_drift(analysis) else names.quality_page(key)


def _document(store: Store, uri: str) -> Mapping[str, Any] | None:
    """The object as JSON, None if there is none."""
    try:
        document: Mapping[str, Any] = json.loads(store.read(uri))
    except NoArtifact:
        return None
    return document


def _of_drift(analysis: Mapping[str, Any]) -> bool:
    """Whether the analysis is the drift monitor's; the quality monitor's has metrics instead."""
    return "features" in analysis


def _uri(detail: Mapping[str, Any], name: str) -> str:
    if not isinstance(uri := detail.get(name), str):
        raise MalformedEvent(f"detail.{name} is missing")
    return uri


def _drawn(uri: str) -> dict[str, Any]:
    telemetry.logger.info("page drawn", uri=uri)
    return {"status": "drawn", "page_uri": uri}
