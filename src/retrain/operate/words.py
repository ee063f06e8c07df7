"""An operator's documents as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retrain.operate.doctor import Finding

_BAR = 40


def status(document: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says."""
    endpoint, champion, episode = document["endpoint"], document["champion"], document["episode"]
    yield f"endpoint    {endpoint['name']}: {_serving(endpoint)}"
    yield f"champion    {_champion(champion) if champion else 'none yet'}"
    if champion:
        yield f"baseline    {champion.get('statistics_uri')}"
    if episode:
        age = _duration(episode["age_seconds"])
        yield f"episode     {episode['episode_id']}, {age} old, in {episode['state'] or 'no state yet'}"
        yield f"            {episode.get('trigger')}: {episode.get('trigger_text')}"
        yield f"lock        held until {document['lock']['expires_at']}"
    else:
        yield "episode     none is open, the lock is free"
    for name in ("analysis", "quality"):
        yield f"{name:11} {_analysis(document[name])}"
    if counted := document["evidence"]:
        cost = f", {counted['lost']:.2f} of {counted['training_dollars']:g} dollars lost" * bool(
            counted.get("training_dollars")
        )
        yield f"evidence    {counted['rows']} labelled rows, {counted['since']} to {counted['until']}{cost}"
    if month := document["month"]:
        dollars = f"{month.get('dollars', 0.0):.2f} dollars by unchecked prices"
        yield f"month       {month.get('opened', 0)} episodes, {dollars}"
    if paused := document["paused"]:
        until = paused.get("until") or "resumed"
        yield f"paused      {paused['reason']}, by {paused['by']} at {paused['at']}, until {until}"
    yield f"alarms      {', '.join(_alarm(alarm) for alarm in document['alarms'])}"
    yield f"next        {document['next']}"
    for sentence in document["attention"]:
        yield f"ATTENTION   {sentence}"


def episodes(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What `episodes` says."""
    if not found:
        yield "there was no episode yet"
    for item in found:
        ending = ": ".join(str(item[name]) for name in ("outcome", "reason") if item.get(name)) or "open"
        yield f"{item['episode_id']}  {item.get('opened_at')}  {item.get('trigger')}  {ending}"


def fields(item: Mapping[str, Any]) -> Iterator[str]:
    """A document, a field a line."""
    for name, value in sorted(item.items()):
        if value not in (None, "", [], {}):
            yield f"{name:24} {value}"


def answer(said: Mapping[str, Any]) -> Iterator[str]:
    """What the loop answered to a request."""
    rest = ", ".join(f"{name} {value}" for name, value in said.items() if name != "action" and value)
    yield f"{said['action']}: {rest}" if rest else str(said["action"])


def waterfall(spans: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What `trace` says: a bar for each span, where it lies in the whole."""
    from retrain.core import clock

    if not spans:
        yield "nothing of it ran yet"
        return
    starts = [clock.parse(span["start"]) for span in spans]
    first = min(starts)
    ends = [(start - first).total_seconds() + span["seconds"] for start, span in zip(starts, spans, strict=True)]
    whole = max(*ends, 0.1) if len(ends) > 1 else max(ends[0], 0.1)
    for span, start in zip(spans, starts, strict=True):
        place = min(int((start - first).total_seconds() / whole * _BAR), _BAR - 1)
        length = min(max(round(span["seconds"] / whole * _BAR), 1), _BAR - place)
        mark = ("█" if span["kind"] == "state" else "▒") * length
        name = span["name"] if span["kind"] == "state" else f"  {span['name']}"
        open_end = "" if span["over"] else " …"
        yield f"{name:28} {span['seconds']:8.1f} s  {' ' * place}{mark}{open_end}"


def findings(found: Sequence[Finding]) -> Iterator[str]:
    """What `doctor` says, the worst first."""
    order = ("error", "warning", "unknown", "ok")
    for finding in sorted(found, key=lambda each: order.index(each.level)):
        yield f"{finding.level:8} {finding.check}: {finding.text}"
        if finding.remedy:
            yield f"         → {finding.remedy}"


def _alarm(alarm: Mapping[str, str]) -> str:
    return f"{alarm['name'].removesuffix('Alarm')} {alarm['state']}"


def _serving(endpoint: Mapping[str, Any]) -> str:
    if endpoint["status"] is None:
        return "does not exist"
    return f"{endpoint['status']}, {endpoint['instances']} instances, config {endpoint['config']}"


def _champion(champion: Mapping[str, Any]) -> str:
    package = str(champion.get("model_package_arn", "")).rpartition("/")[2]
    return f"version {package}, since {champion.get('since')}, of episode {champion.get('episode_id')}"


def _analysis(analysis: Mapping[str, Any] | None) -> str:
    if not analysis:
        return "none yet"
    why = f" ({analysis['reason']})" if analysis.get("reason") else ""
    number = analysis.get("drift_max", analysis.get("quality_max"))
    worst = f", {number:.3g} {analysis.get('worst_feature', '')}".rstrip() if number is not None else ""
    return f"{analysis['verdict']}{why}{worst}, {analysis.get('rows', 0)} rows to {analysis['window_end']}"


def _duration(seconds: int) -> str:
    """
    >>> _duration(59), _duration(7260), _duration(90000)
    ('59 s', '2 h 1 min', '1 d 1 h')
    """
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"
