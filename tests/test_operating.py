"""A stack in an operator's hands, end to end: each command of docs/operating.md on the embedded AWS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from a_line import MODEL, month, upload
from e2e import browse, denials
from runbook import carry_out, look_up, prescribed, sections

from demo.replay import Answer, Replay, WindowResult
from demo.stack import Stack, wait_for
from demo.windows import Window
from local import LocalAws
from retrain.core.errors import AwsRejected
from retrain.model.read_spec import parse_spec
from retrain.operate.deployment import Deployment, find
from retrain.operate.invoke import event_here

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SRC = Path(__file__).parents[1] / "src"
EVENTS = SRC.parent / "events"
SENT: list[str] = []  # links to the approval page


@pytest.fixture(scope="module")
def aws(free_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(port=free_port, root=tmp_path_factory.mktemp("state"), fresh=True, wait_scale=0.02) as aws:
        yield aws
        assert aws.violations() == []


@pytest.fixture(scope="module")
def stack(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The application as deployed, without a first model."""
    first = upload(month(1), aws, tmp_path_factory.mktemp("initial"))
    stack = Stack(aws, tmp_path_factory.mktemp("log") / "sam.log")
    stack.build()
    aws.set_clock(datetime(2026, 2, 1, tzinfo=UTC))
    stack.deploy(
        {
            "InitialDataUri": first,
            "MonitorSchedule": "cron(0 0 1 * ? *)",
            "QualitySchedule": "cron(0 0 1 * ? *)",
            "LabelDelayHours": "0",
            "WindowHours": "744",
            "CooldownHours": "0",
            "NotificationEmail": "ada@example.com",
            "ApprovalMode": "registry",
            "ApproverEmail": "ada@example.com",
        }
    )
    Mailbox(stack).subscribe()
    wait_for("a champion", stack.champion, seconds=240)
    wait_for("the bootstrap's end", lambda: ended(stack, 1), seconds=60)
    return stack


