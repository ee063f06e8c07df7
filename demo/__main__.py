"""`python -m demo`: deploy the application to the embedded AWS, and replay the flights of 2013 through it."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import baseball, flights, tables
from demo.replay import Replay, WindowResult, metric_of, summary
from demo.report import write_report
from demo.stack import DemoError, Stack, wait_for
from demo.windows import Source, Window
from local import LocalAws

INITIAL_BUCKET = "initial-data-of-the-demo"
GOAL = 0.30  # how much lower than the never-retrained model's the served RMSE has to be, over the months of the goal
GOAL_WINDOWS = ("April", "May", "June", "July", "August", "September", "October")


TABLES = {"flights": flights.source, "baseball": baseball.source}


def main(arguments: list[str] | None = None) -> int:
    """0 when the loop did its job on every window, 1 with a sentence for each thing it did not do."""
    options = _options().parse_args(arguments)
    console = Console()
    out: Path = options.out
    seconds: dict[str, float] = {}
    try:
        with _phase("data", "The table: what comes first to train on, the rest to come", console, seconds):
            source = _source(options)  # before what the last demo left is removed
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        with LocalAws(port=options.port, root=options.state, fresh=True, wait_scale=options.wait_scale) as aws:
            replay = _run(aws, source, console, seconds, options)
    except DemoError as error:
        console.print(f"[bold red]The demo stopped:[/] {escape(str(error))}")
        return 1
    report = summary(replay, seconds)
    (out / "summary.json").write_text(json.dumps(report, indent=2) + "\n")
    write_report(out / "report.html", report)
    console.print(_table(replay.results, report["metric"], report["direction"]))
    console.print(_sentence(report))
    console.print(f"report   {out / 'report.html'}\nsummary  {out / 'summary.json'}")
    console.print("Look around in what it left: `make local-up`, then for example `sam list resources`.\n")
    faults = shortcomings(report, own=options.model is not None)
    for fault in faults:
        console.print(f"[bold red]✗[/] {escape(fault)}")
    return 1 if faults else 0


@contextmanager
def _phase(name: str, text: str, console: Console, seconds: dict[str, float]) -> Iterator[None]:
    """What is going on is shown; how long it took is printed, and in `seconds`."""
    began = time.monotonic()
    with console.status(text):
        yield
    seconds[name] = time.monotonic() - began
    console.print(f"[green]✓[/] {text} [dim]{seconds[name]:.0f} s[/]")


def _run(
    aws: LocalAws, source: Source, console: Console, seconds: dict[str, float], options: argparse.Namespace
) -> Replay:
    stack = Stack(aws, options.out / "sam.log")
    windows = source.windows[: options.windows]
    with tempfile.TemporaryDirectory() as folder:
        source.write_initial(Path(folder))
        initial = _upload(aws, Path(folder))
    console.print(
        f"[dim]  {escape(source.title)}; {len(source.initial):,} rows to train on, {len(windows)} windows to come[/]"
    )
    with _phase("build", "sam build", console, seconds):
        stack.build()
    aws.set_clock(windows[0].start)
    with _phase("deploy", "sam deploy, to the embedded AWS", console, seconds):
        stack.deploy(
            {
                "InitialDataUri": initial,
                "MonitorSchedule": "cron(0 0 1 * ? *)",
                "QualitySchedule": "cron(0 0 1 * ? *)",
                "LabelDelayHours": "0",  # the same window for both, so that it does not matter whose alarm comes first
                "LabelWaitHours": "0",  # labels that are not there at a window's end come when the next one ends
                "WindowHours": "744",
                "CooldownHours": "1",
            }
        )
    with _phase(
        "bootstrap",
        "Bootstrap: train on the initial data, register, approve, create the endpoint, baseline",
        console,
        seconds,
    ):
        episode = wait_for(
            "the bootstrap episode to end",
            lambda: next((e for e in stack.episodes() if e.get("status") == "CLOSED"), None),
            seconds=180,
        )
        if episode["outcome"] != "promoted":
            raise DemoError(
                f"the bootstrap ended as {episode['outcome']}: {episode.get('reason')} {episode.get('detail')}"
            )
    began = time.monotonic()
    replay = _replay(stack, source, windows, console)
    seconds["replay"] = time.monotonic() - began
    return replay


def _source(options: argparse.Namespace) -> Source:
    given = [options.model, options.data, options.time]
    if not any(given):
        return TABLES[options.table]()
    if not all(given):
        raise DemoError("your own table takes all three: MODEL=model.toml DATA=table.csv TIME=COLUMN")
    return tables.read(
        options.model, options.data, time=options.time, window=options.window, train_windows=options.train_windows
    )


def _replay(stack: Stack, source: Source, windows: Sequence[Window], console: Console) -> Replay:
    """The replay, done, its progress shown while it ran."""
    bars = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    bar = bars.add_task("…", total=1.0)
    doing = {
        "traffic": "requests are sent, labels follow",
        "monitor": "the drift monitor looks back",
        "episode": "the alarm fired: retrain, judge, roll out",
        "window": "done",
    }
    with Live(bars, console=console, refresh_per_second=4) as live:

        def tell(stage: str, result: WindowResult | None, share: float) -> None:
            name = result.name if result else ""
            bars.update(bar, description=f"{name}: {doing[stage]}", completed=share)
            if stage == "window":
                live.update(Group(_table(replay.results, metric_of(source.spec), source.spec.direction), bars))

        replay = Replay(stack, source.title, source.spec, windows, tell)
        replay.run()
        live.update(Group())
    return replay


def _upload(aws: LocalAws, folder: Path) -> str:
    """The initial data lies in a bucket of its user's; its URI."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=INITIAL_BUCKET)
    for file in sorted(folder.iterdir()):
        s3.upload_file(str(file), INITIAL_BUCKET, f"first/{file.name}")
    return f"s3://{INITIAL_BUCKET}/first/"


