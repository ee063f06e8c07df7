"""Retraining, measured on the built-in tables: what it recovers, what it costs, how much memory it takes.

    make bench-retrain                                     writes docs/benchmarks/retrain.md
    PYTHONPATH=src:. python -m benchmarks.retrain --table flights --seeds 1

The loop without the machinery around it: dataset, training and gate, window by window. Nothing looks ahead: a window is
served by the model that was champion when it began; labels come a day late, so those of a window's last day are missing
when its dataset is built. A window is retrained on when the drift monitor finds that it differs from the new rows the
champion was trained on, or the quality monitor finds the champion's answers too bad.

Recovered is (stale - ours) / (stale - best), of the metric's mean over all windows: `stale` was never retrained, `best`
is the best of the strategies in hindsight, each of which retrains on every window in the same way and asks no gate.
"""

from __future__ import annotations

import argparse
import csv
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import machine
from demo import baseball, flights
from demo.windows import Row, Source, Window
from retrain.capture.ground_truth import Labels
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.gate.evidence import gather, level_of, score_rows
from retrain.gate.rules import Level, judge
from retrain.model.serving import Model
from retrain.model.spec import CANDIDATES, Spec
from retrain.model.table import Column, Table, category, concat
from retrain.model.values import parse_numbers
from retrain.quality.metrics import score
from retrain.training.candidates import Challenger, encode, refit, train, train_candidates, truth
from retrain.training.dataset import Dataset, Read, bootstrap_dataset, drift_dataset
from retrain.training.history import reference_of

TABLES = {"flights": flights.source, "baseball": baseball.source}
SEEDS = (7, 8, 9, 10, 11)
THRESHOLD = 0.3  # the template's DriftThreshold
GOAL = {"recovered": 0.9, "cost": 0.3, "megabytes": 2048}
MEMORY_ROWS, MEMORY_COLUMNS = 1_000_000, 50


@dataclass(frozen=True)
class Month:
    """One window: what was served, what the replaced champion would have been worth, and what was decided."""

    name: str
    served: float
    stale: float
    predecessor: float | None  # the champion that the last promotion replaced, if the gate let one through just before
    decision: str


@dataclass
class Played:
    """One strategy, played from the first window to the last."""

    months: list[Month]
    continued: list[float]  # CPU seconds of continuing, for each retraining
    full: list[float]  # of training from scratch on everything seen so far

    @property
    def mean(self) -> float:
        """The metric's mean over the windows."""
        return float(np.mean([month.served for month in self.months]))


def main() -> None:
    """What was asked for is measured, printed, and with --write in the document."""
    options = _options().parse_args()
    lines = [machine.described("xgboost-cpu", "numpy") + ".", ""]
    for name in options.table:
        lines += _on_table(name, SEEDS[: options.seeds], options.verbose)
    if options.cost:
        lines += _cost()
    if options.memory:
        lines += _memory()
    text = "\n".join(lines)
    print(text)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(f"# Retraining: what it recovers, and what it costs\n\n{PREFACE}\n{text}\n")


def _on_table(name: str, seeds: Sequence[int], verbose: bool) -> list[str]:
    """The section about that table."""
    source = TABLES[name]()
    rows: list[dict[str, float]] = []
    chosen: list[Played] = []
    for seed in seeds:
        spec = _seeded(source.spec, seed)
        ours = play(source, spec, None)
        strategies = {way: play(source, spec, way).mean for way in CANDIDATES}
        stale = float(np.mean([month.stale for month in ours.months]))
        best = min(*strategies.values(), stale)
        worse = [
            month.served / month.predecessor - 1 for month in ours.months if month.predecessor and month.decision != "-"
        ]
        rows.append(
            {
                "stale": stale,
                "ours": ours.mean,
                **strategies,
                "recovered": (stale - ours.mean) / (stale - best),
                "worst": max(worse, default=-math.inf),
            }
        )
        chosen.append(ours)
        if verbose:
            print(seed, {key: round(value, 4) for key, value in rows[-1].items()})
            for month in ours.months:
                print(f"  {month.name:10s} stale {month.stale:.4f} served {month.served:.4f} {month.decision}")
    middle = {key: median(row[key] for row in rows) for key in rows[0]}
    metric, replayed = source.spec.metric, sum(len(window.rows) for window in source.windows)
    formats = {"recovered": ".1%", "worst": "+.1%"}
    each = {key: ", ".join(format(row[key], form) for row in rows) for key, form in formats.items()}
    return [
        f"## {source.title}",
        "",
        f"{len(source.initial):,} rows to begin with, then {len(source.windows)} windows of {replayed:,} rows; "
        f"medians over seeds {', '.join(map(str, seeds))}.",
        "",
        f"| mean {metric} over all windows | |",
        "| --- | --- |",
        f"| never retrained | {middle['stale']:.4g} |",
        *(f"| always {way}, no gate | {middle[way]:.4g} |" for way in CANDIDATES),
        f"| **the loop** | **{middle['ours']:.4g}** |",
        "",
        f"- Recovered: **{middle['recovered']:.1%}** ({each['recovered']}); the goal is {GOAL['recovered']:.0%}.",
        f"- After a promotion, the next window compared with the champion that was replaced: at worst "
        f"**{max(row['worst'] for row in rows):+.1%}** (seed by seed {each['worst']}); "
        f"the gate's margin is {source.spec.gate.margin:.0%}.",
        "",
        f"Seed {seeds[0]}, window by window:",
        "",
        "| window | never retrained | the loop | then |",
        "| --- | --- | --- | --- |",
        *(f"| {m.name} | {m.stale:.4g} | {m.served:.4g} | {m.decision} |" for m in chosen[0].months),
        "",
    ]


