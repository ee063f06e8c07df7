"""What the documents say of themselves and of the code stays true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_the_index_of_decisions_is_that_of_the_files() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "decisions" / "index.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _measured(target: str) -> bool:
    """Whether it is a benchmark's document, which is there once that has run."""
    return "benchmarks/" in target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        assert re.match(r"[a-z]+:", target) or (document.parent / target).exists() or _measured(target), target


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda file: file.name)
def test_every_make_target_that_is_named_is_there(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`(?:[A-Z]+=\S+ )*make ([a-z-]+)", document.read_text())) <= targets


def test_no_docstring_begins_with_the_same() -> None:
    """It says what is the same as something that the reader has not read."""
    found = [
        f"{file.relative_to(ROOT)}: {getattr(node, 'name', '')}"
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (ast.get_docstring(node) or "").startswith("The same")
    ]
    assert found == []
