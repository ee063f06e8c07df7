from dataclasses import replace

import pytest

from retrain.errors import REFUSALS, Refused
from retrain.evaluation import Comparison
from retrain.gate import RULES, Evidence, Sanity, judge
from retrain.spec import GateOptions

NAN, INF = float("nan"), float("inf")
OPTIONS = GateOptions(margin=0.01, reference_margin=0.1, min_rows=100)
SANE = Sanity(missing=0, low=10.0, high=90.0, label_low=5.0, label_high=100.0, constant=False)
CLEAR = Comparison(champion=10.0, challenger=8.0, difference=2.0, low=1.5, high=2.5)
GOOD = Evidence(
    metric="rmse",
    direction="min",
    bootstrap=False,
    has_champion=True,
    holdout_rows=1000,
    reference_rows=500,
    challenger=8.0,
    holdout=CLEAR,
    reference=Comparison(9.0, 9.5, -0.5, -0.7, -0.3),
    sanity=SANE,
)
FIRST = replace(GOOD, bootstrap=True, has_champion=False, holdout=None, reference=None, reference_rows=0)


def test_a_clearly_better_challenger_is_promoted():
    decision = judge(GOOD, OPTIONS)
    assert (decision.decision, decision.reasons) == ("promote", ())
    assert (decision.margin, decision.limit) == (pytest.approx(0.1), pytest.approx(9.9))


def test_without_a_champion_an_explicit_bootstrap_is_accepted():
    assert judge(FIRST, OPTIONS).decision == "bootstrap"


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"holdout": replace(CLEAR, low=0.1)}, ["not_better"]),  # the margin itself is not enough
        ({"holdout": replace(CLEAR, difference=0.0, low=-0.1, high=0.1)}, ["not_better"]),
        ({"holdout": replace(CLEAR, challenger=12.0, difference=-2.0, low=-2.5, high=-1.5)}, ["not_better"]),
        ({"reference": Comparison(9.0, 9.91, -0.91, -1.0, -0.8)}, ["forgets_reference"]),
        ({"reference": Comparison(9.0, NAN, NAN, NAN, NAN)}, ["forgets_reference"]),
        (
            {"holdout": replace(CLEAR, low=0.0), "reference": Comparison(9.0, 12.0, -3.0, -3.5, -2.5)},
            ["not_better", "forgets_reference"],
        ),
    ],
)
def test_a_challenger_that_did_not_prove_itself_keeps_the_champion(change, codes):
    decision = judge(replace(GOOD, **change), OPTIONS)
    assert decision.decision == "keep_champion"
    assert [reason.code for reason in decision.reasons] == codes
    assert all(any(digit.isdigit() for digit in reason.detail) for reason in decision.reasons)


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (replace(FIRST, bootstrap=False), "no_champion"),
        (replace(GOOD, bootstrap=True), "unsafe_to_start"),
        (replace(GOOD, holdout=None), "no_champion_metric"),
        (replace(GOOD, reference=None), "no_champion_metric"),
        (replace(GOOD, holdout=replace(CLEAR, champion=NAN)), "no_champion_metric"),
        (replace(GOOD, holdout=replace(CLEAR, champion=INF)), "no_champion_metric"),
        (replace(GOOD, reference=Comparison(NAN, 9.0, NAN, NAN, NAN)), "no_champion_metric"),
        (replace(GOOD, challenger=NAN), "bad_metric"),
        (replace(GOOD, challenger=-1.0), "bad_metric"),
        (replace(GOOD, metric="auc", direction="max", challenger=1.2), "bad_metric"),
        (replace(GOOD, holdout=replace(CLEAR, low=NAN)), "bad_metric"),
        (replace(GOOD, holdout_rows=99), "too_few_rows"),
        (replace(FIRST, holdout_rows=0), "too_few_rows"),
        (replace(GOOD, sanity=replace(SANE, missing=1)), "bad_metric"),
        (replace(GOOD, sanity=replace(SANE, high=196.0)), "bad_metric"),
        (replace(GOOD, sanity=replace(SANE, constant=True)), "bad_metric"),
    ],
)
def test_missing_or_impossible_evidence_is_refused(evidence, code):
    with pytest.raises(Refused) as refusal:
        judge(evidence, OPTIONS)
    assert refusal.value.code == code


def test_no_reference_rows_are_no_obstacle():
    assert judge(replace(GOOD, reference=None, reference_rows=0), OPTIONS).decision == "promote"


def test_a_metric_that_grows_is_limited_from_below():
    rising = replace(
        GOOD,
        metric="auc",
        direction="max",
        challenger=0.9,
        holdout=Comparison(0.8, 0.9, 0.1, 0.05, 0.15),
        reference=Comparison(0.8, 0.73, -0.07, -0.1, -0.05),
    )
    assert judge(rising, OPTIONS).decision == "promote"
    worse = replace(rising, reference=Comparison(0.8, 0.71, -0.09, -0.1, -0.05))
    assert [reason.code for reason in judge(worse, OPTIONS).reasons] == ["forgets_reference"]


def test_every_rule_has_a_code_that_the_loop_knows():
    assert {rule.code for rule in RULES} <= REFUSALS
