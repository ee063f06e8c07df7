"""A server on this machine that answers as AWS does when something is wrong, and every call of the loop's to it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from control_plane import NOW, PACKAGE, RUN, trigger

from retrain.aws.cloudwatch import CloudWatch
from retrain.aws.events import Bus
from retrain.aws.ledger import Ledger
from retrain.aws.s3 import Store
from retrain.aws.sagemaker import SageMaker
from retrain.aws.sns import Topic
from retrain.aws.sqs import RejectedEvents
from retrain.aws.stepfunctions import Callbacks, StateMachine
from retrain.core.values import Episode

FAULTS = ("throttled", "too many", "500", "503", "reset", "hung", "cut off", "closed")
EPISODE = Episode("e", "flights", 1, bootstrap=False)
MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:machine"


class _Answer(socketserver.StreamRequestHandler):
    """One connection: a request is read, and answered with the server's fault."""

    server: Any

    def handle(self) -> None:
        self.server.met += 1
        headers = b""
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            headers += line
        length = [line for line in headers.lower().splitlines() if line.startswith(b"content-length")]
        self.rfile.read(int(length[0].partition(b":")[2]) if length else 0)
        _SAYS[self.server.fault](self, headers)

    def says(self, status: str, body: bytes, more: bytes = b"") -> None:
        self.wfile.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n".encode()
            + more
            + b"\r\n"
            + body
        )


