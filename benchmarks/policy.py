"""Policies of retraining, compared on ten years' worth of windows: when to train, on what, and what the gate lets pass.

    make bench-policy                                      writes docs/benchmarks/policy.md and .bench/policy.json
    PYTHONPATH=src:. python -m benchmarks.policy --quick   one seed, four tables, four worlds
    PYTHONPATH=src:. python -m benchmarks.policy --table delays --world rolling --seeds 1 --verbose

The loop without the machinery around it, window by window, through the project's own monitors, datasets, training and
gate. Nothing looks ahead: a window is served by the model that was champion when it began; labels come a day late, so
those of a window's last day (windows are spread over a month) are missing when its dataset is built.

Recovered is (stale - ours) / (stale - best), of the metric's mean over all windows: `stale` was never retrained, `best`
the best fixed strategy in hindsight, each of which trains on every window in one way and asks no gate. The oracle
serves every window by the best, in hindsight, of all models that any policy had served by then.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, poison
from benchmarks.tables import TABLES
from benchmarks.worlds import WORLDS
from demo.windows import Row, Source, Window
from retrain.capture.ground_truth import Labels
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.drift.analysis import analyse
from retrain.drift.baseline import from_csv
from retrain.drift.verdict import Verdict
from retrain.gate.evidence import gather, level_of, score_rows
from retrain.gate.rules import Level, judge
from retrain.model.serving import Model
from retrain.model.spec import CANDIDATES, Spec
from retrain.model.table import Category, Column, Table, category, concat, thin, write_table
from retrain.model.values import parse_numbers
from retrain.quality.metrics import model_quality, score
from retrain.quality.verdict import Pairs, judge_quality, read_baseline, suggest_constraints
from retrain.training.candidates import Candidate, choose, encode, refit, train_candidates, truth
from retrain.training.dataset import AGE, HELD, Dataset, Read, bootstrap_dataset, drift_dataset
from retrain.training.history import reference_of

SEEDS = (7, 8, 9)
THRESHOLD = 0.3  # the template's DriftThreshold
LABELS_LATE = timedelta(days=1)
POISONED = 4  # the window whose evidence is poisoned
NONE = "\N{EN DASH}"
NOTHING = 0.01  # share of the stale model's error below which there is nothing to recover
GOALS = {"best": 0.95, "oracle": 0.90, "worst": 0.15, "poisoned": 0.05}

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Policy:
    """When it trains, on what, and what it promotes; `ways` are the candidates, None those of model.toml.

    With `store`, old rows are those of all earlier windows, and what serves is refitted; without, they are those of the
    champion's own dataset, a part of which is held back, and what serves is what was judged.
    """

    name: str
    when: str  # never, every, or a key of TRIGGERS
    gate: str  # none, insurance or proof
    ways: tuple[str, ...] | None = None
    store: bool = True


BEFORE = ("continued", "scratch")  # candidates of the project as it was on 27 November 2026
THREE = (*BEFORE, "recent")  # and of the first gate that insured
FIXED = tuple(Policy(f"always {way}", "every", "none", (way,), store=False) for way in CANDIDATES if way != "recent")
POLICIES = (
    Policy("never", "never", "none"),
    *FIXED,
    Policy("before", "alarms", "proof", BEFORE, store=False),
    Policy("insurance", "every", "insurance"),
    Policy("three candidates", "every", "insurance", THREE),
    Policy("insurance on alarms", "alarms", "insurance"),
    Policy("no gate", "every", "deploy"),
    Policy("proof", "every", "proof"),
    Policy("ADWIN", "adwin", "proof"),
    Policy("KSWIN", "kswin", "proof"),
    Policy("CUSUM", "cusum", "proof"),
)
UNDER_ATTACK = ("always scratch", "before", "no gate", "insurance", "proof")


@dataclass(frozen=True)
class Champion:
    """The model that serves, its twin that was judged and where that one was then, and what they learned from."""

    model: Model
    twin: Model
    own: Level
    dataset: Dataset


@dataclass
class Step:
    """One window: what it was served with, and what became of its evidence."""

    served: float
    predecessor: float | None  # what the champion before the last promotion would have been worth, if it was just now
    trained: bool = False
    promoted: bool = False
    said: str = "-"
    kept: float | None = None  # the next window's metric of the champion when a challenger was judged,
    judged: float | None = None  # and of the challenger: what the decision was worth


@dataclass
class Replay:
    """A table and a seed; what is the same for several policies is computed once."""

    source: Source
    seed: int
    attack: Callable[[Window], Window] | None = None  # of the evidence of window POISONED
    trained: dict[str, tuple[Candidate, Model | None]] = field(default_factory=dict)
    scored: dict[tuple[int, int], float] = field(default_factory=dict)
    known: dict[int, Model] = field(default_factory=dict)

    @cached_property
    def spec(self) -> Spec:
        spec = self.source.spec
        return replace(spec, training=replace(spec.training, seed=self.seed), gate=replace(spec.gate, seed=self.seed))

    @cached_property
    def tables(self) -> list[Table]:
        """The windows' rows as they were, all labelled."""
        return [_table(self.spec, window.rows) for window in self.source.windows]

    @cached_property
    def evidence(self) -> list[tuple[Window, Table]]:
        """What there is to learn from: the windows, one of them poisoned if there is an attack."""
        found = list(zip(self.source.windows, self.tables, strict=True))
        if self.attack:
            window = self.attack(found[POISONED][0])
            found[POISONED] = window, _table(self.spec, window.rows)
        return found

    @cached_property
    def first(self) -> Champion:
        """The first model."""
        dataset = bootstrap_dataset(self.spec, _table(self.spec, self.source.initial))
        return self.champion(self.spec, dataset, *self.train(self.spec, dataset, None), None, refitted=False)

    def champion(
        self, spec: Spec, dataset: Dataset, way: str, twin: Model, before: Model | None, *, refitted: bool
    ) -> Champion:
        """What would serve, and what of it the next judgement needs to know."""
        model, holdout = twin, dataset.parts["holdout"]
        if refitted:
            model = refit(spec, way, twin, dataset.parts, champion=before).model
        own = level_of(spec, truth(spec, twin.encoder, holdout), twin.predict(encode(twin.encoder, holdout)))
        return Champion(model, twin, own, dataset)

    def train(self, spec: Spec, dataset: Dataset, champion: Model | None) -> tuple[str, Model]:
        """The candidate that is chosen on the validation slice, and its model."""
        rows, held = dataset.parts["train"], dataset.parts["validation"]
        ways = spec.training.candidates if champion else ("scratch",)
        data = f"{_digest(rows)} {_digest(held)} {champion.encoder if champion else None}"
        found = []
        for way in ways:
            start = id(champion) if way in {"continued", "refreshed"} else 0
            key = sha256(f"{way} {start} {data}".encode()).hexdigest()
            if key not in self.trained:
                considered, models = train_candidates(spec, rows, held, champion, only=way)
                self.trained[key] = (considered[0], models.get(way))
            found.append(self.trained[key])
        chosen = choose(spec, [candidate for candidate, _ in found])
        model = next(model for candidate, model in found if candidate is chosen)
        assert model is not None
        return chosen.name, model

    def score(self, model: Model, window: int) -> float:
        """The model's metric on the clean rows of that window."""
        key = id(model), window
        self.known[id(model)] = model  # or another one might get its id
        if key not in self.scored:
            rows = self.tables[window]
            output = model.predict(encode(model.encoder, rows))
            self.scored[key] = score(self.spec.metric, truth(self.spec, model.encoder, rows), output)
        return self.scored[key]


