"""What `init` prints runs on the table that it has read, whatever its size, or it says what is missing."""

from __future__ import annotations

import csv
import re
import shlex
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from demo.tables import read
from retrain.__main__ import main

ROWS = (120, 730, 4_000, pytest.param(17_300, marks=pytest.mark.slow))
DAYS = (1, 40, 700)
CLASSES = ("regression", "two", "rare", "three", "late")
ORDERS = ("time", "number", "none")


def table(path: Path, rows: int, days: int, classes: str, order: str, gaps: float) -> Path:
    random = np.random.default_rng(rows + days)
    begins = datetime(2024, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["when", "size", "town", "answer"])
        for number in range(rows):
            when = (begins + timedelta(days=days * number / rows)).isoformat(timespec="seconds")
            answer = {
                "regression": f"{random.normal():.3f}",
                "two": ["no", "yes"][number % 2],
                "rare": "yes" if random.random() < 0.03 else "no",
                "three": "abc"[number % 3],
                "late": "new" if number > 0.9 * rows and number % 3 else ["no", "yes"][number % 2],
            }[classes]
            town = "abcde"[random.integers(5)]
            blank = random.random() < gaps
            time = {"time": when, "number": str(number), "none": f"{random.normal():.2f}"}[order]
            out.writerow([time, f"{random.normal():.2f}", town, "" if blank else answer])
    return path


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("days", "classes", "order"), product(DAYS, CLASSES, ORDERS))
def test_d21_what_init_prints_runs_or_it_says_what_is_missing(
    rows: int, days: int, classes: str, order: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "t.csv", rows, days, classes, order, 0.1 if days == 40 else 0.0)
    out = tmp_path / "model.toml"
    code = main(["init", "--data", str(data), "--label", "answer", "--out", str(out)])
    said, wrong = capsys.readouterr()
    if code:
        assert (rows, classes, code) == (120, "rare", 3)
        assert "nothing to learn" in wrong
        return
    if order == "none":
        assert "can't be replayed through the loop: no column orders its rows" in said
        return
    command = re.search(r"make demo (.*)", said)
    if command is None:
        assert "can't be replayed through the loop: its rarest class comes too late or too seldom" in said
        assert classes in {"rare", "late"}
        return
    words = dict(word.split("=", 1) for word in shlex.split(command[1]))
    source = read(
        out, data, time=words["TIME"], window=words.get("WINDOW", "month"), train_windows=int(words.get("TRAIN", "1"))
    )
    assert len(source.windows) >= 1
