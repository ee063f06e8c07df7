"""SageMaker Pipelines: the deployed definition, interpreted step by step."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from botocore.validate import ParamValidator

from local.sagemaker import s3 as files
from local.sagemaker.jobs import INTERRUPTED, MESSAGE_LIMIT, Jobs, settled
from local.sagemaker.models import Models
from local.sagemaker.registry import Registry
from local.sagemaker.store import Resource, Store, page, pick, shown
from local.wire import ApiError, model, unlike

PAUSE = 0.05
EVENT = "SageMaker Model Building Pipeline Execution"


class StepError(Exception):
    """The step failed, for this reason."""


class Pipelines:
    """Pipelines and their executions."""

    def __init__(self, store: Store, jobs: Jobs, registry: Registry, models: Models) -> None:
        self.store, self.jobs, self.registry, self.models = store, jobs, registry, models

    # Pipelines --------------------------------------------------------------------------------------------------------

    def create_pipeline(self, params: Resource) -> Resource:
        """CreatePipeline."""
        name = params["PipelineName"]
        now = self.store.clock.now()
        pipeline = {
            **pick(params, "PipelineName", "PipelineDisplayName", "PipelineDescription", "RoleArn"),
            "PipelineArn": self.store.arn(f"pipeline/{name}"),
            "PipelineDefinition": self._definition(params),
            "PipelineStatus": "Active",
            "_token": params["ClientRequestToken"],
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        with self.store.lock:
            if name in self.store.kinds["pipelines"]:
                if self.store.kinds["pipelines"][name].get("_token") == params["ClientRequestToken"]:
                    return pick(pipeline, "PipelineArn")
                raise ApiError("ValidationException", f"Pipeline names must be unique within an AWS account: {name}")
            self.store.kinds["pipelines"][name] = pipeline
            self.store.kinds["tags"][pipeline["PipelineArn"]] = {"Tags": params.get("Tags", [])}
        return pick(pipeline, "PipelineArn")

    def update_pipeline(self, params: Resource) -> Resource:
        """UpdatePipeline."""
        pipeline = self._pipeline(params["PipelineName"])
        changes = pick(params, "PipelineDisplayName", "PipelineDescription", "RoleArn")
        if "PipelineDefinition" in params or "PipelineDefinitionS3Location" in params:
            changes["PipelineDefinition"] = self._definition(params)
        pipeline.update(changes, LastModifiedTime=self.store.clock.now())
        return pick(pipeline, "PipelineArn")

    def describe_pipeline(self, params: Resource) -> Resource:
        """DescribePipeline."""
        return shown(self._pipeline(params["PipelineName"]))

    def list_pipelines(self, params: Resource) -> Resource:
        """ListPipelines."""
        found, more = page(self.store.each("pipelines"), params, "Pipeline")
        names = ("PipelineArn", "PipelineName", "PipelineDescription", "RoleArn", "CreationTime", "LastModifiedTime")
        return {"PipelineSummaries": [pick(item, *names) for item in found], **more}

    def delete_pipeline(self, params: Resource) -> Resource:
        """DeletePipeline."""
        pipeline = self._pipeline(params["PipelineName"])
        del self.store.kinds["pipelines"][pipeline["PipelineName"]]
        return pick(pipeline, "PipelineArn")

    def _definition(self, params: Resource) -> str:
        text = params.get("PipelineDefinition")
        if text is None:
            place = params.get("PipelineDefinitionS3Location")
            if not place:
                raise ApiError("ValidationException", "Either PipelineDefinition or its S3 location is needed.")
            body = self.store.aws("s3", params.get("RoleArn", "")).get_object(
                Bucket=place["Bucket"], Key=place["ObjectKey"]
            )["Body"]
            text = body.read().decode()
        try:
            definition = json.loads(text)
            names = [step["Name"] for step in _all_steps(definition["Steps"])]
            never = _never_ready(definition["Steps"])
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError("ValidationException", f"Unable to parse pipeline definition: {error!r}") from None
        if len(set(names)) != len(names):
            raise ApiError("ValidationException", f"Step names must be unique: {', '.join(names)}")
        if never:
            raise ApiError("ValidationException", f"Steps that wait for each other, or for none there is: {never}")
        return str(text)

    def _pipeline(self, name: str) -> Resource:
        name = name.rpartition("/")[2]
        missing = ApiError("ResourceNotFound", f"Pipeline '{self.store.arn('pipeline/' + name)}' does not exist.")
        return self.store.find("pipelines", name, missing)

    # Executions -------------------------------------------------------------------------------------------------------

    def start_pipeline_execution(self, params: Resource) -> Resource:
        """StartPipelineExecution; the same ClientRequestToken starts nothing new."""
        pipeline = self._pipeline(params["PipelineName"])
        token = f"{pipeline['PipelineName']}/{params['ClientRequestToken']}"
        definition = json.loads(pipeline["PipelineDefinition"])
        given = {item["Name"]: item["Value"] for item in params.get("PipelineParameters", [])}
        known = {item["Name"]: item for item in definition.get("Parameters", [])}
        if unknown := sorted(set(given) - set(known)):
            raise ApiError("ValidationException", f"Unknown pipeline parameters: {', '.join(unknown)}")
        values = {name: _typed(item, given.get(name, item.get("DefaultValue"))) for name, item in known.items()}
        if absent := sorted(name for name, value in values.items() if value is None):
            raise ApiError("ValidationException", f"Pipeline parameters without a value: {', '.join(absent)}")
        with self.store.lock:
            if token in self.store.kinds["tokens"]:
                return dict(self.store.kinds["tokens"][token])
            identity = uuid.uuid4().hex[:12]
            arn = f"{pipeline['PipelineArn']}/execution/{identity}"
            now = self.store.clock.now()
            execution = {
                **pick(params, "PipelineExecutionDisplayName", "PipelineExecutionDescription"),
                "PipelineArn": pipeline["PipelineArn"],
                "PipelineExecutionArn": arn,
                "PipelineExecutionStatus": "Executing",
                "CreationTime": now,
                "LastModifiedTime": now,
                "_definition": pipeline["PipelineDefinition"],
                "_values": values,
                "_steps": [],
            }
            self.store.kinds["executions"][arn] = execution
            self.store.kinds["tokens"][token] = {"PipelineExecutionArn": arn}
        threading.Thread(target=self._execute, args=(execution,), name=identity, daemon=True).start()
        return {"PipelineExecutionArn": arn}

    def describe_pipeline_execution(self, params: Resource) -> Resource:
        """DescribePipelineExecution."""
        return shown(self._execution(params))

    def list_pipeline_executions(self, params: Resource) -> Resource:
        """ListPipelineExecutions."""
        arn = self._pipeline(params["PipelineName"])["PipelineArn"]
        executions = [item for item in self.store.each("executions") if item["PipelineArn"] == arn]
        found, more = page(executions, params, "PipelineExecution")
        names = (
            "PipelineExecutionArn",
            "PipelineExecutionStatus",
            "PipelineExecutionDescription",
            "PipelineExecutionDisplayName",
        )
        summaries = [{**pick(item, *names), "StartTime": item["CreationTime"]} for item in found]
        return {"PipelineExecutionSummaries": summaries, **more}

    def list_pipeline_execution_steps(self, params: Resource) -> Resource:
        """ListPipelineExecutionSteps."""
        steps = [shown(step) for step in self._execution(params)["_steps"]]
        steps, more = page(steps, params, "Step", key="StartTime")
        return {"PipelineExecutionSteps": steps, **more}

    def list_pipeline_parameters_for_execution(self, params: Resource) -> Resource:
        """ListPipelineParametersForExecution."""
        values = self._execution(params)["_values"]
        return {"PipelineParameters": [{"Name": name, "Value": str(value)} for name, value in values.items()]}

    def describe_pipeline_definition_for_execution(self, params: Resource) -> Resource:
        """DescribePipelineDefinitionForExecution."""
        execution = self._execution(params)
        return {"PipelineDefinition": execution["_definition"], "CreationTime": execution["CreationTime"]}

    def stop_pipeline_execution(self, params: Resource) -> Resource:
        """StopPipelineExecution: running jobs are stopped, no further step starts."""
        execution = self._execution(params)
        with self.store.lock:
            if execution["PipelineExecutionStatus"] != "Executing":
                status = execution["PipelineExecutionStatus"]
                raise ApiError("ConflictException", f"Pipeline execution in {status} status cannot be stopped.")
            execution["PipelineExecutionStatus"] = "Stopping"
            execution["LastModifiedTime"] = self.store.clock.now()
            running = [step for step in execution["_steps"] if step["StepStatus"] == "Executing"]
        self._tell_execution(execution, "Executing")
        role = str(self._pipeline(execution["PipelineArn"])["RoleArn"])
        for step in running:
            for kind in ("ProcessingJob", "TrainingJob"):
                if kind in step.get("Metadata", {}):
                    self.store.access.require(role, f"Stop{kind}", {f"{kind}Name": step["_job"]})
            self.end_job(step)
        return pick(execution, "PipelineExecutionArn")

    def end_job(self, step: Resource) -> None:
        """The step's job, if it has one, has been told to stop."""
        for kind, stop in (
            ("ProcessingJob", self.jobs.stop_processing_job),
            ("TrainingJob", self.jobs.stop_training_job),
        ):
            if kind in step.get("Metadata", {}):
                with contextlib.suppress(ApiError):  # it has just ended
                    stop({f"{kind}Name": step["_job"]})

    def resume(self) -> None:
        """Executions that the end of the last process cut short are Failed, and so are the steps they were at."""
        for execution in self.store.each("executions"):
            if execution["PipelineExecutionStatus"] not in {"Executing", "Stopping"}:
                continue
            for step in execution["_steps"]:
                if step["StepStatus"] == "Executing":
                    step.update(StepStatus="Failed", FailureReason=INTERRUPTED, EndTime=self.store.clock.now())
            self._settle(execution, "Failed")

    def _execution(self, params: Resource) -> Resource:
        arn = params["PipelineExecutionArn"]
        missing = ApiError("ResourceNotFound", f"Pipeline execution '{arn}' does not exist.")
        return self.store.find("executions", arn, missing)

    # Running ----------------------------------------------------------------------------------------------------------

    def _execute(self, execution: Resource) -> None:
        self._tell_execution(execution, None)
        definition = json.loads(execution["_definition"])
        run = Run(self, execution)
        run.steps(definition["Steps"])
        failed = any(step["StepStatus"] == "Failed" for step in execution["_steps"])
        self._settle(execution, "Failed" if failed else "Succeeded")

    def _settle(self, execution: Resource, status: str) -> None:
        """The execution has ended: Stopped if it was being stopped, else with that status."""
        with self.store.lock:
            previous = execution["PipelineExecutionStatus"]
            execution["LastModifiedTime"] = self.store.clock.now()
            status = "Stopped" if previous == "Stopping" else status
            if status == "Failed":
                execution["FailureReason"] = "Step failure: One or multiple steps failed."
            execution["PipelineExecutionStatus"] = status
        self._tell_execution(execution, previous)

    def _tell_execution(self, execution: Resource, previous: str | None) -> None:
        arns = [execution["PipelineArn"], execution["PipelineExecutionArn"]]
        detail = {
            "pipelineExecutionDisplayName": execution.get("PipelineExecutionDisplayName"),
            "currentPipelineExecutionStatus": execution["PipelineExecutionStatus"],
            "previousPipelineExecutionStatus": previous,
            "executionStartTime": f"{execution['CreationTime']:%Y-%m-%dT%H:%M:%SZ}",
            "pipelineExecutionDescription": execution.get("PipelineExecutionDescription"),
            "pipelineArn": arns[0],
            "pipelineExecutionArn": arns[1],
        }
        if execution["PipelineExecutionStatus"] not in {"Executing", "Stopping"}:
            detail["executionEndTime"] = f"{execution['LastModifiedTime']:%Y-%m-%dT%H:%M:%SZ}"
        self.store.put_event("aws.sagemaker", f"{EVENT} Status Change", detail, arns)

    def tell_step(self, execution: Resource, step: Resource, kind: str, previous: str | None) -> None:
        """The step's new status is on the event bus."""
        arns = [execution["PipelineArn"], execution["PipelineExecutionArn"]]
        detail = {
            "metadata": {name[0].lower() + name[1:]: value for name, value in step.get("Metadata", {}).items()},
            "stepStartTime": f"{step['StartTime']:%Y-%m-%dT%H:%M:%SZ}",
            "stepName": step["StepName"],
            "stepType": kind,
            "previousStepStatus": previous,
            "currentStepStatus": step["StepStatus"],
            "pipelineArn": arns[0],
            "pipelineExecutionArn": arns[1],
        }
        if previous:
            detail["stepEndTime"] = f"{step['EndTime']:%Y-%m-%dT%H:%M:%SZ}"
        if "FailureReason" in step:
            detail["failureReason"] = step["FailureReason"]
        self.store.put_event("aws.sagemaker", f"{EVENT} Step Status Change", detail, arns)


