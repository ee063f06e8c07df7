"""The adapters of a deployed function, each made once from its environment."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from retrain.aws.calls import client
from retrain.aws.cloudwatch import CloudWatch
from retrain.aws.events import Bus
from retrain.aws.kms import Macs
from retrain.aws.ledger import Ledger
from retrain.aws.s3 import Store
from retrain.aws.sagemaker import SageMaker
from retrain.aws.sns import Topic
from retrain.aws.sqs import RejectedEvents
from retrain.aws.stepfunctions import Callbacks, StateMachine
from retrain.core.telemetry import NAMESPACE
from retrain.deployed.settings import setting
from retrain.episode.approval_links import Links


@cache
def ledger() -> Ledger:
    """The stack's ledger."""
    return Ledger(client("dynamodb"), setting("LEDGER_TABLE", str))


@cache
def store() -> Store:
    """The stack's bucket."""
    return Store(client("s3"), setting("BUCKET", str))


@cache
def sagemaker() -> SageMaker:
    """SageMaker."""
    return SageMaker(client("sagemaker"))


@cache
def cloudwatch() -> CloudWatch:
    """CloudWatch, in the application's namespace."""
    return CloudWatch(client("cloudwatch"), NAMESPACE)


@cache
def machine() -> StateMachine:
    """The stack's state machine."""
    return StateMachine(client("stepfunctions"), setting("STATE_MACHINE_ARN", str))


@cache
def callbacks() -> Callbacks:
    """States that wait for a decision."""
    return Callbacks(client("stepfunctions"))


@cache
def topic() -> Topic:
    """The stack's notifications."""
    return Topic(client("sns"), setting("TOPIC_ARN", str))


@cache
def rejected() -> RejectedEvents:
    """The stack's queue of rejected events."""
    return RejectedEvents(client("sqs"), setting("REJECTED_EVENTS_URL", str))


@cache
def bus() -> Bus:
    """The default event bus."""
    return Bus(client("events"))


@cache
def macs() -> Macs:
    """The key that signs approval links."""
    return Macs(client("kms"), setting("LINK_KEY_ARN", str))


@cache
def links() -> Links | None:
    """Links to the approval page, None if the stack has none."""
    topics = [Topic(client("sns"), arn) for arn in setting("APPROVER_TOPICS", str).split(",") if arn]
    lasting = timedelta(hours=setting("APPROVAL_TIMEOUT_HOURS", float))
    return Links(setting("APPROVAL_PAGE_URL", str), macs(), tuple(topics), lasting) if topics else None
