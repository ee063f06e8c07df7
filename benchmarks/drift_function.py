"""The drift monitor's function as `sam build` packs it, on five minutes of captures at 200 requests a second.

The real handler of the built package runs in a process of its own, against S3, DynamoDB, CloudWatch and SNS of a moto
server: its calls cost CPU as they do on Lambda, its waiting does not count. Before, the window's earlier hours were
read and stored by the same handler, so that it merges a day as it does every five minutes.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.workload import ROOT, START, captures

MACHINES = ("arm64", "x86_64")
RECORDS = 60_000
HOURS, QUIET = 23, 500  # earlier hours of the window, and captures of each
MEMORY_GB = 2048 / 1024  # the function's, in template.yaml
RUNS_A_MONTH = 30 * 24 * 12
# Dollars in us-east-1, from the public price lists of AWS Lambda, Amazon S3, CloudWatch and SageMaker.
GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
REQUEST = 0.20 / 1e6
S3_WRITE, S3_READ = 0.005 / 1e3, 0.0004 / 1e3  # PUT and LIST; GET
PROCESSING_HOUR = 0.23  # ml.m5.xlarge
JOB_MINUTES = 5  # of one of Model Monitor's hourly jobs: an assumption, for the image can't be run outside of AWS
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_XRAY_SDK_ENABLED": "false",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "PYTHONDONTWRITEBYTECODE": "1",  # on Lambda the package can't be written to
    "BUCKET": "bucket",
    "CODE_URI": "s3://bucket/code/1",
    "DRIFT_THRESHOLD": "0.3",
    "ENDPOINT_NAME": "flights",
    "IMAGE_URI": "image",
    "INTAKE_INSTANCES": "1",
    "INTAKE_ROLE_ARN": "arn:aws:iam::000000000000:role/intake",
    "LEDGER_TABLE": "ledger",
    "METRIC_FEATURES": "20",
    "MONITOR_MAX_MEGABYTES": "2000",
    "PROCESSING_INSTANCE_TYPE": "ml.m5.xlarge",
    "TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:topic",
    "WINDOW_HOURS": "23",
}


@dataclass(frozen=True)
class Package:
    """The function's folder, and its size in bytes."""

    folder: Path
    machine: str
    unpacked: int
    packed: int


@dataclass(frozen=True)
class Invocation:
    """CPU seconds of a process that starts cold and answers once, and of the handler alone; what it said."""

    cpu: float
    handler: float
    peak: float
    said: dict[str, Any]


def this_machine() -> str:
    return {"aarch64": "arm64", "arm64": "arm64"}.get(os.uname().machine, "x86_64")


def build(cache: Path, machine: str) -> Package:
    """The function, built by sam for this Python and that machine."""
    cache = cache / machine
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(
        ["sam", "build", "DriftMonitor", "--build-dir", cache / "build", "--cache-dir", cache / "sam",
         "--parameter-overrides", f"LambdaRuntime={runtime}", f"Architecture={machine}"],
        cwd=ROOT, check=True, capture_output=True, env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
    )  # fmt: skip
    folder = cache / "build" / "DriftMonitor"
    contents = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    archive = cache / "function.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in contents:
            zipped.write(file, file.relative_to(folder))
    package = Package(folder, machine, sum(file.stat().st_size for file in contents), archive.stat().st_size)
    archive.unlink()
    return package


