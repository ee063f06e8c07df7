"""What must hold of template.yaml and the state machine together: each check takes the two, as they are or as a mutant.

The checks go through what a deployment would do: settings read an environment, events meet rules, series meet alarms,
executions run, services ask for a resource's policy.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unittest.mock import patch

from machine import deployed
from ministack.core import iam_evaluator as iam
from scenarios import END_OF_PAGE, EXECUTIONS, execution, pages

from local import ACCOUNT, REGION, alarms
from local.template import STACK, resolved, translated
from retrain.core import telemetry
from retrain.deployed import settings

ROOT = Path(__file__).parents[2]
EVENTS = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "events").glob("*.json"))}
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-Notifications"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{STACK}-DataKey"
Resource = dict[str, Any]


@dataclass
class Wiring:
    """template.yaml as it is written, and the state machine."""

    template: Resource
    machine: Resource

    @cached_property
    def translated(self) -> Resource:
        """The template as CloudFormation gets it."""
        return translated(self.template)

    def resources(self, **parameters: str) -> dict[str, Resource]:
        """What a deployment with these parameters has."""
        return resolved(self.translated, **parameters)

    @cached_property
    def flights(self) -> dict[str, Resource]:
        """What a deployment for the endpoint `flights` has, which the events of events/ tell of."""
        return self.resources(EndpointName="flights", RollbackLatencyMilliseconds="250")


def of_type(resources: Mapping[str, Resource], kind: str) -> dict[str, Resource]:
    return {name: item["Properties"] for name, item in resources.items() if item["Type"] == kind}


def arn(service: str, name: str, place: str = f"{REGION}:{ACCOUNT}") -> str:
    return f"arn:aws:{service}:{place}:{name}"


# Environments --------------------------------------------------------------------------------------------------------

# The parameter that a variable carries, where its name does not say it.
PARAMETERS = {
    "IMAGE_URI": "XGBoostImageUri",
    "INTAKE_INSTANCES": "IntakeInstanceCount",
    "NATIVE_SCHEDULE": "NativeMonitoringSchedule",
    "SECURITY_GROUPS": "SecurityGroupIds",
    "SUBNETS": "SubnetIds",
}
# What the other variables hold.
HELD = {
    "ACCOUNT": ACCOUNT,
    "APPROVAL_PAGE_URL": "ApprovalApi.ApiEndpoint/",
    "APPROVER_TOPICS": ",".join(arn("sns", f"{STACK}-{name}Approver") for name in ("First", "Second")),
    "ALARM_ARNS": ",".join(arn("cloudwatch", f"alarm:{STACK}-{name}") for name in ("DriftAlarm", "NativeDriftAlarm")),
    "BUCKET": f"{STACK}-databucket",
    "CODE_URI": "PublishedPipeline.CodeUri",
    "ENDPOINT_ROLE_ARN": arn("iam", f"role/{STACK}-EndpointRole", f":{ACCOUNT}"),
    "INTAKE_ROLE_ARN": arn("iam", f"role/{STACK}-IntakeRole", f":{ACCOUNT}"),
    "JOB_ROLE_ARN": arn("iam", f"role/{STACK}-JobRole", f":{ACCOUNT}"),
    "KMS_KEY_ARN": KEY,
    "LINK_KEY_ARN": arn("kms", f"key/{STACK}-LinkKey"),
    "LEDGER_TABLE": f"{STACK}-Ledger",
    "MAX_EVENT_AGE_HOURS": "24",
    "MONTHLY_EPISODES": "31",
    "MONTHLY_DOLLARS": "100",
    "MODEL_PACKAGE_GROUP": "ENDPOINT-11111111",
    "PIPELINE_NAME": "ENDPOINT-retrain",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "POWERTOOLS_METRICS_NAMESPACE": telemetry.NAMESPACE,
    "POWERTOOLS_SERVICE_NAME": "drift-retrain",
    "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false",
    "QUALITY_ALARM_ARNS": arn("cloudwatch", f"alarm:{STACK}-QualityAlarm"),
    "REJECTED_EVENTS_URL": f"{STACK}-RejectedEvents",
    "ROLLBACK_ALARMS": f"{STACK}-EndpointErrorsAlarm,{STACK}-PredictionSanityAlarm,{STACK}-EndpointLatencyAlarm",
    "STATE_MACHINE_ARN": arn("states", f"stateMachine:{STACK}-RetrainMachine"),
    "TOPIC_ARN": TOPIC,
}
POWERTOOLS = {name for name in HELD if name.startswith("POWERTOOLS_")}


def environments_hold_what_their_functions_read(wiring: Wiring) -> None:
    """Every variable that a handler's settings and adapters read is there, and says what its name promises."""
    told_apart = {name: _distinct(name, item) for name, item in wiring.template["Parameters"].items()}
    for logical, item in of_type(wiring.resources(**told_apart), "AWS::Lambda::Function").items():
        handler = item["Handler"].split(".")[1]
        environment = item["Environment"]["Variables"]
        read = variables_of(handler)
        assert read <= set(environment), f"{logical} lacks {sorted(read - set(environment))}"
        shared = set(wiring.template["Globals"]["Function"]["Environment"]["Variables"])
        assert POWERTOOLS <= set(environment) <= read | shared | POWERTOOLS, f"{logical} has what it never reads"
        for name, value in environment.items():
            parameter = PARAMETERS.get(name, "".join(word.capitalize() for word in name.split("_")))
            expected = told_apart[parameter] if parameter in told_apart else HELD[name]
            assert value == expected.replace("ENDPOINT-", f"{told_apart['EndpointName']}-"), (
                f"{logical} {name}={value!r}"
            )


