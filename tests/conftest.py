"""What every test may use."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import JSONFileLoader
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
from hypothesis import settings

from retrain.aws.ledger import Ledger

if TYPE_CHECKING:
    from retrain.model.spec import Spec
    from retrain.training.dataset import Reference

# Tests never speak to AWS: without these, a forgotten endpoint would use the developer's own account.
os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    SAM_CLI_TELEMETRY="0",
    DO_NOT_TRACK="1",
)
# Who works on a stack on this machine has told the SDK where it is; a test must not reach it either.
for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")] + ["AWS_PROFILE", "AWS_SESSION_TOKEN"]:
    os.environ.pop(name, None)

# botocore parses its models anew for every session; that took three quarters of the handlers' tests.
_loader: Any = JSONFileLoader
_parse, _parsed = _loader._load_file, {}


def _load_once(self: JSONFileLoader, path: str, opened: Any) -> Any:
    if path not in _parsed:
        _parsed[path] = _parse(self, path, opened)
    return _parsed[path]


_loader._load_file = _load_once

# No deadlines: a busy machine is not a bug. HYPOTHESIS_PROFILE=thorough looks further, and elsewhere each time; quick
# is for `make test-fast`.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Programs of the serving toolkits, which run in an environment of their own.
collect_ignore = ["model/serving"]


@pytest.fixture(scope="module")
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def spec() -> Spec:
    """The small model of houses."""
    import houses

    from retrain.model.read_spec import parse_spec

    return parse_spec(houses.MODEL)


@pytest.fixture
def reference(spec: Spec) -> Reference:
    """The dataset that its champion was made of."""
    import houses

    from retrain.training.dataset import bootstrap_dataset
    from retrain.training.history import reference_of

    return reference_of([bootstrap_dataset(spec, houses.table(600, seed=1)).kept])


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
    """One client of DynamoDB for all tests: making it takes longer than most of them."""
    import boto3
    import moto  # noqa: F401 - before the client is made, or it would speak to AWS

    return boto3.client("dynamodb", region_name=REGION)


@pytest.fixture
def dynamodb(client: Any) -> Iterator[Any]:
    """A DynamoDB with a fresh table `ledger`. It is moto's: the ledger decides too much for a fake."""
    from moto import mock_aws

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
