"""Reading a model artefact, model.tar.gz, without unpacking what it may hold besides."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from retrain.core.errors import Refused
from retrain.model.serving import ENCODER, MODEL, Encoder, Model

LINEAGE = "code/lineage.json"


def importance(model: Model) -> dict[str, float]:
    """Each feature's share of the gain of all the model's splits; what splits nothing has 0, and all are 0 for a stump.

    Empty for a booster without trees, which has no gain.
    """
    try:
        gains = model.booster.get_score(importance_type="total_gain")
    except xgb.core.XGBoostError:
        return {}
    values = [float(np.sum(gains.get(f"f{index}", 0.0))) for index in range(len(model.encoder.names))]
    total = sum(values) or 1.0
    return {name: value / total for name, value in zip(model.encoder.names, values, strict=True)}


def load_model(archive: Path) -> Model:
    """The model in the archive."""
    model, encoder = _members(archive, MODEL, ENCODER)
    try:
        booster = xgb.Booster()
        booster.load_model(bytearray(model))
        return Model(booster, Encoder.load(encoder))
    except (KeyError, TypeError, ValueError, xgb.core.XGBoostError) as error:
        raise _no_model(archive, error) from error


def read_lineage(archive: Path) -> dict[str, Any]:
    """What the training wrote down about where the archive's model comes from."""
    (text,) = _members(archive, LINEAGE)
    try:
        lineage: dict[str, Any] = json.loads(text)
        lineage["sha256"]["train.csv"]
    except (KeyError, TypeError, ValueError) as error:
        raise _no_model(archive, error) from error
    return lineage


def _members(archive: Path, *names: str) -> list[bytes]:
    """The content of those regular files of the archive."""
    try:
        with tarfile.open(archive) as tar:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers() if member.isfile()}
            return [file.read() for name in names if (file := tar.extractfile(members[name]))]
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise _no_model(archive, error) from error


def _no_model(archive: Path, error: Exception) -> Refused:
    return Refused("artifact_tampered", f"{archive.name} is no model that this pipeline made: {error}")
