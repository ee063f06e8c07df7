"""What an analysis of captures costs: ours, the machine's limits, and other libraries, on the same files.

    make bench-drift                                                     writes docs/benchmarks/drift.md
    PYTHONPATH=src:. python -m benchmarks.drift --records 50000 --runs 1 a quick look

Every run is a process of its own. Its CPU seconds (user and system, all threads) and its peak memory are what the
kernel counted. Work: captures of 20 numeric features (0 to 2 % missing) and 5 categorical ones (3 to 200 levels),
against a baseline of 100,000 rows. Files are made once, below .bench/; so are the other libraries' environments.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks import drift_function, drift_peers, machine
from benchmarks.workload import BASELINE_ROWS, CACHE, ROOT, WINDOW, Line, chunks, files, make, make_baseline

FEW = 2_000
PEERS = {
    "alibi-detect": "KS, chi-square",
    "frouros": "KS, PSI, EMD, JS, chi-square",
    "nannyml": "KS, JS, Wasserstein, chi-square",
    "whylogs": "KLL and HLL profiles, KS, chi-square",
    "evidently": "its default drift preset, with report",
}

# Measured in a process of its own ---------------------------------------------------------------------------------


def analyse_captures(folder: Path, fast: bool = True) -> Line:
    """The complete analysis: every file read, every document of it rendered and written."""
    from retrain.drift.analysis import analyse

    baseline = CACHE / "baseline"
    found = analyse(
        ((file.name, file.open("rb")) for file in files(folder)),
        (baseline / "statistics.json").read_bytes(),
        (baseline / "constraints.json").read_bytes(),
        WINDOW,
        fast=fast,
    )
    out = CACHE / "out"
    out.mkdir(exist_ok=True)
    documents = {
        "statistics": found.statistics(),
        "constraints": found.constraints(),
        "constraint_violations": found.constraint_violations(),
        "analysis": found.document(),
        "metrics": [{**metric, "Timestamp": str(metric["Timestamp"])} for metric in found.metrics("e", "s")],
    }
    for name, document in documents.items():
        (out / f"{name}.json").write_text(json.dumps(document, allow_nan=False))
    return {"verdict": found.verdict.value, "rows": found.rows, **getattr(found, "paths", {})}


def read_bytes(folder: Path) -> Line:
    return {"bytes": sum(len(chunk) for file in files(folder) for chunk in chunks(file))}


def scan_newlines(folder: Path) -> Line:
    return {"lines": sum(chunk.count(b"\n") for file in files(folder) for chunk in chunks(file))}


def inflate(folder: Path) -> Line:
    from isal import isal_zlib

    count = 0
    for file in files(folder):
        unpacker = isal_zlib.decompressobj(wbits=31)
        count += sum(len(unpacker.decompress(chunk)) for chunk in chunks(file))
    return {"bytes": count}


def parse_json(folder: Path) -> Line:
    return {"lines": sum(map(json_lines, files(folder)))}


def json_lines(file: Path) -> int:
    with file.open("rb") as opened:
        return sum(isinstance(json.loads(line), dict) for line in opened)


def json_in_processes(folder: Path, processors: int) -> Line:
    """What the machine itself gains by processes that share nothing."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:processors])
    begun = perf_counter()
    with ProcessPoolExecutor(processors) as pool:
        lines = sum(pool.map(json_lines, files(folder)))
    return {"fast": lines, "seconds": perf_counter() - begun}


def in_processes(folder: Path, processors: int) -> Line:
    """The captures read and summarised as the intake job does, by a process for each processor."""
    from retrain.drift.parallel import read_in_parallel

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:processors])
    baseline = (make_baseline() / "statistics.json").read_bytes()
    begun = perf_counter()
    found = read_in_parallel([(file.name, file) for file in files(folder)], baseline, WINDOW)
    return {"rows": found.profile.rows, "seconds": perf_counter() - begun, **found.paths}


