"""Training the challenger: candidates from the champion and from scratch, the best on the validation slice is chosen.

Neither way wins everywhere, so both are tried. `continued` adds trees to the champion on the window's rows and as many
old ones (rehearsal: on new rows alone it forgets the old regime). `scratch` learns from old and new rows anew, the new
ones weighted. Both stop early on the newest rows before the holdout, and are cut at their best round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from retrain.dataset import NEW, WEIGHT
from retrain.errors import InvalidSpec, Refused
from retrain.evaluation import score
from retrain.jobs.inference import Encoder, Model
from retrain.spec import Spec
from retrain.table import Category, Index, Numbers, Table, thin

EVAL_METRIC = {"accuracy": {"binary": "error", "multiclass": "merror"}}


@dataclass(frozen=True)
class Candidate:
    """One way of training that was considered; `validation` is its main metric, None if it was skipped."""

    name: str
    validation: float | None
    rounds: int  # trees per class, the champion's included
    skipped: str | None = None


@dataclass(frozen=True)
class Challenger:
    """The trained model, and how it came to be chosen."""

    model: Model
    chosen: str
    candidates: tuple[Candidate, ...]


def train(spec: Spec, rows: Table, validation: Table, champion: Model | None) -> Challenger:
    """The best candidate on the validation slice; the same input gives the same model.

    Parameters
    ----------
    rows : the training rows, old ones first, with their `__weight` and whether they are of the window (`__new`)
    validation : the newest rows before the holdout
    champion : the model to continue from, None at bootstrap
    """
    encoder = _encoder(spec, rows, champion)
    x, y = encode(encoder, rows), truth(spec, encoder, rows)
    held = _matrix(encoder, encode(encoder, validation), truth(spec, encoder, validation))
    held_truth = truth(spec, encoder, validation)
    weight = rows.numbers(WEIGHT)
    considered: list[Candidate] = []
    best: tuple[float, str, Model] | None = None
    for name in _wanted(spec, champion):
        if name == "continued" and champion is not None:
            if (done := champion.booster.num_boosted_rounds()) >= spec.training.max_rounds:
                considered.append(
                    Candidate(
                        name, None, done, f"the champion has {done} rounds, the cap is {spec.training.max_rounds}"
                    )
                )
                continue
            chosen = _rehearsal(spec, rows)
            booster = _boost(spec, _matrix(encoder, x[chosen], y[chosen]), held, champion.booster)
        else:
            booster = _boost(spec, _matrix(encoder, x, y, weight), held, None)
        model = Model(booster, encoder)
        value = score(spec.metric, held_truth, model.predict(encode(encoder, validation)))
        considered.append(Candidate(name, value, booster.num_boosted_rounds()))
        rank = value if spec.direction == "min" else -value
        if np.isfinite(rank) and (best is None or rank < best[0]):
            best = (rank, name, model)
    if best is None:
        raise Refused("bad_metric", f"no candidate has a finite {spec.metric} on the validation slice: {considered}")
    return Challenger(best[2], best[1], tuple(considered))


def encode(encoder: Encoder, rows: Table) -> NDArray[np.float32]:
    """The rows as the model's matrix: what `Encoder.encode` makes of their text, made column by column."""
    matrix = np.empty((len(rows), len(encoder.names)), dtype=np.float32)
    for index, (name, levels) in enumerate(zip(encoder.names, encoder.levels, strict=True)):
        column = rows.columns[name]
        if isinstance(column, Category):
            codes = column.codes_in(levels or ())
            matrix[:, index] = np.where(codes < 0, np.nan, codes)
        else:
            matrix[:, index] = column
    return matrix


def truth(spec: Spec, encoder: Encoder, rows: Table) -> Numbers:
    """The labels as numbers: values, or class numbers. Raises `Refused` for a class the model does not know."""
    if spec.task == "regression":
        return rows.numbers(spec.label)
    codes = rows.categories(spec.label).codes_in(encoder.classes)
    if len(codes) and codes.min() < 0:
        unknown = sorted(set(rows.categories(spec.label).levels) - set(encoder.classes))
        raise Refused("schema_mismatch", f"classes that the model does not know: {', '.join(unknown) or 'none given'}")
    return codes.astype(np.float64)


