"""Random tables through baseline and monitor, held against scipy and pandas: `make fuzz`.

Each table has columns of numbers (smooth, tied, few values, heavy tails, constant, apart by less than float32 tells),
of texts (few and many, in any script), of flags, of codes that begin with a zero, of days and months written as
numbers, with gaps in every spelling that pandas knows and numbers in several. pandas reads the same text, scipy
computes the distances between what pandas read, rounded to float32. What is published has to be within the stated
error, and nothing that was not compared may have a number or a verdict.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas
from scipy import stats
from scipy.spatial.distance import jensenshannon

from benchmarks.machine import described
from retrain.drift.analysis import Analysis, analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.profile import K
from retrain.drift.verdict import FeatureDrift, Verdict
from retrain.model.kinds import TIME, look
from retrain.model.monitor_options import MonitorOptions
from retrain.model.tables_on_disk import TableFile, silent
from retrain.model.values import MISSING

KS_ERROR = 0.004  # of the statistic, where the baseline has more values than its sketch holds
WASSERSTEIN_ERROR = 0.002  # of the range that both span
EXACT = 1e-9
MIN_ROWS = 20
WINDOW = datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)
_GAPS = sorted(MISSING)
SORTS = {
    "number": "numeric",
    "text": "categorical",
    "flag": "boolean",
    "code": "categorical",
    "day": "numeric",
    "month": "numeric",
}
_OFTEN = ["number", "number", "number", "text", "text", "flag", "code", "day", "month"]
_SCRIPTS = ("abc", "äöüß", "日本語", "عرب", "🙂🙃", 'say "no"', "a,b", "new\nline")
Random = np.random.Generator


@dataclass
class Found:
    """What the tables had: how many numbers were held against a reference, and the largest error of each."""

    tables: int = 0
    compared: int = 0
    aside: int = 0  # columns of days and months, which are not judged
    errors: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)

    def error(self, name: str, value: float) -> None:
        """One more number was compared."""
        self.compared += 1
        self.errors[name] = max(self.errors.get(name, 0.0), value)


def numbers(random: Random, count: int, shape: int, shift: float) -> np.ndarray[Any, Any]:
    """That many numbers of one of several shapes, from thousandths to ten thousands."""
    scale = 10.0 ** (shape // 7 % 8 - 3)
    shapes = (
        lambda: random.normal(shift, 1, count),
        lambda: random.integers(0, 9, count) + round(shift),
        lambda: random.choice([9.99, 19.99, 29.99, 99.99], count) + 0.3 * round(2 * shift),
        lambda: random.standard_t(2, count) + shift,
        lambda: np.full(count, 0.1),
        lambda: 1 + random.integers(0, 3, count) * 2.0**-25,
        lambda: random.exponential(1 + abs(shift), count),
    )
    return np.asarray(shapes[shape % len(shapes)]() * (scale if shape % len(shapes) in {0, 3, 6} else 1.0))


def spell(random: Random, value: float) -> str:
    """The number in one of several spellings of the same float32."""
    return (repr(value), f"{value:.17g}", f"{value:.9e}", f" {value!r} ", repr(float(np.float32(value))))[
        random.integers(5)
    ]


def days(random: Random, count: int, form: str, shift: float) -> list[str]:
    """That many days of 2025, or of what comes after it, as numbers in one of several spellings."""
    begins = date(2025, 1, 1) + timedelta(days=round(365 * shift))
    found = [int(format(begins + timedelta(days=int(day)), form)) for day in random.integers(0, 365, count)]
    return [(str(day), f"{day}.0", f" {day} ", f"{day:.8e}")[random.integers(4)] for day in found]


def column(random: Random, count: int, sort: str, *, shape: int, shift: float, gaps: float) -> list[str]:
    """That many texts of a column of that sort."""
    if sort == "number":
        texts = [spell(random, float(value)) for value in numbers(random, count, shape, shift)]
    elif sort in {"day", "month"}:
        texts = days(random, count, "%Y%m%d" if sort == "day" else "%Y%m", shift)
    elif sort == "code":
        drawn = np.minimum(random.geometric(0.2 + 0.1 * np.tanh(abs(shift)), count), (2, 5, 30)[shape % 3])
        texts = [f"{code:0{2 + shape % 4}}" for code in drawn]  # 007 and 07 are different codes, of different columns
    elif sort == "flag":
        words = (("true", "false"), ("1", "0"), ("1.000", "0.0"), ("Yes", "No"))[random.integers(4)]
        texts = [words[int(value)] for value in random.random(count) < 0.5 + 0.2 * np.tanh(shift)]
    else:
        levels = (2, 5, 30)[shape % 3]
        script = _SCRIPTS[shape % len(_SCRIPTS)]
        drawn = np.minimum(random.geometric(0.2 + 0.1 * np.tanh(abs(shift)), count), levels)
        texts = [f"{script}{level}" for level in drawn]
    holes = random.random(count) < gaps
    return [_GAPS[random.integers(len(_GAPS))] if hole else text for text, hole in zip(texts, holes, strict=True)]


def read_by_pandas(columns: dict[str, list[str]], kinds: dict[str, str]) -> dict[str, pandas.Series]:
    """The columns as pandas reads the CSV that they make: float32, or texts without blanks."""
    frame = pandas.DataFrame(columns)
    text = frame.to_csv(index=False)
    read = pandas.read_csv(io.StringIO(text), dtype=str, skip_blank_lines=False)
    found = {}
    for name, kind in kinds.items():
        series = read[name].str.strip()
        series = series[~series.isin(["", *_GAPS])].dropna()
        found[name] = pandas.to_numeric(series).astype(np.float32).astype(np.float64) if kind == "numeric" else series
    return found


def judge(random: Random) -> tuple[Analysis, dict[str, Any], dict[str, Any], dict[str, str]]:
    """A random table's analysis, what pandas read of its baseline and its window, and the columns' sorts."""
    sorts = {f"c{index}": str(random.choice(_OFTEN)) for index in range(3)}
    kinds = {name: SORTS[sort] for name, sort in sorts.items()}
    before, after = int(random.choice([1, 7, 60, 500, 3_000])), int(random.choice([1, 25, 300, 1_500]))
    parts: list[dict[str, list[str]]] = []
    shapes = {name: int(random.integers(56)) for name in kinds}
    holes = {name: float(random.choice([0, 0, 0.1, 0.5])) for name in kinds}
    for count, shift in ((before, 0.0), (after, float(random.choice([0, 0, 0.3, 1.5])))):
        drawn = {
            name: column(random, count, sort, shape=shapes[name], shift=shift, gaps=holes[name])
            for name, sort in sorts.items()
        }
        if random.random() < 0.1:
            drawn["c0"] = [""] * count
        parts.append(drawn)
    documents = baseline_of(zip(*parts[0].values(), strict=True), kinds, MonitorOptions(min_rows=MIN_ROWS))
    rows = [list(row) for row in zip(*parts[1].values(), strict=True)]
    metadata = {"eventId": "e", "inferenceTime": "2026-11-22T14:03:09Z"}
    captured = {"endpointInput": {"data": rows, "encoding": "JSON"}}
    line = json.dumps({"captureData": captured, "eventMetadata": metadata}).encode()
    analysis = analyse([("a.jsonl", [line])], *documents, WINDOW)
    look_alike(parts[0], sorts)
    return analysis, read_by_pandas(parts[0], kinds), read_by_pandas(parts[1], kinds), sorts


def look_alike(columns: dict[str, list[str]], sorts: dict[str, str]) -> None:
    """`baseline` and `init` take codes for categories, and days and months for times."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    table = TableFile(Path("t.csv"), tuple(columns), lambda places, _: ([row[at] for at in places] for row in rows))
    for name, seen in look(table, list(columns), silent).items():
        if sorts[name] == "code" and seen.present:
            assert seen.kind == "categorical", (name, seen)
        if sorts[name] in {"day", "month"} and seen.present:
            assert (seen.kind, seen.nature) == ("numeric", TIME), (name, seen)


