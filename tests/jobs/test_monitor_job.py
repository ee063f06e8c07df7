"""The drift monitor as a container, under Model Monitor's contract: a process, folders and an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retrain.drift.baseline import baseline_of
from retrain.drift.constraints import OPTIONS_KEY
from retrain.model.monitor_options import MonitorOptions

pytestmark = pytest.mark.slow  # every test starts processes

SRC = Path(__file__).parents[2] / "src"
FEATURES = {"x": "numeric", "kind": "categorical"}


def rows(middle: float, count: int = 600) -> list[list[str]]:
    return [[str(middle + number % 50), "ab"[number % 2]] for number in range(count)]


def record(row: list[str], time: str = "2026-11-22T14:03:09Z") -> str:
    return json.dumps(
        {
            "captureData": {"endpointInput": {"data": ",".join(row) + "\n", "encoding": "CSV"}},
            "eventMetadata": {"eventId": "1", "inferenceTime": time},
            "eventVersion": "0",
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What SageMaker lays out below /opt/ml: a baseline, and an hour of captures beside another hour's."""
    for name, document in zip(
        ("statistics", "constraints"), baseline_of(rows(0, 2000), FEATURES, MonitorOptions()), strict=True
    ):
        (tmp_path / "baseline").mkdir(exist_ok=True)
        (tmp_path / "baseline" / f"{name}.json").write_text(json.dumps(document))
    hours = tmp_path / "endpoint" / "flights" / "AllTraffic" / "2026" / "11" / "22"
    for hour, middle in (("14", 0.0), ("15", 100.0)):
        (hours / hour).mkdir(parents=True)
        lines = [record(row, f"2026-11-22T{hour}:03:09Z") for row in rows(middle)]
        (hours / hour / "a.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def wanted(root: Path, hour: int = 14, **others: str) -> dict[str, str]:
    return {
        "dataset_format": json.dumps({"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput"]}}),
        "dataset_source": str(root / "endpoint"),
        "output_path": str(root / "found"),
        "start_time": f"2026-11-22T{hour}:00:00Z",
        "end_time": f"2026-11-22T{hour + 1}:00:00Z",
        "publish_cloudwatch_metrics": "Enabled",
        "sagemaker_endpoint_name": "flights",
        "sagemaker_monitoring_schedule_name": "flights-drift",
        "baseline_statistics": str(root / "baseline" / "statistics.json"),
        "baseline_constraints": str(root / "baseline" / "constraints.json"),
        **others,
    }


