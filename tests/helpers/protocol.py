"""The protocol as a state machine whose every state is looked at: events, functions that die anywhere, an endpoint.

The functions are the application's own. One is run from its beginning each time, on the answers that it had so far, up
to its next call of a service; so where a function stands is what it was asked and answered, the rest is in the world,
and two orders of calls that come to the same are one state. A world is never changed: a move makes another one.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from control_plane import (
    CLOSING,
    NOW,
    PACKAGE,
    PATIENCE,
    PIPELINE,
    REGISTRY,
    ROLLOUT,
    RUN,
    FakeBus,
    FakeCloudWatch,
    FakeQueue,
    FakeSageMaker,
    FakeStore,
    evaluated,
    in_service,
    opening_rules,
    trigger,
)
from memory_table import Key, MemoryTable, Wire
from whole_loop import KEPT, event

from retrain.aws.ledger import Ledger
from retrain.core.clock import parse
from retrain.core.errors import EndpointBusy, RetrainError, Retryable
from retrain.core.values import Episode, Step, Trigger
from retrain.episode import alarm, approval, closing, reinstating, retraining, rollout, sweeping

MINUTE = timedelta(minutes=1)
LONGEST_LIFE = 5 * MINUTE  # of a function
TOKEN = "task-token"
OLD = "old-config"
BUSY = "finds the endpoint busy: "


class Violation(AssertionError):
    """An invariant does not hold."""


class Suspended(BaseException):
    """The function has come to a call that it has no answer for yet."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call


@dataclass(frozen=True)
class Call:
    """What a function asks of a service."""

    service: str
    operation: str
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """How a function ended."""

    result: Mapping[str, Any] | None
    error: Exception | None = None


@dataclass(frozen=True)
class Actor:
    """A function at work: which, on what payload, for which execution's attempt, and its answers so far."""

    name: str
    payload: str
    execution: str = ""
    attempt: int = 0
    log: tuple[Any, ...] = ()
    heard: int = 0  # a number for the answers

    def told(self, answer: Any) -> Actor:
        return replace(self, log=(*self.log, answer), heard=_numbered((self.heard, _number(answer))))

    @property
    def plan(self) -> tuple[str, str, int]:
        """What the function does next depends on this alone."""
        return self.name, self.payload, self.heard


@dataclass(frozen=True)
class Execution:
    """An execution of the state machine: its input, the state it is in and which attempt of it, and how it ended."""

    given: str
    status: str = "RUNNING"
    state: str = ""
    attempt: int = 0
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Event:
    """What a function will be invoked with."""

    function: str
    payload: str
    at: datetime


@dataclass(frozen=True)
class Budget:
    """How often what may still happen."""

    crashes: int = 0  # a function dies between two calls, and is tried again
    zombies: int = 0  # an attempt is given up and tried again, and goes on all the same
    duplicates: int = 0
    lost: int = 0
    aborts: int = 0
    rollbacks: int = 0
    timeouts: int = 0
    approvals: int = 0
    rejections: int = 0
    labels: int = 0  # they come
    waits: int = 0  # for labels, before it has been too long

    def without(self, what: str) -> Budget:
        return replace(self, **{what: getattr(self, what) - 1})


