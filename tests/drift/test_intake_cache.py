"""Stored intakes: a window merged from what was read before is the window read at once."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from capture_records import line
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.core.clock import parse, render
from retrain.core.window import CaptureFile, prefixes
from retrain.drift.analysis import analyse_intake
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.constraints import read_constraints
from retrain.drift.intake import read_captures
from retrain.drift.intake_cache import (
    Reading,
    Shelf,
    Stored,
    UnusableError,
    dump_intake,
    folder,
    hours_of,
    load_intake,
    stored_day,
    take_in,
)
from retrain.model.monitor_options import MonitorOptions

KINDS = {"x": "numeric", "kind": "categorical"}
ROWS = [[str(value), "web" if value % 3 else "app"] for value in range(400)]
TEXTS = baseline_of(ROWS, KINDS, MonitorOptions(), None)
STATISTICS, CONSTRAINTS = read_statistics(TEXTS[0]), read_constraints(TEXTS[1])
START, END = parse("2026-11-20T22:00:00Z"), parse("2026-11-22T03:00:00Z")
MUCH = 10**12


@dataclass
class Bucket:
    """Captures and documents in memory; it counts which captures were read."""

    objects: dict[str, bytes] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def files(self, keys: Sequence[str]) -> Iterator[tuple[str, list[bytes]]]:
        for key in keys:
            self.opened.append(key)
            yield key, self.objects[key].splitlines(keepends=True)

    def bodies(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for key in keys:
            if key in self.objects:
                yield key, self.objects[key]

    def put(self, key: str, body: bytes, content_type: str) -> str:
        self.objects[key] = body
        return key

    def between(self, start: Any, end: Any) -> list[CaptureFile]:
        spans = tuple(f"capture/{prefix}" for prefix in prefixes(start, end))
        found = [(key, self.objects[key]) for key in self.keys("capture/") if key.startswith(spans)]
        return [CaptureFile(key, sha256(body).hexdigest(), len(body)) for key, body in found]


def capture(hour: Any, name: str, rows: Sequence[Sequence[str]], time: Any = None) -> tuple[str, bytes]:
    """A capture file of that hour, one line per row."""
    lines = (line(",".join(row) + "\n", time=render(time or hour), output="1.5\n") for row in rows)
    return f"capture/{hour:%Y/%m/%d/%H}/{name}.jsonl", b"".join(lines)


def look(bucket: Bucket, window: tuple[Any, Any] = (START, END), budget: int = MUCH) -> Any:
    return take_in(bucket.between(*window), window, STATISTICS, Shelf(bucket, "profiles/e/1"), budget)


def analysed(intake: Any, window: tuple[Any, Any] = (START, END)) -> dict[str, Any]:
    return analyse_intake(intake, STATISTICS, CONSTRAINTS, window).document()


def at_once(bucket: Bucket, window: tuple[Any, Any] = (START, END)) -> dict[str, Any]:
    """The analysis without any stored intake."""
    keys = [file.key for file in bucket.between(*window)]
    copy = Bucket(dict(bucket.objects))
    return analysed(read_captures(copy.files(keys), STATISTICS, window), window)


def same(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of what is summed up in another order: the Wasserstein distance."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            math.isclose(one[key], other[key], rel_tol=1e-9, abs_tol=1e-9)
            if key == "wasserstein" and one[key] is not None
            else same(one[key], other[key])
            for key in one
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


value = st.one_of(
    st.integers(-50, 450).map(str), st.floats(allow_nan=False).map(repr), st.sampled_from(["", "nan", "oops", "-0.0"])
)
row = st.tuples(value, st.sampled_from(["web", "app", "new", "", "ünï", 'say "x"'])).map(list)
bad = st.sampled_from(
    [
        b"{\n",
        b'{"captureData": {}}\n',
        b"\xff\n",
        line("1,2,3\n"),
        line("1,web\n", time="noon"),
        line('{"x": 1, "kind": "web", "new": 2}', encoding="JSON", time="2026-11-22T00:30:00Z"),
        line("1,web\n", output="{", output_encoding="JSON", time="2026-11-22T00:30:00Z"),
    ]
)
FOLDERS = [START + timedelta(hours=hour) for hour in (0, 1, 2, 14, 25, 26, 28)]
file = st.tuples(st.sampled_from(FOLDERS), st.lists(row, max_size=6), st.lists(bad, max_size=2), st.integers(0, 3))


@pytest.mark.slow
@settings(max_examples=60)
@given(files=st.lists(file, max_size=8), data=st.data())
def test_any_split_of_the_files_into_runs_gives_the_analysis_of_one_read(files: Any, data: Any) -> None:
    bucket = Bucket()
    starts = (START, START + timedelta(minutes=20), START + timedelta(hours=2, minutes=20))
    for number, (hour, rows, odd, run) in enumerate(files):
        key, body = capture(hour, f"{run}-{number}", rows, hour + timedelta(minutes=data.draw(st.integers(0, 70))))
        body += b"".join(odd)
        bucket.objects[key] = gzip.compress(body) if data.draw(st.booleans()) else body
        if data.draw(st.booleans()):  # a run in between sees only what is there by now
            window = data.draw(st.sampled_from(starts)), START + timedelta(hours=data.draw(st.integers(3, 40)))
            look(bucket, window, data.draw(st.sampled_from([MUCH, 400])))
    for start in starts:
        window = start, END
        assert same(analysed(look(bucket, window).intake, window), at_once(bucket, window))


def hours(*numbers: int) -> Bucket:
    bucket = Bucket()
    for number in numbers:
        key, body = capture(START + timedelta(hours=number), "a", ROWS[:5])
        bucket.objects[key] = body
    return bucket


def test_a_file_that_was_read_is_not_read_again() -> None:
    bucket = hours(0, 1, 5, 27)
    assert look(bucket).files_read == 4
    key, body = capture(START + timedelta(hours=28), "b", ROWS[:7])
    bucket.objects[key] = body
    bucket.opened.clear()
    reading = look(bucket)
    assert bucket.opened == [key]
    assert (reading.files, reading.files_read, reading.bytes_read) == (5, 1, len(body))
    assert reading.intake.records == 4 * 5 + 7


def test_a_day_that_is_whole_becomes_one_document_of_its_hours() -> None:
    bucket = hours(2, 9, 25)
    look(bucket, (START, START + timedelta(hours=20)))  # the day is not over yet: documents of its hours
    bucket.opened.clear()
    look(bucket)
    assert bucket.opened == ["capture/2026/11/21/23/a.jsonl"]
    assert "profiles/e/1/2026/11/21/whole.intake" in bucket.objects
    for key in bucket.keys("profiles/e/1/2026/11/21/"):
        if key != "profiles/e/1/2026/11/21/whole.intake":
            del bucket.objects[key]
    bucket.opened.clear()
    assert look(bucket).intake.records == 15
    assert bucket.opened == []


def test_the_newest_hours_are_known_by_themselves() -> None:
    bucket = hours(0, 4, 27, 28)
    # Six hours and a day begin with the document of the day before: its hours are not read apart for them.
    expected = [(1, 5), (2, 10), (27, 15)]
    assert newest(look(bucket)) == [(END - timedelta(hours=back), count) for back, count in expected]
    until = START + timedelta(hours=28, minutes=20)
    reading = look(bucket, (START, until))
    assert newest(reading)[:2] == [(START + timedelta(hours=27), 10), (START + timedelta(hours=26), 10)]
    assert reading.intake.records == 20


def newest(reading: Reading) -> list[tuple[datetime, int]]:
    return [(since, intake.records) for since, intake in reading.newest]


def test_a_stored_day_is_its_hours_without_a_look_at_the_captures() -> None:
    bucket, day = hours(2, 9, 25), parse("2026-11-21T00:00:00Z")
    assert stored_day(day, STATISTICS, Shelf(bucket, "profiles/e/1")) is None
    look(bucket, (START, START + timedelta(hours=20)))
    bucket.opened.clear()
    found = stored_day(day, STATISTICS, Shelf(bucket, "profiles/e/1"))
    assert found is not None
    assert (found.records, bucket.opened) == (10, [])
    for key in bucket.keys("profiles/e/1/2026/11/21/"):
        if key != "profiles/e/1/2026/11/21/whole.intake":
            del bucket.objects[key]
    again = stored_day(day, STATISTICS, Shelf(bucket, "profiles/e/1"))
    assert again is not None
    assert analysed(again) == analysed(found)


def test_a_stored_day_to_which_an_hour_was_added_is_made_anew_for_a_window() -> None:
    bucket, day = hours(2, 9), parse("2026-11-21T00:00:00Z")
    look(bucket, (START, START + timedelta(hours=20)))
    stored_day(day, STATISTICS, Shelf(bucket, "profiles/e/1"))
    key, body = capture(START + timedelta(hours=12), "late", ROWS[:7])
    bucket.objects[key] = body
    assert look(bucket).intake.records == 17


@pytest.mark.parametrize("damage", [b"", b"retrain-intake-0\nold", b"cut", b"flip"])
def test_a_document_that_is_damaged_or_old_is_made_anew(damage: bytes) -> None:
    bucket = hours(0)
    look(bucket)
    [key] = bucket.keys("profiles/")
    sound = bucket.objects[key]
    bucket.objects[key] = {b"cut": sound[:-9], b"flip": sound[:60] + b"~" + sound[61:]}.get(damage, damage)
    assert look(bucket).files_read == 1
    assert bucket.objects[key] == sound


def test_a_file_that_changed_or_vanished_makes_the_hour_anew() -> None:
    bucket = hours(0)
    [key] = bucket.keys("capture/")
    bucket.objects[key.replace("a.jsonl", "b.jsonl")] = bucket.objects[key]
    assert look(bucket).intake.records == 10
    bucket.objects[key] += bucket.objects[key]
    assert look(bucket).intake.records == 15
    del bucket.objects[key]
    assert look(bucket).intake.records == 5


def test_evidence_used_already_is_cut_off_within_the_hour_and_the_whole_hour_stays_stored() -> None:
    bucket = Bucket()
    for minute in (10, 50):
        key, body = capture(START, str(minute), ROWS[:5], START + timedelta(minutes=minute))
        bucket.objects[key] = body
    assert look(bucket).intake.records == 10
    cut = (START + timedelta(minutes=30), END)
    assert look(bucket, cut).intake.records == 5
    for window, records in ((cut, 5), ((START, END), 10)):
        reading = look(bucket, window)
        assert (reading.files_read, reading.intake.records) == (0, records)


def test_captures_after_the_window_are_filtered_anew_and_nothing_of_it_is_stored() -> None:
    bucket = Bucket()
    key, body = capture(START, "a", ROWS[:5], START + timedelta(minutes=50))
    bucket.objects[key] = body
    look(bucket)
    before = dict(bucket.objects)
    early = (START, START + timedelta(minutes=40))
    assert look(bucket, early).intake.records == 0
    assert bucket.objects == before


def test_files_beyond_the_budget_are_left_and_what_was_read_is_kept() -> None:
    bucket = hours(0, 1, 2)
    size = len(bucket.objects[bucket.keys("capture/")[0]])
    first = look(bucket, budget=2 * size)
    assert (first.files_read, len(first.unread)) == (2, 1)
    second = look(bucket, budget=2 * size)
    assert (second.files_read, second.unread) == (1, ())


def test_parts_of_several_instances_are_merged_and_those_with_files_in_common_are_not() -> None:
    bucket = hours(0)
    for name in "bcd":
        bucket.objects |= dict([capture(START, name, ROWS[:3])])
    files = bucket.between(START, END)
    for part, some in (("job-1", files[:2]), ("job-2", files[2:]), ("late-1", files[1:3])):
        intake = read_captures(bucket.files([f.key for f in some]), STATISTICS, (START, END))
        body = dump_intake(Stored(intake, {f.key: f.etag for f in some}))
        bucket.objects[f"profiles/e/1/{START:%Y/%m/%d/%H}/whole.{part}.intake"] = body
    bucket.opened.clear()
    reading = look(bucket)
    assert (reading.files_read, reading.intake.records) == (0, 14)


def test_no_file_at_all_is_an_empty_intake() -> None:
    assert look(Bucket()).intake.records == 0


def test_hours_name_their_documents() -> None:
    files = [CaptureFile(f"capture/e/v/2026/11/20/{hour}/a.jsonl", "", 1) for hour in ("22", "23")]
    found = list(hours_of(files, (START + timedelta(minutes=1), END)))
    assert [(hour, name) for hour, name, _, _ in found] == [
        ("2026/11/20/22/", "from-220100000000"),
        ("2026/11/20/23/", "whole"),
    ]


def test_another_baseline_has_another_place() -> None:
    one = json.dumps(TEXTS[0]).encode()
    assert folder("e", one) == folder("e", one)
    assert folder("e", one) != folder("e", one + b" ")


numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30)


@settings(max_examples=60)
@given(values=numbers, texts=st.lists(st.text(st.characters(exclude_categories=()), max_size=5), max_size=20))
def test_a_stored_intake_comes_back_as_it_was(values: list[float], texts: list[str]) -> None:
    rows = [[repr(v), t.replace("\n", " ")] for v, t in zip(values, texts, strict=False)]
    written = [
        json.dumps(
            {
                "captureData": {"endpointInput": {"data": [row], "encoding": "JSON"}},
                "eventMetadata": {"eventId": "e", "inferenceTime": render(START)},
            }
        )
        for row in rows
    ]
    intake = read_captures([("a", [text.encode() for text in written])], STATISTICS, (START, END))
    # What no capture can say, and a profile may hold all the same.
    column = replace(intake.profile.columns["x"], total=math.inf, squares=math.nan)
    odd = replace(intake, profile=replace(intake.profile, columns={**intake.profile.columns, "x": column}))
    for found in (intake, odd):
        document = dump_intake(Stored(found, {"ä/\ud800": '"tag"'}))
        back = load_intake(document, STATISTICS)
        assert dump_intake(back) == document
        assert back.files == {"ä/\ud800": '"tag"'}
        assert (back.intake.records, back.intake.widths, back.intake.first) == (
            found.records,
            found.widths,
            found.first,
        )
        assert back.intake.quarantine == found.quarantine
        for name in ("profile", "prediction"):
            for key, column in getattr(found, name).columns.items():
                _same_column(getattr(back.intake, name).columns[key], column)


def _same_column(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if hasattr(one, "rest"):
        assert one == other
        return
    for name in ("present", "missing", "bad", "integral", "total", "squares", "minimum", "maximum"):
        np.testing.assert_equal(getattr(one, name), getattr(other, name))
    assert len(one.sketch.levels) == len(other.sketch.levels)
    for level, wanted in zip(one.sketch.levels, other.sketch.levels, strict=True):
        np.testing.assert_array_equal(level, wanted)
    assert (one.at is None) == (other.at is None)
    if one.at is not None:
        for name in ("points", "below", "upto", "sums"):
            np.testing.assert_array_equal(getattr(one.at, name), getattr(other.at, name))


def test_an_intake_of_another_baseline_is_unusable() -> None:
    bucket = hours(0)
    look(bucket)
    [key] = bucket.keys("profiles/")
    other = read_statistics(baseline_of(ROWS[:7], KINDS, MonitorOptions(), None)[0])
    renamed = read_statistics(baseline_of(ROWS, {"y": "numeric", "kind": "categorical"}, MonitorOptions(), None)[0])
    for statistics in (other, renamed):
        with pytest.raises(UnusableError):
            load_intake(bucket.objects[key], statistics)
