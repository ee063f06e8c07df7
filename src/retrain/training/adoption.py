"""A model that others trained and that serves already, taken over as it is: nothing of it is learned anew.

Its archive is one of this application's, or what SageMaker's built-in XGBoost and its script mode leave: a file that
XGBoost has saved. That one has no encoder, so its features have to be numbers or booleans, in model.toml's order.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import xgboost as xgb

from retrain.core.errors import Refused
from retrain.model.archive import load_model
from retrain.model.serving import ENCODER, Encoder, Model
from retrain.model.spec import Spec
from retrain.model.table import Table, ordered_classes
from retrain.quality.metrics import score
from retrain.training.candidates import Candidate, encode, truth

NAME = "adopted"


def adopt(spec: Spec, archive: Path, rows: Table, validation: Table) -> tuple[Candidate, Model]:
    """The archive's model, and how good it is on the validation slice.

    `rows` tell a plain model's classes. Refused("schema_mismatch", …) if the model is another than model.toml says,
    Refused("artifact_tampered", …) if there is none that XGBoost reads.
    """
    with tarfile.open(archive) as tar:
        files = {member.name.removeprefix("./"): member for member in tar.getmembers() if member.isfile()}
        model = load_model(archive) if ENCODER in files else _plain(spec, tar, files, rows)
    encoder, wanted = model.encoder, Encoder(spec.task, spec.names, tuple(_levels(spec, model.encoder)))
    if (encoder.task, encoder.names, encoder.feature_types) != (wanted.task, wanted.names, wanted.feature_types):
        raise Refused(
            "schema_mismatch",
            f"the model that serves is a {_said(encoder)}; model.toml says {_said(wanted)}",
        )
    value = score(spec.metric, truth(spec, encoder, validation), model.predict(encode(encoder, validation)))
    return Candidate(NAME, value, model.booster.num_boosted_rounds()), model


def _said(encoder: Encoder) -> str:
    """Task, columns, and whether each is a quantity or a category."""
    return f"{encoder.task} of {', '.join(encoder.names)} ({''.join(encoder.feature_types)})"


def _levels(spec: Spec, encoder: Encoder) -> list[tuple[str, ...] | None]:
    """Categories where model.toml has some: the encoder's own, which only the model can know."""
    known = dict(zip(encoder.names, encoder.levels, strict=True))
    return [(known.get(item.name) or ()) if item.type == "categorical" else None for item in spec.features]


def _plain(spec: Spec, tar: tarfile.TarFile, files: dict[str, tarfile.TarInfo], rows: Table) -> Model:
    found = []
    for name, member in files.items():
        content = tar.extractfile(member)
        booster = xgb.Booster()
        try:
            booster.load_model(bytearray(content.read() if content else b""))
        except (ValueError, xgb.core.XGBoostError):
            continue  # code, or anything else that lies beside a model
        found.append((name, booster))
    if len(found) != 1:
        raise Refused(
            "artifact_tampered",
            f"the archive holds {len(found)} models that XGBoost {xgb.__version__} reads, in {len(files)} files: one "
            "is needed, as save_model writes it (not a pickle)",
        )
    name, booster = found[0]
    if texts := [feature.name for feature in spec.features if feature.type == "categorical"]:
        raise Refused("schema_mismatch", f"{name} has no encoder, so nobody knows its codes of {', '.join(texts)}")
    names = tuple(booster.feature_names or ())
    if booster.num_features() != len(spec.names) or (names and names != spec.names):
        said = ", ".join(names) or f"{booster.num_features()} columns"
        raise Refused("schema_mismatch", f"{name} was trained on {said}; model.toml says {', '.join(spec.names)}")
    booster.feature_names = booster.feature_types = None  # columns come without names, and as numbers
    classes = () if spec.task == "regression" else ordered_classes(rows.categories(spec.label).levels, spec.positive)
    flags = tuple(feature.name for feature in spec.features if feature.type == "boolean")
    return Model(booster, Encoder(spec.task, spec.names, (None,) * len(spec.names), classes, flags, spec.ignored))
