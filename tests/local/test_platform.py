"""The embedded AWS, as its users see it: boto3 and HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from workbench import Bench

from local import LocalAws, ministack

ROOT = Path(__file__).resolve().parents[2]
MARCH = datetime(2013, 3, 1, 5, 0, tzinfo=UTC)
ECHO = """
import json, os
class Throttled(Exception): pass
def handler(event, context):
    if event.get("raise"):
        raise Throttled("too fast: wait")
    event["trace"] = os.environ.get("_X_AMZN_TRACE_ID")
    event["pid"] = os.getpid()
    return event
"""
KILLED = """
import os, pathlib, signal
def handler(event, context):
    if "unless" in event and pathlib.Path(event["unless"]).exists():
        return event
    if "unless" in event:
        pathlib.Path(event["unless"]).touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
MENDED = """
import pathlib
class Broken(Exception): pass
def handler(event, context):
    if not pathlib.Path(event["unless"]).exists():
        raise Broken("not yet")
    return event
"""
NOTING = """
import boto3
def handler(event, context):
    boto3.client("s3").put_object(Bucket="kept", Key="token", Body=event["token"])
"""
SOON = 1.0  # seconds, until what changed by itself is on disk
HEADER = "Root=1-51303280-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"


@pytest.fixture(scope="module")
def echo(bench: Bench) -> str:
    return bench.function("echo", ECHO, TracingConfig={"Mode": "Active"})


