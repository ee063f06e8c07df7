"""The control plane's loop on fakes: each step as the state machine calls it, and faults on the way to its services."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from control_plane import (
    ACCOUNT,
    CLOSING,
    NOW,
    PACKAGE,
    PATIENCE,
    PIPELINE,
    REGISTRY,
    ROLLOUT,
    FakeBus,
    FakeCallbacks,
    FakeCloudWatch,
    FakeMachine,
    FakeQueue,
    FakeSageMaker,
    FakeStore,
    FakeTopic,
    crowned,
    evaluated,
    in_service,
    opened,
    opening_rules,
    step,
    trigger,
)

from retrain.aws.ledger import Ledger
from retrain.core import clock
from retrain.core.errors import Retryable, Throttled
from retrain.core.values import Episode
from retrain.episode import alarm, approval, closing, retraining, rollout, sweeping
from retrain.episode.approval import ApprovalRules
from retrain.episode.retention import RetentionRules

EVENTS = Path(__file__).parents[2] / "events"
KEPT = RetentionRules(models=2)


def event(name: str, at: datetime | None = None, **changes: Any) -> dict[str, Any]:
    """The file of events/, at another time if one is given."""
    found = json.loads((EVENTS / f"{name}.json").read_text())
    if at:
        found["time"] = clock.render(at)
        if "state" in found["detail"]:
            found["detail"]["state"]["timestamp"] = clock.render(at)
    return {**found, **changes}


def person(name: str) -> str:
    """As the registry tells of who changed a package."""
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


class Faulty:
    """A service whose operation fails so many times: before it takes effect, or after, its answer lost."""

    def __init__(self, service: Any, name: str, calls: list[str], look: Callable[[], None]) -> None:
        self._service, self._name, self._calls, self._look = service, name, calls, look
        self.operation, self.times, self.after = "", 0, False
        self.error: type[Exception] = Throttled

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self._service, operation)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._calls.append(f"{self._name}.{operation}")
            fails = operation == self.operation and self.times > 0
            self.times -= fails
            if fails and not self.after:
                raise self.error(f"{self._name}:{operation}: slow down")
            answer = found(*arguments, **named)
            self._look()
            if fails:
                raise self.error(f"{self._name}:{operation}: the answer is lost")
            return answer

        return call


class Loop:
    """A stack with a champion that serves, captures and labels; and every step of the loop."""

    def __init__(self, dynamodb: Any) -> None:
        self.calls: list[str] = []
        self.approval = REGISTRY
        self.failed_predictions = 0
        self.dynamodb = Faulty(dynamodb, "dynamodb", self.calls, self._predict)
        self.ledger = Ledger(self.dynamodb, "ledger")
        self.book = Ledger(dynamodb, "ledger")  # for the test to look into
        self.fakes: dict[str, Any] = {
            "machine": FakeMachine(),
            "sagemaker": FakeSageMaker(),
            "store": FakeStore(),
            "topic": FakeTopic(),
            "bus": FakeBus(),
            "queue": FakeQueue(),
            "callbacks": FakeCallbacks(),
            "cloudwatch": FakeCloudWatch(),
        }
        self.services = {name: Faulty(fake, name, self.calls, self._predict) for name, fake in self.fakes.items()}
        self.machine, self.sagemaker = self.fakes["machine"], self.fakes["sagemaker"]
        self.store, self.topic = self.fakes["store"], self.fakes["topic"]
        crowned(self.book)
        self.sagemaker.described = in_service("old-config")
        self.store.put("capture/flights/AllTraffic/2013/03/05/10/a.jsonl", "{}")
        self.store.put("labels/2013/03/06/10/a.jsonl", "{}")
        self.calls.clear()

    def _predict(self) -> None:
        """Somebody asks the endpoint: it answers while it is there, and what it serves was not taken away."""
        serves = (self.sagemaker.described or {}).get("EndpointConfigName")
        gone = {("config", serves), ("model", serves)} & set(self.sagemaker.deleted)
        self.failed_predictions += serves is None or bool(gone)

    def breaks(self, operation: str, times: int, *, after: bool = False, error: type[Exception] = Throttled) -> None:
        """From now on, that operation fails so many times."""
        service, name = operation.split(".")
        faulty = self.dynamodb if service == "dynamodb" else self.services[service]
        faulty.operation, faulty.times, faulty.after, faulty.error = name, times, after, error

    def of(self, *names: str) -> dict[str, Any]:
        return {"ledger": self.ledger, **{name: self.services[name] for name in names}}

    # The steps --------------------------------------------------------------------------------------------------------

    def alarm(self, asked: Any, **rules: Any) -> dict[str, Any]:
        more = {"rejected": self.services["queue"], **self.of("machine", "topic", "store", "bus")}
        return alarm.answer(asked, rules=opening_rules(**rules), **more)

    def opened(self, at: datetime = NOW) -> Episode:
        """The episode that an alarm at that time opened."""
        answer = self.alarm(event("alarm-drift", at))
        item = self.book.episode(answer["episode_id"]) or {}
        return Episode(answer["episode_id"], "flights", int(item["fence"]), bootstrap=False)

    def start(self, episode: Episode, now: datetime = NOW, **fields: Any) -> dict[str, Any]:
        asked = step(episode, now=now, **fields)
        return retraining.start_retraining(asked, settings=PIPELINE, rules=PATIENCE, **self.of("store", "sagemaker"))

    def poll(self, episode: Episode, now: datetime = NOW, **fields: Any) -> dict[str, Any]:
        return retraining.check_pipeline(
            step(episode, "pipeline", now, **fields), rules=PATIENCE, **self.of("sagemaker")
        )

    def judge(self, episode: Episode) -> dict[str, Any]:
        return approval.judge_challenger(
            step(episode, "judge"), rules=self.approval, **self.of("store", "sagemaker", "bus")
        )

    def ask(self, episode: Episode, token: str = "token") -> dict[str, Any]:
        asked = step(episode, "request_approval", task_token=token)
        return approval.request_approval(asked, rules=self.approval, **self.of("sagemaker", "callbacks", "topic"))

    def hear(self, name: str, status: str = "", by: str = "ada", **detail: Any) -> dict[str, Any]:
        said = event(name)
        said["detail"].update(detail)
        self.sagemaker.package["ModelApprovalStatus"] = status or said["detail"]["ModelApprovalStatus"]
        self.sagemaker.package["LastModifiedBy"] = {"IamIdentity": {"Arn": person(by)}}
        return approval.hear_decision(said, rules=self.approval, **self.of("sagemaker", "callbacks", "topic"))

    def update(self, episode: Episode, settings: Any = ROLLOUT) -> dict[str, Any]:
        asked = step(episode, "update")
        return rollout.converge_endpoint(asked, settings=settings, **self.of("store", "sagemaker", "cloudwatch"))

    def check(self, episode: Episode, **fields: Any) -> dict[str, Any]:
        return rollout.check_endpoint(step(episode, "endpoint", **fields), **self.of("sagemaker"))

    def switch(self, episode: Episode) -> dict[str, Any]:
        return rollout.switch_champion(step(episode, "switch"), **self.of("sagemaker"))

    @property
    def closer(self) -> closing.Closer:
        return closing.Closer(rules=CLOSING, **self.of("sagemaker", "topic", "bus"))

    def close(self, episode: Episode, **said: Any) -> dict[str, Any]:
        return closing.close_episode(step(episode, **said), closer=self.closer)

    def ended(self, name: str, at: datetime = NOW) -> dict[str, Any]:
        return closing.close_ended_execution(event(name, at), closer=self.closer)

    def sweep(self, at: datetime) -> dict[str, Any]:
        services: Any = (self.services["machine"], self.services["store"], KEPT)
        sweeper = sweeping.Sweeper("flights", self.closer, *services)
        return sweeping.sweep(event("sweep-scheduled", at), sweeper=sweeper)

    # Whole ways -------------------------------------------------------------------------------------------------------

    def judged(self, rules: ApprovalRules = REGISTRY) -> Episode:
        """An episode whose challenger was judged and waits for a person, or as the rules say."""
        self.approval = rules
        episode = self.opened()
        self.start(episode)
        self.finish_pipeline(episode)
        self.judge(episode)
        return episode

    def approved(self) -> Episode:
        episode = self.judged()
        self.ask(episode)
        self.hear("registry-approved")
        return episode

    def promoted(self, version: int, at: datetime) -> str:
        """An episode that has promoted that version of the package, and is over; its id."""
        episode = opened(self.book, trigger(at))
        package = PACKAGE.replace("/2", f"/{version}")
        made = {"model_package_arn": package, "endpoint_config_name": episode.episode_id}
        self.book.note(episode, **made)
        champion = self.book.champion("flights") or {}
        before = {name: said for name, said in champion.items() if name not in {"pk", "sk"}}
        since = {"episode_id": episode.episode_id, "since": clock.render(at)}
        self.book.switch_champion(episode, before | made | since)
        over = at + timedelta(hours=1)
        self.book.close(episode, closed_at=over, rearm_at=over, outcome="promoted", reason="", detail="")
        self.book.record_notified(episode.episode_id, over)
        return episode.episode_id

    def finish_pipeline(self, episode: Episode) -> None:
        evaluated(self.store, self.sagemaker, episode)
        self.sagemaker.registers(episode.episode_id)

    def settle(self, episode: Episode) -> None:
        """SageMaker has done what it was asked for."""
        self.settled_on(episode.episode_id)

    def settled_on(self, config: str) -> None:
        """The endpoint serves with that config."""
        self.sagemaker.described = in_service(config)

    def run(self) -> Episode:
        """From the alarm to the end, each step tried again as often as its retrier would."""
        answer = retried(lambda: self.alarm(event("alarm-drift")))
        episode_id = answer.get("episode_id") or next(iter(self.machine.inputs))
        item = self.book.episode(episode_id) or {}
        episode = Episode(episode_id, "flights", int(item["fence"]), bootstrap=False)
        retried(lambda: self.start(episode))
        self.finish_pipeline(episode)
        retried(lambda: self.poll(episode))
        retried(lambda: self.judge(episode))
        retried(lambda: self.ask(episode))
        retried(lambda: self.hear("registry-approved"))
        retried(lambda: self.update(episode))
        self.settle(episode)
        retried(lambda: self.check(episode))
        retried(lambda: self.switch(episode))
        retried(lambda: self.close(episode, outcome="promoted"))
        self.sweep(NOW + timedelta(hours=1))  # the first of an hour: it removes what is old, too
        return episode

    def item(self, episode: Episode) -> dict[str, Any]:
        return self.book.episode(episode.episode_id) or {}


def retried(act: Callable[[], dict[str, Any]], times: int = 8) -> dict[str, Any]:
    """The act's answer, as a retrier gets it: what may succeed later is tried again."""
    for attempt in range(times + 1):
        try:
            return act()
        except Retryable:
            if attempt == times:
                raise
    raise AssertionError
