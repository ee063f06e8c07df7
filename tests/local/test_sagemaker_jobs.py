"""Processing and training jobs: what a container is given, and what Describe says of how it ended."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from stand_ins import IMAGE, ROLE, START, House, embedded, eventually, outputs, packed, source

from local.sagemaker.container import Container
from local.sagemaker.jobs import AT_ONCE
from local.wire import ApiError

FOREVER = "import time; print('here', flush=True); time.sleep(60)"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with embedded(tmp_path) as house:
        yield house


def running(house: House, name: str) -> bool:
    containers = house.sagemaker.jobs._running.get(name)
    log = containers[0].folder / "output.log" if containers else None
    return bool(log and log.exists() and log.read_text())


# Processing -----------------------------------------------------------------------------------------------------------


def test_a_processing_job_turns_its_inputs_into_its_outputs(house: House) -> None:
    house.s3.put("s3://bucket/in/a.txt", "one")
    house.s3.put("s3://bucket/in/deep/b.txt", "two")
    script = (
        "import os, pathlib, sys; texts, made = map(pathlib.Path, sys.argv[1:]); (made / 'sub').mkdir(); "
        "joined = os.environ['BETWEEN'].join(file.read_text() for file in sorted(texts.rglob('*.txt'))); "
        "(made / 'sub' / 'joined.txt').write_text(joined)"
    )
    house.start_processing(
        "join",
        script,
        "/opt/ml/processing/input/texts",
        "/opt/ml/processing/output/joined",
        Environment={"BETWEEN": "+"},
        ProcessingInputs=[source("texts", "s3://bucket/in/")],
        ProcessingOutputConfig=outputs(joined="s3://bucket/out"),
    )
    job = house.processing_job("join")
    assert job["ProcessingJobStatus"] == "Completed"
    assert house.s3.under("s3://bucket/out/") == {"sub/joined.txt": "one+two"}
    assert START <= job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]


def test_a_job_sees_the_variables_it_was_given_and_none_of_this_process(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_PROCESS", "1")
    house.start_processing(
        "look", "import os; print('OF_THIS_PROCESS' in os.environ, os.environ['FOLDER'])",
        Environment={"FOLDER": "/opt/ml/processing/code"},
    )  # fmt: skip
    house.processing_job("look")
    (line,) = house.logs.streams["/aws/sagemaker/ProcessingJobs/look/algo-1"]
    seen, folder = line.split()
    assert seen == "False"
    assert Path(folder).is_relative_to(house.root)
    assert folder.endswith("/opt/ml/processing/code")


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("pass", "Completed", None),
        ("import sys; sys.exit(3)", "Failed", "AlgorithmError: , exit code: 3"),
        ("import os; os.kill(os.getpid(), 9)", "Failed", "AlgorithmError: , exit code: 137"),
        ("import os; os.kill(os.getpid(), 15)", "Failed", "AlgorithmError: , exit code: 143"),
    ],
    ids=["0", "3", "killed", "ended by a signal of its own"],
)
def test_a_jobs_exit_code_decides(house: House, script: str, status: str, reason: str | None) -> None:
    house.start_processing("job", script)
    job = house.processing_job("job")
    assert (job["ProcessingJobStatus"], job.get("FailureReason")) == (status, reason)


@pytest.mark.parametrize("code", [0, 1])
def test_the_message_file_is_the_exit_message(house: House, code: int) -> None:
    script = f"import sys; open(sys.argv[1], 'w').write('labels_insufficient: 3 of 9'); sys.exit({code})"
    house.start_processing("job", script, "/opt/ml/output/message")
    job = house.processing_job("job")
    assert job["ExitMessage"] == "labels_insufficient: 3 of 9"
    expected = "AlgorithmError: labels_insufficient: 3 of 9, exit code: 1" if code else None
    assert job.get("FailureReason") == expected


def test_an_exit_message_is_cut_where_sagemaker_cuts_it(house: House) -> None:
    house.start_processing("job", "import sys; open(sys.argv[1], 'w').write('x' * 5000); 1/0", "/opt/ml/output/message")
    job = house.processing_job("job")
    assert (len(job["ExitMessage"]), len(job["FailureReason"])) == (1024, 1024)


def test_a_failed_job_leaves_no_outputs(house: House) -> None:
    script = "import sys; open(sys.argv[1] + '/half.txt', 'w').write('half'); sys.exit(1)"
    house.start_processing(
        "job", script, "/opt/ml/processing/output/made", ProcessingOutputConfig=outputs(made="s3://bucket/out")
    )
    assert house.processing_job("job")["ProcessingJobStatus"] == "Failed"
    assert house.s3.objects == {}


def test_an_input_that_is_not_there_fails_the_job_before_it_begins(house: House) -> None:
    house.start_processing("job", "print('ran')", ProcessingInputs=[source("texts", "s3://bucket/nothing/")])
    job = house.processing_job("job")
    assert job["FailureReason"] == (
        'ClientError: Data download failed: No S3 objects found under S3 URL "s3://bucket/nothing/".'
    )
    assert house.logs.streams == {}


def test_a_job_that_takes_too_long_is_stopped(house: House) -> None:
    house.start_processing("job", FOREVER, StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = house.processing_job("job")
    assert job["ProcessingJobStatus"] == "Stopped"
    assert house.logs.streams["/aws/sagemaker/ProcessingJobs/job/algo-1"] == ["here"]


def test_a_job_can_be_stopped_once(house: House) -> None:
    house.start_processing("job", FOREVER)
    eventually(lambda: running(house, "job"))
    house.call("StopProcessingJob", ProcessingJobName="job")
    job = house.processing_job("job")
    assert job["ProcessingJobStatus"] == "Stopped"
    assert "FailureReason" not in job
    with pytest.raises(ApiError, match="not running"):
        house.call("StopProcessingJob", ProcessingJobName="job")


def test_a_job_that_waits_for_its_place_can_be_stopped_and_never_begins(house: House) -> None:
    for number in range(AT_ONCE):
        house.start_processing(f"before-{number}", FOREVER)
        eventually(lambda name=f"before-{number}": running(house, name))
    house.start_processing("late", "print('ran')")
    house.call("StopProcessingJob", ProcessingJobName="late")
    for number in range(AT_ONCE):
        house.call("StopProcessingJob", ProcessingJobName=f"before-{number}")
    job = house.processing_job("late")
    assert job["ProcessingJobStatus"] == "Stopped"
    assert "ProcessingStartTime" not in job
    assert "/aws/sagemaker/ProcessingJobs/late/algo-1" not in house.logs.streams


@pytest.mark.parametrize("then", ["pass", "import time; time.sleep(60)"], ids=["ends", "is stopped"])
def test_a_jobs_own_children_are_gone_when_it(house: House, then: str) -> None:
    script = f"import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); {then}"
    house.start_processing("job", script)
    if then != "pass":
        eventually(lambda: running(house, "job"))
        house.call("StopProcessingJob", ProcessingJobName="job")
    house.processing_job("job")
    (child,) = house.logs.streams["/aws/sagemaker/ProcessingJobs/job/algo-1"]
    eventually(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child), seconds=3)


def _is_zombie(pid: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_job_that_ignores_the_request_to_end_is_made_to(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.sagemaker.container.STOP_SECONDS", 0.2)
    house.start_processing("job", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER)
    eventually(lambda: running(house, "job"))
    house.call("StopProcessingJob", ProcessingJobName="job")
    assert house.processing_job("job")["ProcessingJobStatus"] == "Stopped"


def test_a_jobs_name_is_used_once(house: House) -> None:
    house.start_processing("job", "pass")
    with pytest.raises(ApiError, match="unique") as refused:
        house.start_processing("job", "pass")
    assert refused.value.code == "ResourceInUse"


def test_a_jobs_folder_is_gone_afterwards(house: House) -> None:
    house.start_processing("job", "pass")
    house.processing_job("job")
    eventually(lambda: not list((house.root / "sagemaker" / "jobs").iterdir()))


def test_a_job_that_nobody_created_is_not_found(house: House) -> None:
    with pytest.raises(ApiError, match="Could not find requested job") as refused:
        house.call("DescribeProcessingJob", ProcessingJobName="nobody")
    assert refused.value.code == "ValidationException"


def test_jobs_are_listed_oldest_first_unless_asked_otherwise(house: House) -> None:
    for name in ("b", "a", "c"):
        house.start_processing(name, "import sys; sys.exit(1)" if name == "a" else "pass")
        house.processing_job(name)

    def listed(**asked: Any) -> list[str]:
        found = house.call("ListProcessingJobs", **asked)["ProcessingJobSummaries"]
        return [job["ProcessingJobName"] for job in found]

    assert listed() == ["b", "a", "c"]
    assert listed(SortOrder="Descending") == ["c", "a", "b"]
    assert listed(StatusEquals="Failed") == ["a"]
    first = house.call("ListProcessingJobs", MaxResults=2)
    assert listed(NextToken=first["NextToken"]) == ["c"]


def test_jobs_that_ran_when_the_process_ended_have_ended_afterwards(house: House) -> None:
    house.start_processing("job", FOREVER)
    eventually(lambda: running(house, "job"))
    house.reopen()
    assert house.processing_job("job")["ProcessingJobStatus"] in {"Stopped", "Failed"}


def test_jobs_of_a_process_that_was_killed_are_failed_afterwards(house: House) -> None:
    house.start_processing("job", FOREVER)
    eventually(lambda: running(house, "job"))
    house.sagemaker.save(house.root / "state.json")
    house.sagemaker.shutdown()
    house.open()
    house.sagemaker.load(house.root / "state.json")
    job = house.processing_job("job")
    assert (job["ProcessingJobStatus"], job["FailureReason"].partition(":")[0]) == ("Failed", "InternalServerError")


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("/opt/ml", "ML"),
        ("/opt/ml/processing/in", "ML/processing/in"),
        ("--out=/opt/ml/processing/out", "--out=ML/processing/out"),
        ("/opt/ml/a:/opt/ml/b:/usr/lib", "ML/a:ML/b:/usr/lib"),
        ('{"path": "/opt/ml/a"}', '{"path": "ML/a"}'),
        ("s3://bucket/opt/ml/a", "s3://bucket/opt/ml/a"),
        ("/opt/mlflow", "/opt/mlflow"),
        ("/srv/opt/ml", "/srv/opt/ml"),
    ],
)
def test_paths_of_the_container_are_paths_of_its_folder(tmp_path: Path, inside: str, outside: str) -> None:
    container = Container(tmp_path, "job")
    assert container.mapped(inside) == outside.replace("ML", str(container.ml))


# Training -------------------------------------------------------------------------------------------------------------


def start_training(house: House, program: str, seconds: int = 60, **settings: Any) -> None:
    code = house.root / "source.tar.gz"  # the toolkit takes it from S3 in the same way, but there is none here
    code.write_bytes(packed({"train.py": program}))
    house.s3.put("s3://bucket/rows/train.csv", "1,2\n")
    channel = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/rows/", "S3DataDistributionType": "FullyReplicated"}
    params = {
        "TrainingJobName": "train",
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "HyperParameters": {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": str(code),
            "depth": "6",
        },
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": channel}}],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
    }
    house.call("CreateTrainingJob", **params | settings)


def training_job(house: House) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        job = house.call("DescribeTrainingJob", TrainingJobName="train")
        return None if job["TrainingJobStatus"] in {"InProgress", "Stopping"} else job

    return eventually(ended, seconds=30)  # type: ignore[no-any-return]


def test_a_training_job_leaves_its_model_as_a_tar_gz_at_the_place_it_tells(house: House) -> None:
    program = """
