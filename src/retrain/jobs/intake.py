"""Reads captures that are too many for the drift monitor, and writes what they hold as stored intakes.

Every instance gets its share of the files and writes a document for each of their hours; the monitor's next run merges
them. Which files they are, and from when to when the window goes, is in files.json.
"""

from __future__ import annotations

import argparse
import json
import sys

from retrain.core import clock
from retrain.core.window import CaptureFile
from retrain.drift.intake_cache import Stored, document_name, dump_intake, ever_since, hours_of
from retrain.drift.parallel import read_in_parallel
from retrain.jobs.entry import arguments, run


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


if __name__ == "__main__":
    sys.exit(main())
