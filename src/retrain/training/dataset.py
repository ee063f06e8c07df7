"""The drift dataset: what a challenger is trained and judged on.

The window's captures are joined with their labels and put in the order of time. The newest part is the holdout, which
no candidate is judged after having learned from; before it lies the validation slice, the rest is for training,
together with old rows: all labelled rows of all earlier windows (`retrain.training.history`), whatever became of their
challengers, for what came once comes again. The newest parts of earlier windows are the reference: they show what a
challenger gives up of the old regime. Both samples of old rows have a limit, and keep a share of rows of the first
model's data, however many windows came after it. Data that is broken is refused, never trained on.

Files of a dataset's folder:

    model.toml      the specification, as it was given
    train.csv       old rows, then the window's. In every file, `__age` says how many windows ago a row was captured (0:
                    in this one), `__original` is 1 for rows of the first model's data, and `__time` is when a row was
                    asked, in seconds since 1970, empty where nobody knows
    validation.csv  the window's rows just before the holdout
    holdout.csv     the window's newest rows
    reference.csv   rows of earlier windows' newest parts
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

from retrain.capture.ground_truth import Coverage, Labelled, Labels, join
from retrain.capture.quarantine import Quarantine
from retrain.capture.records import Capture
from retrain.core.clock import render
from retrain.core.errors import Refused
from retrain.drift.distances import numeric_distance, steps_of
from retrain.drift.profile import numbers_of, sketch_of
from retrain.model.spec import RESERVED, Spec
from retrain.model.table import (
    Category,
    Column,
    Table,
    category,
    class_name,
    concat,
    ordered_classes,
    read_table,
    thin,
    write_table,
)
from retrain.model.times import read_times
from retrain.model.values import parse_flags, parse_number, parse_numbers
from retrain.quality.verdict import pairs_of, read_pairs
from retrain.training.cycle import LOOKED_AT, Cycle, coverage, cycle_of
from retrain.training.suspicion import FAR, copies_suspicion, filled_by, flips_suspicion, outliers, source_suspicion

AGE, ORIGINAL, HELD, TIME = "__age", "__original", "__held", "__time"
PARTS = ("train", "validation", "holdout", "reference")
UNSEEN_LIMIT = 0.5  # share of a column's values that no category of the reference knows: news, if they are not foreign
MOSTLY_MISSING = 0.7  # share of a column's values beyond which it may be without any in a whole window, by chance
MOVED, ALIKE = 0.5, 0.1  # distance from a column's own old values, and from another's: above and below, it is that one
_DIFFERENT = 20  # values that a column must have for its distribution to be its own
_SELDOM, _ON_END = 0.05, 0.5  # shares of old values: equal to what fills the column now, and to that of the row before
_COMPARED = 2_000  # values of a column, evenly spread
_OPPOSITE = -0.9  # correlation of two shares of one whole: when one grows the other shrinks, and they trade places
_BATCH = 20_000
_TENTHS = 10
_HOUR = 3600.0
_NEW = "__new"  # 1 for the window's rows in datasets of before there were ages


@dataclass(frozen=True)
class Reference:
    """The labelled rows of earlier windows, oldest first: what may be learned from again.

    They have `__age`, `__original`, and `__held`: 1 for the newest part of a window. `classes` are a classifier's that
    the champion knows; those of the rows count as well.
    """

    rows: Table
    classes: frozenset[str] = frozenset()

    def known_classes(self, label: str) -> tuple[str, ...]:
        """Every class that is known, sorted."""
        return tuple(sorted(self.classes.union(self.rows.categories(label).levels)))


@dataclass(frozen=True)
class Dataset:
    """The parts by name, and the manifest without the files' hashes.

    `kept` are the rows of the window that later windows may learn from; where there are none of earlier windows in the
    store, theirs too.
    """

    parts: Mapping[str, Table]
    manifest: Mapping[str, Any]
    kept: Table


@dataclass(frozen=True)
class Read:
    """What was read for a window: captures and labels, and what of them could not be used."""

    captures: Sequence[Capture]
    labels: Labels
    bad_captures: Quarantine = field(default_factory=Quarantine)
    bad_labels: Quarantine = field(default_factory=Quarantine)


def _needed(spec: Spec) -> str:
    return (
        f"at least {spec.least_rows} are needed: [dataset] min_rows are {spec.dataset.min_rows}, and of "
        f"{spec.dataset.holdout_share:.0%} held out [gate] min_rows asks for {spec.gate.min_rows}. Take a longer window"
    )


def kinds(spec: Spec) -> dict[str, str]:
    """The kind of every column of a dataset's files: features, label, and the dataset's own that training needs."""
    label = "numeric" if spec.task == "regression" else "categorical"
    return {**{feature.name: feature.type for feature in spec.features}, spec.label: label, AGE: "numeric"}


def initial_rows(spec: Spec, path: Path) -> Table:
    """The rows of a first model's train.csv, with their times where the specification names a column of them."""
    wanted = {name: kind for name, kind in kinds(spec).items() if not name.startswith(RESERVED)}
    if spec.time is None:
        return read_table(path, wanted)
    rows = read_table(path, {**wanted, spec.time: "categorical"})
    moments = rows.categories(spec.time)
    texts = ["" if code < 0 else moments.levels[code] for code in moments.codes]
    found = Table({name: column for name, column in rows.columns.items() if name != spec.time})
    return found.having(TIME, read_times(texts, f"{path.name}, {spec.time}"))


