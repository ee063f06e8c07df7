"""The SageMaker pipeline's definition, as plain data in the language of pipeline definitions (schema 2020-12-01).

Everything that belongs to an account is a parameter of the pipeline: roles, images, buckets. Where `one` job trains all
candidates it chooses among them, which is cheapest; where `each` is trained by a job of its own, all at once, a further
step chooses. The steps are the same otherwise. The tests hold every step against botocore's model of the request that
it becomes, `make test-sdk` the whole against what the SageMaker SDK writes.
"""

from __future__ import annotations

import json
from typing import Any

from retrain.core.enough import DEPLOYED, Plan
from retrain.core.values import Enclosure
from retrain.model.spec import CANDIDATES

CANDIDATE_JOBS = ("one", "each")  # who trains the candidates
PARAMETERS = (
    "EpisodeId",
    "EndpointName",
    "Bootstrap",  # "true" or "false"
    "CapturesManifestUri",
    "LabelsManifestUri",
    "HistoryManifestUri",  # the rows of earlier windows, to learn from again
    "RowsUri",  # where those of this window are kept
    "WindowStart",
    "WindowEnd",
    "ReferenceUri",  # prefix of the champion's dataset; at bootstrap of the initial data
    "ChampionModelUri",  # the champion's model.tar.gz; at bootstrap the prefix of a placeholder
    "ChampionStatisticsUri",  # of the champion's baseline; at bootstrap the prefix of a placeholder
    "ChampionStatisticsSha256",  # what the ledger has sealed of them; at bootstrap "none"
    "OutputUri",  # where everything that the episode makes goes
    "CodeUri",  # what the jobs run
    "JobRoleArn",
    "KmsKeyArn",  # of what the jobs write, and of their disks
    "ImageUri",  # XGBoost 3.2-0
    "TrainingInstanceType",
    "ProcessingInstanceType",
    "ModelPackageGroupName",
)
COUNT = "TrainingInstanceCount"  # from two on, the instances of a training job train one model together
ALL = "all"  # candidates, in one job
_INPUT, _OUTPUT, _MESSAGE = "/opt/ml/processing/input", "/opt/ml/processing/output", "/opt/ml/output/message"
_CODE = "/opt/ml/processing/code"
_CHECKPOINTS = "/opt/ml/checkpoints"
_SOURCE = "source.tar.gz"  # what a training job runs; a channel brings it, for its container has no network
_RUNTIME = 3600  # seconds that one job may take
_WAIT = 4  # waiting for spot capacity and running, as a multiple of running alone
_VOLUME = 30  # GB of a job's disk
# XGBoost's threads wait for one another; spinning while they do costs ten times the work when cores are shared.
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
_TYPES = ["text/csv", "application/json"]

Value = Any  # a text or a number, or what a pipeline fills in
Step = dict[str, Any]


def definition(
    candidate_jobs: str, plan: Plan | None = None, *, spot: bool = False, enclosure: Enclosure | None = None
) -> dict[str, Any]:
    """The definition with `one` training job or `each` candidate its own; the same every time.

    On spot instances training jobs wait for capacity. That can't be a parameter: SageMaker takes a time to wait only of
    jobs that ask for spot instances. Nor can be what only some stacks have: a key of the disks, and subnets. `plan` is
    the deployment's, against which the first model's specification is held.
    """
    if candidate_jobs == "one":
        train = [_train("TrainChallenger", ALL, spot=spot)]
        challenger = archive = _artifacts("TrainChallenger")
    else:
        train = [_train(_trainer(name), name, spot=spot) for name in CANDIDATES]
        train.append(_choose_challenger())
        challenger, archive = _output("challenger"), _output("challenger/model.tar.gz")
    before = ["BuildDriftDataset", train[-1]["Name"]]
    jobs = [
        _build_drift_dataset(plan or Plan()),
        *train,
        _evaluate_challenger(challenger, before),
        _compute_baseline(challenger, before),
    ]
    return {
        "Version": "2020-12-01",
        "Parameters": [
            *({"Name": name, "Type": "String"} for name in PARAMETERS),
            {"Name": COUNT, "Type": "Integer"},
        ],
        "Steps": [*(_enclosed(job, enclosure or Enclosure("")) for job in jobs), _is_challenger_better(archive)],
    }


def _enclosed(step: Step, enclosure: Enclosure) -> Step:
    """The step, with its job's disks, subnets and tags."""
    job = step["Arguments"]
    instances = job["ProcessingResources"]["ClusterConfig"] if step["Type"] == "Processing" else job["ResourceConfig"]
    instances |= enclosure.disk(_parameter("KmsKeyArn"))
    (job["NetworkConfig"] if step["Type"] == "Processing" else job).update(enclosure.vpc())
    return {**step, "Arguments": {**job, "Tags": [{"Key": "episode_id", "Value": _parameter("EpisodeId")}]}}