@dataclass(frozen=True)
class World:
    """All there is: the ledger's items, executions, the endpoint, the registry, and who is at work."""

    items: Mapping[Key, Wire]
    budget: Budget = Budget()
    clock: datetime = NOW
    pending: tuple[Event, ...] = ()
    actors: tuple[Actor, ...] = ()
    executions: Mapping[str, Execution] = field(default_factory=dict)
    endpoint: tuple[str, str, str] = (OLD, "InService", "")  # config, status, what it changes to
    packages: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # the status, and who set it
    tokens: Mapping[str, str] = field(default_factory=dict)  # of states that wait: their decision, or ""
    runs: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()  # states that are only entered when nobody is at work: others matter here
    waiting: tuple[Actor, ...] = ()  # to enter them
    labels: bool = True  # there are some
    people: tuple[str, ...] = ("ada",)  # who may approve; of several, two have to
    by_hand: bool = False  # somebody has changed the endpoint past the loop

    def key(self) -> Any:
        """Equal for worlds in which nothing tells one from the other."""
        return (
            frozenset((key, _number(item)) for key, item in self.items.items()),
            (self.budget, self.clock, self.endpoint),
            tuple(sorted(_numbered(one) for one in self.pending)),
            tuple(sorted(_numbered((*one.plan, one.execution, one.attempt)) for one in self.actors)),
            tuple(sorted(_numbered((*one.plan, one.execution, one.attempt)) for one in self.waiting)),
            frozenset(self.executions.items()),
            frozenset(self.packages.items()),
            frozenset(self.tokens.items()),
            (self.runs, self.told, self.labels),
        )

    def episode(self, episode_id: str) -> Wire:
        return self.items.get((f"EPISODE#{episode_id}", "EPISODE"), {})

    def episodes(self, status: str) -> list[str]:
        """The ids of the endpoint's episodes with that status."""
        return [key[0][8:] for key, item in self.items.items() if item.get("status") == {"S": status}]

    def of_endpoint(self, what: str, field: str) -> str | None:
        found = self.items.get(("ENDPOINT#flights", what), {}).get(field)
        return None if found is None else str(next(iter(found.values())))


_known: dict[int, tuple[Any, int]] = {}
_numbers: dict[Any, int] = {}


def _numbered(value: Any) -> int:
    """A number for what is equal."""
    return _numbers.setdefault(value, len(_numbers))


def _number(item: Any) -> int:
    """A number for answers and items of equal content, found by identity where it can be: they are never changed."""
    known = _known.get(id(item))
    if known is None or known[0] is not item:
        number = _numbered(json.dumps(item, sort_keys=True, default=repr))
        known = _known[id(item)] = (item, number)
    return known[1]


# Services ------------------------------------------------------------------------------------------------------------


