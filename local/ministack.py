"""All that is known here about MiniStack's inside: what it lacks is put in, its clock and its alarms are replaced.

Pinned to one version. Nothing else in this folder imports `ministack`, but for Step Functions in executions.py, the
account in scope.py and the evaluator in policies.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import json
import logging
import math
import os
import re
import shlex
import sys
import threading
import time as wall
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

from local import ACCOUNT, REGION, alarms, authorization, cloudformation, reference, searching
from local.authorization import Check, Record
from local.clock import Clock
from local.keeping import Keeper
from local.metering import Meter, embedded_metrics
from local.pinned import require_names
from local.scope import as_account, trace_header
from local.wire import ApiError, Wire, model
from local.xray import XRay

# The services that have a state, and what MiniStack calls its file.
FILES = {
    **{name: name for name in ("s3", "sqs", "sns", "dynamodb", "lambda", "iam", "cloudformation", "kms", "cloudtrail")},
    **{name: name for name in ("scheduler", "ssm", "ecr", "apigateway")},
    "logs": "cloudwatch_logs",
    "events": "eventbridge",
    "monitoring": "cloudwatch",
    "states": "stepfunctions",
}
SERVICES = ",".join([*FILES, "sts", "tagging"])
READS = re.compile(r"(Get|BatchGet|TransactGet|List|Describe|Head|Query|Scan|Lookup|Filter|Receive|Validate|Invoke)")
# What is told of requests is written soon after them, and so is what they set off in other services.
TOLD = {"logs", "monitoring", "cloudtrail"}
SOON = (
    "cloudwatch_logs",
    "cloudwatch",
    "cloudtrail",
    "eventbridge",
    "sqs",
    "sns",
    "sagemaker",
    "xray",
    "calls",
    "clock",
)
# What AWS's Python runtimes bring along; everything else a function has to be deployed with.
RUNTIME_LIBRARIES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
# What CloudTrail calls data events: it records them only for a trail that asks for them.
UNTRACED = {"xray"}
DATA_EVENTS = {
    *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem"),
    *("TransactGetItems", "TransactWriteItems", "Invoke", "PutEvents", "PutMetricData", "PutLogEvents", "Publish"),
    *("SendMessage", "ReceiveMessage", "DeleteMessage", "SendMessageBatch", "DeleteMessageBatch"),
}
_invocation: contextvars.ContextVar[str | None] = contextvars.ContextVar("invocation", default=None)
_target: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("target")
_rule: contextvars.ContextVar[str] = contextvars.ContextVar("rule", default="")
_denied: contextvars.ContextVar[Check | None] = contextvars.ContextVar("denied", default=None)
_request: contextvars.ContextVar[tuple[bytes, str]] = contextvars.ContextVar("request", default=(b"", ""))
_action: contextvars.ContextVar[str] = contextvars.ContextVar("action", default="")

_LONGEST = 900.0  # seconds that a function may run
# What MiniStack says of a worker process that is gone; AWS has a name for it.
_DIED = re.compile(r"Worker process (died|exited immediately)|Worker returned no response|Broken pipe|Connection reset")


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
        # AWS retries an asynchronous invocation after one minute, then after two.
        LAMBDA_ASYNC_RETRY_BASE_SECONDS=str(60 * wait_scale),
        LAMBDA_EXECUTOR="local",
        # Policies count: every function, job and endpoint acts under its role, whoever holds the key `test` as root.
        AUTH="true",
        LOG_LEVEL=os.environ.get("LOG_LEVEL", "WARNING"),
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - any secret is right
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        # Lambda functions and jobs import what was deployed, never this checkout.
        PYTHONSAFEPATH="1",
    )
    # The SAM translator warns of metrics that nobody asked for.
    logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)
    for name in ("PYTHONPATH", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        os.environ.pop(name, None)


class Platform:
    """MiniStack with a settable clock, AWS's alarms, X-Ray, SageMaker and the CloudFormation types it lacks.

    Make it after `prepare`. `decide` and everything that MiniStack's request handlers do happens in the event loop;
    alarms have no lock because of that.
    """

    def __init__(
        self,
        clock: Clock,
        wires: dict[str, Wire],
        xray: XRay,
        runtime: Path,
        kept: Mapping[str, Callable[[], None]],
    ) -> None:
        """`kept` writes what MiniStack knows nothing of, by part: `sagemaker`, and those that only `rest` writes."""
        from ministack import app

        from local.executions import StateMachines

        require_names()
        self.app = app.app
        self.clock, self.wires, self.xray = clock, wires, xray
        self.meter = Meter(clock.time)
        self.record = Record()
        self._previous: dict[str, dict[str, Any]] = {}
        self._ticking = threading.Lock()
        self._scheduled: dict[str, float] = {}  # rules whose function runs, and since when
        self.keeper = Keeper({**kept, **self._services()})
        self._use_clock()
        self._use_policies()
        self._use_schedules()
        self._use_alarms()
        self._use_lambda(runtime)
        self._use_async_invocations()
        self._use_http_apis()
        self.machines = StateMachines(clock, self.meter, xray, self.require, self._keep_executions)
        self._add_services()
        self._add_resource_types()
        self._use_cloudtrail()
        self._keep_what_is_forgotten()
        self._keep_what_changes()

    # The clock ----------------------------------------------------------------------------------------------------

    def _use_clock(self) -> None:
        from ministack.services import apigateway, cloudwatch, eventbridge, scheduler, stepfunctions

        clock = self.clock
        shown = SimpleNamespace(**{name: getattr(wall, name) for name in dir(wall) if not name.startswith("_")})
        shown.time = clock.time

        class Datetime(datetime):
            """datetime, but for `now`."""

            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return clock.now().astimezone(tz or UTC)

        apigateway.time = cloudwatch.time = scheduler.time = shown
        # Only the events' own time: what EventBridge puts into queues is stamped as SQS and Lambda stamp theirs.
        eventbridge._now_ts = clock.time
        stepfunctions.now_iso = lambda: _iso(clock.now())
        stepfunctions.datetime = Datetime

    # Policies -----------------------------------------------------------------------------------------------------

    def _use_policies(self) -> None:
        """Requests are authorized as AWS does: SageMaker's, too, with every condition key, and with the keys' use."""
        from ministack import app
        from ministack.core import iam_actions, iam_evaluator

        iam_actions.SERVICE_TO_IAM_NAMESPACE["sagemaker"] = "sagemaker"
        # This is plain HTTP on the loopback in place of TLS.
        iam_evaluator._request_origin = contextvars.ContextVar("origin", default=("127.0.0.1", True))
        app.pin_request_origin = lambda *_: None
        extract, enforce = iam_actions.extract_iam_action, iam_evaluator.enforce
        answer = iam_actions.access_denied_response

        def extract_action(*asked: Any) -> str | None:
            _, _, _, headers, body, _ = asked
            _request.set((body, headers.get("content-type", "")))
            found: str | None = extract(*asked)
            _action.set(found or "")
            return found

        def enforce_all(key: str, action: str, service: str, region: str, resource_arn: str = "*", **named: Any) -> Any:
            role = _role_of(key)
            if not role:  # the account's root, or somebody unknown
                return enforce(key, action, service, region, resource_arn=resource_arn, **named)
            for check in _checks(action, service, resource_arn, named.get("service_context") or {}):
                of = "kms" if check.action.startswith("kms:") else service
                context = dict(check.context)
                denied = enforce(key, check.action, of, region, resource_arn=check.resource, service_context=context)
                self.record.note(role, check, allowed=not denied)
                if denied:
                    _denied.set(check)
                    return denied
            return None

        def denied_response(service: str, action: str, principal: str, *rest: Any, **named: Any) -> Any:
            if (check := _denied.get()) and not named.get("resource_policy_arn"):
                _denied.set(None)
                action, named["resource_arn"] = check.action, check.resource
                named["message"] = iam_actions.identity_denial_message(
                    check.action, principal, check.resource, named.get("explicit_deny", False)
                )
            return answer(service, action, principal, *rest, **named)

        iam_actions.extract_iam_action = extract_action
        iam_actions.access_denied_response = denied_response
        iam_evaluator.enforce = enforce_all

    def require(self, role_arn: str, checks: list[Check]) -> None:
        """The role is allowed all of that; ApiError if not. For what a service does under a role by itself."""
        for check in checks:
            allowed = _allowed(role_arn, check)
            self.record.note(role_arn.rpartition("/")[2], check, allowed=allowed)
            if not allowed:
                who = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role_arn.rpartition('/')[2]}/SageMaker"
                raise ApiError(
                    "AccessDeniedException",
                    f"User: {who} is not authorized to perform: {check.action} on resource: {check.resource} because "
                    f"no identity-based policy allows the {check.action} action",
                    403,
                )

    def _use_schedules(self) -> None:
        from ministack.services import eventbridge

        fire = eventbridge._tick_scheduled_rules

        def tick() -> None:
            with self._ticking:
                now, last = self.clock.time(), eventbridge._rule_last_fired
                held = {}
                for key, rule in list(eventbridge._rules._data.items()):
                    # A rule counts from its creation; and if somebody set the clock back, from now.
                    last[key] = min(last.get(key, rule.get("CreationTime", now)), now)
                    # A clock that is set runs ahead of functions: one that is due every so often, and still at it, is
                    # due when it has ended. Otherwise as many of it would start at once as the clock was set.
                    busy = wall.monotonic() - self._scheduled.get(str(rule.get("Arn", "")), -math.inf) < _LONGEST
                    if busy and rule.get("ScheduleExpression", "").startswith("rate("):
                        held[key], last[key] = last[key], now
                fire()
                last.update(held)

        eventbridge._tick_scheduled_rules = tick

    def decide(self) -> None:
        """What services counted is in CloudWatch, schedules that were due have fired, alarms say what they should."""
        from ministack.services import cloudwatch, eventbridge

        as_account()
        self._publish_metrics()
        eventbridge._tick_scheduled_rules()
        cloudwatch._evaluate_all_alarms()

    # Metrics and alarms -------------------------------------------------------------------------------------------

    def _publish_metrics(self) -> None:
        from ministack.services import cloudwatch, sqs

        minute = int(self.clock.time() // 60) * 60
        for queue in sqs._queues.values():
            waiting = [message for message in queue["messages"] if message["visible_at"] <= wall.time()]
            self._sample("AWS/SQS", {"QueueName": queue["name"]}, minute, "ApproximateNumberOfMessagesVisible", waiting)
        for (namespace, name, dimensions, start), found in self.meter.take().items():
            bucket = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dict(dimensions))))
            if not bucket or bucket[-1]["Timestamp"] != start or "_stat" not in bucket[-1]:
                bucket.append({"Timestamp": start, "Unit": "None", "Dimensions": dict(dimensions), "_stat": {}})
            point, kept = bucket[-1], bucket[-1]["_stat"]
            kept["SampleCount"] = kept.get("SampleCount", 0.0) + found.count
            kept["Sum"] = kept.get("Sum", 0.0) + found.total
            kept["Minimum"] = min(kept.get("Minimum", found.low), found.low)
            kept["Maximum"] = max(kept.get("Maximum", found.high), found.high)
            point["Value"] = kept["Sum"] / kept["SampleCount"]

    def _sample(self, namespace: str, dimensions: dict[str, str], minute: int, name: str, found: list[Any]) -> None:
        """A gauge has one point a minute, the latest value; a queue that was never used has none, as on AWS."""
        from ministack.services import cloudwatch

        key = (namespace, name, cloudwatch._dims_key(dimensions))
        if not found and key not in cloudwatch._metrics:
            return
        bucket = cloudwatch._metric_bucket(key)
        if not bucket or bucket[-1]["Timestamp"] != minute:
            bucket.append({"Timestamp": minute, "Unit": "Count", "Dimensions": dimensions})
        bucket[-1]["Value"] = float(len(found))

    def _use_alarms(self) -> None:
        from ministack.services import cloudwatch

        notify = cloudwatch._dispatch_alarm_actions

        def points_of(metric: Mapping[str, Any]) -> list[dict[str, Any]]:
            names = cloudwatch._dims_key(cloudwatch._dims_from_list(metric.get("Dimensions") or []))
            found: list[dict[str, Any]] = cloudwatch._metrics.get(
                (metric["Namespace"], metric["MetricName"], names), []
            )
            return found

        def evaluate(alarm: dict[str, Any]) -> None:
            now, old = self.clock.time(), alarm["StateValue"]
            if "Metrics" in alarm:
                single, points = alarms.largest(alarm, points_of, now)
            elif alarm.get("Statistic") and alarm.get("MetricName"):
                single, points = alarm, points_of(alarm)
            else:
                return
            found = alarms.evaluate(single, points, now)
            self._previous.setdefault(alarm["AlarmArn"], _state(alarm, float(alarm["StateUpdatedTimestamp"])))
            if found.state == old:
                return
            data = json.dumps(alarms.reason_data(single, found, now))
            alarm.update(
                StateValue=found.state, StateReason=found.reason, StateReasonData=data, StateUpdatedTimestamp=int(now)
            )
            cloudwatch._record_history(alarm["AlarmName"], old, found.state, found.reason, reason_data=data)
            cloudwatch._dispatch_alarm_actions(alarm, old, found.state, found.reason)
            cloudwatch._evaluate_parent_alarms(alarm)

        def dispatch(alarm: dict[str, Any], old: str, new: str, reason: str) -> None:
            heard = {
                key: [arn for arn in alarm[key] if _may_publish(arn, alarm["AlarmArn"])]
                for key in ("AlarmActions", "OKActions", "InsufficientDataActions")
                if alarm.get(key)
            }
            notify({**alarm, **heard}, old, new, reason)
            if not {"MetricName", "Metrics", "AlarmRule"} & alarm.keys():
                return
            arn = alarm["AlarmArn"]
            current = _state(alarm, self.clock.time())
            previous = self._previous.get(arn) or {"value": old, "reason": "", "timestamp": current["timestamp"]}
            self._previous[arn] = current
            metric_id = str(uuid.uuid5(uuid.NAMESPACE_URL, arn))
            detail = alarms.state_change(alarm, previous, current, metric_id)
            self.put_event("aws.cloudwatch", "CloudWatch Alarm State Change", detail, [arn])

        cloudwatch._evaluate_alarm = evaluate
        cloudwatch._dispatch_alarm_actions = dispatch
        get_metric_data = cloudwatch._get_metric_data

        def get_data(params: Any, data: Any, is_cbor: bool, is_json: bool = False) -> Any:
            if is_cbor or is_json:
                series = [(key, points[-1]) for key, points in list(cloudwatch._metrics.items()) if points]
                known = [(space, name, point.get("Dimensions") or {}) for (space, name, _), point in series]
                data = {**data, "MetricDataQueries": [*searching.expanded(data["MetricDataQueries"], known)]}
            return get_metric_data(params, data, is_cbor, is_json)

        cloudwatch._get_metric_data = get_data

    def put_event(self, source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        """The event is on the default bus as an AWS service puts it there, and its rules' targets were invoked."""
        from ministack.services import eventbridge

        as_account()
        entry = {
            "Source": source,
            "DetailType": detail_type,
            "Detail": json.dumps(detail, default=str),
            "Resources": resources,
        }
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    # Lambda ---------------------------------------------------------------------------------------------------------

    def _use_lambda(self, runtime: Path) -> None:
        """Functions see the runtime's libraries and their own; their exceptions keep their class; EMF is counted."""
        from ministack.core import lambda_runtime
        from ministack.services import lambda_svc

        python = _runtime(runtime)
        # An exception's class is the error that Step Functions sees; and a function that raised stays warm.
        script = _replaced(
            lambda_runtime._PYTHON_WORKER_SCRIPT,
            '{"status": "error", "error": str(e), "trace": traceback.format_exc()}',
            '{"status": "ok", "result": {"__raised__": {"errorMessage": str(e), "errorType": type(e).__name__, '
            '"requestId": context.aws_request_id, "stackTrace": traceback.format_tb(e.__traceback__)}}}',
        )
        detect = lambda_runtime._detect_runtime_binary
        lambda_runtime._detect_runtime_binary = lambda name: (
            (str(python), script) if name.startswith("python") else detect(name)
        )
        execute, emit = lambda_svc._execute_function_warm, lambda_svc._emit_lambda_logs

        def execute_warm(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
            _invocation.set(None)
            began = wall.perf_counter()
            result: dict[str, Any] = execute(func, event, request_id)
            self._scheduled.pop(_rule.get(), None)
            took = (wall.perf_counter() - began) * 1000
            body = result.get("body")
            if isinstance(body, dict) and set(body) == {"__raised__"}:
                raised = body["__raised__"]
                said = f"[ERROR] {raised['errorType']}: {raised['errorMessage']}\n{''.join(raised['stackTrace'])}"
                log = f"{result.get('log') or ''}\n{said}".strip()
                result = {"body": raised, "error": True, "function_error": "Unhandled", "log": log}
            elif result.get("error") and _DIED.search(str((body or {}).get("errorMessage", ""))):
                said = f"RequestId: {request_id} Error: Runtime exited with error: signal: killed"
                result = {**result, "body": {"errorMessage": said, "errorType": "Runtime.ExitError"}}
            failed = bool(result.get("error"))
            name = (func.get("config") or func).get("FunctionName", "")
            counted = {"Invocations": 1.0, "Errors": float(failed), "Throttles": 0.0, "Duration": took}
            self.meter.add("AWS/Lambda", {"FunctionName": name}, counted)
            if header := _invocation.get():
                self.xray.close_segment(header, fault=failed)
            return result

        def header_for(config: dict[str, Any], inbound: str | None = None) -> str | None:
            header = inbound or trace_header.get()
            if (config.get("TracingConfig") or {}).get("Mode") == "Active":
                header = self.xray.open_segment(config["FunctionName"], "AWS::Lambda::Function", header)
                _invocation.set(header)
            return header

        def emit_logs(func: dict[str, Any], request_id: str, text: str, *rest: Any, **named: Any) -> None:
            for namespace, dimensions, samples in embedded_metrics(text):
                self.meter.add(namespace, dimensions, samples)
            emit(func, request_id, text, *rest, **named)

        lambda_svc._execute_function_warm = execute_warm
        lambda_svc._xray_trace_id_for_invocation = header_for
        lambda_svc._emit_lambda_logs = emit_logs
        # It counts what the API was asked for only, and would count that twice.
        lambda_svc._emit_lambda_metrics = lambda *_args, **_named: None

    def _use_async_invocations(self) -> None:
        """EventBridge invokes functions as AWS does: retries and destinations, and a dead letter if there is none."""
        from ministack.services import eventbridge, lambda_svc

        invoke = eventbridge._invoke_target

        def invoke_target(target: dict[str, Any], event: Any, rule: Any, view: Any = None) -> None:
            tokens = _target.set(target), _rule.set(str((rule or {}).get("Arn", "")))
            try:
                invoke(target, event, rule, view)
            finally:
                _target.reset(tokens[0])
                _rule.reset(tokens[1])

        def dispatch(arn: str, payload: str) -> None:
            func, config, _ = lambda_svc._get_func_record_for_ref(arn)
            if func and config and _service_may("events", "lambda:InvokeFunction", "lambda", arn, _rule.get()):
                self._scheduled[_rule.get()] = wall.monotonic()
                record = lambda_svc._execution_record_for_config(func, config)
                for setting in ("event_invoke_config", "event_invoke_configs"):
                    if setting in func:
                        record.setdefault(setting, func[setting])
                lambda_svc.invoke_async_with_retry(record, json.loads(payload))
                return
            letters = (_target.get({}).get("DeadLetterConfig") or {}).get("Arn")
            if letters and _service_may("events", "sqs:SendMessage", "sqs", letters, _rule.get()):
                eventbridge._dispatch_to_sqs(eventbridge.parse_arn(letters), payload, {})

        eventbridge._invoke_target = invoke_target
        eventbridge._dispatch_to_lambda = dispatch

    def _use_http_apis(self) -> None:
        """API Gateway invokes a function whose own policy lets that API, and says no more than AWS's does if not."""
        from ministack.services import apigateway

        invoke = apigateway._invoke_lambda_proxy

        async def invoke_proxy(
            integration: dict[str, Any], api: str, stage: str, path: str, method: str, *rest: Any, **named: Any
        ) -> Any:
            function = integration["integrationUri"]
            route = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api}/{stage}/{method}{path}"
            if not _service_may("apigateway", "lambda:InvokeFunction", "lambda", function, route):
                content = {"Content-Type": "application/json"}
                return 500, content, json.dumps({"message": "Internal Server Error"}).encode()
            return await invoke(integration, api, stage, path, method, *rest, **named)

        apigateway._invoke_lambda_proxy = invoke_proxy

    # Services and resource types that MiniStack lacks -----------------------------------------------------------------

    def _add_services(self) -> None:
        from ministack import app
        from ministack.core import router

        paths = {model("xray").operation_model(name).http["requestUri"]: name for name in model("xray").operation_names}

        async def sagemaker(_method: str, _path: str, headers: dict[str, str], body: bytes, _query: Any) -> Any:
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            for role in authorization.roles_in(json.loads(body or b"{}")):
                if not assumable(role, "sagemaker.amazonaws.com"):
                    return _no_such_role(role)
            answer = await asyncio.to_thread(self.wires["sagemaker"].call_json, operation, body)
            if not READS.match(operation):
                await asyncio.to_thread(self.keeper.now, "sagemaker")
            return answer

        async def xray(_method: str, path: str, _headers: dict[str, str], body: bytes, _query: Any) -> Any:
            return await asyncio.to_thread(self.wires["xray"].call_json, paths.get(path, path.strip("/")), body)

        app.SERVICE_HANDLERS.update(sagemaker=sagemaker, xray=xray)
        router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker."], "host_patterns": []}
        router.SERVICE_PATTERNS["xray"] = {"host_patterns": []}

    def _add_resource_types(self) -> None:
        from ministack.services import cloudtrail
        from ministack.services.cloudformation import provisioners

        def call_cloudtrail(operation: str, params: dict[str, Any]) -> dict[str, Any]:
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
            status, _, body = getattr(cloudtrail, f"_{name}")(params)
            if status >= 300:
                raise ValueError(body.decode())
            answer: dict[str, Any] = json.loads(body or b"{}")
            return answer

        provisioners._RESOURCE_HANDLERS["AWS::SageMaker::ModelPackageGroup"] = cloudformation.model_package_group(
            self.wires["sagemaker"].call
        )
        provisioners._RESOURCE_HANDLERS["AWS::CloudTrail::Trail"] = cloudformation.trail(call_cloudtrail)
        record = provisioners._cw_metric_alarm_record

        def with_metric_math(name: str, props: dict[str, Any]) -> dict[str, Any]:
            if not props.get("Metrics"):
                return record(name, props)  # type: ignore[no-any-return]
            queries = alarms.metric_math(props["Metrics"])
            single = {"Namespace", "MetricName", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit"}
            made = record(name, {**props, "Metrics": None, "Namespace": "math", "MetricName": "math"})
            return {key: value for key, value in made.items() if key not in single} | {"Metrics": queries}

        provisioners._cw_metric_alarm_record = with_metric_math

    def _use_cloudtrail(self) -> None:
        """CloudTrail names every call by its operation and its role's session, and records management events only."""
        from ministack import app
        from ministack.services import cloudtrail, sts

        note = cloudtrail.record_event

        def record_event(**named: Any) -> None:
            note(**named)
            session = sts._sessions.get(named["access_key_id"]) or {}
            role, _, who = str(session.get("Arn", "")).partition(":assumed-role/")[2].partition("/")
            if not role:
                return
            event = cloudtrail._get_event_queue()[-1]
            told = json.loads(event["CloudTrailEvent"])
            issuer = {"type": "Role", "arn": f"arn:aws:iam::{ACCOUNT}:role/{role}", "userName": role}
            told["userIdentity"] = {
                "type": "AssumedRole",
                "arn": session["Arn"],
                "accountId": ACCOUNT,
                "accessKeyId": named["access_key_id"],
                "sessionContext": {"sessionIssuer": {**issuer, "accountId": ACCOUNT}},
            }
            event.update(Username=who, CloudTrailEvent=json.dumps(told))

        cloudtrail.record_event = record_event
        record, name_of = app._maybe_record_cloudtrail, app._ct_event_name

        def record_call(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> None:
            if service in UNTRACED or (service == "s3" and path.strip("/").count("/") > 0):
                return
            if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
                query, *others = rest
                rest = ({**query, **parse_qs(body.decode(errors="replace"))}, *others)
            if event_name(service, method, path, headers, rest[0]) not in DATA_EVENTS:
                record(service, method, path, headers, body, *rest)

        def event_name(
            service: str, method: str, path: str, headers: dict[str, str], query: dict[str, list[str]]
        ) -> str:
            _, found, operation = path.rpartition("/operation/")
            return operation if found else str(name_of(service, method, path, headers, query))

        app._maybe_record_cloudtrail = record_call
        app._ct_event_name = event_name

    def _keep_what_is_forgotten(self) -> None:
        """CloudTrail's events and the schedules' last firings outlive the process, too."""
        from ministack.services import cloudtrail, eventbridge

        trails, restore_trails = cloudtrail.get_state, cloudtrail.load_persisted_state
        rules, restore_rules = eventbridge.get_state, eventbridge.load_persisted_state

        def trail_state() -> dict[str, Any]:
            kept = copy.copy(cloudtrail._events)
            kept._data = {key: list(events) for key, events in list(cloudtrail._events._data.items())}
            return {**trails(), "events": kept}

        def load_trails(data: dict[str, Any]) -> None:
            restore_trails(data)
            for key, events in getattr(data.get("events"), "_data", {}).items():
                cloudtrail._events._data[key] = deque(events, maxlen=cloudtrail._MAX_EVENTS)

        def rule_state() -> dict[str, Any]:
            return {**rules(), "last_fired": [[*key, at] for key, at in eventbridge._rule_last_fired.items()]}

        def load_rules(data: dict[str, Any]) -> None:
            restore_rules(data)
            eventbridge._rule_last_fired.update({tuple(key): at for *key, at in data.get("last_fired", [])})

        cloudtrail.get_state, cloudtrail.load_persisted_state = trail_state, load_trails
        eventbridge.get_state, eventbridge.load_persisted_state = rule_state, load_rules

    def _services(self) -> dict[str, Callable[[], None]]:
        """How each service's state is written, by the name of its file."""
        from ministack import app
        from ministack.core import persistence

        def writing(file: str, module: str) -> Callable[[], None]:
            return lambda: persistence.save_state(file, app._get_module(module).get_state())

        return {file: writing(file, app._state_map[file]) for file in FILES.values()}

    def _keep_what_changes(self) -> None:
        """What a request has changed is on disk before it is answered; what comes of it elsewhere, soon after."""
        from ministack import app

        def keeping(service: str) -> Callable[..., Any]:
            handle = app.SERVICE_HANDLERS[service]

            async def handler(*asked: Any) -> Any:
                answer = await handle(*asked)
                action = _action.get().partition(":")[2]
                self.keeper.changed(*SOON)
                if service == "cloudformation" and b"_IN_PROGRESS" not in answer[2]:
                    self.keeper.changed(*FILES.values())  # a stack has made or changed what it likes
                # Objects are files of their own.
                elif not (READS.match(action) or service in TOLD or (service == "s3" and "Object" in action)):
                    self.keeper.now(FILES[service])
                return answer

            return handler

        app.SERVICE_HANDLERS.update({service: keeping(service) for service in FILES})

    def _keep_executions(self) -> None:
        self.keeper.now("stepfunctions")
        self.keeper.changed(*SOON)


def _no_such_role(role: str) -> tuple[int, dict[str, str], bytes]:
    said = (
        f"Could not assume role {role}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role."
    )
    body = json.dumps({"__type": "ValidationException", "message": said}).encode()
    return 400, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": "ValidationException"}, body


def _may_publish(target: str, alarm: str) -> bool:
    return not target.startswith("arn:aws:sns:") or _service_may("cloudwatch", "sns:Publish", "sns", target, alarm)


def _role_of(access_key: str) -> str:
    """The name of the role whose session the key belongs to; "" if it is no role's."""
    from ministack.services import sts

    arn = str((sts._sessions.get(access_key) or {}).get("Arn", ""))
    return arn.split("/")[1] if ":assumed-role/" in arn else ""


def _checks(action: str, service: str, resource: str, context: dict[str, Any]) -> list[Check]:
    body, content_type = _request.get()
    if service == "sagemaker":
        return authorization.of_sagemaker(action.partition(":")[2], json.loads(body or b"{}"))
    if reference.known(action) and reference.granted_on_everything_only(action):
        resource = "*"
    own = [Check(action, resource, {**context, **more}) for more in authorization.contexts(action, body, content_type)]
    return own + authorization.key_uses(action, _key_of(service, resource))


def _key_of(service: str, resource: str) -> str | None:
    """The ARN of the customer's key that the resource is encrypted with."""
    from ministack.services import dynamodb, kms, s3, sns, sqs

    found: Any = None
    if service == "s3":
        said = s3._bucket_encryption.get(resource.rpartition(":")[2].split("/")[0], "")
        found = (re.findall(r"<KMSMasterKeyID>(.*?)</KMSMasterKeyID>", said) or [None])[0]
    elif service == "sns":
        found = (sns._topic_by_arn_any_scope(resource) or {}).get("attributes", {}).get("KmsMasterKeyId")
    elif service == "sqs":
        found = (sqs._queue_by_arn(resource) or {}).get("attributes", {}).get("KmsMasterKeyId")
    elif service == "dynamodb":
        table = dynamodb._tables.get(resource.rpartition("/")[2]) or {}
        found = (table.get("SSEDescription") or {}).get("KMSMasterKeyArn")
    key = kms._resolve_key(found) if found else None
    return str(key["Arn"]) if key else None


def _allowed(role_arn: str, check: Check) -> bool:
    """Whether the role's policies allow that, and its boundary and the resource's own policy do, too."""
    from ministack.core import iam_evaluator as iam

    key = session(role_arn, "Service")["AWS_ACCESS_KEY_ID"]
    principal = iam.resolve_principal(key, ACCOUNT)
    asked = iam.EvalContext(
        principal_arn=principal.arn,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=check.action,
        resource_arn=check.resource,
        region=REGION,
        service_context={name.lower(): value for name, value in check.context.items()},
        principal_keys=principal.keys,
    )
    return bool(iam.evaluate(asked, principal.policies or [], *principal.limits).decision == "Allow")


def session(role_arn: str, name: str) -> dict[str, str]:
    """The environment of a process that acts under the role."""
    from ministack.core import lambda_runtime

    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    made: dict[str, str] = lambda_runtime.execution_credentials(
        {"FunctionArn": function, "FunctionName": name, "Role": role_arn}
    )
    return made


def assumable(role_arn: str, service: str) -> bool:
    """Whether there is such a role, and the service may assume it for this account."""
    from ministack.core import iam_evaluator as iam
    from ministack.services import iam as roles

    role = roles._roles.get_scoped(ACCOUNT, None, role_arn.rpartition("/")[2])
    if role is None:
        return False
    asked = iam.EvalContext(
        principal_arn=f"arn:aws:iam::{ACCOUNT}:root",
        principal_type="Service",
        principal_account=ACCOUNT,
        action="sts:AssumeRole",
        resource_arn=role_arn,
        region=REGION,
        service_context={"aws:sourceaccount": ACCOUNT},
    )
    return bool(
        iam.evaluate_resource_policy(
            {"Statement": [{**item, "Resource": "*"} for item in _statements(role["AssumeRolePolicyDocument"])]},
            asked,
            service=service,
        ).decision
        == "Allow"
    )


def _service_may(caller: str, action: str, service: str, resource: str, source: str) -> bool:
    """Whether the resource's own policy, and that of its key, let the AWS service do that on behalf of `source`."""
    from ministack.core import iam_evaluator as iam

    for check in (Check(action, resource), *authorization.key_uses(action, _key_of(service, resource))):
        found = iam._resource_policy("kms" if check.action.startswith("kms:") else service, check.resource)
        asked = iam.EvalContext(
            principal_arn="*",
            principal_type="Service",
            principal_account="",
            action=check.action,
            resource_arn=check.resource,
            region=REGION,
            service_context={"aws:sourcearn": source, "aws:sourceaccount": ACCOUNT, "aws:sourceowner": ACCOUNT},
        )
        policy = found[0] if found else None
        if iam.evaluate_resource_policy(policy, asked, service=f"{caller}.amazonaws.com").decision != "Allow":
            logging.getLogger("local").error("%s may not %s on %s for %s", caller, check.action, resource, source)
            return False
    return True


def _statements(document: Any) -> list[dict[str, Any]]:
    read = json.loads(document) if isinstance(document, str) else document
    statements = read["Statement"]
    return statements if isinstance(statements, list) else [statements]


def end_workers() -> None:
    """No Lambda worker process is left."""
    from ministack.core import lambda_runtime

    lambda_runtime.reset()


def _runtime(folder: Path) -> Path:
    """A Python that has what AWS's runtime has: the standard library and AWS's SDK."""
    libraries = folder / "libraries"
    libraries.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME_LIBRARIES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        origin = origin.parent if origin.name == "__init__.py" else origin
        link = libraries / origin.name
        link.unlink(missing_ok=True)
        link.symlink_to(origin)
    python = folder / "python"
    paths = shlex.quote(str(libraries))
    python.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {shlex.quote(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    return python


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise RuntimeError(f"this is not the MiniStack that local/ministack.py was written for: {old!r}")
    return text.replace(old, new)


def _state(alarm: dict[str, Any], at: float) -> dict[str, Any]:
    state = {"value": alarm["StateValue"], "reason": alarm["StateReason"], "timestamp": alarms.timestamp(at)}
    if alarm.get("StateReasonData"):
        state["reasonData"] = alarm["StateReasonData"]
    return state


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
