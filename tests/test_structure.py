"""The structure of the code, as docs/architecture.md says it is: rooms in an order, and every import goes down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.structure import ROOT, arrows, circle, imports, order, outside, room

SRC = ROOT / "src"
FOUND = imports(SRC, "retrain", "handlers")
ARITHMETIC = {"numpy", "polars", "pandas", "pyarrow", "scipy", "sklearn", "xgboost"}


def test_the_documented_rooms_are_the_folders() -> None:
    assert sorted(order()) == sorted(file.parent.name for file in SRC.glob("retrain/*/__init__.py"))


def test_every_arrow_between_rooms_points_down() -> None:
    height = {name: floor for floor, name in enumerate([*order(), "handlers", "__main__"])}
    up = [one for (start, end), those in arrows(FOUND).items() if height[end] > height[start] for one in those]
    assert up == []


@pytest.mark.parametrize(
    "folders", [("src", "retrain", "handlers"), (".", "local"), (".", "demo"), (".", "benchmarks")]
)
def test_no_modules_import_each_other_in_a_circle(folders: tuple[str, ...]) -> None:
    base, *within = folders
    assert circle(imports(ROOT / base, *within)) == []


def test_a_circle_and_an_arrow_are_found_where_there_are_some(tmp_path: Path) -> None:
    for name, text in {
        "retrain/low/a.py": "def f():\n    from retrain.high import b\n",
        "retrain/high/b.py": "import retrain.low.a\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    found = imports(tmp_path, "retrain")
    assert arrows(found) == {
        ("low", "high"): ["retrain.low.a → retrain.high.b"],
        ("high", "low"): ["retrain.high.b → retrain.low.a"],
    }
    assert set(circle(found)) == {"retrain.low.a", "retrain.high.b"}


def test_the_control_plane_does_no_arithmetic() -> None:
    for name in ("core", "aws", "episode", "deployed"):
        for file in (SRC / "retrain" / name).glob("*.py"):
            assert outside(file) & ARITHMETIC == set(), file


def test_only_handlers_know_what_a_deployed_function_is_made_of() -> None:
    users = {room(module) for module, names in FOUND.items() for name in names if room(name) == "deployed"}
    assert users - {"deployed"} == {"handlers"}


def test_every_module_that_the_documents_name_is_there() -> None:
    rooms = "|".join([*order(), "handlers"])
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(rf"`(?:src/)?(?:retrain/)?((?:{rooms})/[\w./-]+\.\w+)`", document.read_text()):
            assert (SRC / "retrain" / name).exists() or (SRC / name).exists(), f"{document.name}: {name}"
