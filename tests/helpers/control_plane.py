"""Fakes for what the control plane speaks to, and worlds to put it into."""

from __future__ import annotations

import hmac
import io
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

from retrain.aws.ledger import Ledger
from retrain.core.clock import parse
from retrain.core.errors import NoArtifact, Throttled
from retrain.core.names import console_link
from retrain.core.values import Enclosure, Episode, Step, Trigger
from retrain.core.window import CaptureFile, prefixes
from retrain.episode.approval import ApprovalRules
from retrain.episode.closing import ClosingRules
from retrain.episode.opening import OpeningRules
from retrain.episode.retraining import PatienceRules, PipelineSettings
from retrain.episode.rollout import RolloutSettings

ACCOUNT, REGION = "000000000000", "us-east-1"
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:drift-retrain-DriftAlarm"
NATIVE_ALARM = ALARM.replace("DriftAlarm", "NativeDriftAlarm")
QUALITY_ALARM = ALARM.replace("DriftAlarm", "QualityAlarm")
NOW = parse("2013-04-01T00:00:41.318Z")
PACKAGE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/flights/2"
RUN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/flights-retrain/execution/run1"
MODEL = b"the challenger"


def make_table(dynamodb: Any, name: str) -> None:
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk", "endpoint_name", "opened_at")
        ],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_endpoint",
                "KeySchema": _keys("endpoint_name", "opened_at"),
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )


def _keys(of: str, sorted_by: str) -> list[Any]:
    return [{"AttributeName": of, "KeyType": "HASH"}, {"AttributeName": sorted_by, "KeyType": "RANGE"}]


class FakeMachine:
    """A state machine that remembers its executions."""

    def __init__(self) -> None:
        self.inputs: dict[str, str] = {}
        self.starts = 0
        self.status = "RUNNING"
        self.fails = 0
        self.ended: dict[str, tuple[str, Any]] = {}

    def execution(self, name: str) -> tuple[str, Any] | None:
        return self.ended.get(name, (self.status, None) if name in self.inputs else None)

    def start(self, name: str, text: str, trace: str | None) -> tuple[str, str]:
        self.starts += 1
        if self.fails:
            self.fails -= 1
            raise Throttled("states:StartExecution: slow down")
        assert self.inputs.setdefault(name, text) == text, "another input under the same name"
        return f"arn:aws:states:{REGION}:{ACCOUNT}:execution:machine:{name}", self.status


class FakeCallbacks:
    def __init__(self) -> None:
        self.outputs: list[tuple[str, dict[str, Any]]] = []
        self.waiting = True

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        if self.waiting:
            self.outputs.append((token, output))
        return self.waiting


class FakeTopic:
    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.down = False

    def publish(self, subject: str, text: str) -> None:
        if self.down:
            raise Throttled("sns:Publish: no")
        self.messages.append((subject, text))


