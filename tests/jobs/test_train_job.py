"""The training job as a process: interrupted and gone on with, on several instances, and one for each candidate."""

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import houses
import pytest
import xgboost as xgb

from retrain.capture.ground_truth import Labels
from retrain.jobs import choose
from retrain.model.read_spec import parse_spec
from retrain.model.spec import CANDIDATES
from retrain.training.dataset import AGE, drift_dataset, write_dataset
from retrain.training.dataset import Read as Asked

pytestmark = pytest.mark.slow  # every test starts processes

SRC = Path(__file__).parents[2] / "src"
MODEL = houses.MODEL.replace("num_boost_round = 60", "num_boost_round = 60\nsubsample = 0.8\ncolsample_bytree = 0.7")
ALL = MODEL + f"\n[training]\ncandidates = {json.dumps(CANDIDATES)}\n"


@pytest.fixture
def data(tmp_path: Path, reference) -> Path:
    """The drift dataset that every job trains on; its model.toml is written by each test."""
    spec = parse_spec(ALL)
    asked, labels = houses.requests(houses.table(400, seed=2, larger=100.0))
    dataset = drift_dataset(spec, Asked(asked, Labels(labels)), reference, (houses.START, houses.END))
    assert AGE in dataset.parts["train"].columns
    write_dataset(tmp_path / "data", dataset, ALL.encode(), "episode")
    return tmp_path / "data"


@pytest.fixture
def champion(data: Path) -> Path:
    """The folder of a model to challenge: whatever is trained from scratch on the same rows, in few rounds."""
    (data / "model.toml").write_text(MODEL.replace("= 60", "= 20"))
    output = data.parent / "champion"
    finished(start(data, data, output, bootstrap="true"))
    (data / "model.toml").write_text(ALL)
    return packed(output)


def _channels(data: Path, champion: Path) -> dict[str, Path]:
    return {**dict.fromkeys(("train", "validation", "holdout", "spec"), data), "champion": champion}


def start(data: Path, champion: Path, output: Path, *more: str, bootstrap: str = "false") -> subprocess.Popen:
    command = [sys.executable, "-m", "retrain.jobs.train", "--episode_id", "e", "--bootstrap", bootstrap, *more]
    for channel, folder in _channels(data, champion).items():
        command += [f"--{channel}", str(folder)]
    command += ["--model-dir", str(output), "--output-data-dir", str(output / "data")]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(*jobs: subprocess.Popen) -> list[str]:
    said = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs), said
    return said


def packed(model: Path) -> Path:
    with tarfile.open(model / "model.tar.gz", "w:gz") as tar:
        for file in sorted(file for file in model.rglob("*") if file.is_file() and file.name != "model.tar.gz"):
            tar.add(file, file.relative_to(model).as_posix())
    return model


def booster(folder: Path) -> bytes:
    return (folder / "xgboost-model.ubj").read_bytes()


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_model(data: Path, champion: Path, tmp_path: Path):
    long = ALL.replace("= 60", "= 800").replace("[training]", "[training]\nearly_stopping_rounds = 1000")
    (data / "model.toml").write_text(long)
    whole, kept, checkpoints = tmp_path / "whole", tmp_path / "kept", tmp_path / "checkpoints"
    finished(start(data, champion, whole))
    first = start(data, champion, kept, "--checkpoints", str(checkpoints))
    while not (found := list(checkpoints.rglob("scratch.ubj"))):
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert first.returncode == -signal.SIGKILL
    assert xgb.Booster(model_file=found[0]).num_boosted_rounds() < 800
    assert not (kept / "xgboost-model.ubj").exists()
    finished(start(data, champion, kept, "--checkpoints", str(checkpoints)))
    assert booster(kept) == booster(whole)
    assert (kept / "code" / "lineage.json").read_text() == (whole / "code" / "lineage.json").read_text()


