"""An analysis on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from retrain.drift.baseline import PREDICTION
from retrain.report.words import METHODS, consequence, headline, noticed, readable, unmet

_SHOWN = 30  # features
_NAME = 32  # characters of a name
_REASONS = 8
_WIDE = 140  # columns where there is no terminal to ask
_COLOURS = {"STABLE": "green", "DRIFTED": "red", "UNDECIDED": "yellow"}


def console() -> Console:
    """Standard output; as wide as the table needs if it is a file."""
    found = Console(highlight=False, markup=False)
    return found if found.is_terminal else Console(highlight=False, markup=False, width=_WIDE)


@contextmanager
def progress(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar of `size` bytes on standard error, gone when all is done; the value is told how many more were read."""
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=size)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance


def show(document: Mapping[str, Any], source: str, files: str) -> None:
    """The verdict, the features from the worst on, what was not read and what else is not as demanded are printed."""
    out = console()
    colour = _COLOURS[document["verdict"]]
    prediction = document["prediction"]
    compared = [prediction] if prediction and prediction["distance"] is not None else []
    rows = [*document["features"][:_SHOWN], *compared]
    methods = sorted({feature["method"] for feature in rows})
    out.print(_table(rows, len(methods) > 1))
    if (hidden := len(document["features"]) - _SHOWN) > 0:
        out.print(f"… and {hidden} more features in analysis.json")
    words = ", ".join(f"{method} ({METHODS[method]})" for method in methods)
    out.print(f"distance: {words}; below detectable it may be chance")
    bad = document["bad_rows"]
    out.print(
        f"{source}: {document['rows']:,} rows against a baseline of {document['baseline_rows']:,}; "
        f"{bad['total']:,} lines or rows in quarantine",
        soft_wrap=True,
    )
    for reason, count in sorted(bad["by_reason"].items(), key=lambda item: -item[1])[:_REASONS]:
        example = next((item for item in bad["examples"] if item["reason"] == reason), None)
        where = f", as {example['source']}, line {example['line']}: {example['detail']}" if example else ""
        out.print(f"  {reason} {count:,}{where}", soft_wrap=True)
    if violations := unmet(document):
        out.print("Constraints that are not met, beside drift's:")
    for item in violations[:_REASONS]:
        check = item["constraint_check_type"].replace("_", " ")
        name = f"{item['feature_name']}, {check}" if item["feature_name"].strip() else check
        out.print(f"  {name}: {readable(item['description'])}", soft_wrap=True)
    if (hidden := len(violations) - _REASONS) > 0:
        out.print(f"  … and {hidden} more in constraint_violations.json")
    for sentence in noticed(document):
        out.print(sentence, soft_wrap=True)
    out.print(Text(headline(document), style=f"bold {colour}"), soft_wrap=True)
    out.print(consequence(document), soft_wrap=True)
    out.print(files, soft_wrap=True)


def _table(features: Sequence[Mapping[str, Any]], mixed: bool) -> Table:
    """Narrow enough for eighty columns: what no feature has gets none, and names and notes give way to the numbers."""
    notes = [_note(feature, mixed) for feature in features]
    new = any(feature["new_categories"] for feature in features)
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column("feature", overflow="ellipsis", max_width=_NAME)
    table.add_column("verdict", no_wrap=True, min_width=len("UNDECIDED"))
    for name in ("distance", "threshold", "detectable", "missing", *(["new"] if new else [])):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    if any(notes):
        table.add_column("note", overflow="ellipsis")
    for feature, note in zip(features, notes, strict=True):
        verdict, distance = feature["verdict"], feature["distance"]
        table.add_row(
            Text("prediction" if feature["name"] == PREDICTION else feature["name"]),
            Text(verdict, style=_COLOURS[verdict] if feature["judged"] else "dim"),
            "" if distance is None else f"{distance:.3f}",
            f"{feature['threshold']:.2f}",
            f"{feature['min_detectable_drift']:.3f}",
            f"{1 - feature['completeness']:.1%}",
            *([str(feature["new_categories"] or "")] if new else []),
            *([note] if any(notes) else []),
        )
    return table


def _note(feature: Mapping[str, Any], mixed: bool) -> str:
    aside = feature["reason"] or ("" if feature["judged"] else "not judged")
    return ", ".join(filter(None, [aside.replace("_", " "), feature["method"] if mixed else ""]))
