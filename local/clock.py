"""The clock of the embedded AWS: the wall clock, until somebody sets it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from local.keeping import write_text


class Clock:
    """A clock that runs at the wall's pace from wherever it was last set; thread-safe."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._setting = threading.RLock()
        self._listeners: list[Callable[[], None]] = []

    def time(self) -> float:
        """Seconds since the epoch, on this clock."""
        return time.time() + self._offset

    def now(self) -> datetime:
        """The same instant, aware, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def set(self, now: datetime) -> None:
        """The clock shows `now`, and everything that depends on time has been told before this returns."""
        if now.tzinfo is None:
            raise ValueError(f"{now.isoformat()} has no time zone; say {now.isoformat()}Z")
        with self._setting:
            self._offset = now.timestamp() - time.time()
            for listener in self._listeners:
                listener()

    def on_set(self, listener: Callable[[], None]) -> None:
        """`listener` is called whenever somebody sets the clock, after those that were there before it."""
        self._listeners.append(listener)

    def save(self, path: Path) -> None:
        """What the clock shows lies in `path`; nothing, if it is the wall clock."""
        write_text(path, json.dumps({"now": self.now().isoformat()} if self._offset else {}))

    def load(self, path: Path) -> None:
        """The clock goes on from what `path` says; it stays the wall clock if there is no such file. Nobody is told."""
        if path.exists() and (saved := json.loads(path.read_text()).get("now")):
            self._offset = datetime.fromisoformat(saved).timestamp() - time.time()


clock = Clock()
