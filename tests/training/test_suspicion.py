"""Data that somebody made up, copied or mislabelled is refused; data that drifted is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from houses import END, MODEL, START, requests, table
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.capture.ground_truth import Labels
from retrain.core.errors import Refused
from retrain.model.read_spec import parse_spec
from retrain.model.table import category, concat
from retrain.quality.verdict import Pairs, read_pairs
from retrain.training.dataset import Read, bootstrap_dataset, drift_dataset
from retrain.training.history import reference_of
from retrain.training.suspicion import beside_others, flips_suspicion

SPEC = parse_spec(MODEL)
BINARY = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))
THREE = parse_spec(
    MODEL.replace("regression", "multiclass")
    .replace("rmse", "mlogloss")
    .replace("max_depth", "num_class = 3\nmax_depth")
)


def build(asked, labels, spec=SPEC):
    past = reference_of([bootstrap_dataset(spec, table(500, seed=1)).kept])
    return drift_dataset(spec, Read(asked, Labels(dict(labels))), past, (START, END))


def refused(asked, labels, spec=SPEC):
    with pytest.raises(Refused) as refusal:
        build(asked, labels, spec)
    assert refusal.value.code == "suspect_data"
    return refusal.value.detail


def with_answers(asked, labels, noise=20.0):
    """The captures with a champion's answers, which are right but for the noise."""
    random = np.random.default_rng(5)
    return [
        replace(one, outputs=[[str(float(label) + random.normal(0, noise))] for label in labels[one.id]])
        for one in asked
    ]


def test_what_is_sound_is_not_suspected_and_was_looked_at():
    asked, labels = requests(table(1000, seed=2, larger=30))
    assert build(with_answers(asked, labels), labels).manifest["unchecked"] == []


def test_without_answers_flipped_labels_could_not_be_looked_for_and_the_manifest_says_so():
    asked, labels = requests(table(400, seed=2))
    [said] = build(asked, labels).manifest["unchecked"]
    assert said == "flipped labels: 400 of 400 labelled rows have no answer to compare with"


def test_one_request_that_gives_nearly_everything_is_suspect():
    asked, labels = requests(table(50, seed=2))
    rows, prices = requests(table(600, seed=3), per_request=600)
    asked.append(replace(rows[0], id="flood"))
    labels["flood"] = prices[rows[0].id]
    assert "600 of 650 rows come from one request (max_source_share)" in refused(asked, labels)


def test_one_category_that_used_to_be_a_minority_is_news_that_the_labels_judge():
    asked, labels = requests(concat([table(970, seed=2, towns=("Bo",)), table(30, seed=3)]))
    said = "town: 98% of the rows have one and the same value, 30% of the reference's have it"
    [found] = build(asked, labels).manifest["news"]
    assert (found.split("; ")[0], found.endswith("it came instead of them")) == (said, True)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (20, "came 20 an hour, in the others 20: it came on top, as a flood does"),
        (1, "came 1 an hour, in the others 20: it came instead of them"),
    ],
)
def test_a_flood_is_told_from_a_change_by_what_else_came_in_its_hours(others, said):
    """24 hours of twenty rows; in the last twelve one value has a thousand, on top of the others or instead of them."""
    hours = np.repeat(np.arange(24), [20] * 12 + [1_000 + others] * 12)
    filling = np.zeros(len(hours), dtype=bool)
    for hour in range(12, 24):
        filling[np.flatnonzero(hours == hour)[:1_000]] = True
    found = beside_others(hours * 3600.0 + 7, filling)
    assert found == f"in the 12 hours that it fills, other rows {said}"
    assert beside_others(hours[hours > 11] * 3600.0, filling[hours > 11]) is None, "no other hours to compare with"


def test_a_feature_that_left_its_old_range_is_news_and_its_rows_are_learned_from():
    rows = table(1000, seed=2)
    sizes = rows.numbers("size").copy()
    sizes[::2] *= 1000
    dataset = build(*requests(rows.having("size", sizes)))
    assert dataset.manifest["news"] == ["size: 50% of the rows lie 10 times beyond all that was known"]
    assert dataset.manifest["rows"]["labelled"] == 1000
    assert dataset.parts["holdout"].numbers("size").max() > 10_000


def test_a_block_of_rows_sent_again_and_again_is_suspect():
    block = table(100, seed=3)
    asked, labels = requests(concat([table(600, seed=2), *[block] * 5]))
    assert "a row has 1.8 identical others on average, 0.0 were to be expected (max_copies 0.5)" in refused(
        asked, labels
    )


def test_rows_that_were_always_alike_are_not_suspect():
    """A hundred kinds of houses, of each as many as before."""
    kinds = table(100, seed=3)

    def some(seed):
        return kinds.take(np.random.default_rng(seed).integers(0, 100, 1000))

    past = reference_of([bootstrap_dataset(SPEC, some(1)).kept])
    asked, labels = requests(some(2))
    read = Read(asked, Labels(dict(labels)))
    assert drift_dataset(SPEC, read, past, (START, END))