def play(replayed: Replay, policy: Policy) -> tuple[list[Step], list[Model]]:
    """The windows as that policy serves them, and with which model each."""
    spec = replayed.spec
    if policy.ways:
        spec = replace(spec, training=replace(spec.training, candidates=policy.ways))
    spec = replace(spec, gate=replace(spec.gate, policy="proof" if policy.gate == "proof" else "insurance"))
    champion, predecessor = replayed.first, None
    past = [champion.dataset.kept]
    trigger = TRIGGERS[policy.when]() if policy.when in TRIGGERS else None
    steps, models = [], []
    for number, (window, rows) in enumerate(replayed.evidence):
        step = Step(replayed.score(champion.model, number), None)
        if predecessor is not None:
            step.predecessor = replayed.score(predecessor, number)
        steps.append(step)
        models.append(champion.model)
        predecessor = None
        cause = policy.when if policy.when == "every" else None
        if trigger:
            cause = trigger(spec, window, rows, champion.dataset, champion.model)
        if cause is None:
            continue
        try:
            evidence = _dataset(
                spec, window, rows, champion, past if policy.store else None, plain=policy.gate == "none"
            )
            step.trained = True
            way, twin = replayed.train(spec, evidence, champion.model)
            challenger = replayed.champion(spec, evidence, way, twin, champion.model, refitted=policy.store)
            promoted, said = _gate(policy, spec, champion, challenger)
        except Refused as refusal:
            step.said = f"{cause}: refused ({refusal.code})"
            continue
        past.append(evidence.kept)
        step.said = f"{cause}; {way}: {said}".replace("_", " ")
        if number + 1 < len(replayed.evidence):
            step.kept, step.judged = (replayed.score(one.model, number + 1) for one in (champion, challenger))
        if promoted:
            step.promoted = True
            predecessor, champion = champion.model, challenger
            trigger = TRIGGERS[policy.when]() if policy.when in TRIGGERS else None
    return steps, models


