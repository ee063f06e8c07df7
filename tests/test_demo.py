"""The demo's own rules: how a table becomes windows, and what counts as the loop not having done its job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo import tables
from demo.__main__ import GOAL_WINDOWS, improvement, shortcomings
from demo.replay import score
from demo.stack import DemoError
from retrain.spec import parse_spec

MODEL = """
[model]
label = "y"
task = "regression"
metric = "rmse"
[features]
x = "numeric"
colour = "categorical"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.toml").write_text(MODEL)
    lines = ["when,x,colour,part,y"]
    for number in range(90):
        month, day = number // 30 + 1, number % 28 + 1
        lines.append(f"2024-{month:02d}-{day:02d}T08:00,{number},red,{'abc'[number // 30]},{number * 2}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def read(folder: Path, window: str, **options: Any) -> Any:
    given = {"time": "when", "train_windows": 1, **options}
    return tables.read(folder / "model.toml", folder / "table.csv", window=window, **given)


def test_months_are_windows_of_their_own_time(folder: Path) -> None:
    source = read(folder, "month")
    assert [(window.name, len(window.rows)) for window in source.windows] == [("Feb 2024", 30), ("Mar 2024", 30)]
    assert len(source.initial) == 30
    assert source.windows[0].end == source.windows[1].start


@pytest.mark.parametrize(("window", "names"), [("part", ["b", "c"]), ("30", ["2", "3"])])
def test_other_windows_are_spread_over_a_month_each_in_order(folder: Path, window: str, names: list[str]) -> None:
    source = read(folder, window)
    assert [part.name for part in source.windows] == names
    for part in source.windows:
        times = [row.time for row in part.rows]
        assert times == sorted(times)
        assert part.start < times[0] <= times[-1] < part.end


def test_the_initial_data_has_the_label_last(folder: Path) -> None:
    read(folder, "month").write_initial(folder)
    assert (folder / "train.csv").read_text().splitlines()[:2] == ["x,colour,y", "0,red,0"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time": "moment"}, "has no column moment"),
        ({"time": "colour"}, r"table\.csv:2: colour is 'red', an ISO time"),
        ({"train_windows": 3}, "3 windows by month; 3 to train on leave none"),
    ],
)
def test_a_table_that_does_not_fit_is_told_where(folder: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(DemoError, match=says):
        read(folder, "month", **options)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "table.csv").unlink()
    with pytest.raises(DemoError, match=r"can't read .*table\.csv"):
        read(folder, "month")


@pytest.mark.parametrize(
    ("task", "metric", "truth", "lines", "expected"),
    [
        ("regression", "rmse", ["1", "3"], ["1.0", "1.0"], 2**0.5),
        ("binary", "auc", ["0", "1", "1"], ["0.2", "0.2", "0.9"], 0.75),
        ("multiclass", "mlogloss", ["a", "b"], ["a", "a"], 0.5),
    ],
)
def test_answers_are_scored_by_the_main_metric_or_by_accuracy(
    task: str, metric: str, truth: list[str], lines: list[str], expected: float
) -> None:
    classes = "\n[hyperparameters]\nnum_class = 2\n" if task == "multiclass" else ""
    spec = parse_spec(MODEL.replace('"regression"', f'"{task}"').replace('"rmse"', f'"{metric}"') + classes)
    assert score(spec, truth, lines) == pytest.approx(expected)


def report(**changes: Any) -> dict[str, Any]:
    window = {"verdict": "DRIFTED", "episode": "e", "outcome": "promoted", "reason": "", "alarms": ["drift"]}
    windows = [{**window, "name": name, "served_metric": 6.0, "stale_metric": 10.0} for name in GOAL_WINDOWS]
    whole = {"windows": windows, "predictions_failed": 0, "predictions_misversioned": 0, "violations": []}
    return {**whole, **changes}


def test_a_loop_that_did_its_job_has_no_shortcomings() -> None:
    assert shortcomings(report()) == []
    assert improvement(report()) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"predictions_failed": 1}, "1 predictions failed"),
        ({"predictions_misversioned": 2}, "2 predictions came from a wrong model"),
        ({"violations": ["sagemaker: no operation X"]}, "no operation X"),
    ],
)
def test_what_went_wrong_is_said(changes: dict[str, Any], says: str) -> None:
    assert any(says in fault for fault in shortcomings(report(**changes)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"outcome": "failed", "reason": "quota"}, "ended as failed: quota"),
        ({"episode": None, "outcome": None}, "(drift), and no episode was opened"),
        ({"served_metric": 40.0}, "the goal is 30%"),
    ],
)
def test_a_window_that_went_wrong_is_said(change: dict[str, Any], says: str) -> None:
    made = report()
    made["windows"][0].update(change)
    assert any(says in fault for fault in shortcomings(made))
