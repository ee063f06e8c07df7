"""When rows were: a table's column of times as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from retrain.core.errors import Refused
from retrain.model.values import Numbers, is_missing, parse_numbers, plain_number

_OLDEST = 3e8  # seconds since 1970: of a smaller number nobody knows what it counts
_PER_SECOND = (1.0, 1e3, 1e6, 1e9)  # what clocks count in


def read_times(texts: Sequence[str], where: str) -> Numbers:
    """Seconds since 1970 of ISO times, which are UTC unless they say otherwise, or of counts of (milli)seconds since.

    NaN where the text is missing. Raises Refused("schema_mismatch", …) beginning with `where`, with the row, for any
    other text. Rows are counted from 2, as in a file with a header.

    >>> read_times(["2013-01-01T05:00", "2013-01-01T00:00-05:00", ""], "train.csv, when").tolist()
    [1357016400.0, 1357016400.0, nan]
    >>> read_times(["1357016400000"], "train.csv, when").tolist()
    [1357016400.0]
    """
    if not parse_numbers(texts)[1].any():  # whose own values are of the model's precision, which is two minutes
        return _counted(np.array([np.nan if is_missing(text) else plain_number(text) for text in texts]), where)
    found = np.full(len(texts), np.nan)
    for place, text in enumerate(texts):
        if is_missing(text):
            continue
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise Refused(
                "schema_mismatch",
                f"{where}, row {place + 2}: {text.strip()!r} is no time: ISO times such as 2026-11-23T14:00 are "
                "expected, or seconds since 1970",
            ) from None
        found[place] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return found


def _counted(values: Numbers, where: str) -> Numbers:
    known = values[np.isfinite(values)]
    if not len(known):
        return values
    usual = float(np.median(known))
    unit = next((unit for unit in reversed(_PER_SECOND) if usual >= _OLDEST * unit), None)
    if unit is None:
        raise Refused(
            "schema_mismatch",
            f"{where}: numbers such as {known[0]:g} are no times: ISO times such as 2026-11-23T14:00 are expected, or "
            "seconds since 1970",
        )
    return np.asarray(values / unit)