def _gate(policy: Policy, spec: Spec, champion: Champion, challenger: Champion) -> tuple[bool, str]:
    if policy.gate in {"none", "deploy"}:
        return True, "deployed"
    parts = challenger.dataset.parts
    holdout = score_rows(spec, parts["holdout"], champion.model, challenger.twin)
    reference = score_rows(spec, parts["reference"], champion.twin, challenger.twin)
    decision = judge(gather(spec, holdout, reference, own=champion.own, bootstrap=False), spec.gate)
    reasons = ", ".join(reason.code for reason in decision.reasons)
    return decision.decision == "promote", f"{decision.decision}{f' ({reasons})' if reasons else ''}"


def _dataset(
    spec: Spec, window: Window, rows: Table, champion: Champion, past: Sequence[Table] | None, *, plain: bool
) -> Dataset:
    """The window's dataset, as the dataset job makes it, with the rows of `past` windows, or of the champion's dataset.

    `plain` is without triage, which fixed strategies do not have.
    """
    known = [number for number, row in enumerate(window.rows) if row.time + LABELS_LATE <= window.end]
    parts = champion.dataset.parts
    seen, unseen = concat([parts["train"], parts["validation"]]), concat([parts["reference"], parts["holdout"]])
    if plain:
        first = bootstrap_dataset(spec, rows.take(np.array(known)))
        old = seen.take(thin(len(seen), spec.dataset.max_reference_rows))
        rehearsed = old.having(AGE, np.ones(len(old)))
        train = concat([rehearsed, first.parts["train"]])
        return Dataset({**first.parts, "train": train, "reference": unseen}, {}, first.kept)
    model = champion.model
    answers = np.atleast_2d(model.predict(encode(model.encoder, rows)).T).T  # of classes, one column for each
    asked = [
        Capture(f"{number:06d}", row.time, [list(row.values)], [[repr(float(value)) for value in answer]])
        for number, (row, answer) in enumerate(zip(window.rows, answers, strict=True))
    ]
    labels = Labels({f"{number:06d}": (window.rows[number].label,) for number in known})
    read, times = Read(asked, labels), (window.start, window.end)
    if past is not None:
        return drift_dataset(spec, read, reference_of(past), times)
    # As it was before there was a store: learned from again is what the champion learned from, and what it never saw
    # either shows what is forgotten.
    marked = [part.having(HELD, np.full(len(part), held)) for part, held in ((seen, 0.0), (unseen, 1.0))]
    found = drift_dataset(spec, read, reference_of([concat(marked)]), times)
    learned = drift_dataset(spec, read, reference_of(marked[:1]), times)
    return replace(found, parts={**found.parts, "train": learned.parts["train"]})


# Triggers ------------------------------------------------------------------------------------------------------------


def _alarms(spec: Spec, window: Window, rows: Table, dataset: Dataset, champion: Model) -> str | None:
    """What would open an episode at the end of the window, as the two monitors see it: None if nothing does."""
    drift = analyse(
        [_captures(window)], *_baseline(spec, dataset), (window.start, window.end), alarm_threshold=THRESHOLD
    )
    if drift.verdict is Verdict.DRIFTED:
        return f"{drift.worst_feature} {drift.drift_max:.2f}"
    held, classes = dataset.parts["holdout"], champion.encoder.classes
    output = champion.predict(encode(champion.encoder, held))
    statistics = model_quality(spec.task, truth(spec, champion.encoder, held), output, classes, spec.gate.seed)
    known = read_baseline(suggest_constraints(statistics, spec.task, spec.monitor.quality_tolerance, classes=classes))
    answers = champion.predict(encode(champion.encoder, rows))
    pairs = Pairs(spec.task, truth(spec, champion.encoder, rows), answers, classes, {})
    analysis = judge_quality(pairs, len(rows), known.demands, (window.start, window.end), rules=known.rules)
    if analysis.verdict is not Verdict.DRIFTED:
        return None
    worst = analysis.violated[0].metric
    return f"{worst} {analysis.values[worst]:.3g}"


