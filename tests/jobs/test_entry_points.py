"""Every job as SageMaker runs it: a process, files in, files and an exit code out."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import timedelta
from pathlib import Path

import houses
import pytest

from retrain.core.clock import render
from retrain.core.errors import Refused
from retrain.model.table import write_table
from retrain.pipeline import job_code
from retrain.quality.verdict import read_baseline
from retrain.training.dataset import PARTS, TIME, sha256, verify_dataset

pytestmark = pytest.mark.slow  # every test starts processes

WINDOW = ["--window-start", render(houses.START), "--window-end", render(houses.END)]


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """What the publisher uploads: the package, and the source archive of script mode."""
    folder = tmp_path_factory.mktemp("code")
    for name, file in job_code.package_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    with tarfile.open(folder / "source.tar.gz", "w:gz") as tar:
        for name, file in job_code.source_files().items():
            tar.add(file, name)
    return folder


@pytest.fixture(scope="module")
def loop(tmp_path_factory, code: Path) -> Path:
    """A bootstrap and an episode, job after job, in folders named like the pipeline's inputs and outputs."""
    root = tmp_path_factory.mktemp("loop")
    (root / "none").mkdir()
    (root / "none" / "none.jsonl").touch()
    (root / "initial").mkdir()
    (root / "initial" / "model.toml").write_text(houses.MODEL)
    write_table(root / "initial" / "train.csv", houses.table(600, seed=1))
    write_window(root, houses.table(400, seed=2, larger=200.0))
    assert dataset(code, root, "initial", "dataset-0", bootstrap=True).returncode == 0
    assert toolkit(code, root, "dataset-0", "none", "model-0", bootstrap=True).returncode == 0
    assert evaluate(code, root, "dataset-0", "model-0", "none", "evaluation-0", bootstrap=True).returncode == 0
    shutil.copytree(root / "rows-dataset-0", root / "history" / "rows" / "dataset-0")
    done = dataset(code, root, "dataset-0", "dataset-1", history="history")
    assert done.returncode == 0, done.stderr
    assert toolkit(code, root, "dataset-1", "model-0", "model-1").returncode == 0
    assert evaluate(code, root, "dataset-1", "model-1", "model-0", "evaluation-1").returncode == 0
    return root


def write_window(root: Path, rows, labelled: float = 1.0) -> None:
    asked, labels = houses.requests(rows, per_request=4)
    captures = root / "captures" / "houses" / "AllTraffic" / "2026" / "03" / "01" / "00"
    collected = houses.END + timedelta(hours=1)
    truth = root / "labels" / f"{collected:%Y/%m/%d/%H}"
    for folder in (captures, truth):
        folder.mkdir(parents=True)
    (captures / "a.jsonl").write_text("".join(json.dumps(capture(request)) + "\n" for request in asked))
    known = list(labels.items())[: int(len(labels) * labelled)]
    (truth / "a.jsonl").write_text("".join(json.dumps(label(*item)) + "\n" for item in known))


def capture(request) -> dict:
    body = "".join(",".join(row) + "\n" for row in request.rows)
    return {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": body, "encoding": "CSV"},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "1\n", "encoding": "CSV"},
        },
        "eventMetadata": {
            "eventId": f"e-{request.id}",
            "inferenceId": request.id,
            "inferenceTime": render(request.time),
        },
        "eventVersion": "0",
    }


def label(identity: str, values: tuple[str, ...]) -> dict:
    return {
        "groundTruthData": {"data": "\n".join(values), "encoding": "CSV"},
        "eventMetadata": {"eventId": identity},
        "eventVersion": "0",
    }