def settings_accept_their_environments(wiring: Wiring) -> None:
    """Every function's settings can be made of the environment that it is deployed with."""
    for item in of_type(wiring.flights, "AWS::Lambda::Function").values():
        handler = item["Handler"].split(".")[1]
        environment = {**item["Environment"]["Variables"], "AWS_REGION": REGION, "CODE_URI": "s3://bucket/code/1"}
        with patch.dict(os.environ, environment, clear=True):
            for name in _attributes_of(handler, "settings"):
                getattr(settings, name).__wrapped__()


def _distinct(name: str, item: Resource) -> str:
    """A value of the parameter that no other has."""
    if "AllowedValues" in item:
        return str(item["AllowedValues"][-1])
    if item["Type"] == "Number":
        return str(1000 + sorted(name.encode())[0] + sum(name.encode()))
    said = {
        "InitialDataUri": "s3://initial/data/",
        "XGBoostImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/image:1",
    }
    return said.get(name, name.lower())


@cache
def variables_of(handler: str) -> frozenset[str]:
    """The variables that the handler's code reads, but for those that Lambda sets."""
    found = set(_strings_of(ast.parse((ROOT / "src/handlers" / f"{handler}.py").read_text())))
    for module in ("settings", "adapters"):
        tree = ast.parse((ROOT / "src/retrain/deployed" / f"{module}.py").read_text())
        functions = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
        called = [functions[name] for name in _attributes_of(handler, module)]
        for function in called:
            found |= set(_strings_of(function))
            names = {node.func.id for node in ast.walk(function) if _calls_by_name(node)}  # type: ignore[attr-defined]
            called += [functions[name] for name in sorted(names & set(functions) - {"setting"})]
    return frozenset(found - {"AWS_REGION"})


def _calls_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _attributes_of(handler: str, module: str) -> set[str]:
    tree = ast.parse((ROOT / "src/handlers" / f"{handler}.py").read_text())
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


def _strings_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setting":
            [first, *_] = node.args
            assert isinstance(first, ast.Constant)
            yield str(first.value)


# Rules ---------------------------------------------------------------------------------------------------------------

# Which functions hear of which event; of every other event, and of one from elsewhere, nobody does.
HEARD = {
    "alarm-drift": {"AlarmHandler"},
    "alarm-duplicate": {"AlarmHandler"},
    "alarm-ok": {"AlarmHandler"},
    "alarm-insufficient-data": {"AlarmHandler"},
    "alarm-malformed": {"AlarmHandler"},
    "alarm-composite": {"AlarmHandler"},
    "alarm-native": {"AlarmHandler"},
    "alarm-quality": {"AlarmHandler"},
    "bootstrap-requested": {"AlarmHandler"},
    "retraining-requested": {"AlarmHandler"},
    "evidence-sufficient": {"AlarmHandler"},
    "episode-changed": {"ReportWriter"},
    "execution-aborted": {"EpisodeCloser"},
    "execution-failed": {"EpisodeCloser"},
    "execution-timed-out": {"EpisodeCloser"},
    "registry-approved": {"Approver"},
    "registry-rejected": {"Approver"},
    "window-analysed": {"ReportWriter"},
}
ELSEWHERE = {"account": "111111111111", "source": "elsewhere", "detail-type": "Something Else"}


def events_reach_who_should_hear_of_them(wiring: Wiring) -> None:
    """Every event of events/ reaches its functions; one from elsewhere, or about something else, reaches nobody."""
    for name, event in ((name, _ours(event)) for name, event in EVENTS.items() if "detail-type" in event):
        assert heard(wiring, event) == HEARD.get(name, set()), name
        for key, other in ELSEWHERE.items():
            assert heard(wiring, {**event, key: other}) == set(), (name, key)
        if name in HEARD:
            assert heard(wiring, _of_something_else(event)) == set(), name


