"""Models, endpoint configs and endpoints: model servers that run, and roll-outs with traffic shifting and rollback."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from local.sagemaker.capture import Capture
from local.sagemaker.fleet import Fleet, StartError
from local.sagemaker.registry import Registry
from local.sagemaker.store import Resource, Store, could_not_find, page, pick, shown
from local.wire import ApiError

CONFIG_FIELDS = (
    "EndpointConfigName",
    "ProductionVariants",
    "DataCaptureConfig",
    "KmsKeyId",
    "AsyncInferenceConfig",
    "ExplainerConfig",
    "ShadowProductionVariants",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
)
MODEL_FIELDS = (
    "ModelName",
    "PrimaryContainer",
    "Containers",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
)
STATUS_IN_EVENTS = {
    "Creating": "CREATING",
    "Updating": "UPDATING",
    "InService": "IN_SERVICE",
    "RollingBack": "ROLLING_BACK",
    "Failed": "FAILED",
    "Deleting": "DELETING",
    "UpdateRollbackFailed": "UPDATE_ROLLBACK_FAILED",
}


class AlarmError(Exception):
    """A rollback alarm went off while the new fleet was watched."""


@dataclass
class Traffic:
    """Which fleets an endpoint's requests go to: `green` gets its share, `blue` the rest."""

    blue: Fleet | None = None
    blue_config: Resource | None = None
    green: Fleet | None = None
    green_config: Resource | None = None
    share: float = 0.0


