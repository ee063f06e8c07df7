"""What the drift monitor is measured on: captures and a baseline, made once below .bench/, the same each time.

It imports nothing that a library's own environment lacks.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".bench"
START = datetime(2026, 11, 22, tzinfo=UTC)
WINDOW = START, START + timedelta(days=1)
PER_FILE = 50_000
BASELINE_DAYS = 60
BASELINE_ROWS = 100_000
LEVELS = (3, 8, 25, 80, 200)
FEATURES = {f"n{index:02d}": "numeric" for index in range(20)} | {f"c{levels}": "categorical" for levels in LEVELS}
IMPORTANCE = {name: 1 / len(FEATURES) for name in FEATURES}  # of the model's gain: it leans on every one

Line = dict[str, str | float]


def rows(count: int, seed: int, shift: float) -> Iterator[str]:
    """CSV rows. Four kinds of numbers, as models have them; the first of each kind is shifted."""
    import numpy as np

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


def captures(records: int, kind: str, begin: datetime = START, seconds: float = 86_400) -> Iterator[str]:
    """Lines of that kind (see `make`), evenly over the time."""
    draw = random.Random(7)  # noqa: S311
    source = rows(records, 2, 0.1)
    for number in range(records):
        row = next(source)
        other = kind in {"odd", "mixed"} and number % 10 == 0
        data, encoding = encoded(row, number // 10) if other else (row + "\n", "CSV")
        bits = f"{draw.getrandbits(128):032x}"
        identity = "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
        time = f"{begin + timedelta(seconds=int(number * seconds / records)):%Y-%m-%dT%H:%M:%SZ}"
        document = record(data, encoding, f"{draw.random()!r}\n", identity, time)
        if kind in {"unlike", "mixed"}:
            yield unlike(document, number, draw)
        else:
            yield json.dumps(document, separators=(",", ":"))


def make(records: int, kind: str) -> Path:
    """The folder with the captures.

    plain: as SageMaker writes them; gz: the same, packed; often: the same files ten times; odd: every tenth request is
    of another kind; unlike: no two lines have the same shape; mixed: both.
    """
    folder = CACHE / f"{kind}-{records}"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"making {folder.relative_to(ROOT)}", file=sys.stderr)
    if kind in {"gz", "often"}:
        for file in files(make(records, "plain")):
            if kind == "gz":
                (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 6, mtime=0))
            else:
                for copy in range(10):
                    (folder / f"{copy}-{file.name}").hardlink_to(file)
    else:
        found = captures(records, kind)
        for first in range(0, records, PER_FILE):
            with (folder / f"{first:09d}.jsonl").open("w") as out:
                out.writelines(f"{line}\n" for line in islice(found, PER_FILE))
    (folder / "done").touch()
    return folder


def make_baseline() -> Path:
    """The folder with the baseline's rows (baseline.csv) and its two documents."""
    import numpy as np

    from retrain.drift.baseline import baseline_of
    from retrain.drift.conditional import with_joint
    from retrain.drift.learning import with_chance
    from retrain.model.monitor_options import MonitorOptions

    folder = CACHE / "baseline"
    if not (folder / "constraints.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        texts = list(rows(BASELINE_ROWS, 1, 0.0))
        (folder / "baseline.csv").write_text("\n".join([",".join(FEATURES), *texts]) + "\n")
        answers = [repr(value) for value in np.random.default_rng(3).random(BASELINE_ROWS).tolist()]
        statistics, constraints = baseline_of(
            (row.split(",") for row in texts), FEATURES, MonitorOptions(), answers, IMPORTANCE
        )
        ends = WINDOW[0].timestamp()
        times = np.linspace(ends - BASELINE_DAYS * 86_400.0, ends, BASELINE_ROWS, endpoint=False, dtype=np.float64)
        statistics = with_chance(statistics, (row.split(",") for row in texts), times, answers)
        statistics = with_joint(statistics, lambda: (row.split(",") for row in texts), times)
        for name, document in {"statistics": statistics, "constraints": constraints}.items():
            (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if ".jsonl" in file.name)


def chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(2**22):
            yield chunk