def bootstrap_dataset(spec: Spec, rows: Table) -> Dataset:
    """The dataset of a first model: the initial data, in the order it was given, which is the order of time."""
    given, rows = len(rows), rows.take(_labelled(spec, rows))
    if len(rows) < spec.dataset.min_rows:
        found = f"{len(rows)} rows{' with a label' if len(rows) < given else ''}"
        raise Refused("too_few_rows", f"train.csv has {found}, at least {spec.dataset.min_rows} are needed")
    rows = timed(_own_columns(_named_classes(spec, rows), original=1.0))
    _check_classes(spec, rows)
    first, second = _cuts(spec, np.arange(len(rows)))
    parts = {
        "train": rows.take(slice(0, first)),
        "validation": rows.take(slice(first, second)),
        "holdout": rows.take(slice(second, None)),
        "reference": rows.take(slice(0, 0)),
    }
    times = rows.numbers(TIME)
    manifest = {
        "bootstrap": True,
        "rows": _counts(parts),
        "cycle": _cycle(spec, [rows], None, times[second:]),
        **_classes(spec, Reference(rows)),
    }
    return Dataset(parts, manifest, _kept(spec, rows, second))


def drift_dataset(
    spec: Spec, read: Read, reference: Reference, window: tuple[datetime, datetime], *, begins: bool = False
) -> Dataset:
    """The dataset of the window [start, end), whose captures and labels were read.

    With `begins`, no earlier window is in the store yet: the reference's rows are kept with the window's.

    Raises `Refused`: `capture_missing`, `capture_corrupt`, `schema_mismatch`, `labels_insufficient`, `too_few_rows`,
    `suspect_data`.
    """
    unreadable = read.bad_captures
    _check_share("capture lines are unreadable", unreadable.bad, unreadable.lines, spec, unreadable.reasons)
    asked = sorted(read.captures, key=lambda capture: (capture.time, capture.id, capture.rows))
    if not asked:
        raise Refused("capture_missing", f"no capture between {render(window[0])} and {render(window[1])}")
    bad_rows: Counter[str] = Counter()
    captures, repeated = _distinct(asked, bad_rows)
    joined = list(join(captures, read.labels, read.bad_labels, Coverage()))
    labels = {known.capture.id: known.labels for known in joined}
    table, times, answered = _join(spec, captures, labels, reference, bad_rows)
    coverage = float(answered.mean()) if len(answered) else 0.0
    if coverage < spec.dataset.min_label_coverage:
        raise Refused(
            "labels_insufficient",
            f"{int(answered.sum())} of {len(answered)} rows have a label ({coverage:.1%}, "
            f"{spec.dataset.min_label_coverage:.0%} are needed); {read.bad_labels.lines} label records were read",
        )
    if (reach := label_reach(answered)) < spec.dataset.min_label_reach:
        raise Refused(
            "labels_insufficient",
            f"labels have come to {reach:.0%} of the window ({spec.dataset.min_label_reach:.0%} are needed: [dataset] "
            f"min_label_reach); {int(answered.sum())} of {len(answered)} rows have one",
        )
    known = np.flatnonzero(answered)
    if len(known) < spec.least_rows:
        raise Refused("too_few_rows", f"{len(known)} labelled rows, {_needed(spec)}")
    new, times = table.take(known), times[known]
    _check_classes(spec, new)
    unchecked = _check_suspicions(spec, captures, joined, new, reference.rows)
    sane = _sane(spec, new, reference.rows, bad_rows)
    new, times = _own_columns(new.take(sane), original=0.0), times[sane]
    new = new.having(TIME, times.astype(np.float64))
    if int(len(new) * spec.dataset.holdout_share) < spec.gate.min_rows:
        raise Refused("too_few_rows", f"{len(new)} labelled rows without outliers, {_needed(spec)}")
    first, second = _cuts(spec, times)
    share = spec.dataset.original_share
    old = _sample(reference.rows, spec.dataset.max_reference_rows, share).without(HELD)
    newest = reference.rows.take(np.flatnonzero(reference.rows.numbers(HELD) > 0)).without(HELD)
    parts = {
        "train": concat([timed(old), new.take(slice(0, first))]),
        "validation": new.take(slice(first, second)),
        "holdout": new.take(slice(second, None)),
        "reference": timed(_sample(newest, spec.dataset.max_reference_holdout_rows, share)),
    }
    kept = _kept(spec, new, second)
    spans = {"train": times[:first], "validation": times[first:second], "holdout": times[second:]}
    return Dataset(
        parts,
        {
            "bootstrap": False,
            "window": {"start": render(window[0]), "end": render(window[1])},
            "rows": {"captured": len(answered), "labelled": len(known), **_counts(parts)},
            "cycle": _cycle(spec, [reference.rows, new], window, times[second:]),
            "times": {name: [_moment(span[0]), _moment(span[-1])] for name, span in spans.items()},
            "label_coverage": round(coverage, 6),
            "label_reach": reach,
            "quarantined": {
                "captures": dict(sorted(read.bad_captures.reasons.items())),
                "labels": dict(sorted(read.bad_labels.reasons.items())),
                "rows": dict(sorted(bad_rows.items())),
            },
            "repeated": {"captures": repeated, "labels": read.bad_labels.notes["duplicate_label"]},
            "news": _news(spec, new, reference.rows),
            "unseen_categories": _unseen(spec, new, reference.rows),
            **_classes(spec, reference),
            "unchecked": unchecked,
        },
        concat([reference.rows, kept]) if begins else kept,
    )


