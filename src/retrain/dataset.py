"""The drift dataset: what a challenger is trained and judged on.

The window's captures are joined with their labels and put in the order of time. The newest part is the holdout, which
nothing is trained on; before it lies the validation slice, the rest is for training, together with old rows from the
champion's own dataset (rehearsal). What the champion never saw either, its holdouts, is carried on as the reference
holdout: it shows whether the challenger has forgotten the old regime. Data that is broken is refused, never trained on.

Files of a dataset's folder, which is also the next dataset's reference:

    model.toml      the specification, as it was given
    train.csv       old rows (`__new` 0), then the window's (`__new` 1), each with its `__weight`
    validation.csv  the window's rows just before the holdout
    holdout.csv     the window's newest rows
    reference.csv   earlier holdouts: the previous reference.csv and holdout.csv, thinned evenly to a limit
    manifest.json   counts, times and reasons, and the SHA-256 of each file

The same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.capture import Capture, Quarantine
from retrain.clock import render
from retrain.errors import Refused
from retrain.ground_truth import Coverage, Labelled, Labels, join
from retrain.quality import pairs_of, read_pairs
from retrain.spec import Spec
from retrain.suspect import FAR, copies_suspicion, flips_suspicion, outliers, source_suspicion
from retrain.table import (
    Category,
    Column,
    Table,
    category,
    class_name,
    concat,
    ordered_classes,
    parse_flags,
    parse_numbers,
    read_table,
    thin,
    write_table,
)

WEIGHT, NEW = "__weight", "__new"
PARTS = ("train", "validation", "holdout", "reference")
UNSEEN_LIMIT = 0.5  # share of a column's values that no category of the reference knows: another column, not news
_BATCH = 20_000


@dataclass(frozen=True)
class Reference:
    """The dataset that the champion was made of: what may be rehearsed, and what it never saw."""

    seen: Table
    unseen: Table


@dataclass(frozen=True)
class Dataset:
    """The parts by name, and the manifest without the files' hashes."""

    parts: Mapping[str, Table]
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Read:
    """What was read for a window: captures and labels, and what of them could not be used."""

    captures: Sequence[Capture]
    labels: Labels
    bad_captures: Quarantine = field(default_factory=Quarantine)
    bad_labels: Quarantine = field(default_factory=Quarantine)


def kinds(spec: Spec) -> dict[str, str]:
    """The kind of every column of a dataset's files: features, label, and the dataset's own."""
    label = "numeric" if spec.task == "regression" else "categorical"
    return {
        **{feature.name: feature.type for feature in spec.features},
        spec.label: label,
        WEIGHT: "numeric",
        NEW: "numeric",
    }


def bootstrap_dataset(spec: Spec, rows: Table) -> Dataset:
    """The dataset of a first model: the initial data, in the order it was given, which is the order of time."""
    if len(rows) < spec.dataset.min_rows:
        raise Refused("too_few_rows", f"train.csv has {len(rows)} rows, at least {spec.dataset.min_rows} are needed")
    rows = _own_columns(_named_classes(spec, rows), 1.0, 1.0)
    rows = rows.take(_labelled(spec, rows))
    _check_classes(spec, rows)
    first, second = _cuts(spec, np.arange(len(rows)))
    parts = {
        "train": rows.take(slice(0, first)),
        "validation": rows.take(slice(first, second)),
        "holdout": rows.take(slice(second, None)),
        "reference": rows.take(slice(0, 0)),
    }
    return Dataset(parts, {"bootstrap": True, "rows": _counts(parts)})


