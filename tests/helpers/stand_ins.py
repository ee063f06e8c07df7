"""The embedded SageMaker without the rest of the embedded AWS: S3, logs and alarms in memory, events in a list."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.clock import Clock
from local.sagemaker import SageMaker
from local.sagemaker.fleet import ModelServer
from local.sagemaker.store import Access
from local.wire import Wire

START = datetime(2013, 3, 1, 5, 0, tzinfo=UTC)
ROLE = "arn:aws:iam::000000000000:role/jobs"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/jobs:1"


class NoSuchKey(Exception):
    """As boto3 raises it."""


class Exceptions:
    """The `exceptions` of a client."""

    NoSuchKey = NoSuchKey

    class ResourceAlreadyExistsException(Exception):
        """As boto3 raises it."""


class FakeS3:
    """Objects by URI."""

    exceptions = Exceptions

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, uri: str, body: str | bytes) -> str:
        self.objects[uri] = body.encode() if isinstance(body, str) else body
        return uri

    def under(self, prefix: str) -> dict[str, str]:
        """Text by key below the prefix."""
        found = {uri.removeprefix(prefix): body for uri, body in list(self.objects.items()) if uri.startswith(prefix)}
        return {key: body.decode() for key, body in sorted(found.items())}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        try:
            return {"Body": io.BytesIO(self.objects[f"s3://{Bucket}/{Key}"])}
        except KeyError:
            raise NoSuchKey(Key) from None

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self.objects[f"s3://{Bucket}/{Key}"] = Body

    def upload_file(self, Filename: str, Bucket: str, Key: str) -> None:
        self.put_object(Bucket, Key, Path(Filename).read_bytes())

    def get_paginator(self, operation: str) -> FakeS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        """One object a page: who reads only the first page is found out."""
        bucket = f"s3://{Bucket}/"
        keys = sorted(uri.removeprefix(bucket) for uri in self.objects if uri.startswith(bucket + Prefix))
        yield from ({"Contents": [{"Key": key}]} for key in keys) if keys else [{}]


class FakeLogs:
    """Lines by log stream."""

    exceptions = Exceptions

    def __init__(self) -> None:
        self.streams: dict[str, list[str]] = {}
        self._groups: set[str] = set()

    def create_log_group(self, logGroupName: str) -> None:
        if logGroupName in self._groups:
            raise Exceptions.ResourceAlreadyExistsException
        self._groups.add(logGroupName)

    def create_log_stream(self, logGroupName: str, logStreamName: str) -> None:
        self.streams[f"{logGroupName}/{logStreamName}"] = []

    def put_log_events(self, logGroupName: str, logStreamName: str, logEvents: list[dict[str, Any]]) -> None:
        self.streams[f"{logGroupName}/{logStreamName}"] += [event["message"] for event in logEvents]


class FakeAlarms:
    """CloudWatch, as far as roll-outs ask it: which of the alarms are in ALARM."""

    def __init__(self) -> None:
        self.alarmed: set[str] = set()

    def describe_alarms(self, AlarmNames: list[str], StateValue: str) -> dict[str, Any]:
        assert StateValue == "ALARM"
        return {"MetricAlarms": [{"AlarmName": name} for name in AlarmNames if name in self.alarmed]}


class House:
    """An embedded SageMaker, called as boto3 calls it: what botocore does not define can't pass."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.s3, self.logs, self.alarms = FakeS3(), FakeLogs(), FakeAlarms()
        self.events: list[tuple[str, str, dict[str, Any], list[str]]] = []
        self.clock = Clock()
        self.clock.set(START)
        self.open()

    def open(self) -> None:
        """SageMaker runs, and knows nothing."""
        clients = {"s3": self.s3, "logs": self.logs, "cloudwatch": self.alarms}
        told = lambda *event: self.events.append(event)  # noqa: E731
        access = Access(lambda service, _role: clients[service], lambda _role: {}, lambda *_: None)
        self.sagemaker = SageMaker(access, told, self.clock, self.root / "sagemaker")
        self.wire = Wire("sagemaker", self.sagemaker.handle)

    def reopen(self) -> None:
        """SageMaker was ended and started again."""
        self.sagemaker.shutdown()
        self.sagemaker.save(self.root / "state.json")
        self.open()
        self.sagemaker.load(self.root / "state.json")

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.wire.call(operation, params)

    def told(self, detail_type: str) -> list[dict[str, Any]]:
        """The details of all events of that type, oldest first."""
        return [detail for _, kind, detail, _ in list(self.events) if kind == detail_type]

    # Jobs

    def start_processing(self, name: str, script: str, *arguments: str, **settings: Any) -> None:
        """A processing job of `script`, a Python text."""
        self.call("CreateProcessingJob", ProcessingJobName=name, **processing(script, *arguments, **settings))

    def processing_job(self, name: str) -> dict[str, Any]:
        """The job, once it has ended."""

        def ended() -> dict[str, Any] | None:
            job = self.call("DescribeProcessingJob", ProcessingJobName=name)
            return None if job["ProcessingJobStatus"] in {"InProgress", "Stopping"} else job

        return eventually(ended)

    # Endpoints

    def model(self, name: str, program: str, **environment: str) -> None:
        """A model whose inference.py is `program`."""
        uri = self.s3.put(f"s3://bucket/models/{name}.tar.gz", packed({"code/inference.py": program}))
        container = {"Image": IMAGE, "ModelDataUrl": uri, "Environment": environment}
        self.call("CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)

    def config(self, name: str, model: str, **settings: Any) -> None:
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": model,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 2,
        }
        self.call("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[variant], **settings)

    def endpoint(self, name: str = "flights") -> dict[str, Any]:
        return self.call("DescribeEndpoint", EndpointName=name)

    def settled(self, name: str = "flights") -> dict[str, Any]:
        """The endpoint, once nothing is going on with it."""

        def settled() -> dict[str, Any] | None:
            endpoint = self.endpoint(name)
            return None if endpoint["EndpointStatus"] in {"Creating", "Updating", "RollingBack"} else endpoint

        return eventually(settled)

    def server(self) -> ModelServer:
        """The model server that `flights` is answered by."""
        return self.sagemaker.hosting._traffic["flights"].blue.servers["AllTraffic"]

    def serve(self, program: str, **settings: Any) -> None:
        """The endpoint `flights` serves `program`; model and config are called v1."""
        self.model("v1", program)
        self.config("v1", "v1", **settings)
        self.call("CreateEndpoint", EndpointName="flights", EndpointConfigName="v1")
        assert self.settled()["EndpointStatus"] == "InService"

    def invoke(
        self, body: bytes | str = "1,2", endpoint: str = "flights", **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of InvokeEndpoint."""
        asked = {"content-type": "text/csv", "accept": "text/csv"}
        asked |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body.encode() if isinstance(body, str) else body
        status, answered, content = self.sagemaker.invoke_endpoint(endpoint, raw, asked)
        return status, answered, content.decode()

    def captured(self) -> list[dict[str, Any]]:
        """Every record that was captured, in the order of their keys."""
        self.sagemaker.hosting.capture.flush()
        texts = self.s3.under("s3://bucket/capture/").values()
        return [json.loads(line) for text in texts for line in text.splitlines()]


@contextmanager
def embedded(root: Path) -> Iterator[House]:
    """A SageMaker for one test; it has said nothing that botocore does not know."""
    house = House(root)
    yield house
    house.sagemaker.shutdown()
    assert house.wire.violations == []


def processing(script: str, *arguments: Any, **settings: Any) -> dict[str, Any]:
    """What CreateProcessingJob needs, but for the name."""
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
    return {
        "ProcessingResources": {"ClusterConfig": cluster},
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["python3", "-c", script],
            **({"ContainerArguments": list(arguments)} if arguments else {}),
        },
        "RoleArn": ROLE,
        **settings,
    }


def source(name: str, uri: str, kind: str = "S3Prefix") -> dict[str, Any]:
    """A processing input, below /opt/ml/processing/input."""
    place = f"/opt/ml/processing/input/{name}"
    return {
        "InputName": name,
        "S3Input": {"S3Uri": uri, "LocalPath": place, "S3DataType": kind, "S3InputMode": "File"},
    }


def outputs(**uris: str) -> dict[str, Any]:
    """Processing outputs by name, below /opt/ml/processing/output."""
    made = [
        {
            "OutputName": name,
            "S3Output": {
                "S3Uri": uri,
                "LocalPath": f"/opt/ml/processing/output/{name}",
                "S3UploadMode": "EndOfJob",
            },
        }
        for name, uri in uris.items()
    ]
    return {"Outputs": made}


def packed(files: dict[str, str]) -> bytes:
    """A tar.gz of the texts by name."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def eventually(look: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first answer of `look` that is true."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return answer


class Traffic:
    """Requests from a few threads, until the context is left; what they were answered is in `answers`."""

    def __init__(self, house: House, threads: int = 3) -> None:
        self.house, self.answers = house, list[tuple[int, str]]()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._over.wait(0.002):
            status, _, text = self.house.invoke()
            self.answers.append((status, text))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