import json, os, pathlib
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "train.csv").read_text()
said = {"rows": rows, "depth": json.loads(os.environ["SM_HPS"])["depth"]}
pathlib.Path(os.environ["SM_MODEL_DIR"], "code").mkdir()
pathlib.Path(os.environ["SM_MODEL_DIR"], "code", "said.json").write_text(json.dumps(said))
"""
    start_training(house, program)
    job = training_job(house)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    place = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert place == "s3://bucket/models/train/output/model.tar.gz"
    with tarfile.open(fileobj=BytesIO(house.s3.objects[place])) as tar:
        said = tar.extractfile("code/said.json")
        assert said is not None
        assert json.load(said) == {"rows": "1,2\n", "depth": 6}


def test_what_a_training_program_leaves_beside_its_model_is_an_artefact_of_its_own(house: House) -> None:
    start_training(
        house,
        "import os, pathlib; pathlib.Path(os.environ['SM_OUTPUT_DATA_DIR'], 'trees.txt').write_text('12')",
    )
    job = training_job(house)
    assert (job["TrainingJobStatus"], job["BillableTimeInSeconds"] < 30) == ("Completed", True)
    with tarfile.open(fileobj=BytesIO(house.s3.objects["s3://bucket/models/train/output/output.tar.gz"])) as tar:
        assert tar.getnames() == ["trees.txt"]


def test_a_training_program_that_raised_failed_the_job_and_its_log_says_why(house: House) -> None:
    start_training(house, "raise ValueError('too few rows')")
    job = training_job(house)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert "ExecuteUserScriptError" in job["FailureReason"]
    assert job["FailureReason"].endswith("exit code: 1")
    assert "ValueError: too few rows" in house.logs.streams["/aws/sagemaker/TrainingJobs/train/algo-1"]
    assert house.s3.under("s3://bucket/models/") == {}


def test_a_training_job_that_takes_too_long_is_stopped_for_that(house: House) -> None:
    start_training(house, FOREVER, seconds=1)
    job = training_job(house)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_channel_without_objects_fails_the_training_job(house: House) -> None:
    where = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/none/"}
    start_training(
        house, "print('ran')", InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": where}}]
    )
    assert training_job(house)["FailureReason"].startswith("ClientError: Data download failed")


def instances(count: int) -> dict[str, Any]:
    return {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 30}}


def test_every_instance_of_a_training_job_knows_the_others_and_their_models_are_one_artefact(house: House) -> None:
    program = """
