"""What the pipeline's jobs need: which files the publisher uploads, and the definition that refers to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
# The rooms that jobs import. The control plane stays out: changing it need not publish new job code.
ROOMS = ("core", "model", "capture", "drift", "quality", "training", "gate", "jobs")
DEFINITIONS = {"one": "definition.json", "each": "definition-each.json"}  # by who trains the candidates
_WAIT = 4  # waiting for spot capacity and running, as a multiple of running alone
# Script mode looks for these at the top of the source archive.
_PROGRAMS = {"train.py": "jobs/train.py", "inference.py": "model/serving.py"}


def package_files() -> dict[str, Path]:
    """The files of the `retrain` package below the code prefix, by name: what PYTHONPATH of a Processing job sees."""
    files = [_PACKAGE / "__init__.py", *(file for room in ROOMS for file in sorted((_PACKAGE / room).glob("*.py")))]
    return {f"retrain/{file.relative_to(_PACKAGE).as_posix()}": file for file in files}


def source_files() -> dict[str, Path]:
    """The files of `source.tar.gz`, by name: the package, and the script-mode programs at its top."""
    return {**{name: _PACKAGE / file for name, file in _PROGRAMS.items()}, **package_files()}


def definition(candidate_jobs: str, spot: bool) -> dict[str, Any]:
    """The pipeline's definition as pipeline.author wrote it, with `one` candidate job or `each` its own.

    On spot instances training jobs wait for capacity. That has to be in the definition and can't be a parameter of it:
    SageMaker takes a time to wait only of jobs that ask for spot instances.
    """
    document: dict[str, Any] = json.loads(
        Path(__file__).with_name(DEFINITIONS[candidate_jobs]).read_text(encoding="utf-8")
    )
    for step in document["Steps"]:
        if spot and step["Type"] == "Training":
            stop = step["Arguments"]["StoppingCondition"]
            stop["MaxWaitTimeInSeconds"] = stop["MaxRuntimeInSeconds"] * _WAIT
            step["Arguments"]["EnableManagedSpotTraining"] = True
    return document
