"""Serving: the file that the artefact carries, run with nothing of this project beside it."""

import importlib.util
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from houses import table, texts

from retrain.model import serving
from retrain.model.serving import CSV, JSON, BadRequestError, model_fn, transform_fn
from retrain.training.candidates import encode, train
from retrain.training.dataset import bootstrap_dataset

ROWS = "50,3,Aa\n120.5,,Bo\n80,7,Nowhere\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An unpacked artefact."""
    import houses

    from retrain.model.read_spec import parse_spec

    spec = parse_spec(houses.MODEL)
    parts = bootstrap_dataset(spec, table(600, seed=1)).parts
    model = train(spec, parts["train"], parts["validation"], None).model
    folder = tmp_path_factory.mktemp("model")
    (folder / "code").mkdir()
    model.booster.save_model(folder / serving.MODEL)
    (folder / serving.ENCODER).write_text(model.encoder.dump())
    shutil.copyfile(serving.__file__, folder / "code" / "inference.py")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path):
    return model_fn(str(folder))


def answer(model, body, content_type=CSV, accept=CSV):
    return transform_fn(model, body, content_type, accept)


def test_each_row_gets_one_line(model):
    body, content_type = answer(model, ROWS)
    assert content_type == CSV
    assert len([float(line) for line in body.splitlines()]) == 3


def test_csv_and_json_of_any_shape_get_the_same_predictions(model):
    expected = [float(line) for line in answer(model, ROWS)[0].split()]
    lists = [[50, 3, "Aa"], [120.5, None, "Bo"], [80, 7, "Nowhere"]]
    objects = [dict(zip(("town", "size", "age"), (row[2], row[0], row[1]), strict=True)) for row in lists]
    wrapped = [{"features": row} for row in (lists[0], objects[1], lists[2])]
    for document in (lists, objects, {"instances": lists}, {"instances": objects}, wrapped, {"instances": wrapped}):
        body, content_type = answer(model, json.dumps(document), JSON, JSON)
        assert content_type == JSON
        assert json.loads(body) == {"predictions": expected}
    assert answer(model, json.dumps(lists[0]), JSON)[0].split() == [str(expected[0])]
    assert answer(model, json.dumps(objects[0]), JSON)[0].split() == [str(expected[0])]


def test_serving_predicts_what_training_evaluated(model):
    rows = table(50, seed=9)
    body = "".join(",".join(row) + "\n" for row in texts(rows)[0])
    served = [float(line) for line in answer(model, body)[0].split()]
    # Requests carry six digits of a number.
    assert served == pytest.approx(model.predict(encode(model.encoder, rows)).tolist(), rel=1e-2)


@pytest.mark.parametrize(
    "body",
    [
        ROWS.encode(),
        bytearray(ROWS.encode()),
        b"\xef\xbb\xbf" + ROWS.encode(),
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
    ],
)
def test_a_body_may_come_as_text_or_bytes(model, body):
    assert answer(model, body) == answer(model, ROWS)