def job(code: Path, root: Path, module: str, *arguments: str) -> subprocess.CompletedProcess:
    """The module as a Processing job: no other module of this project is in sight."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, "-m", f"retrain.jobs.{module}", *arguments, "--message", "message"]
    return subprocess.run(
        command, cwd=root, env={**environment, "PYTHONPATH": str(code)}, capture_output=True, text=True, check=False
    )


def dataset(code: Path, root: Path, reference: str, output: str, bootstrap: bool = False, **folders: str):
    captures, labels = folders.get("captures", "captures"), folders.get("labels", "labels")
    if bootstrap:
        captures = labels = "none"
    flags = ["--bootstrap", str(bootstrap).lower(), "--episode-id", output]
    paths = ["--captures", captures, "--labels", labels, "--reference", reference, "--output", output]
    paths += ["--history", folders.get("history", "none"), "--rows", f"rows-{output}"]
    return job(code, root, "dataset", *paths, *WINDOW, *flags)


def baseline(code: Path, root: Path, data: str, output: str, earlier: str = "none", seal: str = "none"):
    paths = ["--dataset", data, "--challenger", "model-1", "--earlier", earlier, "--output", output]
    return job(code, root, "baseline", *paths, "--earlier-sha256", seal)


def evaluate(code: Path, root: Path, data: str, challenger: str, champion: str, output: str, bootstrap: bool = False):
    paths = ["--dataset", data, "--challenger", challenger, "--champion", champion, "--output", output]
    paths += ["--reference", "initial" if bootstrap else "dataset-0"]
    paths += ["--captures", "none" if bootstrap else "captures"]
    flags = ["--evaluation-time", render(houses.END), "--bootstrap", str(bootstrap).lower()]
    return job(code, root, "evaluate", *paths, *flags)


def toolkit(code: Path, root: Path, data: str, champion: str, output: str, bootstrap: bool = False):
    """Training under the toolkit of SageMaker's framework containers; then `output` holds model.tar.gz."""
    base = root / f"ml-{output}"
    channels = {"train": "train.csv", "validation": "validation.csv", "holdout": "holdout.csv", "spec": "model.toml"}
    for channel, file in channels.items():
        target = base / "input" / "data" / channel / file
        target.parent.mkdir(parents=True)
        target.write_bytes((root / data / file).read_bytes())
    (base / "input" / "data" / "champion").symlink_to(root / champion)
    hyperparameters = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": str(code / "source.tar.gz"),
        "episode_id": output,
        "bootstrap": str(bootstrap).lower(),
    }
    config = base / "input" / "config"
    config.mkdir(parents=True)
    (base / "output").mkdir()
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (config / "inputdataconfig.json").write_text(
        json.dumps(
            {name: {"TrainingInputMode": "File", "RecordWrapperType": "None"} for name in [*channels, "champion"]}
        )
    )
    hosts = {"current_host": "localhost", "hosts": ["localhost"], "network_interface_name": "lo"}
    (config / "resourceconfig.json").write_text(json.dumps(hosts))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"SAGEMAKER_BASE_DIR": str(base), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    train = str(Path(sys.executable).parent / "train")
    done = subprocess.run([train], cwd=root, env=environment, capture_output=True, text=True, check=False)
    if (base / "model").exists():
        pack(base / "model", root / output)
    return done


def pack(model: Path, output: Path) -> None:
    """The folder holds the model as SageMaker packs what a training job left."""
    output.mkdir(exist_ok=True)
    with tarfile.open(output / "model.tar.gz", "w:gz") as tar:
        tar.add(model, ".")


def test_the_dataset_holds_its_files_with_their_hashes(loop: Path):
    manifest = json.loads((loop / "dataset-1" / "manifest.json").read_text())
    assert manifest["rows"]["captured"] == 400
    assert manifest["sha256"] == {
        name: sha256(loop / "dataset-1" / name) for name in ["model.toml", *(f"{part}.csv" for part in PARTS)]
    }


def test_the_same_captures_give_the_same_bytes(loop: Path, code: Path):
    assert dataset(code, loop, "dataset-0", "again", history="history").returncode == 0
    for part in PARTS:
        assert (loop / "again" / f"{part}.csv").read_bytes() == (loop / "dataset-1" / f"{part}.csv").read_bytes()


