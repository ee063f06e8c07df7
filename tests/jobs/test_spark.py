"""Windows on Spark: `make test-spark`, which needs Java and installs pyspark; skipped where there is none."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrain.core.clock import parse
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of
from retrain.jobs import spark as job
from retrain.model.monitor_options import MonitorOptions

SparkSession = pytest.importorskip("pyspark.sql", reason="pyspark is not installed: make test-spark").SparkSession
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)

START, END = "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"
FEATURES = {"x": "numeric", "kind": "categorical"}
FILES = 7


def captures(file: int) -> bytes:
    lines = [
        json.dumps(
            {
                "captureData": {
                    "endpointInput": {"data": f"{number % 97 + file},{'ab'[number % 2]}\n", "encoding": "CSV"}
                },
                "eventMetadata": {"eventId": f"{file}-{number}", "inferenceTime": f"2026-11-22T{file:02}:03:09Z"},
            }
        )
        for number in range(700)
    ]
    return ("\n".join([*lines, "{broken", ""])).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spark")
    (folder / "baseline").mkdir()
    documents = baseline_of(
        [[str(number % 97), "ab"[number % 2]] for number in range(3000)], FEATURES, MonitorOptions()
    )
    for name, document in zip(("statistics", "constraints"), documents, strict=True):
        (folder / "baseline" / f"{name}.json").write_text(json.dumps(document))
    for file in range(FILES):
        hour = folder / "captures" / "2026" / "11" / "22" / f"{file:02}"
        hour.mkdir(parents=True)
        if file == 3:
            (hour / "a.jsonl.gz").write_bytes(gzip.compress(captures(file)))
        else:
            (hour / "a.jsonl").write_bytes(captures(file))
    return folder


@pytest.fixture(scope="module", autouse=True)
def spark() -> Iterator[Any]:
    """Spark in this process, which gives small files tasks of their own."""
    session = SparkSession.builder.master("local[2]").config("spark.files.openCostInBytes", "1").getOrCreate()
    yield session
    session.stop()


def test_spark_finds_what_one_process_finds(folder: Path) -> None:
    done = job.main(
        [
            *("--captures", str(folder / "captures"), "--baseline", str(folder / "baseline"), "--partitions", "3"),
            *("--start", START, "--end", END, "--output", str(folder / "found"), "--message", str(folder / "message")),
        ]
    )
    assert done == 0, (folder / "message").read_text()
    found = json.loads((folder / "found" / "analysis.json").read_text())
    alone = analyse(
        [(str(file), captures(file).splitlines()) for file in range(FILES)],
        (folder / "baseline" / "statistics.json").read_bytes(),
        (folder / "baseline" / "constraints.json").read_bytes(),
        (parse(START), parse(END)),
    )
    assert found["rows"] == alone.rows == 700 * FILES
    assert found["bad_rows"]["by_reason"] == alone.bad_rows == {"not_json": FILES}
    assert found["verdict"] == alone.verdict.value
    statistics = json.loads((folder / "found" / "statistics.json").read_text())
    assert exact(statistics) == exact(alone.statistics())


def exact(statistics: dict[str, Any]) -> Any:
    """What does not depend on the order in which intakes merge: all but the sketches."""
    return [
        {key: value for key, value in (feature.get("numerical_statistics") or {}).items() if key != "distribution"}
        or feature["string_statistics"]
        for feature in statistics["features"]
    ]


def test_every_task_has_its_share(folder: Path, spark: Any) -> None:
    assert spark.sparkContext.binaryFiles(str(folder / "captures" / "*" / "*" / "*" / "*"), 3).getNumPartitions() >= 3


def test_an_empty_folder_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    done = job.main(
        [
            *("--captures", str(folder / "empty"), "--baseline", str(folder / "baseline")),
            *("--start", START, "--end", END, "--output", str(folder / "none"), "--message", str(folder / "message")),
        ]
    )
    assert (done, (folder / "message").read_text()[:15]) == (1, "capture_missing")
