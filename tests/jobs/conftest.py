"""The small model of houses, its specification and the dataset that its champion was made of."""

import houses
import pytest

from retrain.model.spec import Spec, parse_spec
from retrain.model.table import concat
from retrain.training.dataset import Reference, bootstrap_dataset


@pytest.fixture
def spec() -> Spec:
    return parse_spec(houses.MODEL)


@pytest.fixture
def reference(spec: Spec) -> Reference:
    parts = bootstrap_dataset(spec, houses.table(600, seed=1)).parts
    return Reference(concat([parts["train"], parts["validation"]]), concat([parts["reference"], parts["holdout"]]))