def test_training_under_the_toolkit_leaves_the_artefact_and_its_lineage(loop: Path):
    with tarfile.open(loop / "model-1" / "model.tar.gz") as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
        lineage = json.load(tar.extractfile("./code/lineage.json"))
    expected = {
        "xgboost-model.ubj",
        *(f"code/{name}" for name in ("inference.py", "encoder.json", "model.toml", "lineage.json", "twin.ubj")),
    }
    assert expected <= names
    assert not {name for name in names if "/" not in name} - {"xgboost-model.ubj", "code", ".", ""}
    assert lineage["sha256"]["train.csv"] == sha256(loop / "dataset-1" / "train.csv")
    assert lineage["sha256"]["champion"] == sha256(loop / "model-0" / "model.tar.gz")
    assert {candidate["name"] for candidate in lineage["candidates"]} == {"continued", "scratch", "recent", "new_only"}
    assert (loop / "ml-model-1" / "output" / "success").exists()
    assert (loop / "ml-model-1" / "output" / "data" / "training.json").exists()


def test_training_again_gives_the_same_model(loop: Path, code: Path):
    assert toolkit(code, loop, "dataset-1", "model-0", "model-again").returncode == 0
    model = "model/xgboost-model.ubj"
    assert (loop / "ml-model-again" / model).read_bytes() == (loop / "ml-model-1" / model).read_bytes()


def test_the_challenger_of_a_drifted_window_is_promoted_with_the_evidence(loop: Path):
    evaluation = json.loads((loop / "evaluation-1" / "evaluation.json").read_text())
    gate = evaluation["gate"]
    assert gate["decision"] == "promote"
    assert gate["interval"][0] > gate["margin"]
    assert gate["reference"]["challenger"] <= gate["reference"]["limit"]
    low, high = gate["reference"]["interval"]
    assert low <= gate["reference"]["champion"] - gate["reference"]["challenger"] <= high
    decay = evaluation["decay"]
    assert (decay["metric"], decay["reason"]) == ("rmse", "rows_insufficient"), "of 80 rows nothing can be said"
    assert decay["realised"] > decay["before"] > 0
    assert evaluation["dataset"] == {"item_count": 80, "evaluation_time": "2026-03-11T00:00:00Z"}
    assert evaluation["regression_metrics"]["rmse"]["value"] == pytest.approx(gate["challenger"])
    assert evaluation["model_sha256"] == sha256(loop / "model-1" / "model.tar.gz")


def test_the_challenger_has_answered_the_windows_requests_in_the_shadow(loop: Path):
    shadow = json.loads((loop / "evaluation-1" / "evaluation.json").read_text())["gate"]["shadow"]
    counts = {key: shadow[key] for key in ("asked", "requests", "rows", "failed", "unlike")}
    assert counts == {"asked": 100, "requests": 100, "rows": 400, "failed": 0, "unlike": 0}
    assert shadow["difference"] > 0
    assert json.loads((loop / "evaluation-0" / "evaluation.json").read_text())["gate"]["shadow"] is None


def test_a_better_challenger_that_fails_in_the_shadow_is_not_promoted(loop: Path, code: Path):
    shutil.copytree(loop / "ml-model-1" / "model", loop / "sabotaged")
    with (loop / "sabotaged" / "code" / "inference.py").open("a") as serving:
        serving.write("\ndef transform_fn(*request):\n    raise MemoryError\n")
    pack(loop / "sabotaged", loop / "model-sabotaged")
    assert evaluate(code, loop, "dataset-1", "model-sabotaged", "model-0", "evaluation-sabotaged").returncode == 0
    gate = json.loads((loop / "evaluation-sabotaged" / "evaluation.json").read_text())["gate"]
    (reason,) = gate["reasons"]
    assert (gate["decision"], reason["code"]) == ("keep_champion", "fails_in_shadow")
    assert "100 of 100 requests of the window that the champion answers fail (MemoryError)" in reason["detail"]


