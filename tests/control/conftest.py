"""What the tests of the control plane share. The ledger is the real one, on moto's DynamoDB: it decides too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from control_plane import (
    REGION,
    FakeCallbacks,
    FakeCloudWatch,
    FakeMachine,
    FakeQueue,
    FakeSageMaker,
    FakeStore,
    FakeTopic,
    make_table,
)
from moto import mock_aws

from retrain.aws.ledger import Ledger


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name=REGION)
        make_table(client, "ledger")
        yield client


@pytest.fixture
def ledger(dynamodb: Any) -> Ledger:
    return Ledger(dynamodb, "ledger")


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def callbacks() -> FakeCallbacks:
    return FakeCallbacks()


@pytest.fixture
def topic() -> FakeTopic:
    return FakeTopic()


@pytest.fixture
def rejected() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def sagemaker() -> FakeSageMaker:
    return FakeSageMaker()


@pytest.fixture
def cloudwatch() -> FakeCloudWatch:
    return FakeCloudWatch()
