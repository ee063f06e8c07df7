"""The ledger's conditions: who may open, hold, write and close."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from control_plane import ALARM, NOW, opened, past_end, trigger

from retrain.aws.ledger import Ledger
from retrain.core.clock import parse
from retrain.core.errors import Refused, Retryable, Throttled
from retrain.core.values import Episode

LATER = NOW + timedelta(hours=2)
WINDOW = (NOW - timedelta(days=1), NOW)


def said(answer: Any) -> str:
    """Which clause forbade it, or that none did."""
    return answer if isinstance(answer, str) else "opened"


def close(ledger: Ledger, episode: Episode, outcome: str = "promoted") -> bool:
    return ledger.close(episode, closed_at=NOW, rearm_at=NOW, outcome=outcome, reason="", detail="")


def test_two_openers_at_the_same_time_get_one_lock(ledger: Ledger) -> None:
    causes = [trigger(cause=f"{ALARM}-{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as openers:
        answers = list(openers.map(lambda cause: ledger.open(cause, WINDOW, LATER), causes))
    assert sorted(map(said, answers)) == ["lock_taken"] * 7 + ["opened"]
    assert ledger.lock("flights")["fence"] == 1


def test_the_same_cause_at_the_same_time_opens_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as openers:
        answers = list(openers.map(lambda _: ledger.open(trigger(), WINDOW, LATER), range(8)))
    assert sorted(map(said, answers)) == ["known"] * 7 + ["opened"]


def test_the_fence_grows_with_every_episode_and_never_falls(ledger: Ledger) -> None:
    fences = []
    for hour in range(3):
        episode = opened(ledger, trigger(NOW + timedelta(hours=hour)))
        fences.append(episode.fence)
        close(ledger, episode)
    assert fences == [1, 2, 3]


def test_an_expired_lease_is_taken_over_and_its_dead_episode_closed(ledger: Ledger) -> None:
    dead = trigger()
    ledger.open(dead, WINDOW, lease_until=NOW + timedelta(hours=1))
    assert ledger.open(trigger(NOW + timedelta(minutes=59)), WINDOW, LATER) == "lock_taken"
    assert said(ledger.open(trigger(LATER), WINDOW, LATER + timedelta(hours=1))) == "opened"
    item = ledger.episode(dead.episode_id) or {}
    assert (item["status"], item["outcome"], item["reason"]) == ("CLOSED", "failed", "lock_expired")
    assert ledger.lock("flights")["fence"] == 2


def test_a_lease_is_over_at_its_last_second_for_whoever_looks_and_whoever_writes(ledger: Ledger) -> None:
    ledger.open(trigger(), WINDOW, lease_until=NOW + timedelta(hours=1))
    heir, early = trigger(NOW + timedelta(hours=1)), trigger(NOW + timedelta(hours=1, seconds=-1))
    assert [ledger.situation(one).owner(one.at) is None for one in (early, heir)] == [False, True]
    assert [said(ledger.open(one, WINDOW, LATER)) for one in (early, heir)] == ["lock_taken", "opened"]


def test_an_expired_episode_that_wakes_up_is_fenced(ledger: Ledger) -> None:
    sleeper = opened(ledger)
    much_later = NOW + timedelta(days=12)
    assert said(ledger.open(trigger(much_later), WINDOW, much_later + timedelta(hours=1))) == "opened"
    for act in (
        lambda: ledger.note(sleeper, model_package_arn="mine"),
        lambda: ledger.require_lock(sleeper),
        lambda: ledger.switch_champion(sleeper, {"model_package_arn": "mine"}),
    ):
        with pytest.raises(Refused, match="fenced"):
            act()
    assert ledger.champion("flights") is None


def test_an_episode_that_lost_its_lock_is_closed_without_freeing_the_other_ones(ledger: Ledger) -> None:
    sleeper = opened(ledger)
    much_later = NOW + timedelta(days=12)
    ledger.open(trigger(much_later), WINDOW, much_later + timedelta(hours=1))
    assert close(ledger, sleeper, "failed") is False  # the one that took over has closed it
    assert ledger.open_episode_id("flights") == trigger(much_later).episode_id
    assert ledger.rearm_at("flights") is None


def test_closing_frees_the_lock_and_starts_the_cooldown_in_one_write(ledger: Ledger) -> None:
    episode = opened(ledger)
    until = NOW + timedelta(hours=6)
    assert ledger.close(episode, closed_at=NOW, rearm_at=until, outcome="promoted", reason="", detail="")
    assert ledger.open_episode_id("flights") is None
    assert ledger.rearm_at("flights") == until
    assert ledger.open(trigger(NOW + timedelta(hours=5)), WINDOW, LATER) == "cooldown"


@pytest.mark.parametrize(("seen", "closed"), [("", False), ("another", False), ("config", True), (None, True)])
def test_an_episode_is_closed_only_on_the_roll_out_that_its_closer_has_seen(
    seen: str | None, closed: bool, ledger: Ledger
) -> None:
    episode = opened(ledger)
    ledger.note(episode, endpoint_config_name="config")
    closing = {"closed_at": NOW, "rearm_at": NOW, "outcome": "failed", "reason": "", "detail": ""}
    assert ledger.close(episode, rolled_out=seen, **closing) is closed  # type: ignore[arg-type]
    assert (ledger.open_episode_id("flights") is None) is closed


def test_closing_twice_changes_nothing(ledger: Ledger) -> None:
    episode = opened(ledger)
    assert close(ledger, episode)
    assert not close(ledger, episode, "failed")
    assert (ledger.episode(episode.episode_id) or {})["outcome"] == "promoted"


def test_closing_removes_the_task_token(ledger: Ledger) -> None:
    episode = opened(ledger)
    ledger.keep_token(episode, "secret")
    close(ledger, episode)
    assert "task_tokens" not in (ledger.episode(episode.episode_id) or {})


def test_a_bootstrap_does_not_wait_for_a_cooldown(ledger: Ledger) -> None:
    episode = opened(ledger)
    ledger.close(episode, closed_at=NOW, rearm_at=LATER, outcome="refused", reason="", detail="")
    assert said(ledger.open(trigger(NOW + timedelta(hours=1), "bootstrap", bootstrap=True), WINDOW, LATER)) == "opened"


def test_the_first_decision_is_final(ledger: Ledger) -> None:
    episode = opened(ledger)
    assert ledger.decide(episode.episode_id, "approved", "ada", NOW)
    assert not ledger.decide(episode.episode_id, "rejected", "bob", LATER)
    item = ledger.episode(episode.episode_id) or {}
    assert (item["decision"], item["decided_by"]) == ("approved", "ada")


def test_a_closed_episode_takes_no_decision(ledger: Ledger) -> None:
    episode = opened(ledger)
    close(ledger, episode)
    assert not ledger.decide(episode.episode_id, "approved", "ada", NOW)


def test_transitions_are_compared_to_the_millisecond(ledger: Ledger) -> None:
    assert ledger.note_transition("flights", ALARM, parse("2013-04-01T00:00:41.318Z"))
    assert ledger.note_transition("flights", ALARM, parse("2013-04-01T00:00:41.318Z"))
    assert not ledger.note_transition("flights", ALARM, parse("2013-04-01T00:00:41.317Z"))
    assert ledger.note_transition("flights", ALARM, parse("2013-04-01T00:00:41.319Z"))


def test_champion_and_baseline_are_one_write(ledger: Ledger) -> None:
    episode = opened(ledger)
    ledger.switch_champion(episode, {"model_package_arn": "new", "statistics_uri": "s3://new", "score": 1.5})
    champion = ledger.champion("flights") or {}
    assert (champion["model_package_arn"], champion["statistics_uri"], champion["score"]) == ("new", "s3://new", 1.5)


@pytest.mark.parametrize("end", [NOW, NOW - timedelta(hours=1)])
def test_an_analysis_that_was_published_is_not_replaced_by_the_same_or_an_older_window(
    end: Any, ledger: Ledger
) -> None:
    assert ledger.record_analysis("flights", {"verdict": "DRIFTED"}, NOW)
    ledger.mark_published("flights", NOW)
    assert not ledger.record_analysis("flights", {"verdict": "STABLE"}, end)
    assert (ledger.analysis("flights") or {})["verdict"] == "DRIFTED"


def test_one_of_many_runs_publishes_an_analysis(ledger: Ledger) -> None:
    def claim(_: int) -> bool:
        try:
            return ledger.record_analysis("flights", {"verdict": "DRIFTED"}, NOW)
        except Retryable:
            return False

    with ThreadPoolExecutor(8) as runs:
        assert sorted(runs.map(claim, range(8))) == [False] * 7 + [True]


def test_an_analysis_whose_metrics_never_got_out_is_repeated_after_a_minute(ledger: Ledger, seconds: Any) -> None:
    assert ledger.record_analysis("flights", {"verdict": "DRIFTED"}, NOW)
    seconds.now = 59
    with pytest.raises(Retryable, match="another run publishes the analysis of flights"):
        ledger.record_analysis("flights", {"verdict": "DRIFTED"}, NOW)
    assert not ledger.record_analysis("flights", {"verdict": "DRIFTED"}, NOW - timedelta(hours=1))
    seconds.now = 60
    assert ledger.record_analysis("flights", {"verdict": "DRIFTED"}, NOW)
    assert ledger.record_analysis("flights", {"verdict": "STABLE"}, NOW + timedelta(minutes=5)), "a later one is free"


class Conflicted:
    """DynamoDB while another transaction is on the same items, `times` in a row."""

    def __init__(self, dynamodb: Any, times: int) -> None:
        self._dynamodb = dynamodb
        self.times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dynamodb, name)

    def transact_write_items(self, **arguments: Any) -> Any:
        if self.times:
            self.times -= 1
            reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
            error = {"Error": {"Code": "TransactionCanceledException", "Message": "…"}, "CancellationReasons": reasons}
            raise ClientError(error, "TransactWriteItems")  # type: ignore[arg-type]
        return self._dynamodb.transact_write_items(**arguments)


def test_a_conflict_with_another_transaction_is_tried_again(dynamodb: Any) -> None:
    ledger = Ledger(Conflicted(dynamodb, times=2), "ledger")
    assert said(ledger.open(trigger(), WINDOW, LATER)) == "opened"


@pytest.mark.slow
def test_conflicts_without_end_are_throttling(dynamodb: Any) -> None:
    ledger = Ledger(Conflicted(dynamodb, times=99), "ledger")
    with pytest.raises(Throttled):
        ledger.open(trigger(), WINDOW, LATER)


def test_times_before_the_cooldown_of_an_older_episode_count_as_within_it(ledger: Ledger) -> None:
    episode = opened(ledger, trigger(past_end(), "bootstrap", bootstrap=True))
    ledger.close(episode, closed_at=NOW, rearm_at=LATER, outcome="promoted", reason="", detail="")
    assert ledger.open(trigger(NOW), WINDOW, LATER) == "cooldown"


@pytest.mark.slow
def test_alarms_without_end_leave_an_episode_small_and_are_counted(ledger: Ledger, dynamodb: Any) -> None:
    episode = opened(ledger)
    for number in range(120):
        ledger.count_occurrence(trigger(NOW + timedelta(minutes=number)), episode.episode_id)
        ledger.count_occurrence(trigger(NOW + timedelta(minutes=number)), episode.episode_id)
    item = ledger.episode(episode.episode_id) or {}
    assert item["occurrences"] == 121
    assert len(item["also_raised_by"]) == 50
    assert close(ledger, episode)