def invocations(package: Package, cache: Path, baseline: Path, runs: int) -> Iterator[Invocation]:
    """Cold invocations on the same captures; the last one also counts its requests."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    try:
        for run in range(runs):
            _furnish(url, cache, baseline)
            _invoke(package, cache, url, "2026-11-22T23:00:00Z", count=False)
            _put_captures(url, cache, HOURS, RECORDS, 300)
            yield _invoke(package, cache, url, "2026-11-22T23:05:00Z", count=run == runs - 1)
    finally:
        server.stop()


def _furnish(url: str, cache: Path, baseline: Path) -> None:
    """A bucket with the quiet hours, a ledger with a champion and its baseline, a topic; nothing else."""
    import boto3
    import requests

    sys.path.append(str(ROOT / "tests" / "helpers"))
    from control_plane import crowned, make_table

    from retrain.aws.ledger import Ledger

    requests.post(f"{url}/moto-api/reset", timeout=60)
    session = boto3.Session("test", "test", region_name="us-east-1")
    dynamodb = session.client("dynamodb", endpoint_url=url)
    make_table(dynamodb, "ledger")
    crowned(Ledger(dynamodb, "ledger"))
    s3 = session.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket="bucket")
    for name in ("statistics", "constraints"):
        s3.upload_file(str(baseline / f"{name}.json"), "bucket", f"old/{name}.json")
    session.client("sns", endpoint_url=url).create_topic(Name="topic")
    for hour in range(HOURS):
        _put_captures(url, cache, hour, QUIET, 3600)


def _put_captures(url: str, cache: Path, hour: int, records: int, seconds: int) -> None:
    """A file for each minute, as SageMaker writes them; of a quiet hour, one."""
    from datetime import timedelta

    import boto3

    begin = START + timedelta(hours=hour)
    found = captures(records, "plain", begin, seconds)
    s3 = boto3.Session("test", "test", region_name="us-east-1").client("s3", endpoint_url=url)
    parts = 5 if records == RECORDS else 1
    for part in range(parts):
        body = cache / "part.jsonl"
        with body.open("w") as file:
            file.writelines(f"{next(found)}\n" for _ in range(records // parts))
        s3.upload_file(str(body), "bucket", f"capture/flights/AllTraffic/{begin:%Y/%m/%d/%H}/{part:02d}.jsonl")


def _invoke(package: Package, cache: Path, url: str, at: str, count: bool) -> Invocation:
    command = [sys.executable, "-m", "benchmarks.drift_function", at, *(["--count"] if count else [])]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= ENVIRONMENT | {"PYTHONPATH": str(package.folder), "AWS_ENDPOINT_URL": url}
    with (cache / "out.txt").open("w+") as out, (cache / "errors.txt").open("w+") as errors:
        child = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if child.returncode:
            raise RuntimeError(errors.read()[-2000:])
        said = json.loads(out.read().splitlines()[-1])
    return Invocation(usage.ru_utime + usage.ru_stime, said["cpu"], said["peak"], said)


def monthly(seconds: float, requests: dict[str, int]) -> dict[str, float]:
    """Dollars a month of an analysis every five minutes, on a Lambda function of a whole processor."""
    writes = sum(count for name, count in requests.items() if name.startswith(("Put", "List", "Create", "Upload")))
    reads = requests.get("GetObject", 0) + requests.get("HeadObject", 0)
    duration = RUNS_A_MONTH * seconds * MEMORY_GB
    return {
        **{f"Lambda, {name}": duration * price + RUNS_A_MONTH * REQUEST for name, price in GB_SECOND.items()},
        "S3 requests": RUNS_A_MONTH * (writes * S3_WRITE + reads * S3_READ),
        "Model Monitor's hourly job": 30 * 24 * JOB_MINUTES / 60 * PROCESSING_HOUR,
    }


class _Requests(logging.Handler):
    """Counts the requests that botocore makes, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Making request for"):
            self.found[str(getattr(record.args[0], "name", "?"))] += 1  # type: ignore[index]


def main() -> None:
    """One cold invocation."""
    counted = _Requests()
    if "--count" in sys.argv:
        logger = logging.getLogger("botocore.endpoint")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(counted)
        logger.propagate = False

    from handlers import drift_monitor

    class Context:
        function_name, memory_limit_in_mb, aws_request_id = "monitor", 2048, "request"
        invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:monitor"

    begun = time.process_time()
    answer = drift_monitor.handler({"time": sys.argv[1]}, Context())
    cpu = time.process_time() - begun
    origin = {name: str(sys.modules[name].__file__) for name in ("retrain", "polars", "numpy")}
    if not all(file.startswith(os.environ["PYTHONPATH"]) for file in origin.values()):
        raise RuntimeError(f"this is not the package: {origin}")
    print(json.dumps({"cpu": cpu, "answer": answer, "requests": counted.found, "peak": machine.peak()}))


if __name__ == "__main__":
    main()
