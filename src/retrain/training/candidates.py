"""Training the challenger: candidates are trained, the best on the validation slice is chosen.

Which is best differs from table to table (two are in docs/benchmarks/retrain.md), so all that are asked for are tried:

    continued   adds some trees to the champion, on the window's rows and as many old ones (rehearsal: on new rows
                alone it forgets the old regime)
    refreshed   the champion's trees with their leaves learnt anew on the same rows; it doesn't grow
    scratch     learns from old and new rows anew, the new ones weighted
    new_only    learns from the window's rows alone: where the old truth no longer holds, it is only in the way

Each stops early on the newest rows before the holdout, and is cut at its best round; refreshed ones keep all of theirs.

Boosting goes in stages of `STAGE` rounds, and every stage begins with what a checkpoint holds. So a training that was
cut short and goes on from a checkpoint ends with the same model, to the bit, as one that was not. Where several
machines train together (xgboost.collective), each boosts its share of the rows, and all end with the same model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from xgboost import collective

from retrain.core.errors import InvalidSpec, Refused
from retrain.model.serving import Encoder, Model
from retrain.model.spec import BALANCED, Spec
from retrain.model.table import Category, Index, Table, class_name, ordered_classes, thin
from retrain.model.values import Numbers
from retrain.quality.metrics import score
from retrain.training.checkpoint import Checkpoint, Checkpoints
from retrain.training.dataset import NEW, WEIGHT

EVAL_METRIC = {"accuracy": {"binary": "error", "multiclass": "merror"}}
STAGE = 50
# The lowest label of an objective, and whether it may be that itself.
_LOWEST = {
    "reg:gamma": (0.0, False),
    "reg:tweedie": (0.0, True),
    "count:poisson": (0.0, True),
    "reg:squaredlogerror": (-1.0, False),
}
_BILLION = 1e9


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


@dataclass(frozen=True)
class _Plan:
    """What a candidate would be trained on; `weight` is of all rows, those of classes come on top of it."""

    name: str
    rows: Index
    weight: Numbers
    rounds: int  # the most that it adds, or learns anew
    start: xgb.Booster | None = None
    skipped: str | None = None


def train(
    spec: Spec, rows: Table, validation: Table, champion: Model | None, checkpoints: Checkpoints | None = None
) -> Challenger:
    """The best candidate on the validation slice; the same input, as of `train_candidates`, gives the same model."""
    considered, models = train_candidates(spec, rows, validation, champion, checkpoints)
    chosen = choose(spec, considered).name
    return Challenger(models[chosen], chosen, considered)


def train_candidates(
    spec: Spec,
    rows: Table,
    validation: Table,
    champion: Model | None,
    checkpoints: Checkpoints | None = None,
    *,
    only: str | None = None,
) -> tuple[tuple[Candidate, ...], dict[str, Model]]:
    """Every candidate that was considered, and the models of those that were trained.

    Parameters
    ----------
    rows : the training rows, old ones first, with their `__weight` and whether they are of the window (`__new`)
    validation : the newest rows before the holdout
    champion : the model to continue from, None at bootstrap
    checkpoints : where a training that was cut short goes on, and leaves what the next one may go on with
    only : the one candidate to train, as if the others were trained elsewhere; nothing if it is not asked for
    """
    encoder = _encoder(spec, rows, champion)
    y = truth(spec, encoder, rows)
    _check_labels(spec, y)
    plans = _plans(spec, rows, champion)
    x = encode(encoder, rows)
    held_x, held_y = encode(encoder, validation), truth(spec, encoder, validation)
    held = _matrix(encoder, held_x, held_y)
    considered: list[Candidate] = []
    models: dict[str, Model] = {}
    for plan in plans:
        if only is not None and plan.name != only:
            continue
        if plan.skipped:
            considered.append(Candidate(plan.name, None, _rounds(champion), plan.skipped))
            continue
        # XGBoost's refresh updater sums nothing over machines: there, each one refreshes with all rows.
        own = plan.rows if plan.name == "refreshed" else plan.rows[collective.get_rank() :: collective.get_world_size()]
        weight = plan.weight * _class_weights(spec, encoder, y, plan)[y.astype(int)] if encoder.classes else plan.weight
        data = _matrix(encoder, x[own], y[own], weight[own])
        if plan.name == "refreshed":
            booster = _refresh(spec, plan, data)
        else:
            booster = _boost(spec, plan, data, held, checkpoints or Checkpoints())
        if collective.broadcast(_raw(booster), 0) != _raw(booster):
            raise RuntimeError(f"{plan.name}: the machines did not end with the same model")
        model = models[plan.name] = Model(booster, encoder)
        value = score(spec.metric, held_y, model.predict(held_x))
        considered.append(Candidate(plan.name, value, booster.num_boosted_rounds()))
    return tuple(considered), models


def choose(spec: Spec, considered: Sequence[Candidate]) -> Candidate:
    """The candidate with the best finite metric on the validation slice, of equals the first.

    Raises `Refused("bad_metric", …)` if none has one.
    """
    sign = 1.0 if spec.direction == "min" else -1.0
    finite = [(sign * c.validation, c) for c in considered if c.validation is not None and np.isfinite(c.validation)]
    if not finite:
        raise Refused("bad_metric", f"no candidate has a finite {spec.metric} on the validation slice: {considered}")
    return min(finite, key=lambda item: item[0])[1]


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
        raise Refused("schema_mismatch", f"{spec.label}: {len(unknown)} classes that the model does not know")
    return codes.astype(np.float64)


def _check_labels(spec: Spec, y: Numbers) -> None:
    """Raises `Refused` for values that the objective can't be learned from."""
    objective = str(spec.hyperparameters["objective"])
    lowest, included = _LOWEST.get(objective, (-np.inf, True))
    wrong = y[y < lowest] if included else y[y <= lowest]
    if len(wrong):
        needed = f"{spec.label} {'from' if included else 'above'} {lowest:g}"
        raise Refused(
            "schema_mismatch",
            f"{objective} of model.toml needs {needed}, {len(wrong)} of {len(y)} rows have others, like {wrong[0]:g}: "
            'leave them out, or write objective = "reg:squarederror"',
        )


