"""Triage: what of a window is broken, which is not drift.

A changed schema, a vanished column, unreadable lines or a collapsed volume make the window UNDECIDED with `triage` set.
A person is told, and nothing is retrained on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from retrain.capture.records import DAMAGED
from retrain.drift.baseline import CategoricalBaseline, FeatureBaseline, Statistics
from retrain.drift.intake import Intake
from retrain.drift.profile import CategoricalProfile, NumericProfile
from retrain.drift.verdict import NAMED
from retrain.model.monitor_options import MonitorOptions
from retrain.model.values import parse_number

_ENOUGH = 100  # rows below which one odd value would be a broken schema
_Key = TypeVar("_Key", str, int)


def bad_rows(intake: Intake) -> Counter[str]:
    """Lines and rows that can't be used, by reason."""
    bad = Counter(intake.quarantine.reasons)
    if intake.widths:
        bad["column_count"] = sum(intake.widths.values())
    return bad


def triage(
    intake: Intake, statistics: Statistics, options: MonitorOptions, expected_rows: int | None
) -> tuple[str, str] | None:
    """Why the window is a case for a person, reason and sentence; None if it is not.

    `expected_rows` is how many rows it should have had, where somebody knows.
    """
    bad, rows, quarantine = bad_rows(intake), intake.profile.rows, intake.quarantine
    total, limit = bad.total(), options.max_bad_share
    lines = quarantine.lines - quarantine.outside_window
    if broken := [*_other_widths(intake, limit), *_columns(intake, limit), *_values(intake, statistics, options)]:
        return "schema_mismatch", "; ".join(broken)
    if bad[DAMAGED]:
        where = next((f", {item.source} first" for item in quarantine.examples if item.reason == DAMAGED), "")
        detail = f"{bad[DAMAGED]} gz files are damaged or cut{where}: what they held beyond is lost"
        return "capture_corrupt", f"{detail}, and nobody knows how much that is"
    reasons = ", ".join(f"{reason} {count}" for reason, count in most(bad))
    if quarantine.bad > limit * lines:  # lines against lines: one of them may hold a hundred rows
        return "capture_corrupt", f"{quarantine.bad} of {lines} lines can't be used: {reasons}"
    if total > limit * (rows + total):
        return "capture_corrupt", f"{total} lines or rows beside {rows} good ones can't be used: {reasons}"
    if expected_rows and rows < options.min_volume_share * expected_rows:
        return "volume_collapse", f"{rows} rows, about {expected_rows} were expected"
    return None


def most(counts: Mapping[_Key, int]) -> list[tuple[_Key, int]]:
    """The most frequent first, whatever order they were counted in."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _other_widths(intake: Intake, limit: float) -> Iterator[str]:
    misfits = sum(intake.widths.values())
    if misfits > limit * (intake.profile.rows + misfits):
        yield f"{misfits} rows have another number of columns, most of them {most(intake.widths)[0][0]}"


def _columns(intake: Intake, limit: float) -> Iterator[str]:
    """Columns that rows which name their values lack, or have too many of."""
    found, rows = intake.quarantine, intake.profile.rows
    for name, count in sorted(found.missing_columns.items()):
        if count > limit * rows:
            yield f"{count} of {rows} rows lack {name}"
    if found.extra_rows > limit * rows:
        named = ", ".join(name for name, _ in most(found.extra_columns)[:NAMED])
        named += ", …" if len(found.extra_columns) > NAMED else ""
        yield f"{found.extra_rows} of {rows} rows have columns unknown to the model: {named}"


def _values(intake: Intake, statistics: Statistics, options: MonitorOptions) -> Iterator[str]:
    """Columns whose values are others than the baseline's, or have vanished, beyond what drift would be."""
    rows = intake.profile.rows
    if not rows or rows < min(options.min_rows, _ENOUGH):
        return
    for name, baseline in statistics.features.items():
        column = intake.profile.columns[name]
        if isinstance(column, NumericProfile):
            if column.bad > options.max_bad_share * rows:
                yield f"{column.bad} of {rows} values of {name} are not numbers"
        elif not baseline.nature and (share := _unknown(baseline, column)) > options.max_unknown_categories:
            yield from (
                f"{share:.0%} of the values of {name} are {what}" for what in _foreign(name, column, statistics)
            )
        now, before = column.missing / rows, _missing(baseline)
        if now - before > options.max_missing_increase:
            yield f"{name} is missing in {now:.0%} of the rows, in the baseline in {before:.0%}"


def _unknown(baseline: FeatureBaseline, column: CategoricalProfile) -> float:
    """Share of the values that are none of the baseline's, less the share of those that it does not name itself."""
    known = column.known
    if not column.present or not known or not isinstance(baseline, CategoricalBaseline):
        return 0.0
    return 1 - sum(column.counts.get(name, 0) for name in known) / column.present - baseline.rest / baseline.present


def _foreign(name: str, column: CategoricalProfile, statistics: Statistics) -> Iterator[str]:
    """What most unknown values of a column are, if they are another column's, or of another kind; nothing for news.

    Categories that nobody has seen have drifted, as far as one can: they are retrained on when labels are there.
    """
    unknown = {value: count for value, count in column.counts.items() if value not in column.known}
    half = sum(unknown.values()) / 2
    for other, baseline in statistics.features.items():
        known = baseline.counts if isinstance(baseline, CategoricalBaseline) and other != name else {}
        if sum(count for value, count in unknown.items() if value in known) > half:
            yield f"unknown to the baseline, which knows them as values of {other}"
    numbers = sum(count for value, count in unknown.items() if parse_number(value) is not None)
    if numbers > half and not any(parse_number(value) is not None for value in column.known):
        yield "numbers, where there were none"


def _missing(baseline: FeatureBaseline) -> float:
    whole = baseline.present + baseline.missing
    return baseline.missing / whole if whole else 1.0
