"""Judgement on worlds that have time in them: false alarms a year, and how long a change goes unseen.

    make bench-judgement                              writes docs/benchmarks/judgement.md and .bench/judgement.json
    PYTHONPATH=src:. python -m benchmarks.judgement --years 30

Distances are computed from counts by the hour with the functions of `retrain.drift`, at every hour for windows of an
hour and a day and every day for longer ones, and held against threshold and chance as the drift monitor does. A false
alarm is a run of looks that are DRIFTED. Formula and constants were chosen on seeds 14 to 64 of these worlds and on the
flights' first order; what is reported has others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo import flights
from demo.windows import Row
from retrain.core.clock import render
from retrain.drift import chance, distances
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.chance import Blocks
from retrain.drift.constraints import read_constraints
from retrain.drift.learning import Reference, blocks_of, reference_of_numbers, with_chance
from retrain.drift.profile import sketch_of
from retrain.drift.verdict import Verdict
from retrain.model.monitor_options import MonitorOptions

Numbers = NDArray[np.float64]
LENGTHS = {"hour": 1, "day": 24, "week": 168, "4 weeks": 672}
FALSE_ALARMS, THRESHOLD = 0.1, 0.3
SEED = 5000
BASELINES = (28, 60)  # days
A_DAY = 1000
FLIGHT_WINDOWS = (1, 2, 7, 14, 30)  # days
SHIFTS = {"0.5 sd": 0.5, "1 sd": 1.0, "2 sd": 2.0}
TREND_DAYS = 30


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--years", type=int, default=6, help="simulated years for each baseline")
    options.add_argument("--orders", type=int, default=2, help="random orders of the flights' days")
    options.add_argument("--write", type=Path)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    found: dict[str, Any] = {
        "unchanged": {days: unchanged(days, chosen.years) for days in BASELINES},
        "delays": delays(60, range(SEED, SEED + chosen.years)),
        "sparse": sparse(SEED),
        "flights": [shuffled_flights(seed) for seed in range(2, 2 + chosen.orders)],
    }
    text = report(found)
    print(text)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


# Worlds ---------------------------------------------------------------------------------------------------------------


def hours_of_rows(generator: np.random.Generator, days: int, a_day: int) -> NDArray[np.intp]:
    """The hour of each row: busy afternoons, quiet nights and weekends."""
    hour = np.arange(days * 24)
    daily, weekend = 1 + 0.8 * np.sin((hour % 24 - 8) / 12 * np.pi), (hour // 24) % 7 >= 5
    return np.repeat(hour, generator.poisson(a_day / 24 * daily * np.where(weekend, 0.6, 1.16)))


def features(generator: np.random.Generator, hour: NDArray[np.intp], days: int) -> Iterator[tuple[str, Numbers]]:
    """25 features of a world that does not change: kind and values, NaN where there is none."""
    normal, rows = generator.standard_normal, len(hour)
    for _ in range(8):
        yield "independent", normal(rows)
    for _ in range(4):
        yield "daily cycle", np.sin(hour % 24 / 12 * np.pi) + normal(rows)
    for _ in range(3):
        yield "weekly cycle", np.array([0, 0.3, -0.2, 0.1, 0.4, 1.0, 0.8])[hour // 24 % 7] + normal(rows)
    for half, share in ((72, 0.1), (72, 0.2), (72, 0.4), (24, 0.2), (12, 0.3)):
        yield "AR(1)", share * _remembered(generator, days * 24, half)[hour] + normal(rows)
    for _ in range(2):
        common = generator.random(rows) < 0.15
        yield (
            "the day's category",
            np.where(common, generator.integers(0, 6, days)[hour // 24], generator.integers(0, 6, rows)).astype(float),
        )
    yield "the day's rate, normal", 0.2 * normal(days)[hour // 24] + normal(rows)
    yield "weekday", (hour // 24 % 7).astype(float)
    yield "sparse", np.where(generator.random(rows) < 0.01, normal(rows), np.nan)


def _remembered(generator: np.random.Generator, hours: int, half: float) -> Numbers:
    kept, noise = 0.5 ** (1 / half), generator.standard_normal(hours)
    found = np.empty(hours)
    found[0] = noise[0]
    for place in range(1, hours):
        found[place] = kept * found[place - 1] + np.sqrt(1 - kept**2) * noise[place]
    return found


def counted(
    values: Numbers, hour: NDArray[np.intp], hours: int, baseline_hours: int
) -> tuple[Reference, NDArray[np.int32]]:
    """Where the baseline's distribution is counted, and the counts of each hour: (hours, bins)."""
    inside = hour < baseline_hours
    reference = reference_of_numbers(distances.steps_of(sketch_of(np.sort(values[inside & ~np.isnan(values)]))))
    assert reference.points is not None
    low, high = (np.searchsorted(reference.points, values, side) for side in ("left", "right"))
    place = low + high
    there = ~np.isnan(values)
    flat = np.bincount(hour[there] * reference.bins + place[there], minlength=hours * reference.bins)
    return reference, flat.reshape(hours, reference.bins).astype(np.int32)


