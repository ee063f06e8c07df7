"""A table's windows replayed through the project's own datasets, training and gate: the loop without its machinery.

Nothing looks ahead: a window is served by the model that was champion when it began; labels come a day late, so those
of a window's last day (windows are spread over a month) are missing when its dataset is built.

Of one table and one seed everything is done once. Rows and models are known by what is in them, not by who made them:
policies that come to the same rows, the same champion and the same recipe share dataset, training, refit and scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.tables import captures, table_of
from demo.windows import Source, Window
from retrain.capture.ground_truth import Labels
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.verdict import Verdict
from retrain.gate.evidence import gather, level_of, score_rows
from retrain.gate.rules import Level, judge
from retrain.model.serving import Model
from retrain.model.spec import Spec
from retrain.model.table import Category, Table, concat, thin, write_table
from retrain.model.tables_on_disk import open_table
from retrain.quality.metrics import model_quality, score
from retrain.quality.verdict import Pairs, judge_quality, read_baseline, suggest_constraints
from retrain.training.candidates import Candidate, choose, encode, refit, train_candidates, truth
from retrain.training.dataset import AGE, HELD, Dataset, Read, bootstrap_dataset, drift_dataset
from retrain.training.history import reference_of

THRESHOLD = 0.3  # the template's DriftThreshold
LABELS_LATE = timedelta(days=1)
GROWN = {"continued", "refreshed"}  # ways that begin with the champion's trees
# What insures goes by differences: their intervals, which cost most of a judgement's time, decide nothing.
_QUICK: dict[str, Any] = {"segments": (), "resamples": 100, "confidence": 0.5}


@dataclass(frozen=True)
class Policy:
    """When it trains, on what, and what it promotes; `ways` are the candidates, None those of model.toml.

    `when` is never, every (window), or makes a trigger for each champion. With `store`, old rows are those of all
    earlier windows, and what serves is refitted; without, they are those of the champion's own dataset, a part of which
    is held back, and what serves is what was judged.
    """

    name: str
    when: str | Callable[[], Trigger]
    gate: str  # none: neither triage nor gate; deploy: no gate; insurance; proof
    ways: tuple[str, ...] | None = None
    store: bool = True

    def trigger(self) -> Trigger | None:
        """A new one, if the policy has any."""
        return None if isinstance(self.when, str) else self.when()


@dataclass(frozen=True)
class Champion:
    """The model that serves, its twin that was judged and where that one was then, and what they learned from."""

    model: Model
    twin: Model
    own: Level
    dataset: Dataset


Trigger = Callable[[Spec, Window, Table, Champion], str | None]


@dataclass
class Step:
    """One window: what it was served with, and what became of its evidence."""

    served: float
    predecessor: float | None  # what the champion before the last promotion would have been worth, if it was just now
    trained: bool = False
    promoted: bool = False
    said: str = "-"
    kept: float | None = None  # the next window's metric of the champion when a challenger was judged,
    judged: float | None = None  # and of the challenger: what the decision was worth


@dataclass(frozen=True)
class Replay:
    """A table and a seed; what is the same for several policies is computed once."""

    source: Source
    seed: int
    attack: str = ""  # a name for what was done to the evidence of one window
    spoil: tuple[int, Callable[[Window], Window]] | None = None  # that window, and what was done
    models: dict[str, Model] = field(default_factory=dict)
    rows: dict[str, Table] = field(default_factory=dict)
    done: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @cached_property
    def spec(self) -> Spec:
        """The table's, with the seed."""
        spec = self.source.spec
        return replace(spec, training=replace(spec.training, seed=self.seed), gate=replace(spec.gate, seed=self.seed))

    @cached_property
    def tables(self) -> list[Table]:
        """The windows' rows as they were, all labelled."""
        return [table_of(self.spec, window.rows) for window in self.source.windows]

    @cached_property
    def evidence(self) -> list[tuple[Window, Table]]:
        """What there is to learn from: the windows, one of them spoiled if there is an attack."""
        found = list(zip(self.source.windows, self.tables, strict=True))
        if self.spoil:
            place, spoiled = self.spoil
            window = spoiled(found[place][0])
            found[place] = window, table_of(self.spec, window.rows)
        return found

    @cached_property
    def first(self) -> Champion:
        """The first model."""
        dataset = self.known(bootstrap_dataset(self.spec, table_of(self.spec, self.source.initial)))
        way, twin = self.train(self.spec, dataset, None)
        return self.champion(self.spec, dataset, way, twin, None, refitted=False)

    def attacked(self, name: str, place: int, spoil: Callable[[Window], Window]) -> Replay:
        """The same table with that window's evidence spoiled; what was computed before stays known."""
        other = replace(self, attack=name, spoil=(place, spoil))
        other.__dict__.update(first=self.first, tables=self.tables)
        return other

    def once(self, make: Callable[[], Any], *key: Any) -> Any:
        """What `make` returns or refuses, made once for a key."""
        if key not in self.done:
            try:
                self.done[key] = make()
            except Refused as refusal:
                self.done[key] = refusal
        if isinstance(found := self.done[key], Refused):
            raise found
        return found

    def known(self, dataset: Dataset) -> Dataset:
        """The dataset, with tables that are the same objects wherever they hold the same."""
        parts = {name: self.rows.setdefault(_digest(part), part) for name, part in dataset.parts.items()}
        return Dataset(parts, dataset.manifest, self.rows.setdefault(_digest(dataset.kept), dataset.kept))

    def model(self, model: Model) -> Model:
        """The one model that answers as this one does: the same trees behind the same encoder."""
        told = bytes(model.booster.save_raw("ubj")) + repr(model.encoder).encode()
        return self.models.setdefault(sha256(told).hexdigest(), model)

    def champion(
        self, spec: Spec, dataset: Dataset, way: str, twin: Model, before: Model | None, *, refitted: bool
    ) -> Champion:
        """What would serve, and what of it the next judgement needs to know."""
        model, holdout = twin, dataset.parts["holdout"]
        if refitted:
            learned = (id(dataset.parts[part]) for part in ("train", "validation", "holdout"))
            model = self.once(
                lambda: self.model(refit(spec, way, twin, dataset.parts, champion=before).model),
                *("refit", _training(spec), way, id(twin), *learned, id(before) if way in GROWN else None),
            )
        own = level_of(spec, truth(spec, twin.encoder, holdout), twin.predict(encode(twin.encoder, holdout)))
        return Champion(model, twin, own, dataset)

    def train(self, spec: Spec, dataset: Dataset, champion: Model | None) -> tuple[str, Model]:
        """The candidate that is chosen on the validation slice, and its model."""
        rows, held = dataset.parts["train"], dataset.parts["validation"]
        found: list[tuple[Candidate, Model | None]] = []
        for way in spec.training.candidates if champion else ("scratch",):
            start = id(champion) if way in GROWN else repr(champion and champion.encoder)

            def made(way: str = way) -> tuple[Candidate, Model | None]:
                considered, models = train_candidates(spec, rows, held, champion, only=way)
                return considered[0], self.model(models[way]) if way in models else None

            found.append(self.once(made, "train", _training(spec), way, start, id(rows), id(held)))
        chosen = choose(spec, [candidate for candidate, _ in found])
        model = next(model for candidate, model in found if candidate is chosen)
        assert model is not None
        return chosen.name, model

    def score(self, model: Model, window: int) -> float:
        """The model's metric on the clean rows of that window."""
        rows = self.tables[window]

        def scored() -> float:
            output = model.predict(encode(model.encoder, rows))
            return score(self.spec.metric, truth(self.spec, model.encoder, rows), output)

        return float(self.once(scored, "score", id(model), window))

    def dataset(
        self, spec: Spec, number: int, champion: Champion, past: Sequence[Table] | None, plain: bool
    ) -> Dataset:
        """The window's dataset, as the dataset job makes it; see `_dataset`."""
        window, rows = self.evidence[number]
        old = [id(table) for table in past] if past is not None and not plain else [id(champion.dataset)]
        key = self.attack if self.spoil and self.spoil[0] == number else "", number, plain, id(champion.model), *old
        made = self.once(
            lambda: (champion.dataset, self.known(_dataset(spec, window, rows, champion, past, plain=plain))),
            *("dataset", repr(spec.dataset), *key),
        )
        return made[1]  # type: ignore[no-any-return]  # beside it what else might be gone, and its id another's