def drift_dataset(spec: Spec, read: Read, reference: Reference, window: tuple[datetime, datetime]) -> Dataset:
    """The dataset of the window [start, end), whose captures and labels were read.

    Raises `Refused`: `capture_missing`, `capture_corrupt`, `schema_mismatch`, `labels_insufficient`, `too_few_rows`,
    `suspect_data`.
    """
    unreadable = read.bad_captures
    _check_share("capture lines are unreadable", unreadable.bad, unreadable.lines, spec, unreadable.reasons)
    asked = sorted(read.captures, key=lambda capture: (capture.time, capture.id, capture.rows))
    if not asked:
        raise Refused("capture_missing", f"no capture between {render(window[0])} and {render(window[1])}")
    joined = list(join(asked, read.labels, read.bad_labels, Coverage()))
    labels = {known.capture.id: known.labels for known in joined}
    bad_rows: Counter[str] = Counter()
    table, times, answered = _join(spec, _distinct(asked), labels, reference, bad_rows)
    coverage = float(answered.mean()) if len(answered) else 0.0
    if coverage < spec.dataset.min_label_coverage:
        raise Refused(
            "labels_insufficient",
            f"{int(answered.sum())} of {len(answered)} rows have a label ({coverage:.1%}, "
            f"{spec.dataset.min_label_coverage:.0%} are needed); {read.bad_labels.lines} label records were read",
        )
    known = np.flatnonzero(answered)
    if len(known) < spec.dataset.min_rows:
        raise Refused("too_few_rows", f"{len(known)} labelled rows, at least {spec.dataset.min_rows} are needed")
    new, times = table.take(known), times[known]
    _check_classes(spec, new)
    unchecked = _check_suspicions(spec, asked, joined, new, reference.seen)
    sane = _sane(spec, new, reference.seen, bad_rows)
    new, times = _own_columns(new.take(sane), spec.dataset.new_row_weight, 1.0), times[sane]
    first, second = _cuts(spec, times)
    old = reference.seen.take(thin(len(reference.seen), spec.dataset.max_reference_rows))
    parts = {
        "train": concat([_own_columns(old, 1.0, 0.0), new.take(slice(0, first))]),
        "validation": new.take(slice(first, second)),
        "holdout": new.take(slice(second, None)),
        "reference": _own_columns(
            reference.unseen.take(thin(len(reference.unseen), spec.dataset.max_reference_holdout_rows)), 1.0, 0.0
        ),
    }
    spans = {"train": times[:first], "validation": times[first:second], "holdout": times[second:]}
    return Dataset(
        parts,
        {
            "bootstrap": False,
            "window": {"start": render(window[0]), "end": render(window[1])},
            "rows": {"captured": len(answered), "labelled": len(known), **_counts(parts)},
            "times": {name: [_moment(span[0]), _moment(span[-1])] for name, span in spans.items()},
            "label_coverage": round(coverage, 6),
            "quarantined": {
                "captures": dict(sorted(read.bad_captures.reasons.items())),
                "labels": dict(sorted(read.bad_labels.reasons.items())),
                "rows": dict(sorted(bad_rows.items())),
            },
            "unseen_categories": _unseen(spec, new, reference.seen),
            "unchecked": unchecked,
        },
    )


def read_reference(folder: Path, spec: Spec) -> Reference:
    """What a dataset's folder gives to the next dataset."""
    tables = {part: read_table(folder / f"{part}.csv", kinds(spec)) for part in PARTS}
    return Reference(
        seen=concat([tables["train"], tables["validation"]]), unseen=concat([tables["reference"], tables["holdout"]])
    )