def test_nothing_is_chosen_or_judged_after_having_learned_from_the_holdout(data: Path, champion: Path, tmp_path: Path):
    finished(start(data, champion, tmp_path / "first"))
    header, *rows = (data / "holdout.csv").read_text().splitlines()
    (data / "holdout.csv").write_text("\n".join([header, *rows[: len(rows) // 2], ""]))
    finished(start(data, champion, tmp_path / "second"))
    first, second = (tmp_path / name for name in ("first", "second"))
    assert (first / "code" / "twin.ubj").read_bytes() == (second / "code" / "twin.ubj").read_bytes()
    assert booster(first) != booster(second)
    told = [json.loads((folder / "code" / "lineage.json").read_text()) for folder in (first, second)]
    assert told[0]["candidates"] == told[1]["candidates"]
    assert told[0]["refit"]["limit"] == 0.25
    assert not told[0]["refit"]["twin_serves"]
    assert 0 < told[0]["refit"]["difference"] < 0.25


@pytest.mark.parametrize(("added", "seed"), [("", 7), ("seed = 11\n", 11)])
def test_the_lineage_has_the_seed_that_was_used(data: Path, champion: Path, tmp_path: Path, added: str, seed: int):
    (data / "model.toml").write_text(MODEL.replace("max_depth", f"{added}max_depth"))
    finished(start(data, champion, tmp_path / "model"))
    lineage = json.loads((tmp_path / "model" / "code" / "lineage.json").read_text())
    assert (lineage["seed"], lineage["hyperparameters"].get("seed", 7)) == (seed, seed)


def test_a_checkpoint_of_other_inputs_is_not_gone_on_with(data: Path, champion: Path, tmp_path: Path):
    checkpoints = tmp_path / "checkpoints"
    finished(start(data, champion, tmp_path / "first", "--checkpoints", str(checkpoints)))
    (data / "model.toml").write_text(ALL.replace("eta = 0.3", "eta = 0.2"))
    finished(start(data, champion, tmp_path / "second", "--checkpoints", str(checkpoints)))
    finished(start(data, champion, tmp_path / "alone"))
    assert booster(tmp_path / "second") == booster(tmp_path / "alone")
    assert len(list(checkpoints.iterdir())) == 2


def test_a_checkpoint_that_cannot_be_read_is_begun_anew(data: Path, champion: Path, tmp_path: Path):
    checkpoints = tmp_path / "checkpoints"
    finished(start(data, champion, tmp_path / "first", "--checkpoints", str(checkpoints)))
    for file in checkpoints.rglob("*.ubj"):
        file.write_bytes(file.read_bytes()[:100])
    (said,) = finished(start(data, champion, tmp_path / "second", "--checkpoints", str(checkpoints)))
    assert "scratch.ubj is no checkpoint, scratch begins anew" in said
    assert booster(tmp_path / "second") == booster(tmp_path / "first")


def test_two_instances_train_one_model_and_the_first_writes_it(data: Path, champion: Path, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    hosts = ["127.0.0.11", "127.0.0.12"]  # both are this machine
    jobs = [
        start(data, champion, tmp_path / host, "--hosts", json.dumps(hosts), "--current-host", host, "--port", port)
        for host in reversed(hosts)
    ]
    finished(*jobs)
    assert not (tmp_path / hosts[1]).exists()
    lineage = json.loads((tmp_path / hosts[0] / "code" / "lineage.json").read_text())
    finished(start(data, champion, tmp_path / "alone"))
    alone = json.loads((tmp_path / "alone" / "code" / "lineage.json").read_text())
    assert (lineage["instances"], alone["instances"]) == (2, 1)
    together, apart = ({c["name"]: c["validation"] for c in told["candidates"]} for told in (lineage, alone))
    assert set(together) == set(CANDIDATES)
    assert together["refreshed"] == pytest.approx(apart["refreshed"])
    # The bins of the features are made of the instances' summaries, so trees are not quite those of one instance.
    assert all(together[name] < 1.2 * apart[name] for name in CANDIDATES)


def test_a_job_for_each_candidate_gives_the_model_that_one_job_for_all_gives(
    data: Path, champion: Path, tmp_path: Path
):
    finished(start(data, champion, tmp_path / "all"))
    for name in CANDIDATES:
        finished(start(data, champion, tmp_path / name, "--candidate", name))
        packed(tmp_path / name)
    folders = [text for name in CANDIDATES for text in (f"--{name}", str(tmp_path / name))]
    paths = ["--spec", str(data), "--output", str(tmp_path / "best"), "--message", str(tmp_path / "message")]
    assert choose.main([*folders, *paths]) == 0
    with tarfile.open(tmp_path / "best" / "model.tar.gz") as tar:
        tar.extractall(tmp_path / "best", filter="data")
    assert booster(tmp_path / "best") == booster(tmp_path / "all")
    best, one = ((tmp_path / name / "code" / "lineage.json").read_text() for name in ("best", "all"))
    assert json.loads(best) == json.loads(one)


def test_a_job_for_a_candidate_that_is_not_asked_for_leaves_no_model_and_none_is_chosen(
    data: Path, champion: Path, tmp_path: Path, capsys
):
    (data / "model.toml").write_text(MODEL)
    finished(start(data, champion, tmp_path / "refreshed", "--candidate", "refreshed"))
    packed(tmp_path / "refreshed")
    assert not (tmp_path / "refreshed" / "xgboost-model.ubj").exists()
    folders = [text for name in CANDIDATES for text in (f"--{name}", str(tmp_path / "refreshed"))]
    paths = ["--spec", str(data), "--output", str(tmp_path / "best"), "--message", str(tmp_path / "message")]
    assert choose.main([*folders, *paths]) == 1
    assert "bad_metric: no candidate has a finite rmse" in (tmp_path / "message").read_text()


def test_what_only_xgboost_knows_to_be_wrong_is_told_as_a_mistake_in_model_toml(tmp_path: Path):
    head, options = MODEL.replace("regression", "multiclass").replace("rmse", "mlogloss").split("[hyperparameters]")
    wrong = 'num_class = 3\nmulti_strategy = "multi_output_tree"\nmonotone_constraints = [1]'  # not implemented
    (tmp_path / "model.toml").write_text(f"{head.replace('categorical', 'numeric')}[hyperparameters]\n{wrong}{options}")
    rows = "".join(f"{number},1,2,{'abc'[number % 3]},0\n" for number in range(60))
    for name in ("train", "validation", "holdout"):
        (tmp_path / f"{name}.csv").write_text(f"size,age,town,price,{AGE}\n{rows}")
    job = start(tmp_path, tmp_path, tmp_path / "none", bootstrap="true")
    said = job.communicate(timeout=120)[0].splitlines()[-1]
    assert job.returncode == 1
    assert said.startswith(
        "retrain.core.errors.InvalidSpec: XGBoost can't train with [hyperparameters] of model.toml: Monoton"
    )
