"""A year of traffic in minutes, through the handlers as they are deployed, at the template's defaults.

    make simulate                                       every world of PLAYS, and docs/benchmarks/simulation.md
    make simulate SIM="--scenario shift --days 150"     one world
    make simulate SIM="--all --resume --write docs/benchmarks/simulation.md"     goes on where an earlier run was ended
    PYTHONPATH=src:. python -m benchmarks.simulate --days 60 --changed 30 --scenario level --parameter CooldownHours=24

Event time, nothing waits. Every hour the endpoint's captures and the labels that became known are filed as AWS files
them; every few hours (--every) both monitors run, the alarms of template.yaml are evaluated, and whoever hears of them
answers: episodes are opened, pipelines run (dataset, training, gate), the endpoint is updated, the champion switched.
What is left out of a deployment's schedules: the drift monitor runs every thirteen hours and not every five minutes
(so that it comes at every hour of the day), the quality monitor as well and not every hour; what would have been seen
and gone in between is not seen here. Whoever has to approve approves at once (ApprovalMode=auto). Worlds are played
side by side, as many as there are cores, each in a process with one thread.

The world has daily and weekly cycles, quiet nights, a feature that remembers (AR(1), half-life three days), a category
that is the same all day, a sparse feature, late labels, an outage of the endpoint (six hours) and one of the labels
(three days), and clocks that change twice a year. In the unchanged world every episode that an alarm opens is a false
one. What serves is held against the truth of every row that was asked, and so is the first model, as if nothing had
ever been trained again; nobody could do better than the noise in the labels.

Seeds 7 and 8 are those on which faults were looked for and mended; PLAYS has others.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cloud import Cloud
from benchmarks.machine import described
from retrain.core import clock

if TYPE_CHECKING:
    from retrain.model.serving import Model

Numbers = NDArray[np.float64]
START = clock.parse("2026-01-01T00:00:00Z")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTLED = 28  # days after which what is undecided counts
SCENARIOS = {
    "unchanged": "an unchanged world",
    "lasting": "one feature moves by two standard deviations and stays there, its relation to the label too (J07)",
    "shift": "one feature moves by two standard deviations, and the label follows another one from then on",
    "rolling": "a category whose names are others each month, and a relation that changes with them (J09)",
    "level": "the label doubles (J10)",
}
CHANGED = 90  # the day on which a scenario begins
EVERY, HISTORY, ROWS = 13, 60, 1_000  # hours between looks, days of the first training, rows a day
# What `make simulate` plays: scenario, days, the day on which it begins, seed; the longest first.
PLAYS = (
    ("unchanged", 365, CHANGED, 11),
    ("rolling", 100, 35, 12),
    ("shift", 70, 35, 12),
    ("lasting", 70, 35, 12),
    ("level", 70, 35, 12),
)
PARTS = Path(".bench/simulation")  # each world's numbers
NOISE = 1.5  # standard deviation of what no feature tells of a label
ENDPOINT_OUT = (100 * 24 + 9, 6)  # hour, hours
LABELS_OUT = (200 * 24, 72)
SUMMER = (87, 297)  # days between which clients' clocks are an hour ahead
NUMBERS = 19  # of the features, what has no memory and no cycle
TIME = "asked_at"  # of train.csv: when a row was asked, from which the baseline learns what chance does
THEMES = ("news", "sport", "travel", "music", "food", "film")
FEATURES = {
    "load": "numeric",
    "weekday": "categorical",
    "rate": "numeric",
    "theme": "categorical",
    "coupon": "numeric",
    "member": "boolean",
    **{f"x{number:02d}": "numeric" for number in range(NUMBERS)},
}


@dataclass
class Traffic:
    """What clients ask, hour by hour; the same for the same seed."""

    rows: int  # a day
    scenario: str
    seed: int
    begins: int = CHANGED  # the day on which the scenario does
    random: np.random.Generator = field(init=False)
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.rate = float(self.random.normal())

    def hour(self, number: int) -> tuple[list[list[str]], list[str], Numbers]:
        """Rows, labels and minutes within the hour; `number` counts hours from the start, negative before it."""
        day, local = divmod(number, 24)
        local += SUMMER[0] <= day < SUMMER[1]
        memory = 0.5 ** (1 / 72)
        self.rate = memory * self.rate + float(self.random.normal()) * (1 - memory**2) ** 0.5
        cycle = float(np.sin(2 * np.pi * (local - 9) / 24))
        usual = self.rows / 24 * (1 + 0.95 * cycle) * (0.6 if day % 7 in {2, 3} else 1.07)
        count = int(self.random.poisson(max(usual, 0.0)))
        changed = self.scenario != "unchanged" and day >= self.begins
        theme = int(np.random.default_rng((self.seed, day + 1000)).integers(len(THEMES)))
        name = THEMES[theme]
        if self.scenario == "rolling":
            name = f"{name} of season {(day - self.begins) // 30 + 1 if changed else 0}"
        x = self.random.normal(size=(count, NUMBERS))
        load = cycle + self.random.normal(0, 0.2, count)
        rate = self.rate + self.random.normal(0, 0.1, count)
        coupon = np.where(self.random.random(count) < 0.01, self.random.exponential(10, count), np.nan)
        member = self.random.random(count) < 0.4
        y = (
            20
            + 3 * x[:, 0]
            + 2 * np.abs(x[:, 1]) * x[:, 2]
            + np.sin(2 * x[:, 3])
            + 3 * load
            + rate
            + 0.5 * theme
            + member
        )
        if changed and self.scenario in {"lasting", "shift"}:
            x[:, 4] += 2.0
        if changed and self.scenario == "shift":
            y += 4 * x[:, 5] - 4 * x[:, 0]
        if changed and self.scenario == "level":
            y = 2 * y
        if changed and self.scenario == "rolling":
            y += 3 * np.sin((day - self.begins) // 30) * x[:, 6]
        y += self.random.normal(0, NOISE, count)
        rows = [
            [
                f"{load[i]:.4f}",
                f"d{day % 7}",
                f"{rate[i]:.4f}",
                name,
                "" if np.isnan(coupon[i]) else f"{coupon[i]:.2f}",
                "true" if member[i] else "false",
                *(f"{value:.4f}" for value in x[i]),
            ]
            for i in range(count)
        ]
        return rows, [f"{value:.4f}" for value in y], np.sort(self.random.random(count)) * 60


def model() -> str:
    """model.toml of the traffic."""
    from benchmarks.tables import model_toml

    return model_toml("y", "regression", "rmse", FEATURES).replace("[features]", f'time = "{TIME}"\n\n[features]', 1)


@dataclass
class Year:
    """What happened."""

    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: {"drift": Counter(), "quality": Counter()})
    settled: dict[str, Counter[str]] = field(default_factory=lambda: {"drift": Counter(), "quality": Counter()})
    alarms: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    opened: list[tuple[float, str, str]] = field(default_factory=list)  # day, who asked, episode
    errors: dict[int, NDArray[np.float64]] = field(default_factory=dict)  # by day: rows, squares of champion and first
    seconds: float = 0.0  # of the clock
    cpu: float = 0.0  # seconds of the processor

    def rmse(self, since: int = 0, until: int = 10**6) -> tuple[float, float]:
        """The champion's error and the first model's, on every row that was asked on those days."""
        rows, *squares = sum((one for day, one in self.errors.items() if since <= day < until), np.zeros(3))
        return tuple(float(np.sqrt(one / rows)) if rows else float("nan") for one in squares)  # type: ignore[return-value]


def play(cloud: Cloud, traffic: Traffic, days: int, every: int, history: int, *, verbose: bool) -> Year:
    """The year, from the first model on."""
    began, worked, year = time.monotonic(), time.process_time(), Year()
    _bootstrap(cloud, traffic, history)
    pending: list[tuple[datetime, str]] = []
    served: tuple[str, Model] | None = None
    first: Model | None = None
    asked: list[tuple[list[list[str]], list[str], list[float]]] = []  # of the day
    for number in range(days * 24):
        hour = START + number * HOUR
        rows, labels, minutes = traffic.hour(number)
        if not ENDPOINT_OUT[0] <= number < sum(ENDPOINT_OUT) and rows:
            uri = cloud.sagemaker.serving(cloud.template.parameters["EndpointName"])
            assert uri is not None
            if served is None or served[0] != uri:
                served = uri, _load(cloud.get(uri))
            first = first or served[1]
            times = [hour + timedelta(minutes=float(minute)) for minute in minutes]
            asked.append((rows, labels, _capture(cloud, hour, rows, times, served[1])))
            late = traffic.random.gamma(2.0, 4.0, len(rows)) + 48 * (traffic.random.random(len(rows)) < 0.03)
            pending += [
                (moment + float(delay) * HOUR, _label(f"{number}-{place}", label))
                for place, (moment, delay, label) in enumerate(zip(times, late, labels, strict=True))
            ]
        if not LABELS_OUT[0] <= number < sum(LABELS_OUT):
            known = [text for due, text in pending if due < hour + HOUR]
            pending = [(due, text) for due, text in pending if due >= hour + HOUR]
            if known:
                cloud.put(f"labels/{hour:%Y/%m/%d/%H}/{number}.jsonl", "\n".join(known).encode())
        if number % 24 == 23 and first is not None:
            year.errors[number // 24] = _errors(asked, first)
            asked = []
        cloud.now = hour + HOUR + timedelta(minutes=1)
        if (number + 1) % every == 0:
            _look(cloud, year, number / 24)
        for execution in cloud.run_executions():
            if verbose:
                print(f"day {number / 24:6.1f}: {execution.state}", dict(execution.history), file=sys.stderr)
        if verbose and (number + 1) % (24 * 30) == 0:
            print(f"day {number / 24:6.1f}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    year.seconds, year.cpu = time.monotonic() - began, time.process_time() - worked
    return year


def _errors(asked: list[tuple[list[list[str]], list[str], list[float]]], first: Model) -> Numbers:
    """Rows of a day, and the sums of squared errors: of what was answered, and of what the first model would have."""
    from retrain.model.serving import predict

    truth = np.array([float(label) for _, labels, _ in asked for label in labels])
    answers = np.array([answer for _, _, given in asked for answer in given])
    never = np.array(predict([row for rows, _, _ in asked for row in rows], first), dtype=np.float64)
    return np.array([len(truth), ((truth - answers) ** 2).sum(), ((truth - never) ** 2).sum()])


def _look(cloud: Cloud, year: Year, day: float) -> None:
    """Both monitors run at this time, then the alarms are evaluated."""
    event = {"time": clock.render(cloud.now)}
    for name in ("drift", "quality"):
        answer = cloud.call(f"{name}_monitor", event)
        said = str(answer.get("status") or answer.get("reason"))
        if said == "UNDECIDED":
            said = f"UNDECIDED ({_reason(cloud, answer)})"
        year.verdicts[name][said] += 1
        if day >= SETTLED:
            year.settled[name][said] += 1
    for alarm, state, heard in cloud.watch_alarms():
        year.alarms[f"{alarm} {state}"] += 1
        if heard and heard.get("action") == "opened":
            year.opened.append((day, alarm, str(heard["episode_id"])))
        elif heard and state == "ALARM":
            year.ignored[f"{alarm}: {heard.get('reason')}"] += 1
    for kind, heard in cloud.deliver():
        if heard.get("action") == "opened":
            year.opened.append((day, kind, str(heard["episode_id"])))
        else:
            year.ignored[f"{kind}: {heard.get('reason')}"] += 1
    cloud.run_executions()


def _reason(cloud: Cloud, answer: Mapping[str, Any]) -> str:
    if "report_uri" not in answer:
        return str(answer.get("reason"))
    return str(json.loads(cloud.get(answer["report_uri"])).get("reason"))


def _bootstrap(cloud: Cloud, traffic: Traffic, history: int) -> None:
    """The first model serves, trained on the days before the start."""
    lines = [",".join([*FEATURES, "y", TIME])]
    for number in range(-history * 24, 0):
        rows, labels, minutes = traffic.hour(number)
        times = [clock.render(START + number * HOUR + timedelta(minutes=float(minute))) for minute in minutes]
        lines += [",".join([*row, label, at]) for row, label, at in zip(rows, labels, times, strict=True)]
    data = cloud.template.parameters["InitialDataUri"].removeprefix("s3://")
    cloud.put_object(f"{data}train.csv", "\n".join(lines).encode())
    cloud.put_object(f"{data}model.toml", model().encode())
    cloud.now = START - HOUR
    endpoint = cloud.template.parameters["EndpointName"]
    event = {
        "source": "retrain",
        "detail-type": "Bootstrap Requested",
        "time": clock.render(cloud.now),
        "detail": {"endpoint_name": endpoint},
    }
    answer = cloud.call("alarm_handler", event)
    if answer.get("action") != "opened":
        raise SystemExit(f"no first model: {answer}")
    cloud.run_executions()
    cloud.now = START
    cloud.run_executions()
    if cloud.sagemaker.serving(endpoint) is None:
        raise SystemExit(f"no first model: {cloud.executions[0].errors} {cloud.sagemaker.jobs}")


def _load(archive: bytes) -> Model:
    from retrain.model.archive import load_model

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tar.gz"
        file.write_bytes(archive)
        return load_model(file)


def _capture(cloud: Cloud, hour: datetime, rows: list[list[str]], times: list[datetime], model: Model) -> list[float]:
    """The hour's captures lie there as SageMaker writes them, with the answers that the model gives; those answers."""
    from retrain.model.serving import predict

    number = int((hour - START) / HOUR)
    body = io.StringIO()
    answers = predict(rows, model)
    for place, (row, moment, answer) in enumerate(zip(rows, times, answers, strict=True)):
        record = {
            "captureData": {
                "endpointInput": {
                    "observedContentType": "text/csv",
                    "mode": "INPUT",
                    "data": ",".join(row),
                    "encoding": "CSV",
                },
                "endpointOutput": {
                    "observedContentType": "text/csv",
                    "mode": "OUTPUT",
                    "data": str(answer),
                    "encoding": "CSV",
                },
            },
            "eventMetadata": {"eventId": f"{number}-{place}", "inferenceTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}"},
            "eventVersion": "0",
        }
        body.write(json.dumps(record, separators=(",", ":")) + "\n")
    endpoint = cloud.template.parameters["EndpointName"]
    cloud.put(f"capture/{endpoint}/AllTraffic/{hour:%Y/%m/%d/%H}/{number}.jsonl", body.getvalue().encode())
    return answers


