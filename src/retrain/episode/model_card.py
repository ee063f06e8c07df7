"""What the Model Registry tells about a challenger: its lineage from alarm to endpoint, and its model card.

The pipeline's definition is static, so nothing that a run finds out can be in its RegisterModel step. The approver
knows it all, once the evidence is verified, and adds it to the registered package.

Format: "Model package model card schema", SageMaker Developer Guide, View the Details of a Model Version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from retrain.core import names

STATUS = "PendingReview"  # of the card: a person's review of it is not the approval of the package
_LIMIT = 256  # characters of a metadata value
_UNUSUAL = re.compile(r"[^\w .:/=+\-@]")  # what a metadata value may not hold
_METRICS = 20  # of a group


def lineage(item: Mapping[str, Any], champion: Mapping[str, Any] | None) -> dict[str, str]:
    """The package's metadata: what raised the alarm, what ran, on which data, against whom, and where it will serve.

    `item` is the episode in the ledger, `champion` the one it challenges. At most 50 entries of 256 characters.

    >>> lineage({"cause": "an alarm (of drift)", "pk": "EPISODE#flights-1"}, None)
    {'alarm': 'an alarm  of drift ', 'endpoint_config': 'flights-1'}
    """
    known = {
        "alarm": item.get("cause"),
        "raised_at": item.get("opened_at"),
        "state_machine_execution": item.get("execution_arn"),
        "pipeline_execution": item.get("pipeline_execution_arn"),
        "window_start": item.get("window_start"),
        "window_end": item.get("window_end"),
        "dataset_sha256": item.get("dataset_sha256"),
        "model_sha256": item.get("model_sha256"),
        "champion_package": champion and champion.get("model_package_arn"),
        "champion_sha256": champion and champion.get("model_sha256"),
        "shadow": item.get("shadow_summary"),
        "endpoint_config": names.endpoint_config_name(str(item["pk"]).removeprefix("EPISODE#")),
    }
    return {key: _UNUSUAL.sub(" ", str(value))[:_LIMIT] for key, value in known.items() if value}


def shadow(gate: Mapping[str, Any]) -> str:
    """What came of the shadow, in a sentence; empty where the gate had none.

    >>> shadow({"shadow": {"asked": 500, "requests": 498, "failed": 0, "rows": 498, "unlike": 0, "difference": 0.213,
    ...                    "champion_ms": 1.0, "challenger_ms": 1.2}})
    'answered 498 of 498 requests, 0.213 from the champion, in 1.2 ms where it takes 1'
    """
    if not (found := gate.get("shadow")):
        return ""
    if not found["requests"]:
        return f"none of {found['asked']} requests could be asked again"
    apart = "" if found["difference"] is None else f", {found['difference']:.3g} from the champion"
    unlike = f", {found['unlike']} of {found['rows']} rows otherwise than judged" if found["unlike"] else ""
    return (
        f"answered {found['requests'] - found['failed']} of {found['requests']} requests{apart}{unlike}, "
        f"in {found['challenger_ms']:.3g} ms where it takes {found['champion_ms']:.3g}"
    )


def model_card(
    evaluation: Mapping[str, Any], item: Mapping[str, Any], package: Mapping[str, Any], origin: Mapping[str, str]
) -> str:
    """The card's content: one line of JSON. `origin` is the lineage."""
    container = package["InferenceSpecification"]["Containers"][0]
    gate = evaluation["gate"]
    dataset = str(item["dataset_uri"])
    content = {
        "model_overview": {"model_creator": "drift-retrain", "model_artifact": [container["ModelDataUrl"]]},
        "intended_uses": {
            "intended_uses": f"Answers the requests of the SageMaker endpoint {item['endpoint_name']}.",
            "risk_rating": "Unknown",
        },
        "training_details": {
            "training_observations": f"Candidate {gate.get('candidate')}, the best on the validation slice.",
            "training_job_details": {
                "training_datasets": [f"{dataset}/train.csv", f"{dataset}/validation.csv"],
                "training_environment": {"container_image": [str(container.get("Image", ""))]},
            },
        },
        "evaluation_details": list(_evaluations(evaluation, str(item["gate_summary"]), dataset)),
        "additional_information": {
            "caveats_and_recommendations": (
                "Proven on the newest labelled rows of one drift window. Roll-out is watched, and rolled back on alarm."
            ),
            "custom_details": dict(origin),
        },
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _evaluations(evaluation: Mapping[str, Any], summary: str, dataset: str) -> Iterator[dict[str, Any]]:
    """Drift holdout and, if there is a champion, the reference holdout."""
    gate = evaluation["gate"]
    metric = str(gate.get("metric"))
    interval = gate.get("interval") or [None, None]
    numbers = {
        f"{metric} of the challenger": gate.get("challenger"),
        f"{metric} of the champion": gate.get("champion"),
        "better by": gate.get("difference"),
        "interval, lower bound": interval[0],
        "interval, upper bound": interval[1],
        "margin": gate.get("margin"),
        "rows": (gate.get("rows") or {}).get("holdout"),
    }
    segments = {
        f"{segment['feature']}={segment['level']}, better by": segment["difference"]
        for segment in evaluation.get("segments", [])
        if segment["difference"] is not None
    }
    yield {
        "name": "drift holdout",
        "evaluation_observation": summary[:2000],
        "datasets": [f"{dataset}/holdout.csv"],
        "metric_groups": [
            {"name": name, "metric_data": metrics}
            for name, metrics in (("gate", _metrics(numbers)), ("segments", _metrics(segments)))
            if metrics
        ],
    }
    reference = gate.get("reference") or {}
    numbers = {f"{metric} of the {who}": reference.get(who) for who in ("challenger", "champion", "limit")}
    if metrics := _metrics(numbers):
        yield {
            "name": "reference holdout",
            "datasets": [f"{dataset}/reference.csv"],
            "metric_groups": [{"name": "forgetting", "metric_data": metrics}],
        }


def _metrics(numbers: Mapping[str, float | None]) -> list[dict[str, Any]]:
    return [
        {"name": name[:255], "type": "number", "value": value} for name, value in numbers.items() if value is not None
    ][:_METRICS]
