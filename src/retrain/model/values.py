"""Values: how a text is read, once it is known of which kind its column is; whoever reads values, reads them here.

Training data, captures, baselines and what `init` proposes from a table agree because of that; the endpoint, whose
program stands alone, has the same rules (`retrain.model.serving`), which tests hold against these.

What stands for a missing value is the same for every kind of column: pandas' list. A number is compared in float32,
the precision in which XGBoost computes: 0.1 and 0.10000000149011612 are one value to the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

HIGHEST = float(np.finfo(np.float32).max)
# What pandas.read_csv takes for a missing value (io.parsers.readers, na_values); of "nan", any letters may be large.
MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
FLAGS: Mapping[str, float] = MappingProxyType(  # words of a boolean, in small letters; and the numbers 1 and 0
    {
        **dict.fromkeys(("true", "t", "yes", "y", "on"), 1.0),
        **dict.fromkeys(("false", "f", "no", "n", "off"), 0.0),
    }
)
_WORDS: Mapping[str, float] = MappingProxyType({"true": 1.0, "false": 0.0})  # JSON's, in a column of numbers
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_NAN = float("nan")


def is_missing(text: str) -> bool:
    """Whether the text, blanks around it aside, stands for a value that is not there.

    >>> is_missing(" <NA>"), is_missing("none"), is_missing("0")
    (True, False, False)
    """
    text = text.strip()
    return text in MISSING or text.lower() == "nan"


def parse_number(text: str) -> float | None:
    """The number, NaN if it is missing, None if the text is neither a number nor missing nor within float32's range.

    JSON's `true` and `false` are 1 and 0, in any letters. 1_0 is a number in Python's source only.

    >>> parse_number("1e3"), parse_number("N/A"), parse_number("True"), parse_number("inf")
    (1000.0, nan, 1.0, None)
    """
    text = text.strip()
    if is_missing(text):
        return _NAN
    word = _WORDS.get(text.lower())
    if word is not None:
        return word
    try:
        value = plain_number(text)
    except ValueError:
        return None
    return value if abs(value) <= HIGHEST else None


def plain_number(text: str) -> float:
    """The number. Raises ValueError for 1_0 too."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def parse_numbers(texts: Sequence[str]) -> tuple[Numbers, NDArray[np.bool_]]:
    """The texts as numbers (n,), and which of them are neither numbers nor missing (n,); the number of those is NaN."""
    try:  # nearly always enough, and several times as fast
        values = np.array([float(text) if text else _NAN for text in texts])
        empty = sum(not text for text in texts)
        plain = np.count_nonzero(np.isnan(values)) == empty  # or some text spells NaN: see below
        if plain and not np.any(np.abs(values) > HIGHEST) and "_" not in "".join(texts):
            return values, np.zeros(len(texts), dtype=bool)
    except ValueError:
        pass
    parsed = [parse_number(text) for text in texts]
    return np.array([_NAN if value is None else value for value in parsed]), np.array(
        [value is None for value in parsed], dtype=bool
    )


def parse_flag(text: str) -> float | None:
    """1 or 0, NaN if it is missing, None if the text is no boolean. Numbers count by their value.

    >>> parse_flag("Yes"), parse_flag("0.000"), parse_flag("2"), parse_flag("NULL")
    (1.0, 0.0, None, nan)
    """
    text = text.strip()
    if is_missing(text):
        return _NAN
    flag = FLAGS.get(text.lower())
    if flag is not None:
        return flag
    try:
        value = plain_number(text)
    except ValueError:
        return None
    return value if value in {0.0, 1.0} else None


def parse_flags(texts: Sequence[str]) -> tuple[Numbers, NDArray[np.bool_]]:
    """The texts as booleans (1, 0, NaN for a missing one), and which are neither booleans nor missing (NaN, too).

    >>> parse_flags(["True", "no", "", "maybe"])[0].tolist()
    [1.0, 0.0, nan, nan]
    """
    known = {text: parse_flag(text) for text in set(texts)}
    values = [known[text] for text in texts]
    return np.array([_NAN if value is None else value for value in values]), np.array(
        [value is None for value in values], dtype=bool
    )


def flag_name(text: str) -> str:
    """`true`, `false`, nothing for a missing value, or the text itself if it is no boolean.

    >>> flag_name("Yes"), flag_name("0"), flag_name("maybe")
    ('true', 'false', 'maybe')
    """
    flag = parse_flag(text)
    if flag is None:
        return category_name(text)
    return "" if flag != flag else "true" if flag else "false"  # noqa: PLR0124  (NaN)


def category_name(text: str) -> str:
    """The one spelling of a category, "" for a missing one.

    Blanks around it are gone, and so is the fraction of a whole number, which JSON and pandas write behind a code that
    they take for a number. Zeros before a code belong to it.

    >>> category_name(" web "), category_name("7.000"), category_name("007"), category_name("N/A")
    ('web', '7', '007', '')
    """
    text = text.strip()
    if is_missing(text):
        return ""
    if text.endswith("0") and (whole := _WHOLE.fullmatch(text)):
        return "0" if whole[1] == "-0" else whole[1]
    return text


def in_precision(values: Numbers) -> Numbers:
    """The values as the model has them, rounded to float32."""
    return values.astype(np.float32).astype(np.float64)


def spelled(values: NDArray[np.floating]) -> list[float]:
    """The shortest decimals that are those values in float32.

    >>> spelled(np.array([0.1, 0.10000000149011612, 3.0]))
    [0.1, 0.1, 3.0]
    """
    found: list[float] = values.astype(np.float32).astype("U").astype(np.float64).tolist()
    return found
