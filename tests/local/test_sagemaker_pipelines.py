"""Pipelines: the definition language, the order of steps, and how executions end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import IMAGE, ROLE, START, House, embedded, eventually, outputs, processing

from local.wire import ApiError

ECHO = "import sys; open(sys.argv[1] + '/said.txt', 'w').write(chr(10).join(sys.argv[2:]))"
WRITE = "import sys; open(sys.argv[1] + '/evaluation.json', 'w').write(sys.argv[2])"
FAIL = "import sys; open(sys.argv[1], 'w').write('x' * 3000); sys.exit(1)"
WAIT = "import os, sys, time; next(True for _ in iter(lambda: time.sleep(0.01), True) if os.path.exists(sys.argv[1]))"
FOREVER = "import time; time.sleep(60)"
STATUS = "SageMaker Model Building Pipeline Execution Status Change"
STEP_STATUS = "SageMaker Model Building Pipeline Execution Step Status Change"
TOKEN = "t" * 32


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with embedded(tmp_path) as house:
        yield house


def job(name: str, script: str = "pass", *arguments: Any, after: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """A processing step."""
    settings = fields.pop("settings", {})
    step = {"Name": name, "Type": "Processing", "Arguments": processing(script, *arguments, **settings), **fields}
    return step | ({"DependsOn": list(after)} if after else {})


def echo(*values: Any, name: str = "Echo", **fields: Any) -> dict[str, Any]:
    """A step that writes the values to s3://bucket/said/said.txt."""
    settings = {"ProcessingOutputConfig": outputs(said="s3://bucket/said")}
    return job(name, ECHO, "/opt/ml/processing/output/said", *values, settings=settings, **fields)


def evaluation(content: Any) -> dict[str, Any]:
    """A step whose property file `Evaluation` is the content."""
    return job(
        "Evaluate",
        WRITE,
        "/opt/ml/processing/output/evaluation",
        json.dumps(content),
        settings={"ProcessingOutputConfig": outputs(evaluation="s3://bucket/episode/evaluation")},
        PropertyFiles=[
            {"PropertyFileName": "Evaluation", "OutputName": "evaluation", "FilePath": "evaluation.json"},
        ],
    )


def choice(*conditions: Any, name: str = "Choose", then: Any = (), otherwise: Any = ()) -> dict[str, Any]:
    arguments = {"Conditions": list(conditions), "IfSteps": list(then), "ElseSteps": list(otherwise)}
    return {"Name": name, "Type": "Condition", "Arguments": arguments}


