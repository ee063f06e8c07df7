"""The command line: the exit code is the verdict, and bad input is told with its place and what to do about it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from capture_records import captures_of, line

from retrain.__main__ import main
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.report.drift_page import quantile, render_drift

SRC = Path(__file__).parents[1] / "src"
HEADER = ["age", "income", "channel", "label"]


def rows(count: int, seed: int = 1, age: float = 40.0, channels: str = "aaabbc") -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [
        [f"{random.normal(age, 10):.4f}", f"{random.lognormal(10, 1):.2f}", channels[random.integers(0, len(channels))]]
        for _ in range(count)
    ]


def write_csv(path: Path, table: list[list[str]], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([*row, "1"] if len(header) > len(row) else row for row in table)
    return path


def write_captures(folder: Path, lines: list[bytes], packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if packed:
        (folder / "0.jsonl.gz").write_bytes(gzip.compress(b"".join(lines)))
    else:
        (folder / "0.jsonl").write_bytes(b"".join(lines))
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as people call it."""
    return subprocess.run(
        [sys.executable, "-m", "retrain", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with train.csv and its baseline."""
    folder = tmp_path_factory.mktemp("work")
    write_csv(folder / "train.csv", rows(4000))
    made = run("baseline", folder / "train.csv", "--out", folder / "baseline", "--leave-out", "label")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(
        "Features inferred from the data: 2 numeric (age, income); 1 categorical (channel).\nBaseline of 4,000 rows"
    )
    return folder


@pytest.fixture
def drift(work, tmp_path):
    """The drift command in this process: its exit code and analysis.json."""

    def judge(captures: Path, *more: str) -> tuple[int, dict]:
        out = tmp_path / "out"
        code = main(["drift", str(captures), "--baseline", str(work / "baseline"), "--out", str(out), *more])
        return code, json.loads((out / "analysis.json").read_text()) if (out / "analysis.json").exists() else {}

    return judge


class TestBaseline:
    def test_it_is_the_one_that_the_jobs_compute(self, work):
        features = {"age": "numeric", "income": "numeric", "channel": "categorical"}
        statistics, constraints = baseline_of(rows(4000), features)
        assert json.loads((work / "baseline" / "statistics.json").read_text()) == statistics
        assert json.loads((work / "baseline" / "constraints.json").read_text()) == constraints

    def test_model_toml_says_the_features_and_how_they_are_judged(self, work, tmp_path, capsys):
        (tmp_path / "model.toml").write_text(
            '[model]\nlabel="label"\ntask="binary"\nmetric="auc"\n'
            '[features]\nchannel="categorical"\nage="numeric"\n[monitor]\nthreshold=0.2\n'
        )
        code = main(
            ["baseline", str(work / "train.csv"), "--out", str(tmp_path), "--model", str(tmp_path / "model.toml")]
        )
        constraints = json.loads((tmp_path / "constraints.json").read_text())
        assert code == 0
        assert [feature["name"] for feature in constraints["features"]] == ["channel", "age"]
        assert constraints["monitoring_config"]["distribution_constraints"]["comparison_threshold"] == 0.2
        assert "from model.toml: 1 numeric (age); 1 categorical (channel)" in capsys.readouterr().out

    @pytest.mark.parametrize("said", ["option", "model"])
    def test_a_column_of_times_teaches_what_chance_does(self, tmp_path, capsys, said):
        days = [
            ["3.5" if hour % 2 else "1", f"2026-01-{day:02}T{hour:02}:00"] for day in range(1, 29) for hour in range(24)
        ]
        table = write_csv(tmp_path / "t.csv", [row for row in days for _ in range(2)], ["x", "asked"])
        (tmp_path / "model.toml").write_text(
            '[model]\nlabel="y"\ntask="regression"\nmetric="mae"\ntime="asked"\n[features]\nx="numeric"\n'
        )
        how = ["--time", "asked"] if said == "option" else ["--model", str(tmp_path / "model.toml")]
        assert main(["baseline", str(table), "--out", str(tmp_path / "b"), *how]) == 0
        assert "Chance is learned from 28.0 days, 2026-01-01T00:00:00Z" in capsys.readouterr().out
        [feature] = json.loads((tmp_path / "b" / "statistics.json").read_text())["features"]
        assert [item["hours"] for item in feature["chance"]] == [24, 48]

    @pytest.mark.parametrize(
        ("time", "words"),
        [
            ("x", "numbers such as 1 are no times"),
            ("odd", "row 3: 'soon' is no time"),
            ("gone", "columns gone are missing"),
        ],
    )
    def test_a_column_that_holds_no_times_is_refused(self, tmp_path, capsys, time, words):
        rows = [["1", "2026-01-01", "a"], ["2", "soon", "b"]]
        table = write_csv(tmp_path / "t.csv", rows, ["x", "odd", "feature"])
        assert main(["baseline", str(table), "--out", str(tmp_path / "b"), "--time", time]) == 3
        assert words in capsys.readouterr().err

    def test_one_value_that_is_no_number_makes_a_column_categorical(self, tmp_path, capsys):
        write_csv(tmp_path / "t.csv", [["1", ""], ["x", "2"], ["3", "nan"]], ["odd", "number"])
        assert main(["baseline", str(tmp_path / "t.csv"), "--out", str(tmp_path)]) == 0
        assert "1 numeric (number); 1 categorical (odd)" in capsys.readouterr().out

    def test_a_boolean_has_both_sides_and_one_number_alone_is_a_number(self, tmp_path, capsys):
        header = ["flag", "late", "member", "always", "count"]
        table = [["True", "0", "yes", "1", "0"], ["False", "1", "", "1", "1"], ["", "1", "yes", "1", "2"]]
        write_csv(tmp_path / "t.csv", table, header)
        assert main(["baseline", str(tmp_path / "t.csv"), "--out", str(tmp_path)]) == 0
        assert "2 numeric (always, count); 1 categorical (member); 2 boolean (flag, late)" in capsys.readouterr().out

    def test_a_table_s_booleans_are_those_of_json_requests(self, tmp_path):
        flags = np.random.default_rng(1).random(2000) < 0.3
        table = write_csv(tmp_path / "t.csv", [[str(flag)] for flag in flags], ["flag"])
        assert main(["baseline", str(table), "--out", str(tmp_path / "b")]) == 0
        requests = [line(json.dumps({"flag": bool(flag)}), encoding="JSON") for flag in flags]
        captures = write_captures(tmp_path / "captures", requests)
        arguments = ["--baseline", str(tmp_path / "b"), "--out", str(tmp_path / "out")]
        assert main(["drift", str(captures), *arguments]) == 0
        assert json.loads((tmp_path / "out" / "analysis.json").read_text())["drift_max"] == 0.0

    def test_parquet_gives_what_csv_gives(self, work, tmp_path, drift):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = list(zip(*rows(4000), strict=True))
        table = {"age": list(map(float, columns[0])), "income": list(map(float, columns[1])), "channel": columns[2]}
        parquet.write_table(pyarrow.table(table), tmp_path / "train.parquet")
        assert main(["baseline", str(tmp_path / "train.parquet"), "--out", str(tmp_path / "b")]) == 0
        expected = (work / "baseline" / "statistics.json").read_text()
        assert (tmp_path / "b" / "statistics.json").read_text() == expected
        assert drift(tmp_path / "train.parquet")[0] == 0

    def test_a_gzipped_csv_gives_what_csv_gives(self, work, tmp_path, drift):
        (tmp_path / "train.csv.gz").write_bytes(gzip.compress((work / "train.csv").read_bytes()))
        arguments = ["baseline", str(tmp_path / "train.csv.gz"), "--out", str(tmp_path / "b"), "--leave-out", "label"]
        assert main(arguments) == 0
        expected = (work / "baseline" / "statistics.json").read_text()
        assert (tmp_path / "b" / "statistics.json").read_text() == expected
        assert drift(tmp_path / "train.csv.gz")[0] == 0

    def test_a_quote_that_is_never_closed_ends_no_table_early(self, tmp_path, capsys):
        table = touch(tmp_path / "t.csv", "x,y\n" + "1,2\n" * 19 + '1,"1\n' + "1,2\n" * 3000)
        assert main(["baseline", str(table), "--out", str(tmp_path / "b")]) == 3
        assert "t.csv, line 21: unexpected end of data, in the row that begins here: close" in capsys.readouterr().err
        assert not (tmp_path / "b").exists()

    @pytest.mark.parametrize(
        ("values", "kind"), [([[1, 2], [3]], "list"), ([{"a": 1}, {"a": 2}], "struct"), ([b"a", b"b"], "binary")]
    )
    def test_parquet_of_anything_but_numbers_and_texts_is_refused(self, tmp_path, capsys, values, kind):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"x": [1, 2], "odd": values}), tmp_path / "t.parquet")
        arguments = ["baseline", str(tmp_path / "t.parquet"), "--out", str(tmp_path)]
        assert main(arguments) == 3
        assert f"t.parquet: the values of odd are {kind}" in capsys.readouterr().err
        assert main([*arguments, "--leave-out", "odd"]) == 0

    def test_without_pyarrow_parquet_is_refused_with_the_remedy(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "t.parquet").write_bytes(b"PAR1")
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        assert main(["baseline", str(tmp_path / "t.parquet"), "--out", str(tmp_path)]) == 3
        assert "pip install pyarrow, or save it as CSV" in capsys.readouterr().err


class TestPrediction:
    @pytest.fixture
    def baseline(self, tmp_path) -> Path:
        """Of age and channel, with the answers 0, 1, 0, …; the table has them as `answer`."""
        table = [[*row, str(number % 2)] for number, row in enumerate(rows(2000))]
        write_csv(tmp_path / "train.csv", table, ["age", "income", "channel", "answer"])
        out = tmp_path / "baseline"
        assert main(["baseline", str(tmp_path / "train.csv"), "--out", str(out), "--prediction", "answer"]) == 0
        return out

    def test_it_is_no_feature_and_its_name_is_said(self, baseline, tmp_path, capsys):
        features = [feature["name"] for feature in json.loads((baseline / "statistics.json").read_text())["features"]]
        assert features == ["age", "income", "channel", "_prediction"]
        main(["baseline", str(tmp_path / "train.csv"), "--out", str(tmp_path), "--prediction", "answer"])
        assert "(channel).\nPrediction: answer.\n" in capsys.readouterr().out

    @pytest.mark.parametrize("captured", [False, True])
    def test_its_drift_is_told_and_not_judged(self, baseline, tmp_path, capsys, captured):
        table = rows(900, 2)
        arguments = ["--baseline", str(baseline), "--out", str(tmp_path / "out")]
        if captured:
            window = write_captures(tmp_path / "captures", captures_of(table, output="1\n"))
        else:
            answered = [[*row, "1"] for row in table]
            window = write_csv(tmp_path / "w.csv", answered, ["age", "income", "channel", "mine"])
            arguments += ["--prediction", "mine"]
        assert main(["drift", str(window), *arguments]) == 0
        found = json.loads((tmp_path / "out" / "analysis.json").read_text())["prediction"]
        assert (found["verdict"], found["distance"], found["present"]) == ("DRIFTED", 0.5, 900)
        assert re.search(r"prediction  DRIFTED +0\.500 .* not judged\n", capsys.readouterr().out)

    def test_captures_have_their_own(self, baseline, tmp_path, capsys):
        captures = write_captures(tmp_path / "captures", captures_of(rows(600, 2)))
        arguments = ["--baseline", str(baseline), "--out", str(tmp_path / "out"), "--prediction", "answer"]
        assert main(["drift", str(captures), *arguments]) == 3
        assert "--prediction: captures have their answers in them: leave it out" in capsys.readouterr().err

    def test_a_feature_can_t_have_its_name(self, tmp_path, capsys):
        table = write_csv(tmp_path / "t.csv", [["1", "2"]] * 9, ["x", "_prediction"])
        arguments = ["baseline", str(table), "--out", str(tmp_path / "b")]
        assert main(arguments) == 3
        said = "t.csv: _prediction names the model's answers and can't be a feature: say --prediction _prediction"
        assert said in capsys.readouterr().err
        assert main([*arguments, "--prediction", "_prediction"]) == 0

    def test_a_feature_of_model_toml_can_t_be_it(self, work, tmp_path, capsys):
        model = touch(
            tmp_path / "model.toml",
            '[model]\nlabel="label"\ntask="binary"\nmetric="auc"\n[features]\nage="numeric"\n',
        )
        arguments = ["--out", str(tmp_path / "b"), "--model", str(model), "--prediction", "age"]
        assert main(["baseline", str(work / "train.csv"), *arguments]) == 3
        assert "model.toml: age names the model's answers" in capsys.readouterr().err

    def test_a_baseline_of_nothing_else_is_none(self, baseline, tmp_path, capsys):
        document = json.loads((baseline / "statistics.json").read_text())
        document["features"] = document["features"][-1:]
        (baseline / "statistics.json").write_text(json.dumps(document))
        window = tmp_path / "train.csv"
        assert main(["drift", str(window), "--baseline", str(baseline), "--out", str(tmp_path / "out")]) == 3
        assert "statistics.json: it has no feature but _prediction: make one with" in capsys.readouterr().err

    def test_those_that_drifted_and_are_not_drawn_are_counted_without_it(self, tmp_path):
        header = [*(f"x{number}" for number in range(14)), "answer"]
        table = np.random.default_rng(1).random((600, 15))
        write_csv(tmp_path / "t.csv", table.tolist(), header)
        write_csv(tmp_path / "w.csv", (table + 1).tolist(), header)
        out = ["--out", str(tmp_path), "--prediction", "answer"]
        assert main(["baseline", str(tmp_path / "t.csv"), *out]) == 0
        assert main(["drift", str(tmp_path / "w.csv"), "--baseline", str(tmp_path), "--html", *out]) == 1
        page = (tmp_path / "drift.html").read_text()
        assert (page.count('class="pair"'), "2 more that drifted are in the table" in page) == (13, True)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("count", "age", "code", "said"),
        [
            (1000, 40, 0, "Stable: none of the 3 judged features"),
            (1000, 60, 1, "Drifted: age moved by 0."),
            (100, 60, 2, "100 rows, at least 500 are needed"),
        ],
    )
    def test_the_exit_code_is_the_verdict(self, work, tmp_path, capsys, count, age, code, said):
        table = write_csv(tmp_path / "window.csv", rows(count, 2, age))
        command = ["drift", str(table), "--baseline", str(work / "baseline"), "--out", str(tmp_path / "out")]
        assert main(command) == code
        printed, wrong = capsys.readouterr()
        assert wrong == ""
        assert said in printed
        assert "linf_simple" in printed
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "analysis.json",
            "constraint_violations.json",
            "constraints.json",
            "statistics.json",
        ]

    def test_a_table_is_as_long_as_its_column_of_times_says_and_nobody_knows_without(self, tmp_path, capsys):
        values = np.random.default_rng(1).normal(size=60 * 48).tolist()
        hours = [str(1_767_225_600 + 1_800 * place) for place in range(len(values))]
        table = write_csv(
            tmp_path / "t.csv", [list(row) for row in zip(map(str, values), hours, strict=True)], ["x", "at"]
        )
        assert main(["baseline", str(table), "--out", str(tmp_path / "b"), "--time", "at"]) == 0
        judge = ["drift", str(table), "--baseline", str(tmp_path / "b"), "--out", str(tmp_path / "o")]
        assert main(judge) == 0
        assert "does not say when its rows were" in capsys.readouterr().out
        assert json.loads((tmp_path / "o" / "analysis.json").read_text())["hours"] is None
        assert main([*judge, "--time", "at"]) == 0
        found = json.loads((tmp_path / "o" / "analysis.json").read_text())
        assert (found["hours"], found["chance_learned"]) == (1440.0, True)
        assert (found["window_start"], found["window_end"]) == ("2026-01-01T00:00:00Z", "2026-03-01T23:30:01Z")
        assert main([*judge, "--time", "gone"]) == 3

    def test_captures_have_their_times_in_them(self, tmp_path, drift, capsys):
        folder = write_captures(tmp_path / "captures", captures_of(rows(10, 2)))
        assert drift(folder, "--time", "age")[0] == 3
        assert "captures have their times in them" in capsys.readouterr().err

    @pytest.mark.parametrize("packed", [False, True])
    def test_captures_in_nested_folders_give_the_same_numbers_as_the_table(self, tmp_path, drift, packed):
        table = rows(1000, 2, 60)
        folder = tmp_path / "captures" / "e" / "AllTraffic" / "2026" / "11" / "22"
        write_captures(folder / "14", captures_of(table[:600]), packed)
        write_captures(folder / "15", captures_of(table[600:], time="2026-11-22T15:10:00Z"))
        code, captured = drift(tmp_path / "captures")
        _, tabular = drift(write_csv(tmp_path / "window.csv", table))
        assert (code, captured["features"], tabular["rows"]) == (1, tabular["features"], 1000)
        assert (captured["window_start"], captured["window_end"]) == ("2026-11-22T14:03:09Z", "2026-11-22T15:10:01Z")

    @pytest.mark.parametrize("variant", ["input", "output"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_a_variant_may_be_named_as_folders_of_batch_transform_are(self, tmp_path, drift, variant, packed):
        folder = tmp_path / "captures" / "e" / variant / "2026" / "11" / "22" / "14"
        write_captures(folder, captures_of(rows(700, 2)), packed)
        assert drift(tmp_path / "captures")[0] == 0

    def test_the_window_can_be_narrowed(self, tmp_path, drift):
        folder = tmp_path / "captures" / "2026" / "11" / "22"
        write_captures(folder / "14", captures_of(rows(700, 2)))
        write_captures(folder / "15", captures_of(rows(900, 3, 70), time="2026-11-22T15:10:00Z"))
        code, found = drift(tmp_path / "captures", "--end", "2026-11-22T15:00:00Z")
        assert (code, found["rows"], found["window_end"]) == (0, 700, "2026-11-22T15:00:00Z")
        code, found = drift(tmp_path / "captures", "--start", "2026-11-22T16:00:00+01:00")
        assert (code, found["rows"], found["window_start"]) == (1, 900, "2026-11-22T15:00:00Z")
        code, found = drift(tmp_path / "captures", "--start", "2026-11-22T14:00:00Z", "--end", "2026-11-22T16:00:00Z")
        assert (found["rows"], found["window_end"]) == (1600, "2026-11-22T16:00:00Z")

    def test_rows_of_another_width_are_for_a_person(self, tmp_path, drift, capsys):
        folder = write_captures(tmp_path / "captures", captures_of([row[:2] for row in rows(900, 2)]))
        code, found = drift(folder)
        assert (code, found["reason"], found["triage"]) == (2, "schema_mismatch", True)
        assert "A person has to look" in capsys.readouterr().out

    def test_constraints_beside_drift_are_told_though_the_window_is_stable(self, tmp_path, drift, capsys):
        table = [["" if number % 4 == 0 else row[0], *row[1:]] for number, row in enumerate(rows(1000, 2))]
        code, _ = drift(write_csv(tmp_path / "window.csv", table), "--html")
        assert code == 0
        assert re.search(
            r"not met, beside drift's:\n  age, completeness check: Value: 0\.75 does", capsys.readouterr().out
        )
        assert "<b>1</b>other constraints not met" in (tmp_path / "out" / "drift.html").read_text()

    def test_no_more_constraints_are_printed_than_can_be_read(self, tmp_path, capsys):
        header = [f"x{number}" for number in range(12)]
        table = np.random.default_rng(1).random((600, 12)).tolist()
        write_csv(tmp_path / "t.csv", table, header)
        assert main(["baseline", str(tmp_path / "t.csv"), "--out", str(tmp_path)]) == 0
        write_csv(tmp_path / "w.csv", [[""] * 12, *table], header)
        main(["drift", str(tmp_path / "w.csv"), "--baseline", str(tmp_path), "--out", str(tmp_path / "out")])
        out = capsys.readouterr().out
        assert (out.count("completeness check"), "… and 4 more in constraint_violations.json" in out) == (8, True)

    def test_answers_that_can_t_be_read_are_told(self, tmp_path, drift, capsys):
        lines = captures_of(rows(600, 2), output="{oops", output_encoding="JSON")
        assert drift(write_captures(tmp_path / "captures", lines))[0] == 0
        assert "600 answers are unreadable (not json): their requests are judged" in capsys.readouterr().out

    def test_the_table_fits_eighty_columns(self, tmp_path, monkeypatch, capsys):
        header = ["a_name_that_is_longer_than_most_others", "y"]
        table = write_csv(tmp_path / "t.csv", [[f"{number}", "a"] for number in range(600)], header)
        assert main(["baseline", str(table), "--out", str(tmp_path), "--prediction", "y"]) == 0
        monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
        monkeypatch.setenv("COLUMNS", "80")
        capsys.readouterr()
        main(["drift", str(table), "--baseline", str(tmp_path), "--out", str(tmp_path / "out"), "--prediction", "y"])
        names, long, prediction, *_ = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
        assert names.split() == ["feature", "verdict", "distance", "threshold", "detectable", "missing", "note"]
        assert re.match(r"a_name_that_.*…  STABLE +0\.000 +0\.30 +0\.140 +0\.0%", long)
        assert re.match(r"prediction .* 0\.0%  not judged", prediction)
        assert max(map(len, (header, long, prediction))) <= 80

    def test_bad_lines_are_counted_with_their_place(self, tmp_path, drift, capsys):
        folder = write_captures(tmp_path / "captures", [b"{\n", *captures_of(rows(900, 2))])
        assert drift(folder)[0] == 0
        assert "not_json 1, as 0.jsonl, line 1:" in capsys.readouterr().out

    def test_a_folder_of_nothing_but_bad_lines_is_undecided(self, tmp_path, drift):
        code, found = drift(write_captures(tmp_path / "captures", [b"{\n"] * 9))
        assert (code, found["reason"]) == (2, "capture_corrupt")

    def test_several_tables_are_one_window(self, tmp_path, drift):
        folder = tmp_path / "tables"
        folder.mkdir()
        write_csv(folder / "a.csv", rows(400, 2))
        write_csv(folder / "b.csv", rows(400, 3))
        code, found = drift(folder)
        assert (code, found["rows"], found["records"]) == (0, 800, 800)


BAD = {
    "nothing there": (lambda d: d / "no.csv", r"no\.csv: there is no such file or folder"),
    "empty file": (lambda d: touch(d / "e.csv", ""), r"e\.csv: the file is empty: a header and rows are expected"),
    "no rows": (lambda d: touch(d / "h.csv", "age,income,channel\n"), r"h\.csv: the file has a header and no row"),
    "a row too short": (
        lambda d: touch(d / "w.csv", "age,income,channel\n1,2,a\n1,2\n"),
        r"w\.csv, line 3: 2 values, the header has 3: add or remove",
    ),
    "a column too few": (
        lambda d: touch(d / "c.csv", "age,channel\n1,a\n"),
        r"c\.csv: the columns income are missing; it has age, channel: add them",
    ),
    "a workbook": (
        lambda d: touch(d / "x.csv", "PK\3\4\0\0\n"),
        r"x\.csv, line 1: it is no text, but perhaps a workbook or an archive: save the table as CSV",
    ),
    "two columns of one name": (lambda d: touch(d / "d.csv", "age,age\n1,2\n"), r"d\.csv, line 1: two columns .* age"),
    "a column without name": (lambda d: touch(d / "u.csv", "age,\n1,2\n"), r"u\.csv, line 1: column 2 has no name"),
    "not UTF-8": (
        lambda d: touch(d / "l.csv", b"age,income,channel\n1,2,\xe4\n"),
        r"l\.csv, line \d+: .* save the file as UTF-8",
    ),
    "a quote that is never closed": (
        lambda d: touch(d / "q.csv", 'age,income,channel\n1,2,a\n1,2,"a\n1,2,a\n'),
        r"q\.csv, line 3: unexpected end of data, in the row that begins here: close its quotes",
    ),
    "a quote that the next one closes": (
        lambda d: touch(d / "n.csv", 'age,income,channel\n1,2,"a\n1,2,a\n1,2,"a"\n'),
        r"n\.csv, line 2: .* in the row that begins here: close its quotes",
    ),
    "semicolons": (lambda d: touch(d / "s.csv", "age;income\n1;2\n"), r"s\.csv, line 1: .* separated by ';'.*commas"),
    "tabs": (lambda d: touch(d / "t.csv", "age\tincome\n1\t2\n"), r"t\.csv, line 1: .* separated by '\\t'.*commas"),
    "gz that ends early": (
        lambda d: touch(d / "g.csv.gz", gzip.compress(b"age,income,channel\n" + b"1,2,a\n" * 99)[:-9]),
        r"g\.csv\.gz: the gz file is damaged .*: copy it anew",
    ),
    "another ending": (lambda d: touch(d / "t.tsv", "age\tincome\n"), r"t\.tsv: its name is none of .*: rename it"),
    "an empty folder": (lambda d: folder(d / "f"), r"f: no file \*\.jsonl"),
    "a mixed folder": (
        lambda d: touch(touch(d / "m" / "a.jsonl", "x").parent / "t.csv", "x").parent,
        r"m: it holds captures \(a\.jsonl\) and tables \(t\.csv\): name the one or the other",
    ),
}


def touch(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_it_ends_with_3_and_says_where_and_what_to_do(self, case, tmp_path, drift, capsys):
        make, message = BAD[case]
        assert drift(make(tmp_path)) == (3, {})
        assert re.fullmatch(rf"bad input: .*{message}.*\n", capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            (None, "", r"statistics\.json is missing: make one with `python -m retrain baseline TRAINING_DATA --out"),
            ("statistics.json", "{", r"statistics\.json: the file is not JSON .*: compute the baseline anew"),
            ("constraints.json", '{"monitoring_config": 1}', r"constraints\.json: monitoring_config: an object"),
        ],
    )
    def test_a_folder_that_is_no_baseline(self, work, tmp_path, capsys, file, content, message):
        if file:
            for name in ("statistics.json", "constraints.json"):
                (tmp_path / name).write_bytes((work / "baseline" / name).read_bytes())
            (tmp_path / file).write_text(content)
        arguments = ["drift", str(work / "train.csv"), "--baseline", str(tmp_path), "--out", str(tmp_path / "out")]
        assert main(arguments) == 3
        assert re.search(message, capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["baseline", "no.csv", "--out", "o"], "no.csv: there is no such file: name a CSV with a header"),
            (["baseline", "{work}/train.csv", "--out", "o", "--leave-out", "x"], "--leave-out x: there is no such"),
            (["baseline", "{work}/train.csv", "--out", "o", "--model", "m.toml"], "m.toml: there is no such file"),
            (["baseline", "{work}/train.csv", "--out", "{work}/train.csv"], "train.csv: File exists"),
            (["baseline", "{work}/train.csv", "--out", "o", "--model", "m.toml", "--leave-out", "label"],
             "--leave-out: m.toml says the features: remove the column there"),
            (["baseline", "{work}/train.csv", "--out", "o", "--prediction", "x"], "the columns x are missing; it has"),
            (["drift", "{work}/train.csv", "--baseline", "{work}/baseline", "--out", "o", "--prediction", "label"],
             "baseline: it has no prediction to compare with: make it with --prediction"),
            (["drift", "{work}/train.csv", "--baseline", "{work}/baseline", "--out", "o", "--end", "2026-11-22T14:00Z"],
             "the rows of a table have no time: leave --start and --end out"),
        ],
    )  # fmt: skip
    def test_arguments_that_name_nothing_usable(self, work, tmp_path, monkeypatch, capsys, arguments, message):
        monkeypatch.chdir(tmp_path)
        assert main([text.replace("{work}", str(work)) for text in arguments]) == 3
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments", [[], ["drift"], ["drift", "a", "--baseline", "b", "--out", "c", "--start", "yesterday"]]
    )
    def test_a_wrong_command_line_is_not_taken_for_undecided(self, arguments, capsys):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 3
        assert capsys.readouterr().out == ""

    def test_hours_without_files(self, tmp_path, drift, capsys):
        write_captures(tmp_path / "captures" / "2026" / "11" / "22" / "14", captures_of(rows(10)))
        assert drift(tmp_path / "captures", "--start", "2026-11-23T00:00:00Z")[0] == 3
        assert "none of its 1 files is of the window: change --start or --end" in capsys.readouterr().err

    def test_a_mistake_of_ours_is_not_taken_for_drift(self, monkeypatch, tmp_path, drift, capsys):
        monkeypatch.setattr("retrain.__main__.analyse", lambda *_: 1 / 0)
        assert drift(write_csv(tmp_path / "window.csv", rows(10)))[0] == 70


NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    kinds = {NASTY: "numeric", "channel": "categorical"}
    predictions = np.random.default_rng(1).random(2000)
    documents = baseline_of([[row[0], row[2]] for row in rows(2000)], kinds, None, predictions)
    for name, document in zip(("statistics", "constraints"), documents, strict=True):
        (folder / f"{name}.json").write_text(json.dumps(document))
    table = [[row[0], f"<b onclick=x>{row[2]}</b>" if n % 3 else row[2]] for n, row in enumerate(rows(900, 2, 70))]
    lines = [*captures_of(table), *[line("1,2,3\n")] * 3, b"<script>alert(1)</script>\n"]
    write_captures(folder / "captures <u>", lines)
    done = run("drift", folder / "captures <u>", "--baseline", folder, "--out", folder / "out", "--html")
    assert done.returncode in {1, 2}
    return (folder / "out" / "drift.html").read_text()


class TestPage:
    def test_it_needs_nothing_from_elsewhere(self, page):
        own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
        loads = re.findall(r'(?:src|href|action|data)\s*=\s*"([^"]*)"|url\(|@import|<(?:link|iframe|object)\b', own)
        assert [found for found in loads if found] == ["data:,"]
        assert len(page) < 6_000_000

    def test_names_and_texts_are_shown_and_not_run(self, page):
        assert "&lt;img src=x onerror=alert(1)&gt;" in page
        for raw in ("<img src=x", "<b onclick", "<u>", "<script>alert"):
            assert raw not in page

    def test_it_says_what_happened(self, page):
        assert page.count('class="pair"') == 3  # two features and the prediction
        assert "The median went from" in page
        assert "column count" in page
        assert "not json" in page

    def test_the_same_analysis_gives_the_same_page(self, work, tmp_path, drift):
        table = write_csv(tmp_path / "window.csv", rows(900, 2, 60))
        _, document = drift(table, "--html")
        baseline = read_statistics((work / "baseline" / "statistics.json").read_text())
        window = read_statistics((tmp_path / "out" / "statistics.json").read_text())
        page = render_drift(document, baseline, window, str(table))
        assert page == (tmp_path / "out" / "drift.html").read_text()
        assert "Drifted: age moved by" in page

    def test_whole_numbers_without_room_for_a_half_are_drawn(self, tmp_path):
        table = write_csv(tmp_path / "t.csv", [["100000000000000000"]] * 600, ["id"])
        assert main(["baseline", str(table), "--out", str(tmp_path)]) == 0
        assert main(["drift", str(table), "--baseline", str(tmp_path), "--out", str(tmp_path), "--html"]) == 0
        page = (tmp_path / "drift.html").read_text()
        assert "The median went from 100,000,000,000,000,000 to 100,000,000,000,000,000" in page

    def test_a_bin_holds_as_many_whole_numbers_as_any_other(self, tmp_path):
        table = write_csv(tmp_path / "t.csv", [[str(number % 64)] for number in range(640)], ["x"])
        assert main(["baseline", str(table), "--out", str(tmp_path)]) == 0
        assert main(["drift", str(table), "--baseline", str(tmp_path), "--out", str(tmp_path), "--html"]) == 0
        [figure] = re.findall(
            r'id="plot-0-left".*?"application/json">(.*?)</script>', (tmp_path / "drift.html").read_text()
        )
        heights = json.loads(figure)["data"][0]["y"]
        assert heights == pytest.approx([0, *[2 / 64] * 64, 0])

    def test_a_window_without_rows_has_a_page_without_plots(self, tmp_path, drift):
        code, _ = drift(write_captures(tmp_path / "captures", [b"{\n"]), "--html")
        page = (tmp_path / "out" / "drift.html").read_text()
        assert (code, "plot-0" in page, len(page) < 20_000) == (2, False, True)

    def test_quantiles_of_ten_buckets_are_interpolated(self, work):
        exact = json.loads((work / "baseline" / "statistics.json").read_text())
        coarse = json.loads(json.dumps(exact))
        del coarse["features"][0]["numerical_statistics"]["distribution"]["kll"]["sketch"]
        one, other = (read_statistics(document).features["age"].steps for document in (exact, coarse))
        for share in (0.1, 0.5, 0.9):
            assert quantile(one, share) == pytest.approx(quantile(other, share), abs=1.5)


def test_only_the_report_writer_imports_what_draws() -> None:
    """GIVEN the other handlers and the monitor WHEN all are imported THEN none of the drawing libraries is."""
    others = {path.stem for path in (SRC / "handlers").glob("*.py")} - {"__init__", "report_writer"}
    names = ", ".join(f"handlers.{name}" for name in sorted(others))
    drawing = ("rich", "plotly", "jinja2", "retrain.report", "retrain.capture.local_files")
    modules = f"retrain.drift.analysis, retrain.monitors.drift_monitor, {names}"
    code = f"import sys, {modules}; print([m for m in {drawing!r} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"
