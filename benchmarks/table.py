"""Large, wide and unbalanced tables through every job: CPU seconds and peak memory of each step, each a process.

    make bench-table                                        writes docs/benchmarks/table.md
    PYTHONPATH=src:. python -m benchmarks.table --table wide

A table is made, `python -m retrain init` proposes its model.toml, and the jobs are run as SageMaker runs them: first
model, then a window of a quarter as many rows, as captures and labels; in it a feature has moved and a category is new.
Every table has numbers and categories with gaps, a column that never changes, and one that numbers the rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from subprocess import PIPE, STDOUT, run

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from retrain.core.clock import render
from retrain.model.read_spec import read_spec
from retrain.model.spec import Spec

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=10)
PER_REQUEST = 8
GAP = 0.05  # share of the values of every third column that is missing
LEVELS = tuple("abcdefghijkl")
GOAL = 2048  # megabytes
_BLOCK = 20_000  # values of a column that are made at a time


@dataclass(frozen=True)
class Size:
    """A table to make."""

    title: str
    rows: int
    numeric: int
    categorical: int
    positive: float | None  # share of the label's 1 of a binary task; None: a regression


TABLES = {
    "long": Size("1,000,000 rows of 50 features", 1_000_000, 40, 10, None),
    "wide": Size("20,000 rows of 500 features", 20_000, 460, 40, 0.3),
    "rare": Size("200,000 rows of 15 features, one positive among 200", 200_000, 12, 3, 1 / 200),
}


@dataclass(frozen=True)
class Step:
    """What one process took, and its last line."""

    seconds: float  # of CPU
    megabytes: float
    said: str


def main() -> None:
    """Every table was carried through, and what it took is printed, with --write in the document."""
    options = _options().parse_args()
    measured = {}
    for name in options.table:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measured[name] = _carry(TABLES[name], Path(folder))
            for step, took in measured[name].items():
                print(
                    f"{name} {step:24s} {took.seconds:7.1f} s {took.megabytes:7.0f} MB  {took.said[:100]}", flush=True
                )
    text = "\n".join(_document(measured))
    print(text)
    if options.write:
        options.write.write_text(f"{PREFACE}\n{text}\n", encoding="utf-8")


def _carry(size: Size, root: Path) -> dict[str, Step]:
    """The steps by name, each of which had to succeed."""
    first, captures, labels, none = (root / name for name in ("first", "captures", "labels", "none"))
    for folder in (first, captures, labels, none):
        folder.mkdir()
    _write_table(size, first / "train.csv")
    task = [] if size.positive is None else ["--task", "binary"]
    steps = {
        "init": _run(
            ["retrain", "init", "--data", first / "train.csv", "--label", "y", "--out", first / "model.toml", *task]
        )
    }
    spec = read_spec(first / "model.toml")
    _write_window(size, spec, captures / "a.jsonl", labels / "a.jsonl")
    made = root / "first model"
    steps |= _round(made, first, none, none, (none, none))
    steps |= _round(root / "window", made / "dataset", made / "model", made, (captures, labels))
    return steps


def _round(
    out: Path, reference: Path, champion: Path, earlier: Path, seen: tuple[Path, Path]
) -> Iterator[tuple[str, Step]]:
    """Dataset, training, evaluation and baseline of one model.

    `earlier` is the folder of the model before, with its rows and its baseline; what was `seen` are captures and
    labels.
    """
    captures, labels = seen
    name, bootstrap = out.name, str(captures == labels).lower()
    data, model = out / "dataset", out / "model"
    window = ["--window-start", render(START), "--window-end", render(END)]
    last = ["--bootstrap", bootstrap, "--message", out / "message"]
    paths = ["--captures", captures, "--labels", labels, "--reference", reference, "--history", earlier / "rows"]
    written = ["--output", data, "--rows", out / "rows"]
    yield f"{name}: dataset", _run(["retrain.jobs.dataset", *paths, *written, *window, "--episode-id", "e", *last])
    channels = [f"--{channel}={data}" for channel in ("train", "validation", "holdout", "spec")]
    written = ["--model-dir", out / "files", "--output-data-dir", out / "data", "--checkpoints", out / "checkpoints"]
    asked = ["--episode_id", "e", "--bootstrap", bootstrap, *channels, "--champion", champion]
    yield f"{name}: training", _run(["retrain.jobs.train", *asked, *written])
    model.mkdir()
    with tarfile.open(model / "model.tar.gz", "w:gz") as tar:
        tar.add(out / "files", ".")
    judged = ["--dataset", data, "--captures", captures, "--challenger", model, "--champion", champion]
    judged += ["--reference", reference, "--output", out / "evaluation", "--evaluation-time", render(END)]
    yield f"{name}: evaluation", _run(["retrain.jobs.evaluate", *judged, *last])
    described = ["--dataset", data, "--challenger", model, "--earlier", earlier / "statistics"]
    written = ["--output", out / "baseline", "--message", out / "message"]
    yield f"{name}: baseline", _run(["retrain.jobs.baseline", *described, *written])
    (out / "statistics").mkdir()  # which alone the next baseline gets
    copy(out / "baseline" / "statistics.json", out / "statistics")


def _run(command: Sequence[object]) -> Step:
    """The module was run in a process of its own and ended well; SystemExit with what it said if not."""
    ran = run(
        [sys.executable, "-S", "-c", _LAUNCH, *map(str, command)], stdout=PIPE, stderr=STDOUT, text=True, check=False
    )
    *said, used = ran.stdout.strip().splitlines()
    if ran.returncode:
        raise SystemExit(f"{command[0]} ended with {ran.returncode}:\n" + "\n".join(said[-40:]))
    kilobytes, seconds = used.split()
    return Step(float(seconds), int(kilobytes) / 1024, said[-1] if said else "")


# A process begins with the peak memory of the one it was forked from: a small one runs the module and tells its peak.
_LAUNCH = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", *sys.argv[1:]])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(code)
"""


