"""Where a model comes from: what training writes beside it (lineage.json), and what is held against that later."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from xgboost import collective

from retrain.core.errors import Refused
from retrain.model.spec import Spec
from retrain.training.candidates import Candidate, Refit, parameters_of
from retrain.training.dataset import sha256, verify_dataset


def origin(spec: Spec, episode_id: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """What decides which candidates a training ends with; equal origins end with equal ones.

    `files` are the inputs by the name they have in the lineage, the champion's archive among them if there is one.
    """
    return {
        "version": 1,
        "episode_id": episode_id,
        "metric": spec.metric,
        "hyperparameters": {**spec.hyperparameters, "num_boost_round": spec.num_boost_round},
        "seed": parameters_of(spec)["seed"],
        "instances": collective.get_world_size(),
        "sha256": {name: sha256(file) for name, file in files.items()},
        "versions": {"python": platform.python_version(), "xgboost": xgb.__version__, "numpy": np.__version__},
    }


def tell(considered: Sequence[Candidate]) -> list[dict[str, Any]]:
    """The candidates as the lineage has them."""
    return [
        {
            "name": candidate.name,
            "validation": candidate.validation,
            "rounds": candidate.rounds,
            **({"skipped": candidate.skipped} if candidate.skipped else {}),
        }
        for candidate in considered
    ]


def tell_refit(spec: Spec, refit: Refit) -> dict[str, Any]:
    """How far what serves answers from its twin, as the lineage has it."""
    limit = spec.training.max_refit_difference
    return {"difference": refit.difference, "limit": limit, "twin_serves": refit.twin_serves}


def candidates_of(lineage: Mapping[str, Any]) -> list[Candidate]:
    """The candidates that a lineage tells of. Raises Refused("artifact_tampered", …) if it tells of none."""
    try:
        return [
            Candidate(one["name"], one["validation"], one["rounds"], one.get("skipped"))
            for one in lineage["candidates"]
        ]
    except (KeyError, TypeError) as error:
        raise Refused("artifact_tampered", f"a lineage has no list of candidates: {error}") from error


def verify_lineage(lineage: Mapping[str, Any], dataset: Path, champion: Path, challenger: Path) -> dict[str, Any]:
    """The SHA-256 of the dataset folder's manifest and of both archives, after they were found to belong together.

    And the manifest's `news`: what of the window nobody has seen before.

    They do when the folder's files are those of its manifest, and the challenger's lineage names these files and this
    champion (None if its archive does not exist). Raises Refused("artifact_tampered", …) otherwise.
    """
    manifest = verify_dataset(dataset)
    of_champion = sha256(champion) if champion.exists() else None
    trained = lineage["sha256"]
    expected = {**manifest["sha256"], "champion": of_champion}
    for name in ("train.csv", "validation.csv", "holdout.csv", "model.toml", *(["champion"] if of_champion else [])):
        if trained.get(name) != expected.get(name):
            raise Refused(
                "artifact_tampered",
                f"the challenger was trained with {name} of SHA-256 {trained.get(name)}, not {expected.get(name)}",
            )
    return {
        "model_sha256": sha256(challenger),
        "dataset_sha256": sha256(dataset / "manifest.json"),
        "champion_sha256": of_champion,
        "reference_sha256": manifest.get("reference_sha256"),
        "rows_sha256": manifest.get("rows_sha256"),
        "news": manifest.get("news", []),
        "history_sha256": manifest.get("history_sha256", {}),
    }
