"""Policies of retraining, compared on sixteen tables and worlds: when to train, on what, and what the gate lets pass.

    make bench-policy                                      writes docs/benchmarks/policy.md and .bench/policy.json
    make bench-policy BENCH=--resume                       goes on where an earlier run was ended
    PYTHONPATH=src:. python -m benchmarks.policy --table delays --world rolling --seeds 1 --verbose

What is replayed, and how, is in benchmarks/replay.py. Recovered is (stale - ours) / (stale - best), of the metric's
mean over all windows: `stale` was never retrained, `best` the best fixed strategy in hindsight, each of which trains on
every window in one way and asks no gate. The oracle serves every window by the best, in hindsight, of all models that
any policy had served by then.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, poison
from benchmarks.policy_report import NONE, OURS, report, share
from benchmarks.replay import Champion, Policy, Replay, Step, alarms, mean_of, play
from benchmarks.tables import TABLES
from benchmarks.worlds import SPOILED, WORLDS
from demo.windows import Source, Window
from retrain.gate.rules import shortfall
from retrain.model.serving import Model
from retrain.model.spec import CANDIDATES, Spec
from retrain.model.table import Table
from retrain.quality.metrics import score
from retrain.training.candidates import encode, truth

SEEDS = (7, 8, 9)
SPOILED_SEEDS = 2  # of these, for what is poisoned
POISONED = 4  # the window whose evidence is poisoned
PARTS = Path(".bench/policy")

Numbers = NDArray[np.float64]


# Triggers ------------------------------------------------------------------------------------------------------------


class Adwin:
    """ADWIN of river, fed with the champion's loss on every labelled row, forgotten with the champion."""

    def __init__(self) -> None:
        from river import drift

        self.detector: Any = drift.ADWIN()

    def __call__(self, spec: Spec, _: Window, rows: Table, champion: Champion) -> str | None:
        """Its name, if it has detected a drift among the rows."""
        found = 0
        for loss in _losses(spec, champion.model, rows).tolist():
            self.detector.update(loss)
            found += bool(self.detector.drift_detected)
        return "ADWIN" if found else None


