"""Stored intakes: what was read of capture files is kept, so that only new files are read and windows are merged.

Captures lie in folders of the hour, and so do the intakes: for each hour (or whole day) of a baseline there is a
document with the merged intake of its files, and which files they are. It is a cache and nothing more. A document that
is lost, damaged, of another version or of files that have changed is made anew from the files; two writers at the same
time cost one of them its work.

An hour's intake holds all that its files hold, whatever the window, except where evidence was used already (a champion
that began to serve, or a cool-down that ended, within the hour): that cut is part of the document's name. An intake
with captures outside of the window in question is not used: the files are read again, with the window as the filter.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache, reduce
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from retrain.capture.quarantine import BadLine, Quarantine
from retrain.core import clock
from retrain.core.window import DAY, HOUR, CaptureFile, Window, full_hour, prefixes
from retrain.drift.baseline import Statistics
from retrain.drift.intake import Intake, merge_intakes, read_captures
from retrain.drift.moments import Moments
from retrain.drift.profile import (
    AtPoints,
    CategoricalProfile,
    ColumnProfile,
    Counts,
    Layout,
    NumericProfile,
    Profile,
    Sketch,
)
from retrain.drift.rates import STRETCHES
from retrain.model.values import Numbers

_MAGIC = b"retrain-intake-1\n"
_SUFFIX = ".intake"
_PACKAGE = Path(__file__).parents[1]
_READING = (  # the code that decides what an intake holds
    "capture/answers",
    "capture/columns",
    "capture/gz",
    "capture/payload",
    "capture/quarantine",
    "capture/records",
    "core/clock",
    "drift/baseline",
    "drift/documents",
    "drift/intake",
    "drift/intake_cache",
    "drift/joint",
    "drift/moments",
    "drift/profile",
    "model/values",
)
_EVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class UnusableError(ValueError):
    """A document that is no stored intake of this baseline and version."""


@dataclass(frozen=True)
class Stored:
    """An intake and the files it was read from: key → entity tag."""

    intake: Intake
    files: Mapping[str, str]


class Places(Protocol):
    """Where files and documents are: the stack's bucket."""

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with that, in order."""

    def files(self, keys: Sequence[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Each key and its lines."""

    def bodies(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Each key and its content; a key that has vanished is left out."""

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """The key holds the body."""


@dataclass(frozen=True)
class Reading:
    """What a window's files hold, and what it took: `unread` are those there was no budget for, missing in `intake`.

    `newest` is what of it was captured since the last hour began, two, six and a day, each with its begin, shortest
    first; where the window has no such begin it is the next one before, at the earliest the window's own.
    """

    intake: Intake
    newest: tuple[tuple[datetime, Intake], ...]
    files: int
    files_read: int
    bytes_read: int
    unread: tuple[CaptureFile, ...]


@dataclass(frozen=True)
class Shelf:
    """Where the intakes of one baseline are stored, and the captures beside them."""

    places: Places
    prefix: str


def folder(endpoint_name: str, statistics: bytes) -> str:
    """Where the intakes of that endpoint and baseline are. Code that reads differently has another place."""
    told_apart = sha256(sha256(statistics).digest() + _code()).hexdigest()[:16]
    return f"profiles/{endpoint_name}/{told_apart}"


def take_in(files: Sequence[CaptureFile], window: Window, statistics: Statistics, shelf: Shelf, budget: int) -> Reading:
    """The intake of the window's capture files, of which those are read that no intake on the shelf has.

    Files beyond `budget` bytes stay unread. What is read is stored. It equals the reading of all files: counts and
    distances exactly, sums and sketches within their error.
    """
    taking = _Taking(files, window, statistics, shelf, budget)
    nothing = read_captures([], statistics, window)
    begins = newest_begins(window)
    edges = sorted({window[0], *begins})
    parts = [reduce(merge_intakes, taking.units(span), nothing) for span in pairwise([*edges, window[1]])]
    grown = list(accumulate(reversed(parts), lambda later, earlier: merge_intakes(earlier, later)))
    newest = tuple(zip(begins, grown, strict=False))  # the last is the whole window, whether or not it counts as new
    return Reading(grown[-1], newest, len(files), taking.files_read, taking.bytes_read, tuple(taking.unread))


def newest_begins(window: Window) -> list[datetime]:
    """When the last hour of the window began, the last two, six and the last day, the newest first.

    Longer ones begin with a document, so that no stored day is read again for them; none begins before the window.

    >>> end = clock.parse("2013-03-03T10:20:00Z")
    >>> [f"{begin:%d %H:%M}" for begin in newest_begins((end - 3 * DAY, end))]
    ['03 09:00', '03 08:00', '03 04:00', '02 00:00']
    >>> [f"{begin:%d %H:%M}" for begin in newest_begins((end - 2 * HOUR, end))]
    ['03 09:00', '03 08:20']
    """
    newest = max(window[0], full_hour(window[1] - HOUR))
    units = [window[0], *(begin for unit in prefixes(window[0], newest) if (begin := _begin(unit)) > window[0])]
    longer = (max(begin for begin in units if begin <= max(window[1] - hours * HOUR, window[0])) for hours in STRETCHES)
    return sorted({newest, *longer}, reverse=True)


def stored_day(day: datetime, statistics: Statistics, shelf: Shelf) -> Intake | None:
    """What the shelf holds of that UTC day, None if it holds nothing; it is stored as one document.

    Nobody asks which captures there are: who needs many days would list all of them.
    """
    folder = f"{shelf.prefix}/{day:%Y/%m/%d/}"
    documents: dict[str, list[str]] = {}
    for key in shelf.places.keys(folder):
        unit, name = key.rsplit("/", 1)
        if name.startswith("whole.") and key.endswith(_SUFFIX):
            documents.setdefault(f"{unit}/", []).append(key)
    found: Stored | None = None
    for unit in [folder] if folder in documents else sorted(documents):
        keys = sorted(documents[unit], key=_merged_first)
        held = _held((body for _, body in shelf.places.bodies(keys)), statistics)
        if held is not None:
            found = held if found is None else merge_stored(found, held)
    if found is not None and folder not in documents:
        shelf.places.put(f"{folder}whole{_SUFFIX}", dump_intake(found), "application/octet-stream")
    return found.intake if found else None


def hours_of(
    files: Iterable[CaptureFile], window: Window
) -> Iterator[tuple[str, str, datetime | None, list[CaptureFile]]]:
    """`yyyy/mm/dd/hh/`, name and cut of the document for each hour, and the hour's files.

    >>> window = clock.parse("2013-03-01T22:30:00Z"), clock.parse("2013-03-02T00:00:00Z")
    >>> files = [CaptureFile(f"capture/a/b/2013/03/01/{hour}/c.jsonl", "e", 1) for hour in (22, 23)]
    >>> [(hour, name) for hour, name, cut, found in hours_of(files, window)]
    [('2013/03/01/22/', 'from-223000000000'), ('2013/03/01/23/', 'whole')]
    """
    for hour, some in sorted(_by_hour(files).items()):
        yield hour, *_cut(hour, window), some


def document_name(hour: str, name: str, part: str = "") -> str:
    """Where the document is below the shelf; a part of it, if jobs have read an hour's files."""
    return f"{hour}{name}{'.' + part if part else ''}{_SUFFIX}"


def ever_since(cut: datetime | None) -> Window:
    """What counts of the captures whose intake is stored: those of all times from the cut on."""
    return cut or _EVER[0], _EVER[1]


def merge_stored(one: Stored, other: Stored) -> Stored:
    """The intake of both sets of files, which have none in common."""
    return Stored(merge_intakes(one.intake, other.intake), {**one.files, **other.files})


class _Taking:
    """A window's files on their way into one intake, unit by unit."""

    def __init__(
        self,
        files: Sequence[CaptureFile],
        window: Window,
        statistics: Statistics,
        shelf: Shelf,
        budget: int,
    ) -> None:
        self.files_read = self.bytes_read = 0
        self.unread: list[CaptureFile] = []
        self._window = window
        self._statistics = statistics
        self._places, self._shelf = shelf.places, shelf.prefix
        self._budget = budget
        self._files = _by_hour(files)
        self._documents: dict[str, list[str]] = {}  # by hour or day
        for key in self._places.keys(f"{self._shelf}/") if files else ():
            if key.endswith(_SUFFIX):
                self._documents.setdefault(key[len(self._shelf) + 1 : key.rfind("/") + 1], []).append(key)

    def units(self, span: Window) -> Iterator[Intake]:
        """The intake of each whole day of the span, and of each hour of the days cut short, as far as the budget goes.

        The span is a part of the window, from one full hour to another or to the window's end.
        """
        units = [unit for unit in prefixes(*span) if self._of(unit)]
        for unit, stored in self._stored(units):
            intake = self._unit(unit, stored)
            if intake is not None:
                yield intake

    def _of(self, unit: str) -> list[CaptureFile]:
        if unit in self._files:
            return self._files[unit]
        return [file for hour, files in sorted(self._files.items()) if hour.startswith(unit) for file in files]

    def _stored(self, units: Sequence[str]) -> Iterator[tuple[str, Stored | None]]:
        """Each unit, and what is stored of it that still holds. The documents are fetched some at a time."""
        keys = []
        for unit in units:
            name = _cut(unit, self._window)[0]
            start = f"{self._shelf}/{unit}{name}."
            keys += sorted((key for key in self._documents.get(unit, []) if key.startswith(start)), key=_merged_first)
        bodies = self._places.bodies(keys)
        ahead = next(bodies, None)
        for unit in units:
            documents = []
            while ahead is not None and ahead[0].startswith(f"{self._shelf}/{unit}"):
                documents.append(ahead[1])
                ahead = next(bodies, None)
            yield unit, _held(documents, self._statistics, {file.key: file.etag for file in self._of(unit)})

    def _unit(self, unit: str, stored: Stored | None) -> Intake | None:
        files = self._of(unit)
        missing = [file for file in files if stored is None or file.key not in stored.files]
        if missing and len(unit) == len("yyyy/mm/dd/"):
            stored = self._day(unit)
        elif missing:
            stored = self._hour(unit, stored, missing)
        if stored is None or not stored.files:
            return None
        first, last = stored.intake.first, stored.intake.last
        if (first is None or first >= self._window[0]) and (last is None or last < self._window[1]):
            return stored.intake
        # Whatever the budget: these files are few, or the window ends in the past.
        return self._read([file for file in files if file.key in stored.files], self._window)

    def _day(self, unit: str) -> Stored | None:
        hours = [hour for hour in sorted(self._files) if hour.startswith(unit)]
        found = Stored(read_captures([], self._statistics, _EVER), {})
        for hour, stored in self._stored(hours):
            missing = [file for file in self._files[hour] if stored is None or file.key not in stored.files]
            whole = self._hour(hour, stored, missing) if missing else stored
            if whole is not None:
                found = merge_stored(found, whole)
        if len(found.files) == len(self._of(unit)):
            self._keep(unit, found)
        return found

    def _hour(self, hour: str, stored: Stored | None, missing: Sequence[CaptureFile]) -> Stored | None:
        """What is stored and what is missing, as far as the budget goes: an hour's new files, or none of them."""
        if self._over(missing):
            return stored
        read = self._read(missing, ever_since(_cut(hour, self._window)[1]))
        found = Stored(read, {file.key: file.etag for file in missing})
        if stored is not None:
            found = merge_stored(stored, found)
        self._keep(hour, found)
        return found

    def _over(self, files: Sequence[CaptureFile]) -> bool:
        """Whether there is no budget left for those files."""
        if self.bytes_read + sum(file.size for file in files) <= self._budget:
            return False
        self.unread += files
        return True

    def _read(self, files: Sequence[CaptureFile], window: Window) -> Intake:
        self.files_read += len(files)
        self.bytes_read += sum(file.size for file in files)
        return read_captures(self._places.files([file.key for file in files]), self._statistics, window)

    def _keep(self, unit: str, stored: Stored) -> None:
        key = f"{self._shelf}/{document_name(unit, _cut(unit, self._window)[0])}"
        self._places.put(key, dump_intake(stored), "application/octet-stream")


def _merged_first(key: str) -> tuple[int, str]:
    """The merged document comes first: what is part of it, the parts need not add again."""
    return len(key), key


def _held(bodies: Iterable[bytes], statistics: Statistics, wanted: Mapping[str, str] | None = None) -> Stored | None:
    """What the documents of a unit hold together, but those that are damaged, or of other files than are wanted."""
    held: Stored | None = None
    for body in bodies:
        try:
            found = load_intake(body, statistics)
        except UnusableError:
            continue
        if wanted is not None and not found.files.items() <= wanted.items():
            continue
        if held is None:
            held = found
        elif held.files.keys().isdisjoint(found.files):
            held = merge_stored(held, found)
    return held


def _by_hour(files: Iterable[CaptureFile]) -> dict[str, list[CaptureFile]]:
    found: dict[str, list[CaptureFile]] = {}
    for file in files:
        found.setdefault("/".join(file.key.split("/")[-5:-1]) + "/", []).append(file)
    return found


def _cut(unit: str, window: Window) -> tuple[str, datetime | None]:
    """The document's name, and from when on its captures count."""
    begins = _begin(unit)
    if begins < window[0] < begins + (DAY if len(unit) == len("yyyy/mm/dd/") else HOUR):
        return f"from-{window[0]:%H%M%S%f}", window[0]
    return "whole", None


def _begin(unit: str) -> datetime:
    return datetime(*map(int, unit.strip("/").split("/")), tzinfo=UTC)  # type: ignore[arg-type, misc]


@cache
def _code() -> bytes:
    """The digest of the code that reads captures: an intake of other code may hold something else."""
    digest = sha256()
    for name in _READING:
        digest.update((_PACKAGE / f"{name}.py").read_bytes())
    return digest.digest()


# The document ---------------------------------------------------------------------------------------------------------


@dataclass
class _Arrays:
    """Arrays one after the other, written and read in the same order."""

    numbers: list[Numbers] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)