def run(root: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code, and what DescribeProcessingJob would show as ExitMessage."""
    command = [sys.executable, "-m", "retrain.jobs.monitor", "--root", str(root)]
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC)}
    done = subprocess.run(command, env=own | environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (root / "output" / "message").read_text()


def found(root: Path, name: str) -> Any:
    return json.loads((root / "found" / f"{name}.json").read_text())


def test_a_stable_hour_completes_without_violations_and_leaves_model_monitors_files(root: Path) -> None:
    code, message = run(root, wanted(root))
    assert code == 0
    assert message.startswith("Completed: Job completed successfully with no violations. STABLE")
    assert found(root, "statistics")["dataset"]["item_count"] == 600, "the other hour is not the window's"
    assert {item["name"] for item in found(root, "constraints")["features"]} == set(FEATURES)
    assert found(root, "constraint_violations") == {"violations": []}
    assert found(root, "analysis")["verdict"] == "STABLE"


def test_a_drifted_hour_is_a_violation(root: Path) -> None:
    code, message = run(root, wanted(root, hour=15))
    assert code == 0
    assert message.startswith("CompletedWithViolations: ")
    assert "DRIFTED: x 1 of" in message
    violated = [item["feature_name"] for item in found(root, "constraint_violations")["violations"]]
    assert violated == ["x"]


def test_a_schedules_metrics_are_lines_that_sagemaker_publishes(root: Path) -> None:
    run(root, wanted(root, hour=15))
    file = root / "output" / "metrics" / "cloudwatch" / "cloudwatch_metrics.jsonl"
    metrics = [json.loads(line) for line in file.read_text().splitlines()]
    common = {"MetricName", "Dimensions", "Timestamp"}
    assert all(metric.keys() - common in ({"Value"}, {"StatisticValues"}) for metric in metrics)
    by_name = {metric["MetricName"]: metric for metric in metrics}
    assert by_name["feature_baseline_drift_x"] == {
        "MetricName": "feature_baseline_drift_x",
        "Timestamp": "2026-11-22T16:00:00Z",
        "Dimensions": [
            {"Name": "Endpoint", "Value": "flights"},
            {"Name": "MonitoringSchedule", "Value": "flights-drift"},
        ],
        "Value": 1.0,
    }
    assert by_name["feature_data_x"]["StatisticValues"] == {
        "SampleCount": 600.0,
        "Sum": 600 * 124.5,
        "Minimum": 100.0,
        "Maximum": 149.0,
    }


def test_metrics_have_two_switches(root: Path) -> None:
    file = root / "baseline" / "constraints.json"
    document = json.loads(file.read_text())
    document["monitoring_config"]["emit_metrics"] = "Disabled"
    file.write_text(json.dumps(document))
    assert run(root, wanted(root))[0] == 0
    assert not (root / "output" / "metrics").exists()


def test_an_hour_that_cannot_be_read_is_a_violation(root: Path) -> None:
    (root / "endpoint" / "flights" / "AllTraffic" / "2026" / "11" / "22" / "14" / "b.jsonl").write_text("{\n" * 100)
    code, message = run(root, wanted(root))
    assert code == 0
    assert message.startswith("CompletedWithViolations: 1 violation. UNDECIDED (capture_corrupt): 100 of 700 lines")
    [violation] = found(root, "constraint_violations")["violations"]
    assert (violation["feature_name"], violation["constraint_check_type"]) == (" ", "capture_corrupt")


@pytest.mark.parametrize(("folder", "hour"), [("endpoint", 16), ("empty", 14)])
def test_an_hour_without_captures_is_undecided(root: Path, folder: str, hour: int) -> None:
    (root / "empty").mkdir()
    code, message = run(root, wanted(root, hour, dataset_source=str(root / folder)))
    assert code == 0
    assert message == "Completed: nothing was decided. UNDECIDED (capture_missing): the window has no captured row"
    assert found(root, "analysis")["verdict"] == "UNDECIDED"


def test_an_ordinary_job_writes_no_metrics(root: Path) -> None:
    run(root, wanted(root, publish_cloudwatch_metrics="Disabled"))
    assert not (root / "output" / "metrics").exists()


@pytest.mark.parametrize("folder", ["config", "processing"])
def test_without_an_environment_the_jobs_configuration_says_what_is_wanted(root: Path, folder: str) -> None:
    (root / folder).mkdir()
    (root / folder / "processingjobconfig.json").write_text(json.dumps({"Environment": wanted(root)}))
    assert run(root, {})[0] == 0
    assert found(root, "analysis")["rows"] == 600


def test_a_table_is_judged_whatever_the_hour(root: Path) -> None:
    (root / "table").mkdir()
    lines = ["kind,x", *(f"{kind},{x}" for x, kind in rows(0))]
    (root / "table" / "part-0.csv").write_text("\n".join(lines) + "\n")
    said = wanted(root, dataset_source=str(root / "table"), dataset_format='{"csv": {"header": true}}')
    code, message = run(root, said)
    assert run(root, said | {"dataset_format": '{"csv": {"header": false}}'}) == (
        1,
        "InvalidSettings: dataset_format asks for csv without a header: name the columns in the first line, and say "
        '{"header": true}',
    )
    assert (code, message.split(":")[0]) == (0, "Completed")
    assert found(root, "analysis")["rows"] == 600


def test_batch_transform_captures_are_found_by_their_manifests(root: Path) -> None:
    folder = root / "transform"
    for side, name in (("input", "a.csv"), ("output", "a.csv.out")):
        hour = folder / "capture" / side / "2026" / "11" / "22" / "14"
        hour.mkdir(parents=True)
        (hour / "manifest.json").write_text(json.dumps([{"prefix": f"s3://bucket/batch/{side}/"}, name]))
        (folder / "batch" / side).mkdir(parents=True)
    (folder / "batch" / "input" / "a.csv").write_text("".join(f"{x},{kind}\n" for x, kind in rows(0)))
    (folder / "batch" / "output" / "a.csv.out").write_text("0.5\n" * 600)
    said = wanted(root, dataset_source=str(folder), dataset_format='{"csv": {"header": false}}')
    code, message = run(root, said)
    assert (code, message.split(":")[0]) == (0, "Completed")
    assert found(root, "analysis")["rows"] == 600
    (folder / "batch" / "output" / "a.csv.out").unlink()
    code, message = run(root, wanted(root, dataset_source=str(folder)))
    assert code == 1
    assert "s3://bucket/batch/output/a.csv.out is in a manifest, and no file below: copy it there" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline_statistics": ""}, "InvalidSettings: baseline_statistics is not set"),
        ({"baseline_statistics": "gone.json"}, "NoBaseline: baseline_statistics is gone.json, which can't be read"),
        ({"start_time": "yesterday"}, "InvalidSettings: start_time is 'yesterday': a time such as"),
        ({"end_time": "2026-11-22T14:00:00Z"}, "InvalidSettings: end_time is 2026-11-22T14:00:00Z, which is not after"),
        ({"dataset_source": "gone"}, "capture_missing: gone: there is no such file or folder"),
        (
            {"analysis_type": "MODEL_QUALITY"},
            "InvalidSettings: analysis_type is MODEL_QUALITY: this container",
        ),
        ({"dataset_format": "csv"}, "InvalidSettings: dataset_format is 'csv': an object such as"),
        ({"dataset_format": '{"csv": {"header": true}}'}, "InvalidSettings: dataset_format asks for csv, and "),
        ({"dataset_format": '{"json": {"line": true}}'}, "InvalidSettings: dataset_format asks for json: sagemakerCa"),
        ({"dataset_format": '{"parquet": {}}'}, "InvalidSettings: dataset_format asks for parquet, and "),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(root: Path, change: dict[str, str], message: str) -> None:
    code, said = run(root, wanted(root) | change)
    assert code == 1
    assert said.startswith(message)
    assert not (root / "found").exists()


def test_nothing_to_go_by_is_named(root: Path) -> None:
    code, message = run(root, {})
    assert code == 1
    assert message.startswith("InvalidSettings: dataset_source is neither in the environment nor in ")


def test_several_instances_with_a_share_each_are_refused(root: Path) -> None:
    (root / "config").mkdir()
    (root / "config" / "resourceconfig.json").write_text(json.dumps({"hosts": ["algo-1", "algo-2"]}))
    code, message = run(root, wanted(root))
    assert code == 1
    assert "several instances" in message


# -- Model Monitor's own words for which side, and which value of an answer, is compared ------------------------------


def answered(root: Path, answers: list[Any], kind: str = "JSON") -> None:
    """The hour's captures have those answers, one to each of the calm rows."""
    records = []
    for row, answer in zip(rows(0.0, len(answers)), answers, strict=True):
        asked = json.loads(record(row))
        data = json.dumps(answer) if kind == "JSON" else answer
        asked["captureData"]["endpointOutput"] = {"data": data, "encoding": kind}
        records.append(json.dumps(asked))
    file = root / "endpoint" / "flights" / "AllTraffic" / "2026" / "11" / "22" / "14" / "a.jsonl"
    file.write_text("\n".join(records) + "\n")


def native_baseline(root: Path, table: list[list[str]], features: dict[str, str]) -> None:
    """A baseline as Model Monitor writes it: of one row of columns, none of which it calls the prediction."""
    statistics, constraints = baseline_of(table, features, MonitorOptions())
    del constraints["monitoring_config"][OPTIONS_KEY]
    (root / "baseline" / "statistics.json").write_text(json.dumps(statistics))
    (root / "baseline" / "constraints.json").write_text(json.dumps(constraints))


def scores(count: int = 1_200, shift: float = 0.0) -> list[float]:
    return [round((number * 37 % 100) / 200 + shift, 4) for number in range(count)]


def sides(*names: str) -> dict[str, str]:
    return {"dataset_format": json.dumps({"sagemakerCaptureJson": {"captureIndexNames": list(names)}})}


def prediction(root: Path) -> dict[str, Any]:
    return dict(found(root, "analysis")["prediction"])


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "STABLE"), (0.4, "DRIFTED")])
def test_a_schedule_on_the_answers_alone_compares_them_and_nothing_else(root: Path, shift: float, verdict: str) -> None:
    native_baseline(root, [[str(score)] for score in scores(2000)], {"score": "numeric"})
    answered(root, [[score] for score in scores(shift=shift)])
    assert run(root, wanted(root, **sides("endpointOutput")))[0] == 0
    analysis = found(root, "analysis")
    assert (analysis["verdict"], [feature["name"] for feature in analysis["features"]]) == (verdict, ["score"])