def read_reference(folder: Path, spec: Spec) -> Reference:
    """The rows of a dataset's folder, whose files `verify_dataset` has found to be as they were.

    They stand in for those of earlier windows where the store has none.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    wanted = {**kinds(spec), ORIGINAL: "numeric", TIME: "numeric", _NEW: "numeric"}
    optional = [AGE, ORIGINAL, TIME, _NEW]
    tables = {part: read_table(folder / f"{part}.csv", wanted, optional=optional) for part in PARTS}
    aged = {part: timed(_aged(table, first=manifest["bootstrap"])) for part, table in tables.items()}
    held = {part: np.full(len(table), float(part in {"holdout", "reference"})) for part, table in aged.items()}
    rows = concat([aged[part].having(HELD, held[part]) for part in ("reference", "train", "validation", "holdout")])
    return Reference(rows.having(AGE, rows.numbers(AGE) + 1), frozenset(manifest.get("classes", ())))


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


def label_reach(answered: NDArray[np.bool_]) -> float:
    """The share of the tenths of the rows, which are in the order of time, to which labels have come.

    To one whose share of labelled rows is at least half of that in all: labels of a sample are few everywhere, those
    that are late are missing at the end.

    >>> label_reach(np.arange(1000) < 600), label_reach(np.arange(1000) % 20 == 0)
    (0.6, 1.0)
    """
    parts = np.array_split(answered, min(_TENTHS, max(len(answered), 1)))
    return sum(float(part.mean()) >= float(answered.mean()) / 2 for part in parts if len(part)) / len(parts)


def _distinct(captures: Sequence[Capture], quarantined: Counter[str]) -> tuple[list[Capture], int]:
    """Of several captures with the same id and the same rows the first, and how many repeated one.

    An id that was used for different questions does not tell which of them its label answers: all of their rows are in
    quarantine.
    """
    first: dict[str, Capture] = {}
    others = [capture for capture in captures if first.setdefault(capture.id, capture).rows != capture.rows]
    repeated = len(captures) - len(first) - len(others)
    conflicting = [*others, *(first.pop(name) for name in {capture.id for capture in others})]
    quarantined["conflicting_capture"] = sum(len(capture.rows) for capture in conflicting)
    return list(first.values()), repeated


def _join(
    spec: Spec,
    captures: Sequence[Capture],
    labels: Mapping[str, Sequence[str]],
    reference: Reference,
    quarantined: Counter[str],
) -> tuple[Table, NDArray[np.float64], NDArray[np.bool_]]:
    """The captures' sound rows with their label, their times (epoch seconds), and which of them have a label."""
    width = len(spec.features)
    total = sum(len(capture.rows) for capture in captures) + quarantined["conflicting_capture"]
    classes = () if spec.task == "regression" else reference.known_classes(spec.label)
    widths = Counter(len(row) for capture in captures for row in capture.rows)
    if widths and widths.most_common(1)[0][0] != width:
        found, rows = widths.most_common(1)[0]
        raise Refused(
            "schema_mismatch",
            f"{rows} of {total} captured rows have {found} columns, model.toml has {width}: {', '.join(spec.names)}",
        )
    quarantined["wrong_column_count"] += sum(widths.values()) - widths[width]
    tables, times, bad_values, given, strange = [], [], Counter[str](), 0, set[str]()
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
        given += sum(map(bool, answers))
        if spec.task == "regression":
            columns[spec.label], wrong = parse_numbers(answers)
            quarantined["bad_label"] += int(wrong.sum())
        else:
            named = category([class_name(answer) for answer in answers])
            column = columns[spec.label] = Category(named.codes_in(classes), classes)
            quarantined["unknown_class"] += int(np.sum((column.codes < 0) & (named.codes >= 0)))
            strange.update(set(named.levels) - set(classes))
        quarantined["bad_value"] += int(bad.sum())
        sound = np.flatnonzero(~bad)
        tables.append(Table(columns).take(sound))
        times.append(np.array([time for time, *_ in batch])[sound])
    for name, count in bad_values.items():
        if count > spec.dataset.max_bad_share * total:
            wanted = "booleans" if spec.kinds[name] == "boolean" else "numbers"
            raise Refused("schema_mismatch", f"{name}: {count} of {total} captured values are not {wanted}")
    unusable = quarantined["bad_label"] + quarantined["unknown_class"]
    if unusable > spec.dataset.max_bad_share * given:
        fault = "are not numbers" if spec.task == "regression" else f"name {len(strange)} classes that are not known"
        most = f"(at most {spec.dataset.max_bad_share:.0%} may)"
        raise Refused("schema_mismatch", f"{spec.label}: {unusable} of {given} labels {fault} {most}")
    _check_share("captured rows do not fit", total - sum(map(len, times)), total, spec, quarantined)
    if not tables:
        raise Refused("capture_missing", f"none of {len(captures)} captures has a row")
    table = concat(tables)
    _check_columns(spec, table, reference.rows)
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
    faults, most = [], spec.dataset.max_source_share
    for feature in spec.features:
        now, then = table.columns[feature.name], reference.columns[feature.name]
        if _missing(now) == 1.0 and _missing(then) < MOSTLY_MISSING:
            faults.append(
                f"{feature.name}: no value any more, {1 - _missing(then):.0%} of the reference's rows have one"
            )
        elif isinstance(now, Category):
            if what := _foreign(spec, feature.name, table, reference):
                faults.append(f"{feature.name}: {what}")
        elif feature.type == "numeric" and (what := _stands_still(now, reference.numbers(feature.name), most)):
            faults.append(f"{feature.name}: {what}")
    faults += [
        f"{', '.join(names)}: each has the values that another of them used to have, as if they were exchanged"
        for names in _exchanged(spec, table, reference)
    ]
    if faults:
        raise Refused("schema_mismatch", "; ".join(faults))