def _table(results: list[WindowResult], metric: str, direction: str) -> Table:
    table = Table(title=f"{metric} of the answers that clients got", box=SIMPLE, pad_edge=False, padding=0)
    table.caption = "stale: the first model, never retrained; kept: no challenger was better than the champion"
    digits = 1 if metric in {"rmse", "mae"} else 3
    sign = 1 if direction == "min" else -1
    for column in ("window", "drift", "worst", "alarm", "episode"):
        table.add_column(column, no_wrap=True, max_width=12 if column == "episode" else 14)
    for column in ("by", "served", "stale"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        distance = f" {result.drift_max:.2f}" if result.drift_max is not None else ""
        ended = {"promoted": "[green]promoted[/]", "champion_kept": "[yellow]kept[/]", None: ""}
        better = "green" if sign * (result.stale_metric - result.served_metric) > 0 else "default"
        table.add_row(
            result.name,
            result.verdict + distance,
            result.worst_feature,
            ", ".join(result.alarms),
            ended.get(result.outcome, f"[red]{result.outcome}: {result.reason}[/]"),
            result.served_model,
            f"[{better}]{result.served_metric:.{digits}f}[/]",
            f"{result.stale_metric:.{digits}f}",
        )
    return table


def improvement(report: dict[str, Any]) -> float | None:
    """How much lower the served models' mean metric is than the never-retrained model's, over the goal's windows.

    None unless every one of them was replayed.
    """
    windows = [window for window in report["windows"] if window["name"] in GOAL_WINDOWS]
    if len(windows) < len(GOAL_WINDOWS):
        return None
    served, stale = (math.fsum(window[name] for window in windows) for name in ("served_metric", "stale_metric"))
    return 1.0 - served / stale


def _sentence(report: dict[str, Any]) -> str:
    better = improvement(report)
    promoted = sum(window["outcome"] == "promoted" for window in report["windows"])
    kept = sum(window["outcome"] == "champion_kept" for window in report["windows"])
    lower = (
        f"Mean RMSE April to October: {better:.0%} below the never-retrained model's. " if better is not None else ""
    )
    return (
        f"{lower}{promoted} challengers promoted, {kept} refused by the gate. "
        f"{report['predictions_sent']:,} predictions asked for, {report['predictions_failed']} failed, "
        f"{report['predictions_misversioned']} by a wrong model."
    )


def shortcomings(report: dict[str, Any], own: bool = False) -> list[str]:
    """One sentence for each thing that the loop should have done and did not.

    Of a table of your own nothing is expected: it may be that nothing drifts there, and that what was too few was
    refused.
    """
    faults = []
    expected = {None, "promoted", "champion_kept", *(["refused"] if own else [])}
    for window in report["windows"]:
        if window["outcome"] not in expected:
            faults.append(
                f"{window['name']}: episode {window['episode']} ended as {window['outcome']}: {window['reason']}"
            )
        if window["alarms"] and not window["episode"]:
            faults.append(
                f"{window['name']}: an alarm fired ({', '.join(window['alarms'])}), and no episode was opened"
            )
    if not own and not any(window["outcome"] == "promoted" for window in report["windows"]):
        faults.append("no challenger was promoted")
    if report["predictions_failed"]:
        faults.append(f"{report['predictions_failed']} predictions failed")
    if report["predictions_misversioned"]:
        faults.append(f"{report['predictions_misversioned']} predictions came from a wrong model")
    faults += report["violations"]
    better = None if own else improvement(report)
    if better is not None and better < GOAL:
        faults.append(
            f"the served models are only {better:.0%} better than the never-retrained one, the goal is {GOAL:.0%}"
        )
    return faults


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--port", type=int, default=4566, help="port of the embedded AWS (4566)")
    parser.add_argument(
        "--out", type=Path, default=Path(".demo"), help="folder of report.html and summary.json (.demo)"
    )
    parser.add_argument(
        "--state", type=Path, default=Path(".local"), help="folder of the embedded AWS's state (.local)"
    )
    parser.add_argument("--windows", type=int, default=None, help="replay only the first N windows")
    parser.add_argument("--table", choices=TABLES, default="flights", help="a table that is built in (flights)")
    own = parser.add_argument_group("your own table, instead of a built-in one")
    own.add_argument("--model", type=Path, help="model.toml of the table")
    own.add_argument("--data", type=Path, help="the table: a CSV with a header, or parquet")
    own.add_argument("--time", help="the column that orders it: ISO times, or numbers")
    own.add_argument("--window", default="month", help="month, a number of rows, or the name of a column (month)")
    own.add_argument("--train-windows", type=int, default=1, help="windows that the first model is trained on (1)")
    parser.add_argument("--wait-scale", type=float, default=0.02, help="a waiting second of the loop in seconds (0.02)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
