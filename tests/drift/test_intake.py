"""Intakes: what capture files held, the same however they were divided."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from capture_records import line
from hypothesis import given
from hypothesis import strategies as st

from retrain.core.clock import render
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.intake import Intake, merge_intakes, read_captures
from retrain.drift.parallel import read_in_parallel
from retrain.model.monitor_options import MonitorOptions

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
KINDS = {"age": "numeric", "income": "numeric", "channel": "categorical"}
ROWS = [[f"{index / 7:.4f}", str(index * index), "abcd"[index % 4]] for index in range(600)]
DOCUMENT = json.dumps(baseline_of(ROWS, KINDS, MonitorOptions(min_rows=1), [0.1, 0.2])[0]).encode()
STATISTICS = read_statistics(DOCUMENT)


def intake_of(*files: list[bytes], fast: bool = True) -> Intake:
    return read_captures(((f"{index}.jsonl", lines) for index, lines in enumerate(files)), STATISTICS, WINDOW, fast)


def at(seconds: float, data: str = "1,2,a\n") -> bytes:
    return line(data, time=render(WINDOW[0] + timedelta(seconds=seconds)))


def digest(intake: Intake) -> str:
    counts = [(name, vars_of(column)) for name, column in intake.profile.columns.items()]
    quarantine = intake.quarantine
    return repr(
        [
            counts,
            vars_of(intake.prediction.columns["_prediction"]),
            (intake.profile.rows, intake.prediction.rows, intake.records, sorted(intake.widths.items())),
            (quarantine.lines, quarantine.outside_window, sorted(quarantine.reasons.items())),
            (intake.first, intake.last),
        ]
    )


def vars_of(column) -> list:
    if hasattr(column, "counts"):
        return [sorted(column.counts.items()), column.rest, column.missing]
    return [column.present, column.missing, column.bad, column.minimum, column.maximum, column.at.below.tolist()]


lines = st.lists(
    st.one_of(
        st.builds(at, st.integers(-10, 3610), st.sampled_from(["1,2,a\n", "3.5,,b\n", "x,7,c\n", "1,2\n"])),
        st.builds(at, st.integers(0, 10), st.sampled_from(["1,2,a\n3,4,b\n", "1,2,\u00e9\n", '1,"2",a\n'])),
        st.sampled_from([b"{", b"\n", line("[1,2]", encoding="JSON")]),
    ),
    max_size=12,
)


class TestTheTimeOfTheCaptures:
    @pytest.mark.parametrize("fast", [True, False])
    def test_is_that_of_the_first_and_the_last_which_counts(self, fast):
        found = intake_of([at(1800), at(3599), at(7), at(-1), at(3600)] * 20, fast=fast)
        assert (found.first, found.last) == (WINDOW[0] + timedelta(seconds=7), WINDOW[0] + timedelta(seconds=3599))

    def test_of_odd_lines_counts_too(self):
        found = intake_of([at(10)] * 50 + [at(5, '1,"2",a\n'), at(11, "1,2,\u00e9\n"), b"{"])
        assert found.paths == {"fast": 50, "general": 2, "single": 1}
        assert (found.first, found.last) == (WINDOW[0] + timedelta(seconds=5), WINDOW[0] + timedelta(seconds=11))

    def test_is_unknown_without_captures(self):
        found = intake_of([at(-1), b"{"])
        assert (found.first, found.last) == (None, None)
        assert merge_intakes(found, found).first is None

    def test_is_exact_where_batches_end(self):
        found = intake_of([at(index % 3000) for index in range(9000)], [at(3001)])
        assert (found.first, found.last) == (WINDOW[0], WINDOW[0] + timedelta(seconds=3001))


class TestMerged:
    @given(lines, lines)
    def test_intakes_of_two_files_are_that_of_both(self, one, other):
        assert digest(merge_intakes(intake_of(one), intake_of(other))) == digest(intake_of(one, other))

    @given(lines, lines, lines)
    def test_intakes_are_the_same_in_any_order(self, one, two, three):
        a, b, c = intake_of(one), intake_of(two), intake_of(three)
        expected = digest(merge_intakes(merge_intakes(a, b), c))
        assert digest(merge_intakes(a, merge_intakes(b, c))) == expected
        assert digest(merge_intakes(merge_intakes(c, a), b)) == expected

    @given(lines)
    def test_both_paths_give_the_same(self, found):
        assert digest(intake_of(found)) == digest(intake_of(found, fast=False))


@pytest.mark.timeout(120)
def test_processes_read_after_this_one_has(tmp_path, monkeypatch) -> None:
    files = []
    for index in range(4):
        path = tmp_path / f"{index}.jsonl"
        path.write_bytes(b"".join(at(index) for _ in range(100)))
        files.append((path.name, path))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert read_in_parallel(files[:1], DOCUMENT, WINDOW).records == 100
    both = read_in_parallel(files, DOCUMENT, WINDOW)
    assert (both.records, both.paths["fast"]) == (400, 400)


def test_an_image_without_polars_reads_the_same_line_by_line() -> None:
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "import test_intake as t\n"
        "found = t.intake_of([t.at(1), t.at(2)] * 40)\n"
        "print(found.paths, found.records)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "{'fast': 0, 'general': 0, 'single': 80} 80"