def said(path: str) -> dict[str, Any]:
    return {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Evaluation"}, "Path": path}}


def create(house: House, *steps: Any, parameters: Any = ()) -> str:
    definition = {"Version": "2020-12-01", "Parameters": list(parameters), "Steps": list(steps)}
    return str(
        house.call(
            "CreatePipeline",
            PipelineName="retrain",
            PipelineDefinition=json.dumps(definition),
            ClientRequestToken=TOKEN,
            RoleArn="arn:aws:iam::000000000000:role/pipeline",
        )["PipelineArn"]
    )


def start(house: House, token: str = TOKEN, **values: str) -> str:
    given = [{"Name": name, "Value": value} for name, value in values.items()]
    started = house.call(
        "StartPipelineExecution", PipelineName="retrain", ClientRequestToken=token, PipelineParameters=given
    )
    return str(started["PipelineExecutionArn"])


def ended(house: House, arn: str) -> dict[str, Any]:
    """The execution, once it has ended."""

    def look() -> dict[str, Any] | None:
        execution = house.call("DescribePipelineExecution", PipelineExecutionArn=arn)
        return None if execution["PipelineExecutionStatus"] in {"Executing", "Stopping"} else execution

    return eventually(look)  # type: ignore[no-any-return]


def steps(house: House, arn: str) -> dict[str, dict[str, Any]]:
    found = house.call("ListPipelineExecutionSteps", PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    return {step["StepName"]: step for step in found}


def statuses(house: House, arn: str) -> dict[str, str]:
    return {name: step["StepStatus"] for name, step in steps(house, arn).items()}


def run(house: House, *written: Any, parameters: Any = (), **values: str) -> tuple[str, dict[str, Any]]:
    """The ARN of an execution of these steps, and what became of it."""
    create(house, *written, parameters=parameters)
    arn = start(house, **values)
    return arn, ended(house, arn)


# The definition language ----------------------------------------------------------------------------------------------


def test_parameters_are_given_or_their_defaults(house: House) -> None:
    parameters = [
        {"Name": "EpisodeId", "Type": "String"},
        {"Name": "Image", "Type": "String", "DefaultValue": IMAGE},
    ]
    arn, execution = run(
        house,
        echo({"Get": "Parameters.EpisodeId"}, {"Get": "Parameters.Image"}),
        parameters=parameters,
        EpisodeId="e-1",
    )
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert house.s3.under("s3://bucket/said/") == {"said.txt": f"e-1\n{IMAGE}"}
    listed = house.call("ListPipelineParametersForExecution", PipelineExecutionArn=arn)["PipelineParameters"]
    assert listed == [{"Name": "EpisodeId", "Value": "e-1"}, {"Name": "Image", "Value": IMAGE}]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "without a value: Rows"),
        ({"Rows": "1", "Colour": "blue"}, "Unknown pipeline parameters: Colour"),
        ({"Rows": "many"}, "Rows: 'many' is no Integer"),
    ],
    ids=["missing", "unknown", "not of their type"],
)
def test_an_execution_does_not_start_with_parameters_that_are(house: House, values: dict[str, str], words: str) -> None:
    create(house, job("A"), parameters=[{"Name": "Rows", "Type": "Integer"}])
    with pytest.raises(ApiError, match=words):
        start(house, **values)
    assert house.call("ListPipelineExecutions", PipelineName="retrain")["PipelineExecutionSummaries"] == []


def test_variables_are_worth_what_they_name(house: House) -> None:
    first = job("First", settings={"ProcessingOutputConfig": outputs(a="s3://bucket/first/a", b="s3://bucket/first/b")})
    uri = {"Get": "Steps.First.ProcessingOutputConfig.Outputs['b'].S3Output.S3Uri"}
    arn, _ = run(
        house,
        first,
        echo(
            {"Std:Join": {"On": "/", "Values": [uri, "rows.csv"]}},
            {"Get": "Execution.PipelineName"},
            {"Get": "Execution.PipelineExecutionArn"},
            {"Get": "Execution.PipelineExecutionId"},
            {"Get": "Execution.StartDateTime"},
            {"Get": "Steps.First.ProcessingOutputConfig.Outputs[0].OutputName"},
            {"Get": "Steps.First.ProcessingJobStatus"},
        ),
    )
    lines = house.s3.under("s3://bucket/said/")["said.txt"].split("\n")
    assert lines == [
        "s3://bucket/first/b/rows.csv",
        "retrain",
        arn,
        arn.rpartition("/")[2],
        f"{START:%Y-%m-%dT%H:%M:%SZ}",
        "a",
        "Completed",
    ]


FACTS = {"gate": {"decision": "promote", "rows": [10, 20]}, "rmse": 3.5}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Type": "In", "QueryValue": said("gate.decision"), "Values": ["promote", "bootstrap"]}, True),
        ({"Type": "In", "QueryValue": said("gate.decision"), "Values": ["bootstrap"]}, False),
        ({"Type": "Equals", "LeftValue": said("gate.rows[1]"), "RightValue": 20}, True),
        ({"Type": "GreaterThan", "LeftValue": said("rmse"), "RightValue": 3.5}, False),
        ({"Type": "GreaterThanOrEqualTo", "LeftValue": said("rmse"), "RightValue": 3.5}, True),
        ({"Type": "LessThan", "LeftValue": said("rmse"), "RightValue": 3.5}, False),
        ({"Type": "LessThanOrEqualTo", "LeftValue": said("rmse"), "RightValue": {"Get": "Parameters.Limit"}}, True),
        ({"Type": "Not", "Expression": {"Type": "Equals", "LeftValue": 1, "RightValue": 1}}, False),
        (
            {
                "Type": "Or",
                "Conditions": [
                    {"Type": "Equals", "LeftValue": 1, "RightValue": 2},
                    {"Type": "Equals", "LeftValue": 2, "RightValue": 2},
                ],
            },
            True,
        ),
    ],
    ids=lambda item: item if isinstance(item, bool) else f"{item['Type']}",
)
def test_a_condition_chooses_the_branch(house: House, condition: dict[str, Any], holds: bool) -> None:
    arn, execution = run(
        house,
        evaluation(FACTS),
        choice(condition, then=[job("Register")], otherwise=[job("Keep")]),
        parameters=[{"Name": "Limit", "Type": "Float", "DefaultValue": 1}],
        Limit="4.25",
    )
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert set(statuses(house, arn)) == {"Evaluate", "Choose", "Register" if holds else "Keep"}
    assert steps(house, arn)["Choose"]["Metadata"] == {"Condition": {"Outcome": "True" if holds else "False"}}


