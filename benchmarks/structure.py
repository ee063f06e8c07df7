"""The structure of src/, drawn from its imports: rooms, floors, arrows that run up, circles, and what is longest.

    make structure                             of this tree
    python benchmarks/structure.py ../other    of another one

A room is a folder of src/retrain. docs/architecture.md has their order, from what everything stands on to what nothing
stands on; an arrow (an import, wherever in a module it is written) that leads to a later room runs up.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
_ROW = re.compile(r"^\| `(\w+)/` \|", re.MULTILINE)

Imports = dict[str, set[str]]  # module → the modules of the same tree that it imports


def order(root: Path = ROOT) -> list[str]:
    """The rooms as docs/architecture.md has them, from the ground up."""
    return _ROW.findall((root / "docs" / "architecture.md").read_text(encoding="utf-8"))


def imports(base: Path, *folders: str) -> Imports:
    """What every module of those folders below `base` imports of them; functions' imports and those for types count."""
    files = {_name(file, base): file for folder in folders for file in sorted((base / folder).rglob("*.py"))}
    return {name: set(_imported(file, name, files)) for name, file in files.items()}


def outside(file: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it, and whether for types alone or not."""
    return {name.partition(".")[0] for name in _names(file)}


def room(module: str) -> str:
    """The room of a module: the folder of the package that it lies in, or the module itself if it lies in none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "retrain" and len(parts) > 1 else parts[0]


def arrows(found: Imports) -> dict[tuple[str, str], list[str]]:
    """Room and room that it imports → the modules that do, as `from → to`."""
    drawn: dict[tuple[str, str], list[str]] = {}
    for module, names in sorted(found.items()):
        for name in sorted(names):
            if room(module) != room(name) and name != "retrain":
                drawn.setdefault((room(module), room(name)), []).append(f"{module} → {name}")
    return drawn


def circle(found: Mapping[str, set[str]]) -> list[str]:
    """A circle of imports, as the names along it; empty if there is none."""
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(found: Imports) -> int:
    """How many storeys modules stand on one another."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(found).static_order():
        height[name] = 1 + max((height.get(below, 0) for below in found.get(name, ())), default=0)
    return max(height.values(), default=0)


def _name(file: Path, base: Path) -> str:
    return ".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def _imported(file: Path, name: str, known: Mapping[str, Path]) -> Iterator[str]:
    for wanted in _names(file):
        while wanted and wanted not in known:
            wanted = wanted.rpartition(".")[0]  # noqa: PLW2901
        if wanted and wanted != name and known[wanted].name != "__init__.py":
            yield wanted


def _names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _classes(base: Path) -> Iterator[tuple[int, str]]:
    for file in sorted(base.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{file.relative_to(base)}: {node.name}"


def report(root: Path) -> Iterator[str]:
    """The lines of the answer."""
    src = root / "src"
    found = imports(src, "retrain", "handlers")
    drawn = arrows(found)
    rooms = sorted({room(module) for module in found if module.count(".") > 1})
    files = sorted(src.rglob("*.py"))
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    longest = max(files, key=lambda file: lines[file])
    size, name = max(_classes(src))
    around = circle(found)
    yield f"rooms {len(rooms)}: {' '.join(rooms)}"
    yield f"modules {len(found)}, floors {'-' if around else floors(found)}, arrows between rooms {len(drawn)}"
    if (root / "docs" / "architecture.md").exists():
        height = {name: index for index, name in enumerate([*order(root), "handlers", "__main__"])}
        up = [
            one for (start, end), those in drawn.items() if height.get(end, -1) > height.get(start, 99) for one in those
        ]
        yield f"arrows up {len(up)} {', '.join(up)}"
    yield f"circle: {' → '.join(around) or 'none'}"
    yield f"longest module {longest.relative_to(src)}, {lines[longest]} lines; longest class {name}, {size} lines"
    yield f"lines of Python in src {sum(lines.values()):,}"


if __name__ == "__main__":
    for line in report(Path(sys.argv[1]) if sys.argv[1:] else ROOT):
        print(line)
