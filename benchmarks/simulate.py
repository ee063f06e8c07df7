"""A year of traffic in minutes, through the handlers as they are deployed, at the template's defaults.

    make simulate                                                  an unchanged world for a year
    PYTHONPATH=src:. python -m benchmarks.simulate --days 120 --scenario shift --parameter CooldownHours=24
    PYTHONPATH=src:. python -m benchmarks.simulate --days 40 --changed 10 --scenario shift | rolling | level

Event time, nothing waits. Every hour the endpoint's captures and the labels that became known are filed as AWS files
them; every few hours (--every) both monitors run, the alarms of template.yaml are evaluated, and whoever hears of them
answers: episodes are opened, pipelines run (dataset, training, gate), the endpoint is updated, the champion switched.
Of five minutes of the drift monitor's schedule one run in twelve hours is played by default: an alarm that would have
been seen and gone in between is not seen here. Whoever has to approve approves at once (ApprovalMode=auto).

The world has daily and weekly cycles, quiet nights, a feature that remembers (AR(1), half-life three days), a category
that is the same all day, a sparse feature, late labels, an outage of the endpoint (six hours) and one of the labels
(three days), and clocks that change twice a year. In the unchanged world every episode is a false alarm.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cloud import Cloud
from retrain.core import clock

if TYPE_CHECKING:
    from retrain.model.serving import Model

Numbers = NDArray[np.float64]
START = clock.parse("2026-01-01T00:00:00Z")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTLED = 28  # days after which what is undecided counts
SCENARIOS = ("unchanged", "shift", "rolling", "level")
CHANGED = 90  # the day on which a scenario begins
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
        if changed and self.scenario == "shift":
            x[:, 4] += 2.0
            y += 4 * x[:, 5] - 4 * x[:, 0]
        if changed and self.scenario == "level":
            y = 2 * y
        if changed and self.scenario == "rolling":
            y += 3 * np.sin((day - self.begins) // 30) * x[:, 6]
        y += self.random.normal(0, 1.5, count)
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


@dataclass
class Year:
    """What happened."""

    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: {"drift": Counter(), "quality": Counter()})
    settled: dict[str, Counter[str]] = field(default_factory=lambda: {"drift": Counter(), "quality": Counter()})
    alarms: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    opened: list[tuple[float, str, str]] = field(default_factory=list)  # day, alarm, episode
    seconds: float = 0.0


def play(cloud: Cloud, traffic: Traffic, days: int, every: int, history: int, *, verbose: bool) -> Year:
    """The year, from the first model on."""
    began, year = time.monotonic(), Year()
    _bootstrap(cloud, traffic, history)
    pending: list[tuple[datetime, str]] = []
    served: tuple[str, Model] | None = None
    for number in range(days * 24):
        hour = START + number * HOUR
        rows, labels, minutes = traffic.hour(number)
        if not ENDPOINT_OUT[0] <= number < sum(ENDPOINT_OUT) and rows:
            uri = cloud.sagemaker.serving(cloud.template.parameters["EndpointName"])
            assert uri is not None
            if served is None or served[0] != uri:
                served = uri, _load(cloud.get(uri))
            times = [hour + timedelta(minutes=float(minute)) for minute in minutes]
            _capture(cloud, hour, rows, times, served[1])
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
        cloud.now = hour + HOUR + timedelta(minutes=1)
        if (number + 1) % every == 0:
            _look(cloud, year, number / 24)
        for execution in cloud.run_executions():
            if verbose:
                print(f"day {number / 24:6.1f}: {execution.state}", dict(execution.history), file=sys.stderr)
        if verbose and (number + 1) % (24 * 30) == 0:
            print(f"day {number / 24:6.1f}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    year.seconds = time.monotonic() - began
    return year


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
    cloud.run_executions()


def _reason(cloud: Cloud, answer: Mapping[str, Any]) -> str:
    if "report_uri" not in answer:
        return str(answer.get("reason"))
    return str(json.loads(cloud.get(answer["report_uri"])).get("reason"))


def _bootstrap(cloud: Cloud, traffic: Traffic, history: int) -> None:
    """The first model serves, trained on the days before the start."""
    from benchmarks.tables import model_toml

    lines = [",".join([*FEATURES, "y", TIME])]
    for number in range(-history * 24, 0):
        rows, labels, minutes = traffic.hour(number)
        times = [clock.render(START + number * HOUR + timedelta(minutes=float(minute))) for minute in minutes]
        lines += [",".join([*row, label, at]) for row, label, at in zip(rows, labels, times, strict=True)]
    data = cloud.template.parameters["InitialDataUri"].removeprefix("s3://")
    cloud.put_object(f"{data}train.csv", "\n".join(lines).encode())
    model = model_toml("y", "regression", "rmse", FEATURES).replace("[features]", f'time = "{TIME}"\n\n[features]', 1)
    cloud.put_object(f"{data}model.toml", model.encode())
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


def _capture(cloud: Cloud, hour: datetime, rows: list[list[str]], times: list[datetime], model: Model) -> None:
    """The hour's captures as SageMaker writes them, with the answers that the model gives."""
    from retrain.model.serving import predict

    number = int((hour - START) / HOUR)
    body = io.StringIO()
    for place, (row, moment, answer) in enumerate(zip(rows, times, predict(rows, model), strict=True)):
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


