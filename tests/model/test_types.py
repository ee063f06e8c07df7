"""Booleans and texts, from the table to the answer and to the drift of it."""

import json
from datetime import timedelta

import numpy as np
import pytest
from houses import END, START

from retrain.capture.ground_truth import Labels
from retrain.capture.records import Capture
from retrain.core.errors import Refused
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.constraints import read_constraints
from retrain.model import serving
from retrain.model.read_spec import parse_spec
from retrain.model.serving import JSON, BadRequestError, Encoder, predict, read_rows
from retrain.model.table import read_table
from retrain.model.values import parse_flags
from retrain.training.candidates import encode, train
from retrain.training.dataset import Read, bootstrap_dataset, drift_dataset, kinds, read_reference, write_dataset

MODEL = """\
[model]
label = "y"
task = "regression"
metric = "rmse"
[features]
x = "numeric"
paid = "boolean"
remarks = "text"
[hyperparameters]
num_boost_round = 20
[dataset]
min_rows = 100
[gate]
min_rows = 20
"""
YES, NO = ("True", "yes", "1", "T", " on "), ("False", "no", "0", "F", "off")


@pytest.fixture
def spec():
    return parse_spec(MODEL)


def flags(count: int, seed: int = 0, share: float = 0.5) -> list[bool]:
    return (np.random.default_rng(seed).random(count) < share).tolist()


def csv_of(folder, paid: list[str], known: list[bool]):
    path = folder / "train.csv"
    rows = enumerate(zip(paid, known, strict=True))
    lines = [f'"said, ""{n}""",{n % 7},{text},{5 * flag + n % 7}' for n, (text, flag) in rows]
    path.write_text("remarks,x,paid,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def initial(spec):
    return {name: kind for name, kind in kinds(spec).items() if not name.startswith("__")}


@pytest.fixture
def first(spec, tmp_path):
    known = flags(400)
    spelled = [(YES if flag else NO)[n % 5] for n, flag in enumerate(known)]
    return bootstrap_dataset(spec, read_table(csv_of(tmp_path, spelled, known), initial(spec)))


@pytest.mark.parametrize(("text", "value"), [(text, 1.0) for text in YES] + [(text, 0.0) for text in NO])
def test_a_boolean_may_be_spelled_in_many_ways(text, value):
    values, bad = parse_flags([text])
    assert (values.tolist(), bad.tolist()) == ([value], [False])


def test_a_missing_boolean_is_missing_and_another_word_is_bad():
    values, bad = parse_flags(["", "NaN", "maybe", "2"])
    assert np.isnan(values).all()
    assert bad.tolist() == [False, False, True, True]


def test_a_word_that_is_no_boolean_is_refused_with_its_place(spec, tmp_path):
    with pytest.raises(Refused, match=r"train.csv, line 3: paid: 'maybe' is neither true nor false"):
        read_table(csv_of(tmp_path, ["yes", "maybe"], [True, True]), initial(spec))


def test_texts_are_in_no_file_of_the_dataset(spec, first, tmp_path):
    write_dataset(tmp_path / "out", first, MODEL.encode(), "e1")
    assert (tmp_path / "out" / "train.csv").read_text().splitlines()[0] == "x,paid,y,__age,__original,__time"
    assert len(read_reference(tmp_path / "out", spec).rows) == 400


def test_every_spelling_gets_the_same_answer_and_another_word_a_400(spec, first):
    model = train(spec, first.parts["train"], first.parts["validation"], None).model
    again = serving.Model(model.booster, Encoder.load(model.encoder.dump()))
    assert again.encoder == model.encoder
    yes = {predict([["3", text]], again)[0] for text in YES}
    no = {predict([["3", text]], again)[0] for text in NO}
    assert len(yes) == len(no) == 1
    assert yes != no
    with pytest.raises(BadRequestError, match="row 1, column paid: 'maybe' is neither true nor false"):
        predict([["3", "maybe"]], again)


def test_a_request_by_column_name_may_carry_the_text(spec, first):
    model = train(spec, first.parts["train"], first.parts["validation"], None).model
    row = {"x": 3, "paid": True}
    rows = [read_rows(json.dumps(body), JSON) for body in (row, {**row, "remarks": "none"})]
    assert predict(rows[0], model) == predict(rows[1], model)
    with pytest.raises(BadRequestError, match="unknown columns: other"):
        predict(read_rows(json.dumps({**row, "other": 1}), JSON), model)


def test_training_sees_what_serving_sees(spec, first):
    model = train(spec, first.parts["train"], first.parts["validation"], None).model
    rows = first.parts["holdout"]
    values = zip(rows.numbers("x"), rows.numbers("paid"), strict=True)
    texts = [[f"{x:g}", "yes" if paid else "no"] for x, paid in values]
    np.testing.assert_array_equal(model.encoder.encode(texts), encode(model.encoder, rows))


def asked(paid: list[str]) -> tuple[list[Capture], Labels]:
    step = (END - START) / (len(paid) + 1)
    captures = [Capture(f"r{n:04d}", START + step * n, [[str(n % 7), text]], []) for n, text in enumerate(paid)]
    return captures, Labels({capture.id: ("1",) for capture in captures})


def test_captured_booleans_are_joined_in_any_spelling(spec, first, tmp_path):
    write_dataset(tmp_path / "out", first, MODEL.encode(), "e1")
    reference = read_reference(tmp_path / "out", spec)
    dataset = drift_dataset(spec, Read(*asked([("yes", "0")[n % 2] for n in range(200)])), reference, (START, END))
    assert set(dataset.parts["holdout"].numbers("paid")) == {0.0, 1.0}
    with pytest.raises(Refused, match="paid: 200 of 200 captured values are not booleans"):
        drift_dataset(spec, Read(*asked(["maybe"] * 200)), reference, (START, END))


def captured(texts: list[str]):
    for number, text in enumerate(texts):
        data = {"endpointInput": {"data": f"{text}\n", "encoding": "CSV", "mode": "INPUT"}}
        moment = (START + timedelta(seconds=number)).isoformat()
        yield json.dumps({"captureData": data, "eventMetadata": {"eventId": f"e{number}", "inferenceTime": moment}})


@pytest.fixture
def baseline():
    rows = [[YES[n % 5] if n % 2 else NO[n % 5]] for n in range(1000)]
    statistics, constraints = baseline_of(rows, {"paid": "boolean"})
    assert constraints["features"][0]["string_constraints"] == {"domains": ["false", "true"]}
    return read_statistics(json.dumps(statistics)), read_constraints(json.dumps(constraints))


def test_another_spelling_of_a_boolean_is_no_drift(baseline):
    found = analyse([("a.jsonl", captured(["Y", "n"] * 400))], *baseline, (START, END)).features[0]
    assert (found.verdict.value, found.distance, found.new_categories) == ("STABLE", 0.0, 0)


def test_another_share_of_a_boolean_is_drift(baseline):
    found = analyse([("a.jsonl", captured((["Y"] * 9 + ["n"]) * 100))], *baseline, (START, END)).features[0]
    assert found.verdict.value == "DRIFTED"
    assert found.distance == pytest.approx(0.4)
