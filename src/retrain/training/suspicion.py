"""Suspicion: signs that a window's rows were made up, copied or mislabelled, which no retraining may learn from.

Whoever can ask the endpoint, or label its answers, can teach the next model. What is looked for does not come with
drift: one source that gives nearly everything, rows that are copies of each other, values beyond all that was known,
and labels that contradict the champion's answers for a while and then agree with them again. The limits are
`[dataset]` of model.toml; a limit of 1 (of 1e9 copies) looks away. What changes slowly, and what is wrong to the
window's end, cannot be told from drift: there, the gate and the person who approves are what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.capture.records import Capture
from retrain.model.spec import Spec
from retrain.model.table import Category, Table
from retrain.model.values import Numbers
from retrain.quality.verdict import Pairs

FAR = 10.0  # from the reference's median, in ranges of the reference: what lies further is an outlier
NATURAL = 3.0  # times as many copies as the reference lets expect are nothing special
LEAST_ROWS = 50  # of a stretch in which labels may be flipped
WIDTHS = (0.05, 0.1, 0.2, 0.3)  # of a stretch, as shares of the window
_HOURS = 3  # of each sort, to compare their rates
_STEPS = 4  # of a stretch's width from one to the next
_SIGNIFICANT = 4.0  # standard errors: some two hundred stretches are looked at


def source_suspicion(spec: Spec, captures: Sequence[Capture]) -> str | None:
    """One request gives more than `max_source_share` of the rows."""
    most = spec.dataset.max_source_share
    total = sum(len(capture.rows) for capture in captures)
    largest = max(captures, key=lambda capture: len(capture.rows))
    if len(captures) > 1 and len(largest.rows) > most * total:
        return f"{len(largest.rows)} of {total} rows come from one request (max_source_share)"
    return None


def filled_by(rows: Table, times: Numbers, reference: Table, name: str, most: float) -> str | None:
    """One category that used to be a minority fills more than that share of the rows: news, in a sentence.

    A campaign, a season and a flood look alike by their shares, and a world in which one value is all there is has to
    be learned. By their rates they differ, as far as the rows' `times` (rows,) tell: see `beside_others`.
    """
    column = rows.categories(name)
    if not (column.codes >= 0).any():
        return None
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
    code, share = int(counts.argmax()), float(counts.max() / len(rows))
    before = float(np.mean(reference.categories(name).codes_in([column.levels[code]]) == 0))
    if share > most and before < most / 2:
        said = f"{name}: {share:.0%} of the rows have one and the same value, {before:.0%} of the reference's have it"
        return "; ".join(filter(None, [said, beside_others(times, column.codes == code)]))
    return None


def beside_others(times: Numbers, filling: NDArray[np.bool_]) -> str | None:
    """Whether the rows that fill a window (rows,) came on top of the others or instead of them, in a sentence.

    A flood adds volume: in the hours in which it is the majority, the others come as often as in the other hours (half
    as often at least, for hours differ). None without three hours of each sort to compare; times are in seconds.
    """
    hours = np.unique(np.floor(times / 3600.0), return_inverse=True)[1]
    filled, others = (np.bincount(hours[which], minlength=hours.max() + 1) for which in (filling, ~filling))
    flooded = filled > others
    if min(flooded.sum(), (~flooded).sum()) < _HOURS:
        return None
    then, else_ = others[flooded].mean(), others[~flooded].mean()
    where = f"in the {flooded.sum()} hours that it fills, other rows came {then:.3g} an hour, in the others {else_:.3g}"
    return f"{where}: {'it came on top, as a flood does' if then >= else_ / 2 else 'it came instead of them'}"


def copies_suspicion(spec: Spec, rows: Table, reference: Table) -> str | None:
    """A row has more identical others, label included, than `max_copies` above what the reference lets expect.

    The chance that two rows are identical does not depend on how many there are: the reference's gives the number that
    a row of the window should have.
    """
    names = [*spec.names, spec.label]
    expected = _twins(reference, names) / max(len(reference) - 1, 1) * (len(rows) - 1)
    found = _twins(rows, names)
    if found <= NATURAL * expected + spec.dataset.max_copies:
        return None
    return (
        f"a row has {found:.1f} identical others on average, {expected:.1f} were to be expected (max_copies "
        f"{spec.dataset.max_copies:g})"
    )


def outliers(spec: Spec, rows: Table, reference: Table) -> dict[str, NDArray[np.bool_]]:
    """By feature or label, if there are any: which rows have a number FAR from all that the reference knows (rows,).

    Of a column that was constant, or had no value, nothing is known.
    """
    found = {}
    for name in [*spec.names, spec.label]:
        values, known = rows.columns[name], reference.columns[name]
        if isinstance(values, Category) or isinstance(known, Category) or np.isnan(known).all():
            continue
        reach = float(np.nanmax(known) - np.nanmin(known))
        with np.errstate(invalid="ignore"):
            far = np.abs(values - np.nanmedian(known)) > FAR * reach
        if reach > 0 and far.any():
            found[name] = far
    return found


def flips_suspicion(spec: Spec, pairs: Pairs) -> str | None:
    """Labels are opposite to the champion's answers for more than `max_flipped_share` of the pairs, but not to the end.

    The pairs are in the order of time. Before and after such a stretch, answers and labels have to agree: a world that
    turned over and stayed so has drifted.
    """
    strength = _hits if pairs.task == "multiclass" else _ranks
    truth, output = pairs.truth, pairs.output
    flipped = np.zeros(len(truth), dtype=bool)
    for begin, end in _stretches(len(truth)):
        if min(begin, len(truth) - end) < LEAST_ROWS or strength(truth[begin:end], output[begin:end]) > -_SIGNIFICANT:
            continue
        if min(strength(truth[:begin], output[:begin]), strength(truth[end:], output[end:])) > _SIGNIFICANT / 2:
            flipped[begin:end] = True
    share = float(flipped.mean()) if len(flipped) else 0.0
    if share <= spec.dataset.max_flipped_share:
        return None
    return (
        f"the labels of about {int(flipped.sum())} of {len(flipped)} rows contradict the champion's answers, which "
        "agree with the labels before and after (max_flipped_share)"
    )


def _twins(rows: Table, names: Sequence[str]) -> float:
    """How many other rows are identical to a row, on average."""
    if len(rows) == 0:
        return 0.0
    keys = np.zeros(len(rows), dtype=np.uint64)
    for name in names:
        column = rows.columns[name]
        if isinstance(column, Category):
            bits = column.codes.astype(np.int64).view(np.uint64)
        else:
            bits = np.where(np.isnan(column), np.nan, column + 0.0).view(np.uint64)  # one zero, one missing value
        keys = (keys ^ bits) * np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
        keys ^= keys >> np.uint64(32)
    _, counts = np.unique(keys, return_counts=True)
    return float(np.sum(counts * (counts - 1.0)) / len(rows))


def _ranks(truth: Numbers, output: Numbers) -> float:
    """Spearman's correlation of labels and answers in standard errors, 0 if one of them is constant.

    Inside a stretch, so that one in which the labels are all lower than the answers is no contradiction.
    """
    one, other = _standard_rank(truth), _standard_rank(output)
    return float(np.mean(one * other)) * math.sqrt(max(len(truth) - 1, 0))


def _standard_rank(values: Numbers) -> Numbers:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    spread = float(ranks.std())
    return (ranks - ranks.mean()) / spread if spread else np.zeros(len(values))


def _hits(truth: Numbers, output: Numbers) -> float:
    """How many more answers hit their label than would by chance, in standard errors, 0 if nothing varies."""
    decided = output.argmax(axis=1)
    chance = (np.bincount(truth.astype(int), minlength=output.shape[1]) / len(truth))[decided]
    spread = float(np.sqrt(np.mean(chance * (1 - chance)) / len(truth)))
    return float(np.mean((decided == truth) - chance)) / spread if spread else 0.0


def _stretches(rows: int) -> Iterator[tuple[int, int]]:
    for share in WIDTHS:
        width = max(LEAST_ROWS, int(rows * share))
        for begin in range(0, rows - width + 1, max(1, width // _STEPS)):
            yield begin, begin + width
