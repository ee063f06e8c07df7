"""What the tests of the control plane share. The ledger is the real one, on moto's DynamoDB: it decides too much."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from control_plane import (
    REGION,
    FakeBus,
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


class Atomic:
    """A client whose calls happen one after the other: what DynamoDB promises of each, and moto in threads does not."""

    def __init__(self, client: Any) -> None:
        self._client, self._lock = client, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                return found(*arguments, **named)

        return call


@pytest.fixture(scope="session")
def client() -> Any:
    """One client for all tests: making it takes longer than most of them."""
    return boto3.client("dynamodb", region_name=REGION)


@pytest.fixture
def dynamodb(client: Any) -> Iterator[Any]:
    """A DynamoDB with a fresh table `ledger`."""
    with mock_aws():
        make_table(client, "ledger")
        yield client


class Seconds:
    """What the ledger takes for the time of day."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def ledger(dynamodb: Any, seconds: Seconds) -> Ledger:
    return Ledger(Atomic(dynamodb), "ledger", seconds)


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
def bus() -> FakeBus:
    return FakeBus()


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