def _encoder(spec: Spec, rows: Table, champion: Model | None) -> Encoder:
    """The champion's encoder with what is new added behind, so that the codes its trees know keep their meaning.

    A rare category gets no code and is encoded as missing, as an unseen one will be: so the trees learn from rows what
    to do with a category that they don't know, instead of sending it wherever their default happens to point.
    """
    base = dict(zip(champion.encoder.names, champion.encoder.levels, strict=True)) if champion else {}
    levels: list[tuple[str, ...] | None] = []
    for feature in spec.features:
        if feature.type != "categorical":
            levels.append(None)
            continue
        known = base.get(feature.name) or ()
        column = rows.categories(feature.name)
        times = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
        often = [
            level for level, count in zip(column.levels, times, strict=True) if count >= spec.training.min_category_rows
        ]
        levels.append((*known, *(level for level in often if level not in set(known))))
    encoder = Encoder(
        spec.task,
        spec.names,
        tuple(levels),
        _classes(spec, rows, champion),
        booleans=tuple(feature.name for feature in spec.features if feature.type == "boolean"),
        ignored=spec.ignored,
    )
    if champion and (champion.encoder.names, champion.encoder.feature_types) != (encoder.names, encoder.feature_types):
        raise Refused(
            "schema_mismatch",
            f"the champion was trained on {', '.join(champion.encoder.names)}; model.toml says {', '.join(spec.names)}",
        )
    return encoder


