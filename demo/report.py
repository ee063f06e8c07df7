"""The demo's report: one HTML file that needs nothing from the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go

SERVED, STALE, PROMOTED, KEPT = "#0b7285", "#adb5bd", "#2b8a3e", "#e67700"
SHOWN = 40  # features, the worst
LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 20, "b": 40},
    "font": {"family": "system-ui, sans-serif", "size": 14},
    "legend": {"orientation": "h", "y": 1.12},
}


def write_report(path: Path, summary: dict[str, Any]) -> None:
    """`path` is a self-contained page of the summary (as `demo.replay.summary` returns it): plots, table, phases."""
    windows = summary["windows"]
    figures = {
        "metric": _metric(windows, summary["metric"]),
        "drift": _drift(windows),
        "gate": _gate(windows, summary["metric"]),
    }
    library: bool | str = "inline"
    plots = {}
    for name, figure in figures.items():
        plots[name] = figure.to_html(full_html=False, include_plotlyjs=library, config={"displayModeBar": False})
        library = False
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "report.html.j2").read_text()
    )
    path.write_text(
        page.render(
            summary=summary, windows=windows, plots=plots, digits=1 if summary["metric"] in {"rmse", "mae"} else 3
        )
    )


def _metric(windows: list[dict[str, Any]], metric: str) -> go.Figure:
    names = [window["name"] for window in windows]
    figure = go.Figure()
    figure.add_scatter(x=names, y=[w["stale_metric"] for w in windows], name="never retrained", line_color=STALE)
    figure.add_scatter(
        x=names,
        y=[w["served_metric"] for w in windows],
        name="served",
        line_color=SERVED,
        mode="lines+markers+text",
        text=[w["served_model"] for w in windows],
        textposition="bottom center",
    )
    figure.update_layout(**LAYOUT, height=380, yaxis_title=metric.upper(), yaxis_rangemode="tozero")
    return figure


def _drift(windows: list[dict[str, Any]]) -> go.Figure:
    most: dict[str, float] = {}
    for window in windows:
        for name, distance in window["features"].items():
            most[name] = max(distance, most.get(name, 0.0))
    names = sorted(most, key=lambda name: most[name])[-SHOWN:]  # plotly draws from below: the worst ends up on top
    figure = go.Figure(
        go.Heatmap(
            x=[window["name"] for window in windows],
            y=names,
            z=[[window["features"].get(name) for window in windows] for name in names],
            colorscale="YlOrRd",
            zmin=0,
            zmax=1,
            colorbar_title="distance",
            hovertemplate="%{y} in %{x}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_layout(**LAYOUT, height=60 + 24 * max(8, len(names)))
    return figure


def _gate(windows: list[dict[str, Any]], metric: str) -> go.Figure:
    figure = go.Figure()
    for outcome, label, colour in (("promoted", "promoted", PROMOTED), ("champion_kept", "champion kept", KEPT)):
        judged = [w for w in windows if w["outcome"] == outcome and w["gate"] and w["gate"]["interval"]]
        figure.add_scatter(
            x=[w["name"] for w in judged],
            y=[w["gate"]["difference"] for w in judged],
            name=label,
            mode="markers",
            marker={"size": 11, "color": colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [w["gate"]["interval"][1] - w["gate"]["difference"] for w in judged],
                "arrayminus": [w["gate"]["difference"] - w["gate"]["interval"][0] for w in judged],
            },
        )
    figure.add_hline(y=0, line_color="#495057", line_width=1)
    order = [window["name"] for window in windows]
    figure.update_layout(
        **LAYOUT,
        height=340,
        yaxis_title=f"challenger's gain in {metric.upper()}",
        xaxis={"categoryorder": "array", "categoryarray": order},
    )
    return figure
