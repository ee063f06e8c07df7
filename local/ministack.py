"""All that is known here about MiniStack's inside: what it lacks is put in, its clock and its alarms are replaced.

Pinned to one version. Nothing else in this folder imports `ministack`.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import signal
import time as wall
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from local import ACCOUNT, REGION, alarms
from local.clock import Clock
from local.wire import Wire, model

if TYPE_CHECKING:
    from local.sagemaker import SageMaker
    from local.xray import XRay


SERVICES = (
    "s3,sqs,sns,dynamodb,lambda,iam,sts,logs,events,monitoring,states,cloudformation,kms,cloudtrail,scheduler,ssm,"
    "tagging,ecr"
)
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_trace_header: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace_header", default=None)


def prepare(port: int, state: Path, wait_scale: float) -> None:
    """The process's environment is what MiniStack reads when it is imported, and what its Lambda workers inherit."""
    os.environ.update(
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="localhost",
        SERVICES=SERVICES,
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        CLOUDTRAIL_RECORDING="1",
        CLOUDTRAIL_MAX_EVENTS="20000",
        PERSIST_STATE="1",
        STATE_DIR=str(state / "ministack"),
        S3_PERSIST="1",
        S3_DATA_DIR=str(state / "s3"),
        SFN_WAIT_SCALE=str(wait_scale),
        LAMBDA_EXECUTOR="local",
        LOG_LEVEL=os.environ.get("LOG_LEVEL", "WARNING"),
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        # Lambda functions and jobs import what was deployed, never this checkout.
        PYTHONSAFEPATH="1",
    )
    os.environ.pop("PYTHONPATH", None)
    os.environ.pop("AWS_PROFILE", None)


