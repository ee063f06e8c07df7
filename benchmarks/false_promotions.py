"""How often the gate that proves promotes where nothing has drifted: dataset, training and gate on stationary rows.

    PYTHONPATH=src:. python -m benchmarks.false_promotions [--replays 50]

A table's rows are shuffled, so that time means nothing. Each replay draws other rows for a first dataset and two
windows. In `equal`, the champion was trained on one window and as many old rows as the challenger, which has another
window of the same size: nothing but chance makes one of them better. In `grown`, the champion knows the first dataset
only and the challenger a window besides: more rows make a better model also without drift, so a promotion is not false
by itself. What is true is measured on up to 40,000 rows that nobody trained on or was judged by. A promotion is false
when the challenger is truly better by less than the margin.

The gate's interval is two-sided at 95 %, so its lower bound may lie above the true difference in 2.5 % of all
judgements. Fifty replays can't measure that, so each replay's two models are also judged on ten more holdouts, drawn
from the fresh rows: `bound too high` is the share of these whose lower bound exceeds the truth, and `by rows` what that
share would be if rows told nothing of their neighbours (`spans = 1`). `half an interval` is half its width, the median,
as a share of the champion's error: what `python -m retrain power` goes by where there is no evaluation.

Where rows are shuffled one by one, they don't. So the flights are also shuffled by the day: the days come in any order,
so that again nothing drifts, but the flights of a day share its weather.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks import machine
from demo import flights
from demo.windows import Row
from retrain.capture.ground_truth import Labels
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.gate.comparison import Comparison, compare
from retrain.gate.evidence import gather, score_rows
from retrain.gate.rules import judge, shortfall
from retrain.model.read_spec import parse_spec
from retrain.model.serving import Model
from retrain.model.spec import Spec
from retrain.model.table import Column, Table, category
from retrain.model.values import parse_numbers
from retrain.quality.metrics import Numbers, score
from retrain.training.candidates import train
from retrain.training.dataset import Dataset, Read, bootstrap_dataset, drift_dataset
from retrain.training.history import reference_of

ROWS = 4_000  # of the first dataset and of each window; a fifth of a window is the holdout
FRESH = 40_000
HOLDOUTS = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
# Old rows beside a window's: fewer than any champion has seen, so that every challenger gets as many.
EQUAL = "[dataset]\nmax_reference_rows = 3000\n"
PROOF = '[gate]\npolicy = "proof"\n'  # what insures promotes luck too, on purpose

SYNTHETIC = """
[model]
label = "y"
task = "{task}"
metric = "{metric}"
[features]
a = "numeric"
b = "numeric"
c = "numeric"
d = "numeric"
kind = "categorical"
[hyperparameters]
max_depth = 3
eta = 0.3
num_boost_round = 100
"""

Draw = Callable[[np.random.Generator], Sequence[Row]]


@dataclass(frozen=True)
class Replay:
    """One challenger: what the gate said, and what is true."""

    promoted: bool
    reasons: tuple[str, ...]
    high: int  # of the further holdouts, those whose lower bound lies above the truth
    by_rows: int  # the same, with the interval of the rows alone
    truth: float  # how much better the challenger is on the fresh rows, in the metric's unit
    margin: float
    half: float  # of the interval on the challenger's own holdout, a share of the champion's shortfall there


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--replays", type=int, default=50)
    replays = options.parse_args().replays
    print(machine.described("xgboost-cpu", "numpy"))
    print(f"{replays} replays each, {ROWS} rows a window, holdout {ROWS // 5} rows, margin 1 %\n")
    names = (
        "table",
        "champion",
        "promoted",
        "falsely",
        "truly better by (median)",
        "bound too high",
        "by rows",
        "half an interval",
    )
    print(f"| {' | '.join((*names, 'half an interval', 'kept because', 's'))} |\n|{' --- |' * (len(names) + 3)}")
    total: dict[str, list[Replay]] = {"equal": [], "grown": []}
    for name, (model, draw) in tables().items():
        spec = parse_spec(model + EQUAL + PROOF)
        began = time.monotonic()
        found: dict[str, list[Replay]] = {"equal": [], "grown": []}
        for seed in range(replays):
            for kind, replay in run(spec, draw, np.random.default_rng(seed)):
                found[kind].append(replay)
        seconds = time.monotonic() - began
        for kind, results in found.items():
            total[kind] += results
            _report(name, kind, results, seconds)
    for kind, results in total.items():
        _report("all", kind, results, None)


def run(spec: Spec, draw: Draw, random: np.random.Generator) -> Iterator[tuple[str, Replay]]:
    """A champion of the first rows is challenged by a window's, and the result, unjudged, by the next window's."""
    rows = draw(random)
    dataset = bootstrap_dataset(spec, _table(spec, rows[:ROWS]))
    champion = train(spec, dataset.parts["train"], dataset.parts["validation"], None).model
    fresh = _table(spec, rows[3 * ROWS : 3 * ROWS + FRESH])
    for kind, at in (("grown", ROWS), ("equal", 2 * ROWS)):
        dataset = _window(spec, rows[at : at + ROWS], dataset)
        challenger = train(spec, dataset.parts["train"], dataset.parts["validation"], champion).model
        yield kind, _judged(spec, dataset, (champion, challenger), fresh, random)
        champion = challenger


def _judged(
    spec: Spec, dataset: Dataset, models: tuple[Model, Model], fresh: Table, random: np.random.Generator
) -> Replay:
    holdout, reference = (score_rows(spec, dataset.parts[part], *models) for part in ("holdout", "reference"))
    evidence = gather(spec, holdout, reference, bootstrap=False)
    unseen = score_rows(spec, fresh, *models)
    assert unseen.champion is not None
    old, new = (score(spec.metric, unseen.truth, output) for output in (unseen.champion, unseen.challenger))
    difference = (old - new) if spec.direction == "min" else (new - old)
    high = by_rows = 0
    for begin in random.choice(len(unseen.truth) - len(holdout.truth), HOLDOUTS, replace=False):
        again = unseen.take(np.arange(begin, begin + len(holdout.truth)))
        assert again.champion is not None
        answers = again.truth, again.champion, again.challenger
        high += _compared(spec, *answers, spec.gate.spans).low > difference
        by_rows += _compared(spec, *answers, 1).low > difference
    try:
        decision = judge(evidence, spec.gate)
        promoted, reasons = decision.decision == "promote", tuple(reason.code for reason in decision.reasons)
    except Refused as refusal:
        promoted, reasons = False, (refusal.code,)
    seen = evidence.holdout
    assert seen is not None
    half = (seen.high - seen.low) / 2 / shortfall(spec.direction, seen.champion)
    margin = spec.gate.margin * shortfall(spec.direction, old)
    return Replay(promoted, reasons, high, by_rows, difference, margin, half)


def _compared(spec: Spec, truth: Numbers, champion: Numbers, challenger: Numbers, spans: int) -> Comparison:
    options = spec.gate
    return compare(
        spec.metric,
        spec.direction,
        truth,
        champion,
        challenger,
        confidence=options.confidence,
        resamples=options.resamples,
        seed=options.seed,
        spans=spans,
    )


def tables() -> Mapping[str, tuple[str, Draw]]:
    """The tables by name: model.toml, and how a replay draws its rows."""
    every = flights._rows(flights.KEPT)

    def flown(random: np.random.Generator) -> Sequence[Row]:
        return [every[place] for place in random.permutation(len(every))[: 3 * ROWS + FRESH]]

    days: dict[int, list[Row]] = {}
    for row in every:
        days.setdefault(row.time.toordinal(), []).append(row)

    def by_day(random: np.random.Generator) -> Sequence[Row]:
        order = random.permutation(list(days)).tolist()
        return [row for day in order for row in days[day]][: 3 * ROWS + FRESH]

    return {
        "flights, rmse": (flights.MODEL, flown),
        "flights by the day, rmse": (flights.MODEL, by_day),
        "synthetic regression, mae": (SYNTHETIC.format(task="regression", metric="mae"), _synthetic("regression")),
        "synthetic binary, logloss": (SYNTHETIC.format(task="binary", metric="logloss"), _synthetic("binary")),
        "synthetic binary, auc": (SYNTHETIC.format(task="binary", metric="auc"), _synthetic("binary")),
    }


def _synthetic(task: str) -> Draw:
    """Steps of two columns and a category under noise; the other two columns say nothing."""

    def draw(random: np.random.Generator) -> Sequence[Row]:
        count = 3 * ROWS + FRESH
        x, kind = random.normal(size=(count, 4)), random.integers(0, 6, count)
        signal = 2.0 * (x[:, 0] > 0) - 1.5 * (x[:, 1] > 0.5) + 0.4 * kind
        if task == "binary":
            label = (random.random(count) < 1 / (1 + np.exp(1.0 - signal))).astype(int)
        else:
            label = signal + random.standard_t(5, count)
        values = np.char.mod("%.5f", x).tolist()
        return [
            Row(START, (*texts, f"k{code}"), f"{y:.5g}")
            for texts, code, y in zip(values, kind.tolist(), label.tolist(), strict=True)
        ]

    return draw


def _window(spec: Spec, rows: Sequence[Row], dataset: Dataset) -> Dataset:
    """The rows as captures of a window, one a second, every label known, joined with the champion's dataset."""
    asked = [
        Capture(f"{number:06d}", START + timedelta(seconds=number), [list(row.values)], [])
        for number, row in enumerate(rows)
    ]
    labels = Labels({f"{number:06d}": (row.label,) for number, row in enumerate(rows)})
    past = reference_of([dataset.kept])
    return drift_dataset(spec, Read(asked, labels), past, (START, START + timedelta(days=1)))


