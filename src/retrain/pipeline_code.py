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
    "columns",
    "comparison",
    "dataset",
    "drift",
    "errors",
    "evaluation",
    "gate",
    "ground_truth",
    "intake",
    "profile",
    "quality",
    "spec",
    "stored",
    "suspect",
    "table",
    "training",
    "window",
    "jobs/__init__",
    "jobs/artifact",
    "jobs/baseline",
    "jobs/choose",
    "jobs/dataset",
    "jobs/entry",
    "jobs/evaluate",
    "jobs/inference",
    "jobs/intake",
    "jobs/together",
    "jobs/train",
)
DEFINITIONS = {"one": "definition.json", "each": "definition-each.json"}  # by who trains the candidates
_WAIT = 4  # waiting for spot capacity and running, as a multiple of running alone
TOP = ("train", "inference")  # script mode looks for these at the top of the source archive


def package_files() -> dict[str, Path]:
    """The files of the `retrain` package below the code prefix, by name: what PYTHONPATH of a Processing job sees."""
    return {f"retrain/{name}.py": _PACKAGE / f"{name}.py" for name in MODULES}


def source_files() -> dict[str, Path]:
    """The files of `source.tar.gz`, by name: the package, and the script-mode programs at its top."""
    return {**{f"{name}.py": _PACKAGE / "jobs" / f"{name}.py" for name in TOP}, **package_files()}


def definition(candidate_jobs: str, spot: bool) -> dict[str, Any]:
    """The pipeline's definition as it was authored by retrain.pipeline, with `one` candidate job or `each` its own.

    On spot instances training jobs wait for capacity. That has to be in the definition and can't be a parameter of it:
    SageMaker takes a time to wait only of jobs that ask for spot instances.
    """
    document: dict[str, Any] = json.loads((_PACKAGE / DEFINITIONS[candidate_jobs]).read_text(encoding="utf-8"))
    for step in document["Steps"]:
        if spot and step["Type"] == "Training":
            stop = step["Arguments"]["StoppingCondition"]
            stop["MaxWaitTimeInSeconds"] = stop["MaxRuntimeInSeconds"] * _WAIT
            step["Arguments"]["EnableManagedSpotTraining"] = True
    return document