def lambda_task(function: str, payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    arguments = {"FunctionName": function, "Payload": payload}
    return {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": arguments, **fields}


# The clock and what follows it ----------------------------------------------------------------------------------------


def test_the_clock_shows_what_it_was_set_to(bench: Bench) -> None:
    bench.aws.set_clock(MARCH)
    with urllib.request.urlopen(f"{bench.aws.url}/_local/clock") as answer:
        shown = datetime.fromisoformat(json.load(answer)["now"])
    assert timedelta(0) <= shown - MARCH < timedelta(seconds=5)


def test_a_time_without_zone_is_refused_with_an_example(bench: Bench) -> None:
    body = json.dumps({"now": "2013-03-01T05:00:00"}).encode()
    request = urllib.request.Request(f"{bench.aws.url}/_local/clock", data=body, method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert "no time zone" in json.load(refused.value)["error"]


def test_setting_the_clock_fires_schedules_with_its_time_even_after_it_was_set_back(bench: Bench) -> None:
    bench.aws.set_clock(MARCH + timedelta(days=300))
    queue = bench.listen("schedule", ScheduleExpression="rate(5 minutes)")
    bench.aws.set_clock(MARCH)
    assert bench.received(queue) == []
    bench.aws.set_clock(MARCH + timedelta(hours=1))
    (event,) = bench.received(queue)
    assert (event["detail-type"], event["time"]) == ("Scheduled Event", "2013-03-01T06:00:00Z")
    bench.aws.set_clock(MARCH + timedelta(hours=1, minutes=4))
    assert bench.received(queue) == []
    bench.client("events").disable_rule(Name="schedule")


def test_a_schedule_waits_for_the_function_that_it_started(bench: Bench, tmp_path: Path) -> None:
    """However fast somebody sets the clock, it runs once at a time, and once more for all that was missed."""
    code = f"""
import pathlib, time
FOLDER = pathlib.Path({str(tmp_path)!r})
def handler(event, context):
    with (FOLDER / "runs").open("a") as runs:
        runs.write(event["time"] + "\\n")
    while not (FOLDER / "go").exists():
        time.sleep(0.05)
"""
    runs = tmp_path / "runs"
    bench.aws.set_clock(MARCH)
    function = bench.function("sweeping", code)
    bench.client("events").put_rule(Name="sweeping", ScheduleExpression="rate(5 minutes)")
    bench.client("events").put_targets(Rule="sweeping", Targets=[{"Id": "f", "Arn": function}])
    for hours in (1, 2, 3):
        bench.aws.set_clock(MARCH + timedelta(hours=hours))
        bench.eventually(runs.exists)
    assert runs.read_text().split() == ["2013-03-01T06:00:00Z"]
    (tmp_path / "go").touch()
    bench.eventually(lambda: len(runs.read_text().split()) == 2)
    assert runs.read_text().split()[1].startswith("2013-03-01T08:00:")
    bench.client("events").disable_rule(Name="sweeping")


def test_executions_and_states_start_on_the_aws_clock(bench: Bench) -> None:
    bench.aws.set_clock(MARCH)
    states = {"Tell": {"Type": "Pass", "Output": "{% $states.context.State.EnteredTime %}", "End": True}}
    done = bench.execute(bench.machine("clock", states, "Tell"))
    assert json.loads(done["output"]).startswith("2013-03-01T05:00:0")
    assert done["startDate"].astimezone(UTC).date() == MARCH.date()


# Alarms ---------------------------------------------------------------------------------------------------------------


def put_alarm(bench: Bench, name: str, **changes: Any) -> None:
    settings = {
        "AlarmName": name,
        "AlarmDescription": "drifted",
        "Namespace": "Tests",
        "MetricName": name,
        "Dimensions": [{"Name": "Endpoint", "Value": "flights"}],
        "Statistic": "Maximum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": 0.3,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    bench.client("cloudwatch").put_metric_alarm(**{**settings, **changes})


def put_metric(bench: Bench, name: str, value: float, endpoint: str = "flights", at: datetime = MARCH) -> None:
    datum = {"MetricName": name, "Dimensions": [{"Name": "Endpoint", "Value": endpoint}], "Value": value}
    bench.client("cloudwatch").put_metric_data(Namespace="Tests", MetricData=[{**datum, "Timestamp": at}])


def alarm_state(bench: Bench, name: str) -> str:
    return str(bench.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])


def listen_to_alarm(bench: Bench, name: str) -> str:
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": [name]}}
    return bench.listen(f"rule-{name}", EventPattern=pattern)


def test_a_breaching_metric_puts_the_alarms_event_on_the_bus(bench: Bench) -> None:
    bench.aws.set_clock(MARCH)
    events = listen_to_alarm(bench, "drift")
    put_alarm(bench, "drift")
    put_metric(bench, "drift", 0.9, endpoint="another")
    assert alarm_state(bench, "drift") != "ALARM"
    put_metric(bench, "drift", 0.5)
    assert alarm_state(bench, "drift") == "ALARM"
    event = [each for each in bench.received(events) if each["detail"]["state"]["value"] == "ALARM"][-1]
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["resources"] == ["arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift"]
    assert event["time"].startswith("2013-03-01T05:00:")
    assert event["detail"]["state"]["timestamp"].startswith("2013-03-01T05:00:")
    assert event["detail"]["state"]["timestamp"].endswith("+0000")
    assert json.loads(event["detail"]["state"]["reasonData"])["recentDatapoints"] == [0.5]
    assert event["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]["dimensions"] == {
        "Endpoint": "flights"
    }
    history = bench.client("cloudwatch").describe_alarm_history(AlarmName="drift", HistoryItemType="StateUpdate")
    assert "to ALARM" in history["AlarmHistoryItems"][0]["HistorySummary"]


def test_time_alone_takes_an_alarm_back(bench: Bench) -> None:
    bench.aws.set_clock(MARCH)
    put_alarm(bench, "passing")
    put_metric(bench, "passing", 0.5)
    assert alarm_state(bench, "passing") == "ALARM"
    bench.aws.set_clock(MARCH + timedelta(hours=1))
    assert alarm_state(bench, "passing") == "OK"


def test_silence_raises_an_alarm_without_any_request(bench: Bench) -> None:
    put_alarm(
        bench,
        "silence",
        Statistic="SampleCount",
        Threshold=1,
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
    )
    assert bench.eventually(lambda: alarm_state(bench, "silence") == "ALARM", seconds=5)


def test_set_alarm_state_tells_event_bus_and_topic_once(bench: Bench) -> None:
    url, arn = bench.queue("told")
    topic = bench.client("sns").create_topic(Name="alarms")["TopicArn"]
    bench.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    events = listen_to_alarm(bench, "by-hand")
    put_alarm(bench, "by-hand", AlarmActions=[topic])
    bench.client("cloudwatch").set_alarm_state(AlarmName="by-hand", StateValue="ALARM", StateReason="a drill")
    told = [each["detail"]["state"] for each in bench.received(events, seconds=3)]
    assert [state["reason"] for state in told if state["value"] == "ALARM"] == ["a drill"]
    (message,) = bench.received(url)
    assert json.loads(message["Message"])["NewStateReason"] == "a drill"


# Lambda ---------------------------------------------------------------------------------------------------------------


def test_an_exceptions_class_reaches_the_caller_and_the_worker_stays_warm(bench: Bench, echo: str) -> None:
    before = bench.invoke(echo, {})
    raised = bench.invoke(echo, {"raise": True})
    assert (raised["errorType"], raised["errorMessage"]) == ("Throttled", "too fast: wait")
    assert bench.invoke(echo, {})["pid"] == before["pid"]


def test_a_function_sees_the_runtimes_libraries_and_no_others(bench: Bench) -> None:
    code = "from importlib.util import find_spec\ndef handler(event, context):\n"
    code += "    return {name: find_spec(name) is not None for name in event}\n"
    found = bench.invoke(bench.function("libraries", code), ["boto3", "numpy", "ministack", "retrain", "local"])
    assert [name for name, there in found.items() if there] == ["boto3"]


def test_an_event_that_fails_for_good_lands_in_the_functions_failure_destination(bench: Bench, echo: str) -> None:
    url, arn = bench.queue("rejected")
    function = bench.function("failing", ECHO)
    bench.client("lambda").put_function_event_invoke_config(
        FunctionName="failing", MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    bench.client("events").put_rule(Name="fail", EventPattern=json.dumps({"source": ["tests.fail"]}))
    target = {"Id": "f", "Arn": function, "Input": json.dumps({"raise": True})}
    bench.client("events").put_targets(Rule="fail", Targets=[target])
    entry = {"Source": "tests.fail", "DetailType": "t", "Detail": "{}"}
    bench.client("events").put_events(Entries=[entry])
    (letter,) = bench.received(url, seconds=10)
    assert letter["responsePayload"]["errorType"] == "Throttled"
    assert letter["requestPayload"] == {"raise": True}


def test_an_event_that_can_not_be_delivered_lands_in_the_rules_dead_letter_queue(bench: Bench) -> None:
    url, arn = bench.queue("undelivered")
    bench.client("events").put_rule(Name="lost", EventPattern=json.dumps({"source": ["tests.lost"]}))
    gone = "arn:aws:lambda:us-east-1:000000000000:function:gone"
    target = {"Id": "f", "Arn": gone, "DeadLetterConfig": {"Arn": arn}}
    bench.client("events").put_targets(Rule="lost", Targets=[target])
    bench.client("events").put_events(Entries=[{"Source": "tests.lost", "DetailType": "t", "Detail": '{"n": 1}'}])
    assert [each["detail"] for each in bench.received(url, seconds=3)] == [{"n": 1}]


def test_messages_that_wait_in_a_queue_are_a_metric(bench: Bench) -> None:
    url, _ = bench.queue("waiting")
    bench.client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    wanted = {"Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible"}
    wanted["Dimensions"] = [{"Name": "QueueName", "Value": "waiting"}]  # type: ignore[assignment]
    assert bench.eventually(lambda: bench.client("cloudwatch").list_metrics(**wanted)["Metrics"], seconds=5)


def test_metrics_in_a_functions_log_are_counted(bench: Bench) -> None:
    metric = {"Namespace": "FromLogs", "Dimensions": [["Reason"]], "Metrics": [{"Name": "Closed", "Unit": "Count"}]}
    line = {"_aws": {"Timestamp": 0, "CloudWatchMetrics": [metric]}, "Reason": "promoted", "Closed": [1.0]}
    bench.invoke(bench.function("talking", f"def handler(event, context): print({json.dumps(line)!r})"), {})
    found = bench.eventually(lambda: bench.client("cloudwatch").list_metrics(Namespace="FromLogs")["Metrics"])
    assert found[0]["Dimensions"] == [{"Name": "Reason", "Value": "promoted"}]


def test_invocations_by_events_and_machines_are_counted_like_direct_ones(bench: Bench, echo: str) -> None:
    bench.execute(bench.machine("counted", {"Call": lambda_task(echo, {}, End=True)}, "Call"))
    wanted = {"Namespace": "AWS/Lambda", "MetricName": "Invocations"}
    dimensions = [{"Name": "FunctionName", "Value": "echo"}]
    assert bench.eventually(
        lambda: bench.client("cloudwatch").list_metrics(**wanted, Dimensions=dimensions)["Metrics"], seconds=5
    )


# Step Functions -------------------------------------------------------------------------------------------------------


def test_a_retry_and_a_catch_see_the_class_of_the_error(bench: Bench, echo: str) -> None:
    retry = [{"ErrorEquals": ["Throttled"], "IntervalSeconds": 5, "MaxAttempts": 1}]
    catch = [
        {
            "ErrorEquals": ["States.ALL"],
            "Assign": {"error": "{% $states.errorOutput %}"},
            "Output": {"seen": "{% $states.errorOutput.Error %}"},
            "Next": "End",
        }
    ]
    states = {
        "Try": lambda_task(echo, {"raise": True}, Retry=retry, Catch=catch, Next="End"),
        "End": {"Type": "Fail", "Error": "{% $error.Error & '!' %}", "Cause": "{% $states.input.seen %}"},
    }
    machine = bench.machine("catching", states, "Try")
    done = bench.execute(machine, name="caught")
    assert (done["status"], done["error"], done["cause"]) == ("FAILED", "Throttled!", "Throttled")
    history = bench.client("stepfunctions").get_execution_history(executionArn=done["executionArn"])["events"]
    assert sum(event["type"] == "TaskFailed" for event in history) == 2


def test_a_worker_that_is_killed_is_what_aws_calls_it_and_the_next_attempt_has_another_worker(
    bench: Bench, tmp_path: Path
) -> None:
    bench.function("killed", KILLED)
    assert bench.invoke("killed", {})["errorType"] == "Runtime.ExitError"
    retry = [{"ErrorEquals": ["Runtime.ExitError"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    asked = {"unless": str(tmp_path / "was here")}
    machine = bench.machine("killing", {"Try": lambda_task("killed", asked, Retry=retry, End=True)}, "Try")
    states = bench.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=machine)["executionArn"]
    bench.eventually(lambda: states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED", seconds=60)
    history = states.get_execution_history(executionArn=arn)["events"]
    assert sum(event["type"] == "TaskFailed" for event in history) == 1


@pytest.mark.parametrize(
    ("payload", "error"), [({"raise": True}, "Throttled"), ({}, "States.Timeout")], ids=["fails", "never answers"]
)
def test_waiting_for_a_token_ends_when_its_function(
    bench: Bench, echo: str, payload: dict[str, Any], error: str
) -> None:
    wait = lambda_task(echo, {**payload, "token": "{% $states.context.Task.Token %}"}, End=True)
    wait.update(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken", TimeoutSeconds="{% 10 * 2 %}")
    done = bench.execute(bench.machine(f"waiting-{len(payload)}", {"Wait": wait}, "Wait"))
    assert (done["status"], done["error"]) == ("FAILED", error)


def test_a_token_wakes_its_execution(bench: Bench) -> None:
    code = """
import boto3, json
def handler(event, context):
    boto3.client("stepfunctions").send_task_success(taskToken=event["token"], output=json.dumps({"decision": "yes"}))
"""
    function = bench.function("answering", code)
    wait = lambda_task(function, {"token": "{% $states.context.Task.Token %}"}, End=True, TimeoutSeconds=3600)
    wait.update(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken", Output="{% $states.result.decision %}")
    assert bench.execute(bench.machine("waking", {"Wait": wait}, "Wait"))["output"] == '"yes"'


def test_starting_a_running_execution_again_answers_with_it(bench: Bench) -> None:
    sfn = bench.client("stepfunctions")
    machine = bench.machine("once", {"Wait": {"Type": "Wait", "Seconds": 9999, "End": True}}, "Wait")
    first = sfn.start_execution(stateMachineArn=machine, name="episode", input='{"a": 1}')
    again = sfn.start_execution(stateMachineArn=machine, name="episode", input='{"a": 1}')
    assert again["executionArn"] == first["executionArn"]
    with pytest.raises(sfn.exceptions.ExecutionAlreadyExists):
        sfn.start_execution(stateMachineArn=machine, name="episode", input='{"a": 2}')
    sfn.stop_execution(executionArn=first["executionArn"])


def test_the_end_of_an_execution_is_an_event(bench: Bench) -> None:
    pattern = {"source": ["aws.states"], "detail": {"status": ["FAILED"], "name": ["doomed"]}}
    events = bench.listen("executions", EventPattern=pattern)
    bench.execute(bench.machine("doomed", {"No": {"Type": "Fail", "Error": "No", "Cause": "no"}}, "No"), name="doomed")
    (event,) = bench.received(events, seconds=3)
    assert event["detail-type"] == "Step Functions Execution Status Change"
    assert event["detail"]["error"] == "No"


def test_a_machine_that_takes_too_long_times_out_and_says_so(bench: Bench) -> None:
    events = bench.listen("late", EventPattern={"source": ["aws.states"], "detail": {"status": ["TIMED_OUT"]}})
    states = {"Wait": {"Type": "Wait", "Seconds": 99999, "End": True}}
    done = bench.execute(bench.machine("late", states, "Wait", TimeoutSeconds=10), name="late")
    assert done["status"] == "TIMED_OUT"
    assert [event["detail"]["name"] for event in bench.received(events, seconds=3)] == ["late"]


def test_an_execution_that_was_stopped_stays_so(bench: Bench, echo: str) -> None:
    wait = lambda_task(echo, {"token": "{% $states.context.Task.Token %}"}, End=True, TimeoutSeconds=30)
    wait.update(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken")
    events = bench.listen("stopped", EventPattern={"source": ["aws.states"], "detail": {"name": ["stopped"]}})
    sfn = bench.client("stepfunctions")
    machine = bench.machine("stopped", {"Wait": wait}, "Wait")
    arn = sfn.start_execution(stateMachineArn=machine, name="stopped")["executionArn"]

    def seen(kind: str) -> bool:
        return any(item["type"] == kind for item in sfn.get_execution_history(executionArn=arn)["events"])

    bench.eventually(lambda: seen("TaskScheduled"))
    sfn.stop_execution(executionArn=arn)
    assert sfn.get_execution_history(executionArn=arn)["events"][-1]["type"] == "ExecutionAborted"
    assert [each["detail"]["status"] for each in bench.received(events)] == ["RUNNING", "ABORTED"]
    assert sfn.describe_execution(executionArn=arn)["status"] == "ABORTED"


def test_an_execution_is_redriven_from_the_state_that_it_ended_in(bench: Bench, tmp_path: Path) -> None:
    bench.function("mended", MENDED)
    here = {"name": "mended", "unless": str(tmp_path / "mended")}
    states = {
        "First": {"Type": "Pass", "Assign": {"n": 41}, "Output": {"given": True}, "Next": "Try"},
        "Try": lambda_task("mended", {**here, "n": "{% $n + 1 %}"}, Output="{% $states.result.Payload.n %}", End=True),
    }
    machine = bench.machine("redriven", states, "First")
    failed = bench.execute(machine, name="redriven")
    assert (failed["status"], failed["error"], failed["redriveStatus"]) == ("FAILED", "Broken", "REDRIVABLE")
    assert failed["redriveCount"] == 0
    (tmp_path / "mended").touch()
    sfn = bench.client("stepfunctions")
    arn = failed["executionArn"]
    # Whatever the machine has become since: an execution keeps the definition that it began with.
    definition = {"StartAt": "No", "States": {"No": {"Type": "Fail"}}}
    sfn.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition))
    at = sfn.redrive_execution(executionArn=arn, clientToken="once")["redriveDate"]
    again = sfn.redrive_execution(executionArn=arn, clientToken="once")["redriveDate"]
    done = bench.eventually(lambda: ended(bench, arn))
    assert (done["status"], done["output"], done["redriveCount"]) == ("SUCCEEDED", "42", 1)
    assert done["redriveDate"] == at == again
    history = [event["type"] for event in sfn.get_execution_history(executionArn=arn)["events"]]
    assert (history.count("PassStateEntered"), history.count("TaskStateEntered")) == (1, 1)
    assert history[history.index("ExecutionFailed") :][1:3] == ["ExecutionRedriven", "TaskScheduled"]
    with pytest.raises(sfn.exceptions.ExecutionNotRedrivable, match="SUCCEEDED and cannot be redriven"):
        sfn.redrive_execution(executionArn=arn)
    with pytest.raises(sfn.exceptions.ExecutionDoesNotExist):
        sfn.redrive_execution(executionArn=f"{arn}-of-nobody")


def test_an_execution_that_was_stopped_is_redriven_and_what_it_waited_for_wakes_it_no_more(bench: Bench) -> None:
    url, _ = bench.queue("asked")
    code = """
import boto3, json, os
def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=event["url"], MessageBody=json.dumps(event["token"]))
"""
    wait = lambda_task(bench.function("asking", code), {"token": "{% $states.context.Task.Token %}", "url": url})
    wait.update(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken", TimeoutSeconds=3600, End=True)
    sfn = bench.client("stepfunctions")
    machine = bench.machine("asked", {"Wait": wait}, "Wait")
    arn = sfn.start_execution(stateMachineArn=machine)["executionArn"]
    (before,) = bench.received(url, seconds=10)
    sfn.stop_execution(executionArn=arn)
    sfn.redrive_execution(executionArn=arn)
    (after,) = bench.received(url, seconds=10)
    with pytest.raises(sfn.exceptions.TaskDoesNotExist):
        sfn.send_task_success(taskToken=before, output='"too late"')
    assert sfn.describe_execution(executionArn=arn)["status"] == "RUNNING"
    sfn.send_task_success(taskToken=after, output='"yes"')
    assert bench.eventually(lambda: ended(bench, arn))["output"] == '"yes"'


def ended(bench: Bench, arn: str) -> Any:
    found = bench.client("stepfunctions").describe_execution(executionArn=arn)
    return found if found["status"] != "RUNNING" else None


def test_one_trace_leads_from_the_caller_through_the_machine_to_its_functions(bench: Bench, echo: str) -> None:
    states = {
        "One": lambda_task(echo, {}, Next="Two"),
        "Two": lambda_task(echo, {}, Output="{% $states.result.Payload.trace %}", End=True),
    }
    done = bench.execute(bench.machine("traced", states, "One"), traceHeader=HEADER)
    seen = dict(part.split("=") for part in json.loads(done["output"]).split(";"))
    assert (seen["Root"], seen["Sampled"]) == ("1-51303280-0123456789abcdef01234567", "1")
    (trace,) = bench.client("xray").batch_get_traces(TraceIds=[seen["Root"]])["Traces"]
    segments = [json.loads(segment["Document"]) for segment in trace["Segments"]]
    assert [segment["name"] for segment in segments] == ["traced", "echo", "echo"]
    assert segments[0]["parent_id"] == "0123456789abcdef"
    assert {segment["parent_id"] for segment in segments[1:]} == {segments[0]["id"]}
    assert seen["Parent"] == segments[2]["id"]


# CloudFormation, CloudTrail, and what stays ---------------------------------------------------------------------------

TEMPLATE = {
    "Resources": {
        "Group": {
            "Type": "AWS::SageMaker::ModelPackageGroup",
            "Properties": {"ModelPackageGroupName": "challengers", "Tags": [{"Key": "k", "Value": "1"}]},
        },
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Trail": {
            "Type": "AWS::CloudTrail::Trail",
            "Properties": {"S3BucketName": {"Ref": "Bucket"}, "IsLogging": True},
        },
    },
    "Outputs": {
        "Group": {"Value": {"Fn::GetAtt": ["Group", "ModelPackageGroupArn"]}},
        "Trail": {"Value": {"Fn::GetAtt": ["Trail", "Arn"]}},
        "Bucket": {"Value": {"Ref": "Bucket"}},
    },
}


def stack_in(bench: Bench, name: str, status: str) -> dict[str, Any] | None:
    (stack,) = bench.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return stack if stack["StackStatus"] == status else None


def test_a_stack_creates_changes_and_deletes_the_resource_types_that_were_added(bench: Bench) -> None:
    stacks = bench.client("cloudformation")
    stacks.create_stack(StackName="types", TemplateBody=json.dumps(TEMPLATE))
    created = bench.eventually(lambda: stack_in(bench, "types", "CREATE_COMPLETE"))
    outputs = {item["OutputKey"]: item["OutputValue"] for item in created["Outputs"]}
    sagemaker, trails = bench.client("sagemaker"), bench.client("cloudtrail")
    group = sagemaker.describe_model_package_group(ModelPackageGroupName="challengers")
    assert group["ModelPackageGroupArn"] == outputs["Group"]
    assert trails.get_trail_status(Name=outputs["Trail"])["IsLogging"]
    changed = json.loads(json.dumps(TEMPLATE))
    changed["Resources"]["Trail"]["Properties"]["IsLogging"] = False
    changed["Resources"]["Group"]["Properties"]["Tags"] = [{"Key": "k", "Value": "2"}]
    stacks.update_stack(StackName="types", TemplateBody=json.dumps(changed))
    bench.eventually(lambda: stack_in(bench, "types", "UPDATE_COMPLETE"))
    assert not trails.get_trail_status(Name=outputs["Trail"])["IsLogging"]
    assert sagemaker.list_tags(ResourceArn=outputs["Group"])["Tags"] == [{"Key": "k", "Value": "2"}]
    stacks.delete_stack(StackName="types")
    bench.eventually(lambda: not sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"])


def test_cloudtrail_tells_who_called_sagemaker(bench: Bench) -> None:
    bench.client("sagemaker").create_model_package_group(ModelPackageGroupName="audited")
    wanted = [{"AttributeKey": "EventName", "AttributeValue": "CreateModelPackageGroup"}]
    events = bench.client("cloudtrail").lookup_events(LookupAttributes=wanted)["Events"]
    assert any('"audited"' in event["CloudTrailEvent"] for event in events)
    assert events[0]["EventSource"] == "sagemaker.amazonaws.com"


def test_cloudtrail_tells_the_role_under_which_a_call_was_made(bench: Bench) -> None:
    bench.function("caller", "import boto3\ndef handler(*_):\n    boto3.client('sns').create_topic(Name='by-a-role')\n")
    bench.invoke("caller", {})
    wanted = [{"AttributeKey": "EventName", "AttributeValue": "CreateTopic"}]
    events = bench.client("cloudtrail").lookup_events(LookupAttributes=wanted)["Events"]
    [event] = [event for event in events if '"by-a-role"' in event["CloudTrailEvent"]]
    identity = json.loads(event["CloudTrailEvent"])["userIdentity"]
    assert (event["Username"], identity["type"]) == ("caller", "AssumedRole")
    assert identity["sessionContext"]["sessionIssuer"]["arn"] == bench.role


def test_a_search_finds_every_metric_of_its_dimensions_and_words(bench: Bench) -> None:
    cloudwatch, now = bench.client("cloudwatch"), datetime.now(UTC)
    for name, value in (("feature_baseline_drift_age", 0.2), ("feature_baseline_drift_fare", 0.4), ("drift_max", 0.4)):
        for endpoint in ("searched", "other"):
            dimensions = [{"Name": "Endpoint", "Value": endpoint}]
            point = {"MetricName": name, "Dimensions": dimensions, "Value": value, "Timestamp": now}
            cloudwatch.put_metric_data(Namespace="Searched", MetricData=[point])
    expression = "SEARCH('{Searched,Endpoint} Endpoint=\"searched\" feature_baseline_drift', 'Maximum', 300)"
    found = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "drift", "Expression": expression}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
    )["MetricDataResults"]
    assert {(item["Id"], item["Label"], *item["Values"]) for item in found} == {
        ("drift", "feature_baseline_drift_age", 0.2),
        ("drift", "feature_baseline_drift_fare", 0.4),
    }


def test_a_state_machines_log_tells_what_it_did_and_not_what_it_was_given(bench: Bench) -> None:
    logs, machines = bench.client("logs"), bench.client("stepfunctions")
    logs.create_log_group(logGroupName="machine")
    arn = logs.describe_log_groups(logGroupNamePrefix="machine")["logGroups"][0]["arn"]
    logged = {"level": "ALL", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}}]}
    definition = {"StartAt": "Pass On", "States": {"Pass On": {"Type": "Pass", "End": True}}}
    machine = machines.create_state_machine(
        name="logged", definition=json.dumps(definition), roleArn=bench.role, loggingConfiguration=logged
    )["stateMachineArn"]
    machines.start_execution(stateMachineArn=machine, input='{"token": "secret"}')

    def said() -> list[dict[str, Any]]:
        events = logs.filter_log_events(logGroupName="machine")["events"]
        lines = [json.loads(event["message"]) for event in events]
        return lines if lines and lines[-1]["type"] == "ExecutionSucceeded" else []

    lines = bench.eventually(said)
    assert machines.describe_state_machine(stateMachineArn=machine)["loggingConfiguration"]["level"] == "ALL"
    assert [line["type"] for line in lines][:2] == ["ExecutionStarted", "PassStateEntered"]
    assert lines[1]["details"]["name"] == "Pass On"
    assert "secret" not in json.dumps(lines)


def test_cloudtrail_records_management_events_by_the_name_of_their_operation(bench: Bench) -> None:
    bench.client("sts").get_caller_identity()
    bench.client("cloudwatch").list_dashboards()
    bench.client("s3").create_bucket(Bucket="audited")
    bench.client("s3").put_object(Bucket="audited", Key="a", Body=b"")
    bench.queue("audited")
    bench.client("sqs").send_message(QueueUrl=bench.queue("audited")[0], MessageBody="{}")
    events = bench.client("cloudtrail").lookup_events(MaxResults=10)["Events"]
    names = [event["EventName"] for event in events]
    assert {"GetCallerIdentity", "ListDashboards", "CreateBucket", "CreateQueue"} <= set(names)
    assert not {"PutObject", "SendMessage"} & set(names)


def test_what_sagemaker_refuses_is_refused_with_its_code(bench: Bench) -> None:
    with pytest.raises(ClientError) as refused:
        bench.client("sagemaker").describe_endpoint(EndpointName="nobody")
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert "Could not find endpoint" in refused.value.response["Error"]["Message"]


@pytest.mark.parametrize("end", [LocalAws.stop, LocalAws.kill], ids=["stopped", "killed"])
def test_everything_is_there_again_after_a_restart_and_what_was_running_goes_on(
    tmp_path: Path, end: Callable[[LocalAws], None]
) -> None:
    with LocalAws(0, tmp_path, fresh=True) as aws:
        bench = Bench(aws)
        aws.set_clock(MARCH)
        bench.client("s3").create_bucket(Bucket="kept")
        echo = bench.function("echo", ECHO, TracingConfig={"Mode": "Active"})
        machine = bench.machine("m", {"Call": lambda_task(echo, {"n": 1}, End=True)}, "Call")
        bench.execute(machine, name="done", traceHeader=HEADER)
        asking = lambda_task(bench.function("noting", NOTING), {"token": "{% $states.context.Task.Token %}"})
        asking.update(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken", TimeoutSeconds=99_999, Next="Tell")
        tell = {"Type": "Succeed", "Output": {"answer": "{% $states.input %}", "n": "{% $n %}"}}
        first = {"Type": "Pass", "Assign": {"n": 7}, "Next": "Ask"}
        patient = bench.machine("patient", {"First": first, "Ask": asking, "Tell": tell}, "First")
        running = bench.client("stepfunctions").start_execution(stateMachineArn=patient, name="cut")["executionArn"]
        bench.listen("ended", EventPattern={"source": ["aws.states"], "detail": {"status": ["SUCCEEDED"]}})
        bench.client("s3").put_object(Bucket="kept", Key="a/b", Body=b"body")
        put_alarm(bench, "drift")
        put_metric(bench, "drift", 0.5)
        bench.client("sagemaker").create_model_package_group(ModelPackageGroupName="kept")
        table = {"AttributeName": "pk", "KeyType": "HASH"}
        attribute = {"AttributeName": "pk", "AttributeType": "S"}
        bench.client("dynamodb").create_table(
            TableName="kept", KeySchema=[table], AttributeDefinitions=[attribute], BillingMode="PAY_PER_REQUEST"
        )
        bench.client("dynamodb").put_item(TableName="kept", Item={"pk": {"S": "1"}})
        stack = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
        stacks = bench.client("cloudformation")
        stacks.create_stack(StackName="kept", TemplateBody=json.dumps(stack))
        bench.eventually(lambda: stack_in(bench, "kept", "CREATE_COMPLETE"))
        bench.eventually(lambda: bench.client("s3").list_objects_v2(Bucket="kept", Prefix="token").get("Contents"))
        time.sleep(2 * SOON)
        slow = bench.machine("slow", {"Wait": {"Type": "Wait", "Seconds": 100, "End": True}}, "Wait")
        waiting = bench.client("stepfunctions").start_execution(stateMachineArn=slow, name="cut")["executionArn"]
        bench.client("dynamodb").put_item(TableName="kept", Item={"pk": {"S": "at the last moment"}})
        end(aws)
    with LocalAws(0, tmp_path, fresh=False) as aws:
        bench.aws, bench.client = aws, aws.client
        names = [event["EventName"] for event in bench.client("cloudtrail").lookup_events()["Events"]]
        assert "CreateModelPackageGroup" in names
        queue = aws.client("sqs").get_queue_url(QueueName="ended")["QueueUrl"]
        token = bench.client("s3").get_object(Bucket="kept", Key="token")["Body"].read().decode()
        bench.client("stepfunctions").send_task_success(taskToken=token, output='"yes"')
        for arn in (running, waiting):
            assert bench.eventually(lambda arn=arn: ended(bench, arn))["status"] == "SUCCEEDED"
        assert json.loads(ended(bench, running)["output"]) == {"answer": "yes", "n": 7}
        history = bench.client("stepfunctions").get_execution_history(executionArn=running)["events"]
        assert [event["type"] for event in history].count("TaskStateEntered") == 1
        told = [event for event in bench.received(queue, seconds=3) if event["detail"]["name"] == "cut"]
        assert len(told) == 2
        assert all(event["time"].startswith("2013-03-01T05:") for event in told)
        assert bench.client("s3").get_object(Bucket="kept", Key="a/b")["Body"].read() == b"body"
        assert bench.invoke("echo", {"n": 2})["n"] == 2
        executions = bench.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
        assert [each["name"] for each in executions] == ["done"]
        assert alarm_state(bench, "drift") == "ALARM"
        for key in ("1", "at the last moment"):
            assert bench.client("dynamodb").get_item(TableName="kept", Key={"pk": {"S": key}})["Item"]
        assert bench.client("cloudformation").describe_stack_resources(StackName="kept")["StackResources"]
        assert bench.client("sagemaker").describe_model_package_group(ModelPackageGroupName="kept")
        root = HEADER.partition(";")[0].removeprefix("Root=")
        assert bench.client("xray").batch_get_traces(TraceIds=[root])["Traces"]
        streams = bench.client("logs").describe_log_streams(logGroupName="/aws/lambda/echo")["logStreams"]
        assert streams


# The command ----------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_in_one_sentence(bench: Bench) -> None:
    command = [sys.executable, "-m", "local", "up", "--port", str(bench.aws.port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_workers(tmp_path: Path, number: signal.Signals) -> None:
    with LocalAws(0, tmp_path, fresh=True) as aws:
        bench = Bench(aws)
        pid = bench.invoke(bench.function("echo", ECHO), {})["pid"]
        process = aws._process
        assert process is not None
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_another_ministack_than_the_one_it_was_written_for_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not the MiniStack"):
        ministack._replaced("other text", "the expected line", "")