def _encoder(spec: Spec, rows: Table, champion: Model | None) -> Encoder:
    """The champion's encoder with what is new added behind, so that the codes its trees know keep their meaning.

    A rare category gets no code and is encoded as missing, as an unseen one will be: so the trees learn from rows what
    to do with a category that they don't know, instead of sending it wherever their default happens to point.
    """
    base = dict(zip(champion.encoder.names, champion.encoder.levels, strict=True)) if champion else {}
    levels: list[tuple[str, ...] | None] = []
    for feature in spec.features:
        if feature.type == "numeric":
            levels.append(None)
            continue
        known = base.get(feature.name) or ()
        column = rows.categories(feature.name)
        times = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
        often = [
            level for level, count in zip(column.levels, times, strict=True) if count >= spec.training.min_category_rows
        ]
        levels.append((*known, *(level for level in often if level not in set(known))))
    encoder = Encoder(spec.task, spec.names, tuple(levels), _classes(spec, rows, champion))
    if champion and (champion.encoder.names, champion.encoder.feature_types) != (encoder.names, encoder.feature_types):
        raise Refused(
            "schema_mismatch",
            f"the champion was trained on {', '.join(champion.encoder.names)}; model.toml says {', '.join(spec.names)}",
        )
    return encoder


def _classes(spec: Spec, rows: Table, champion: Model | None) -> tuple[str, ...]:
    if spec.task == "regression":
        return ()
    if champion:
        return champion.encoder.classes
    classes = tuple(sorted(rows.categories(spec.label).levels, key=_numerically))
    wanted = 2 if spec.task == "binary" else int(spec.hyperparameters["num_class"])
    if len(classes) != wanted:
        raise InvalidSpec(f"{spec.label} has {len(classes)} classes ({', '.join(classes[:10])}), {wanted} are expected")
    return classes


def _wanted(spec: Spec, champion: Model | None) -> tuple[str, ...]:
    """The candidates to try; from scratch is always possible, so it stands in where nothing else is."""
    if champion is None:
        return ("scratch",)
    if champion.booster.num_boosted_rounds() >= spec.training.max_rounds and "scratch" not in spec.training.candidates:
        return (*spec.training.candidates, "scratch")
    return spec.training.candidates


def _rehearsal(spec: Spec, rows: Table) -> Index:
    """The window's rows, and `replay_share` times as many old ones, evenly spread over what there is."""
    new = rows.numbers(NEW) > 0
    old = np.flatnonzero(~new)
    most = int(new.sum() * spec.training.replay_share)
    return np.concatenate([old[thin(len(old), most)], np.flatnonzero(new)])


def _boost(spec: Spec, data: xgb.DMatrix, held: xgb.DMatrix, start: xgb.Booster | None) -> xgb.Booster:
    """A booster of at most `num_boost_round` more rounds, cut at its best one."""
    metric = EVAL_METRIC.get(spec.metric, {}).get(spec.task, spec.metric)
    parameters: Mapping[str, Any] = {
        "tree_method": "hist",
        "seed": spec.training.seed,
        **spec.hyperparameters,
        "eval_metric": metric,
        "verbosity": 1,
    }
    done = start.num_boosted_rounds() if start else 0
    booster = xgb.train(
        dict(parameters),
        data,
        num_boost_round=max(1, min(spec.num_boost_round, spec.training.max_rounds - done)),
        evals=[(held, "validation")],
        early_stopping_rounds=spec.training.early_stopping_rounds,
        xgb_model=start,
        verbose_eval=False,
    )
    return booster[: booster.best_iteration + 1]


def _matrix(encoder: Encoder, x: NDArray[np.float32], y: Numbers, weight: Numbers | None = None) -> xgb.DMatrix:
    return xgb.DMatrix(x, y, weight=weight, feature_types=encoder.feature_types, enable_categorical=True)


def _numerically(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text
