"""How likely a gate promotes a challenger that is truly better, or worse, by so much, with so many rows held out.

The measured gain is taken as normal about the true one (Cohen 1988, chapter 1). Insurance promotes where it is above
zero, so luck promotes too; proof where it exceeds the margin by half its interval, so most of what is better stays
away. Other rules can only take promotions away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import ndtr, ndtri, stdtrit

from retrain.core.errors import Refused
from retrain.gate.rules import shortfall
from retrain.model.spec import POLICIES, GateOptions

GAINS = (0.01, 0.03, 0.10)  # true gains, as shares of the champion's shortfall


@dataclass(frozen=True)
class Precision:
    """How finely a holdout tells: half the interval of the gain, a share of the champion's shortfall, on so many rows.

    `spans` and `confidence` are those of the interval.
    """

    rows: int
    half_width: float
    spans: int = GateOptions.spans
    confidence: float = GateOptions.confidence

    @property
    def error(self) -> float:
        """The standard error of the gain that the interval was made of, a share too."""
        tail = (1.0 + self.confidence) / 2.0
        return self.half_width / float(stdtrit(self.spans - 1, tail) if self.spans > 1 else ndtri(tail))

    def with_rows(self, rows: int) -> Precision:
        """What another number of such rows would tell: an interval narrows with their root."""
        return replace(self, rows=rows, half_width=self.half_width * math.sqrt(self.rows / rows))


# Of flights whose days are in random order, where a challenger has seen a window more than the champion: `make
# bench-gate` prints it. A day's flights are alike; of flights one by one in random order it is a third of that.
USUAL = Precision(rows=800, half_width=0.15)


def power(gain: float, holdout: Precision, options: GateOptions) -> float:
    """The chance that the policy of those options promotes a challenger truly better by `gain` of the shortfall.

    >>> fine = Precision(rows=1000, half_width=0.05, spans=1)
    >>> [round(power(gain, fine, GateOptions(policy="proof")), 2) for gain in (0.0, 0.03, 0.10)]
    [0.01, 0.12, 0.94]
    >>> [round(power(gain, fine, GateOptions()), 2) for gain in (-0.03, 0.0, 0.03)]
    [0.12, 0.5, 0.88]
    """
    needed = options.margin + holdout.half_width if options.policy == "proof" else 0.0
    return float(ndtr((gain - needed) / holdout.error)) if holdout.error > 0 else float(gain > needed)


def read_precision(document: Any) -> Precision:
    """That of an evaluation.json. Raises `Refused("schema_mismatch", …)` for one without an interval."""
    try:
        gate = document["gate"]
        low, high = map(float, gate["interval"])
        short = shortfall(gate["direction"], float(gate["champion"]))
        found = Precision(int(gate["rows"]["holdout"]), (high - low) / 2 / short, gate["spans"], gate["confidence"])
    except (TypeError, KeyError, ValueError, ZeroDivisionError) as error:
        raise Refused("schema_mismatch", f"no evaluation of a challenger and a champion: {error!r}") from error
    if not found.half_width > 0:
        raise Refused("schema_mismatch", f"the gain's interval has no width: {gate['interval']}")
    return found


def power_table(holdout: Precision, options: GateOptions, rows: Sequence[int]) -> Iterator[str]:
    """Of a hundred challengers how many either policy promotes, by their true gain and the rows held out: Markdown."""
    gains = [*(-gain for gain in reversed(GAINS)), 0.0, *GAINS]
    yield f"| holdout rows | interval | policy | {' | '.join(f'{gain:+.0%}' if gain else '0' for gain in gains)} |"
    yield "| --- " * (3 + len(gains)) + "|"
    for count in rows:
        seen = holdout.with_rows(count)
        for policy in POLICIES:
            chances = (power(gain, seen, replace(options, policy=policy)) for gain in gains)
            cells = " | ".join(f"{100 * chance:.0f}" for chance in chances)
            yield f"| {count:,} | ± {seen.half_width:.1%} | {policy} | {cells} |"
