"""Values that are planted in the data, and all that the loop says anywhere else than in the bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from demo.stack import Stack
from demo.windows import Window

CATEGORY, NUMBER, LABEL, ID = "canary-4711", "0.5772156649", "1.6180339887", "request-00"
PLANTED = (CATEGORY, NUMBER, LABEL, ID)  # the ids of a replay's requests begin so


def planted(window: Window) -> Window:
    """The window with the canaries in one row of a hundred: a number and a label that are likely, a new category."""
    rows = [
        replace(row, values=(NUMBER, CATEGORY), label=LABEL) if place % 100 == 0 else row
        for place, row in enumerate(window.rows)
    ]
    return replace(window, rows=rows)


class Listener:
    """A queue that hears every notification of the stack."""

    def __init__(self, stack: Stack) -> None:
        self._sqs, topic = stack.aws.client("sqs"), stack["NotificationsTopicArn"]
        self._url = self._sqs.create_queue(QueueName="listener")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": arn}]}
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": json.dumps(policy)})
        stack.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def heard(self) -> list[str]:
        """Every message so far."""
        found: list[str] = []
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in messages]
        return found


def said(stack: Stack) -> dict[str, list[str]]:
    """By where it is said: logs, traces, metrics, the machine's history, the ledger, the registry, jobs."""
    return {place: list(read(stack)) for place, read in _PLACES.items()}


def _logs(stack: Stack) -> Iterator[str]:
    logs = stack.aws.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            for events in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"] for event in events["events"])


def _traces(stack: Stack) -> Iterator[str]:
    xray, now = stack.aws.client("xray"), datetime.now(UTC)
    found = xray.get_trace_summaries(StartTime=now - timedelta(days=1), EndTime=now + timedelta(hours=1))
    for summary in found["TraceSummaries"]:
        yield from (str(trace) for trace in xray.batch_get_traces(TraceIds=[summary["Id"]])["Traces"])


def _metrics(stack: Stack) -> Iterator[str]:
    cloudwatch = stack.aws.client("cloudwatch")
    for page in cloudwatch.get_paginator("list_metrics").paginate():
        for metric in page["Metrics"]:
            yield str(metric)
            span = {"StartTime": datetime(2026, 1, 1, tzinfo=UTC), "EndTime": datetime(2027, 1, 1, tzinfo=UTC)}
            asked = {"Period": 86_400, "Statistics": ["Maximum", "Minimum", "Sum"]}
            yield str(cloudwatch.get_metric_statistics(**metric, **span, **asked)["Datapoints"])


def _machine(stack: Stack) -> Iterator[str]:
    states = stack.aws.client("stepfunctions")
    for execution in states.list_executions(stateMachineArn=stack["StateMachineArn"])["executions"]:
        yield str(states.describe_execution(executionArn=execution["executionArn"]))
        yield str(states.get_execution_history(executionArn=execution["executionArn"], maxResults=1000)["events"])


def _ledger(stack: Stack) -> Iterator[str]:
    for page in stack.aws.client("dynamodb").get_paginator("scan").paginate(TableName=stack["LedgerTable"]):
        yield from (str(item) for item in page["Items"])


def _registry(stack: Stack) -> Iterator[str]:
    sagemaker, group = stack.aws.client("sagemaker"), stack["ModelPackageGroupName"]
    for package in sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]:
        yield str(sagemaker.describe_model_package(ModelPackageName=package["ModelPackageArn"]))


def _jobs(stack: Stack) -> Iterator[str]:
    sagemaker = stack.aws.client("sagemaker")
    for page in sagemaker.get_paginator("list_processing_jobs").paginate():
        for job in page["ProcessingJobSummaries"]:
            yield str(sagemaker.describe_processing_job(ProcessingJobName=job["ProcessingJobName"]))
    for page in sagemaker.get_paginator("list_training_jobs").paginate():
        for job in page["TrainingJobSummaries"]:
            yield str(sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"]))


_PLACES: dict[str, Any] = {
    "logs": _logs,
    "traces": _traces,
    "metrics": _metrics,
    "machine": _machine,
    "ledger": _ledger,
    "registry": _registry,
    "jobs": _jobs,
}
