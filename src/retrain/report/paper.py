"""What all pages are made of: one file each, which needs nothing from the network."""

from __future__ import annotations

import base64
import gzip
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from retrain.report.words import readable, short, when

BEFORE, NOW, GAP = "#868e96", "#0b7285", "#e8590c"  # baseline or champion, window or challenger, what to look at


def page(template: str, *, plots: bool, **content: Any) -> str:
    """The page. Whatever a name or a text holds, it is shown and not run."""
    return _templates().get_template(template).render(**content, library=_library() if plots else "")


def embedded(figure: go.Figure, name: str) -> Markup:
    """The figure as HTML, as wide as its place; the page draws it when it is opened."""
    content = figure.to_json().replace("<", "\\u003c")  # no text in it can end the script
    return Markup(
        '<div><div id="{}" class="plot" style="height:{}px"></div><script type="application/json">{}</script></div>'
    ).format(
        name,
        figure.layout.height,
        Markup(content),  # noqa: S704  (JSON without "<") # nosec B704
    )


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The figure in the pages' style, `height` pixels high."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 52, "r": 12, "t": 34, "b": 36},
        font={"family": "system-ui, sans-serif", "size": 12.5, "color": "#495057"},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        hoverlabel={"font_size": 12},
    )
    figure.update_xaxes(showline=True, linecolor="#ced4da", gridcolor="#f1f3f5", zeroline=False)
    figure.update_yaxes(gridcolor="#f1f3f5", zerolinecolor="#ced4da", title_font_size=12)
    return figure


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "when": when, "readable": readable}
    return environment


@cache
def _library() -> str:
    """plotly.js as base64 of gzip: 2.0 instead of 4.8 MB. The same bytes every time."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