@dataclass
class Cusum:
    """Page's CUSUM on the champion's loss, blocks of 50 rows against its twin's holdout (k = 0.5, h = 5)."""

    sum: float = 0.0

    def __call__(self, spec: Spec, _: Window, rows: Table, champion: Champion) -> str | None:
        """CUSUM, if the sum has passed its limit."""
        own = _losses(spec, champion.twin, champion.dataset.parts["holdout"])
        spread = float(own.std()) / math.sqrt(50) or 1.0
        losses = _losses(spec, champion.model, rows)
        highest = 0.0
        for block in np.array_split(losses, max(len(losses) // 50, 1)):
            self.sum = max(0.0, self.sum + (float(block.mean()) - float(own.mean())) / spread - 0.5)
            highest = max(highest, self.sum)
        return "CUSUM" if highest > 5.0 else None


@dataclass
class Pays:
    """As `[economics]` rents until it buys: what errors cost beyond the holdout's is added up until a training is paid.

    A training costs what a tenth of the error on the holdout costs in a window.
    """

    lost: float = 0.0

    def __call__(self, spec: Spec, _: Window, rows: Table, champion: Champion) -> str | None:
        """What was lost, in trainings, if that is one."""
        output = champion.model.predict(encode(champion.model.encoder, rows))
        now = score(spec.metric, truth(spec, champion.model.encoder, rows), output)
        own = shortfall(spec.direction, champion.own.model)
        self.lost += max(shortfall(spec.direction, now) / own - 1, 0.0) / 0.1
        return f"lost {self.lost:.1f}" if self.lost >= 1 else None


def _losses(spec: Spec, model: Model, rows: Table) -> Numbers:
    """The model's loss, row by row: the squared error, or minus the logarithm of the true class's probability."""
    labels, output = truth(spec, model.encoder, rows), model.predict(encode(model.encoder, rows))
    if spec.task == "regression":
        errors: Numbers = output - labels
        return errors * errors
    chances = np.column_stack([1 - output, output]) if output.ndim == 1 else output
    losses: Numbers = -np.log(np.clip(chances[np.arange(len(labels)), labels.astype(int)], 1e-6, None))
    return losses


# Policies ------------------------------------------------------------------------------------------------------------

NEVER = Policy("never", "never", "none")
FIXED = tuple(Policy(f"always {way}", "every", "none", (way,), store=False) for way in CANDIDATES if way != "recent")
EVERY = (
    Policy("insurance", "every", "insurance"),
    Policy("no gate", "every", "deploy"),
    Policy("proof", "every", "proof"),
)
BEFORE = Policy("before", lambda: alarms, "proof", ("continued", "scratch"), store=False)  # as of 27 November 2026
TRIGGERED = (
    BEFORE,
    Policy("insurance on alarms", lambda: alarms, "insurance"),
    Policy("insurance that pays", Pays, "insurance"),
    Policy("proof on ADWIN", Adwin, "proof"),
    Policy("proof on CUSUM", Cusum, "proof"),
)
UNDER_ATTACK = (FIXED[2], *EVERY)


def measured(name: str, seed: int) -> list[dict[str, Any]]:
    """The policies that train on every window, and the fixed strategies, on that table or world with that seed."""
    return [_compared(name, seed, (*FIXED, *EVERY))]


def triggered(name: str, seed: int) -> list[dict[str, Any]]:
    """The policies that something else triggers."""
    return [_compared(name, seed, TRIGGERED)]


def _compared(name: str, seed: int, policies: Sequence[Policy]) -> dict[str, Any]:
    """What JSON holds of those policies, and of `never`; `oracle` is the least error of each window."""
    replayed = Replay(_source(name), seed)
    played = {policy.name: play(replayed, policy) for policy in (NEVER, *policies)}
    oracle, models = [], dict[int, Model]()
    for number in range(len(replayed.tables)):
        models |= {id(served[number]): served[number] for _, served in played.values()}
        oracle.append(min(replayed.score(model, number) for model in models.values()))
    told = {policy: _summary(steps) for policy, (steps, _) in played.items()}
    about = {"name": name, "seed": seed, "metric": replayed.spec.metric}
    return {**about, "oracle": oracle, "policies": told}


def merged(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One run for each table and seed, of what its parts have found."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for run in runs:
        whole = found.setdefault((run["name"], run["seed"]), {**run, "policies": {}})
        whole["policies"] |= run["policies"]
        whole["oracle"] = list(map(min, whole["oracle"], run["oracle"]))
    return list(found.values())


def _summary(steps: Sequence[Step]) -> dict[str, Any]:
    judged = [(step.judged / step.kept - 1, step.promoted) for step in steps if step.judged and step.kept]
    return {
        "mean": mean_of(steps),
        "trainings": sum(step.trained for step in steps),
        "promotions": sum(step.promoted for step in steps),
        "worst": max((step.served / step.predecessor - 1 for step in steps if step.predecessor), default=None),
        "kept": [change for change, promoted in judged if not promoted],
        "promoted": [change for change, promoted in judged if promoted],
        "windows": [[step.served, step.said, step.kept, step.judged] for step in steps],
    }


def attacked(name: str, seed: int) -> list[dict[str, Any]]:
    """The policies under each attack on that world: poisoned evidence in one window, and the clean replay beside it."""
    source = _source(name)
    clean = Replay(replace(source, windows=source.windows[: POISONED + 2]), seed)
    feature = _leaned_on(clean.first.model, clean.spec)
    usual = {policy.name: play(clean, policy)[0][-1] for policy in UNDER_ATTACK}
    runs = []
    for kind, spoil in poison.KINDS.items():
        poisoned = clean.attacked(kind, POISONED, lambda window, spoil=spoil: spoil(window, clean.spec, feature))  # type: ignore[misc]
        found: dict[str, Any] = {}
        for policy in UNDER_ATTACK:
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


def _leaned_on(model: Model, spec: Spec) -> str:
    """The numeric feature with the largest share of the model's gain."""
    gains: Mapping[str, Any] = model.booster.get_score(importance_type="total_gain")
    named = {spec.names[int(key[1:])] if key not in spec.names else key: gain for key, gain in gains.items()}
    return max((name for name in spec.names if spec.kinds[name] == "numeric"), key=lambda name: named.get(name, 0.0))


def _source(name: str) -> Source:
    return TABLES[name].source() if name in TABLES else {**WORLDS, **SPOILED}[name].source()


# Running -------------------------------------------------------------------------------------------------------------


def main() -> None:
    """What was asked for is measured, told as it comes, and at the end, with --write and --json in files."""
    options = _options().parse_args()
    asked = [*(options.table or ()), *(options.world or ()), *(options.spoiled or ())]
    seeds = SEEDS[: options.seeds]
    names = [name for name in asked or (*WORLDS, *TABLES) if name not in SPOILED]
    jobs: list[tuple[Any, str, int]] = [(measured, name, seed) for seed in seeds for name in names]
    jobs += [(triggered, name, seed) for seed in seeds[: options.triggers] for name in names]
    jobs += [(attacked, name, seed) for seed in seeds[:SPOILED_SEEDS] for name in asked or SPOILED if name in SPOILED]
    document: dict[str, Any] = {"machine": machine.described("xgboost-cpu", "numpy"), "runs": [], "attacks": []}
    parts = []
    for part in _run(jobs, options):
        parts.append(part)
        found = [{**run, "commit": part["commit"]} for run in part["found"]]
        document["attacks" if "kind" in found[0] else "runs"] += found
        print(_told(part), file=sys.stderr, flush=True)
    document["runs"] = merged(document["runs"])
    document |= {
        "commits": sorted({part["commit"] for part in parts}),
        "seconds": sum(part["seconds"] for part in parts),
    }
    text = "\n".join(report(document, options.verbose))
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.write:
        options.write.write_text(text + "\n", encoding="utf-8")


def _run(jobs: Sequence[tuple[Any, str, int]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The jobs' parts, as they come."""
    once = partial(_once, options.parts, options.resume, _commit())
    if options.processes == 1:
        yield from map(once, jobs)
        return
    with ProcessPoolExecutor(options.processes) as pool:
        yield from (future.result() for future in as_completed([pool.submit(once, job) for job in jobs]))


def _once(parts: Path, resume: bool, commit: str, job: tuple[Any, str, int]) -> dict[str, Any]:
    """What the job found, which stays in the folder of parts, and is read from there where an earlier run left it."""
    what, name, seed = job
    file = parts / f"{what.__name__}-{name.replace(' ', '-')}-{seed}.json"
    if resume and file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    began = time.process_time()
    found = what(name, seed)
    part = {"commit": commit, "seconds": round(time.process_time() - began), "found": found}
    parts.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(part) + "\n", encoding="utf-8")
    return part


def _commit() -> str:
    """What the commit says that runs, and whether files differ from it. Its hash changes when it is rebased."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], capture_output=True, text=True, check=False).stdout.strip()

    changed = ", and changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("log", "-1", "--format=%s") or "no repository") + changed


def _told(part: Mapping[str, Any]) -> str:
    first = part["found"][0]
    line = f"{first['name']}, seed {first['seed']}, {part['seconds']} s of CPU"
    if "kind" in first:
        return f"{line}: at worst {max(run['policies'][OURS]['worse'] for run in part['found']):+.1%}"
    if OURS not in first["policies"]:
        return line
    of = share(first, OURS, "best"), share(first, OURS, "oracle"), first["policies"][OURS]["worst"]
    return f"{line}: " + ", ".join(NONE if value is None else f"{value:.0%}" for value in of)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", nargs="*", choices=TABLES, help="tables (all)")
    parser.add_argument("--world", nargs="*", choices=WORLDS, help="worlds (all)")
    parser.add_argument("--spoiled", nargs="*", choices=SPOILED, help="worlds whose evidence is poisoned (all)")
    parser.add_argument("--seeds", type=int, choices=range(1, len(SEEDS) + 1), default=3, help="how many seeds (3)")
    parser.add_argument("--triggers", type=int, choices=range(len(SEEDS) + 1), default=1, help="their seeds (1)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="(as many as cores)")
    parser.add_argument("--parts", type=Path, metavar="DIR", default=PARTS, help=f"where parts are left ({PARTS})")
    parser.add_argument("--resume", action="store_true", help="take the parts that are there as they are")
    parser.add_argument("--verbose", action="store_true", help="every window of every run")
    parser.add_argument("--write", type=Path, help="the document to write")
    parser.add_argument("--json", type=Path, help="where every number goes")
    return parser


if __name__ == "__main__":
    main()
