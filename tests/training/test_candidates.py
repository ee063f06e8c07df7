from dataclasses import replace

import numpy as np
import pytest
from houses import MODEL, table
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.core.errors import InvalidSpec, Refused
from retrain.model.read_spec import parse_spec
from retrain.model.serving import Encoder
from retrain.model.spec import CANDIDATES, Spec
from retrain.model.table import Table, category, concat
from retrain.quality.metrics import score
from retrain.training.candidates import Candidate, choose, encode, refit, train, truth
from retrain.training.dataset import AGE, ORIGINAL, TIME, bootstrap_dataset


def with_training(spec: Spec, **options) -> Spec:
    return replace(spec, training=replace(spec.training, **options))


def window(rows: Table) -> Table:
    return Table({**rows.columns, **{name: np.zeros(len(rows)) for name in (AGE, ORIGINAL, TIME)}})


@pytest.fixture
def champion(spec):
    parts = bootstrap_dataset(spec, table(600, seed=1)).parts
    return train(spec, parts["train"], parts["validation"], None).model


@pytest.fixture
def drifted(spec):
    """Training and validation rows of a drift dataset."""
    old = bootstrap_dataset(spec, table(600, seed=1)).parts["train"]
    rows = window(table(400, seed=2, larger=200.0, towns=("Aa", "Bo", "Ce", "Du")))
    old = old.having(AGE, np.ones(len(old)))
    return concat([old, rows.take(slice(0, 320))]), rows.take(slice(320, None))


def test_without_a_champion_there_is_only_scratch(spec, drifted):
    challenger = train(spec, *drifted, None)
    assert challenger.chosen == "scratch"
    assert [candidate.name for candidate in challenger.candidates] == ["scratch"]


def test_the_better_candidate_on_validation_is_chosen(spec, drifted, champion):
    challenger = train(with_training(spec, candidates=CANDIDATES), *drifted, champion)
    scores = {candidate.name: candidate.validation for candidate in challenger.candidates}
    assert set(scores) == set(CANDIDATES)
    assert challenger.chosen == min(scores, key=scores.get)
    model, validation = challenger.model, drifted[1]
    output = model.predict(encode(model.encoder, validation))
    assert score("rmse", truth(spec, model.encoder, validation), output) == min(scores.values())


def test_a_continued_model_begins_with_the_champions_trees(spec, drifted, champion):
    challenger = train(with_training(spec, candidates=("continued",)), *drifted, champion)
    done = champion.booster.num_boosted_rounds()
    assert challenger.model.booster.num_boosted_rounds() > done
    assert challenger.model.booster[:done].get_dump() == champion.booster.get_dump()


def test_a_refreshed_model_has_the_champions_splits_and_its_own_leaves(spec, drifted, champion):
    refreshed = train(with_training(spec, candidates=("refreshed",)), *drifted, champion).model.booster
    before, after = (booster.trees_to_dataframe() for booster in (champion.booster, refreshed))
    splits = ["Tree", "Node", "Feature", "Split", "Category", "Yes", "No", "Missing"]
    assert after[splits].equals(before[splits])
    leaves = after["Feature"] == "Leaf"
    assert (after[leaves]["Gain"] != before[leaves]["Gain"]).any()


def test_refreshing_follows_a_shift_of_the_labels_without_growing(spec, champion):
    rows = window(table(400, seed=2))
    shifted = rows.having("price", rows.numbers("price") * 1.5)
    newest = shifted.take(slice(320, None))
    only = with_training(spec, candidates=("refreshed",), replay_share=0.0)
    challenger = train(only, shifted.take(slice(0, 320)), newest, champion)
    stale = score("rmse", newest.numbers("price"), champion.predict(encode(champion.encoder, newest)))
    assert challenger.candidates[0].validation < 0.5 * stale
    assert challenger.candidates[0].rounds == champion.booster.num_boosted_rounds()