def test_all_conditions_have_to_hold(house: House) -> None:
    one = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    arn, _ = run(house, choice(one, {**one, "RightValue": 2}, then=[job("Then")]))
    assert set(statuses(house, arn)) == {"Choose"}


def test_a_property_file_that_was_not_written_fails_the_condition(house: House) -> None:
    unwritten = evaluation({}) | {
        "Arguments": processing("pass", ProcessingOutputConfig=outputs(evaluation="s3://b/e"))
    }
    condition = {"Type": "Equals", "LeftValue": said("rmse"), "RightValue": 1}
    arn, execution = run(house, unwritten, choice(condition, then=[job("Register")], otherwise=[job("Keep")]))
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert statuses(house, arn) == {"Evaluate": "Succeeded", "Choose": "Failed"}


def test_a_registration_knows_the_execution_that_made_it(house: House) -> None:
    house.call("CreateModelPackageGroup", ModelPackageGroupName="flights")
    arguments = {
        "ModelPackageGroupName": "flights",
        "ModelApprovalStatus": "PendingManualApproval",
        "CustomerMetadataProperties": {"episode_id": {"Get": "Parameters.EpisodeId"}},
    }
    arn, _ = run(
        house,
        {"Name": "Register", "Type": "RegisterModel", "Arguments": arguments},
        parameters=[{"Name": "EpisodeId", "Type": "String"}],
        EpisodeId="e-1",
    )
    package = steps(house, arn)["Register"]["Metadata"]["RegisterModel"]["Arn"]
    described = house.call("DescribeModelPackage", ModelPackageName=package)
    assert described["MetadataProperties"] == {"GeneratedBy": arn}
    assert described["CustomerMetadataProperties"] == {"episode_id": "e-1"}


def test_a_model_step_makes_a_model_of_what_was_trained(house: House) -> None:
    data = house.s3.put("s3://bucket/models/model.tar.gz", b"packed")
    container = {"Image": IMAGE, "ModelDataUrl": {"Get": "Parameters.Data"}}
    arn, _ = run(
        house,
        {"Name": "Offer", "Type": "Model", "Arguments": {"PrimaryContainer": container, "ExecutionRoleArn": ROLE}},
        parameters=[{"Name": "Data", "Type": "String"}],
        Data=data,
    )
    name = steps(house, arn)["Offer"]["Metadata"]["Model"]["Arn"].rpartition("/")[2]
    assert house.call("DescribeModel", ModelName=name)["PrimaryContainer"]["ModelDataUrl"] == data


def test_a_pipeline_is_made_once_for_a_token_and_refused_for_another(house: House) -> None:
    assert create(house, job("A")) == create(house, job("A"))
    with pytest.raises(ApiError, match="must be unique"):
        house.call(
            "CreatePipeline",
            PipelineName="retrain",
            PipelineDefinition='{"Steps": []}',
            ClientRequestToken="u" * 32,
            RoleArn=ROLE,
        )


