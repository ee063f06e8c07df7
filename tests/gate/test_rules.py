import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.core.errors import REFUSALS, Refused
from retrain.gate.comparison import Comparison, compare
from retrain.gate.rules import (
    RULES,
    Evidence,
    Fit,
    Level,
    Sanity,
    Segment,
    assurance,
    judge,
    segment_confidence,
    segment_limit,
)
from retrain.model.spec import GATE_RULES, GateOptions

NAN, INF = float("nan"), float("inf")
OPTIONS = GateOptions(policy="proof", margin=0.01, reference_margin=0.1, min_rows=100)
INSURED = GateOptions(min_rows=100)
SANE = Sanity(missing=0, low=10.0, high=90.0, label_low=5.0, label_high=100.0, constant=False, one_label=False)
CLEAR = Comparison(champion=10.0, challenger=8.0, difference=2.0, low=1.5, high=2.5)
GOOD = Evidence(
    metric="rmse",
    direction="min",
    bootstrap=False,
    has_champion=True,
    holdout_rows=1000,
    reference_rows=500,
    rarer=None,
    reference_rarer=None,
    challenger=8.0,
    holdout=CLEAR,
    reference=Comparison(9.0, 9.5, -0.5, -0.7, -0.3),
    sanity=SANE,
    fit=Fit("bias", champion=-3.0, challenger=1.0, scale=20.0),
    segments=(
        Segment("town", "Aa", 400, Comparison(10.0, 8.0, 2.0, 1.0, 3.0)),
        Segment("town", None, 60, None, "fewer than 100 rows"),
    ),
)
FIRST = replace(
    GOOD,
    bootstrap=True,
    has_champion=False,
    holdout=None,
    reference=None,
    reference_rows=0,
    fit=Fit("bias", None, 1.0, 20.0),
    segments=(),
)
SCORED = replace(
    GOOD,
    metric="auc",
    direction="max",
    rarer=50,
    reference_rarer=50,
    challenger=0.9,
    holdout=Comparison(0.8, 0.9, 0.1, 0.05, 0.15),
    reference=Comparison(0.8, 0.79, -0.01, -0.019, 0.0),
    sanity=replace(SANE, low=0.1, high=0.9, label_low=0.0, label_high=1.0),
    fit=Fit("calibration_error", 0.02, 0.02, 1.0),
    segments=(),
)


def segment(low: float, high: float) -> tuple[Segment, ...]:
    """The segments of GOOD and one more, on which the challenger is better by `low` to `high`."""
    middle = (low + high) / 2
    return (*GOOD.segments, Segment("town", "Bo", 150, Comparison(10.0, 10.0 - middle, middle, low, high)))


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
        ({"reference": Comparison(9.0, 9.5, -0.5, -0.91, -0.1)}, ["forgets_reference"]),  # it may be more than 9.9
        ({"reference": Comparison(9.0, NAN, NAN, NAN, NAN)}, ["forgets_reference"]),
        (
            {"holdout": replace(CLEAR, low=0.0), "reference": Comparison(9.0, 12.0, -3.0, -3.5, -2.5)},
            ["not_better", "forgets_reference"],
        ),
        ({"segments": segment(-3.0, -1.01)}, ["degrades_segment"]),  # all of it beyond 10 % of the champion's 10
        ({"segments": segment(NAN, NAN)}, ["degrades_segment"]),
        ({"fit": Fit("bias", -3.0, 8.1, 20.0)}, ["biased"]),  # 3 and a quarter of 20
        ({"fit": Fit("bias", 3.0, -8.1, 20.0)}, ["biased"]),
        ({"fit": Fit("bias", 3.0, NAN, 20.0)}, ["biased"]),
        ({"fit": Fit("calibration_error", 0.05, 0.16, 1.0)}, ["miscalibrated"]),
        ({"fit": Fit("calibration_error", 0.005, 0.01, 0.04)}, ["miscalibrated"]),  # a tenth of 0.04
        ({"fit": Fit("calibration_error", 0.005, 0.01, 0.04, chance=0.004)}, ["miscalibrated"]),
    ],
)
def test_a_challenger_that_did_not_prove_itself_keeps_the_champion(change, codes):
    decision = judge(replace(GOOD, **change), OPTIONS)
    assert decision.decision == "keep_champion"
    assert [reason.code for reason in decision.reasons] == codes
    assert all(any(digit.isdigit() for digit in reason.detail) for reason in decision.reasons)