import json, os, pathlib
current, hosts = os.environ["SM_CURRENT_HOST"], json.loads(os.environ["SM_HOSTS"])
place = str(hosts.index(current))
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "train.csv").read_text()
pathlib.Path(os.environ["SM_MODEL_DIR"], place).write_text(rows)
print("instance", place, "of", len(hosts), flush=True)
"""
    start_training(house, program, **instances(2))
    job = training_job(house)
    assert job["TrainingJobStatus"] == "Completed", job
    with tarfile.open(fileobj=BytesIO(house.s3.objects[job["ModelArtifacts"]["S3ModelArtifacts"]])) as tar:
        assert sorted(tar.getnames()) == ["0", "1"]
    for number in (1, 2):
        assert f"instance {number - 1} of 2" in house.logs.streams[f"/aws/sagemaker/TrainingJobs/train/algo-{number}"]


def test_an_instance_that_failed_ends_the_others(house: House) -> None:
    program = """
import json, os, time
if os.environ["SM_CURRENT_HOST"] == json.loads(os.environ["SM_HOSTS"])[1]:
    raise ValueError("no share")
time.sleep(60)
"""
    start_training(house, program, **instances(2))
    assert "ExecuteUserScriptError" in training_job(house)["FailureReason"]
    assert "ValueError: no share" in house.logs.streams["/aws/sagemaker/TrainingJobs/train/algo-2"]


def test_checkpoints_outlive_the_job_and_the_next_one_finds_them(house: House) -> None:
    program = """
import os, pathlib
folder = pathlib.Path(os.environ["CHECKPOINTS"])
before = sorted(file.name for file in folder.iterdir())
(folder / str(len(before))).write_text("round")
assert before, "interrupted"
pathlib.Path(os.environ["SM_MODEL_DIR"], "found").write_text(" ".join(before))
"""
    more = {
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        "Environment": {"CHECKPOINTS": "/opt/ml/checkpoints"},
    }
    start_training(house, program, **more)
    assert training_job(house)["TrainingJobStatus"] == "Failed"
    assert house.s3.under("s3://bucket/checkpoints/") == {"0": "round"}
    start_training(house, program, TrainingJobName="again", **more)
    eventually(lambda: "s3://bucket/models/again/output/model.tar.gz" in house.s3.objects, seconds=30)
    with tarfile.open(fileobj=BytesIO(house.s3.objects["s3://bucket/models/again/output/model.tar.gz"])) as tar:
        found = tar.extractfile("found")
        assert found is not None
        assert found.read() == b"0"
