"""The clock of the embedded AWS: the wall clock, until somebody sets it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """A clock that runs at the wall's pace from wherever it was last set; thread-safe."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def time(self) -> float:
        """Seconds since the epoch, on this clock."""
        return time.time() + self._offset

    def now(self) -> datetime:
        """The same instant, aware, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def set(self, now: datetime) -> None:
        """The clock shows `now`, and everything that depends on time has been told before this returns."""
        with self._lock:
            self._offset = now.timestamp() - time.time()
        for listener in self._listeners:
            listener()

    def on_set(self, listener: Callable[[], None]) -> None:
        """`listener` is called whenever somebody sets the clock."""
        self._listeners.append(listener)


clock = Clock()
