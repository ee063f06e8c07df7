"""The front door: which events open an episode, and what happens to those that don't.

An alarm is recognised by its exact ARN, in this account and region, and by nothing else; what an event claims about
itself is never used as the name of anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retrain.core import clock
from retrain.core.answers import ignored, refused
from retrain.core.errors import MalformedEvent, Refused
from retrain.core.telemetry import short
from retrain.core.values import Trigger, moment
from retrain.episode.afterthoughts import attempt
from retrain.episode.opening import OpeningRules, open_episode
from retrain.episode.requests import KINDS, Exclusion, Pause, keep, recognise_request

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sns import Topic
    from retrain.aws.sqs import RejectedEvents
    from retrain.aws.stepfunctions import StateMachine

ALARM_EVENT = ("aws.cloudwatch", "CloudWatch Alarm State Change")
AHEAD = timedelta(minutes=5)  # how far clocks of AWS may be apart
QUIET = {"OK": "not_alarm", "INSUFFICIENT_DATA": "insufficient_data"}


@dataclass(frozen=True)
class Transition:
    """An alarm's change of state."""

    alarm_arn: str
    state: str
    at: datetime
    delivered_at: datetime
    reason: str
    suppressed: bool


def answer(
    event: Any,
    *,
    rules: OpeningRules,
    ledger: Ledger,
    machine: StateMachine,
    rejected: RejectedEvents,
    topic: Topic,
    store: Store,
    bus: Bus,
) -> dict[str, Any]:
    """What became of the event: opened, ignored(reason) or refused(reason). A refused one is kept, and people are told.

    Only what may succeed later (a throttled call) leaves as an error, so that no retry is spent on what never will.
    """
    try:
        asked = recognise(event, rules)
        if isinstance(asked, str):
            return ignored(asked)
        if isinstance(asked, Exclusion | Pause):
            return keep(asked, ledger, topic)
        if isinstance(asked, Transition):
            ledger.note_transition(rules.endpoint_name, asked.alarm_arn, asked.at)
            return ignored(QUIET[asked.state])
        return open_episode(asked, rules=rules, ledger=ledger, machine=machine, store=store, bus=bus, topic=topic)
    except MalformedEvent as error:
        return _refuse(event, "malformed_event", str(error), rejected, topic)
    except Refused as refusal:
        return _refuse(event, refusal.code, refusal.detail, rejected, topic)


def recognise(event: Any, rules: OpeningRules) -> Trigger | Pause | Exclusion | Transition | str:
    """What the event asks for, the quiet state that an alarm of this stack changed to, or the reason to ignore it.

    Refused or MalformedEvent if it should not have come.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an object, got {type(event).__name__}")
    source = (event.get("source"), event.get("detail-type"))
    kind = next((kind for asks, kind in KINDS.items() if source == asks), None)  # not hashed: a field may be anything
    if kind:  # also put by hand: the endpoint's name is what ties it to this stack
        return recognise_request(event, kind, rules.endpoint_name)
    if source != ALARM_EVENT:
        raise Refused("foreign_source", f"{short(str(source), 200)} is not answered here")
    if (event.get("account"), event.get("region")) != (rules.account, rules.region):
        raise Refused("foreign_source", f"account {event.get('account')}, region {event.get('region')}")
    return _alarm(event, rules)


def _alarm(event: Mapping[str, Any], rules: OpeningRules) -> Trigger | Transition | str:
    alarm = read_transition(event)
    of_quality = alarm.alarm_arn in rules.quality_alarm_arns
    known = of_quality or alarm.alarm_arn in rules.alarm_arns
    if alarm.state in QUIET:
        return alarm if known else QUIET[alarm.state]
    if not known:
        raise Refused("unknown_alarm", f"{short(alarm.alarm_arn, 300)} is no alarm of this stack that opens episodes")
    return Trigger(
        rules.endpoint_name,
        alarm.alarm_arn,
        alarm.at,
        alarm.reason,
        evidence="QUALITY" if of_quality else "ANALYSIS",
        told_at=alarm.delivered_at,
        suppressed=alarm.suppressed,
    )


def read_transition(event: Mapping[str, Any]) -> Transition:
    """The change of state that an alarm event tells about; MalformedEvent if it tells none."""
    detail = _field(event, "detail", Mapping)
    resources = event.get("resources")
    if not isinstance(resources, list) or len(resources) != 1 or not isinstance(resources[0], str):
        raise MalformedEvent("an alarm event names exactly one alarm in resources")
    configuration = detail.get("configuration", {})
    if isinstance(configuration, Mapping) and "alarmRule" in configuration:
        raise Refused("unsupported_alarm_kind", "a composite alarm carries no values of its own")
    state = _field(detail, "state", Mapping)
    value = _field(state, "value", str)
    if value not in {"ALARM", *QUIET}:
        raise MalformedEvent(f"{short(value, 100)} is no state of an alarm")
    at, delivered_at = moment(state, "timestamp"), moment(event, "time")
    if at > delivered_at + AHEAD:  # believed, it would make every later event of the alarm an old one
        raise MalformedEvent(f"the alarm changed at {clock.render(at)}, told of at {clock.render(delivered_at)}")
    return Transition(
        alarm_arn=resources[0],
        state=value,
        at=at,
        delivered_at=delivered_at,
        reason=short(str(state.get("reason", "")), 500),
        suppressed=bool(state.get("actionsSuppressedBy")),
    )


def _field(mapping: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = mapping.get(name)
    if not isinstance(value, kind):
        raise MalformedEvent(f"{name} is missing or not what it should be")
    return value


def _refuse(event: Any, reason: str, detail: str, rejected: RejectedEvents, topic: Topic) -> dict[str, Any]:
    rejected.keep(event, reason, detail)
    text = f"An event was refused: {reason}: {detail}\nIt is kept in the queue of rejected events."
    attempt("notify", lambda: topic.publish(f"Event refused: {reason}", text))
    return refused(reason)
