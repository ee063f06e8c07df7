"""An endpoint that was there before the stack: what serves becomes the first champion, if that was asked for.

What is judged has to be what serves, and the loop can't compare requests with a training that nobody told it of. So the
archive that serves has to lie beside model.toml and train.csv, under InitialDataUri.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retrain.core import names
from retrain.core.errors import NotOurs

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker


def is_foreign(endpoint: Mapping[str, Any] | None, ledger: Ledger) -> bool:
    """Whether something serves that no episode of this ledger made. Configs are named after their episodes."""
    return endpoint is not None and ledger.episode(str(endpoint["EndpointConfigName"])) is None


def adoptable_archive(endpoint: Mapping[str, Any], initial_data_uri: str, sagemaker: SageMaker) -> str:
    """The URI of the archive that the endpoint serves, which lies under InitialDataUri; NotOurs, with why, if not."""
    name, config_name = endpoint["EndpointName"], str(endpoint["EndpointConfigName"])
    config = sagemaker.endpoint_config(config_name) or {}
    variants = config.get("ProductionVariants", [])
    if [variant.get("VariantName") for variant in variants] != [names.VARIANT] or "ServerlessConfig" in variants[0]:
        raise NotOurs(
            f"{name} can't be adopted: blue/green updates need exactly one variant, named {names.VARIANT}, on "
            f"instances, and {config_name} has another shape"
        )
    served = _archives(sagemaker.model(variants[0]["ModelName"]) or {}, sagemaker)
    wanted = f"{initial_data_uri.rstrip('/')}/model.tar.gz"
    if served != [wanted]:
        raise NotOurs(
            f"{name} can't be adopted: it serves {', '.join(served) or 'nothing that lies in S3'}, and InitialDataUri "
            f"says {wanted}. Put model.toml and train.csv of that model beside its archive, and give that folder"
        )
    return wanted


def _archives(model: Mapping[str, Any], sagemaker: SageMaker) -> list[str]:
    """The model's archives, in whatever way CreateModel was told of them."""
    found = []
    for container in [model["PrimaryContainer"]] if "PrimaryContainer" in model else model.get("Containers", []):
        if package := container.get("ModelPackageName"):
            specification = sagemaker.model_package(package).get("InferenceSpecification", {})
            found += [str(inner.get("ModelDataUrl", "")) for inner in specification.get("Containers", [])]
        else:
            source = container.get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri", "")
            found.append(str(container.get("ModelDataUrl") or source))
    return found
