"""Roll-outs in a row under load, on the embedded AWS: does any client get no answer, or one of neither model?

The application is deployed as anybody deploys it, with two promoted versions of a small model. Then an operator rolls
out one and the other in turn: all at once, with a canary, in equal steps, and some of them are turned back by an alarm.
Meanwhile a client in a process of its own asks at a steady rate, whatever it is answered.

What is printed: requests, failures, answers of neither model, captures that are missing, and what the loop adds between
a decision and SageMaker's beginning, as the state machine's history has it.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from a_line import MODEL, month, upload

from demo.replay import Answer, Replay
from demo.stack import Stack, wait_for
from demo.windows import Window
from local import LocalAws
from retrain.model import serving
from retrain.model.read_spec import parse_spec
from retrain.operate.deployment import Deployment, find
from retrain.operate.requests import ask, version_to_return_to

QUESTIONS = 400  # different ones, asked over and over
SAME = 1e-4
# Strategy, and how many roll-outs go through and are turned back.
PLAN = (("canary", 5, 2), ("linear", 5, 2), ("all-at-once", 5, 1))
SHARES = {"canary": 50, "linear": 50, "all-at-once": 25}
ERRORS = "EndpointErrorsAlarm"


@dataclass(frozen=True)
class Told:
    """What one roll-out did: how it went, how long it took, and how much of that was ours before SageMaker began."""

    strategy: str
    outcome: str
    seconds: float
    ours: float


class Quiet(Replay):
    """Traffic and labels, without waiting for an alarm."""

    def _look_back(self, window: Window, *_: Any) -> list[Answer]:
        self.stack.aws.set_clock(window.end)
        return []


def deployed(aws: LocalAws, folder: Path) -> tuple[Stack, dict[str, str]]:
    """The application with its first model, and the parameters that it was deployed with."""
    first = upload(month(1), aws, folder)
    stack = Stack(aws, folder / "sam.log")
    stack.build()
    aws.set_clock(datetime(2026, 2, 1, tzinfo=UTC))
    parameters = {
        "InitialDataUri": first,
        "MonitorSchedule": "cron(0 0 1 * ? *)",
        "QualitySchedule": "cron(0 0 1 * ? *)",
        "LabelDelayHours": "0",
        "WindowHours": "744",
        "CooldownHours": "0",
        "MonthlyEpisodes": "1000",
        "EndpointInstanceCount": "2",
        "BakeSeconds": "100",
    }
    stack.deploy(parameters)
    ended(stack, 1)
    return stack, parameters


def ended(stack: Stack, count: int) -> dict[str, Any]:
    """The newest episode, once so many have ended."""

    def look() -> dict[str, Any] | None:
        found = stack.episodes()
        return found[-1] if [each["status"] for each in found] == ["CLOSED"] * count else None

    return wait_for(f"episode {count} to end", look, seconds=240)


def roll_out(stack: Stack, known: Deployment, strategy: str, version: str, *, turned_back: bool) -> Told:
    """What an operator's roll-out of that version did."""
    count = len(stack.episodes())
    began = time.monotonic()
    asking = find(stack.aws.client, stack.name)  # who asks knows the time at which that one was made
    answer = ask(asking, "rollback", reason="bench", target=version_to_return_to(asking, version))
    if answer["action"] != "opened":
        raise SystemExit(f"the roll-out was not begun: {answer}")
    if turned_back:
        wait_for("the new fleet to bake", lambda: _bakes(stack), seconds=60, pause=0.02)
        _alarm(stack, known, "ALARM")
    item = ended(stack, count + 1)
    seconds = time.monotonic() - began
    if turned_back:
        _alarm(stack, known, "OK")
    states = {name: (since, left) for name, since, left in known.executions.states(str(item["execution_arn"]))}
    decided, told = states["Reinstate Model"][0], states["Update Endpoint"][1]
    ours = (told - decided).total_seconds() if told else float("nan")
    return Told(strategy, f"{item['outcome']} ({item['reason']})", seconds, ours)


def _bakes(stack: Stack) -> bool:
    endpoint = stack.aws.client("sagemaker").describe_endpoint(EndpointName=stack["EndpointName"])
    variants = endpoint.get("PendingDeploymentSummary", {}).get("ProductionVariants", [])
    return any(stage["Status"] == "Baking" for variant in variants for stage in variant.get("VariantStatus", []))


def _alarm(stack: Stack, known: Deployment, state: str) -> None:
    stack.aws.client("cloudwatch").set_alarm_state(
        AlarmName=known.resources[ERRORS], StateValue=state, StateReason="benchmarks/rollouts.py says so"
    )


# The client -----------------------------------------------------------------------------------------------------------


def client(url: str, endpoint: str, rate: float, questions: Path, output: Path) -> None:
    """Asks at that rate until standard input is closed; a line of `output` for each request: id, question, answer."""
    aws = LocalAws(int(urlparse(url).port or 0), output.parent, fresh=False)
    runtime, asked = aws.client("sagemaker-runtime"), questions.read_text().splitlines()
    over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()

    def request(number: int) -> dict[str, Any]:
        question, identity = number % len(asked), f"bench-{number:07d}"
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint,
                Body=asked[question],
                ContentType="text/csv",
                Accept="text/csv",
                InferenceId=identity,
            )
            said = answer["Body"].read().decode().strip()
        except Exception as error:  # noqa: BLE001  (whatever it is, the client has no answer)
            said = f"failed: {error}"
        return {"id": identity, "question": question, "answer": said}

    began, number, pending = time.monotonic(), 0, []
    with ThreadPoolExecutor(16) as threads:
        while not over.is_set():
            pending.append(threads.submit(request, number))
            number += 1
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
    output.write_text("".join(json.dumps(each.result()) + "\n" for each in pending))


