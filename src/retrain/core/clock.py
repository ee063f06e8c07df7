"""Time as it travels in events: ISO-8601 text outside, aware UTC datetimes inside. Nothing here reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime


def parse(text: str) -> datetime:
    """The moment that `text` names, in UTC; ValueError if it names none or has no time zone.

    CloudWatch writes `+0000`, EventBridge and Step Functions write `Z`.

    >>> parse("2013-03-01T05:00:00.318+0000")
    datetime.datetime(2013, 3, 1, 5, 0, 0, 318000, tzinfo=datetime.timezone.utc)
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def render(moment: datetime) -> str:
    """ISO-8601 in UTC with `Z`; milliseconds only if there are any.

    >>> render(parse("2013-03-01T00:00:00-05:00"))
    '2013-03-01T05:00:00Z'
    >>> render(parse("2013-03-01T05:00:00.318+0000"))
    '2013-03-01T05:00:00.318Z'
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    precision = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def millis(moment: datetime) -> int:
    """Milliseconds since 1970: alarms tell their time that precisely.

    >>> millis(parse("2013-03-01T05:00:00.318Z"))
    1362114000318
    """
    return round(moment.timestamp() * 1000)


def of_epoch(seconds: float) -> datetime:
    """The moment so many seconds after 1970.

    >>> render(of_epoch(1362114000))
    '2013-03-01T05:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC)


def epoch(moment: datetime) -> int:
    """Whole seconds since 1970, what the ledger compares.

    >>> epoch(parse("2013-03-01T05:00:00Z"))
    1362114000
    """
    return int(moment.timestamp())
