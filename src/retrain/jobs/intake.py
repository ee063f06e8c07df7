"""Reads captures that are too many for the drift monitor, and writes what they hold as stored intakes.

Every instance gets its share of the files and writes a document for each of their hours; the monitor's next run merges
them. Which files they are, and from when to when the window goes, is in files.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

from retrain.capture.records import Window
from retrain.core import clock
from retrain.core.window import CaptureFile
from retrain.drift.baseline import read_statistics
from retrain.drift.intake import Intake, merge_intakes, read_captures
from retrain.drift.intake_cache import Stored, document_name, dump_intake, ever_since, hours_of, load_intake
from retrain.jobs.entry import arguments, run

Source = tuple[str, Path]  # the key that a file is known by, and where it lies


def main(texts: list[str] | None = None) -> int:
    """0 when the output folder holds the documents."""
    parser = arguments(__doc__, ("captures", "files", "baseline", "output", "resources"), ("part",))
    return run(take_in, parser.parse_args(texts))


def take_in(options: argparse.Namespace) -> str:
    """The documents are written; how many of how many files, in a sentence."""
    wanted = json.loads((options.files / "files.json").read_text(encoding="utf-8"))
    window = clock.parse(wanted["start"]), clock.parse(wanted["end"])
    statistics = (options.baseline / "statistics.json").read_bytes()
    host = json.loads(options.resources.read_text(encoding="utf-8"))["current_host"]
    here = [
        CaptureFile(key, etag, path.stat().st_size)
        for key, etag in wanted["files"].items()
        if (path := options.captures / key).exists()  # others have the rest
    ]
    hours = list(hours_of(here, window))
    for hour, name, cut, files in hours:
        sources = [(file.key, options.captures / file.key) for file in files]
        intake = read_in_parallel(sources, statistics, ever_since(cut))
        document = options.output / document_name(hour, name, f"{options.part}-{host}")
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_bytes(dump_intake(Stored(intake, {file.key: file.etag for file in files})))
    return f"{len(here)} of {len(wanted['files'])} files of {len(hours)} hours, {sum(file.size for file in here)} bytes"


def read_in_parallel(sources: Sequence[Source], statistics: bytes, window: Window) -> Intake:
    """The intake of the files, read by as many processes as there are processors."""
    workers = max(min(len(os.sched_getaffinity(0)), len(sources)), 1)
    own, *others = (sources[worker::workers] for worker in range(workers))
    if not others:
        return merge_shares([read_share(own, statistics, window)], statistics)
    # A forked process would have polars' threads by name only, and wait for them for ever.
    with ProcessPoolExecutor(len(others), get_context("spawn")) as pool:
        theirs = pool.map(partial(read_share, statistics=statistics, window=window), others)
        return merge_shares([read_share(own, statistics, window), *theirs], statistics)


def read_share(sources: Iterable[Source], statistics: bytes, window: Window) -> bytes:
    """The stored intake of the files: what travels between processes and machines."""
    return dump_intake(Stored(read_captures(_opened(sources), read_statistics(statistics), window), {}))


def merge_shares(parts: Iterable[bytes], statistics: bytes) -> Intake:
    """The intake of all of them, of which there is at least one."""
    read = read_statistics(statistics)
    return reduce(merge_intakes, (load_intake(part, read).intake for part in parts))


def _opened(sources: Iterable[Source]) -> Iterator[tuple[str, BinaryIO]]:
    """Each file, open while it is the turn of it."""
    for key, path in sources:
        with path.open("rb") as file:
            yield key, file


if __name__ == "__main__":
    sys.exit(main())