def dump_intake(stored: Stored) -> bytes:
    """The document: a line that says what it is; then, deflated, JSON in one line, numbers and counts.

    The baseline's points and categories are not in it: who reads it has the baseline.
    """
    arrays = _Arrays()
    intake, quarantine = stored.intake, stored.intake.quarantine
    document = {
        "files": dict(stored.files),
        "records": intake.records,
        "widths": [[width, count] for width, count in intake.widths.items()],
        "paths": dict(intake.paths),
        "first": intake.first.isoformat() if intake.first else None,
        "last": intake.last.isoformat() if intake.last else None,
        "quarantine": {
            **{name: getattr(quarantine, name) for name in _TOTALS},
            **{name: dict(getattr(quarantine, name)) for name in _COUNTERS},
            "examples": [asdict(example) for example in quarantine.examples],
        },
        "profile": _dump_profile(intake.profile, arrays),
        "prediction": _dump_profile(intake.prediction, arrays),
    }
    numbers = np.concatenate([np.empty(0), *arrays.numbers]).astype("<f8", copy=False)
    counts = np.concatenate([np.empty(0, np.int64), *arrays.counts]).astype("<i8", copy=False)
    document["numbers"] = len(numbers)
    packed = json.dumps(document).encode() + b"\n" + numbers.tobytes() + counts.tobytes()
    return _MAGIC + zlib.compress(packed, 1)


