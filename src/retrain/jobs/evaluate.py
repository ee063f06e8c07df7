"""EvaluateChallenger: champion and challenger score the same rows, and the gate decides.

evaluation.json is what gate/document.py says of it; constraints.json is what the quality monitor holds the challenger
to, should it serve.

The challenger is the model that has not seen the holdout. What would serve is its refit on all rows, from the same
archive: its answers have to be as sane, and how far they are from its twin's the training has found out. On old rows,
whose labels the champion that serves has learned from, its own twin stands in for it. Then both archives are served,
and asked again what the window's captures hold: the shadow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retrain.gate.document import evaluation, plain
from retrain.gate.evidence import gather, level_of, score_rows
from retrain.gate.rules import judge
from retrain.gate.shadow import Shadow, replay, served
from retrain.jobs.entry import arguments, files, flag, run
from retrain.model.archive import importance, load_model, load_twin, read_lineage
from retrain.model.read_spec import read_spec
from retrain.model.serving import Model
from retrain.model.spec import RESERVED, Spec
from retrain.model.table import Table, read_table
from retrain.model.values import Numbers
from retrain.quality.days import DECIDING, learn_main
from retrain.quality.decay import Judged, split_decay
from retrain.quality.estimate import learn_estimator
from retrain.quality.labels import learn_labels
from retrain.quality.verdict import QualityRules, suggest_constraints
from retrain.training.adoption import NAME as ADOPTED
from retrain.training.candidates import encode, truth
from retrain.training.dataset import TIME, kinds, sha256, timed, verify_dataset
from retrain.training.lineage import verify_lineage

ARCHIVE = "model.tar.gz"


def main(texts: list[str] | None = None) -> int:
    """0 when evaluation.json is written, whatever the decision; 1 when nothing could be judged."""
    folders = ("dataset", "captures", "challenger", "champion", "reference", "output")
    parser = arguments(__doc__, folders, ("evaluation-time",))
    parser.add_argument("--bootstrap", type=flag, required=True)
    return run(evaluate, parser.parse_args(texts))


def evaluate(options: argparse.Namespace) -> str:
    """evaluation.json and constraints.json are in the output folder; the decision in a sentence."""
    spec = read_spec(options.dataset / "model.toml")
    wanted = {**kinds(spec), TIME: "numeric"}
    holdout, reference = (
        read_table(options.dataset / f"{part}.csv", wanted, optional=[TIME]) for part in ("holdout", "reference")
    )
    archives = {"champion": options.champion / ARCHIVE, "challenger": options.challenger / ARCHIVE}
    lineage = read_lineage(archives["challenger"])
    manifest = verify_dataset(options.dataset)
    hashes = verify_lineage(lineage, options.dataset, **archives)
    adopted = options.bootstrap and lineage["candidate"] == ADOPTED  # what serves is the challenger, and no champion
    if adopted:
        hashes |= {"champion_sha256": None, "adopted_sha256": hashes["champion_sha256"]}
    challenger = load_twin(archives["challenger"])
    compared = archives["champion"].exists() and not adopted
    champion, twin = (load(archives["champion"]) if compared else None for load in (load_model, load_twin))
    scored = score_rows(spec, holdout, champion, challenger)
    own = _own(spec, options.reference, twin) if twin else None
    serving = load_model(archives["challenger"])
    evidence = gather(
        spec,
        scored,
        score_rows(spec, reference, twin, challenger),
        bootstrap=options.bootstrap,
        own=level_of(spec, own.truth, own.output) if own else None,
        serving=serving.predict(encode(challenger.encoder, holdout)),
        shadow=_shadow(spec, options.captures, archives, serving) if champion else None,
    )
    decision = judge(evidence, spec.gate)
    models = {**({"champion": champion} if champion else {}), "challenger": challenger}
    document = {
        "version": 0.0,
        "dataset": {"item_count": len(holdout), "evaluation_time": options.evaluation_time},
        **evaluation(spec, scored, evidence, decision, models=models, lineage=lineage, cycle=manifest["cycle"]),
        "decay": _decay(spec, own, holdout, scored.truth, twin) if own and twin else None,
        "training": lineage,
        **hashes,
    }
    rules = QualityRules(
        min_label_coverage=spec.dataset.min_label_coverage,
        max_bad_share=spec.dataset.max_bad_share,
        label_delay_hours=spec.monitor.label_delay_hours,
        false_alarms_per_year=spec.monitor.false_alarms_per_year,
        evidence_rows=spec.least_rows,
        label_reach=spec.dataset.min_label_reach,
        cycle_hours=manifest["cycle"]["hours"],
        training_dollars=spec.economics.training_dollars,
        error_dollars=spec.economics.error_dollars,
        prediction=spec.monitor.prediction,
    )
    tolerance = spec.monitor.quality_tolerance
    times, classes = timed(holdout).numbers(TIME), challenger.encoder.classes
    main = learn_main(spec.metric, scored.truth, scored.challenger, times)
    labels = learn_labels(scored.truth, classes, times)
    estimator = learn_estimator(
        DECIDING.get(spec.metric, spec.metric),
        holdout,
        scored.truth,
        scored.challenger,
        _kinds(spec),
        classes=classes,
        gains=importance(challenger),
    )
    demands = suggest_constraints(
        document, spec.task, tolerance, classes=classes, rules=rules, main=main, estimator=estimator, labels=labels
    )
    constraints = _write(options.output / "constraints.json", demands)
    written = _write(options.output / "evaluation.json", {**document, "constraints_sha256": constraints})
    # SageMaker keeps the message with the job, where nobody who can write to the bucket can change it.
    said = f"{decision.decision}, evaluation.json {written}"
    return "; ".join([said, *(f"{reason.code}: {reason.detail}" for reason in decision.reasons)])


def _shadow(spec: Spec, captures: Path, archives: Mapping[str, Path], judged: Model) -> Shadow:
    """What came of asking both models again what the window's captures hold."""
    lines = (line for _, found in files(captures) for line in found)
    with TemporaryDirectory() as folder:
        champion, challenger = (served(archives[name], Path(folder) / name) for name in ("champion", "challenger"))
        return replay(spec, lines, champion=champion, challenger=challenger, judged=judged)


def _own(spec: Spec, dataset: Path, champion: Model) -> Judged:
    """The holdout by which the champion's twin was judged itself, with its answers."""
    verify_dataset(dataset)
    wanted = {name: kind for name, kind in kinds(spec).items() if not name.startswith(RESERVED)}
    rows = read_table(dataset / "holdout.csv", wanted)
    return Judged(rows, truth(spec, champion.encoder, rows), champion.predict(encode(champion.encoder, rows)))


def _decay(spec: Spec, own: Judged, holdout: Table, labels: Numbers, twin: Model) -> dict[str, Any]:
    """Why the champion's twin is worse on the new rows than on its own holdout, if it is."""
    new = Judged(holdout, labels, twin.predict(encode(twin.encoder, holdout)))
    return split_decay(spec.metric, own, new, _kinds(spec), classes=twin.encoder.classes, gains=importance(twin))


def _kinds(spec: Spec) -> dict[str, str]:
    """The features' kinds, in the order of a request."""
    return {feature.name: feature.type for feature in spec.features}


def _write(file: Path, document: dict[str, Any]) -> str:
    """The SHA-256 of the file, which holds the document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain(document), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return sha256(file)


if __name__ == "__main__":
    sys.exit(main())
