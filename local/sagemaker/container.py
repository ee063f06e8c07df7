"""A container, as a process: the same entry point, arguments, environment and /opt/ml, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 5.0
# The path itself, wherever it is in `--out=/opt/ml/a` or `/opt/ml/a:/opt/ml/b`, and not the end of another one.
ML = re.compile(r"(?<![\w./-])/opt/ml(?=$|[/:,;\s\"'\]}])")
THREADS = "2"  # of a job's numerics: AT_ONCE jobs shall not fight for the cores of a small machine
# What a process of this machine needs besides what its job defines.
KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)


@dataclass(frozen=True)
class Ended:
    """How a container ended: its exit code (None when it was stopped or ran out of time), and what it printed."""

    code: int | None
    output: str
    overdue: bool = False


class Container:
    """One run of an image. `ml` is its /opt/ml; the folder is gone after `remove`."""

    def __init__(self, root: Path, name: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name[:40]}-", dir=root))
        self.ml = self.folder / "opt" / "ml"
        self.ml.mkdir(parents=True)
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()
        self._starting = threading.Lock()

    def path(self, inside: str) -> Path:
        """Where a path of the container, /opt/ml/…, is on this machine."""
        return self.folder / inside.lstrip("/")

    def mapped(self, text: str) -> str:
        """The argument or variable with every path below /opt/ml replaced: the container's file system, by name."""
        return ML.sub(lambda _: str(self.ml), text)

    def run(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> Ended:
        """The command has run to its end, or was stopped: by `stop`, even before it began, or after `seconds`."""
        program, *arguments = command
        if program in {"python3", "python"}:
            program = sys.executable
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        variables = {name: self.mapped(value) for name, value in environment.items()}
        log = self.folder / "output.log"
        with log.open("w") as output, self._starting:
            if self._stopped.is_set():
                return Ended(None, "")
            self._process = subprocess.Popen(
                [self.mapped(program), *(self.mapped(argument) for argument in arguments)],
                cwd=self.folder,
                env={**kept, "OMP_NUM_THREADS": THREADS, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # the program's own children end with it
            )
        overdue = False
        try:
            code: int | None = self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            code, overdue = None, True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if code is not None and code < 0:
            code = 128 - code
        if self._stopped.is_set():
            code = None
        return Ended(code, log.read_text(errors="replace"), overdue)

    def stop(self) -> None:
        """The process has been asked to end, and made to if it did not; one that has not begun never will."""
        with self._starting:
            self._stopped.set()
            process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """The container's folder is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
