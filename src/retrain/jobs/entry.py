"""How a Processing job starts and ends: arguments in, exit code and a message out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from retrain.capture import gz
from retrain.core.errors import InvalidSettings, InvalidSpec, NoBaseline, Refused

_CHUNK = 1 << 20
_MESSAGE_LIMIT = 1000  # bytes; SageMaker keeps the first kilobyte of /opt/ml/output/message as ExitMessage


def arguments(description: str, folders: tuple[str, ...], texts: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """A parser with those required options; folders are paths. `--message` is where the last word goes."""
    parser = argparse.ArgumentParser(description=description)
    for name in (*folders, "message"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in texts:
        parser.add_argument(f"--{name}", required=True)
    return parser


def run(job: Callable[[argparse.Namespace], str], options: argparse.Namespace) -> int:
    """Exit code of the job; the message file holds its sentence, or `code: detail` of what it refused."""
    try:
        message, code = job(options), 0
    except Refused as refusal:
        message, code = str(refusal), 1
    except (InvalidSpec, InvalidSettings, NoBaseline) as error:
        message, code = f"{type(error).__name__}: {error}", 1
    print(message, file=sys.stderr if code else sys.stdout)
    options.message.parent.mkdir(parents=True, exist_ok=True)
    options.message.write_text(message.encode()[:_MESSAGE_LIMIT].decode(errors="ignore"), encoding="utf-8")
    return code


def flag(text: str) -> bool:
    """A pipeline parameter's `true` or `false`."""
    if text not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def files(folder: Path) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Every file below the folder that holds JSON lines, by name, with its lines."""
    for path in sorted(folder.rglob("*.jsonl*")):
        yield path.relative_to(folder).as_posix(), gz.lines(_chunks(path))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
