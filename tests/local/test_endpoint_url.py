"""C16: who works on a stack on this machine has told the SDK where it is; the tests speak to nothing all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """Where somebody listens, and what was asked there."""
    asked: list[str] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('X-Amz-Target')}")
            self.send_response(500)
            self.end_headers()

        do_GET = do_PUT = do_HEAD = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"])
def test_an_exported_endpoint_does_not_reach_the_tests(name: str, listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    environment = {**os.environ, name: url, "AWS_MAX_ATTEMPTS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/aws/test_ledger.py",
        "-k",
        "same_cause",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
    assert asked == []