def _stands_still(now: NDArray[np.float64], then: NDArray[np.float64], most: float) -> str | None:
    """The number that fills a column (rows,) which used to change from row to row; None if it does not.

    A number that used to be there now and then may come more often, as no rain in a dry month; and a column that was
    the same for many rows on end, as the day's price, is so in a short window. What hardly any row had, and now more
    than the share `most` of all, is a sensor that is stuck or a value that somebody fills in.
    """
    now, then = now[~np.isnan(now)], then[~np.isnan(then)]
    values, counts = np.unique(now, return_counts=True)
    if not len(now) or counts.max() <= most * len(now) or len(np.unique(then)) < _DIFFERENT:
        return None
    value = float(values[counts.argmax()])
    if np.mean(then == value) > _SELDOM or np.mean(then[1:] == then[:-1]) > _ON_END:
        return None
    return (
        f"{counts.max() / len(now):.0%} of the values are one and the same, {np.mean(then == value):.0%} of the "
        "reference's, which changed from row to row: stuck, or filled in. If the world is so from now on, write "
        "[dataset] max_source_share = 1"
    )


def _unknown_share(column: Category, reference: Table, name: str) -> float:
    """The share of the values that are categories which the reference does not know."""
    present = column.codes >= 0
    unknown = column.codes_in(reference.categories(name).levels) < 0
    return float(np.mean(unknown[present])) if present.any() else 0.0


