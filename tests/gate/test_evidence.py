"""What the gate gets to see of a holdout: its segments, and how far predictions lie off on the whole."""

import houses
import numpy as np
import pytest

from retrain.core.errors import Refused
from retrain.gate.comparison import compare
from retrain.gate.document import plain
from retrain.gate.evidence import Scored, gather, level_of, sample, sanity
from retrain.gate.rules import judge
from retrain.model.read_spec import parse_spec
from retrain.model.table import Table, category
from retrain.quality.metrics import score

TOWNS = ("Aa", "Bo", "Ce")
ROWS = houses.table(900, seed=3, towns=TOWNS)
TRUTH = ROWS.numbers("price")
TOWN = np.array(TOWNS)[ROWS.categories("town").codes]
NOISE = np.random.default_rng(4).normal(0, 1, (2, 900))
GATE = 'policy = "proof"\nmin_segment_rows = 100\n'


def scored(worse_in: str | None = None, rows=ROWS) -> Scored:
    """The challenger's error is 4 where the champion's is 10, in one town 14."""
    challenger = NOISE[1] * np.where(worse_in == TOWN, 14, 4)
    return Scored(rows, TRUTH, TRUTH + 10 * NOISE[0], TRUTH + challenger)


def evidence(found: Scored, gate: str = GATE):
    spec = parse_spec(houses.MODEL.replace("resamples = 200", "resamples = 2000") + gate)
    reference = Scored(found.rows, found.truth, found.champion, found.champion)
    gathered = gather(spec, found, reference, bootstrap=False)
    return gathered, judge(gathered, spec.gate)


def test_every_category_with_enough_rows_is_a_segment_of_its_own():
    gathered, decision = evidence(scored())
    assert {segment.name for segment in gathered.segments} == {"town=Aa", "town=Bo", "town=Ce"}
    assert sum(segment.rows for segment in gathered.segments) == 900
    assert decision.decision == "promote"


def test_a_challenger_that_fails_one_town_is_refused_although_it_is_better_on_the_whole():
    gathered, decision = evidence(scored("Bo"))
    assert gathered.holdout.low > 0
    (reason,) = decision.reasons
    assert reason.code == "degrades_segment"
    assert reason.detail.startswith("town=Bo: rmse ")


def test_categories_with_few_rows_and_missing_ones_are_judged_together():
    town = np.where(np.arange(900) < 60, "", np.where(np.arange(900) < 140, "Dd", TOWN))
    gathered, _ = evidence(scored(rows=ROWS.having("town", category(town.tolist()))))
    (rare,) = [segment for segment in gathered.segments if segment.level is None]
    assert (rare.name, rare.rows) == ("town (rare)", 140)
    assert rare.comparison is not None


def test_too_few_rare_rows_are_named_and_not_judged():
    gathered, decision = evidence(scored(), "min_segment_rows = 310\n")
    (rare,) = [segment for segment in gathered.segments if segment.level is None]
    assert rare.comparison is None or rare.rows >= 310
    assert decision.decision == "promote"


def test_no_segments_are_looked_at_when_none_are_asked_for():
    gathered, decision = evidence(scored("Bo"), GATE + "segments = []\n")
    assert gathered.segments == ()
    assert decision.decision == "promote"


def test_segments_are_bounded_however_many_categories_there_are():
    names = [f"T{number % 40:02d}" for number in range(900)]
    gathered, _ = evidence(scored(rows=ROWS.having("town", category(names))), "min_segment_rows = 20\n")
    assert len(gathered.segments) == 20


def test_a_segment_of_one_class_has_no_auc():
    spec = parse_spec(houses.MODEL.replace("regression", "binary").replace("rmse", "auc") + GATE)
    truth = (TOWN == "Aa").astype(float)
    output = np.clip(truth + 0.3 * NOISE[0], 0, 1)
    found = Scored(ROWS, truth, np.clip(truth + NOISE[1], 0, 1), output)
    gathered = gather(spec, found, found, bootstrap=False)
    assert gathered.segments == ()  # every town has one class only
    assert gathered.fit.measure == "calibration_error"


