"""The model card and the lineage fit what the Model Registry takes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from sagemaker.core.shapes.model_card_shapes import ModelCardContent

from retrain.episode.model_card import lineage, model_card

ITEM = {
    "pk": "EPISODE#flights-20130401-000041-3f78186c",
    "endpoint_name": "flights",
    "cause": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:drift, (max > 0.3) ✓" + "x" * 300,
    "dataset_uri": "s3://bucket/episodes/flights/dataset",
    "gate_summary": "promote: rmse 20 -> 12, better by 7 to 9",
    "model_sha256": "0" * 64,
    "execution_arn": None,
}
PACKAGE = {"InferenceSpecification": {"Containers": [{"ModelDataUrl": "s3://b/m.tar.gz", "Image": "image"}]}}
SEGMENT = {"feature": "carrier", "level": "AA", "difference": 1.5}
EVALUATION = {
    "gate": {
        "metric": "rmse",
        "champion": 20.0,
        "challenger": 12.0,
        "difference": 8.0,
        "interval": [7.0, 9.0],
        "margin": 0.2,
        "candidate": "scratch",
        "rows": {"holdout": 800, "reference": 300},
        "reference": {"champion": 10.0, "challenger": 10.5, "limit": 11.5},
    },
    "segments": [SEGMENT, {**SEGMENT, "level": None, "difference": None}],
}
BOOTSTRAP = {"gate": {"metric": "rmse", "challenger": 12.0, "champion": None, "interval": None}, "segments": []}


@pytest.mark.parametrize("evaluation", [EVALUATION, BOOTSTRAP])
def test_the_card_is_one_line_that_the_documented_schema_takes(evaluation: dict[str, Any]) -> None:
    card = model_card(evaluation, ITEM, PACKAGE, lineage(ITEM, None))
    assert "\n" not in card  # ModelCardContent has the pattern .*
    assert len(card) < 100_000
    content = json.loads(card)
    read = ModelCardContent.model_validate(content)
    assert read.model_dump(mode="json", exclude_unset=True) == content  # the schema knows every field


def test_the_card_shows_the_gates_numbers() -> None:
    drift, reference = json.loads(model_card(EVALUATION, ITEM, PACKAGE, {}))["evaluation_details"]
    shown = {m["name"]: m["value"] for group in drift["metric_groups"] for m in group["metric_data"]}
    assert shown == {
        "rmse of the challenger": 12.0,
        "rmse of the champion": 20.0,
        "better by": 8.0,
        "interval, lower bound": 7.0,
        "interval, upper bound": 9.0,
        "margin": 0.2,
        "rows": 800,
        "carrier=AA, better by": 1.5,
    }
    assert len(reference["metric_groups"][0]["metric_data"]) == 3


def test_metadata_holds_what_the_registry_allows() -> None:
    champion = {"model_package_arn": "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/1"}
    found = lineage(ITEM, champion)
    assert found["champion_package"] == champion["model_package_arn"]
    assert "state_machine_execution" not in found  # there is none
    for key, value in found.items():
        assert re.fullmatch(r"[\w .:/=+\-@]{1,128}", key)
        assert re.fullmatch(r"[\w .:/=+\-@]{1,256}", value)