def load_intake(body: bytes, statistics: Statistics) -> Stored:
    """What `dump_intake` wrote of an intake that was read against that baseline, exactly. Raises UnusableError."""
    if not body.startswith(_MAGIC):
        raise UnusableError("not a stored intake of this version")
    try:
        packed = zlib.decompress(body[len(_MAGIC) :])  # which also finds out if the content is damaged
        end = packed.index(b"\n") + 1
        document = json.loads(packed[:end])
        split = end + 8 * document["numbers"]
        arrays = _Stream(np.frombuffer(packed[end:split], "<f8"), np.frombuffer(packed[split:], "<i8"))
        held = document["quarantine"]
        counted: dict[str, Any] = {name: Counter(held[name]) for name in _COUNTERS}
        quarantine = Quarantine(
            **{name: held[name] for name in _TOTALS},
            **counted,
            examples=[BadLine(**example) for example in held["examples"]],
        )
        intake = Intake(
            _load_profile(document["profile"], statistics.layout, arrays),
            _load_profile(document["prediction"], statistics.prediction_layout, arrays),
            document["records"],
            Counter(dict(document["widths"])),
            quarantine,
            document["paths"],
            clock.parse(document["first"]) if document["first"] else None,
            clock.parse(document["last"]) if document["last"] else None,
        )
        return Stored(intake, document["files"])
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise UnusableError(f"a damaged stored intake: {error!r}") from error


