"""What the documents say of themselves and of the code stays true."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from local.template import source
from retrain.core.errors import InvalidSpec
from retrain.model.monitor_options import MonitorOptions
from retrain.model.read_spec import parse_spec
from retrain.model.spec import DatasetOptions, EconomicsOptions, GateOptions, TrainingOptions

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


def _documented(section: str) -> dict[str, str]:
    """Key and default of each line of the section's table, in its order."""
    page = (ROOT / "docs" / "bring-your-own-model.md").read_text().split(f"### The section `[{section}]`\n")[1]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \| ", page.split("\n#")[0], re.M))


OPTIONS = {
    "training": TrainingOptions,
    "dataset": DatasetOptions,
    "gate": GateOptions,
    "economics": EconomicsOptions,
    "monitor": MonitorOptions,
}


@pytest.mark.parametrize("section", OPTIONS)
def test_every_option_of_model_toml_is_documented_with_its_default(section: str) -> None:
    documented, options = _documented(section), fields(OPTIONS[section])
    assert list(documented) == [option.name for option in options]
    for option in options:
        if isinstance(option.default, int | float | str):
            assert documented[option.name].strip('`"') == str(option.default)
        elif option.default and isinstance(option.default, tuple):
            assert json.loads(documented[option.name].strip("`")) == list(option.default)


def test_every_key_of_the_section_model_is_documented() -> None:
    with pytest.raises(InvalidSpec) as told:
        parse_spec("[model]\nnobody = 1")
    known = str(told.value).partition("unknown key: ")[2].removesuffix(" are expected")
    assert list(_documented("model")) == re.split(", | and ", known)


def test_every_parameter_of_the_stack_is_in_the_readme_as_the_template_says() -> None:
    readme = (ROOT / "README.md").read_text().split("| parameter | default | what it changes |")[1].split("\n\n")[0]
    said = {
        name: (default, text) for name, default, text in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", readme, re.M)
    }
    assert said == {
        name: (_default(parameter), parameter["Description"]) for name, parameter in source()["Parameters"].items()
    }


def _default(parameter: dict[str, Any]) -> str:
    if "Default" not in parameter:
        return "*(asked)*"
    return f"`{parameter['Default']}`" if parameter["Default"] != "" else "*(empty)*"


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


def test_every_event_has_its_line_which_an_end_to_end_test_asks_for() -> None:
    lines = re.findall(r"^\| `([a-z-]+\.json)` \|", (ROOT / "events" / "README.md").read_text(), re.M)
    assert lines == sorted(file.name for file in (ROOT / "events").glob("*.json"))
