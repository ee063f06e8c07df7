from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from demo import flights
from retrain.model.read_spec import read_spec
from retrain.model.table import read_table
from retrain.training.dataset import bootstrap_dataset, kinds

pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("initial")
    flights.source().write_initial(folder)
    return folder


def test_every_fifth_flight_of_the_year_is_there_once(folder: Path):
    windows = flights.months()
    first = len((folder / "train.csv").read_text().splitlines()) - 1
    assert first + sum(len(window.rows) for window in windows) == 65_470
    assert [window.name for window in windows][::9] == ["March", "December"]


def test_windows_are_in_the_order_of_time_and_hold_what_is_theirs():
    windows = flights.months()
    assert windows[0].start == datetime(2013, 3, 1, tzinfo=UTC)
    for window, following in pairwise(windows):
        assert window.end == following.start
    for window in windows:
        times = [row.time for row in window.rows]
        assert times == sorted(times)
        assert window.start <= times[0] <= times[-1] < window.end


def test_a_row_is_what_a_request_carries():
    row = flights.months()[0].rows[0]
    assert row.time == datetime(2013, 3, 1, 5, 15, tzinfo=UTC)
    assert dict(zip(flights.FEATURES, row.values, strict=True)) == {
        "departure_minute": "315",
        "departure_delay": "-10",
        "carrier": "UA",
        "origin": "EWR",
        "destination": "IAH",
        "distance": "1400",
        "temperature": "35.06",
        "dew_point": "28.94",
        "humidity": "78.13",
        "wind_direction": "220",
        "wind_speed": "4.60312",
        "wind_gust": "",
        "precipitation": "0",
        "pressure": "1004.4",
        "visibility": "10",
    }
    assert row.label == "199"


def test_the_initial_data_makes_a_dataset(folder: Path):
    spec = read_spec(folder / "model.toml")
    wanted = {name: kind for name, kind in kinds(spec).items() if not name.startswith("__")}
    parts = bootstrap_dataset(spec, read_table(folder / "train.csv", wanted)).parts
    assert sum(map(len, parts.values())) == 10_002
