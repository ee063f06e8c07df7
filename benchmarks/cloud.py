"""AWS in one process's memory, in event time: the deployed handlers, state machine and pipeline; nothing waits.

The handlers, their adapters and boto3's clients are the real ones; below them, where a request would leave, it is
answered from here: S3, CloudWatch, SNS, SQS, EventBridge, Step Functions and SageMaker from dictionaries, DynamoDB by
moto, which knows its condition expressions. Parameters, environment variables and alarms are read from template.yaml;
the state machine and the pipeline's definition are carried out as they are written, jobs by calling their `main`.
What is not here: IAM, throttling, retries, the time that anything takes.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import tarfile
import zlib
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse

from botocore.handlers import BUILTIN_HANDLERS
from jsonata import Jsonata
from moto import mock_aws

from local import ACCOUNT, REGION, alarms
from local.template import EVERYTHING, STACK, arn, resolved, source, translated
from retrain.aws import calls
from retrain.core import clock, telemetry
from retrain.deployed import adapters, settings
from retrain.pipeline.publishing import publish_pipeline

ROOT = Path(__file__).resolve().parent.parent
NOT_PLAYED = ("report_writer",)  # draws pages, which nothing in the loop reads
_EXPRESSION = re.compile(r"^\{%(.*)%\}$", re.DOTALL)


class UnansweredError(Exception):
    """A request that this AWS does not know."""


class MissingError(Exception):
    """What was asked for is not there; the message is the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# The template --------------------------------------------------------------------------------------------------------