def _foreign(spec: Spec, name: str, table: Table, reference: Table) -> str | None:
    """What most values of a column are that hold another kind of thing than they used to; None if they do not.

    Categories that nobody has seen are news, which the labels will judge. Those that another column has had, or numbers
    where there were none, are a fault.
    """
    column, known = table.categories(name), reference.categories(name).levels
    unknown = (column.codes >= 0) & (column.codes_in(known) < 0)
    share = _unknown_share(column, reference, name)
    if not known or share <= UNSEEN_LIMIT:
        return None
    begin = f"{share:.0%} of the values are unknown to the reference, "
    for other in spec.features:
        if other.type == "categorical" and other.name != name:
            theirs = column.codes_in(reference.categories(other.name).levels) >= 0
            if theirs[unknown].mean() > UNSEEN_LIMIT:
                return f"{begin}and known to it as values of {other.name}"
    numbers = np.array([parse_number(level) is not None for level in column.levels])
    if numbers[column.codes[unknown]].mean() > UNSEEN_LIMIT and all(parse_number(level) is None for level in known):
        return f"{begin}numbers, where there were none"
    return None


def _news(spec: Spec, rows: Table, reference: Table) -> list[str]:
    """What the window has that the reference has not seen, in sentences for people: its labels are the judge of it."""
    found = []
    for feature in spec.features:
        if feature.type == "categorical":
            column = rows.categories(feature.name)
            share = _unknown_share(column, reference, feature.name)
            if share > UNSEEN_LIMIT:
                found.append(f"{feature.name}: {share:.0%} of the values are categories never seen before")
            elif filling := filled_by(rows, rows.numbers(TIME), reference, feature.name, spec.dataset.max_source_share):
                found.append(filling)
    for name, far in outliers(spec, rows, reference).items():
        if far.mean() > spec.dataset.max_outlier_share and name != spec.label:
            found.append(f"{name}: {far.mean():.0%} of the rows lie {FAR:g} times beyond all that was known")
    return found


def _exchanged(spec: Spec, table: Table, reference: Table) -> list[list[str]]:
    """Numeric columns that traded places: each is far from its own old values, and has those of the next one.

    A column that drifted, however far and wherever to, is in none of these groups: another one would have to drift to
    where it was.
    """
    now, then = {}, {}
    for feature in spec.features:
        if feature.type != "numeric":
            continue
        found = [_present(rows.numbers(feature.name)) for rows in (table, reference)]
        if all(len(np.unique(values)) >= _DIFFERENT for values in found):
            now[feature.name], then[feature.name] = found[0], steps_of(sketch_of(np.sort(found[1])))

    def distance(name: str, other: str) -> float:
        at = numbers_of(now[name], then[other].points).at
        return numeric_distance(then[other], at, len(now[name])) if at else 1.0

    moved = [name for name in now if distance(name, name) > MOVED]
    place = {}
    for name in moved:
        nearest, at = min(((distance(name, other), other) for other in moved if other != name), default=(1.0, name))
        if nearest < ALIKE:
            place[name] = at
    groups = []
    for name in moved:
        path = [name]
        while (following := place.get(path[-1])) and following not in path:
            path.append(following)
        if following == name == min(path, key=moved.index) and not (len(path) == 2 and _are_opposite(reference, path)):
            groups.append(path)
    return groups


