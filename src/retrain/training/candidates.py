"""Training the challenger: candidates are trained, the best on the validation slice is chosen.

Which is best differs from table to table (two are in docs/benchmarks/retrain.md), so all that are asked for are tried:

    continued   adds some trees to the champion, on the window's rows and as many old ones (rehearsal: on new rows
                alone it forgets the old regime)
    refreshed   the champion's trees with their leaves learnt anew on the same rows; it doesn't grow
    scratch     learns from old and new rows anew, the new ones weighted
    recent      the same, a row's weight halving with its age in windows
    new_only    learns from the window's rows alone: where the old truth no longer holds, it is only in the way. It
                has to be better by half of its loss, because the newest rows don't ask what comes again

Each stops early on the newest rows before the holdout, and is cut at its best round; refreshed ones keep all of theirs.

What is judged has not seen the newest rows, which are the most like those to come. So what serves is refitted: the
same recipe with as many rounds, on all rows, the holdout included. The model that was judged is its twin. It carries
the evidence: the refit's own error on rows that it knows would say nothing.

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
from retrain.model.table import Category, Index, Table, class_name, concat, ordered_classes, thin
from retrain.model.values import Numbers
from retrain.quality.metrics import score
from retrain.training.checkpoint import Checkpoint, Checkpoints
from retrain.training.dataset import AGE

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
FORGETFUL = 0.5  # of its loss, by which a candidate that knows no old rows has to be better than those that do


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
class Refit:
    """The model that serves, `difference` between its answers and its twin's, and whether that one serves instead."""

    model: Model
    difference: float
    twin_serves: bool