def test_a_schedule_on_the_questions_alone_does_not_look_at_answers(root: Path) -> None:
    answered(root, [["nonsense"] for _ in range(1_200)])
    assert run(root, wanted(root, **sides("endpointInput")))[0] == 0
    assert found(root, "analysis")["verdict"] == "STABLE"


def test_a_schedule_on_both_sides_takes_the_answer_from_the_column_that_model_monitor_puts_first(root: Path) -> None:
    table = [[str(score), *row] for score, row in zip(scores(2000), rows(0, 2000), strict=True)]
    native_baseline(root, table, {"score": "numeric", **FEATURES})
    answered(root, [[score] for score in scores(shift=0.4)])
    assert run(root, wanted(root, **sides("endpointInput", "endpointOutput")))[0] == 0
    analysis = found(root, "analysis")
    assert {feature["name"] for feature in analysis["features"]} == set(FEATURES)
    assert prediction(root)["verdict"] == "DRIFTED"


@pytest.mark.parametrize(
    ("said", "answers", "kind"),
    [
        ({"probability_attribute": "1"}, [f"0,{score}\n" for score in scores()], "CSV"),
        ({"inference_attribute": "1"}, [f"0,{score}\n" for score in scores()], "CSV"),
        ({"probability_attribute": "score"}, [{"label": 0, "score": score} for score in scores()], "JSON"),
        (
            {"inference_attribute": "label", "probability_attribute": "score"},
            [{"label": 0, "score": score} for score in scores()],
            "JSON",
        ),
    ],
)
def test_which_value_of_an_answer_is_compared_is_said_as_model_monitor_has_it(
    root: Path, said: dict[str, str], answers: list[Any], kind: str
) -> None:
    table = [[str(score), *row] for score, row in zip(scores(2000), rows(0, 2000), strict=True)]
    native_baseline(root, table, {"score": "numeric", **FEATURES})
    answered(root, answers, kind)
    assert run(root, wanted(root, **sides("endpointInput", "endpointOutput"), **said))[0] == 0
    assert (prediction(root)["verdict"], prediction(root)["distance"]) == ("STABLE", pytest.approx(0.0, abs=0.01))


@pytest.mark.parametrize("said", [{"probability_attribute": "chance"}, {"probability_attribute": "2"}, {}])
def test_an_answer_without_the_value_that_was_named_or_with_two_and_none_named_has_no_distance(
    root: Path, said: dict[str, str]
) -> None:
    table = [[*row, str(score)] for score, row in zip(scores(2000), rows(0, 2000), strict=True)]
    native_baseline(root, table, {**FEATURES, "score": "numeric"})
    answered(root, [{"label": 0, "score": score} for score in scores()])
    code, message = run(root, wanted(root, **sides("endpointInput", "endpointOutput"), **said))
    assert code == 0, message
    assert found(root, "analysis")["verdict"] != "DRIFTED"
    assert (found(root, "analysis")["prediction"] or {}).get("distance") is None


@pytest.mark.parametrize("names", ["endpointInput", [], ["endpointMiddle"]])
def test_sides_that_there_are_not_are_refused_by_name(root: Path, names: Any) -> None:
    said = {"dataset_format": json.dumps({"sagemakerCaptureJson": {"captureIndexNames": names}})}
    code, message = run(root, wanted(root, **said))
    assert code != 0
    assert "captureIndexNames" in message
