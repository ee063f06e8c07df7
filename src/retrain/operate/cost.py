"""What a deployed stack costs a month, by prices that nobody checked: it stands, and its episodes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from retrain.core.prices import HOURLY, HOURS_A_MONTH, JOB_MINUTES, JOBS, episode_dollars

# Dollars, typed in and checked against no price list, of a month.
METRIC, ALARM, KEY, GIGABYTE_SECOND = 0.30, 0.10, 1.00, 0.0000133334
_ALARMS, _DAY = 7, 24.0
_UNITS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}


@dataclass(frozen=True)
class Post:
    """One part of the bill; `dollars` is None where the price is not known."""

    name: str
    dollars: float | None
    text: str


def standing(parameters: Mapping[str, str]) -> list[Post]:
    """What a month costs while nothing is trained; storage and requests apart."""
    kind, count = parameters.get("EndpointInstanceType", "ml.m5.large"), _number(parameters, "EndpointInstanceCount", 1)
    hours, price = count * HOURS_A_MONTH, HOURLY.get(kind)
    metrics = 3 * (_number(parameters, "MetricFeatures", 20) + 1) + 6
    every = interval(parameters.get("MonitorSchedule", "rate(5 minutes)")) or 1.0
    runs = HOURS_A_MONTH / every
    return [
        Post("endpoint", None if price is None else price * hours, f"{hours:.0f} hours of {kind}"),
        Post("metrics", metrics * METRIC, f"{metrics:.0f} of {METRIC:.2f}"),
        Post("monitors", runs * 2 * GIGABYTE_SECOND, f"{runs:.0f} runs of 2 GB, of a second each"),
        Post("alarms", _ALARMS * ALARM, f"{_ALARMS} of {ALARM:.2f}"),
        Post("key", KEY, "1, with its rotation"),
    ]


def episodes(parameters: Mapping[str, str], cycle_hours: float = _DAY) -> Post:
    """What the episodes of a month cost at most, if each job lasts `JOB_MINUTES`.

    Enough labels begin one when they cover a cycle of the traffic, which windows of the quality monitor add up to.
    """
    window, cooldown = _number(parameters, "WindowHours", 24), _number(parameters, "CooldownHours", 6)
    processing, training = (parameters.get(f"{job}InstanceType", "ml.m5.xlarge") for job in ("Processing", "Training"))
    each = episode_dollars(processing, training, int(_number(parameters, "TrainingInstanceCount", 1)))
    most, budget = _number(parameters, "MonthlyEpisodes", 31), _number(parameters, "MonthlyDollars", 100)
    every, begun = max(cycle_hours, window, cooldown), f"of labels that cover {cycle_hours:g} hours"
    if parameters.get("RetrainOn", "evidence") == "alarms":
        every, begun = cooldown or 1.0, "of alarms"
    count = min(HOURS_A_MONTH / every, most)
    total = count * each if all(kind in HOURLY for kind in (processing, training)) else None
    limit = f"MonthlyDollars {budget:g}" if budget else "no limit in dollars"
    jobs = f"{JOBS} jobs of {JOB_MINUTES:g} minutes on {' and '.join(dict.fromkeys((processing, training)))}"
    return Post("episodes", total, f"at most {count:.1f}, {begun}, {each:.2f} each ({jobs}); {limit}")


def bill(parameters: Mapping[str, str], cycle_hours: float) -> Iterator[str]:
    """The whole of it, a line for each part; where the rows have to say how long their cycle is, that of a day."""
    posts = [*standing(parameters), episodes(parameters, cycle_hours or _DAY)]
    for post in posts:
        yield f"{post.name:<10} {'?' if post.dollars is None else f'{post.dollars:.2f}':>9}  {post.text}"
    yield f"{'':<10} {sum(post.dollars or 0.0 for post in posts):>9.2f}  dollars a month, storage and requests apart"
    yield "Prices are typed in, of us-east-1, and checked against no list: the AWS Pricing Calculator knows yours."


def interval(schedule: str) -> float | None:
    """Hours between two runs of a rate(…); None of a cron(…), which has many.

    >>> interval("rate(5 minutes)"), interval("rate(1 day)"), interval("cron(0 0 * * ? *)")
    (0.08333333333333333, 24.0, None)
    """
    if found := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule):
        return int(found[1]) * _UNITS[found[2]]
    return None


def _number(parameters: Mapping[str, str], name: str, default: float) -> float:
    return float(parameters.get(name, default))
