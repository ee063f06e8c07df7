"""What a month costs, and what its episodes add at most."""

from __future__ import annotations

import pytest

from retrain.__main__ import main
from retrain.operate import doctor
from retrain.operate.cost import episodes


@pytest.mark.parametrize(
    ("parameters", "cycle", "count"),
    [
        ({}, 24.0, 730 / 24),
        ({}, 168.0, 730 / 168),
        ({"WindowHours": "730"}, 24.0, 1.0),
        ({"WindowHours": "1", "CooldownHours": "12"}, 1.0, 31.0),
        ({"RetrainOn": "alarms", "MonthlyEpisodes": "4"}, 24.0, 4.0),
    ],
)
def test_episodes_are_as_many_as_labels_and_the_budget_allow(parameters, cycle, count):
    found = episodes(parameters, cycle)
    assert found.dollars == pytest.approx(count * 4 * 5 / 60 * 0.23)
    assert f"at most {count:.1f}," in found.text


def test_what_has_no_price_is_said_and_not_summed(capsys):
    assert main(["cost", "TrainingInstanceType=ml.nobody"]) == 0
    assert "episodes           ?  at most 30.4" in capsys.readouterr().out
    finding = doctor.cost({"TrainingInstanceType": "ml.nobody"})
    assert (finding.level, "MonthlyDollars=0" in finding.remedy) == ("warning", True)


def test_the_command_prints_the_default_cadence_and_its_dollars(capsys):
    assert main(["cost"]) == 0
    printed = capsys.readouterr().out
    assert "2.33  at most 30.4, of labels that cover 24 hours" in printed
    assert "checked against no list" in printed