def other(name: str, folder: Path) -> Line:
    if name in {"spark", "ours-on-spark", "simdjson"}:
        return getattr(drift_peers, name.replace("-", "_"))(folder)  # type: ignore[no-any-return]
    return drift_peers.compare(name, folder)


TASKS: dict[str, Callable[[Path], Line]] = {
    "analyse": analyse_captures,
    "analyse-line-by-line": partial(analyse_captures, fast=False),
    "one-process": partial(in_processes, processors=1),
    "two-processes": partial(in_processes, processors=2),
    "json-in-one": partial(json_in_processes, processors=1),
    "json-in-two": partial(json_in_processes, processors=2),
    "read": read_bytes,
    "newlines": scan_newlines,
    "inflate": inflate,
    "json": parse_json,
    **{f"peer-{name}": partial(other, name) for name in ("parse", "spark", "ours-on-spark", "simdjson", *PEERS)},
}


# The table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What is run: on which captures, in whose environment, of which checkout."""

    title: str
    name: str
    kind: str = "plain"
    venv: str = ""
    root: Path = ROOT


class Run(NamedTuple):
    """CPU seconds, peak megabytes and wall seconds of a process; and the last line that it wrote."""

    cpu: float
    peak: float
    wall: float
    said: Line


class Measured:
    """CPU seconds, wall seconds and peak megabytes of a task's runs, medians; what it said last, or why it failed."""

    def __init__(self, runs: Sequence[Run], error: str = "") -> None:
        self.error = error
        self.said: Line = runs[-1].said if runs else {}
        self.cpu = statistics.median(run.cpu for run in runs) if runs else math.nan
        self.peak = statistics.median(run.peak for run in runs) if runs else math.nan
        self.wall = statistics.median(run.wall for run in runs) if runs else math.nan


def measure(tasks: Sequence[Task], records: int, runs: int) -> dict[str, Measured]:
    """Each task that often, by its title; all of them once, then all of them again.

    Before, each runs on a few captures: then Python has compiled what it imports, as pip would have.
    """
    for task in tasks:
        with suppress(RuntimeError):  # it will be known when it counts
            run_once(task, make(FEW, task.kind))
    found: dict[str, list[Run]] = {task.title: [] for task in tasks}
    errors: dict[str, str] = {}
    for run in range(runs):
        for task in tasks:
            if task.title not in errors:
                print(f"run {run + 1} of {runs}: {task.title}", file=sys.stderr)
                try:
                    found[task.title].append(run_once(task, make(records, task.kind)))
                except RuntimeError as error:
                    errors[task.title] = str(error)
    return {title: Measured(done, errors.get(title, "")) for title, done in found.items()}


def run_once(task: Task, folder: Path) -> Run:
    """The task in a process of its own.

    Before, the files are read once: they come from the page cache, whatever ran meanwhile.
    """
    read_bytes(folder)
    python = CACHE / "peers" / task.venv / "bin" / "python" if task.venv else sys.executable
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**kept, "PYTHONPATH": f"{task.root / 'src'}:{task.root}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, "-W", "ignore", "-m", "benchmarks.drift", "--task", task.name, "--folder", folder]
    with (CACHE / "out.txt").open("w+") as out, (CACHE / "errors.txt").open("w") as errors:
        begun = perf_counter()
        child = subprocess.Popen(command, env=environment, stdout=out, stderr=errors, cwd=task.root)
        _, status, usage = os.wait4(child.pid, 0)
        wall = perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError((CACHE / "errors.txt").read_text().strip()[-2000:])
        out.seek(0)
        said = json.loads(out.read().splitlines()[-1])
    return Run(usage.ru_utime + usage.ru_stime, said.pop("peak"), wall, said)


def install(name: str) -> str:
    """The environment benchmarks/peers/NAME.txt is there; else why not."""
    wanted = ROOT / "benchmarks" / "peers" / f"{name}.txt"
    folder = CACHE / "peers" / name
    installed = folder / "installed.txt"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return ""
    uv = ROOT / ".venv" / "bin" / "uv"
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("venv", "-q", "--clear", "--python", sys.executable, folder),
        ("pip", "install", "-q", "--python", folder / "bin" / "python", "-r", wanted),
    )
    for command in commands:
        done = subprocess.run([uv, *command], text=True, capture_output=True, check=False)
        if done.returncode:
            return " ".join(done.stderr.split())[-300:]
    shutil.copy(wanted, installed)
    return ""


