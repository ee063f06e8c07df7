"""Endpoints: model servers that run, and roll-outs with traffic shifting and rollback."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.sagemaker import logs
from local.sagemaker.capture import Capture
from local.sagemaker.fleet import NO_ANSWER, Fleet, ModelServer, StartError
from local.sagemaker.models import Models
from local.sagemaker.store import Resource, Store, could_not_find, page, pick, shown
from local.wire import ApiError

LOG_SECONDS = 1.0
STATUS_IN_EVENTS = {
    "Creating": "CREATING",
    "Updating": "UPDATING",
    "InService": "IN_SERVICE",
    "RollingBack": "ROLLING_BACK",
    "Failed": "FAILED",
    "Deleting": "DELETING",
    "UpdateRollbackFailed": "UPDATE_ROLLBACK_FAILED",
}


class ClosedError(Exception):
    """The process is about to end; what is going on goes on after the next start."""


class AlarmError(Exception):
    """A rollback alarm went off while the new fleet was watched."""


@dataclass
class Traffic:
    """Which fleets an endpoint's requests go to: `green` gets its share, `blue` the rest."""

    blue: Fleet
    green: Fleet | None = None
    share: float = 0.0


class Hosting:
    """Everything that serves."""

    def __init__(self, store: Store, models: Models, wait_scale: float) -> None:
        self.store, self.models, self.wait_scale = store, models, wait_scale
        self.capture = Capture(store)
        self._traffic: dict[str, Traffic] = {}
        self._switch = threading.Lock()
        self._stop = threading.Event()
        self._logger = threading.Thread(target=self._keep_logging, name="endpoint-logs", daemon=True)
        self._logger.start()

    # Endpoints --------------------------------------------------------------------------------------------------------

    def create_endpoint(self, params: Resource) -> Resource:
        """CreateEndpoint: Creating until the model answers, then InService; Failed if it never does."""
        name = params["EndpointName"]
        config = self.models.config(params["EndpointConfigName"])
        now = self.store.clock.now()
        endpoint = {
            **pick(params, "EndpointName", "EndpointConfigName"),
            "EndpointArn": self.store.arn(f"endpoint/{name.lower()}"),
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
            "_config": config,  # it serves on if somebody deletes the config
        }
        self.store.add("endpoints", name, endpoint, "endpoint")
        self.store.kinds["tags"][endpoint["EndpointArn"]] = {"Tags": params.get("Tags", [])}
        self._tell(endpoint)
        threading.Thread(target=self._create, args=(endpoint, config), name=name, daemon=True).start()
        return pick(endpoint, "EndpointArn")

    def describe_endpoint(self, params: Resource) -> Resource:
        """DescribeEndpoint."""
        endpoint = self._endpoint(params["EndpointName"])
        with self.store.lock:
            answer = shown(endpoint)
            if endpoint["EndpointStatus"] in {"InService", "Updating", "RollingBack"}:
                config = endpoint["_config"]
                answer["ProductionVariants"] = [_summary(variant) for variant in config["ProductionVariants"]]
                if capture := config.get("DataCaptureConfig"):
                    answer["DataCaptureConfig"] = {
                        "EnableCapture": capture.get("EnableCapture", False),
                        "CaptureStatus": "Started" if capture.get("EnableCapture") else "Stopped",
                        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
                        "DestinationS3Uri": capture["DestinationS3Uri"],
                        "KmsKeyId": capture.get("KmsKeyId", ""),
                    }
        return answer

    def list_endpoints(self, params: Resource) -> Resource:
        """ListEndpoints."""
        found, more = page(self.store.each("endpoints"), params, "Endpoint")
        names = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return {"Endpoints": [pick(item, *names) for item in found], **more}

    def update_endpoint(self, params: Resource) -> Resource:
        """UpdateEndpoint: blue/green as the deployment config says; rolled back silently if an alarm goes off."""
        with self.store.lock:
            endpoint = self._endpoint(params["EndpointName"])
            config = self.models.config(params["EndpointConfigName"])
            if endpoint["EndpointStatus"] != "InService":
                arn = endpoint["EndpointArn"]
                raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{arn}".')
            before = endpoint["_config"]
            names = [[item["VariantName"] for item in part["ProductionVariants"]] for part in (before, config)]
            if params.get("DeploymentConfig") and names[0] != names[1]:
                raise ApiError(
                    "ValidationException", f"The production variants must stay the same: {names[0]}, {names[1]}."
                )
            if params.get("RetainAllVariantProperties"):
                excluded = {item["VariantPropertyType"] for item in params.get("ExcludeRetainedVariantProperties", [])}
                config = retained(before, config, excluded)
            endpoint["EndpointStatus"] = "Updating"
            endpoint["LastModifiedTime"] = self.store.clock.now()
            endpoint.pop("FailureReason", None)
            kept = endpoint.get("LastDeploymentConfig") if params.get("RetainDeploymentConfig") else None
            deployment = params.get("DeploymentConfig") or kept or {}
            endpoint["PendingDeploymentSummary"] = {
                "EndpointConfigName": config["EndpointConfigName"],
                "ProductionVariants": [_pending(item) for item in config["ProductionVariants"]],
                "StartTime": endpoint["LastModifiedTime"],
            }
            endpoint["LastDeploymentConfig"] = deployment or None
        self._tell(endpoint)
        work = (endpoint, config, deployment)
        threading.Thread(target=self._update, args=work, name=endpoint["EndpointName"], daemon=True).start()
        return pick(endpoint, "EndpointArn")

    def delete_endpoint(self, params: Resource) -> Resource:
        """DeleteEndpoint."""
        endpoint = self._endpoint(params["EndpointName"])
        if endpoint["EndpointStatus"] in {"Creating", "Updating", "RollingBack"}:
            raise ApiError("ValidationException", f'Cannot delete in-progress endpoint "{endpoint["EndpointArn"]}".')
        self.capture.flush()
        del self.store.kinds["endpoints"][endpoint["EndpointName"]]
        with self._switch:
            traffic = self._traffic.pop(endpoint["EndpointName"], None)
        if traffic:
            gone = (endpoint["EndpointName"], traffic.blue)
            threading.Thread(target=self._retire, args=gone, daemon=True).start()
        return {}

    @staticmethod
    def list_inference_components(params: Resource) -> Resource:  # noqa: ARG004
        """ListInferenceComponents: endpoints here serve models, and have no components."""
        return {"InferenceComponents": []}

    def _endpoint(self, name: str) -> Resource:
        return self.store.find(
            "endpoints", name, could_not_find("endpoint", self.store.arn(f"endpoint/{name.lower()}"))
        )

    # Roll-outs --------------------------------------------------------------------------------------------------------

    def _create(self, endpoint: Resource, config: Resource) -> None:
        try:
            fleet = self._start(endpoint, config)
            with self._taking(fleet):
                self._traffic[endpoint["EndpointName"]] = Traffic(blue=fleet)
        except ClosedError:
            return
        except Exception as error:  # noqa: BLE001 - whatever keeps the container from coming up
            self._settle(endpoint, "Failed", FailureReason=str(error)[:1024])
            return
        self._settle(endpoint, "InService")

    def _update(self, endpoint: Resource, config: Resource, deployment: Resource) -> None:
        traffic = self._traffic[endpoint["EndpointName"]]
        alarms = [item["AlarmName"] for item in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
        policy = deployment.get("BlueGreenUpdatePolicy", {})
        role = self.models.role(config["ProductionVariants"][0]["ModelName"])
        green: Fleet | None = None
        try:
            self._stage(endpoint, "Creating", "Provisioning the new fleet.")
            green = self._start(endpoint, config)
            with self._taking(green):
                traffic.green, traffic.share = green, 0.0
            for share, wait in _plan(deployment):
                self._stage(endpoint, "ActivatingTraffic", f"Activating traffic on {share:.0%} of the new fleet.")
                with self._switch:
                    traffic.share = share
                self._stage(endpoint, "Baking", f"Baking for {wait:g} seconds with {share:.0%} of the traffic.")
                self._bake(wait, alarms, role)
            seconds = policy.get("TerminationWaitInSeconds", 0)
            self._stage(endpoint, "Baking", f"Baking for {seconds:g} seconds (TerminationWaitInSeconds).")
            self._bake(seconds, alarms, role)
        except ClosedError:
            return
        except (StartError, AlarmError) as error:
            self._roll_back(endpoint, traffic, green, str(error))
            return
        except Exception as error:  # noqa: BLE001 - the platform's own faults roll back, too
            self._roll_back(endpoint, traffic, green, f"InternalServerError: {error!r}")
            return
        with self._switch:
            old, traffic.blue, traffic.green, traffic.share = traffic.blue, green, None, 0.0
        self._settle(endpoint, "InService", EndpointConfigName=config["EndpointConfigName"], _config=config)
        self._retire(endpoint["EndpointName"], old)

    def _roll_back(self, endpoint: Resource, traffic: Traffic, green: Fleet | None, why: str) -> None:
        """All traffic is on the old fleet again, and the endpoint says InService with its old config.

        UpdateRollbackFailed if the old fleet is not there any more.
        """
        with self.store.lock:
            endpoint["EndpointStatus"] = "RollingBack"
        self._tell(endpoint)
        with self._switch:
            traffic.green, traffic.share = None, 0.0
        if green:
            self._retire(endpoint["EndpointName"], green)
        self._settle(endpoint, "InService" if traffic.blue.alive else "UpdateRollbackFailed", FailureReason=why[:1024])

    def _stage(self, endpoint: Resource, status: str, message: str) -> None:
        """The pending deployment says what it is at, in DescribeEndpoint and on the event bus."""
        now = self.store.clock.now()
        with self.store.lock:
            pending = endpoint["PendingDeploymentSummary"]
            said = [{"Status": status, "StatusMessage": message, "StartTime": now}]
            variants = [{**variant, "VariantStatus": said} for variant in pending["ProductionVariants"]]
            endpoint["PendingDeploymentSummary"] = {**pending, "ProductionVariants": variants}
        self._tell(endpoint, "SageMaker Endpoint Deployment State Change")

    def _bake(self, seconds: float, alarms: list[str], role: str) -> None:
        """`seconds` (scaled) went by without an alarm; AlarmError if one went off."""
        deadline = time.monotonic() + seconds * self.wait_scale
        while True:
            if alarms:
                found = self.store.aws("cloudwatch", role).describe_alarms(AlarmNames=alarms, StateValue="ALARM")
                if fired := [item["AlarmName"] for item in found["MetricAlarms"]]:
                    raise AlarmError(f"Rolled back: alarm {', '.join(fired)} is in ALARM.")
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if self._stop.wait(min(left, 0.2)):
                raise ClosedError

    def _start(self, endpoint: Resource, config: Resource) -> Fleet:
        """A fleet that answers; StartError if one of its containers does not come up."""
        servers: dict[str, ModelServer] = {}
        for variant in config["ProductionVariants"]:
            name = variant["VariantName"]
            try:
                uri, environment = self.models.artifact(variant["ModelName"])
                folder = self.store.root / "fleets"
                role = self.models.role(variant["ModelName"])
                servers[name] = ModelServer(self.store.aws("s3", role), folder, name, uri, environment, role=role)
            except StartError as error:
                for server in servers.values():
                    server.end()
                said = self.store.aws("logs", role)
                logs.keep(said, _group(endpoint["EndpointName"]), f"{name}/failed", error.log)
                raise
        return Fleet(config, servers)

    @contextmanager
    def _taking(self, fleet: Fleet) -> Iterator[None]:
        """The fleet becomes one of those that `close` ends; if it is too late for that, it is gone. ClosedError."""
        with self._switch:
            if not self._stop.is_set():
                yield
                return
        fleet.end()
        raise ClosedError

    def _settle(self, endpoint: Resource, status: str, **fields: Any) -> None:
        with self.store.lock:
            endpoint.pop("PendingDeploymentSummary", None)
            endpoint.update(fields, EndpointStatus=status, LastModifiedTime=self.store.clock.now())
        self._tell(endpoint)

    def _tell(self, endpoint: Resource, what: str = "SageMaker Endpoint State Change") -> None:
        with self.store.lock:
            detail = {
                **pick(endpoint, "EndpointName", "EndpointArn", "EndpointConfigName"),
                "ProductionVariants": [_summary(item) for item in endpoint["_config"]["ProductionVariants"]],
                "EndpointStatus": STATUS_IN_EVENTS[endpoint["EndpointStatus"]],
                **pick(endpoint, "FailureReason", "CreationTime", "LastModifiedTime", "PendingDeploymentSummary"),
                "Tags": {},
            }
        self.store.put_event("aws.sagemaker", what, _milliseconds(detail), [endpoint["EndpointArn"]])

    # Invocations ------------------------------------------------------------------------------------------------------

    def invoke(self, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """The answer of InvokeEndpoint: status, headers, content."""
        with self._switch:
            traffic = self._traffic.get(name)
            if traffic is None:
                if name in self.store.kinds["endpoints"]:
                    return _refused(f"Endpoint {name} is not in service.")
                return _refused(f"Endpoint {name} of account {self.store.account} not found.")
            to_green = traffic.green is not None and random.random() < traffic.share  # noqa: S311
            fleet = traffic.green if to_green and traffic.green else traffic.blue
            try:
                variant = fleet.choose(headers.get("x-amzn-sagemaker-target-variant"))
            except KeyError as error:
                return _refused(f"Variant {error.args[0]} of endpoint {name} was not found or has no weight.")
            server = fleet.servers[variant]
            server.enter()
        content_type = headers.get("content-type", "application/octet-stream")
        status, kind, content = server.invoke(body, content_type, headers.get("accept", "application/json"))
        if status != 200:
            return self._model_error(name, status, content.decode(errors="replace"))
        inference_id = headers.get("x-amzn-sagemaker-inference-id")
        attributes = headers.get("x-amzn-sagemaker-custom-attributes")
        capture = fleet.config.get("DataCaptureConfig", {})
        sides = (body, content_type), (content, kind)
        self.capture.record(capture, (f"{name}/{variant}", server.role), *sides, inference_id, attributes=attributes)
        return 200, {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": variant}, content

    def _model_error(self, name: str, status: int, said: str) -> tuple[int, dict[str, str], bytes]:
        side = "client" if 400 <= status < 500 else "server"
        group, region, account = _group(name), self.store.region, self.store.account
        place = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group={group}"
        problem = {
            "Message": f'Received {side} error ({status}) from primary with message "{said}". '
            f"See {place} in account {account} for more information.",
            "OriginalStatusCode": 500 if status == NO_ANSWER else status,
            "OriginalMessage": said,
            "LogStreamArn": f"arn:aws:logs:{region}:{account}:log-group:{group}",
        }
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "ModelError"}
        return 424, headers, json.dumps(problem).encode()

    # Logs -------------------------------------------------------------------------------------------------------------

    def _log(self, name: str, fleet: Fleet) -> None:
        """What the fleet's containers have printed since the last time is in CloudWatch Logs."""
        for variant, server in fleet.servers.items():
            if text := server.said():
                stream = f"{variant}/{server.folder.name}"
                logs.keep(self.store.aws("logs", server.role), _group(name), stream, text)

    def _fleets(self) -> list[tuple[str, Fleet]]:
        """Every fleet, with the name of its endpoint."""
        with self._switch:
            pairs = [
                (name, fleet) for name, traffic in self._traffic.items() for fleet in (traffic.blue, traffic.green)
            ]
        return [(name, fleet) for name, fleet in pairs if fleet]

    def _retire(self, name: str, fleet: Fleet) -> None:
        """The fleet has answered what was on its way and is gone, its last words are in CloudWatch Logs."""
        fleet.drain()
        self._log(name, fleet)

    def _keep_logging(self) -> None:
        while not self._stop.wait(LOG_SECONDS):
            for name, fleet in self._fleets():
                self._log(name, fleet)

    # The process's life -----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Endpoints that were serving when the state was saved serve again, and those that were coming up do, too."""
        for endpoint in self.store.each("endpoints"):
            if endpoint["EndpointStatus"] != "Failed":
                self._create(endpoint, endpoint["_config"])

    def close(self) -> None:
        """No model server is left, every capture is in S3."""
        with self._switch:
            self._stop.set()
        self.capture.close()
        self._logger.join()
        for name, fleet in self._fleets():
            fleet.end()
            self._log(name, fleet)


def retained(before: Resource, config: Resource, excluded: set[str]) -> Resource:
    """The config with what its endpoint's variants had been changed to since, but for what is excluded."""
    kept = {"InitialInstanceCount": "DesiredInstanceCount", "InitialVariantWeight": "DesiredWeight"}
    known = {variant["VariantName"]: variant for variant in before["ProductionVariants"]}
    variants = [
        {
            **variant,
            **{
                name: known[variant["VariantName"]][name]
                for name, kind in kept.items()
                if kind not in excluded and name in known.get(variant["VariantName"], {})
            },
        }
        for variant in config["ProductionVariants"]
    ]
    capture = {} if "DataCaptureConfig" in excluded else pick(before, "DataCaptureConfig")
    return {**config, "ProductionVariants": variants, **capture}


def _plan(deployment: Resource) -> list[tuple[float, float]]:
    """The steps of traffic shifting: the green fleet's share, and the seconds to bake at it."""
    if rolling := deployment.get("RollingUpdatePolicy"):
        return _steps(_fraction(rolling["MaximumBatchSize"]), float(rolling["WaitIntervalInSeconds"]))
    return _shifts(deployment.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {}))


def _shifts(routing: Resource) -> list[tuple[float, float]]:
    kind, wait = routing.get("Type", "ALL_AT_ONCE"), float(routing.get("WaitIntervalInSeconds", 0))
    if kind == "CANARY":
        return [(_fraction(routing["CanarySize"]), wait), (1.0, 0.0)]
    if kind == "LINEAR":
        return _steps(_fraction(routing["LinearStepSize"]), wait)
    return [(1.0, wait)]


def _steps(size: float, wait: float) -> list[tuple[float, float]]:
    count = math.ceil(1 / size - 1e-9)
    return [(min(1.0, size * (step + 1)), wait if step + 1 < count else 0.0) for step in range(count)]


def _fraction(size: Resource) -> float:
    """A capacity size as a share of the traffic; a number of instances is half, since one process stands for all."""
    return float(size["Value"]) / 100 if size["Type"] == "CAPACITY_PERCENT" else 0.5


def _summary(variant: Resource) -> Resource:
    count, weight = variant.get("InitialInstanceCount", 1), variant.get("InitialVariantWeight", 1.0)
    return {
        "VariantName": variant["VariantName"],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
    }


def _pending(variant: Resource) -> Resource:
    return {**_summary(variant), **pick(variant, "InstanceType")}


def _group(endpoint: str) -> str:
    return f"{logs.GROUP}/Endpoints/{endpoint}"


def _milliseconds(value: Any) -> Any:
    """The value with its times as endpoint events have them: in milliseconds since the epoch."""
    if isinstance(value, datetime):
        return value.timestamp() * 1000
    if isinstance(value, dict):
        return {name: _milliseconds(inner) for name, inner in value.items()}
    return [_milliseconds(inner) for inner in value] if isinstance(value, list) else value


def _refused(words: str) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"Message": words}).encode()
    return 400, {"Content-Type": "application/json", "x-amzn-ErrorType": "ValidationError"}, body
