"""A table as small as the loop takes: a line, and months of rows on it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from demo.windows import Row, Source, Window
from local import LocalAws
from retrain.model.read_spec import parse_spec

MODEL = """
[model]
label = "y"
task = "regression"
metric = "rmse"
[features]
x = "numeric"
group = "categorical"
[hyperparameters]
num_boost_round = 40
[dataset]
min_rows = 200
[gate]
min_rows = 50
trade_off = 0.0                # the old truth no longer holds: whoever knows the new one has forgotten it
suspect_labels = 1000.0        # and the labels of the new one look wrong to all who know the old one
"""
ROWS = 1200


def month(number: int, slope: float = 2.0, shift: float = 0.0, count: int = ROWS) -> Window:
    """A month of so many rows of y = slope * x + noise, x around `shift`."""
    draw = random.Random(number)
    start = datetime(2026, number, 1, tzinfo=UTC)
    end = (start + timedelta(days=32)).replace(day=1)
    rows = []
    for place in range(count):
        x = draw.gauss(shift, 1.0)
        at = start + (end - start - timedelta(days=2)) * (place / count) + timedelta(hours=1)
        rows.append(Row(at, (f"{x:.4f}", draw.choice("ab")), f"{slope * x + draw.gauss(0, 0.1):.4f}"))
    return Window(f"{start:%B}", start, end, rows)


def upload(first: Window, aws: LocalAws, folder: Path) -> str:
    """The window's rows are what the first model learns from; returns their place, for `InitialDataUri`."""
    Source("a line", MODEL, parse_spec(MODEL, "model.toml"), first.rows, []).write_initial(folder)
    aws.client("s3").create_bucket(Bucket="initial")
    for file in folder.iterdir():
        aws.client("s3").upload_file(str(file), "initial", f"first/{file.name}")
    return "s3://initial/first/"
