"""Publishing: the jobs' code is in the bucket, the pipeline refers to it, and the first episode is asked for."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.core.errors import InvalidSettings
from retrain.core.telemetry import logger
from retrain.pipeline import job_code
from retrain.pipeline.definition import CANDIDATE_JOBS, definition

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker

Respond = Callable[[Mapping[str, Any], str, str, Mapping[str, str], str], None]


@dataclass(frozen=True)
class PublishingSettings:
    """Which pipeline is published, with which role, for which endpoint, and whether there is data to begin with."""

    pipeline_name: str
    job_role_arn: str
    endpoint_name: str
    initial_data_uri: str
    candidate_jobs: str = "one"  # `one` job trains all candidates, or `each` has its own
    spot: bool = False  # training jobs run on spot instances

    def __post_init__(self) -> None:
        if not self.pipeline_name or not self.job_role_arn:
            raise InvalidSettings("the pipeline needs a name and a role")
        if self.candidate_jobs not in CANDIDATE_JOBS:
            raise InvalidSettings(f"candidate jobs are {' or '.join(CANDIDATE_JOBS)}: {self.candidate_jobs}")


def answer(
    event: Mapping[str, Any],
    *,
    settings: Callable[[], PublishingSettings],
    ledger: Callable[[], Ledger],
    store: Callable[[], Store],
    sagemaker: Callable[[], SageMaker],
    bus: Callable[[], Bus],
    respond: Respond,
) -> dict[str, Any]:
    """CloudFormation has its answer, whatever happened: without one, a stack hangs for an hour.

    That is also why settings and adapters are made in here, where an error about them still becomes an answer.
    """
    asked = str(event.get("RequestType"))
    step = str(event.get("ResourceProperties", {}).get("Step", "publish"))
    physical_id = str(event.get("PhysicalResourceId") or f"{event.get('LogicalResourceId')}-{step}")
    try:
        data: Mapping[str, str] = {}
        if step == "bootstrap":
            if asked != "Delete":
                data = {"Bootstrap": request_bootstrap(settings(), ledger(), bus())}
        elif asked == "Delete":
            sagemaker().delete_pipeline(settings().pipeline_name, _token(str(event["RequestId"])))
        else:
            data = publish_pipeline(settings(), store(), sagemaker())
    except Exception as error:  # noqa: BLE001 - whatever it is, CloudFormation has to hear of it
        logger.exception("publishing failed")
        # A pipeline that can't be deleted must not keep the stack from being deleted.
        status = "SUCCESS" if asked == "Delete" else "FAILED"
        respond(event, status, physical_id, {}, f"{type(error).__name__}: {error}")
        return {"status": status.lower()}
    respond(event, "SUCCESS", physical_id, data, "")
    return {"status": "success", **data}


def publish_pipeline(settings: PublishingSettings, store: Store, sagemaker: SageMaker) -> dict[str, str]:
    """The code is under code/{sha}/, and the pipeline has its definition. `CodeUri`, `PipelineArn`."""
    package, source = job_code.package_files(), job_code.source_files()
    folder = f"code/{code_hash({**source, **package})}"
    store.put(f"{folder}/none/none.jsonl", b"")  # stands for "no champion", "no captures", "no labels"
    for name, file in package.items():
        store.upload(f"{folder}/{name}", file)
    store.put(f"{folder}/source.tar.gz", source_archive(source), "application/gzip")
    text = json.dumps(definition(settings.candidate_jobs, spot=settings.spot), sort_keys=True)
    arn = sagemaker.put_pipeline(settings.pipeline_name, text, settings.job_role_arn, _token(folder + text))
    logger.info("pipeline published", pipeline_arn=arn, code=folder, files=len(package))
    return {"CodeUri": store.uri(folder), "PipelineArn": arn}


def request_bootstrap(settings: PublishingSettings, ledger: Ledger, bus: Bus) -> str:
    """The event that opens the first episode is on the bus, unless there is a champion or nothing to train it on."""
    if not settings.initial_data_uri:
        return "no initial data"
    if ledger.champion(settings.endpoint_name):
        return "champion exists"
    bus.put("Bootstrap Requested", {"endpoint_name": settings.endpoint_name})
    return "requested"


def code_hash(files: Mapping[str, Path]) -> str:
    """The first 16 hex digits of the SHA-256 of all names and contents: other code, other folder."""
    digest = sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name}\0{sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def source_archive(files: Mapping[str, Path]) -> bytes:
    """A tar.gz of the files under their names; the same files always give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, file in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = file.stat().st_size
            member.mode = 0o644
            with file.open("rb") as content:
                tar.addfile(member, content)
    return packed.getvalue()


def _token(text: str) -> str:
    """A ClientRequestToken that is the same for the same request."""
    return sha256(text.encode()).hexdigest()