class Services:
    """What the functions call, on a world that it changes: `world` is the one afterwards."""

    def __init__(self, world: World) -> None:
        self.world = world

    def answer(self, call: Call) -> Any:
        """("is", what the service answers) or ("raises", its error)."""
        table = MemoryTable(self.world.items) if call.service == "dynamodb" else None
        try:
            if table and call.operation == "paginate":
                found: Any = list(table.paginate(**call.named))
            else:
                found = getattr(table or self, call.operation)(*call.arguments, **call.named)
        except (ClientError, RetrainError) as error:
            return ("raises", error)
        if table:
            self._hold(table)
            self.world = replace(self.world, items=table.items)
        return ("is", found)

    def _hold(self, table: MemoryTable) -> None:
        """A decision that was made is not made otherwise, and whoever takes the lock has a greater fence."""
        key = ("ENDPOINT#flights", "LOCK")
        was, lock = self.world.items[key], table.items[key]
        if lock.get("owner") not in (None, was.get("owner")) and int(lock["fence"]["N"]) <= int(was["fence"]["N"]):
            raise Violation(f"I4: {lock['owner']} has the fence of an episode before it")
        for key, item in table.items.items():
            before = self.world.items.get(key, {}).get("decision")
            if before and item.get("decision") != before:
                raise Violation(f"I5: {key[0]} was decided twice: {before}, {item.get('decision')}")

    # Step Functions

    def start(self, name: str, text: str, _trace: Any) -> tuple[str, str]:
        if name not in self.world.executions:
            asked = json.loads(text).get("asked", "retrain")
            self.world = entered(self.world, name, Execution(text), FIRST_STATE[asked])
        elif self.world.executions[name].given != text:
            raise Violation(f"F16: {name} is started with another input")
        return f"arn:execution:{name}", self.world.executions[name].status

    def execution(self, name: str) -> tuple[str, datetime | None] | None:
        found = self.world.executions.get(name)
        return (found.status, found.ended_at) if found else None

    def succeed(self, token: str, output: Mapping[str, Any]) -> bool:
        if token not in self.world.tokens:
            return False
        if not self.world.tokens[token]:
            self.world = replace(self.world, tokens={**self.world.tokens, token: output["decision"]})
        return True

    # SageMaker

    def endpoint(self, _name: str) -> dict[str, Any]:
        config, status, pending = self.world.endpoint
        found = in_service(config, status)
        return {**found, "PendingDeploymentSummary": {"EndpointConfigName": pending}} if pending else found

    def keys_between(self, _folder: str, *_span: Any) -> list[str]:
        return ["labels/2013/03/06/10/a.jsonl"] if self.world.labels else []

    def start_pipeline(self, _name: str, token: str, _display: str, _parameters: Any) -> str:
        self.world = replace(self.world, runs=self.world.runs | {token})
        return f"{RUN}/{token.rpartition('-')[0]}"

    def model_package(self, arn: str) -> dict[str, Any]:
        made = FakeSageMaker()
        status, who = self.world.packages.get(arn, ("PendingManualApproval", "the pipeline"))
        made.registers(_episode_of(arn), status)
        by = {"IamIdentity": {"Arn": who}}
        return {**made.package, "ModelPackageArn": arn, "LastModifiedBy": by}

    def set_approval(self, arn: str, status: str, _why: str) -> None:
        self.world = replace(self.world, packages={**self.world.packages, arn: (status, "the loop")})

    def stop_pipeline_if_running(self, _arn: str) -> None: ...

    def update_endpoint(self, _name: str, config: str, _deployment: Any, *, keep_counts: bool) -> None:
        del keep_counts
        item = self.world.episode(config)
        if item.get("decision") != {"S": "approved"} or item.get("status") != {"S": "OPEN"}:
            raise Violation(f"I2: {config} is rolled out, decided {item.get('decision')}, {item.get('status')}")
        who = set(item["decided_by"]["S"].split(" and "))
        if len(self.world.people) > 1 and "asked" not in item and len(who & set(self.world.people)) < 2:
            raise Violation(f"I2: {config} is rolled out, approved by {item['decided_by']['S']} alone")
        serves, status, _ = self.world.endpoint
        if status != "InService":
            raise EndpointBusy("in-progress")
        self.world = replace(self.world, endpoint=(serves, "Updating", config))

    # People

    def publish(self, subject: str, text: str) -> None:
        if TOKEN in subject + text:
            raise Violation("I8: a task token was told")
        self.world = replace(self.world, told=self.world.told | {f"{subject}\n{text}"})


def package_of(episode_id: str) -> str:
    return f"{PACKAGE}-{episode_id}"


def _episode_of(package: str) -> str:
    return package.removeprefix(f"{PACKAGE}-")


QUIET = {  # what concerns one function only, or never changes: no other could come in between
    "store": frozenset({"uri", "link", "put", "read", "sha256"}),
    "sagemaker": frozenset({"pipeline_steps", "job_text", "put_model", "put_endpoint_config", "describe_package"}),
    "bus": frozenset({"put"}),
    "queue": frozenset({"keep"}),
    "cloudwatch": frozenset({"in_alarm"}),
}


class Played:
    """A service as a function sees it: what was answered before is answered again, then the function is suspended."""

    def __init__(self, name: str, tape: Iterator[Any], quiet: Any = None) -> None:
        self._name, self._tape, self._quiet = name, tape, quiet

    def __getattr__(self, operation: str) -> Any:
        if operation == "keys_between":
            return self._keys
        if operation in QUIET.get(self._name, ()):
            return getattr(self._quiet, operation)
        if operation == "get_paginator":
            return lambda _: self

        return partial(self._call, operation)

    def _keys(self, folder: str, *span: Any) -> Any:
        """Captures are there, or not; labels may come."""
        return self._call("keys_between", folder) if folder == "labels" else self._quiet.keys_between(folder, *span)

    def _call(self, operation: str, *arguments: Any, **named: Any) -> Any:
        for kind, answer in self._tape:
            if kind == "raises":
                raise answer
            return answer
        raise Suspended(Call(self._name, operation, arguments, named))


