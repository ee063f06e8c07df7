"""The definition is what the SageMaker SDK (the extra `pipeline`, 1 GB) writes of the same steps: `make test-sdk`.

No AWS account and no network. Only where the SDK is installed are these tests collected.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

# The SDK looks for a region when it is imported, and asks IAM about the role unless it is told not to.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"

import boto3
import pytest
from sagemaker.core.drift_check_baselines import DriftCheckBaselines
from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
from sagemaker.core.model_registry import create_model_package_from_containers
from sagemaker.core.network import NetworkConfig
from sagemaker.core.processing import Processor
from sagemaker.core.shapes import (
    Channel,
    CheckpointConfig,
    DataSource,
    OutputDataConfig,
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
    S3DataSource,
    StoppingCondition,
    Tag,
)
from sagemaker.core.training.configs import Compute, Networking
from sagemaker.core.workflow.conditions import ConditionIn
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterInteger, ParameterString
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.model_step import ModelStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import ProcessingStep, TrainingStep
from sagemaker.train.model_trainer import ModelTrainer

from retrain.core.enough import DEPLOYED, Plan
from retrain.model.spec import CANDIDATES
from retrain.pipeline.definition import ALL, CANDIDATE_JOBS, COUNT, PARAMETERS, definition

# The SDK takes no parameter for a role. This stands in for it while authoring, and is replaced afterwards.
_ROLE = "arn:aws:iam::000000000000:role/placeholder"
_INPUT, _OUTPUT, _MESSAGE = "/opt/ml/processing/input", "/opt/ml/processing/output", "/opt/ml/output/message"
_CODE = "/opt/ml/processing/code"
_CHECKPOINTS = "/opt/ml/checkpoints"
_RUNTIME = 3600  # seconds that one job may take
# XGBoost's threads wait for one another; spinning while they do costs ten times the work when cores are shared.
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
_TYPES = ["text/csv", "application/json"]


@pytest.mark.parametrize("jobs", CANDIDATE_JOBS)
def test_the_definition_is_what_the_sdk_writes(jobs: str) -> None:
    written = json.loads(_Author().pipeline(jobs).definition())
    assert definition(jobs) == {
        "Version": written["Version"],
        "Parameters": written["Parameters"],
        "Steps": _parameterised(written["Steps"]),
    }


class _Author:
    """The steps, which share a session and the parameters."""

    def __init__(self) -> None:
        self.session = PipelineSession(
            boto_session=boto3.Session("offline", "offline", region_name=os.environ["AWS_DEFAULT_REGION"]),
            default_bucket="offline",
            sagemaker_config={
                "SchemaVersion": "1.0",
                "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
            },
        )
        self.parameter = {name: ParameterString(name) for name in PARAMETERS}
        self.instances = ParameterInteger(COUNT)

    def pipeline(self, candidate_jobs: str) -> Pipeline:
        dataset = self.build_drift_dataset()
        training: list[TrainingStep | ProcessingStep]
        if candidate_jobs == "one":
            one = self.train("TrainChallenger", ALL, dataset)
            training, challenger = [one], one.properties.ModelArtifacts.S3ModelArtifacts
            archive = challenger
        else:
            each = {name: self.train(f"Train{_title(name)}", name, dataset) for name in CANDIDATES}
            training = [*each.values(), self.choose_challenger(each)]
            challenger, archive = self.output("challenger"), self.output("challenger/model.tar.gz")
        verdict = PropertyFile("Evaluation", "evaluation", "evaluation.json")
        evaluation = self.evaluate_challenger(dataset, training[-1], challenger, verdict)
        baseline = self.compute_baseline(dataset, training[-1], challenger)
        better = ConditionStep(
            "IsChallengerBetter",
            conditions=[
                ConditionIn(
                    JsonGet(step_name=evaluation.name, property_file=verdict, json_path="gate.decision"),
                    ["promote", "bootstrap"],
                )
            ],
            if_steps=[self.register_challenger(archive)],
            else_steps=[],  # the champion is kept: the pipeline succeeds with nothing registered
            depends_on=[baseline],
        )
        return Pipeline(
            name="retrain",
            parameters=[*self.parameter.values(), self.instances],
            steps=[dataset, *training, evaluation, baseline, better],
            sagemaker_session=self.session,
        )

    def build_drift_dataset(self) -> ProcessingStep:
        p = self.parameter
        return self.processing(
            "BuildDriftDataset",
            "retrain.jobs.dataset",
            inputs={
                "captures": ("ManifestFile", p["CapturesManifestUri"]),
                "labels": ("ManifestFile", p["LabelsManifestUri"]),
                "reference": ("S3Prefix", p["ReferenceUri"]),
                "history": ("ManifestFile", p["HistoryManifestUri"]),
            },
            output="dataset",
            more={"rows": p["RowsUri"]},
            options={
                "--window-start": p["WindowStart"],
                "--window-end": p["WindowEnd"],
                "--bootstrap": p["Bootstrap"],
                "--episode-id": p["EpisodeId"],
                "--plan": json.dumps({name: getattr(Plan(), name) for name in DEPLOYED}),
            },
        )

    def train(self, name: str, candidate: str, dataset: ProcessingStep) -> TrainingStep:
        """A step that trains that candidate, or all of them and chooses."""
        p = self.parameter
        channels = {
            "train": self.output("dataset/train.csv"),
            "validation": self.output("dataset/validation.csv"),
            "holdout": self.output("dataset/holdout.csv"),
            "spec": self.output("dataset/model.toml"),
            "champion": p["ChampionModelUri"],
            "code": Join(on="/", values=[p["CodeUri"], "source.tar.gz"]),
        }
        trainer = ModelTrainer(
            sagemaker_session=self.session,
            role=_ROLE,
            base_job_name="challenger",
            training_image=p["ImageUri"],
            compute=Compute(
                instance_type=p["TrainingInstanceType"], instance_count=self.instances, volume_size_in_gb=30
            ),
            networking=Networking(enable_inter_container_traffic_encryption=True, enable_network_isolation=True),
            tags=[Tag(key="episode_id", value=p["EpisodeId"])],
            checkpoint_config=CheckpointConfig(s3_uri=self.output("checkpoints"), local_path=_CHECKPOINTS),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=_RUNTIME),
            output_data_config=OutputDataConfig(s3_output_path=self.output("model"), kms_key_id=p["KmsKeyArn"]),
            environment={"CHECKPOINTS": _CHECKPOINTS, **_THREADS},
            hyperparameters={
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "/opt/ml/input/data/code/source.tar.gz",
                "episode_id": p["EpisodeId"],
                "bootstrap": p["Bootstrap"],
                "candidate": candidate,
            },
            input_data_config=[
                Channel(
                    channel_name=name,
                    data_source=DataSource(
                        s3_data_source=S3DataSource(
                            s3_data_type="S3Prefix", s3_uri=uri, s3_data_distribution_type="FullyReplicated"
                        )
                    ),
                )
                for name, uri in channels.items()
            ],
        )
        return TrainingStep(name, step_args=trainer.train(), depends_on=[dataset])

    def choose_challenger(self, each: dict[str, TrainingStep]) -> ProcessingStep:
        archives = {name: ("S3Prefix", step.properties.ModelArtifacts.S3ModelArtifacts) for name, step in each.items()}
        return self.processing(
            "ChooseChallenger",
            "retrain.jobs.choose",
            inputs={"spec": ("S3Prefix", self.output("dataset/model.toml")), **archives},
            output="challenger",
            options={},
        )

    def evaluate_challenger(
        self, dataset: ProcessingStep, trained: TrainingStep | ProcessingStep, challenger: Any, verdict: PropertyFile
    ) -> ProcessingStep:
        p = self.parameter
        return self.processing(
            "EvaluateChallenger",
            "retrain.jobs.evaluate",
            inputs={
                "dataset": ("S3Prefix", self.output("dataset")),
                "captures": ("ManifestFile", p["CapturesManifestUri"]),
                "challenger": ("S3Prefix", challenger),
                "champion": ("S3Prefix", p["ChampionModelUri"]),
                "reference": ("S3Prefix", p["ReferenceUri"]),
            },
            output="evaluation",
            options={"--evaluation-time": p["WindowEnd"], "--bootstrap": p["Bootstrap"]},
            after=[dataset, trained],
            property_files=[verdict],
        )

    def compute_baseline(
        self, dataset: ProcessingStep, trained: TrainingStep | ProcessingStep, challenger: Any
    ) -> ProcessingStep:
        return self.processing(
            "ComputeBaseline",
            "retrain.jobs.baseline",
            inputs={
                "dataset": ("S3Prefix", self.output("dataset")),
                "challenger": ("S3Prefix", challenger),
                "earlier": ("S3Prefix", self.parameter["ChampionStatisticsUri"]),
            },
            output="baseline",
            options={"--earlier-sha256": self.parameter["ChampionStatisticsSha256"]},
            after=[dataset, trained],
        )

    def register_challenger(self, challenger: Any) -> ModelStep:
        p = self.parameter

        def source(name: str) -> MetricsSource:
            return MetricsSource("application/json", self.output(name))

        data = {
            "model_data_statistics": source("baseline/statistics.json"),
            "model_data_constraints": source("baseline/constraints.json"),
        }
        data |= {
            "model_statistics": source("evaluation/evaluation.json"),
            "model_constraints": source("evaluation/constraints.json"),
        }
        metrics = ModelMetrics(**data)
        # The session keeps the request for the step; all that it wants of a model is its session.
        self.session.init_model_step_arguments(SimpleNamespace(sagemaker_session=self.session))
        request = create_model_package_from_containers(
            self.session,
            containers=[
                {
                    "Image": p["ImageUri"],
                    "ModelDataUrl": challenger,
                    "Environment": {
                        "SAGEMAKER_PROGRAM": "inference.py",
                        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                        **_THREADS,
                    },
                }
            ],
            content_types=_TYPES,
            response_types=_TYPES,
            model_package_group_name=p["ModelPackageGroupName"],
            model_metrics={key: value for key, value in metrics._to_request_dict().items() if value},
            drift_check_baselines=DriftCheckBaselines(**data)._to_request_dict(),
            approval_status="PendingManualApproval",
            customer_metadata_properties={
                "episode_id": p["EpisodeId"],
                "endpoint_name": p["EndpointName"],
                "dataset_uri": self.output("dataset"),
                "evaluation_uri": self.output("evaluation/evaluation.json"),
                "champion_model_uri": p["ChampionModelUri"],
                "code_uri": p["CodeUri"],
                "window_start": p["WindowStart"],
                "window_end": p["WindowEnd"],
            },
        )
        return ModelStep("RegisterChallenger", step_args=request)

    def processing(
        self,
        name: str,
        module: str,
        *,
        inputs: dict[str, tuple[str, Any]],
        output: str,
        options: dict[str, Any],
        more: dict[str, Any] | None = None,
        after: Sequence[ProcessingStep | TrainingStep] = (),
        property_files: list[PropertyFile] | None = None,
    ) -> ProcessingStep:
        """A step that runs the module with `--NAME path` for each input, `--output`, `--message` and the options."""
        p = self.parameter
        processor = Processor(
            role=_ROLE,
            image_uri=p["ImageUri"],
            instance_count=1,
            instance_type=p["ProcessingInstanceType"],
            entrypoint=["python3", "-m", module],
            max_runtime_in_seconds=_RUNTIME,
            env={"PYTHONPATH": _CODE, **_THREADS},
            network_config=NetworkConfig(enable_network_isolation=True),
            output_kms_key=p["KmsKeyArn"],
            tags=[{"Key": "episode_id", "Value": p["EpisodeId"]}],
            sagemaker_session=self.session,
        )
        paths = {f"--{key}": f"{_INPUT}/{key}" for key in inputs}
        paths |= {"--output": f"{_OUTPUT}/{output}", "--message": _MESSAGE}
        paths |= {f"--{key}": f"{_OUTPUT}/{key}" for key in more or {}}
        request = processor.run(
            inputs=[
                _input("code", "S3Prefix", p["CodeUri"], _CODE),
                *(_input(key, kind, uri, f"{_INPUT}/{key}") for key, (kind, uri) in inputs.items()),
            ],
            outputs=[
                ProcessingOutput(
                    output_name=key,
                    s3_output=ProcessingS3Output(s3_uri=uri, local_path=f"{_OUTPUT}/{key}", s3_upload_mode="EndOfJob"),
                )
                for key, uri in {output: self.output(output), **(more or {})}.items()
            ],
            arguments=[text for pair in {**paths, **options}.items() for text in pair],
        )
        return ProcessingStep(name, step_args=request, depends_on=list(after) or None, property_files=property_files)

    def output(self, name: str) -> Join:
        """The URI of that name below the episode's prefix."""
        return Join(on="/", values=[self.parameter["OutputUri"], name])


def _input(name: str, kind: str, uri: Any, path: str) -> ProcessingInput:
    return ProcessingInput(
        input_name=name,
        s3_input=ProcessingS3Input(
            s3_uri=uri,
            local_path=path,
            s3_data_type=kind,
            s3_input_mode="File",
            s3_data_distribution_type="FullyReplicated",
        ),
    )


def _title(name: str) -> str:
    """`new_only` as a step is named: NewOnly."""
    return name.title().replace("_", "")


def _parameterised(value: Any) -> Any:
    """The value with the role parameter in place of its stand-in, and lists of step names in order."""
    if isinstance(value, dict):
        return dict(_members(value))
    if isinstance(value, list):
        return [_parameterised(item) for item in value]
    return {"Get": "Parameters.JobRoleArn"} if value == _ROLE else value


def _members(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        yield key, sorted(item) if key == "DependsOn" else _parameterised(item)
