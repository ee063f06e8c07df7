"""Reading captures by the column: proven lines only, and the same numbers as line by line."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from capture_records import captures_of, line, record
from hypothesis import given
from hypothesis import strategies as st

from retrain.capture.answers import Answers
from retrain.capture.columns import ColumnReader, learn, sort_bits
from retrain.drift import intake
from retrain.drift.analysis import Analysis, analyse
from retrain.drift.baseline import Statistics, baseline_of, read_statistics
from retrain.drift.constraints import Constraints, read_constraints
from retrain.model.monitor_options import MonitorOptions

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
KINDS = {"age": "numeric", "income": "numeric", "channel": "categorical"}
ROWS = [[f"{index / 7:.4f}", str(index * index), "abcd"[index % 4]] for index in range(600)]


def baseline(predictions) -> tuple[Statistics, Constraints]:
    statistics, constraints = baseline_of(ROWS, KINDS, MonitorOptions(min_rows=1), predictions)
    return read_statistics(statistics), read_constraints(constraints)


GOOD = captures_of(ROWS[:1])[0]
BASELINE, CLASSES = baseline([0.1, 0.2, 0.4]), baseline(["yes", "no"])


def analysis_of(lines: list[Any], documents=BASELINE, **options) -> Analysis:
    return analyse([("a.jsonl", lines)], *documents, WINDOW, **options)


def everything(found: Analysis) -> list[Any]:
    return [
        found.document(),
        found.statistics(),
        found.constraints(),
        sorted(found.profile.columns["channel"].counts.items()),
        found.metrics("e", "s"),
    ]


def both(lines: list[Any], documents=BASELINE) -> Analysis:
    """The analysis, which is the same line by line, and in blocks of a few lines, to the last bit."""
    fast, general = analysis_of(lines, documents), analysis_of(lines, documents, fast=False)
    with patch.object(intake, "_BLOCK", 4 * len(GOOD)):
        blocks = analysis_of(lines, documents)
    for found in (fast, blocks):
        assert repr(everything(found)) == repr(everything(general))
        assert sum(found.paths.values()) == sum(general.paths.values())
    assert general.paths["fast"] == 0
    return fast


values = st.one_of(
    st.floats().map(repr),
    st.floats(width=32).map(repr),
    st.integers(-(10**22), 10**22).map(str),
    st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)).map(lambda parts: f"{parts[0]}.{parts[1]}"),
    st.text("0123456789.-+eE ", max_size=26),
    st.sampled_from(
        ["", "", "nan", "NAN", "-nan", "NA", "null", "inf", "-Infinity", "1e400", "3.5e38", "1_0", "x", "-", "."]
    ),
)
names = st.one_of(
    st.sampled_from("abcd"),
    st.text("abcdefgh", max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.sampled_from(["", " a ", "a\tb", "a" * 250, "é", '"', '"a"', "\\", "\\n"]),
)
payloads = st.one_of(
    st.tuples(values, values, names).map(",".join),
    st.lists(values, max_size=5).map(",".join),
    st.tuples(values, values, names).map(lambda row: ",".join(row) + "\r"),
    st.lists(st.tuples(values, values, names).map(",".join), max_size=3).map("\n".join),
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "output": st.one_of(
            values.map(lambda text: text + "\n"), st.sampled_from([None, "", "yes\n", "no\n", "1,2\n"])
        ),
        "encoding": st.sampled_from(["CSV", "csv", "JSON", "BASE64", None]),
        "output_encoding": st.sampled_from(["CSV", "JSON"]),
        "event_id": st.one_of(st.text(max_size=5), st.sampled_from(["", "a,b", "5f2c", "x" * 40])),
        "inference_id": st.text(max_size=5),
        "time": st.sampled_from(
            [
                "2026-11-22T14:03:09Z",
                "2026-11-22T14:59:59.999Z",
                "2026-11-22T15:00:00Z",
                "2026-11-31T14:00:00Z",
                "x",
                None,
            ]
        ),
        "output_key": st.sampled_from(["endpointOutput", "batchTransformOutput"]),
    },
)
odd_lines = st.one_of(
    st.builds(lambda data, tail, rest: line(data + tail, **rest), payloads, st.sampled_from(["\n", ""]), changes),
    st.builds(lambda data: line(data + "\n"), payloads),
    st.builds(lambda data: json.dumps(record(data + "\n"), ensure_ascii=False).encode("utf-8", "replace"), payloads),
    st.builds(lambda data: json.dumps(record(data), indent=1).replace("\n", " "), payloads),
    st.binary(max_size=40).filter(lambda junk: b"\n" not in junk and not junk.startswith(b"\x1f\x8b")),
)


def mutated(good: bytes, at: int, byte: int, more: int = 0) -> bytes:
    """The line with another byte at that place, or (1) one more, or (-1) one less."""
    place = at % (len(good) + more)
    middle = bytes([byte]) if more >= 0 else b""
    return good[:place] + middle + good[place + 1 - max(more, 0) :]


@pytest.mark.slow
class TestTheSameAsLineByLine:
    @pytest.mark.parametrize("documents", [BASELINE, CLASSES], ids=["regression", "classes"])
    def test_on_lines_that_are_alike(self, documents):
        found = both(captures_of(ROWS), documents)
        assert found.paths == {"fast": 600, "general": 0, "single": 0}
        assert found.rows == found.records == 600

    @given(st.lists(odd_lines, max_size=12), st.integers(0, 2**32), st.sampled_from([BASELINE, CLASSES]))
    def test_on_any_lines_among_good_ones(self, odd, seed, documents):
        lines = [*captures_of(ROWS[:40]), *odd]
        random.Random(seed).shuffle(lines)
        found = both(lines, documents)
        assert found.records >= 40

    @given(
        st.lists(st.tuples(st.integers(0), st.integers(0, 255), st.sampled_from([-1, 0, 1])), min_size=1, max_size=20)
    )
    def test_on_lines_of_which_a_byte_is_another_or_missing_or_one_too_many(self, changes):
        good = captures_of(ROWS[:30])
        lines = [mutated(line.rstrip(b"\n"), *change) for line, change in zip(good, changes, strict=False)]
        both([*good[len(lines) :], *lines])

    @pytest.mark.parametrize("tail", [b",", b",,", b",,x", b",x", b"}", b" ", b"\t", b"\xc2\xa0", b'"', b"\\", b"#"])
    def test_on_lines_that_go_on_where_blocks_are_alike(self, tail):
        both([*captures_of(ROWS[:50]), captures_of(ROWS[:1])[0].rstrip(b"\n") + tail, *captures_of(ROWS[:50])])

    def test_on_every_byte_of_a_line(self):
        good = [line.rstrip(b"\n") for line in captures_of(ROWS[:5])]
        lines = [
            mutated(good[index % 5], index, byte)
            for index in range(len(good[0]))
            for byte in b'",\\.\r\x00\x7f\xe91:{}'
        ]
        found = both([*good * 700, *lines])
        assert found.paths["fast"] >= 3500

    @given(st.lists(payloads, min_size=5, max_size=30))
    def test_on_any_values(self, data):
        both([line(text + "\n") for text in data])

    @given(st.integers(1, 7))
    def test_on_numbers_of_every_length(self, seed):
        draw = random.Random(seed)
        texts = [
            f"{draw.choice('+-')}{draw.getrandbits(draw.randrange(1, 64))}.{draw.getrandbits(draw.randrange(1, 64))}"
            for _ in range(200)
        ]
        found = both(captures_of([[text, repr(draw.gauss(0, 1)), "a"] for text in texts]))
        assert found.paths["general"] == 0

    def test_across_batches_and_blocks(self):
        draw = np.random.default_rng(1)
        good = captures_of([[repr(x), f"{x:.2f}", "ab"[x > 0]] for x in draw.normal(size=9000).tolist()])
        for index in range(0, 9000, 7):
            good[index] = [line("1,2,x"), line('{"features":[1,2,"y"]}', encoding="JSON"), b"{", b"\n"][index % 4]
        found = both(good)
        assert found.paths == {"fast": 9000 - 1286 + 322, "general": 321, "single": 321 + 322}

    def test_with_and_without_an_end_of_line(self):
        lines = captures_of(ROWS)
        lines[-1] = lines[-1].rstrip(b"\n")
        assert both(lines).paths["general"] == 0
        assert both([line.rstrip(b"\n") for line in lines]).paths["general"] == 0

    def test_of_another_time(self):
        lines = captures_of(ROWS[:300]) + captures_of(ROWS[300:], time="2026-11-22T15:00:00Z")
        found = both(lines)
        assert (found.rows, found.outside_window, found.paths["general"]) == (300, 300, 0)

    def test_of_a_day_that_does_not_exist(self):
        found = both([*captures_of(ROWS), *captures_of(ROWS[:10], time="2026-02-30T15:00:00Z")])
        assert found.bad_rows == {"bad_time": 10}

    @pytest.mark.parametrize(
        "time",
        [
            "2026-11-22T24:00:00Z",
            "2026-11-22T14:59:60Z",
            "2026-11-22T14:60:00Z",
            "2026-13-22T14:00:00Z",
            "0000-11-22T14:00:00Z",
            "0001-11-22T14:00:00Z",
            "9999-12-31T23:59:59Z",
            "2026-11-22T14:00:00",
            "2026-11-22T15:30:00+01:00",
            "2026-11-22T14:00:00.250Z",
            "2026-11-22 14:00:00Z",
            "\uff12026-11-22T14:00:00Z",
            "20261122T140000Z",
        ],
    )
    def test_times_are_read_as_one_by_one_however_they_are_written(self, time):
        found = both([*captures_of(ROWS[:300]), *captures_of(ROWS[300:], time=time), *captures_of(ROWS[:9])])
        assert found.rows + found.outside_window + sum(found.bad_rows.values()) == len(ROWS) + 9

    def test_without_an_answer_and_of_a_batch_transform(self):
        assert both(captures_of(ROWS, output=None)).paths["general"] == 0
        assert both(captures_of(ROWS, output_key="batchTransformOutput")).paths["general"] == 0

    def test_a_payload_without_an_end_of_line(self):
        lines = [line(",".join(row), event_id=str(index)) for index, row in enumerate(ROWS)]
        assert both(lines).paths["general"] == 0

    def test_with_the_clients_ids(self):
        lines = [line(",".join(row), inference_id=f"order-{index}") for index, row in enumerate(ROWS)]
        lines[7] = line(",".join(ROWS[7]), inference_id="")
        assert both(lines).paths == {"fast": 599, "general": 1, "single": 0}

    @pytest.mark.parametrize("length", [7, 8, 9, 16, 31, 32, 33, 200, 201, 300])
    def test_categories_of_any_length(self, length):
        lines = captures_of([["1", "2", "abc"[index % 3] * (length - index % 2)] for index in range(500)])
        assert both(lines).paths["general"] == 0

    def test_another_layout_is_learned_when_it_comes(self):
        others = captures_of(ROWS * 10, content_type="text/csv; header=absent")
        found = both(captures_of(ROWS * 10) + others)
        assert found.paths["fast"] > 9000

    def test_values_in_json_that_would_be_no_csv(self):
        odd = ["1,5", 'a"b', "x\ny", "x\r", "", " a ", "é", None, True, 7]
        both([line({"instances": [{"features": [1.5, "", text]}]}, encoding="JSON") for text in odd] * 20)


class TestOrder:
    @given(st.lists(st.floats(allow_nan=False).map(lambda value: value + 0.0)))
    def test_is_numpys(self, values):
        numbers = np.array(values, dtype=float)
        assert sort_bits(numbers).tobytes() == np.sort(numbers).tobytes()


class TestWhatIsNotLearned:
    @pytest.mark.parametrize(
        "odd",
        [
            line("1,2\n"),
            line("1,2,a\n", encoding="JSON"),
            line("MSxh", encoding="BASE64"),
            line('1,2,"a"\n'),
            line("1,2,a\n3,4,b\n"),
            line("1,2,é\n"),
            line("1,2,a\n", output="1", output_encoding="JSON"),
            line("1,2,a\n", time=None),
            line("1,2,a\n", event_id=17),
            line(None),
            b"",
            b"{",
            b"null",
            b'{"data":"1,2,a","eventId":"a","inferenceTime":"x"}',
        ],
    )
    def test_has_no_shape(self, odd):
        assert learn(odd.rstrip(b"\n"), 3) is None

    def test_a_line_that_says_data_elsewhere_too(self):
        document = {"groundTruthData": {"data": "1,2,a"}} | record("1,2,a\n")
        assert both([json.dumps(document).encode()] * 50).paths["general"] in {0, 50}

    def test_the_last_of_two_keys_counts_as_it_does_for_json(self):
        twice = line("1,2,a\n").rstrip(b"\n").replace(b'"data": ', b'"data": "7,8,z", "data": ', 1)
        found = both([twice] * 600)
        assert found.features[0].present == 600
        assert found.profile.columns["channel"].counts == {"a": 600}

    def test_a_shape_that_fits_nothing_costs_no_line(self):
        reader = ColumnReader(KINDS, "_prediction", "numeric", WINDOW, Answers())
        assert list(reader.read(b"{\n" * 10).odd) == [(place, b"{") for place in range(10)]