@dataclass(frozen=True)
class Champion:
    """The model that serves, the one that was judged, and where that one was on its own holdout."""

    model: Model
    twin: Model
    own: Level
    dataset: Dataset


def play(source: Source, spec: Spec, always: str | None, costs: bool = False) -> Played:
    """The windows, served by the loop's champions; with `always`, by whatever that way of training gave, ungated."""
    initial = _table(spec, source.initial)
    dataset = bootstrap_dataset(spec, initial)
    first = train(spec, dataset.parts["train"], dataset.parts["validation"], None)
    champion = _champion(spec, first, dataset, None)
    stale, predecessor, past = champion.model, None, [dataset.kept]
    played = Played([], [], [])
    own = spec if always is None else replace(spec, training=replace(spec.training, candidates=(always,)))
    seen = [initial]
    for window in source.windows:
        rows = _table(spec, window.rows)
        served, never = (_score(spec, model, rows) for model in (champion.model, stale))
        before = _score(spec, predecessor.model, rows) if predecessor else None
        predecessor, decision = None, always or ""
        try:
            drifted = _drift_dataset(spec, window, rows, past, champion.model)
        except Refused as refusal:
            played.months.append(Month(window.name, served, never, before, refusal.code))
            continue
        parts = drifted.parts["train"], drifted.parts["validation"]
        challenger = train(own, *parts, champion.model)
        if costs:
            began = time.process_time()
            train_candidates(own, *parts, champion.model, only="continued")
            played.continued.append(time.process_time() - began)
            everything = bootstrap_dataset(spec, concat([*seen, rows]))
            began = time.process_time()
            train(spec, everything.parts["train"], everything.parts["validation"], None)
            played.full.append(time.process_time() - began)
        following, promoted = _champion(own, challenger, drifted, champion), True
        if not always:
            decision, promoted = _judge(spec, drifted, champion, following, challenger.chosen)
        if decision != "labels_suspect":
            past.append(drifted.kept)
        if promoted:
            predecessor, champion = champion, following
        played.months.append(Month(window.name, served, never, before, decision))
        seen.append(rows)
    return played


def _champion(spec: Spec, challenger: Challenger, dataset: Dataset, champion: Champion | None) -> Champion:
    twin, holdout = challenger.model, dataset.parts["holdout"]
    refitted = refit(spec, challenger.chosen, twin, dataset.parts, champion=champion.model if champion else None)
    own = level_of(spec, truth(spec, twin.encoder, holdout), twin.predict(encode(twin.encoder, holdout)))
    return Champion(refitted.model, twin, own, dataset)


def _judge(spec: Spec, dataset: Dataset, champion: Champion, challenger: Champion, chosen: str) -> tuple[str, bool]:
    scored = [
        score_rows(spec, dataset.parts[part], model, challenger.twin)
        for part, model in (("holdout", champion.model), ("reference", champion.twin))
    ]
    try:
        decision = judge(gather(spec, *scored, own=champion.own, bootstrap=False), spec.gate)
    except Refused as refusal:
        return refusal.code, False
    reasons = ", ".join(reason.code for reason in decision.reasons)
    said = f"{chosen}: {decision.decision}{f' ({reasons})' if reasons else ''}"
    return said.replace("_", " "), decision.decision == "promote"


def _drift_dataset(spec: Spec, window: Window, rows: Table, past: Sequence[Table], champion: Model) -> Dataset:
    known = [row for row in window.rows if row.time + timedelta(days=1) <= window.end]
    answers = np.atleast_2d(champion.predict(encode(champion.encoder, rows)).T).T  # of classes, one column for each
    asked = [
        Capture(f"{number:06d}", row.time, [list(row.values)], [[repr(float(value)) for value in answer]])
        for number, (row, answer) in enumerate(zip(window.rows, answers, strict=True))
    ]
    labels = Labels({f"{number:06d}": (row.label,) for number, row in enumerate(known)})
    return drift_dataset(spec, Read(asked, labels), reference_of(past), (window.start, window.end))