class Run:
    """One execution: which steps are done, what they made, and what the definition's variables are worth."""

    def __init__(self, pipelines: Pipelines, execution: Resource) -> None:
        self.pipelines, self.execution = pipelines, execution
        self.store = pipelines.store
        pipeline = execution["PipelineArn"].rpartition("/")[2]
        self.role = str(self.store.kinds["pipelines"][pipeline]["RoleArn"])
        self.results: dict[str, Any] = {}
        self.definitions: dict[str, Any] = {}

    def steps(self, steps: list[dict[str, Any]]) -> bool:
        """The steps have run, those that do not depend on each other at once; true if all of them succeeded.

        When one has failed, those that run go on to their end, and no other begins.
        """
        waiting = {step["Name"]: step for step in steps}
        self.definitions.update(waiting)
        inner = {step["Name"]: set(waiting) & set(_needs(step)) - {step["Name"]} for step in steps}
        done: set[str] = set()
        failed: set[str] = set()
        running: dict[str, threading.Thread] = {}
        while waiting or running:
            broken = any(step["StepStatus"] == "Failed" for step in self.execution["_steps"])
            if broken or self.execution["PipelineExecutionStatus"] != "Executing":
                waiting.clear()
            for name in [name for name in waiting if inner[name] <= done]:
                thread = threading.Thread(target=self._step, args=(waiting.pop(name),), name=name, daemon=True)
                running[name] = thread
                thread.start()
            for name in [name for name, thread in running.items() if not thread.is_alive()]:
                del running[name]
                (done if name in self.results else failed).add(name)
            if running:
                time.sleep(PAUSE)
        return not failed

    def _step(self, definition: dict[str, Any]) -> None:
        """The step has run; its result is in `results` if it succeeded."""
        kind, name = definition["Type"], definition["Name"]
        step: Resource = {
            "StepName": name,
            "StartTime": self.store.clock.now(),
            "StepStatus": "Executing",
            "AttemptCount": 1,
        }
        with self.store.lock:
            self.execution["_steps"].append(step)
        self.pipelines.tell_step(self.execution, step, kind, None)
        try:
            result = getattr(self, f"_{kind.lower()}")(definition, step)
            step["StepStatus"] = "Succeeded"
        except StepError as error:
            step["FailureReason"], step["StepStatus"] = str(error)[:MESSAGE_LIMIT], "Failed"
        except ApiError as error:
            step["FailureReason"], step["StepStatus"] = f"ClientError: {error.code}: {error}"[:MESSAGE_LIMIT], "Failed"
        except Exception as error:  # noqa: BLE001 - a definition this interpreter can't follow fails the step
            step["FailureReason"], step["StepStatus"] = f"ClientError: {error!r}"[:MESSAGE_LIMIT], "Failed"
        if step["StepStatus"] == "Failed" and self.execution["PipelineExecutionStatus"] == "Stopping":
            step["StepStatus"] = "Stopped"
        step["EndTime"] = self.store.clock.now()
        if step["StepStatus"] == "Succeeded":
            self.results[name] = result
        self.pipelines.tell_step(self.execution, step, kind, "Executing")

    # Step types -------------------------------------------------------------------------------------------------------

    def _processing(self, definition: dict[str, Any], step: Resource) -> Any:
        return self._job(definition, step, "ProcessingJob", self.pipelines.jobs.create_processing_job)

    def _training(self, definition: dict[str, Any], step: Resource) -> Any:
        return self._job(definition, step, "TrainingJob", self.pipelines.jobs.create_training_job)

    def _job(
        self, definition: dict[str, Any], step: Resource, what: str, create: Callable[[Resource], Resource]
    ) -> Any:
        identity = self.execution["PipelineExecutionArn"].rpartition("/")[2]
        name = f"pipelines-{identity}-{definition['Name'][:24]}-{uuid.uuid4().hex[:10]}"
        arguments = {**self.value(definition["Arguments"]), f"{what}Name": name}
        _check(f"Create{what}", arguments)
        # Every job of a pipeline is tagged with it, and asked about under the pipeline's role.
        tags = [{"Key": "sagemaker:pipeline-execution-arn", "Value": self.execution["PipelineExecutionArn"]}]
        self._require(f"Create{what}", {**arguments, "Tags": tags})
        self._require(f"Describe{what}", arguments)
        step["_job"] = name
        step["Metadata"] = {what: {"Arn": create(arguments)[f"{what}Arn"]}}
        if self.execution["PipelineExecutionStatus"] != "Executing":
            self._require(f"Stop{what}", arguments)
            self.pipelines.end_job(step)
        jobs = self.store.kinds["processing_jobs" if what == "ProcessingJob" else "training_jobs"]
        while not settled(jobs[name][f"{what}Status"]):
            time.sleep(PAUSE)
        job = jobs[name]
        if job[f"{what}Status"] != "Completed":
            raise StepError(f"ClientError: {job.get('FailureReason') or job[f'{what}Status']}")
        return shown(job)

    def _require(self, operation: str, params: Resource) -> None:
        self.store.access.require(self.role, operation, params)

    def _registermodel(self, definition: dict[str, Any], step: Resource) -> Any:
        arguments = self.value(definition["Arguments"])
        _check("CreateModelPackage", arguments)
        self._require("CreateModelPackage", arguments)
        arn = self.pipelines.registry.create_model_package(arguments, self.execution["PipelineExecutionArn"])[
            "ModelPackageArn"
        ]
        step["Metadata"] = {"RegisterModel": {"Arn": arn}}
        return self.pipelines.registry.describe_model_package({"ModelPackageName": arn})

    def _model(self, definition: dict[str, Any], step: Resource) -> Any:
        identity = self.execution["PipelineExecutionArn"].rpartition("/")[2]
        name = f"pipelines-{identity}-{definition['Name'][:24]}-{uuid.uuid4().hex[:10]}"
        arguments = {**self.value(definition["Arguments"]), "ModelName": name}
        _check("CreateModel", arguments)
        self._require("CreateModel", arguments)
        step["Metadata"] = {"Model": {"Arn": self.pipelines.models.create_model(arguments)["ModelArn"]}}
        return self.pipelines.models.describe_model({"ModelName": name})

    def _condition(self, definition: dict[str, Any], step: Resource) -> Any:
        arguments = definition["Arguments"]
        outcome = all(self._holds(condition) for condition in arguments["Conditions"])
        step["Metadata"] = {"Condition": {"Outcome": "True" if outcome else "False"}}
        step["StepStatus"], step["EndTime"] = "Succeeded", self.store.clock.now()
        self.steps(arguments.get("IfSteps" if outcome else "ElseSteps", []))
        return {"Outcome": outcome}

    def _fail(self, definition: dict[str, Any], step: Resource) -> Any:
        message = str(self.value(definition["Arguments"]["ErrorMessage"]))
        step["Metadata"] = {"Fail": {"ErrorMessage": message}}
        raise StepError(message)

    def _holds(self, condition: dict[str, Any]) -> bool:
        kind = condition["Type"]
        if kind == "Not":
            return not self._holds(condition["Expression"])
        if kind in {"Or", "And"}:
            held = [self._holds(item) for item in condition["Conditions"]]
            return any(held) if kind == "Or" else all(held)
        if kind == "In":
            return self.value(condition["QueryValue"]) in [self.value(item) for item in condition["Values"]]
        left, right = self.value(condition["LeftValue"]), self.value(condition["RightValue"])
        compare: dict[str, Callable[[Any, Any], bool]] = {
            "Equals": lambda a, b: a == b,
            "GreaterThan": lambda a, b: a > b,
            "GreaterThanOrEqualTo": lambda a, b: a >= b,
            "LessThan": lambda a, b: a < b,
            "LessThanOrEqualTo": lambda a, b: a <= b,
        }
        return compare[kind](left, right)

    # Variables --------------------------------------------------------------------------------------------------------

    def value(self, item: Any) -> Any:
        """The item with every variable of the definition language replaced by what it is worth."""
        if isinstance(item, list):
            return [self.value(entry) for entry in item]
        if not isinstance(item, dict):
            return item
        if set(item) == {"Get"}:
            return self._get(item["Get"])
        if set(item) == {"Std:Join"}:
            join = item["Std:Join"]
            return str(join["On"]).join(str(self.value(entry)) for entry in join["Values"])
        if set(item) == {"Std:JsonGet"}:
            return self._json_get(item["Std:JsonGet"])
        return {name: self.value(entry) for name, entry in item.items()}

    def _get(self, path: str) -> Any:
        scope, name, *rest = _tokens(path)
        if scope == "Parameters":
            return self.execution["_values"][name]
        if scope == "Execution":
            arn = self.execution["PipelineExecutionArn"]
            known = {
                "PipelineExecutionId": arn.rpartition("/")[2],
                "PipelineExecutionArn": arn,
                "PipelineArn": self.execution["PipelineArn"],
                "PipelineName": self.execution["PipelineArn"].rpartition("/")[2],
                "StartDateTime": f"{self.execution['CreationTime']:%Y-%m-%dT%H:%M:%SZ}",
                "CurrentDateTime": f"{self.store.clock.now():%Y-%m-%dT%H:%M:%SZ}",
            }
            return known[name]
        found: Any = self.results[name]
        for token in rest:
            if isinstance(found, list) and not isinstance(token, int):
                found = next(item for item in found if token in item.values())
            else:
                found = found[token]
        return found

    def _json_get(self, query: dict[str, Any]) -> Any:
        _, step, _, name = _tokens(query["PropertyFile"]["Get"])
        declared = next(item for item in self.definitions[step]["PropertyFiles"] if item["PropertyFileName"] == name)
        outputs = self.results[step]["ProcessingOutputConfig"]["Outputs"]
        output = next(item for item in outputs if item["OutputName"] == declared["OutputName"])
        bucket, key = files.split(f"{output['S3Output']['S3Uri'].rstrip('/')}/{declared['FilePath']}")
        found = json.loads(self.store.aws("s3", self.role).get_object(Bucket=bucket, Key=key)["Body"].read())
        for token in _tokens(query["Path"]):
            found = found[token]
        return found


