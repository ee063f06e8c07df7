"""The command line: a model's specification, its baseline and the drift monitor without AWS, and a deployed stack.

A model.toml is proposed, a baseline is made of training data, a folder of captures or a table is judged against it. The
exit code is the verdict: 0 stable (or done), 1 drifted, 2 undecided; 3 says that the input can't be used, and the
message says what to do about it; 70 is a mistake of ours.

The commands of an operator speak to the stack of --stack, in the account and region of the AWS CLI's environment: 0
done (or all is well), 1 something needs a person, 2 the loop did not do it, and says why; 3 and 70 as above.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

import numpy as np

from retrain.capture.local_files import find_evidence
from retrain.core import clock
from retrain.core.enough import conflicts, plan_of
from retrain.core.errors import InvalidSpec, NoBaseline, Refused, RetrainError
from retrain.drift.analysis import analyse
from retrain.drift.baseline import PREDICTION, Statistics, baseline_of, read_statistics
from retrain.drift.constraints import Constraints, read_constraints
from retrain.drift.learning import with_chance
from retrain.drift.sides import told_apart, with_answer
from retrain.drift.verdict import Verdict
from retrain.gate.power import USUAL, power_table, read_precision
from retrain.model.kinds import IDENTIFIER, Column, look
from retrain.model.monitor_options import MonitorOptions
from retrain.model.read_spec import read_spec
from retrain.model.spec import METRICS, GateOptions
from retrain.model.tables_on_disk import TableFile, open_table
from retrain.model.times import read_times
from retrain.model.values import Numbers
from retrain.operate import commands as operate

EXIT_CODES = {Verdict.STABLE: 0, Verdict.DRIFTED: 1, Verdict.UNDECIDED: 2}
BAD_INPUT = 3
CRASHED = 70  # EX_SOFTWARE of sysexits.h; Python's own 1 would say "drifted"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")  # argparse's own 2 would say "undecided"


def main(texts: Sequence[str] | None = None) -> int:
    """The exit code: 0 done or stable, 1 drifted, 2 undecided, 3 bad input, 70 a mistake of ours."""
    options = _parser().parse_args(texts)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except Refused as refusal:
        message = refusal.detail
    except (InvalidSpec, NoBaseline) as error:
        message = str(error)
    except RetrainError as error:
        message = f"{type(error).__name__}: {error}"
    except OSError as error:
        message = f"{error.filename or options.out}: {error.strerror or error}"
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install rich plotly jinja2"
    except Exception:  # noqa: BLE001  (whatever it is, it must not end as "drifted")
        traceback.print_exc()
        return CRASHED
    print(f"bad input: {message}", file=sys.stderr)
    return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="propose a model.toml by looking at a table")
    init.add_argument("--data", type=Path, required=True, metavar="TABLE", help="a CSV with a header, or parquet")
    init.add_argument("--label", required=True, metavar="COLUMN", help="what is to be predicted")
    init.add_argument("--task", choices=METRICS, help="what the label is; proposed, if it is not said")
    init.add_argument("--out", type=Path, default=Path("model.toml"), metavar="FILE", help="where it goes (model.toml)")
    init.add_argument(
        "--leave-out", action="append", default=[], metavar="COLUMN", help="no feature: an id, a time (repeatable)"
    )
    init.add_argument(
        "--deployed",
        nargs="*",
        type=operate.parameter,
        default=[],
        metavar="PARAMETER=VALUE",
        help="of the template, beside its defaults: what does not fit them is told",
    )
    init.add_argument("--force", action="store_true", help="overwrite the file")
    init.set_defaults(command=_init)
    baseline = commands.add_parser("baseline", help="make statistics.json and constraints.json of training data")
    baseline.add_argument("data", type=Path, metavar="TRAINING_DATA", help="a CSV with a header, or parquet")
    baseline.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the two files go")
    baseline.add_argument("--model", type=Path, metavar="model.toml", help="features, their kinds and [monitor]")
    baseline.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="COLUMN",
        help="no feature: the label, an id (repeatable); --model says it itself",
    )
    baseline.add_argument(
        "--prediction", metavar="COLUMN", help="the model's answers for these rows: their drift is told too"
    )
    baseline.add_argument(
        "--time", metavar="COLUMN", help="when a row was, no feature: chance is learned from it; --model may say it"
    )
    baseline.set_defaults(command=_baseline)
    drift = commands.add_parser("drift", help="judge captures or a table against a baseline")
    drift.add_argument(
        "captures", type=Path, metavar="CAPTURES", help="a folder of captures, or a CSV or parquet table"
    )
    drift.add_argument("--baseline", type=Path, required=True, metavar="DIR", help="what `baseline` wrote")
    drift.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the analysis goes")
    drift.add_argument("--html", action="store_true", help="write drift.html too")
    drift.add_argument("--prediction", metavar="COLUMN", help="a table's column of answers; captures have their own")
    drift.add_argument("--time", metavar="COLUMN", help="when a table's row was; captures have their own times")
    drift.add_argument(
        "--answer",
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="NAME|INDEX",
        help="which of an answer's values is the prediction (0 is the first); the only one needs no word",
    )
    drift.add_argument("--start", type=_moment, metavar="TIME", help="first moment of the window, 2026-11-22T14:00:00Z")
    drift.add_argument("--end", type=_moment, metavar="TIME", help="first moment after the window")
    drift.set_defaults(command=_drift)
    power = commands.add_parser("power", help="how likely a gate promotes a better challenger, and a worse one")
    power.add_argument("--evaluation", type=Path, metavar="FILE", help="an episode's evaluation.json")
    power.add_argument(
        "--interval",
        type=float,
        metavar="SHARE",
        help=f"half the gain's interval on {USUAL.rows} rows, of the champion's error ({USUAL.half_width:g})",
    )
    power.add_argument("--model", type=Path, metavar="model.toml", help="whose [gate] margin and spans apply")
    power.add_argument("--rows", type=int, nargs="+", default=[200, 800, 3200, 12800], metavar="ROWS", help="held out")
    power.set_defaults(command=_power)
    operate.add_to(commands)
    return parser


def _init(options: argparse.Namespace) -> int:
    from retrain.model.propose import propose
    from retrain.report.terminal import progress

    if options.out.exists() and not options.force:
        raise Refused("schema_mismatch", f"{options.out}: the file exists: name another with --out, or say --force")
    table = open_table(options.data)
    with progress(f"reading {options.data.name}", options.data.stat().st_size) as advance:
        found = propose(table, options.label, options.task, options.leave_out, advance)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(found.text, encoding="utf-8")
    spec = found.spec
    print(f"{options.out}: {spec.task} model of {spec.label}, judged by {spec.metric}, from {found.rows:,} rows.")
    print(f"{_kinds(spec.kinds)}.")
    if spec.ignored:
        print(f"Texts, ignored, each with the reason in the file: {', '.join(spec.ignored)}.")
    for name, reason in found.left_out.items():
        print(f"Left out: {name}, {reason}.")
    for conflict in conflicts(plan_of(dict(options.deployed), found.plan)):
        print(f"{'Nothing would ever be trained' if conflict.never else 'Look'}: {conflict}.")
    print("Read it, and correct what you know better.")
    if isinstance(found.replay, str):
        print(f"The table can't be replayed through the loop: {found.replay}.")
        return 0
    replay = found.replay
    more = f" WINDOW={replay.window}" if replay.window else ""
    more += f" TRAIN={replay.train}" if replay.train > 1 else ""
    print("Then replay the table through the whole loop:")
    files = f"MODEL={quote(str(options.out))} DATA={quote(str(options.data))}"
    print(f"  make demo {files} TIME={quote(replay.time)}{more}")
    return 0


def _baseline(options: argparse.Namespace) -> int:
    from retrain.report.terminal import progress

    if options.model and options.leave_out:
        raise Refused("schema_mismatch", f"--leave-out: {options.model} says the features: remove the column there")
    table = open_table(options.data)
    columns: dict[str, Column] = {}
    steps = 1 + (not options.model) + bool(options.prediction)
    times = None
    with progress(f"reading {options.data.name}", steps * options.data.stat().st_size) as advance:
        if options.model:
            spec = read_spec(options.model)
            features = {feature.name: feature.type for feature in spec.features}
            monitor, origin = spec.monitor, f"from {options.model.name}"
            options.time = options.time or (spec.time if spec.time in table.header else None)
        else:
            columns = look(table, _features(table, options), advance)
            features = {name: column.kind for name, column in columns.items()}
            aside = tuple(name for name, column in columns.items() if column.nature)
            monitor, origin = MonitorOptions(ignored=aside), "inferred from the data"
        if options.time in features:
            raise Refused("schema_mismatch", f"{options.model}: {options.time} is a feature, so it can't be --time")
        if clash := next((name for name in features if name in {PREDICTION, options.prediction}), None):
            raise Refused(
                "schema_mismatch",
                f"{options.model or options.data}: {clash} names the model's answers and can't be a feature: "
                f"say --prediction {clash} and leave it out of the features, or rename it",
            )
        answers = (answer for [answer] in table.rows([options.prediction], advance)) if options.prediction else None
        statistics, constraints = baseline_of(table.rows(list(features), advance), features, monitor, answers)
        if options.time:
            moments = [moment for [moment] in table.rows([options.time])]
            times = read_times(moments, f"{options.data}, {options.time}")
            answers = (answer for [answer] in table.rows([options.prediction])) if options.prediction else None
            statistics = with_chance(statistics, table.rows(list(features)), times, answers)
    if not (count := statistics["dataset"]["item_count"]):
        raise Refused("too_few_rows", f"{options.data}: the file has a header and no row: rows are expected")
    _write(options.out, {"statistics": statistics, "constraints": constraints})
    print(f"Features {origin}: {_kinds(features)}.")
    for name, column in columns.items():
        if column.kind == "numeric" and column.odd:
            row, text = column.odd
            bad = column.present - column.numbers
            values = f"{bad:,} of {column.present:,} values {'is no number' if bad == 1 else 'are no numbers'}"
            print(f"  {name}: {values} (row {row}: {text[:40]!r}): missing in the baseline.")
        if column.nature:
            print(f"  {name}: {'an identifier' if column.nature == IDENTIFIER else 'a time'}, reported and not judged.")
    if options.prediction:
        print(f"Prediction: {options.prediction}.")
    print(f"Baseline of {count:,} rows: {options.out / 'statistics.json'}, {options.out / 'constraints.json'}")
    print(_span(times))
    return 0


def _span(times: Numbers | None) -> str:
    """What the baseline knows of its time, in a sentence."""
    known = np.empty(0) if times is None else times[np.isfinite(times)]
    if not len(known):
        return "No times: rows are taken for independent, and days that differ for drift. Name their column: --time."
    first, last = (clock.render(datetime.fromtimestamp(float(end), UTC)) for end in (known.min(), known.max()))
    return f"Chance is learned from {(known.max() - known.min()) / 86_400:.1f} days, {first} to {last}."


def _features(table: TableFile, options: argparse.Namespace) -> list[str]:
    if unknown := [name for name in options.leave_out if name not in table.header]:
        raise Refused(
            "schema_mismatch",
            f"{table.path}: --leave-out {unknown[0]}: there is no such column, it has {', '.join(table.header)}",
        )
    if names := [name for name in table.header if name not in {*options.leave_out, options.prediction, options.time}]:
        return names
    raise Refused("schema_mismatch", f"{table.path}: no column is left: remove a --leave-out")


def _kinds(features: Mapping[str, str]) -> str:
    kinds = {
        kind: [name for name, found in features.items() if found == kind]
        for kind in ("numeric", "categorical", "boolean")
    }
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:12])}{', …' if len(names) > 12 else ''})"
        for kind, names in kinds.items()
        if names
    )


def _drift(options: argparse.Namespace) -> int:
    from retrain.report.terminal import progress, show

    statistics, constraints = _read_baseline(options.baseline)
    if options.start and options.end and options.start >= options.end:
        raise Refused("capture_missing", f"--end: {clock.render(options.end)} is not after --start")
    evidence = find_evidence(options.captures, options.start, options.end)
    if options.prediction and not evidence.tabular:
        raise Refused("schema_mismatch", "--prediction: captures have their answers in them: leave it out")
    if options.time:
        if not evidence.tabular:
            raise Refused("schema_mismatch", "--time: captures have their times in them: leave it out")
        evidence.timed_by(options.time)
    statistics = with_answer(statistics, options.answer)
    if constraints.native and not evidence.tabular:
        before, statistics = statistics, told_apart(statistics, evidence.captures(list(statistics.features)))
        for name in before.features.keys() - statistics.features.keys():
            print(f"The baseline's column {name} is the answer's, the others are the question's.")
    if options.prediction and statistics.prediction is None:
        raise NoBaseline(f"{options.baseline}: it has no prediction to compare with: make it with --prediction")
    with progress(f"reading {options.captures.name}", evidence.size) as advance:
        analysis = analyse(
            evidence.captures(list(statistics.features), advance, options.prediction),
            statistics,
            constraints,
            evidence.asked,
            covered=evidence.covered if evidence.tabular else "told",
        )
    if evidence.tabular:
        analysis = replace(analysis, records=analysis.rows)
        if not analysis.rows:
            raise Refused(
                "capture_missing", f"{evidence.paths[0]}: the file has a header and no row: rows are expected"
            )
    window = evidence.window
    analysis = replace(analysis, window_start=window[0], window_end=window[1])
    documents = {
        "statistics": analysis.statistics(),
        "constraints": analysis.constraints(),
        "constraint_violations": analysis.constraint_violations(),
        "analysis": analysis.document(),
    }
    _write(options.out, documents)
    source = str(options.captures)
    if not evidence.tabular or evidence.covered:
        source += f", {clock.render(window[0])} to {clock.render(window[1])}"
    if options.html:
        from retrain.report.drift_page import render_drift

        page = render_drift(documents["analysis"], statistics, read_statistics(documents["statistics"]), source)
        (options.out / "drift.html").write_text(page, encoding="utf-8")
    name = "drift.html" if options.html else "analysis.json"
    show(documents["analysis"], source, f"More in {options.out / name}")
    return EXIT_CODES[analysis.verdict]


def _power(options: argparse.Namespace) -> int:
    gate = read_spec(options.model).gate if options.model else GateOptions()
    holdout, source = USUAL, f"flights whose days are in random order ({USUAL.rows} rows)"
    if options.evaluation:
        try:
            holdout = read_precision(json.loads(options.evaluation.read_text(encoding="utf-8")))
        except (ValueError, Refused) as error:
            raise Refused("schema_mismatch", f"{options.evaluation}: {error}") from error
        source = f"{options.evaluation} ({holdout.rows} rows)"
    elif options.interval is not None:
        holdout, source = replace(USUAL, half_width=options.interval), f"--interval, on {USUAL.rows} rows"
    if not holdout.half_width > 0 or min(options.rows) < 1:
        raise Refused("schema_mismatch", "--interval and --rows have to be more than 0")
    print("Of 100 challengers that are truly better by so much of the champion's error, so many are promoted.")
    print(f"Margin of proof {gate.margin:.1%}; interval of {source}, narrowing with the root of the rows.\n")
    print("\n".join(power_table(holdout, gate, options.rows)))
    return 0


def _read_baseline(folder: Path) -> tuple[Statistics, Constraints]:
    remedy = f"make one with `python -m retrain baseline TRAINING_DATA --out {folder}`"
    texts = {}
    for name in ("statistics.json", "constraints.json"):
        try:
            texts[name] = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NoBaseline(f"{folder}: it is no baseline, {name} is missing: {remedy}") from None
    statistics = read_statistics(texts["statistics.json"], str(folder / "statistics.json"))
    if not statistics.features:
        raise NoBaseline(f"{folder / 'statistics.json'}: it has no feature but {PREDICTION}: {remedy}")
    return statistics, read_constraints(texts["constraints.json"], str(folder / "constraints.json"))


def _write(folder: Path, documents: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _moment(text: str) -> datetime:
    try:
        return clock.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time with its zone: write it as 2026-11-22T14:00:00Z"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
