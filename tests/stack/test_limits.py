"""AWS's limits, and how far the application stays below them at its widest; docs/limits.md is the table."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from machine import TaskError, deployed, run, written
from scenarios import GIVEN, SUBSTITUTIONS, WELL, Functions
from wiring import Wiring, of_type

from local.policies import roles
from local.template import source
from retrain.core import names
from retrain.core.clock import parse
from retrain.core.values import Enclosure
from retrain.episode.closing import message
from retrain.pipeline.definition import CANDIDATE_JOBS, definition

LONGEST = "e" * 38  # the template's pattern for EndpointName
WIDEST = {
    "EndpointName": LONGEST,
    "InitialDataUri": f"s3://{'b' * 63}/{'k' * 500}/",
    "XGBoostImageUri": f"{'0' * 12}.dkr.ecr.us-gov-west-1.amazonaws.com/{'r' * 256}:{'t' * 128}",
    "NativeMonitoringSchedule": "s" * 63,
    "NativeMonitoringRole": "r" * 64,
    "NativeDriftMetrics": ",".join(f"feature_baseline_drift_{'m' * 200}{n}" for n in range(5)),
}
EVENTS = {
    "Task": 5,
    "Choice": 2,
    "Wait": 2,
    "Pass": 2,
    "Succeed": 2,
    "Fail": 1,
}  # of one visit, in an execution's history


@cache
def wiring() -> Wiring:
    return Wiring(source(), written())


@cache
def widest() -> dict[str, Any]:
    return wiring().resources(**WIDEST)


def test_environments_stay_below_four_kilobytes() -> None:
    for name, item in of_type(widest(), "AWS::Lambda::Function").items():
        variables = item["Environment"]["Variables"]
        assert sum(len(key) + len(str(value)) for key, value in variables.items()) < 4096, name


def test_names_fit_whatever_the_endpoint_is_called() -> None:
    at = parse("2026-02-01T00:00:00Z")
    episode = names.episode_id("e" * 300, "bootstrap", at)
    assert len(episode) <= 63
    assert len(names.execution_name(episode)) <= 80
    assert len(names.model_name(episode)) <= 63
    assert len(names.endpoint_config_name(episode)) <= 63
    assert 32 <= len(names.request_token(episode, 9)) <= 128
    assert len(names.intake_job_name(LONGEST, "profiles/e/3f07d80c5b1e2a90", at)) <= 63
    pattern = source()["Parameters"]["EndpointName"]["AllowedPattern"]
    assert re.fullmatch(pattern, LONGEST)
    assert not re.fullmatch(pattern, LONGEST + "e")
    [group] = of_type(widest(), "AWS::SageMaker::ModelPackageGroup").values()
    assert len(group["ModelPackageGroupName"]) <= 63
    [pipeline] = {
        item["Environment"]["Variables"]["PIPELINE_NAME"]
        for item in of_type(widest(), "AWS::Lambda::Function").values()
        if "PIPELINE_NAME" in item["Environment"]["Variables"]
    }
    assert len(pipeline) <= 256


def test_the_longest_execution_stays_below_25000_events() -> None:
    """Labels are waited for as often as can be, and pipeline and endpoint take as long as they may, with retries."""
    waiting = {"status": "waiting_for_labels"}

    def until_overdue(error: str, last: dict[str, str]) -> Any:
        return lambda payload: last if payload["overdue"] else {"status": error}

    answers = {
        **WELL,
        "Start_Pipeline": [*[waiting] * 12, {"status": "started"}],
        "Check_Pipeline": until_overdue("running", {"status": "succeeded"}),
        "Check_Endpoint": until_overdue("updating", {"status": "serving"}),
    }
    machine = deployed(written(), SUBSTITUTIONS)
    made = run(machine, GIVEN, Functions(**{name.replace(" ", "_"): item for name, item in answers.items()}))
    assert made.status == "SUCCEEDED"
    visits = sum(EVENTS[machine["States"][name]["Type"]] for name in made.entered)
    assert made.entered.count("Check Pipeline") > 1000
    assert visits < 25_000 * 0.6, "the rest is for retries, three events each"


def test_a_task_that_is_retried_for_ever_is_given_up() -> None:
    made = run(deployed(written(), SUBSTITUTIONS), GIVEN, Functions(Start_Pipeline=TaskError("Throttled", "no")))
    assert made.status == "FAILED"
    assert sum(line.startswith("  ") for line in made.lines) < 50


def test_the_machine_and_the_pipeline_are_small() -> None:
    assert len(json.dumps(written())) < 1_000_000 * 0.1
    for jobs in CANDIDATE_JOBS:
        made = definition(jobs, spot=True, enclosure=Enclosure("", True, ("subnet-1",) * 16, ("sg-1",) * 5))
        assert len(json.dumps(made)) < 1_000_000 * 0.1
        assert len(made["Parameters"]) < 200 * 0.5
        assert len(made["Steps"]) < 50 * 0.5


def test_what_is_written_on_a_model_package_fits() -> None:
    """256 characters a value, 50 of them: the longest is the champion's archive, below the longest of all names."""
    episode = names.episode_id(LONGEST, "bootstrap", parse("2026-02-01T00:00:00Z"))
    folder, job = f"s3://{'b' * 63}/episodes/{episode}", "p" * 63
    assert len(f"{folder}/model/{job}/output/model.tar.gz") <= 256
    assert len(f"{folder}/evaluation/evaluation.json") <= 256