WORSE = Comparison(9.0, 17.0, -8.0, -9.0, -7.0)  # four times what is gained on the holdout


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({}, []),
        ({"holdout": replace(CLEAR, difference=0.01, low=-1.0, high=1.0)}, ["trade_off"]),  # GOOD's reference is worse
        ({"holdout": replace(CLEAR, difference=0.2, low=-1.0, high=1.0)}, []),
        ({"holdout": replace(CLEAR, difference=0.2, low=NAN, high=NAN)}, []),  # of too few rows for an interval
        ({"holdout": replace(CLEAR, difference=0.0, low=-1.0, high=1.0)}, ["not_better", "trade_off"]),
        ({"reference": WORSE}, []),  # not yet more
        ({"reference": replace(WORSE, difference=-8.1)}, ["trade_off"]),
        ({"reference": replace(WORSE, difference=NAN)}, []),  # not known, which the evidence says
        ({"reference": None, "reference_rows": 0}, []),
        ({"segments": segment(-3.0, -2.0)}, []),
        ({"fit": Fit("bias", -3.0, 30.0, 20.0)}, []),
    ],
)
def test_insurance_promotes_what_is_better_at_all_unless_too_much_is_given_up(change, codes):
    decision = judge(replace(GOOD, **change), INSURED)
    assert [reason.code for reason in decision.reasons] == codes
    assert decision.decision == ("keep_champion" if codes else "promote")


def test_what_is_given_up_of_a_score_counts_as_much():
    lost = replace(SCORED, reference=Comparison(0.9, 0.45, -0.45, -0.5, -0.4))
    assert [reason.code for reason in judge(lost, INSURED).reasons] == ["trade_off"]
    assert judge(lost, replace(INSURED, trade_off=0.2)).decision == "promote"
    assert judge(lost, replace(INSURED, trade_off=0.0)).decision == "promote"
    few = replace(lost, reference_rarer=9)  # says nothing about an AUC
    assert judge(few, INSURED).decision == "promote"


@pytest.mark.parametrize("rule", GATE_RULES)
def test_every_rule_can_be_switched_on_for_insurance_and_off_for_proof(rule):
    breach = {
        "forgets_reference": {"reference": Comparison(9.0, 10.4, -1.4, -1.5, -1.3)},
        "degrades_segment": {"segments": segment(-3.0, -2.0)},
        "biased": {"fit": Fit("bias", -3.0, 30.0, 20.0)},
        "miscalibrated": {"fit": Fit("calibration_error", 0.05, 0.16, 1.0)},
    }[rule]
    evidence = replace(GOOD, **breach)
    assert judge(evidence, INSURED).decision == "promote"
    assert [reason.code for reason in judge(evidence, replace(INSURED, rules=(rule,))).reasons] == [rule]
    assert judge(evidence, replace(OPTIONS, rules=())).decision == "promote"


@pytest.mark.parametrize("options", [INSURED, OPTIONS])
@pytest.mark.parametrize(
    ("constant", "own", "suspect"),
    [
        (25.0, Level(3.9, 25.0), True),  # 8 is more than twice 3.9, and as much of what there is to predict
        (25.0, Level(4.1, 25.0), False),
        (80.0, Level(3.9, 25.0), False),  # the world has grown: 8 of 80 are less than 3.9 of 25
        (25.0, None, False),
        (25.0, Level(0.0, 0.0), False),
    ],
)
def test_labels_by_which_even_the_better_model_is_far_worse_than_ever_are_suspect(options, constant, own, suspect):
    evidence = replace(GOOD, constant=constant, own=own)
    if not suspect:
        assert judge(evidence, options).decision == "promote"
        return
    with pytest.raises(Refused) as refusal:
        judge(evidence, options)
    assert refusal.value.code == "labels_suspect"
    assert "look at the labels of this window" in refusal.value.detail


@pytest.mark.parametrize(
    ("then", "now", "suspect"),
    [
        (0.03, (0.27, 0.26), True),  # a fifth of the labels is wrong at random
        (0.03, (0.40, 0.03), False),  # the world has changed, and the challenger has learned how
        (0.03, (0.17, 0.17), False),
        (0.03, None, False),
        (math.nan, (0.27, 0.26), False),
    ],
)
def test_labels_that_contradict_what_the_champion_is_sure_of_and_that_nobody_can_learn_are_suspect(then, now, suspect):
    evidence = replace(GOOD, own=Level(9.9, 25.0, 0.9, then), contradicted=now)
    if not suspect:
        assert judge(evidence, INSURED).decision == "promote"
        return
    with pytest.raises(Refused, match="27% of the labels contradict it and 26% the challenger, 3% did") as refusal:
        judge(evidence, INSURED)
    assert refusal.value.code == "labels_suspect"
    assert judge(evidence, replace(INSURED, max_contradicted=1.0)).decision == "promote"


