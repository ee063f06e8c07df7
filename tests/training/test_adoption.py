"""A model that serves already becomes the first champion as it is."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import houses
import numpy as np
import pytest
import xgboost as xgb

from retrain.core.errors import Refused
from retrain.model.archive import load_model
from retrain.model.read_spec import parse_spec
from retrain.training.adoption import adopt
from retrain.training.candidates import encode
from retrain.training.dataset import bootstrap_dataset

SPEC = parse_spec(houses.MODEL)
NUMBERS = houses.MODEL.replace('town = "categorical"\n', "")
PARTS = bootstrap_dataset(SPEC, houses.table(600, seed=1)).parts


def packed(folder: Path, **files: Any) -> Path:
    """An archive of those files; a booster is saved."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.save_raw()) if isinstance(content, xgb.Booster) else path.write_text(content)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            if path.name != "model.tar.gz":
                tar.add(path, path.name)
    return folder / "model.tar.gz"


def plain(names: tuple[str, ...] | None = ("size", "age")) -> xgb.Booster:
    """What somebody trained by hand, on numbers."""
    rows = PARTS["train"]
    x = np.column_stack([rows.numbers("size"), rows.numbers("age")])
    data = xgb.DMatrix(x, rows.numbers("price"), feature_names=names and list(names))
    return xgb.train({"max_depth": 3}, data, 30)


def adopted(archive: Path, text: str = houses.MODEL) -> Any:
    spec = parse_spec(text)
    return adopt(spec, archive, PARTS["train"], PARTS["validation"])


def test_a_model_of_ours_is_taken_with_its_encoder(tmp_path: Path) -> None:
    archive = houses.archive(tmp_path / "serving", seed=3)
    candidate, model = adopted(archive)
    known = load_model(archive)
    assert (candidate.name, candidate.rounds) == ("adopted", known.booster.num_boosted_rounds())
    assert 0 < candidate.validation < 50
    x = encode(known.encoder, PARTS["validation"])
    assert np.array_equal(model.predict(x), known.predict(x))


@pytest.mark.parametrize("name", ["xgboost-model", "model__ubj", "model__json"])
@pytest.mark.parametrize("names", [("size", "age"), None])
def test_a_plain_model_of_numbers_answers_as_it_did(name: str, names: Any, tmp_path: Path) -> None:
    booster = plain(names)
    _, model = adopted(packed(tmp_path / "plain", **{name: booster, "requirements__txt": "xgboost"}), NUMBERS)
    assert model.encoder.names == ("size", "age")
    x = np.array([[50.0, 3.0], [120.5, np.nan]], dtype=np.float32)
    booster.feature_names = None
    assert model.predict(x) == pytest.approx(booster.predict(xgb.DMatrix(x)))


@pytest.mark.parametrize(
    ("text", "files", "said"),
    [
        (
            houses.MODEL,
            {"model__ubj": plain()},
            "model.ubj has no encoder, so nobody knows its codes of town",
        ),
        (
            NUMBERS.replace("size", "area"),
            {"model__ubj": plain()},
            "trained on size, age; model.toml says area, age",
        ),
        (NUMBERS, {"model__ubj": plain(), "other__json": plain()}, "the archive holds 2 models"),
        (
            NUMBERS,
            {"model__pkl": "a pickle", "readme__md": "…"},
            r"holds 0 models that XGBoost .* in 2 files",
        ),
        (
            NUMBERS.replace('age = "numeric"', 'age = "numeric"\nfloor = "numeric"'),
            {"model__ubj": plain(None)},
            "was trained on 2 columns; model.toml says size, age, floor",
        ),
    ],
)
def test_what_can_not_be_served_as_it_was_is_refused(text: str, files: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=said):
        adopted(packed(tmp_path / "plain", **files), text)


def test_a_model_of_other_columns_is_refused(tmp_path: Path) -> None:
    archive = houses.archive(tmp_path / "serving", seed=3)
    with pytest.raises(Refused, match=r"the model that serves is a regression of size, age, town \(qqc\)"):
        adopted(archive, houses.MODEL.replace('town = "categorical"', 'city = "categorical"'))
