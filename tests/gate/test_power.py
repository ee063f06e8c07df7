"""How often a gate promotes what is truly better, or worse, by so much."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.__main__ import BAD_INPUT, main
from retrain.core.errors import Refused
from retrain.gate.comparison import compare
from retrain.gate.power import Precision, power, power_table, read_precision
from retrain.model.spec import GateOptions

PROOF, INSURANCE = GateOptions(policy="proof"), GateOptions()
SEEN = {
    "gate": {
        "interval": [-0.5, 1.5],
        "champion": 10.0,
        "direction": "min",
        "rows": {"holdout": 400},
        "spans": 6,
        "confidence": 0.95,
    }
}


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.001, 1), st.integers(1, 100))
def test_promotion_is_likelier_the_better_the_challenger_and_the_more_rows_there_are(gain, more, width, times):
    holdout = Precision(1000, width)
    for policy in (PROOF, INSURANCE):
        chance = power(gain, holdout, policy)
        assert 0 <= chance <= power(gain + more, holdout, policy) <= 1
        if gain > policy.margin:
            assert chance <= power(gain, holdout.with_rows(1000 * times), policy) + 1e-12
    assert power(0.0, holdout, PROOF) <= 0.025
    assert power(0.0, holdout, INSURANCE) == pytest.approx(0.5)


@pytest.mark.parametrize("gain", [-0.03, 0.03, 0.10])
def test_what_is_stated_is_what_drawn_holdouts_do(gain):
    """Errors of a champion and of a challenger that is better by so much, on 200 holdouts of 300 independent rows."""
    random = np.random.default_rng(3)
    found, halves = [], []
    for _ in range(200):
        common = random.exponential(1.0, 300)
        champion = common * random.uniform(0.5, 1.5, 300)
        challenger = (1 - gain) * common * random.uniform(0.5, 1.5, 300)
        seen = compare(
            "mae", "min", np.zeros(300), champion, challenger, confidence=0.95, resamples=200, seed=7, spans=6
        )
        found.append(seen)
        halves.append((seen.high - seen.low) / 2 / seen.champion)
    holdout = Precision(300, float(np.mean(halves)))
    for policy, promoted in (
        (INSURANCE, [seen.difference > 0 for seen in found]),
        (PROOF, [seen.low > 0.01 * seen.champion for seen in found]),
    ):
        assert power(gain, holdout, policy) == pytest.approx(np.mean(promoted), abs=0.12)


def test_an_evaluation_says_how_finely_its_holdout_tells():
    assert read_precision(SEEN) == Precision(400, 0.1)
    assert read_precision(SEEN).with_rows(1600) == Precision(1600, 0.05)
    score = {"gate": {**SEEN["gate"], "direction": "max", "champion": 0.8, "interval": [-0.01, 0.03]}}
    assert read_precision(score).half_width == pytest.approx(0.1)


@pytest.mark.parametrize("wrong", [[], {"gate": {}}, {"gate": {**SEEN["gate"], "interval": [None, None]}}])
def test_what_is_no_evaluation_of_two_models_is_refused(wrong):
    with pytest.raises(Refused, match="no evaluation"):
        read_precision(wrong)


def test_an_interval_without_width_tells_nothing():
    with pytest.raises(Refused, match="no width"):
        read_precision({"gate": {**SEEN["gate"], "interval": [0.1, 0.1]}})


def test_the_table_has_both_policies_for_each_number_of_rows():
    lines = list(power_table(Precision(1000, 0.05, spans=1), replace(INSURANCE, margin=0.01), [1000, 4000]))
    assert len(lines) == 2 + 4
    assert lines[0] == "| holdout rows | interval | policy | -10% | -3% | -1% | 0 | +1% | +3% | +10% |"
    assert lines[2] == "| 1,000 | ± 5.0% | insurance | 0 | 12 | 35 | 50 | 65 | 88 | 100 |"
    assert lines[3] == "| 1,000 | ± 5.0% | proof | 0 | 0 | 0 | 1 | 2 | 12 | 94 |"


def test_the_command_prints_it_for_an_evaluation(tmp_path, capsys):
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(SEEN))
    assert main(["power", "--evaluation", str(file), "--rows", "400", "1600"]) == 0
    printed = capsys.readouterr().out
    assert "| 400 | ± 10.0% | insurance |" in printed
    assert "| 1,600 | ± 5.0% | proof |" in printed


def test_the_command_does_without(capsys):
    assert main(["power", "--interval", "0.05", "--rows", "800"]) == 0
    assert "| 800 | ± 5.0% | proof |" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_file_that_is_no_evaluation_is_told(tmp_path, capsys, text):
    file = tmp_path / "evaluation.json"
    file.write_text(text)
    assert main(["power", "--evaluation", str(file)]) == BAD_INPUT
    assert str(file) in capsys.readouterr().err