def test_the_evaluation_shows_segments_curves_importance_and_time(loop: Path):
    evaluation = json.loads((loop / "evaluation-1" / "evaluation.json").read_text())
    gate = evaluation["gate"]
    assert [(s["feature"], s["level"], s["why"]) for s in evaluation["segments"]] == [
        ("town", None, "fewer than 100 rows"),  # 80 rows of holdout in three towns
    ]
    assert (gate["fit"]["measure"], evaluation["curves"]["kind"]) == ("bias", "residuals")
    for model in ("champion", "challenger"):
        bins = evaluation["curves"][model]
        assert sum(b["rows"] for b in bins) == 80
        assert set(bins[0]) == {"rows", "predicted", "observed"}
        assert sum(evaluation["importance"][model].values()) == pytest.approx(1.0)
        assert next(iter(evaluation["importance"][model])) == "size"
    spans = evaluation["over_time"]
    assert [span["rows"] for span in spans] == [8] * 10
    mse = sum(span["challenger"] ** 2 for span in spans) / 10
    assert mse**0.5 == pytest.approx(gate["challenger"])


def test_the_holdout_says_what_the_quality_monitor_will_hold_the_challenger_to(loop: Path):
    for number in (0, 1):  # of the bootstrap, too
        folder = loop / f"evaluation-{number}"
        metrics = json.loads((folder / "evaluation.json").read_text())["regression_metrics"]
        baseline = read_baseline((folder / "constraints.json").read_bytes())
        assert (baseline.task, {demand.metric for demand in baseline.demands}) == ("regression", {"mae", "rmse"})
        for demand in baseline.demands:
            assert demand.threshold >= 1.25 * metrics[demand.metric]["value"]
            assert not demand.violated(metrics[demand.metric]["value"])


def test_the_bootstrap_is_accepted_without_a_champion(loop: Path):
    gate = json.loads((loop / "evaluation-0" / "evaluation.json").read_text())["gate"]
    assert (gate["decision"], gate["champion"], gate["interval"]) == ("bootstrap", None, None)


def test_a_model_that_serves_already_is_adopted_as_it_is(loop: Path, code: Path):
    assert toolkit(code, loop, "dataset-0", "model-1", "model-adopted", bootstrap=True).returncode == 0
    serving = [loop / folder / "model" / "xgboost-model.ubj" for folder in ("ml-model-1", "ml-model-adopted")]
    assert serving[0].read_bytes() == serving[1].read_bytes()
    adopted, model = ("dataset-0", "model-adopted", "model-1"), loop / "model-1" / "model.tar.gz"
    assert evaluate(code, loop, *adopted, "evaluation-adopted", bootstrap=True).returncode == 0
    evaluation = json.loads((loop / "evaluation-adopted" / "evaluation.json").read_text())
    assert (evaluation["gate"]["decision"], evaluation["gate"]["candidate"]) == ("bootstrap", "adopted")
    assert (evaluation["champion_sha256"], evaluation["adopted_sha256"]) == (None, sha256(model))
    assert evaluation["model_sha256"] == sha256(loop / "model-adopted" / "model.tar.gz")


def test_labels_that_no_model_comes_near_are_suspect(loop: Path, code: Path):
    shutil.copytree(loop / "ml-model-0" / "model", loop / "same")
    shutil.copy(loop / "ml-model-1" / "model" / "code" / "lineage.json", loop / "same" / "code")
    pack(loop / "same", loop / "model-same")
    done = evaluate(code, loop, "dataset-1", "model-same", "model-0", "evaluation-kept")
    assert done.returncode == 1
    assert "labels_suspect: rmse of the better model is" in (loop / "message").read_text()


def test_a_missing_champion_is_refused(loop: Path, code: Path):
    done = evaluate(code, loop, "dataset-1", "model-1", "none", "evaluation-none")
    assert done.returncode == 1
    assert (loop / "message").read_text().startswith("no_champion: ")
    assert not (loop / "evaluation-none").exists()


def test_an_archive_that_is_no_model_is_refused(loop: Path, code: Path):
    (loop / "broken").mkdir(exist_ok=True)
    (loop / "broken" / "model.tar.gz").write_bytes(b"no archive")
    done = evaluate(code, loop, "dataset-1", "broken", "model-0", "evaluation-broken")
    assert done.returncode == 1
    assert (loop / "message").read_text().startswith("artifact_tampered: model.tar.gz is no model")