def test_a_fail_step_says_its_message(house: House) -> None:
    message = {"Std:Join": {"On": ": ", "Values": ["refused", "too few rows"]}}
    arn, execution = run(house, {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": message}})
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert steps(house, arn)["Refuse"]["FailureReason"] == "refused: too few rows"


def test_arguments_that_the_operation_does_not_take_fail_the_step(house: House) -> None:
    wrong = job("Wrong")
    wrong["Arguments"]["Colour"] = "blue"
    arn, execution = run(house, wrong)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "Colour" in steps(house, arn)["Wrong"]["FailureReason"]


# What a definition may say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ([job("A", after=("B",)), job("B", after=("A",))], r"wait for each other.*'A', 'B'"),
        ([job("A", after=("Nobody",))], r"none there is.*'A'"),
        ([job("A"), choice(name="C", then=[job("A")])], "must be unique"),
        ([{"Type": "Processing"}], "Unable to parse"),
    ],
    ids=["in a circle", "after a step that is not there", "twice of a name", "without a name"],
)
def test_a_definition_is_refused_with_steps(house: House, written: list[Any], words: str) -> None:
    with pytest.raises(ApiError, match=words):
        create(house, *written)
    assert house.call("ListPipelines")["PipelineSummaries"] == []


def test_a_definition_may_come_from_s3_and_a_running_execution_keeps_its_own(house: House) -> None:
    create(house, job("Old", FOREVER))
    arn = start(house)
    house.s3.put("s3://bucket/code/definition.json", json.dumps({"Version": "2020-12-01", "Steps": [job("New")]}))
    place = {"Bucket": "bucket", "ObjectKey": "code/definition.json"}
    house.call("UpdatePipeline", PipelineName="retrain", PipelineDefinitionS3Location=place)
    shown = json.loads(house.call("DescribePipeline", PipelineName="retrain")["PipelineDefinition"])
    kept = json.loads(
        house.call("DescribePipelineDefinitionForExecution", PipelineExecutionArn=arn)["PipelineDefinition"]
    )
    assert (shown["Steps"][0]["Name"], kept["Steps"][0]["Name"]) == ("New", "Old")


def test_a_pipeline_that_is_not_there_is_resource_not_found(house: House) -> None:
    with pytest.raises(ApiError, match="does not exist") as refused:
        start(house)
    assert refused.value.code == "ResourceNotFound"


# The order of steps ---------------------------------------------------------------------------------------------------


def test_a_step_begins_after_those_it_names_and_those_whose_properties_it_uses(house: House) -> None:
    uri = {"Get": "Steps.First.ProcessingOutputConfig.Outputs['x'].S3Output.S3Uri"}
    first = job("First", settings={"ProcessingOutputConfig": outputs(x="s3://bucket/x")})
    arn, execution = run(house, job("Third", after=("Second",)), echo(uri, name="Second"), first)
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    made = steps(house, arn)
    assert made["First"]["EndTime"] <= made["Second"]["StartTime"]
    assert made["Second"]["EndTime"] <= made["Third"]["StartTime"]


def test_steps_that_do_not_depend_on_each_other_run_at_once(house: House, tmp_path: Path) -> None:
    meet = f"import pathlib, sys; pathlib.Path(sys.argv[1]).touch(); sys.argv.pop(1); {WAIT}"
    left, right = str(tmp_path / "left"), str(tmp_path / "right")
    _, execution = run(house, job("Left", meet, left, right), job("Right", meet, right, left))
    assert execution["PipelineExecutionStatus"] == "Succeeded"