def _all_steps(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        yield step
        if step["Type"] == "Condition":
            yield from _all_steps(step["Arguments"].get("IfSteps", []))
            yield from _all_steps(step["Arguments"].get("ElseSteps", []))


def _needs(step: dict[str, Any]) -> set[str]:
    """The names of the steps that this one waits for: those it says, and those whose properties it uses."""
    found = set(step.get("DependsOn") or [])

    def look(item: Any) -> None:
        if isinstance(item, list):
            for entry in item:
                look(entry)
        elif isinstance(item, dict):
            if set(item) == {"Get"} and str(item["Get"]).startswith("Steps."):
                found.add(str(_tokens(item["Get"])[1]))
            for entry in item.values():
                look(entry)

    look(step["Arguments"])
    for nested in _all_steps([step]):
        found.update(nested.get("DependsOn") or [])
    return found


def _never_ready(steps: list[dict[str, Any]]) -> list[str]:
    """The steps that could never begin, in the order they are written."""
    known = {nested["Name"] for nested in _all_steps(steps)}
    waiting = {step["Name"]: _needs(step) for step in steps}
    inside = {name: needs & set(waiting) - {name} for name, needs in waiting.items()}
    never = [name for name, needs in waiting.items() if needs - known]
    ready: set[str] = set()
    while now := {name for name in inside if name not in ready and inside[name] <= ready}:
        ready |= now
    return never or [name for name in waiting if name not in ready]


def _typed(parameter: dict[str, Any], value: Any) -> Any:
    """The parameter's value as what it was declared; executions are started with texts."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "Integer": int,
        "Float": float,
        "Boolean": lambda text: str(text).lower() == "true",
    }
    try:
        return value if value is None else kinds.get(parameter["Type"], str)(value)
    except ValueError:
        raise ApiError("ValidationException", f"{parameter['Name']}: {value!r} is no {parameter['Type']}.") from None


def _tokens(path: str) -> list[Any]:
    """`Steps.A.Outputs['b'].S3Uri` → ['Steps', 'A', 'Outputs', 'b', 'S3Uri']; [0] becomes the number."""
    found: list[Any] = []
    for quoted, number, name in re.findall(r"\[['\"]([^'\"]+)['\"]\]|\[(\d+)\]|([^.\[\]]+)", path):
        found.append(int(number) if number else quoted or name)
    return found


def _check(operation: str, arguments: dict[str, Any]) -> None:
    """The arguments are what the operation takes; StepError with botocore's words if not."""
    shape = model("sagemaker").operation_model(operation).input_shape
    assert shape is not None, "every Create takes something"
    report = ParamValidator().validate(arguments, shape)
    if refused := report.generate_report() or "; ".join(unlike(shape, arguments)):
        raise StepError(f"ClientError: ValidationException: {refused}")
