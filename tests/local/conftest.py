"""An embedded AWS for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workbench import Bench

from local import LocalAws


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One embedded AWS for the whole run."""
    with LocalAws(0, tmp_path_factory.mktemp("aws"), fresh=True) as aws:
        yield Bench(aws)
        assert aws.violations() == [], "what a test did must be known to botocore"
