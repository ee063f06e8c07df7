"""A fleet: the model servers of one endpoint config, a process for each production variant."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import random
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
from local.sagemaker.store import Resource

START_SECONDS = 60
ANSWER_SECONDS = 60  # SageMaker's limit for one answer of a container
NO_ANSWER = 0  # in place of a status, when the container gave none


class StartError(Exception):
    """The container did not come up; the text says why, `log` is all it printed."""

    def __init__(self, why: str, log: str = "") -> None:
        super().__init__(why)
        self.log = log


class ModelServer:
    """The process of one variant. After the constructor it answers; `drain` ends it when its last request is done."""

    def __init__(
        self, s3: Any, root: Path, variant: str, model_uri: str, environment: dict[str, str], *, role: str = ""
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        bucket, key = files.split(model_uri)
        try:
            packed = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            raise StartError(f"Could not find model data at {model_uri}.") from None
        self.variant, self.role = variant, role
        self.folder = Path(tempfile.mkdtemp(dir=root))
        self._model = self.folder / "model"
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
                tar.extractall(self._model, filter="data")
        except tarfile.TarError as error:
            shutil.rmtree(self.folder)
            raise StartError(f"Could not unpack the model data at {model_uri}: {error}.") from None
        # A socket's path may have 108 characters, so it is not in the folder.
        self._sockets = tempfile.mkdtemp(prefix="fleet-")
        self._path = f"{self._sockets}/s"
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        inside = {
            name: value.replace("/opt/ml/model", str(self._model)) if value.startswith("/opt/ml/model") else value
            for name, value in environment.items()
        }
        self._environment = {**kept, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **inside}
        self._log = (self.folder / "server.log").open("wb")
        self._shipped = 0
        self._in_flight = 0
        self._changed = threading.Condition()
        self._life = threading.RLock()  # held while the process starts or ends
        self._telling = threading.Lock()
        self._ended = False
        self._launch()

    def _launch(self) -> None:
        """A new process answers; StartError if it does not come up."""
        self._idle: queue.SimpleQueue[tuple[socket.socket, BinaryIO]] = queue.SimpleQueue()
        Path(self._path).unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), str(self._model), self._path],
            cwd=self._model,
            env=self._environment,
            stdin=subprocess.PIPE,  # it ends when this closes, also when we are killed
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; it ends when it has answered
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._idle.put(self._connect())
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.02)
            else:
                return
        self.end()
        said = self.said()
        raise StartError(
            f"The primary container for production variant {self.variant} did not pass the ping health check. "
            f"Its log ends with: {said.strip()[-600:]}",
            said,
        )

    def _connect(self) -> tuple[socket.socket, BinaryIO]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._path)
        connection.settimeout(ANSWER_SECONDS)
        return connection, connection.makefile("rb")

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def enter(self) -> None:
        """A request is on its way here; the server lives until `invoke` has answered it."""
        with self._changed:
            self._in_flight += 1

    def invoke(self, body: bytes, content_type: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and content of the model's answer to a request that was announced with `enter`.

        Status NO_ANSWER says that the container gave none; when it crashed, a new one is starting.
        """
        idle, process = self._idle, self._process
        try:
            try:
                connection, answers = idle.get_nowait()
            except queue.Empty:
                connection, answers = self._connect()
            header = {"content_type": content_type, "accept": accept, "length": len(body)}
            connection.sendall(json.dumps(header).encode() + b"\n" + body)
            said = json.loads(answers.readline())
            content = answers.read(said["length"])
            idle.put((connection, answers))
            return said["status"], said["content_type"], content
        except (OSError, ValueError):
            threading.Thread(target=self._revive, args=(process,), daemon=True).start()
            return NO_ANSWER, "text/plain", b"The container ended, or did not answer in time."
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _revive(self, crashed: subprocess.Popen[bytes]) -> None:
        """If that process is gone, another one is in its place, as SageMaker restarts a container."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            crashed.wait(timeout=1)  # its socket closes a moment before it is gone
        with self._life:
            if self._ended or self._process is not crashed or self.alive:
                return
            try:
                self._launch()
            except StartError as error:
                print(error, file=sys.stderr, flush=True)

    def said(self) -> str:
        """What it has printed since the last call."""
        with self._telling, (self.folder / "server.log").open("rb") as log:
            log.seek(self._shipped)
            text = log.read()
            whole = text if self._ended else text[: text.rfind(b"\n") + 1]
            self._shipped += len(whole)
        return whole.decode(errors="replace")

    def drain(self) -> None:
        """Every request that was on its way has been answered, and the server is gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0, timeout=ANSWER_SECONDS)
        self.end()

    def end(self) -> None:
        """The server process is gone, its files but for the log too."""
        with self._life:
            self._ended = True
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdin:
                self._process.stdin.close()
            self._log.close()
            shutil.rmtree(self._model, ignore_errors=True)
            shutil.rmtree(self._sockets, ignore_errors=True)


class Fleet:
    """The servers of an endpoint config by variant name, and the weights that share the traffic among them."""

    def __init__(self, config: Resource, servers: dict[str, ModelServer]) -> None:
        self.config, self.servers = config, servers
        self._weights = [item.get("InitialVariantWeight", 1.0) for item in config["ProductionVariants"]]

    def choose(self, wanted: str | None = None) -> str:
        """The variant that gets the next request: the one wanted, or any by weight. KeyError if there is none."""
        if wanted is not None:
            if wanted not in self.servers:
                raise KeyError(wanted)
            return wanted
        names = list(self.servers)
        if len(names) == 1:
            return names[0]
        if not any(self._weights):
            raise KeyError(names[0])
        return random.choices(names, self._weights)[0]  # noqa: S311

    @property
    def alive(self) -> bool:
        """Whether every server runs."""
        return all(server.alive for server in self.servers.values())

    def drain(self) -> None:
        """Every request that was on its way has been answered, and the servers are gone."""
        for server in self.servers.values():
            server.drain()

    def end(self) -> None:
        """The servers are gone."""
        for server in self.servers.values():
            server.end()
