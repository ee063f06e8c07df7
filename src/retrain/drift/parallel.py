"""A window that processes or machines read by shares of its files: stored intakes travel, and are merged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

from retrain.core.window import Window
from retrain.drift.baseline import read_statistics
from retrain.drift.intake import Intake, merge_intakes, read_captures
from retrain.drift.intake_cache import Stored, dump_intake, load_intake

Source = tuple[str, Path]  # the key that a file is known by, and where it lies


def read_in_parallel(sources: Sequence[Source], statistics: bytes, window: Window) -> Intake:
    """The intake of the files, read by as many processes as there are processors."""
    workers = max(min(len(os.sched_getaffinity(0)), len(sources)), 1)
    own, *others = (sources[worker::workers] for worker in range(workers))
    if not others:
        return merge_shares([_read_files(own, statistics, window)], statistics)
    # A forked process would have polars' threads by name only, and wait for them for ever.
    with ProcessPoolExecutor(len(others), get_context("spawn")) as pool:
        theirs = pool.map(partial(_read_files, statistics=statistics, window=window), others)
        return merge_shares([_read_files(own, statistics, window), *theirs], statistics)


def read_share(captures: Iterable[tuple[str, Iterable[bytes]]], statistics: bytes, window: Window) -> bytes:
    """The stored intake of those files' lines: what travels between processes and machines."""
    return dump_intake(Stored(read_captures(captures, read_statistics(statistics), window), {}))


def merge_shares(parts: Iterable[bytes], statistics: bytes) -> Intake:
    """The intake of all of them, of which there is at least one."""
    read = read_statistics(statistics)
    return reduce(merge_intakes, (load_intake(part, read).intake for part in parts))


def _read_files(sources: Iterable[Source], statistics: bytes, window: Window) -> bytes:
    return read_share(_opened(sources), statistics, window)


def _opened(sources: Iterable[Source]) -> Iterator[tuple[str, BinaryIO]]:
    """Each file, open while it is the turn of it."""
    for key, path in sources:
        with path.open("rb") as file:
            yield key, file
