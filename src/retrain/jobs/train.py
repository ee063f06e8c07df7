"""TrainChallenger: what the XGBoost container's script mode runs.

Channels: `train` (train.csv), `validation` (validation.csv), `holdout` (holdout.csv), `spec` (model.toml) and
`champion` (model.tar.gz; at bootstrap a placeholder that is no archive, or the model that serves already and is adopted
as it is). Then the model folder holds the booster that would serve, its twin, which has not seen the holdout and is
judged by it, and, in `code/`, what serving needs. A job for one candidate that is not asked for, or is skipped, leaves
a lineage without a booster.

Of several instances each has all rows and boosts its share of them; the first one writes the model. What lies in the
checkpoint folder is gone on with if it is of the same inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any

import xgboost as xgb
from xgboost import collective

from retrain.core.errors import InvalidSpec, Refused
from retrain.model.archive import load_model, write_lineage, write_model
from retrain.model.read_spec import read_spec
from retrain.model.spec import CANDIDATES, Spec
from retrain.model.table import Table, read_table
from retrain.training.adoption import adopt
from retrain.training.candidates import Candidate, choose, refit, train_candidates
from retrain.training.checkpoint import Checkpoints
from retrain.training.cluster import PORT, together
from retrain.training.dataset import kinds
from retrain.training.lineage import origin, tell, tell_refit

ALL = "all"


def main(arguments: list[str] | None = None) -> None:
    """The model folder holds the challenger.

    Raises `Refused` or `InvalidSpec`, which the toolkit puts into the failure file.
    """
    options = _options().parse_args(arguments)
    with together(json.loads(options.hosts), options.current_host, options.port):
        try:
            train(options)
        except xgb.core.XGBoostError as error:
            if collective.is_distributed():  # it may be of another machine's end
                raise
            said = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
            reason = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", said)
            raise InvalidSpec(f"XGBoost can't train with [hyperparameters] of model.toml: {reason}") from error


def train(options: argparse.Namespace) -> None:
    """The candidates that are asked for are trained, and the first instance has written the best."""
    spec_file = options.spec / "model.toml"
    spec = read_spec(spec_file)
    archive = options.champion / "model.tar.gz"
    if not archive.exists() and options.bootstrap != "true":
        raise Refused("no_champion", "the champion channel has no model.tar.gz, and this is not a bootstrap")
    inputs = {
        "train.csv": options.train / "train.csv",
        "validation.csv": options.validation / "validation.csv",
        "holdout.csv": options.holdout / "holdout.csv",
        "model.toml": spec_file,
        **({"champion": archive} if archive.exists() else {}),
    }
    begun = origin(spec, options.episode_id, inputs)
    parts = {name: read_table(inputs[f"{name}.csv"], kinds(spec)) for name in ("train", "validation")}
    if options.bootstrap == "true" and archive.exists():
        _adopt(spec, archive, parts, begun, options)
        return
    champion = load_model(archive) if archive.exists() else None
    checkpoints = Checkpoints(options.checkpoints, digest(json.dumps(begun).encode()).hexdigest()[:16])
    only = None if options.candidate == ALL else options.candidate
    considered, models = train_candidates(spec, parts["train"], parts["validation"], champion, checkpoints, only=only)
    chosen = None if only and not models else choose(spec, considered).name
    refitted = None
    if chosen:  # from here on nothing is chosen: the holdout may be learned from
        parts["holdout"] = read_table(inputs["holdout.csv"], kinds(spec))
        refitted = refit(spec, chosen, models[chosen], parts, champion=champion, checkpoints=checkpoints)
    if collective.get_rank():
        return
    lineage = {**begun, "candidate": chosen, "candidates": tell(considered)}
    if chosen and refitted:
        lineage["refit"] = tell_refit(spec, refitted)
        write_model(options.model_dir, refitted.model, models[chosen], spec_file, lineage)
    else:
        write_lineage(options.model_dir, lineage)
    options.output_data_dir.mkdir(parents=True, exist_ok=True)
    (options.output_data_dir / "training.json").write_text(json.dumps(lineage, indent=1) + "\n", encoding="utf-8")
    _print(spec, considered, chosen)


def _adopt(
    spec: Spec, archive: Path, parts: dict[str, Table], begun: dict[str, Any], options: argparse.Namespace
) -> None:
    """The model folder holds what the champion channel has, which serves already: the first champion."""
    candidate, model = adopt(spec, archive, parts["train"], parts["validation"])
    if collective.get_rank() == 0:
        lineage = {**begun, "candidate": candidate.name, "candidates": tell([candidate])}
        write_model(options.model_dir, model, model, options.spec / "model.toml", lineage)
        _print(spec, [candidate], candidate.name)


def _options() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episode_id", required=True)
    parser.add_argument("--bootstrap", choices=("true", "false"), type=str.lower, required=True)
    parser.add_argument("--candidate", choices=(ALL, *CANDIDATES), default=ALL)
    for channel in ("train", "validation", "holdout", "spec", "champion"):
        parser.add_argument(f"--{channel}", type=Path, default=environment.get(f"SM_CHANNEL_{channel.upper()}"))
    parser.add_argument("--model-dir", type=Path, default=environment.get("SM_MODEL_DIR"))
    parser.add_argument("--output-data-dir", type=Path, default=environment.get("SM_OUTPUT_DATA_DIR"))
    parser.add_argument("--checkpoints", type=Path, default=environment.get("CHECKPOINTS"))
    parser.add_argument("--hosts", default=environment.get("SM_HOSTS", '["localhost"]'))
    parser.add_argument("--current-host", default=environment.get("SM_CURRENT_HOST", "localhost"))
    parser.add_argument("--port", type=int, default=PORT)
    return parser


def _print(spec: Spec, considered: Sequence[Candidate], chosen: str | None) -> None:
    for candidate in considered:
        trained = f"{spec.metric} {candidate.validation} on validation, {candidate.rounds} rounds"
        print(f"{candidate.name}: {candidate.skipped or trained}")
    print(f"chosen: {chosen}")


if __name__ == "__main__":
    main()
