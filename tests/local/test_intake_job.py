"""The job that reads captures for the drift monitor, on the embedded SageMaker, as the monitor asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import IMAGE, ROLE, House, embedded

from retrain.core.values import Enclosure
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.intake_cache import load_intake
from retrain.model.monitor_options import MonitorOptions
from retrain.monitors.drift_monitor import IntakeJobs, intake_job
from retrain.pipeline.job_code import package_files


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with embedded(tmp_path) as house:
        yield house


def test_an_intake_job_leaves_a_document_for_each_hour_of_its_captures(house: House) -> None:
    for name, file in package_files().items():
        house.s3.put(f"s3://bucket/code/1/{name}", file.read_bytes())
    statistics, _ = baseline_of([["1"], ["2"]], {"x": "numeric"}, MonitorOptions(), None)
    house.s3.put("s3://bucket/episodes/1/baseline/statistics.json", json.dumps(statistics))
    keys = [f"capture/flights/AllTraffic/2013/03/15/{hour}/{name}.jsonl" for hour in ("10", "11") for name in "ab"]
    record = {
        "captureData": {"endpointInput": {"data": "3\n", "encoding": "CSV"}},
        "eventMetadata": {"eventId": "1", "inferenceTime": "2013-03-15T11:00:00Z"},
    }
    for key in keys:
        house.s3.put(f"s3://bucket/{key}", json.dumps(record) + "\n")
    wanted = {"start": "2013-03-15T00:00:00Z", "end": "2013-03-16T00:00:00Z", "files": dict.fromkeys(keys, "tag")}
    inputs = {
        "code": ("S3Prefix", "s3://bucket/code/1"),
        "captures": (
            "ManifestFile",
            house.s3.put("s3://bucket/m.json", json.dumps([{"prefix": "s3://bucket/"}, *keys])),
        ),
        "files": ("S3Prefix", house.s3.put("s3://bucket/files.json", json.dumps(wanted))),
        "baseline": ("S3Prefix", "s3://bucket/episodes/1/baseline/statistics.json"),
    }
    jobs = IntakeJobs("s3://bucket/code/1", IMAGE, ROLE, "ml.m5.xlarge", 1, Enclosure("key"))
    house.call(
        "CreateProcessingJob",
        ProcessingJobName="flights-intake-1",
        **intake_job(jobs, inputs, "s3://bucket/profiles/flights/1", "flights-intake-1"),
    )
    job = house.processing_job("flights-intake-1")
    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == (
        "Completed",
        f"4 of 4 files of 2 hours, {4 * (len(json.dumps(record)) + 1)} bytes",
    )
    made = {uri: body for uri, body in house.s3.objects.items() if "/profiles/" in uri}
    assert sorted(uri.removeprefix("s3://bucket/profiles/flights/1/2013/03/15/")[:2] for uri in made) == ["10", "11"]
    intakes = [load_intake(body, read_statistics(statistics)) for body in made.values()]
    assert sorted(key for stored in intakes for key in stored.files) == keys
    assert [stored.intake.records for stored in intakes] == [2, 2]
