"""BuildDriftDataset: captures, labels and the rows of earlier windows in, the drift dataset and this window's rows out.

The champion's own dataset brings the model's specification. Its rows stand in for those of earlier windows where none
were kept.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from retrain.capture import ground_truth, records
from retrain.capture.quarantine import Quarantine
from retrain.core.clock import parse
from retrain.core.errors import Refused
from retrain.jobs.entry import arguments, files, flag, run
from retrain.model.read_spec import read_spec
from retrain.training.dataset import (
    Read,
    bootstrap_dataset,
    drift_dataset,
    initial_rows,
    read_reference,
    sha256,
    verify_dataset,
    write_dataset,
)
from retrain.training.history import read_history, write_rows


def main(texts: list[str] | None = None) -> int:
    """0 when the output folder holds the dataset; 1 with `code: detail` in the message when there can be none."""
    parser = arguments(
        __doc__,
        ("captures", "labels", "reference", "history", "output", "rows"),
        ("window-start", "window-end", "episode-id"),
    )
    parser.add_argument("--bootstrap", type=flag, required=True)
    return run(build, parser.parse_args(texts))


def build(options: argparse.Namespace) -> str:
    """The dataset is written; what it holds in a sentence."""
    spec_file = options.reference / "model.toml"
    spec = read_spec(spec_file)
    if not (options.reference / "train.csv").exists():
        raise Refused("schema_mismatch", "train.csv is missing beside model.toml")
    if options.bootstrap:
        dataset = bootstrap_dataset(spec, initial_rows(spec, options.reference / "train.csv"))
    else:
        verify_dataset(options.reference)
        window = (parse(options.window_start), parse(options.window_end))
        bad_captures, bad_labels = Quarantine(), Quarantine()
        captures = [
            found
            for source, lines in files(options.captures)
            for found in records.read(lines, source, bad_captures, window, spec.names)
        ]
        labels = ground_truth.read(files(options.labels), bad_labels)
        read = Read(captures, labels, bad_captures, bad_labels)
        history, names = read_history(options.history, spec)
        past = history or read_reference(options.reference, spec)
        dataset = drift_dataset(spec, read, past, window, begins=history is None)
        # Which dataset this one follows, and whose rows it may have learned from.
        of = {"reference_sha256": sha256(options.reference / "manifest.json"), "history_sha256": names}
        dataset = replace(dataset, manifest={**dataset.manifest, **of})
    rows = {"rows_sha256": write_rows(options.rows, dataset, options.episode_id)}
    dataset = replace(dataset, manifest={**dataset.manifest, **rows})
    manifest = write_dataset(options.output, dataset, spec_file.read_bytes(), options.episode_id)
    return ", ".join(f"{name} {count}" for name, count in manifest["rows"].items())


if __name__ == "__main__":
    sys.exit(main())