Block = tuple[list[str], list[list[str]], list[str], NDArray[np.float64]]


def _rows(size: Size, rows: int, seed: int, moved: bool) -> Iterator[Block]:
    """Blocks of rows: the columns' names, the rows as texts, their labels, and what a good model answers."""
    random, shift = np.random.default_rng(seed), _shift(size.positive) if size.positive else 0.0
    names = [f"x{i:03d}" for i in range(size.numeric)] + [f"c{i:02d}" for i in range(size.categorical)]
    names += ["constant", "row"]
    for start in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - start)
        x = random.normal(size=(count, size.numeric)).round(4)
        x[:, 0] += 1.0 if moved else 0.0
        levels = np.array([*LEVELS, "new"])
        codes = random.integers(0, len(LEVELS) + (1 if moved else 0), size=(count, size.categorical))
        signal = 2 * x[:, 0] + x[:, 1] * x[:, 2] + np.where(codes[:, 0] < 4, 1.5, 0.0)
        if size.positive is None:
            answer = signal
            label = (signal + random.normal(size=count)).round(4)
        else:
            answer = 1 / (1 + np.exp(-(1.5 * signal - shift)))
            label = (random.uniform(size=count) < answer).astype(int)
        texts = x.astype(str)
        texts[:, ::3][random.uniform(size=texts[:, ::3].shape) < GAP] = ""
        words = levels[codes]
        extra = np.column_stack([np.full(count, "k"), np.arange(start, start + count).astype(str)])
        rows_of = np.concatenate([texts.astype(object), words.astype(object), extra.astype(object)], axis=1).tolist()
        yield names, rows_of, [str(value) for value in label.tolist()], answer