_TOTALS = ("lines", "outside_window", "extra_rows", "extra_others")
_COUNTERS = ("reasons", "notes", "missing_columns", "extra_columns")


def _dump_profile(profile: Profile, arrays: _Arrays) -> dict[str, Any]:
    moments = profile.moments
    if moments:
        arrays.numbers += (moments.sums, moments.products.ravel())
    return {
        "moments": moments and {"rows": moments.rows, "copies": moments.copies, "features": len(moments.sums)},
        "rows": profile.rows,
        "columns": {name: _dump_column(column, arrays) for name, column in profile.columns.items()},
    }


def _dump_column(column: ColumnProfile, arrays: _Arrays) -> dict[str, Any]:
    if isinstance(column, CategoricalProfile):
        return {"counts": dict(column.counts), "rest": column.rest, "missing": column.missing}
    arrays.numbers += column.sketch.levels
    if column.at is not None:
        arrays.numbers.append(column.at.sums)
        arrays.counts += (column.at.below, column.at.upto)
    return {
        **{name: getattr(column, name) for name in _SCALARS},
        "levels": [len(level) for level in column.sketch.levels],
        "points": None if column.at is None else len(column.at.points),
        "sum": None if column.at is None else column.at.total,
    }


_SCALARS = ("present", "missing", "bad", "integral", "total", "squares", "minimum", "maximum")