def write_dataset(folder: Path, dataset: Dataset, model_toml: bytes, episode_id: str) -> dict[str, Any]:
    """The folder holds the dataset; returned is the manifest as written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_bytes(model_toml)
    for part in PARTS:
        write_table(folder / f"{part}.csv", dataset.parts[part])
    files = ["model.toml", *(f"{part}.csv" for part in PARTS)]
    manifest = {
        "version": 1,
        "episode_id": episode_id,
        **dataset.manifest,
        "sha256": {name: sha256(folder / name) for name in files},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def verify_dataset(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset whose every file is as it was written; Refused("artifact_tampered") for any other."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        expected = dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("artifact_tampered", f"the dataset has no manifest that can be read: {error!r}") from error
    for name in ["model.toml", *(f"{part}.csv" for part in PARTS)]:
        found = sha256(folder / name) if (folder / name).is_file() else "missing"
        if found != expected.get(name):
            raise Refused("artifact_tampered", f"{name} has SHA-256 {found}, the manifest says {expected.get(name)}")
    return dict(manifest)


def sha256(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _distinct(captures: Iterable[Capture]) -> list[Capture]:
    """The captures, of several with the same id the first."""
    return list({capture.id: capture for capture in reversed(list(captures))}.values())[::-1]


def _join(
    spec: Spec,
    captures: Sequence[Capture],
    labels: Mapping[str, Sequence[str]],
    reference: Reference,
    quarantined: Counter[str],
) -> tuple[Table, NDArray[np.float64], NDArray[np.bool_]]:
    """The captures' sound rows with their label, their times (epoch seconds), and which of them have a label."""
    width, total = len(spec.features), sum(len(capture.rows) for capture in captures)
    widths = Counter(len(row) for capture in captures for row in capture.rows)
    if widths and widths.most_common(1)[0][0] != width:
        found, rows = widths.most_common(1)[0]
        raise Refused(
            "schema_mismatch",
            f"{rows} of {total} captured rows have {found} columns, model.toml has {width}: {', '.join(spec.names)}",
        )
    quarantined["wrong_column_count"] += total - widths[width]
    tables, times, bad_values = [], [], Counter[str]()
    for batch in _batches(_rows(captures, labels, width)):
        texts = list(zip(*(row for _, row, _ in batch), strict=True))
        bad = np.zeros(len(batch), dtype=bool)
        columns: dict[str, Column] = {}
        for index, feature in enumerate(spec.features):
            if feature.type == "categorical":
                columns[feature.name] = category(texts[index])
            else:
                parse = parse_flags if feature.type == "boolean" else parse_numbers
                columns[feature.name], wrong = parse(texts[index])
                bad_values[feature.name] += int(wrong.sum())
                bad |= wrong
        answers = [label for *_, label in batch]
        if spec.task == "regression":
            columns[spec.label], unusable = parse_numbers(answers)
            quarantined["bad_label"] += int(unusable.sum())
        else:
            columns[spec.label] = category([class_name(answer) for answer in answers])
        quarantined["bad_value"] += int(bad.sum())
        sound = np.flatnonzero(~bad)
        tables.append(Table(columns).take(sound))
        times.append(np.array([time for time, *_ in batch])[sound])
    for name, count in bad_values.items():
        if count > spec.dataset.max_bad_share * total:
            wanted = "booleans" if spec.kinds[name] == "boolean" else "numbers"
            raise Refused("schema_mismatch", f"{name}: {count} of {total} captured values are not {wanted}")
    _check_share("captured rows do not fit", total - sum(map(len, times)), total, spec, quarantined)
    table = concat(tables)
    _check_columns(spec, table, reference.seen)
    answered = np.zeros(len(table), dtype=bool)
    answered[_labelled(spec, table)] = True
    for reason in [reason for reason, count in quarantined.items() if not count]:
        del quarantined[reason]
    return table, np.concatenate(times), answered


def _rows(
    captures: Iterable[Capture], labels: Mapping[str, Sequence[str]], width: int
) -> Iterator[tuple[float, Sequence[str], str]]:
    """Time, values and label (empty: none) of every row that has as many values as there are features."""
    for capture in captures:
        answers = labels.get(capture.id, ())
        moment = capture.time.timestamp()
        for index, row in enumerate(capture.rows):
            if len(row) == width:
                yield moment, row, answers[index] if answers else ""


def _batches(
    rows: Iterator[tuple[float, Sequence[str], str]],
) -> Iterator[list[tuple[float, Sequence[str], str]]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_share(what: str, bad: int, total: int, spec: Spec, quarantined: Mapping[str, int]) -> None:
    if bad > spec.dataset.max_bad_share * total:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(quarantined.items()) if count)
        raise Refused(
            "capture_corrupt",
            f"{bad} of {total} {what} (at most {spec.dataset.max_bad_share:.0%} may be): {reasons}",
        )


def _check_columns(spec: Spec, table: Table, reference: Table) -> None:
    """Refuses columns that went missing, and columns that hold something else than they used to."""
    faults = []
    for feature in spec.features:
        now, then = table.columns[feature.name], reference.columns[feature.name]
        if _missing(now) == 1.0 and _missing(then) < 1.0:
            faults.append(
                f"{feature.name}: no value any more, {1 - _missing(then):.0%} of the reference's rows have one"
            )
        elif isinstance(now, Category) and isinstance(then, Category):
            share = float(np.mean(now.codes_in(then.levels)[now.codes >= 0] < 0)) if (now.codes >= 0).any() else 0.0
            if share > UNSEEN_LIMIT:
                faults.append(
                    f"{feature.name}: {share:.0%} of the values are unknown to the reference, like {now.levels[0]!r}"
                )
    if faults:
        raise Refused("schema_mismatch", "; ".join(faults))