def test_what_a_promotion_shows_and_what_it_does_not():
    shown, unproven = assurance(replace(GOOD, own=Level(8.0, 25.0)), INSURED)
    assert shown == [
        "answers that are not sane",
        "labels that are suspect",
        "losing 4 times as much on old rows as is gained",
    ]
    assert unproven == [
        "answering requests otherwise than it was judged, or not at all",
        "being worse on old rows",
        "being worse for a part of the rows",
        "predicting too much or too little on the whole",
    ]
    shown, unproven = assurance(replace(GOOD, holdout=replace(CLEAR, low=-0.5)), OPTIONS)
    assert unproven == ["labels that are suspect", "answering requests otherwise than it was judged, or not at all"]
    assert shown[-1] == "not being better by more than 0.01 of what the champion is short of perfect"
    vague = replace(GOOD, holdout=replace(CLEAR, low=-0.5), reference=None)
    shown, unproven = assurance(vague, INSURED)
    assert "losing 4 times as much on old rows as is gained" in unproven
    assert unproven[-1] == "being no better than the champion (with 95% confidence -0.5 to 2.5)"


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
        (replace(SCORED, challenger=1.2), "bad_metric"),
        (replace(GOOD, holdout=replace(CLEAR, low=NAN)), "bad_metric"),
        (replace(GOOD, holdout_rows=99), "too_few_rows"),
        (replace(FIRST, holdout_rows=0), "too_few_rows"),
        (replace(GOOD, sanity=replace(SANE, missing=1)), "bad_metric"),
        (replace(GOOD, sanity=replace(SANE, high=196.0)), "bad_metric"),
        (replace(GOOD, sanity=replace(SANE, constant=True)), "bad_metric"),
        (replace(GOOD, sanity=replace(SANE, one_label=True)), "too_few_rows"),
        (replace(FIRST, sanity=replace(SANE, one_label=True)), "too_few_rows"),
        (replace(SCORED, rarer=9), "too_few_rows"),
        (replace(SCORED, reference_rarer=9), "too_few_rows"),
        (replace(GOOD, reference_rows=99), "too_few_rows"),
        (replace(GOOD, reference=None, reference_rows=0), "too_few_rows"),
        (replace(GOOD, fit=None), "no_champion_metric"),
        (replace(GOOD, fit=Fit("bias", None, 1.0, 20.0)), "no_champion_metric"),
        (replace(GOOD, fit=Fit("bias", NAN, 1.0, 20.0)), "no_champion_metric"),
    ],
)
def test_missing_or_impossible_evidence_is_refused(evidence, code):
    with pytest.raises(Refused) as refusal:
        judge(evidence, OPTIONS)
    assert refusal.value.code == code


def test_without_reference_rows_nothing_is_promoted_unless_that_was_said():
    without = replace(GOOD, reference=None, reference_rows=0)
    with pytest.raises(Refused, match="0 reference rows, at least 100 are needed to see what was forgotten"):
        judge(without, OPTIONS)
    assert judge(without, replace(OPTIONS, min_reference_rows=0)).decision == "promote"


def test_reference_rows_that_are_there_are_looked_at_however_few_may_be():
    lenient = replace(OPTIONS, min_reference_rows=0)
    few = replace(SCORED, reference_rows=12)
    assert judge(few, lenient).decision == "promote"
    with pytest.raises(Refused, match="2 of 12 reference rows are of the rarer class, at least 10 are needed"):
        judge(replace(few, reference_rarer=2), lenient)
    forgets = replace(GOOD, reference_rows=12, reference=Comparison(9.0, 9.91, -0.91, -1.0, -0.8))
    assert [reason.code for reason in judge(forgets, lenient).reasons] == ["forgets_reference"]


