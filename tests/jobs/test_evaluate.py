"""What the gate gets to see of a holdout: its segments, and how far predictions lie off on the whole."""

import houses
import numpy as np
import pytest

from retrain.gate import judge
from retrain.jobs.evaluate import Scored, gather
from retrain.spec import parse_spec
from retrain.table import category

TOWNS = ("Aa", "Bo", "Ce")
ROWS = houses.table(900, seed=3, towns=TOWNS)
TRUTH = ROWS.numbers("price")
TOWN = np.array(TOWNS)[ROWS.categories("town").codes]
NOISE = np.random.default_rng(4).normal(0, 1, (2, 900))
GATE = "min_segment_rows = 100\n"


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
