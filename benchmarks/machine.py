"""What a benchmark ran on, and how much memory it took."""

from __future__ import annotations

import math
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path


def described(*packages: str) -> str:
    """Processor, cores that this process may use, and the versions of Python and those packages."""
    versions = (f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages))
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores; {', '.join(versions)}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")


def peak() -> float:
    """Megabytes that this process had in memory at most. (What the kernel tells a parent may be the parent's own.)"""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024  # type: ignore[index]