@dataclass
class Detector:
    """A detector of river, fed with the champion's loss on every labelled row, forgotten with the champion."""

    name: str

    def __post_init__(self) -> None:
        from river import drift

        self.detector: Any = drift.ADWIN() if self.name == "ADWIN" else drift.KSWIN(alpha=0.005, seed=7)

    def __call__(self, spec: Spec, _: Window, rows: Table, __: Dataset, champion: Model) -> str | None:
        """Its name, if it has detected a drift among the rows."""
        found = 0
        for loss in _losses(spec, champion, rows).tolist():
            self.detector.update(loss)
            found += bool(self.detector.drift_detected)
        return self.name if found else None


@dataclass
class Cusum:
    """Page's CUSUM on the champion's loss, blocks of 50 rows against its own holdout (k = 0.5, h = 5)."""

    sum: float = 0.0

    def __call__(self, spec: Spec, _: Window, rows: Table, dataset: Dataset, champion: Model) -> str | None:
        """CUSUM, if the sum has passed its limit."""
        own = _losses(spec, champion, dataset.parts["holdout"])
        spread = float(own.std()) / math.sqrt(50) or 1.0
        losses = _losses(spec, champion, rows)
        highest = 0.0
        for block in np.array_split(losses, max(len(losses) // 50, 1)):
            self.sum = max(0.0, self.sum + (float(block.mean()) - float(own.mean())) / spread - 0.5)
            highest = max(highest, self.sum)
        return "CUSUM" if highest > 5.0 else None


Trigger = Callable[[Spec, Window, Table, Dataset, Model], str | None]
TRIGGERS: Mapping[str, Callable[[], Trigger]] = {
    "alarms": lambda: _alarms,
    "adwin": partial(Detector, "ADWIN"),
    "kswin": partial(Detector, "KSWIN"),
    "cusum": Cusum,
}


def _losses(spec: Spec, model: Model, rows: Table) -> Numbers:
    """The champion's loss, row by row: the squared error, or minus the logarithm of the true class's probability."""
    labels, output = truth(spec, model.encoder, rows), model.predict(encode(model.encoder, rows))
    if spec.task == "regression":
        errors: Numbers = output - labels
        return errors * errors
    chances = np.column_stack([1 - output, output]) if output.ndim == 1 else output
    losses: Numbers = -np.log(np.clip(chances[np.arange(len(labels)), labels.astype(int)], 1e-6, None))
    return losses


# Results -------------------------------------------------------------------------------------------------------------


def measured(name: str, seed: int) -> list[dict[str, Any]]:
    """Every policy on that table or world with that seed: what JSON holds of it, the one run."""
    replayed = Replay(_source(name), seed)
    played = {policy.name: play(replayed, policy) for policy in POLICIES}
    stale = [step.served for step in played["never"][0]]
    best = min(mean(step.served for step in played[policy.name][0]) for policy in (*FIXED, POLICIES[0]))
    oracle, models = [], dict[int, Model]()
    for number in range(len(stale)):
        models |= {id(served[number]): served[number] for _, served in played.values()}
        oracle.append(min(replayed.score(model, number) for model in models.values()))
    return [
        {
            "name": name,
            "seed": seed,
            "metric": replayed.spec.metric,
            "stale": mean(stale),
            "best": best,
            "oracle": mean(oracle),
            "policies": {policy: _summary(steps) for policy, (steps, _) in played.items()},
        }
    ]


def _summary(steps: Sequence[Step]) -> dict[str, Any]:
    kept = [step.judged / step.kept - 1 for step in steps if step.judged and step.kept and not step.promoted]
    promoted = [step.judged / step.kept - 1 for step in steps if step.judged and step.kept and step.promoted]
    return {
        "mean": mean(step.served for step in steps),
        "trainings": sum(step.trained for step in steps),
        "promotions": sum(step.promoted for step in steps),
        "worst": max((step.served / step.predecessor - 1 for step in steps if step.predecessor), default=None),
        "kept": kept,
        "promoted": promoted,
        "windows": [[step.served, step.said] for step in steps],
    }


def attacked(name: str, seed: int) -> list[dict[str, Any]]:
    """The policies under each attack on that table: poisoned evidence in one window, and the clean replay beside it."""
    source = _source(name)
    clean = Replay(replace(source, windows=source.windows[: POISONED + 2]), seed)
    feature = _leaned_on(clean.first.model, clean.spec)
    policies = [policy for policy in POLICIES if policy.name in UNDER_ATTACK]
    usual = {policy.name: play(clean, policy)[0][-1] for policy in policies}
    runs = []
    for kind, spoiled in poison.KINDS.items():
        poisoned = Replay(clean.source, seed, partial(_spoiled, spoiled, clean.spec, feature), trained=clean.trained)
        poisoned.__dict__.update(first=clean.first, tables=clean.tables, scored=clean.scored, known=clean.known)
        found: dict[str, Any] = {}
        for policy in policies:
            steps = play(poisoned, policy)[0]
            last = steps[-1]
            found[policy.name] = {
                "said": steps[POISONED].said,
                "promoted": steps[POISONED].promoted,
                "harm": last.served / usual[policy.name].served - 1,
                "worse": last.served / last.predecessor - 1 if last.predecessor else 0.0,
            }
        runs.append({"name": name, "kind": kind, "seed": seed, "policies": found})
    return runs


def _spoiled(kind: Callable[[Window, Spec, str], Window], spec: Spec, feature: str, window: Window) -> Window:
    return kind(window, spec, feature)


def _leaned_on(model: Model, spec: Spec) -> str:
    """The numeric feature with the largest share of the model's gain."""
    gains: Mapping[str, Any] = model.booster.get_score(importance_type="total_gain")
    named = {spec.names[int(key[1:])] if key not in spec.names else key: gain for key, gain in gains.items()}
    return max((name for name in spec.names if spec.kinds[name] == "numeric"), key=lambda name: named.get(name, 0.0))


def recovered(stale: float, ours: float, best: float) -> float | None:
    """The share of what could be gained that was; None where there was nothing to gain."""
    return (stale - ours) / (stale - best) if stale - best > NOTHING * stale else None


def main() -> None:
    """What was asked for is measured, printed, and with --write and --json in files."""
    options = _options().parse_args()
    began = time.monotonic()
    names = [*(options.table or ()), *(options.world or ())] or [*TABLES, *WORLDS]
    seeds = SEEDS[: options.seeds]
    if options.quick:
        names, seeds = ["flights", "delays", "stops", "cards", "abrupt", "rolling", "harmless", "noise"], SEEDS[:1]
    jobs = [partial(_once, options.parts, measured, name, seed) for seed in seeds for name in names]
    jobs += [partial(_once, options.parts, attacked, name, seeds[0]) for name in names if name in ATTACKED]
    document: dict[str, Any] = {"machine": machine.described("xgboost-cpu", "numpy") + ".", "runs": [], "attacks": []}
    for found in _run(jobs, options.processes):
        document["attacks" if "kind" in found[0] else "runs"] += found
        document["seconds"] = round(time.monotonic() - began)
        if options.json:  # as far as it has come
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    report = "\n".join(_report(document, options.verbose))
    print(report)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(report + "\n", encoding="utf-8")


def _once(
    parts: Path | None, what: Callable[[str, int], list[dict[str, Any]]], name: str, seed: int
) -> list[dict[str, Any]]:
    """What was found, which is read from the folder of parts where an earlier run has left it there."""
    file = parts / f"{what.__name__}-{name}-{seed}.json" if parts else None
    if file and file.exists():
        known: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return known
    found = what(name, seed)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


ATTACKED = ("flights", "baseball", "loans", "delays", "abrupt")


def _run(jobs: Sequence[Callable[[], list[dict[str, Any]]]], processes: int) -> Iterator[list[dict[str, Any]]]:
    """What the jobs found, in their order."""
    with ProcessPoolExecutor(processes) as pool:
        for future in [pool.submit(job) for job in jobs]:
            found = future.result()
            print(f"{found[0]['name']} seed {found[0]['seed']}", file=sys.stderr, flush=True)
            yield found


def _source(name: str) -> Source:
    return TABLES[name].source() if name in TABLES else WORLDS[name].source()


def _report(document: Mapping[str, Any], verbose: bool) -> Iterable[str]:
    runs: Sequence[Mapping[str, Any]] = document["runs"]
    names = list(dict.fromkeys(run["name"] for run in runs))
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(run["seed"] for run in runs))
    yield f"# Policies of retraining\n\n{PREFACE}\n{document['machine']} {document['seconds']} s; seeds {seeds}.\n"
    yield "| table | role | task | | package | licence |\n| --- | --- | --- | --- | --- | --- |"
    for name in names:
        if name in TABLES:
            t = TABLES[name]
            yield f"| {name} | {t.role} | {t.task} | {t.about} | {t.package} | {t.licence} |"
        else:
            world = WORLDS[name]
            yield f"| {name} | {world.role} | {world.task} | {world.truth} | made here | {NONE} |"
    policies = list(runs[0]["policies"])
    for title, key in (("the best fixed strategy", "best"), ("the oracle", "oracle")):
        yield f"\n## Recovered, of {title}\n\nMedians over the seeds. {NONE}: nothing to recover.\n"
        yield f"| | {' | '.join(names)} | mean |"
        yield "| --- " * (len(names) + 2) + "|"
        for policy in policies[1:]:
            each = [_middle([_share(run, policy, key) for run in runs if run["name"] == name]) for name in names]
            known = [value for value in each if value is not None]
            average = f"{mean(known):.0%}" if known else NONE
            yield f"| {policy} | {' | '.join(_percent(value) for value in each)} | {average} |"
    yield "\n## What it cost, and what went wrong\n"
    yield (
        "Sums over all tables, worlds and seeds; the worst window is that after a promotion, compared with the "
        "champion that was replaced. Refused and better, promoted and worse: on the next window, seen by nobody.\n"
    )
    yield (
        "| | trainings | promotions | worst window | refused and better | promoted and worse |\n| --- "
        + "| --- " * 5
        + "|"
    )
    for policy in policies:
        yield _costs(policy, [run["policies"][policy] for run in runs])
    yield from _unchanged(runs, policies)
    if document["attacks"]:
        yield from _attacks(document["attacks"])
    if verbose:
        for run in runs:
            yield f"\n### {run['name']}, seed {run['seed']}: {run['metric']}\n"
            for policy in policies:
                yield f"{policy}: " + "; ".join(
                    f"{value:.4g} {said}" for value, said in run["policies"][policy]["windows"]
                )


def _share(run: Mapping[str, Any], policy: str, key: str) -> float | None:
    return recovered(run["stale"], run["policies"][policy]["mean"], run[key])


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f}"


