"""BuildDriftDataset: captures, labels and the rows of earlier windows in, the drift dataset and this window's rows out.

The champion's own dataset brings the model's specification. Its rows stand in for those of earlier windows where none
were kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

from retrain.capture import ground_truth, records
from retrain.capture.quarantine import Quarantine
from retrain.core.clock import parse
from retrain.core.enough import Plan, conflicts
from retrain.core.errors import InvalidSpec, Refused
from retrain.jobs.entry import arguments, files, flag, run
from retrain.model.read_spec import read_spec
from retrain.model.spec import Spec
from retrain.training.dataset import (
    Dataset,
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
    parser.add_argument("--plan", type=lambda text: Plan(**json.loads(text)), default=Plan(), help="the deployment's")
    return run(build, parser.parse_args(texts))


def build(options: argparse.Namespace) -> str:
    """The dataset is written; what it holds in a sentence."""
    spec_file = options.reference / "model.toml"
    spec = read_spec(spec_file)
    if not (options.reference / "train.csv").exists():
        raise Refused("schema_mismatch", "train.csv is missing beside model.toml")
    said: list[str] = []
    if options.bootstrap:
        dataset = bootstrap_dataset(spec, initial_rows(spec, options.reference / "train.csv"))
        said = _held_against(spec, dataset, options.plan)
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
    return "; ".join([", ".join(f"{name} {count}" for name, count in manifest["rows"].items()), *said])


def _held_against(spec: Spec, dataset: Dataset, deployed: Plan) -> list[str]:
    """What of model.toml, and of the cycle that the first rows show, does not fit the deployment, in sentences.

    InvalidSpec if nothing would ever be trained after the first model. How many rows an hour train.csv has says nothing
    of the traffic.
    """
    cycle = float(dataset.manifest["cycle"]["hours"])
    plan = replace(deployed, cycle=cycle, rows=spec.least_rows, reach=spec.dataset.min_label_reach)
    if (delay := spec.monitor.label_delay_hours) is not None:
        plan = replace(plan, delay=float(delay))
    found = conflicts(plan)
    if never := [str(conflict) for conflict in found if conflict.never]:
        raise InvalidSpec(f"after the first model nothing would ever be trained: {'; '.join(never)}")
    return [str(conflict) for conflict in found]


if __name__ == "__main__":
    sys.exit(main())