@pytest.mark.parametrize("accept", ["", "*/*", "text/csv; charset=utf-8", "text/html, text/csv"])
def test_csv_is_what_is_given_when_nothing_else_is_asked_for(model, accept):
    assert answer(model, ROWS, accept=accept)[1] == CSV


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        ("50,3\n", CSV, 400, "row 1 has 2 columns, 3 are expected: size, age, town"),
        ("50,3,Aa\n50,3,Aa,1\n", CSV, 400, "row 2 has 4 columns, 3 are expected"),
        ("size,age,town\n50,3,Aa\n", CSV, 400, "row 1, column size: 'size' is not a number"),
        ("50,inf,Aa\n", CSV, 400, "row 1, column age: 'inf' is not a finite number"),
        ("50,1_0,Aa\n", CSV, 400, "row 1, column age: '1_0' is not a number"),
        ("50,3\r80,7\r", CSV, 400, "row 1 has 2 columns, 3 are expected"),
        (f'50,3,"{"z" * 200_000}"\n', CSV, 400, "the body is not CSV: field larger than field limit"),
        ("[" * 200_000, JSON, 400, "the body is not JSON: maximum recursion depth"),
        ("50,1e39,Aa\n", CSV, 400, "row 1, column age: '1e39' is not a finite number"),
        ("", CSV, 400, "the body holds no row"),
        (b"\xff\xfe", CSV, 400, "the body is not UTF-8 text"),
        ("[[50, 3]]", JSON, 400, "row 1 has 2 columns"),
        ('[{"size": 50, "age": 3}]', JSON, 400, "row 1 lacks town; null stands for a missing value"),
        ('{"features": {"size": 50, "age": 3}}', JSON, 400, "row 1 lacks town; null stands"),
        ('{"features": [50, 3]}', JSON, 400, "row 1 has 2 columns, 3 are expected: size, age, town"),
        ('{"features": "50,3,Aa"}', JSON, 400, "row 1 lacks size, age, town"),
        (
            '[{"size": 50, "age": 3, "town": "Aa", "x": 1}]',
            JSON,
            400,
            "row 1 has unknown columns: x. Expected are size, age, town",
        ),
        ('[[50, "three", "Aa"]]', JSON, 400, "row 1, column age: 'three' is not a number"),
        ('{"instances": 3}', JSON, 400, "neither a row, nor a list of rows"),
        ('[[50, 3, ["Aa"]]]', JSON, 400, "row 1 holds list, a text or a number is expected"),
        ("[[50, 3, 'Aa']]", JSON, 400, "the body is not JSON"),
        ("7", JSON, 400, "neither a row, nor a list of rows"),
        ("[]", JSON, 400, "the body holds no row"),
        ('[[50, 3, "Aa"], 4]', JSON, 400, "row 2 is neither a list nor an object"),
        (ROWS, "application/x-npy", 415, "content type application/x-npy is not supported: send text/csv or"),
    ],
)
def test_a_request_that_does_not_fit_is_answered_with_a_4xx_that_says_why(model, body, content_type, status, says):
    with pytest.raises(BadRequestError) as error:
        answer(model, body, content_type)
    assert error.value.status_code == status
    assert says in str(error.value)
    assert says in error.value.message


def test_an_answer_of_another_type_is_not_acceptable(model):
    with pytest.raises(BadRequestError) as error:
        answer(model, ROWS, accept="application/x-npy")
    assert error.value.status_code == 406


def test_the_artefact_serves_with_nothing_beside_it(folder: Path):
    program = (
        "import inference, sys; m = inference.model_fn(sys.argv[1]); "
        "print(inference.transform_fn(m, sys.argv[2], 'text/csv', 'text/csv')[0]); "
        "assert 'retrain' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(folder), ROWS]
    done = subprocess.run(command, cwd=folder / "code", env={}, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 3


def test_the_containers_toolkit_sees_its_own_error(folder: Path, monkeypatch):
    class BaseInferenceToolkitError(Exception):  # as sagemaker-inference has it
        def __init__(self, status_code, message, phrase):
            self.status_code, self.message, self.phrase = status_code, message, phrase

    errors: Any = types.ModuleType("sagemaker_inference.errors")
    errors.BaseInferenceToolkitError = BaseInferenceToolkitError
    monkeypatch.setitem(sys.modules, "sagemaker_inference", types.ModuleType("sagemaker_inference"))
    monkeypatch.setitem(sys.modules, "sagemaker_inference.errors", errors)
    found = importlib.util.spec_from_file_location("served", folder / "code" / "inference.py")
    served = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "served", served)
    found.loader.exec_module(served)
    with pytest.raises(BaseInferenceToolkitError) as error:
        served.transform_fn(None, "", "text/csv", "text/csv")
    assert (error.value.status_code, error.value.phrase) == (400, "Bad Request")
    assert str(error.value) == "the body holds no row"


def test_a_wide_model_does_not_fill_the_answer_with_names():
    encoder = serving.Encoder("regression", tuple(f"c{number}" for number in range(500)), (None,) * 500)
    with pytest.raises(BadRequestError) as error:
        encoder.encode([["1"]])
    assert error.value.message.startswith("row 1 has 1 columns, 500 are expected: c0, c1,")
    assert error.value.message.endswith("c19 and 480 more")
