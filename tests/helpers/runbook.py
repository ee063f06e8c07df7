"""docs/runbook.md as tests read it: the sections by what they are called by, and the commands of each."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "runbook.md"
_LOOKING = {"status", "doctor", "episodes", "show", "trace", "ls", "logs"}
Command = tuple[str, ...]


@cache
def sections() -> dict[str, list[Command]]:
    """Alarms and the words that ends are called by, with the commands of their sections; "" is what comes before."""
    found: dict[str, list[Command]] = {}
    for text in RUNBOOK.read_text().split("\n### "):
        heading, _, body = text.partition("\n")
        commands = [
            tuple(shlex.split(line))
            for block in re.findall(r"```sh\n(.*?)```", body, re.S)
            for line in block.splitlines()
        ]
        for name in re.findall(r"`(\w+)`", heading) if found else [""]:
            assert name not in found, f"two sections for {name}"
            found[name] = commands
    return found


def looks(command: Command) -> bool:
    """Whether it changes nothing."""
    words = command[3:4] if command[0] == "python" else command[1:3]
    return any(word in _LOOKING or re.match("describe-|list-|receive-|lookup-", word) for word in words)


def prescribed(section: str, word: str) -> Command:
    """The one command of the section that is called so, without `python -m retrain`."""
    [command] = [command for command in sections()[section] if command[:3] == RETRAIN and command[3] == word]
    return command[3:]


RETRAIN = ("python", "-m", "retrain")


def look_up(section: str, stack: Any, **names: str) -> None:
    """Whoever is in the state that the section describes may give each of its commands that look: none fails.

    `names` are what its words in capitals stand for.
    """
    commands = [command for command in sections()[section] if looks(command)]
    assert commands, section
    for command in commands:
        carry_out(command, stack, **names)


def carry_out(command: Command, stack: Any, **names: str) -> str:
    """What the command says, against the stack's AWS; it may have found something that needs a person."""
    programs = {
        "python": [sys.executable],
        "aws": [str(Path(sys.executable).parent / "aws"), "--endpoint-url", stack.aws.url],
        "sam": [sys.executable, "-m", "samcli"],
    }
    words = [filled(word, names).replace("drift-retrain", stack.name) for word in command[1:]]
    if command[0] == "python":
        words += ["--stack", stack.name]
    done = subprocess.run(
        [*programs[command[0]], *words],
        env={**stack.aws.env, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in ({0, 1} if command[0] == "python" else {0}), (command, done.stdout, done.stderr)
    return done.stdout


def filled(word: str, names: dict[str, str]) -> str:
    """The word with the names in the place of what is in capitals."""
    for name, value in names.items():
        word = re.sub(rf"\b{name}\b", value, word)
    return word
