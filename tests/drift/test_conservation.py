"""Nothing is lost: rows that came in are judged or counted, and so are answers and questions without a counterpart."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from capture_records import line
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.intake import read_captures

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
ROWS = [[str(number), "ab"[number % 2]] for number in range(200)]
STATISTICS = read_statistics(
    baseline_of(ROWS, {"x": "numeric", "town": "categorical"}, None, [str(n / 200) for n in range(200)])[0]
)
ROW = st.lists(st.sampled_from(["1", "2.5", "a", "", "N/A"]), min_size=1, max_size=3)
CAPTURE = st.tuples(
    st.lists(ROW, min_size=1, max_size=4),
    st.lists(st.sampled_from(["0.25", "0.5", "x"]), max_size=5),
    st.sampled_from(["CSV", "JSON"]),
)
BROKEN = st.sampled_from([b"{\n", b"[]\n", b'{"captureData": {}}\n', line('"a,1\nb,2\n')])


@settings(deadline=None)
@given(st.lists(CAPTURE, max_size=12), st.lists(BROKEN, max_size=3), st.booleans())
def test_rows_and_answers_that_came_in_are_judged_or_counted(captures, broken, fast) -> None:
    lines = []
    for number, (rows, answers, encoding) in enumerate(captures):
        asked = "".join(",".join(row) + "\n" for row in rows) if encoding == "CSV" else json.dumps(rows)
        answered = "".join(f"{answer}\n" for answer in answers)
        lines.append(line(asked, encoding=encoding, output=answered, event_id=f"e{number}"))
    intake = read_captures([("a.jsonl", [*lines, *broken])], STATISTICS, WINDOW, fast)
    came = sum(len([row for row in rows if row != [""] or encoding == "JSON"]) for rows, _, encoding in captures)
    assert intake.profile.rows + sum(intake.widths.values()) == came
    assert intake.quarantine.bad == len(broken)
    assert intake.records == len(captures)
    for column in intake.profile.columns.values():
        bad = getattr(column, "bad", 0)
        assert column.present + column.missing + bad == intake.profile.rows
    given_answers = sum(len(answers) for _, answers, _ in captures)
    assert intake.prediction.rows == given_answers
    surplus = intake.quarantine.notes["answers_without_question"] - intake.quarantine.notes["questions_without_answer"]
    assert surplus == given_answers - came