def _label(event_id: str, label: str) -> str:
    return json.dumps(
        {
            "groundTruthData": {"data": label, "encoding": "CSV"},
            "eventMetadata": {"eventId": event_id},
            "eventVersion": "0",
        },
        separators=(",", ":"),
    )


def told(cloud: Cloud, year: Year, **of: Any) -> dict[str, Any]:
    """What happened, in JSON's types; `of` says in which world."""
    ledger = {str(item["episode_id"]): item for item in _episodes(year)}
    runs = list(cloud.sagemaker.runs.values())[1:]  # without the first model's
    days, changed = of["days"], of["changed"]
    spans = [(since, min(since + 30, days)) for since in range(0, days, 30)]
    if of["scenario"] != "unchanged":
        spans = [(0, changed), *((since, min(since + 7, days)) for since in range(changed, days, 7))]
    undecided = {
        name: sum(count for said, count in counts.items() if said.startswith("UNDECIDED")) / (sum(counts.values()) or 1)
        for name, counts in year.settled.items()
    }
    return {
        **of,
        "seconds": round(year.seconds),
        "cpu_seconds": round(year.cpu),
        "opened": [
            {
                "day": round(day, 1),
                "by": by,
                "window": [str(ledger.get(episode, {}).get(f"window_{end}", "")) for end in ("start", "end")],
                "end": _ended(ledger.get(episode, {})),
                "detail": str(ledger.get(episode, {}).get("detail") or ""),
            }
            for day, by, episode in year.opened
        ],
        "pipelines": {"run": len(runs), "decided": sum(run.status == "Succeeded" for run in runs)},
        "verdicts": {name: dict(counts) for name, counts in year.verdicts.items()},
        "undecided": undecided,
        "alarms": dict(year.alarms),
        "not_answered": dict(year.ignored),
        "mails": dict(cloud.told),
        "rmse": [[since, until, *year.rmse(since, until)] for since, until in spans],
        "rmse_of_all": list(year.rmse()),
    }


