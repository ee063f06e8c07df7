"""The embedded AWS: MiniStack in one process, with a SageMaker that executes. `python -m local up` serves it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT, REGION = "000000000000", "us-east-1"


def environment(url: str) -> dict[str, str]:
    """What `aws`, `sam` and boto3 need in their environment to speak to the embedded AWS at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
    }


class LocalAws:
    """The embedded AWS in a process of its own, as a context manager. Port 0 is any free one.

    Inside the context it answers at `url`; afterwards it has stopped and its state lies under `root`, from which the
    next one with `fresh=False` goes on.
    """

    def __init__(self, port: int, root: Path, *, fresh: bool, wait_scale: float = 0.02) -> None:
        self.port, self.root, self.fresh, self.wait_scale = port or _free_port(), root, fresh, wait_scale
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, **environment(self.url), "SAM_CLI_TELEMETRY": "0", "SAM_CLI_POLL_DELAY": "0.1"}
        # The developer's own profile and account stay out of it.
        self.env.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
            self.env.pop(name, None)
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> LocalAws:
        self.root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "local", "up", "--port", str(self.port), "--root", str(self.root.resolve())]
        command += ["--wait-scale", str(self.wait_scale), *(["--fresh"] if self.fresh else [])]
        log = self.root / "local.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                # Another one may have the port: then ours is about to say so, and to end.
                if self._get("/_local/ready").get("pid") == self._process.pid:
                    return self
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        tail = log.read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"the embedded AWS did not start; the end of {log}:\n{tail}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """The process has ended, its state is saved."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """The process is gone as with a machine whose power fails: nobody was told, nothing was saved at its end."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def client(self, service: str) -> Any:
        """A boto3 client of the embedded AWS, made once per service; safe to use from several threads."""
        with self._lock:
            if service not in self._clients:
                import boto3
                from botocore.config import Config

                session: Any = boto3.Session(
                    aws_access_key_id="test",
                    aws_secret_access_key="test",  # noqa: S106 - any secret is right
                    region_name=REGION,
                )
                config = Config(max_pool_connections=32, s3={"addressing_style": "path"}, retries={"mode": "standard"})
                self._clients[service] = session.client(service, endpoint_url=self.url, config=config)
            return self._clients[service]

    def set_clock(self, now: datetime) -> None:
        """The AWS clock shows `now`; schedules that were due have fired and alarms were evaluated."""
        body = json.dumps({"now": now.isoformat()}).encode()
        request = urllib.request.Request(f"{self.url}/_local/clock", data=body, method="PUT")  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            response.read()

    def violations(self) -> list[str]:
        """Calls that no botocore model knows, and answers that botocore does not define; [] is how it should be."""
        found: list[str] = self._get("/_local/violations")["violations"]
        return found

    def calls(self) -> list[dict[str, Any]]:
        """What was asked for under roles since the state was fresh, and whether their policies allowed it."""
        found: list[dict[str, Any]] = self._get("/_local/calls")["calls"]
        return found

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:  # noqa: S310
            return json.load(response)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
