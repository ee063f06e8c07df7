"""What an analysis of captures costs: ours, the machine's limits, and other libraries, on the same files.

    PYTHONPATH=src:. python benchmarks/drift.py [--records N] [--runs N] [--peers] [--write]

Every run is a process of its own. Its CPU seconds (user and system, all threads) and its peak memory are what the
kernel counted. Work: captures of 20 numeric features (0 to 2 % missing) and 5 categorical ones (3 to 200 levels),
against a baseline of 100,000 rows. Files are made once, below .bench/.

`--peers` installs the other libraries into .bench/venv, each with the fastest parse that we could give it (orjson, then
polars' CSV parser, then pandas). They compute different things: the table says which. `--write` commits the result to
benchmarks/results/drift.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".bench"
VENV = CACHE / "venv"
RESULT = ROOT / "benchmarks" / "results" / "drift.md"
START = datetime(2026, 11, 22, tzinfo=UTC)
WINDOW = START, START + timedelta(days=1)
PER_FILE = 50_000
BASELINE_ROWS = 100_000
LEVELS = (3, 8, 25, 80, 200)
FEATURES = {f"n{index:02d}": "numeric" for index in range(20)} | {f"c{levels}": "categorical" for levels in LEVELS}
PEERS = {
    "alibi-detect": "KS, chi-square",
    "frouros": "KS, PSI, EMD, JS, chi-square",
    "nannyml": "JS, KS, Wasserstein, chi-square",
    "whylogs": "KLL and HLL profiles, KS, chi-square",
    "evidently": "its default drift preset, with report",
}

Line = dict[str, str | float]


# Work -------------------------------------------------------------------------------------------------------------


def rows(count: int, seed: int, shift: float) -> Iterator[str]:
    """CSV rows. Four kinds of numbers, as models have them; the first of each kind is shifted."""
    draw = np.random.default_rng(seed)
    names = [[f"{'abcdefghij'[index % 10]}{'-level' if levels < 80 else ''}{index}" for index in range(levels)]
             for levels in LEVELS]  # fmt: skip
    for begin in range(0, count, PER_FILE):
        size = min(PER_FILE, count - begin)
        columns: list[list[str]] = []
        for index in range(20):
            moved = shift if index < 4 else 0.0
            match index % 4:
                case 0:
                    texts = [repr(value) for value in draw.normal(moved, 3, size).tolist()]
                case 1:
                    texts = [f"{value:.4f}" for value in draw.lognormal(5 + moved, 1, size).tolist()]
                case 2:
                    texts = [str(value) for value in draw.poisson(40 * (1 + moved), size).tolist()]
                case _:
                    texts = [repr(value) for value in draw.beta(2 + moved, 5, size).tolist()]
            for place in np.flatnonzero(draw.random(size) < 0.02 * index / 19).tolist():
                texts[place] = ""
            columns.append(texts)
        for known in names:
            weights = 1 / np.arange(1, len(known) + 1)
            picked = draw.choice(len(known), size, p=weights / weights.sum()).tolist()
            columns.append([known[index] for index in picked])
        yield from map(",".join, zip(*columns, strict=True))


def record(data: object, encoding: str, answer: str, identity: str, time: str) -> dict[str, Any]:
    """A capture as SageMaker writes it."""
    kind = "application/json" if encoding == "JSON" else "text/csv"
    return {
        "captureData": {
            "endpointInput": {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding},
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8",
                "mode": "OUTPUT",
                "data": answer,
                "encoding": "CSV",
            },
        },
        "eventMetadata": {"eventId": identity, "inferenceId": f"order-{identity}", "inferenceTime": time},
        "eventVersion": "0",
    }


def encoded(row: str, number: int) -> tuple[object, str]:
    """The row as data and encoding of another kind of request, which holds the same."""
    values = row.split(",")
    match number % 4:
        case 0:
            return json.dumps({"instances": [{"features": [*values]}]}), "JSON"
        case 1:
            return b64encode(row.encode()).decode(), "BASE64"
        case 2:
            return ",".join(f'"{value}"' for value in values), "CSV"
        case _:
            return row + "\r\n", "CSV"


def unlike(document: dict[str, Any], number: int, draw: random.Random) -> str:
    """The capture as a line that is like no other: a field of its own, another order of keys, or an escape."""
    match number % 3:
        case 0:
            document["traceId"] = f"{draw.getrandbits(64):x}"
        case 1:
            keys = list(document)
            draw.shuffle(keys)
            document = {"traceId": f"{draw.getrandbits(64):x}", **{key: document[key] for key in keys}}
        case _:
            line = json.dumps(document, separators=(",", ":"))
            place = draw.choice([place for place, character in enumerate(line) if character == "."])
            return line[:place] + "\\u002e" + line[place + 1 :]
    return json.dumps(document, separators=(",", ":"))


def make(records: int, kind: str) -> Path:
    """The folder with the captures.

    plain: as SageMaker writes them; gz: the same, packed; odd: every tenth request is of another kind; unlike: no two
    lines have the same shape; mixed: both.
    """
    folder = CACHE / f"{kind}-{records}"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"making {folder.relative_to(ROOT)}", file=sys.stderr)
    if kind == "gz":
        for file in sorted(make(records, "plain").glob("*.jsonl")):
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 6, mtime=0))
    else:
        draw = random.Random(7)  # noqa: S311
        step = 86_400 / records
        source = rows(records, 2, 0.1)
        for first in range(0, records, PER_FILE):
            with (folder / f"{first:09d}.jsonl").open("w") as file:
                for number in range(first, min(first + PER_FILE, records)):
                    row = next(source)
                    other = kind in {"odd", "mixed"} and number % 10 == 0
                    data, encoding = encoded(row, number // 10) if other else (row + "\n", "CSV")
                    bits = f"{draw.getrandbits(128):032x}"
                    identity = "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
                    time = f"{START + timedelta(seconds=int(number * step)):%Y-%m-%dT%H:%M:%SZ}"
                    document = record(data, encoding, f"{draw.random()!r}\n", identity, time)
                    file.write(
                        unlike(document, number, draw)
                        if kind in {"unlike", "mixed"}
                        else json.dumps(document, separators=(",", ":"))
                    )
                    file.write("\n")
    (folder / "done").touch()
    return folder


def make_baseline() -> Path:
    """The folder with the baseline's rows (baseline.csv) and its two documents."""
    from retrain.baseline import MonitorOptions, baseline_of

    folder = CACHE / "baseline"
    if not (folder / "constraints.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        texts = list(rows(BASELINE_ROWS, 1, 0.0))
        (folder / "baseline.csv").write_text("\n".join([",".join(FEATURES), *texts]) + "\n")
        answers = [repr(value) for value in np.random.default_rng(3).random(BASELINE_ROWS).tolist()]
        documents = baseline_of((row.split(",") for row in texts), FEATURES, MonitorOptions(), answers)
        for name, document in zip(("statistics", "constraints"), documents, strict=True):
            (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


# Measured in a process of its own ---------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if ".jsonl" in file.name)


def chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(2**22):
            yield chunk


def analyse_captures(folder: Path, fast: bool = True) -> Line:
    """The complete analysis: every file read, every document of it rendered and written."""
    from retrain.monitor import analyse

    baseline = make_baseline()
    found = analyse(
        ((file.name, file.open("rb")) for file in files(folder)),
        (baseline / "statistics.json").read_bytes(),
        (baseline / "constraints.json").read_bytes(),
        WINDOW,
        **({} if fast else {"fast": False}),
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
    count = 0
    for file in files(folder):
        unpacker = zlib.decompressobj(wbits=31)
        count += sum(len(unpacker.decompress(chunk)) for chunk in chunks(file))
    return {"bytes": count}


def parse_json(folder: Path) -> Line:
    return {"lines": sum(isinstance(json.loads(line), dict) for file in files(folder) for line in file.open("rb"))}


def peer(name: str, folder: Path) -> Line:
    """A peer's comparison of all captures with the baseline's rows."""
    import orjson
    import polars

    kinds = {key: polars.Float64 if kind == "numeric" else polars.String for key, kind in FEATURES.items()}

    def parsed(file: Path) -> polars.DataFrame:
        with file.open("rb") as opened:
            texts = [orjson.loads(line)["captureData"]["endpointInput"]["data"] for line in opened]
        return polars.read_csv("".join(texts).encode(), has_header=False, new_columns=list(kinds), schema=kinds)

    current = polars.concat([parsed(file) for file in files(folder)], rechunk=True).to_pandas()
    reference = polars.read_csv(make_baseline() / "baseline.csv", schema=kinds).to_pandas()
    if name == "parse":
        return {"rows": len(current)}
    numeric = [key for key, kind in FEATURES.items() if kind == "numeric"]
    categorical = [key for key, kind in FEATURES.items() if kind == "categorical"]
    return globals()[f"peer_{name.replace('-', '_')}"](reference, current, numeric, categorical)


def peer_alibi_detect(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    from alibi_detect.cd import ChiSquareDrift, KSDrift

    drifted = 0
    for key in numeric:  # a column at a time: a missing value costs a value, not the row
        before, now = (table[key].dropna().to_numpy()[:, None] for table in (reference, current))
        drifted += KSDrift(before, p_val=0.05).predict(now)["data"]["is_drift"]
    for key in categorical:
        codes = {level: code for code, level in enumerate(sorted(reference[key].dropna().unique()))}
        before, now = (table[key].map(codes).dropna().to_numpy()[:, None] for table in (reference, current))
        drifted += ChiSquareDrift(before, p_val=0.05).predict(now)["data"]["is_drift"]
    return {"drifted": drifted}


def peer_frouros(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    from frouros.detectors.data_drift import EMD, JS, PSI, ChiSquareTest, KSTest

    count = 0
    for key in numeric:
        before, now = (table[key].dropna().to_numpy() for table in (reference, current))
        for method in (KSTest, PSI, EMD, JS):
            detector = method()
            detector.fit(X=before)
            detector.compare(X=now)
            count += 1
    for key in categorical:
        detector = ChiSquareTest()
        detector.fit(X=reference[key].to_numpy(dtype=object))
        detector.compare(X=current[key].to_numpy(dtype=object))
        count += 1
    return {"comparisons": count}


def peer_nannyml(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    import nannyml

    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*numeric, *categorical],
        treat_as_categorical=categorical,
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein"],
        categorical_methods=["chi2", "jensen_shannon"],
        chunk_number=1,
    )
    calculator.fit(reference)
    return {"columns": len(calculator.calculate(current).to_df().columns)}


def peer_whylogs(reference, current, *_) -> Line:  # type: ignore[no-untyped-def]
    import whylogs
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    views = [whylogs.log(table).view() for table in (current, reference)]
    return {"scores": len(calculate_drift_scores(*views, with_thresholds=True))}


def peer_evidently(reference, current, numeric, categorical) -> Line:  # type: ignore[no-untyped-def]
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    tables = [Dataset.from_pandas(table, data_definition=definition) for table in (current, reference)]
    snapshot = Report([DataDriftPreset()]).run(*tables)
    snapshot.save_html(str(CACHE / "out" / "evidently.html"))
    return {"metrics": len(snapshot.dict()["metrics"])}


TASKS: dict[str, Callable[[Path], Line]] = {
    "analyse": analyse_captures,
    "analyse-line-by-line": partial(analyse_captures, fast=False),
    "read": read_bytes,
    "newlines": scan_newlines,
    "inflate": inflate,
    "json": parse_json,
    **{f"peer-{name}": partial(peer, name) for name in ("parse", *PEERS)},
}


# The table --------------------------------------------------------------------------------------------------------


class Measured:
    """CPU seconds, wall seconds and peak megabytes of runs of a task, medians; and what the task said."""

    def __init__(self, task: str, folder: Path, runs: int, python: str = sys.executable) -> None:
        found = [self._run(task, folder, python) for _ in range(runs)]
        self.cpu, self.peak, self.wall = (statistics.median(part) for part in list(zip(*found, strict=True))[:3])
        self.said: Line = found[-1][3]

    @staticmethod
    def _run(task: str, folder: Path, python: str) -> tuple[float, float, float, Line]:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [python, __file__, "--task", task, "--folder", str(folder)]
        with (CACHE / "out.txt").open("w+") as out, (CACHE / "errors.txt").open("w") as errors:
            begun = datetime.now(UTC)
            child = subprocess.Popen(command, env=environment, stdout=out, stderr=errors, cwd=ROOT)
            _, status, usage = os.wait4(child.pid, 0)
            wall = (datetime.now(UTC) - begun).total_seconds()
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                raise RuntimeError(f"{task}: {(CACHE / 'errors.txt').read_text()[-2000:]}")
            out.seek(0)
            said = json.loads(out.read().splitlines()[-1])
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, wall, said


def install_peers() -> str:
    """The Python that has the peers."""
    python = VENV / "bin" / "python"
    if not (CACHE / "peers").exists():
        uv = ROOT / ".venv" / "bin" / "uv"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, VENV], check=True)
        subprocess.run(
            [uv, "pip", "install", "-q", "--python", python, "orjson", "polars", "pyarrow", "pandas", *PEERS],
            check=True,
        )
        (CACHE / "peers").touch()
    return str(python)


def versions(python: str, names: list[str]) -> str:
    code = (
        "import sys\nfrom importlib.metadata import version, PackageNotFoundError as E\n"
        "def v(n):\n  try: return n + ' ' + version(n)\n  except E: return ''\n"
        "print(', '.join(filter(None, map(v, sys.argv[1:]))))"
    )
    return subprocess.run([python, "-c", code, *names], text=True, capture_output=True, check=True).stdout.strip()


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")


def report(records: int, runs: int, peers: bool) -> Iterator[str]:
    """The lines of the result, as they become known."""
    plain, packed, mixed = (make(records, kind) for kind in ("plain", "gz", "odd"))
    make_baseline()
    size = sum(file.stat().st_size for file in files(plain))
    yield "# What the drift monitor's analysis costs\n"
    yield (
        f"{records:,} captures, {size / 1e6:.0f} MB of JSON lines, 20 numeric and 5 categorical features, against a "
        f"baseline of {BASELINE_ROWS:,} rows. CPU seconds (user and system, all threads) and peak memory of a process "
        f"of its own, medians of {runs}.\n"
    )
    yield f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, numpy {version('numpy')}.\n"
    yield "| ours: read, judged, all five documents written | CPU-s | peak MB | wall s | lines: fast, general |"
    yield "|---|---|---|---|---|"
    ours: dict[str, Measured] = {}
    for title, task, folder in (
        ("captures as SageMaker writes them", "analyse", plain),
        ("the same, gz", "analyse", packed),
        ("every tenth line odd (JSON, BASE64, quoted, not ASCII)", "analyse", mixed),
        ("line by line", "analyse-line-by-line", plain),
    ):
        found = ours[title] = Measured(task, folder, runs)
        fast, general = found.said.get("fast", 0), found.said.get("general", 0)
        if found.said["rows"] != records:
            raise RuntimeError(f"{title}: {found.said}")
        yield f"| {title} | {found.cpu:.2f} | {found.peak:.0f} | {found.wall:.2f} | {fast:,}, {general:,} |"
    best = ours["captures as SageMaker writes them"]
    yield "\n| limit, the same bytes | CPU-s | ours is |\n|---|---|---|"
    for title, task, folder in (
        ("read from the page cache", "read", plain),
        ("newlines counted", "newlines", plain),
        ("gz inflated (zlib)", "inflate", packed),
        ("every line through json.loads", "json", plain),
    ):
        found = Measured(task, folder, runs)
        yield f"| {title} | {found.cpu:.2f} | {best.cpu / found.cpu:.1f}x |"
    if not peers:
        return
    python = install_peers()
    parse = Measured("peer-parse", plain, runs, python)
    yield f"\nOther libraries ({versions(python, [*PEERS, 'orjson', 'polars', 'pandas', 'numpy', 'scipy'])}), each"
    yield f"with orjson and polars as its parser, which alone costs {parse.cpu:.1f} CPU-s, {parse.peak:.0f} MB.\n"
    yield "| library | computes | CPU-s | without the parse | peak MB | of ours |\n|---|---|---|---|---|---|"
    yield (
        f"| **ours** | KS, PSI, W1, JS, chi-square, L∞, completeness, profiles, constraints | {best.cpu:.1f} | - "
        f"| {best.peak:.0f} | 1x |"
    )
    for name, computes in PEERS.items():
        try:
            found = Measured(f"peer-{name}", plain, runs, python)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            yield f"| {name} | {computes} | does not run here | | | |"
            continue
        yield (
            f"| {name} | {computes} | {found.cpu:.1f} | {found.cpu - parse.cpu:.1f} | {found.peak:.0f} "
            f"| {found.cpu / best.cpu:.1f}x |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="install and measure other libraries too")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(TASKS[options.task](options.folder)))
        return
    lines = []
    for line in report(options.records, options.runs, options.peers):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
