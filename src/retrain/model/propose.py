"""A first model.toml, proposed by looking at a table: what `python -m retrain init` writes.

One pass, memory of a few columns' categories. Every choice says in a comment what was seen, so that it can be doubted.
What is proposed is read back by retrain.model.spec before anybody sees it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from statistics import median

import numpy as np

from retrain.core.enough import Plan
from retrain.core.errors import Refused
from retrain.core.names import PREDICTION
from retrain.model.hyperparameters import OBJECTIVES
from retrain.model.kinds import IDENTIFIER, MOST_LEVELS, TIME, Column, look
from retrain.model.read_spec import parse_spec
from retrain.model.spec import HIGHER_IS_BETTER, RESERVED, DatasetOptions, Spec
from retrain.model.table import class_name, class_order
from retrain.model.tables_on_disk import TableFile
from retrain.model.values import is_missing, parse_flag

MOST_CLASSES = 100
MANY_NUMBERS = 10  # a label with more different numbers than this is one to be predicted as a number
RARE = 0.1  # share of the smaller of two classes below which log loss says little
RARE_HITS = 30  # rows of the rarest class that a holdout should have
FEWEST = 100  # rows of a table that a model can be learned from
_HOURS_A_MONTH = 730.0
_WINDOWS = 10  # that the demo makes of a table whose months are too small
_SEEN = 5  # rows of a class in what the first model learns from, on average, so that it knows the class
_SIGN = re.compile(r"[+-]?[$€£¥]\s?[\d.,]+|[+-]?[\d.,]+\s?[%$€£¥]")  # of a currency or a share
_COMMA = re.compile(r"[+-]?\d+(?:[.,]\d{3})*,\d+|[+-]?\d{1,3}(?:,\d{3})+\.\d+")
_METRICS = {"regression": "rmse", "binary": "logloss", "multiclass": "mlogloss"}


@dataclass(frozen=True)
class Replay:
    """How the demo replays the table: the column that orders its rows, rows of a window (None: months), and how many
    windows train the first model."""

    time: str
    window: int | None = None
    train: int = 1


@dataclass(frozen=True)
class Proposal:
    """The text of model.toml, what it says, and the columns that were left out, each with the reason."""

    text: str
    spec: Spec
    rows: int
    left_out: dict[str, str]
    replay: Replay | str  # how the demo replays the table; or what it lacks for that, in words
    plan: Plan  # what episodes will need, at the template's defaults; with the traffic that a dated table shows


def propose(
    table: TableFile,
    label: str,
    task: str | None = None,
    left_out: Sequence[str] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Proposal:
    """The model.toml that the table suggests; without a `task`, that too.

    Raises Refused naming file, column and remedy where no model can be made: no such label, a label that is no number
    or has one class, too few rows, no feature.
    """
    for name in (label, *left_out):
        if name not in table.header:
            raise _unusable(table, f"there is no column {name!r}: {_suggestion(name, table.header)}")
    columns = look(table, table.header, advance)
    answer = columns.pop(label)
    if answer.present < FEWEST:
        raise _unusable(table, f"{answer.present} rows have a label, at least {FEWEST} are needed")
    task, why = _task(table, answer, task)
    if task != "regression":
        _check_classes(table, answer)
    features: dict[str, tuple[str, str]] = {}  # name → type and what was seen
    reasons = dict.fromkeys(left_out, "--leave-out")
    times: list[Column] = []
    for name, column in columns.items():
        if name in reasons:
            continue
        kind, said = _kind(column)
        if kind == "time" or (column.unique and not column.falls):
            times.append(column)
        if kind in {"time", "useless"}:
            reasons[name] = said
        else:
            features[name] = (kind, said)
    if not any(kind != "text" for kind, _ in features.values()):
        raise _unusable(table, f"no column but {label} can be learned from: " + _listed(reasons, features))
    dated = next((column.name for column in times if not column.numeric), None)
    text = "\n".join(_lines(table, answer, (task, why), features, reasons, time=dated)) + "\n"
    spec = parse_spec(text)
    return Proposal(text, spec, answer.rows, reasons, _replay(spec, answer, times), _plan(spec, answer, times))


def _plan(spec: Spec, label: Column, times: Sequence[Column]) -> Plan:
    """The first month and the last may be parts of one: the median of those between is the traffic."""
    months: Mapping[str, int] = next((column.months for column in times if not column.numeric), {})
    whole = [count for _, count in sorted(months.items())][1:-1]
    traffic = median(whole) / _HOURS_A_MONTH if whole else None
    cycle = spec.dataset.cycle_hours or Plan.cycle
    return Plan(
        cycle=cycle,
        rows=spec.least_rows,
        reach=spec.dataset.min_label_reach,
        judged=spec.monitor.min_rows,
        labelled=label.present / label.rows,
        traffic=traffic,
    )


def _replay(spec: Spec, label: Column, times: Sequence[Column]) -> Replay | str:
    """Windows of which each has as many rows as a retraining needs, and the first ones every class."""
    if not times:
        return "no column orders its rows: add a time, or a number that grows from row to row"
    time, least = times[0], spec.dataset.min_rows
    months = [count * label.present / label.rows for _, count in sorted(time.months.items())]
    monthly = not time.numeric and len(months) > 1 and months[0] >= least and median(months[1:]) >= least
    size = int(months[0]) if monthly else max(least, label.present // _WINDOWS)
    train, most = 1, (len(months) if monthly else label.present // size) - 1
    if spec.task != "regression":  # of which the first model has to know every class
        learned = (1 - spec.dataset.holdout_share) * (1 - spec.dataset.validation_share)
        rarest = min((label.levels or {"": 0}).values())
        wanted = max(label.latest * label.present / label.rows, _SEEN * label.present / max(rarest, 1))
        train = max(1, math.ceil(1.1 * wanted / learned / size))
    if train > most:
        return "its rarest class comes too late or too seldom for the first windows: add rows, or join classes"
    return Replay(time.name, None if monthly else size, train)


def _kind(column: Column) -> tuple[str, str]:
    """The feature type, or `time`, or `useless`; and what was seen."""
    if useless := _useless(column):
        return "useless", useless
    if column.kind == "boolean":
        return "boolean", _seen(column)
    if column.numeric:
        return _number(column)
    if found := _time_like(column):
        return found
    if why := _text_rather(column):
        return "text", why
    return "categorical", _seen(column)


def _time_like(column: Column) -> tuple[str, str] | None:
    """What holds times, or texts of which later rows have others; None for other columns."""
    levels = column.levels
    if column.nature == TIME and column.times == column.dates:
        return "time", "a time: what comes after it is unknown when the model is asked"
    if column.nature == TIME:
        return "useless", f"a date, like {_quoted(column.text)}: later ones are unknown. TIME= takes ISO times only"
    if levels is None or len(levels) < 3 or _many_levels(column) or column.runs > 1.1 * len(levels):
        return None
    return "useless", f"its {len(levels)} values come one after the other and don't return: later ones are unknown"


def _many_levels(column: Column) -> bool:
    """Whether its texts are too many to be learned from as categories."""
    return column.levels is None or column.nature == IDENTIFIER


def _number(column: Column) -> tuple[str, str]:
    """Whether a column of numbers is a feature or orders the rows."""
    if not column.falls and not column.missing and (column.levels is None or len(column.levels) > 2):
        return "time", f"never falls, {column.low:.6g} to {column.high:.6g}: a time, or a number of the row"
    if column.nature == TIME:
        return "useless", f"a day, a month, or seconds since 1970, {column.low:.0f} to {column.high:.0f}: a time"
    if column.low < column.high and np.float32(column.low) == np.float32(column.high):
        return (
            "useless",
            f"{column.low:.0f} to {column.high:.0f} are one number to the model: codes are categorical",
        )
    return "numeric", _seen(column) + (", all different: an id?" if column.unique else "")


def _seen(column: Column) -> str:
    """What the column holds, in words."""
    share = column.missing / column.rows
    gap = f", {share:.1%} missing" if share >= 0.001 else f", {column.missing:,} missing" if share else ""
    if column.numeric:
        return f"{column.low:.6g} to {column.high:.6g}{gap}"
    if column.levels is not None:
        return f"{len(column.levels)} values, mostly {_quoted(next(iter(column.levels)))}{gap}"
    return f"more than {MOST_LEVELS} values{gap}"


def _useless(column: Column) -> str | None:
    """Why nothing can be learned from the column."""
    if column.name.startswith(RESERVED) or column.name == PREDICTION:
        return f"{PREDICTION} and names that begin with {RESERVED} are reserved: rename the column to use it"
    if not column.present:
        return f"no value in {column.rows:,} rows"
    if column.levels is not None and len(column.levels) == 1 and not column.missing:
        return f"always {_quoted(next(iter(column.levels)))}"
    if column.unique and not column.falls:
        return f"grows from row to row, {column.low:.0f} to {column.high:.0f}: a number of the row"
    if column.unique and column.nature == IDENTIFIER:
        return "every row has a number of its own: an id"
    return None


def _text_rather(column: Column) -> str | None:
    """Why a column that holds no numbers is no categorical one either."""
    if column.odd and column.numbers > 0.9 * column.present:
        row, text = column.odd
        return (
            f"{column.numbers:,} of {column.present:,} values are numbers, row {row} has {_quoted(text)}: "
            "empty such cells, and write numeric"
        )
    if not _many_levels(column):
        return None
    if column.odd and _COMMA.fullmatch(column.odd[1]):
        return f"numbers with a comma, like {_quoted(column.odd[1])}: write 1234.5, and numeric"
    if column.odd and _SIGN.fullmatch(column.odd[1]):
        return f"numbers with a sign, like {_quoted(column.odd[1])}: write 12.5 without it, and numeric"
    many = f"more than {MOST_LEVELS:,}" if column.levels is None else f"{len(column.levels):,}"
    return f"{many} values in {column.present:,} rows: an id or free text"


def _task(table: TableFile, label: Column, task: str | None) -> tuple[str, str]:
    """The task, and what speaks for it. Raises Refused where the labels do not fit."""
    levels = label.levels
    classes = None if levels is None else len({class_name(level) for level in levels})
    if classes == 1:
        raise _unusable(table, f"{label.name}: every label is {_quoted(next(iter(levels or {})))}: nothing to learn")
    row, text = label.odd or (2, "")
    if task is None:
        few = classes is not None and classes <= MANY_NUMBERS + 1
        if label.odd and not few and (label.numbers > 0.9 * label.present or _COMMA.fullmatch(text)):
            raise _unusable(
                table,
                f"row {row}: {label.name}: {_quoted(text)} is no finite number: write 1234.5, or empty such cells",
            )
        if label.numeric and (classes is None or classes > MANY_NUMBERS):
            task = "regression"
        elif classes is not None and classes <= MOST_CLASSES:
            task = "binary" if classes == 2 else "multiclass"
        else:
            raise _unusable(
                table,
                f"{label.name}: {_many(classes)} different texts, no task fits: --label names what is to be predicted",
            )
    if task == "regression":
        if not label.numeric:
            raise _unusable(
                table, f"row {row}: {label.name}: {_quoted(text)} is no number: --task {_classifier(classes)}"
            )
        return task, f"numbers from {label.low:.6g} to {label.high:.6g}"
    if classes is None or (task == "binary" and classes != 2) or classes > MOST_CLASSES:
        other = "regression" if label.numeric else _classifier(classes)
        raise _unusable(table, f"{label.name}: {_many(classes)} different labels, not {task}: --task {other}")
    return task, f"{classes} different labels"


def _check_classes(table: TableFile, label: Column) -> None:
    """Refuses words for a missing value: a job that reads classes takes each for one."""
    words = (
        (row, text.strip())
        for row, [text] in enumerate(table.rows([label.name]), 2)
        if text.strip() and is_missing(text)
    )
    if label.missing and (found := next(words, None)):
        row, word = found
        raise _unusable(
            table, f"row {row}: {label.name}: {_quoted(word)} would be a class: empty such cells, or rename it"
        )


def _lines(
    table: TableFile,
    label: Column,
    judged: tuple[str, str],
    features: dict[str, tuple[str, str]],
    reasons: dict[str, str],
    *,
    time: str | None,
) -> Iterator[str]:
    """model.toml, line by line. `time` is the column that says when a row was."""
    task = judged[0]
    counts = Counter[str]()
    for text, count in (label.levels or {}).items():
        counts[class_name(text)] += count
    rarest = 1.0 if task == "regression" else min(counts.values()) / label.present
    if rarest * len(counts) >= 2 * RARE:  # of three classes a third each is as balanced as can be
        rarest = 1.0
    size = f"{label.rows:,} rows of {len(table.header)} columns"
    yield f"# Proposed by `python -m retrain init` from {table.path.name}, {size}."
    yield "# Every key and its default: the first lines of retrain/model/spec.py."
    yield from ("", "[model]", *_model(label, judged, counts, rarest))
    if time:
        yield _line("time", _string(time), "no feature: when a row was, so that chance is told from drift")
    yield from ("", "[features]                     # in the order of the columns of a request, texts left out")
    for name, (kind, seen) in features.items():
        yield _line(_key(name), _string(kind), seen)
    for name, reason in reasons.items():
        yield f"# {_key(name)}: left out, {_commented(reason)}"
    used = sum(kind != "text" for kind, _ in features.values())
    yield from ("", "[hyperparameters]", *_hyperparameters(task, label.present, used, len(counts), rarest))
    if rarest < RARE:
        yield from ("", "[training]")
        yield '# class_weights = "balanced"   # finds more of the rare class, and its probabilities are no longer true'
    dataset, gate = _least_rows(label.present, rarest)
    yield from ("", "[dataset]", _line("min_rows", str(dataset), "labelled rows that a drift window must have"))
    if gate > DatasetOptions.max_reference_holdout_rows:  # of the rarest class, as many have to be among the old rows
        yield _line("max_reference_holdout_rows", str(gate), "old rows that no model was trained on")
    hits = f", about {max(round(gate * rarest), 1)} of the rarest class" if rarest < RARE else ""
    yield from ("", "[gate]", _line("margin", "0.01", "better by this share of the champion's error, or not promoted"))
    yield _line("min_rows", str(gate), f"holdout rows{hits}")
    if categorical := [name for name, (kind, _) in features.items() if kind == "categorical"]:
        yield _line(f"# segments = [{_string(categorical[0])}]", "", "served no worse, each; by default the first ten")
    yield from (
        "",
        "[monitor]",
        _line("# threshold = 0.3", "", "distance above which a feature has drifted: the alarm's"),
    )
    yield _line("min_rows", str(min(500, dataset)), "rows below which a window is undecided")
    yield _line("label_delay_hours", "24", "until a label is known: please correct it")


def _model(label: Column, judged: tuple[str, str], counts: Counter[str], rarest: float) -> Iterator[str]:
    task, why = judged
    gap = f"; {label.missing:,} rows without a label are left out" if label.missing else ""
    metric, said = _METRICS[task], "or mae, if large errors should count no more than in proportion"
    named = sorted(counts.items(), key=lambda item: class_order(item[0]))
    if task != "regression":
        said = ", ".join(f"{_quoted(name)} {count / label.present:.2%}" for name, count in named[:6])
        said += ", …" if named[6:] else ""
        if task == "binary" and rarest < RARE:
            metric = "auc"
    yield _line("label", _string(label.name))
    yield _line("task", _string(task), why + gap)
    yield _line("metric", _string(metric), said)
    yield _line("direction", _string("max" if metric in HIGHER_IS_BETTER else "min"))
    if task == "binary":
        yield _line("positive", _string(_positive(counts)), "whose probability is answered: or write the other class")


def _positive(counts: Counter[str]) -> str:
    """Of two classes the one that says yes; of other words the rarer, of equals the last in order."""
    if yes := [name for name in counts if parse_flag(name)]:
        return yes[0]
    return min(sorted(counts, key=class_order, reverse=True), key=lambda name: counts[name])


def _hyperparameters(task: str, rows: int, features: int, classes: int, rarest: float) -> Iterator[str]:
    few = rows < 2000
    yield _line("objective", _string(OBJECTIVES[task]))
    if task == "multiclass":
        yield _line("num_class", str(classes))
    yield _line("max_depth", "4" if few else "6")
    yield _line("eta", "0.1")
    yield _line("min_child_weight", "1" if few or rarest < RARE else "5")
    yield _line("subsample", "0.8")
    yield _line("colsample_bytree", "0.3" if features > 100 else "0.8", f"{features} features")
    yield _line("num_boost_round", "300", "at most: training stops when the validation slice gets worse")


def _least_rows(rows: int, rarest: float) -> tuple[int, int]:
    """Rows that a drift window and its holdout must have: fewer than by default of a small table, more of a rare class.

    A window never needs more than a quarter of the table, nor its holdout more than a fifth of the window.
    """
    gate = min(200, max(30, rows // 100))
    if rarest < RARE:
        gate = max(gate, math.ceil(RARE_HITS / rarest))
    dataset = min(max(min(500, rows // 20), 5 * gate), rows // 4)
    return dataset, min(gate, max(dataset // 5, 1))


def _line(key: str, value: str, comment: str = "") -> str:
    line = f"{key} = {value}" if value else key
    return f"{line:<30} # {_commented(comment)}" if comment else line


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quoted(text: str) -> str:
    return repr(text[:40])


def _commented(text: str) -> str:
    """Without what ends a comment, or is not allowed in one."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _classifier(classes: int | None) -> str:
    return "binary" if classes == 2 else "multiclass"


def _many(classes: int | None) -> str:
    return f"more than {MOST_LEVELS}" if classes is None else str(classes)


def _suggestion(name: str, header: Sequence[str]) -> str:
    near = get_close_matches(name, header, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(header[:30])}{', …' if header[30:] else ''}"


def _listed(reasons: dict[str, str], features: dict[str, tuple[str, str]]) -> str:
    said = {**reasons, **{name: seen for name, (_, seen) in features.items()}}
    return "; ".join(f"{name}: {why}" for name, why in list(said.items())[:5]) or "there is no other column"


def _unusable(table: TableFile, message: str) -> Refused:
    return Refused("schema_mismatch", f"{table.path}: {message}")
