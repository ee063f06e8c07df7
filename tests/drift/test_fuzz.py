"""Random tables against scipy and pandas; `make fuzz` has ten thousand of them."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import Found, check


@pytest.mark.slow
def test_random_tables_are_within_the_stated_errors_of_scipy_and_pandas() -> None:
    found = Found()
    for seed in range(100_000, 100_120):
        check(seed, found)
    assert found.compared > 300
    assert len(found.verdicts) == 3