def _build_drift_dataset(plan: Plan) -> Step:
    return _processing(
        "BuildDriftDataset",
        "retrain.jobs.dataset",
        inputs={
            "captures": ("ManifestFile", _parameter("CapturesManifestUri")),
            "labels": ("ManifestFile", _parameter("LabelsManifestUri")),
            "reference": ("S3Prefix", _parameter("ReferenceUri")),
            "history": ("ManifestFile", _parameter("HistoryManifestUri")),
        },
        output="dataset",
        more={"rows": _parameter("RowsUri")},
        options={
            "--window-start": _parameter("WindowStart"),
            "--window-end": _parameter("WindowEnd"),
            "--bootstrap": _parameter("Bootstrap"),
            "--episode-id": _parameter("EpisodeId"),
            "--plan": json.dumps({name: getattr(plan, name) for name in DEPLOYED}),
        },
    )


def _train(name: str, candidate: str, *, spot: bool) -> Step:
    """A step that trains that candidate, or all of them and chooses."""
    channels = {
        "train": _output("dataset/train.csv"),
        "validation": _output("dataset/validation.csv"),
        "holdout": _output("dataset/holdout.csv"),  # for the refit: nothing is chosen by it
        "spec": _output("dataset/model.toml"),
        "champion": _parameter("ChampionModelUri"),
        "code": _join(_parameter("CodeUri"), _SOURCE),
    }
    arguments = {
        "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": _parameter("ImageUri")},
        "HyperParameters": {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": f"/opt/ml/input/data/code/{_SOURCE}",
            "episode_id": _parameter("EpisodeId"),
            "bootstrap": _parameter("Bootstrap"),
            "candidate": candidate,
        },
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": uri,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for channel, uri in channels.items()
        ],
        "ResourceConfig": {
            "InstanceType": _parameter("TrainingInstanceType"),
            "InstanceCount": _parameter(COUNT),
            "VolumeSizeInGB": _VOLUME,
        },
        "RoleArn": _parameter("JobRoleArn"),
        "StoppingCondition": {
            "MaxRuntimeInSeconds": _RUNTIME,
            **({"MaxWaitTimeInSeconds": _WAIT * _RUNTIME} if spot else {}),
        },
        "OutputDataConfig": {"S3OutputPath": _output("model"), "KmsKeyId": _parameter("KmsKeyArn")},
        "CheckpointConfig": {"S3Uri": _output("checkpoints"), "LocalPath": _CHECKPOINTS},
        "Environment": {"CHECKPOINTS": _CHECKPOINTS, **_THREADS},
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        **({"EnableManagedSpotTraining": True} if spot else {}),
    }
    return {"Name": name, "Type": "Training", "Arguments": arguments, "DependsOn": ["BuildDriftDataset"]}


def _choose_challenger() -> Step:
    archives = {name: ("S3Prefix", _artifacts(_trainer(name))) for name in CANDIDATES}
    return _processing(
        "ChooseChallenger",
        "retrain.jobs.choose",
        inputs={"spec": ("S3Prefix", _output("dataset/model.toml")), **archives},
        output="challenger",
        options={},
    )


def _evaluate_challenger(challenger: Value, before: list[str]) -> Step:
    step = _processing(
        "EvaluateChallenger",
        "retrain.jobs.evaluate",
        inputs={
            "dataset": ("S3Prefix", _output("dataset")),
            "captures": ("ManifestFile", _parameter("CapturesManifestUri")),
            "challenger": ("S3Prefix", challenger),
            "champion": ("S3Prefix", _parameter("ChampionModelUri")),
            "reference": ("S3Prefix", _parameter("ReferenceUri")),
        },
        output="evaluation",
        options={"--evaluation-time": _parameter("WindowEnd"), "--bootstrap": _parameter("Bootstrap")},
    )
    verdict = {"PropertyFileName": "Evaluation", "OutputName": "evaluation", "FilePath": "evaluation.json"}
    return {**step, "DependsOn": before, "PropertyFiles": [verdict]}


def _compute_baseline(challenger: Value, before: list[str]) -> Step:
    step = _processing(
        "ComputeBaseline",
        "retrain.jobs.baseline",
        inputs={
            "dataset": ("S3Prefix", _output("dataset")),
            "challenger": ("S3Prefix", challenger),
            "earlier": ("S3Prefix", _parameter("ChampionStatisticsUri")),
        },
        output="baseline",
        options={"--earlier-sha256": _parameter("ChampionStatisticsSha256")},
    )
    return {**step, "DependsOn": before}


def _is_challenger_better(archive: Value) -> Step:
    verdict = {
        "Std:JsonGet": {
            "PropertyFile": {"Get": "Steps.EvaluateChallenger.PropertyFiles.Evaluation"},
            "Path": "gate.decision",
        }
    }
    return {
        "Name": "IsChallengerBetter",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [{"Type": "In", "QueryValue": verdict, "Values": ["promote", "bootstrap"]}],
            "IfSteps": [_register_challenger(archive)],
            "ElseSteps": [],  # the champion is kept: the pipeline succeeds with nothing registered
        },
        "DependsOn": ["ComputeBaseline"],
    }