class _Stream:
    """Arrays as `_Arrays` has them, taken out one after the other."""

    def __init__(self, numbers: Numbers, counts: Counts) -> None:
        self._numbers, self._counts = numbers, counts

    def numbers(self, length: int) -> Numbers:
        taken, self._numbers = self._numbers[:length], self._numbers[length:]
        if len(taken) < length:
            raise ValueError("numbers are missing")
        return taken

    def counts(self, length: int) -> Counts:
        taken, self._counts = self._counts[:length], self._counts[length:]
        if len(taken) < length:
            raise ValueError("counts are missing")
        return taken


def _load_profile(held: Mapping[str, Any], layout: Layout, arrays: _Stream) -> Profile:
    columns = held["columns"]
    if list(columns) != list(layout.kinds):
        raise UnusableError("the columns are not the baseline's")
    moments, told = None, held["moments"]
    if (told and told["features"]) != (layout.joint and len(layout.joint.names)):
        raise UnusableError("what goes together is not the baseline's")
    if told:
        size = told["features"]
        sums, products = arrays.numbers(size), arrays.numbers(size * size)
        moments = Moments(told["rows"], told["copies"], sums, products.reshape(size, size))
    loaded = {name: _load_column(name, column, layout, arrays) for name, column in columns.items()}
    return Profile(held["rows"], loaded, moments)


def _load_column(name: str, held: Mapping[str, Any], layout: Layout, arrays: _Stream) -> ColumnProfile:
    if "rest" in held:
        return CategoricalProfile(held["counts"], held["rest"], held["missing"], layout.known.get(name, frozenset()))
    levels = tuple(arrays.numbers(length) for length in held["levels"])
    points = layout.points.get(name)
    if held["points"] != (None if points is None else len(points)):
        raise UnusableError(f"the points of {name} are not the baseline's")
    at = None
    if points is not None:
        size = len(points)
        sums = arrays.numbers(size)
        at = AtPoints(points, arrays.counts(size), arrays.counts(size), sums, held["sum"])
    return NumericProfile(**{scalar: held[scalar] for scalar in _SCALARS}, sketch=Sketch(levels), at=at)
