"""ComputeBaseline: the statistics and constraints that the challenger's traffic will be held against.

They are those of the window's rows, and of the answers to them of the model that serves, which has learned from all of
them: the holdout is most like the traffic to come. Old rows that were rehearsed are left out: traffic is expected to
look like the window, and a mixture of the two would see drift in both.
What chance does to a day, a window that is hardly longer cannot know: that is inherited from the champion\'s baseline.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path

from retrain.core.errors import Refused
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.conditional import with_joint
from retrain.drift.learning import inherit, with_chance
from retrain.jobs.entry import arguments, run
from retrain.model.archive import importance, load_model
from retrain.model.read_spec import read_spec
from retrain.model.serving import Model, predict
from retrain.model.values import parse_numbers
from retrain.training.dataset import AGE, TIME, verify_dataset

_BLOCK = 10_000  # rows that are in memory at a time


def main(texts: list[str] | None = None) -> int:
    """0 when statistics.json and constraints.json are in the output folder."""
    parser = arguments(__doc__, ("dataset", "challenger", "earlier", "output"))
    parser.add_argument("--earlier-sha256", default="none", help="what was sealed of the champion's; none")
    return run(compute, parser.parse_args(texts))


def compute(options: argparse.Namespace) -> str:
    """The baseline is written; of how many rows, in a sentence."""
    verify_dataset(options.dataset)
    spec = read_spec(options.dataset / "model.toml")
    features = {feature.name: feature.type for feature in spec.features}
    model = load_model(options.challenger / "model.tar.gz")
    rows = partial(_window_rows, options.dataset, spec.names)
    answers = list(_answers(rows(), model))
    statistics, constraints = baseline_of(rows(), features, spec.monitor, answers, importance(model))
    times, _ = parse_numbers([time for [time] in _window_rows(options.dataset, [TIME])])
    statistics = with_chance(statistics, rows(), times, answers)
    for file in sorted(options.earlier.glob("*.json")):  # none at bootstrap
        statistics = inherit(statistics, read_statistics(_sealed(file, options.earlier_sha256), file.name), times)
    statistics = with_joint(statistics, rows, times)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, document in (("statistics", statistics), ("constraints", constraints)):
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        (options.output / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return f"baseline of {statistics['dataset']['item_count']} rows and {len(features)} features"


def _sealed(file: Path, expected: str) -> bytes:
    """The champion's statistics as they were judged; Refused("artifact_tampered") for any other: who could change what
    is inherited could make every later monitor deafer.
    """
    content = file.read_bytes()
    if expected not in {"none", found := sha256(content).hexdigest()}:
        raise Refused("artifact_tampered", f"the champion's {file.name} has SHA-256 {found}, judged {expected}")
    return content


def _window_rows(dataset: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Those columns, as texts, of the rows that are not old ones, in the order of time."""
    for part in ("train", "validation", "holdout"):
        with (dataset / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = next(reader)
            places, age = [header.index(name) for name in names], header.index(AGE)
            yield from ([row[place] for place in places] for row in reader if row[age] == "0")


def _answers(rows: Iterator[list[str]], model: Model) -> Iterator[str | float]:
    """What the endpoint would answer to the rows."""
    while block := list(islice(rows, _BLOCK)):
        yield from predict(block, model)


if __name__ == "__main__":
    sys.exit(main())