def _present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = values[~np.isnan(values)]
    return values[thin(len(values), _COMPARED)]


def _are_opposite(rows: Table, names: Sequence[str]) -> bool:
    values = np.array([rows.numbers(name) for name in names])
    return float(np.corrcoef(values[:, ~np.isnan(values).any(axis=0)]).min()) < _OPPOSITE


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
    numbers: dict[str, str] = {}
    for level in column.levels:
        plain = level.rstrip("0").removesuffix(".") if "." in level else level
        if numbers.setdefault(class_name(level), plain) != plain:
            raise Refused(
                "schema_mismatch",
                f"{spec.label}: two classes are the same number, written in two ways: write one class in one way, or "
                "two as texts that are no numbers",
            )
    names = (*(class_name(level) for level in column.levels), "")
    return rows.having(spec.label, category([names[code] for code in column.codes.tolist()]))


def _labelled(spec: Spec, rows: Table) -> NDArray[np.intp]:
    """Indices of the rows that have a label."""
    column = rows.columns[spec.label]
    return np.flatnonzero(column.codes >= 0 if isinstance(column, Category) else ~np.isnan(column))


def _classes(spec: Spec, reference: Reference) -> dict[str, Any]:
    """What a classifier's manifest says of its classes, which rows that are thinned may not show any more."""
    return {} if spec.task == "regression" else {"classes": list(reference.known_classes(spec.label))}


def _check_classes(spec: Spec, rows: Table) -> None:
    if spec.task == "regression":
        return
    levels = rows.categories(spec.label).levels
    if len(levels) < 2:
        raise Refused(
            "labels_insufficient", f"every one of {len(rows)} labels is {'the same' if levels else 'missing'}"
        )