def play(replayed: Replay, policy: Policy) -> tuple[list[Step], list[Model]]:
    """The windows as that policy serves them, and with which model each."""
    spec = replayed.spec
    if policy.ways:
        spec = replace(spec, training=replace(spec.training, candidates=policy.ways))
    options = {"policy": "proof"} if policy.gate == "proof" else {"policy": "insurance", **_QUICK}
    spec = replace(spec, gate=replace(spec.gate, **options))
    champion, predecessor = replayed.first, None
    past = [champion.dataset.kept]
    trigger = policy.trigger()
    steps, models = [], []
    for number, (window, rows) in enumerate(replayed.evidence):
        step = Step(replayed.score(champion.model, number), None)
        if predecessor is not None:
            step.predecessor = replayed.score(predecessor, number)
        steps.append(step)
        models.append(champion.model)
        predecessor = None
        cause = "every" if policy.when == "every" else None
        if trigger:
            cause = trigger(spec, window, rows, champion)
        if cause is None:
            continue
        try:
            old, plain = past if policy.store else None, policy.gate == "none"
            evidence = replayed.dataset(spec, number, champion, old, plain=plain)
            step.trained = True
            way, twin = replayed.train(spec, evidence, champion.model)
            challenger = replayed.champion(spec, evidence, way, twin, champion.model, refitted=policy.store)
            promoted, said = _gate(policy, spec, champion, challenger)
        except Refused as refusal:
            step.said = f"{cause}: refused ({refusal.code})"
            continue
        past.append(evidence.kept)
        step.said = f"{cause}; {way}: {said}".replace("_", " ")
        if number + 1 < len(replayed.evidence):
            step.kept, step.judged = (replayed.score(one.model, number + 1) for one in (champion, challenger))
        if promoted:
            step.promoted = True
            predecessor, champion = champion.model, challenger
            trigger = policy.trigger()
    return steps, models