class Hosting:
    """Everything that serves."""

    def __init__(self, store: Store, registry: Registry, wait_scale: float) -> None:
        self.store, self.registry, self.wait_scale = store, registry, wait_scale
        self.capture = Capture(store)
        self._traffic: dict[str, Traffic] = {}
        self._switch = threading.Lock()

    # Models -----------------------------------------------------------------------------------------------------------

    def create_model(self, params: Resource) -> Resource:
        """CreateModel."""
        name = params["ModelName"]
        model = {
            **pick(params, *MODEL_FIELDS),
            "ModelArn": self.store.arn(f"model/{name}"),
            "CreationTime": self.store.clock.now(),
        }
        if package := model.get("PrimaryContainer", {}).get("ModelPackageName"):
            self.registry.describe_model_package({"ModelPackageName": package})
        self.store.add("models", name, model, "model")
        self.store.kinds["tags"][model["ModelArn"]] = {"Tags": params.get("Tags", [])}
        return pick(model, "ModelArn")

    def describe_model(self, params: Resource) -> Resource:
        """DescribeModel."""
        return shown(self._model(params["ModelName"]))

    def list_models(self, params: Resource) -> Resource:
        """ListModels."""
        wanted = params.get("NameContains", "")
        found, more = page([item for item in self.store.each("models") if wanted in item["ModelName"]], params)
        return {"Models": [pick(item, "ModelName", "ModelArn", "CreationTime") for item in found], **more}

    def delete_model(self, params: Resource) -> Resource:
        """DeleteModel."""
        del self.store.kinds["models"][self._model(params["ModelName"])["ModelName"]]
        return {}

    def _model(self, name: str) -> Resource:
        return self.store.find("models", name, could_not_find("model", self.store.arn(f"model/{name}")))

    # Endpoint configs -------------------------------------------------------------------------------------------------

    def create_endpoint_config(self, params: Resource) -> Resource:
        """CreateEndpointConfig."""
        name = params["EndpointConfigName"]
        if len(params["ProductionVariants"]) > 1 or "ShadowProductionVariants" in params:
            raise ApiError("UnknownOperationException", "the embedded SageMaker serves one production variant", 501)
        self._model(params["ProductionVariants"][0]["ModelName"])
        config = {
            **pick(params, *CONFIG_FIELDS),
            "EndpointConfigArn": self.store.arn(f"endpoint-config/{name}"),
            "CreationTime": self.store.clock.now(),
        }
        self.store.add("configs", name, config, "endpoint configuration")
        self.store.kinds["tags"][config["EndpointConfigArn"]] = {"Tags": params.get("Tags", [])}
        return pick(config, "EndpointConfigArn")

    def describe_endpoint_config(self, params: Resource) -> Resource:
        """DescribeEndpointConfig."""
        return shown(self._config(params["EndpointConfigName"]))

    def list_endpoint_configs(self, params: Resource) -> Resource:
        """ListEndpointConfigs."""
        wanted = params.get("NameContains", "")
        configs = [item for item in self.store.each("configs") if wanted in item["EndpointConfigName"]]
        found, more = page(configs, params)
        names = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {"EndpointConfigs": [pick(item, *names) for item in found], **more}

    def delete_endpoint_config(self, params: Resource) -> Resource:
        """DeleteEndpointConfig; AWS does not refuse it for one in use."""
        del self.store.kinds["configs"][self._config(params["EndpointConfigName"])["EndpointConfigName"]]
        return {}

    def _config(self, name: str) -> Resource:
        missing = could_not_find("endpoint configuration", self.store.arn(f"endpoint-config/{name}"))
        return self.store.find("configs", name, missing)

    # Endpoints --------------------------------------------------------------------------------------------------------

    def create_endpoint(self, params: Resource) -> Resource:
        """CreateEndpoint: Creating until the model answers, then InService; Failed if it never does."""
        name = params["EndpointName"]
        config = self._config(params["EndpointConfigName"])
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
        wanted, status = params.get("NameContains", ""), params.get("StatusEquals")
        endpoints = [
            item
            for item in self.store.each("endpoints")
            if wanted in item["EndpointName"] and status in {None, item["EndpointStatus"]}
        ]
        found, more = page(endpoints, params)
        names = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return {"Endpoints": [pick(item, *names) for item in found], **more}

    def update_endpoint(self, params: Resource) -> Resource:
        """UpdateEndpoint: blue/green as the deployment config says; rolled back silently if an alarm goes off."""
        with self.store.lock:
            endpoint = self._endpoint(params["EndpointName"])
            config = self._config(params["EndpointConfigName"])
            if endpoint["EndpointStatus"] != "InService":
                arn = endpoint["EndpointArn"]
                raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{arn}".')
            before = endpoint["_config"]
            names = [[item["VariantName"] for item in part["ProductionVariants"]] for part in (before, config)]
            if params.get("DeploymentConfig") and names[0] != names[1]:
                raise ApiError(
                    "ValidationException", f"The production variants must stay the same: {names[0]}, {names[1]}."
                )
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
        if traffic and traffic.blue:
            threading.Thread(target=traffic.blue.drain, daemon=True).start()
        return {}

    def _endpoint(self, name: str) -> Resource:
        return self.store.find(
            "endpoints", name, could_not_find("endpoint", self.store.arn(f"endpoint/{name.lower()}"))
        )

    # Roll-outs --------------------------------------------------------------------------------------------------------

    def _create(self, endpoint: Resource, config: Resource) -> None:
        try:
            fleet = self._start(config)
        except Exception as error:  # noqa: BLE001 - whatever keeps the container from coming up
            self._settle(endpoint, "Failed", FailureReason=str(error)[:1024])
            return
        self._traffic[endpoint["EndpointName"]] = Traffic(blue=fleet, blue_config=config)
        self._settle(endpoint, "InService")

    def _update(self, endpoint: Resource, config: Resource, deployment: Resource) -> None:
        traffic = self._traffic[endpoint["EndpointName"]]
        alarms = [item["AlarmName"] for item in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
        policy = deployment.get("BlueGreenUpdatePolicy", {})
        green: Fleet | None = None
        try:
            green = self._start(config)
            with self._switch:
                traffic.green, traffic.green_config, traffic.share = green, config, 0.0
            for share, wait in _shifts(policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})):
                with self._switch:
                    traffic.share = share
                self._bake(wait, alarms)
            self._bake(policy.get("TerminationWaitInSeconds", 0), alarms)
        except (StartError, AlarmError) as error:
            self._roll_back(endpoint, traffic, green, str(error))
            return
        except Exception as error:  # noqa: BLE001 - the platform's own faults roll back, too
            self._roll_back(endpoint, traffic, green, f"InternalServerError: {error!r}")
            return
        with self._switch:
            old = traffic.blue
            traffic.blue, traffic.blue_config = green, config
            traffic.green, traffic.green_config, traffic.share = None, None, 0.0
        self._settle(endpoint, "InService", EndpointConfigName=config["EndpointConfigName"], _config=config)
        if old:
            old.drain()

    def _roll_back(self, endpoint: Resource, traffic: Traffic, green: Fleet | None, why: str) -> None:
        """All traffic is on the old fleet again, and the endpoint says InService with its old config."""
        endpoint["EndpointStatus"] = "RollingBack"
        self._tell(endpoint)
        with self._switch:
            traffic.green, traffic.green_config, traffic.share = None, None, 0.0
        if green:
            green.drain()
        self._settle(endpoint, "InService", FailureReason=why[:1024])

    def _bake(self, seconds: float, alarms: list[str]) -> None:
        """`seconds` (scaled) went by without an alarm; AlarmError if one went off."""
        deadline = time.monotonic() + seconds * self.wait_scale
        while True:
            if alarms:
                found = self.store.aws("cloudwatch").describe_alarms(AlarmNames=alarms, StateValue="ALARM")
                if fired := [item["AlarmName"] for item in found["MetricAlarms"]]:
                    raise AlarmError(f"Rolled back: alarm {', '.join(fired)} is in ALARM.")
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.2))

    def _start(self, config: Resource) -> Fleet:
        variant = config["ProductionVariants"][0]
        model = self._model(variant["ModelName"])
        container = model.get("PrimaryContainer") or model["Containers"][0]
        environment = dict(container.get("Environment", {}))
        uri = container.get("ModelDataUrl")
        if package := container.get("ModelPackageName"):
            described = self.registry.describe_model_package({"ModelPackageName": package})
            registered = described["InferenceSpecification"]["Containers"][0]
            uri = registered["ModelDataUrl"]
            environment = {**registered.get("Environment", {}), **environment}
        return Fleet(self.store.aws("s3"), self.store.root / "fleets", str(uri), environment)

    def _settle(self, endpoint: Resource, status: str, **fields: Any) -> None:
        with self.store.lock:
            endpoint.pop("PendingDeploymentSummary", None)
            endpoint.update(fields, EndpointStatus=status, LastModifiedTime=self.store.clock.now())
        self._tell(endpoint)

    def _tell(self, endpoint: Resource) -> None:
        detail = {
            **pick(endpoint, "EndpointName", "EndpointArn", "EndpointConfigName"),
            "EndpointStatus": STATUS_IN_EVENTS[endpoint["EndpointStatus"]],
            "CreationTime": endpoint["CreationTime"].timestamp() * 1000,
            "LastModifiedTime": endpoint["LastModifiedTime"].timestamp() * 1000,
            "Tags": {},
        }
        arn = endpoint["EndpointArn"]
        self.store.put_event("aws.sagemaker", "SageMaker Endpoint State Change", detail, [arn])

    # Invocations ------------------------------------------------------------------------------------------------------

    def invoke(self, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """The answer of InvokeEndpoint: status, headers, content."""
        with self._switch:
            traffic = self._traffic.get(name)
            if traffic is None or traffic.blue is None:
                return _refused(404 if name not in self.store.kinds["endpoints"] else 400, name, self.store.account)
            to_green = traffic.green is not None and random.random() < traffic.share  # noqa: S311
            fleet = traffic.green if to_green else traffic.blue
            config = traffic.green_config if to_green else traffic.blue_config
            fleet.enter()  # type: ignore[union-attr]
        content_type = headers.get("content-type", "application/octet-stream")
        accept = headers.get("accept", "application/json")
        status, kind, content = fleet.invoke(body, content_type, accept)  # type: ignore[union-attr]
        variant = config["ProductionVariants"][0]["VariantName"]  # type: ignore[index]
        if status != 200:
            side = "client" if 400 <= status < 500 else "server"
            problem = {
                "Message": f'Received {side} error ({status}) from primary with message "{content.decode()}".',
                "OriginalStatusCode": status or 500,
                "OriginalMessage": content.decode(),
                "LogStreamArn": "",
            }
            return (
                424,
                {"Content-Type": "application/json", "x-amzn-ErrorType": "ModelError"},
                json.dumps(problem).encode(),
            )
        inference_id = headers.get("x-amzn-sagemaker-inference-id")
        capture = (config or {}).get("DataCaptureConfig", {})
        self.capture.record(capture, f"{name}/{variant}", (body, content_type), (content, kind), inference_id)
        return 200, {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": variant}, content

    # The process's life -----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Endpoints that were serving when the state was saved serve again, and those that were coming up do, too."""
        for endpoint in self.store.each("endpoints"):
            if endpoint["EndpointStatus"] != "Failed":
                self._create(endpoint, endpoint["_config"])

    def close(self) -> None:
        """No model server is left, every capture is in S3."""
        self.capture.close()
        for traffic in list(self._traffic.values()):
            for fleet in (traffic.blue, traffic.green):
                if fleet:
                    fleet.end()


def _shifts(routing: Resource) -> list[tuple[float, float]]:
    """The steps of traffic shifting: the green fleet's share, and the seconds to bake at it."""
    kind, wait = routing.get("Type", "ALL_AT_ONCE"), float(routing.get("WaitIntervalInSeconds", 0))
    if kind == "CANARY":
        return [(_fraction(routing["CanarySize"]), wait), (1.0, 0.0)]
    if kind == "LINEAR":
        size = _fraction(routing["LinearStepSize"])
        steps = math.ceil(1 / size - 1e-9)
        return [(min(1.0, size * (step + 1)), wait if step + 1 < steps else 0.0) for step in range(steps)]
    return [(1.0, wait)]


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


def _refused(status: int, name: str, account: str) -> tuple[int, dict[str, str], bytes]:
    words = (
        f"Endpoint {name} of account {account} not found." if status == 404 else f"Endpoint {name} is not in service."
    )
    body = json.dumps({"Message": words}).encode()
    return 400, {"Content-Type": "application/json", "x-amzn-ErrorType": "ValidationError"}, body
