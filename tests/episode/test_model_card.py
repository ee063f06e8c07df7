"""The model card and the lineage fit what the Model Registry takes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from judged import BOOTSTRAP, EVALUATION, ITEM, PACKAGE

from retrain.episode.model_card import lineage, model_card


@pytest.mark.parametrize("evaluation", [EVALUATION, BOOTSTRAP])
def test_the_card_is_one_line_of_json(evaluation: dict[str, Any]) -> None:
    card = model_card(evaluation, ITEM, PACKAGE, lineage(ITEM, None))
    assert "\n" not in card  # ModelCardContent has the pattern .*
    assert len(card) < 100_000
    assert set(json.loads(card)) >= {"model_overview", "evaluation_details"}


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
