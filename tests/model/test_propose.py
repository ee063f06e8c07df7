"""`python -m retrain init`: what is proposed for a table, and what is said of a table that no model can be made of."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrain.__main__ import main
from retrain.core.errors import Refused
from retrain.model.propose import propose
from retrain.model.read_spec import read_spec
from retrain.model.table import read_table
from retrain.model.tables_on_disk import open_table
from retrain.training.dataset import bootstrap_dataset


def table(folder: Path, **columns: list[Any]) -> Path:
    path = folder / "train.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


ROWS = 1000
DRAW = random.Random(7)
X = [f"{DRAW.gauss(0, 1):.3f}" for _ in range(ROWS)]


def proposed(folder: Path, label: list[Any] | None = None, task: str | None = None, **columns: list[Any]) -> Any:
    label = label or [f"{DRAW.random():.5f}" for _ in range(ROWS)]
    return propose(open_table(table(folder, **(columns or {"x": X}), y=label)), "y", task)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (X, "numeric"),
        (["", *X[1:]], "numeric"),
        ([str(number % 7) for number in range(ROWS)], "numeric"),
        (["yes", "no"] * 500, "boolean"),
        (["0", "1", "", "1"] * 250, "boolean"),
        (["Aa", "Bo", "Ce", ""] * 250, "categorical"),
        (["old"] * 700 + ["new"] * 300, "categorical"),
        (["Aa"] * 300 + ["Bo"] * 300 + ["Aa"] * 300 + ["Ce"] * 100, "categorical"),
        (["1-2-2", "12-34-56", "3-4-5"] * 333 + ["1-2-2"], "categorical"),
        ([f"free {number}" for number in range(ROWS)], "text"),
        ([f"v{number % 300}" for number in range(ROWS)], "text"),
        ([*X[1:], "?"], "text"),
    ],
)
def test_a_column_gets_the_type_of_what_it_holds(tmp_path: Path, values: list[str], kind: str) -> None:
    found = proposed(tmp_path, x=X, z=values)
    types = {**found.spec.kinds, **dict.fromkeys(found.spec.ignored, "text")}
    assert types == {"x": "numeric", "z": kind}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([""] * ROWS, "no value in 1,000 rows"),
        (["k"] * ROWS, "always 'k'"),
        ([str(number + 4000) for number in range(ROWS)], "grows from row to row, 4000 to 4999: a number of the row"),
        ([str(1900 + number // 10) for number in range(ROWS)], "never falls, 1900 to 1999: a time"),
        ([f"2024-03-{number % 28 + 1:02d}T10:00" for number in range(ROWS)], "a time"),
        ([f"2024-{number // 100 + 1:02d}" for number in range(ROWS)], "a date, like '2024-10': later ones are unknown"),
        (
            [f"{number // 100 + 1:02d}/{number % 28 + 1:02d}/2024" for number in range(ROWS)],
            "a date, like '10/20/2024'",
        ),
        (
            [f"{number % 28 + 1}.{number // 100 + 1}.2024 12:30" for number in range(ROWS)],
            "a date, like '20.10.2024 12:30'",
        ),
        ([f"{number % 28 + 1} Mar {2000 + number // 100}" for number in range(ROWS)], "a date, like '20 Mar 2009'"),
        (
            [f"2024-Q{number // 250 + 1}" for number in range(ROWS)],
            "its 4 values come one after the other and don't return",
        ),
        (
            [f"week {number // 20}" if number % 7 else "" for number in range(ROWS)],
            "its 50 values come one after the other",
        ),
    ],
)
def test_what_nothing_can_be_learned_from_is_left_out_with_the_reason(
    tmp_path: Path, values: list[str], why: str
) -> None:
    found = proposed(tmp_path, x=X, z=values)
    assert found.spec.names == ("x",)
    assert why in found.left_out["z"]
    assert why in next(line for line in found.text.splitlines() if line.startswith("# z: left out"))


IDS = [str(number * 7919 % 100_003) for number in range(1, ROWS + 1)]


@pytest.mark.parametrize("name", ["id", "customer_id", "customerId", "order no", "CustomerKey"])
def test_different_whole_numbers_under_the_name_of_an_id_are_one(tmp_path: Path, name: str) -> None:
    assert proposed(tmp_path, x=X, **{name: IDS}).left_out == {name: "every row has a number of its own: an id"}
    assert name in proposed(tmp_path, x=X, **{name: [*IDS[1:], IDS[1]]}).spec.names


@pytest.mark.parametrize("name", ["paid", "turnkey_price", "volcano", "population"])
def test_different_whole_numbers_under_another_name_are_a_feature_with_a_question(tmp_path: Path, name: str) -> None:
    found = proposed(tmp_path, x=X, **{name: IDS})
    assert found.spec.kinds[name] == "numeric"
    assert "all different: an id?" in found.text


@pytest.mark.parametrize(
    ("labels", "task", "metric"),
    [
        (X, "regression", "rmse"),
        (["yes", "no"] * 500, "binary", "logloss"),
        (["1.0", "0", "1"] * 333 + ["0"], "binary", "logloss"),
        (["1"] * 5 + ["0"] * 995, "binary", "auc"),
        (["a", "b", "c", "d"] * 250, "multiclass", "mlogloss"),
        (["1", "2", "3", "4", "5"] * 200, "multiclass", "mlogloss"),
    ],
)
def test_the_task_follows_from_the_labels(tmp_path: Path, labels: list[str], task: str, metric: str) -> None:
    spec = proposed(tmp_path, labels).spec
    assert (spec.task, spec.metric) == (task, metric)


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["fraud"] * 100 + ["legit"] * 900, "fraud"),
        (["bad"] * 900 + ["good"] * 100, "good"),
        (["yes", "no"] * 500, "yes"),
        (["1.0", "0", "1"] * 333 + ["0"], "1"),
        (["a", "b"] * 500, "b"),
    ],
)
def test_the_class_that_says_yes_or_else_the_rarer_one_is_proposed_as_the_positive_one(
    tmp_path: Path, labels: list[str], positive: str
) -> None:
    found = proposed(tmp_path, labels)
    assert found.spec.positive == positive
    assert "# whose probability is answered: or write the other class" in found.text


def test_numbers_with_a_comma_are_told(tmp_path: Path) -> None:
    found = proposed(tmp_path, x=X, z=[f"{number},5" for number in range(ROWS)])
    assert found.spec.ignored == ("z",)
    assert "numbers with a comma, like '0,5': write 1234.5, and numeric" in found.text


@pytest.mark.parametrize("spelled", ["{}.5%", "${},500.25", "{} €", "-£{}"])
def test_numbers_with_a_sign_are_told(tmp_path: Path, spelled: str) -> None:
    found = proposed(tmp_path, x=X, z=[spelled.format(number) for number in range(ROWS)])
    assert found.spec.ignored == ("z",)
    assert f"numbers with a sign, like '{spelled.format(0)}': write 12.5 without it, and numeric" in found.text


def test_numbers_that_float32_cannot_tell_apart_are_no_feature(tmp_path: Path) -> None:
    found = proposed(tmp_path, x=X, account=[str(2**53 + 2 * (number * 7 % 5)) for number in range(ROWS)])
    assert found.left_out["account"].endswith("are one number to the model: codes are categorical")


def test_a_task_that_is_asked_for_is_taken_where_it_fits(tmp_path: Path) -> None:
    assert proposed(tmp_path, ["1", "2", "3", "4", "5"] * 200, "regression").spec.task == "regression"


def test_a_rare_class_needs_more_rows_but_never_more_than_the_table_can_give(tmp_path: Path) -> None:
    spec = proposed(tmp_path, ["1"] * 5 + ["0"] * 995).spec
    assert (spec.dataset.min_rows, spec.gate.min_rows) == (250, 50)
    assert "class_weights" in proposed(tmp_path, ["1"] * 5 + ["0"] * 995).text


def test_of_a_very_rare_class_as_many_old_rows_are_kept_as_are_held_out(tmp_path: Path) -> None:
    spec = proposed(tmp_path, (["1"] + ["0"] * 999) * 80, x=X * 80).spec
    assert spec.dataset.max_reference_holdout_rows == spec.gate.min_rows == 4_000


@pytest.mark.parametrize(
    ("labels", "task", "says"),
    [
        (["k"] * ROWS, None, "y: every label is 'k': nothing to learn"),
        (["a", "b", "c", "d"] * 250, "binary", "y: 4 different labels, not binary: --task multiclass"),
        ([*X[1:], "much"], "regression", "row 1001: y: 'much' is no number: --task"),
        ([f"t{number}" for number in range(ROWS)], None, "different texts, no task fits"),
        ([*X[1:], "inf"], None, "row 1001: y: 'inf' is no finite number: write 1234.5, or empty such cells"),
        ([f"{number},5" for number in range(ROWS)], None, "row 2: y: '0,5' is no finite number: write 1234.5"),
        (X, "multiclass", "not multiclass: --task regression"),
        (["yes", "no", "NA", ""] * 250, None, "row 4: y: 'NA' would be a class: empty such cells, or rename it"),
        (["1"] * 99 + [""] * 901, None, "99 rows have a label, at least 100 are needed"),
    ],
)
def test_labels_that_fit_no_task_are_refused_with_the_remedy(
    tmp_path: Path, labels: list[str], task: str | None, says: str
) -> None:
    with pytest.raises(Refused) as refusal:
        proposed(tmp_path, labels, task)
    assert str(tmp_path / "train.csv") in refusal.value.detail
    assert says in refusal.value.detail


def test_a_column_of_a_reserved_name_is_no_feature(tmp_path: Path) -> None:
    found = proposed(tmp_path, x=X, _prediction=[str(row % 7) for row in range(ROWS)])
    assert found.left_out["_prediction"].startswith("_prediction and names that begin with __ are reserved")


def test_a_table_without_a_feature_is_refused_with_what_each_column_is(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no column but y can be learned from: z: always 'k'"):
        proposed(tmp_path, z=["k"] * ROWS)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(TEXT.filter(lambda name: name.strip()), min_size=1, max_size=5, unique=True),
    pools=st.lists(st.lists(TEXT, min_size=1, max_size=6), min_size=5, max_size=5),
    seed=st.integers(0, 99),
)
def test_whatever_is_in_a_table_the_proposal_can_be_read_and_the_first_model_be_made_of_it(
    tmp_path: Path, names: list[str], pools: list[list[str]], seed: int
) -> None:
    draw = random.Random(seed)
    columns = {name: [draw.choice(pool) for _ in range(200)] for name, pool in zip(names, pools, strict=False)}
    columns = {name: values for name, values in columns.items() if name not in {"x", "the label"}}
    path = table(tmp_path, x=X[:200], **{"the label": [f"{draw.random():.4f}" for _ in range(200)]}, **columns)
    try:
        found = propose(open_table(path), "the label")
    except Refused as refusal:  # names that read back as the same, or as none
        assert "train.csv, line 1" in refusal.detail  # noqa: PT017
        return
    (tmp_path / "model.toml").write_text(found.text, encoding="utf-8")
    spec = read_spec(tmp_path / "model.toml")
    assert spec == found.spec
    kinds = {**spec.kinds, spec.label: "numeric"}
    assert len(bootstrap_dataset(spec, read_table(path, kinds)).parts["train"]) > 100


def test_the_command_writes_says_what_it_saw_and_does_not_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(tmp_path, when=["2024-01-01T10:00"] * 500 + ["2024-02-01T10:00"] * 500, x=X, y=["yes", "no"] * 500)
    out = tmp_path / "new" / "model.toml"
    asked = ["init", "--data", str(path), "--label", "y", "--out", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "binary model of y, judged by logloss, from 1,000 rows" in said
    assert f"make demo MODEL={out} DATA={path} TIME=when" in said
    assert main(asked) == 3
    assert "the file exists: name another with --out, or say --force" in capsys.readouterr().err
    assert main([*asked, "--force"]) == 0


def test_the_command_says_what_does_not_fit_the_template_and_the_tables_traffic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [f"2024-{month:02d}-15T10:00" for month in range(1, 11) for _ in range(100)]  # three rows a day
    path = table(tmp_path, when=times, x=X, y=["yes", "no"] * 500)
    asked = ["init", "--data", str(path), "--label", "y", "--out", str(tmp_path / "model.toml"), "--force"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "Look: [dataset] min_rows, [gate] min_rows and holdout_share (150 rows): an episode learns from 150" in said
    assert "Look: WindowHours 24: a window has 3 labels of this traffic" in said
    assert main([*asked, "--deployed", "KeepDataDays=30"]) == 0
    said = capsys.readouterr().out
    assert "Nothing would ever be trained: [dataset] min_rows" in said
    assert "or KeepDataDays=47" in said


def test_a_time_of_numbers_comes_with_a_number_of_rows_as_window(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    years = [str(1900 + number // 10) for number in range(ROWS)]
    path = table(tmp_path, year=years, x=X, y=["yes", "no"] * 500)
    assert main(["init", "--data", str(path), "--label", "y", "--out", str(tmp_path / "model.toml")]) == 0
    assert "TIME=year WINDOW=150\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        ("", "the file is empty"),
        ("x,x,y\n1,2,3\n", "line 1: two columns have the name x: rename one"),
        ("x,yy\n1,2\n", "there is no column 'y': did you mean 'yy'?"),
        ("x,y\n1,2\n3\n", "line 3: 1 values, the header has 2"),
        ('x,z,y\n1,2,3\n3,"4,5\n5,6,7\n', "line 3: unexpected end of data, in the row that begins here"),
        ("x;y\n1;2\n", "line 1: its columns are separated by ';': save the file with commas"),
        (b"x,y\n1,\xff\n", "is no UTF-8 text: save the file as UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_bad_input_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes | None, says: str
) -> None:
    path = tmp_path / "train.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert main(["init", "--data", str(path), "--label", "y", "--out", str(tmp_path / "model.toml")]) == 3
    said = capsys.readouterr().err
    assert str(path) in said
    assert says in said
    assert not (tmp_path / "model.toml").exists()


def test_what_the_documentation_says_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "bring-your-own-model.md").read_text()
    command = next(line for line in documented.splitlines() if "-m retrain init" in line)
    made = table(tmp_path, x=X, late=["yes", "no"] * 500)
    monkeypatch.chdir(made.parent)
    assert main(command.partition("#")[0].partition("-m retrain ")[2].split()) == 0
    assert read_spec(tmp_path / "model.toml").label == "late"
