"""A drift episode is opened: once, by one cause, and its execution runs.

The ledger decides, by conditional writes; names derived from the cause make every attempt converge. At any time an
endpoint has at most one open episode, and its lock is free exactly when it has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from retrain.core import clock, names, telemetry
from retrain.core.answers import ignored, refused
from retrain.core.enough import grown
from retrain.core.errors import InvalidSettings, Throttled
from retrain.core.telemetry import logger
from retrain.core.values import Episode, Situation, Trigger
from retrain.core.window import HOUR, Window, window_ending
from retrain.episode.afterthoughts import announce, attempt

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sns import Topic
    from retrain.aws.stepfunctions import StateMachine

# A lock outlives the longest execution (TimeoutSeconds of the state machine); until the execution is known to have
# started, it is only a lease, so that an alarm handler that died frees the endpoint within the hour.
LOCK_FOR = timedelta(days=25)
_POSTPONED = frozenset({"too_few_rows", "judged_already"})  # the quality monitor begins the episode in time
LEASE_FOR = timedelta(hours=1)
_ATTEMPTS = 5  # looks at a situation that others change at the same time


@dataclass(frozen=True)
class OpeningRules:
    """What the alarm handler needs to know: who may trigger what, and how old news may be."""

    endpoint_name: str
    account: str
    region: str
    alarm_arns: frozenset[str]
    enabled: bool
    window: timedelta
    max_event_age: timedelta
    quality_alarm_arns: frozenset[str] = frozenset()
    monthly_episodes: int = 31
    monthly_dollars: float = 0.0  # 0: any number
    label_wait: timedelta = timedelta(0)  # for how long an episode waits for labels, and its window grows

    def __post_init__(self) -> None:
        if self.window <= timedelta(0) or self.max_event_age <= timedelta(0):
            raise InvalidSettings("the window and the greatest age of an event must be longer than nothing")


@dataclass(frozen=True)
class Decision:
    """What becomes of a trigger: "open" an episode, "start" the execution of one that is open, "count" it on the open
    one, or "ignore" it; `reason` says why none is opened. What an episode begins with: window, report and text.
    """

    action: Literal["open", "start", "count", "ignore"]
    reason: str = ""
    window: Window | None = None
    report_uri: str | None = None
    text: str = ""


def open_episode(
    trigger: Trigger,
    *,
    rules: OpeningRules,
    ledger: Ledger,
    machine: StateMachine,
    store: Store,
    bus: Bus,
    topic: Topic,
) -> dict[str, Any]:
    """The endpoint has an open episode with a running execution, or the answer says why this trigger opened none.

    The ledger is read once, written once, and told once that the execution runs; more often only if somebody else
    changed the situation in between. People are told of an episode that an alarm opened.
    """
    telemetry.about(trigger.episode_id)
    for _ in range(_ATTEMPTS):
        seen = ledger.situation(trigger)
        decided = decide(trigger, seen, rules)
        if decided.action == "count":
            ledger.count_occurrence(trigger, seen.lock["owner"])
        if decided.reason == "budget_spent" and ledger.tell_budget_spent(trigger.endpoint_name, trigger.at):
            _tell_budget(trigger, seen, rules, topic)
        if decided.reason in _POSTPONED:
            ledger.postpone(trigger)
        if decided.action in {"count", "ignore"}:
            return ignored(decided.reason)
        if decided.action == "start" and seen.episode:
            return _start(trigger, seen.episode, machine=machine, ledger=ledger, bus=bus, topic=topic)
        if decided.window is None:
            raise ValueError("an episode needs a window")
        page_uri = store.uri(names.episode_page(trigger.episode_id))
        beginning = {
            "page_uri": page_uri,
            "page_url": store.link(page_uri),
            **({"report_uri": decided.report_uri} if decided.report_uri else {}),
        }
        lease_until = trigger.at + LEASE_FOR
        item = ledger.open(trigger, decided.window, lease_until, seen, text=decided.text, **beginning)
        if isinstance(item, Mapping):
            return _start(trigger, item, machine=machine, ledger=ledger, bus=bus, topic=topic)
    raise Throttled(f"the situation of {trigger.endpoint_name} changes too quickly")


def decide(trigger: Trigger, seen: Situation, rules: OpeningRules) -> Decision:
    """What becomes of the trigger in that situation.

    An episode that is open already but has no execution is started, whatever has changed since: its alarm handler died.
    """
    if seen.episode:
        waits = seen.episode["status"] == "OPEN" and not seen.episode.get("execution_arn")
        return Decision("start") if waits else Decision("ignore", "duplicate")
    against = {
        "champion_exists": trigger.bootstrap and seen.champion is not None,
        "stale": seen.last_transition is not None and clock.millis(trigger.at) < seen.last_transition,
        "disabled": not rules.enabled and (trigger.trains or trigger.bootstrap),
        "paused": trigger.trains and seen.paused(trigger.at),
        "suppressed": trigger.suppressed,
        "too_old": _news(trigger, seen) - trigger.at > rules.max_event_age,
        "cooldown": trigger.trains and seen.rearm_at is not None and trigger.at < seen.rearm_at,
    }
    if reason := next((reason for reason, applies in against.items() if applies), None):
        return Decision("ignore", reason)
    if seen.owner(trigger.at):
        return Decision("ignore" if trigger.cause == "evidence" else "count", "episode_open")
    not_now = {
        "budget_spent": trigger.trains and _spent(seen, rules),
        "not_worth_it": _pays_not(trigger, seen),
        "quality_stands": trigger.kind == "alarm" and trigger.evidence != "QUALITY" and _denied(seen),
        "judged_already": trigger.kind == "alarm" and trigger.evidence != "QUALITY" and _judged(trigger, seen),
        "too_few_rows": trigger.kind == "alarm" and _hopeless(seen, rules),
    }
    if reason := next((reason for reason, applies in not_now.items() if applies), None):
        return Decision("ignore", reason)
    window, report_uri = _window(trigger, seen, rules)
    return Decision("open", window=window, report_uri=report_uri, text=_why(trigger, seen))


def _spent(seen: Situation, rules: OpeningRules) -> bool:
    """Whether the month has had all the episodes, or the dollars, that it may have."""
    return seen.opened >= rules.monthly_episodes or 0 < rules.monthly_dollars <= seen.spent


def _pays_not(trigger: Trigger, seen: Situation) -> bool:
    """Whether an alarm on quality tells of errors that cost less in a month than a training does.

    Evidence comes only when it pays; what an alarm on drift will cost nobody knows before there are labels.
    """
    known = seen.quality or {}
    return trigger.evidence == "QUALITY" and known.get("dollars_a_month", 0.0) < known.get("training_dollars", 0.0)


def _hopeless(seen: Situation, rules: OpeningRules) -> bool:
    """Whether a window has no labels in time, or at the traffic's pace too few rows, even when it has grown.

    Then the quality monitor, who counts them, begins the episode when there are enough. What nobody knows is no reason.
    """
    drift, quality = seen.analysis or {}, seen.quality or {}
    rows, needed = drift.get("rows"), quality.get("needed_rows")
    if not rows or not needed:
        return False
    window = clock.parse(drift["window_end"]) - clock.parse(drift["window_start"])
    if not window:
        return False
    hours, wait, delay = window / HOUR, rules.label_wait / HOUR, float(quality.get("label_delay_hours", 0))
    labelled = rows * (quality.get("label_coverage") or 1.0) * grown(hours, wait, delay) / hours
    reach = (hours + wait - delay) / hours
    return bool(labelled < needed or reach < quality.get("needed_reach", 0.0))


def _denied(seen: Situation) -> bool:
    """Whether labels of most of the window say already that the model is as good as it was, where only harm shall open
    an episode. Should it get worse, the quality monitor's alarm says so.
    """
    drift, quality = seen.analysis or {}, seen.quality or {}
    if drift.get("opens") != "harm" or quality.get("verdict") != "STABLE":
        return False
    start, end = (clock.parse(drift[name]) for name in ("window_start", "window_end"))
    judged = clock.parse(quality["window_end"]) - start
    return bool(judged >= quality.get("needed_reach", 1.0) * (end - start))


def _judged(trigger: Trigger, seen: Situation) -> bool:
    """Whether an episode of this champion has ended within a cycle of traffic, and the time that its labels need, and
    left it where it is, and labels say that it is as good as it was. Drift that lasts is then no reason for the same
    episode after every cool-down: enough evidence begins the next.
    """
    champion, quality = seen.champion or {}, seen.quality or {}
    if seen.rearm_at is None or int(champion.get("fence", seen.fence)) >= seen.fence:
        return False
    hours = float(quality.get("cycle_hours", 24)) + float(quality.get("label_delay_hours", 0))
    return quality.get("verdict") == "STABLE" and trigger.at < seen.rearm_at + hours * HOUR


def _news(trigger: Trigger, seen: Situation) -> datetime:
    """The latest time that is known without a clock: of the event's delivery, and of the monitor's last window."""
    told_at = trigger.told_at or trigger.at
    return max(told_at, clock.parse(seen.analysis["window_end"])) if seen.analysis else told_at


def _why(trigger: Trigger, seen: Situation) -> str:
    """What the alarm says; of the quality monitor's, also which metric it was, and by how much; of the drift monitor's,
    what saw it where that was not the window.
    """
    if trigger.evidence != "QUALITY":
        analysis = seen.analysis or {}
        detail = analysis.get("detail") if trigger.kind == "alarm" and analysis.get("verdict") == "DRIFTED" else None
        return f"Drift, {detail}. {trigger.text}" if detail else trigger.text
    analysis = seen.quality or {}
    decayed = analysis.get("detail") if analysis.get("verdict") == "DRIFTED" else None
    return f"The quality of the answers decayed: {decayed or 'see the quality monitor'}. {trigger.text}"


def _window(trigger: Trigger, seen: Situation, rules: OpeningRules) -> tuple[Window, str | None]:
    """The window that raised the alarm, and its report: the monitor's latest analysis, if it is recent and not used.

    Evidence is used once. What an analysis saw before the champion served, or before the end of the last episode's
    cool-down, was that episode's.
    """
    if not trigger.trains:
        return (trigger.at, trigger.at), None
    if trigger.window:
        return trigger.window, None
    since = clock.parse(seen.champion["since"]) if seen.champion else None
    analysis = seen.quality if trigger.evidence == "QUALITY" else seen.analysis
    if analysis:
        start, end = clock.parse(analysis["window_start"]), clock.parse(analysis["window_end"])
        told_at = clock.parse(analysis.get("analysed_at") or analysis["window_end"])
        used = any(start < before for before in (since, seen.rearm_at) if before)
        if told_at <= trigger.at <= told_at + rules.window and not used:
            return (start, end), analysis.get("report_uri")
    return window_ending(trigger.at, rules.window, since, seen.rearm_at), None


def _start(
    trigger: Trigger, item: Mapping[str, Any], *, machine: StateMachine, ledger: Ledger, bus: Bus, topic: Topic
) -> dict[str, Any]:
    """The episode's execution runs. Safe to repeat: the name and, byte for byte, the input are the ledger's.

    An execution that is over, although its episode is open, is left to the sweep: `orphaned`.
    """
    episode = Episode(trigger.episode_id, trigger.endpoint_name, int(item["fence"]), bool(item["bootstrap"]))
    asked = {"asked": item["asked"]} if item.get("asked") else {}
    text = json.dumps({"episode": episode.payload(), **asked}, sort_keys=True, separators=(",", ":"))
    arn, status = machine.start(names.execution_name(episode.episode_id), text, telemetry.trace_id())
    still_open = ledger.record_execution(episode, arn, lock_until=trigger.at + LOCK_FOR)
    if status != "RUNNING" and still_open:
        logger.error("execution ended and left the episode open", execution_arn=arn, execution_status=status)
        return refused("orphaned")
    announce(episode.episode_id, episode.endpoint_name, bus)
    logger.info("episode opened", execution_arn=arn)
    telemetry.count("EpisodeOpened", reason=trigger.kind)
    if not trigger.bootstrap:
        _tell(trigger, item, topic)
    return {"action": "opened", "episode_id": episode.episode_id, "execution_arn": arn}


def _tell(trigger: Trigger, item: Mapping[str, Any], topic: Topic) -> None:
    """People know what opened an episode, and where its report is."""
    what = "an alarm fired, retraining begins" if trigger.kind == "alarm" else f"{trigger.asked} was asked for"
    if trigger.cause == "evidence":
        what = "enough labels came, retraining begins"
    lines = [
        f"Endpoint {trigger.endpoint_name}: {what}.",
        "",
        f"Why      {item['trigger_text']}",
        f"Window   {item['window_start']} to {item['window_end']}",
        f"Episode  {trigger.episode_id}",
        f"Report   {item.get('page_uri')}",
        f"         {item.get('page_url')}",
    ]
    subject = f"{trigger.endpoint_name}: {what}"
    attempt("notify", lambda: topic.publish(subject, "\n".join(lines)))


def _tell_budget(trigger: Trigger, seen: Situation, rules: OpeningRules, topic: Topic) -> None:
    """People know that no more episodes are opened this month; they are told once."""
    text = (
        f"Endpoint {trigger.endpoint_name}: in {trigger.at:%B %Y} {seen.opened} episodes were opened (MonthlyEpisodes "
        f"{rules.monthly_episodes}), and their jobs cost about {seen.spent:.2f} dollars by unchecked prices "
        f"(MonthlyDollars {rules.monthly_dollars:g}). The next one begins in the next month, or when the budget is "
        "raised.\n"
        f"What would have begun one: {trigger.text}"
    )
    attempt("notify", lambda: topic.publish(f"{trigger.endpoint_name}: the month's budget is spent", text))
