"""`make faults`: which row of the fault matrix has which tests, and whether they pass."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROWS = [f"F{number:02}" for number in range(1, 73)]


class Results:
    """What became of every test that has a row's id in its name."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, bool]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            name = report.nodeid.rpartition("::")[2]
            for row in re.findall(r"F\d\d", name):
                test = name.partition("[")[0]
                self.of[row][test] = self.of[row].get(test, True) and report.passed


def main() -> int:
    """0 if every row has a test, and all of them pass."""
    results = Results()
    named = ["-k", " or ".join(ROWS)]  # the others of the folder are of the protocol as a whole
    pytest.main(["-q", "--no-header", "-W", "ignore", *named, str(Path(__file__).parent)], plugins=[results])
    print()
    for row in ROWS:
        tests = results.of.get(row, {})
        told = "; ".join(f"{test}{'' if passed else ' FAILED'}" for test, passed in sorted(tests.items()))
        print(f"{row}  {'pass' if tests and all(tests.values()) else 'FAIL' if tests else '-   '}  {told}")
    passed = [row for row in ROWS if results.of.get(row) and all(results.of[row].values())]
    missing = [row for row in ROWS if row not in results.of]
    print(
        f"\n{len(passed)} of {len(ROWS)} rows pass a test here", f"without one: {' '.join(missing)}" if missing else ""
    )
    return 0 if len(passed) == len(ROWS) else 1


if __name__ == "__main__":
    sys.exit(main())