def the_closer_hears_of_failed_ends_only(wiring: Wiring) -> None:
    """Executions that begin, go on or end well close their episode themselves."""
    failed = EVENTS["execution-failed"]
    for status in ("RUNNING", "SUCCEEDED"):
        assert heard(wiring, {**failed, "detail": {**failed["detail"], "status": status}}) == set(), status


def alarms_of_other_regions_open_nothing(wiring: Wiring) -> None:
    """An event that was forwarded from another region is not ours."""
    assert heard(wiring, {**EVENTS["alarm-drift"], "region": "eu-west-1"}) == set()


def without_a_native_schedule_its_alarm_opens_nothing(wiring: Wiring) -> None:
    """The conditional part of the rule and of the environment goes with the condition."""
    without = wiring.resources(EndpointName="flights", NativeMonitoringSchedule="", NativeDriftMetrics="")
    assert "NativeDriftAlarm" not in without
    assert heard(wiring, EVENTS["alarm-native"], without) == set()
    assert heard(wiring, EVENTS["alarm-drift"], without) == {"AlarmHandler"}
    environment = without["AlarmHandler"]["Properties"]["Environment"]["Variables"]
    assert environment["ALARM_ARNS"] == arn("cloudwatch", f"alarm:{STACK}-DriftAlarm")


def schedules_call_the_monitors_and_the_sweep(wiring: Wiring) -> None:
    """The monitors run when their parameters say so, the sweep every five minutes."""
    there = wiring.resources(MonitorSchedule="rate(7 minutes)", QualitySchedule="rate(3 hours)")
    found = {}
    for name, rule in of_type(there, "AWS::Events::Rule").items():
        if "ScheduleExpression" in rule:
            assert rule.get("State", "ENABLED") == "ENABLED"
            [function] = _invoked(there, name, rule)
            found[function] = rule["ScheduleExpression"]
    monitors = {"DriftMonitor": "rate(7 minutes)", "QualityMonitor": "rate(3 hours)"}
    assert found == {**monitors, "EpisodeSweeper": "rate(5 minutes)"}


def what_a_rule_can_not_deliver_is_retried_and_kept(wiring: Wiring) -> None:
    """Every target is tried again, for at most a day, and has the dead letter queue, into which rules may send."""
    queue = arn("sqs", f"{STACK}-UndeliveredEvents")
    for name, rule in of_type(wiring.flights, "AWS::Events::Rule").items():
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": queue}, name
            retry = target["RetryPolicy"]
            assert 10 <= retry["MaximumRetryAttempts"] <= 185, name
            assert 3600 <= retry["MaximumEventAgeInSeconds"] <= 86_400, name
        source = arn("events", f"rule/{STACK}-{name}")
        assert service_may(wiring, "QueuePolicies", "events", "sqs:SendMessage", queue, source), name
    foreign = arn("events", "rule/other-stack-rule")
    assert not service_may(wiring, "QueuePolicies", "events", "sqs:SendMessage", queue, foreign)


def what_a_function_fails_on_is_retried_and_kept(wiring: Wiring) -> None:
    """Functions that are invoked without somebody waiting are tried three times, and what they failed on is kept."""
    invoked = set()
    for name, rule in of_type(wiring.flights, "AWS::Events::Rule").items():
        invoked |= _invoked(wiring.flights, name, rule)
    kept = {
        item["FunctionName"].removeprefix(f"{STACK}-"): item
        for item in of_type(wiring.flights, "AWS::Lambda::EventInvokeConfig").values()
    }
    assert set(kept) == invoked
    for name, item in kept.items():
        assert item["DestinationConfig"] == {"OnFailure": {"Destination": arn("sqs", f"{STACK}-RejectedEvents")}}, name
        assert item["MaximumRetryAttempts"] == 2, name
        assert item["MaximumEventAgeInSeconds"] == 21_600, name


def heard(wiring: Wiring, event: Resource, resources: Mapping[str, Resource] | None = None) -> set[str]:
    """The functions that the event reaches: a rule matches it, and its function lets the rule invoke it."""
    there = wiring.flights if resources is None else resources
    found: set[str] = set()
    for name, rule in of_type(there, "AWS::Events::Rule").items():
        if (
            "EventPattern" in rule
            and rule.get("State", "ENABLED") == "ENABLED"
            and matches(rule["EventPattern"], event)
        ):
            found |= _invoked(there, name, rule)
    return found