def test_a_challenger_that_is_better_on_one_day_only_is_not_better():
    day = np.arange(900) >= 750  # the last of six
    found = Scored(ROWS, TRUTH, TRUTH + 10 * NOISE[0], TRUTH + np.where(day, 1, 10) * NOISE[1])
    assert evidence(found, GATE + "spans = 1\n")[1].decision == "promote"
    (reason,) = evidence(found)[1].reasons
    assert reason.code == "not_better"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_where_rows_tell_nothing_of_their_neighbours_their_order_changes_no_decision(seed):
    index = np.random.default_rng(seed).permutation(900)
    for found in (scored(), scored("Bo")):
        before, first = evidence(found, GATE + "spans = 1\n")
        after, second = evidence(found.take(index), GATE + "spans = 1\n")
        assert (first.decision, [r.code for r in first.reasons]) == (second.decision, [r.code for r in second.reasons])
        assert after.holdout.difference == pytest.approx(before.holdout.difference)
        assert after.holdout.low == pytest.approx(before.holdout.low, abs=0.2)
        assert [s.name for s in after.segments] == [s.name for s in before.segments]


def binary(metric: str, truth: np.ndarray, champion: np.ndarray, challenger: np.ndarray, gate: str = ""):
    """What the gate sees and says of 0 and 1 in two towns, a thousand old rows apart."""
    model = f'[model]\nlabel="y"\ntask="binary"\nmetric="{metric}"\n'
    text = f'{model}[features]\ntown="categorical"\n[gate]\npolicy="proof"\n{gate}\n'
    spec = parse_spec(text)
    rows = Table({"town": category([TOWNS[number % 2] for number in range(len(truth))])})
    old = np.tile([0.0, 1.0], 500)
    before = Scored(rows.take(slice(0, 1000)), old, 0.25 + old / 2, 0.25 + old / 2)
    gathered = gather(spec, Scored(rows, truth, champion, challenger), before, bootstrap=False)
    return gathered, judge(gathered, spec.gate)


def rare(rows: int, positives: int) -> np.ndarray:
    truth = np.zeros(rows)
    truth[np.linspace(0, rows - 1, positives).astype(int)] = 1.0
    return truth


def predictions(truth: np.ndarray, apart: float, seed: int) -> np.ndarray:
    return 1 / (1 + np.exp(4 - truth * apart - np.random.default_rng(seed).normal(size=len(truth))))


@pytest.mark.slow
def test_a_rare_class_in_large_segments_is_all_looked_at_and_a_better_challenger_promoted():
    truth = rare(20_000, 48)
    challenger = predictions(truth, 6.0, 2)
    gathered, decision = binary("auc", truth, predictions(truth, 1.0, 1), challenger, "resamples = 100")
    assert [(s.rows, s.comparison.low > 0) for s in gathered.segments] == [(10_000, True), (10_000, True)]
    assert (decision.decision, decision.reasons) == ("promote", ())


@pytest.mark.parametrize("metric", ["auc", "logloss", "accuracy"])
def test_a_sample_by_class_says_what_all_rows_say(metric):
    truth = (np.random.default_rng(5).random(12_000) < 0.02).astype(float)
    champion, challenger = predictions(truth, 3.0, 6), predictions(truth, 5.0, 7)
    index, weights = sample(truth, 2000, classes=True)
    assert (len(index), truth[index].sum(), weights.sum()) == (2000, truth.sum(), pytest.approx(12_000))
    direction = "min" if metric == "logloss" else "max"
    options = {"confidence": 0.95, "resamples": 400, "seed": 7}
    part = compare(metric, direction, truth[index], champion[index], challenger[index], weights=weights, **options)
    for output, found in ((champion, part.champion), (challenger, part.challenger)):
        assert found == pytest.approx(score(metric, truth, output), rel=0.03)
    whole = compare(metric, direction, truth, champion, challenger, **options)
    assert part.low <= whole.difference <= part.high


def test_a_sample_without_classes_is_evenly_spread():
    index, weights = sample(np.arange(100.0), 4, classes=False)
    assert (index.tolist(), weights) == ([0, 25, 50, 75], None)


def test_the_room_that_a_rare_class_leaves_is_shared_by_the_others():
    labels = np.repeat([0.0, 1.0, 2.0], [500, 10, 90])
    index, weights = sample(labels, 200, classes=True)
    assert np.bincount(labels[index].astype(int)).tolist() == [100, 10, 90]
    assert weights[labels[index] == 0].tolist() == [5.0] * 100