def _label(event_id: str, label: str) -> str:
    return json.dumps(
        {
            "groundTruthData": {"data": label, "encoding": "CSV"},
            "eventMetadata": {"eventId": event_id},
            "eventVersion": "0",
        },
        separators=(",", ":"),
    )


def report(cloud: Cloud, year: Year, days: int) -> Iterator[str]:
    """What happened, in lines."""
    ledger = {str(item["episode_id"]): item for item in _episodes(year)}
    ends = Counter(f"{item.get('outcome')} {item.get('reason') or ''}".strip() for item in ledger.values())
    by = Counter(alarm for _, alarm, _ in year.opened)
    trained = sum(run.status == "Succeeded" for run in cloud.sagemaker.runs.values()) - 1
    yield f"{days} days in {year.seconds:.0f} s"
    yield f"episodes opened      {len(year.opened)}  {_listed(by)}"
    yield f"pipelines            {len(cloud.sagemaker.runs) - 1} run, {trained} to a decision of the gate"
    yield f"episodes' ends       {_listed(ends)}"
    yield f"alarms' states       {_listed(year.alarms)}"
    yield f"alarms not answered  {_listed(year.ignored)}"
    for name in ("drift", "quality"):
        total = sum(year.settled[name].values()) or 1
        undecided = sum(count for said, count in year.settled[name].items() if said.startswith("UNDECIDED"))
        yield f"{name:8s} looks       {_listed(year.verdicts[name])}"
        yield f"{name:8s} undecided   {undecided / total:.1%} of the looks from day {SETTLED} on"
    yield f"mails                {_listed(cloud.told)}"
    for day, alarm, episode in year.opened:
        item = ledger.get(episode, {})
        end = f"{item.get('outcome') or item.get('status')} {item.get('reason') or ''} {item.get('detail') or ''}"
        window = f"{item.get('window_start', '')} to {item.get('window_end', '')}"
        yield f"  day {day:6.1f}  {alarm:13s} {window}  {end[:140]}"


def _episodes(year: Year) -> Iterator[Mapping[str, Any]]:
    from retrain.deployed import adapters

    for _, _, episode in year.opened:
        if item := adapters.ledger().episode(episode):
            yield {**item, "episode_id": episode}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"


def main() -> None:
    """A year is played, and what happened is printed."""
    options = _options().parse_args()
    given = dict(one.split("=", 1) for one in options.parameter)
    parameters = {
        "InitialDataUri": "s3://initial/data/",
        "XGBoostImageUri": f"{'1' * 12}.dkr.ecr.us-east-1.amazonaws.com/xgboost:3.2-0",
        "ApprovalMode": "auto",
        **given,
    }
    with Cloud(**parameters) as cloud:
        traffic = Traffic(options.rows, options.scenario, options.seed, options.changed)
        year = play(cloud, traffic, options.days, options.every, options.history, verbose=options.verbose)
        lines = list(report(cloud, year, options.days))
    print("\n".join([f"{options.scenario}, {options.rows} rows a day, seed {options.seed}", *lines]))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "scenario": options.scenario,
            "rows_a_day": options.rows,
            "seed": options.seed,
            "days": options.days,
            "seconds": round(year.seconds),
            "opened": [[day, alarm] for day, alarm, _ in year.opened],
            "verdicts": {name: dict(counts) for name, counts in year.verdicts.items()},
            "settled": {name: dict(counts) for name, counts in year.settled.items()},
            "alarms": dict(year.alarms),
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rows", type=int, default=1_000, help="a day (1000)")
    parser.add_argument("--history", type=int, default=60, help="days that the first model is trained on (60)")
    parser.add_argument("--every", type=int, default=12, help="hours between looks of the monitors (12)")
    parser.add_argument("--changed", type=int, default=CHANGED, help="the day on which a scenario begins (90)")
    parser.add_argument("--scenario", choices=SCENARIOS, default="unchanged")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--parameter", action="append", default=[], help="NAME=VALUE of template.yaml, else its default"
    )
    parser.add_argument("--verbose", action="store_true", help="executions as they end")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    return parser


if __name__ == "__main__":
    main()