def _shift(share: float) -> float:
    """What is taken from the log odds, so that that share of the labels is 1."""
    random = np.random.default_rng(0)
    x, codes = random.normal(size=(200_000, 3)), random.integers(0, len(LEVELS), size=200_000)
    signal = 1.5 * (2 * x[:, 0] + x[:, 1] * x[:, 2] + np.where(codes < 4, 1.5, 0.0))
    low, high = -50.0, 50.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(1 / (1 + np.exp(-(signal - middle)))) > share else (low, middle)
    return low


def _write_table(size: Size, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, (names, rows, labels, _) in enumerate(_rows(size, size.rows, 1, moved=False)):
            if not number:
                writer.writerow([*names, "y"])
            writer.writerows([*row, label] for row, label in zip(rows, labels, strict=True))


def _write_window(size: Size, spec: Spec, captures: Path, labels: Path) -> None:
    """A quarter as many rows, spread over the window, as captures of some rows each, and their labels."""
    total, done = size.rows // 4, 0
    with captures.open("w") as asked, labels.open("w") as known:
        for names, rows, truth, answers in _rows(size, total, 2, moved=True):
            places = [names.index(name) for name in spec.names]
            for at in range(0, len(rows), PER_REQUEST):
                part = slice(at, at + PER_REQUEST)
                identity, moment = f"r{done:07d}", START + (END - START) * (done / total)
                said = {
                    "endpointInput": "\n".join(",".join(row[place] for place in places) for row in rows[part]),
                    "endpointOutput": "\n".join(f"{answer:.6f}" for answer in answers[part]),
                }
                data = {name: {"data": text, "encoding": "CSV"} for name, text in said.items()}
                about = {"eventId": identity, "inferenceTime": render(moment)}
                asked.write(json.dumps({"captureData": data, "eventMetadata": about, "eventVersion": "0"}) + "\n")
                truths = {"data": "\n".join(truth[part]), "encoding": "CSV"}
                known.write(
                    json.dumps({"groundTruthData": truths, "eventMetadata": {"eventId": identity}, "eventVersion": "0"})
                    + "\n"
                )
                done += len(rows[part])


def _document(measured: dict[str, dict[str, Step]]) -> Iterator[str]:
    yield machine.described("xgboost-cpu", "numpy") + "."
    yield ""
    yield f"| step | {' | '.join(TABLES[name].title for name in measured)} |"
    yield f"| --- |{' ---: |' * len(measured)}"
    for step in next(iter(measured.values())):
        cells = (f"{table[step].seconds:.1f} s, {table[step].megabytes:,.0f} MB" for table in measured.values())
        yield f"| {step} | {' | '.join(cells)} |"
    most = max(step.megabytes for table in measured.values() for step in table.values())
    yield ""
    sums = (
        f"{TABLES[name].title} {sum(step.seconds for step in table.values()):.0f}" for name, table in measured.items()
    )
    yield f"Most memory **{most:,.0f} MB**; the goal is {GOAL:,} MB. Seconds of all steps: {'; '.join(sums)}."
    yield ""
    for name, table in measured.items():
        yield f"- {TABLES[name].title}: of the window, {table['window: dataset'].said}; {_decided(table)}."


def _decided(table: dict[str, Step]) -> str:
    """The gate's word, without the file's hash."""
    decision, _, why = table["window: evaluation"].said.partition(", ")
    reasons = why.partition("; ")[2]
    return f"the gate said {decision}" + (f" ({reasons})" if reasons else "")


PREFACE = """# Large, wide and unbalanced tables

Written by `make bench-table`. Every step is the job's own program in a process of its own: its seconds of CPU and its
peak memory. The first model comes from the whole table, the next one from a window of a quarter as
many rows, captured in requests of eight rows. model.toml is what `python -m retrain init` proposed.
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", nargs="*", choices=TABLES, default=list(TABLES), help="which tables (all)")
    parser.add_argument("--folder", type=Path, help="where the files are made (the system's folder for such)")
    parser.add_argument("--write", type=Path, help="the document to write")
    return parser


if __name__ == "__main__":
    main()