def test_a_rare_class_predicted_ten_times_too_often_is_miscalibrated():
    random = np.random.default_rng(1)
    truth = (random.random(20_000) < 0.01).astype(float)
    champion = 0.01 * np.exp(0.1 * random.normal(size=20_000))
    challenger = np.clip(0.1 * np.exp(2 * truth + 0.3 * random.normal(size=20_000)), 0, 0.9)
    _, decision = binary("auc", truth, champion, challenger, "resamples = 100\nsegments = []")
    assert [reason.code for reason in decision.reasons] == ["miscalibrated"]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.05, 0.01])
def test_a_calibrated_challenger_that_knows_more_is_not_miscalibrated_by_chance(share):
    random = np.random.default_rng(2)
    refused = 0
    for _ in range(50):
        known, news = random.normal(size=(2, 2000))
        champion = np.clip(share * np.exp(0.5 * known - 0.125), 0, 1)
        challenger = np.clip(champion * np.exp(0.7 * news - 0.245), 0, 1)
        truth = (random.random(2000) < challenger).astype(float)
        _, decision = binary("accuracy", truth, champion, challenger, "resamples = 100\nsegments = []")
        refused += "miscalibrated" in [reason.code for reason in decision.reasons]
    assert refused == 0


@pytest.mark.parametrize("classes", [2, 3])
def test_labels_that_are_wrong_at_random_contradict_both_models_and_those_of_a_new_world_only_the_old_one(classes):
    task, metric, more = ("binary", "logloss", "") if classes == 2 else ("multiclass", "mlogloss", "num_class = 3")
    model = f'[model]\nlabel="y"\ntask="{task}"\nmetric="{metric}"\n[features]\ntown="categorical"\n'
    spec = parse_spec(f"{model}[hyperparameters]\n{more}\n")
    rows = Table({"town": category([TOWNS[0]] * 1000)})
    random = np.random.default_rng(6)
    truth = random.integers(0, classes, 1000)

    def sure_of(labels: np.ndarray, chance: float) -> np.ndarray:
        each = np.full((len(labels), classes), (1 - chance) / (classes - 1))
        each[np.arange(len(labels)), labels] = chance
        return each[:, 1] if classes == 2 else each

    own = level_of(spec, truth.astype(float), sure_of(truth, 0.95))
    wrong = random.random(1000) < 0.2
    for labels, challenger, expected in (
        (np.where(wrong, (truth + 1) % classes, truth), sure_of(truth, 0.8), (wrong.mean(), wrong.mean())),
        ((truth + 1) % classes, sure_of((truth + 1) % classes, 0.9), (1.0, 0.0)),
    ):
        found = Scored(rows, labels.astype(float), sure_of(truth, 0.95), challenger)
        gathered = gather(spec, found, found, bootstrap=False, own=own)
        assert gathered.contradicted == pytest.approx(expected)
        assert own.contradicted == 0.0


@pytest.mark.parametrize("metric", ["logloss", "accuracy", "auc"])
def test_a_holdout_of_one_class_is_refused_as_that(metric):
    output = np.linspace(0.02, 0.03, 1000)
    with pytest.raises(Refused) as refusal:
        binary(metric, np.zeros(1000), output + 0.3, output)
    assert refusal.value.code == "too_few_rows"
    assert "of 1000 holdout" in str(refusal.value)


def test_predictions_of_a_regression_are_held_to_the_span_of_the_labels_and_probabilities_to_0_to_1():
    labels, output = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.5, 0.5])
    value, chance = sanity("regression", labels * 7, output), sanity("binary", labels * 0, output)
    assert (value.label_low, value.label_high, value.one_label) == (0.0, 7.0, False)
    assert (chance.label_low, chance.label_high, chance.one_label) == (0.0, 1.0, True)


def test_a_model_that_answers_every_row_alike_is_constant_whatever_the_number_of_classes():
    labels = np.array([0.0, 1.0, 2.0])
    assert sanity("multiclass", labels, np.tile([0.5, 0.3, 0.2], (3, 1))).constant
    assert not sanity("multiclass", labels, np.eye(3)).constant
    assert sanity("regression", labels, np.full(3, 4.0)).constant


def test_what_is_no_finite_number_is_written_as_null():
    nan, inf = float("nan"), float("inf")
    document = {"gate": {"interval": (nan, 1.5)}, "segments": [{"limit": -inf, "rows": 3, "why": None}]}
    assert plain(document) == {"gate": {"interval": [None, 1.5]}, "segments": [{"limit": None, "rows": 3, "why": None}]}
