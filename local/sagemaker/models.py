"""Models and endpoint configs: what could be served."""

from __future__ import annotations

from local.sagemaker import s3 as files
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


class Models:
    """Models and endpoint configs by name."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store, self.registry = store, registry

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
        if uri := model.get("PrimaryContainer", {}).get("ModelDataUrl"):
            self._check_data(uri, model.get("ExecutionRoleArn", ""))
        self.store.add("models", name, model, "model")
        self.store.kinds["tags"][model["ModelArn"]] = {"Tags": params.get("Tags", [])}
        return pick(model, "ModelArn")

    def describe_model(self, params: Resource) -> Resource:
        """DescribeModel."""
        return shown(self.model(params["ModelName"]))

    def list_models(self, params: Resource) -> Resource:
        """ListModels."""
        found, more = page(self.store.each("models"), params, "Model")
        return {"Models": [pick(item, "ModelName", "ModelArn", "CreationTime") for item in found], **more}

    def delete_model(self, params: Resource) -> Resource:
        """DeleteModel."""
        del self.store.kinds["models"][self.model(params["ModelName"])["ModelName"]]
        return {}

    def _check_data(self, uri: str, role: str) -> None:
        bucket, key = files.split(uri)
        s3 = self.store.aws("s3", role)
        try:
            s3.get_object(Bucket=bucket, Key=key)["Body"].close()
        except s3.exceptions.NoSuchKey:
            raise ApiError("ValidationException", f"Could not find model data at {uri}.") from None

    def model(self, name: str) -> Resource:
        """The model; ApiError if there is none of that name."""
        return self.store.find("models", name, could_not_find("model", self.store.arn(f"model/{name}")))

    # Endpoint configs -------------------------------------------------------------------------------------------------

    def create_endpoint_config(self, params: Resource) -> Resource:
        """CreateEndpointConfig."""
        name = params["EndpointConfigName"]
        if "ShadowProductionVariants" in params:
            raise ApiError("UnknownOperationException", "the embedded SageMaker has no shadow variants", 501)
        names = [variant["VariantName"] for variant in params["ProductionVariants"]]
        if len(set(names)) != len(names):
            raise ApiError("ValidationException", f"The names of production variants must differ: {', '.join(names)}.")
        for variant in params["ProductionVariants"]:
            self.model(variant["ModelName"])
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
        return shown(self.config(params["EndpointConfigName"]))

    def list_endpoint_configs(self, params: Resource) -> Resource:
        """ListEndpointConfigs."""
        found, more = page(self.store.each("configs"), params, "EndpointConfig")
        names = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {"EndpointConfigs": [pick(item, *names) for item in found], **more}

    def delete_endpoint_config(self, params: Resource) -> Resource:
        """DeleteEndpointConfig; AWS does not refuse it for one in use."""
        del self.store.kinds["configs"][self.config(params["EndpointConfigName"])["EndpointConfigName"]]
        return {}

    def config(self, name: str) -> Resource:
        """The endpoint config; ApiError if there is none of that name."""
        missing = could_not_find("endpoint configuration", self.store.arn(f"endpoint-config/{name}"))
        return self.store.find("configs", name, missing)

    def artifact(self, name: str) -> tuple[str, dict[str, str]]:
        """Where the model's data is and the environment of its container, its own before its package's."""
        model = self.model(name)
        container = model.get("PrimaryContainer") or model["Containers"][0]
        uri, environment = container.get("ModelDataUrl"), container.get("Environment", {})
        if package := container.get("ModelPackageName"):
            described = self.registry.describe_model_package({"ModelPackageName": package})
            registered = described["InferenceSpecification"]["Containers"][0]
            uri, environment = registered["ModelDataUrl"], {**registered.get("Environment", {}), **environment}
        return str(uri), dict(environment)

    def role(self, name: str) -> str:
        """The role that the model's container acts under."""
        return str(self.model(name).get("ExecutionRoleArn", ""))
