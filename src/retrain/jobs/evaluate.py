"""EvaluateChallenger: champion and challenger score the same rows, and the gate decides.

evaluation.json is what gate/document.py says of it; constraints.json is what the quality monitor holds the challenger
to, should it serve.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from retrain.gate.document import evaluation, plain
from retrain.gate.evidence import gather, score_rows
from retrain.gate.rules import judge
from retrain.jobs.entry import arguments, flag, run
from retrain.model.archive import load_model, read_lineage
from retrain.model.read_spec import read_spec
from retrain.model.table import read_table
from retrain.quality.verdict import QualityRules, suggest_constraints
from retrain.training.dataset import kinds, sha256
from retrain.training.lineage import verify_lineage

ARCHIVE = "model.tar.gz"


def main(texts: list[str] | None = None) -> int:
    """0 when evaluation.json is written, whatever the decision; 1 when nothing could be judged."""
    parser = arguments(__doc__, ("dataset", "challenger", "champion", "output"), ("evaluation-time",))
    parser.add_argument("--bootstrap", type=flag, required=True)
    return run(evaluate, parser.parse_args(texts))


def evaluate(options: argparse.Namespace) -> str:
    """evaluation.json and constraints.json are in the output folder; the decision in a sentence."""
    spec = read_spec(options.dataset / "model.toml")
    holdout, reference = (read_table(options.dataset / f"{part}.csv", kinds(spec)) for part in ("holdout", "reference"))
    archives = {"champion": options.champion / ARCHIVE, "challenger": options.challenger / ARCHIVE}
    lineage = read_lineage(archives["challenger"])
    hashes = verify_lineage(lineage, options.dataset, **archives)
    models = {name: load_model(archive) for name, archive in archives.items() if archive.exists()}
    champion, challenger = models.get("champion"), models["challenger"]
    scored = score_rows(spec, holdout, champion, challenger)
    evidence = gather(spec, scored, score_rows(spec, reference, champion, challenger), bootstrap=options.bootstrap)
    decision = judge(evidence, spec.gate)
    document = {
        "version": 0.0,
        "dataset": {"item_count": len(holdout), "evaluation_time": options.evaluation_time},
        **evaluation(spec, scored, evidence, decision, models=models, candidate=lineage["candidate"]),
        "training": lineage,
        **hashes,
    }
    rules = QualityRules(
        min_label_coverage=spec.dataset.min_label_coverage,
        max_bad_share=spec.dataset.max_bad_share,
        label_delay_hours=spec.monitor.label_delay_hours,
    )
    tolerance = spec.monitor.quality_tolerance
    demands = suggest_constraints(document, spec.task, tolerance, classes=challenger.encoder.classes, rules=rules)
    constraints = _write(options.output / "constraints.json", demands)
    written = _write(options.output / "evaluation.json", {**document, "constraints_sha256": constraints})
    # SageMaker keeps the message with the job, where nobody who can write to the bucket can change it.
    said = f"{decision.decision}, evaluation.json {written}"
    return "; ".join([said, *(f"{reason.code}: {reason.detail}" for reason in decision.reasons)])


def _write(file: Path, document: dict[str, Any]) -> str:
    """The SHA-256 of the file, which holds the document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain(document), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return sha256(file)


if __name__ == "__main__":
    sys.exit(main())