def _classes(spec: Spec, rows: Table, champion: Model | None) -> tuple[str, ...]:
    if spec.task == "regression":
        return ()
    positive = None if spec.positive is None else class_name(spec.positive)
    if champion:
        if positive not in {None, champion.encoder.classes[-1]}:
            raise Refused(
                "schema_mismatch",
                f"the champion answers the probability of {champion.encoder.classes[-1]}; model.toml says {positive}",
            )
        return champion.encoder.classes
    classes = ordered_classes(rows.categories(spec.label).levels, positive)
    wanted = 2 if spec.task == "binary" else int(spec.hyperparameters["num_class"])
    if len(classes) != wanted:
        raise InvalidSpec(
            f"{spec.label} has {len(classes)} classes ({', '.join(classes[:10])}) in the rows to learn from, {wanted} "
            "are expected. The newest rows are kept to judge by: a class that only they have can't be learned"
        )
    if positive is not None and positive not in classes:
        raise InvalidSpec(f"[model] positive: {spec.label} has no class {positive}, only {', '.join(classes)}")
    return classes


def _plans(spec: Spec, rows: Table, champion: Model | None) -> list[_Plan]:
    """Every candidate that is asked for, and why those are skipped that are.

    Of a champion that has grown to the cap, a successor from scratch is tried, whatever else is asked for: that one is
    the first to be given of the budget, and the first one is always trained. What a candidate costs is known beforehand
    from its rows and rounds, never from a clock: so the same ones are skipped on a slow machine and on a fast one, and
    on several machines that train a candidate each.
    """
    start = champion.booster if champion else None
    done, cap = _rounds(champion), spec.training.max_rounds
    names = spec.training.candidates if champion else ("scratch",)
    capped = f"the champion has {done} rounds, the cap is {cap}" if champion and done >= cap else None
    forced = bool(capped and "continued" in names)
    if forced and "scratch" not in names:
        names = (*names, "scratch")
    left = spec.training.budget
    everything, rehearsed, alike = np.arange(len(rows)), _rehearsal(spec, rows), np.ones(len(rows))
    added = min(spec.num_boost_round, cap)
    continuing = max(1, min(added, spec.training.continued_rounds, cap - done))
    plans: dict[str, _Plan] = {}
    for name in sorted(names, key=lambda name: not (forced and name == "scratch")):
        plan = {
            "continued": _Plan(name, rehearsed, alike, continuing, start, capped),
            "refreshed": _Plan(name, rehearsed, alike, done, start),
            "scratch": _Plan(name, everything, rows.numbers(WEIGHT), added),
            "new_only": _Plan(name, np.flatnonzero(rows.numbers(NEW) > 0), alike, added),
        }[name]
        trees = plan.rounds
        for several in ("num_class", "num_parallel_tree"):
            trees *= int(spec.hyperparameters.get(several, 1))
        cost = len(plan.rows) * len(spec.features) * trees / _BILLION
        if not plan.skipped and cost > left and any(not earlier.skipped for earlier in plans.values()):
            budget = f"{left:.3g} of the budget of {spec.training.budget:g} are left"
            plan = replace(plan, skipped=f"it may cost {cost:.3g} billion values, {budget}")
        if not plan.skipped:
            left -= cost
        plans[name] = plan
    return [plans[name] for name in names]


def _class_weights(spec: Spec, encoder: Encoder, y: Numbers, plan: _Plan) -> Numbers:
    """The weight of each class; `balanced` gives every class the same weight in all, over the rows trained on."""
    wanted = spec.training.class_weights
    if not wanted:
        return np.ones(len(encoder.classes))
    if wanted == BALANCED:
        totals = np.bincount(y[plan.rows].astype(int), weights=plan.weight[plan.rows], minlength=len(encoder.classes))
        share = totals.sum() / len(encoder.classes)
        return np.array([share / total if total else 1.0 for total in totals])
    assert not isinstance(wanted, str)
    if unknown := sorted(set(wanted) - set(encoder.classes)):
        known = ", ".join(encoder.classes)
        raise InvalidSpec(f"[training] class_weights: {spec.label} has no class {', '.join(unknown)}, only {known}")
    return np.array([wanted.get(name, 1.0) for name in encoder.classes])