def report(options: argparse.Namespace) -> Iterator[str]:
    """The lines of the result, as they become known."""
    records, runs = options.records, options.runs
    make_baseline()
    size = sum(file.stat().st_size for file in files(make(records, "plain")))
    yield "# What the drift monitor's analysis costs\n"
    yield "Written by `make bench-drift`.\n"
    yield (
        f"{records:,} captures, {size / 1e6:.0f} MB of JSON lines, 20 numeric and 5 categorical features, against a "
        f"baseline of {BASELINE_ROWS:,} rows. CPU seconds (user and system, all threads) and peak memory of a process "
        f"of its own, start and imports included; medians of {runs}, taken in turn, once modules are compiled.\n"
    )
    yield (f"{machine.described('numpy', 'polars', 'orjson', 'isal')}; load {os.getloadavg()[1]:.1f} before.\n")
    found = measure(_ours(), records, runs)
    yield from _our_lines(found, records)
    if options.before:
        yield from _before_lines(options.before.resolve(), records, runs)
    plain = found[PLAIN]
    yield from _limit_lines(plain, records, runs)
    yield from _process_lines(records, runs)
    if options.function:
        yield from _function_lines(runs)
    if options.peers:
        yield from _peer_lines(records, options.peers)
    if options.spark:
        yield from _spark_lines(plain, records)


PLAIN, GZ, ODD, UNLIKE, MIXED, OFTEN = (
    "captures as SageMaker writes them",
    "the same, gz",
    "every tenth request odd (JSON, BASE64, quoted, CRLF)",
    "no two lines alike",
    "both",
    "the first, ten times as many",
)


def _ours() -> list[Task]:
    return [
        Task(PLAIN, "analyse"),
        Task(GZ, "analyse", "gz"),
        Task(ODD, "analyse", "odd"),
        Task(UNLIKE, "analyse", "unlike"),
        Task(MIXED, "analyse", "mixed"),
    ]