def _ended(item: Mapping[str, Any]) -> str:
    return f"{item.get('outcome') or item.get('status')} {item.get('reason') or ''}".strip()


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What happened, for a terminal."""
    opened = found["opened"]
    yield f"{found['scenario']}, {found['rows_a_day']} rows a day, seed {found['seed']}"
    yield f"{found['days']} days in {found['seconds']} s, {found['cpu_seconds']} s of the processor"
    yield f"episodes opened      {len(opened)}  {_listed(Counter(one['by'] for one in opened))}"
    run, decided = found["pipelines"]["run"], found["pipelines"]["decided"]
    yield f"pipelines            {run} run, {decided} to a decision of the gate"
    yield f"episodes' ends       {_listed(Counter(one['end'] for one in opened))}"
    yield f"alarms' states       {_listed(found['alarms'])}"
    yield f"not answered         {_listed(found['not_answered'])}"
    for name in ("drift", "quality"):
        yield f"{name:8s} looks       {_listed(found['verdicts'][name])}"
        yield f"{name:8s} undecided   {found['undecided'][name]:.1%} of the looks from day {SETTLED} on"
    yield f"mails                {_listed(found['mails'])}"
    for since, until, champion, never in [*found["rmse"], [0, found["days"], *found["rmse_of_all"]]]:
        yield f"error, days {since:3d} to {until:3d}  {champion:.3f} served, {never:.3f} by the first model"
    for one in opened:
        window = " to ".join(one["window"])
        yield f"  day {one['day']:6.1f}  {one['by']:19s} {window}  {one['end']} {one['detail'][:120]}"


def page(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """docs/benchmarks/simulation.md."""
    yield "# Months through the deployed handlers, at the template's defaults"
    yield ""
    yield "Written by `make simulate` (`benchmarks/simulate.py`, which says what is played and what is left out, and"
    yield f"[decision 61](../decisions/0061-a-year-in-memory.md)): {found[0]['rows_a_day']:,} rows a day, a first model"
    yield f"of {found[0]['history']} days, both monitors every {found[0]['every']} hours. Of a core's time the first"
    minutes = [one["cpu_seconds"] / 60 for one in found]
    yield f"world took {minutes[0]:.1f} minutes, all of them {sum(minutes):.1f}"
    yield f"({described('xgboost-cpu', 'polars')})."
    known = {(one["scenario"], one["days"], one["seed"]) for one in found}
    if missing := [play for play in PLAYS if (play[0], play[1], play[3]) not in known]:
        yield f"Of the {len(PLAYS)} worlds of `make simulate` nobody has played these to their end yet:"
        yield ", ".join(f"{scenario} ({days} days)" for scenario, days, _, _ in missing) + "."
    yield ""
    for name, what in SCENARIOS.items():
        yield f"- *{name}*: {what}"
    yield ""
    yield (
        "| world, seed | days | episodes by drift, quality, evidence | pipelines run, decided"
        " | promoted, kept, other ends | mails |"
    )
    yield "| --- " * 6 + "|"
    for one in found:
        by = Counter(item["by"] for item in one["opened"])
        ends = Counter(item["end"].split()[0] for item in one["opened"])
        other = len(one["opened"]) - ends["promoted"] - ends["champion_kept"]
        yield (
            f"| {one['scenario']}, {one['seed']} | {one['days']}"
            f" | {by['DriftAlarm']}, {by['QualityAlarm']}, {by['Evidence Sufficient']}"
            f" | {one['pipelines']['run']}, {one['pipelines']['decided']}"
            f" | {ends['promoted']}, {ends['champion_kept']}, {other} | {sum(one['mails'].values())} |"
        )
    yield ""
    yield "| world | drift: looks | undecided from day 28 on | quality: looks | undecided |"
    yield "| --- " * 5 + "|"
    for one in found:
        looks = (f"{_listed(one['verdicts'][name])} | {one['undecided'][name]:.1%}" for name in ("drift", "quality"))
        yield f"| {one['scenario']} | {' | '.join(looks)} |"
    yield ""
    yield "## What serves, and what would if nothing had been trained again"
    yield ""
    yield f"Root mean square error on every row that was asked, labelled or not; that of the noise alone is {NOISE}."
    for one in found:
        yield ""
        yield f"| {one['scenario']}, days | served | the first model |"
        yield "| --- " * 3 + "|"
        for since, until, champion, never in [*one["rmse"], [0, one["days"], *one["rmse_of_all"]]]:
            yield f"| {since} to {until} | {champion:.3f} | {never:.3f} |"
    yield ""
    yield "## Episodes that an alarm opened"
    for one in found:
        alarmed = [item for item in one["opened"] if item["by"].endswith("Alarm")]
        yield ""
        yield f"{one['scenario']}: {'' if alarmed else 'none.'}"
        for item in alarmed:
            yield f"- day {item['day']:g}, {item['by']}, {' to '.join(item['window'])}: {item['end']}"
    yield ""
    yield "## Mails"
    yield ""
    for one in found:
        yield f"- {one['scenario']}: {_listed(one['mails'])}"


def _episodes(year: Year) -> Iterator[Mapping[str, Any]]:
    from retrain.deployed import adapters

    for _, _, episode in year.opened:
        if item := adapters.ledger().episode(episode):
            yield {**item, "episode_id": episode}


def _listed(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count}" for name, count in most) or "none"


def played(scenario: str, days: int, changed: int, seed: int, *, options: argparse.Namespace) -> dict[str, Any]:
    """That world is played on a stack of its own; what happened, in JSON's types."""
    if Path("/dev/shm").is_dir():  # noqa: S108  # jobs come and go with their folders: a disk would be what is measured
        tempfile.tempdir = "/dev/shm"  # noqa: S108
    parameters = {
        "InitialDataUri": "s3://initial/data/",
        "ApprovalMode": "auto",
        **dict(one.split("=", 1) for one in options.parameter),
    }
    with Cloud(**parameters) as cloud:
        traffic = Traffic(options.rows, scenario, seed, changed)
        year = play(cloud, traffic, days, options.every, options.history, verbose=options.verbose)
        of = {"scenario": scenario, "days": days, "changed": changed, "seed": seed}
        of |= {"rows_a_day": options.rows, "history": options.history, "every": options.every}
        return told(cloud, year, **of)