def _check_suspicions(
    spec: Spec, asked: Sequence[Capture], joined: Iterable[Labelled], rows: Table, reference: Table
) -> list[str]:
    """What could not be looked at, as sentences."""
    levels = () if spec.task == "regression" else reference.categories(spec.label).levels
    pairs = read_pairs(spec.task, pairs_of(joined), ordered_classes(levels, spec.positive))
    suspicions = (
        source_suspicion(spec, asked),
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
    """Indices of the rows without an outlier.

    A few are left out. Where a feature has more of them, it has left its old range, which is news, and they stay.
    Labels that do are no truth to learn from before a person has looked.
    """
    most = spec.dataset.max_outlier_share
    found = outliers(spec, rows, reference)
    if spec.label in found and found[spec.label].mean() > most:
        raise Refused(
            "suspect_data",
            f"{int(found[spec.label].sum())} of {len(rows)} labels are {FAR:g} times as far away as the reference's "
            f"reach (max_outlier_share {most:g})",
        )
    few = [far for far in found.values() if far.mean() <= most]
    far = np.any(few, axis=0) if few else np.zeros(len(rows), dtype=bool)
    if far.any():
        quarantined["outlier"] += int(far.sum())
    return np.flatnonzero(~far)


def _aged(rows: Table, *, first: bool) -> Table:
    """The rows of a dataset's file with age and mark.

    An older dataset's have neither: what was new in it has age 0, and the oldest ones there are count as original.
    """
    columns = dict(rows.columns)
    new = np.asarray(columns.pop(_NEW, np.ones(len(rows))))
    aged = Table(columns).having(AGE, rows.numbers(AGE) if AGE in columns else 1.0 - new)
    if ORIGINAL in columns:
        return aged
    return aged.having(ORIGINAL, np.ones(len(rows)) if first else 1.0 - new)


def timed(rows: Table) -> Table:
    """The rows with their times; those of an older dataset, or of one that has none, have nobody knows which."""
    return rows if TIME in rows.columns else rows.having(TIME, np.full(len(rows), np.nan))


def _sample(rows: Table, most: int, share: float) -> Table:
    """At most `most` of the rows, evenly spread, and at least that share of them original, as far as there are any.

    Without it, each generation would thin what the one before it has left, and after some of them nothing would tell
    whether the first regime is forgotten.
    """
    original = rows.numbers(ORIGINAL) > 0
    kept = thin(len(rows), most)
    least = min(int(most * share), int(original.sum()))
    if original[kept].sum() < least:
        first, later = np.flatnonzero(original), np.flatnonzero(~original)
        kept = np.union1d(first[thin(len(first), least)], later[thin(len(later), most - least)])
    return rows.take(kept)


def _own_columns(rows: Table, original: float) -> Table:
    """A window's rows with the dataset's own columns."""
    return rows.having(AGE, np.zeros(len(rows))).having(ORIGINAL, np.full(len(rows), original))


def _kept(spec: Spec, rows: Table, held_from: int) -> Table:
    """What of a window's rows is kept: as many, evenly spread, as all old rows together may be."""
    held = rows.having(HELD, (np.arange(len(rows)) >= held_from).astype(np.float64))
    return held.take(thin(len(rows), spec.dataset.max_reference_rows))


def _cuts(spec: Spec, times: NDArray[Any]) -> tuple[int, int]:
    """Where the validation slice and the holdout begin; rows of one moment are never on both sides.

    The moment at which a share begins goes to the newer side with all its rows. Refused where that leaves less than
    half of its share for what is older: so many rows of so few moments can't be split by time.
    """

    def share_of(share: float, before: int) -> int:
        return before - max(1, int(before * share))

    def cut(share: float, before: int) -> int:
        return int(np.searchsorted(times, times[share_of(share, before)], side="left")) if before else 0

    options = spec.dataset
    second = cut(options.holdout_share, len(times))
    first = cut(options.validation_share, second)
    until = share_of(options.holdout_share, len(times))
    wanted = share_of(options.validation_share, until), until
    if 2 * first < wanted[0] or 2 * (second - first) < until - wanted[0]:
        raise Refused(
            "too_few_rows",
            f"{len(times)} rows of {len(np.unique(times))} moments can't be split by time, those of one moment stay "
            f"together: {first} to train on, {second - first} for validation and {len(times) - second} held out, where "
            f"{wanted[0]}, {until - wanted[0]} and {len(times) - until} are wanted. Take a longer window",
        )
    assert times[first - 1] < times[first], "training rows are older than validation rows"
    assert times[second - 1] < times[second], "validation rows are older than the holdout"
    return first, second


def _cycle(
    spec: Spec, tables: Sequence[Table], window: tuple[datetime, datetime] | None, held: NDArray[np.float64]
) -> dict[str, Any]:
    """The cycle that the specification asks for, or the tables' rows show, and what of it the window (None: all of
    them) and its holdout have.
    """
    names = (*spec.names, spec.label, TIME)
    seen = (timed(rows).take(thin(len(rows), LOOKED_AT)) for rows in tables)
    rows = concat([Table({name: part.columns[name] for name in names}) for part in seen])
    times = rows.numbers(TIME)
    found = cycle_of({name: rows.columns[name] for name in names if name != TIME}, times)
    if asked := spec.dataset.cycle_hours:
        found = Cycle(asked, found.shown_by if found.hours == asked else "", asked=True)
    known = times[np.isfinite(times)]
    seconds = (window[1] - window[0]).total_seconds() if window else float(np.ptp(known)) if len(known) else 0.0
    return coverage(found, seconds / _HOUR, held)


def _counts(parts: Mapping[str, Table]) -> dict[str, int]:
    new = int((parts["train"].numbers(AGE) == 0).sum())
    return {
        **{name: len(table) for name, table in parts.items()},
        "train_new": new,
        "train_old": len(parts["train"]) - new,
        **{f"{name}_original": int(parts[name].numbers(ORIGINAL).sum()) for name in ("train", "reference")},
    }


def _moment(epoch: float) -> str:
    return render(datetime.fromtimestamp(epoch, UTC))
