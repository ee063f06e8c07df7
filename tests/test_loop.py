"""The whole loop, end to end: the demo itself, and what its users find afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e import denials

from demo import flights
from demo.__main__ import GOAL, improvement, shortcomings
from demo.replay import Replay
from demo.stack import STACK_NAME, Stack, wait_for
from demo.windows import Row, Window
from local import LocalAws

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def summary(folder: Path, free_port: int) -> dict[str, Any]:
    """summary.json of one complete demo, run as its users run it."""
    environment = {**os.environ, "PYTHONPATH": "src:.", "COLUMNS": "160"}
    command = [
        sys.executable,
        "-m",
        "demo",
        "--port",
        str(free_port),
        "--out",
        str(folder / "out"),
        "--state",
        str(folder / "state"),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    result: dict[str, Any] = json.loads((folder / "out" / "summary.json").read_text())
    return result


@pytest.fixture(scope="module")
def aws(summary: dict[str, Any], folder: Path, free_port: int) -> Any:
    """The embedded AWS, started again with the state that the demo left."""
    with LocalAws(port=free_port, root=folder / "state", fresh=False) as aws:
        yield aws


def test_the_demo_finds_nothing_wrong_with_the_loop(summary: dict[str, Any]) -> None:
    assert shortcomings(summary) == []
    names = [window["name"] for window in summary["windows"]]
    assert (names[0], names[-1], len(names)) == ("March", "December", 10)


def test_served_models_beat_the_never_retrained_one_from_april_to_october(summary: dict[str, Any]) -> None:
    assert improvement(summary) >= GOAL


def test_every_prediction_is_answered_by_the_right_model(summary: dict[str, Any]) -> None:
    assert summary["predictions_sent"] > 50_000
    assert summary["predictions_failed"] == 0
    assert summary["predictions_misversioned"] == 0


def test_one_episode_for_each_drift_alarm(summary: dict[str, Any]) -> None:
    episodes = [window["episode"] for window in summary["windows"] if window["alarms"]]
    assert None not in episodes
    assert len(set(episodes)) == len(episodes)


def test_no_challenger_is_promoted_that_was_worse_on_the_rows_the_gate_saw(summary: dict[str, Any]) -> None:
    for window in summary["windows"]:
        if window["outcome"] == "promoted":
            assert window["gate"]["difference"] > 0, window


def test_november_or_december_keeps_the_champion_unless_the_challenger_won(summary: dict[str, Any]) -> None:
    late = [window for window in summary["windows"] if window["name"] in {"November", "December"}]
    kept = [window for window in late if window["outcome"] == "champion_kept"]
    won = [window for window in late if window["outcome"] == "promoted" and window["gate"]["difference"] > 0]
    calm = [window for window in late if window["verdict"] != "DRIFTED"]
    assert kept or len(won) + len(calm) == len(late)


def test_after_a_redeploy_drift_is_measured_against_the_new_baseline(summary: dict[str, Any], aws: LocalAws) -> None:
    stack = _stack(aws)
    champion = stack.champion()
    last = [window["episode"] for window in summary["windows"] if window["outcome"] == "promoted"][-1]
    assert champion["episode_id"] == last
    assert f"/{last}/" in champion["statistics_uri"]


def test_the_report_needs_nothing_from_the_network(summary: dict[str, Any], folder: Path) -> None:
    page = (folder / "out" / "report.html").read_text()
    assert "November" in page
    assert "<script src=" not in page
    assert "<link" not in page


def test_no_call_and_no_answer_is_unknown_to_botocore(summary: dict[str, Any]) -> None:
    assert summary["violations"] == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["stepfunctions", "list-state-machines"], "stateMachineArn"),
        (
            ["sagemaker", "list-model-packages", "--model-package-group-name", "{ModelPackageGroupName}"],
            "ModelPackageArn",
        ),
        (["sagemaker", "describe-endpoint", "--endpoint-name", "{EndpointName}"], "InService"),
        (["cloudwatch", "describe-alarms", "--alarm-names", "{DriftAlarmName}"], "drift_harm"),
        (["cloudtrail", "lookup-events", "--max-results", "5"], "EventName"),
        (["logs", "describe-log-groups"], "logGroupName"),
    ],
)
def test_the_aws_cli_answers_after_the_demo(aws: LocalAws, command: list[str], expected: str) -> None:
    stack = _stack(aws)
    arguments = [stack[part[1:-1]] if part.startswith("{") else part for part in command]
    done = _run([str(Path(sys.executable).parent / "aws"), "--endpoint-url", aws.url, *arguments], aws)
    assert expected in done


def test_sam_lists_the_resources_after_the_demo(aws: LocalAws) -> None:
    assert "AlarmHandler" in _sam(aws, "list", "resources", "--stack-name", STACK_NAME)


def test_sam_invokes_a_deployed_handler_after_the_demo(aws: LocalAws) -> None:
    event = str(ROOT / "events" / "alarm-ok.json")
    said = _sam(aws, "remote", "invoke", "AlarmHandler", "--stack-name", STACK_NAME, "--event-file", event)
    assert "ignored" in said


@pytest.mark.parametrize(
    ("event", "reason"),
    [("alarm-malformed.json", "malformed_event"), ("alarm-foreign-account.json", "foreign_source")],
)
def test_a_bad_event_is_refused_by_name_and_kept(aws: LocalAws, event: str, reason: str) -> None:
    stack = _stack(aws)
    said = _sam(
        aws,
        "remote",
        "invoke",
        "AlarmHandler",
        "--stack-name",
        STACK_NAME,
        "--event-file",
        str(ROOT / "events" / event),
    )
    assert reason in said
    kept = aws.client("sqs").receive_message(QueueUrl=stack["RejectedEventsUrl"], MaxNumberOfMessages=10)
    assert any(reason in message["Body"] for message in kept["Messages"])


def test_sam_logs_show_a_demo_episode(aws: LocalAws, summary: dict[str, Any]) -> None:
    episode = next(window["episode"] for window in summary["windows"] if window["episode"])
    said = _sam(aws, "logs", "--stack-name", STACK_NAME, "--name", "AlarmHandler", "--start-time", "1 day ago")
    assert episode in said


def test_sam_traces_show_a_demo_episode(aws: LocalAws) -> None:
    assert "XRay Event" in _sam(aws, "traces", "--start-time", "1 day ago")


class WithoutLabels(Replay):
    """A replay whose ground truth never arrives."""

    def _deliver_labels(self, now: datetime) -> None:
        return


def test_drift_without_labels_is_refused_by_name_and_leaves_everything_as_it_was(aws: LocalAws) -> None:
    stack = _stack(aws)
    champion, serving = stack.champion(), stack.serving()
    month = Window("January", datetime(2014, 1, 1, 12, tzinfo=UTC), datetime(2014, 2, 1, tzinfo=UTC), _july(1600))
    replay = WithoutLabels(stack, "no labels", flights.source().spec, [month], lambda *_: None)
    replay.run()
    (result,) = replay.results
    assert (result.verdict, result.alarms, result.quality) == ("DRIFTED", ["drift"], "UNDECIDED")
    assert (result.outcome, result.reason) == ("refused", "labels_insufficient")
    assert (replay.failed, replay.misversioned) == (0, 0)
    assert (stack.champion(), stack.serving()) == (champion, serving)
    assert "owner" not in stack.item(f"ENDPOINT#{stack['EndpointName']}", "LOCK")


def test_a_window_of_corrupt_captures_is_undecided_and_retrains_nothing(aws: LocalAws) -> None:
    stack = _stack(aws)
    before = len(stack.episodes())
    folder = f"capture/{stack['EndpointName']}/AllTraffic/2014/02/10/05"
    lines = ['{"captureData": {"endpointInput": {"data": "1,2', "not json at all", ""] * 400
    aws.client("s3").put_object(
        Bucket=stack["BucketName"], Key=f"{folder}/broken.jsonl", Body="\n".join(lines).encode()
    )
    aws.set_clock(datetime(2014, 3, 1, tzinfo=UTC))
    wait_for("the analysis", lambda: str(stack.analysis()["window_end"]).startswith("2014-03-01"))
    analysis = stack.analysis()
    assert (analysis["verdict"], analysis["reason"]) == ("UNDECIDED", "capture_corrupt")
    assert int(analysis["bad_rows"]) == 800
    assert len(stack.episodes()) == before


def test_every_call_of_the_application_was_allowed(aws: LocalAws) -> None:
    assert denials(_stack(aws), "loop") == []


def _july(rows: int) -> list[Row]:
    """Summer in January: flights that the winter's model has not seen the like of."""
    july = flights.months()[4].rows
    step = len(july) // rows
    return [
        Row(row.time.replace(year=2014, month=1), row.values, row.label) for row in july[::step] if row.time.day > 1
    ]


def _stack(aws: LocalAws) -> Stack:
    stack = Stack(aws, Path(os.devnull))
    stack.read_outputs()
    return stack


def _sam(aws: LocalAws, *arguments: str) -> str:
    return _run([sys.executable, "-m", "samcli", *arguments], aws)


def _run(command: list[str], aws: LocalAws) -> str:
    done = subprocess.run(command, cwd=ROOT, env=aws.env, text=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