def _throttled(answer: _Answer, headers: bytes) -> None:
    if b"x-amz-target" in headers.lower():
        answer.says("400 Bad Request", b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')
    elif b"cbor" in headers.lower():  # {"__type": "ThrottlingException"}
        answer.says("400 Bad Request", b"\xa1\x66__type\x73ThrottlingException", b"smithy-protocol: rpc-v2-cbor\r\n")
    else:
        code = "SlowDown" if b"/bucket" in headers else "Throttling"
        error = f"<Error><Code>{code}</Code><Message>Rate exceeded</Message></Error>"
        wrapped = error if code == "SlowDown" else f"<ErrorResponse>{error}</ErrorResponse>"
        answer.says("400 Bad Request", wrapped.encode())


def _reset(answer: _Answer, _: bytes) -> None:
    answer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer.connection.close()


_SAYS: dict[str, Callable[[_Answer, bytes], object]] = {
    "throttled": _throttled,
    "too many": lambda answer, _: answer.says("429 Too Many Requests", b""),
    "500": lambda answer, _: answer.says("500 Internal Server Error", b""),
    "503": lambda answer, _: answer.says("503 Service Unavailable", b""),
    "reset": _reset,
    "hung": lambda answer, _: answer.server.over.wait(60),
    "cut off": lambda answer, _: answer.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"),
    "closed": lambda answer, _: None,
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.fault, self.met, self.over = fault, 0, threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what was to be expected."""


@contextmanager
def faulty(fault: str) -> Iterator[_Server]:
    """A server with that fault; `met` counts its connections."""
    with _Server(fault) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def calls(server: _Server) -> dict[str, Callable[[], Any]]:
    """Every call that the loop makes of AWS, by its name, to that server. Nothing is tried twice."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=0.5, read_timeout=0.15)

    session: Any = boto3.Session()  # not the one that all share: moto has to be there before it is made

    def client(service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return session.client(service, endpoint_url=url(server), config=config, region_name="us-east-1", **keys)

    ledger, sagemaker = Ledger(client("dynamodb"), "ledger"), SageMaker(client("sagemaker"))
    store, machine = Store(client("s3"), "bucket"), StateMachine(client("stepfunctions"), MACHINE)
    cloudwatch, callbacks = CloudWatch(client("cloudwatch"), "DriftRetrain"), Callbacks(client("stepfunctions"))
    metric = {"MetricName": "m", "Value": 1.0}
    return {
        "dynamodb:GetItem": lambda: ledger.episode("e"),
        "dynamodb:PutItem": lambda: ledger.record_serving("flights", {}, NOW),
        "dynamodb:UpdateItem": lambda: ledger.decide("e", "approved", "ada", NOW),
        "dynamodb:TransactGetItems": lambda: ledger.situation(trigger()),
        "dynamodb:TransactWriteItems": lambda: ledger.note(EPISODE, field="x"),
        "dynamodb:Query": lambda: ledger.episodes("flights"),
        "dynamodb:Query, of the table": lambda: ledger.kept_rows("flights"),
        "states:StartExecution": lambda: machine.start("e", "{}", None),
        "states:DescribeExecution": lambda: machine.execution("e"),
        "states:SendTaskSuccess": lambda: callbacks.succeed("token", {}),
        "s3:GetObject": lambda: store.read("s3://bucket/key"),
        "s3:GetObject, hashed": lambda: store.sha256("s3://bucket/key"),
        "s3:PutObject": lambda: store.put("key", b"body"),
        "s3:ListBucket": lambda: store.keys("prefix/"),
        "s3:GetObject, many": lambda: list(store.bodies(["one", "two"])),
        "sns:Publish": lambda: Topic(client("sns"), "arn:aws:sns:us-east-1:000000000000:topic").publish("s", "t"),
        "events:PutEvents": lambda: Bus(client("events")).put("Episode Changed", {}),
        "sqs:SendMessage": lambda: RejectedEvents(client("sqs"), f"{url(server)}/0/queue").keep({}, "r", "d"),
        "cloudwatch:DescribeAlarms": lambda: cloudwatch.in_alarm(["errors"]),
        "cloudwatch:PutMetricData": lambda: cloudwatch.put_metrics([metric]),
        "sagemaker:StartPipelineExecution": lambda: sagemaker.start_pipeline("p", "t" * 40, "d", {}),
        "sagemaker:DescribePipelineExecution": lambda: sagemaker.pipeline_execution(RUN),
        "sagemaker:ListPipelineExecutionSteps": lambda: list(sagemaker.pipeline_steps(RUN)),
        "sagemaker:DescribeProcessingJob": lambda: sagemaker.processing_status("job"),
        "sagemaker:CreateProcessingJob": lambda: sagemaker.start_processing("job", JOB),
        "sagemaker:DescribeTrainingJob": lambda: sagemaker.job_text({"Metadata": {"TrainingJob": {"Arn": "a/b"}}}),
        "sagemaker:DescribeModelPackage": lambda: sagemaker.model_package(PACKAGE),
        "sagemaker:UpdateModelPackage": lambda: sagemaker.set_approval(PACKAGE, "Approved", "why"),
        "sagemaker:CreateModel": lambda: sagemaker.put_model("m", {"ExecutionRoleArn": ROLE}),
        "sagemaker:CreateEndpointConfig": lambda: sagemaker.put_endpoint_config("c", {"ProductionVariants": [VARIANT]}),
        "sagemaker:CreateEndpoint": lambda: sagemaker.create_endpoint("flights", "c", []),
        "sagemaker:UpdateEndpoint": lambda: sagemaker.update_endpoint("flights", "c", {}, keep_counts=False),
        "sagemaker:DescribeEndpoint": lambda: sagemaker.endpoint("flights"),
        "sagemaker:DescribeEndpointConfig": lambda: sagemaker.endpoint_config("c"),
        "sagemaker:DeleteEndpointConfig": lambda: sagemaker.delete_endpoint_config("c"),
        "sagemaker:DeleteModel": lambda: sagemaker.delete_model("m"),
        "sagemaker:DeleteModelPackage": lambda: sagemaker.delete_package(PACKAGE),
        "sagemaker:DescribeMonitoringSchedule": lambda: sagemaker.monitoring_schedule("s"),
    }


ROLE = "arn:aws:iam::000000000000:role/job"
VARIANT = {"VariantName": "AllTraffic", "ModelName": "m"}
JOB = {
    "AppSpecification": {"ImageUri": "image"},
    "RoleArn": ROLE,
    "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}},
}
