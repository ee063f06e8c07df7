"""An episode as one page of HTML: the evidence that an approver sees, and afterwards what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from retrain.report.paper import BEFORE, GAP, NOW, embedded, page, styled
from retrain.report.words import readable, short, when

_FEATURES = 12
_MOVED = 6
_LEAST_SHARE = 0.001
_SIDES = (("champion", BEFORE), ("challenger", NOW))
_CANDIDATES: Mapping[str, str] = {
    "continued": "the champion with more trees",
    "refreshed": "the champion's trees, leaves learnt anew",
    "scratch": "learnt anew from old and new rows",
    "recent": "learnt anew, recent rows counting for more",
    "new_only": "learnt anew from the window's rows alone",
}
_BUT: Mapping[str, str] = {
    "trade_off": "it gives up more of the old than it gains",
    "fails_in_shadow": "it does not serve as it was judged",
    "forgets_reference": "it forgets what the old rows say",
    "degrades_segment": "it is worse where it may not be",
    "segment_unknown": "not every segment could be judged",
    "biased": "its answers lie further off to one side",
    "miscalibrated": "its probabilities lie further off",
}


@dataclass(frozen=True)
class Evidence:
    """What is known of an episode: the ledger's item, and the files that its analysis and its pipeline left.

    Each may be missing: the pipeline has not come so far, or an older one did not write it.
    """

    episode_id: str
    item: Mapping[str, Any]
    analysis: Mapping[str, Any] | None
    analysis_link: str | None
    manifest: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None


def render_episode(evidence: Evidence) -> str:
    """The page. What is not known is left out, with a sentence that says so."""
    evaluation = evidence.evaluation or {}
    gate = evaluation.get("gate")
    metric = _title((gate or {}).get("metric", "metric"))
    plots = {
        "gate": _gate(gate) if gate else None,
        "time": _over_time(evaluation.get("over_time"), metric),
        "curves": _curves(evaluation.get("curves")),
        "importance": _importance(evaluation.get("importance")),
        "segments": _segments(evaluation.get("segments"), metric),
    }
    drawn = {name: None if figure is None else embedded(figure, f"plot-{name}") for name, figure in plots.items()}
    analysis = evidence.analysis or {}
    return page(
        "episode.html.j2",
        plots=any(drawn.values()),
        drawn=drawn,
        evidence=evidence,
        item=evidence.item,
        gate=gate,
        decay=decay(evaluation["decay"]) if evaluation.get("decay") else None,
        metric=metric,
        tone=_tone(evidence.item, gate),
        headline=headline(evidence.item, gate),
        state=state(evidence.item),
        moved=_moved(analysis.get("features", [])),
        decayed=analysis.get("metrics", []),
        manifest=evidence.manifest,
        training=evaluation.get("training"),
        candidates={"scratch": "learnt from the initial data"} if evidence.item.get("bootstrap") else _CANDIDATES,
        segments=evaluation.get("segments"),
        curves=evaluation.get("curves"),
        gain=gain,
    )


def _moved(features: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The features that moved most, measured by their thresholds: all that drifted, up to twelve, or six."""
    compared = sorted((f for f in features if f["distance"] is not None), key=lambda f: -f["severity"])
    drifted = sum(f["verdict"] == "DRIFTED" for f in compared)
    return compared[: min(max(drifted, _MOVED), _FEATURES)]


