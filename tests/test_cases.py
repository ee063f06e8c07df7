"""Cases from the field: small inputs, rebuilt from what people reported or published, with the right value of each.

A test's name begins with the case. Right values were computed by scipy, by hand, or come from AWS's documentation.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_records import captures_of, line
from scipy import stats

from retrain.__main__ import main

RNG = np.random.default_rng


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


class Bench:
    """A baseline and a window on the command line, and what the analysis says."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def baseline(self, header: Sequence[str], rows: Iterable[Sequence[Any]], *more: str) -> str:
        data = table(self.folder / "train.csv", header, rows)
        assert main(["baseline", str(data), "--out", str(self.folder / "b"), *more]) == 0
        return self.capsys.readouterr().out

    def native(self, statistics: Any, constraints: Any) -> None:
        (self.folder / "b").mkdir(exist_ok=True)
        (self.folder / "b" / "statistics.json").write_text(json.dumps(statistics))
        (self.folder / "b" / "constraints.json").write_text(json.dumps(constraints))

    def drift(self, lines: Iterable[bytes], *more: str) -> dict[str, Any]:
        captures = self.folder / "captures"
        captures.mkdir(exist_ok=True)
        (captures / "a.jsonl").write_bytes(b"".join(lines))
        return self.judged(captures, *more)

    def window(self, header: Sequence[str], rows: Iterable[Sequence[Any]], *more: str) -> dict[str, Any]:
        return self.judged(table(self.folder / "window.csv", header, rows), *more)

    def judged(self, captures: Path, *more: str) -> dict[str, Any]:
        out = self.folder / "out"
        code = main(["drift", str(captures), "--baseline", str(self.folder / "b"), "--out", str(out), *more])
        self.said, wrong = self.capsys.readouterr()
        assert code < 3, wrong
        found: dict[str, Any] = json.loads((out / "analysis.json").read_text())
        assert code == ["STABLE", "DRIFTED", "UNDECIDED"].index(found["verdict"])
        return found


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


def feature(analysis: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in analysis["features"] if item["name"] == name)


@pytest.mark.parametrize("odd", ["N/A", "inf", "-", "?", "1_000", "unknown"])
def test_d01_one_odd_cell_makes_no_categories_of_numbers(bench: Bench, odd: str) -> None:
    before, after = RNG(1).normal(50_000, 8_000, 6_000).round(2), RNG(2).normal(90_000, 8_000, 2_000).round(2)
    cells = [*map(str, before[:-1]), odd]
    said = bench.baseline(["income"], [[cell] for cell in cells])
    assert "1 numeric (income)" in said
    if odd != "N/A":
        assert f"income: 1 of 6,000 values is no number (row 6001: {odd!r})" in said
    found = bench.drift(captures_of([[value] for value in after]))
    expected = stats.ks_2samp(before[:-1], after).statistic
    assert (found["verdict"], feature(found, "income")["distance"]) == ("DRIFTED", pytest.approx(expected, abs=2e-3))


def test_d06_codes_that_are_all_spellings_of_false_are_categories(bench: Bench) -> None:
    said = bench.baseline(["lens"], [["F" if number % 10 else "N"] for number in range(3_000)])
    assert "1 categorical (lens)" in said
    found = bench.drift(captures_of([["N" if number % 20 else "F"] for number in range(2_000)]))
    assert (found["verdict"], feature(found, "lens")["distance"]) == ("DRIFTED", pytest.approx(0.85))


def test_d07_numbers_are_compared_in_the_precision_of_the_model(bench: Bench) -> None:
    bench.baseline(["rate"], [["0.1"]] * 2_000)
    found = bench.drift(captures_of([["0.10000000149011612"]] * 1_000))
    assert (found["verdict"], feature(found, "rate")["distance"]) == ("STABLE", 0.0)