def test_a_refreshed_champion_can_be_continued(spec, drifted, champion):
    refreshed = train(with_training(spec, candidates=("refreshed",)), *drifted, champion).model
    continued = train(with_training(spec, candidates=("continued",)), *drifted, refreshed).model.booster
    done = refreshed.booster.num_boosted_rounds()
    assert continued.num_boosted_rounds() > done
    assert continued[:done].get_dump() == refreshed.booster.get_dump()


@pytest.mark.parametrize(
    ("metric", "task", "known", "new_only", "chosen"),
    [
        ("rmse", "regression", 10.0, 6.7, "scratch"),
        ("rmse", "regression", 10.0, 6.6, "new_only"),  # by more than half of its loss
        ("auc", "binary", 0.80, 0.866, "scratch"),
        ("auc", "binary", 0.80, 0.867, "new_only"),
        ("rmse", "regression", float("nan"), 9.9, "new_only"),
    ],
)
def test_what_knows_no_old_rows_has_to_be_better_by_half(spec, metric, task, known, new_only, chosen):
    asked = replace(spec, metric=metric, task=task)
    considered = [
        Candidate("scratch", known, 10),
        Candidate("new_only", new_only, 10),
        Candidate("recent", None, 0, "no"),
    ]
    assert choose(asked, considered).name == chosen
    assert choose(asked, considered[1:]).name == "new_only"


def test_new_only_does_not_look_at_old_rows(spec, drifted, champion):
    rows, validation = drifted
    only = with_training(spec, candidates=("new_only",))
    new = rows.take(np.flatnonzero(rows.numbers(AGE) == 0))
    old = rows.take(np.flatnonzero(rows.numbers(AGE) > 0))
    other = concat([old.having("price", old.numbers("price") * -1), new])
    first, second = (train(only, given, validation, champion).model.booster for given in (rows, other))
    assert first.save_raw("ubj") == second.save_raw("ubj")


def weighed(spec, candidate, rows, validation, champion, **options):
    """The trees of a candidate with those options of [dataset] or [training]."""
    own = {section: getattr(spec, section) for section in ("dataset", "training")}
    for section, known in own.items():
        said = {name: value for name, value in options.items() if hasattr(known, name)}
        own[section] = replace(known, **said, **({"candidates": (candidate,)} if section == "training" else {}))
    return train(replace(spec, **own), rows, validation, champion).model.booster.get_dump()


def test_from_scratch_the_windows_rows_weigh_more(spec, drifted, champion):
    light, heavy = (weighed(spec, "scratch", *drifted, champion, new_row_weight=w) for w in (1.0, 100.0))
    assert light != heavy


def test_recent_rows_weigh_twice_as_much_as_those_of_one_half_life_ago(spec, drifted, champion):
    rows, validation = drifted
    halved = weighed(spec, "recent", rows, validation, champion, recent_half_life=1.0)
    older = rows.having(AGE, 2 * rows.numbers(AGE))
    assert halved == weighed(spec, "recent", older, validation, champion, recent_half_life=2.0)
    assert halved != weighed(spec, "recent", older, validation, champion, recent_half_life=1.0)


@pytest.fixture
def parts(spec, drifted):
    """The same as a dataset's parts, with newer rows as the holdout."""
    rows, validation = drifted
    newest = window(table(200, seed=3, larger=200.0, towns=("Aa", "Bo", "Ce", "Du")))
    return {"train": rows, "validation": validation, "holdout": newest}


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_what_serves_is_the_same_recipe_and_rounds_on_all_rows(spec, parts, champion, candidate):
    only = with_training(spec, candidates=(candidate,))
    twin = train(only, parts["train"], parts["validation"], champion).model
    found = refit(only, candidate, twin, parts, champion=champion)
    assert not found.twin_serves
    assert 0 < found.difference < only.training.max_refit_difference
    assert found.model.booster.num_boosted_rounds() == twin.booster.num_boosted_rounds()
    assert found.model.encoder == twin.encoder
    errors = {
        name: score("rmse", parts["holdout"].numbers("price"), one.predict(encode(one.encoder, parts["holdout"])))
        for name, one in (("twin", twin), ("refit", found.model))
    }
    assert errors["refit"] < errors["twin"]  # it knows these rows