def _our_lines(found: dict[str, Measured], records: int) -> Iterator[str]:
    often = measure([Task(OFTEN, "analyse", "often")], records, 1)
    yield "| ours: read, judged, all documents written | CPU-s | goal | peak MB | wall s | fast | general | single |"
    yield "|---|---|---|---|---|---|---|---|"
    goals = {PLAIN: "4.5", GZ: f"{1.3 * found[PLAIN].cpu:.2f}", ODD: "8", UNLIKE: "8", MIXED: "8"}
    for title, one in (found | often).items():
        if one.error:
            raise RuntimeError(f"{title}: {one.error}")
        paths = [int(one.said[path]) for path in ("fast", "general", "single")]
        count = records * (10 if title == OFTEN else 1)
        expected = {UNLIKE: [0, count, 0], MIXED: [0, count, 0], ODD: [count - count // 10, count // 10, 0]}
        if one.said["rows"] != count or paths != expected.get(title, [count, 0, 0]):
            raise RuntimeError(f"{title}: {one.said}")
        yield (
            f"| {title} | {one.cpu:.2f} | {goals.get(title, '')} | {one.peak:.0f} | {one.wall:.2f} | "
            + " | ".join(f"{path:,}" for path in paths)
            + " |"
        )
    ratio = found[GZ].cpu / found[PLAIN].cpu
    yield f"\ngz costs {ratio:.2f} times plain (goal 1.3). Which way lines were read is asserted, not only printed."


def _before_lines(before: Path, records: int, runs: int) -> Iterator[str]:
    """The same work by the code of an earlier checkout, against the baseline that it makes; in turn."""
    environment = {**os.environ, "PYTHONPATH": f"{before / 'src'}:{before}"}
    make_theirs = "from benchmarks.drift import make_baseline; make_baseline()"
    subprocess.run([sys.executable, "-c", make_theirs], check=True, cwd=before, env=environment)
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h, %s"], check=True, cwd=before, capture_output=True, text=True
    ).stdout.strip()
    yield f"\n## Beside an earlier commit\n\nThe same captures by {commit}; medians of {runs}, taken in turn.\n"
    yield "| | CPU-s before | now | times | peak MB before | now |\n|---|---|---|---|---|---|"
    for task in _ours():
        then = replace(task, title=f"{task.title}, before", root=before)
        found = measure([then, task], records, runs)
        if failed := found[then.title].error or found[task.title].error:
            yield f"| {task.title} | does not run: {' '.join(failed.split())[-200:]} | | | | |"
            continue
        old, new = found[then.title], found[task.title]
        yield (
            f"| {task.title} | {old.cpu:.2f} | {new.cpu:.2f} | {new.cpu / old.cpu:.2f} | {old.peak:.0f} | "
            f"{new.peak:.0f} |"
        )


def _limit_lines(plain: Measured, records: int, runs: int) -> Iterator[str]:
    missing = install("limits")
    tasks = [
        Task("read from the page cache", "read"),
        Task("newlines counted", "newlines"),
        Task("every line through simdjson", "peer-simdjson", venv="limits"),
        Task("every line through json.loads", "json"),
        Task("gz inflated (isal)", "inflate", "gz"),
    ]
    found = measure([task for task in tasks if not (missing and task.venv)], records, runs)
    yield "\n| limit, the same bytes | CPU-s | of ours |\n|---|---|---|"
    for title, one in found.items():
        yield f"| {title} | {one.cpu:.2f} | {100 * one.cpu / plain.cpu:.0f} % |"


def _process_lines(records: int, runs: int) -> Iterator[str]:
    yield "\n| read as the intake job reads | one process | two processes | times as fast |\n|---|---|---|---|"
    itself = "the machine: every line through json.loads, "
    for title, names, kind, count, times in (
        ("", ("one-process", "two-processes"), "plain", records, runs),
        ("", ("one-process", "two-processes"), "often", 10 * records, runs),
        (itself, ("json-in-one", "json-in-two"), "plain", records, runs),
        (itself, ("json-in-one", "json-in-two"), "often", 10 * records, 1),
    ):
        one, two = measure([Task(name, name, kind) for name in names], records, times).values()
        for found in (one, two):
            if found.error or found.said["fast"] != count:
                raise RuntimeError(found.error or str(found.said))
        yield (
            f"| {title}{count:,} captures in {len(files(make(records, kind)))} files | {_costs(one)} | {_costs(two)} "
            f"| {one.wall / two.wall:.2f} |"
        )


def _costs(one: Measured) -> str:
    return f"{one.wall:.1f} s, {one.cpu:.1f} CPU-s"


def _function_lines(runs: int) -> Iterator[str]:
    packages = [drift_function.build(CACHE, machine) for machine in drift_function.MACHINES]
    package = next(one for one in packages if one.machine == drift_function.this_machine())
    found = list(drift_function.invocations(package, CACHE, make_baseline(), runs))
    cold = statistics.median(one.cpu for one in found)
    handler = statistics.median(one.handler for one in found)
    requests = found[-1].said["requests"]
    counted = ", ".join(f"{count} {name}" for name, count in sorted(requests.items()))
    yield (
        "\n## As a Lambda function\n\nThe package as `sam build` makes it is "
        + " and ".join(
            f"{one.packed / 1e6:.1f} MB zipped, {one.unpacked / 1e6:.0f} MB unpacked for {one.machine}"
            for one in packages
        )
        + f" (goals 70, and 250, which is Lambda's limit). On {package.machine}, "
        f"{drift_function.RECORDS:,} new captures, five minutes of 200 requests a second, merged with a day of stored "
        f"intakes: {handler:.2f} CPU-s in the handler (goal 3, at 1,769 MB, which is one processor), {cold:.2f} with a "
        f"cold start, {found[-1].peak:.0f} MB. Requests: {counted}.\n"
    )
    yield "| an endpoint, a month, an analysis every five minutes | dollars |\n|---|---|"
    for title, dollars in drift_function.monthly(handler, requests).items():
        yield f"| {title} | {dollars:.2f} |"
    yield (
        f"\nus-east-1; every run as busy as this one, warm, as long as its CPU seconds. Model Monitor: "
        f"{drift_function.JOB_MINUTES} minutes of ml.m5.xlarge an hour, which is assumed. Metrics cost both the same."
    )


def _peer_lines(records: int, runs: int) -> Iterator[str]:
    missing = {name: install(name) for name in PEERS}
    here = [name for name in PEERS if not missing[name]]
    tasks = [Task("ours", "analyse"), *(Task(name, f"peer-{name}", venv=name) for name in here)]
    found = measure(tasks, records, runs)
    ours = found.pop("ours")
    parse = measure([Task("parse", "peer-parse", venv=here[0])], records, 1)["parse"]
    yield (
        "\n## Other libraries\n\nEach in an environment of its own (`benchmarks/peers`), with orjson, polars and "
        f"pandas as its parser, which alone costs {parse.cpu:.1f} CPU-s. What they "
        f"compute differs. Medians of {runs}, ours among them, taken in turn.\n"
    )
    yield "| library | computes | CPU-s | peak MB | of ours |\n|---|---|---|---|---|"
    yield (
        "| **ours** | KS, PSI, W1, JS, chi-square, L∞, completeness, profiles, constraints "
        f"| {ours.cpu:.1f} | {ours.peak:.0f} | 1 |"
    )
    for name, computes in PEERS.items():
        wanted = next(iter((ROOT / "benchmarks" / "peers" / f"{name}.txt").read_text().splitlines()))
        if missing[name] or found[name].error:
            why = " ".join((missing[name] or found[name].error).split())[-200:]
            yield f"| {wanted} | {computes} | does not run here: {why} | | |"
            continue
        one = found[name]
        yield f"| {wanted} | {computes} | {one.cpu:.1f} | {one.peak:.0f} | {one.cpu / ours.cpu:.1f} |"
    costs = {name: one.cpu / ours.cpu for name, one in found.items() if not one.error}
    if costs:
        yield f"\nThe fastest of them costs {min(costs.values()):.1f} times what ours costs (goal 3)."
    if "evidently" in costs:
        yield f"evidently's default costs {costs['evidently']:.1f} times as much (goal 20)."


def _spark_lines(plain: Measured, records: int) -> Iterator[str]:
    missing = install("spark") or ("" if shutil.which("java") else "java is not installed")
    if missing:
        yield f"\nSpark does not run here: {missing}"
        return
    found = measure(
        [Task("spark", "peer-spark", venv="spark"), Task("ours", "peer-ours-on-spark", venv="spark")], records, 1
    )
    for one in found.values():
        if one.error:
            yield f"\nSpark does not run here: {' '.join(one.error.split())[-300:]}"
            return
    yield (
        f"\nSpark 4.3.0, `local[1]`, wall time on one core: its own aggregations (counts, moments, 101 approximate "
        f"percentiles, categories) {found['spark'].wall:.0f} s; our reading in its partitions, merged, "
        f"{found['ours'].wall:.0f} s, {int(found['ours'].said['fast']):,} lines of it the fast way; ours without Spark "
        f"{plain.wall:.1f} s."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", type=int, default=0, help="install other libraries, and measure them so often")
    parser.add_argument("--spark", action="store_true", help="install and measure Spark too; needs java")
    parser.add_argument("--function", action="store_true", help="build and measure the function; needs sam")
    parser.add_argument("--before", type=Path, help="the checkout of an earlier commit to measure beside this one")
    parser.add_argument("--write", type=Path, help="the file that gets the result")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(TASKS[options.task](options.folder) | {"peak": machine.peak()}))
        return
    CACHE.mkdir(exist_ok=True)
    lines = []
    for line in report(options):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        options.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