def looks(
    counts: NDArray[np.int32], baseline_hours: int, blocks: Sequence[Blocks] | None, hours: int, many: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The hour at which each window after the baseline ends, and whether the feature is DRIFTED in it."""
    before = counts[:baseline_hours].sum(axis=0, dtype=np.int64)
    upto = np.vstack(
        [np.zeros((1, counts.shape[1]), np.int64), np.cumsum(counts[baseline_hours:], axis=0, dtype=np.int64)]
    )
    ends = np.arange(hours, len(upto), 1 if hours <= 24 else 24)
    window = (upto[ends] - upto[ends - hours]).astype(np.float64)
    rows, m = window.sum(axis=1), int(before.sum())
    alpha = chance.level(FALSE_ALARMS, hours, many, len(LENGTHS))
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.cumsum(window / rows[:, None] - before / m, axis=1)).max(axis=1)
    bounds = {n: chance.bound("linf", blocks, hours, (n, m, 10), alpha).total for n in np.unique(rows.astype(int)) if n}
    limit = np.array([max(THRESHOLD, bounds.get(int(n), np.inf)) for n in rows])
    return ends, np.nan_to_num(gap) > limit + 1e-12


# Sections -------------------------------------------------------------------------------------------------------------


def unchanged(days: int, years: int) -> dict[str, Any]:
    """False alarms by kind of feature and length of window, in that many years after a baseline of so many days."""
    found: dict[str, dict[str, int]] = {}
    for seed in range(SEED, SEED + years):
        generator = np.random.default_rng(seed)
        hour = hours_of_rows(generator, days + 365, A_DAY)
        for kind, values in features(generator, hour, days + 365):
            reference, counts = counted(values, hour, (days + 365) * 24, days * 24)
            blocks = blocks_of(counts[: days * 24], 1, reference)
            for name, hours in LENGTHS.items():
                _, drifted = looks(counts, days * 24, blocks, hours, 25)
                alarms = int((np.diff(np.r_[0, drifted.astype(int)]) == 1).sum())
                found.setdefault(kind, dict.fromkeys(LENGTHS, 0))[name] += alarms
    return {"years": years, "alarms": found}


def delays(days: int, seeds: Sequence[int] | range) -> dict[str, list[float | None]]:
    """Days until a change of an independent feature is seen, by the length that sees it first; None: not in 60."""
    changes: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
        name: partial(_shifted, by) for name, by in SHIFTS.items()
    }
    changes[f"a trend to 1 sd in {TREND_DAYS} days"] = lambda values, age: values + np.clip(age / 24 / TREND_DAYS, 0, 1)
    changes["constant"] = lambda values, _: np.zeros(len(values))
    changes["another unit (x 10 + 5)"] = lambda values, _: values * 10 + 5
    found: dict[str, list[float | None]] = {}
    for seed in seeds:
        generator = np.random.default_rng(seed)
        hour = hours_of_rows(generator, days + 88, A_DAY)
        values, begins = generator.standard_normal(len(hour)), (days + 28) * 24
        for name, change in changes.items():
            after = hour >= begins
            moved = values.copy()
            moved[after] = change(values[after], (hour[after] - begins).astype(float))
            reference, counts = counted(moved, hour, (days + 88) * 24, days * 24)
            blocks = blocks_of(counts[: days * 24], 1, reference)
            seen = []
            for hours in LENGTHS.values():
                ends, drifted = looks(counts, days * 24, blocks, hours, 25)
                seen += (ends[drifted & (ends > 28 * 24)] - 28 * 24).tolist()[:1]
            found.setdefault(name, []).append(min(seen) / 24 if seen else None)
    return found


def _shifted(by: float, values: Numbers, _: Numbers) -> Numbers:
    return values + by


def sparse(seed: int) -> dict[str, int]:
    """DRIFTED windows among 28 calm days of 100 features that one row in a hundred has, with and without times."""
    generator, days = np.random.default_rng(seed), 56
    hour = hours_of_rows(generator, days, A_DAY)
    drifted = {"with times": np.zeros(28, bool), "without": np.zeros(28, bool)}
    for _ in range(100):
        values = np.where(generator.random(len(hour)) < 0.01, generator.standard_normal(len(hour)), np.nan)
        reference, counts = counted(values, hour, days * 24, 28 * 24)
        for name, blocks in (("with times", blocks_of(counts[: 28 * 24], 1, reference)), ("without", None)):
            ends, found = looks(counts, 28 * 24, blocks, 24, 100)
            drifted[name] |= found[ends % 24 == 0]
    return {name: int(found.sum()) for name, found in drifted.items()}


def shuffled_flights(seed: int) -> dict[str, Any]:
    """DRIFTED among all windows of the flights with their days in random order, baseline of 180 days."""
    source = flights.source()
    days: dict[Any, list[Row]] = {}
    for row in [*source.initial, *(row for window in source.windows for row in window.rows)]:
        days.setdefault(row.time.date(), []).append(row)
    order = sorted(days)
    order = [order[place] for place in np.random.default_rng(seed).permutation(len(order))]
    start = datetime(2013, 1, 1, tzinfo=UTC)
    moved = [
        [replace(row, time=row.time + (start.date() + timedelta(days=place) - day)) for row in days[day]]
        for place, day in enumerate(order)
    ]
    rows = [row for day in moved[:180] for row in day]
    plain, constraints = baseline_of([row.values for row in rows], flights.FEATURES, MonitorOptions(min_rows=100))
    timed = with_chance(plain, [row.values for row in rows], np.array([row.time.timestamp() for row in rows]))
    found: dict[str, Any] = {}
    for name, statistics in (("with times", read_statistics(timed)), ("without", read_statistics(plain))):
        for length in FLIGHT_WINDOWS:
            verdicts = []
            for first in range(180, len(moved) - length + 1, length):
                lines = [_line(row) for day in moved[first : first + length] for row in day]
                window = start + timedelta(days=first), start + timedelta(days=first + length)
                demands = read_constraints(constraints)
                verdicts.append(
                    analyse([("flights", lines)], statistics, demands, window, alarm_threshold=THRESHOLD).verdict
                )
            found[f"{name}, {length}"] = [verdicts.count(Verdict.DRIFTED), len(verdicts)]
    return found


def _line(row: Row) -> bytes:
    data = {"endpointInput": {"data": ",".join(row.values), "encoding": "CSV"}}
    return json.dumps(
        {"captureData": data, "eventMetadata": {"eventId": "f", "inferenceTime": render(row.time)}}
    ).encode()


def report(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Judgement on worlds that have time in them",
        "",
        "Written by `make bench-judgement` (`benchmarks/judgement.py`, which says what was chosen on which seeds).",
        f"{A_DAY:,} rows a day, 25 features, threshold {THRESHOLD}, {FALSE_ALARMS} false alarms a year asked for.",
        "",
        "## An unchanged year: false alarms of the drift monitor",
        "",
    ]
    for days, part in found["unchanged"].items():
        total = sum(sum(one.values()) for one in part["alarms"].values())
        lines += [
            f"Baseline of {days} days: {total} in {part['years']} years.",
            "",
            f"| features | {' | '.join(LENGTHS)} |",
        ]
        lines += ["| --- " * (len(LENGTHS) + 1) + "|"]
        lines += [f"| {kind} | {' | '.join(map(str, one.values()))} |" for kind, one in part["alarms"].items()] + [""]
    lines += [
        "## Delays",
        "",
        "Of an independent feature, baseline of 60 days, by the first length of window that sees it.",
        "",
    ]
    lines += ["| change | days, median | most | not seen in 60 days |", "| --- | --- | --- | --- |"]
    for name, some in found["delays"].items():
        seen = sorted(one for one in some if one is not None)
        told = f"{seen[len(seen) // 2]:.2f} | {seen[-1]:.2f}" if seen else "never | never"
        lines.append(f"| {name} | {told} | {len(some) - len(seen)} of {len(some)} |")
    calm = found["sparse"]
    lines += ["", "## 100 features that one row in a hundred has, 28 calm days", ""]
    lines += [f"DRIFTED: {calm['with times']} with times, {calm['without']} without.", ""]
    lines += ["## The flights with their days in random order: DRIFTED of all windows", ""]
    lines += [f"| baseline | {' | '.join(f'{length} d' for length in FLIGHT_WINDOWS)} |", "| --- " * 6 + "|"]
    for number, one in enumerate(found["flights"], 1):
        for name in ("with times", "without"):
            cells = (one[f"{name}, {length}"] for length in FLIGHT_WINDOWS)
            lines.append(
                f"| order {number}, {name} | {' | '.join(f'{drifted} of {every}' for drifted, every in cells)} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