def _score(spec: Spec, model: Model, rows: Table) -> float:
    return score(spec.metric, truth(spec, model.encoder, rows), model.predict(encode(model.encoder, rows)))


def _seeded(spec: Spec, seed: int) -> Spec:
    return replace(spec, training=replace(spec.training, seed=seed), gate=replace(spec.gate, seed=seed))


def _table(spec: Spec, rows: Sequence[Row]) -> Table:
    columns: dict[str, Column] = {}
    for index, feature in enumerate(spec.features):
        texts = [row.values[index] for row in rows]
        columns[feature.name] = category(texts) if feature.type == "categorical" else parse_numbers(texts)[0]
    labels = [row.label for row in rows]
    columns[spec.label] = np.array([float(text) for text in labels]) if spec.task == "regression" else category(labels)
    return Table(columns)


def _cost() -> list[str]:
    """What continuing costs beside training from scratch on everything seen so far, on all flights of the year."""
    source = flights.source(kept=1)
    played = play(source, _seeded(source.spec, SEEDS[0]), None, costs=True)
    pairs = list(zip(played.continued, played.full, strict=True))
    return [
        "## What continuing costs",
        "",
        f"All flights of the year, {len(source.initial):,} rows to begin with. Seconds of CPU for each window that was "
        f"retrained on: continuing the champion on it and as many old rows, by {source.spec.training.continued_rounds} "
        "rounds at most; training from scratch on all that was seen.",
        "",
        "| continued | from scratch | share |",
        "| --- | --- | --- |",
        *(f"| {one:.1f} | {full:.1f} | {one / full:.0%} |" for one, full in pairs),
        "",
        f"Median share **{median(one / full for one, full in pairs):.0%}**, of the year's sum "
        f"**{sum(played.continued) / sum(played.full):.0%}**; the goal is {GOAL['cost']:.0%}.",
        "",
    ]


# Memory ---------------------------------------------------------------------------------------------------------------


def _memory() -> list[str]:
    """Peak memory of the training job on a wide and long table, as a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_wide(folder)
        command = [sys.executable, "-m", "retrain.jobs.train", "--episode_id", "memory", "--bootstrap", "true"]
        for channel in ("train", "validation", "holdout", "spec", "champion"):
            command += [f"--{channel}", str(folder)]
        command += ["--model-dir", str(folder / "model"), "--output-data-dir", str(folder / "data")]
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [
        f"## The training job on {MEMORY_ROWS:,} rows of {MEMORY_COLUMNS} numeric columns",
        "",
        f"Peak memory **{used.ru_maxrss / 1024:,.0f} MB** (the goal is {GOAL['megabytes']:,} MB); {seconds:.0f} s, "
        f"{used.ru_utime + used.ru_stime:.0f} s of CPU, from train.csv to model.",
        "",
    ]


def _write_wide(folder: Path) -> None:
    names = [f"x{number:02d}" for number in range(MEMORY_COLUMNS)]
    model = ["[model]", 'label = "y"', 'task = "regression"', 'metric = "rmse"', "", "[features]"]
    model += [*(f'{name} = "numeric"' for name in names), "", "[hyperparameters]", "num_boost_round = 20"]
    (folder / "model.toml").write_text("\n".join(model) + "\n")
    for file, rows, seed in (
        ("train.csv", MEMORY_ROWS, 1),
        ("validation.csv", MEMORY_ROWS // 20, 2),
        ("holdout.csv", MEMORY_ROWS // 5, 3),
    ):
        with (folder / file).open("w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow([*names, "y", "__age"])
            for block in _blocks(rows, seed):
                writer.writerows(block)


def _blocks(rows: int, seed: int) -> Iterator[list[list[object]]]:
    random = np.random.default_rng(seed)
    for start in range(0, rows, 10_000):
        x = random.normal(size=(min(10_000, rows - start), MEMORY_COLUMNS)).round(4)
        y = (x[:, 0] * 2 + x[:, 1] * x[:, 2]).round(4)
        yield [[*line, label, 0] for line, label in zip(x.tolist(), y.tolist(), strict=True)]


PREFACE = """Written by `make bench-retrain`. A strategy retrains on every window in one way and asks no gate; which is
best is known only in hindsight. The loop chooses among the candidates of model.toml and asks the gate.
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", nargs="*", choices=TABLES, default=list(TABLES), help="built-in tables (all)")
    parser.add_argument("--seeds", type=int, choices=range(1, len(SEEDS) + 1), default=3, help="how many seeds (3)")
    parser.add_argument("--cost", action="store_true", help="measure the cost of continuing on all flights too")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too (some minutes)")
    parser.add_argument("--verbose", action="store_true", help="print every window of every seed")
    parser.add_argument("--write", type=Path, help="the document to write")
    return parser


if __name__ == "__main__":
    main()