class Template:
    """template.yaml as it is deployed with its default parameters, but for those that are given."""

    def __init__(self, **given: str) -> None:
        self.parameters = {name: str(one.get("Default", "")) for name, one in source()["Parameters"].items()}
        unknown = set(given) - set(self.parameters)
        if unknown:
            raise SystemExit(f"template.yaml has no parameter {', '.join(sorted(unknown))}")
        # It has no default, for it differs from region to region.
        self.parameters |= {"XGBoostImageUri": EVERYTHING["XGBoostImageUri"], **given}
        self.resources = resolved(_translated(), **self.parameters)

    def environment(self) -> dict[str, str]:
        """What the functions have in their environments, all of them together."""
        variables = (one.get("Environment", {}).get("Variables", {}) for _, one in self._of("AWS::Lambda::Function"))
        return {name: str(value) for each in variables for name, value in each.items()}

    def alarms(self) -> dict[str, dict[str, Any]]:
        """The alarms on one metric that there are, by ARN, as CloudWatch describes them."""
        found = {}
        for name, alarm in self._of("AWS::CloudWatch::Alarm"):
            known = {"AlarmName": f"{STACK}-{name}", "StateValue": "INSUFFICIENT_DATA", "StateReason": ""}
            if "MetricName" in alarm:
                found[arn("AWS::CloudWatch::Alarm", name)] = {**alarm, **known, "Period": int(alarm["Period"])}
        return found

    def rules(self) -> list[tuple[str, dict[str, Any]]]:
        """The event patterns on which functions are invoked: the handler's name and the pattern."""
        return [
            (_handler(target["Arn"].rpartition(f":{STACK}-")[2]), rule["EventPattern"])
            for _, rule in self._of("AWS::Events::Rule")
            if "EventPattern" in rule
            for target in rule["Targets"]
        ]

    def _of(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, resource in self.resources.items():
            if resource["Type"] == kind:
                yield name, resource["Properties"]


@cache
def _translated() -> dict[str, Any]:
    return translated(source())


# Services ------------------------------------------------------------------------------------------------------------


class Cloud:
    """The stack, deployed into memory; a context manager, inside which boto3 speaks to it."""

    def __init__(self, **parameters: str) -> None:
        self.template = Template(**parameters)
        self.alarms = self.template.alarms()
        self.now = clock.parse("2026-01-01T00:00:00Z")
        self.told: Counter[str] = Counter()  # mails by subject, with what differs cut out
        self.executions: list[Execution] = []
        self.sagemaker = _SageMaker(self)
        self.rules = [(function, pattern) for function, pattern in self.template.rules() if function not in NOT_PLAYED]
        self._bus: list[dict[str, Any]] = []
        self._objects: dict[str, bytes] = {}
        self._keys: list[str] = []
        self._points: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[dict[str, Any]]] = defaultdict(list)

    def __enter__(self) -> Cloud:
        self._outside = dict(os.environ)
        _forget()
        os.environ.update(
            self.template.environment(),
            AWS_ACCESS_KEY_ID="simulated",
            AWS_SECRET_ACCESS_KEY="simulated",  # noqa: S106
            AWS_DEFAULT_REGION=REGION,
            AWS_REGION=REGION,
            # What the template gets from resources that are not here.
            CODE_URI="s3://unpublished",
            REJECTED_EVENTS_URL=f"https://sqs/{ACCOUNT}/rejected",
        )
        # Logs, traces and metrics of the handlers about themselves go nowhere.
        os.environ.update(POWERTOOLS_TRACE_DISABLED="true", POWERTOOLS_METRICS_DISABLED="true")
        self._level = telemetry.logger.log_level
        telemetry.logger.setLevel("CRITICAL")
        self._hooks: list[tuple[str, Callable[..., Any]]] = [
            ("before-parameter-build.*.*", _keep_parameters),
            ("before-call.*.*", self._hear),
        ]
        BUILTIN_HANDLERS.extend(self._hooks)
        self._moto = mock_aws()
        self._moto.start()
        self._make_ledger()
        published = publish_pipeline("simulated", settings.publishing(), adapters.store(), adapters.sagemaker())
        os.environ["CODE_URI"] = published["CodeUri"]
        return self

    def __exit__(self, *_: object) -> None:
        telemetry.logger.setLevel(self._level)
        self._moto.stop()
        for hook in self._hooks:
            BUILTIN_HANDLERS.remove(hook)
        os.environ.clear()
        os.environ.update(self._outside)
        _forget()

    @property
    def bucket(self) -> str:
        """The stack's bucket."""
        return os.environ["BUCKET"]

    def put(self, key: str, body: bytes) -> None:
        """An object of the stack's bucket."""
        self.put_object(f"{self.bucket}/{key}", body)

    def put_object(self, path: str, body: bytes) -> None:
        """An object, by bucket and key."""
        if path not in self._objects:
            insort(self._keys, path)
        self._objects[path] = body

    def get(self, uri: str) -> bytes:
        """The object of an s3 URI."""
        return self._objects[_path(uri)]

    def below(self, uri: str) -> Iterator[tuple[str, bytes]]:
        """The objects whose URI begins so: the rest of their key, and their content."""
        prefix = _path(uri)
        for path in self._listed(prefix):
            yield path.removeprefix(prefix).lstrip("/"), self._objects[path]

    def call(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """What the handler of that name answers."""
        handler = importlib.import_module(f"handlers.{function}").handler
        context = SimpleNamespace(
            function_name=function, memory_limit_in_mb=256, invoked_function_arn=function, aws_request_id="simulated"
        )
        with contextlib.redirect_stdout(io.StringIO()):
            return dict(handler(dict(event), context))

    def watch_alarms(self) -> list[tuple[str, str, dict[str, Any] | None]]:
        """Every alarm is evaluated: name, new state and the answer of who hears of it, for those that changed."""
        opening = {*os.environ["ALARM_ARNS"].split(","), *os.environ["QUALITY_ALARM_ARNS"].split(",")}
        changed = []
        for named, alarm in self.alarms.items():
            key = alarm["Namespace"], alarm["MetricName"], _dimensions(alarm.get("Dimensions", []))
            found = alarms.evaluate(alarm, self._points[key][-2_000:], self.now.timestamp())
            if found.state == alarm["StateValue"]:
                continue
            current = {"value": found.state, "reason": found.reason, "timestamp": clock.render(self.now)}
            detail = alarms.state_change(alarm, {"value": alarm["StateValue"]}, current, "m1")
            alarm |= {"StateValue": found.state, "StateReason": found.reason}
            event = {
                "version": "0",
                "source": "aws.cloudwatch",
                "detail-type": "CloudWatch Alarm State Change",
                "account": ACCOUNT,
                "region": REGION,
                "time": clock.render(self.now),
                "resources": [named],
                "detail": detail,
            }
            answer = self.call("alarm_handler", event) if named in opening else None
            if alarm.get({"ALARM": "AlarmActions", "OK": "OKActions"}.get(found.state, "")):
                self.told[f"{alarm['AlarmName'].removeprefix(f'{STACK}-')} {found.state}"] += 1
            changed.append((alarm["AlarmName"].removeprefix(f"{STACK}-"), found.state, answer))
        return changed

    def deliver(self) -> list[tuple[str, dict[str, Any]]]:
        """What was put on the bus reaches the functions whose rules in template.yaml match: detail type and answer."""
        events, self._bus = self._bus, []
        return [
            (event["detail-type"], self.call(function, event))
            for event in events
            for function, pattern in self.rules
            if _matches(pattern, event)
        ]

    def run_executions(self) -> list[Execution]:
        """Every execution of the state machine goes on as far as it can by now; those that ended."""
        running = [one for one in self.executions if one.running]
        for one in running:
            one.go_on(self.now)
        return [one for one in running if not one.running]

    # What boto3 is answered

    def _hear(self, model: Any, context: Mapping[str, Any], **_: Any) -> tuple[Any, dict[str, Any]] | None:
        service, operation = model.service_model.service_name, model.name
        if service == "dynamodb":
            return None
        parameters = context["simulated"]
        answer: Any = self.sagemaker if service == "sagemaker" else self
        name = operation if service == "sagemaker" else f"{service}_{operation}"
        method = getattr(answer, f"_{name}", None)
        if method is None:
            raise UnansweredError(f"{service}:{operation}")
        try:
            return SimpleNamespace(status_code=200), {**(method(parameters) or {}), "ResponseMetadata": {}}
        except MissingError as error:
            said = {"Error": {"Code": error.code, "Message": str(error)}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            return SimpleNamespace(status_code=400), said

    def _s3_PutObject(self, asked: Mapping[str, Any]) -> None:  # noqa: N802
        body = asked["Body"]
        self.put_object(f"{asked['Bucket']}/{asked['Key']}", body if isinstance(body, bytes) else body.read())

    def _s3_GetObject(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        path = f"{asked['Bucket']}/{asked['Key']}"
        if path not in self._objects:
            raise MissingError("NoSuchKey", path)
        return {"Body": _Body(self._objects[path])}

    def _s3_ListObjectsV2(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        cut = len(asked["Bucket"]) + 1
        found = self._listed(f"{asked['Bucket']}/{asked['Prefix']}", f"{asked['Bucket']}/{asked.get('StartAfter', '')}")
        return {"Contents": [_listed(path[cut:], self._objects[path]) for path in found], "IsTruncated": False}

    def _listed(self, prefix: str, after: str = "") -> Iterator[str]:
        begin = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        for place in range(begin, len(self._keys)):
            if not self._keys[place].startswith(prefix):
                return
            yield self._keys[place]

    def _cloudwatch_PutMetricData(self, asked: Mapping[str, Any]) -> None:  # noqa: N802
        for metric in asked["MetricData"]:
            key = asked["Namespace"], metric["MetricName"], _dimensions(metric.get("Dimensions", []))
            point = {"Timestamp": metric["Timestamp"].timestamp()}
            if "StatisticValues" in metric:
                self._points[key].append({**point, "_stat": metric["StatisticValues"]})
            else:
                self._points[key].append({**point, "Value": metric["Value"], "Count": 1.0})

    def _cloudwatch_DescribeAlarms(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"MetricAlarms": [one for one in self.alarms.values() if one["AlarmName"] in asked["AlarmNames"]]}

    def _sns_Publish(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.told[re.sub(r"[0-9a-f-]{6,}", "…", asked.get("Subject", ""))] += 1
        return {"MessageId": "simulated"}

    def _sqs_SendMessage(self, _: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.told["rejected event"] += 1
        return {"MessageId": "simulated"}

    def _events_PutEvents(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._bus += [
            {
                "version": "0",
                "source": entry["Source"],
                "detail-type": entry["DetailType"],
                "account": ACCOUNT,
                "region": REGION,
                "time": clock.render(self.now),
                "resources": [],
                "detail": json.loads(entry["Detail"]),
            }
            for entry in asked["Entries"]
        ]
        return {"FailedEntryCount": 0, "Entries": [{} for _ in asked["Entries"]]}

    def _stepfunctions_StartExecution(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        arn = f"{asked['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{asked['name']}"
        if all(one.arn != arn for one in self.executions):
            self.executions.append(Execution(self, arn, json.loads(asked["input"])))
        return {"executionArn": arn, "startDate": self.now}

    def _stepfunctions_DescribeExecution(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = next((one for one in self.executions if one.arn == asked["executionArn"]), None)
        if found is None:
            raise MissingError("ExecutionDoesNotExist", asked["executionArn"])
        return {"status": "RUNNING" if found.running else "SUCCEEDED"}

    def _make_ledger(self) -> None:
        import boto3

        table = self.template.resources["Ledger"]["Properties"]
        wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        boto3.client("dynamodb").create_table(
            TableName=os.environ["LEDGER_TABLE"], **{key: table[key] for key in wanted}
        )


def _handler(name: str) -> str:
    """The module in handlers/ of a function's logical name."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether an EventBridge pattern of exact values, which are all that the template has, matches the event."""

    def matches(wanted: Any, found: Any) -> bool:
        if isinstance(wanted, Mapping):
            return isinstance(found, Mapping) and _matches(wanted, found)
        return bool(set(found) & set(wanted)) if isinstance(found, list) else found in wanted

    return all(name in event and matches(wanted, event[name]) for name, wanted in pattern.items())


def _forget() -> None:
    """Settings, adapters and clients that a warm function keeps are made anew."""
    for module in (adapters, settings, calls):
        for made in vars(module).values():
            if callable(clear := getattr(made, "cache_clear", None)):
                clear()


class _Body(io.BytesIO):
    """What GetObject gives to read."""

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


def _keep_parameters(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["simulated"] = params


def _listed(key: str, body: bytes) -> dict[str, Any]:
    return {"Key": key, "ETag": f'"{zlib.crc32(body):08x}{len(body):x}"', "Size": len(body)}


def _dimensions(dimensions: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((one["Name"], str(one["Value"])) for one in dimensions))


def _path(uri: str) -> str:
    parts = urlparse(uri)
    return f"{parts.netloc}{parts.path}"


# Step Functions ------------------------------------------------------------------------------------------------------


class Execution:
    """An execution of the state machine, carried out as the ASL says, but for retries."""

    def __init__(self, cloud: Cloud, arn: str, given: Mapping[str, Any]) -> None:
        text = (ROOT / "statemachine" / "retrain.asl.json").read_text(encoding="utf-8")
        text = re.sub(r"\$\{(\w+)\}", lambda found: cloud.template.parameters.get(found[1], found[0]), text)
        self._machine = json.loads(text)
        self._cloud, self.arn = cloud, arn
        self._input: Any = given
        self._variables: dict[str, Any] = {}
        self._due: datetime | None = None
        self.state = str(self._machine["StartAt"])
        self.running = True
        self.history = Counter[str]()
        self.errors: list[str] = []

    def go_on(self, now: datetime) -> None:
        """Everything is done that can be done by now; waits of the past have passed when they were over."""
        moment = now if self._due is None else self._due
        while self.running and moment <= now:
            state = self._machine["States"][self.state]
            self.history[self.state] += 1
            if state["Type"] == "Wait" and self._due is None:
                self._due = moment + timedelta(seconds=float(self._valued(state["Seconds"], moment)))
                if self._due > now:
                    return
            moment, self._due = self._due or moment, None
            self._step(state, moment)

    def _step(self, state: Mapping[str, Any], moment: datetime) -> None:
        kind = state["Type"]
        if kind in {"Succeed", "Fail"}:
            self.running = False
            return
        if kind == "Choice":
            rules = [rule for rule in state["Choices"] if self._valued(rule["Condition"], moment)]
            taken = rules[0] if rules else {"Next": state["Default"], "Assign": state.get("Assign", {})}
            self._leave(taken, moment, {}, self._input)
            return
        found: dict[str, Any] = {}
        result = self._input
        if kind == "Task":
            arguments = self._valued(state["Arguments"], moment)
            function = _handler(arguments["FunctionName"][2:-4])
            try:
                result = {"Payload": self._cloud.call(function, arguments["Payload"])}
            except UnansweredError:
                raise
            except Exception as error:  # noqa: BLE001  # as Lambda does: any error is the state's
                self.errors.append(f"{self.state}: {type(error).__name__}: {error}")
                found["errorOutput"] = {
                    "Error": type(error).__name__,
                    "Cause": json.dumps({"errorMessage": str(error), "errorType": type(error).__name__}),
                }
                self._leave(_catcher(state, type(error).__name__), moment, found, self._input)
                return
            found["result"] = result
        self._leave(state, moment, found, result)

    def _leave(self, step: Mapping[str, Any], moment: datetime, found: Mapping[str, Any], output: Any) -> None:
        assigned = {name: self._valued(value, moment, found) for name, value in step.get("Assign", {}).items()}
        self._input = self._valued(step["Output"], moment, found) if "Output" in step else output
        self._variables |= assigned
        self.state = step["Next"]

    def _valued(self, value: Any, moment: datetime, found: Mapping[str, Any] | None = None) -> Any:
        if isinstance(value, Mapping):
            return {key: self._valued(one, moment, found) for key, one in value.items()}
        if isinstance(value, list):
            return [self._valued(one, moment, found) for one in value]
        if not isinstance(value, str) or not (expression := _EXPRESSION.match(value)):
            return value
        context = {"State": {"EnteredTime": clock.render(moment), "Name": self.state}, "Task": {"Token": "token"}}
        asked = Jsonata(expression[1].strip())
        frame = asked.create_frame()
        frame.bind("states", {"input": self._input, "context": context, **(found or {})})
        for name, known in self._variables.items():
            frame.bind(name, known)
        return asked.evaluate(None, frame)


def _catcher(state: Mapping[str, Any], error: str) -> Mapping[str, Any]:
    for catcher in state.get("Catch", []):
        if {"States.ALL", error} & set(catcher["ErrorEquals"]):
            return dict(catcher)
    raise UnansweredError(f"nothing catches {error}")


# SageMaker -----------------------------------------------------------------------------------------------------------


class _SageMaker:
    """Pipelines that run at once, packages, and an endpoint that is updated at once."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.pipelines: dict[str, str] = {}  # definitions
        self.runs: dict[str, _Run] = {}
        self.packages: dict[str, dict[str, Any]] = {}
        self.models: dict[str, Any] = {}
        self.configs: dict[str, Any] = {}
        self.endpoints: dict[str, str] = {}
        self.jobs: dict[str, str] = {}

    def serving(self, endpoint: str) -> str | None:
        """The URI of the archive that the endpoint serves, None without an endpoint."""
        if endpoint not in self.endpoints:
            return None
        model = self.models[self.configs[self.endpoints[endpoint]]["ProductionVariants"][0]["ModelName"]]
        package = self.packages[model["Containers"][0]["ModelPackageName"]]
        return str(package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])

    def _UpdatePipeline(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.pipelines[asked["PipelineName"]] = asked["PipelineDefinition"]
        return {"PipelineArn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{asked['PipelineName']}"}

    def _AddTags(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"Tags": asked["Tags"]}

    def _StartPipelineExecution(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        token = asked["ClientRequestToken"]
        if token not in self.runs:
            parameters = {one["Name"]: one["Value"] for one in asked["PipelineParameters"]}
            definition = json.loads(self.pipelines[asked["PipelineName"]])
            self.runs[token] = _Run(self._cloud, self, f"run{len(self.runs) + 1}", definition, parameters)
        return {"PipelineExecutionArn": self.runs[token].arn}

    def _run(self, asked: Mapping[str, Any]) -> _Run:
        return next(run for run in self.runs.values() if run.arn == asked["PipelineExecutionArn"])

    def _DescribePipelineExecution(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"PipelineExecutionStatus": self._run(asked).status}

    def _ListPipelineExecutionSteps(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"PipelineExecutionSteps": self._run(asked).steps}

    def _DescribeProcessingJob(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        if asked["ProcessingJobName"] not in self.jobs:
            raise MissingError("ValidationException", "Could not find requested job")
        return {"ProcessingJobStatus": "Completed", "ExitMessage": self.jobs[asked["ProcessingJobName"]]}

    def _DescribeTrainingJob(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"TrainingJobStatus": "Failed", "FailureReason": self.jobs.get(asked["TrainingJobName"], "")}

    def _DescribeModelPackage(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self.packages[asked["ModelPackageName"]]

    def _UpdateModelPackage(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        package = self.packages[asked["ModelPackageArn"]]
        package["CustomerMetadataProperties"] |= asked.get("CustomerMetadataProperties", {})
        package |= {key: asked[key] for key in ("ModelApprovalStatus", "ApprovalDescription") if key in asked}
        return {"ModelPackageArn": asked["ModelPackageArn"]}

    def _CreateModel(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.models[asked["ModelName"]] = asked
        return {"ModelArn": asked["ModelName"]}

    def _CreateEndpointConfig(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.configs[asked["EndpointConfigName"]] = asked
        return {"EndpointConfigArn": asked["EndpointConfigName"]}

    def _CreateEndpoint(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.endpoints[asked["EndpointName"]] = asked["EndpointConfigName"]
        return {"EndpointArn": asked["EndpointName"]}

    _UpdateEndpoint = _CreateEndpoint

    def _DescribeEndpoint(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["EndpointName"]
        if name not in self.endpoints:
            raise MissingError("ValidationException", f'Could not find endpoint "{name}".')
        return {
            "EndpointName": name,
            "EndpointConfigName": self.endpoints[name],
            "EndpointStatus": "InService",
            "ProductionVariants": [{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}],
        }


class _Run:
    """An execution of the pipeline, carried out as its definition says, jobs in this process."""

    def __init__(
        self,
        cloud: Cloud,
        sagemaker: _SageMaker,
        name: str,
        definition: Mapping[str, Any],
        parameters: Mapping[str, str],
    ) -> None:
        self._cloud, self._sagemaker, self._name = cloud, sagemaker, name
        self.arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/simulated/execution/{name}"
        self.steps: list[dict[str, Any]] = []
        self.status = "Succeeded"
        defaults = {one["Name"]: one.get("DefaultValue") for one in definition["Parameters"]}
        self._known: dict[str, Any] = {f"Parameters.{key}": value for key, value in {**defaults, **parameters}.items()}
        self._carry_out(definition["Steps"])

    def _carry_out(self, steps: Any) -> None:
        for step in steps:
            if self.status != "Succeeded":
                return
            getattr(self, f"_{step['Type'].lower()}")(step)

    def _valued(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._valued(one) for one in value]
        if not isinstance(value, Mapping):
            return value
        if "Get" in value:
            return self._known[value["Get"]]
        if "Std:Join" in value:
            return value["Std:Join"]["On"].join(map(str, self._valued(value["Std:Join"]["Values"])))
        if "Std:JsonGet" in value:
            found = json.loads(self._cloud.get(self._valued(value["Std:JsonGet"]["PropertyFile"])))
            for part in value["Std:JsonGet"]["Path"].split("."):
                found = found[part]
            return found
        return {key: self._valued(one) for key, one in value.items()}

    def _told(self, step: Mapping[str, Any], kind: str, message: str, *, failed: bool) -> None:
        job = f"{self._name}-{step['Name']}"
        self._sagemaker.jobs[job] = message
        told = {"StepName": step["Name"], "StepStatus": "Failed" if failed else "Succeeded"}
        self.steps.append({**told, "Metadata": {kind: {"Arn": f"arn:aws:sagemaker:::{kind.lower()}/{job}"}}})
        self.status = "Failed" if failed else "Succeeded"

    def _processing(self, step: Mapping[str, Any]) -> None:
        arguments = self._valued(step["Arguments"])
        with TemporaryDirectory() as name:
            root = Path(name)

            def here(path: str) -> Path:
                return root / path.lstrip("/")

            for given in arguments["ProcessingInputs"]:
                folder, source = here(given["S3Input"]["LocalPath"]), given["S3Input"]
                folder.mkdir(parents=True, exist_ok=True)
                if given["InputName"] != "code":
                    self._download(source["S3Uri"], source["S3DataType"], folder)
            texts = [str(here(text)) if text.startswith("/opt/ml/") else text for text in _texts(arguments)]
            module = arguments["AppSpecification"]["ContainerEntrypoint"][-1]
            code = _quietly(importlib.import_module(module).main, texts)
            message = here("/opt/ml/output/message")
            for made in arguments["ProcessingOutputConfig"]["Outputs"]:
                self._upload(here(made["S3Output"]["LocalPath"]), made["S3Output"]["S3Uri"])
            self._told(step, "ProcessingJob", message.read_text() if message.exists() else "", failed=bool(code))
        for file in step.get("PropertyFiles", []):
            (output,) = (
                one for one in arguments["ProcessingOutputConfig"]["Outputs"] if one["OutputName"] == file["OutputName"]
            )
            uri = f"{output['S3Output']['S3Uri']}/{file['FilePath']}"
            self._known[f"Steps.{step['Name']}.PropertyFiles.{file['PropertyFileName']}"] = uri

    def _training(self, step: Mapping[str, Any]) -> None:
        arguments = self._valued(step["Arguments"])
        with TemporaryDirectory() as name:
            root = Path(name)
            texts: list[str] = []
            for key, value in arguments["HyperParameters"].items():
                if not key.startswith("sagemaker_"):
                    texts += [f"--{key}", value]
            for channel in arguments["InputDataConfig"]:
                folder, source = root / channel["ChannelName"], channel["DataSource"]["S3DataSource"]
                folder.mkdir()
                self._download(source["S3Uri"], source["S3DataType"], folder)
                if channel["ChannelName"] != "code":  # the module is imported here
                    texts += [f"--{channel['ChannelName']}", str(folder)]
            for option in ("model-dir", "output-data-dir", "checkpoints"):
                (root / option).mkdir()
                texts += [f"--{option}", str(root / option)]
            try:
                _quietly(importlib.import_module("retrain.jobs.train").main, texts)
            except Exception as error:  # noqa: BLE001  # as the toolkit does: any error is the job's failure
                self._told(step, "TrainingJob", f"{type(error).__name__}: {error}", failed=True)
                return
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w:gz") as tar:
                tar.add(root / "model-dir", arcname=".")
            uri = f"{arguments['OutputDataConfig']['S3OutputPath']}/{self._name}/output/model.tar.gz"
            self._cloud.put_object(_path(uri), archive.getvalue())
            self._known[f"Steps.{step['Name']}.ModelArtifacts.S3ModelArtifacts"] = uri
            self._told(step, "TrainingJob", "", failed=False)

    def _condition(self, step: Mapping[str, Any]) -> None:
        arguments = step["Arguments"]
        holds = all(self._valued(one["QueryValue"]) in one["Values"] for one in arguments["Conditions"])
        self._carry_out(arguments["IfSteps" if holds else "ElseSteps"])

    def _registermodel(self, step: Mapping[str, Any]) -> None:
        arguments = self._valued(step["Arguments"])
        group = arguments["ModelPackageGroupName"]
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/{group}/{len(self._sagemaker.packages) + 1}"
        self._sagemaker.packages[arn] = {**arguments, "ModelPackageArn": arn, "ModelPackageStatus": "Completed"}
        self.steps.append(
            {"StepName": step["Name"], "StepStatus": "Succeeded", "Metadata": {"RegisterModel": {"Arn": arn}}}
        )

    def _download(self, uri: str, kind: str, folder: Path) -> None:
        if kind == "ManifestFile":
            prefix, *keys = json.loads(self._cloud.get(uri))
            found = [
                (key, self._cloud.get(prefix["prefix"] + key)) for key in keys if (prefix["prefix"] + key)[-1] != "/"
            ]
        else:
            found = [(rest or uri.rsplit("/", 1)[-1], body) for rest, body in self._cloud.below(uri)]
        for name, body in found:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)

    def _upload(self, folder: Path, uri: str) -> None:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self._cloud.put_object(f"{_path(uri)}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def _texts(arguments: Mapping[str, Any]) -> list[str]:
    return [str(text) for text in arguments["AppSpecification"]["ContainerArguments"]]


def _quietly(main: Callable[[list[str]], Any], texts: list[str]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(texts)
