"""Labels: read, checked against each other, joined to the captures they belong to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from capture_records import label, line
from hypothesis import given
from hypothesis import strategies as st

from retrain.capture import ground_truth, records
from retrain.capture.ground_truth import Coverage, Labels, draw, read
from retrain.capture.quarantine import Quarantine
from retrain.capture.records import Capture

START = datetime(2026, 11, 22, 14, tzinfo=UTC)
EARLY, LATE = "labels/2026/11/23/05/a.jsonl", "labels/2026/11/24/05/a.jsonl"


def labels_of(*lines: bytes, source: str = EARLY, **options) -> tuple[Labels, Quarantine]:
    quarantine = Quarantine()
    return ground_truth.read([(source, lines)], quarantine, **options), quarantine


def join(captures: list[bytes], labels: Labels) -> tuple[list[tuple[str, tuple[str, ...]]], Coverage, Quarantine]:
    quarantine, coverage = Quarantine(), Coverage()
    joined = ground_truth.join(records.read(captures, "c.jsonl", quarantine), labels, quarantine, coverage)
    return [(item.capture.id, item.labels) for item in joined], coverage, quarantine


class TestReading:
    @pytest.mark.parametrize(
        ("data", "encoding", "expected"),
        [
            ("112", "CSV", ("112",)),
            ("1\n0\n1\n", "CSV", ("1", "0", "1")),
            (' "a, b"\n', "CSV", ('"a', 'b"')),
            ("[1, 0]", "JSON", ("1", "0")),
            ("MTEyCg==", "BASE64", ("112",)),
        ],
    )
    def test_one_label_per_line(self, data, encoding, expected):
        labels, quarantine = labels_of(label(data, encoding=encoding))
        if "," in data and encoding == "CSV":
            assert quarantine.reasons == {"several_values": 1}
        else:
            assert labels.by_id == {"5f2c": expected}

    def test_a_merged_record_is_known_by_its_inference_id(self):
        merged = (
            label()
            .replace(b'"eventId"', b'"inferenceId": "order-1", "eventId"')
            .replace(b"{", b'{"captureData": {}, ', 1)
        )
        assert labels_of(merged)[0].by_id == {"order-1": ("1",)}

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (b"{", "not_json"),
            (b"{}", "not_a_label"),
            (label(event_id=""), "no_id"),
            (label(""), "no_label"),
            (label(" \n"), "no_label"),
            (label("1,2"), "several_values"),
            (label(encoding="PARQUET"), "unknown_encoding"),
        ],
    )
    def test_bad_records_are_quarantined(self, bad, reason):
        labels, quarantine = labels_of(bad, label(event_id="good"))
        assert labels.by_id == {"good": ("1",)}
        assert dict(quarantine.reasons) == {reason: 1}

    def test_the_same_label_twice_counts_once(self):
        labels, quarantine = labels_of(label(), label())
        assert labels.by_id == {"5f2c": ("1",)}
        assert quarantine.notes == {"duplicate_label": 1}
        assert not quarantine.reasons

    def test_of_contradicting_labels_none_is_believed(self):
        labels, quarantine = labels_of(label("1"), label("0"), label("1"))
        assert labels.by_id == {}
        assert labels.conflicting == {"5f2c"}
        assert quarantine.reasons == {"conflicting_label": 2}

    def test_labels_collected_after_the_moment_are_left_out(self):
        quarantine = Quarantine()
        files = [(EARLY, [label(event_id="a")]), (LATE, [label(event_id="b")]), ("other.jsonl", [label(event_id="c")])]
        labels = ground_truth.read(files, quarantine, until=datetime(2026, 11, 23, 23, tzinfo=UTC))
        assert sorted(labels.by_id) == ["a", "c"]
        assert quarantine.outside_window == 1

    @pytest.mark.parametrize("source", ["labels/2026/13/41/05/a.jsonl", "a.jsonl", "labels/2026/11/a.jsonl"])
    def test_a_folder_that_names_no_hour(self, source):
        assert ground_truth.collected_hour(source) is None


class TestJoining:
    def test_by_inference_id_else_by_event_id(self):
        labels, _ = labels_of(label("1", "order-1"), label("0", "event-2"), label("1", "nobody"))
        captures = [
            line(event_id="event-1", inference_id="order-1"),
            line(event_id="event-2"),
            line(event_id="event-3"),
        ]
        joined, coverage, quarantine = join(captures, labels)
        assert joined == [("order-1", ("1",)), ("event-2", ("0",))]
        assert (coverage.rows, coverage.labelled, coverage.share) == (3, 2, 2 / 3)
        assert not quarantine.reasons

    def test_a_label_for_every_row_or_for_none(self):
        labels, _ = labels_of(label("1\n0", "a"), label("1", "b"), label("1\n0\n1", "c"))
        joined, coverage, quarantine = join([line("1,2,x\n3,4,y", event_id=name) for name in "abc"], labels)
        assert joined == [("a", ("1", "0"))]
        assert quarantine.reasons == {"label_count": 2}
        assert (coverage.rows, coverage.labelled) == (6, 2)

    def test_a_capture_that_was_delivered_twice_counts_once(self):
        joined, coverage, quarantine = join([line(), line()], labels_of(label())[0])
        assert len(joined) == coverage.rows == 1
        assert quarantine.notes == {"duplicate_capture": 1}

    def test_a_label_from_before_the_question_is_a_leak(self):
        labels, _ = labels_of(label(), source="labels/2026/11/22/13/a.jsonl")
        joined, coverage, quarantine = join([line(time="2026-11-22T14:03:09Z")], labels)
        assert joined == []
        assert quarantine.reasons == {"label_before_capture": 1}
        assert coverage.share == 0

    def test_a_label_of_the_same_hour_is_none(self):
        labels, _ = labels_of(label(), source="labels/2026/11/22/14/a.jsonl")
        assert len(join([line(time="2026-11-22T14:03:09Z")], labels)[0]) == 1

    def test_no_captures_is_no_coverage(self):
        assert Coverage().share == 0.0


class TestDraw:
    def captures(self, count, rows=1):
        return [Capture(f"id-{n}", START, [["1"]] * rows, [["2"]] * rows) for n in range(count)]

    def test_what_fits_is_drawn_whole_without_what_was_asked(self):
        sample = draw(self.captures(50, rows=2), 100)
        assert (len(sample.drawn), sample.share, sample.captures, sample.rows) == (50, 1.0, 50, 100)
        assert all(capture.rows == [[], []] for capture in sample.drawn)

    @given(st.permutations(range(60)), st.integers(1, 80), st.integers(1, 3))
    def test_the_same_captures_give_the_same_sample_in_any_order(self, order, most, rows):
        captures = self.captures(60, rows)
        one, other = draw(captures, most), draw([captures[index] for index in order], most)
        assert {capture.id for capture in one.drawn} == {capture.id for capture in other.drawn}
        assert one.share == other.share
        assert sum(len(capture.rows) for capture in one.drawn) <= max(most, rows)

    def test_a_large_sample_has_about_its_share(self):
        sample = draw(self.captures(20_000), 6_000)
        assert sample.share == 0.25
        assert len(sample.drawn) == pytest.approx(5_000, rel=0.05)

    def test_answers_count_where_questions_were_not_captured(self):
        [drawn] = draw([Capture("a", START, [], [["1"], ["2"]])], 10).drawn
        assert len(drawn.rows) == 2

    def test_labels_that_nobody_wants_are_not_kept(self):
        quarantine = Quarantine()
        labels = read([("l", [label("1", "a"), label("2", "b"), label("3", "b")])], quarantine, wanted={"a"})
        assert (labels.by_id, quarantine.bad) == ({"a": ("1",)}, 0)
