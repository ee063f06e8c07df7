"""Quarantine: what of the captures can't be used, counted by reason, and what was noticed about the rest.

Nothing of a bad line's content is kept, for it may be anybody's data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

UNREADABLE_ANSWER = "output_"  # what such notes begin with; the reason follows
MAX_EXTRA = 100  # names of columns that the model does not know
_LONGEST_NAME = 200  # characters of one; a longer one is cut and told apart by a hash
_KEPT = 100  # bad lines of which source and number are kept; all are counted


class UnreadableError(Exception):
    """A line that can't be used: a reason code, and a sentence without the line's content."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class BadLine:
    """Where a line is that can't be used, and why; never what it holds."""

    source: str
    line: int  # 1 is the first
    reason: str
    detail: str


@dataclass(slots=True)
class Quarantine:
    """What was read and what was not: `lines` counts every line that is not blank, `reasons` the bad ones by reason.

    `notes` counts, of captures in the window, what was noticed and did their rows no harm. `missing_columns` and
    `extra_columns` count, by name, the rows that name their values and lack a column of the model, or have one that it
    does not know; `extra_rows` are all that have such a one. Of names that the model does not know, those MAX_EXTRA
    whose hash is smallest are kept, in whatever order they come, and their counts are exact; `extra_others` counts the
    others' values.
    """

    lines: int = 0
    outside_window: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    missing_columns: Counter[str] = field(default_factory=Counter)
    extra_columns: Counter[str] = field(default_factory=Counter)
    extra_rows: int = 0
    extra_others: int = 0
    examples: list[BadLine] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """Number of lines in quarantine."""
        return self.reasons.total()

    @property
    def bad_share(self) -> float:
        """Share of the lines that are in quarantine, 0 if nothing was read."""
        return self.bad / self.lines if self.lines else 0.0

    @property
    def unreadable_answers(self) -> int:
        """Number of captures whose answer can't be read, though what was asked can."""
        return sum(count for note, count in self.notes.items() if note.startswith(UNREADABLE_ANSWER))

    def add(self, source: str, line: int, reason: str, detail: str) -> None:
        """The line is in quarantine."""
        self.reasons[reason] += 1
        if len(self.examples) < _KEPT:
            self.examples.append(BadLine(source, line, reason, detail))

    def add_extra(self, names: Iterable[str], rows: int) -> None:
        """So many rows have columns of those names, which the model does not know."""
        self.extra_rows += rows
        for name in names:
            readable = name.encode("utf-8", "replace").decode()  # it may hold half a surrogate pair
            if len(readable) > _LONGEST_NAME:
                readable = f"{readable[: _LONGEST_NAME - 17]}~{_name_hash(readable).hex()[:16]}"
            self.extra_columns[readable] += rows
        self.extra_others += _drop_names(self.extra_columns)


def merge_quarantines(one: Quarantine, other: Quarantine) -> Quarantine:
    """What was read and what was not, of both; the examples that are first by source and line are kept."""
    extra_columns = one.extra_columns + other.extra_columns
    dropped = _drop_names(extra_columns)
    return Quarantine(
        one.lines + other.lines,
        one.outside_window + other.outside_window,
        one.reasons + other.reasons,
        one.notes + other.notes,
        one.missing_columns + other.missing_columns,
        extra_columns,
        one.extra_rows + other.extra_rows,
        one.extra_others + other.extra_others + dropped,
        sorted([*one.examples, *other.examples], key=lambda bad: (bad.source, bad.line))[:_KEPT],
    )


def _drop_names(counts: Counter[str]) -> int:
    """The names beyond MAX_EXTRA, those of the largest hash, are gone; how many values they had."""
    if len(counts) <= MAX_EXTRA:
        return 0
    return sum(counts.pop(name) for name in sorted(counts, key=_name_hash)[MAX_EXTRA:])


@lru_cache(maxsize=1024)
def _name_hash(name: str) -> bytes:
    return sha256(name.encode()).digest()