def answers(stack: Stack, uri: str, questions: Sequence[str]) -> list[float]:
    """What the archive's model answers."""
    place = urlparse(uri)
    body = stack.aws.client("s3").get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(body)) as tar:
        tar.extractall(folder, filter="data")
        model = serving.model_fn(folder)
    return [float(serving.predict(serving.read_rows(question, "text/csv"), model)[0]) for question in questions]


def captured(stack: Stack) -> Iterator[str]:
    """The inference ids of everything captured."""
    s3 = stack.aws.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=stack["BucketName"], Prefix="capture/"):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=stack["BucketName"], Key=item["Key"])["Body"].read()
            for line in body.splitlines():
                yield str(json.loads(line)["eventMetadata"].get("inferenceId"))


# ----------------------------------------------------------------------------------------------------------------------


def run(folder: Path, rate: float, scale: int) -> bool:
    """Everything is printed; whether all of it is as it should be."""
    with LocalAws(0, folder / "state", fresh=True) as aws:
        (folder / "initial").mkdir()
        stack, parameters = deployed(aws, folder / "initial")
        first = stack.champion()["model_data_uri"]
        known = find(aws.client, stack.name)
        Quiet(stack, "a line", parse_spec(MODEL, "model.toml"), [month(2, -2.0, count=600)], lambda *_: None).run()
        ask(known, "retrain", reason="another truth")
        if (made := ended(stack, 2))["outcome"] != "promoted":
            raise SystemExit(f"there is no second model: {made.get('detail')}")
        asked = [",".join(row.values) for row in month(3, 1.0, count=QUESTIONS).rows]
        right = [answers(stack, uri, asked) for uri in (first, stack.champion()["model_data_uri"])]
        (folder / "questions").write_text("\n".join(asked))
        command = [sys.executable, "-m", "benchmarks.rollouts", "--client", aws.url, stack["EndpointName"], str(rate)]
        command += [str(folder / "questions"), str(folder / "answers")]
        told: list[Told] = []
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=aws.env)
        for strategy, through, back in PLAN:
            more = {"Rollout": strategy, "RolloutStepPercent": str(SHARES[strategy])}
            stack.deploy({**parameters, **more})
            for number in range((through + back) // scale or 1):
                version = "1" if stack.champion()["model_package_arn"].endswith("/2") else "2"
                turned_back = number < back // scale
                told.append(roll_out(stack, known, strategy, version, turned_back=turned_back))
                print(f"{told[-1].strategy:12} {told[-1].outcome:28} {told[-1].seconds:5.1f} s", flush=True)
        process.communicate(timeout=60)
        time.sleep(3)  # the embedded endpoint writes its captures within a second
        return report(told, right, folder / "answers", set(captured(stack)), aws.violations())


def report(
    told: Sequence[Told], right: Sequence[Sequence[float]], output: Path, kept: set[str], bad: list[str]
) -> bool:
    """The figures, in words; whether none of them is a fault."""
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    failed = [line for line in lines if line["answer"].startswith("failed")]
    served = [line for line in lines if not line["answer"].startswith("failed")]
    strange, by = 0, [0, 0]
    for line in served:
        value = float(line["answer"])
        fits = [abs(value - answers[line["question"]]) <= SAME * (1 + abs(value)) for answers in right]
        strange += not any(fits)
        by[0] += fits[0] and not fits[1]
        by[1] += fits[1] and not fits[0]
    lost = [line["id"] for line in served if line["id"] not in kept]
    through = sum(each.outcome.startswith("promoted") for each in told)
    back = sum("rolled_back" in each.outcome for each in told)
    ours = sorted(each.ours for each in told)
    print(f"{len(told)} roll-outs: {through} went through, {back} were turned back by an alarm")
    print(
        f"{len(lines):,} requests: {len(failed)} failed, {strange} by neither model, {by[0]} and {by[1]} by one of them"
    )
    print(f"{len(lost)} captures lost, {len(bad)} answers that AWS does not define")
    middle, most = ours[len(ours) // 2], ours[-1]
    print(f"from the decision to UpdateEndpoint: median {middle:.2f} s, at most {most:.2f} s (5 s allowed)")
    for line in failed[:3]:
        print(f"  {line['answer'][:200]}")
    return not (failed or strange or lost or bad) and through + back == len(told) and most < 5.0 and min(by) > 0


def main() -> None:
    """Exit code 1 when anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", nargs=5, metavar=("URL", "ENDPOINT", "RATE", "QUESTIONS", "OUTPUT"))
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--scale", type=int, default=1, help="so many times fewer roll-outs")
    options = parser.parse_args()
    if options.client:
        url, endpoint, rate, questions, output = options.client
        client(url, endpoint, float(rate), Path(questions), Path(output))
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if run(Path(folder), options.rate, options.scale) else 1)


if __name__ == "__main__":
    main()
