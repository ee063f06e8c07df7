"""The model card has the schema that the SageMaker SDK knows: `make test-sdk`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from judged import BOOTSTRAP, EVALUATION, ITEM, PACKAGE
from sagemaker.core.shapes.model_card_shapes import ModelCardContent

from retrain.episode.model_card import lineage, model_card


@pytest.mark.parametrize("evaluation", [EVALUATION, BOOTSTRAP])
def test_the_schema_knows_every_field_of_the_card(evaluation: dict[str, Any]) -> None:
    content = json.loads(model_card(evaluation, ITEM, PACKAGE, lineage(ITEM, None)))
    assert ModelCardContent.model_validate(content).model_dump(mode="json", exclude_unset=True) == content