def headline(item: Mapping[str, Any], gate: Mapping[str, Any] | None) -> str:
    """The gate's decision in a sentence, or how far the episode is.

    >>> headline({"status": "OPEN"}, None)
    'Retraining has begun; there is no challenger yet.'
    >>> headline({}, {"decision": "promote", "metric": "rmse", "champion": 22.1, "challenger": 11.5, "difference": 10.6,
    ...               "interval": [9.8, 11.3], "confidence": 0.95})
    'The challenger is better: RMSE 11.5 where the champion has 22.1, better by 9.8 to 11.3 with 95 % confidence.'
    >>> headline({}, {"decision": "keep_champion", "metric": "mae", "champion": 2.2, "challenger": 2.0,
    ...               "reasons": [{"code": "not_better", "detail": "…"}], "margin": 0.02})
    'The champion stays: the challenger has MAE 2 where the champion has 2.2, which does not clear the margin of 0.02.'
    """
    if gate is None:
        if item.get("status") == "CLOSED":
            return f"No challenger was judged: {_words(item.get('reason')) or item.get('outcome')}."
        return "Retraining has begun; there is no challenger yet."
    name, challenger = _title(gate["metric"]), short(gate.get("challenger"))
    if gate["decision"] == "bootstrap":
        return f"The first model of this endpoint has {name} {challenger} on its holdout."
    numbers = f"{name} {challenger} where the champion has {short(gate.get('champion'))}"
    if interval := gate.get("interval"):
        confidence = f" with {100 * gate['confidence']:g} % confidence" if gate.get("confidence") else ""
        numbers += f", {gain(*interval)}{confidence}"
    if gate["decision"] == "promote":
        return f"The challenger is better: {numbers}."
    return f"The champion stays: the challenger has {numbers}{_why(gate)}."


def _why(gate: Mapping[str, Any]) -> str:
    """The first reason against the challenger, to go on with after its numbers; of several segments the first."""
    if not (reasons := gate.get("reasons")):
        return ""
    code, detail = reasons[0]["code"], str(reasons[0]["detail"])
    if code == "not_better" and gate.get("policy") == "insurance":
        return ": no better"
    if code == "not_better":
        return f", which does not clear the margin of {short(gate.get('margin'))}"
    return f", but {_BUT.get(code, _words(code))} ({readable(detail.split('; ', maxsplit=1)[0])})"


def gain(low: float, high: float) -> str:
    """The interval of the challenger's gain in words.

    >>> gain(8.71, 11.2), gain(-3.04, -1.14), gain(-0.4, 1.1)
    ('better by 8.71 to 11.2', 'worse by 1.14 to 3.04', 'between 0.4 worse and 1.1 better')
    """
    if low >= 0:
        return f"better by {short(low)} to {short(high)}"
    if high <= 0:
        return f"worse by {short(-high)} to {short(-low)}"
    return f"between {short(-low)} worse and {short(high)} better"


def decay(found: Mapping[str, Any]) -> str:
    """Why the champion is worse on the new rows than on its own holdout, in a sentence or two.

    >>> found = {"metric": "rmse", "before": 11.9, "realised": 21.0, "expected": 13.2, "interval": [11.0, 15.8],
    ...          "relation": True}
    >>> first, second, *_ = decay(found).split(": ")
    >>> second
    '1.3 of the change is because other rows came, 7.8 because what they mean has changed.'
    >>> decay({**found, "realised": 13.0, "relation": False})[-75:]
    'because other rows came; that what they mean has changed is not to be seen.'
    >>> decay({"metric": "auc", "before": 0.8, "realised": 0.7, "expected": None, "detail": "too few rows"})
    'The champion has AUC 0.7 on the new rows and 0.8 on its own holdout. Why cannot be told: too few rows.'
    """
    before, realised, expected = found["before"], found["realised"], found["expected"]
    said = (
        f"The champion has {_title(found['metric'])} {short(realised)} on the new rows and {short(before)} on its own "
    )
    said += "holdout."
    if expected is None:
        return f"{said} Why cannot be told: {readable(found['detail'])}."
    low, high = found["interval"]
    said += f" If rows still meant the same, {short(expected)} ({short(low)} to {short(high)}) was to be expected: "
    said += f"{short(expected - before)} of the change is because other rows came"
    if found["relation"]:
        return f"{said}, {short(realised - expected)} because what they mean has changed."
    return f"{said}; that what they mean has changed is not to be seen."