def test_the_evaluation_names_the_hashes_of_what_was_judged_and_the_message_its_own(loop: Path, code: Path):
    assert evaluate(code, loop, "dataset-1", "model-1", "model-0", "evaluation-again").returncode == 0
    file = loop / "evaluation-again" / "evaluation.json"
    evaluation = json.loads(file.read_text())
    assert evaluation["model_sha256"] == sha256(loop / "model-1" / "model.tar.gz")
    assert evaluation["champion_sha256"] == sha256(loop / "model-0" / "model.tar.gz")
    assert evaluation["dataset_sha256"] == sha256(loop / "dataset-1" / "manifest.json")
    assert evaluation["reference_sha256"] == sha256(loop / "dataset-0" / "manifest.json")
    assert (loop / "message").read_text().startswith(f"promote, evaluation.json {sha256(file)}")


@pytest.mark.parametrize(
    ("module", "file"), [("evaluate", "holdout.csv"), ("baseline", "train.csv"), ("dataset", "reference.csv")]
)
def test_a_dataset_that_was_changed_is_refused_by_every_job_that_reads_it(loop: Path, code: Path, file, module):
    changed = loop / f"changed-{module}"
    shutil.copytree(loop / "dataset-1", changed)
    (changed / file).write_bytes((changed / file).read_bytes().replace(b"1", b"2", 1))
    if module == "evaluate":
        done = evaluate(code, loop, changed.name, "model-1", "model-0", "never")
    elif module == "baseline":
        done = baseline(code, loop, changed.name, "never")
    else:
        done = dataset(code, loop, changed.name, "never")
    assert done.returncode == 1
    assert (loop / "message").read_text().startswith(f"artifact_tampered: {file} has SHA-256 ")
    assert not (loop / "never").exists()


@pytest.mark.parametrize("file", ["model.toml", "manifest.json", *(f"{part}.csv" for part in PARTS)])
@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_dataset_is_verified_file_by_file(loop: Path, tmp_path: Path, file, change):
    shutil.copytree(loop / "dataset-1", tmp_path / "dataset")
    changed = tmp_path / "dataset" / file
    if change == "gone":
        changed.unlink()
    else:
        changed.write_bytes(changed.read_bytes()[:-2])
    with pytest.raises(Refused, match="artifact_tampered"):
        verify_dataset(tmp_path / "dataset")


def test_a_dataset_changed_together_with_its_manifest_is_not_what_the_model_was_trained_on(loop: Path, code: Path):
    shutil.copytree(loop / "dataset-1", loop / "forged")
    with (loop / "forged" / "train.csv").open("a") as train:
        train.write((loop / "dataset-1" / "train.csv").read_text().splitlines()[-1] + "\n")
    manifest = json.loads((loop / "forged" / "manifest.json").read_text())
    manifest["sha256"]["train.csv"] = sha256(loop / "forged" / "train.csv")
    (loop / "forged" / "manifest.json").write_text(json.dumps(manifest))
    assert evaluate(code, loop, "forged", "model-1", "model-0", "never").returncode == 1
    assert (loop / "message").read_text().startswith("artifact_tampered: the challenger was trained with train.csv of ")


def test_a_champion_that_was_exchanged_is_refused(loop: Path, code: Path):
    assert evaluate(code, loop, "dataset-1", "model-1", "model-1", "never").returncode == 1
    assert (loop / "message").read_text().startswith("artifact_tampered: the challenger was trained with champion of ")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"labels": "none"}, "labels_insufficient: 0 of 400 rows have a label"),
        ({"captures": "none"}, "capture_missing: no capture between 2026-03-01T00:00:00Z and"),
    ],
)
def test_a_refusal_is_in_the_message_and_on_stderr(loop: Path, code: Path, folders, message):
    done = dataset(code, loop, "dataset-0", "refused", **folders)
    assert done.returncode == 1
    assert (loop / "message").read_text().startswith(message)
    assert message in done.stderr
    assert not (loop / "refused").exists()