def _costs(policy: str, found: Sequence[Mapping[str, Any]]) -> str:
    worst = max((one["worst"] for one in found if one["worst"] is not None), default=None)
    kept = [value for one in found for value in one["kept"]]
    promoted = [value for one in found for value in one["promoted"]]
    cells = [
        str(sum(one["trainings"] for one in found)),
        str(sum(one["promotions"] for one in found)),
        NONE if worst is None else f"{worst:+.0%}",
        f"{sum(value < 0 for value in kept)} of {len(kept)}" + (f", mean {mean(kept):+.1%}" if kept else ""),
        f"{sum(value > 0 for value in promoted)} of {len(promoted)}"
        + (f", mean {mean(promoted):+.1%}" if promoted else ""),
    ]
    return f"| {policy} | {' | '.join(cells)} |"


def _unchanged(runs: Sequence[Mapping[str, Any]], policies: Sequence[str]) -> Iterable[str]:
    still = [run for run in runs if run["name"] in {"diamonds", "harmless"}]
    if not still:
        return
    yield "\n## Where nothing changes\n\nDiamonds in random order, and the world whose drift does no harm.\n"
    yield (
        "| | error, of the stale model's | promotions | truly worse by more than 1 % | worst |\n| --- "
        + "| --- " * 4
        + "|"
    )
    for policy in policies[1:]:
        found = [run["policies"][policy] for run in still]
        gain = mean(run["policies"][policy]["mean"] / run["stale"] - 1 for run in still)
        promoted = [value for one in found for value in one["promoted"]]
        yield (
            f"| {policy} | {gain:+.1%} | {len(promoted)} | {sum(value > 0.01 for value in promoted)} | "
            f"{f'{max(promoted):+.1%}' if promoted else NONE} |"
        )


