"""What the embedded AWS knows is on disk while it runs: it may be killed at any moment, and goes on from there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ATTEMPTS = 20


class Keeper:
    """Parts of what is known, each with a way to write it. Thread-safe; a part is written by one thread at a time.

    What a request changed is written `now`, before its answer. What changes by itself is marked, and written by `rest`.
    """

    def __init__(self, parts: Mapping[str, Callable[[], None]]) -> None:
        self._parts = dict(parts)
        self._locks = {name: threading.Lock() for name in parts}
        self._marked: set[str] = set()

    def now(self, *names: str) -> None:
        """These parts are on disk as they are at this moment."""
        for name in names:
            self._marked.discard(name)
            with self._locks[name]:
                _written(self._parts[name])

    def changed(self, *names: str) -> None:
        """These parts are written by the next `rest`."""
        self._marked.update(names)

    def rest(self) -> None:
        """Every part that has changed is on disk."""
        self.now(*sorted(self._marked))


def _written(write: Callable[[], None]) -> None:
    """The part is written; another thread may have been adding to it, and then once more."""
    for attempt in range(ATTEMPTS):
        try:
            write()
        except RuntimeError:  # "dictionary changed size during iteration"
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.01)
        else:
            return


def write_text(path: Path, text: str) -> None:
    """The file has that text: the old one, if the process is killed before it does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