def _table(spec: Spec, rows: Sequence[Row]) -> Table:
    columns: dict[str, Column] = {}
    for index, feature in enumerate(spec.features):
        texts = [row.values[index] for row in rows]
        columns[feature.name] = category(texts) if feature.type == "categorical" else parse_numbers(texts)[0]
    labels = [row.label for row in rows]
    columns[spec.label] = parse_numbers(labels)[0] if spec.task == "regression" else category(labels)
    return Table(columns)


def _report(name: str, kind: str, results: Sequence[Replay], seconds: float | None) -> None:
    promoted = [replay for replay in results if replay.promoted]
    falsely = sum(replay.truth <= replay.margin for replay in promoted)
    high, by_rows = (
        sum(count) / (HOLDOUTS * len(results)) for count in zip(*((r.high, r.by_rows) for r in results), strict=True)
    )
    better = np.median([replay.truth / replay.margin for replay in results]) if results else float("nan")
    half = np.median([replay.half for replay in results]) if results else float("nan")
    counts: dict[str, int] = {}
    for replay in results:
        for reason in replay.reasons:
            counts[reason] = counts.get(reason, 0) + 1
    kept = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    print(
        f"| {name} | {kind} | {len(promoted)} of {len(results)} | {falsely} ({falsely / len(results):.1%}) | "
        f"{better:+.2f} margins | {high:.1%} | {by_rows:.1%} | {half:.1%} | {kept or '-'} | "
        f"{'' if seconds is None else f'{seconds:.0f}'} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
