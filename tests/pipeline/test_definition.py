"""The pipeline's definition: AWS would take it, and it says what the loop needs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from retrain.core.enough import Plan
from retrain.core.values import Enclosure
from retrain.model.spec import CANDIDATES
from retrain.pipeline import job_code
from retrain.pipeline.definition import CANDIDATE_JOBS, definition

OPERATIONS = {
    "Processing": "CreateProcessingJob",
    "Training": "CreateTrainingJob",
    "RegisterModel": "CreateModelPackage",
}
# What a pipeline fills in itself.
NAMES = {"Processing": "ProcessingJobName", "Training": "TrainingJobName", "RegisterModel": None}
DEFINITIONS = {(jobs, spot): definition(jobs, spot=spot) for jobs in CANDIDATE_JOBS for spot in (False, True)}
ENCLOSED = definition("each", enclosure=Enclosure("", True, ("subnet-1",), ("sg-1",)))
DEFINITION = DEFINITIONS["one", False]
EACH = DEFINITIONS["each", False]


def steps(of: list[dict[str, Any]] = DEFINITION["Steps"]) -> Iterator[dict[str, Any]]:
    for step in of:
        yield step
        if step["Type"] == "Condition":
            yield from steps(step["Arguments"]["IfSteps"])
            yield from steps(step["Arguments"]["ElseSteps"])


def filled(value: Any) -> Any:
    """The value with a text in place of everything that is known only when the pipeline runs."""
    if isinstance(value, dict):
        if value == {"Get": "Parameters.TrainingInstanceCount"}:
            return 1
        if set(value) & {"Get", "Std:Join", "Std:JsonGet"}:
            return "known when the pipeline runs"
        return {key: filled(item) for key, item in value.items()}
    return [filled(item) for item in value] if isinstance(value, list) else value


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "Get" in value:
            yield value["Get"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_steps_are_those_of_the_loop():
    assert [(step["Name"], step["Type"]) for step in steps()] == [
        ("BuildDriftDataset", "Processing"),
        ("TrainChallenger", "Training"),
        ("EvaluateChallenger", "Processing"),
        ("ComputeBaseline", "Processing"),
        ("IsChallengerBetter", "Condition"),
        ("RegisterChallenger", "RegisterModel"),
    ]


def test_each_candidate_has_a_job_where_that_is_asked_for():
    assert [(step["Name"], step["Type"]) for step in steps(EACH["Steps"])] == [
        ("BuildDriftDataset", "Processing"),
        ("TrainContinued", "Training"),
        ("TrainRefreshed", "Training"),
        ("TrainScratch", "Training"),
        ("TrainRecent", "Training"),
        ("TrainNewOnly", "Training"),
        ("ChooseChallenger", "Processing"),
        ("EvaluateChallenger", "Processing"),
        ("ComputeBaseline", "Processing"),
        ("IsChallengerBetter", "Condition"),
        ("RegisterChallenger", "RegisterModel"),
    ]
    jobs = [step["Arguments"] for step in EACH["Steps"] if step["Type"] == "Training"]
    assert [job["HyperParameters"]["candidate"] for job in jobs] == list(CANDIDATES)
    assert all(step["DependsOn"] == ["BuildDriftDataset"] for step in EACH["Steps"] if step["Type"] == "Training")


def test_what_is_evaluated_and_registered_is_what_was_chosen():
    by_name = {step["Name"]: step for step in steps(EACH["Steps"])}
    chosen = by_name["ChooseChallenger"]["Arguments"]["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]
    evaluated = {item["InputName"]: item for item in by_name["EvaluateChallenger"]["Arguments"]["ProcessingInputs"]}
    assert evaluated["challenger"]["S3Input"]["S3Uri"] == chosen
    assert "ChooseChallenger" in by_name["EvaluateChallenger"]["DependsOn"]
    container = by_name["RegisterChallenger"]["Arguments"]["InferenceSpecification"]["Containers"][0]
    parts = chosen["Std:Join"]["Values"]
    assert container["ModelDataUrl"]["Std:Join"]["Values"] == [*parts[:-1], f"{parts[-1]}/model.tar.gz"]


def test_spot_instances_are_waited_for_and_go_on_from_checkpoints():
    for (_, spot), document in DEFINITIONS.items():
        for step in document["Steps"]:
            if step["Type"] == "Training":
                stop, config = step["Arguments"]["StoppingCondition"], step["Arguments"]["CheckpointConfig"]
                # SageMaker refuses a time to wait of a job that does not ask for spot instances.
                assert ("MaxWaitTimeInSeconds" in stop) == spot
                assert step["Arguments"].get("EnableManagedSpotTraining", False) == spot
                assert not spot or stop["MaxWaitTimeInSeconds"] >= stop["MaxRuntimeInSeconds"]
                assert step["Arguments"]["Environment"]["CHECKPOINTS"] == config["LocalPath"]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, id=f"{step['Name']}-{jobs}-{'spot' if spot else 'on-demand'}")
        for (jobs, spot), document in [*DEFINITIONS.items(), (("enclosed", False), ENCLOSED)]
        for step in steps(document["Steps"])
        if step["Type"] in OPERATIONS
    ],
)
def test_aws_takes_the_arguments_of_every_step(step):
    operation = botocore.session.get_session().get_service_model("sagemaker").operation_model(OPERATIONS[step["Type"]])
    arguments = filled(step["Arguments"])
    if name := NAMES[step["Type"]]:
        arguments[name] = "placeholder"
    report = ParamValidator().validate(arguments, operation.input_shape)
    assert not report.has_errors(), report.generate_report()
    unknown = set(arguments) - set(operation.input_shape.members)
    assert not unknown


@pytest.mark.parametrize("document", [DEFINITION, EACH])
def test_nothing_of_an_account_is_in_the_definition(document):
    text = json.dumps(document)
    assert not re.search(r"\d{12}|arn:|s3://|amazonaws|placeholder", text)
    kinds = {parameter["Name"]: parameter["Type"] for parameter in document["Parameters"]}
    assert kinds.pop("TrainingInstanceCount") == "Integer"
    assert set(kinds.values()) == {"String"}


@pytest.mark.parametrize("document", [DEFINITION, EACH])
def test_every_parameter_is_used_and_every_reference_is_known(document):
    names = {parameter["Name"] for parameter in document["Parameters"]}
    used = set(references(document["Steps"]))
    assert {name.removeprefix("Parameters.") for name in used if name.startswith("Parameters.")} == names
    known = {step["Name"] for step in steps(document["Steps"])}
    assert {name.split(".")[1] for name in used if name.startswith("Steps.")} <= known


@pytest.mark.parametrize("document", [DEFINITION, EACH])
def test_a_training_job_gets_the_parts_of_the_dataset_but_the_reference(document):
    for training in document["Steps"]:
        if training["Type"] == "Training":
            channels = {channel["ChannelName"]: channel for channel in training["Arguments"]["InputDataConfig"]}
            assert set(channels) == {"train", "validation", "holdout", "spec", "champion", "code"}
            assert "reference" not in json.dumps(training)


def test_no_job_has_a_network_and_what_it_writes_has_the_key():
    key = {"Get": "Parameters.KmsKeyArn"}
    for step in [*EACH["Steps"], *DEFINITION["Steps"]]:
        job = step["Arguments"]
        if step["Type"] == "Processing":
            assert job["NetworkConfig"] == {"EnableNetworkIsolation": True}
            assert job["ProcessingOutputConfig"]["KmsKeyId"] == key
        if step["Type"] == "Training":
            assert (job["EnableNetworkIsolation"], job["OutputDataConfig"]["KmsKeyId"]) == (True, key)
            assert not any(str(value).startswith("s3:") for value in job["HyperParameters"].values()), "it can't fetch"


def test_disks_have_the_key_and_instances_are_in_the_subnets_where_that_is_asked_for():
    vpc = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert "Vpc" not in json.dumps(EACH)
    assert "VolumeKms" not in json.dumps(EACH)
    jobs = [step["Arguments"] for step in ENCLOSED["Steps"] if step["Type"] in {"Processing", "Training"}]
    assert len(jobs) == 9
    for job in jobs:
        instances = job.get("ResourceConfig") or job["ProcessingResources"]["ClusterConfig"]
        assert instances["VolumeKmsKeyId"] == {"Get": "Parameters.KmsKeyArn"}
        assert (job.get("NetworkConfig") or job)["VpcConfig"] == vpc
        assert job["Tags"] == [{"Key": "episode_id", "Value": {"Get": "Parameters.EpisodeId"}}]


def test_every_path_of_a_processing_job_is_an_argument():
    for step in [*steps(), *steps(EACH["Steps"])]:
        if step["Type"] != "Processing":
            continue
        arguments = step["Arguments"]["AppSpecification"]["ContainerArguments"]
        for item in step["Arguments"]["ProcessingInputs"]:
            path = item["S3Input"]["LocalPath"]
            assert path in arguments or item["InputName"] == "code"
        for output in step["Arguments"]["ProcessingOutputConfig"]["Outputs"]:
            assert output["S3Output"]["LocalPath"] in arguments
        assert "/opt/ml/output/message" in arguments
        assert len(arguments) <= 100
        assert all(len(text) <= 256 for text in arguments if isinstance(text, str)), (
            "a container's argument has no more"
        )


def test_the_first_models_dataset_is_told_what_is_deployed():
    told = definition("one", Plan(window=2208.0, delay=2208.0, wait=336.0, keep=87600.0, evidence=False))
    arguments = told["Steps"][0]["Arguments"]["AppSpecification"]["ContainerArguments"]
    plan = Plan(**json.loads(arguments[arguments.index("--plan") + 1]))
    assert (plan.window, plan.delay, plan.wait, plan.keep, plan.evidence) == (2208.0, 2208.0, 336.0, 87600.0, False)


def test_the_challenger_is_registered_pending_with_its_evidence():
    arguments = next(step for step in steps() if step["Type"] == "RegisterModel")["Arguments"]
    assert arguments["ModelApprovalStatus"] == "PendingManualApproval"
    assert set(arguments["ModelMetrics"]) == {"ModelQuality", "ModelDataQuality"}
    assert set(arguments["DriftCheckBaselines"]) == {"ModelQuality", "ModelDataQuality"}
    container = arguments["InferenceSpecification"]["Containers"][0]
    assert container["Environment"] == {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    assert {"episode_id", "dataset_uri", "evaluation_uri"} <= set(arguments["CustomerMetadataProperties"])


def test_a_kept_champion_ends_the_pipeline_well():
    condition = next(step for step in steps() if step["Type"] == "Condition")["Arguments"]
    assert condition["ElseSteps"] == []
    assert condition["Conditions"][0]["Values"] == ["promote", "bootstrap"]


def test_the_published_code_is_complete_and_carries_no_lambda_code():
    files = job_code.source_files()
    assert {"train.py", "inference.py"} <= set(files)
    assert all(file.is_file() for file in files.values())
    assert not any(name.startswith(("retrain/aws", "retrain/telemetry", "retrain/pipeline")) for name in files)