def _invoked(resources: Mapping[str, Resource], name: str, rule: Resource) -> set[str]:
    source = arn("events", f"rule/{STACK}-{name}")
    allowed = {
        item["FunctionName"]
        for item in of_type(resources, "AWS::Lambda::Permission").values()
        if (item["Principal"], item["Action"], item["SourceArn"])
        == ("events.amazonaws.com", "lambda:InvokeFunction", source)
    }
    targets = {target["Arn"].rpartition(":")[2] for target in rule["Targets"]}
    return {target.removeprefix(f"{STACK}-") for target in targets if target in allowed}


def matches(pattern: Any, event: Any) -> bool:
    """EventBridge's matching, as far as exact values go."""
    if isinstance(pattern, dict):
        return isinstance(event, dict) and all(
            key in event and matches(inner, event[key]) for key, inner in pattern.items()
        )
    return bool(set(pattern) & set(event if isinstance(event, list) else [event]))


def _ours(event: Resource) -> Resource:
    """The event, about the package group of the stack."""
    text = json.dumps(event)
    if event["source"] == "aws.sagemaker":
        text = text.replace("model-package/flights/", "model-package/flights-11111111/")
        text = re.sub(r'"ModelPackageGroupName": "[^"]*"', '"ModelPackageGroupName": "flights-11111111"', text)
    made: Resource = json.loads(text)
    return made


def _of_something_else(event: Resource) -> Resource:
    """The event, told of another endpoint, alarm, machine or package group."""
    text = json.dumps({**event, "account": "", "region": ""})
    for word in ("drift-retrain", "flights"):
        text = text.replace(word, f"other-{word}")
    return {**json.loads(text), "account": event["account"], "region": event["region"]}


# Alarms --------------------------------------------------------------------------------------------------------------

ENDPOINT = {"Endpoint": "flights"}
VARIANT = {"EndpointName": "flights", "VariantName": "AllTraffic"}
# By alarm: its metric, series of values a minute (None: no sample) that end in ALARM, and such that end in OK.
SERIES: dict[str, tuple[tuple[str, str, dict[str, str]], list[list[float | None]], list[list[float | None]]]] = {
    "DriftAlarm": (
        ("DriftRetrain", "drift_harm", ENDPOINT),
        [[0.31], [0.1, 0.31, 0.1]],
        [[0.3], [None], [0.31, *[None] * 15]],
    ),
    "QualityAlarm": (
        ("DriftRetrain", "quality_max", ENDPOINT),
        [[1.01], [0.2, 1.01, 0.2]],
        [[1.0], [None], [1.01, *[None] * 180]],
    ),
    "SilenceAlarm": (
        ("DriftRetrain", "rows_analyzed", ENDPOINT),
        [[None], [5.0, *[None] * 60 * 5]],
        [[0.0], [5.0, *[None] * 60], [5.0] * 60 * 5],
    ),
    "QualitySilenceAlarm": (
        ("DriftRetrain", "answers_without_labels", ENDPOINT),
        [[None], [1.0] * 60 * 50, [0.0, *[None] * 60 * 51]],
        [[0.0], [0.0, *[1.0] * 60 * 45], [1.0, 0.0] * 30 * 50],
    ),
    "EndpointErrorsAlarm": (
        ("AWS/SageMaker", "Invocation5XXErrors", VARIANT),
        [[0.06], [*[0.0] * 60, 0.06]],
        [[0.05], [None], [0.06, 0.0, 0.0, 0.0, 0.0]],
    ),
    "PredictionSanityAlarm": (
        ("DriftRetrain", "insane_predictions", ENDPOINT),
        [[0.02]],
        [[0.01], [None], [0.02, 0.0, 0.0, 0.0, 0.0]],
    ),
    "EndpointLatencyAlarm": (
        ("AWS/SageMaker", "ModelLatency", VARIANT),
        [[250_001.0]],
        [[250_000.0], [None], [300_000.0, 1.0, 1.0, 1.0, 1.0]],
    ),
    **{
        f"{queue}Alarm": (
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": f"{STACK}-{queue}"}),
            [[1.0], [0.0, 1.0, 0.0]],
            [[0.0], [None], [1.0] + [0.0] * 20],
        )
        for queue in ("UndeliveredEvents", "RejectedEvents")
    },
}
OPENING = {"DriftAlarm", "QualityAlarm", "NativeDriftAlarm"}  # these tell the loop, which tells people
ALL_CLEAR = {"SilenceAlarm", "QualitySilenceAlarm"}


def alarms_ring_when_they_should(wiring: Wiring) -> None:
    """Every alarm is fed series of its metric, and says what it should."""
    there = of_type(wiring.flights, "AWS::CloudWatch::Alarm")
    assert set(there) == set(SERIES) | {"NativeDriftAlarm"}
    for name, (metric, ringing, silent) in SERIES.items():
        alarm = there[name]
        dimensions = {item["Name"]: item["Value"] for item in alarm["Dimensions"]}
        assert (alarm["Namespace"], alarm["MetricName"], dimensions) == metric, name
        for state, series in [("ALARM", each) for each in ringing] + [("OK", each) for each in silent]:
            assert _state(alarm, series) == state, (name, state, series[:5])