def check(seed: int, found: Found) -> None:
    """One table. Raises AssertionError where a number is off by more than its stated error, or is of nothing."""
    analysis, before, after, sorts = judge(np.random.default_rng(seed))
    found.tables += 1
    found.verdicts[analysis.verdict] = found.verdicts.get(analysis.verdict, 0) + 1
    for feature in analysis.features:
        name = feature.name
        if sorts[name] == "flag":
            old, new = (part[name].isin(["true", "1", "1.000", "Yes"]).astype(str) for part in (before, after))
        else:
            old, new = before[name], after[name]
        assert feature.present == len(new), (seed, name, feature.present, len(new))
        if not len(old) or not len(new):
            _is_nothing(feature, seed)
        elif sorts[name] in {"day", "month"}:
            assert (feature.reason, feature.distance, feature.judged) == (TIME, None, False), (seed, feature)
            found.aside += 1
        elif feature.reason in {"identifier", "not_described"}:
            assert feature.distance is None
            assert not feature.judged
        elif sorts[name] == "number":
            _check_numbers(feature, old.to_numpy(), new.to_numpy(), found, seed)
        else:
            _check_texts(feature, old, new, found, seed)
    if analysis.verdict is Verdict.STABLE:
        told = [item for item in analysis.features if item.judged and item.verdict is Verdict.STABLE]
        assert told, seed
        assert analysis.rows >= MIN_ROWS, seed


