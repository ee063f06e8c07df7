"""Tables as people have them: gaps, constant columns, new categories, hundreds of columns, one positive among 200.

From the table to the decision about the second model, with the model.toml that `python -m retrain init` proposes.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from retrain.capture.ground_truth import Labels
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.constraints import read_constraints
from retrain.gate.evidence import gather, score_rows
from retrain.gate.rules import Decision, judge
from retrain.model.propose import propose
from retrain.model.serving import Model, predict
from retrain.model.spec import Spec
from retrain.model.table import read_table
from retrain.model.tables_on_disk import open_table
from retrain.quality.metrics import model_quality
from retrain.training.candidates import train
from retrain.training.dataset import Dataset, Read, bootstrap_dataset, drift_dataset, kinds
from retrain.training.history import reference_of

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=10)
Rows = dict[str, list[str]]


@dataclass(frozen=True)
class First:
    """The first model of a table, and what it was made of."""

    spec: Spec
    dataset: Dataset
    model: Model


def columns(rows: int, seed: int, share: float | None = None, wide: int = 0, moved: float = 0.0) -> Rows:
    """A table with gaps, a constant column and categories; of a binary task, if `share` says how many are positive."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows) + moved
    town = random.choice(["Aa", "Bo", "Ce"], rows)
    signal = 2 * x + np.where(town == "Aa", 1.0, 0.0) + 0.3 * random.normal(size=rows)
    gap = random.uniform(size=rows) < 0.3
    made: Rows = {
        "x": [f"{value:.4f}" for value in x],
        "gaps": ["" if empty else f"{value:.3f}" for empty, value in zip(gap, random.normal(size=rows), strict=True)],
        "town": ["" if value < 0.05 else name for value, name in zip(random.uniform(size=rows), town, strict=True)],
        "constant": ["k" if index else "" for index in range(rows)],  # but for one row, or it would be left out
    }
    for number in range(wide):
        made[f"w{number:03d}"] = [f"{value:.2f}" for value in random.normal(size=rows)]
    if share is None:
        made["y"] = [f"{value:.4f}" for value in signal]
    else:
        limit = np.sort(signal)[-max(1, round(rows * share))]
        made["y"] = ["yes" if value >= limit else "no" for value in signal]
    return made


def first_model(folder: Path, made: Rows) -> First:
    path = folder / "train.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(made)
        writer.writerows(zip(*made.values(), strict=True))
    proposed = propose(open_table(path), "y").spec
    small = {**proposed.hyperparameters, "max_depth": 3, "eta": 0.3}
    spec = replace(proposed, num_boost_round=25, hyperparameters=small)
    wanted = {name: kind for name, kind in kinds(spec).items() if not name.startswith("__")}
    dataset = bootstrap_dataset(spec, read_table(path, wanted))
    return First(spec, dataset, train(spec, dataset.parts["train"], dataset.parts["validation"], None).model)


def second_model(first: First, made: Rows) -> tuple[Dataset, Model, Decision]:
    """What the loop makes of a window that looked like this."""
    rows = list(zip(*(made[name] for name in first.spec.names), strict=True))
    asked = [
        Capture(f"r{n:05d}", START + (END - START) * (n / len(rows)), [list(row)], []) for n, row in enumerate(rows)
    ]
    labels = Labels({capture.id: (label,) for capture, label in zip(asked, made["y"], strict=True)})
    reference = reference_of([first.dataset.kept])
    dataset = drift_dataset(first.spec, Read(asked, labels), reference, (START, END))
    model = train(first.spec, dataset.parts["train"], dataset.parts["validation"], first.model).model
    scored = [score_rows(first.spec, dataset.parts[part], first.model, model) for part in ("holdout", "reference")]
    return dataset, model, judge(gather(first.spec, *scored, bootstrap=False), first.spec.gate)


def test_gaps_and_a_nearly_constant_column_do_no_harm(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(2000, 1))
    assert first.spec.kinds == {"x": "numeric", "gaps": "numeric", "town": "categorical", "constant": "categorical"}
    _, _, decision = second_model(first, columns(1000, 2, moved=3.0))
    assert decision.decision == "promote"


