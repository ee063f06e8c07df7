"""An analysis as one page of HTML that needs nothing from the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from retrain.drift.baseline import PREDICTION, CategoricalBaseline, FeatureBaseline, NumericBaseline, Statistics
from retrain.drift.distances import Steps
from retrain.model.values import Numbers
from retrain.report.paper import BEFORE, GAP, NOW, embedded, page, styled
from retrain.report.words import METHODS, consequence, headline, noticed, unmet

_FEW, _MANY = 6, 12  # features that are drawn: at least, if there are so many, and at most
_BINS = 40
_UNITS = 60  # whole numbers of no wider range get a bin each
_EXACT = 2.0**52  # up to here there is a number between two whole ones
_TAILS = 0.005  # share of the values at either end that may lie outside of a plot
_CATEGORIES = 12
_LABEL = 22  # characters of a category's name
_CURVE = 200  # points of a cumulative distribution


Pair = tuple[go.Figure, go.Figure]


@dataclass(frozen=True)
class Plot:
    """A feature's figure as HTML, and what it shows in words."""

    feature: Mapping[str, Any]
    changed: str
    note: str
    left: Markup
    right: Markup


def render_drift(document: Mapping[str, Any], baseline: Statistics, window: Statistics, source: str) -> str:
    """The page of an analysis, of which `document` is what analysis.json holds.

    `baseline` and `window` are the two statistics.json, `source` says in words what was analysed. Whatever a name or a
    text holds, the page shows it and does not run it.
    """
    features = document["features"]
    drawn = _drawn(features)
    prediction = document["prediction"]
    if prediction and prediction["distance"] is not None:
        drawn.append(prediction)
    plots = []
    for number, feature in enumerate(drawn):
        before, now = _side(baseline, feature["name"]), _side(window, feature["name"])
        if before is None or now is None or not before.present or not now.present:
            continue
        drawing = _numeric(before, now) if isinstance(before, NumericBaseline) else _categorical(before, now)
        if drawing is not None:
            (left, right), changed, note = drawing
            pair = embedded(left, f"plot-{number}-left"), embedded(right, f"plot-{number}-right")
            plots.append(Plot(feature, changed, note, *pair))
    named = {plot.feature["name"] for plot in plots}
    return page(
        "drift.html.j2",
        document=document,
        source=source,
        headline=headline(document),
        consequence=consequence(document),
        drifted=[item for item in features if item["judged"] and item["verdict"] == "DRIFTED"],
        judged=[item for item in features if item["judged"]],
        rows=[*features, *([prediction] if prediction and prediction["distance"] is not None else [])],
        prediction=PREDICTION,
        methods=METHODS,
        weighed=any(item.get("importance") is not None for item in features),
        violations=unmet(document),
        noticed=noticed(document),
        drawings=plots,
        hidden=sum(item["verdict"] == "DRIFTED" and item["name"] not in named for item in features),
        plots=bool(plots),
        rounded=rounded,
        scale=max([item["distance"] or 0.0 for item in features] + [2 * document["threshold"], 0.1]),
    )


