"""What has to fit together so that anything is ever trained: a table of plans, and what is said of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retrain.core.enough import Plan, conflicts, plan_of, rows_in

DAY = 24.0
LATE = Plan(delay=96, wait=48)

NEVER, OTHERWISE = True, False


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        pytest.param(Plan(), [], id="the template's defaults"),
        pytest.param(Plan(traffic=42), [], id="a thousand rows a day"),
        pytest.param(Plan(keep=4 * DAY), [], id="kept for as long as an episode may need"),
        pytest.param(Plan(keep=DAY), [("lifecycle", NEVER)], id="gone before the labels come"),
        pytest.param(Plan(keep=3 * DAY), [("lifecycle", OTHERWISE)], id="gone while an episode waits"),
        pytest.param(Plan(keep=5 * DAY, cycle=168), [("lifecycle", OTHERWISE)], id="gone before labels cover a week"),
        pytest.param(Plan(keep=5 * DAY, cycle=168, evidence=False), [], id="a week that nobody waits for"),
        pytest.param(Plan(keep=10 * DAY, cycle=168), [], id="a week that is kept"),
        pytest.param(LATE, [("labels in time", OTHERWISE)], id="labels later than an episode waits"),
        pytest.param(replace(LATE, reach=0.0), [], id="no label has to come to the end"),
        pytest.param(replace(LATE, window=720), [], id="late labels of a long window"),
        pytest.param(Plan(traffic=10), [("rows", OTHERWISE)], id="four days of traffic for the rows"),
        pytest.param(Plan(traffic=10, labelled=0.0), [("rows", NEVER), ("judged", OTHERWISE)], id="no labels at all"),
        pytest.param(Plan(traffic=0.0), [("rows", NEVER), ("judged", OTHERWISE), ("judged", OTHERWISE)], id="no rows"),
        pytest.param(Plan(traffic=10, keep=4 * DAY), [("rows", NEVER)], id="the first rows are gone before the last"),
        pytest.param(
            Plan(traffic=10, labelled=0.05, keep=30 * DAY),
            [("rows", NEVER), ("judged", OTHERWISE)],
            id="a sample of the labels, and a month that is kept",
        ),
        pytest.param(Plan(traffic=10, rows=100), [], id="fewer rows are asked for"),
        pytest.param(
            Plan(traffic=0.5, rows=20, judged_labels=10),
            [("judged", OTHERWISE)],
            id="four weeks have too few rows for drift",
        ),
    ],
)
def test_a_plan_is_told_what_does_not_fit(plan: Plan, expected: list[tuple[str, bool]]) -> None:
    assert [(found.check, found.never) for found in conflicts(plan)] == expected


@pytest.mark.parametrize("plan", [Plan(keep=DAY), Plan(keep=3 * DAY), Plan(keep=5 * DAY, cycle=168), LATE])
def test_what_the_remedy_says_is_enough(plan: Plan) -> None:
    [found] = conflicts(plan)
    name, value = found.remedy.split(",")[0].split(" at")[0].split("=")
    mended = plan_of({name: value}, plan) if name != "KeepDataDays" else replace(plan, keep=float(value) * DAY)
    assert conflicts(mended) == []


def test_every_conflict_names_its_parameters_values_and_remedy() -> None:
    [found] = conflicts(Plan(keep=DAY, delay=36))
    assert str(found).startswith("KeepDataDays 1, WindowHours 24, LabelDelayHours 36: ")
    assert "KeepDataDays=5" in found.remedy


def test_a_schedule_whose_every_episode_is_refused_is_told() -> None:
    [found] = conflicts(plan_of({"LabelDelayHours": "96", "RetrainSchedule": "rate(7 days)"}))
    assert "every episode of RetrainSchedule is refused" in found.text


def test_rows_take_as_long_as_the_traffic_and_the_labels_let_them() -> None:
    assert rows_in(Plan()) is None
    assert rows_in(Plan(traffic=10, labelled=0.5)) == 200
    assert rows_in(Plan(traffic=0.0)) == float("inf")
