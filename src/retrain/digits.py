"""Decimal texts as numbers, many at once: the same floats that `float` gives, several times as fast.

A text of at most 24 characters, digits with at most one point and perhaps a minus, is a whole number M < 2**64 divided
by a power of ten that is exact as a float (at most 10**22). Digits are added up eight at a time (SWAR: Lemire,
"Quickly parsing eight digits", 2018). If M < 2**53, one division is correctly rounded (Clinger 1990); else the rest of
the division is added (Dekker 1971), and where that comes too close to the middle of two floats, nothing is promised.
What is not promised is left to the caller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Index = NDArray[np.intp]
Numbers = NDArray[np.float64]
Words = NDArray[np.uint64]

REACH = 24  # bytes that must be readable before a text's end and after its start
_ZEROS = np.uint64(0x3030303030303030)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_SIX = np.uint64(0x0606060606060606)
_POINT = ord(".") ^ ord("0")
# By the number of characters that count: what of a word of eight is kept, and the zeros before it.
_KEEP = np.array([(2**64 - 1) ^ (2 ** (64 - 8 * count) - 1) for count in range(9)], dtype=np.uint64)
_FILL = _ZEROS & ~_KEEP
# By the point's distance from the end of its word, 1 to 8: what makes it a zero. Else nothing.
_ERASE = np.array([0, *(_POINT << 8 * (8 - distance) for distance in range(1, 9)), 0], dtype=np.uint64)
_TEN = np.array([10**power % 2**64 for power in range(REACH + 1)], dtype=np.uint64)
_TENF = np.array([float(10**power) for power in range(REACH + 1)])
_EXACT = 22  # the largest power of ten that is a float


def words(buffer: bytes) -> NDArray[np.bytes_]:
    """Every eight bytes of the buffer, by their first one's place; `.view("<u8")` of a choice has them as numbers."""
    return np.ndarray((max(len(buffer) - 7, 0),), "S8", buffer, strides=(1,))


def parse(
    eights: NDArray[np.bytes_], first: Bytes, start: Index, end: Index, point: Index
) -> tuple[Numbers, NDArray[np.bool_]]:
    """The numbers that stand in [start, end), and for which of them this is what `float` gives.

    `eights` are the `words` of the text, `first` the bytes at `start`, `point` the places of the last point before each
    end, which may lie before the start. An empty text is NaN, and promised.
    """
    minus = first == ord("-")
    begin = start + minus
    size = end - begin
    after = end - point  # the point's distance from the end; 1 says that it is the last character
    after[after > size] = 0
    value, sure = _short(_at(eights, end - 8), size, after)
    long = np.flatnonzero(size > 8)
    if len(long):
        value[long], sure[long] = _long(eights, begin[long], end[long], size[long], after[long])
    np.negative(value, out=value, where=minus)
    blank = end == start
    value[blank] = np.nan
    sure |= blank
    return value, sure


def _short(word: Words, size: Index, after: Index) -> tuple[Numbers, NDArray[np.bool_]]:
    """Of at most eight characters."""
    count = np.minimum(size, 8)
    erased = np.minimum(after, 9)
    word = (word & _KEEP[count] | _FILL[count]) ^ _ERASE[erased]
    sure = _digits(word) & (size - (after > 0) > 0)
    value = _eight(word).astype(np.float64)
    scale = _TENF[np.maximum(erased - 1, 0)]
    whole = np.floor(value / (scale * 10))  # before the point; exact, as the rest is less than a tenth
    whole[after == 0] = 0
    return (value - whole * (9 * scale)) / scale, sure


def _long(
    eights: NDArray[np.bytes_], begin: Index, end: Index, size: Index, after: Index
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Of nine to 24 characters."""
    sure = size <= REACH
    digits: list[Words] = []
    for place in range(3):
        count = np.clip(size - 8 * place, 0, 8)
        distance = after - 8 * place
        distance[(distance < 0) | (distance > 8)] = 0
        word = (_at(eights, end - 8 * (place + 1)) & _KEEP[count] | _FILL[count]) ^ _ERASE[distance]
        sure &= _digits(word)
        digits.append(_eight(word))
    behind = np.minimum(np.maximum(after - 1, 0), REACH)  # digits behind the point
    before = np.where(after > 0, size - after, 0)  # digits before it
    sure &= (before <= 8) & (behind <= _EXACT)
    shift = (64 - 8 * np.minimum(before, 8)).astype(np.uint64)
    whole = _eight(np.where(before > 0, _at(eights, begin) << (shift & np.uint64(63)), np.uint64(0)))
    scale = _TENF[behind]
    estimate = (digits[2] * 1e16 + digits[1] * 1e8 + digits[0]) - whole * (9 * scale)
    sure &= estimate < 1.8e19
    mantissa = digits[2] * _TEN[16] + digits[1] * _TEN[8] + digits[0] - np.uint64(9) * whole * _TEN[behind]  # mod 2**64
    value, certain = _divided(mantissa, scale)
    return value, sure & certain


def _divided(mantissa: Words, scale: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """mantissa / scale, and where it is certain to be correctly rounded. `scale` is an exact power of ten."""
    high = mantissa.astype(np.float64)
    low = (mantissa - high.astype(np.uint64)).view(np.int64).astype(np.float64)
    quotient = high / scale
    product = quotient * scale
    rest = (high - product) - _product_error(quotient, scale, product) + low
    more = rest / scale
    value = quotient + more
    error = more - (value - quotient)
    return value, value + error * 1.0001 == value


def _product_error(x: Numbers, y: Numbers, product: Numbers) -> Numbers:
    """x * y - product, exactly (Dekker 1971)."""
    split = x * 134217729.0
    x_high = split - (split - x)
    x_low = x - x_high
    split = y * 134217729.0
    y_high = split - (split - y)
    y_low = y - y_high
    return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _at(eights: NDArray[np.bytes_], place: Index) -> Words:
    found: Words = eights[place].view("<u8")
    return found


def _digits(word: Words) -> NDArray[np.bool_]:
    """Whether all eight characters are digits."""
    found: NDArray[np.bool_] = ((word & _HIGH) | (((word + _SIX) & _HIGH) >> np.uint64(4))) == np.uint64(
        0x3333333333333333
    )
    return found


def _eight(word: Words) -> Words:
    """The number that eight digits are, the first one in the lowest byte."""
    word = (word & _LOW) * np.uint64(2561) >> np.uint64(8)
    word = (word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601) >> np.uint64(16)
    return (word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> np.uint64(32)
