"""A small model whose world can be made to drift."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from retrain.capture.records import Capture
from retrain.model.archive import write_model
from retrain.model.read_spec import parse_spec
from retrain.model.table import Table, category
from retrain.training.candidates import train
from retrain.training.dataset import bootstrap_dataset

MODEL = """\
[model]
label = "price"
task = "regression"
metric = "rmse"

[features]
size = "numeric"
age = "numeric"
town = "categorical"

[hyperparameters]
max_depth = 3
eta = 0.3
num_boost_round = 60

[dataset]
min_rows = 100
max_reference_rows = 500
max_reference_holdout_rows = 150

[gate]
min_rows = 20
resamples = 200
"""
START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=10)


def table(rows: int, seed: int, larger: float = 0.0, towns: tuple[str, ...] = ("Aa", "Bo", "Ce")) -> Table:
    """Labelled rows; houses are `larger` than they used to be, which trees that saw smaller ones can't extrapolate."""
    random = np.random.default_rng(seed)
    size, age = random.uniform(20 + larger, 200 + larger, rows).round(1), random.integers(0, 80, rows).astype(float)
    town = random.integers(0, len(towns), rows)
    price = size * (3 + town) - age + random.normal(0, 5, rows)
    return Table({"size": size, "age": age, "town": category([towns[code] for code in town]), "price": price})


def texts(rows: Table) -> tuple[list[list[str]], list[str]]:
    """The rows as requests carry them, and their labels."""
    town = rows.categories("town")
    values = [
        [f"{size:g}", f"{age:g}", town.levels[code]]
        for size, age, code in zip(rows.numbers("size"), rows.numbers("age"), town.codes, strict=True)
    ]
    return values, [repr(float(price)) for price in rows.numbers("price")]


def requests(rows: Table, per_request: int = 1) -> tuple[list[Capture], dict[str, tuple[str, ...]]]:
    """Requests spread over the window [START, END), and their labels."""
    values, labels = texts(rows)
    asked, answers = [], {}
    for number, at in enumerate(range(0, len(values), per_request)):
        moment = START + (END - START) * at / len(values)
        asked.append(Capture(f"r{number:05d}", moment, values[at : at + per_request], []))
        answers[asked[-1].id] = tuple(labels[at : at + per_request])
    return asked, answers


def archive(folder: Path, *, seed: int, model_toml: str = MODEL, code: str = "") -> Path:
    """A model's archive, as the pipeline makes it, with that code at the end of what serves."""
    spec = parse_spec(model_toml)
    parts = bootstrap_dataset(spec, table(600, seed=seed)).parts
    model = train(spec, parts["train"], parts["validation"], None).model
    folder.mkdir()
    (folder / "model.toml").write_text(model_toml)
    files = folder / "files"
    write_model(files, model, model, folder / "model.toml", {"sha256": {"train.csv": ""}, "refit": {}})
    with (files / "code" / "inference.py").open("a") as serving:
        serving.write(code)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(files, ".")
    return folder / "model.tar.gz"
