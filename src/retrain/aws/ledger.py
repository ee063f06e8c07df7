"""The ledger: one DynamoDB table with episodes, per endpoint a lock, the champion, and when the alarm is armed again.

Every write that could lose a race is conditional, and every condition has a name. A life of the lock::

    free ──open──▶ leased (1 h) ──record_execution──▶ held (25 d) ──close──▶ free, cool-down runs
                     └─ expired: the next opener takes over, closes the dead episode, and raises the fence

The fence only ever grows. Expired is decided by comparing times, never by DynamoDB's TTL, which deletes days later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from retrain.aws.dynamodb import Item, Table, Write, check, put, update
from retrain.core import clock
from retrain.core.errors import Refused, Retryable
from retrain.core.values import Ending, Episode, Situation, Trigger, pause_of
from retrain.core.window import Window

# Clauses -------------------------------------------------------------------------------------------------------------
LOCK_IS_FREE = "(attribute_not_exists(#owner) OR expires_at <= :now)"
FENCE_AS_SEEN = "(attribute_not_exists(fence) OR fence = :seen)"  # nobody opened between our read and our write
LOCK_IS_OURS = "#owner = :me AND fence = :fence"
NEVER_SEEN = "attribute_not_exists(pk)"  # the episode was not opened before: one per cause and time
SEEN = "attribute_exists(pk)"
STILL_OPEN = "#status = :open"
ARMED = "(attribute_not_exists(#at) OR #at <= :now)"  # the last episode's cool-down is over
NEWER = "(attribute_not_exists(last_transition) OR last_transition <= :at)"  # not older than what we know already
UNDECIDED = "attribute_not_exists(decision)"
NO_FIRST_APPROVAL = "attribute_not_exists(first_approval_by)"
# No roll-out began that whoever closes the episode does not know of: he has to ask the endpoint first.
ROLLED_OUT_AS_SEEN = "(attribute_not_exists(endpoint_config_name) OR endpoint_config_name = :rolled_out)"
UNPAID = "(attribute_not_exists(paid_for) OR NOT contains(paid_for, :arn))"
NOT_COUNTED = "(attribute_not_exists(also_raised_by) OR NOT contains(also_raised_by, :other))"
FEW = "(attribute_not_exists(also_raised_by) OR size(also_raised_by) < :few)"
MANY = "size(also_raised_by) >= :few"
RAISED_LATER = "last_raised < :at"
# A later window than the known one; or the same, if whoever claimed it died before its metrics were out.
NEWER_ANALYSIS = (
    "(attribute_not_exists(window_end_epoch) OR window_end_epoch < :end"
    " OR (window_end_epoch = :end AND published = :no AND claimed_until <= :now))"
)
NOBODYS = "(attribute_not_exists(endpoint) OR endpoint = :name)"  # a ledger keeps to one endpoint
SAME_ANALYSIS = "window_end_epoch = :end"

KEPT_FOR = timedelta(days=1100)  # a closed episode; DynamoDB deletes it then
_KEPT_BY_NAME = 50  # triggers of an episode; an item may have 400 KB
UNTOLD = "attribute_not_exists(told_at)"
_ROWS, _EXCLUDED = "ROWS#", "EXCLUDED#"
_CLAIM = 60  # seconds; Lambda tries a failed invocation again after no less


class Ledger:
    """The ledger in a table with keys pk and sk, and an index by_endpoint (endpoint_name, opened_at)."""

    def __init__(self, dynamodb: Any, table: str, seconds: Callable[[], float] = time.time) -> None:
        """`seconds` tells the time that claims run out by, and decides nothing else."""
        self._table = Table(dynamodb, table)
        self._seconds = seconds

    # Reading ----------------------------------------------------------------------------------------------------------

    def episode(self, episode_id: str) -> Item | None:
        """The episode as it is now, None if there never was one."""
        return self._table.get(_episode(episode_id))

    def champion(self, endpoint_name: str) -> Item | None:
        """The champion and its baseline, None before the bootstrap."""
        return self._table.get(_of(endpoint_name, "CHAMPION"))

    def analysis(self, endpoint_name: str, of: str = "ANALYSIS") -> Item | None:
        """The drift monitor's latest analysis; of="QUALITY": the quality monitor's."""
        return self._table.get(_of(endpoint_name, of))

    def rearm_at(self, endpoint_name: str) -> datetime | None:
        """The end of the last episode's cool-down."""
        item = self._table.get(_of(endpoint_name, "REARM"))
        return clock.parse(item["rearm_at"]) if item else None

    def kept_rows(self, endpoint_name: str) -> list[Item]:
        """Of every window whose rows may be learned from again: episode, folder, SHA-256 and times, oldest first."""
        return self._table.below(_of(endpoint_name, "")["pk"], _ROWS)

    def exclusions(self, endpoint_name: str) -> list[Item]:
        """The spans of time that a person called bad: start, end, why."""
        return self._table.below(_of(endpoint_name, "")["pk"], _EXCLUDED)

    def lock(self, endpoint_name: str) -> Item:
        """The endpoint's lock: fence, and owner and expires_at while it is held."""
        return self._table.get(_of(endpoint_name, "LOCK")) or {}

    def episodes(self, endpoint_name: str, most: int | None = None) -> list[Item]:
        """Every episode of the endpoint, or so many, the newest first. The index may be a moment behind."""
        return self._table.query("by_endpoint", most, endpoint_name=endpoint_name)

    def paused(self, endpoint_name: str, now: datetime) -> Item | None:
        """Why, by whom and until when no episode is opened, None if any may be."""
        return pause_of(self._table.get(_of(endpoint_name, "PAUSE")), now)

    def owned_endpoint(self, endpoint_name: str) -> str:
        """The one endpoint whose ledger this is: from now on that one, unless it was another one's before."""
        key = {"pk": "STACK", "sk": "ENDPOINT"}
        if self._table.write(update(key, "SET endpoint = :name", NOBODYS, {":name": endpoint_name})):
            return endpoint_name
        return str((self._table.get(key) or {})["endpoint"])

    def open_episode_id(self, endpoint_name: str) -> str | None:
        """The id of the episode that holds the endpoint's lock."""
        return self.lock(endpoint_name).get("owner")

    def serving(self, endpoint_name: str) -> Item:
        """What the last look at the endpoint found wrong, and whether people were told."""
        return self._table.get(_of(endpoint_name, "SERVING")) or {}

    # Opening ----------------------------------------------------------------------------------------------------------

    def situation(self, trigger: Trigger) -> Situation:
        """All that decides about the trigger, read in one call, as it was at one moment."""
        endpoint = trigger.endpoint_name
        names = (
            "LOCK",
            "CHAMPION",
            "ANALYSIS",
            "QUALITY",
            "REARM",
            f"ALARM#{trigger.cause}",
            "PAUSE",
            _month(trigger.at),
        )
        keys = [_episode(trigger.episode_id), *(_of(endpoint, name) for name in names)]
        episode, lock, champion, analysis, quality, rearm, alarm, pause, month = self._table.snapshot(keys)
        return Situation(
            episode,
            lock or {},
            champion,
            analysis,
            quality,
            clock.parse(rearm["rearm_at"]) if rearm else None,
            alarm["last_transition"] if alarm else None,
            pause,
            int(month.get("opened", 0)) if month else 0,
            float(month.get("dollars", 0.0)) if month else 0.0,
        )

    def note_transition(self, endpoint_name: str, alarm_arn: str, at: datetime) -> bool:
        """The alarm's last known change of state is at least `at`; False if a newer one was known already."""
        return self._table.write(_newest(endpoint_name, alarm_arn, at))

    def open(
        self,
        trigger: Trigger,
        window: Window,
        lease_until: datetime,
        seen: Situation | None = None,
        text: str = "",
        **fields: str,
    ) -> Item | str:
        """The episode, open and with the lock; or which clause forbade it: known, cooldown, lock_taken, stale, dead.

        It is opened on what was `seen`: if anything that matters changed since, a clause forbids it. A dead episode
        whose lock ran out is closed with the same write. `fields` are what else the episode shall have from the start.
        """
        seen = seen or self.situation(trigger)
        now, me, fence = clock.epoch(trigger.at), _episode(trigger.episode_id), seen.fence + 1
        episode = {
            **me,
            "endpoint_name": trigger.endpoint_name,
            "status": "OPEN",
            "trigger": trigger.kind,
            "trigger_text": text or trigger.text,
            "cause": trigger.cause,
            "bootstrap": trigger.bootstrap,
            "opened_at": clock.render(trigger.at),
            "window_start": clock.render(window[0]),
            "window_end": clock.render(window[1]),
            "fence": fence,
            "occurrences": 1,
            **trigger.fields,
            **fields,
        }
        writes = {"known": put(episode, NEVER_SEEN)}
        if trigger.trains:
            writes["cooldown"] = check(_of(trigger.endpoint_name, "REARM"), ARMED, {":now": now})
            writes["month"] = update(_of(trigger.endpoint_name, _month(trigger.at)), "ADD opened :one", "", {":one": 1})
        writes["lock_taken"] = update(
            _of(trigger.endpoint_name, "LOCK"),
            "SET #owner = :me, fence = :next, expires_at = :until",
            f"{LOCK_IS_FREE} AND {FENCE_AS_SEEN}",
            {
                ":me": trigger.episode_id,
                ":next": fence,
                ":seen": seen.fence,
                ":now": now,
                ":until": clock.epoch(lease_until),
            },
        )
        if trigger.kind == "alarm":
            writes["stale"] = _newest(trigger.endpoint_name, trigger.cause, trigger.at)
        dead = seen.lock.get("owner")
        if dead and not seen.owner(trigger.at) and (self.episode(dead) or {}).get("status") == "OPEN":
            taken_over = Ending("failed", "lock_expired", f"taken over by {trigger.episode_id}")
            writes["dead"] = self._closing(dead, trigger.at, taken_over)
        return self._table.transact(writes) or episode

    def tell_budget_spent(self, endpoint_name: str, at: datetime) -> bool:
        """Whether nobody has been told yet that the month's budget is spent; from now on somebody has."""
        month = _of(endpoint_name, _month(at))
        return self._table.write(update(month, "SET told_at = :now", UNTOLD, {":now": clock.render(at)}))

    def count_occurrence(self, trigger: Trigger, episode_id: str) -> None:
        """The open episode knows that this trigger came while it was open; each trigger counts once.

        The first of them are kept by name. Of later ones only those are counted that are newer than all before, so that
        the episode does not grow with the alarms.
        """
        other, values = f"{trigger.cause}@{clock.render(trigger.at)}", {":one": 1, ":open": "OPEN"}
        at = {":at": clock.millis(trigger.at)}
        kept = self._table.write(
            update(
                _episode(episode_id),
                "SET occurrences = occurrences + :one, last_raised = :at ADD also_raised_by :others",
                f"{STILL_OPEN} AND {NOT_COUNTED} AND {FEW}",
                {**values, **at, ":others": {other}, ":other": other, ":few": _KEPT_BY_NAME},
            )
        )
        if not kept:
            self._table.write(
                update(
                    _episode(episode_id),
                    "SET occurrences = occurrences + :one, last_raised = :at",
                    f"{STILL_OPEN} AND {MANY} AND {RAISED_LATER}",
                    {**values, **at, ":few": _KEPT_BY_NAME},
                )
            )

    def record_execution(self, episode: Episode, arn: str, lock_until: datetime) -> bool:
        """The episode's execution is known, and the lease has become a lock; False if the episode is over already."""
        failed = self._table.transact(
            {
                "closed": update(
                    _episode(episode.episode_id), "SET execution_arn = :arn", STILL_OPEN, {":arn": arn, ":open": "OPEN"}
                ),
                "fenced": update(
                    _lock(episode),
                    "SET expires_at = :until",
                    LOCK_IS_OURS,
                    _ours(episode, until=clock.epoch(lock_until)),
                ),
            }
        )
        return failed is None

    # While it is open -------------------------------------------------------------------------------------------------

    def note(self, episode: Episode, **fields: Any) -> None:
        """The open episode has these fields; Refused("fenced") if it does not hold the lock any more."""
        names = {f"#f{index}": name for index, name in enumerate(fields)}
        values = {f":f{index}": value for index, value in enumerate(fields.values())}
        assignments = ", ".join(f"#f{index} = :f{index}" for index in range(len(fields)))
        self._fenced(
            episode,
            "episode",
            update(_episode(episode.episode_id), f"SET {assignments}", STILL_OPEN, {**values, ":open": "OPEN"}, names),
        )

    def keep_token(self, episode: Episode, token: str) -> None:
        """The open episode has that task token, too: of attempts that run beside each other, each has its own."""
        self._fenced(
            episode,
            "episode",
            update(
                _episode(episode.episode_id),
                "ADD task_tokens :tokens",
                STILL_OPEN,
                {":tokens": {token}, ":open": "OPEN"},
            ),
        )

    def count_dollars(self, episode: Episode, execution_arn: str, dollars: float, at: datetime) -> None:
        """What that pipeline execution has cost is part of the episode's cost and of the month's, once."""
        spent = {":dollars": dollars}
        self._table.transact(
            {
                "paid": update(
                    _episode(episode.episode_id),
                    "ADD dollars :dollars, paid_for :arns",
                    f"{STILL_OPEN} AND {UNPAID}",
                    {**spent, ":open": "OPEN", ":arn": execution_arn, ":arns": {execution_arn}},
                ),
                "month": update(_of(episode.endpoint_name, _month(at)), "ADD dollars :dollars", "", spent),
            }
        )

    def spent(self, endpoint_name: str, at: datetime) -> Item:
        """What the month has had so far: `opened` episodes, and `dollars` of their jobs."""
        return self._table.get(_of(endpoint_name, _month(at))) or {}

    def held(self, episode: Episode) -> Item:
        """The open episode; Refused("fenced") if it is closed, or another episode went ahead."""
        item = self.episode(episode.episode_id)
        if item is None or item.get("status") != "OPEN" or int(item.get("fence", -1)) != episode.fence:
            raise Refused("fenced", f"episode {episode.episode_id} is not open any more")
        return item

    def require_lock(self, episode: Episode) -> None:
        """The episode holds the lock now; Refused("fenced") if not."""
        lock = self.lock(episode.endpoint_name)
        if lock.get("owner") != episode.episode_id or int(lock.get("fence", -1)) != episode.fence:
            raise Refused("fenced", f"the lock of {episode.endpoint_name} belongs to {lock.get('owner') or 'nobody'}")

    def decide(self, episode_id: str, decision: str, by: str, now: datetime) -> bool:
        """The open episode has a decision; True if it is this one, made now. The first decision is final."""
        return self._table.write(
            update(
                _episode(episode_id),
                "SET decision = :decision, decided_by = :by, decided_at = :now",
                f"{STILL_OPEN} AND {UNDECIDED}",
                {":decision": decision, ":by": by, ":now": clock.render(now), ":open": "OPEN"},
            )
        )

    def approve_first(self, episode_id: str, by: str) -> bool:
        """The open episode has a first of two approvals; True if it is this one, made now."""
        return self._table.write(
            update(
                _episode(episode_id),
                "SET first_approval_by = :by",
                f"{STILL_OPEN} AND {UNDECIDED} AND {NO_FIRST_APPROVAL}",
                {":by": by, ":open": "OPEN"},
            )
        )

    def keep_rows(self, episode: Episode, window: Window, folder: str, sha256: str) -> None:
        """The rows of the episode's window may be learned from again; Refused("fenced") if the lock is another's."""
        start, end = map(clock.render, window)
        known = {"episode_id": episode.episode_id, "folder": folder, "sha256": sha256}
        key = _of(episode.endpoint_name, f"{_ROWS}{start}#{episode.episode_id}")
        self._fenced(episode, "rows", put({**key, **known, "window_start": start, "window_end": end}))

    def evidence(self, endpoint_name: str) -> Item:
        """What was counted of labelled rows that nobody has learned from: `rows`, from `since` until `until`."""
        return self._table.get(_of(endpoint_name, "EVIDENCE")) or {}

    def count_evidence(self, endpoint_name: str, since: datetime, until: datetime, rows: int, **dollars: float) -> None:
        """So many labelled rows are known between those times; `dollars` say what is lost, and what training costs."""
        counted = {"since": clock.render(since), "until": clock.render(until), "rows": rows, **dollars}
        self._table.write(put({**_of(endpoint_name, "EVIDENCE"), **counted}))

    def postpone(self, trigger: Trigger) -> None:
        """The alarm waits for enough labelled rows."""
        item = {"cause": trigger.cause, "at": clock.render(trigger.at), "text": trigger.text}
        self._table.write(put({**_of(trigger.endpoint_name, "POSTPONED"), **item}))

    def postponed(self, endpoint_name: str, since: datetime) -> Item | None:
        """The last alarm since then that waits for enough labelled rows."""
        item = self._table.get(_of(endpoint_name, "POSTPONED"))
        return item if item and clock.parse(item["at"]) > since else None

    def learned_until(self, endpoint_name: str) -> datetime | None:
        """The end of the last window whose rows were kept."""
        kept = self.kept_rows(endpoint_name)
        return clock.parse(kept[-1]["window_end"]) if kept else None

    def exclude(self, endpoint_name: str, span: Window, why: str, at: datetime) -> None:
        """Nothing is learned any more from what was captured in that span."""
        start, end = map(clock.render, span)
        key = _of(endpoint_name, f"{_EXCLUDED}{start}#{end}")
        self._table.write(put({**key, "start": start, "end": end, "why": why, "excluded_at": clock.render(at)}))

    def switch_champion(self, episode: Episode, champion: Mapping[str, Any]) -> None:
        """Champion and baseline are the episode's, in one write; Refused("fenced") if the lock is another's."""
        item = {**champion, **_of(episode.endpoint_name, "CHAMPION")}
        self._fenced(episode, "champion", put(item))

    # Closing ----------------------------------------------------------------------------------------------------------

    def close(
        self,
        episode: Episode,
        *,
        closed_at: datetime,
        rearm_at: datetime,
        outcome: str,
        reason: str,
        detail: str,
        rolled_out: str | None = None,
    ) -> bool:
        """The episode is closed, its lock free, and the cool-down runs; False if it had been closed before.

        False also if it has begun to roll out something else than `rolled_out`: the endpoint config that the caller
        knows of, "" for none. Who says nothing of it does not mind.
        """
        closing = self._closing(episode.episode_id, closed_at, Ending(outcome, reason, detail), rolled_out)
        writes = {
            "closed": closing,
            "lock_lost": update(_lock(episode), "REMOVE #owner, expires_at", LOCK_IS_OURS, _ours(episode)),
            "rearm": put(
                {
                    **_of(episode.endpoint_name, "REARM"),
                    "at": clock.epoch(rearm_at),
                    "rearm_at": clock.render(rearm_at),
                }
            ),
        }
        failed = self._table.transact(writes)
        if failed == "lock_lost":  # taken over: the lock and the cool-down are the other episode's business
            failed = self._table.transact({"closed": closing})
        return failed is None

    def record_notified(self, episode_id: str, now: datetime) -> None:
        """People were told how the episode ended."""
        self._table.write(update(_episode(episode_id), "SET notified_at = :now", SEEN, {":now": clock.render(now)}))

    def record_removed(self, episode_id: str, now: datetime) -> None:
        """What the episode made does not exist any more: its model, its endpoint config, its package."""
        self._table.write(
            update(_episode(episode_id), "SET model_removed_at = :now", SEEN, {":now": clock.render(now)})
        )

    # Pausing ----------------------------------------------------------------------------------------------------------

    def pause(self, endpoint_name: str, *, reason: str, by: str, at: datetime, until: datetime | None) -> None:
        """No alarm, calendar or event opens an episode of the endpoint until then, or until it is resumed."""
        item = {"reason": reason, "by": by, "at": clock.render(at), "until": clock.render(until) if until else ""}
        self._table.write(put({**_of(endpoint_name, "PAUSE"), **item}))

    def resume(self, endpoint_name: str, *, by: str, at: datetime) -> None:
        """Episodes are opened again."""
        resumed = {"reason": "", "by": by, "at": clock.render(at)}
        self._table.write(put({**_of(endpoint_name, "PAUSE"), **resumed}))

    def record_serving(self, endpoint_name: str, found: Mapping[str, str], now: datetime) -> None:
        """The last look at the endpoint found this wrong: what, and a sentence."""
        self._table.write(put({**found, **_of(endpoint_name, "SERVING"), "since": clock.render(now)}))

    # Analysis ---------------------------------------------------------------------------------------------------------

    def record_analysis(
        self, endpoint_name: str, analysis: Mapping[str, Any], window_end: datetime, of: str = "ANALYSIS"
    ) -> bool:
        """The latest analysis is this one, and the caller alone publishes it, for a minute; False if one of this window
        end, or a later one, is out already.

        Retryable while another run has a minute to publish it: it may die on the way. Then it is published again, by
        whoever comes next: its metrics are out at least once, and twice only if the run died, or took longer than a
        minute, between the last of them and `mark_published`. For of="QUALITY", whose windows end a label delay
        earlier, it is the time of the analysis that counts.
        """
        now, end = int(self._seconds()), clock.epoch(window_end)
        item = {
            **analysis,
            **_of(endpoint_name, of),
            "window_end_epoch": end,
            "published": False,
            "claimed_until": now + _CLAIM,
        }
        if self._table.write(put(item, NEWER_ANALYSIS, {":end": end, ":no": False, ":now": now})):
            return True
        known = self.analysis(endpoint_name, of) or {}
        if known.get("window_end_epoch") == end and not known.get("published"):
            raise Retryable(f"another run publishes the analysis of {endpoint_name} at {clock.render(window_end)}")
        return False

    def mark_published(self, endpoint_name: str, window_end: datetime, of: str = "ANALYSIS") -> None:
        """The metrics of that analysis are out; it is not repeated."""
        key = _of(endpoint_name, of)
        values = {":end": clock.epoch(window_end), ":yes": True}
        self._table.write(update(key, "SET published = :yes", SAME_ANALYSIS, values))

    # ------------------------------------------------------------------------------------------------------------------

    def _fenced(self, episode: Episode, name: str, write: Write) -> None:
        failed = self._table.transact({"lock": check(_lock(episode), LOCK_IS_OURS, _ours(episode)), name: write})
        if failed:
            raise Refused("fenced", f"episode {episode.episode_id} does not hold the lock of {episode.endpoint_name}")

    @staticmethod
    def _closing(episode_id: str, at: datetime, ending: Ending, rolled_out: str | None = None) -> Write:
        as_seen = f" AND {ROLLED_OUT_AS_SEEN}" if rolled_out is not None else ""
        return update(
            _episode(episode_id),
            "SET #status = :closed, closed_at = :now, outcome = :outcome, reason = :reason, detail = :detail, "
            "forget_at = :forget "
            "REMOVE task_tokens",
            STILL_OPEN + as_seen,
            {
                **({":rolled_out": rolled_out} if rolled_out is not None else {}),
                ":open": "OPEN",
                ":closed": "CLOSED",
                ":now": clock.render(at),
                ":outcome": ending.outcome,
                ":reason": ending.reason,
                ":detail": ending.detail,
                ":forget": clock.epoch(at + KEPT_FOR),
            },
        )


def _of(endpoint_name: str, what: str) -> Item:
    return {"pk": f"ENDPOINT#{endpoint_name}", "sk": what}


def _month(at: datetime) -> str:
    return f"MONTH#{at:%Y-%m}"


def _episode(episode_id: str) -> Item:
    return {"pk": f"EPISODE#{episode_id}", "sk": "EPISODE"}


def _lock(episode: Episode) -> Item:
    return _of(episode.endpoint_name, "LOCK")


def _ours(episode: Episode, **more: Any) -> Item:
    values = {":me": episode.episode_id, ":fence": episode.fence}
    return values | {f":{name}": value for name, value in more.items()}


def _newest(endpoint_name: str, alarm_arn: str, at: datetime) -> Write:
    return update(
        _of(endpoint_name, f"ALARM#{alarm_arn}"), "SET last_transition = :at", NEWER, {":at": clock.millis(at)}
    )
