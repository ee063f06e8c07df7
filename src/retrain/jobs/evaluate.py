"""EvaluateChallenger: champion and challenger score the same rows, and the gate decides."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from retrain.dataset import kinds, sha256
from retrain.evaluation import Comparison, Numbers, compare, model_quality, score
from retrain.gate import Decision, Evidence, Sanity, judge
from retrain.jobs.artifact import load_model
from retrain.jobs.entry import arguments, flag, run
from retrain.jobs.inference import Model
from retrain.spec import Spec, read_spec
from retrain.table import Table, read_table
from retrain.training import encode, truth


def main(texts: list[str] | None = None) -> int:
    """0 when evaluation.json is written, whatever the decision; 1 when nothing could be judged."""
    parser = arguments(__doc__, ("dataset", "challenger", "champion", "output"), ("evaluation-time",))
    parser.add_argument("--bootstrap", type=flag, required=True)
    return run(evaluate, parser.parse_args(texts))


def evaluate(options: argparse.Namespace) -> str:
    """evaluation.json is in the output folder; the decision in a sentence."""
    spec = read_spec(options.dataset / "model.toml")
    holdout, reference = (read_table(options.dataset / f"{part}.csv", kinds(spec)) for part in ("holdout", "reference"))
    archive = options.challenger / "model.tar.gz"
    challenger = load_model(archive)
    champion_archive = options.champion / "model.tar.gz"
    champion = load_model(champion_archive) if champion_archive.exists() else None
    labels, output = truth(spec, challenger.encoder, holdout), challenger.predict(encode(challenger.encoder, holdout))
    evidence = Evidence(
        metric=spec.metric,
        direction=spec.direction,
        bootstrap=options.bootstrap,
        has_champion=champion is not None,
        holdout_rows=len(holdout),
        reference_rows=len(reference),
        challenger=score(spec.metric, labels, output),
        holdout=_compare(spec, holdout, champion, challenger),
        reference=_compare(spec, reference, champion, challenger),
        sanity=sanity(labels, output),
    )
    decision = judge(evidence, spec.gate)
    document = {
        "version": 0.0,
        "dataset": {"item_count": len(holdout), "evaluation_time": options.evaluation_time},
        **model_quality(spec.task, labels, output, challenger.encoder.classes, spec.gate.seed),
        "gate": _gate(spec, evidence, decision, _candidate(archive)),
        "model_sha256": sha256(archive),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, allow_nan=False)
    (options.output / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    return "; ".join([decision.decision, *(f"{reason.code}: {reason.detail}" for reason in decision.reasons)])


def _compare(spec: Spec, rows: Table, champion: Model | None, challenger: Model) -> Comparison | None:
    """The comparison on those rows, each model encoding them its own way; None without rows or champion."""
    if champion is None or not len(rows):
        return None
    return compare(
        spec.metric,
        spec.direction,
        truth(spec, challenger.encoder, rows),
        champion.predict(encode(champion.encoder, rows)),
        challenger.predict(encode(challenger.encoder, rows)),
        confidence=spec.gate.confidence,
        resamples=spec.gate.resamples,
        seed=spec.gate.seed,
    )


def sanity(labels: Numbers, output: Numbers) -> Sanity:
    """What the gate wants to know about predictions; the labels' span of class probabilities is 0 to 1."""
    finite = output[np.isfinite(output)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    regression_like = output.ndim == 1
    return Sanity(
        missing=int(output.size - finite.size),
        low=low,
        high=high,
        label_low=float(labels.min()) if regression_like else 0.0,
        label_high=float(labels.max()) if regression_like else 1.0,
        constant=low == high and bool(np.any(labels != labels[0])),
    )


def _candidate(archive: Path) -> str:
    """Which candidate the challenger is, as its lineage says."""
    import tarfile

    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith("code/lineage.json") and (file := tar.extractfile(member)):
                return str(json.load(file)["candidate"])
    return "unknown"


def _gate(spec: Spec, evidence: Evidence, decision: Decision, candidate: str) -> dict[str, Any]:
    holdout, reference = evidence.holdout, evidence.reference
    return {
        "decision": decision.decision,
        "reasons": [{"code": reason.code, "detail": reason.detail} for reason in decision.reasons],
        "metric": spec.metric,
        "direction": spec.direction,
        "champion": holdout.champion if holdout else None,
        "challenger": evidence.challenger,
        "difference": holdout.difference if holdout else None,
        "interval": [holdout.low, holdout.high] if holdout else None,
        "confidence": spec.gate.confidence,
        "margin": decision.margin,
        "reference": {
            "champion": reference.champion if reference else None,
            "challenger": reference.challenger if reference else None,
            "limit": decision.limit,
        },
        "rows": {"holdout": evidence.holdout_rows, "reference": evidence.reference_rows},
        "candidate": candidate,
    }


if __name__ == "__main__":
    sys.exit(main())