def test_after_a_failure_what_runs_ends_and_nothing_begins(house: House, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    create(
        house,
        job("Fails", FAIL, "/opt/ml/output/message"),
        job("Runs", WAIT, str(flag)),
        job("AfterFailed", after=("Fails",)),
        job("AfterRunning", after=("Runs",)),
    )
    arn = start(house)
    eventually(lambda: statuses(house, arn).get("Fails") == "Failed")
    flag.touch()
    execution = ended(house, arn)
    assert (execution["PipelineExecutionStatus"], execution["FailureReason"]) == (
        "Failed",
        "Step failure: One or multiple steps failed.",
    )
    assert statuses(house, arn) == {"Fails": "Failed", "Runs": "Succeeded"}
    assert len(steps(house, arn)["Fails"]["FailureReason"]) == 1024


def test_a_failure_inside_a_branch_fails_the_execution_and_what_comes_after_the_condition(house: House) -> None:
    holds = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    arn, execution = run(house, choice(holds, then=[job("Inside", "1/0")]), job("After", after=("Choose",)))
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert statuses(house, arn) == {"Choose": "Succeeded", "Inside": "Failed"}


# How executions end ---------------------------------------------------------------------------------------------------


def test_the_same_token_starts_one_execution(house: House) -> None:
    create(house, job("A"))
    first, again, other = start(house), start(house), start(house, token="u" * 32)
    assert first == again != other
    for arn in (first, other):
        ended(house, arn)
    assert start(house) == first
    assert len(house.call("ListPipelineExecutions", PipelineName="retrain")["PipelineExecutionSummaries"]) == 2


def stop(house: House, arn: str) -> None:
    house.call("StopPipelineExecution", PipelineExecutionArn=arn, ClientRequestToken=TOKEN)


def test_a_stopped_execution_stops_its_job_and_begins_nothing(house: House) -> None:
    create(house, job("Runs", FOREVER), job("Never", after=("Runs",)))
    arn = start(house)
    eventually(lambda: steps(house, arn).get("Runs", {}).get("Metadata"))
    stop(house, arn)
    assert ended(house, arn)["PipelineExecutionStatus"] == "Stopped"
    assert statuses(house, arn) == {"Runs": "Stopped"}
    name = steps(house, arn)["Runs"]["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
    (listed,) = house.call("ListProcessingJobs")["ProcessingJobSummaries"]
    assert (listed["ProcessingJobName"].lower(), listed["ProcessingJobStatus"]) == (name, "Stopped")
    with pytest.raises(ApiError, match="cannot be stopped"):
        stop(house, arn)


def test_stopping_at_once_does_not_wait_for_a_job_that_was_about_to_begin(house: House) -> None:
    create(house, job("Runs", FOREVER))
    arn = start(house)
    stop(house, arn)
    assert ended(house, arn)["PipelineExecutionStatus"] == "Stopped"


def test_an_execution_that_the_process_did_not_survive_has_failed(house: House) -> None:
    create(house, job("Runs", FOREVER))
    arn = start(house)
    eventually(lambda: steps(house, arn).get("Runs", {}).get("Metadata"))
    house.sagemaker.save(house.root / "state.json")
    house.sagemaker.shutdown()
    ended(house, arn)
    house.open()
    house.sagemaker.load(house.root / "state.json")
    assert ended(house, arn)["PipelineExecutionStatus"] == "Failed"
    assert steps(house, arn)["Runs"]["FailureReason"].startswith("InternalServerError")
    assert house.told(STATUS)[-1]["currentPipelineExecutionStatus"] == "Failed"
    assert start(house) == arn, "the token is still known"


def test_the_event_bus_hears_of_executions_and_steps(house: House) -> None:
    arn, _ = run(house, job("Good"), job("Bad", "1/0", after=("Good",)))
    eventually(lambda: len(house.told(STATUS)) == 2)
    begun, over = house.told(STATUS)
    assert (begun["previousPipelineExecutionStatus"], begun["currentPipelineExecutionStatus"]) == (None, "Executing")
    assert "executionEndTime" not in begun
    assert (over["previousPipelineExecutionStatus"], over["currentPipelineExecutionStatus"]) == ("Executing", "Failed")
    assert (over["pipelineExecutionArn"], over["executionStartTime"]) == (arn, f"{START:%Y-%m-%dT%H:%M:%SZ}")
    told = [
        (item["stepName"], item["previousStepStatus"], item["currentStepStatus"]) for item in house.told(STEP_STATUS)
    ]
    assert told == [
        ("Good", None, "Executing"),
        ("Good", "Executing", "Succeeded"),
        ("Bad", None, "Executing"),
        ("Bad", "Executing", "Failed"),
    ]
    last = house.told(STEP_STATUS)[-1]
    assert last["failureReason"].startswith("ClientError: AlgorithmError")
    assert last["metadata"]["processingJob"]["Arn"].startswith(
        "arn:aws:sagemaker:us-east-1:000000000000:processing-job/"
    )
    assert {source for source, *_ in house.events} == {"aws.sagemaker"}
    assert all(resources[-1] == arn for _, _, _, resources in house.events)