def test_a_refit_that_answers_otherwise_does_not_serve(spec, parts, champion):
    only = with_training(spec, candidates=("scratch",))
    twin = train(only, parts["train"], parts["validation"], champion).model
    wrong = {**parts, "holdout": parts["holdout"].having("price", parts["holdout"].numbers("price") * -20)}
    found = refit(only, "scratch", twin, wrong, champion=champion)
    assert found.difference > only.training.max_refit_difference
    assert found.twin_serves
    assert found.model is twin


def test_a_candidate_that_does_not_fit_the_budget_is_skipped_and_says_so(spec, drifted, champion):
    affordable = 1.1 * len(drifted[0]) * len(spec.features) * spec.num_boost_round / 1e9
    tight = with_training(spec, candidates=("scratch", "new_only"), budget=affordable)
    challenger = train(tight, *drifted, champion)
    assert challenger.chosen == "scratch"
    assert "billion values" in challenger.candidates[1].skipped
    assert f"of the budget of {affordable:g} are left" in challenger.candidates[1].skipped


def test_trees_that_are_grown_side_by_side_cost_as_much_as_one_after_the_other(spec, drifted, champion):
    affordable = 1.1 * len(drifted[0]) * len(spec.features) * spec.num_boost_round / 1e9
    forest = replace(spec, hyperparameters={**spec.hyperparameters, "num_parallel_tree": 3})
    asked = with_training(forest, candidates=("continued", "scratch"), budget=affordable)
    skipped = train(asked, *drifted, champion).candidates[1].skipped
    assert skipped.startswith(f"it may cost {3 * affordable / 1.1:.3g} billion values")


def test_the_first_candidate_is_trained_whatever_the_budget(spec, drifted, champion):
    challenger = train(with_training(spec, candidates=CANDIDATES, budget=0.0), *drifted, champion)
    assert challenger.chosen == "continued"
    assert [bool(candidate.skipped) for candidate in challenger.candidates] == [False, True, True, True, True]


def test_the_same_rows_give_the_same_model(spec, drifted, champion):
    first, second = (train(spec, *drifted, champion).model.booster.save_raw("ubj") for _ in range(2))
    assert first == second


def test_a_champion_that_has_grown_to_the_cap_is_not_continued(spec, drifted, champion):
    rounds = champion.booster.num_boosted_rounds()
    capped = with_training(spec, max_rounds=rounds, candidates=("continued",))
    challenger = train(capped, *drifted, champion)
    assert challenger.chosen == "scratch"
    assert challenger.candidates[0].skipped == f"the champion has {rounds} rounds, the cap is {rounds}"


@pytest.mark.parametrize(
    "asked", [("refreshed", "continued"), ("refreshed", "continued", "scratch"), ("new_only", "continued", "refreshed")]
)
def test_at_the_cap_one_from_scratch_is_trained_before_the_budget_is_given_to_others(spec, drifted, champion, asked):
    capped = with_training(spec, max_rounds=champion.booster.num_boosted_rounds(), candidates=asked, budget=0.0)
    challenger = train(capped, *drifted, champion)
    assert challenger.chosen == "scratch"
    assert {one.name for one in challenger.candidates if not one.skipped} == {"scratch"}


def test_a_continued_model_stays_within_the_cap(spec, drifted, champion):
    rounds = champion.booster.num_boosted_rounds()
    capped = with_training(spec, max_rounds=rounds + 5, candidates=("continued",))
    assert train(capped, *drifted, champion).model.booster.num_boosted_rounds() <= rounds + 5


def test_continuing_adds_few_rounds(spec, drifted, champion):
    few = with_training(spec, continued_rounds=3, candidates=("continued",))
    added = train(few, *drifted, champion).model.booster.num_boosted_rounds() - champion.booster.num_boosted_rounds()
    assert 1 <= added <= 3


def test_a_continued_encoder_keeps_the_champions_codes_and_adds_new_ones_behind(spec, drifted, champion):
    levels = train(spec, *drifted, champion).model.encoder.levels[2]
    assert levels[: len(champion.encoder.levels[2])] == champion.encoder.levels[2]
    assert levels[-1] == "Du"