@pytest.mark.parametrize(("column", "value"), [("size", 1e6), ("price", -1e7)])
def test_a_few_outliers_are_left_out_and_counted(column, value):
    rows = table(1000, seed=2)
    changed = rows.numbers(column).copy()
    changed[::250] = value
    dataset = build(*requests(rows.having(column, changed)))
    assert dataset.manifest["quarantined"]["rows"] == {"outlier": 4}
    assert all(value not in dataset.parts[part].numbers(column) for part in ("train", "validation", "holdout"))


def test_many_labels_far_away_are_suspect():
    rows = table(1000, seed=2)
    prices = rows.numbers("price").copy()
    prices[::50] *= 1000
    said = "20 of 1000 labels are 10 times as far away as the reference's reach (max_outlier_share 0.01)"
    assert said in refused(*requests(rows.having("price", prices)))


def test_labels_that_are_flipped_for_a_while_are_suspect():
    rows = table(1000, seed=2)
    prices = rows.numbers("price").copy()
    asked, labels = requests(rows)
    asked = with_answers(asked, labels)
    prices[500:600] = 900 - prices[500:600]
    _, flipped = requests(rows.having("price", prices))
    assert "of 1000 rows contradict the champion's answers" in refused(asked, flipped)
    assert build(asked, flipped, parse_spec(MODEL.replace("[dataset]", "[dataset]\nmax_flipped_share = 0.2")))


@pytest.mark.parametrize("positive", ["cheap", "dear"])
def test_flipped_labels_are_seen_whichever_class_the_answers_are_of(positive):
    spec = parse_spec(MODEL.replace("regression", "binary").replace('"rmse"', f'"auc"\npositive = "{positive}"'))

    old, rows = table(500, seed=1), table(1000, seed=2)
    named = category(["dear" if price > 450 else "cheap" for price in old.numbers("price")])
    first = bootstrap_dataset(spec, old.having("price", named))
    prices = rows.numbers("price")
    asked, _ = requests(rows)
    sure = np.clip(prices / 900, 0, 1)
    said = sure if positive == "dear" else 1 - sure
    asked = [replace(one, outputs=[[str(answer)]]) for one, answer in zip(asked, said, strict=True)]
    stretch = np.concatenate([prices[:500], 900 - prices[500:600], prices[600:]])
    labels = {one.id: ("dear" if price > 450 else "cheap",) for one, price in zip(asked, stretch, strict=True)}
    with pytest.raises(Refused, match="of 1000 rows contradict the champion's answers"):
        drift_dataset(spec, Read(asked, Labels(labels)), reference_of([first.kept]), (START, END))


def test_a_world_that_turned_over_and_stayed_so_has_drifted():
    rows = table(1000, seed=2)
    asked, labels = requests(rows)
    asked = with_answers(asked, labels)
    prices = rows.numbers("price").copy()
    prices[600:] = 900 - prices[600:]
    assert build(asked, requests(rows.having("price", prices))[1])


def _pairs(task, rows, seed, flipped=slice(0, 0), skill=1.0):
    """Labels, and answers that know something about them, but for a stretch in which they are wrong on purpose."""
    random = np.random.default_rng(seed)
    if task == "multiclass":
        truth = random.integers(0, 3, rows).astype(float)
        right = random.random(rows) < 0.4 + 0.4 * skill
        decided = np.where(right, truth, random.integers(0, 3, rows)).astype(int)
        truth[flipped] = (truth[flipped] + 1) % 3
        return Pairs(task, truth, np.eye(3)[decided], ("a", "b", "c"), {})
    signal = random.normal(0, 1, rows)
    if task == "binary":
        truth = (signal + random.normal(0, 0.7, rows) > 1).astype(float)
        truth[flipped] = 1 - truth[flipped]
        return Pairs(task, truth, 1 / (1 + np.exp(-skill * signal)), ("0", "1"), {})
    truth = signal + random.normal(0, 0.7, rows)
    truth[flipped] *= -1
    return Pairs(task, truth, skill * signal, (), {})


@pytest.mark.parametrize(("task", "spec"), [("regression", SPEC), ("binary", BINARY), ("multiclass", THREE)])
def test_flips_are_seen_in_every_task_wherever_they_lie(task, spec):
    for begin in (200, 913, 1500, 2600):
        assert flips_suspicion(spec, _pairs(task, 3000, begin, slice(begin, begin + 200)))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(0, 2000),
    task=st.sampled_from(["regression", "binary", "multiclass"]),
    skill=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_honest_labels_are_not_taken_for_flipped_whatever_the_champion_knows(seed, rows, task, skill):
    spec = {"regression": SPEC, "binary": BINARY, "multiclass": THREE}[task]
    assert flips_suspicion(spec, _pairs(task, rows, seed, skill=skill)) is None


def test_a_stretch_in_which_all_answers_are_too_high_is_no_flip():
    pairs = _pairs("regression", 3000, 1)
    lower = pairs.truth.copy()
    lower[1000:1300] -= 10
    assert flips_suspicion(SPEC, replace(pairs, truth=lower)) is None


def test_a_class_in_another_spelling_is_the_same_class():
    pairs = read_pairs("multiclass", [("1.0", ["0.1", "0.9"]), (" 0", ["0"])], ["0", "1"])
    assert (pairs.classes, pairs.truth.tolist()) == (("0", "1"), [1.0, 0.0])
