"""TrainChallenger: what the XGBoost container's script mode runs.

Channels: `train` (train.csv), `validation` (validation.csv), `spec` (model.toml) and `champion` (model.tar.gz; at
bootstrap a placeholder that is no archive). Then the model folder holds the booster and, in `code/`, what serving
needs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from retrain.dataset import kinds, sha256
from retrain.errors import Refused
from retrain.jobs import inference
from retrain.jobs.artifact import load_model
from retrain.spec import Spec, read_spec
from retrain.table import read_table
from retrain.training import Challenger, train


def main(arguments: list[str] | None = None) -> None:
    """The model folder holds the challenger. Raises `Refused`, which the toolkit puts into the failure file."""
    options = _options().parse_args(arguments)
    spec_file = options.spec / "model.toml"
    spec = read_spec(spec_file)
    rows = read_table(options.train / "train.csv", kinds(spec))
    validation = read_table(options.validation / "validation.csv", kinds(spec))
    archive = options.champion / "model.tar.gz"
    if not archive.exists() and options.bootstrap != "true":
        raise Refused("no_champion", "the champion channel has no model.tar.gz, and this is not a bootstrap")
    challenger = train(spec, rows, validation, load_model(archive) if archive.exists() else None)
    lineage = _lineage(options, spec, challenger, archive)
    _write(options.model_dir, challenger, spec_file, lineage)
    options.output_data_dir.mkdir(parents=True, exist_ok=True)
    (options.output_data_dir / "training.json").write_text(json.dumps(lineage, indent=1) + "\n", encoding="utf-8")
    for candidate in challenger.candidates:
        value = (
            candidate.skipped or f"{spec.metric} {candidate.validation:.6g} on validation, {candidate.rounds} rounds"
        )
        print(f"{candidate.name}: {value}")
    print(f"chosen: {challenger.chosen}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episode_id", required=True)
    parser.add_argument("--bootstrap", choices=("true", "false"), type=str.lower, required=True)
    for channel in ("train", "validation", "spec", "champion"):
        parser.add_argument(f"--{channel}", type=Path, default=os.environ.get(f"SM_CHANNEL_{channel.upper()}"))
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--output-data-dir", type=Path, default=os.environ.get("SM_OUTPUT_DATA_DIR"))
    return parser


def _lineage(options: argparse.Namespace, spec: Spec, challenger: Challenger, archive: Path) -> dict[str, Any]:
    """Where the model comes from: the same inputs give the same text."""
    return {
        "version": 1,
        "episode_id": options.episode_id,
        "candidate": challenger.chosen,
        "metric": spec.metric,
        "candidates": [
            {
                "name": c.name,
                "validation": c.validation,
                "rounds": c.rounds,
                **({"skipped": c.skipped} if c.skipped else {}),
            }
            for c in challenger.candidates
        ],
        "hyperparameters": {**spec.hyperparameters, "num_boost_round": spec.num_boost_round},
        "seed": spec.training.seed,
        "sha256": {
            "train.csv": sha256(options.train / "train.csv"),
            "validation.csv": sha256(options.validation / "validation.csv"),
            "model.toml": sha256(options.spec / "model.toml"),
            **({"champion": sha256(archive)} if archive.exists() else {}),
        },
        "versions": {"python": platform.python_version(), "xgboost": xgb.__version__, "numpy": np.__version__},
    }


def _write(folder: Path, challenger: Challenger, spec_file: Path, lineage: dict[str, Any]) -> None:
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    challenger.model.booster.save_model(folder / inference.MODEL)
    (folder / inference.ENCODER).write_text(challenger.model.encoder.dump(), encoding="utf-8")
    (code / "lineage.json").write_text(json.dumps(lineage, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(spec_file, code / "model.toml")
    shutil.copyfile(inference.__file__, code / "inference.py")


if __name__ == "__main__":
    main()