def test_a_rare_category_is_treated_like_one_never_seen(spec):
    rows = window(table(400, seed=2))
    towns = ["Ra" if index < 19 else "Aa" if index % 2 else "Bo" for index in range(400)]
    rows = rows.having("town", category(towns))
    model = train(spec, rows, rows, None).model
    assert model.encoder.levels[2] == ("Aa", "Bo")
    assert np.isnan(encode(model.encoder, rows)[:19, 2]).all()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32), st.sampled_from(["", "Aa", "Bo", "Zz"])), min_size=1, max_size=20
    )
)
def test_columns_and_requests_are_encoded_alike(rows):
    encoder = Encoder("regression", ("size", "town"), (None, ("Bo", "Aa")))
    held = Table({"size": np.array([row[0] for row in rows], float), "town": category([row[1] for row in rows])})
    sent = encoder.encode([[repr(size), town] for size, town in rows])
    np.testing.assert_array_equal(encode(encoder, held), sent)


def test_a_champion_of_other_features_is_refused(spec, drifted, champion):
    other = replace(champion, encoder=replace(champion.encoder, names=("size", "rooms", "town")))
    with pytest.raises(Refused, match="schema_mismatch: the champion was trained on size, rooms, town"):
        train(spec, *drifted, other)


@pytest.mark.parametrize(
    ("task", "metric", "classes", "hyperparameters"),
    [("binary", "auc", ("no", "yes"), ""), ("multiclass", "mlogloss", ("a", "b", "c"), "num_class = 3\n")],
)
def test_classifiers_are_trained_continued_and_scored(task, metric, classes, hyperparameters):
    text = MODEL.replace("regression", task).replace("rmse", metric)
    spec = parse_spec(text.replace("[hyperparameters]\n", f"[hyperparameters]\n{hyperparameters}"))

    def rows(count: int, seed: int) -> Table:
        found = table(count, seed)
        bounds = np.quantile(found.numbers("price"), np.linspace(0, 1, len(classes) + 1)[1:-1])
        return found.having("price", category([classes[i] for i in np.digitize(found.numbers("price"), bounds)]))

    parts = bootstrap_dataset(spec, rows(600, 1)).parts
    first = train(spec, parts["train"], parts["validation"], None)
    assert first.model.encoder.classes == classes
    second = train(spec, parts["train"], parts["validation"], first.model)
    holdout = parts["holdout"]
    output = second.model.predict(encode(second.model.encoder, holdout))
    assert score("accuracy", truth(spec, second.model.encoder, holdout), output) > 0.8


def imbalanced(rows: int, seed: int) -> Table:
    """Few houses are dear, and which ones cannot be told for certain."""
    found = table(rows, seed)
    price = found.numbers("price") + np.random.default_rng(seed).normal(0, 200, rows)
    return window(found).having("price", category(["yes" if value > 900 else "no" for value in price]))


@pytest.fixture
def binary() -> Spec:
    return parse_spec(MODEL.replace("regression", "binary").replace("rmse", "logloss"))


def mean_probability(spec: Spec, weights) -> float:
    rows = imbalanced(1000, seed=3)
    model = train(with_training(spec, class_weights=weights), rows, imbalanced(300, seed=4), None).model
    return float(model.predict(encode(model.encoder, rows)).mean())


def test_balanced_classes_weigh_the_same_in_all(binary):
    share = float((imbalanced(1000, seed=3).categories("price").codes == 1).mean())
    assert share < 0.2
    assert mean_probability(binary, {}) == pytest.approx(share, abs=0.05)
    balanced = mean_probability(binary, "balanced")
    assert balanced > 1.5 * share
    given = {"yes": 0.5 / share, "no": 0.5 / (1 - share)}
    assert mean_probability(binary, given) == pytest.approx(balanced, abs=1e-6)


