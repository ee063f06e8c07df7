"""What days do to the main metric where nothing has changed, and what a window has to be worse by."""

import math

import numpy as np
import pytest

from retrain.core.clock import parse
from retrain.core.errors import NoBaseline
from retrain.drift.verdict import Verdict
from retrain.quality.days import Main, learn_main, read_main
from retrain.quality.metrics import intervals, model_quality
from retrain.quality.verdict import Pairs, judge_quality, read_baseline, read_pairs, suggest_constraints

WINDOW = parse("2026-03-01T00:00:00Z"), parse("2026-03-02T00:00:00Z")
A_DAY = 300


def days(count, seed, foggy=0.3, worse=1.0):
    """Truth, output and times of a regression whose errors are those of the day: some days are foggy."""
    random = np.random.default_rng(seed)
    fog = np.exp(random.normal(0, foggy, count)).repeat(A_DAY)
    truth = random.normal(0, 1, count * A_DAY)
    output = truth + random.normal(0, 1, len(truth)) * fog * worse
    return truth, output, np.arange(len(truth)) * 86_400.0 / A_DAY


def judged(holdout, window, metric="rmse", timed=True):
    truth, output, times = holdout
    main = learn_main(metric, truth, output, times if timed else np.full(len(times), np.nan))
    block = model_quality("regression", truth, output, ())
    baseline = read_baseline(suggest_constraints(block, "regression", main=main))
    assert baseline.main == main
    pairs = Pairs("regression", window[0], window[1], (), {}, window[2])
    return judge_quality(pairs, len(window[0]), baseline.demands, WINDOW, rules=baseline.rules, main=baseline.main)


@pytest.mark.slow
def test_a_foggy_day_is_no_decay_where_the_holdout_has_days():
    holdout = days(40, 1)
    found = [judged(holdout, days(1, seed)).verdict for seed in range(2, 62)]
    assert Verdict.DRIFTED not in found
    without = [judged(holdout, days(1, seed), timed=False).verdict for seed in range(2, 62)]
    assert without.count(Verdict.DRIFTED) > 5


def test_an_error_that_no_day_explains_is_decay():
    found = judged(days(40, 1), days(1, 2, foggy=0.0, worse=8.0))
    assert (found.verdict, [demand.metric for demand in found.violated]) == (Verdict.DRIFTED, ["rmse"])
    assert found.quality_max > 1


def test_what_a_day_explains_is_said():
    found = judged(days(40, 1), days(1, 2, foggy=0.0, worse=2.0))
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "not_tellable")
    assert "where nothing has changed, windows of 24 hours" in found.detail
    assert found.quality_max is None


def test_the_main_metric_decides_and_the_others_are_reported():
    truth, output, times = days(1, 3, foggy=0.0)
    output[:300:100] += 12.0  # which the squared error heeds and the absolute one hardly
    found = judged(days(40, 1, foggy=0.0), (truth, output, times), metric="mae")
    assert found.verdict is Verdict.STABLE
    told = {item["name"]: (item["decides"], item["severity"] > 1) for item in found.document()["metrics"]}
    assert told == {"mae": (True, False), "rmse": (False, True)}
    assert found.quality_max <= 1


def test_a_log_loss_is_decided_by_what_model_monitor_has():
    random = np.random.default_rng(1)
    truth = (random.random(4000) < 0.5).astype(float)
    output = np.clip(truth * 0.2 + random.random(4000) * 0.8, 0, 1)
    assert learn_main("logloss", truth, output, np.arange(4000.0)).metric == "auc"


@pytest.mark.parametrize("count", [3, 7])
def test_of_fewer_than_eight_days_nothing_is_known(count):
    main = learn_main("rmse", *days(count, 1))
    assert main.days is None
    assert main.chance(24, 0.1) == 0.0


def test_longer_windows_are_bound_more_closely():
    main = learn_main("rmse", *days(40, 1))
    assert main.chance(24 * 7, 0.1) < main.chance(24, 0.1)
    assert main.growth(main.value * 2) == pytest.approx(math.log(2))
    assert Main("auc", 0.9).growth(0.8) == pytest.approx(math.log(2))
    assert Main("auc", 1.0).growth(0.9) == math.inf


@pytest.mark.parametrize("broken", [{"metric": "rmse"}, {"metric": "rmse", "value": 1, "days": 9}, 3])
def test_a_main_metric_that_cannot_be_read_is_refused(broken):
    with pytest.raises(ValueError, match="main"):
        read_main(broken)
    with pytest.raises(NoBaseline, match="drift_retrain: main"):
        read_baseline({"regression_constraints": {}, "drift_retrain": {"main": broken}})


def test_rows_of_one_time_are_alike():
    truth, output, times = days(24, 5, foggy=1.0)
    hours = times / 24  # the days' fog, an hour each
    alone, spans = (intervals("regression", truth, output, 0.01, when)["rmse"] for when in (None, hours))
    assert spans[1] - spans[0] > 2 * (alone[1] - alone[0])
    assert intervals("binary", (truth > 0).astype(float), (output > 0) * 1.0, 0.01, hours)["auc"][1] <= 1.0


def test_the_times_of_pairs_that_cannot_be_used_are_left_out():
    found = read_pairs("regression", [("1", ["2"]), ("x", ["2"]), ("3", ["2"])], (), [10.0, 20.0, 30.0])
    assert found.times.tolist() == [10.0, 30.0]
    found = read_pairs("multiclass", [("a", ["a"]), ("", ["a"]), ("b", ["a"])], ("a", "b"), [10.0, 20.0, 30.0])
    assert found.times.tolist() == [10.0, 30.0]
