"""Faults happen to a loop that works."""

from __future__ import annotations

from typing import Any

import pytest
from whole_loop import Loop


@pytest.fixture
def loop(dynamodb: Any) -> Loop:
    return Loop(dynamodb)