def test_the_mail_about_the_longest_episode_fits() -> None:
    """SNS takes 256 KB, 100 characters of subject."""
    item = dict.fromkeys(("trigger_text", "detail", "gate_summary", "decided_by", "page_url", "reason"), "x" * 2_000)
    subject, text = message("e" * 63, {**item, "endpoint_name": LONGEST, "outcome": "failed"})
    assert (len(subject) <= 100, len(text) < 256_000 * 0.1) == (True, True)


def test_nothing_is_scheduled_more_often_than_eventbridge_can() -> None:
    schedules = [
        str(rule["ScheduleExpression"])
        for rule in of_type(widest(), "AWS::Events::Rule").values()
        if "ScheduleExpression" in rule
    ]
    assert len(schedules) >= 3
    assert all(re.fullmatch(r"rate\((1 (minute|hour|day)|[1-9]\d* (minutes|hours|days))\)", each) for each in schedules)


def test_alarms_look_no_further_back_than_cloudwatch_does() -> None:
    parameters = wiring().template["Parameters"]
    most = {name: str(item["MaxValue"]) for name, item in parameters.items() if "MaxValue" in item}
    for name, alarm in of_type(wiring().resources(**most), "AWS::CloudWatch::Alarm").items():
        stats = [query["MetricStat"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        assert len(stats) <= 10, name
        for period in [int(stat["Period"]) for stat in stats] or [int(alarm["Period"])]:
            assert period in {10, 20, 30} or period % 60 == 0, name
            assert period * int(alarm["EvaluationPeriods"]) <= (86_400 if period < 3600 else 7 * 86_400), name


def test_the_policies_of_a_role_stay_below_ten_thousand_characters() -> None:
    for name, role in roles(wiring().translated, **WIDEST).items():
        assert len(json.dumps(role.statements, separators=(",", ":"))) < 10_240, name


def test_event_patterns_stay_below_two_kilobytes() -> None:
    for name, rule in of_type(widest(), "AWS::Events::Rule").items():
        assert len(json.dumps(rule.get("EventPattern", {}))) < 2048, name


def test_the_stack_is_small() -> None:
    assert len(wiring().translated["Resources"]) < 500 * 0.5
    assert len(wiring().template["Parameters"]) < 200 * 0.5
    assert len(json.dumps(wiring().translated)) < 1_000_000 * 0.5


def test_metrics_of_the_widest_model_fit_into_their_requests() -> None:
    """PutMetricData takes 1,000 metrics and 1 MB; the adapter sends 500 at once, of which none is larger than this."""
    name, dimension = "feature_baseline_drift_" + "f" * 232, "e" * 63
    dimensions = [
        {"Name": "Endpoint", "Value": dimension},
        {"Name": "MonitoringSchedule", "Value": f"{dimension}-drift"},
    ]
    statistics = dict.fromkeys(("SampleCount", "Sum", "Minimum", "Maximum"), -1.2345678901234568e-300)
    metric = {
        "MetricName": name,
        "Dimensions": dimensions,
        "Timestamp": "2026-02-01T00:00:00.000000+00:00",
        "StatisticValues": statistics,
        "Unit": "None",
    }
    assert 500 * len(json.dumps(metric)) < 1_000_000