def the_native_alarm_takes_the_largest_of_its_metrics(wiring: Wiring) -> None:
    """Of one to five metrics, the largest decides."""
    for names in ("a", "a,b", "a,b,c,d,e"):
        there = wiring.resources(EndpointName="flights", NativeDriftMetrics=names, DriftThreshold="0.4")
        alarm = {**there["NativeDriftAlarm"]["Properties"], "StateValue": "OK", "StateReason": ""}
        alarm["Metrics"] = alarms.metric_math(alarm["Metrics"])
        for high in names.split(","):
            for value, state in ((0.41, "ALARM"), (0.4, "OK")):

                def points(metric: Mapping[str, Any], high: str = high, value: float = value) -> list[Resource]:
                    dimensions = {item["Name"]: item["Value"] for item in metric["Dimensions"]}
                    assert metric["Namespace"] == "aws/sagemaker/Endpoints/data-metrics"
                    assert dimensions == {"Endpoint": "flights", "MonitoringSchedule": "hourly"}
                    largest = value if metric["MetricName"] == high else 0.0
                    return [{"Timestamp": 7200 * 1000.0, "Value": each} for each in (0.0, largest)]

                for late in (0, 2 * 3600):  # its metrics come late
                    single, found = alarms.largest(alarm, points, 7200 * 1000.0 + late)
                    assert alarms.evaluate(single, found, 7200 * 1000.0 + late).state == state, (names, high, value)
        single, found = alarms.largest(alarm, lambda _: [], 7200 * 1000.0)
        assert alarms.evaluate(single, found, 7200 * 1000.0).state == "OK"
        drifted = {"Timestamp": 7200 * 1000.0, "Value": 0.41}
        single, found = alarms.largest(alarm, lambda _, one=drifted: [one], 7200 * 1000.0 + 86_400)
        assert alarms.evaluate(single, found, 7200 * 1000.0 + 86_400).state == "OK", "a day later it is forgotten"


def alarms_tell_people(wiring: Wiring) -> None:
    """Every alarm that opens no episode tells people, whom CloudWatch may tell; of silence, its end, too."""
    for name, alarm in of_type(wiring.flights, "AWS::CloudWatch::Alarm").items():
        assert alarm.get("AlarmActions", []) == ([] if name in OPENING else [TOPIC]), name
        assert alarm.get("OKActions", []) == ([TOPIC] if name in ALL_CLEAR else []), name
        assert alarm.get("ActionsEnabled", True) is True, name
    source = arn("cloudwatch", f"alarm:{STACK}-SilenceAlarm")
    assert service_may(wiring, "NotificationsPolicy", "cloudwatch", "sns:Publish", TOPIC, source)
    # Topic and key refuse others, each by itself.
    topic = wiring.flights["NotificationsPolicy"]["Properties"]["PolicyDocument"]
    key = wiring.flights["DataKey"]["Properties"]["KeyPolicy"]
    for document, action, of in ((topic, "sns:Publish", TOPIC), (key, "kms:GenerateDataKey", KEY)):
        assert not _decides(document, "cloudwatch", action, of, source, "111111111111"), action
    assert not of_type(wiring.resources(NotificationEmail=""), "AWS::SNS::Subscription")
    [mail] = of_type(wiring.resources(NotificationEmail="a@example.com"), "AWS::SNS::Subscription").values()
    assert (mail["TopicArn"], mail["Protocol"], mail["Endpoint"]) == (TOPIC, "email", "a@example.com")


def alarms_follow_their_parameters(wiring: Wiring) -> None:
    """Thresholds and patience are parameters."""
    there = wiring.resources(DriftThreshold="0.7", MonitorSilenceHours="33", QualitySilenceHours="9")
    found = of_type(there, "AWS::CloudWatch::Alarm")
    assert (found["DriftAlarm"]["Threshold"], found["NativeDriftAlarm"]["Threshold"]) == ("0.7", "0.7")
    assert (found["SilenceAlarm"]["EvaluationPeriods"], found["QualitySilenceAlarm"]["EvaluationPeriods"]) == (
        "33",
        "9",
    )
    # Of few requests one error is many, of many it is few: a share, not a sum.
    rollback = [of_type(wiring.flights, "AWS::CloudWatch::Alarm")[f"Endpoint{of}Alarm"] for of in ("Errors", "Latency")]
    assert {alarm["Statistic"] for alarm in rollback} == {"Average"}
    # The poller publishes a share itself, and maybe twice in a minute.
    assert of_type(wiring.flights, "AWS::CloudWatch::Alarm")["PredictionSanityAlarm"]["Statistic"] == "Maximum"
    # A roll-out bakes for minutes: its alarm has to look at each of them.
    assert of_type(wiring.flights, "AWS::CloudWatch::Alarm")["EndpointLatencyAlarm"]["Period"] == 60
    without = wiring.resources(QualitySilenceHours="0", RollbackLatencyMilliseconds="0")
    assert not {"QualitySilenceAlarm", "EndpointLatencyAlarm"} & set(without)