def _gate(policy: Policy, spec: Spec, champion: Champion, challenger: Champion) -> tuple[bool, str]:
    if policy.gate in {"none", "deploy"}:
        return True, "deployed"
    parts = challenger.dataset.parts
    holdout = score_rows(spec, parts["holdout"], champion.model, challenger.twin)
    reference = score_rows(spec, parts["reference"], champion.twin, challenger.twin)
    decision = judge(gather(spec, holdout, reference, own=champion.own, bootstrap=False), spec.gate)
    reasons = ", ".join(reason.code for reason in decision.reasons)
    return decision.decision == "promote", f"{decision.decision}{f' ({reasons})' if reasons else ''}"


def _dataset(
    spec: Spec, window: Window, rows: Table, champion: Champion, past: Sequence[Table] | None, *, plain: bool
) -> Dataset:
    """The window's dataset, as the dataset job makes it, with the rows of `past` windows, or of the champion's dataset.

    `plain` is without triage, which fixed strategies do not have.
    """
    known = [number for number, row in enumerate(window.rows) if row.time + LABELS_LATE <= window.end]
    parts = champion.dataset.parts
    seen, unseen = concat([parts["train"], parts["validation"]]), concat([parts["reference"], parts["holdout"]])
    if plain:
        first = bootstrap_dataset(spec, rows.take(np.array(known)))
        old = seen.take(thin(len(seen), spec.dataset.max_reference_rows))
        rehearsed = old.having(AGE, np.ones(len(old)))
        train = concat([rehearsed, first.parts["train"]])
        return Dataset({**first.parts, "train": train, "reference": unseen}, {}, first.kept)
    model = champion.model
    answers = np.atleast_2d(model.predict(encode(model.encoder, rows)).T).T  # of classes, one column for each
    asked = [
        Capture(f"{number:06d}", row.time, [list(row.values)], [[repr(float(value)) for value in answer]])
        for number, (row, answer) in enumerate(zip(window.rows, answers, strict=True))
    ]
    labels = Labels({f"{number:06d}": (window.rows[number].label,) for number in known})
    read, times = Read(asked, labels), (window.start, window.end)
    if past is not None:
        return drift_dataset(spec, read, reference_of(past), times)
    # As it was before there was a store: learned from again is what the champion learned from, and what it never saw
    # either shows what is forgotten.
    marked = [part.having(HELD, np.full(len(part), held)) for part, held in ((seen, 0.0), (unseen, 1.0))]
    found = drift_dataset(spec, read, reference_of([concat(marked)]), times)
    learned = drift_dataset(spec, read, reference_of(marked[:1]), times)
    return replace(found, parts={**found.parts, "train": learned.parts["train"]})


