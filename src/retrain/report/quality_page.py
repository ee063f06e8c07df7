"""An analysis of the quality monitor as one page of HTML that needs nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from retrain.report.paper import BEFORE, GAP, NOW, embedded, page, styled
from retrain.report.words import short

_REASONS: Mapping[str, str] = {
    "labels_insufficient": "there are too few labels to tell",
    "suspect_data": "the labels can't be relied upon",
    "capture_corrupt": "too much of the captures can't be read",
    "not_judged": "no metric that is held to something is defined for these rows",
}
_BAR = 46  # pixels for each metric


def render_quality(document: Mapping[str, Any], source: str) -> str:
    """The page of an analysis, of which `document` is what analysis.json holds; `source` says what was analysed."""
    metrics = document["metrics"]
    estimate = document.get("estimate")
    figure = _figure(metrics, estimate)
    return page(
        "quality.html.j2",
        plots=figure is not None,
        document=document,
        source=source,
        headline=headline(document),
        expected=expected(estimate, metrics) if estimate else None,
        figure=None if figure is None else embedded(figure, "plot-metrics"),
        labels=document.get("labels"),
        quarantined=document.get("quarantined", {}),
        sample=document.get("sample"),
    )


def headline(document: Mapping[str, Any]) -> str:
    """The verdict in a sentence.

    >>> rmse = {"name": "rmse", "value": 22.04, "threshold": 10.0, "comparison_operator": "GreaterThanThreshold",
    ...         "severity": 2.2, "verdict": "DRIFTED"}
    >>> headline({"verdict": "DRIFTED", "metrics": [rmse]})
    'Drifted: rmse is 22.04, where at most 10 is allowed.'
    >>> headline({"verdict": "UNDECIDED", "reason": "labels_insufficient", "metrics": []})
    'Undecided: there are too few labels to tell.'
    """
    if document["verdict"] == "UNDECIDED":
        return f"Undecided: {_REASONS.get(document['reason'], document['reason'])}."
    metrics = document["metrics"]
    if document["verdict"] == "STABLE":
        which = "the metric that is judged is" if len(metrics) == 1 else f"all {len(metrics)} judged metrics are"
        return f"Stable: {which} within what is allowed."
    beyond = [metric for metric in metrics if metric["verdict"] == "DRIFTED"]
    worst = max(beyond, key=lambda metric: float(metric["severity"]))
    demanded = (
        "at most {} is allowed" if worst["comparison_operator"].startswith("Greater") else "at least {} is needed"
    )
    said = f"{worst['name']} is {short(worst['value'])}, where {demanded.format(short(worst['threshold']))}"
    if len(beyond) == 1:
        return f"Drifted: {said}."
    return f"Drifted: {len(beyond)} of {len(metrics)} metrics are worse than allowed; {said}."


def expected(estimate: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    """What the metric was to be expected to be before its labels came, beside what it is, in a sentence or two.

    >>> estimate = {"metric": "rmse", "value": 11.04, "interval": [9.0, 13.52], "contradicted": False}
    >>> expected(estimate, [{"name": "rmse", "value": 12.11}])
    'By its rows alone, rmse was to be expected to be 11.04, between 9 and 13.52; by its labels it is 12.11.'
    >>> expected({"metric": "auc", "value": None, "detail": "3 rows of the window can be used, of 200"}, [])
    'What auc was to be expected to be cannot be known: 3 rows of the window can be used, of 200.'
    """
    name = estimate["metric"]
    if estimate["value"] is None:
        return f"What {name} was to be expected to be cannot be known: {estimate['detail']}."
    low, high = estimate["interval"]
    said = f"By its rows alone, {name} was to be expected to be {short(estimate['value'])}"
    said += f", between {short(low)} and {short(high)}"
    realised = next((metric["value"] for metric in metrics if metric["name"] == name), None)
    said += "." if realised is None else f"; by its labels it is {short(realised)}."
    if estimate.get("contradicted"):
        said += " Its rows do not explain that: what they mean has changed."
    return said


def _figure(metrics: Sequence[Mapping[str, Any]], estimate: Mapping[str, Any] | None) -> go.Figure | None:
    """Each metric, and where it may lie, in shares of its threshold; right is worse. A diamond is the estimate."""
    drawn = [metric for metric in metrics if metric["threshold"]]
    if not drawn:
        return None
    names = [metric["name"] for metric in drawn]
    at = [_worse(metric, metric["value"]) for metric in drawn]
    ends = [sorted(_worse(metric, end) for end in metric["interval"]) for metric in drawn]
    figure = go.Figure()
    figure.add_scatter(
        x=at,
        y=names,
        mode="markers",
        marker={"size": 11, "color": [GAP if metric["verdict"] == "DRIFTED" else NOW for metric in drawn]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - x for (_, high), x in zip(ends, at, strict=True)],
            "arrayminus": [x - low for (low, _), x in zip(ends, at, strict=True)],
        },
        showlegend=False,
        hovertemplate="%{y}: %{x:+.1%}<extra></extra>",
    )
    of = next((metric for metric in drawn if estimate and metric["name"] == estimate["metric"]), None)
    if of is not None and estimate and estimate["value"] is not None:
        figure.add_scatter(
            x=[_worse(of, estimate["value"])],
            y=[of["name"]],
            mode="markers",
            marker={"size": 11, "symbol": "diamond-open", "color": BEFORE},
            showlegend=False,
            hovertemplate="expected before labels: %{x:+.1%}<extra></extra>",
        )
    figure.add_vline(x=0, line_color="#495057", line_width=1)
    styled(figure, 70 + _BAR * len(drawn))
    figure.update_layout(margin={"t": 8, "l": 130})
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="beyond the threshold, as a share of it", tickformat="+.0%", zeroline=False)
    return figure


def _worse(metric: Mapping[str, Any], value: float) -> float:
    """How far the value is on the bad side of its threshold, as a share of it; negative on the good side."""
    beyond = (value - metric["threshold"]) / abs(metric["threshold"])
    return float(beyond if metric["comparison_operator"].startswith("Greater") else -beyond)
