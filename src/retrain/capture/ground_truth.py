"""Ground truth: labels that become known later, joined to the captures they belong to.

Label files have one record per request, `{"groundTruthData": {"data": "112", "encoding": "CSV"}, "eventMetadata":
{"eventId": "…"}}`, under a folder yyyy/mm/dd/hh that says when the labels were collected. The `eventId` is the
capture's inference id, or its event id if it has none. A request of several rows has one label per line, in the
rows' order.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from retrain.capture.payload import decode
from retrain.capture.quarantine import Quarantine, UnreadableError
from retrain.capture.records import Capture, records

_NOTHING: list[str] = []  # a row whose values are not needed
_FOLDER = re.compile(r"(?:^|/)(\d{4})/(\d{2})/(\d{2})/(\d{2})/[^/]*$")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A capture with one label for each of its rows."""

    capture: Capture
    labels: tuple[str, ...]


@dataclass(slots=True)
class Labels:
    """Labels by the id of the capture they belong to; `collected` is the hour in which they became known, if told.

    An id whose labels contradict each other has none: it is in `conflicting`.
    """

    by_id: dict[str, tuple[str, ...]] = field(default_factory=dict)
    collected: dict[str, datetime] = field(default_factory=dict)
    conflicting: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Coverage:
    """Rows that were captured, and those of them that found their label."""

    rows: int = 0
    labelled: int = 0

    @property
    def share(self) -> float:
        """Share of the rows that have a label, 0 if there are no rows."""
        return self.labelled / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Captures that stand for all: `share` of the ids were drawn, of `rows` rows in `captures` captures."""

    drawn: tuple[Capture, ...]
    share: float
    captures: int
    rows: int


def draw(captures: Iterable[Capture], most_rows: int) -> Sample:
    """At most `most_rows` rows' captures, without what was asked: answers are joined with labels, and nothing else.

    An id is drawn if the hash of it is below `share`, the largest power of a half for which the rows fit. So the same
    captures give the same sample, in whatever order they come, and every draw of a capture, or of its label, agrees.
    Memory is that of the sample.
    """
    share, drawn, places, seen, rows, kept = 1.0, [], [], 0, 0, 0
    for capture in captures:
        width = len(capture.rows) or len(capture.outputs)
        seen, rows = seen + 1, rows + width
        place = int.from_bytes(sha256(capture.id.encode()).digest()[:8]) / 2**64
        if place >= share:
            continue
        nothing = [_NOTHING] * width
        drawn.append(Capture(capture.id, capture.time, nothing, capture.outputs, answer_names=capture.answer_names))
        places.append(place)
        kept += width
        while kept > most_rows and len(drawn) > 1:
            share /= 2
            drawn = [known for known, at in zip(drawn, places, strict=True) if at < share]
            places = [at for at in places if at < share]
            kept = sum(len(known.rows) for known in drawn)
    return Sample(tuple(drawn), share, seen, rows)


def read(
    files: Iterable[tuple[str, Iterable[bytes | str]]],
    quarantine: Quarantine,
    until: datetime | None = None,
    wanted: Container[str] | None = None,
) -> Labels:
    """The labels of the files (source, lines), those collected after `until` left out, and those not `wanted`.

    The same label twice counts once and is noted as `duplicate_label`; different labels for one id are quarantined as
    `conflicting_label`, and the id has no label, for nobody can say which one is true.
    """
    labels = Labels()
    for source, lines in files:
        collected = collected_hour(source)
        late = until is not None and collected is not None and collected > until
        for number, record in records(lines, source, quarantine):
            try:
                identity, values = _label(record)
            except UnreadableError as bad:
                quarantine.add(source, number, bad.reason, bad.detail)
                continue
            if late:
                quarantine.outside_window += 1
            elif wanted is not None and identity not in wanted:
                continue
            elif identity in labels.conflicting or labels.by_id.get(identity, values) != values:
                quarantine.add(source, number, "conflicting_label", "another label was given for the same id")
                labels.conflicting.add(identity)
                labels.by_id.pop(identity, None)
            elif identity in labels.by_id:
                quarantine.notes["duplicate_label"] += 1
                if collected is not None:
                    labels.collected[identity] = min(collected, labels.collected.get(identity, collected))
            else:
                labels.by_id[identity] = values
                if collected is not None:
                    labels.collected[identity] = collected
    return labels


def join(
    captures: Iterable[Capture],
    labels: Labels | Mapping[str, tuple[str, ...]],
    quarantine: Quarantine,
    coverage: Coverage,
) -> Iterator[Labelled]:
    """Every capture that has a label for each of its rows, in the captures' order; all rows are counted in `coverage`.

    Not joined, and counted by reason: another number of labels than rows (`label_count`), labels that were collected
    before the question was asked (`label_before_capture`: a leak, or an id used twice), and a second capture of an id
    (`duplicate_capture`, not counted as rows).
    """
    known = labels.by_id if isinstance(labels, Labels) else labels
    collected = labels.collected if isinstance(labels, Labels) else {}
    seen: set[str] = set()
    for capture in captures:
        if capture.id in seen:
            quarantine.notes["duplicate_capture"] += 1
            continue
        seen.add(capture.id)
        coverage.rows += len(capture.rows)
        values = known.get(capture.id)
        if values is None:
            continue
        if len(values) != len(capture.rows):
            quarantine.reasons["label_count"] += 1
        elif capture.id in collected and collected[capture.id] + timedelta(hours=1) <= capture.time:
            quarantine.reasons["label_before_capture"] += 1
        else:
            coverage.labelled += len(values)
            yield Labelled(capture, values)


def collected_hour(source: str) -> datetime | None:
    """The hour that the file's folder names, None if it names none.

    >>> collected_hour("labels/2013/03/02/05/0000.jsonl")
    datetime.datetime(2013, 3, 2, 5, 0, tzinfo=datetime.timezone.utc)
    """
    found = _FOLDER.search(source)
    if found is None:
        return None
    year, month, day, hour = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        return None


def _label(record: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    metadata, data = record.get("eventMetadata"), record.get("groundTruthData")
    if not isinstance(metadata, dict) or not isinstance(data, dict):
        raise UnreadableError("not_a_label", "the keys eventMetadata and groundTruthData are expected to hold objects")
    merged = "captureData" in record  # a capture with its label in one record, as Model Monitor's merge job writes it
    identity = (merged and metadata.get("inferenceId")) or metadata.get("eventId")
    if not isinstance(identity, str) or not identity:
        raise UnreadableError("no_id", "eventMetadata has no eventId")
    _, rows = decode(data, each_is_a_row=True)
    if not rows:
        raise UnreadableError("no_label", "the data holds no label")
    if any(len(row) != 1 for row in rows):
        raise UnreadableError("several_values", "one label per line is expected")
    values = tuple(row[0].strip() for row in rows)
    if not all(values):
        raise UnreadableError("no_label", "a label is empty")
    return identity, values