def _state(alarm: Resource, series: list[float | None]) -> str:
    now = 1_000_000_000.0 - 1_000_000_000.0 % 3600 + 3599
    start = now - 60 * (len(series) - 1)
    points = [{"Timestamp": start + 60 * at, "Value": value} for at, value in enumerate(series) if value is not None]
    asked = {**alarm, "Period": int(alarm["Period"]), "StateValue": "OK", "StateReason": ""}
    return alarms.evaluate(asked, points, now).state


# Policies of resources -----------------------------------------------------------------------------------------------


def service_may(
    wiring: Wiring, policy: str, service: str, action: str, resource: str, source: str, account: str = ACCOUNT
) -> bool:
    """Whether the resource's policy and its key's let the AWS service do that for `source` of the account."""
    there = wiring.flights
    if policy not in there:
        return False
    uses = [(there[policy]["Properties"]["PolicyDocument"], action, resource)]
    key = there["DataKey"]["Properties"]["KeyPolicy"]
    uses += [(key, use, KEY) for use in ("kms:Decrypt", "kms:GenerateDataKey")]
    return all(_decides(document, service, name, of, source, account) for document, name, of in uses)


def _decides(
    document: Resource, service: str, action: str, resource: str, source: str, account: str, **more: str
) -> bool:
    context = {"aws:sourcearn": source, "aws:sourceaccount": account, "kms:encryptioncontext:aws:logs:arn": source}
    context.update(more)
    context["kms:encryptioncontext:sourcearn"] = source
    asked = iam.EvalContext(
        "*", "Service", "", action, resource, REGION, secure_transport=True, service_context=context
    )
    found = iam.evaluate_resource_policy(document, asked, service=f"{service}.amazonaws.com")
    return bool(found.decision == "Allow")


def nobody_speaks_to_data_without_tls(wiring: Wiring) -> None:
    """Buckets, queues and topics deny what comes in the clear, whoever asks."""
    there = wiring.flights
    approvers = [arn("sns", f"{STACK}-{name}Approver") for name in ("First", "Second")]
    cases = [
        ("DataBucketPolicy", "s3:GetObject", f"arn:aws:s3:::{STACK}-databucket/a"),
        ("DataBucketPolicy", "s3:ListBucket", f"arn:aws:s3:::{STACK}-databucket"),
        ("TrailBucketPolicy", "s3:GetObject", f"arn:aws:s3:::{STACK}-trailbucket/a"),
        ("TrailBucketPolicy", "s3:ListBucket", f"arn:aws:s3:::{STACK}-trailbucket"),
        ("NotificationsPolicy", "sns:Publish", TOPIC),
        *(("ApproversPolicy", "sns:Publish", topic) for topic in approvers),
        ("QueuePolicies", "sqs:SendMessage", arn("sqs", f"{STACK}-UndeliveredEvents")),
        ("QueuePolicies", "sqs:ReceiveMessage", arn("sqs", f"{STACK}-RejectedEvents")),
    ]
    for policy, action, resource in cases:
        document = there[policy]["Properties"]["PolicyDocument"]
        for secure, expected in ((False, "Deny"), (True, "ImplicitDeny")):
            root = f"arn:aws:iam::{ACCOUNT}:root"
            asked = iam.EvalContext(root, "Root", ACCOUNT, action, resource, REGION, secure_transport=secure)
            assert iam.evaluate_resource_policy(document, asked).decision == expected, (policy, action, secure)
    applied = {
        "DataBucketPolicy": ("Bucket", f"{STACK}-databucket"),
        "TrailBucketPolicy": ("Bucket", f"{STACK}-trailbucket"),
        "NotificationsPolicy": ("Topics", [TOPIC]),
        "ApproversPolicy": ("Topics", approvers),
        "QueuePolicies": ("Queues", [f"{STACK}-UndeliveredEvents", f"{STACK}-RejectedEvents"]),
    }
    for policy, (field, value) in applied.items():
        assert there[policy]["Properties"][field] == value


