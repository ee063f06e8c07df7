"""The custom resource: code and pipeline are published, and CloudFormation always has its answer."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from control_plane import crowned, in_service, opened, trigger

from retrain.core.enough import Plan
from retrain.core.errors import InvalidSettings
from retrain.model.spec import CANDIDATES
from retrain.pipeline.publishing import (
    WATCHED_FOR_SILENCE,
    PublishingSettings,
    answer,
    code_hash,
    require_built_for,
    source_archive,
)

EVENTS = Path(__file__).parents[2] / "events"
SETTINGS = PublishingSettings("flights-retrain", "arn:aws:iam::000000000000:role/job", "flights", "s3://data/2013/")


class Bus:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def put(self, detail_type: str, detail: dict[str, Any]) -> None:
        self.events.append((detail_type, detail))


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def answers() -> list[tuple[str, str, dict[str, str], str]]:
    return []


@pytest.fixture
def call(ledger: Any, store: Any, sagemaker: Any, cloudwatch: Any, bus: Bus, answers: list[Any]) -> Any:
    def invoke(name: str, settings: Any = lambda: SETTINGS, **changes: Any) -> dict[str, Any]:
        event = {**json.loads((EVENTS / f"{name}.json").read_text()), **changes}
        return answer(
            event,
            settings=settings,
            ledger=lambda: ledger,
            store=lambda: store,
            sagemaker=lambda: sagemaker,
            cloudwatch=lambda: cloudwatch,
            bus=lambda: bus,
            respond=lambda _, *said: answers.append(said),
        )

    return invoke


@pytest.mark.parametrize("name", ["custom-resource-create", "custom-resource-update"])
def test_code_and_pipeline_are_published(name: str, call: Any, store: Any, sagemaker: Any, answers: Any) -> None:
    call(name)
    [(status, physical_id, data, _)] = answers
    assert status == "SUCCESS"
    assert physical_id == "PublishedPipeline-publish"
    code = data["CodeUri"]
    assert code.startswith("s3://bucket/code/")
    assert store.objects[f"{code}/none/none.jsonl"] == b""
    assert f"{code}/retrain/jobs/dataset.py" in store.objects
    with tarfile.open(fileobj=io.BytesIO(store.objects[f"{code}/source.tar.gz"])) as tar:
        assert {"train.py", "inference.py", "retrain/model/spec.py"} <= set(tar.getnames())
    definition = json.loads(sagemaker.pipelines["flights-retrain"])
    assert definition["Steps"]


def test_what_is_published_trains_the_candidates_as_the_settings_say(call: Any, sagemaker: Any) -> None:
    call("custom-resource-create", lambda: replace(SETTINGS, candidate_jobs="each", spot=True))
    jobs = [step for step in json.loads(sagemaker.pipelines["flights-retrain"])["Steps"] if step["Type"] == "Training"]
    assert len(jobs) == len(CANDIDATES)
    assert all(job["Arguments"]["EnableManagedSpotTraining"] for job in jobs)


def test_settings_that_name_no_way_of_training_candidates_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="candidate jobs are one or each: both"):
        replace(SETTINGS, candidate_jobs="both")


def test_publishing_again_writes_the_same_bytes(call: Any, store: Any) -> None:
    call("custom-resource-create")
    before = dict(store.objects)
    call("custom-resource-update")
    assert store.objects == before


def test_other_code_goes_to_another_folder(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("1")
    first = code_hash({"a.py": file})
    file.write_text("2")
    assert code_hash({"a.py": file}) != first
    assert code_hash({"b.py": file}) != code_hash({"a.py": file})


def test_an_archive_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    import os

    file = tmp_path / "a.py"
    file.write_text("1")
    first = source_archive({"a.py": file})
    os.utime(file, (0, 0))
    assert source_archive({"a.py": file}) == first


def test_deleting_the_stack_deletes_the_pipeline(call: Any, sagemaker: Any, answers: Any) -> None:
    call("custom-resource-create")
    call("custom-resource-delete")
    assert sagemaker.pipelines == {}
    assert answers[-1][0] == "SUCCESS"


def test_the_first_episode_is_asked_for_when_there_is_no_champion(call: Any, bus: Bus, answers: Any) -> None:
    call("custom-resource-bootstrap")
    assert bus.events == [("Bootstrap Requested", {"endpoint_name": "flights"})]
    assert answers[0][2] == {"Bootstrap": "requested"}


def test_a_champion_is_not_bootstrapped_again(call: Any, bus: Bus, ledger: Any, answers: Any) -> None:
    crowned(ledger)
    call("custom-resource-bootstrap")
    assert bus.events == []
    assert answers[0][2] == {"Bootstrap": "champion exists"}


def test_deleting_asks_for_nothing(call: Any, bus: Bus, answers: Any) -> None:
    call("custom-resource-bootstrap", RequestType="Delete", PhysicalResourceId="FirstEpisode-bootstrap")
    assert bus.events == []
    assert answers[0][:2] == ("SUCCESS", "FirstEpisode-bootstrap")


OTHER = "arn:aws:cloudformation:us-east-1:000000000000:stack/other/2"


def test_a_second_stack_of_the_same_endpoint_is_refused_and_told_who_owns_it(
    call: Any, answers: Any, sagemaker: Any, store: Any
) -> None:
    call("custom-resource-create", StackId=OTHER)
    theirs, files = dict(sagemaker.pipelines), set(store.objects)
    call("custom-resource-create")
    assert answers[-1][0] == "FAILED"
    assert f"EndpointName flights is taken: the pipeline flights-retrain belongs to {OTHER}" in answers[-1][3]
    call("custom-resource-delete")  # what CloudFormation asks for next
    assert answers[-1][0] == "SUCCESS"
    assert (sagemaker.pipelines, set(store.objects)) == (theirs, files)


def test_a_renamed_endpoint_is_refused_and_its_stack_goes_back_to_its_own(
    call: Any, answers: Any, sagemaker: Any
) -> None:
    call("custom-resource-create")
    renamed = replace(SETTINGS, endpoint_name="trains", pipeline_name="trains-retrain")
    call("custom-resource-update", lambda: renamed)
    assert answers[-1][0] == "FAILED"
    assert "this stack owns endpoint flights" in answers[-1][3]
    assert list(sagemaker.pipelines) == ["flights-retrain"]
    call("custom-resource-update")  # CloudFormation rolls back
    assert answers[-1][0] == "SUCCESS"


def test_an_endpoint_that_nobody_here_made_is_not_taken_over(call: Any, answers: Any, sagemaker: Any) -> None:
    sagemaker.described = in_service("by-hand")
    call("custom-resource-create")
    assert answers[-1][0] == "FAILED"
    assert "the endpoint flights exists and serves by-hand, which no episode of this stack made" in answers[-1][3]
    assert sagemaker.pipelines == {}


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        ("s3://data/2013/model.tar.gz", ""),
        ("s3://elsewhere/model.tar.gz", "it serves s3://elsewhere/model.tar.gz, and InitialDataUri"),
    ],
)
def test_an_endpoint_that_is_there_is_adopted_if_what_it_serves_lies_beside_its_data(
    archive: str, said: str, call: Any, answers: Any, sagemaker: Any
) -> None:
    sagemaker.described = {**in_service("by-hand"), "EndpointName": "flights"}
    sagemaker.configs["by-hand"] = {"ProductionVariants": [{"VariantName": "AllTraffic", "ModelName": "theirs"}]}
    sagemaker.models["theirs"] = {"PrimaryContainer": {"ModelDataUrl": archive}}
    call("custom-resource-create", lambda: replace(SETTINGS, adopt=True))
    assert answers[-1][0] == ("FAILED" if said else "SUCCESS")
    assert said in answers[-1][3]


def test_there_has_to_be_something_to_adopt(call: Any, answers: Any) -> None:
    call("custom-resource-create", lambda: replace(SETTINGS, adopt=True))
    assert "AdoptEndpoint=true, and there is no endpoint flights" in answers[-1][3]


def test_a_stack_that_is_updated_while_its_first_model_is_rolled_out_is_fine(
    call: Any, answers: Any, sagemaker: Any, ledger: Any
) -> None:
    episode = opened(ledger, trigger(cause="bootstrap", bootstrap=True))
    sagemaker.described = in_service(episode.episode_id, "Creating")
    call("custom-resource-update")
    assert answers[-1][0] == "SUCCESS"


def test_what_was_built_for_another_machine_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "built-for").write_text("python3.13-arm64\n")
    with pytest.raises(InvalidSettings, match=r"built for python3.13-arm64 and deployed to python3.11-x86_64"):
        require_built_for("python3.11-x86_64", tmp_path)
    require_built_for("python3.13-arm64", tmp_path)
    require_built_for("python3.11-x86_64", tmp_path / "checkout")


def test_the_silence_alarms_have_a_beginning(call: Any, cloudwatch: Any) -> None:
    call("custom-resource-create")
    assert [item["MetricName"] for item in cloudwatch.published] == list(WATCHED_FOR_SILENCE)


def unset() -> PublishingSettings:
    raise InvalidSettings("the environment has no PIPELINE_NAME")


def test_a_failure_is_answered_so_that_the_stack_does_not_hang(call: Any, answers: Any) -> None:
    assert call("custom-resource-create", settings=unset) == {"status": "failed"}
    [(status, _, _, reason)] = answers
    assert status == "FAILED"
    assert "PIPELINE_NAME" in reason


def test_a_failing_deletion_does_not_keep_the_stack_alive(call: Any, answers: Any) -> None:
    call("custom-resource-delete", settings=unset)
    assert answers[0][0] == "SUCCESS"


def test_an_unexpected_error_is_answered_as_well(call: Any, answers: Any, sagemaker: Any) -> None:
    def broken(*_: Any) -> str:
        raise ZeroDivisionError

    sagemaker.put_pipeline = broken
    call("custom-resource-create")
    assert answers[0][0] == "FAILED"
    assert "ZeroDivisionError" in answers[0][3]


@pytest.mark.parametrize(("days", "refused"), [(0, False), (1, True), (2, False), (30, False)])
def test_data_that_is_forgotten_before_its_labels_come_is_refused_at_deployment(days: int, refused: bool) -> None:
    """A window of a day, and labels a day late."""
    plan = Plan(window=24, delay=24, keep=days * 24)
    if not refused:
        replace(SETTINGS, plan=plan)
        return
    with pytest.raises(InvalidSettings, match="nothing would ever be trained: KeepDataDays 1, WindowHours 24"):
        replace(SETTINGS, plan=plan)
