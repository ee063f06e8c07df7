"""Reading a model artefact, model.tar.gz, without unpacking what it may hold besides."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from retrain.errors import Refused
from retrain.jobs.inference import ENCODER, MODEL, Encoder, Model

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
    try:
        with tarfile.open(archive) as tar:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers() if member.isfile()}
            files = []
            for name in (MODEL, ENCODER):
                file = tar.extractfile(members[name])
                assert file is not None  # it is a regular file
                files.append(file.read())
        booster = xgb.Booster()
        booster.load_model(bytearray(files[0]))
        return Model(booster, Encoder.load(files[1]))
    except (tarfile.TarError, KeyError, ValueError, xgb.core.XGBoostError) as error:
        raise Refused("artifact_tampered", f"{archive.name} is no model that this pipeline made: {error}") from error


def read_lineage(archive: Path) -> dict[str, Any]:
    """What the training wrote about where the model in the archive comes from; empty if it wrote nothing."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.removeprefix("./") == LINEAGE and (file := tar.extractfile(member)):
                    lineage: dict[str, Any] = json.load(file)
                    return lineage
    except (OSError, tarfile.TarError, ValueError) as error:
        raise Refused("artifact_tampered", f"{archive.name} can't be read: {error}") from error
    return {}