def _unseen(spec: Spec, new: Table, old: Table) -> dict[str, list[str]]:
    """Categories that the window brought, by feature, at most twenty each."""
    found = {}
    for feature in spec.features:
        if feature.type == "categorical":
            known = set(old.categories(feature.name).levels)
            if levels := [level for level in new.categories(feature.name).levels if level not in known]:
                found[feature.name] = levels[:20]
    return found


def _missing(column: Column) -> float:
    if isinstance(column, Category):
        return float(np.mean(column.codes < 0)) if len(column.codes) else 0.0
    return float(np.mean(np.isnan(column))) if len(column) else 0.0


def _named_classes(spec: Spec, rows: Table) -> Table:
    """A classifier's labels in their one spelling."""
    if spec.task == "regression":
        return rows
    column = rows.categories(spec.label)
    names = (*(class_name(level) for level in column.levels), "")
    return rows.having(spec.label, category([names[code] for code in column.codes.tolist()]))


def _labelled(spec: Spec, rows: Table) -> NDArray[np.intp]:
    """Indices of the rows that have a label."""
    column = rows.columns[spec.label]
    return np.flatnonzero(column.codes >= 0 if isinstance(column, Category) else ~np.isnan(column))


def _check_classes(spec: Spec, rows: Table) -> None:
    if spec.task == "regression":
        return
    levels = rows.categories(spec.label).levels
    if len(levels) < 2:
        raise Refused(
            "labels_insufficient", f"every one of {len(rows)} labels is {levels[0] if levels else 'missing'!r}"
        )


def _check_suspicions(
    spec: Spec, asked: Sequence[Capture], joined: Iterable[Labelled], rows: Table, reference: Table
) -> list[str]:
    """What could not be looked at, as sentences."""
    levels = () if spec.task == "regression" else reference.categories(spec.label).levels
    pairs = read_pairs(spec.task, pairs_of(joined), ordered_classes(levels, spec.positive))
    suspicions = (
        source_suspicion(spec, asked, rows, reference),
        copies_suspicion(spec, rows, reference),
        flips_suspicion(spec, pairs),
    )
    if found := [suspicion for suspicion in suspicions if suspicion]:
        raise Refused("suspect_data", "; ".join(found))
    if without := sum(pairs.bad.values()):
        return [
            f"flipped labels: {without} of {without + len(pairs.truth)} labelled rows have no answer to compare with"
        ]
    return []


def _sane(spec: Spec, rows: Table, reference: Table, quarantined: Counter[str]) -> NDArray[np.intp]:
    """Indices of the rows without an outlier."""
    found = outliers(spec, rows, reference)
    far = np.any(list(found.values()), axis=0) if found else np.zeros(len(rows), dtype=bool)
    if far.mean() > spec.dataset.max_outlier_share:
        worst = ", ".join(f"{name} {int(where.sum())}" for name, where in found.items())
        raise Refused(
            "suspect_data",
            f"{int(far.sum())} of {len(rows)} rows have a value {FAR:g} times as far away as the reference's reach "
            f"(max_outlier_share {spec.dataset.max_outlier_share:g}): {worst}",
        )
    if far.any():
        quarantined["outlier"] += int(far.sum())
    return np.flatnonzero(~far)


def _own_columns(rows: Table, weight: float, new: float) -> Table:
    return rows.having(WEIGHT, np.full(len(rows), weight)).having(NEW, np.full(len(rows), new))


def _cuts(spec: Spec, times: NDArray[Any]) -> tuple[int, int]:
    """Where the validation slice and the holdout begin; rows of one moment are never on both sides."""

    def cut(share: float, before: int) -> int:
        at = before - max(1, int(before * share))
        begin = int(np.searchsorted(times, times[at], side="left"))
        return begin if begin > 0 else at

    second = cut(spec.dataset.holdout_share, len(times))
    return cut(spec.dataset.validation_share, second), second


def _counts(parts: Mapping[str, Table]) -> dict[str, int]:
    new = int(parts["train"].numbers(NEW).sum())
    return {
        **{name: len(table) for name, table in parts.items()},
        "train_new": new,
        "train_old": len(parts["train"]) - new,
    }


def _moment(epoch: float) -> str:
    return render(datetime.fromtimestamp(epoch, UTC))
