"""Whether the MiniStack that is installed has every name that this folder touches: its inside is no interface.

The names are read from the code that touches them, so there is no list to keep.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

VERSION = "1.5.33"  # of pyproject.toml


class OtherMiniStackError(Exception):
    """MiniStack is not the one that the embedded AWS was written for."""


def require_names(folder: Path = Path(__file__).parent) -> None:
    """MiniStack has what the code in that folder uses of it.

    Raises `OtherMiniStackError` naming what is missing, and the remedy.
    """
    missing = sorted(
        f"{module}.{name}"
        for file in sorted(folder.rglob("*.py"))
        for module, name in touched(file)
        if not _has(module, name)
    )
    if missing:
        raise OtherMiniStackError(
            f"MiniStack {version('ministack')} lacks {', '.join(missing)}. The embedded AWS replaces parts of version "
            f"{VERSION}: install that one (make setup), or change local/ministack.py where it uses these names"
        )


def touched(file: Path) -> set[tuple[str, str]]:
    """Module of MiniStack and name in it, for every `module.name` and `from module import name` in the file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[tuple[str, str]] = set()
    for scope in ast.walk(tree):
        if isinstance(scope, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
            bound = dict(_bound(scope))
            found |= {(module.rpartition(".")[0], module.rpartition(".")[2]) for module in bound.values()}
            for node in ast.walk(scope):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
                    found.add((bound[node.value.id], node.attr))
    return found


def _bound(scope: ast.AST) -> Iterator[tuple[str, str]]:
    """The name in the scope, and the module or thing of MiniStack that it stands for."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ministack":
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _has(module: str, name: str) -> bool:
    try:
        owner: object = import_module(module)
    except ImportError:
        above, _, last = module.rpartition(".")
        owner = getattr(import_module(above), last, None)
    if hasattr(owner, name):
        return True
    try:
        import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True
