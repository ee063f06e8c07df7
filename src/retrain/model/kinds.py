"""Kinds: what a column is, told from its values; the same for `init`, for `baseline` and for the verdict.

A column is boolean if its values spell both true and false, else numeric if nine of ten are numbers, else categorical.
Whole numbers of which some begin with a zero (02139) are no numbers but codes: categorical.

Two sorts of columns are no evidence of drift, because later rows have other values by their nature, and are reported
without being judged. An **identifier** is a column of texts that come, on average, fewer than five times each, of more
than twenty; or of whole numbers of which none comes twice, if they grow from row to row or the name says id. A **time**
is a column of which 95 % of the texts are dates or times, or whose numbers are whole and all of them seconds, milli-,
micro- or nanoseconds since 1970 of the years 2000 to 2100, or days or months of those years (20261122, 202611).
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from operator import ne
from typing import TYPE_CHECKING

import numpy as np

from retrain.model.values import category_name, is_missing, parse_flag, parse_numbers

if TYPE_CHECKING:
    from retrain.model.tables_on_disk import TableFile

IDENTIFIER, TIME = "identifier", "time"
MOST_LEVELS = 1000  # different texts of a column that are counted
LEAST_PER_LEVEL = 5  # values for each category, on average; with fewer they are identifiers
FEW_LEVELS = 20  # so many texts are never identifiers
MOSTLY_NUMBERS = 0.9
MOSTLY_TIMES = 0.95
_SAMPLE = 10_000  # texts that are told apart; of more, their number is estimated within a few hundredths
_LOOK = 2000  # values after which it is known that a column holds no numbers
_CELLS = 100_000  # values that are held at a time
_SINCE, _UNTIL = 946_684_800, 4_102_444_800  # the years 2000 to 2100, in seconds since 1970
_YEAR, _MONTH = r"(?:1[89]|20|21)\d\d", r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = re.compile(  # as people write them, and a time behind it
    rf"(?i:{_YEAR}[-/.]\d\d?(?:[-/.]\d\d?)?|\d\d?[-/.]\d\d?[-/.]{_YEAR}|\d\d?/\d\d?/\d\d|\d\d?[-/]{_YEAR}"
    rf"|(?:\d\d?[ -])?{_MONTH}[ -](?:\d\d?,? )?{_YEAR})(?:[T ,]+\d\d?:\d\d.*)?"
)
_PADDED = re.compile(r"0\d+")
_DIGITS = re.compile(r"20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])?")
_ID = re.compile(r"(?i:(?:^|[^a-z])(?:id|key|number|nr|no|code|index|pk)$)|[a-z](?:Id|ID|Key|No|Nr|Number)$")


def is_time(text: str) -> bool:
    """Whether the text is a time in ISO form; digits alone are none.

    >>> is_time("2026-11-22T14:00:00Z"), is_time("20261122")
    (True, False)
    """
    if len(text) < 8 or text.isdigit():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_date(text: str) -> bool:
    """Whether the text is a date or a time, as people write them.

    >>> is_date("3 Nov 2026"), is_date("11/22/2026 14:05"), is_date("22")
    (True, True, False)
    """
    return is_time(text) or bool(_DATE.fullmatch(text))


def nature_of_texts(distinct: float, present: float, counts: Mapping[str, int]) -> str | None:
    """IDENTIFIER or TIME for texts of which no later one is evidence of drift, None for others.

    `present` values have `distinct` texts; `counts` are those that were counted, and how often each is there.
    """
    counted = sum(counts.values())
    if counted and sum(count for text, count in counts.items() if is_date(text)) >= MOSTLY_TIMES * counted:
        return TIME
    return IDENTIFIER if too_many(distinct, present) else None


def too_many(distinct: float, present: float) -> bool:
    """Whether so many different texts in so many values are identifiers.

    >>> too_many(300, 300), too_many(2_001, 200_000), too_many(20, 20)
    (True, False, False)
    """
    return distinct > FEW_LEVELS and distinct * LEAST_PER_LEVEL > present


def nature_of_numbers(low: float, high: float, whole: bool) -> str | None:
    """TIME for numbers that are all moments since 1970, or written days or months; None for others.

    >>> nature_of_numbers(1.7e9, 1.8e9, True), nature_of_numbers(1.7e12, 1.8e12, True), nature_of_numbers(0, 90, True)
    ('time', 'time', None)
    >>> nature_of_numbers(20260101, 20261231, True), nature_of_numbers(202511, 202602, True)
    ('time', 'time')
    >>> nature_of_numbers(20260000, 20261231, True), nature_of_numbers(202511, 202699, True)
    (None, None)
    """
    moments = any(_SINCE * unit <= low <= high < _UNTIL * unit for unit in (1, 10**3, 10**6, 10**9))
    return TIME if whole and (moments or (_is_written(low) and _is_written(high))) else None


def _is_written(number: float) -> bool:
    """Whether the whole number is a day or a month of the years 2000 to 2099, as digits."""
    return bool(_DIGITS.fullmatch(f"{number:.0f}"))


@dataclass
class Column:
    """What a column holds, as far as it was read. Texts are counted until they are too many to be categories."""

    name: str
    rows: int = 0
    missing: int = 0
    numbers: int = 0
    whole: bool = True
    padded: bool = False  # a whole number begins with a zero, as codes do
    low: float = float("inf")
    high: float = float("-inf")
    last: float = float("-inf")
    falls: bool = False  # somewhere, from one row to the next
    distinct: set[float] | None = field(default_factory=set)  # whole numbers, as long as none comes twice
    odd: tuple[int, str] | None = None  # row (the header is row 1) and text of the first value that is no number
    texts: Counter[str] | None = field(default_factory=Counter)
    runs: int = 0  # of the same text, one after the other, as long as texts are counted
    text: str = ""  # the last one seen
    times: int = 0  # in ISO form
    dates: int = 0  # in any
    hashes: set[int] = field(default_factory=set)  # of texts, those that are multiples of `step`
    step: int = 1
    months: Counter[str] = field(default_factory=Counter)  # yyyy-mm of times in ISO form, if the column has such
    latest: int = 0  # the row in which a text was seen for the first time, as long as texts are counted

    def read(self, values: Sequence[str]) -> None:
        """More values, in the order of the rows."""
        stripped = ["" if is_missing(value) else value.strip() for value in values]
        empty = stripped.count("")
        if self.numbers or self.rows < _LOOK or not self.present:
            self._count_numbers(stripped, empty)
        if self.rows < _LOOK:
            times = [is_time(text) for text in stripped]
            self.times += sum(times)
            self.dates += sum(time or is_date(text) for time, text in zip(times, stripped, strict=True))
        self._count_distinct(set(stripped))
        if self.times > MOSTLY_TIMES * min(self.rows + len(values), _LOOK) - self.missing - empty:
            self.months.update(text[:7] for text in stripped if text)
        if self.texts is not None:
            if set(stripped) - self.texts.keys():
                known = set(self.texts)
                for place, text in enumerate(stripped):
                    if text and text not in known:
                        known.add(text)
                        self.latest = self.rows + place + 1
            self.texts.update(stripped)
            if present := [text for text in stripped if text]:
                self.runs += sum(map(ne, present, chain([self.text], present)))
                self.text = present[-1]
            if len(self.texts) > MOST_LEVELS + 1:
                self.texts = None
        self.rows += len(values)
        self.missing += empty

    @property
    def present(self) -> int:
        """Values that are there."""
        return self.rows - self.missing

    @property
    def numeric(self) -> bool:
        """Whether every value is a number, and none a code such as 02139."""
        return 0 < self.numbers == self.present and not (self.padded and self.whole)

    @property
    def unique(self) -> bool:
        """Whether every row has a whole number of its own."""
        return self.numeric and not self.missing and self.distinct is not None

    @property
    def levels(self) -> dict[str, int] | None:
        """How often each text occurs, in falling order, None if they are too many."""
        if self.texts is None:
            return None
        return {text: count for text, count in self.texts.most_common() if text}

    @property
    def kind(self) -> str:
        """`boolean`, `numeric` or `categorical`."""
        if self.levels and {parse_flag(level) for level in self.levels} == {0.0, 1.0}:
            return "boolean"
        if self.padded and self.whole and self.numbers == self.present:
            return "categorical"
        return "numeric" if self.numbers > MOSTLY_NUMBERS * self.present or not self.present else "categorical"

    @property
    def nature(self) -> str | None:
        """IDENTIFIER, TIME, or None for what may be judged."""
        if self.kind == "boolean" or not self.present:
            return None
        if self.kind == "numeric":
            if self.unique and self.rows > FEW_LEVELS and (not self.falls or _ID.search(self.name)):
                return IDENTIFIER
            return nature_of_numbers(self.low, self.high, self.whole and self.numeric)
        if self.dates >= MOSTLY_TIMES * min(self.present, _LOOK):
            return TIME
        return IDENTIFIER if too_many(len(self.hashes) * self.step, self.present) else None

    def _count_distinct(self, texts: set[str]) -> None:
        """Adaptive sampling (Flajolet 1990): of ever more texts, those whose hash is a multiple of a power of two."""
        hashes = (zlib.crc32(category_name(text).encode("utf-8", "surrogatepass")) for text in texts if text)
        self.hashes.update(found for found in hashes if found % self.step == 0)
        while len(self.hashes) > _SAMPLE:
            self.step *= 2
            self.hashes = {found for found in self.hashes if found % self.step == 0}

    def _count_numbers(self, texts: Sequence[str], empty: int) -> None:
        values, bad = parse_numbers(texts)
        self.numbers += len(texts) - empty - int(bad.sum())
        if bad.any() and self.odd is None:
            place = int(np.argmax(bad))
            self.odd = (self.rows + place + 2, texts[place])
        known = values[~np.isnan(values)]
        if len(known):
            self.falls = self.falls or bool(known[0] < self.last) or bool(np.any(np.diff(known) < 0))
            self.last = float(known[-1])
            self.whole = self.whole and bool(np.all(known == np.floor(known)))
            self.padded = self.padded or (self.whole and any(map(_PADDED.fullmatch, texts)))
            if self.distinct is not None:
                self.distinct.update(known.tolist())
                if not self.whole or len(self.distinct) < self.numbers:
                    self.distinct = None
            self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))


def look(table: TableFile, names: Sequence[str], advance: Callable[[int], None]) -> dict[str, Column]:
    """What the table's columns of those names hold, in one pass; memory of a few columns' categories."""
    columns = {name: Column(name) for name in names}
    rows = table.rows(list(columns), advance)
    while block := list(islice(rows, max(_CELLS // len(columns), 1))):
        for column, values in zip(columns.values(), zip(*block, strict=True), strict=True):
            column.read(values)
    return columns
