"""An endpoint of others is adopted only if what it serves lies where the loop was told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from control_plane import NOW, PACKAGE, PIPELINE, ROLLOUT, evaluated, in_service, opened, step, trigger

from retrain.core.errors import NotOurs
from retrain.episode.adopting import adoptable_archive
from retrain.episode.retraining import PatienceRules, start_retraining
from retrain.episode.rollout import converge_endpoint
from retrain.episode.seals import container_sha256

DATA = PIPELINE.initial_data_uri
ARCHIVE = f"{DATA.rstrip('/')}/model.tar.gz"
ENDPOINT = {**in_service("by-hand"), "EndpointName": "flights"}
VARIANT = {"VariantName": "AllTraffic", "ModelName": "theirs"}


@pytest.fixture
def theirs(sagemaker: Any) -> Any:
    sagemaker.described = dict(ENDPOINT)
    sagemaker.configs["by-hand"] = {"ProductionVariants": [VARIANT]}
    sagemaker.models["theirs"] = {"PrimaryContainer": {"ModelDataUrl": ARCHIVE}}
    return sagemaker


@pytest.mark.parametrize(
    "model",
    [
        {"PrimaryContainer": {"ModelDataUrl": ARCHIVE}},
        {"Containers": [{"ModelDataUrl": ARCHIVE}]},
        {"PrimaryContainer": {"ModelDataSource": {"S3DataSource": {"S3Uri": ARCHIVE}}}},
        {"Containers": [{"ModelPackageName": PACKAGE}]},
    ],
)
def test_the_archive_is_found_however_the_model_was_made(model: Any, theirs: Any) -> None:
    theirs.models["theirs"] = model
    theirs.package = {"InferenceSpecification": {"Containers": [{"ModelDataUrl": ARCHIVE}]}}
    assert adoptable_archive(ENDPOINT, DATA, theirs) == ARCHIVE


@pytest.mark.parametrize(
    ("variants", "model", "said"),
    [
        ([VARIANT, {**VARIANT, "VariantName": "b"}], {}, "exactly one variant, named AllTraffic"),
        ([{**VARIANT, "VariantName": "blue"}], {}, "exactly one variant, named AllTraffic"),
        ([{**VARIANT, "ServerlessConfig": {}}], {}, "on instances"),
        (
            [VARIANT],
            {"PrimaryContainer": {"ModelDataUrl": "s3://b/m.tar.gz"}},
            "it serves s3://b/m.tar.gz, and InitialDataUri",
        ),
        ([VARIANT], {"PrimaryContainer": {"Image": "with the model inside"}}, "it serves nothing that lies in S3"),
        (
            [VARIANT],
            {"Containers": [{"ModelDataUrl": ARCHIVE}, {"ModelDataUrl": "s3://b/x"}]},
            f"it serves {ARCHIVE}, s3://b/x",
        ),
    ],
)
def test_what_can_not_be_judged_as_it_serves_is_not_adopted(variants: Any, model: Any, said: str, theirs: Any) -> None:
    theirs.configs["by-hand"] = {"ProductionVariants": variants}
    theirs.models["theirs"] = model
    with pytest.raises(NotOurs, match=said):
        adoptable_archive(ENDPOINT, DATA, theirs)


@pytest.mark.parametrize("adopt", [True, False])
def test_the_first_pipeline_judges_what_serves_if_that_was_asked_for(
    adopt: bool, ledger: Any, store: Any, theirs: Any
) -> None:
    episode = opened(ledger, trigger(cause="bootstrap", bootstrap=True))
    start_retraining(
        step(episode),
        settings=replace(PIPELINE, adopt=adopt),
        rules=PatienceRules(timedelta(hours=1)),
        ledger=ledger,
        store=store,
        sagemaker=theirs,
    )
    [parameters] = theirs.runs.values()
    assert (parameters["ChampionModelUri"] == ARCHIVE) == adopt
    assert ledger.episode(episode.episode_id).get("adopts_config") == ("by-hand" if adopt else None)


@pytest.mark.parametrize(("judged", "replaced"), [("by-hand", True), ("another", False), (None, False)])
def test_only_what_was_judged_is_replaced(
    judged: str | None, replaced: bool, ledger: Any, store: Any, theirs: Any, cloudwatch: Any
) -> None:
    episode = opened(ledger, trigger(cause="bootstrap", bootstrap=True))
    evaluated(store, theirs, episode, decision="bootstrap")
    ledger.decide(episode.episode_id, "approved", "policy:bootstrap", NOW)
    theirs.registers(episode.episode_id)
    folder = store.uri(f"episodes/{episode.episode_id}")
    files = {"model_data_uri": "s3://bucket/model.tar.gz", "statistics_uri": f"{folder}/baseline/statistics.json"}
    files |= {"constraints_uri": f"{folder}/baseline/constraints.json"}
    manifest = f"{folder}/dataset/manifest.json"
    ledger.note(
        episode,
        model_package_arn=PACKAGE,
        dataset_uri=f"{folder}/dataset",
        seals={uri: store.sha256(uri) for uri in (*files.values(), manifest)},
        container_sha256=container_sha256(theirs.package),
        **files,
        **({"adopts_config": judged} if judged else {}),
    )
    services = {"store": store, "sagemaker": theirs, "cloudwatch": cloudwatch}
    if replaced:
        converge_endpoint(step(episode, "update"), settings=ROLLOUT, ledger=ledger, **services)
        assert [update["config"] for update in theirs.updates] == [episode.episode_id]
    else:
        with pytest.raises(NotOurs, match="flights serves by-hand, which no episode made"):
            converge_endpoint(step(episode, "update"), settings=ROLLOUT, ledger=ledger, **services)
        assert theirs.updates == []
