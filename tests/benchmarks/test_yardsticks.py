"""What the benchmarks measure with: worlds, poison, scores, the simulated AWS."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from benchmarks import poison
from benchmarks.cloud import Cloud, Template
from benchmarks.driftharm import matthews
from benchmarks.injections import LATE, Seed, Stepd, told
from benchmarks.policy_report import recovered
from benchmarks.simulate import START, Traffic, lines, page, play
from benchmarks.simulate import told as told_of
from benchmarks.worlds import ROWS, TURN, WORLDS
from local.template import source
from retrain.core import clock


def test_a_world_is_the_same_each_time_and_has_its_first_windows_before_it_turns():
    world = WORLDS["abrupt"]
    once, again = world.source(), world.source()
    assert [row.values for row in once.windows[4].rows] == [row.values for row in again.windows[4].rows]
    before, after = (np.array([float(row.values[0]) for row in once.windows[n].rows]) for n in (TURN - 1, TURN))
    assert abs(before.mean()) < 0.1
    assert after.mean() > 0.9


def test_a_category_that_rolls_on_never_comes_back():
    windows = WORLDS["rolling"].source().windows
    last_seen = {row.values[-1]: number for number, window in enumerate(windows) for row in window.rows}
    first_seen = {}
    for number, window in enumerate(windows):
        for row in window.rows:
            first_seen.setdefault(row.values[-1], number)
    assert all(last_seen[name] - first_seen[name] <= 2 for name in last_seen)


@pytest.mark.parametrize("kind", poison.KINDS)
def test_poison_spoils_what_it_says_and_keeps_the_order_of_time(kind):
    source = WORLDS["gradual"].source()
    window = source.windows[0]
    spoiled = poison.KINDS[kind](window, source.spec, "x0")
    times = [row.time for row in spoiled.rows]
    assert times == sorted(times)
    assert (spoiled.start, spoiled.end) == (window.start, window.end)
    pairs = list(zip(window.rows, spoiled.rows, strict=False))
    wrong = sum(one.label != other.label and one.values == other.values for one, other in pairs)
    rows = {"300 rows": 300, "a flood": 2 * ROWS, "a copied block": ROWS + 5 * (ROWS // 10)}
    assert len(spoiled.rows) == rows.get(kind, ROWS)
    if kind == "an attacker's tenth":
        assert wrong == ROWS // 10
    if kind == "20 % of labels flipped":
        assert 0.17 * ROWS < wrong < 0.23 * ROWS
    if kind == "a feature broken":
        assert {row.values[0] for row in spoiled.rows} == {"0"}


def test_nothing_is_recovered_where_nothing_was_to_be_gained():
    assert recovered(10.0, 9.99, 9.95) is None
    assert recovered(10.0, 8.0, 6.0) == 0.5


def test_matthews_correlation_of_an_alarm_that_never_or_always_comes_is_nothing():
    harms = np.array([True, False, True, False])
    assert matthews(harms, harms) == 1.0
    assert matthews(~harms, harms) == -1.0
    assert matthews(np.ones(4, dtype=bool), harms) == 0.0


def test_stepd_sees_a_model_that_breaks_and_not_one_that_is_as_it_was():
    random = np.random.default_rng(1)
    detector, alarms = Stepd(), []
    for number in range(2_000):
        detector.update(int(random.random() < (0.1 if number < 1_000 else 0.6)))
        if detector.drift_detected:
            alarms.append(number)
    assert sum(number < 1_000 for number in alarms) <= 2  # of 1,000 tests at 0.3 %
    assert any(1_000 <= number < 1_060 for number in alarms)


def test_seed_finds_a_share_of_errors_that_grew_and_few_others():
    random = np.random.default_rng(5)
    detector, alarms = Seed(), []
    for number in range(6_000):
        detector.update(int(random.random() < (0.1 if number < 5_000 else 0.6)))
        if detector.drift_detected:
            alarms.append(number)
    assert sum(number < 5_000 for number in alarms) <= 2
    assert any(5_000 <= number < 5_100 for number in alarms)


def test_early_alarms_cost_as_much_as_missed_changes():
    found = {"early": 0, "rows before": 5_000, "delay": 100}
    early = {**found, "early": 2}
    missed = {**found, "delay": None}
    assert LATE > 100
    assert told([found, found])["f1"] == 1.0
    assert told([early, found])["f1"] == pytest.approx(4 / 6)
    assert told([missed, found])["f1"] == pytest.approx(2 / 3)


def test_the_simulated_stack_has_the_template_s_defaults_and_one_alarm_that_opens_episodes_for_each_monitor():
    template = Template(InitialDataUri="s3://initial/data/")
    environment = template.environment()
    assert environment["WINDOW_HOURS"] == str(source()["Parameters"]["WindowHours"]["Default"])
    opening = {*environment["ALARM_ARNS"].split(","), *environment["QUALITY_ALARM_ARNS"].split(",")}
    assert opening <= set(template.alarms())
    assert all("${" not in value for value in environment.values())


@pytest.mark.slow
def test_a_year_s_first_hours_with_a_model_that_serves_and_monitors_that_look():
    given = {"InitialDataUri": "s3://initial/data/", "ApprovalMode": "auto"}
    with Cloud(**given) as cloud:
        year = play(cloud, Traffic(600, "unchanged", 7), days=1, every=12, history=8, verbose=False)
        of = {
            "scenario": "unchanged",
            "days": 1,
            "changed": 90,
            "seed": 7,
            "rows_a_day": 600,
            "history": 8,
            "every": 12,
        }
        found = told_of(cloud, year, **of)
        serving = cloud.sagemaker.serving(cloud.template.parameters["EndpointName"])
        assert cloud.now == START + timedelta(days=1, minutes=1)
    assert serving is not None
    assert sum(year.verdicts["drift"].values()) == 2
    assert sum(year.verdicts["quality"].values()) == 2
    assert any(line.startswith("episodes opened") for line in lines(found))
    served, never = found["rmse_of_all"]
    assert 1.4 < served == never  # the first model serves, and nothing is better than the noise
    assert any(line.startswith("| unchanged, 7 | 1 | 0, 0, 0 |") for line in page([found]))
    assert clock.render(START) == "2026-01-01T00:00:00Z"
