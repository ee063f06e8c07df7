"""What a refusal says leaves the bucket, into logs, the ledger, mails, a machine's cause: no value of the data may."""

from __future__ import annotations

from dataclasses import replace

import pytest
from houses import END, MODEL, START, requests, table

from retrain.capture.ground_truth import Labels
from retrain.core.errors import Refused
from retrain.model.read_spec import parse_spec
from retrain.model.table import category
from retrain.training.dataset import Read, bootstrap_dataset, drift_dataset
from retrain.training.history import reference_of

CANARY = "canary-4711"
SPEC = parse_spec(MODEL)
BINARY = parse_spec(MODEL.replace("regression", "binary").replace("rmse", "auc"))


def refusal(asked, labels, spec=SPEC, reference=None):
    past = reference_of([bootstrap_dataset(spec, reference or table(500, seed=1)).kept])
    with pytest.raises(Refused) as refused:
        drift_dataset(spec, Read(asked, Labels(labels)), past, (START, END))
    return str(refused.value)


def changed(change):
    asked, labels = requests(table(400, seed=2))
    return [replace(request, rows=[change(row) for row in request.rows]) for request in asked], labels


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda row: [CANARY, row[1], row[2]], "schema_mismatch"),  # a text for a number
        (lambda row: [row[2], row[1], CANARY], "schema_mismatch"),
        (lambda row: [*row, CANARY], "schema_mismatch"),  # a column too many
        (lambda row: [CANARY], "schema_mismatch"),
    ],
)
def test_a_planted_value_is_in_no_refusal(change, code):
    said = refusal(*changed(change))
    assert said.startswith(code)
    assert CANARY not in said


def test_a_planted_id_that_gives_nearly_everything_is_not_named():
    asked, labels = requests(table(50, seed=2))
    rows, prices = requests(table(600, seed=3), per_request=600)
    said = refusal([*asked, replace(rows[0], id=CANARY)], {**labels, CANARY: prices[rows[0].id]})
    assert said.startswith("suspect_data")
    assert CANARY not in said


def test_planted_labels_are_not_named():
    asked, labels = requests(table(400, seed=2))
    said = refusal(asked, {name: [CANARY] * len(given) for name, given in labels.items()})
    assert said.startswith("schema_mismatch")
    assert CANARY not in said


def test_the_same_planted_class_for_every_row_is_not_named():
    with pytest.raises(Refused) as refused:
        bootstrap_dataset(BINARY, table(500, seed=1).having("price", category([CANARY] * 500)))
    assert CANARY not in str(refused.value)