def test_d08_wasserstein_of_few_values_is_scipy_s(bench: Bench) -> None:
    prices = RNG(3).choice([9.99, 19.99, 29.99, 99.99], 20_000)
    moved = RNG(4).choice([9.99, 19.99, 29.99, 99.99], 9_000) + 0.3
    bench.baseline(["price"], [[f"{price:.2f}"] for price in prices])
    found = bench.drift(captures_of([[f"{price:.2f}"] for price in moved]))
    expected = stats.wasserstein_distance(prices, moved)
    assert feature(found, "price")["wasserstein"] == pytest.approx(expected, abs=0.002 * 90)


def test_d11_flags_are_compared_by_their_value(bench: Bench) -> None:
    bench.baseline(["flag", "x"], [[number % 3 // 2, number] for number in range(3_000)])
    rows = [[f"{number % 3 // 2:.6f}", f"{number:.6f}"] for number in range(3_000)]
    found = bench.drift(captures_of(rows))
    assert (found["verdict"], feature(found, "flag")["distance"]) == ("STABLE", 0.0)


def test_d11_codes_are_compared_by_their_value(bench: Bench) -> None:
    bench.baseline(["code"], [[f"c{n % 5}" if n % 2 else n % 5] for n in range(4_200)])
    found = bench.drift(captures_of([[f"c{n % 5}" if n % 2 else f"{n % 5}.0"] for n in range(4_200)]))
    assert feature(found, "code")["distance"] == 0.0


@pytest.mark.parametrize("spelled", ["nan", "None", "N/A", "NULL", "<NA>", "", "NaN", "#N/A"])
def test_d12_missing_is_missing_in_numbers_and_in_texts(bench: Bench, spelled: str) -> None:
    def rows(count: int, gap: str) -> list[list[str]]:
        return [[gap if n % 4 == 0 else str(n % 50), gap if n % 3 == 0 else "ab"[n % 2]] for n in range(count)]

    bench.baseline(["age", "town"], rows(6_000, ""))
    found = bench.drift(captures_of(rows(3_000, spelled)))
    assert found["verdict"] == "STABLE"
    assert [item["distance"] for item in found["features"]] == [pytest.approx(0, abs=1e-3)] * 2
    assert feature(found, "town")["missing"] == 1_000


@pytest.mark.parametrize("flags", [(True, False), ("true", "false")])
def test_d13_json_s_true_is_true_in_a_column_of_texts(bench: Bench, flags: tuple[Any, Any]) -> None:
    bench.native(
        {
            "version": 0.0,
            "dataset": {"item_count": 3000},
            "features": [
                {
                    "name": "member",
                    "inferred_type": "String",
                    "string_statistics": {
                        "common": {"num_present": 3000, "num_missing": 0},
                        "distinct_count": 2.0,
                        "distribution": {
                            "categorical": {
                                "buckets": [{"value": "true", "count": 2000}, {"value": "false", "count": 1000}]
                            }
                        },
                    },
                }
            ],
        },
        {
            "version": 0.0,
            "features": [
                {
                    "name": "member",
                    "inferred_type": "String",
                    "completeness": 1.0,
                    "string_constraints": {"domains": ["true", "false"]},
                }
            ],
        },
    )
    lines = [line(json.dumps([flags[n % 3 == 0]]), encoding="JSON", event_id=str(n)) for n in range(1_500)]
    found = bench.drift(lines)
    assert (found["verdict"], found["violations"]) == ("STABLE", [])
    assert feature(found, "member")["distance"] == pytest.approx(0, abs=1e-3)


def string_feature(name: str, present: int, distinct: int, counts: dict[str, int] | None) -> dict[str, Any]:
    """A text column of Model Monitor's statistics.json, which leaves the distribution of many values out."""
    found: dict[str, Any] = {"common": {"num_present": present, "num_missing": 0}, "distinct_count": float(distinct)}
    if counts:
        buckets = [{"value": value, "count": count} for value, count in counts.items()]
        found["distribution"] = {"categorical": {"buckets": buckets}}
    return {"name": name, "inferred_type": "String", "string_statistics": found}


def number_feature(name: str, values: Any, kind: str = "Fractional", sketch: bool = True) -> dict[str, Any]:
    """A column of numbers of Model Monitor's statistics.json."""
    values = np.sort(np.asarray(values, dtype=float))
    found: dict[str, Any] = {
        "common": {"num_present": len(values), "num_missing": 0},
        "mean": float(values.mean()),
        "sum": float(values.sum()),
        "std_dev": float(values.std()),
        "min": float(values[0]),
        "max": float(values[-1]),
    }
    if sketch:
        sketched = {"parameters": {"c": 0.64, "k": 2048.0}, "data": [values.tolist()]}
        found["distribution"] = {"kll": {"buckets": [], "sketch": sketched}}
    return {"name": name, "inferred_type": kind, "numerical_statistics": found}


def native(features: list[dict[str, Any]], method: str = "Simple", threshold: float = 0.1) -> tuple[Any, Any]:
    constraints = [{"name": item["name"], "inferred_type": item["inferred_type"]} for item in features]
    return {"version": 0.0, "dataset": {"item_count": 2000}, "features": features}, {
        "version": 0.0,
        "features": constraints,
        "monitoring_config": {
            "distribution_constraints": {"comparison_method": method, "comparison_threshold": threshold}
        },
    }


@pytest.mark.parametrize("distinct", [21, 900])
def test_d09_what_a_native_baseline_does_not_describe_is_reported_and_not_judged(bench: Bench, distinct: int) -> None:
    ages = RNG(5).normal(40, 10, 2_000).round(1)
    bench.native(*native([number_feature("age", ages), string_feature("street", 2_000, distinct, None)]))
    found = bench.drift(captures_of([[age, f"s{number % distinct}"] for number, age in enumerate(ages)]))
    assert found["verdict"] == "STABLE"
    street = feature(found, "street")
    assert (street["judged"], street["verdict"], street["distance"]) == (False, "UNDECIDED", None)
    assert "Reported and not judged: street" in bench.said


def test_d15_what_was_not_compared_has_no_number(bench: Bench) -> None:
    ages = RNG(5).normal(40, 10, 2_000)
    features = [number_feature("age", ages), number_feature("height", ages, sketch=False)]
    bench.native(*native(features, "Robust", 0.3))
    found = bench.drift(captures_of([[age, age] for age in ages]))
    height = feature(found, "height")
    assert (found["verdict"], height["judged"], height["reason"]) == ("STABLE", False, "not_described")
    assert {height[number] for number in ("distance", "psi", "jensen_shannon", "wasserstein", "p_value")} == {None}


def test_d16_robust_s_distance_and_what_chance_does_are_told_in_one_unit(bench: Bench) -> None:
    before = RNG(6).normal(0, 1, 2_000)
    after = RNG(7).normal(1.0, 1, 60)
    statistics, constraints = native([number_feature("x", before)], "Robust")
    constraints["monitoring_config"]["drift_retrain"] = {"min_rows": 10}
    bench.native(statistics, constraints)
    found = bench.drift(captures_of([[value] for value in after]))
    x = feature(found, "x")
    deequ = 1.8 * np.sqrt(2_060 / (2_000 * 60))
    largest = stats.ks_2samp(before, after).statistic
    assert x["min_detectable_drift"] == found["min_detectable_drift"] == x["chance"]  # and not its threshold more
    assert x["distance"] == pytest.approx(largest - deequ, abs=1e-6)


def test_d17_names_of_columns_are_cleaned_as_values_are(bench: Bench) -> None:
    rows = [[number % 60, "ab"[number % 2]] for number in range(3_000)]
    assert "1 numeric (age); 1 categorical (workclass)" in bench.baseline(["age ", " workclass"], rows)
    found = bench.window([" age", "workclass"], rows)
    assert found["verdict"] == "STABLE"


def test_d18_a_quote_that_never_closes_is_counted_and_swallows_no_row(bench: Bench) -> None:
    bench.baseline(["name", "x"], [["ab"[number % 2], number % 50] for number in range(3_000)])
    good = captures_of([["ab"[number % 2], number % 50] for number in range(1_000)])
    found = bench.drift([*good, line('"a,1\nb,2\n', event_id="open")])
    assert (found["rows"], found["bad_rows"]["by_reason"]) == (1_000, {"bad_csv": 1})


def test_d19_answers_of_which_none_is_a_number_are_not_few(bench: Bench) -> None:
    header, rows = ["x", "score"], [[number % 50, (number % 100) / 100] for number in range(3_000)]
    bench.baseline(header, rows, "--prediction", "score", "--leave-out", "score")
    found = bench.drift(captures_of([[row[0]] for row in rows[:600]], output="yes\n"))
    prediction = found["prediction"]
    assert (prediction["verdict"], prediction["reason"]) == ("UNDECIDED", "not_numbers")
    assert (prediction["bad"], prediction["distance"]) == (600, None)


IDENTITIES = {
    "300 ids": ([f"u{number}" for number in range(300)], [f"v{number}" for number in range(600)]),
    "2,001 ids": ([f"u{number}" for number in range(2_001)], [f"v{number}" for number in range(600)]),
    "10,000 ids, all twice": (
        [f"u{number}" for number in range(10_000)] * 2,
        [f"v{number}" for number in range(600)],
    ),
    "ISO days": (
        [f"2026-{1 + number % 6:02}-{1 + number % 28:02}" for number in range(3_000)],
        [f"2026-07-{1 + number % 28:02}" for number in range(600)],
    ),
    "ISO minutes": (
        [f"2026-03-0{1 + number % 9}T{number % 24:02}:{number % 60:02}:00Z" for number in range(3_000)],
        [f"2026-04-0{1 + number % 9}T{number % 24:02}:{number % 60:02}:00Z" for number in range(600)],
    ),
    "epoch": ([str(1_760_000_000 + 61 * (number * 7 % 3_000)) for number in range(3_000)], ["1780000000"] * 600),
    "epoch in ms": ([str(1_760_000_000_000 + 997 * (n * 7 % 3_000)) for n in range(3_000)], ["1780000000001"] * 600),
    "days as numbers": (
        [f"2026{1 + n * 7 % 6:02}{1 + n % 28:02}" for n in range(3_000)],
        [f"202607{1 + n % 28:02}" for n in range(600)],
    ),
    "months as numbers": ([f"2026{1 + n * 7 % 6:02}" for n in range(3_000)], ["202607"] * 600),
    "as people write": (
        [f"{1 + n % 28} Mar 2026" for n in range(3_000)],
        [f"{1 + n % 28} Apr 2026" for n in range(600)],
    ),
    "a number of the row": ([str(number) for number in range(3_000)], [str(5_000 + number) for number in range(600)]),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_d20_identifiers_and_times_are_reported_and_not_judged(bench: Bench, case: str) -> None:
    before, after = IDENTITIES[case]
    said = bench.baseline(["which", "x"], [[text, number % 50] for number, text in enumerate(before)])
    assert "reported and not judged" in said
    found = bench.drift(captures_of([[text, number % 50] for number, text in enumerate(after)]))
    assert (found["verdict"], found["triage"], feature(found, "which")["judged"]) == ("STABLE", False, False)


def test_d20_codes_that_begin_with_zeros_are_categories_and_no_numbers(bench: Bench) -> None:
    before, after = ["02139", "10001", "60601", "94110"], ["94110", "94110", "94110", "02139"]
    assert "1 categorical (zip)" in bench.baseline(["zip"], [[before[n % 4]] for n in range(3_000)])
    found = bench.drift(captures_of([[after[n % 4]] for n in range(1_000)]))
    assert (found["verdict"], feature(found, "zip")["distance"]) == ("DRIFTED", pytest.approx(0.5, abs=1e-6))


@pytest.mark.parametrize("levels", [40, 400, 1_999, 2_000, 2_001, 4_000])
def test_d20_categories_that_are_all_new_are_another_column_without_a_cliff(bench: Bench, levels: int) -> None:
    bench.baseline(["town"], [[f"t{number % levels}"] for number in range(10 * levels)])
    found = bench.drift(captures_of([[f"n{number % levels}"] for number in range(1_000)]))
    assert found["verdict"] == ("DRIFTED" if levels < 4_000 else "UNDECIDED")
    assert found["reason"] == (None if levels < 4_000 else "not_judged")


@pytest.mark.slow
def test_d01_categories_of_which_most_are_others_are_never_stable(bench: Bench) -> None:
    bench.baseline(["town", "x"], [[f"t{number % 10_000}", number % 50] for number in range(60_000)])
    found = bench.drift(captures_of([[f"t{number}", number % 50] for number in range(1_000)]))
    town = feature(found, "town")
    assert (found["verdict"], town["verdict"], town["judged"], town["distance"]) == ("STABLE", "UNDECIDED", False, None)
    moved = bench.drift(captures_of([["t7" if number % 2 else f"t{number}", number % 50] for number in range(1_000)]))
    assert (moved["verdict"], moved["worst_feature"]) == ("DRIFTED", "town")


@pytest.mark.parametrize(("row", "name"), [(["1", "2", "3"], "Extra columns"), (["1"], "Missing columns")])
def test_d22_columns_too_many_or_too_few_are_named_as_in_real_files(bench: Bench, row: list[str], name: str) -> None:
    bench.baseline(["a", "b"], [[number % 50, number % 7] for number in range(3_000)])
    found = bench.drift(captures_of([row] * 1_000))
    [violation] = [item for item in found["violations"] if item["constraint_check_type"].endswith("column_check")]
    assert violation["feature_name"] == name


def scored(bench: Bench) -> list[list[Any]]:
    """A baseline with a score, of 3,000 rows, which are returned."""
    rows = [[44 + number % 30, 80 + number % 11, (number % 97) / 97] for number in range(3_000)]
    bench.baseline(["age", "height", "score"], rows, "--prediction", "score", "--leave-out", "score")
    return rows


def test_d04_an_answer_that_repeats_its_question_is_what_it_adds(bench: Bench) -> None:
    rows = scored(bench)[:1_500]
    lines = [line(f"{a},{h}\n", output=f"{a},{h},{s}\n", event_id=f"{a}-{n}") for n, (a, h, s) in enumerate(rows)]
    prediction = bench.drift(lines)["prediction"]
    assert (prediction["verdict"], prediction["present"]) == ("STABLE", 1_500)
    assert prediction["distance"] == pytest.approx(0, abs=0.03)


def test_d04_batch_transform_joined_with_its_input(bench: Bench) -> None:
    rows = scored(bench)[:1_000]
    identity = "1f1d57b1-2e6f-488c-8c30-db4e6d7578{:02x}"
    asked = "".join(f"{a},{h}\n" for a, h, _ in rows)
    answered = "".join(
        f"{a},{h},{s},{identity.format(n % 256)},2026-11-22T14:05:00Z\n" for n, (a, h, s) in enumerate(rows)
    )
    transform(bench.folder / "t", [("in/people.csv", asked)], [("out/people.csv.out", answered)])
    found = bench.judged(bench.folder / "t")
    assert found["prediction"]["distance"] == pytest.approx(0, abs=0.03)


def transform(
    folder: Path,
    inputs: Sequence[tuple[str, str]],
    outputs: Sequence[tuple[str, str]],
    manifests: Sequence[tuple[str, list[Any]]] = (),
) -> None:
    """Files of a batch transform job below the folder, and its manifests of one hour."""
    for name, text in (*inputs, *outputs):
        path = folder / "b" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    written = manifests or [
        ("input", [{"prefix": "s3://b/"}, *(name for name, _ in inputs)]),
        ("output", [{"prefix": "s3://b/"}, *(name for name, _ in outputs)]),
    ]
    for number, (side, manifest) in enumerate(written):
        path = folder / side / "2026/11/22/14" / f"{number}.manifest"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("encoding", "said"), [("CSV", "index"), ("JSON", "index"), ("JSON", "name"), ("CSV", None), ("JSON", None)]
)
def test_d05_which_value_of_an_answer_is_the_prediction(bench: Bench, encoding: str, said: str | None) -> None:
    rows = scored(bench)[:1_500]

    def answer(score: float) -> str:
        label = int(score > 0.5)
        return json.dumps({"predicted_label": label, "score": score}) if encoding == "JSON" else f"{label},{score}\n"

    lines = [
        line(f"{a},{h}\n", output=answer(s), output_encoding=encoding, event_id=str(n))
        for n, (a, h, s) in enumerate(rows)
    ]
    more = {"name": ["--answer", "score"], "index": ["--answer", "1"], None: []}[said]
    prediction = bench.drift(lines, *more)["prediction"]
    if said is None:
        assert (prediction["verdict"], prediction["reason"]) == ("UNDECIDED", "ambiguous_answer")
        assert prediction["distance"] is None
        assert "say which is the prediction" in bench.said
    else:
        assert prediction["distance"] == pytest.approx(0, abs=0.03)
        assert prediction["verdict"] == "STABLE"


def test_d05_a_softmax_whose_classes_trade_places_drifts(bench: Bench) -> None:
    names = ["cat", "dog", "fox"]
    rows = [[number % 50, names[max(number % 10 - 7, 0)]] for number in range(3_000)]
    bench.baseline(["x", "animal"], rows, "--prediction", "animal", "--leave-out", "animal")

    def answers(order: Sequence[str]) -> list[bytes]:
        found = []
        for number, (x, name) in enumerate(rows[:1_500]):
            chances = [0.8 if name == known else 0.1 for known in order]
            found.append(line(f"{x}\n", output=json.dumps(chances), output_encoding="JSON", event_id=str(number)))
        return found

    same = bench.drift(answers(names))["prediction"]
    traded = bench.drift(answers(["fox", "dog", "cat"]))["prediction"]
    assert (same["verdict"], same["distance"]) == ("STABLE", pytest.approx(0, abs=0.01))
    assert (traded["verdict"], traded["distance"]) == ("DRIFTED", pytest.approx(0.7, abs=0.01))


@pytest.mark.parametrize("place", [0, 2])
def test_d10_a_native_baseline_describes_both_sides_of_a_capture(bench: Bench, place: int) -> None:
    left, minutes, calls = RNG(8).random(2_000) ** 3, RNG(9).normal(50, 9, 2_000), RNG(10).integers(0, 9, 2_000)
    features = [number_feature("minutes", minutes), number_feature("calls", calls, "Integral")]
    features.insert(place, number_feature("left", left))
    bench.native(*native(features))
    lines = [
        line(f"{m},{c}\n", output=f"{answer}\n", event_id=str(n))
        for n, (m, c, answer) in enumerate(zip(minutes, calls, left, strict=True))
    ]
    found = bench.drift(lines)
    assert {item["name"] for item in found["features"]} == {"minutes", "calls"}
    assert [item["distance"] for item in (*found["features"], found["prediction"])] == [pytest.approx(0, abs=1e-6)] * 3
    assert "column left is the answer's" in bench.said


def test_d02_a_manifest_of_one_object_joins_questions_and_answers(bench: Bench) -> None:
    rows = scored(bench)[:1_000]
    asked = "".join(json.dumps({"age": a, "height": h}) + "\n" for a, h, _ in rows)
    answered = "".join(
        json.dumps(
            {"score": s, "SageMakerInferenceId": f"id-{number}", "SageMakerInferenceTime": "2026-11-22T14:05:00Z"}
        )
        + "\n"
        for number, (_, _, s) in enumerate(rows)
    )
    manifests = [
        ("input", [{"prefix": "s3://b/in/people.jsonl"}, ""]),
        ("output", [{"prefix": "s3://b/out/people.jsonl.out"}, ""]),
    ]
    transform(bench.folder / "t", [("in/people.jsonl", asked)], [("out/people.jsonl.out", answered)], manifests)
    found = bench.judged(bench.folder / "t")
    assert (found["rows"], found["prediction"]["present"], found["window_start"]) == (
        1_000,
        1_000,
        "2026-11-22T14:05:00Z",
    )


def test_d03_files_of_one_name_in_different_folders_are_all_read(bench: Bench) -> None:
    rows = scored(bench)[:1_000]
    parts = [("x/part-0.jsonl", rows[:500]), ("y/part-0.jsonl", rows[500:])]
    inputs = [(f"in/{name}", "".join(f"{a},{h}\n" for a, h, _ in some)) for name, some in parts]
    outputs = [(f"out/{name}.out", "".join(f"{s}\n" for *_, s in some)) for name, some in parts]
    manifests = [
        (side, [{"prefix": f"s3://b/{name.rsplit('/', 1)[0]}/"}, name.rsplit("/", 1)[1]])
        for side, files in (("input", inputs), ("output", outputs))
        for name, _ in files
    ]
    transform(bench.folder / "t", inputs, outputs, manifests)
    found = bench.judged(bench.folder / "t")
    assert (found["rows"], found["prediction"]["present"]) == (1_000, 1_000)
    assert found["prediction"]["distance"] == pytest.approx(0, abs=0.03)


def test_d03_where_nobody_knows_which_answer_is_whose_nothing_is_joined_and_nothing_lost(bench: Bench) -> None:
    rows = scored(bench)[:1_000]
    inputs = [(f"{folder}/0.csv", "".join(f"{a},{h}\n" for a, h, _ in rows[:500])) for folder in ("p", "q")]
    outputs = [(f"{folder}/0.csv.out", "".join(f"{s}\n" for *_, s in rows[:500])) for folder in ("r", "s")]
    transform(bench.folder / "t", inputs, outputs)
    found = bench.judged(bench.folder / "t")
    assert (found["rows"], found["prediction"]["present"], found["records"]) == (1_000, 1_000, 2_000)


SHAPES = {
    "rows": lambda rows: rows,
    "instances": lambda rows: {"instances": rows},
    "instances, features": lambda rows: {"instances": [{"features": row} for row in rows]},
    "instances, data": lambda rows: {"instances": [{"data": {"features": {"values": row}}} for row in rows]},
    "inputs": lambda rows: {"inputs": rows},
    "pandas split": lambda rows: {"columns": ["age", "town"], "index": [*range(len(rows))], "data": rows},
    "dataframe_split": lambda rows: {"dataframe_split": {"columns": ["age", "town"], "data": rows}},
    "dataframe_records": lambda rows: {
        "dataframe_records": [dict(zip(["age", "town"], row, strict=True)) for row in rows]
    },
    "records": lambda rows: [dict(zip(["town", "age"], row[::-1], strict=True)) for row in rows],
    "columns": lambda rows: {"age": [row[0] for row in rows], "town": [row[1] for row in rows]},
    "inputs by column": lambda rows: {"inputs": {"age": [row[0] for row in rows], "town": [row[1] for row in rows]}},
    "pandas columns": lambda rows: {
        name: {str(number): row[place] for number, row in enumerate(rows)} for place, name in enumerate(["age", "town"])
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_d14_what_clients_send_is_read(bench: Bench, shape: str) -> None:
    rows = [[number % 60, "ab"[number % 2]] for number in range(3_000)]
    bench.baseline(["age", "town"], rows)
    lines = [
        line(json.dumps(SHAPES[shape](rows[at : at + 2])), encoding="JSON", output="0.1\n0.2\n", event_id=str(at))
        for at in range(0, 1_200, 2)
    ]
    found = bench.drift(lines)
    assert (found["verdict"], found["rows"], found["bad_rows"]["total"]) == ("STABLE", 1_200, 0)
    assert [item["distance"] for item in found["features"]] == [pytest.approx(0, abs=0.001)] * 2
