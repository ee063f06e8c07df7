"""What the pipeline's jobs need: which files the publisher uploads."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# The rooms that jobs import. The control plane stays out: changing it need not publish new job code.
ROOMS = ("core", "model", "capture", "drift", "quality", "training", "gate", "jobs")
# Script mode looks for these at the top of the source archive.
_PROGRAMS = {"train.py": "jobs/train.py", "inference.py": "model/serving.py"}


def package_files() -> dict[str, Path]:
    """The files of the `retrain` package below the code prefix, by name: what PYTHONPATH of a Processing job sees."""
    files = [_PACKAGE / "__init__.py", *(file for room in ROOMS for file in sorted((_PACKAGE / room).glob("*.py")))]
    return {f"retrain/{file.relative_to(_PACKAGE).as_posix()}": file for file in files}


def source_files() -> dict[str, Path]:
    """The files of `source.tar.gz`, by name: the package, and the script-mode programs at its top."""
    return {**{name: _PACKAGE / file for name, file in _PROGRAMS.items()}, **package_files()}