def test_a_column_that_never_changes_can_be_a_feature_and_its_baseline_says_when_it_does(tmp_path: Path) -> None:
    made = {**columns(600, 1), "constant": ["4"] * 600}
    first = first_model(tmp_path, made)
    assert "constant" not in first.spec.names
    spec = replace(first.spec, features=(*first.spec.features, replace(first.spec.features[0], name="constant")))
    dataset = bootstrap_dataset(spec, read_table(tmp_path / "train.csv", {**spec.kinds, "y": "numeric"}))
    model = train(spec, dataset.parts["train"], dataset.parts["validation"], None).model
    row = ["1", "", "Aa", "4"]
    assert predict([row], model) == predict([[*row[:-1], "5"]], model)
    statistics, constraints = baseline_of([[value] for value in made["constant"]], {"constant": "numeric"})
    assert read_statistics(statistics).features["constant"].present == 600
    assert read_constraints(constraints)


def test_a_category_that_nobody_had_seen_is_answered_learned_and_told(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(2000, 1))
    made = columns(1000, 2)
    made["town"] = ["Du" if number % 3 == 0 else name for number, name in enumerate(made["town"])]
    made["y"] = [f"{float(y) + 5 * (town == 'Du'):.4f}" for y, town in zip(made["y"], made["town"], strict=True)]
    assert np.isfinite(predict([["0", "", "Du", "k"]], first.model)).all()
    dataset, model, decision = second_model(first, made)
    assert dataset.manifest["unseen_categories"] == {"town": ["Du"]}
    assert decision.decision == "promote"
    [new], [old] = predict([["0", "", "Du", "k"]], model), predict([["0", "", "Bo", "k"]], model)
    assert float(new) > float(old) + 2


@pytest.mark.slow
def test_five_hundred_columns_are_learned_from(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(300, 1, wide=496))
    assert len(first.spec.features) == 500
    assert first.spec.hyperparameters["colsample_bytree"] == 0.3
    dataset, _, decision = second_model(first, columns(250, 2, wide=496))
    assert len(dataset.parts["holdout"].columns) == 504  # the label's and three of the dataset's own
    assert decision.decision in {"promote", "keep_champion"}
    assert decision.reasons or decision.decision == "promote"


@pytest.mark.slow
def test_one_positive_among_two_hundred_is_found(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(12_000, 1, share=1 / 200))
    assert (first.spec.task, first.spec.metric) == ("binary", "auc")
    held = first.dataset.parts["holdout"]
    scored = score_rows(first.spec, held, None, first.model)
    quality = model_quality("binary", scored.truth, scored.challenger, first.model.encoder.classes)
    assert quality["binary_classification_metrics"]["auc"]["value"] > 0.95
    _, _, decision = second_model(first, columns(16_000, 2, share=1 / 200))
    assert decision.decision in {"promote", "keep_champion"}


def test_a_handful_of_positives_in_the_holdout_is_no_evidence(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(12_000, 1, share=1 / 200))
    with pytest.raises(
        Refused, match=r"\d of 800 holdout rows are of the rarer class, at least 10 are needed for an auc"
    ):
        second_model(first, columns(4000, 2, share=1 / 200))


def test_a_window_without_a_positive_is_refused_not_learned_from(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(12_000, 1, share=1 / 200))
    made = columns(4000, 2, share=1 / 200)
    with pytest.raises(Refused, match="every one of 4000 labels is the same"):
        second_model(first, {**made, "y": ["no"] * 4000})


@pytest.mark.filterwarnings("ignore:.*contains only positive or negative samples")
def test_positives_that_are_all_old_leave_the_newest_rows_without_a_verdict(tmp_path: Path) -> None:
    first = first_model(tmp_path, columns(12_000, 1, share=1 / 200))
    made = columns(4000, 2, share=1 / 200)
    made["y"] = ["yes" if number % 100 == 0 and number < 2000 else "no" for number in range(4000)]
    with pytest.raises(Refused, match="no candidate has a finite auc on the validation slice"):
        second_model(first, made)


def test_a_class_that_the_first_model_never_saw_is_left_out_while_it_is_rare_and_refuses_the_window_when_it_is_not(
    tmp_path: Path,
) -> None:
    first = first_model(tmp_path, columns(2000, 1, share=0.3))
    made = columns(1000, 2, share=0.3)
    dataset, model, _ = second_model(first, {**made, "y": ["perhaps", *made["y"][1:]]})
    assert dataset.manifest["quarantined"]["rows"] == {"unknown_class": 1}
    assert model.encoder.classes == ("no", "yes")
    with pytest.raises(Refused, match="schema_mismatch: y: 51 of 1000 labels name 1 classes that are not known"):
        second_model(first, {**made, "y": ["perhaps"] * 51 + made["y"][51:]})