@dataclass(frozen=True)
class _Encoded:
    """Rows as a model with that encoder sees them, and their labels."""

    encoder: Encoder
    x: NDArray[np.float32]
    y: Numbers

    @classmethod
    def of(cls, spec: Spec, encoder: Encoder, rows: Table) -> _Encoded:
        return cls(encoder, encode(encoder, rows), truth(spec, encoder, rows))


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
    rows : the training rows, old ones first, with their age in windows (`__age`)
    validation : the newest rows before the holdout
    champion : the model to continue from, None at bootstrap
    checkpoints : where a training that was cut short goes on, and leaves what the next one may go on with
    only : the one candidate to train, as if the others were trained elsewhere; nothing if it is not asked for
    """
    encoder = _encoder(spec, rows, champion)
    known = _Encoded.of(spec, encoder, rows)
    _check_labels(spec, known.y)
    plans = _plans(spec, rows, champion)
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
        booster = _trained(spec, plan, known, held, checkpoints or Checkpoints())
        model = models[plan.name] = Model(booster, encoder)
        value = score(spec.metric, held_y, model.predict(held_x))
        considered.append(Candidate(plan.name, value, booster.num_boosted_rounds()))
    return tuple(considered), models


def refit(
    spec: Spec,
    name: str,
    twin: Model,
    parts: Mapping[str, Table],
    *,
    champion: Model | None,
    checkpoints: Checkpoints | None = None,
) -> Refit:
    """What serves: the twin's recipe and rounds on all rows of `train`, `validation` and `holdout`.

    The difference is between the answers to the window's rows: for a regression its root mean square in standard
    deviations of the labels, for a classifier the mean difference of the probabilities. Above `[training]
    max_refit_difference` something else happened than a few more rows, and the twin serves.
    """
    rows = concat([parts[part] for part in ("train", "validation", "holdout")])
    known = _Encoded.of(spec, twin.encoder, rows)
    plan = _plan(spec, name, rows, champion)
    if name != "refreshed":
        plan = replace(plan, rounds=twin.booster.num_boosted_rounds() - (_rounds(champion) if plan.start else 0))
    model = Model(_trained(spec, plan, known, None, checkpoints or Checkpoints()), twin.encoder)
    new = rows.numbers(AGE) == 0
    difference = apart(
        known.y[new], *(one.predict(known.x[new]) for one in (twin, model)), classes=spec.task != "regression"
    )
    if difference <= spec.training.max_refit_difference:
        return Refit(model, difference, twin_serves=False)
    return Refit(twin, difference, twin_serves=True)


def apart(y: Numbers, one: Numbers, other: Numbers, *, classes: bool) -> float:
    """How far two models' answers, (rows,) or (rows, classes), are apart.

    Of `classes` the mean absolute difference of probabilities; else the root mean square of the difference, in standard
    deviations of the labels `y` (rows,).
    """
    if classes:
        return float(np.mean(np.abs(one - other)))
    rms, spread = float(np.sqrt(np.mean((one - other) ** 2))), float(np.std(y))
    return rms / spread if spread else float(rms > 0)


def choose(spec: Spec, considered: Sequence[Candidate]) -> Candidate:
    """The candidate with the best finite metric on the validation slice, of equals the first.

    What learned from the window alone has to be better by `FORGETFUL` of its loss: it is where the old truth no longer
    holds, and by far. Where it is better by less, the old rows know what comes again, and the slice does not ask them.

    Raises `Refused("bad_metric", …)` if none has one.
    """
    finite = [(c.validation, c) for c in considered if c.validation is not None and np.isfinite(c.validation)]
    if not finite:
        raise Refused("bad_metric", f"no candidate has a finite {spec.metric} on the validation slice: {considered}")

    def loss(value: float, name: str) -> float:
        short = value if spec.direction == "min" else 1.0 - value
        return short * (1.0 + FORGETFUL * (name == "new_only"))

    return min(finite, key=lambda item: loss(item[0], item[1].name))[1]


def encode(encoder: Encoder, rows: Table) -> NDArray[np.float32]:
    """The model's matrix (rows, features): what `Encoder.encode` makes of the rows' text, made column by column."""
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
    """The labels as numbers (rows,): values, or class numbers. Raises `Refused` for a class the model does not know."""
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
            f"{objective} of model.toml needs {needed}, {len(wrong)} of {len(y)} rows have others: "
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
                f"the champion answers the probability of another class than model.toml says: positive = {positive}",
            )
        return champion.encoder.classes
    classes = ordered_classes(rows.categories(spec.label).levels, positive)
    wanted = 2 if spec.task == "binary" else int(spec.hyperparameters["num_class"])
    if len(classes) != wanted:
        raise InvalidSpec(
            f"{spec.label} has {len(classes)} classes in the rows to learn from, {wanted} are expected. The newest "
            "rows are kept to judge by: a class that only they have can't be learned"
        )
    if positive is not None and positive not in classes:
        raise InvalidSpec(f"[model] positive: {spec.label} has no class {positive}, only {len(classes)} others")
    return classes


def _plans(spec: Spec, rows: Table, champion: Model | None) -> list[_Plan]:
    """Every candidate that is asked for, and why those are skipped that are.

    Of a champion that has grown to the cap, a successor from scratch is tried, whatever else is asked for: that one is
    the first to be given of the budget, and the first one is always trained. What a candidate costs is known beforehand
    from its rows and rounds, never from a clock: so the same ones are skipped on a slow machine and on a fast one, and
    on several machines that train a candidate each.
    """
    done, cap = _rounds(champion), spec.training.max_rounds
    names = spec.training.candidates if champion else ("scratch",)
    capped = f"the champion has {done} rounds, the cap is {cap}" if champion and done >= cap else None
    forced = bool(capped and "continued" in names)
    if forced and "scratch" not in names:
        names = (*names, "scratch")
    left = spec.training.budget
    plans: dict[str, _Plan] = {}
    for name in sorted(names, key=lambda name: not (forced and name == "scratch")):
        plan = replace(_plan(spec, name, rows, champion), skipped=capped if name == "continued" else None)
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


def _plan(spec: Spec, name: str, rows: Table, champion: Model | None) -> _Plan:
    """What the candidate of that name is trained on, and for how long at most."""
    start, done, cap = (champion.booster if champion else None), _rounds(champion), spec.training.max_rounds
    added = min(spec.num_boost_round, cap)
    age, everything, alike = rows.numbers(AGE), np.arange(len(rows)), np.ones(len(rows))
    if name == "continued":
        rounds = max(1, min(added, spec.training.continued_rounds, cap - done))
        return _Plan(name, _rehearsal(spec, rows), alike, rounds, start)
    if name == "refreshed":
        return _Plan(name, _rehearsal(spec, rows), alike, done, start)
    if name == "new_only":
        return _Plan(name, np.flatnonzero(age == 0), alike, added)
    if name == "recent":
        return _Plan(name, everything, 0.5 ** (age / spec.training.recent_half_life), added)
    weight = np.where(age == 0, spec.dataset.new_row_weight, 1.0) if age.any() else alike
    return _Plan(name, everything, weight, added)


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
        known = f"only {len(encoder.classes)} others"
        raise InvalidSpec(f"[training] class_weights: {spec.label} has no class {', '.join(unknown)}, {known}")
    return np.array([wanted.get(name, 1.0) for name in encoder.classes])


def _rehearsal(spec: Spec, rows: Table) -> Index:
    """The window's rows, and `replay_share` times as many old ones, evenly spread over what there is."""
    new = rows.numbers(AGE) == 0
    old = np.flatnonzero(~new)
    most = int(new.sum() * spec.training.replay_share)
    return np.concatenate([old[thin(len(old), most)], np.flatnonzero(new)])