def by_chance(rows: Table, period: int) -> Table:
    """Houses of which one in so many is of the class yes, whatever they are like."""
    return rows.having("price", category(["no" if n % period else "yes" for n in range(len(rows))]))


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_balanced_is_balanced_over_the_rows_that_each_candidate_learns_from(binary, candidate):
    old, new = by_chance(window(table(4000, seed=1)), 2), by_chance(window(table(1000, seed=2)), 10)
    old = old.having(AGE, np.ones(len(old)))
    blunt = replace(binary, num_boost_round=10, hyperparameters={"objective": "binary:logistic", "max_depth": 1})
    balanced = with_training(blunt, class_weights="balanced", candidates=(candidate,))
    champion = train(balanced, old, old, None).model
    model = train(balanced, concat([old, new]), new, champion).model
    assert model.predict(encode(model.encoder, new)).mean() == pytest.approx(0.5, abs=0.03)


def test_a_weight_for_a_class_that_there_is_not_is_an_error(binary):
    with pytest.raises(InvalidSpec, match=r"class_weights: price has no class maybe, only 2 others"):
        mean_probability(binary, {"maybe": 2.0})


def test_another_number_of_classes_than_the_task_has_is_an_error():
    spec = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))
    rows = window(table(200, seed=1)).having("price", category(["a", "b", "c", "d"] * 50))
    with pytest.raises(InvalidSpec, match=r"price has 4 classes in the rows to learn from, 2 are"):
        train(spec, rows, rows, None)


def test_a_class_that_the_champion_does_not_know_is_refused(spec):
    binary = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))
    rows = window(table(200, seed=1)).having("price", category(["a", "b"] * 100))
    champion = train(binary, rows, rows, None).model
    with pytest.raises(Refused, match="schema_mismatch: price: 1 classes that the model does not know"):
        train(binary, rows.having("price", category(["b", "c"] * 100)), rows, champion)


@pytest.mark.parametrize(
    ("objective", "lowest"),
    [("reg:gamma", 0.0), ("reg:tweedie", -1.0), ("count:poisson", -1.0), ("reg:squaredlogerror", -1.0)],
)
def test_labels_that_the_objective_can_not_be_learned_from_are_refused(spec, drifted, objective, lowest):
    rows, validation = drifted
    labels = np.maximum(rows.numbers("price"), 1.0)
    labels[5] = lowest
    asked = replace(spec, hyperparameters={**spec.hyperparameters, "objective": objective})
    says = f"{objective} of model.toml needs price .*, 1 of {len(rows)} rows have others: leave"
    with pytest.raises(Refused, match=says):
        train(asked, rows.having("price", labels), validation, None)


def answering(positive: str | None) -> Spec:
    said = f'positive = "{positive}"\n' if positive else ""
    return parse_spec(
        MODEL.replace('"price"', '"dear"').replace("regression", "binary").replace('"rmse"\n', f'"auc"\n{said}')
    )


def dear(rows: Table) -> Table:
    return rows.having("dear", category(np.where(rows.numbers("price") > 500, "yes", "no").tolist()))


@pytest.mark.parametrize(
    ("positive", "classes"), [(None, ("no", "yes")), ("yes", ("no", "yes")), ("no", ("yes", "no"))]
)
def test_the_answer_is_the_probability_of_the_positive_class(positive, classes):
    asked, rows = answering(positive), window(dear(table(400, seed=1)))
    model = train(asked, rows.take(slice(0, 300)), rows.take(slice(300, None)), None).model
    assert model.encoder.classes == classes
    held = rows.take(slice(300, None))
    said = model.predict(encode(model.encoder, held)) > 0.5
    assert np.mean(said == (held.categories("dear").codes == held.categories("dear").levels.index(classes[1]))) > 0.9
    with pytest.raises(
        Refused, match=f"the champion answers the probability of another class than .* positive = {classes[0]}"
    ):
        train(answering(classes[0]), rows, held, model)


def test_a_positive_class_that_no_label_is_is_an_error():
    rows = window(dear(table(400, seed=1)))
    with pytest.raises(InvalidSpec, match=r"\[model\] positive: dear has no class maybe, only 2 others"):
        train(answering("maybe"), rows, rows, None)