def test_a_challenger_that_forgot_passes_as_often_as_is_stated():
    """An AUC that fell from 0.90 to 0.80 on 100 old rows with ten positives, where 0.885 is the limit.

    By a point estimate every sixth draw passed.
    """
    random = np.random.default_rng(5)
    truth = np.repeat([1.0, 0.0], [10, 90])
    options = replace(OPTIONS, reference_margin=0.15)
    passed = 0
    for _ in range(60):
        champion, challenger = (truth * shift + random.normal(0, 1, 100) for shift in (1.812, 1.190))
        bounds = {"confidence": 0.95, "resamples": 200, "seed": 7}
        seen = compare("auc", "max", truth, champion, challenger, **bounds)
        codes = [reason.code for reason in judge(replace(SCORED, reference=seen), options).reasons]
        passed += "forgets_reference" not in codes
    assert passed / 60 <= 0.05


def test_no_more_reference_rows_are_asked_for_than_a_holdout_had():
    assert judge(replace(GOOD, reference_rows=30), replace(OPTIONS, min_rows=30)).decision == "promote"


def test_a_metric_that_grows_is_limited_from_below():
    assert judge(SCORED, OPTIONS).limit == pytest.approx(0.78)  # 10 % of the 0.2 that it lacks
    worse = replace(SCORED, reference=Comparison(0.8, 0.77, -0.03, -0.04, -0.01))
    (reason,) = judge(worse, OPTIONS).reasons
    assert reason.code == "forgets_reference"
    assert reason.detail.endswith("the limit is 0.78: worse by 10 % of what the champion's auc lacks to 1, or 3 rows")


def test_what_a_score_lacks_to_one_is_what_a_challenger_has_to_gain_a_share_of():
    nearly = replace(SCORED, metric="accuracy", holdout=Comparison(0.991, 0.9997, 0.0087, 0.0073, 0.01))
    assert judge(nearly, OPTIONS).margin == pytest.approx(0.00009)
    assert judge(nearly, OPTIONS).decision == "promote"
    no_gain = replace(SCORED, holdout=Comparison(0.8, 0.803, 0.003, 0.0019, 0.004))
    (reason,) = judge(no_gain, OPTIONS).reasons
    assert reason.detail.endswith("the lower bound must exceed 0.002, 1 % of what the champion's auc lacks to 1")


@pytest.mark.parametrize(("low", "decision"), [(-0.005, "promote"), (-0.007, "keep_champion")])
def test_of_a_perfect_score_on_old_rows_three_of_them_may_be_lost(low, decision):
    perfect = replace(SCORED, reference=Comparison(1.0, 0.998, -0.002, low, 0.0))
    assert judge(perfect, OPTIONS).decision == decision  # of 500 rows


def test_nothing_is_better_than_a_perfect_champion():
    perfect = replace(SCORED, challenger=1.0, holdout=Comparison(1.0, 1.0, 0.0, 0.0, 0.0))
    assert [reason.code for reason in judge(perfect, OPTIONS).reasons] == ["not_better"]


@pytest.mark.parametrize(("direction", "champion", "limit"), [("min", 10.0, -1.0), ("max", 0.98, -0.002)])
def test_a_segment_s_limit_is_a_share_of_the_champion_s_shortfall_there(direction, champion, limit):
    there = Segment("town", "Bo", 150, Comparison(champion, champion, 0.0, -0.1, 0.1))
    assert segment_limit(there, direction, OPTIONS) == pytest.approx(limit)


@pytest.mark.parametrize(
    "change",
    [
        {"segments": segment(-3.0, -1.0)},  # the margin itself is not beyond it
        {"segments": segment(-9.0, 0.5)},  # worse by chance
        {"segments": ()},
        {"fit": Fit("bias", -3.0, 8.0, 20.0)},
        {"fit": Fit("bias", 30.0, -30.0, 20.0)},  # no further off than the champion
        {"fit": Fit("calibration_error", 0.05, 0.15, 1.0)},
        {"fit": Fit("calibration_error", 0.005, 0.012, 0.04, chance=0.008)},  # so few rows tell no less
    ],
)
def test_what_may_be_chance_or_is_within_its_margin_speaks_against_nobody(change):
    assert judge(replace(GOOD, **change), OPTIONS).decision == "promote"


def test_a_degraded_segment_is_named_with_its_numbers():
    (reason,) = judge(replace(GOOD, segments=segment(-3.0, -2.0)), OPTIONS).reasons
    assert reason.detail == (
        "town=Bo: rmse 10 → 12.5 on 150 rows, better by -3 to -2, the limit is -1: 10 % of the champion's rmse"
    )