def state(item: Mapping[str, Any]) -> str:
    """Where the episode stands, in a sentence.

    >>> state({"status": "OPEN", "task_tokens": {"x"}})
    'A person is asked to approve or reject the challenger in the Model Registry.'
    """
    if item.get("status") == "CLOSED":
        how = {
            "promoted": "The challenger serves",
            "champion_kept": "The champion goes on",
            "refused": "Retraining was refused, and the champion goes on",
            "failed": "Retraining failed, and the champion goes on",
        }.get(str(item.get("outcome")), str(item.get("outcome")))
        why = f" ({_words(item['reason'])})" if item.get("reason") else ""
        return f"{how}{why}. Closed at {when(item.get('closed_at'))}."
    if decision := item.get("decision"):
        return f"It was {decision} by {item.get('decided_by')}."
    if item.get("task_tokens"):
        return "A person is asked to approve or reject the challenger in the Model Registry."
    if item.get("model_package_arn"):
        return "The challenger passed the gate and waits for approval."
    return "The episode is open."


def _title(metric: Any) -> str:
    return str(metric).upper().replace("_", " ")


def _words(code: Any) -> str:
    return str(code or "").replace("_", " ")


def _tone(item: Mapping[str, Any], gate: Mapping[str, Any] | None) -> str:
    """The colour of the verdict: green where a challenger is good, red where something failed."""
    if item.get("outcome") == "failed" or (item.get("outcome") == "refused"):
        return "DRIFTED"
    return "STABLE" if gate and gate["decision"] in {"promote", "bootstrap"} else "UNDECIDED"


# Plots ------------------------------------------------------------------------------------------------------------


def _gate(gate: Mapping[str, Any]) -> go.Figure | None:
    """The difference with its interval, and the margin that the lower bound has to clear."""
    if not gate.get("interval") or gate.get("difference") is None:
        return None
    low, high = gate["interval"]
    figure = go.Figure()
    figure.add_scatter(
        x=[gate["difference"]],
        y=[0],
        mode="markers",
        marker={"size": 13, "color": NOW},
        error_x=_bars([gate["difference"]], [[low, high]]),
        showlegend=False,
        hovertemplate="better by %{x:.4~g}<extra></extra>",
    )
    margin = gate.get("margin") or 0.0
    figure.add_vline(x=0, line_color="#495057", line_width=1)
    if margin > 0:
        figure.add_vline(x=margin, line_color=GAP, line_width=2, line_dash="dot")
    styled(figure, 120)
    figure.update_layout(margin={"t": 8, "l": 12})
    figure.update_yaxes(visible=False, range=[-1, 1])
    figure.update_xaxes(title_text=f"gain in {_title(gate['metric'])}", zeroline=False)
    return figure


def _over_time(spans: Sequence[Mapping[str, Any]] | None, metric: str) -> go.Figure | None:
    if not spans:
        return None
    figure = go.Figure()
    x = list(range(1, len(spans) + 1))
    for name, colour in _SIDES:
        if any(span.get(name) is not None for span in spans):
            figure.add_scatter(
                x=x,
                y=[span.get(name) for span in spans],
                name=name,
                mode="lines+markers",
                line={"color": colour, "width": 2},
                hovertemplate="%{y:.4~g}<extra>" + name + "</extra>",
            )
    styled(figure, 270)
    figure.update_yaxes(title_text=metric)
    figure.update_xaxes(title_text="part of the holdout, oldest first", dtick=1)
    return figure


