"""What has to fit together so that anything is ever trained: rows, labels, how late they come, how long data is kept.

One place says it, of whatever is known: the deployment's parameters alone, model.toml beside them, the traffic too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

DAY, FOUR_WEEKS = 24.0, 672.0  # hours
DEPLOYED = ("window", "delay", "wait", "keep", "evidence")  # what of a plan a deployment knows without a model


@dataclass(frozen=True)
class Plan:
    """What an episode will need, and what there will be. All times in hours; the defaults are the template's, and those
    of model.toml.

    `keep` is how long captures and labels are kept, 0 for ever; `scheduled` whether RetrainSchedule begins episodes,
    `evidence` whether enough labels do, which have to cover a `cycle`; `rows` the labelled rows of one, `labelled` the
    share of rows that get a label, `reach` the share of a window that labels have to come to; `judged` the rows without
    which drift is not judged, `judged_labels` the labels without which quality is not. `traffic` is rows an hour, None
    if nobody knows.
    """

    window: float = 24.0
    delay: float = 24.0
    wait: float = 48.0
    keep: float = 0.0
    scheduled: bool = False
    evidence: bool = True
    cycle: float = DAY
    rows: int = 1000
    labelled: float = 1.0
    reach: float = 0.8
    judged: int = 500
    judged_labels: int = 200
    traffic: float | None = None


@dataclass(frozen=True)
class Conflict:
    """What does not fit together: the parameters with their values, why, and what mends it. `never` is whether nothing
    can ever be trained with it; otherwise something comes late, or one way to an episode leads nowhere.
    """

    check: str
    parameters: str
    text: str
    remedy: str
    never: bool

    def __str__(self) -> str:
        return f"{self.parameters}: {self.text}. {self.remedy}"


def conflicts(plan: Plan) -> list[Conflict]:
    """Everything in the plan that does not fit together, what can never train first.

    >>> [str(found)[:30] for found in conflicts(Plan(keep=24))]
    ['KeepDataDays 1, WindowHours 24']
    >>> conflicts(Plan())
    []
    """
    found = [*_kept(plan), *_gathered(plan), *_in_time(plan), *_judged(plan)]
    return sorted(found, key=lambda conflict: not conflict.never)


def rows_in(plan: Plan) -> float | None:
    """Hours of the traffic that have as many labelled rows as an episode needs; infinite if they never come."""
    if plan.traffic is None:
        return None
    labelled = plan.traffic * plan.labelled
    return plan.rows / labelled if labelled > 0 else math.inf


def grown(window: float, wait: float, delay: float) -> float:
    """Hours of traffic that an episode can learn from: its window, which grows while it waits by what is old enough
    for labels.

    >>> grown(24, 48, 24), grown(24, 48, 72)
    (48, 24)
    """
    return window + max(wait - delay, 0)


def plan_of(parameters: Mapping[str, str], known: Plan | None = None) -> Plan:
    """The plan of a deployment with those parameters of the template; others are as in `known`, or the defaults.

    >>> plan_of({"WindowHours": "48", "KeepDataDays": "7"}, Plan(cycle=168.0)).keep
    168.0
    """
    plan = known or Plan()
    return replace(
        plan,
        window=float(parameters.get("WindowHours", plan.window)),
        delay=float(parameters.get("LabelDelayHours", plan.delay)),
        wait=float(parameters.get("LabelWaitHours", plan.wait)),
        keep=float(parameters.get("KeepDataDays", 0)) * DAY,
        scheduled=bool(parameters.get("RetrainSchedule")),
        evidence=parameters.get("RetrainOn", "evidence") == "evidence",
    )


def _kept(plan: Plan) -> Iterator[Conflict]:
    """Captures have to be there when their labels are: over a window, over a cycle, and while an episode waits."""
    window, late = f"WindowHours {plan.window:g}", f"LabelDelayHours {plan.delay:g}"
    cycle = plan.cycle if plan.evidence else 0.0
    wanted = max(plan.window, cycle) + plan.delay + plan.wait
    kept, remedy = f"KeepDataDays {plan.keep / DAY:g}", f"KeepDataDays={math.ceil(wanted / DAY)}, or 0 for ever"
    if not 0 < plan.keep < wanted:
        return
    if plan.keep < plan.window + plan.delay:
        text = f"an episode learns from captures of {plan.window + plan.delay:g} hours ago, and they are gone by then"
        yield Conflict("lifecycle", f"{kept}, {window}, {late}", text, remedy, never=True)
    elif plan.keep < cycle + plan.delay:
        text = "when labels cover a cycle its captures are gone: enough labels begin nothing, and alarms alone do"
        yield Conflict("lifecycle", f"{kept}, a cycle of {cycle:g} hours, {late}", text, remedy, never=False)
    else:
        text = "an episode that waits for labels outlives its captures"
        waits = f"LabelWaitHours {plan.wait:g}"
        yield Conflict("lifecycle", f"{kept}, {window}, {late}, {waits}", text, remedy, never=False)


def _gathered(plan: Plan) -> Iterator[Conflict]:
    """The traffic has to bring the rows, before the first of them are gone."""
    hours = rows_in(plan)
    if hours is None or hours <= grown(plan.window, plan.wait, plan.delay):
        return
    span = f"{hours:.0f} hours of this traffic" if math.isfinite(hours) else "more than ever come"
    needs = f"an episode learns from {plan.rows} labelled rows, which is {span}"
    names = f"[dataset] min_rows, [gate] min_rows and holdout_share ({plan.rows} rows)"
    lower = "lower [dataset] min_rows and [gate] min_rows in model.toml"
    if math.isinf(hours) or 0 < plan.keep < hours + plan.delay:
        kept = f", KeepDataDays {plan.keep / DAY:g}" if plan.keep else ""
        longer = f", or KeepDataDays={math.ceil((hours + plan.delay) / DAY)}" if math.isfinite(hours) else ""
        yield Conflict("rows", f"{names}{kept}", needs, f"{lower}{longer}", never=True)
    else:
        yield Conflict(
            "rows",
            names,
            f"{needs}: an alarm begins nothing before them",
            f"{lower}, or be content with fewer episodes",
            never=False,
        )


def _in_time(plan: Plan) -> Iterator[Conflict]:
    """Labels have to come to most of the window while an episode waits for them."""
    labelled = min(max((plan.window + plan.wait - plan.delay) / plan.window, 0.0), 1.0)
    if labelled >= plan.reach:
        return
    begins = "an alarm on drift begins nothing before the quality monitor has counted enough labels"
    if plan.scheduled:
        begins += ", and every episode of RetrainSchedule is refused after waiting"
    yield Conflict(
        "labels in time",
        f"LabelDelayHours {plan.delay:g}, LabelWaitHours {plan.wait:g}, WindowHours {plan.window:g}",
        f"labels come {plan.delay:g} hours late and an episode waits for {plan.wait:g}: at most {labelled:.0%} of a "
        f"window of {plan.window:g} hours has labels by then, {plan.reach:.0%} are needed: {begins}",
        f"LabelWaitHours={math.ceil(plan.delay - (1 - plan.reach) * plan.window)} at least",
        never=False,
    )


def _judged(plan: Plan) -> Iterator[Conflict]:
    """The monitors have to see enough rows to judge by: drift in four weeks at most, quality in a window."""
    if plan.traffic is None:
        return
    if (rows := plan.traffic * max(plan.window, FOUR_WEEKS)) < plan.judged:
        text = f"four weeks have {rows:.0f} rows of this traffic, so that drift is never judged"
        lower = "lower [monitor] min_rows in model.toml"
        yield Conflict("judged", f"[monitor] min_rows {plan.judged}", text, lower, never=False)
    if (labels := plan.traffic * plan.labelled * plan.window) < plan.judged_labels:
        hours = plan.judged_labels / (plan.traffic * plan.labelled) if labels else math.inf
        longer = f"WindowHours={math.ceil(hours)}" if hours <= 2208 else "none: wait for more traffic, or more labels"
        text = f"a window has {labels:.0f} labels of this traffic, and quality is judged by {plan.judged_labels}"
        yield Conflict("judged", f"WindowHours {plan.window:g}", text, longer, never=False)