class Mailbox:
    """What the approver is sent: a queue that hears what an address would."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.aws.client("sqs").create_queue(QueueName="approver")["QueueUrl"]

    def subscribe(self) -> None:
        found = self.stack.aws.client("cloudformation").describe_stack_resource(
            StackName=self.stack.name, LogicalResourceId="FirstApprover"
        )
        topic = found["StackResourceDetail"]["PhysicalResourceId"]
        sqs = self.stack.aws.client("sqs")
        arn = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                }
            ]
        }
        sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": json.dumps(policy)})
        self.stack.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def link(self) -> str:
        """The link in the next mail."""

        def letter() -> Any:
            return self.stack.aws.client("sqs").receive_message(QueueUrl=self.url, WaitTimeSeconds=1).get("Messages")

        [message] = wait_for("a mail to the approver", letter, seconds=240)
        SENT.append(str(json.loads(message["Body"])["Message"].splitlines()[-1]))
        return SENT[-1]


def documented_events() -> list[tuple[str, str, str]]:
    """File, function and answer of each line of events/README.md."""
    lines = [line.split("|") for line in (EVENTS / "README.md").read_text().splitlines() if line.startswith("| `")]
    return [(file.strip(" `"), function.strip(" `"), answer.strip()) for _, file, function, _, answer, _ in lines]


def ended(stack: Stack, count: int) -> list[dict[str, Any]]:
    """The episodes, once so many of them have ended."""
    closed = [episode for episode in stack.episodes() if episode["status"] == "CLOSED"]
    return closed if len(closed) >= count else []


def retrain(stack: Stack, *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON of a command of the project's command line."""
    done = subprocess.run(
        [sys.executable, "-m", "retrain", *arguments, "--json"],
        env={**stack.aws.env, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 70, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def followed(stack: Stack, *arguments: str) -> dict[str, Any]:
    """The episode that the command opened, when it has ended."""
    count = len(stack.episodes())
    code, answer = retrain(stack, *arguments)
    assert (code, answer["action"]) == (0, "opened"), answer
    wait_for("the episode to end", lambda: ended(stack, count + 1), seconds=240)
    return retrain(stack, "show", answer["episode_id"])[1]  # type: ignore[no-any-return]


def version(stack: Stack) -> str:
    return str(stack.champion()["model_package_arn"]).rpartition("/")[2]


def test_status_tells_of_a_calm_endpoint_and_says_what_comes_next(stack: Stack) -> None:
    code, status = retrain(stack, "status")
    assert (code, status["attention"]) == (0, [])
    assert status["endpoint"]["status"] == "InService"
    assert status["champion"]["endpoint_config_name"] == status["endpoint"]["config"]
    assert (status["lock"], status["episode"], status["paused"]) == (None, None, None)
    assert "an alarm opens an episode" in status["next"]
    assert status["time"].startswith("2026-02-01"), "by AWS's clock"
    look_up("", stack)
    assert {alarm["state"] for alarm in status["alarms"]} <= {"OK", "INSUFFICIENT_DATA"}


def test_a_champion_is_not_bootstrapped_again(stack: Stack) -> None:
    assert retrain(stack, "bootstrap") == (2, {"action": "ignored", "reason": "champion_exists"})


def test_paused_it_opens_no_episode_although_the_alarm_fires_and_resumed_a_person_may_ask_for_one(stack: Stack) -> None:
    assert retrain(stack, "pause", "--reason", "a fair", "--until", "60d")[0] == 0
    status = retrain(stack, "status")[1]
    assert (status["paused"]["reason"], status["paused"]["until"][:10]) == ("a fair", "2026-04-02")
    run = Paused(stack, "a line", parse_spec(MODEL, "model.toml"), [month(2, slope=-2.0, shift=3.0)], quiet)
    run.run()
    assert (run.failed, len(stack.episodes())) == (0, 1)
    assert retrain(stack, "retrain", "--reason", "now") == (2, {"action": "ignored", "reason": "paused"})
    assert sections()["DriftAlarm"][-1][3:] == ("resume",)
    for command in sections()["DriftAlarm"]:
        carry_out(command, stack)
    episode = approved_on_the_page(stack, lambda: followed(stack, "retrain", "--reason", "the fair is over"))
    assert (episode["trigger"], episode["outcome"]) == ("retrain", "promoted"), episode.get("detail")
    assert episode["decided_by"] == "the first approver, by link"
    assert version(stack) == "2"
    look_up("promoted", stack, EPISODE=str(episode["episode_id"]))
    code, listed = retrain(stack, "episodes")
    assert (code, [item["trigger"] for item in listed]) == (0, ["retrain", "bootstrap"])
    spans = retrain(stack, "trace", str(episode["episode_id"]))[1]
    assert {"Start Pipeline", "Update Endpoint", "Close Episode"} <= {span["name"] for span in spans}
    assert any(span["kind"] == "pipeline" for span in spans)


def approved_on_the_page(stack: Stack, follow: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What follows when its challenger is approved on the page, after all that should not have approved it."""
    with ThreadPoolExecutor(1) as other:
        following = other.submit(follow)
        address = Mailbox(stack).link()
        assert address.startswith(stack["ApprovalPageUrl"])
        page, token = stack["ApprovalPageUrl"], parse_qs(urlsplit(address).query)["token"][0]
        status, shown, headers = browse(address)
        assert (status, "Shall the challenger serve flights?" in shown) == (200, True)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        claims, _, code = token.partition(".")
        forged = f"{claims[:-4]}AAAA.{code}"
        bad = [browse(f"{page}?token={forged}"), browse(page), browse(page, token=forged, decision="approve")]
        assert stack.episodes()[-1].get("decision") is None
        assert browse(page, token=token, decision="approve")[0] == 200
        bad += [browse(address), browse(page, token=token, decision="approve")]
        bad += [browse(page, token=token, decision="reject")]
        assert {(status, said) for status, said, _ in bad} == {(404, bad[0][1])}, "forged, none, replayed, too late"
        return following.result()


def test_a_rollback_takes_model_config_and_baseline_back_together_and_forth_again(stack: Stack) -> None:
    before = stack.champion()
    episode = followed(stack, "rollback", "--reason", "the night is answered wrongly")
    assert (episode["outcome"], episode["reason"]) == ("promoted", "rollback"), episode.get("detail")
    look_up("rollback", stack, EPISODE=str(episode["episode_id"]))
    champion = stack.champion()
    assert version(stack) == "1"
    assert champion["statistics_uri"] != before["statistics_uri"]
    assert stack.serving() == champion["endpoint_config_name"] == episode["episode_id"]
    assert followed(stack, "rollback", "--to", "2", "--reason", "it was the caller")["outcome"] == "promoted"
    assert stack.champion()["statistics_uri"] == before["statistics_uri"]
    code, said = retrain(stack, "rollback", "--to", "9", "--reason", "no such version")
    assert (code, "those that did are 1" in said) == (3, True), said


class Clients:
    """Who asks the endpoint all the time; while it is changing, of what lies so far out that one answer fits all."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._over, self._numbers = stack, Event(), count()
        self._threads = [Thread(target=self._ask) for _ in range(3)]

    def _ask(self) -> None:
        sagemaker, runtime = self._stack.aws.client("sagemaker"), self._stack.aws.client("sagemaker-runtime")
        while not self._over.wait(0.01):
            changing = sagemaker.describe_endpoint(EndpointName="flights")["EndpointStatus"] == "Updating"
            number = next(self._numbers)
            x = 1e6 + number if changing else 3.0 + number % 97 / 97
            runtime.invoke_endpoint(EndpointName="flights", ContentType="text/csv", Body=f"{x},a\n".encode())

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def baking_for(stack: Stack, seconds: int) -> Iterator[None]:
    """The endpoint updater has another BakeSeconds, as after a deployment with that parameter."""
    functions, name = stack.aws.client("lambda"), find(stack.aws.client, stack.name).resources["EndpointUpdater"]
    before = functions.get_function_configuration(FunctionName=name)["Environment"]
    changed = {"Variables": {**before["Variables"], "BAKE_SECONDS": str(seconds)}}
    functions.update_function_configuration(FunctionName=name, Environment=changed)
    yield
    functions.update_function_configuration(FunctionName=name, Environment=before)


def test_a_roll_out_under_which_all_answers_are_the_same_is_taken_back_by_itself(stack: Stack) -> None:
    champion, serving, name = stack.champion(), stack.serving(), "PredictionSanityAlarm"
    alarm = find(stack.aws.client, stack.name).resources[name]

    def state() -> str:
        return str(stack.aws.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    with baking_for(stack, 1500), Clients(stack):
        episode = followed(stack, "rollback", "--to", "1", "--reason", "it knew better")
    assert (episode["outcome"], episode["reason"]) == ("failed", "rolled_back"), episode.get("detail")
    assert name in str(episode["detail"])
    assert (stack.champion(), stack.serving()) == (champion, serving)
    look_up("rolled_back", stack, EPISODE=str(episode["episode_id"]))
    stack.aws.set_clock(find(stack.aws.client, stack.name).caller().now + timedelta(minutes=5))
    wait_for("the alarm to calm down", lambda: state() == "OK", seconds=60)


def test_in_the_middle_of_an_episode_nothing_is_turned_back_and_a_person_may_stop_it(stack: Stack) -> None:
    count = len(stack.episodes())
    again = ("--from", "2026-02-01T01:00:00Z", "--to", "2026-02-03T00:00:00Z")  # too few rows: it waits for labels
    code, answer = retrain(stack, "retrain", "--reason", "once more", *again)
    assert (code, answer["action"]) == (0, "opened"), answer
    assert retrain(stack, "rollback", "--reason", "now")[1]["reason"] == "episode_open"
    assert retrain(stack, "status")[1]["episode"]["episode_id"] == answer["episode_id"]
    assert retrain(stack, "stop", "--reason", "the labels of this week are wrong")[0] == 0
    wait_for("the stopped episode to end", lambda: ended(stack, count + 1), seconds=120)
    episode = retrain(stack, "show", answer["episode_id"])[1]
    assert (episode["outcome"], episode["reason"]) == ("failed", "execution_aborted")
    look_up("execution_aborted", stack, EPISODE=answer["episode_id"])
    assert episode["execution_error"] == "StoppedByOperator"
    assert episode["execution_cause"].startswith("the labels of this week are wrong (arn:")


def test_what_was_changed_by_hand_is_seen_and_adopted_or_the_champion_is_restored(stack: Stack) -> None:
    champion, first = stack.champion(), stack.episodes()[0]["pk"].removeprefix("EPISODE#")
    sagemaker = stack.aws.client("sagemaker")
    sagemaker.update_endpoint(EndpointName="flights", EndpointConfigName=first)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="flights", WaiterConfig={"Delay": 1})
    code, status = retrain(stack, "status")
    assert (code, any("adopt or restore" in said for said in status["attention"])) == (1, True), status["attention"]
    assert "adopt, or restore" in json.dumps(retrain(stack, "doctor")[1])
    look_up("diverged", stack)
    assert followed(stack, *prescribed("diverged", "adopt"))["reason"] == "adopt"
    assert (version(stack), stack.serving()) == ("1", first)
    sagemaker.delete_endpoint(EndpointName="flights")
    assert retrain(stack, "status")[0] == 1
    look_up("endpoint_missing", stack)
    assert followed(stack, *prescribed("endpoint_missing", "restore"))["reason"] == "restore"
    assert version(stack) == "1"
    assert not any("restore" in said for said in retrain(stack, "status")[1]["attention"])
    assert followed(stack, "rollback", "--to", "2", "--reason", "on with it")["outcome"] == "promoted"
    assert version(stack) == version_of(champion)


def version_of(champion: dict[str, Any]) -> str:
    return str(champion["model_package_arn"]).rpartition("/")[2]


def test_the_doctor_finds_what_a_real_account_would_lack_and_says_the_remedy(stack: Stack) -> None:
    code, found = retrain(stack, "doctor")
    levels = {finding["check"]: finding["level"] for finding in found}
    assert code == (1 if "error" in levels.values() else 0)
    for check in ("endpoint", "data capture", "rules and alarms", "roles", "key", "parameters", "cost"):
        assert levels.get(check) == "ok", (check, [item for item in found if item["check"] == check])
    assert all(finding["remedy"] for finding in found if finding["level"] != "ok")


@pytest.mark.parametrize(("file", "function", "expected"), documented_events())
def test_every_event_leads_to_what_its_readme_says(stack: Stack, file: str, function: str, expected: str) -> None:
    clients = stack.aws.client
    stack.aws.set_clock(find(clients, stack.name).caller().now + timedelta(hours=1))  # past any cool-down
    deployed = find(clients, stack.name)
    event = event_here(json.loads((EVENTS / file).read_text()), deployed)
    try:
        answer = deployed.functions.ask(deployed.resources[function], event)
    except AwsRejected as error:
        said = f"raises {str(error).split(': ')[1]}"
    else:
        said = ": ".join(answer[key] for key in ("action", "status", "reason") if answer.get(key))
        if answer.get("action") == "opened":
            end_of(stack, deployed, answer)
    assert f"`{said.removeprefix('ignored: ')}`" in expected.replace("ignored: ", ""), (answer, expected)


def test_events_that_were_refused_are_in_the_queue_that_the_runbook_looks_into(stack: Stack) -> None:
    url = stack["RejectedEventsUrl"]
    receive, purge = sections()["RejectedEventsAlarm"]
    assert '"reason"' in carry_out(receive, stack, REJECTED_EVENTS_URL=url).replace("\\", "")
    look_up("malformed_event", stack, REJECTED_EVENTS_URL=url)
    carry_out(purge, stack, REJECTED_EVENTS_URL=url)
    assert "Messages" not in carry_out(receive, stack, REJECTED_EVENTS_URL=url)


def end_of(stack: Stack, deployed: Deployment, answer: dict[str, Any]) -> None:
    """The episode that was opened has ended: what trains was stopped, what rolls out went through."""
    if stack.item(f"EPISODE#{answer['episode_id']}", "EPISODE")["trigger"] in {"alarm", "evidence", "retrain"}:
        deployed.executions.stop(answer["execution_arn"], "seen enough")

    def over() -> bool:
        return stack.item(f"EPISODE#{answer['episode_id']}", "EPISODE")["status"] == "CLOSED"

    wait_for("the episode to end", over, seconds=240)


def test_sam_can_invoke_the_functions_as_they_are_deployed(stack: Stack) -> None:
    code, template = retrain(stack, "env")
    handler = template["Resources"]["AlarmHandler"]["Properties"]
    assert (code, handler["CodeUri"], handler["Handler"]) == (0, "AlarmHandler/", "handlers.alarm_handler.handler")
    variables = handler["Environment"]["Variables"]
    assert variables["LEDGER_TABLE"] == stack["LedgerTable"]
    assert variables["AWS_ENDPOINT_URL"] == stack.aws.url
    built = SRC.parent / ".aws-sam" / "build"
    for item in template["Resources"].values():
        folder = item["Properties"].get("CodeUri") or item["Properties"]["ContentUri"]
        assert (built / folder).is_dir(), "`sam build` has put the code beside the template"


def test_sam_shows_what_the_state_machine_logged(stack: Stack) -> None:
    command = [sys.executable, "-m", "samcli", "logs", "--stack-name", stack.name, "--name", "RetrainMachine"]
    done = subprocess.run(
        [*command, "--region", "us-east-1"], env=stack.aws.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ExecutionSucceeded" in done.stdout
    assert "task_token" not in done.stdout


def test_no_such_stack_is_bad_input(stack: Stack) -> None:
    code, said = retrain(stack, "status", "--stack", "nowhere")
    assert code == 3
    assert "there is no stack nowhere in this account and region" in said


def test_every_call_of_the_application_was_allowed(stack: Stack) -> None:
    assert denials(stack, "operating") == []


def test_no_link_is_in_any_log(stack: Stack) -> None:
    logs = stack.aws.client("logs")
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    said = "".join(event["message"] for name in groups for event in logs.filter_log_events(logGroupName=name)["events"])
    assert "decision made" in said
    assert SENT, "a link was sent"
    assert not [
        part for address in SENT for part in parse_qs(urlsplit(address).query)["token"][0].split(".") if part in said
    ]


def quiet(*_: object) -> None:
    """Nobody looks on."""


class Paused(Replay):
    """A replay of a window that drifts, while the loop is paused: the alarm fires, and is ignored for that reason."""

    def _look_back(self, window: Window, following: Window | None, result: WindowResult, model: str) -> list[Answer]:
        self.stack.aws.set_clock(window.end)
        wait_for("the drift alarm to fire", lambda: self.stack.alarm_state() == "ALARM", seconds=120)
        functions = self.stack.aws.client("cloudformation").describe_stack_resource(
            StackName=self.stack.name, LogicalResourceId="AlarmHandlerLogs"
        )
        group = functions["StackResourceDetail"]["PhysicalResourceId"]

        def ignored() -> bool:
            events = self.stack.aws.client("logs").filter_log_events(logGroupName=group)["events"]
            return any('"paused"' in event["message"] for event in events)

        wait_for("the alarm handler to ignore it", ignored, seconds=30)
        return []
