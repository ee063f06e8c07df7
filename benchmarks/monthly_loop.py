"""The decisions of a year without the machinery around them: dataset, training and gate, month by month.

    PYTHONPATH=src:. python benchmarks/monthly_loop.py [--every-month]

Nothing looks ahead: a month is served by the model that was champion when it began; labels come a day late, so those
of the month's last day are missing when the dataset is built. Retraining begins when a numeric feature's
Kolmogorov-Smirnov distance to the rows that the champion was last trained on exceeds 0.3.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from demo import flights
from retrain.capture import Capture
from retrain.dataset import NEW, Dataset, Read, Reference, bootstrap_dataset, drift_dataset
from retrain.evaluation import score
from retrain.gate import judge
from retrain.ground_truth import Labels
from retrain.jobs.evaluate import gather, score_rows
from retrain.jobs.inference import Model
from retrain.spec import Spec, parse_spec
from retrain.table import Column, Table, category, concat, parse_numbers
from retrain.training import encode, train

THRESHOLD = 0.3
GOAL = range(4, 11)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--every-month", action="store_true", help="retrain every month, drift or not")
    every_month = options.parse_args().every_month
    spec = parse_spec(flights.MODEL)
    windows = flights.months()
    initial = _table(spec, [row for row in flights._rows() if row.time < windows[0].start])
    dataset = bootstrap_dataset(spec, initial)
    first = train(spec, dataset.parts["train"], dataset.parts["validation"], None)
    stale = champion = first.model
    print(f"bootstrap: {first.candidates}")
    served, never = [], []
    for window in windows:
        rows = _table(spec, window.rows)
        month = window.start.month
        errors = [
            score("rmse", rows.numbers(spec.label), model.predict(encode(model.encoder, rows)))
            for model in (champion, stale)
        ]
        if month in GOAL:
            served.append(errors[0])
            never.append(errors[1])
        feature, distance = _worst(spec, rows, _baseline(dataset))
        line = f"{window.name:9s} never retrained {errors[1]:5.2f}  served {errors[0]:5.2f}  {feature} {distance:.2f}"
        if distance <= THRESHOLD and not every_month:
            print(f"{line}  stable")
            continue
        began = time.monotonic()
        challenger_dataset = _drift_dataset(spec, window, dataset)
        built = time.monotonic()
        challenger = train(spec, challenger_dataset.parts["train"], challenger_dataset.parts["validation"], champion)
        trained = time.monotonic()
        text, promoted = _judge(spec, challenger_dataset, champion, challenger.model)
        seconds = f"{built - began:.1f}+{trained - built:.1f}+{time.monotonic() - trained:.1f} s"
        print(f"{line}  {challenger.chosen} {text} ({seconds})")
        if promoted:
            champion, dataset = challenger.model, challenger_dataset
    lower = 1 - np.mean(served) / np.mean(never)
    print(f"April to October: never retrained {np.mean(never):.2f}, served {np.mean(served):.2f}, {lower:.1%} lower")


def _drift_dataset(spec: Spec, window: flights.Window, dataset: Dataset) -> Dataset:
    known = [row for row in window.rows if row.time + timedelta(days=1) <= window.end]
    asked = [Capture(f"{number:06d}", row.time, [list(row.values)], []) for number, row in enumerate(window.rows)]
    labels = Labels({f"{number:06d}": (row.label,) for number, row in enumerate(known)})
    parts = dataset.parts
    reference = Reference(concat([parts["train"], parts["validation"]]), concat([parts["reference"], parts["holdout"]]))
    return drift_dataset(spec, Read(asked, labels), reference, (window.start, window.end))


def _judge(spec: Spec, dataset: Dataset, champion: Model, challenger: Model) -> tuple[str, bool]:
    holdout, reference = (
        score_rows(spec, dataset.parts[part], champion, challenger) for part in ("holdout", "reference")
    )
    evidence = gather(spec, holdout, reference, bootstrap=False)
    decision = judge(evidence, spec.gate)
    new, old = evidence.holdout, evidence.reference
    assert new is not None
    assert old is not None
    numbers = (
        f"{new.champion:.2f} → {new.challenger:.2f} [{new.low:+.2f}, {new.high:+.2f}], "
        f"reference {old.champion:.2f} → {old.challenger:.2f}"
    )
    reasons = ", ".join(reason.code for reason in decision.reasons)
    return f"{numbers}: {decision.decision} {reasons}", decision.decision == "promote"


def _table(spec: Spec, rows: Sequence[flights.Row]) -> Table:
    columns: dict[str, Column] = {}
    for index, feature in enumerate(spec.features):
        texts = [row.values[index] for row in rows]
        columns[feature.name] = category(texts) if feature.type == "categorical" else parse_numbers(texts)[0]
    columns[spec.label] = np.array([float(row.label) for row in rows])
    return Table(columns)


def _baseline(dataset: Dataset) -> Table:
    train_rows = dataset.parts["train"]
    return concat([train_rows.take(np.flatnonzero(train_rows.numbers(NEW) > 0)), dataset.parts["validation"]])


def _worst(spec: Spec, rows: Table, baseline: Table) -> tuple[str, float]:
    worst = ("", -math.inf)
    for feature in spec.features:
        if feature.type == "numeric":
            now, then = (
                np.sort(values[~np.isnan(values)])
                for values in (rows.numbers(feature.name), baseline.numbers(feature.name))
            )
            points = np.concatenate([now, then])
            gap = np.searchsorted(now, points, "right") / len(now) - np.searchsorted(then, points, "right") / len(then)
            worst = max(worst, (feature.name, float(np.abs(gap).max())), key=lambda item: item[1])
    return worst


if __name__ == "__main__":
    main()