def _is_nothing(feature: FeatureDrift, seed: int) -> None:
    assert feature.verdict is Verdict.UNDECIDED, (seed, feature)
    numbers = feature.distance, feature.psi, feature.jensen_shannon, feature.wasserstein, feature.p_value
    assert set(numbers) == {None}, (seed, feature)


def _check_numbers(feature: FeatureDrift, old: Any, new: Any, found: Found, seed: int) -> None:
    exact = len(old) <= K
    expected = _largest_difference(old, new)
    assert feature.distance is not None
    error = abs(feature.distance - expected)
    assert error <= (EXACT if exact else KS_ERROR), (seed, feature, expected)
    found.error("Kolmogorov-Smirnov" + ("" if exact else ", of more values than the sketch holds"), error)
    moved = stats.wasserstein_distance(old, new)
    assert feature.wasserstein is not None
    span = max(old.max(), new.max()) - min(old.min(), new.min())
    largest = max(np.abs(old).max(), np.abs(new).max())
    error = abs(feature.wasserstein - moved)
    assert error <= WASSERSTEIN_ERROR * span + 1e-9 * largest, (seed, feature, moved)
    found.error("Wasserstein, as a share of the range", error / span if span else 0.0)


def _largest_difference(old: Any, new: Any) -> float:
    """scipy's statistic; its p-value divides by zero where there is one value."""
    with np.errstate(all="ignore"):
        return float(stats.ks_2samp(old, new, method="asymp").statistic)


def _check_texts(feature: FeatureDrift, old: Any, new: Any, found: Found, seed: int) -> None:
    p, q = old.value_counts(normalize=True).align(new.value_counts(normalize=True), fill_value=0)
    once = float((old.value_counts() == 1).sum()) / len(old.dropna())
    unseen = float(q[p == 0].sum()) - once  # to the model, all categories that it does not know are one
    expected = max(float((p - q).abs().max()), unseen)
    assert feature.distance is not None
    error = abs(feature.distance - expected)
    assert error <= EXACT, (seed, feature, expected)
    found.error("largest difference of a share", error)
    assert feature.jensen_shannon is not None
    divergence = float(np.nan_to_num(jensenshannon(p, q, 2)))
    error = abs(feature.jensen_shannon - divergence)
    assert error <= 1e-6, (seed, feature, divergence)
    found.error("Jensen-Shannon", error)


def report(found: Found, options: argparse.Namespace, seconds: float) -> str:
    """What was compared, in Markdown."""
    last = options.first + options.tables - 1
    rows = "\n".join(f"| {name} | {value:.2g} |" for name, value in sorted(found.errors.items()))
    verdicts = ", ".join(f"{count:,} {name}" for name, count in sorted(found.verdicts.items()))
    return f"""# Random tables against scipy and pandas

`make fuzz` writes this page. {found.tables:,} tables (seeds {options.first} to {last}; none of them chose anything)
went through baseline and monitor in {seconds:,.0f} s: {verdicts}. {found.compared:,} numbers were held against scipy's,
computed from what pandas read of the same texts, rounded to float32. The largest errors:

| number | largest error |
| --- | --- |
{rows}

Stated are {EXACT:g} for what is exact, {KS_ERROR} for the Kolmogorov-Smirnov statistic where the baseline has more
than {K:,} values, and {WASSERSTEIN_ERROR} of the range for Wasserstein. Nothing without a value on both sides had a
number or a verdict. {found.aside:,} columns of days and months, written as numbers, were told from numbers and had
none either; codes that begin with a zero were categories to `init`, to `baseline` and to the verdict.

{described("numpy", "pandas", "scipy")}.
"""


def main(texts: list[str] | None = None) -> int:
    """0 when every table was within the stated errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first table")
    parser.add_argument("--write", type=Path, help="the page")
    parser.add_argument("--json", type=Path, help="the numbers")
    options = parser.parse_args(texts)
    found, begun = Found(), perf_counter()
    for seed in range(options.first, options.first + options.tables):
        check(seed, found)
        if found.tables % 1_000 == 0:
            print(f"{found.tables:,} tables, {perf_counter() - begun:.0f} s", flush=True)
    page = report(found, options, perf_counter() - begun)
    print(page)
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