class Pipelines(FakeSageMaker):
    """What a pipeline of an episode left behind, which does not change."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self._of_episode = texts

    def pipeline_steps(self, arn: str) -> list[dict[str, Any]]:
        episode_id = arn.rpartition("/")[2]
        registered = {"RegisterModel": {"Arn": package_of(episode_id)}}
        return [
            {"StepName": "EvaluateChallenger", "episode": episode_id},
            {"StepName": "RegisterChallenger", "Metadata": registered},
        ]

    def job_text(self, step: Mapping[str, Any]) -> str:
        return self._of_episode.get(step.get("episode", ""), "")


# The state machine ---------------------------------------------------------------------------------------------------


FIRST_STATE = {"retrain": "start", "rollback": "reinstate", "restore": "reinstate", "adopt": "adopt"}
NEXT_STATE = {"start": "judge", "reinstate": "update", "update": "check", "check": "switch", "adopt": "switch"}


def entered(world: World, name: str, execution: Execution, state: str, **fields: Any) -> World:
    """The execution is in that state, whose function is at work."""
    again = execution.state in {state, "lacking", f"{BUSY}{state}"}
    attempt = execution.attempt + 1 if again else 0
    execution = replace(execution, state=state, attempt=attempt)
    said = {**json.loads(execution.given), "step": state, "now": world.clock.isoformat(), **fields}
    tokens = dict(world.tokens)
    if state == "ask":
        tokens.pop(_token(name, attempt - 1), None)
        tokens[_token(name, attempt)] = ""
        said["task_token"] = _token(name, attempt)
    actor = Actor(state, json.dumps(said, sort_keys=True), name, attempt)
    made = replace(world, executions={**world.executions, name: execution}, tokens=tokens)
    if state in world.held:
        return replace(made, waiting=(*made.waiting, actor))
    return replace(made, actors=(*made.actors, actor))


def _token(name: str, attempt: int) -> str:
    return f"{TOKEN}-{name}-{attempt}"


def parked(world: World, name: str, state: str) -> World:
    """The execution waits in that state, and no function is at work for it."""
    execution = replace(world.executions[name], state=state)
    return replace(world, executions={**world.executions, name: execution})


def over(world: World, name: str, status: str) -> World:
    """The execution has ended; EventBridge tells of an end that was no success."""
    execution = replace(world.executions[name], status=status, ended_at=world.clock)
    world = replace(world, executions={**world.executions, name: execution})
    if status == "SUCCEEDED":
        return world
    said = event(f"execution-{status.lower()}", world.clock)
    said["detail"]["name"] = name
    return replace(world, pending=(*world.pending, Event("ended", json.dumps(said), world.clock)))


def moved_on(world: World, actor: Actor, done: Done) -> World:
    """What the state machine makes of a task's end; nothing if it does not wait for it any more."""
    name, execution = actor.execution, world.executions.get(actor.execution)
    if execution is None or execution.status != "RUNNING":
        return world
    if (execution.state, execution.attempt) != (actor.name, actor.attempt):
        return world
    if isinstance(done.error, EndpointBusy):  # its retrier's minutes are longer than a roll-out
        return parked(world, name, f"{BUSY}{actor.name}")
    if isinstance(done.error, Retryable):
        again = json.loads(actor.payload)
        return entered(world, name, execution, actor.name, **_own(again))
    if done.error is not None:
        if actor.name == "close":
            return over(world, name, "FAILED")
        error = {"Error": type(done.error).__name__, "Cause": str(done.error)}
        return entered(world, name, execution, "close", outcome="failed", error=error)
    said = done.result or {}
    if actor.name == "judge":
        if said["decision"] == "keep_champion":
            return entered(world, name, execution, "close", outcome="champion_kept")
        return entered(world, name, execution, {"approved": "update", "await": "ask"}[said["decision"]])
    if actor.name == "ask":
        return parked(world, name, "waiting")
    if actor.name == "start" and said["status"] == "waiting_for_labels":
        return parked(world, name, "lacking")
    if actor.name == "check" and said["status"] == "updating":
        return parked(world, name, "baking")
    if actor.name == "switch":
        return entered(world, name, execution, "close", outcome="promoted")
    if actor.name == "close":
        return over(world, name, "SUCCEEDED")
    return entered(world, name, execution, NEXT_STATE[actor.name])