def test_a_bad_model_toml_is_named_in_the_message(loop: Path, code: Path):
    (loop / "bad").mkdir()
    (loop / "bad" / "train.csv").write_bytes((loop / "initial" / "train.csv").read_bytes())
    (loop / "bad" / "model.toml").write_text(houses.MODEL + "\n[monitor]\nthreshhold = 0.2\n")
    assert dataset(code, loop, "bad", "refused", bootstrap=True).returncode == 1
    line = houses.MODEL.count("\n") + 3
    said = (loop / "message").read_text()
    assert said.startswith(f"InvalidSpec: model.toml, line {line}: [monitor] threshhold: unknown key")


def test_a_training_that_refuses_fails_the_job_and_says_why_in_its_log(loop: Path, code: Path):
    done = toolkit(code, loop, "dataset-1", "none", "model-refused")
    assert done.returncode != 0
    assert "no_champion: the champion channel has no model.tar.gz" in done.stderr
    assert "ExecuteUserScriptError" in (loop / "ml-model-refused" / "output" / "failure").read_text()


def test_the_baseline_is_that_of_the_windows_rows(loop: Path, code: Path):
    done = baseline(code, loop, "dataset-1", "baseline-1")
    assert done.returncode == 0, done.stderr
    statistics = json.loads((loop / "baseline-1" / "statistics.json").read_text())
    assert statistics["dataset"]["item_count"] == 400
    *features, prediction = statistics["features"]
    assert [feature["name"] for feature in features] == ["size", "age", "town"]
    assert sum(feature["importance"] for feature in features) == pytest.approx(1)
    assert (prediction["name"], prediction["inferred_type"]) == ("_prediction", "Fractional")
    assert prediction["numerical_statistics"]["common"] == {"num_present": 400, "num_missing": 0}
    assert (loop / "baseline-1" / "constraints.json").exists()


def hurried(dataset: Path, into: Path, times: float) -> None:
    """The dataset as if its rows had come so many times as fast."""
    shutil.copytree(dataset, into)
    manifest = json.loads((into / "manifest.json").read_text())
    for part in ("train", "validation", "holdout"):
        with (into / f"{part}.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        place = header.index(TIME)
        for row in rows:
            row[place] = str(float(row[place] or "nan") / times) if row[place] else ""
        with (into / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
        manifest["sha256"][f"{part}.csv"] = sha256(into / f"{part}.csv")
    (into / "manifest.json").write_text(json.dumps(manifest))


def test_what_a_short_window_cannot_know_of_chance_is_the_earlier_baselines(loop: Path, code: Path):
    hurried(loop / "dataset-1", loop / "dataset-hurried", times=10)
    earlier = json.loads((loop / "baseline-1" / "statistics.json").read_text())
    for feature in earlier["features"]:
        feature.pop("chance", None)
    moves = {"linf": 0.1, "psi": 0.1, "jensen_shannon": 0.1}
    day = {"hours": 24, "blocks": 60, "near": 0.0, "usual": moves, "most": moves}
    earlier["features"][0]["chance"] = [day]
    (loop / "champion").mkdir()
    (loop / "champion" / "statistics.json").write_text(json.dumps(earlier))
    seal = sha256(loop / "champion" / "statistics.json")
    tampered = baseline(code, loop, "dataset-hurried", "baseline-2", earlier="champion", seal=seal[::-1])
    assert tampered.returncode == 1
    assert tampered.stderr.startswith("artifact_tampered: the champion's statistics.json has SHA-256")
    done = baseline(code, loop, "dataset-hurried", "baseline-2", earlier="champion", seal=seal)
    assert done.returncode == 0, done.stderr
    size, age, *_ = json.loads((loop / "baseline-2" / "statistics.json").read_text())["features"]
    assert [{**block, "over": None} for block in size["chance"]] == [{**day, "over": None}]
    assert 0 < size["chance"][0]["over"] < 24 * 4  # the window's own hours
    assert not any("over" in block for block in age["chance"])
