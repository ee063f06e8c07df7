"""Nothing stays open, untold or astray because an event got lost."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from control_plane import CLOSING, MODEL, NOW, PACKAGE, RUN, crowned, in_service, opened, step, trigger

from retrain.core import clock
from retrain.core.errors import EndpointBusy, MalformedEvent, Refused
from retrain.episode.closing import LONGEST_CALL, Closer, close_ended_execution, close_episode, settled
from retrain.episode.retention import RetentionRules
from retrain.episode.seals import read_sealed
from retrain.episode.sweeping import EVENTS_FIRST, Sweeper, how_it_ended, sweep

EVENTS = Path(__file__).parents[2] / "events"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TARGET = trigger().episode_id
KEPT = RetentionRules(models=2)


@pytest.fixture
def closer(ledger: Any, sagemaker: Any, topic: Any, bus: Any) -> Closer:
    return Closer(CLOSING, ledger, sagemaker, topic, bus)


@pytest.fixture
def swept(closer: Closer, machine: Any, store: Any) -> Any:
    def call(now: datetime) -> dict[str, Any]:
        return sweep({"time": clock.render(now)}, sweeper=Sweeper("flights", closer, machine, store, KEPT))

    return call


@pytest.fixture
def episode(ledger: Any, sagemaker: Any) -> Any:
    """An open episode, whose execution runs."""
    crowned(ledger)
    sagemaker.described = in_service("old-config")
    return opened(ledger)


def rolled_out(ledger: Any, episode: Any) -> None:
    """… and got as far as changing the endpoint."""
    ledger.decide(episode.episode_id, "approved", "ada", NOW)
    sealed = {"s3://bucket/model.tar.gz": "m" * 64, "s3://new/statistics.json": "s" * 64, "s3://bucket/other": "x"}
    ledger.note(
        episode,
        endpoint_config_name=TARGET,
        previous_config_name="old-config",
        pipeline_execution_arn=RUN,
        model_package_arn=PACKAGE,
        model_data_uri="s3://bucket/model.tar.gz",
        model_sha256="m" * 64,
        dataset_uri="s3://bucket/dataset",
        dataset_sha256="d" * 64,
        statistics_uri="s3://new/statistics.json",
        constraints_uri="s3://new/constraints.json",
        quality_constraints_uri="s3://new/quality.json",
        seals=sealed,
    )


# What the sweep closes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED", "SUCCEEDED"])
def test_an_open_episode_whose_execution_is_over_is_closed_and_told(
    status: str, episode: Any, swept: Any, machine: Any, ledger: Any, topic: Any, sagemaker: Any
) -> None:
    ledger.note(episode, pipeline_execution_arn=RUN, model_package_arn=PACKAGE)
    machine.ended[episode.episode_id] = (status, NOW)
    assert swept(NOW + EVENTS_FIRST)["closed"] == [episode.episode_id]
    item = ledger.episode(episode.episode_id)
    assert (item["status"], item["reason"]) == ("CLOSED", f"execution_{status.lower()}")
    assert ledger.open_episode_id("flights") is None
    assert [subject for subject, _ in topic.messages] == ["flights: retraining FAILED"]
    assert sagemaker.stopped == [RUN]
    assert [approval[1] for approval in sagemaker.approvals] == ["Rejected"]
    assert swept(NOW + 2 * EVENTS_FIRST)["closed"] == []


@pytest.mark.parametrize(
    ("execution", "opened_at", "now", "closes"),
    [
        (("RUNNING", None), NOW, NOW + HOUR, False),
        (("PENDING_REDRIVE", None), NOW, NOW + HOUR, False),
        (("ABORTED", NOW), NOW, NOW + EVENTS_FIRST - MINUTE, False),  # its event may still come
        (("ABORTED", NOW), NOW, NOW + EVENTS_FIRST, True),
        (None, NOW, NOW + HOUR - MINUTE, False),  # whoever opened it may start it yet
        (None, NOW, NOW + HOUR, True),
    ],
)
def test_what_is_over_for_good(execution: Any, opened_at: datetime, now: datetime, closes: bool) -> None:
    ending, _ = how_it_ended(execution, opened_at, now)
    assert (ending is not None) == closes


def test_an_episode_that_was_never_started_frees_its_endpoint_when_its_lease_is_over(
    episode: Any, swept: Any, ledger: Any, topic: Any
) -> None:
    assert swept(NOW + 59 * MINUTE)["closed"] == []
    assert swept(NOW + 61 * MINUTE)["closed"] == [episode.episode_id]
    assert ledger.episode(episode.episode_id)["reason"] == "no_execution"
    assert len(topic.messages) == 1


def test_an_end_that_nobody_could_be_told_of_is_told_by_the_sweep(
    episode: Any, closer: Closer, swept: Any, topic: Any
) -> None:
    topic.down = True
    close_episode(step(episode, outcome="refused", reason="capture_missing"), closer=closer)
    topic.down = False
    assert swept(NOW + MINUTE)["told"] == []
    assert swept(NOW + EVENTS_FIRST)["told"] == [episode.episode_id]
    assert swept(NOW + 2 * EVENTS_FIRST)["told"] == []
    assert len(topic.messages) == 1


def test_an_episode_that_was_taken_over_is_told_by_the_sweep(
    episode: Any, ledger: Any, swept: Any, topic: Any, machine: Any, sagemaker: Any
) -> None:
    ledger.note(episode, pipeline_execution_arn=RUN, model_package_arn=PACKAGE)
    much_later = NOW + timedelta(days=26)
    heir = opened(ledger, trigger(much_later))
    machine.inputs[heir.episode_id] = "{}"
    assert swept(much_later + EVENTS_FIRST)["told"] == [episode.episode_id]
    assert "lock_expired" in topic.messages[0][1]
    assert (sagemaker.stopped, [approval[1] for approval in sagemaker.approvals]) == ([RUN], ["Rejected"])


@pytest.mark.parametrize("event", [None, [], {}, {"time": "soon"}])
def test_a_malformed_schedule_is_an_error(event: Any, closer: Closer, machine: Any, store: Any) -> None:
    with pytest.raises(MalformedEvent):
        sweep(event, sweeper=Sweeper("flights", closer, machine, store, KEPT))


# Ended in the middle of a roll-out ------------------------------------------------------------------------------------

CHANGED = {"endpoint_config_name": TARGET}


@pytest.mark.parametrize(
    ("endpoint", "now", "ended_at", "expected"),
    [
        (in_service(TARGET), NOW, None, "serves"),
        (in_service(TARGET), NOW, NOW, "serves"),
        (in_service(TARGET, "Updating"), NOW, None, "unsettled"),
        (in_service("old-config", "Updating"), NOW + HOUR, NOW, "unsettled"),
        (in_service("old-config", "RollingBack"), NOW + HOUR, NOW, "unsettled"),
        (in_service(TARGET, "Creating"), NOW + HOUR, NOW, "unsettled"),
        (in_service("old-config"), NOW, None, "untouched"),
        (in_service("old-config"), NOW + MINUTE, NOW, "unsettled"),  # a function of the execution may still run
        (in_service("old-config"), NOW + LONGEST_CALL, NOW, "untouched"),
        (in_service(TARGET, "Failed"), NOW, None, "untouched"),
        (None, NOW, None, "untouched"),
    ],
)
def test_what_became_of_a_roll_out(endpoint: Any, now: datetime, ended_at: datetime | None, expected: str) -> None:
    assert settled(CHANGED, endpoint, now, ended_at) == expected


def aborted(closer: Closer, at: datetime) -> dict[str, Any]:
    event = json.loads((EVENTS / "execution-aborted.json").read_text())
    return close_ended_execution({**event, "time": clock.render(at)}, closer=closer)


def test_an_abort_while_the_endpoint_changes_converges_to_what_serves(
    episode: Any, ledger: Any, closer: Closer, swept: Any, machine: Any, sagemaker: Any, topic: Any
) -> None:
    rolled_out(ledger, episode)
    sagemaker.described = in_service("old-config", "Updating")
    machine.ended[episode.episode_id] = ("ABORTED", NOW)
    assert aborted(closer, NOW) == {"action": "ignored", "reason": "endpoint_unsettled"}
    assert swept(NOW + EVENTS_FIRST)["closed"] == []
    assert ledger.open_episode_id("flights") == episode.episode_id, "nothing else may change the endpoint now"
    sagemaker.described = in_service(TARGET)
    assert swept(NOW + 2 * EVENTS_FIRST) == {
        "status": "swept",
        "closed": [episode.episode_id],
        "told": [],
        "serving": "",
        "removed": [],
    }
    item, champion = ledger.episode(episode.episode_id), ledger.champion("flights")
    assert (item["outcome"], item["reason"]) == ("promoted", "execution_aborted")
    assert (champion["endpoint_config_name"], champion["model_package_arn"]) == (TARGET, PACKAGE)
    assert champion["statistics_uri"] == "s3://new/statistics.json"
    assert sagemaker.approvals == [], "the package that serves stays approved"
    assert "a new model serves" in topic.messages[0][0]
    assert ledger.open_episode_id("flights") is None


def test_an_abort_after_which_the_old_model_serves_again_is_a_failure(
    episode: Any, ledger: Any, closer: Closer, swept: Any, machine: Any, sagemaker: Any
) -> None:
    rolled_out(ledger, episode)
    sagemaker.described = in_service("old-config", "RollingBack")
    machine.ended[episode.episode_id] = ("ABORTED", NOW)
    aborted(closer, NOW)
    sagemaker.described = in_service("old-config")
    swept(NOW + EVENTS_FIRST)
    assert ledger.episode(episode.episode_id)["outcome"] == "failed"
    assert ledger.champion("flights")["endpoint_config_name"] == "old-config"
    assert [(arn, status) for arn, status, _ in sagemaker.approvals] == [(PACKAGE, "Rejected")]


def test_a_function_that_outlives_its_aborted_execution_does_not_lead_astray(
    episode: Any, ledger: Any, closer: Closer, swept: Any, machine: Any, sagemaker: Any
) -> None:
    rolled_out(ledger, episode)
    machine.ended[episode.episode_id] = ("ABORTED", NOW)
    assert aborted(closer, NOW)["reason"] == "endpoint_unsettled"
    sagemaker.update_endpoint("flights", TARGET, {}, keep_counts=False)  # it was about to, and did
    assert swept(NOW + EVENTS_FIRST)["closed"] == []
    sagemaker.described = in_service(TARGET)
    swept(NOW + 2 * EVENTS_FIRST)
    assert ledger.champion("flights")["endpoint_config_name"] == TARGET


def test_a_state_that_failed_while_the_endpoint_changes_waits_for_it(
    episode: Any, ledger: Any, closer: Closer, sagemaker: Any
) -> None:
    rolled_out(ledger, episode)
    sagemaker.described = in_service("old-config", "Updating")
    late = step(episode, outcome="failed", error={"Error": "EndpointTimeout", "Cause": "still Updating"})
    with pytest.raises(EndpointBusy):
        close_episode(late, closer=closer)
    sagemaker.described = in_service(TARGET)
    assert close_episode(late, closer=closer)["outcome"] == "promoted"


def test_a_model_of_an_episode_that_lost_its_lock_is_nobodys_champion(
    episode: Any, ledger: Any, closer: Closer, sagemaker: Any
) -> None:
    rolled_out(ledger, episode)
    heir = opened(ledger, trigger(NOW + timedelta(days=26)))
    sagemaker.described = in_service(TARGET)
    close_episode(step(episode, outcome="failed", reason="x"), closer=closer)
    assert ledger.champion("flights")["endpoint_config_name"] == "old-config"
    assert ledger.open_episode_id("flights") == heir.episode_id


def test_the_native_baseline_follows_a_champion_that_the_sweep_found(
    episode: Any, ledger: Any, sagemaker: Any, topic: Any, bus: Any
) -> None:
    rolled_out(ledger, episode)
    sagemaker.described = in_service(TARGET)
    config = {"MonitoringType": "DataQuality", "MonitoringJobDefinition": {"BaselineConfig": {}}}
    described = {"EndpointName": "flights", "MonitoringScheduleStatus": "Scheduled", "MonitoringScheduleConfig": config}
    sagemaker.schedules["hourly"] = described
    close_episode(
        step(episode, outcome="failed", reason="x"), closer=Closer(CLOSING, ledger, sagemaker, topic, bus, "hourly")
    )
    [swapped] = [sagemaker.schedules["hourly"]["MonitoringScheduleConfig"]["MonitoringJobDefinition"]]
    assert swapped["BaselineConfig"]["StatisticsResource"] == {"S3Uri": "s3://new/statistics.json"}


def test_an_episode_that_never_was_is_refused_by_name(closer: Closer, ledger: Any, topic: Any) -> None:
    from retrain.core.values import Episode

    with pytest.raises(Refused, match="unknown_episode: the ledger has no episode nobody"):
        close_episode(step(Episode("nobody", "flights", 1, False), outcome="promoted"), closer=closer)
    assert topic.messages == []


# What serves is what the ledger says ----------------------------------------------------------------------------------

LATE = NOW.replace(minute=30)


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (in_service("old-config"), ""),
        (in_service("another", "Updating"), ""),
        (in_service("another"), "diverged"),
        (in_service("old-config", "Failed"), "endpoint_broken"),
        (None, "endpoint_missing"),
    ],
)
def test_an_endpoint_that_serves_something_else_is_told_once(
    endpoint: Any, reason: str, ledger: Any, swept: Any, sagemaker: Any, topic: Any
) -> None:
    crowned(ledger)
    sagemaker.described = endpoint
    for minutes in (0, 5, 10):
        assert swept(LATE + minutes * MINUTE)["serving"] == reason
    assert len(topic.messages) == (1 if reason else 0)


def test_it_is_told_again_when_it_happens_again(ledger: Any, swept: Any, sagemaker: Any, topic: Any) -> None:
    crowned(ledger)
    for number, config in enumerate(("another", "old-config", "another", "a third")):
        sagemaker.described = in_service(config)
        swept(LATE + number * MINUTE)
    assert len(topic.messages) == 3


def test_an_open_episode_knows_why_the_endpoint_differs(ledger: Any, swept: Any, sagemaker: Any, topic: Any) -> None:
    crowned(ledger)
    opened(ledger)
    sagemaker.described = in_service(TARGET)
    assert swept(LATE)["serving"] == ""
    assert topic.messages == []


def sealed_champion(ledger: Any, store: Any, episode: Any) -> None:
    rolled_out(ledger, episode)
    uris = [store.put("model.tar.gz", MODEL), store.put("statistics.json", "{}")]
    ledger.note(episode, statistics_uri=uris[1], seals={uri: store.sha256(uri) for uri in uris})
    from retrain.episode.rollout import crown

    crown(episode, ledger.held(episode), NOW, ledger)
    ledger.close(episode, closed_at=NOW, rearm_at=NOW, outcome="promoted", reason="", detail="")
    ledger.record_notified(episode.episode_id, NOW)


@pytest.mark.parametrize("damage", ["overwritten", "deleted"])
def test_what_serves_is_held_against_its_seals_every_hour_and_told_once(
    damage: str, episode: Any, ledger: Any, store: Any, swept: Any, sagemaker: Any, topic: Any
) -> None:
    sealed_champion(ledger, store, episode)
    sagemaker.described = in_service(TARGET)
    hour = NOW.replace(minute=2) + HOUR
    assert swept(hour)["serving"] == ""
    if damage == "deleted":
        del store.objects["s3://bucket/model.tar.gz"]
    else:
        store.put("model.tar.gz", b"another")
    assert swept(hour + 10 * MINUTE)["serving"] == "", "not yet"
    for minutes in (60, 65, 120):
        assert swept(hour + minutes * MINUTE)["serving"] == "artifact_tampered"
    assert len(topic.messages) == 1
    assert "s3://bucket/model.tar.gz" in topic.messages[0][1]
    store.put("model.tar.gz", MODEL)
    assert swept(hour + 130 * MINUTE)["serving"] == ""


def test_a_baseline_that_changed_since_it_was_judged_is_not_compared_with(
    episode: Any, ledger: Any, store: Any
) -> None:
    sealed_champion(ledger, store, episode)
    champion = ledger.champion("flights")
    assert read_sealed(champion, "s3://bucket/statistics.json", store) == b"{}"
    store.put("statistics.json", '{"blind": true}')
    with pytest.raises(Refused, match="artifact_tampered"):
        read_sealed(champion, "s3://bucket/statistics.json", store)