def _attacks(attacks: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield (
        "\n## Poisoned evidence\n\n"
        f"The evidence of window {POISONED + 1} is poisoned; what serves the next one is scored on its clean rows. "
        "Harm: against what the same policy would have served had nothing been poisoned. Worse: against the champion "
        "that the poisoned challenger replaced, 0 if none was.\n"
    )
    names = list(attacks[0]["policies"])
    yield f"| table | attack | {' | '.join(f'{name}: harm | worse' for name in names)} |"
    yield "| --- " * (2 + 2 * len(names)) + "|"
    for run in attacks:
        cells = [f"{one['harm']:+.1%} | {one['worse']:+.1%}" for one in run["policies"].values()]
        yield f"| {run['name']} | {run['kind']} | {' | '.join(cells)} |"
    sums = {name: sum(max(run["policies"][name]["harm"], 0.0) for run in attacks) for name in names}
    worst = {name: max(run["policies"][name]["worse"] for run in attacks) for name in names}
    yield ""
    for name in names:
        yield f"- {name}: harm in all {sums[name]:.0%}; at worst {worst[name]:+.1%} than what was replaced."


# Rows ----------------------------------------------------------------------------------------------------------------


def _table(spec: Spec, rows: Sequence[Row]) -> Table:
    columns: dict[str, Column] = {}
    for index, feature in enumerate(spec.features):
        texts = [row.values[index] for row in rows]
        columns[feature.name] = category(texts) if feature.type == "categorical" else parse_numbers(texts)[0]
    labels = [row.label for row in rows]
    columns[spec.label] = np.array([float(text) for text in labels]) if spec.task == "regression" else category(labels)
    return Table(columns)


def _digest(rows: Table) -> str:
    found = sha256()
    for name, column in rows.columns.items():
        found.update(name.encode())
        if isinstance(column, Category):
            found.update(repr(column.levels).encode())
            found.update(np.ascontiguousarray(column.codes).tobytes())
        else:
            found.update(np.ascontiguousarray(column).tobytes())
    return found.hexdigest()


def _baseline(spec: Spec, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Statistics and constraints of the new rows that the champion was trained on."""
    rows = dataset.parts["train"]
    rows = concat([rows.take(np.flatnonzero(rows.numbers(AGE) == 0)), dataset.parts["validation"]])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.csv"
        write_table(file, rows)
        return from_csv(file, {feature.name: feature.type for feature in spec.features}, spec.monitor)


def _captures(window: Window) -> tuple[str, Iterable[str]]:
    """The window's rows as the endpoint captures them."""
    return window.name, (
        json.dumps(
            {
                "captureData": {"endpointInput": {"data": _csv(row.values), "encoding": "CSV"}},
                "eventMetadata": {"eventId": f"{number:06d}", "inferenceTime": f"{row.time:%Y-%m-%dT%H:%M:%SZ}"},
            }
        )
        for number, row in enumerate(window.rows)
    )


def _csv(values: Sequence[str]) -> str:
    return ",".join(f'"{value}"' if "," in value or '"' in value else value for value in values)


PREFACE = """Written by `make bench-policy`. A fixed strategy trains on every window in one way, without triage and
gate. Tables and worlds that *chose* are those that defaults were set on; the others *verified* them, and nothing was
set after they had been seen. Windows are spread over a month, labels come a day late.
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", nargs="*", choices=TABLES, help="tables (all)")
    parser.add_argument("--world", nargs="*", choices=WORLDS, help="worlds (all)")
    parser.add_argument("--seeds", type=int, choices=range(1, len(SEEDS) + 1), default=3, help="how many seeds (3)")
    parser.add_argument("--quick", action="store_true", help="half of the tables and worlds, one seed")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="(as many as cores)")
    parser.add_argument("--parts", type=Path, metavar="DIR", help="where each part is left, and is not run again")
    parser.add_argument("--verbose", action="store_true", help="every window of every run")
    parser.add_argument("--write", type=Path, help="the document to write")
    parser.add_argument("--json", type=Path, help="where every number goes")
    return parser


if __name__ == "__main__":
    main()
