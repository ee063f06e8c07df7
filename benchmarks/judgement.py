"""Judgement on worlds that have time in them: false alarms a year, and how long a change goes unseen.

    make bench-judgement                              writes docs/benchmarks/judgement.md and .bench/judgement.json
    PYTHONPATH=src:. python -m benchmarks.judgement --years 30

Worlds are drawn as counts by the hour. Distances are computed of them with the functions of `retrain.drift`, at every
hour for looks of an hour and a day, at midnight for longer ones and for what lasts, and held against threshold and
chance as the drift monitor does. A false alarm is a run of looks that are DRIFTED. What breaks is judged on rows, at
every hour, by the monitor's own functions. The formula of chance was chosen on seeds 14 to 64 of worlds like these and
on the flights' first order, what lasts (weeks, half of the threshold, four weeks of evidence) on seeds 900 to 923, what
breaks on 701 and 702; what is reported has others.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo import flights
from demo.windows import Row
from retrain.core.clock import render
from retrain.drift import chance, lasting
from retrain.drift.analysis import analyse
from retrain.drift.baseline import Statistics, baseline_of, read_statistics
from retrain.drift.breaks import breaks
from retrain.drift.chance import Blocks
from retrain.drift.constraints import Constraints, read_constraints
from retrain.drift.learning import Reference, blocks_of, with_chance
from retrain.drift.profile import summarise
from retrain.drift.rates import STRETCHES
from retrain.drift.verdict import Verdict
from retrain.model.monitor_options import MonitorOptions

Numbers = NDArray[np.float64]
LENGTHS = {"hour": 1, "day": 24, "week": 168, "4 weeks": 672}
WEEK = 168
FALSE_ALARMS, THRESHOLD = 0.1, 0.3
MIN_ROWS, MANY = 500, 25  # the least rows of a look; features
SEED = 6000
YEARS = 10  # that are measured at a time
BASELINES = ((60, 100), (60, 1_000), (28, 1_000), (60, 10_000))  # days, and rows a day
A_DAY = (100, 1_000, 10_000)
NORMAL, BINS = NormalDist(), 100
EDGES = np.array([NORMAL.inv_cdf(share / BINS) for share in range(1, BINS)])
GRID = np.linspace(-8, 8, 16_001)
GRID_CDF = np.array([NORMAL.cdf(float(value)) for value in GRID])
FLIGHT_WINDOWS = (1, 2, 7, 14, 30)  # days
SHIFTS = {"0.5 sd": 0.5, "1 sd": 1.0, "2 sd": 2.0}
TREND_DAYS = 30
SECTIONS = ("unchanged", "delays", "breaks", "unbroken", "sparse", "flights")
ONSETS = 20
BROKEN_AFTER = 60  # days of the baseline before a break
UNBROKEN = {100: 120, 1_000: 30}  # days without one, by rows a day


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--years", type=int, default=30, help="simulated years for each baseline and traffic, in tens")
    options.add_argument("--delays", type=int, default=20, help="worlds in which a change is looked for")
    options.add_argument("--orders", type=int, default=2, help="random orders of the flights' days")
    options.add_argument("--unbroken", type=int, default=6, help="worlds in which nothing breaks, at each traffic")
    options.add_argument("--seed", type=int, default=SEED, help="the first seed")
    options.add_argument("--write", type=Path)
    options.add_argument("--json", type=Path)
    options.add_argument(
        "--only", nargs="+", metavar="SECTION", help="unchanged, delays, breaks, unbroken, sparse, flights"
    )
    options.add_argument("--resume", action="store_true", help="go on with what --json has")
    chosen = options.parse_args()
    found = measured(chosen)
    text = report(found)
    print(text)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """Every piece by name; with --resume, those that --json has are not measured again."""
    blocks = range(chosen.seed, chosen.seed + chosen.years, YEARS)
    seeds = range(chosen.seed, chosen.seed + chosen.delays)
    pieces: dict[str, Callable[[], Any]] = {
        **{
            f"unchanged {days} {a_day} {first}": partial(unchanged, days, range(first, first + YEARS), a_day)
            for days, a_day in BASELINES
            for first in blocks
        },
        **{f"delays {a_day}": partial(delays, 60, seeds, a_day) for a_day in A_DAY},
        **{f"breaks {a_day}": partial(what_breaks, chosen.seed, 60, a_day) for a_day in A_DAY[:2]},
        **{
            f"unbroken {a_day} {seed}": partial(unbroken, seed, a_day, days)
            for seed in range(chosen.seed, chosen.seed + chosen.unbroken)
            for a_day, days in UNBROKEN.items()
        },
        "sparse": partial(sparse, chosen.seed),
        **{f"flights {seed}": partial(shuffled_flights, seed) for seed in range(2, 2 + chosen.orders)},
    }
    found: dict[str, Any] = {}
    if chosen.resume and chosen.json and chosen.json.exists():
        found = json.loads(chosen.json.read_text(encoding="utf-8"))
    for name, measure in pieces.items():
        if name not in found and (not chosen.only or name.split()[0] in chosen.only):
            found[name] = measure()
        if chosen.json:
            chosen.json.parent.mkdir(parents=True, exist_ok=True)
            chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


# Worlds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feature:
    """A feature of a world that does not change: (hours, bins) shares of its values, and of the rows that have one.

    `levels` are the hours' means of a normal feature with a deviation of 1, None of others.
    """

    kind: str
    shares: Numbers
    present: float = 1.0
    levels: Numbers | None = None

    @property
    def reference(self) -> Reference:
        """What the learning needs to know of the bins: numbers, in a hundred bins or one for each value."""
        bins = self.shares.shape[1]
        return Reference(np.arange(bins - 1.0), np.arange(9, bins - 1, 10) if bins == BINS else np.arange(bins - 1), {})

    def counts(self, generator: np.random.Generator, rows: Numbers) -> NDArray[np.int32]:
        """Values by hour and bin where that many rows are expected: as if each row were drawn by itself."""
        return generator.poisson(rows[:, None] * self.shares * self.present).astype(np.int32)

    def moved(self, by: Numbers) -> Feature:
        """The feature with its values so many standard deviations larger, hour by hour."""
        assert self.levels is not None
        return replace(self, shares=_normal_shares(self.levels + by))


def expected_rows(hours: int, a_day: int) -> Numbers:
    """Rows of each hour: busy afternoons, quiet nights and weekends."""
    hour = np.arange(hours)
    daily, weekend = 1 + 0.8 * np.sin((hour % 24 - 8) / 12 * np.pi), (hour // 24) % 7 >= 5
    return np.asarray(a_day / 24 * daily * np.where(weekend, 0.6, 1.16))


def features(generator: np.random.Generator, hours: int) -> Iterator[Feature]:
    """25 features of a world that does not change."""
    hour, flat = np.arange(hours), np.zeros(hours)
    day, days = hour // 24, -(-hours // 24)
    for _ in range(8):
        yield _normal("independent", flat)
    for _ in range(4):
        yield _normal("daily cycle", np.sin(hour % 24 / 12 * np.pi))
    for _ in range(3):
        yield _normal("weekly cycle", np.array([0, 0.3, -0.2, 0.1, 0.4, 1.0, 0.8])[day % 7])
    for half, share in ((72, 0.1), (72, 0.2), (72, 0.4), (24, 0.2), (12, 0.3)):
        yield _normal("AR(1)", share * _remembered(generator, hours, half))
    for _ in range(2):
        todays = np.eye(6)[generator.integers(0, 6, days)[day]]
        yield Feature("the day's category", 0.15 * todays + 0.85 / 6)
    yield _normal("the day's rate, normal", 0.2 * generator.standard_normal(days)[day])
    yield Feature("weekday", np.eye(7)[day % 7])
    yield replace(_normal("sparse", flat), present=0.01)


def _normal(kind: str, levels: Numbers) -> Feature:
    return Feature(kind, _normal_shares(levels), levels=levels)


def _normal_shares(levels: Numbers) -> Numbers:
    if len(levels) > 1 and not np.ptp(levels):
        return np.broadcast_to(_normal_shares(levels[:1]), (len(levels), BINS))
    below = _cdf(EDGES[None, :] - levels[:, None])
    ends = np.zeros((len(levels), 1))
    return np.diff(np.hstack([ends, below, ends + 1]), axis=1)


def _cdf(values: Numbers) -> Numbers:
    """The normal distribution function, between a thousand of its points a standard deviation."""
    return np.asarray(np.interp(values, GRID, GRID_CDF))


def _remembered(generator: np.random.Generator, hours: int, half: float) -> Numbers:
    kept, noise = 0.5 ** (1 / half), generator.standard_normal(hours)
    found = np.empty(hours)
    found[0] = noise[0]
    for place in range(1, hours):
        found[place] = kept * found[place - 1] + np.sqrt(1 - kept**2) * noise[place]
    return found


# Looks ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looks:
    """Looks of one length at one feature: the hour at which each ends, and what the drift monitor would say of it."""

    ends: NDArray[np.intp]
    drifted: NDArray[np.bool_]
    stable: NDArray[np.bool_]
    few: NDArray[np.bool_]  # undecided, and more rows would decide


def looks(
    counts: NDArray[np.int32],
    baseline_hours: int,
    blocks: Sequence[Blocks] | None,
    name: str,
    least: float = MIN_ROWS,
) -> Looks:
    """The looks of that length after the baseline: hourly, those of a week and longer at midnight.

    Where there are fewer than `least` values, too few rows are looked at.
    """
    hours = LENGTHS[name]
    ends, distance, n, m = distances_of(counts, baseline_hours, hours)
    alpha = chance.level(FALSE_ALARMS, hours, MANY, chance.LENGTHS_JUDGED)
    n = np.where(n < least, 0, n)  # which are not judged
    bounds = {k: chance.bound("linf", blocks, hours, (k, m, 10), alpha) for k in set(n.tolist())}
    total, hides = (np.array([getattr(bounds[k], part) for k in n.tolist()]) for part in ("total", "hides"))
    few = np.array([bounds[k].few for k in n.tolist()])
    drifted = distance > np.maximum(THRESHOLD, total)
    stable = ~drifted & (distance <= THRESHOLD) & (hides <= THRESHOLD)
    return Looks(ends, drifted, stable, ~drifted & ~stable & few)


def distances_of(
    counts: NDArray[np.int32], baseline_hours: int, hours: int
) -> tuple[NDArray[np.intp], Numbers, NDArray[np.int64], int]:
    """Ends of the windows after the baseline, their largest differences, values (to two digits) and the baseline's."""
    before = counts[:baseline_hours].sum(axis=0, dtype=np.int64)
    upto = np.vstack(
        [np.zeros((1, counts.shape[1]), np.int64), np.cumsum(counts[baseline_hours:], axis=0, dtype=np.int64)]
    )
    ends = np.arange(hours, len(upto)) if hours <= 24 else np.arange(-(-hours // 24) * 24, len(upto), 24)
    window = (upto[ends] - upto[ends - hours]).astype(np.float64)
    rows, m = window.sum(axis=1), int(before.sum())
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.cumsum(window / rows[:, None] - before / m, axis=1)).max(axis=1)
    scale = 10.0 ** np.maximum(np.floor(np.log10(np.maximum(rows, 1))) - 1, 0)
    return ends, np.nan_to_num(gap), (np.floor(rows / scale) * scale).astype(np.int64), m


def evidence_of(
    counts: NDArray[np.int32], baseline_hours: int, blocks: Sequence[Blocks] | None
) -> tuple[NDArray[np.intp], Numbers, Numbers]:
    """Of each day's last weeks: the hour at which they end, the last one's distance, and the evidence of all."""
    ends, distance, n, m = distances_of(counts, baseline_hours, WEEK)
    values = [
        lasting.evidence("linf", float(d), blocks, WEEK, (int(k), m, 10)) for d, k in zip(distance, n, strict=True)
    ]
    sums = [sum(values[i] for i in _weeks_before(place)) for place in range(len(ends))]
    return ends, distance, np.array(sums)


def _weeks_before(place: int) -> list[int]:
    """The places of at most four weeks that end with that one, oldest first."""
    return [place - 7 * back for back in range(lasting.WEEKS - 1, -1, -1) if place >= 7 * back]


def lasting_alarms(evidence: Sequence[tuple[NDArray[np.intp], Numbers, Numbers]]) -> NDArray[np.bool_]:
    """Whether what lasts is called drift, day by day, of all features together: `retrain.drift.lengths.lasts`."""
    off = sum(np.where(distance >= lasting.LEAST * THRESHOLD, sums, 0.0) for _, distance, sums in evidence)
    return np.asarray(off >= lasting.limit(FALSE_ALARMS) * len(evidence))


def begins(drifted: NDArray[np.bool_]) -> int:
    """How many runs of looks are DRIFTED."""
    return int((np.diff(np.r_[0, drifted.astype(int)]) == 1).sum())


# Sections -------------------------------------------------------------------------------------------------------------


def unchanged(days: int, seeds: range, a_day: int) -> dict[str, Any]:
    """False alarms by kind of feature and length of look, and how many looks are undecided, in that many years after a
    baseline of so many days.
    """
    alarms: dict[str, dict[str, int]] = {}
    together = undecided = looked = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        rows = expected_rows((days + 365) * 24, a_day)
        asked = generator.poisson(rows)[days * 24 :]
        enough = {name: _sliding(asked, hours) >= MIN_ROWS for name, hours in LENGTHS.items()}
        drifted = np.zeros(365 * 24 + 1, bool)
        decided = {name: np.zeros(365 * 24 + 1, bool) for name in LENGTHS}
        doubt = {name: np.zeros(365 * 24 + 1, bool) for name in LENGTHS}
        evidence = []
        for feature in features(generator, len(rows)):
            counts = feature.counts(generator, rows)
            blocks = blocks_of(counts[: days * 24], 1, feature.reference)
            found = alarms.setdefault(feature.kind, dict.fromkeys(LENGTHS, 0))
            for name in LENGTHS:
                seen = looks(counts, days * 24, blocks, name, MIN_ROWS * feature.present)
                real = seen.drifted & enough[name][seen.ends]
                found[name] += begins(real)
                drifted |= _standing(seen.ends[real], hours=1 if name in {"hour", "day"} else 24)
                decided[name][seen.ends] |= seen.drifted | seen.stable
                doubt[name][seen.ends] |= seen.few & (feature.present > THRESHOLD)
            evidence.append(evidence_of(counts, days * 24, blocks))
        lasted = lasting_alarms(evidence)
        alarms.setdefault("all together, what lasts", dict.fromkeys(LENGTHS, 0))["week"] += begins(lasted)
        drifted |= _standing(evidence[0][0][lasted], hours=24)
        together += begins(drifted)
        known = np.zeros(365 * 24 + 1, bool)
        for name, hours in LENGTHS.items():
            if name != "hour":
                told = decided[name] & ~doubt[name] & enough[name]
                known |= told if hours <= 24 else _until_next_midnight(told)
        settled = np.arange(28 * 24, 365 * 24 + 1)
        undecided += int((~known[settled] & ~drifted[settled]).sum())
        looked += len(settled)
    return {
        "baseline": days,
        "a_day": a_day,
        "years": len(seeds),
        "alarms": alarms,
        "together": together,
        "undecided": undecided,
        "looks": looked,
    }


def _added_up(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The years of each baseline and traffic, which were measured some at a time."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for part in parts:
        whole = found.setdefault((part["a_day"], part["baseline"]), {"alarms": Counter()})
        for name in ("years", "together", "undecided", "looks"):
            whole[name] = whole.get(name, 0) + part[name]
        for kind, row in part["alarms"].items():
            whole["alarms"].update({f"{kind}, {name}": count for name, count in row.items()})
    return [{"a_day": a_day, "baseline": days, **whole} for (a_day, days), whole in found.items()]


def _sliding(rows: NDArray[np.int64], hours: int) -> NDArray[np.int64]:
    upto = np.r_[0, np.cumsum(rows)]
    return np.asarray(upto - upto[np.maximum(np.arange(len(upto)) - hours, 0)])


def _standing(ends: NDArray[np.intp], hours: int) -> NDArray[np.bool_]:
    """The hours of a year in which a verdict holds that was found at the ends: until the next look."""
    found = np.zeros(365 * 24 + 1, bool)
    for end in ends:
        found[end : end + hours] = True
    return found


def _until_next_midnight(told: NDArray[np.bool_]) -> NDArray[np.bool_]:
    midnights = np.arange(len(told)) // 24 * 24
    return told[midnights]


def delays(days: int, seeds: range, a_day: int) -> dict[str, Any]:
    """Days until a change of an independent feature among 25 is seen, and the look that sees it; None: not in 60."""
    after = 60
    hours, start = (days + 28 + after) * 24, (days + 28) * 24
    age = np.maximum(np.arange(hours) - start, 0) / 24
    changes = {name: np.where(np.arange(hours) >= start, by, 0.0) for name, by in SHIFTS.items()}
    changes[f"a trend to 1 sd in {TREND_DAYS} days"] = np.clip(age / TREND_DAYS, 0, 1)
    found: dict[str, list[tuple[float, str] | None]] = {}
    for seed in seeds:
        generator = np.random.default_rng(seed)
        rows = expected_rows(hours, a_day)
        still = Feature("independent", _normal_shares(np.zeros(hours)), levels=np.zeros(hours))
        for name, by in changes.items():
            feature = still.moved(by)
            counts = feature.counts(generator, rows)
            blocks = blocks_of(counts[: days * 24], 1, feature.reference)
            seen: list[tuple[float, str]] = []
            for length in LENGTHS:
                got = looks(counts, days * 24, blocks, length)
                enough = _sliding(counts[days * 24 :].sum(axis=1), LENGTHS[length])[got.ends] >= MIN_ROWS
                ends = got.ends[got.drifted & enough & (got.ends > 28 * 24)]
                seen += [(float(end - 28 * 24) / 24, length) for end in ends[:1]]
            others = (np.zeros(0, np.intp), np.zeros(1), np.zeros(1))
            lasted = lasting_alarms([evidence_of(counts, days * 24, blocks), *[others] * (MANY - 1)])
            ends = np.arange(168, 168 + 24 * len(lasted), 24)
            seen += [(float(end - 28 * 24) / 24, "lasting") for end in ends[lasted & (ends > 28 * 24)]][:1]
            found.setdefault(name, []).append(min(seen, default=None))
    return {"a_day": a_day, "days": found}


def sparse(seed: int) -> dict[str, int]:
    """DRIFTED windows among 28 calm days of 100 features that one row in a hundred has, with and without times."""
    generator, hours = np.random.default_rng(seed), 56 * 24
    rows = expected_rows(hours, 1000)
    drifted = {"with times": np.zeros(28, bool), "without": np.zeros(28, bool)}
    feature = replace(_normal("sparse", np.zeros(hours)), present=0.01)
    for _ in range(100):
        counts = feature.counts(generator, rows)
        for name, blocks in (("with times", blocks_of(counts[: 28 * 24], 1, feature.reference)), ("without", None)):
            seen = looks(counts, 28 * 24, blocks, "day", least=0)
            drifted[name] |= seen.drifted[seen.ends % 24 == 0]
    return {name: int(found.sum()) for name, found in drifted.items()}


# What breaks ----------------------------------------------------------------------------------------------------------

COLUMNS = ("x", "daily", "remembers", "gaps at night", "flag", "price", "code of the day", "sparse", "still at night")
BREAKS: dict[str, Callable[[float], str]] = {
    "a column constant": lambda _: "0.5",
    "another unit (x 10 + 5)": lambda value: f"{value * 10 + 5:.4f}",
}


def table(generator: np.random.Generator, days: int, a_day: int) -> tuple[NDArray[np.intp], list[list[str]]]:
    """The hour of each row, and rows of 25 columns: nine of which hours are unlike, and normal ones."""
    hour = np.repeat(np.arange(days * 24), generator.poisson(expected_rows(days * 24, a_day)))
    normal, many = generator.standard_normal, len(hour)
    night = (hour % 24 < 6) | (hour % 24 > 20)
    columns: list[Any] = [
        normal(many),
        np.sin(hour % 24 / 12 * np.pi) + normal(many),
        0.9 * _remembered(generator, days * 24, 72)[hour] + 0.1 * normal(many),
        np.where(night & (generator.random(many) < 0.6), np.nan, normal(many)),
        (generator.random(many) < 0.4).astype(float),
        np.exp(2 * normal(many)),
        generator.integers(0, 6, days)[hour // 24].astype(float),
        np.where(generator.random(many) < 0.02, normal(many), np.nan),
        np.where(night, 0.0, normal(many)),
        *(normal(many) for _ in range(MANY - len(COLUMNS))),
    ]
    texts = [["" if np.isnan(value) else f"{value:.4f}" for value in column] for column in columns]
    return hour, [list(row) for row in zip(*texts, strict=True)]


@dataclass(frozen=True)
class Known:
    """A table of many days, and what the monitor learned of its first ones."""

    rows: list[list[str]]
    begins_at: NDArray[np.intp]  # of each hour, its first row
    statistics: Statistics
    constraints: Constraints

    def of(self, hour: int) -> list[list[str]]:
        """The rows of an hour."""
        return self.rows[self.begins_at[hour] : self.begins_at[hour + 1]]

    def breaks_in(self, hours: Sequence[Sequence[list[str]]]) -> bool:
        """Whether something broke, by the looks that the monitor takes of those hours, the newest last."""
        for length in STRETCHES:
            some = [row for rows in hours[-length:] for row in rows]
            profile, options = summarise(some, self.statistics.layout), self.constraints.options
            if some and breaks(profile, self.statistics, self.constraints, options, float(length)):
                return True
        return False


def known(generator: np.random.Generator, days: int, a_day: int) -> Known:
    """That many days after a baseline of `BROKEN_AFTER`."""
    hour, rows = table(generator, BROKEN_AFTER + days, a_day)
    begins_at = np.searchsorted(hour, np.arange((BROKEN_AFTER + days) * 24 + 1))
    names = [*COLUMNS, *(f"x{number}" for number in range(MANY - len(COLUMNS)))]
    before = rows[: begins_at[BROKEN_AFTER * 24]]
    document, demands = baseline_of(
        before, dict.fromkeys(names, "numeric"), MonitorOptions(false_alarms_per_year=FALSE_ALARMS)
    )
    times = 3600.0 * hour[: len(before)] + 3600 * generator.random(len(before))
    return Known(rows, begins_at, read_statistics(with_chance(document, before, times)), read_constraints(demands))


def unbroken(seed: int, a_day: int, days: int) -> dict[str, int]:
    """How many hours of so many unbroken days are said to break, at whatever length."""
    made = known(np.random.default_rng([seed, a_day]), days, a_day)
    hours = range((BROKEN_AFTER + 1) * 24, (BROKEN_AFTER + days) * 24)
    false = sum(made.breaks_in([made.of(one) for one in range(number - 23, number + 1)]) for number in hours)
    return {"a_day": a_day, "hours": len(hours), "false": false}


def what_breaks(seed: int, days: int, a_day: int) -> dict[str, Any]:
    """Hours until a column that broke is seen, and rows, of onsets at any hour."""
    generator = np.random.default_rng(seed)
    made = known(generator, days, a_day)
    seen: dict[str, list[tuple[int, int] | None]] = {}
    for onset in map(int, generator.integers((BROKEN_AFTER + 1) * 24, (BROKEN_AFTER + days - 2) * 24, ONSETS)):
        for name in (*BREAKS, "40 % missing"):
            hours = [made.of(number) for number in range(onset - 23, onset)]
            until: tuple[int, int] | None = None
            for number in range(onset, onset + 24):
                hours.append([_broken(row, name, generator) for row in made.of(number)])
                if made.breaks_in(hours):
                    until = number + 1 - onset, int(made.begins_at[number + 1] - made.begins_at[onset])
                    break
            seen.setdefault(name, []).append(until)
    return {"a_day": a_day, "days": days, "seen": seen}


def _broken(row: list[str], name: str, generator: np.random.Generator) -> list[str]:
    if name in BREAKS:
        return [BREAKS[name](float(row[0])), *row[1:]]
    return ["" if generator.random() < 0.4 else row[0], *row[1:]]


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
    return _captured(row.values, row.time)


def _captured(values: Sequence[str], time: datetime) -> bytes:
    data = {"endpointInput": {"data": ",".join(values), "encoding": "CSV"}}
    return json.dumps({"captureData": data, "eventMetadata": {"eventId": "f", "inferenceTime": render(time)}}).encode()


def report(found: dict[str, Any]) -> str:
    """The page, of what was measured."""
    lines = [
        "# Judgement on worlds that have time in them",
        "",
        "Written by `make bench-judgement` (`benchmarks/judgement.py`, which says what was chosen on which seeds).",
        f"25 features, threshold {THRESHOLD}, {FALSE_ALARMS} false alarms a year asked for; windows of a day, beside",
        "them looks of an hour, a week and four weeks, and evidence of four weeks.",
    ]
    sections: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "unchanged": _of_unchanged,
        "delays": _of_delays,
        "breaks": _of_breaks,
        "unbroken": _of_unbroken,
        "sparse": _of_sparse,
        "flights": _of_flights,
    }
    for name, section in sections.items():
        if _parts(found, name):
            lines += ["", *section(found)]
    return "\n".join(lines) + "\n"


def _of_unchanged(found: dict[str, Any]) -> list[str]:
    lines = [
        "## An unchanged year: false alarms of the drift monitor",
        "",
        "| rows a day | baseline | years | false alarms | a year, 95 % bound | undecided after 28 days |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for part in _added_up(_parts(found, "unchanged")):
        most = _poisson_bound(part["together"]) / part["years"]
        told = f"{part['years']} | {part['together']} | {most:.2f} | {part['undecided'] / part['looks']:.1%}"
        lines.append(f"| {part['a_day']:,} | {part['baseline']} days | {told} |")
    of = [
        f"- {part['a_day']:,} rows a day, baseline of {part['baseline']} days: {name} {count}"
        for part in _added_up(_parts(found, "unchanged"))
        for name, count in part["alarms"].items()
        if count
    ]
    return [*lines, "", "Which feature and look they were of:", "", *(of or ["None."])]


def _of_delays(found: dict[str, Any]) -> list[str]:
    lines = [
        "## Delays",
        "",
        "Of an independent feature among 25, baseline of 60 days, and the look that sees it.",
        "",
        "| rows a day | change | days, median | most | not seen in 60 days | seen by |",
        "| --- " * 6 + "|",
    ]
    for part in _parts(found, "delays"):
        for name, some in part["days"].items():
            days = sorted(one[0] for one in some if one is not None)
            told = f"{days[len(days) // 2]:.2f} | {days[-1]:.2f}" if days else "never | never"
            by = ", ".join(sorted({one[1] for one in some if one is not None}))
            lines.append(f"| {part['a_day']:,} | {name} | {told} | {len(some) - len(days)} of {len(some)} | {by} |")
    return lines


def _of_breaks(found: dict[str, Any]) -> list[str]:
    head = "rows a day | break | within the hour | two hours | most | not seen in a day | rows by then, median | most"
    lines = [
        "## What breaks: hours until it is seen",
        "",
        f"{ONSETS} onsets at any hour of the day and night, baseline of {BROKEN_AFTER} days.",
        "",
        f"| {head} |",
        "| --- " * 8 + "|",
    ]
    for part in _parts(found, "breaks"):
        for name, some in part["seen"].items():
            hours, rows = ([one[place] for one in some if one is not None] for place in (0, 1))
            within = (f"{sum(one <= most for one in hours)} of {len(some)}" for most in (1, 2))
            told = f"{' | '.join(within)} | {max(hours, default=0):g} | {len(some) - len(hours)}"
            by_then = f"{sorted(rows)[len(rows) // 2]} | {max(rows)}" if rows else "- | -"
            lines.append(f"| {part['a_day']:,} | {name} | {told} | {by_then} |")
    return lines


def _of_unbroken(found: dict[str, Any]) -> list[str]:
    lines = [
        "Unbroken hours that were said to break; nine of 25 columns differ by the hour or the day:",
        "",
        "| rows a day | hours | said to break |",
        "| --- " * 3 + "|",
    ]
    for a_day in UNBROKEN:
        parts = [part for part in _parts(found, "unbroken") if part["a_day"] == a_day]
        hours, false = (sum(part[key] for part in parts) for key in ("hours", "false"))
        lines.append(f"| {a_day:,} | {hours:,} | {false} |")
    return lines


def _of_sparse(found: dict[str, Any]) -> list[str]:
    calm = found["sparse"]
    return [
        "## 100 features that one row in a hundred has, 28 calm days",
        "",
        f"DRIFTED: {calm['with times']} with times, {calm['without']} without.",
    ]


def _of_flights(found: dict[str, Any]) -> list[str]:
    lines = [
        "## The flights with their days in random order: DRIFTED of all windows",
        "",
        f"| baseline | {' | '.join(f'{length} d' for length in FLIGHT_WINDOWS)} |",
        "| --- " * 6 + "|",
    ]
    for number, one in enumerate(_parts(found, "flights"), 1):
        for name in ("with times", "without"):
            shares = (one[f"{name}, {length}"] for length in FLIGHT_WINDOWS)
            told = " | ".join(f"{drifted} of {every}" for drifted, every in shares)
            lines.append(f"| order {number}, {name} | {told} |")
    return lines


def _parts(found: Mapping[str, Any], section: str) -> list[Any]:
    return [piece for name, piece in found.items() if name.split()[0] == section]


def _poisson_bound(count: int) -> float:
    """The mean of which so few come with a probability of 5 % (Garwood 1936), by bisection.

    >>> round(_poisson_bound(0), 2), round(_poisson_bound(1), 2)
    (3.0, 4.74)
    """
    low, high = 0.0, 10.0 * (count + 1)
    for _ in range(60):
        middle = (low + high) / 2
        tail = sum(math.exp(-middle) * middle**k / math.factorial(k) for k in range(count + 1))
        low, high = (middle, high) if tail > 0.05 else (low, middle)
    return high


if __name__ == "__main__":
    main()
