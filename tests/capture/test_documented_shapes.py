"""What is read of a capture, told and refused: every case, and docs/data.md, which is written from the cases."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from capture_records import line
from shapes import ANSWERS, COLUMNS, PAGE, QUESTIONS, REFUSED, Answer, Question, answered, asked, written

from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of

WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)


@pytest.mark.parametrize("case", [*QUESTIONS, *REFUSED], ids=lambda case: f"{case.encoding} {case.body}")
def test_every_documented_request_is_read_as_it_says(case: Question) -> None:
    assert asked(case) == case.rows


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: f"{case.encoding} {case.body} {case.said}")
def test_every_documented_answer_is_read_as_it_says(case: Answer) -> None:
    assert answered(case) == case.read


def test_the_page_is_what_the_cases_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "docs/data.md is not of these cases: make shapes"


@pytest.mark.parametrize("case", [case for case in QUESTIONS if case.encoding != "BASE64"], ids=lambda case: case.body)
def test_by_the_column_a_request_is_read_as_by_the_line(case: Question) -> None:
    rows = [["44", "web"], ["45", "app"]] * 20
    baseline = baseline_of(rows, {"age": "numeric", "town": "categorical"})
    lines = [line(case.body, encoding=case.encoding, output=None)] * 600
    fast, slow = (analyse([("a.jsonl", lines)], *baseline, WINDOW, fast=fast).document() for fast in (True, False))
    assert json.dumps(fast | {"paths": None}) == json.dumps(slow | {"paths": None})
    assert fast["records"] == 600
    assert {item["name"] for item in fast["features"]} == set(COLUMNS)