def _register_challenger(archive: Value) -> Step:
    def documents(statistics: str, constraints: str) -> dict[str, Any]:
        names = {"Statistics": statistics, "Constraints": constraints}
        return {key: {"ContentType": "application/json", "S3Uri": _output(name)} for key, name in names.items()}

    found = {
        "ModelQuality": documents("evaluation/evaluation.json", "evaluation/constraints.json"),
        "ModelDataQuality": documents("baseline/statistics.json", "baseline/constraints.json"),
    }
    arguments = {
        "ModelPackageGroupName": _parameter("ModelPackageGroupName"),
        "ModelMetrics": found,
        "DriftCheckBaselines": found,
        "CustomerMetadataProperties": {
            "episode_id": _parameter("EpisodeId"),
            "endpoint_name": _parameter("EndpointName"),
            "dataset_uri": _output("dataset"),
            "evaluation_uri": _output("evaluation/evaluation.json"),
            "champion_model_uri": _parameter("ChampionModelUri"),
            "code_uri": _parameter("CodeUri"),
            "window_start": _parameter("WindowStart"),
            "window_end": _parameter("WindowEnd"),
        },
        "InferenceSpecification": {
            "Containers": [
                {
                    "Image": _parameter("ImageUri"),
                    "ModelDataUrl": archive,
                    "Environment": {
                        "SAGEMAKER_PROGRAM": "inference.py",
                        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                        **_THREADS,
                    },
                }
            ],
            "SupportedContentTypes": _TYPES,
            "SupportedResponseMIMETypes": _TYPES,
        },
        "ModelApprovalStatus": "PendingManualApproval",
        "SkipModelValidation": "None",
    }
    return {"Name": "RegisterChallenger", "Type": "RegisterModel", "Arguments": arguments}


def _processing(
    name: str,
    module: str,
    *,
    inputs: dict[str, tuple[str, Value]],
    output: str,
    options: dict[str, Value],
    more: dict[str, Value] | None = None,
) -> Step:
    """A step that runs the module with `--NAME path` for each input, `--output`, `--message` and the options.

    `more` are further outputs: their name, and where they go.
    """
    outputs = {output: _output(output), **(more or {})}
    paths = {f"--{key}": f"{_INPUT}/{key}" for key in inputs}
    paths |= {"--output": f"{_OUTPUT}/{output}", "--message": _MESSAGE}
    paths |= {f"--{key}": f"{_OUTPUT}/{key}" for key in more or {}}
    sources = {"code": ("S3Prefix", _parameter("CodeUri"), _CODE)}
    sources |= {key: (kind, uri, f"{_INPUT}/{key}") for key, (kind, uri) in inputs.items()}
    arguments = {
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": _parameter("ProcessingInstanceType"),
                "InstanceCount": 1,
                "VolumeSizeInGB": _VOLUME,
            }
        },
        "AppSpecification": {
            "ImageUri": _parameter("ImageUri"),
            "ContainerArguments": [text for pair in {**paths, **options}.items() for text in pair],
            "ContainerEntrypoint": ["python3", "-m", module],
        },
        "RoleArn": _parameter("JobRoleArn"),
        "ProcessingInputs": [
            {
                "InputName": key,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": path,
                    "S3DataType": kind,
                    "S3InputMode": "File",
                    "S3DataDistributionType": "FullyReplicated",
                    "S3CompressionType": "None",
                },
            }
            for key, (kind, uri, path) in sources.items()
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": key,
                    "S3Output": {"S3Uri": uri, "LocalPath": f"{_OUTPUT}/{key}", "S3UploadMode": "EndOfJob"},
                }
                for key, uri in outputs.items()
            ],
            "KmsKeyId": _parameter("KmsKeyArn"),
        },
        "Environment": {"PYTHONPATH": _CODE, **_THREADS},
        "NetworkConfig": {"EnableNetworkIsolation": True},
        "StoppingCondition": {"MaxRuntimeInSeconds": _RUNTIME},
    }
    return {"Name": name, "Type": "Processing", "Arguments": arguments}


def _trainer(candidate: str) -> str:
    """The name of the step that trains the candidate: TrainNewOnly trains `new_only`."""
    return f"Train{candidate.title().replace('_', '')}"


def _parameter(name: str) -> Value:
    return {"Get": f"Parameters.{name}"}


def _artifacts(step: str) -> Value:
    return {"Get": f"Steps.{step}.ModelArtifacts.S3ModelArtifacts"}


def _output(name: str) -> Value:
    """The URI of that name below the episode's prefix."""
    return _join(_parameter("OutputUri"), name)


def _join(*parts: Value) -> Value:
    return {"Std:Join": {"On": "/", "Values": list(parts)}}