def _curves(curves: Mapping[str, Any] | None) -> go.Figure | None:
    """Residuals by predicted value, or observed against predicted share; nearer to the line is better."""
    if not curves or not any(curves.get(name) for name, _ in _SIDES):
        return None
    residuals = curves["kind"] == "residuals"
    figure = go.Figure()
    for name, colour in _SIDES:
        if not (bins := curves.get(name)):
            continue
        figure.add_scatter(
            x=[b["predicted"] for b in bins],
            y=[b["observed"] - b["predicted"] if residuals else b["observed"] for b in bins],
            customdata=[b["rows"] for b in bins],
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            hovertemplate="%{x:.4~g}: %{y:.4~g}, %{customdata:,} rows<extra>" + name + "</extra>",
        )
    every = [b["predicted"] for name, _ in _SIDES for b in curves.get(name) or []]
    low, high = min(every), max(every)
    figure.add_scatter(
        x=[low, high],
        y=[0, 0] if residuals else [low, high],
        name="perfect",
        mode="lines",
        line={"color": "#495057", "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    styled(figure, 290)
    figure.update_xaxes(title_text="predicted" if residuals else "predicted share", title_standoff=4)
    figure.update_yaxes(title_text="observed less predicted" if residuals else "observed share")
    figure.update_layout(margin={"b": 48})
    return figure


def _importance(importance: Mapping[str, Any] | None) -> go.Figure | None:
    sides = {name: (importance or {}).get(name) or {} for name, _ in _SIDES}
    names = sorted(
        {feature for shares in sides.values() for feature, share in shares.items() if share >= _LEAST_SHARE},
        key=lambda feature: (-max(shares.get(feature, 0.0) for shares in sides.values()), feature),
    )[:_FEATURES]
    if not names:
        return None
    names.reverse()  # plotly draws from below
    figure = go.Figure()
    for name, colour in reversed(_SIDES):
        if sides[name]:
            figure.add_bar(
                y=list(range(len(names))),
                x=[sides[name].get(feature, 0.0) for feature in names],
                name=name,
                orientation="h",
                marker_color=colour,
                hovertemplate="%{x:.1%}<extra>" + name + "</extra>",
            )
    styled(figure, 90 + 30 * len(names))
    figure.update_layout(bargap=0.3, bargroupgap=0.05, legend={"traceorder": "reversed"}, margin={"l": 8})
    figure.update_xaxes(tickformat=".0%")
    _named(figure, names)
    return figure


def _segments(segments: Sequence[Mapping[str, Any]] | None, metric: str) -> go.Figure | None:
    """Every judged segment's difference with its interval; left of the line the challenger is worse."""
    judged = [s for s in segments or [] if s.get("interval") and s.get("difference") is not None][::-1]
    if not judged:
        return None
    figure = go.Figure()
    figure.add_scatter(
        x=[s["difference"] for s in judged],
        y=list(range(len(judged))),
        customdata=[s["rows"] for s in judged],
        mode="markers",
        marker={"size": 9, "color": [GAP if s["interval"][1] < 0 else NOW for s in judged]},
        error_x=_bars([s["difference"] for s in judged], [s["interval"] for s in judged]),
        showlegend=False,
        hovertemplate="better by %{x:.4~g}, %{customdata:,} rows<extra></extra>",
    )
    figure.add_vline(x=0, line_color="#495057", line_width=1)
    styled(figure, 80 + 24 * len(judged))
    figure.update_layout(margin={"t": 8, "l": 8, "b": 44})
    figure.update_xaxes(title_text=f"gain in {metric}", title_standoff=4)
    _named(figure, [f"{s['feature']} {s['level'] if s['level'] is not None else '(rare)'}" for s in judged])
    return figure


def _named(figure: go.Figure, names: Sequence[str]) -> None:
    """The rows of the figure have these names, escaped: plotly takes text for its own kind of HTML."""
    texts = [name if len(name) <= 22 else f"{name[:21]}…" for name in names]
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;") for text in texts]
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=escaped, automargin=True, showgrid=False, zeroline=False
    )


def _bars(middles: Sequence[float], intervals: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - middle for middle, (_, high) in zip(middles, intervals, strict=True)],
        "arrayminus": [middle - low for middle, (low, _) in zip(middles, intervals, strict=True)],
        "color": "#495057",
        "thickness": 1.5,
    }
