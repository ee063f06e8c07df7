"""Documents that name tests: every one of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = [
    (document, file, test)
    for document in ("limits.md", "threat-model.md")
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / document).read_text())
]


@pytest.mark.parametrize(("document", "file", "test"), NAMED)
def test_a_test_that_a_document_names_is_there(document: str, file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert test in {item.name for item in ast.walk(tree) if isinstance(item, ast.FunctionDef)}


@pytest.mark.parametrize("document", ["limits.md", "threat-model.md"])
def test_every_row_of_the_tables_names_a_test_or_says_that_there_is_none(document: str) -> None:
    rows = [line for line in (ROOT / "docs" / document).read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        assert "`tests/" in row or (document == "limits.md" and row.endswith("| — |")), row
