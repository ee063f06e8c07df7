"""What the pipeline's jobs need: which files the publisher uploads, and the definition that refers to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
# The modules that jobs import. What runs in Lambda functions stays out: changing it need not publish new job code.
MODULES = (
    "__init__",
    "baseline",
    "capture",
    "checkpoint",
    "clock",
    "dataset",
    "drift",
    "errors",
    "evaluation",
    "gate",
    "ground_truth",
    "profile",
    "quality",
    "spec",
    "table",
    "training",
    "jobs/__init__",
    "jobs/artifact",
    "jobs/baseline",
    "jobs/dataset",
    "jobs/entry",
    "jobs/evaluate",
    "jobs/inference",
    "jobs/train",
)
TOP = ("train", "inference")  # script mode looks for these at the top of the source archive


def package_files() -> dict[str, Path]:
    """The files of the `retrain` package below the code prefix, by name: what PYTHONPATH of a Processing job sees."""
    return {f"retrain/{name}.py": _PACKAGE / f"{name}.py" for name in MODULES}


def source_files() -> dict[str, Path]:
    """The files of `source.tar.gz`, by name: the package, and the script-mode programs at its top."""
    return {**{f"{name}.py": _PACKAGE / "jobs" / f"{name}.py" for name in TOP}, **package_files()}


def definition() -> dict[str, Any]:
    """The pipeline's definition as it was authored by retrain.pipeline."""
    document: dict[str, Any] = json.loads((_PACKAGE / "definition.json").read_text(encoding="utf-8"))
    return document