def the_trail_may_write_where_it_writes_and_for_this_account_only(wiring: Wiring) -> None:
    """CloudTrail looks at its bucket, and puts what the bucket's owner may read below the account's folder."""
    policy = wiring.flights["TrailBucketPolicy"]["Properties"]["PolicyDocument"]
    bucket = f"arn:aws:s3:::{STACK}-trailbucket"
    own, other = (f"{bucket}/AWSLogs/{account}/a" for account in (ACCOUNT, "111111111111"))
    trail = arn("cloudtrail", f"trail/{STACK}-Trail")
    acl = {"s3:x-amz-acl": "bucket-owner-full-control"}

    def may(action: str, resource: str, account: str = ACCOUNT, **context: str) -> bool:
        return _decides(policy, "cloudtrail", action, resource, trail, account, **context)

    assert may("s3:GetBucketAcl", bucket)
    assert may("s3:PutObject", own, **acl)
    assert not may("s3:PutObject", own), "the account could not read it"
    assert not may("s3:PutObject", other, **acl)
    for action, resource in (("s3:GetBucketAcl", bucket), ("s3:PutObject", own)):
        assert not may(action, resource, "111111111111", **acl), "somebody else's trail"
    assert not {"Trail", "TrailBucket", "TrailBucketPolicy"} & set(wiring.resources(CreateTrail="false"))


def logs_are_encrypted_with_the_key_that_logs_may_use(wiring: Wiring) -> None:
    """The key lets CloudWatch Logs encrypt the account's log groups, and those of no other one."""
    key = wiring.flights["DataKey"]["Properties"]["KeyPolicy"]
    group, other = (f"arn:aws:logs:{REGION}:{account}:log-group:a" for account in (ACCOUNT, "111111111111"))
    for action in (
        "kms:Encrypt",
        "kms:Decrypt",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:GenerateDataKey",
        "kms:DescribeKey",
    ):
        assert _decides(key, f"logs.{REGION}", action, KEY, group, ACCOUNT), action
        assert not _decides(key, f"logs.{REGION}", action, KEY, other, ACCOUNT), action
    assert _decides(key, "delivery.logs", "kms:Decrypt", KEY, group, ACCOUNT), "the machine's history is encrypted, too"
    assert not _decides(key, "delivery.logs", "kms:Decrypt", KEY, other, ACCOUNT)
    for action in ("kms:ScheduleKeyDeletion", "kms:PutKeyPolicy"):
        assert not _decides(key, "events", action, KEY, group, ACCOUNT)


def keys_are_the_accounts_to_give(wiring: Wiring) -> None:
    """What roles are granted of a key counts, because its own policy leaves that to the account; to no other one."""
    for name, actions in (("DataKey", ("kms:Decrypt", "kms:PutKeyPolicy")), ("LinkKey", ("kms:GenerateMac",))):
        policy, key = wiring.flights[name]["Properties"]["KeyPolicy"], arn("kms", f"key/{STACK}-{name}")
        for action in (*actions, "kms:ScheduleKeyDeletion"):
            for account, expected in ((ACCOUNT, "Allow"), ("111111111111", "ImplicitDeny")):
                root = iam.EvalContext(f"arn:aws:iam::{account}:root", "Root", account, action, key, REGION)
                assert iam.evaluate_resource_policy(policy, root).decision == expected, (name, action, account)


# Executions ----------------------------------------------------------------------------------------------------------


def executions_are_the_written_ones(wiring: Wiring) -> None:
    """Every scenario goes through the deployed machine as tests/stack/executions.txt has it."""
    [machine] = of_type(wiring.flights, "AWS::StepFunctions::StateMachine").values()
    ready = deployed(wiring.machine, machine["DefinitionSubstitutions"])
    expected = EXECUTIONS.read_text().removesuffix("\n").split(END_OF_PAGE)
    for page, made in zip_longest(expected, pages(ready)):
        assert page == made


def the_machine_waits_as_long_as_its_parameters_say(wiring: Wiring) -> None:
    """Hours become seconds; labels are looked for eight times."""
    there = wiring.resources(ApprovalTimeoutHours="5", LabelWaitHours="16")
    [machine] = of_type(there, "AWS::StepFunctions::StateMachine").values()
    ready = deployed(wiring.machine, machine["DefinitionSubstitutions"])
    assert any("within 18000 s" in line for line in execution(ready, "a person approves").lines)
    assert "Wait for Labels: 7200 s" in execution(ready, "labels come late").lines


