"""Serving under the toolkits of SageMaker's containers: the artefact's own inference.py, in an environment of its own.

Both are in the XGBoost images. sagemaker-containers, under gunicorn, serves a script-mode program; sagemaker-inference,
under the multi-model server, does where SAGEMAKER_MULTI_MODEL is set (sagemaker_xgboost_container/serving.py).
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import houses
import pytest

from retrain.model import serving
from retrain.model.read_spec import parse_spec
from retrain.training.candidates import train
from retrain.training.dataset import bootstrap_dataset

pytestmark = pytest.mark.slow  # every test starts processes

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).with_name("serving")
ROWS = "50,3,Aa\n120.5,,Bo\n80,7,Nowhere\n"
LISTS = [[50, 3, "Aa"], [120.5, None, "Bo"], [80, 7, "Nowhere"]]
OBJECTS = [dict(zip(("town", "size", "age"), (row[2], row[0], row[1]), strict=True)) for row in LISTS]
CSV, JSON = "text/csv", "application/json"


@pytest.fixture(scope="module")
def python() -> Path:
    """Python of the toolkits' environment, which `make test` has made."""
    subprocess.run(["make", "--silent", ".venv/serving/.done"], cwd=ROOT, check=True)
    return ROOT / ".venv" / "serving" / "bin" / "python"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """/opt/ml with an unpacked artefact."""
    spec = parse_spec(houses.MODEL)
    parts = bootstrap_dataset(spec, houses.table(600, seed=1)).parts
    model = train(spec, parts["train"], parts["validation"], None).model
    base = tmp_path_factory.mktemp("ml")
    (base / "model" / "code").mkdir(parents=True)
    model.booster.save_model(base / "model" / serving.MODEL)
    (base / "model" / serving.ENCODER).write_text(model.encoder.dump())
    shutil.copyfile(serving.__file__, base / "model" / "code" / "inference.py")
    return base


@pytest.fixture(scope="module")
def expected(base: Path) -> list[float]:
    """What the program itself says."""
    model = serving.model_fn(str(base / "model"))
    return serving.predict(serving.read_rows(ROWS, CSV), model)


def environment(base: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(base / "model" / "code"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def handle(python: Path, base: Path) -> Iterator:
    """Answers a request as sagemaker-inference does: status, content type, body."""
    process = subprocess.Popen(
        [python, PROGRAMS / "handler.py", base / "model"],
        env={**environment(base), "PYTHONPATH": str(base / "model" / "code")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(body: str, content_type: str = CSV, accept: str = CSV) -> tuple[int, str, str]:
        request = {"body": body, "content_type": content_type, "accept": accept}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        return answer["status"], answer["content_type"], answer["body"]

    yield ask
    process.stdin.close()
    process.wait(timeout=10)


@pytest.fixture(scope="module")
def worker(python: Path, base: Path) -> Iterator[str]:
    """The URL of a sagemaker-containers worker under gunicorn, with the program installed as the toolkit does it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    (base / "site").mkdir()  # Python looks into no folder that was missing when it started
    installed = {"PIP_TARGET": str(base / "site"), "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    with (base / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [python, "-m", "gunicorn", "-k", "gevent", "-b", f"127.0.0.1:{port}", "--chdir", PROGRAMS, "worker:app"],
            env={**environment(base), **installed, "PYTHONPATH": str(base / "site")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(300):
            assert process.poll() is None, (base / "worker.log").read_text()
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail((base / "worker.log").read_text())
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def invoke(url: str, body: str, content_type: str = CSV, accept: str = CSV) -> tuple[int, str, str]:
    headers = {"Content-Type": content_type, "Accept": accept}
    request = urllib.request.Request(f"{url}/invocations", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read().decode()


BODIES = [
    (ROWS, CSV),
    (json.dumps(LISTS), JSON),
    (json.dumps(OBJECTS), JSON),
    (json.dumps({"instances": LISTS}), JSON),
    (json.dumps({"instances": [{"features": row} for row in LISTS]}), JSON),
]


@pytest.mark.parametrize(("body", "content_type"), BODIES)
def test_the_multi_model_handler_serves_csv_and_json(handle, expected, body, content_type):
    status, kind, answer = handle(body, content_type, CSV)
    assert (status, kind) == (200, CSV)
    assert [float(line) for line in answer.split()] == expected


def test_json_is_answered_when_it_is_asked_for_and_by_default(handle, expected):
    for accept in (JSON, "*/*", ""):  # script mode's default is JSON
        status, kind, answer = handle(ROWS, CSV, accept)
        assert (status, kind, json.loads(answer)) == (200, JSON, {"predictions": expected})


MISFITS = pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "says"),
    [
        ("50,3\n", CSV, CSV, 400, "row 1 has 2 columns, 3 are expected: size, age, town"),
        ("50,x,Aa\n", CSV, CSV, 400, "row 1, column age: 'x' is not a number"),
        ('[{"size": 1, "age": 2, "town": "Aa", "floor": 3}]', JSON, CSV, 400, "row 1 has unknown columns: floor"),
        ("{", JSON, CSV, 400, "the body is not JSON"),
        ("[" * 200_000, JSON, CSV, 400, "the body is not JSON"),
        ("50,3,Aa", "text/plain", CSV, 415, "content type text/plain is not supported"),
        ("50,3,Aa", CSV, "text/html", 406, "accept text/html is not supported"),
    ],
)


@MISFITS
def test_the_multi_model_handler_maps_what_does_not_fit_to_a_4xx(handle, body, content_type, accept, status, says):
    found, _, answer = handle(body, content_type, accept)
    assert found == status
    assert answer.startswith(says)


@pytest.mark.parametrize(("body", "content_type"), BODIES)
def test_a_worker_of_sagemaker_containers_serves_csv_and_json(worker, expected, body, content_type):
    status, kind, answer = invoke(worker, body, content_type)
    assert (status, kind) == (200, CSV)
    assert [float(line) for line in answer.split()] == expected


def test_a_worker_of_sagemaker_containers_answers_json(worker, expected):
    assert invoke(worker, ROWS, accept=JSON) == (200, JSON, json.dumps({"predictions": expected}))


@MISFITS
def test_a_worker_of_sagemaker_containers_answers_what_does_not_fit_with_a_4xx(
    worker, base, body, content_type, accept, status, says
):
    """An error would be a 500 there, with a page that says nothing and the rows in the log."""
    found, kind, answer = invoke(worker, body, content_type, accept)
    assert (found, kind) == (status, "text/plain")
    assert answer.startswith(says)
    assert says not in (base / "worker.log").read_text()