def _trained(
    spec: Spec, plan: _Plan, rows: _Encoded, held: xgb.DMatrix | None, checkpoints: Checkpoints
) -> xgb.Booster:
    """The booster that the plan gives, the same one on every machine."""
    encoder, x, y = rows.encoder, rows.x, rows.y
    # XGBoost's refresh updater sums nothing over machines: there, each one refreshes with all rows.
    own = plan.rows if plan.name == "refreshed" else plan.rows[collective.get_rank() :: collective.get_world_size()]
    weight = plan.weight * _class_weights(spec, encoder, y, plan)[y.astype(int)] if encoder.classes else plan.weight
    data = _matrix(encoder, x[own], y[own], weight[own])
    booster = _refresh(spec, plan, data) if plan.name == "refreshed" else _boost(spec, plan, data, held, checkpoints)
    if collective.broadcast(_raw(booster), 0) != _raw(booster):
        raise RuntimeError(f"{plan.name}: the machines did not end with the same model")
    return booster


def _boost(
    spec: Spec, plan: _Plan, data: xgb.DMatrix, held: xgb.DMatrix | None, checkpoints: Checkpoints
) -> xgb.Booster:
    """A booster of at most `plan.rounds` more rounds than the start has, cut at its best one on the held rows.

    Without any it has all rounds.
    """
    parameters = parameters_of(spec)
    sign = -1.0 if parameters["eval_metric"] == "auc" else 1.0
    done = plan.start.num_boosted_rounds() if plan.start else 0
    name = plan.name if held else f"{plan.name}-refit"
    found = checkpoints.newest(name)
    history = list(found.history) if found else []
    state = found.booster if found else _raw(plan.start)
    patience = spec.training.early_stopping_rounds if held else plan.rounds
    while not _over(history, plan.rounds, patience):
        booster = _from(parameters, [data, held] if held else [data], state)
        for iteration in count(done + len(history)):
            booster.update(data, iteration)
            told = booster.eval(held, "validation", iteration).rpartition(":")[2] if held else 0.0
            history.append(sign * float(told))
            if not len(history) % STAGE or _over(history, plan.rounds, patience):
                break
        state = _raw(booster)
        checkpoints.keep(name, Checkpoint(state or b"", tuple(history)))
    return _from(parameters, [], state)[: done + (_best(history) + 1 if held else plan.rounds)]


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