def _rehearsal(spec: Spec, rows: Table) -> Index:
    """The window's rows, and `replay_share` times as many old ones, evenly spread over what there is."""
    new = rows.numbers(NEW) > 0
    old = np.flatnonzero(~new)
    most = int(new.sum() * spec.training.replay_share)
    return np.concatenate([old[thin(len(old), most)], np.flatnonzero(new)])


def _boost(spec: Spec, plan: _Plan, data: xgb.DMatrix, held: xgb.DMatrix, checkpoints: Checkpoints) -> xgb.Booster:
    """A booster of at most `plan.rounds` more rounds than the start has, cut at its best one."""
    parameters = parameters_of(spec)
    sign = -1.0 if parameters["eval_metric"] == "auc" else 1.0
    done = plan.start.num_boosted_rounds() if plan.start else 0
    found = checkpoints.newest(plan.name)
    history = list(found.history) if found else []
    state = found.booster if found else _raw(plan.start)
    while not _over(history, plan.rounds, spec.training.early_stopping_rounds):
        booster = _from(parameters, [data, held], state)
        for iteration in count(done + len(history)):
            booster.update(data, iteration)
            history.append(sign * float(booster.eval(held, "validation", iteration).rpartition(":")[2]))
            if not len(history) % STAGE or _over(history, plan.rounds, spec.training.early_stopping_rounds):
                break
        state = _raw(booster)
        checkpoints.keep(plan.name, Checkpoint(state or b"", tuple(history)))
    return _from(parameters, [], state)[: done + _best(history) + 1]


def _refresh(spec: Spec, plan: _Plan, data: xgb.DMatrix) -> xgb.Booster:
    """The booster with the same splits as the start; the value of every leaf is learnt from the data."""
    update = {"process_type": "update", "updater": "refresh", "refresh_leaf": True, "verbosity": 0}
    booster = _from({**parameters_of(spec), **update}, [data], _raw(plan.start))
    for iteration in range(plan.rounds):
        booster.update(data, iteration)
    return _from(parameters_of(spec), [], _raw(booster))


def parameters_of(spec: Spec) -> dict[str, Any]:
    """What XGBoost is told; a seed among the hyperparameters goes before that of `[training]`."""
    metric = EVAL_METRIC.get(spec.metric, {}).get(spec.task, spec.metric)
    return {
        "tree_method": "hist",
        "seed": spec.training.seed,
        **spec.hyperparameters,
        "seed_per_iteration": True,  # what is drawn depends on the round, not on where the training began
        "eval_metric": metric,
        "verbosity": 1,
    }


def _from(parameters: Mapping[str, Any], data: Sequence[xgb.DMatrix], state: bytes | None) -> xgb.Booster:
    """A booster with that state and nothing else of the one it was taken from."""
    booster = xgb.Booster(dict(parameters), list(data), model_file=bytearray(state) if state else None)
    booster.set_param(dict(parameters))  # what was loaded has overwritten some
    return booster


def _raw(booster: xgb.Booster | None) -> bytes | None:
    return bytes(booster.save_raw("ubj")) if booster else None


def _rounds(champion: Model | None) -> int:
    return champion.booster.num_boosted_rounds() if champion else 0


def _over(history: Sequence[float], rounds: int, patience: int) -> bool:
    """Whether all rounds are done, or none of the last ones was better than the best before them."""
    return len(history) >= rounds or (bool(history) and len(history) - 1 - _best(history) >= patience)


def _best(history: Sequence[float]) -> int:
    """The first round with the lowest value."""
    return min(range(len(history)), key=lambda index: (np.isnan(history[index]), history[index]))


def _matrix(encoder: Encoder, x: NDArray[np.float32], y: Numbers, weight: Numbers | None = None) -> xgb.DMatrix:
    return xgb.DMatrix(x, y, weight=weight, feature_types=encoder.feature_types, enable_categorical=True)
