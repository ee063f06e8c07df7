"""Whatever a capture file holds: it is read to its end, no good line of it is lost, and every line is accounted for."""

from __future__ import annotations

import gzip
import random
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from capture_records import line
from hypothesis import given
from hypothesis import strategies as st

from retrain.drift.baseline import Statistics, baseline_of, read_statistics
from retrain.drift.intake import Intake, read_captures
from retrain.model.monitor_options import MonitorOptions

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
MUTATED = 10_000
SIGNS = [bytes([byte]) for byte in b'",\\.\r\x00\x7f\xe9\n:{}[]0eE-+ \t\x1f\x8b'] + [
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\ud800",
]


def statistics_of(kinds: dict[str, str]) -> Statistics:
    rows = [["1.5" if kind == "numeric" else "a" for kind in kinds.values()]] * 50
    return read_statistics(baseline_of(rows, kinds, MonitorOptions(min_rows=1), [0.1, 0.2])[0])


STATISTICS = statistics_of({"age": "numeric", "income": "numeric", "channel": "categorical"})
ONE_NUMBER, ONE_TEXT = statistics_of({"age": "numeric"}), statistics_of({"channel": "categorical"})


def intake_of(content: bytes, statistics: Statistics = STATISTICS, fast: bool = True) -> Intake:
    return read_captures([("a.jsonl", [content])], statistics, WINDOW, fast)


def good(index: int) -> bytes:
    """A line whose category nothing else has."""
    return line(f"{index / 7:.4f},{index},good\n", event_id=f"event-{index}")


def kinds_of_lines(index: int) -> list[bytes]:
    row = f"{index / 7:.4f},{index},b"
    return [
        line(row + "\n", inference_id=f"order-{index}"),
        line(f"{row}\n{row}\n", output="0.1\n0.2\n"),
        line('{"instances":[{"features":[1.5,2,"b"]}]}', encoding="JSON"),
        line('{"age":1.5,"income":2,"channel":"b"}', encoding="JSON"),
        line(b64encode(row.encode()).decode(), encoding="BASE64"),
        line(row, output_key="batchTransformOutput"),
        line(f'"{index}",,"b"\r\n', output=None),
    ]


def mutated(text: bytes, draw: random.Random, other: bytes) -> bytes:
    """The line after one to three accidents."""
    for _ in range(draw.randint(1, 3)):
        at, to = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        match draw.randrange(6):
            case 0:
                text = text[:at] + draw.choice(SIGNS) + text[at:]
            case 1:
                text = text[:at] + draw.choice(SIGNS) + text[at + 1 :]
            case 2:
                text = text[:at] + text[at + draw.randint(1, 8) :]
            case 3:
                text = text[:at] + text[at:to] * 2 + text[to:]
            case 4:
                text = text[:at]
            case _:
                text = text[:at] + other[at:]
    return text


def accounted_for(found: Intake) -> bool:
    """Whether every line is a record, bad, or of another time."""
    quarantine = found.quarantine
    return quarantine.lines == found.records + quarantine.bad + quarantine.outside_window


def summary(found: Intake) -> list[object]:
    quarantine = found.quarantine
    counts = [sorted(column.counts.items()) for column in found.profile.columns.values() if hasattr(column, "counts")]
    numbers = [
        (column.present, column.missing, column.bad, column.total)
        for column in found.profile.columns.values()
        if not hasattr(column, "counts")
    ]
    return [found.records, found.profile.rows, found.prediction.rows, sorted(found.widths.items()), counts, numbers,
            quarantine.lines, sorted(quarantine.reasons.items()), quarantine.outside_window]  # fmt: skip


@pytest.mark.slow
def test_ten_thousand_mutated_lines_lose_no_good_one() -> None:
    draw = random.Random(11)
    lines: list[bytes] = []
    for index in range(MUTATED):
        one, other = draw.sample(kinds_of_lines(index), 2)
        lines.append(mutated(one.rstrip(b"\n"), draw, other.rstrip(b"\n")) + b"\n")
    at = [draw.randrange(MUTATED) for _ in range(5_000)]
    for index, place in enumerate(at):
        lines.insert(place, good(index))
    content = good(0) + b"".join(lines)  # what begins like a gz file would be one
    found = intake_of(content)
    assert found.profile.columns["channel"].counts["good"] == 5_001
    assert accounted_for(found)
    assert found.quarantine.bad > MUTATED / 4
    assert min(found.paths.values()) > 100
    assert summary(found) == summary(intake_of(content, fast=False))


def test_a_gz_file_with_an_accident_is_read_up_to_it() -> None:
    draw = random.Random(5)
    packed = gzip.compress(b"".join(good(index) for index in range(400)), mtime=0)
    for _ in range(300):
        found = intake_of(packed[:2] + mutated(packed[2:], draw, packed))
        assert accounted_for(found)
        assert found.records <= 2 * 400


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(SIGNS), st.just(good(3))), max_size=12))
def test_any_bytes_between_good_lines_lose_none_of_them(junk: list[bytes]) -> None:
    found = intake_of(b"".join([good(1), *(part + b"\n" + good(2) for part in junk), good(1)]))
    assert found.profile.columns["channel"].counts["good"] >= 2 + len(junk)
    assert accounted_for(found)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_file_are_read_to_their_end(content: bytes) -> None:
    assert accounted_for(intake_of(content))


values = st.one_of(
    st.text(max_size=6),
    st.text("0123456789.-+eE ", max_size=8),
    st.sampled_from(["", " ", "  ", "\t", "\x0b", "\x1c", "\x85", "\u2028", "\ufeff", "\ufeff1", "#", "nan", "\x00"]),
)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", [ONE_NUMBER, ONE_TEXT], ids=["number", "text"])
@given(st.lists(st.one_of(values, st.lists(values, max_size=3).map("\n".join)), min_size=1, max_size=12))
def test_a_single_column_is_read_whatever_its_values_are(statistics: Statistics, data: list[str]) -> None:
    lines = [line(text + "\n", output=answer) for text in data for answer in ("0.1\n", text)]
    content = b"".join([line("1\n")] * 8 + lines)
    found = intake_of(content, statistics)
    assert accounted_for(found)
    assert summary(found) == summary(intake_of(content, statistics, fast=False))
