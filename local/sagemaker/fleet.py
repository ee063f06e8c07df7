"""A fleet: the model server of one endpoint config, and the traffic that is on it."""

from __future__ import annotations

import io
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from local.sagemaker import s3 as files
from local.sagemaker.container import KEPT

START_SECONDS = 60
ANSWER_SECONDS = 60  # SageMaker's limit for one answer of a container


class StartError(Exception):
    """The container did not come up; the text is its log's end."""


class Fleet:
    """One model server process. After the constructor it answers; `drain` ends it when its last request is done."""

    def __init__(self, s3: Any, root: Path, model_uri: str, environment: dict[str, str]) -> None:
        root.mkdir(parents=True, exist_ok=True)
        bucket, key = files.split(model_uri)
        try:
            packed = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            raise StartError(f"Could not find model data at {model_uri}.") from None
        self.folder = Path(tempfile.mkdtemp(dir=root))
        model = self.folder / "model"
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(model, filter="data")
        # A socket's path may have 108 characters, so it is not in the folder.
        self._sockets = tempfile.mkdtemp(prefix="fleet-")
        self._path = f"{self._sockets}/s"
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        inside = {
            name: value.replace("/opt/ml/model", str(model)) if value.startswith("/opt/ml/model") else value
            for name, value in environment.items()
        }
        self._log = (self.folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), str(model), self._path],
            cwd=model,
            env={**kept, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", **inside},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._idle: queue.SimpleQueue[tuple[socket.socket, BinaryIO]] = queue.SimpleQueue()
        self._in_flight = 0
        self._changed = threading.Condition()
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._idle.put(self._connect())
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.02)
            else:
                return
        self.end()
        log = (self.folder / "server.log").read_text(errors="replace")[-700:]
        raise StartError(f"The primary container for production variant did not pass the ping health check. {log}")

    def _connect(self) -> tuple[socket.socket, BinaryIO]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._path)
        connection.settimeout(ANSWER_SECONDS)
        return connection, connection.makefile("rb")

    def enter(self) -> None:
        """A request is on its way here; the fleet lives until `invoke` has answered it."""
        with self._changed:
            self._in_flight += 1

    def invoke(self, body: bytes, content_type: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and content of the model's answer to a request that was announced with `enter`.

        Status 0 says that the container gave none.
        """
        try:
            try:
                connection, answers = self._idle.get_nowait()
            except queue.Empty:
                connection, answers = self._connect()
            header = {"content_type": content_type, "accept": accept, "length": len(body)}
            connection.sendall(json.dumps(header).encode() + b"\n" + body)
            said = json.loads(answers.readline())
            content = answers.read(said["length"])
            self._idle.put((connection, answers))
            return said["status"], said["content_type"], content
        except (OSError, ValueError):
            return 0, "text/plain", b"The container ended, or did not answer in time."
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def drain(self) -> None:
        """Every request that was on its way has been answered, and the server is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0, timeout=60)
        self.end()

    def end(self) -> None:
        """The server process is gone, its folders but for the log too."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        shutil.rmtree(self._sockets, ignore_errors=True)
