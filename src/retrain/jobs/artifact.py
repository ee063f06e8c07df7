"""Reading a model artefact, model.tar.gz, without unpacking what it may hold besides."""

from __future__ import annotations

import tarfile
from pathlib import Path

import xgboost as xgb

from retrain.errors import Refused
from retrain.jobs.inference import ENCODER, MODEL, Encoder, Model


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