def _once(options: argparse.Namespace, play: tuple[str, int, int, int]) -> dict[str, Any]:
    """What happened in that world, which stays in the folder of parts, and is read from there with --resume."""
    scenario, days, _, seed = play
    file: Path = options.parts / f"{scenario}-{days}-{seed}.json"
    if options.resume and file.exists():
        return dict(json.loads(file.read_text("utf-8")))
    found = played(*play, options=options)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found), "utf-8")
    return found


def main() -> None:
    """Worlds are played, and what happened is printed and written."""
    options = _options().parse_args()
    plays = PLAYS if options.all else ((options.scenario, options.days, options.changed, options.seed),)
    found = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for one in pool.map(partial(_once, options), plays):
            found.append(one)
            print("\n".join(lines(one)), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"plays": found}, indent=1) + "\n", "utf-8")
    if options.write:
        options.write.write_text("\n".join(page(found)) + "\n", encoding="utf-8")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every world of PLAYS; what follows is of one alone")
    parser.add_argument("--scenario", choices=SCENARIOS, default="unchanged")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--changed", type=int, default=CHANGED, help=f"the day on which a scenario begins ({CHANGED})")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"a day ({ROWS})")
    parser.add_argument("--history", type=int, default=HISTORY, help=f"days of the first training ({HISTORY})")
    parser.add_argument("--every", type=int, default=EVERY, help=f"hours between looks of the monitors ({EVERY})")
    parser.add_argument(
        "--parameter", action="append", default=[], help="NAME=VALUE of template.yaml, else its default"
    )
    parser.add_argument("--parts", type=Path, default=PARTS, metavar="DIR", help=f"where parts are left ({PARTS})")
    parser.add_argument("--resume", action="store_true", help="take the parts that are there as they are")
    parser.add_argument("--verbose", action="store_true", help="executions as they end")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    parser.add_argument("--write", type=Path, help="where the page goes")
    return parser


if __name__ == "__main__":
    main()