def the_machine_has_an_end_in_time_and_jitter_and_tells_nothing_secret(wiring: Wiring) -> None:
    """What the interpreter can't see: the machine's own time, the spread of retries, logs without task tokens."""
    assert 24 * 3600 < wiring.machine["TimeoutSeconds"] < 25 * 86_400
    assert wiring.machine["QueryLanguage"] == "JSONata"
    for name, state in wiring.machine["States"].items():
        for retrier in state.get("Retry", []):
            assert retrier["JitterStrategy"] == "FULL", name
    [machine] = of_type(wiring.flights, "AWS::StepFunctions::StateMachine").values()
    calls = {
        state["Resource"]
        for state in deployed(wiring.machine, machine["DefinitionSubstitutions"])["States"].values()
        if state["Type"] == "Task"
    }
    assert all(call.startswith("arn:aws:states:::lambda:invoke") for call in calls), calls
    logging = machine["LoggingConfiguration"]
    assert logging["IncludeExecutionData"] is False
    assert logging["Level"] == "ALL"
    [group] = logging["Destinations"]
    assert group["CloudWatchLogsLogGroup"]["LogGroupArn"] == arn("logs", f"log-group:{STACK}-RetrainMachineLogs:*")
    assert machine["TracingConfiguration"] == {"Enabled": True}


def the_first_episode_is_asked_for_last(wiring: Wiring) -> None:
    """The first episode is asked for when all that it needs is there: rules, permissions, policies of its roles."""
    needed = {
        "AlarmHandlerOnBootstrapRequested",
        "AlarmHandlerOnBootstrapRequestedPermission",
        "EpisodeCloserOnExecutionFailed",
        "EpisodeCloserOnExecutionFailedPermission",
        "ApproverOnRegistryDecision",
        "ApproverOnRegistryDecisionPermission",
        "DataBucketPolicy",
        "JobRolePassesItself",
        "JobRoleReadsInitialData",
        "NotificationsPolicy",
        "QueuePolicies",
        "RolesRunContainers",
        "EndpointRoleRunsContainers",
        "EndpointErrorsAlarm",
        "PredictionSanityAlarm",
        "DashboardOfTheLoop",
    }
    assert needed - _before(wiring.translated["Resources"], "FirstEpisode") == set()
    needed = {"DataBucketPolicy", "JobRolePassesItself", "RolesRunContainers", "JobRole", "DataBucket"}
    assert needed - _before(wiring.translated["Resources"], "PublishedPipeline") == set()


def _before(resources: Mapping[str, Resource], name: str) -> set[str]:
    """Every resource that is there before that one is made."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        item = resources[waiting.pop()]
        text = json.dumps(item)
        ahead = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r'"Fn::GetAtt": \["(\w+)"', text))
        ahead |= {part.split(".")[0] for part in re.findall(r"\$\{([\w.]+)\}", text)}
        depends = item.get("DependsOn", [])
        ahead |= set([depends] if isinstance(depends, str) else depends)
        for other in ahead & set(resources) - found:
            found.add(other)
            waiting.append(other)
    return found


def without_an_approver_there_is_no_approval_page(wiring: Wiring) -> None:
    """Topics of approvers, and what says who may publish to them, are there together or not at all."""
    without = set(wiring.resources(ApproverEmail=""))
    assert not {"FirstApprover", "SecondApprover", "ApproversPolicy"} & without
    assert {"FirstApprover", "ApproversPolicy"} <= set(wiring.resources(ApproverEmail="ada@example.com"))


CHECKS: list[Callable[[Wiring], None]] = [
    environments_hold_what_their_functions_read,
    settings_accept_their_environments,
    events_reach_who_should_hear_of_them,
    the_closer_hears_of_failed_ends_only,
    alarms_of_other_regions_open_nothing,
    without_a_native_schedule_its_alarm_opens_nothing,
    schedules_call_the_monitors_and_the_sweep,
    what_a_rule_can_not_deliver_is_retried_and_kept,
    what_a_function_fails_on_is_retried_and_kept,
    alarms_ring_when_they_should,
    the_native_alarm_takes_the_largest_of_its_metrics,
    alarms_tell_people,
    alarms_follow_their_parameters,
    without_an_approver_there_is_no_approval_page,
    nobody_speaks_to_data_without_tls,
    the_trail_may_write_where_it_writes_and_for_this_account_only,
    logs_are_encrypted_with_the_key_that_logs_may_use,
    keys_are_the_accounts_to_give,
    executions_are_the_written_ones,
    the_machine_waits_as_long_as_its_parameters_say,
    the_machine_has_an_end_in_time_and_jitter_and_tells_nothing_secret,
    the_first_episode_is_asked_for_last,
]


def changed(wiring: Wiring) -> Wiring:
    """A copy, to make a mutant of."""
    return Wiring(copy.deepcopy(wiring.template), copy.deepcopy(wiring.machine))


def with_another_machine(wiring: Wiring) -> Wiring:
    """A copy whose template is the same, so that it need not be translated once more."""
    copied = Wiring(wiring.template, copy.deepcopy(wiring.machine))
    vars(copied).update(translated=wiring.translated, flights=wiring.flights)
    return copied
