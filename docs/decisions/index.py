"""Writes README.md beside it, the index of decisions, from the decisions themselves: `make decisions`.

A decision is a file `NNNN-what-is-decided.md`: a title, a line with date and state (accepted, or superseded by NNNN, in
part or as a whole), and a page. One that no longer holds is not rewritten: a new one says so, and its state names that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
_TITLE = re.compile(r"# (?:\d+[.:]? )?(.+)\n(?:\n(.*)\n)?")


def index(folder: Path = FOLDER) -> str:
    """The text of the index. Raises ValueError naming a decision without a title."""
    return "\n".join(_lines(folder)) + "\n"


def _lines(folder: Path) -> Iterator[str]:
    files = sorted(folder.glob("[0-9]*.md"))
    yield "# Decisions\n"
    yield "Written by `make decisions`. Each has its context, the choice, what else there was, and how to undo it."
    yield "Figures in a decision are of its day; today's are in docs/benchmarks, with their command.\n"
    yield "| | decision | date | state |\n| --- | --- | --- | --- |"
    for file in files:
        text = file.read_text(encoding="utf-8")
        if not (said := _TITLE.match(text)):
            raise ValueError(f"{file.name} does not begin with `# {file.name[:4]} TITLE`")
        line = said[2] or ""
        date, state = re.search(r"\d{4}-\d\d-\d\d", line), re.search(r"(?:in part )?superseded by \d{4}", line)
        title = said[1][:1].upper() + said[1][1:]
        day, stands = date[0] if date else "", state[0] if state else "accepted"
        yield f"| {file.name[:4]} | [{title}]({file.name}) | {day} | {stands} |"
    numbers = {int(file.name[:4]) for file in files}
    if missing := [number for number in range(1, max(numbers)) if number not in numbers]:
        yield f"\nNo decision has the number {', '.join(_runs(missing))}."
        yield "Whoever works on several at once takes numbers ahead, and not every one of them is needed."


def _runs(numbers: list[int]) -> Iterator[str]:
    """The numbers, those that follow each other as first to last."""
    first = None
    for number, following in zip(numbers, [*numbers[1:], 0], strict=True):
        first = first or number
        if following != number + 1:
            yield f"{first:04}" if first == number else f"{first:04} to {number:04}"
            first = None


def main() -> int:
    """The index is written; with --check it is left alone, and the answer is 1 where it would have changed."""
    readme, text = FOLDER / "README.md", index()
    if "--check" in sys.argv[1:]:
        if readme.read_text(encoding="utf-8") == text:
            return 0
        print("docs/decisions/README.md is not what the decisions say: run `make decisions`", file=sys.stderr)
        return 1
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
