"""What was judged is what is rolled out: the SHA-256 of everything that the decision rests on, and their check.

The approver seals the artefact, the evaluation, the dataset and the baseline when it has verified them, and the
package's container, which an edit in the registry could change. Seals are kept in the ledger, where nobody who can
write to the bucket or to the registry can change them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from retrain.core.errors import AccessDenied, NoArtifact, Refused

if TYPE_CHECKING:
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker


def container_sha256(package: Mapping[str, Any]) -> str:
    """The SHA-256 of what the package runs: image, artefact and environment."""
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    return sha256(json.dumps(containers, sort_keys=True, default=str).encode()).hexdigest()


def require_untampered(item: Mapping[str, Any], *, store: Store, sagemaker: SageMaker) -> None:
    """All that the episode sealed is unchanged, byte by byte, every file of the dataset too; Refused if it is not.

    NoArtifact if something is gone.
    """
    seals = dict(item.get("seals", {}))  # an episode that an earlier version judged has none
    manifest = f"{item['dataset_uri']}/manifest.json"
    for uri in (item["model_data_uri"], item["statistics_uri"], item["constraints_uri"], manifest):
        if uri not in seals:
            raise Refused("artifact_tampered", f"the ledger has no SHA-256 of {uri}")
    for uri, expected in seals.items():
        _require_same(uri, store.sha256(uri), expected)
    for name, expected in json.loads(store.read(manifest))["sha256"].items():
        uri = f"{item['dataset_uri']}/{name}"
        _require_same(uri, store.sha256(uri), expected)
    arn = item["model_package_arn"]
    _require_same(f"the container of {arn}", container_sha256(sagemaker.model_package(arn)), item["container_sha256"])


def broken_seals(champion: Mapping[str, Any], store: Store) -> list[str]:
    """Which of the files that the champion serves with, or is compared by, are not what was judged any more, and why.

    A champion of before there were seals has none that could be broken.
    """
    found = []
    for uri, expected in champion.get("seals", {}).items():
        try:
            _require_same(uri, store.sha256(uri), expected)
        except (Refused, NoArtifact, AccessDenied) as error:  # who may not list the bucket is told so of what is gone
            found.append(str(error))
    return found


def read_sealed(champion: Mapping[str, Any], uri: str, store: Store) -> bytes:
    """The file's content, which is what was judged; Refused("artifact_tampered") if it is not."""
    content = store.read(uri)
    if expected := champion.get("seals", {}).get(uri):
        _require_same(uri, sha256(content).hexdigest(), expected)
    return content


def _require_same(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise Refused("artifact_tampered", f"{what} has SHA-256 {found}, judged {expected}")
