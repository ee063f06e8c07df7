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
from retrain.baseline import baseline_of, read_statistics
from retrain.report.drift_page import quantile, render_drift

SRC = Path(__file__).parents[2] / "src"
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

    def test_one_value_that_is_no_number_makes_a_column_categorical(self, tmp_path, capsys):
        write_csv(tmp_path / "t.csv", [["1", ""], ["x", "2"], ["3", "nan"]], ["odd", "number"])
        assert main(["baseline", str(tmp_path / "t.csv"), "--out", str(tmp_path)]) == 0
        assert "1 numeric (number); 1 categorical (odd)" in capsys.readouterr().out

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

    def test_without_pyarrow_parquet_is_refused_with_the_remedy(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "t.parquet").write_bytes(b"PAR1")
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        assert main(["baseline", str(tmp_path / "t.parquet"), "--out", str(tmp_path)]) == 3
        assert "pip install pyarrow, or save it as CSV" in capsys.readouterr().err


class TestVerdicts:
    @pytest.mark.parametrize(
        ("count", "age", "code", "said"),
        [
            (1000, 40, 0, "Stable: none of the 3 judged features"),
            (1000, 60, 1, "Drifted: age moved by 0."),
            (100, 60, 2, "100 rows, at least 500 are needed"),
        ],
    )
    def test_the_exit_code_is_the_verdict(self, work, tmp_path, count, age, code, said):
        table = write_csv(tmp_path / "window.csv", rows(count, 2, age))
        done = run("drift", table, "--baseline", work / "baseline", "--out", tmp_path / "out")
        assert (done.returncode, done.stderr) == (code, "")
        assert said in done.stdout
        assert "linf_simple" in done.stdout
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "analysis.json",
            "constraint_violations.json",
            "constraints.json",
            "statistics.json",
        ]

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
    "two columns of one name": (lambda d: touch(d / "d.csv", "age,age\n1,2\n"), r"d\.csv, line 1: two columns .* age"),
    "a column without name": (lambda d: touch(d / "u.csv", "age,\n1,2\n"), r"u\.csv, line 1: column 2 has no name"),
    "not UTF-8": (
        lambda d: touch(d / "l.csv", b"age,income,channel\n1,2,\xe4\n"),
        r"l\.csv, line \d+: .* save the file as UTF-8",
    ),
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
    def test_a_wrong_command_line_is_not_taken_for_undecided(self, arguments):
        done = run(*arguments)
        assert done.returncode == 3
        assert done.stdout == ""

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
    drawing = ("rich", "plotly", "jinja2", "retrain.report", "retrain.files")
    code = f"import sys, retrain.monitor, retrain.watch, {names}; print([m for m in {drawing!r} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"
