"""evaluation.json: Model Monitor's model-quality statistics of the challenger on the holdout, and what the gate saw.

Its size does not grow with the data: at most 20 segments, ten bins and ten spans of time per model, and the 30 most
important features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from retrain.gate.comparison import Comparison
from retrain.gate.evidence import Scored
from retrain.gate.power import GAINS, Precision, power
from retrain.gate.rules import (
    Decision,
    Evidence,
    assurance,
    given_up,
    segment_confidence,
    segment_limit,
    shortfall,
)
from retrain.model.archive import importance
from retrain.model.serving import Model
from retrain.model.spec import Spec
from retrain.quality.metrics import curve, model_quality, score
from retrain.training.cycle import partial

_SPANS = 10
_FEATURES = 30


def evaluation(
    spec: Spec,
    scored: Scored,
    evidence: Evidence,
    decision: Decision,
    *,
    models: Mapping[str, Model],
    lineage: Mapping[str, Any],
    cycle: Mapping[str, Any],
) -> dict[str, Any]:
    """The document's parts about the holdout that was `scored` by `models` (champion, if there is one; challenger).

    `lineage` is the challenger's, `cycle` what the holdout has of the traffic's. Numbers may be NaN; `plain` makes them
    JSON.
    """
    classes = models["challenger"].encoder.classes
    return {
        **model_quality(spec.task, scored.truth, scored.challenger, classes, spec.gate.seed),
        "gate": {
            **_gate(spec, evidence, decision, cycle),
            "candidate": lineage["candidate"],
            "refit": lineage.get("refit"),  # none of a model that was adopted
        },
        "segments": _segments(spec, evidence),
        "curves": {
            "kind": "residuals" if spec.task == "regression" else "reliability",
            **{name: [asdict(b) for b in curve(scored.truth, output)] for name, output in scored.models()},
        },
        "importance": {
            "measure": "total_gain",
            **{name: _largest(importance(model)) for name, model in models.items()},
        },
        "over_time": list(_over_time(spec, scored)),
    }


def plain(value: Any) -> Any:
    """What is no finite number is null: JSON has no NaN, and to the approver a missing number is missing evidence."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _gate(spec: Spec, evidence: Evidence, decision: Decision, cycle: Mapping[str, Any]) -> dict[str, Any]:
    holdout, reference = evidence.holdout, evidence.reference
    shown, unproven = assurance(evidence, spec.gate)
    return {
        "decision": decision.decision,
        "policy": spec.gate.policy,
        "insured": shown,
        "unproven": [*unproven, *partial(cycle)],
        "cycle": cycle,
        "reasons": [{"code": reason.code, "detail": reason.detail} for reason in decision.reasons],
        "metric": spec.metric,
        "direction": spec.direction,
        **_compared(holdout),
        "challenger": evidence.challenger,
        "confidence": spec.gate.confidence,
        "spans": spec.gate.spans,
        "margin": decision.margin,
        "reference": {
            "champion": reference.champion if reference else None,
            "challenger": reference.challenger if reference else None,
            "limit": decision.limit,
            "interval": [reference.low, reference.high] if reference else None,
        },
        "rows": {"holdout": evidence.holdout_rows, "reference": evidence.reference_rows},
        "fit": asdict(evidence.fit) if evidence.fit else None,
        "trade_off": spec.gate.trade_off,
        "given_up": given_up(evidence),
        "constant": evidence.constant,
        "own": asdict(evidence.own) if evidence.own else None,
        "contradicted": list(evidence.contradicted) if evidence.contradicted else None,
        "power": _power(spec, evidence),
        "shadow": asdict(evidence.shadow) if evidence.shadow else None,
    }


def _power(spec: Spec, evidence: Evidence) -> dict[str, float] | None:
    """How likely proof would promote a challenger on so many such rows that is truly better by so much of what the
    champion is short of perfect.
    """
    holdout = evidence.holdout
    short = shortfall(evidence.direction, holdout.champion) if holdout else 0.0
    if holdout is None or not short > 0 or not math.isfinite(holdout.high - holdout.low):
        return None
    proof = replace(spec.gate, policy="proof")
    half = (holdout.high - holdout.low) / 2 / short
    seen = Precision(evidence.holdout_rows, half, proof.spans, proof.confidence)
    return {f"{gain:g}": round(power(gain, seen, proof), 4) for gain in GAINS}


def _compared(comparison: Comparison | None) -> dict[str, Any]:
    return {
        "champion": comparison.champion if comparison else None,
        "challenger": comparison.challenger if comparison else None,
        "difference": comparison.difference if comparison else None,
        "interval": [comparison.low, comparison.high] if comparison else None,
    }


def _segments(spec: Spec, evidence: Evidence) -> list[dict[str, Any]]:
    confidence = segment_confidence(spec.gate, sum(s.comparison is not None for s in evidence.segments))
    return [
        {
            "feature": segment.feature,
            "level": None if segment.level is None else segment.level[:100],
            "rows": segment.rows,
            **_compared(segment.comparison),
            "confidence": confidence,
            "limit": segment_limit(segment, evidence.direction, spec.gate),
            "why": segment.why,
        }
        for segment in evidence.segments
    ]


def _over_time(spec: Spec, scored: Scored) -> Iterator[dict[str, Any]]:
    """The main metric of both models in spans of equally many rows, in the order of time; None where undefined."""
    for index in np.array_split(np.arange(len(scored.truth)), min(_SPANS, max(len(scored.truth), 1))):
        part = scored.take(index)
        yield {"rows": len(index), **{name: score(spec.metric, part.truth, output) for name, output in part.models()}}


def _largest(shares: dict[str, float]) -> dict[str, float]:
    """The features with the largest shares, in their order."""
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:_FEATURES])
