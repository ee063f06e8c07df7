"""The endpoint converges to the approved package, or stays as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from control_plane import (
    APPROVAL,
    NOW,
    PACKAGE,
    ROLLOUT,
    RUN,
    FakeBus,
    crowned,
    evaluated,
    in_service,
    opened,
    step,
    trigger,
)

from retrain.core.errors import (
    Diverged,
    EndpointBroken,
    EndpointBusy,
    EndpointTimeout,
    InvalidSettings,
    NoArtifact,
    Refused,
    RolledBack,
    Throttled,
)
from retrain.episode.approval import judge_challenger
from retrain.episode.rollout import (
    RolloutSettings,
    check_endpoint,
    converge_endpoint,
    deployment_config,
    switch_champion,
)


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def approve(ledger: Any, store: Any, sagemaker: Any, episode: Any) -> Any:
    """The episode as the approver leaves it."""
    ledger.note(episode, pipeline_execution_arn=RUN)
    evaluated(store, sagemaker, episode, **({"decision": "bootstrap"} if episode.bootstrap else {}))
    sagemaker.registers(episode.episode_id)
    asked = step(episode, "judge")
    judge_challenger(asked, rules=APPROVAL, ledger=ledger, store=store, sagemaker=sagemaker, bus=FakeBus())
    return episode


@pytest.fixture
def episode(ledger: Any, store: Any, sagemaker: Any) -> Any:
    """Its challenger is approved, and the champion serves."""
    crowned(ledger)
    sagemaker.described = in_service("old-config")
    return approve(ledger, store, sagemaker, opened(ledger))


@pytest.fixture
def converge(ledger: Any, store: Any, sagemaker: Any, cloudwatch: Any) -> Any:
    def call(episode: Any, settings: RolloutSettings = ROLLOUT) -> dict[str, Any]:
        return converge_endpoint(
            step(episode, "update"),
            settings=settings,
            ledger=ledger,
            store=store,
            sagemaker=sagemaker,
            cloudwatch=cloudwatch,
        )

    return call


@pytest.fixture
def check(ledger: Any, sagemaker: Any) -> Any:
    def call(episode: Any, **fields: Any) -> dict[str, Any]:
        return check_endpoint(step(episode, "endpoint", **fields), ledger=ledger, sagemaker=sagemaker)

    return call


def test_the_endpoint_is_updated_to_a_config_named_after_the_episode(
    converge: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    assert converge(episode) == {"status": "updating", "endpoint_config": episode.episode_id}
    assert sagemaker.models[episode.episode_id]["Containers"] == [{"ModelPackageName": PACKAGE}]
    assert sagemaker.models[episode.episode_id]["EnableNetworkIsolation"] is True
    config = sagemaker.configs[episode.episode_id]
    assert config["ProductionVariants"][0]["VariantName"] == "AllTraffic"
    assert config["DataCaptureConfig"]["DestinationS3Uri"] == "s3://bucket/capture"
    assert (config["KmsKeyId"], config["DataCaptureConfig"]["KmsKeyId"]) == ("arn:key", "arn:key")
    assert sagemaker.models[episode.episode_id]["VpcConfig"]["Subnets"] == ["subnet-1"]
    [update] = sagemaker.updates
    assert update["deployment"]["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}
    assert ledger.episode(episode.episode_id)["previous_config_name"] == "old-config"


def test_updating_again_converges_without_a_second_update(converge: Any, episode: Any, sagemaker: Any) -> None:
    converge(episode)
    assert converge(episode)["status"] == "updating"
    assert len(sagemaker.updates) == 1


def test_an_updater_that_died_before_the_update_leaves_no_orphans(converge: Any, episode: Any, sagemaker: Any) -> None:
    update = sagemaker.update_endpoint

    def dies(*_: Any, **__: Any) -> None:
        sagemaker.update_endpoint = update
        raise Throttled("the function died here")

    sagemaker.update_endpoint = dies
    with pytest.raises(Throttled):
        converge(episode)
    converge(episode)
    assert (len(sagemaker.models), len(sagemaker.configs), len(sagemaker.updates)) == (1, 1, 1)


def test_an_endpoint_that_serves_the_target_needs_nothing(converge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.described = in_service(episode.episode_id)
    assert converge(episode)["status"] == "updating"
    assert sagemaker.updates == []


def test_the_bootstrap_creates_the_endpoint(converge: Any, ledger: Any, store: Any, sagemaker: Any) -> None:
    episode = approve(ledger, store, sagemaker, opened(ledger, trigger(cause="bootstrap", bootstrap=True)))
    converge(episode)
    assert sagemaker.created == [episode.episode_id]
    assert sagemaker.updates == []


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_an_endpoint_that_is_changing_is_busy(status: str, converge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.described = in_service("old-config", status)
    with pytest.raises(EndpointBusy):
        converge(episode)
    assert sagemaker.updates == []


@pytest.mark.parametrize("status", ["Failed", "OutOfService", "Deleting", "UpdateRollbackFailed", "Hibernating"])
def test_an_endpoint_that_cannot_serve_is_broken(
    status: str, converge: Any, check: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    converge(episode)
    sagemaker.described = in_service("old-config", status)
    with pytest.raises(EndpointBroken, match=status):
        converge(episode)
    with pytest.raises(EndpointBroken, match=status):
        check(episode)


def test_a_champion_without_an_endpoint_is_broken(converge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.described = None
    with pytest.raises(EndpointBroken):
        converge(episode)


def test_an_endpoint_that_somebody_else_changed_is_left_alone(converge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.described = in_service("somebody-elses")
    with pytest.raises(Diverged):
        converge(episode)
    assert sagemaker.updates == []


def test_a_rollback_alarm_that_rings_already_forbids_the_start(
    converge: Any, episode: Any, sagemaker: Any, cloudwatch: Any
) -> None:
    cloudwatch.alarming = ["errors"]
    with pytest.raises(Refused, match="unsafe_to_start"):
        converge(episode)
    assert sagemaker.updates == []


@pytest.mark.parametrize(
    "file",
    [
        "evaluation/evaluation.json",
        "dataset/manifest.json",
        "dataset/train.csv",
        "baseline/statistics.json",
        "baseline/constraints.json",
        "evaluation/constraints.json",
        None,
    ],
)
def test_what_changed_since_it_was_judged_is_refused(
    file: str | None, converge: Any, episode: Any, store: Any, sagemaker: Any
) -> None:
    key = f"episodes/{episode.episode_id}/{file}" if file else "model.tar.gz"
    store.put(key, store.read(store.uri(key)) + b" ")
    with pytest.raises(Refused, match=f"artifact_tampered: .*{key} has SHA-256"):
        converge(episode)
    assert sagemaker.models == {}


def test_a_package_whose_container_was_edited_since_is_refused(converge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.package["InferenceSpecification"]["Containers"][0]["Image"] = "another"
    with pytest.raises(Refused, match="artifact_tampered: the container of"):
        converge(episode)
    assert sagemaker.models == {}


def test_a_dataset_file_that_is_gone_is_no_artifact(converge: Any, episode: Any, store: Any, sagemaker: Any) -> None:
    del store.objects[f"s3://bucket/episodes/{episode.episode_id}/dataset/train.csv"]
    with pytest.raises(NoArtifact):
        converge(episode)
    assert sagemaker.models == {}


def test_nothing_is_rolled_out_that_was_not_sealed(converge: Any, episode: Any, ledger: Any, sagemaker: Any) -> None:
    ledger.note(episode, seals={})
    with pytest.raises(Refused, match="the ledger has no SHA-256"):
        converge(episode)
    assert sagemaker.models == {}


@pytest.mark.parametrize("decision", [None, "rejected"])
def test_nothing_is_rolled_out_without_an_approval(
    decision: str | None, converge: Any, ledger: Any, store: Any, sagemaker: Any
) -> None:
    crowned(ledger)
    sagemaker.described = in_service("old-config")
    episode = opened(ledger)
    if decision:
        ledger.decide(episode.episode_id, decision, "ada", NOW)
    with pytest.raises(Refused, match="rejected"):
        converge(episode)
    assert sagemaker.updates == []


def test_an_episode_that_lost_its_lock_updates_nothing(
    converge: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    much_later = NOW + timedelta(days=12)
    ledger.open(trigger(much_later), (NOW, NOW), much_later + timedelta(hours=1))
    with pytest.raises(Refused, match="fenced"):
        converge(episode)
    assert sagemaker.updates == []


@pytest.mark.parametrize(
    "variants",
    [
        [{"VariantName": "blue", "DesiredInstanceCount": 1}],
        [{"VariantName": "AllTraffic"}, {"VariantName": "shadow"}],
        [{"VariantName": "AllTraffic", "CurrentServerlessConfig": {"MaxConcurrency": 1}}],
    ],
)
def test_an_endpoint_that_cannot_roll_back_is_refused_before_the_update(
    variants: list[dict[str, Any]], converge: Any, episode: Any, sagemaker: Any
) -> None:
    sagemaker.described["ProductionVariants"] = variants
    with pytest.raises(Refused, match="unsupported_endpoint"):
        converge(episode)
    assert sagemaker.updates == []


def test_one_instance_changes_all_at_once_and_two_begin_with_a_canary() -> None:
    one = deployment_config(ROLLOUT, 1)["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    two = deployment_config(ROLLOUT, 2)["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert one["Type"] == "ALL_AT_ONCE"
    assert two == {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 300,
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
    }


def test_an_endpoint_that_was_scaled_out_keeps_its_instances(converge: Any, episode: Any, sagemaker: Any) -> None:
    sagemaker.described = in_service("old-config", instances=5)
    converge(episode)
    assert sagemaker.updates[0]["keep_counts"] is True


def test_a_roll_out_has_succeeded_when_the_endpoint_serves_the_requested_config(
    converge: Any, check: Any, episode: Any, sagemaker: Any
) -> None:
    converge(episode)
    assert check(episode) == {"status": "updating"}
    sagemaker.described = in_service(episode.episode_id)
    assert check(episode) == {"status": "serving"}


def test_in_service_with_the_old_config_is_a_rollback(
    converge: Any, check: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    before = ledger.champion("flights")
    converge(episode)
    sagemaker.described = in_service("old-config")
    with pytest.raises(RolledBack):
        check(episode)
    assert ledger.champion("flights") == before


def test_in_service_with_a_third_config_has_diverged(converge: Any, check: Any, episode: Any, sagemaker: Any) -> None:
    converge(episode)
    sagemaker.described = in_service("somebody-elses")
    with pytest.raises(Diverged):
        check(episode)


def test_an_endpoint_that_changes_for_ever_times_out(converge: Any, check: Any, episode: Any) -> None:
    converge(episode)
    with pytest.raises(EndpointTimeout):
        check(episode, overdue=True)


def test_an_endpoint_that_vanished_is_broken(converge: Any, check: Any, episode: Any, sagemaker: Any) -> None:
    converge(episode)
    sagemaker.described = None
    with pytest.raises(EndpointBroken):
        check(episode)


def test_champion_and_baseline_switch_together_when_the_model_serves(
    converge: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    converge(episode)
    sagemaker.described = in_service(episode.episode_id)
    for _ in range(2):
        assert switch_champion(step(episode), ledger=ledger, sagemaker=sagemaker) == {"status": "switched"}
    champion = ledger.champion("flights")
    assert champion["endpoint_config_name"] == episode.episode_id
    assert champion["model_package_arn"] == PACKAGE
    assert champion["statistics_uri"].startswith(f"s3://bucket/episodes/{episode.episode_id}/")
    assert champion["since"] == "2013-04-01T00:00:41.318Z"


def test_the_champion_stays_while_the_endpoint_is_still_changing(
    converge: Any, episode: Any, ledger: Any, sagemaker: Any
) -> None:
    converge(episode)
    with pytest.raises(EndpointBusy):
        switch_champion(step(episode), ledger=ledger, sagemaker=sagemaker)
    assert ledger.champion("flights")["endpoint_config_name"] == "old-config"


@pytest.mark.parametrize(
    "changes",
    [{"instance_count": 0}, {"bake_seconds": 4000}, {"rollback_alarms": tuple("abcdefghijk")}],
)
def test_settings_out_of_range_are_invalid(changes: dict[str, Any]) -> None:
    from dataclasses import replace

    with pytest.raises(InvalidSettings):
        replace(ROLLOUT, **changes)


@pytest.mark.parametrize(
    ("strategy", "step", "routing"),
    [
        ("all-at-once", 25, {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}),
        ("canary", 20, {"Type": "CANARY", "WaitIntervalInSeconds": 300, "CanarySize": percent(20)}),
        ("linear", 25, {"Type": "LINEAR", "WaitIntervalInSeconds": 75, "LinearStepSize": percent(25)}),
        ("linear", 30, {"Type": "LINEAR", "WaitIntervalInSeconds": 75, "LinearStepSize": percent(30)}),
    ],
)
def test_traffic_moves_as_the_parameters_say(strategy: str, step: int, routing: Any) -> None:
    settings = replace(ROLLOUT, instance_count=4, strategy=strategy, step_percent=step)
    policy = deployment_config(settings, 4)["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == routing


@pytest.mark.parametrize(
    "changes", [{"strategy": "shadow"}, {"strategy": "linear"}, {"strategy": "canary"}, {"step_percent": 60}]
)
def test_a_rollout_that_sagemaker_would_refuse_is_refused_before(changes: Any) -> None:
    with pytest.raises(InvalidSettings):
        replace(ROLLOUT, **changes)
