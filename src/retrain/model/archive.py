"""A model artefact: the folder that SageMaker packs as model.tar.gz, and that archive, read without unpacking it."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from retrain.core.errors import Refused
from retrain.model import serving
from retrain.model.serving import ENCODER, MODEL, Encoder, Model

LINEAGE = "code/lineage.json"
TWIN = "code/twin.ubj"  # beside the model that serves: the one that was judged


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
    """The model in the archive, which serves."""
    return _load(archive, MODEL)


def load_twin(archive: Path) -> Model:
    """The model in the archive that was judged. In one that was made before there were twins, it is what serves."""
    return _load(archive, TWIN if "refit" in read_lineage(archive) else MODEL)


def _load(archive: Path, name: str) -> Model:
    model, encoder = _members(archive, name, ENCODER)
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


def write_lineage(folder: Path, lineage: dict[str, Any]) -> None:
    """The folder holds the lineage, of a model or of a candidate that was not trained."""
    (folder / LINEAGE).parent.mkdir(parents=True, exist_ok=True)
    (folder / LINEAGE).write_text(_json(lineage), encoding="utf-8")


def write_model(folder: Path, model: Model, twin: Model, spec_file: Path, lineage: dict[str, Any]) -> None:
    """The folder holds the lineage, the booster that serves and its twin, which have one encoder, and what serves."""
    write_lineage(folder, lineage)
    model.booster.save_model(folder / MODEL)
    twin.booster.save_model(folder / TWIN)
    (folder / ENCODER).write_text(model.encoder.dump(), encoding="utf-8")
    shutil.copyfile(spec_file, folder / "code" / "model.toml")
    shutil.copyfile(serving.__file__, folder / "code" / "inference.py")


def copy_archive(source: Path, target: Path, lineage: dict[str, Any]) -> None:
    """The target is the source with another lineage; equal archives and lineages give equal bytes."""
    with (
        tarfile.open(source) as old,
        target.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w") as new,
    ):
        for member in old:
            if member.isfile() and (content := old.extractfile(member)):
                name = member.name.removeprefix("./")
                data = _json(lineage).encode() if name == LINEAGE else content.read()
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                new.addfile(info, io.BytesIO(data))


def _json(lineage: dict[str, Any]) -> str:
    return json.dumps(lineage, indent=1) + "\n"


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
