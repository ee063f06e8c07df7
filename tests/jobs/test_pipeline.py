"""The committed definition: it is what the author writes, and AWS would take it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from retrain import pipeline_code

OPERATIONS = {
    "Processing": "CreateProcessingJob",
    "Training": "CreateTrainingJob",
    "RegisterModel": "CreateModelPackage",
}
# What a pipeline fills in itself.
NAMES = {"Processing": "ProcessingJobName", "Training": "TrainingJobName", "RegisterModel": None}
DEFINITION = pipeline_code.definition()


def steps(of: list[dict[str, Any]] = DEFINITION["Steps"]) -> Iterator[dict[str, Any]]:
    for step in of:
        yield step
        if step["Type"] == "Condition":
            yield from steps(step["Arguments"]["IfSteps"])
            yield from steps(step["Arguments"]["ElseSteps"])


def filled(value: Any) -> Any:
    """The value with a text in place of everything that is known only when the pipeline runs."""
    if isinstance(value, dict):
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


def test_the_committed_definition_is_what_the_author_writes():
    from retrain.pipeline import DEFINITION as FILE
    from retrain.pipeline import render

    written = render()
    assert written == render()
    assert written == FILE.read_text(), "run `make definition` and commit src/retrain/definition.json"


def test_the_steps_are_those_of_the_loop():
    assert [(step["Name"], step["Type"]) for step in steps()] == [
        ("BuildDriftDataset", "Processing"),
        ("TrainChallenger", "Training"),
        ("EvaluateChallenger", "Processing"),
        ("ComputeBaseline", "Processing"),
        ("IsChallengerBetter", "Condition"),
        ("RegisterChallenger", "RegisterModel"),
    ]


@pytest.mark.parametrize(
    "step", [step for step in steps() if step["Type"] in OPERATIONS], ids=lambda step: step["Name"]
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


def test_nothing_of_an_account_is_in_the_definition():
    text = json.dumps(DEFINITION)
    assert not re.search(r"\d{12}|arn:|s3://|amazonaws|placeholder", text)
    assert all(parameter["Type"] == "String" for parameter in DEFINITION["Parameters"])


def test_every_parameter_is_used_and_every_reference_is_known():
    names = {parameter["Name"] for parameter in DEFINITION["Parameters"]}
    used = set(references(DEFINITION["Steps"]))
    assert {name.removeprefix("Parameters.") for name in used if name.startswith("Parameters.")} == names
    known = {step["Name"] for step in steps()}
    assert {name.split(".")[1] for name in used if name.startswith("Steps.")} <= known


def test_the_training_job_never_sees_the_holdout():
    training = next(step for step in steps() if step["Type"] == "Training")
    channels = {channel["ChannelName"]: channel for channel in training["Arguments"]["InputDataConfig"]}
    assert set(channels) == {"train", "validation", "spec", "champion"}
    assert "holdout" not in json.dumps(training)


def test_every_path_of_a_processing_job_is_an_argument():
    for step in steps():
        if step["Type"] != "Processing":
            continue
        arguments = step["Arguments"]["AppSpecification"]["ContainerArguments"]
        for item in step["Arguments"]["ProcessingInputs"]:
            path = item["S3Input"]["LocalPath"]
            assert path in arguments or item["InputName"] == "code"
        assert step["Arguments"]["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["LocalPath"] in arguments
        assert "/opt/ml/output/message" in arguments
        assert len(arguments) <= 100


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
    files = pipeline_code.source_files()
    assert {"train.py", "inference.py"} <= set(files)
    assert all(file.is_file() for file in files.values())
    assert not any(name.startswith(("retrain/aws", "retrain/telemetry", "retrain/pipeline")) for name in files)