class Platform:
    """MiniStack with a settable clock, AWS's alarms, X-Ray, SageMaker and the CloudFormation types it lacks."""

    def __init__(self, clock: Clock, sagemaker: SageMaker, xray: XRay) -> None:
        self.clock, self.sagemaker, self.xray = clock, sagemaker, xray
        self.wires = {
            "sagemaker": Wire("sagemaker", sagemaker.handle),
            "xray": Wire("xray", xray.handle),
        }
        self._previous: dict[str, dict[str, Any]] = {}
        self._ready = False
        self._xray_paths = {
            model("xray").operation_model(name).http["requestUri"]: name
            for name in ("GetTraceSummaries", "BatchGetTraces", "PutTraceSegments")
        }
        self._use_clock()
        self._use_alarms()
        self._add_services()
        self._add_resource_types()
        self._follow_traces()
        clock.on_set(self.tick)

    # The clock ----------------------------------------------------------------------------------------------------

    def _use_clock(self) -> None:
        from ministack.services import cloudwatch, eventbridge, sqs, stepfunctions

        shown = SimpleNamespace(**{name: getattr(wall, name) for name in dir(wall) if not name.startswith("_")})
        shown.time = self.clock.time
        cloudwatch.time = shown
        eventbridge.time = shown
        sqs.time = shown  # EventBridge stamps the messages it sends to queues
        stepfunctions.now_iso = lambda: _iso(self.clock.now())

    def tick(self) -> None:
        """Schedules whose time has come have fired, and every alarm says what it should say now."""
        from ministack.services import cloudwatch, eventbridge

        _as_account()
        eventbridge._tick_scheduled_rules()
        cloudwatch._evaluate_all_alarms()

    # Alarms -------------------------------------------------------------------------------------------------------

    def _use_alarms(self) -> None:
        from ministack.services import cloudwatch, eventbridge

        notify = cloudwatch._dispatch_alarm_actions

        def evaluate(alarm: dict[str, Any]) -> None:
            key = (alarm["Namespace"], alarm["MetricName"], self._dimensions(alarm))
            now = self.clock.time()
            found = alarms.evaluate(alarm, cloudwatch._metrics.get(key, []), now)
            old = alarm["StateValue"]
            if found.state == old:
                self._previous.setdefault(alarm["AlarmArn"], _state(alarm, None))
                return
            self._previous.setdefault(alarm["AlarmArn"], _state(alarm, None))
            data = json.dumps(alarms.reason_data(alarm, found, now))
            alarm.update(
                StateValue=found.state, StateReason=found.reason, StateReasonData=data, StateUpdatedTimestamp=int(now)
            )
            cloudwatch._record_history(alarm["AlarmName"], old, found.state, found.reason, reason_data=data)
            cloudwatch._dispatch_alarm_actions(alarm, old, found.state, found.reason)
            cloudwatch._evaluate_parent_alarms(alarm)

        def dispatch(alarm: dict[str, Any], old: str, new: str, reason: str) -> None:
            notify(alarm, old, new, reason)
            if "MetricName" not in alarm:
                return
            current = _state(alarm, self.clock.time())
            previous = self._previous.get(alarm["AlarmArn"]) or {"value": old, "reason": ""}
            self._previous[alarm["AlarmArn"]] = current
            metric_id = str(uuid.uuid5(uuid.NAMESPACE_URL, alarm["AlarmArn"]))
            detail = alarms.state_change(alarm, previous, current, metric_id)
            self.put_event("aws.cloudwatch", "CloudWatch Alarm State Change", detail, [alarm["AlarmArn"]])

        cloudwatch._evaluate_alarm = evaluate
        cloudwatch._dispatch_alarm_actions = dispatch
        eventbridge._rule_last_fired.clear()

    @staticmethod
    def _dimensions(alarm: dict[str, Any]) -> str:
        from ministack.services import cloudwatch

        return str(cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or [])))

    def put_event(self, source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        """The event is on the default bus as an AWS service puts it there, and its rules' targets were invoked."""
        from ministack.services import eventbridge

        _as_account()
        entry = {
            "Source": source,
            "DetailType": detail_type,
            "Detail": json.dumps(detail, default=str),
            "Resources": resources,
        }
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    # Services and resource types that MiniStack lacks -----------------------------------------------------------------

    def _add_services(self) -> None:
        from ministack import app
        from ministack.core import router

        async def sagemaker(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            return await asyncio.to_thread(self.wires["sagemaker"].call_json, operation, body)

        async def xray(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
            operation = self._xray_paths.get(path, path.strip("/"))
            return await asyncio.to_thread(self.wires["xray"].call_json, operation, body)

        app.SERVICE_HANDLERS.update(sagemaker=sagemaker, xray=xray)
        router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker."], "host_patterns": []}
        router.SERVICE_PATTERNS["xray"] = {"host_patterns": []}

    def _add_resource_types(self) -> None:
        from ministack.services import cloudtrail
        from ministack.services.cloudformation import provisioners

        call = self.wires["sagemaker"].call

        def create_group(logical_id: str, props: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
            wanted = {name: props[name] for name in ("ModelPackageGroupDescription", "Tags") if props.get(name)}
            arn = call("CreateModelPackageGroup", {"ModelPackageGroupName": props["ModelPackageGroupName"], **wanted})[
                "ModelPackageGroupArn"
            ]
            # AWS refers to the group by its ARN.
            return arn, {"ModelPackageGroupArn": arn, "ModelPackageGroupStatus": "Completed"}

        def delete_group(physical_id: str, props: dict[str, Any], *_: Any) -> None:
            call("DeleteModelPackageGroup", {"ModelPackageGroupName": props["ModelPackageGroupName"]})

        def create_trail(logical_id: str, props: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
            name = props.get("TrailName") or f"{stack}-{logical_id}"
            status, _, body = cloudtrail._create_trail({**props, "Name": name})
            if status >= 300:
                raise ValueError(body.decode())
            if props.get("IsLogging"):
                cloudtrail._start_logging({"Name": name})
            return name, {"Arn": json.loads(body)["TrailARN"]}

        def delete_trail(physical_id: str, props: dict[str, Any], *_: Any) -> None:
            cloudtrail._delete_trail({"Name": physical_id})

        provisioners._RESOURCE_HANDLERS["AWS::SageMaker::ModelPackageGroup"] = {
            "create": create_group,
            "delete": delete_group,
        }
        provisioners._RESOURCE_HANDLERS["AWS::CloudTrail::Trail"] = {"create": create_trail, "delete": delete_trail}

    # One trace from the alarm to the endpoint -------------------------------------------------------------------------

    def _follow_traces(self) -> None:
        from ministack.services import lambda_svc, stepfunctions

        start, run = stepfunctions._start_execution, stepfunctions._run_execution
        headers: dict[str, str] = {}

        def start_execution(data: dict[str, Any]) -> Any:
            if data.get("traceHeader"):
                headers[str(data.get("name"))] = data["traceHeader"]
            return start(data)

        def run_execution(arn: str) -> None:
            name = arn.rpartition(":")[2]
            machine = arn.split(":")[-2]
            _trace_header.set(
                self.xray.open_segment(machine, "AWS::StepFunctions::StateMachine", headers.pop(name, None))
            )
            run(arn)

        def header_for(config: dict[str, Any], inbound: str | None = None) -> str | None:
            if (config.get("TracingConfig") or {}).get("Mode") != "Active":
                return inbound
            return self.xray.open_segment(
                config["FunctionName"], "AWS::Lambda::Function", inbound or _trace_header.get()
            )

        stepfunctions._start_execution = start_execution
        stepfunctions._run_execution = run_execution
        lambda_svc._xray_trace_id_for_invocation = header_for

    # HTTP -------------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI: our own paths first (an invocation should cost little), everything else is MiniStack's."""
        from ministack import app

        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith("/endpoints/") and path.endswith("/invocations"):
            await self._invoke_endpoint(scope, receive, send)
        elif scope["type"] == "http" and path.startswith("/_local/"):
            await self._local(scope, receive, send)
        else:
            await app.app(scope, receive, send)

    async def _invoke_endpoint(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        endpoint = scope["path"].split("/")[2]
        status, answer, content = await asyncio.to_thread(self.sagemaker.invoke_endpoint, endpoint, body, headers)
        await _answer(send, status, answer, content)

    async def _local(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        path, method = scope["path"], scope["method"]
        status, content = 200, {}
        if path == "/_local/clock" and method == "PUT":
            try:
                now = datetime.fromisoformat(json.loads(body)["now"])
                await asyncio.to_thread(self.clock.set, now)
            except (ValueError, KeyError, TypeError) as error:
                status, content = 400, {"error": f'PUT {{"now": "2013-03-01T05:00:00Z"}}: {error}'}
        if path == "/_local/clock" and status == 200:
            content = {"now": _iso(self.clock.now())}
        elif path == "/_local/ready":
            status, content = (200 if self._ready else 503), {"ready": self._ready}
        elif path == "/_local/violations":
            content = {"violations": [fault for wire in self.wires.values() for fault in wire.violations]}
        elif status == 200:
            status, content = 404, {"error": f"no {path}; there are /_local/clock, /_local/ready, /_local/violations"}
        await _answer(send, status, {"Content-Type": "application/json"}, json.dumps(content).encode())

    async def serve(self, port: int, ready: Callable[[], None]) -> None:
        """The embedded AWS answers on 127.0.0.1:`port` until the process is told to stop; then its state is on disk."""
        from hypercorn.asyncio import serve
        from hypercorn.config import Config
        from ministack.core import lambda_runtime

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        config.keep_alive_timeout = 75
        config.graceful_timeout = 2
        config.accesslog = None
        config.loglevel = os.environ["LOG_LEVEL"]
        beat = asyncio.create_task(self._beat(port, ready))

        async def told_to_stop() -> None:
            await stop.wait()
            beat.cancel()
            # While S3 still answers: the last captures are written, jobs and model servers end.
            await asyncio.to_thread(self.sagemaker.shutdown)

        try:
            await serve(self, config, shutdown_trigger=told_to_stop)  # type: ignore[arg-type]
        finally:
            lambda_runtime.reset()

    async def _beat(self, port: int, ready: Callable[[], None]) -> None:
        """Alarms are evaluated once a second, as time goes by; `ready` is called once the port answers."""
        from ministack.services import cloudwatch

        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(ready)
        self._ready = True
        while True:
            await asyncio.sleep(1)
            _as_account()
            await asyncio.to_thread(cloudwatch._evaluate_all_alarms)


def _as_account() -> None:
    from ministack.core.responses import set_request_account_id, set_request_region

    set_request_account_id(ACCOUNT)
    set_request_region(REGION)


def _state(alarm: dict[str, Any], now: float | None) -> dict[str, Any]:
    at = float(alarm["StateUpdatedTimestamp"]) if now is None else now
    state = {"value": alarm["StateValue"], "reason": alarm["StateReason"], "timestamp": alarms.timestamp(at)}
    if alarm.get("StateReasonData"):
        state["reasonData"] = alarm["StateReasonData"]
    return state


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Send, status: int, headers: dict[str, str], content: bytes) -> None:
    fields = {"Content-Length": str(len(content)), "x-amzn-requestid": str(uuid.uuid4()), **headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