class FakeMacs:
    """A key of KMS that counts how often it was asked."""

    def __init__(self, key: bytes = b"the stack's") -> None:
        self._key, self.asked = key, 0

    def make(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")

    def genuine(self, message: bytes, code: bytes) -> bool:
        self.asked += 1
        return hmac.compare_digest(self.make(message), code)


class FakeBus:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.down = False

    def put(self, detail_type: str, detail: dict[str, Any]) -> None:
        if self.down:
            raise Throttled("events:PutEvents: no")
        self.events.append((detail_type, detail))


class FakeQueue:
    def __init__(self) -> None:
        self.kept: list[tuple[Any, str]] = []

    def keep(self, event: Any, reason: str, detail: str) -> None:
        self.kept.append((event, reason))


class FakeStore:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def uri(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def link(self, uri: str) -> str:
        return console_link("bucket", uri.removeprefix("s3://bucket/"), REGION)

    def put(self, key: str, body: bytes | str, content_type: str = "") -> str:
        self.objects[self.uri(key)] = body.encode() if isinstance(body, str) else body
        return self.uri(key)

    def upload(self, key: str, file: Any) -> None:
        self.put(key, file.read_bytes())

    def read(self, uri: str) -> bytes:
        if uri not in self.objects:
            raise NoArtifact(f"s3:GetObject: {uri}")
        return self.objects[uri]

    def sha256(self, uri: str) -> str:
        return sha256(self.read(uri)).hexdigest()

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for uri in self.objects if (key := uri.removeprefix("s3://bucket/")).startswith(prefix))

    def files_between(self, folder: str, start: Any, end: Any) -> list[CaptureFile]:
        found = [(key, self.objects[self.uri(key)]) for key in self.keys_between(folder, start, end)]
        return [CaptureFile(key, sha256(body).hexdigest(), len(body)) for key, body in found if body]

    def bodies(self, keys: list[str]) -> Iterator[tuple[str, bytes]]:
        for key in keys:
            if self.uri(key) in self.objects:
                yield key, self.read(self.uri(key))

    def keys_between(self, folder: str, start: Any, end: Any) -> list[str]:
        spans = tuple(f"s3://bucket/{folder}/{prefix}" for prefix in prefixes(start, end))
        return sorted(uri.removeprefix("s3://bucket/") for uri in self.objects if uri.startswith(spans))

    def files(self, keys: list[str]) -> Iterator[tuple[str, io.BytesIO]]:
        for key in keys:
            yield key, io.BytesIO(self.read(self.uri(key)))


class FakeSageMaker:
    """A SageMaker with one pipeline, one package and one endpoint."""

    def __init__(self) -> None:
        self.status = "Succeeded"
        self.reason = ""
        self.steps: list[dict[str, Any]] = []
        self.texts: dict[str, str] = {}
        self.runs: dict[str, dict[str, str]] = {}
        self.stopped: list[str] = []
        self.package: dict[str, Any] = {}
        self.described_packages: list[tuple[str, dict[str, str], str, str]] = []
        self.approvals: list[tuple[str, str, str]] = []
        self.described: dict[str, Any] | None = None
        self.models: dict[str, Any] = {}
        self.configs: dict[str, Any] = {}
        self.updates: list[dict[str, Any]] = []
        self.created: list[str] = []
        self.deleted: list[tuple[str, str]] = []
        self.pipelines: dict[str, str] = {}
        self.owners: dict[str, dict[str, str]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.schedule_updates = 0
        self.definitions: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, Mapping[str, Any]] = {}
        self.job_statuses: dict[str, str] = {}

    def start_processing(self, name: str, wanted: Mapping[str, Any]) -> None:
        self.jobs.setdefault(name, wanted)
        self.job_statuses.setdefault(name, "InProgress")

    def processing_status(self, name: str) -> str | None:
        return self.job_statuses.get(name)

    def start_pipeline(self, name: str, token: str, display_name: str, parameters: Mapping[str, str]) -> str:
        assert 32 <= len(token) <= 128
        assert len(display_name) <= 82
        self.runs.setdefault(token, dict(parameters))
        return RUN.replace("run1", f"run{list(self.runs).index(token) + 1}")

    def pipeline_execution(self, arn: str) -> dict[str, Any]:
        return {"PipelineExecutionStatus": self.status, "FailureReason": self.reason}

    def pipeline_steps(self, arn: str) -> list[dict[str, Any]]:
        return self.steps

    def stop_pipeline_if_running(self, arn: str) -> None:
        self.stopped.append(arn)

    def job_text(self, step: Mapping[str, Any]) -> str:
        return self.texts.get(step["StepName"], "")

    def model_package(self, arn: str) -> dict[str, Any]:
        return self.package

    def describe_package(self, arn: str, metadata: Mapping[str, str], card: str, card_status: str) -> None:
        self.described_packages.append((arn, dict(metadata), card, card_status))

    def set_approval(self, arn: str, status: str, why: str) -> None:
        self.approvals.append((arn, status, why))
        self.package["ModelApprovalStatus"] = status

    def endpoint(self, name: str) -> dict[str, Any] | None:
        return self.described

    def endpoint_config(self, name: str) -> dict[str, Any] | None:
        return self.configs.get(name)

    def model(self, name: str) -> dict[str, Any] | None:
        return self.models.get(name)

    def put_model(self, name: str, wanted: Mapping[str, Any]) -> None:
        self.models[name] = wanted

    def put_endpoint_config(self, name: str, wanted: Mapping[str, Any]) -> None:
        self.configs[name] = wanted

    def delete_model(self, name: str) -> None:
        self.deleted.append(("model", name))

    def delete_endpoint_config(self, name: str) -> None:
        self.deleted.append(("config", name))

    def delete_package(self, arn: str) -> None:
        self.deleted.append(("package", arn))

    def create_endpoint(self, name: str, config: str, tags: list[dict[str, str]]) -> None:
        self.created.append(config)
        self.described = in_service(config, "Creating")

    def update_endpoint(self, name: str, config: str, deployment: Mapping[str, Any], *, keep_counts: bool) -> None:
        self.updates.append({"config": config, "deployment": deployment, "keep_counts": keep_counts})
        assert self.described is not None
        self.described["EndpointStatus"] = "Updating"
        self.described["PendingDeploymentSummary"] = {"EndpointConfigName": config}

    def monitoring_schedule(self, name: str) -> dict[str, Any]:
        return self.schedules[name]

    def update_monitoring_schedule(self, name: str, config: Mapping[str, Any]) -> None:
        self.schedules[name]["MonitoringScheduleConfig"] = dict(config)
        self.schedule_updates += 1

    def data_quality_definition(self, name: str) -> dict[str, Any]:
        return self.definitions[name]

    def put_data_quality_definition(self, name: str, wanted: Mapping[str, Any]) -> None:
        assert len(name) <= 63
        assert self.definitions.setdefault(name, dict(wanted)) == wanted, "another content under the same name"

    def pipeline_owner(self, name: str, tag: str, role_arn: str) -> str | None:
        return self.owners.get(name, {}).get(tag)

    def put_pipeline(self, name: str, definition: str, role_arn: str, token: str, tags: Mapping[str, str]) -> str:
        self.pipelines[name] = definition
        self.owners[name] = dict(tags)
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{name}"

    def delete_pipeline(self, name: str, token: str) -> None:
        self.pipelines.pop(name, None)
        self.owners.pop(name, None)

    def registers(self, episode_id: str, approval: str = "PendingManualApproval") -> None:
        """The pipeline succeeded and registered a package for the episode."""
        self.steps = [
            {"StepName": "EvaluateChallenger"},
            {"StepName": "RegisterChallenger", "Metadata": {"RegisterModel": {"Arn": PACKAGE}}},
        ]
        self.package = {
            "ModelPackageArn": PACKAGE,
            "ModelPackageGroupName": "flights",
            "ModelPackageStatus": "Completed",
            "ModelApprovalStatus": approval,
            "CustomerMetadataProperties": {"episode_id": episode_id},
            "InferenceSpecification": {"Containers": [{"ModelDataUrl": "s3://bucket/model.tar.gz"}]},
            "LastModifiedBy": {"IamIdentity": {"Arn": "arn:aws:iam::000000000000:user/ada"}},
        }


def in_service(config: str, status: str = "InService", instances: int = 1) -> dict[str, Any]:
    """An endpoint as DescribeEndpoint tells of it."""
    return {
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "ProductionVariants": [{"VariantName": "AllTraffic", "DesiredInstanceCount": instances}],
    }


class FakeCloudWatch:
    def __init__(self) -> None:
        self.alarming: list[str] = []
        self.published: list[Any] = []

    def in_alarm(self, names: Any) -> list[str]:
        return self.alarming

    def put_metrics(self, metrics: Any) -> None:
        self.published += metrics


def opening_rules(**changes: Any) -> OpeningRules:
    rules = {
        "endpoint_name": "flights",
        "account": ACCOUNT,
        "region": REGION,
        "alarm_arns": frozenset({ALARM}),
        "enabled": True,
        "window": timedelta(hours=744),
        "max_event_age": timedelta(hours=24),
        "quality_alarm_arns": frozenset({QUALITY_ALARM}),
        "monthly_dollars": 100.0,
        "label_wait": timedelta(hours=48),
    }
    return OpeningRules(**{**rules, **changes})


CLOSING = ClosingRules(cooldown=timedelta(hours=1))
PATIENCE = PatienceRules(pipeline=timedelta(hours=12), labels=timedelta(hours=48))
APPROVAL = ApprovalRules("flights", "auto", ACCOUNT, REGION, "flights")
REGISTRY = ApprovalRules("flights", "registry", ACCOUNT, REGION, "flights")
ENCLOSURE = Enclosure("arn:key", volumes=True, subnets=("subnet-1",), security_groups=("sg-1",))
ROLLOUT = RolloutSettings("arn:aws:iam::000000000000:role/endpoint", "ml.m5.large", 1, 300, ("errors",), ENCLOSURE)
PIPELINE = PipelineSettings(
    pipeline_name="flights-retrain",
    code_uri="s3://bucket/code/1",
    initial_data_uri="s3://data/2013/",
    job_role_arn="arn:aws:iam::000000000000:role/job",
    image_uri="image",
    training_instance_type="ml.m5.xlarge",
    training_instance_count=1,
    processing_instance_type="ml.m5.xlarge",
    model_package_group="flights",
    kms_key_arn="arn:key",
)


def trigger(at: Any = NOW, cause: str = ALARM, **changes: Any) -> Trigger:
    return Trigger("flights", cause, at, "drift_max 0.74 > 0.3", **changes)


def opened(ledger: Ledger, cause: Trigger | None = None) -> Episode:
    """An open episode that holds the lock, as the alarm handler leaves it."""
    cause = cause or trigger()
    window = (cause.at - timedelta(days=31), cause.at)
    assert not isinstance(ledger.open(cause, window, cause.at + timedelta(hours=1)), str)
    episode = Episode(cause.episode_id, cause.endpoint_name, ledger.lock("flights")["fence"], cause.bootstrap)
    ledger.record_execution(episode, "arn:execution", cause.at + timedelta(days=11))
    return episode


def step(episode: Episode, name: str = "", now: Any = NOW, **fields: Any) -> Step:
    return Step.of({"step": name, "episode": episode.payload(), "now": now.isoformat(), **fields})


def crowned(ledger: Ledger, config: str = "old-config", **fields: Any) -> None:
    """A champion that serves, from an episode long ago."""
    past = opened(ledger, trigger(parse("2013-01-01T00:00:00Z"), "bootstrap", bootstrap=True))
    ledger.switch_champion(
        past,
        {
            "endpoint_config_name": config,
            "model_package_arn": PACKAGE.replace("/2", "/1"),
            "model_data_uri": "s3://bucket/old/model.tar.gz",
            "model_sha256": OLD_MODEL,
            "dataset_uri": "s3://bucket/episodes/old/dataset",
            "dataset_sha256": OLD_DATASET,
            "statistics_uri": "s3://bucket/old/statistics.json",
            "constraints_uri": "s3://bucket/old/constraints.json",
            "quality_constraints_uri": "s3://bucket/old/quality/constraints.json",
            "since": "2013-01-01T00:00:00Z",
            "episode_id": past.episode_id,
            **fields,
        },
    )
    ledger.close(past, closed_at=past_end(), rearm_at=past_end(), outcome="promoted", reason="", detail="")


def past_end() -> Any:
    return parse("2013-01-01T01:00:00Z")


GATE = {
    "decision": "promote",
    "reasons": [],
    "metric": "rmse",
    "champion": 20.0,
    "challenger": 12.0,
    "interval": [7.0, 9.0],
    "margin": 0.2,
}


# SHA-256 of what the champion is and was made of.
OLD_MODEL, OLD_DATASET = "0" * 64, "1" * 64


def evaluated(
    store: FakeStore, sagemaker: FakeSageMaker, episode: Episode, rows: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """evaluation.json, the dataset, the baseline and the artefact are where the pipeline puts them; what they say.

    `rows` are what evaluation.json says of the window's rows and of earlier ones', `changes` of the gate.
    """
    folder = f"episodes/{episode.episode_id}"
    store.put(f"{folder}/dataset/train.csv", "y\n1\n")
    manifest = json.dumps({"version": 1, "sha256": {"train.csv": sha256(b"y\n1\n").hexdigest()}})
    store.put(f"{folder}/dataset/manifest.json", manifest)
    document = {
        "version": 0.0,
        "gate": {**GATE, **changes},
        "model_sha256": sha256(MODEL).hexdigest(),
        "dataset_sha256": sha256(manifest.encode()).hexdigest(),
        "constraints_sha256": sha256(b"{}").hexdigest(),
        "champion_sha256": None if episode.bootstrap else OLD_MODEL,
        "reference_sha256": None if episode.bootstrap else OLD_DATASET,
        **(rows or {}),
    }
    text = json.dumps(document)
    store.put(f"{folder}/evaluation/evaluation.json", text)
    sagemaker.texts["EvaluateChallenger"] = f"promote, evaluation.json {sha256(text.encode()).hexdigest()}"
    store.put(f"{folder}/baseline/statistics.json", "{}")
    store.put(f"{folder}/baseline/constraints.json", "{}")
    store.put(f"{folder}/evaluation/constraints.json", "{}")
    store.put("model.tar.gz", MODEL)
    return document