def _drawn(features: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The features that have drifted, or the worst six; at most twelve."""
    comparable = [item for item in features if item["distance"] is not None]
    drifted = [item for item in comparable if item["verdict"] == "DRIFTED"]
    return (drifted or comparable[:_FEW])[:_MANY]


def _side(statistics: Statistics, name: str) -> FeatureBaseline | None:
    return statistics.prediction if name == PREDICTION else statistics.features.get(name)


# Numbers ----------------------------------------------------------------------------------------------------------


def _numeric(before: FeatureBaseline, now: FeatureBaseline) -> tuple[Pair, str, str] | None:
    if not isinstance(before, NumericBaseline) or not isinstance(now, NumericBaseline):
        return None
    if before.steps is None or now.steps is None:
        return None
    low = min(quantile(before.steps, _TAILS), quantile(now.steps, _TAILS))
    high = max(quantile(before.steps, 1 - _TAILS), quantile(now.steps, 1 - _TAILS))
    edges = _edges(low, high, before.inferred_type == now.inferred_type == "Integral")
    left, right = _figure("share of the values"), _figure("share up to each value")
    for steps, name, colour in ((before.steps, "baseline", BEFORE), (now.steps, "window", NOW)):
        shares = _cdf(steps, edges, below=True)
        heights = np.diff(shares)
        left.add_scatter(
            x=np.repeat(edges, 2).tolist(),
            y=[0.0, *np.repeat(heights, 2).tolist(), 0.0],
            name=name,
            mode="lines",
            line={"color": colour, "width": 1.5},
            fill="tozeroy",
            fillcolor=_faint(colour),
            hovertemplate="%{x:,.6~r}: %{y:.1%}<extra>" + name + "</extra>",
        )
        x = np.unique(np.concatenate((_curve(steps), edges[[0, -1]])))
        x = x[(x >= edges[0]) & (x <= edges[-1])]
        right.add_scatter(
            x=x.tolist(),
            y=_cdf(steps, x).tolist(),
            name=name,
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hv" if steps.exact else "linear"},
            showlegend=False,
            hovertemplate="%{x:,.6~r}: %{y:.1%}<extra>" + name + "</extra>",
        )
    _mark_gap(right, before.steps, now.steps)
    for figure in (left, right):
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    median = [quantile(side.steps, 0.5) for side in (before, now) if side.steps]
    spread = [(quantile(side.steps, 0.05), quantile(side.steps, 0.95)) for side in (before, now) if side.steps]
    width = max(spread[0] + spread[1]) - min(spread[0] + spread[1])
    before_median, now_median, *bounds = (rounded(value, width) for value in [*median, *spread[0], *spread[1]])
    changed = (
        f"The median went from {before_median} to {now_median}; nine of ten values lay between {bounds[0]} "
        f"and {bounds[1]}, and now lie between {bounds[2]} and {bounds[3]}."
    )
    least, most = (pick(float(s.points[i]) for s in (before.steps, now.steps)) for pick, i in ((min, 0), (max, -1)))
    note = ""
    if least < edges[0] or most > edges[-1]:
        note = f"The plots leave out up to {_TAILS:.1%} of the values at either end; the whole range is "
        note += f"{rounded(least, most - least)} to {rounded(most, most - least)}."
    return (left, right), changed, note


def rounded(value: float, width: float) -> str:
    """The number as people write it, to about a thousandth of a range of that width; without one, to four digits.

    >>> rounded(32960.4, 75_900), rounded(1504998123, 9e6), rounded(-0.00001, 3.2), rounded(12345.678, 0)
    ('32,960', '1,504,998,000', '0', '12,350')
    """
    width = width or abs(value)
    if not 1e-4 <= width < 1e21:
        return f"{value:.4g}"
    digits = 3 - math.floor(math.log10(width))
    text = f"{round(value, digits) + 0.0:,.{max(digits, 0)}f}"  # adding 0 makes -0 a 0
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantile(steps: Steps, share: float) -> float:
    """The smallest known value that at least that share of the values does not exceed, or between two known ones.

    >>> quantile(Steps(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]), 4.0), 0.5)
    2.0
    """
    if not steps.exact:
        points, upto = _between(steps)
        return float(np.interp(share, upto, points))
    place = int(np.searchsorted(steps.upto, share * steps.weight))
    return float(steps.points[min(place, len(steps.points) - 1)])


def _between(steps: Steps) -> tuple[Numbers, Numbers]:
    """Ten buckets as a line: their bounds and the shares up to them, the first one as wide as the second."""
    width = steps.points[1] - steps.points[0] if len(steps.points) > 1 else 0.0
    return np.concatenate(([steps.points[0] - width], steps.points)), np.concatenate(([0.0], steps.upto / steps.weight))


def _cdf(steps: Steps, at: Numbers, below: bool = False) -> Numbers:
    """Share of the values that are at most as large as each of `at`, or smaller than it."""
    if not steps.exact:
        return np.asarray(np.interp(at, *_between(steps)))
    place = np.searchsorted(steps.points, at, side="left" if below else "right")
    return np.asarray(np.concatenate(([0.0], steps.upto))[place] / steps.weight)


def _edges(low: float, high: float, integral: bool) -> Numbers:
    """The bins' edges. Of whole numbers each bin holds equally many, so that no comb is seen that isn't there."""
    if integral and max(-low, high) < _EXACT:
        step = 1 if high - low <= _UNITS else math.ceil((high - low + 1) / _BINS)
        return np.arange(math.floor(low), high + 1 + step, step) - 0.5
    if high <= low:
        width = abs(low) / 10 or 1.0
        return np.array([low - 1.5 * width, low - width / 2, low + width / 2, low + 1.5 * width])
    edges = np.linspace(low, high, _BINS + 1)
    edges[-1] = math.nextafter(high, math.inf)  # the last bin holds the largest value
    return edges


def _curve(steps: Steps) -> Numbers:
    """Points that draw the cumulative distribution: all, or as many evenly spread quantiles."""
    if len(steps.points) <= _CURVE:
        return steps.points
    places = np.searchsorted(steps.upto, np.linspace(0, steps.weight, _CURVE))
    return np.asarray(steps.points[np.unique(np.minimum(places, len(steps.points) - 1))])


def _mark_gap(figure: go.Figure, before: Steps, now: Steps) -> None:
    """A bar where the two distributions are farthest apart: its length is the distance."""
    points = before.points if not before.exact or not now.exact else np.union1d(before.points, now.points)
    one, other = _cdf(before, points), _cdf(now, points)
    worst = int(np.argmax(np.abs(one - other)))
    figure.add_scatter(
        x=[float(points[worst])] * 2,
        y=[float(one[worst]), float(other[worst])],
        name="distance",
        mode="lines+markers",
        line={"color": GAP, "width": 3},
        marker={"size": 6},
        hovertemplate="farthest apart at %{x:,.6~r}<extra></extra>",
    )


# Categories -------------------------------------------------------------------------------------------------------


def _categorical(before: FeatureBaseline, now: FeatureBaseline) -> tuple[Pair, str, str] | None:
    if not isinstance(before, CategoricalBaseline) or not isinstance(now, CategoricalBaseline):
        return None
    names = before.counts.keys() | now.counts.keys()
    shares = {
        name: (before.counts.get(name, 0) / before.present, now.counts.get(name, 0) / now.present) for name in names
    }
    if not shares:
        return None
    moved = sorted(names, key=lambda name: (-abs(shares[name][1] - shares[name][0]), name))
    chosen = sorted(moved[:_CATEGORIES], key=lambda name: (-max(shares[name]), name))
    rest = tuple(1 - sum(shares[name][side] for name in chosen) for side in (0, 1))
    labels = [_label(name, name not in before.counts) for name in chosen]
    pairs = [shares[name] for name in chosen]
    if len(chosen) < len(names) or max(rest) > 1e-9:
        labels.append(f"<i>{len(names) - len(chosen)} others</i>")
        pairs.append((max(rest[0], 0.0), max(rest[1], 0.0)))
    places = list(range(len(labels)))  # labels may be equal once they are cut
    height = 86 + 32 * len(labels)
    left, right = styled(go.Figure(), height), styled(go.Figure(), height)
    for side, name, colour in ((0, "baseline", BEFORE), (1, "window", NOW)):
        left.add_bar(
            x=[pair[side] for pair in pairs],
            y=places,
            orientation="h",
            name=name,
            marker_color=colour,
            customdata=labels,
            hovertemplate="%{customdata}: %{x:.1%}<extra>" + name + "</extra>",
        )
    worst = shares[moved[0]]
    right.add_bar(
        x=[100 * (pair[1] - pair[0]) for pair in pairs],
        y=places,
        orientation="h",
        marker_color=[GAP if pair == worst else "#ced4da" for pair in pairs],
        customdata=labels,
        showlegend=False,
        hovertemplate="%{customdata}: %{x:+.1f}<extra></extra>",
    )
    for figure in (left, right):
        figure.update_yaxes(tickvals=places, autorange="reversed", showgrid=False, zeroline=False)
        figure.update_xaxes(title_standoff=4, title_font_size=12)
        figure.update_layout(bargap=0.25, bargroupgap=0.05, margin_b=48)
    left.update_yaxes(ticktext=labels, automargin=True, ticks="outside", tickcolor="#ffffff")
    left.update_xaxes(tickformat=".0%", title_text="share of the values")
    right.update_yaxes(showticklabels=False)
    right.update_xaxes(tickformat="+~g", zeroline=True, zerolinecolor="#ced4da", title_text="change, percentage points")
    right.update_layout(margin_l=12)
    verb = "rose" if worst[1] > worst[0] else "fell"
    changed = f"The share of “{_cut(moved[0])}” {verb} from {worst[0]:.1%} to {worst[1]:.1%}."
    new = [name for name in moved if name not in before.counts]
    if new and not before.rest:
        share = sum(shares[name][1] for name in new)
        words = "category is new and makes" if len(new) == 1 else "categories are new and make"
        changed += f" {len(new)} {words} up {share:.1%} of the window."
    return (left, right), changed, ""


def _label(name: str, new: bool) -> str:
    text = escape(_cut(name))
    return f"<b>{text}</b> (new)" if new else text


def _cut(name: str) -> str:
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"


def _figure(title: str) -> go.Figure:
    figure = styled(go.Figure(), 270)
    figure.update_yaxes(title_text=title)
    return figure


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.22)"
