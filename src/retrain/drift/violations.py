"""Violations: constraints that a window does not meet, in Model Monitor's words.

Format: "Schema for violations (constraint_violations.json file)", SageMaker Developer Guide. They say more than the
verdict does and take no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retrain.drift.constraints import Constraints, FeatureConstraints
from retrain.drift.intake import Intake
from retrain.drift.profile import CategoricalProfile, ColumnProfile, NumericProfile
from retrain.drift.triage import most
from retrain.drift.verdict import FeatureDrift, Verdict

EXTRA_COLUMNS, MISSING_COLUMNS = "Extra columns", "Missing columns"  # names of no feature, as in real files


@dataclass(frozen=True, slots=True)
class Violation:
    """A constraint that the window does not meet, as Model Monitor reports it."""

    feature_name: str
    constraint_check_type: str
    description: str


def violations(
    intake: Intake, constraints: Constraints, features: Iterable[FeatureDrift], min_rows: int
) -> list[Violation]:
    """Those of the columns, then each feature's. Drift of fewer than `min_rows` rows is none."""
    found = list(_columns(intake))
    rows = intake.profile.rows
    for feature in features:
        demanded = constraints.feature(feature.name)
        if rows:
            found += _values(intake.profile.columns[feature.name], demanded, constraints)
        if feature.verdict is Verdict.DRIFTED and feature.judged and rows >= min_rows:
            found.append(_drift(feature))
    return found


def _columns(intake: Intake) -> Iterator[Violation]:
    """Columns that rows lack or have too many of."""
    expected = len(intake.profile.columns)
    for width, count in most(intake.widths)[:1]:
        check = "missing_column_check" if width < expected else "extra_column_check"
        words = "missing" if width < expected else "extra"
        description = (
            f"There are {words} columns in current dataset. Number of columns in current dataset: {width}, "
            f"Number of columns in baseline constraints: {expected} ({count} rows)"
        )
        yield Violation(MISSING_COLUMNS if width < expected else EXTRA_COLUMNS, check, description)
    quarantine, rows = intake.quarantine, intake.profile.rows
    for name, count in sorted(quarantine.missing_columns.items()):
        yield Violation(name, "missing_column_check", f"{count} of {rows} rows lack {name}")
    for name, count in sorted(quarantine.extra_columns.items()):
        yield Violation(name, "extra_column_check", f"{count} of {rows} rows have the unknown column {name}")
    if quarantine.extra_others:
        words = f"{quarantine.extra_others} values are in unknown columns of other names, too many to list"
        yield Violation(EXTRA_COLUMNS, "extra_column_check", words)


def _drift(feature: FeatureDrift) -> Violation:
    description = f"Baseline drift distance: {feature.distance} exceeds threshold: {feature.threshold}"
    if feature.distance is not None and feature.distance <= feature.threshold:
        description = f"Baseline drift p-value: {feature.p_value} is below threshold: {feature.p_threshold}"
    return Violation(feature.name, "baseline_drift_check", description)


def _values(column: ColumnProfile, demanded: FeatureConstraints, constraints: Constraints) -> Iterator[Violation]:
    """Completeness, type, sign and domain."""
    full, wanted = column.completeness, demanded.completeness
    if wanted is not None and full < wanted:
        description = f"Value: {full} does not meet the constraint requirement! Expected completeness: {wanted}"
        yield Violation(demanded.name, "completeness_check", description)
    if isinstance(column, CategoricalProfile):
        yield from _domain(column, demanded, constraints)
        return
    yield from _type(column, demanded, constraints)
    if demanded.is_non_negative and column.minimum < 0:
        description = f"Value: {column.minimum} does not meet the constraint requirement! Expected: non-negative"
        yield Violation(demanded.name, "data_type_check", description)


def _type(column: NumericProfile, demanded: FeatureConstraints, constraints: Constraints) -> Iterator[Violation]:
    values = column.present + column.bad
    kind = demanded.inferred_type
    if kind not in {"Integral", "Fractional"} or not values:
        return
    share = (column.integral if kind == "Integral" else column.present) / values
    own, general = demanded.datatype_threshold, constraints.datatype_threshold
    least = general if own is None else own
    if share < least:
        description = (
            f"Data type match requirement is not met. Expected data type: {kind}, Expected match: "
            f"{least:.1%}. Observed: Only {share:.1%} of data is {kind}."
        )
        yield Violation(demanded.name, "data_type_check", description)


def _domain(column: CategoricalProfile, demanded: FeatureConstraints, constraints: Constraints) -> Iterator[Violation]:
    if not column.present or demanded.domain is None:
        return
    share = sum(count for name, count in column.counts.items() if name in demanded.domain) / column.present
    own, general = demanded.domain_threshold, constraints.domain_threshold
    if share < (general if own is None else own):
        description = f"Value: {share} does not meet the constraint requirement!"
        yield Violation(demanded.name, "categorical_values_check", description)