def alarms(spec: Spec, window: Window, rows: Table, champion: Champion) -> str | None:
    """What would open an episode at the end of the window, as the two monitors see it: None if nothing does."""
    baseline, times = _baseline(spec, champion.dataset), (window.start, window.end)
    drift = analyse([(window.name, captures(window.rows))], *baseline, times, alarm_threshold=THRESHOLD)
    if drift.verdict is Verdict.DRIFTED:
        return f"{drift.worst_feature} {drift.drift_max:.2f}"
    held, classes = champion.dataset.parts["holdout"], champion.twin.encoder.classes
    output = champion.twin.predict(encode(champion.twin.encoder, held))
    statistics = model_quality(spec.task, truth(spec, champion.twin.encoder, held), output, classes, spec.gate.seed)
    known = read_baseline(suggest_constraints(statistics, spec.task, spec.monitor.quality_tolerance, classes=classes))
    answers = champion.model.predict(encode(champion.model.encoder, rows))
    pairs = Pairs(spec.task, truth(spec, champion.model.encoder, rows), answers, classes, {})
    analysis = judge_quality(pairs, len(rows), known.demands, times, rules=known.rules)
    if analysis.verdict is not Verdict.DRIFTED:
        return None
    worst = analysis.violated[0].metric
    return f"{worst} {analysis.values[worst]:.3g}"


def mean_of(steps: Sequence[Step]) -> float:
    """The metric's mean over the windows."""
    return mean(step.served for step in steps)


def _baseline(spec: Spec, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Statistics and constraints of the new rows that the champion was trained on."""
    rows = dataset.parts["train"]
    rows = concat([rows.take(np.flatnonzero(rows.numbers(AGE) == 0)), dataset.parts["validation"]])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.csv"
        write_table(file, rows)
        return baseline_of(
            open_table(file).rows([feature.name for feature in spec.features]),
            {feature.name: feature.type for feature in spec.features},
            spec.monitor,
        )


def _training(spec: Spec) -> str:
    """What of the specification a training depends on, but for which candidates there are."""
    return repr((replace(spec.training, candidates=()), spec.dataset.new_row_weight, dict(spec.hyperparameters)))


def _digest(rows: Table) -> str:
    found = sha256()
    for name, column in rows.columns.items():
        found.update(name.encode())
        if isinstance(column, Category):
            found.update(repr(column.levels).encode())
            found.update(np.ascontiguousarray(column.codes).tobytes())
        else:
            found.update(np.ascontiguousarray(column).tobytes())
    return found.hexdigest()
