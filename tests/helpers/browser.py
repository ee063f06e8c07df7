"""A headless Chromium, driven over its debugging pipe: what a person sees, clicks and types."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60.0  # seconds for a page; the machine may be busy
_FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
# Chromium reads its debugging pipe from 3, and writes to 4.
_LAUNCH = """
import os, sys
for fd, place in zip(map(int, sys.argv[1:3]), (3, 4)):
    os.dup2(fd, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
_KEYS = {"Tab": 9, "Enter": 13}


class Browser:
    """One tab. Chromium ends with the context."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM
        (read, ours_out), (ours_in, write) = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (read, write)]  # out of the way of 3 and 4
        command = [sys.executable, "-c", _LAUNCH, *map(str, theirs), CHROMIUM, *_FLAGS.split()]
        command += [f"--user-data-dir={folder}", "about:blank"]
        self._program = subprocess.Popen(command, pass_fds=theirs, stderr=subprocess.DEVNULL)
        for fd in (read, write, *theirs):
            os.close(fd)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self._number, self._session, self._waiting = 0, "", b""
        tab = next(item for item in self.call("Target.getTargets")["targetInfos"] if item["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)["sessionId"]
        self.call("Page.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.terminate()
        self._program.wait(10)
        self._out.close()
        self._in.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What Chromium answers to a method of its DevTools protocol."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params}
        self._out.write(json.dumps(asked | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while True:
            said = json.loads(self._message())
            if said.get("id") == self._number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return dict(said["result"])

    def _message(self) -> bytes:
        while b"\0" not in self._waiting:
            more = os.read(self._in.fileno(), 1 << 16)
            assert more, "Chromium has ended"
            self._waiting += more
        message, _, self._waiting = self._waiting.partition(b"\0")
        return message

    def ask(self, script: str) -> Any:
        """The value of the expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def goto(self, address: str, title: str) -> None:
        self.call("Page.navigate", url=address)
        self.see(title)

    def see(self, title: str) -> None:
        """The page of that title is there, wholly."""
        deadline = time.monotonic() + PATIENCE
        found = None
        while time.monotonic() < deadline:
            try:
                found = self.ask("document.readyState === 'complete' && document.title")
            except RuntimeError:  # between two pages
                found = None
            if found == title:
                return
            time.sleep(0.05)
        raise AssertionError(f"waited for {title!r}, and saw {found!r}")

    def click(self, selector: str, times: int = 1) -> None:
        """The mouse clicks in the middle of what the selector finds, so many times without a pause."""
        box = self.ask(f"JSON.stringify(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")
        place = json.loads(box)
        middle = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2, "button": "left"}
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, clickCount=count, **middle)

    def press(self, key: str) -> None:
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def back(self) -> None:
        history = self.call("Page.getNavigationHistory")
        self.call("Page.navigateToHistoryEntry", entryId=history["entries"][history["currentIndex"] - 1]["id"])

    def as_phone(self) -> None:
        """The window is as wide as a small phone's."""
        self.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True)
