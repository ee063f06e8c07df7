"""Evidence on this machine, as the drift monitor takes it: a folder of captures, or a table.

A table that is to be judged becomes captures of many rows each, so that there is one way to a verdict and not two. So
do the files of batch transform jobs, which their manifests name by URI: below the folder they are looked for by the end
of their key, as `aws s3 sync` leaves them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from retrain.capture.batch_transform import read_manifest, transformed
from retrain.capture.ground_truth import collected_hour
from retrain.capture.gz import lines
from retrain.core.clock import of_epoch, parse, render
from retrain.core.errors import Refused
from retrain.core.window import Window
from retrain.model.tables_on_disk import CELLS, SUFFIXES, Advance, open_table, silent
from retrain.model.times import read_times

ALWAYS: Window = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_CHUNK = 2**20  # bytes
_TIME = b'"inferenceTime"'
_MANIFEST = re.compile(r"(?:^|/)(input|output)/\d{4}/\d{2}/\d{2}/\d{2}/[^/]+$")

Captures = Iterator[tuple[str, Iterable[bytes]]]


@dataclass
class Evidence:
    """The files that a window's verdict rests on: captures, or tables.

    `window` becomes, once all is read, the span of time that the captures name, in which `start` and `end` take
    precedence; a table has no time but its file's, as long as nobody names the column that has it.
    """

    paths: tuple[Path, ...]
    root: Path
    start: datetime | None = None
    end: datetime | None = None
    transformed: bool = False  # these are manifests of batch transform jobs
    _first: datetime | None = field(default=None, init=False)
    _last: datetime | None = field(default=None, init=False)

    @property
    def tabular(self) -> bool:
        """Whether these are tables."""
        return _is_table(self.paths[0])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        paths: Iterable[Path] = self.paths
        if self.transformed:
            paths = (self._file(uri) for _, *sides in self._manifests() for side in sides for uri in side)
        return sum(path.stat().st_size for path in paths)

    @property
    def asked(self) -> Window:
        """The window that was asked for, open where nobody said anything."""
        return self.start or ALWAYS[0], self.end or ALWAYS[1]

    @property
    def window(self) -> Window:
        """The window as far as it is known by now."""
        modified = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in self.paths]
        first, last = self._first or min(modified), self._last or max(modified)
        start = self.start or first.replace(microsecond=0)
        return start, self.end or max(start, last.replace(microsecond=0)) + timedelta(seconds=1)

    @property
    def covered(self) -> Window | None:
        """From when to when a table's rows were, None if nobody knows: what is made of them has the file's time."""
        return (self._first, self._last) if self._first and self._last else None

    def timed_by(self, column: str) -> None:
        """The tables' column says when their rows were. Raises Refused naming file, row and remedy."""
        for path in self.paths:
            texts = [text for [text] in open_table(path).rows([column])]
            times = read_times(texts, f"{path}, {column}")
            known = times[times == times]  # noqa: PLR0124  (NaN)
            if len(known):
                self._saw([of_epoch(float(known.min())), of_epoch(float(known.max()))])

    def _saw(self, moments: Sequence[datetime]) -> None:
        self._first = min(moments) if self._first is None else min(self._first, *moments)
        self._last = max(moments) if self._last is None else max(self._last, *moments)

    def captures(self, names: Sequence[str], advance: Advance = silent, prediction: str | None = None) -> Captures:
        """Each file's name and its lines; of a table they have those columns, and its `prediction` for an answer."""
        if self.transformed:

            def opened(uri: str) -> Iterator[bytes]:
                return lines(_chunks(self._file(uri), advance))

            for hour, inputs, outputs in self._manifests():
                for source, found in transformed(inputs, outputs, opened, hour):
                    yield source, self._timed(found)
            return
        for path in self.paths:
            source = path.relative_to(self.root).as_posix() if path != self.root else path.name
            if self.tabular:
                yield source, self._table(path, names, advance, prediction)
            elif self.start and self.end:
                yield source, lines(_chunks(path, advance))
            else:
                yield source, self._timed(lines(_chunks(path, advance)))

    def _manifests(self) -> Iterator[tuple[datetime, list[str], list[str]]]:
        """Each hour, and the URIs of what was read and of what was answered in it."""
        found: dict[datetime, dict[str, list[str]]] = {}
        for path in self.paths:
            source = path.relative_to(self.root).as_posix()
            hour, side = collected_hour(source), _MANIFEST.search(source)
            assert hour is not None  # all manifests have both
            assert side is not None
            sides = found.setdefault(hour, {"input": [], "output": []})
            sides[side[1]] += read_manifest(path.read_bytes(), source)
        for hour in sorted(found):
            yield hour, found[hour]["input"], found[hour]["output"]

    def _file(self, uri: str) -> Path:
        """Where the object of that URI lies below the folder."""
        parts = uri.split("://", 1)[-1].split("/")
        for first in range(len(parts)):
            if (path := self.root.joinpath(*parts[first:])).is_file():
                return path
        raise Refused("capture_missing", f"{self.root}: {uri} is in a manifest, and no file below: copy it there")

    def _timed(self, found: Iterable[bytes]) -> Iterator[bytes]:
        """The lines; first and last time are noted. Where nothing was asked, they are the window."""
        earliest = latest = b""
        odd: list[datetime] = []
        for line in found:
            at = line.find(b'"', line.find(b":", line.rfind(_TIME) + len(_TIME))) + 1
            text = line[at : line.find(b'"', at)]
            if len(text) == 20 and text[19:] == b"Z":  # what SageMaker writes: the texts sort as the times do
                earliest, latest = min(earliest or text, text), max(latest, text)
            elif _TIME in line and (moment := _moment(text)):
                odd.append(moment)
            yield line
        known = [*odd, *(moment for text in {earliest, latest} if (moment := _moment(text)))]
        inside = [moment for moment in known if self.asked[0] <= moment < self.asked[1]]
        if inside:
            self._saw(inside)

    def _table(self, path: Path, names: Sequence[str], advance: Advance, prediction: str | None) -> Iterator[bytes]:
        width = len(names)
        rows = open_table(path).rows([*names, *filter(None, [prediction])], advance)
        time = render(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        while block := list(islice(rows, max(CELLS // width, 1))):
            captured = {"endpointInput": {"data": [row[:width] for row in block], "encoding": "JSON"}}
            if prediction:
                captured["endpointOutput"] = {"data": [row[width:] for row in block], "encoding": "JSON"}
            yield json.dumps(
                {
                    "captureData": captured,
                    "eventMetadata": {"eventId": "table", "inferenceTime": time},
                }
            ).encode()


def find_evidence(path: Path, start: datetime | None = None, end: datetime | None = None) -> Evidence:
    """The captures below that folder, or the tables in it, or that one file.

    Folders yyyy/mm/dd/hh that lie outside of [start, end) are left out. Raises Refused if there is nothing to read.
    """
    if not path.exists():
        raise Refused("capture_missing", f"{path}: there is no such file or folder: name a folder of captures or a CSV")
    if path.is_dir():
        visible = [
            item
            for item in sorted(path.rglob("*"))
            if item.is_file() and not any(part.startswith((".", "_")) for part in item.relative_to(path).parts)
        ]
        if manifests := [item for item in visible if _is_manifest(item, item.relative_to(path).as_posix())]:
            return _of_window(path, Evidence(tuple(manifests), path, start, end, transformed=True))
    else:
        visible = [path]
    tables = [item for item in visible if _is_table(item)]
    captures = [item for item in visible if _is_capture(item)]
    if tables and captures:
        raise Refused(
            "capture_missing",
            f"{path}: it holds captures ({captures[0].name}) and tables ({tables[0].name}): name the one or the other",
        )
    if not tables and not captures:
        known = "*.jsonl, *.jsonl.gz, *.csv, *.csv.gz or *.parquet"
        found = f"no file {known} is below it" if path.is_dir() else f"its name is none of {known}: rename it"
        raise Refused("capture_missing", f"{path}: {found}")
    if tables and (start or end):
        raise Refused("capture_missing", f"{tables[0]}: the rows of a table have no time: leave --start and --end out")
    return _of_window(path, Evidence(tuple(tables or captures), path, start, end))


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _is_capture(path: Path) -> bool:
    return not _is_table(path) and (".jsonl" in path.name.lower() or path.suffix.lower() == ".gz")


def _is_manifest(path: Path, source: str) -> bool:
    """Whether it is one by its folder, and not of a variant that has such a name: captures begin with a brace."""
    if not _MANIFEST.search(source):
        return False
    if not _is_table(path) and not _is_capture(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"["


def _of_window(path: Path, evidence: Evidence) -> Evidence:
    """The evidence without the folders that lie outside of its window."""
    if evidence.tabular or not path.is_dir():
        return evidence
    inside = tuple(item for item in evidence.paths if _may_hold(collected_hour(item.as_posix()), evidence.asked))
    if not inside:
        raise Refused(
            "capture_missing",
            f"{path}: none of its {len(evidence.paths)} files is of the window: change --start or --end",
        )
    return replace(evidence, paths=inside)


def _may_hold(hour: datetime | None, window: Window) -> bool:
    return hour is None or (hour < window[1] and window[0] - hour < timedelta(hours=1))


def _moment(text: bytes) -> datetime | None:
    try:
        return parse(text.decode())
    except (ValueError, OverflowError):
        return None


def _chunks(path: Path, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            advance(len(chunk))
            yield chunk