def test_segments_that_were_asked_for_and_not_seen_are_missing_evidence():
    asked = replace(OPTIONS, segments=("town", "street"))
    (reason,) = judge(GOOD, asked).reasons
    assert reason.code == "segment_unknown"
    assert reason.detail.startswith("no segment of street could be judged: none has 100 of the 1000 holdout rows")
    assert judge(FIRST, asked).decision == "bootstrap"


def test_the_segments_share_one_chance_of_a_false_alarm():
    assert segment_confidence(OPTIONS, 1) == pytest.approx(0.95)
    assert segment_confidence(OPTIONS, 20) == pytest.approx(0.9975)
    assert segment_confidence(OPTIONS, 0) == pytest.approx(0.95)


numbers = st.floats(-20, 20)
values = st.floats(0, 40)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    low, difference, high = sorted((draw(numbers), draw(numbers), draw(numbers)))
    champion = draw(values)
    return Comparison(champion, max(0.0, champion - difference), difference, low, high)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Evidence that can be judged, good and bad."""
    holdout = draw(comparisons())
    segments = draw(st.lists(comparisons(), max_size=4))
    return replace(
        GOOD,
        challenger=holdout.challenger,
        holdout=holdout,
        reference=draw(comparisons()),
        fit=Fit("bias", draw(numbers), draw(numbers), draw(values)),
        segments=tuple(Segment("town", f"T{place}", 100, found) for place, found in enumerate(segments)),
    )


def better(comparison: Comparison, by: float) -> Comparison:
    """The same champion, challenged by a model that is better by as much more."""
    return Comparison(
        comparison.champion,
        max(0.0, comparison.challenger - by),
        comparison.difference + by,
        comparison.low + by,
        comparison.high + by,
    )


@given(evidences(), st.lists(st.floats(0, 20), min_size=3, max_size=3), st.floats(0, 1))
def test_a_better_challenger_is_never_refused_where_a_worse_one_was_promoted(evidence, gains, share):
    improved = replace(
        evidence,
        holdout=better(evidence.holdout, gains[0]),
        challenger=max(0.0, evidence.challenger - gains[0]),
        reference=better(evidence.reference, gains[1]),
        segments=tuple(replace(s, comparison=better(s.comparison, gains[2])) for s in evidence.segments),
        fit=replace(evidence.fit, challenger=evidence.fit.challenger * share),
    )
    worse, after = judge(evidence, OPTIONS), judge(improved, OPTIONS)
    assert {reason.code for reason in after.reasons} <= {reason.code for reason in worse.reasons}


@given(evidences(), st.data())
def test_what_is_not_a_number_never_promotes(evidence, data):
    fields = ["champion", "challenger", "difference", "low", "high"]
    place = data.draw(st.sampled_from(["holdout", "reference", "segments", "fit", "challenger"]))
    wrong = data.draw(st.sampled_from([NAN, INF, -INF]))
    if place == "challenger":
        spoilt = replace(evidence, challenger=wrong)
    elif place == "fit":
        spoilt = replace(evidence, fit=replace(evidence.fit, **{data.draw(st.sampled_from(fields[:2])): wrong}))
    elif place == "segments":
        name = data.draw(st.sampled_from([name for name in fields if name != "difference"]))
        spoilt = replace(evidence, segments=(Segment("town", "Aa", 100, replace(CLEAR, **{name: wrong})),))
    else:
        known = fields[:2] if place == "reference" else [name for name in fields if name != "challenger"]
        name = data.draw(st.sampled_from(known))
        spoilt = replace(evidence, **{place: replace(getattr(evidence, place), **{name: wrong})})
    try:
        decision = judge(spoilt, OPTIONS)
    except Refused:
        return
    assert decision.decision != "promote"


@given(evidences())
def test_insurance_never_promotes_what_is_worse_or_gives_up_too_much(evidence):
    insured = judge(evidence, INSURED)
    if insured.decision == "promote":
        assert evidence.holdout.difference > 0
        assert 0.25 * -evidence.reference.difference <= evidence.holdout.difference


@given(evidences())
def test_a_promotion_is_what_every_rule_agrees_to(evidence):
    decision = judge(evidence, OPTIONS)
    assert (decision.decision == "promote") == (not decision.reasons)
    if decision.decision == "promote":
        assert evidence.holdout.low > 0.01 * evidence.holdout.champion
        assert all(math.isfinite(value) for value in (decision.margin, decision.limit))


def test_every_rule_has_a_code_that_the_loop_knows():
    assert {rule.code for rule in RULES} <= REFUSALS