def _own(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a state passes beside the episode and the time."""
    return {key: value for key, value in payload.items() if key in {"outcome", "reason", "error", "overdue"}}


def woken(world: World) -> World:
    """States whose token was answered have gone on, also where the function that asked is still at work."""
    for token, decision in world.tokens.items():
        name = token.removeprefix(f"{TOKEN}-").rpartition("-")[0]
        execution = world.executions[name]
        if decision and execution.status == "RUNNING" and execution.state in {"ask", "waiting"}:
            tokens = {key: value for key, value in world.tokens.items() if key != token}
            world = replace(world, tokens=tokens)
            if decision == "approved":
                return entered(world, name, execution, "update")
            return entered(world, name, execution, "close", outcome="refused", reason="rejected")
    return world


# The functions -------------------------------------------------------------------------------------------------------


class Functions:
    """The application's functions, each up to its next call."""

    def __init__(self, causes: Iterable[Trigger], rules: approval.ApprovalRules = REGISTRY) -> None:
        self._rules = rules
        self.store, self.texts = FakeStore(), dict[str, str]()
        for cause in causes:
            said = FakeSageMaker()
            evaluated(self.store, said, Episode(cause.episode_id, "flights", 0, bootstrap=False))
            self.texts[cause.episode_id] = said.texts["EvaluateChallenger"]
        self.store.put("capture/flights/AllTraffic/2013/03/05/10/a.jsonl", "{}")
        self.store.put("labels/2013/03/06/10/a.jsonl", "{}")
        self._plans: dict[Any, Call | Done] = {}

    def next_of(self, actor: Actor) -> Call | Done:
        """What the function calls next, or how it ended."""
        if actor.plan not in self._plans:
            self._plans[actor.plan] = self._replayed(actor)
        return self._plans[actor.plan]

    def _replayed(self, actor: Actor) -> Call | Done:
        tape = iter(actor.log)
        quiet = {
            "store": self.store,
            "sagemaker": Pipelines(self.texts),
            "bus": FakeBus(),
            "queue": FakeQueue(),
            "cloudwatch": FakeCloudWatch(),
        }
        names = ("dynamodb", "machine", "callbacks", "topic", *quiet)
        services: dict[str, Any] = {name: Played(name, tape, quiet.get(name)) for name in names}
        services["ledger"] = Ledger(services.pop("dynamodb"), "ledger")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return Done(self._run(actor.name, json.loads(actor.payload), services))
        except Suspended as suspended:
            return suspended.call
        except RetrainError as error:
            return Done(None, error)

    def _run(self, name: str, said: Any, services: Mapping[str, Any]) -> dict[str, Any]:
        def of(*names: str) -> dict[str, Any]:
            return {one: services[one] for one in ("ledger", *names)}

        closer = closing.Closer(rules=CLOSING, **of("sagemaker", "topic", "bus"))
        if name == "alarm":
            more = {"rejected": services["queue"], **of("machine", "topic", "store", "bus")}
            return alarm.answer(said, rules=opening_rules(), **more)
        if name == "registry":
            return approval.hear_decision(said, rules=self._rules, **of("sagemaker", "callbacks", "topic"))
        if name == "ended":
            return closing.close_ended_execution(said, closer=closer)
        if name == "sweep":
            sweeper = sweeping.Sweeper("flights", closer, services["machine"], services["store"], KEPT)
            return sweeping.sweep(said, sweeper=sweeper)
        asked = Step.of(said)
        if name == "start":
            more = {"settings": PIPELINE, "rules": PATIENCE, **of("store", "sagemaker")}
            return retraining.start_retraining(asked, **more)
        if name == "judge":
            return approval.judge_challenger(asked, rules=self._rules, **of("store", "sagemaker", "bus"))
        if name == "ask":
            return approval.request_approval(asked, rules=self._rules, **of("sagemaker", "callbacks", "topic"))
        if name == "reinstate":
            return reinstating.reinstate_model(asked, **of())
        if name == "adopt":
            return reinstating.adopt_what_serves(asked, **of("sagemaker"))
        if name == "update":
            return rollout.converge_endpoint(asked, settings=ROLLOUT, **of("store", "sagemaker", "cloudwatch"))
        if name == "check":
            return rollout.check_endpoint(asked, **of("sagemaker"))
        if name == "switch":
            return rollout.switch_champion(asked, **of("sagemaker"))
        return closing.close_episode(asked, closer=closer)


# Exploration ---------------------------------------------------------------------------------------------------------


class Explorer:
    """Every world that can follow from one, each looked at once."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.states = self.ends = 0

    def explore(self, begin: World) -> None:
        """Violation, with the moves that lead to it, if an invariant does not hold somewhere."""
        seen = {begin.key()}
        stack: list[tuple[World, tuple[Any, ...]]] = [(begin, ())]
        while stack:
            world, way = stack.pop()
            self.states += 1
            try:
                check(world)
                calm = not world.actors and not world.pending
                if calm:
                    self.ends += 1
                    check_end(self.at_rest(world))
                for name, make in self.moves(world):
                    made = make()
                    if (key := made.key()) not in seen:
                        seen.add(key)
                        stack.append((made, (way, name)))
            except Violation as violation:
                raise Violation(f"{violation}\n" + "\n".join(_told(way))) from None

    def moves(self, world: World) -> Iterator[tuple[str, Callable[[], World]]]:
        """All that may happen next."""
        budget = world.budget
        for at, actor in enumerate(world.actors):
            yield f"{actor.name} goes on", partial(self.stepped, world, at)
            if actor.log and budget.crashes:
                yield f"{actor.name} dies", partial(dead, world, at, "crashes")
            if actor.log and actor.execution and budget.zombies:
                yield f"{actor.name} is given up, and goes on", partial(dead, world, at, "zombies")
        for at, one in enumerate(world.pending):
            if one.at - world.clock >= LONGEST_LIFE and world.actors:
                continue  # by then every function has ended
            yield f"{one.function} hears", partial(heard, world, at)
            if budget.duplicates:
                yield f"{one.function} hears, not for the last time", partial(heard, world, at, "duplicates")
            if budget.lost:
                yield f"what {one.function} should hear is lost", partial(heard, world, at, "lost")
        yield from self.of_others(world)

    @staticmethod
    def of_others(world: World) -> Iterator[tuple[str, Callable[[], World]]]:
        """What people, time and SageMaker do."""
        budget = world.budget
        if world.waiting and not world.actors and not world.pending:
            yield "the execution goes on", partial(replace, world, waiting=(), actors=world.waiting)
        # It takes minutes; a function that updates it is over by then.
        if world.endpoint[1] == "Updating" and not any(actor.name == "update" for actor in world.actors):
            yield "the endpoint serves", partial(settled, world)
            if budget.rollbacks:
                yield "the endpoint rolls back", partial(settled, world, back=True)
        for name, one in world.executions.items():
            if one.status != "RUNNING":
                continue
            if budget.aborts:
                fewer = replace(world, budget=budget.without("aborts"))
                yield "the execution is aborted", partial(over, fewer, name, "ABORTED")
            if budget.timeouts and one.state == "waiting":
                fewer = replace(world, budget=budget.without("timeouts"))
                yield "nobody answers", partial(expired, fewer, name)
            if one.state == "lacking":
                fewer = replace(world, budget=budget.without("waits")) if budget.waits else world
                yield "it looks for labels again", partial(looked_again, fewer, name, overdue=not budget.waits)
                if budget.labels and not world.labels:
                    yield "labels come", partial(replace, world, labels=True, budget=budget.without("labels"))
            if one.state in {"ask", "waiting"}:
                for who in world.people:
                    if budget.approvals:
                        yield f"{who} approves", partial(said_by_a_person, world, name, "Approved", who)
                    if budget.rejections:
                        yield f"{who} rejects", partial(said_by_a_person, world, name, "Rejected", who)

    def stepped(self, world: World, at: int) -> World:
        """The function has made its next call, or has ended."""
        actor = world.actors[at]
        following = self._functions.next_of(actor)
        rest = (*world.actors[:at], *world.actors[at + 1 :])
        if isinstance(following, Done):
            return self.ended(replace(world, actors=rest), actor, following)
        services = Services(world)
        told = actor.told(services.answer(following))
        made = services.world
        others = (*made.actors[:at], *made.actors[at + 1 :])
        following = self._functions.next_of(told)
        if isinstance(following, Done):  # its end is no call that others could come before
            return woken(self.ended(replace(made, actors=others), told, following))
        return woken(replace(made, actors=(*others, told)))

    @staticmethod
    def ended(world: World, actor: Actor, done: Done) -> World:
        if actor.execution:
            return moved_on(world, actor, done)
        if isinstance(done.error, Retryable):  # whoever invoked it does so again
            return replace(world, pending=(*world.pending, Event(actor.name, actor.payload, world.clock)))
        return world

    def at_rest(self, world: World) -> World:
        """… when nothing more goes wrong, nobody says anything, and the sweep has come by."""
        world = replace(world, budget=Budget(timeouts=9))
        for minutes in (10, 80, 150, 220):
            world = self._quiet(world)
            sweep = Event("sweep", json.dumps(event("sweep-scheduled", world.clock + minutes * MINUTE)), world.clock)
            world = self._quiet(replace(world, pending=(sweep,), clock=world.clock + minutes * MINUTE))
        return world

    def _quiet(self, world: World) -> World:
        for _ in range(400):
            others = list(self.of_others(world))
            if world.actors:
                world = self.stepped(world, 0)
            elif world.pending:
                world = heard(world, 0)
            elif others:
                world = others[0][1]()
            else:
                return world
        raise Violation("I3: it does not come to rest")


def _told(way: Any) -> list[str]:
    moves = []
    while way:
        way, name = way
        moves.append(f"  {name}")
    return moves[::-1]


def dead(world: World, at: int, how: str) -> World:
    """The function is tried again from its beginning; a zombie's first attempt goes on as well."""
    actor = world.actors[at]
    rest = world.actors if how == "zombies" else (*world.actors[:at], *world.actors[at + 1 :])
    world = replace(world, actors=rest, budget=world.budget.without(how))
    if actor.execution:
        return moved_on(world, actor, Done(None, Retryable("it died")))
    return replace(world, pending=(*world.pending, Event(actor.name, actor.payload, world.clock)))


def heard(world: World, at: int, how: str = "") -> World:
    """The event has reached its function, or is lost; a duplicate will come again."""
    one = world.pending[at]
    if how:
        world = replace(world, budget=world.budget.without(how))
    if how != "duplicates":
        world = replace(world, pending=(*world.pending[:at], *world.pending[at + 1 :]))
    if how == "lost":
        return world
    actor = Actor(one.function, one.payload)
    return replace(world, actors=(*world.actors, actor), clock=max(world.clock, one.at))


def settled(world: World, *, back: bool = False) -> World:
    """The endpoint serves what it was changing to, or what it served before; who waits for it looks again."""
    config, _, pending = world.endpoint
    budget = world.budget.without("rollbacks") if back else world.budget
    world = replace(world, endpoint=(config if back else pending, "InService", ""), budget=budget)
    for name, one in world.executions.items():
        if one.status == "RUNNING" and one.state == "baking":
            world = entered(world, name, one, "check")
        if one.status == "RUNNING" and one.state.startswith(BUSY):
            world = entered(world, name, one, one.state.removeprefix(BUSY))
    return world


def expired(world: World, name: str) -> World:
    """Nobody has answered in time."""
    execution = world.executions[name]
    decided = world.episode(name).get("decision")
    if decided and not world.actors and not world.pending:
        raise Violation(f"I3: {name} was decided as {decided}, and waits for ever")
    tokens = {key: value for key, value in world.tokens.items() if name not in key}
    world = replace(world, tokens=tokens)
    return entered(world, name, execution, "close", outcome="refused", reason="approval_expired")


def looked_again(world: World, name: str, *, overdue: bool) -> World:
    """The execution has waited for labels."""
    return entered(world, name, world.executions[name], "start", overdue=overdue)


def said_by_a_person(world: World, name: str, status: str, who: str = "ada") -> World:
    """The registry has a decision about the execution's package, and tells of it."""
    what = "approvals" if status == "Approved" else "rejections"
    arn = package_of(name)
    said = event(f"registry-{status.lower()}", world.clock)
    said["detail"] |= {"ModelPackageArn": arn}
    pending = (*world.pending, Event("registry", json.dumps(said), world.clock))
    packages = {**world.packages, arn: (status, who)}
    return replace(world, packages=packages, pending=pending, budget=world.budget.without(what))


# What must hold ------------------------------------------------------------------------------------------------------


BEFORE = "of-before"  # whose model served once
LONG_AGO = {trigger(parse("2013-01-01T00:00:00Z"), "bootstrap", bootstrap=True).episode_id, BEFORE}


def check(world: World) -> None:
    """I1 and I4, in every world; I2, I5 and I8 are looked at where it happens."""
    open_ = world.episodes("OPEN")
    if len(open_) > 1:
        raise Violation(f"I1: open are {open_}")
    owner = world.of_endpoint("LOCK", "owner")
    if owner != (open_[0] if open_ else None):
        raise Violation(f"I4: open is {open_}, and the lock is {owner}'s")
    runs = [token.rpartition("-")[0] for token in world.runs]
    if len(runs) != len(set(runs)):
        raise Violation(f"I5: several pipeline runs of an episode: {runs}")


def check_end(world: World) -> None:
    """I3, I6 and I7, once everything has come to rest."""
    if open_ := world.episodes("OPEN"):
        raise Violation(f"I3: {open_} never ends")
    serves, status, _ = world.endpoint
    champion = world.of_endpoint("CHAMPION", "endpoint_config_name")
    known = world.by_hand and any("diverged" in text for text in world.told)
    if status != "InService" or (champion != serves and not known):
        raise Violation(f"I6: the champion is {champion}, and {serves} serves ({status})")
    if world.packages.get(str(world.of_endpoint("CHAMPION", "model_package_arn"))) == ("Rejected", "the loop"):
        raise Violation("I6: the loop has rejected what serves")
    for episode_id in world.episodes("CLOSED"):
        if episode_id not in LONG_AGO and not any(episode_id in text and "Outcome  " in text for text in world.told):
            raise Violation(f"I7: nobody was told how {episode_id} ended")
