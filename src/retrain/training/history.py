"""The labelled rows of earlier windows: what was learned once is there to be learned from again.

Every window's dataset leaves its labelled rows behind, at most as many as all old rows together may be, whether its
challenger was promoted or not. The winter's are there when the next winter comes, although five champions have come and
gone since. Which windows count is the ledger's to say (`python -m retrain exclude` takes one out); a folder here is one
window's:

    rows.csv        the rows with label, `__age`, `__original`, `__time` and `__held` (`retrain.training.dataset`)
    manifest.json   of which episode and window they are, their classes, and the SHA-256 of rows.csv
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrain.core.errors import Refused
from retrain.model.spec import Spec
from retrain.model.table import Table, concat, read_table, write_table
from retrain.training.dataset import AGE, HELD, ORIGINAL, TIME, Dataset, Reference, kinds, sha256

_ROWS, _MANIFEST = "rows.csv", "manifest.json"


def reference_of(windows: Sequence[Table], classes: frozenset[str] = frozenset()) -> Reference:
    """What the kept rows of those windows, oldest first, give to the next dataset."""
    ages = range(len(windows), 0, -1)
    aged = [rows.having(AGE, rows.numbers(AGE) + age) for rows, age in zip(windows, ages, strict=True)]
    return Reference(concat(aged), classes)


def write_rows(folder: Path, dataset: Dataset, episode_id: str) -> str:
    """The folder holds the window's rows for those to come; the SHA-256 of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / _ROWS, dataset.kept)
    manifest = {
        "version": 1,
        "episode_id": episode_id,
        "window": dataset.manifest.get("window"),
        "rows": len(dataset.kept),
        "classes": dataset.manifest.get("classes", []),
        "sha256": {_ROWS: sha256(folder / _ROWS)},
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return sha256(folder / _MANIFEST)


def read_history(folder: Path, spec: Spec) -> tuple[Reference | None, dict[str, str]]:
    """The kept rows of all windows below the folder, and the SHA-256 of each one's manifest by its episode.

    None without a window. Raises `Refused("artifact_tampered")` for rows that are not as they were written.
    """
    found = [(path, _read_manifest(path)) for path in folder.rglob(_MANIFEST)]
    # The first model's window, which has no times, comes before all others.
    found.sort(key=lambda item: ((item[1]["window"] or {}).get("start", ""), item[1]["episode_id"]))
    wanted = {**kinds(spec), ORIGINAL: "numeric", HELD: "numeric", TIME: "numeric"}
    tables = [read_table(path.parent / _ROWS, wanted) for path, _ in found]
    classes = frozenset(name for _, manifest in found for name in manifest["classes"])
    names = {str(manifest["episode_id"]): sha256(path) for path, manifest in found}
    return (reference_of(tables, classes) if tables else None), names


def _read_manifest(path: Path) -> Mapping[str, Any]:
    rows = path.parent / _ROWS
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expected, _ = manifest["sha256"][_ROWS], (manifest["window"], manifest["classes"], manifest["episode_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("artifact_tampered", f"the rows in {path.parent.name} have no manifest: {error!r}") from error
    found = sha256(rows) if rows.is_file() else "missing"
    if found != expected:
        raise Refused("artifact_tampered", f"{path.parent.name}/{_ROWS} has SHA-256 {found}, not {expected}")
    return manifest
