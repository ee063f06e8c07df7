"""Publishing: the jobs' code is in the bucket, the pipeline refers to it, and the first episode is asked for."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.core.enough import Plan, conflicts
from retrain.core.errors import InvalidSettings, NotOurs
from retrain.core.telemetry import logger
from retrain.core.values import Enclosure
from retrain.episode.adopting import adoptable_archive, is_foreign
from retrain.pipeline import job_code
from retrain.pipeline.definition import CANDIDATE_JOBS, definition

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker

OWNER = "retrain:stack"  # a pipeline's tag: the id of the stack that owns it, and with it the endpoint of its name
WATCHED_FOR_SILENCE = ("rows_analyzed", "answers_without_labels")  # metrics; the monitors go on with them
Respond = Callable[[Mapping[str, Any], str, str, Mapping[str, str], str], None]


@dataclass(frozen=True)
class PublishingSettings:
    """Which pipeline is published, with which role, for which endpoint, and whether there is data to begin with.

    `runs_on` is what the function runs on, as python3.13-arm64. InvalidSettings if nothing could ever be trained.
    """

    pipeline_name: str
    job_role_arn: str
    endpoint_name: str
    initial_data_uri: str
    candidate_jobs: str = "one"  # `one` job trains all candidates, or `each` has its own
    spot: bool = False  # training jobs run on spot instances
    adopt: bool = False  # the endpoint is there already, and what serves becomes the first champion
    runs_on: str = ""
    enclosure: Enclosure = field(default_factory=lambda: Enclosure(""))
    plan: Plan = field(default_factory=Plan)  # what episodes will need by the deployment's parameters

    def __post_init__(self) -> None:
        if not self.pipeline_name or not self.job_role_arn:
            raise InvalidSettings("the pipeline needs a name and a role")
        if never := [str(conflict) for conflict in conflicts(self.plan) if conflict.never]:
            raise InvalidSettings(f"nothing would ever be trained: {'; '.join(never)}")
        if self.candidate_jobs not in CANDIDATE_JOBS:
            raise InvalidSettings(f"candidate jobs are {' or '.join(CANDIDATE_JOBS)}: {self.candidate_jobs}")


def answer(
    event: Mapping[str, Any],
    *,
    settings: Callable[[], PublishingSettings],
    ledger: Callable[[], Ledger],
    store: Callable[[], Store],
    sagemaker: Callable[[], SageMaker],
    cloudwatch: Callable[[], CloudWatch],
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
        stack = str(event["StackId"])
        if step == "bootstrap":
            if asked != "Delete":
                data = {"Bootstrap": request_bootstrap(settings(), ledger(), bus())}
        elif asked == "Delete":
            if owner(settings(), sagemaker()) in {None, stack}:
                sagemaker().delete_pipeline(settings().pipeline_name, _token(str(event["RequestId"])))
        else:
            require_built_for(settings().runs_on)
            require_ownership(stack, settings(), ledger(), sagemaker())
            data = publish_pipeline(stack, settings(), store(), sagemaker())
            begin_watch(settings().endpoint_name, cloudwatch())
    except Exception as error:  # noqa: BLE001 - whatever it is, CloudFormation has to hear of it
        logger.exception("publishing failed")
        # A pipeline that can't be deleted must not keep the stack from being deleted.
        status = "SUCCESS" if asked == "Delete" else "FAILED"
        respond(event, status, physical_id, {}, f"{type(error).__name__}: {error}")
        return {"status": status.lower()}
    respond(event, "SUCCESS", physical_id, data, "")
    return {"status": "success", **data}


def require_built_for(runs_on: str, package: Path = Path(__file__).parents[2]) -> None:
    """The packages were built for what runs them; InvalidSettings if `sam build` was told another runtime or processor.

    `sam build` writes what it was told into the package. Without that file (a checkout) there is nothing to compare.
    """
    file = package / "built-for"
    built_for = file.read_text().strip() if file.exists() else runs_on
    if built_for != runs_on:
        raise InvalidSettings(
            f"the functions were built for {built_for} and deployed to {runs_on}: give `sam build` and `sam deploy` "
            "the same LambdaRuntime and Architecture (--parameter-overrides, or samconfig.toml)"
        )


def require_ownership(stack: str, settings: PublishingSettings, ledger: Ledger, sagemaker: SageMaker) -> None:
    """The endpoint's name is this stack's, for as long as it lives; NotOurs, which says whose it is, if not.

    A pipeline of that name tells its owner by a tag. The ledger, which belongs to one stack, knows the name it keeps.
    An endpoint of that name has to be one that an episode of this ledger made: what others serve is never replaced,
    unless it shall be adopted, and can be.
    """
    name, pipeline = settings.endpoint_name, settings.pipeline_name
    if (other := owner(settings, sagemaker)) not in {None, stack}:
        raise NotOurs(
            f"EndpointName {name} is taken: the pipeline {pipeline} belongs to {other}. Deploy with another "
            "EndpointName; if that stack is gone, delete the pipeline and deploy again"
        )
    if (kept := ledger.owned_endpoint(name)) != name:
        raise NotOurs(
            f"this stack owns endpoint {kept}, and so its ledger, captures and alarms are kept under that name: deploy "
            f"with EndpointName={kept}, and a stack of its own for {name}"
        )
    if ledger.champion(name):
        return
    endpoint = sagemaker.endpoint(name)
    if settings.adopt and endpoint is None:
        raise NotOurs(f"AdoptEndpoint=true, and there is no endpoint {name}: give its name, or AdoptEndpoint=false")
    if endpoint is None or not is_foreign(endpoint, ledger):
        return
    if not settings.adopt:
        raise NotOurs(
            f"the endpoint {name} exists and serves {endpoint['EndpointConfigName']}, which no episode of this stack "
            "made: deploy with another EndpointName, delete the endpoint, or adopt it (AdoptEndpoint=true). "
            "Nothing was replaced"
        )
    adoptable_archive(endpoint, settings.initial_data_uri, sagemaker)


def owner(settings: PublishingSettings, sagemaker: SageMaker) -> str | None:
    """The id of the stack that owns the pipeline, or its role where no tag says it; None if nobody does, or we do."""
    return sagemaker.pipeline_owner(settings.pipeline_name, OWNER, settings.job_role_arn)


def begin_watch(endpoint_name: str, cloudwatch: CloudWatch) -> None:
    """The silence alarms, which are made after this, have seen a beginning: they count from now on."""
    dimensions = [{"Name": "Endpoint", "Value": endpoint_name}]
    cloudwatch.put_metrics(
        [{"MetricName": name, "Dimensions": dimensions, "Value": 0.0} for name in WATCHED_FOR_SILENCE]
    )


def publish_pipeline(stack: str, settings: PublishingSettings, store: Store, sagemaker: SageMaker) -> dict[str, str]:
    """The code is under code/{sha}/, and the pipeline has its definition. `CodeUri`, `PipelineArn`."""
    package, source = job_code.package_files(), job_code.source_files()
    folder = f"code/{code_hash({**source, **package})}"
    store.put(f"{folder}/none/none.jsonl", b"")  # stands for "no champion", "no captures", "no labels"
    for name, file in package.items():
        store.upload(f"{folder}/{name}", file)
    store.put(f"{folder}/source.tar.gz", source_archive(source), "application/gzip")
    made = definition(settings.candidate_jobs, settings.plan, spot=settings.spot, enclosure=settings.enclosure)
    text = json.dumps(made, sort_keys=True)
    token = _token(stack + folder + text)
    arn = sagemaker.put_pipeline(settings.pipeline_name, text, settings.job_role_arn, token, {OWNER: stack})
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
