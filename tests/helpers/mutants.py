"""Mutants of the template's policies and of the wiring, and which of them a check kills.

`python tests/helpers/mutants.py policies` and `… wiring` go through all of them and print killed/total and what
survived; `--sample N --seed S` takes N at random.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from machine import written
from wiring import CHECKS, Wiring, changed, with_another_machine

from local.policies import Role, allows, as_list, as_recorded, grants, reasons, recorded
from local.template import source

Resource = dict[str, Any]
# What no check kills, and why it need not.
ARGUED = {
    "Resources / SilenceAlarm / Properties / Threshold: -1000000": "a minute without samples is missing, and missing "
    "is breaching; where there is one, its count is 1 or more under either threshold",
}


@dataclass(frozen=True)
class Mutant:
    """One change: what it is, and how it is made in a copy of the wiring."""

    name: str
    change: Callable[[Wiring], None]
    of_the_template: bool = True


def killer(wiring: Wiring, mutant: Mutant) -> str | None:
    """The check that fails on the mutant; None if it survives."""
    copied = changed(wiring) if mutant.of_the_template else with_another_machine(wiring)
    mutant.change(copied)
    for check in CHECKS if mutant.of_the_template else reversed(CHECKS):
        try:
            check(copied)
        except Exception as error:  # noqa: BLE001 - a mutant that can't be deployed is found out, too
            return f"{check.__name__}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return None


# Policies ------------------------------------------------------------------------------------------------------------


def policy_mutants() -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Each action, and each resource, of each role's statements taken away, and what misses it.

    What misses them is a recorded call that is denied now, or the reason of a grant that no call uses.
    """
    carried, calls, explained = as_recorded(), recorded(), reasons()
    for role in carried.values():
        own = [call for call in calls if call.role == role.name]
        others = [grant for other in carried.values() if other is not role for grant in grants(other)]
        for at, statement in enumerate(role.statements):
            for field in ("Action", "Resource"):
                for item in as_list(statement[field]):
                    rest = [other for other in as_list(statement[field]) if other != item]
                    kept = [{**statement, field: rest}] if rest else []
                    left = [*role.statements[:at], *kept, *role.statements[at + 1 :]]
                    without = Role(role.name, role.trust, role.managed, left)

                    def missed(without: Role = without, own: list[Any] = own, others: list[Any] = others) -> str | None:
                        for call in own:
                            if not allows(without, call):
                                return f"{call.action} on {call.resource}"
                        there = [*others, *grants(without)]
                        return next(
                            (f"a reason names {name}" for each in explained for name in each.absent(there)), None
                        )

                    yield f"{role.name}: {field} {item} of statement {at}", missed


# The state machine ---------------------------------------------------------------------------------------------------


def machine_mutants(machine: Mapping[str, Any]) -> Iterator[Mutant]:
    """Every clause, name, number, rule, variable and arrow of the machine taken away or changed."""
    others = list(machine["States"])
    for name, state in machine["States"].items():
        for field in ("Retry", "Catch", "Choices"):
            for at, clause in enumerate(state.get(field, [])):
                yield _removed(name, field, at)
                for error in clause.get("ErrorEquals", []):
                    yield _changed(
                        (name, field, at, "ErrorEquals"), _without(clause["ErrorEquals"], error), f"without {error}"
                    )
                for number in ("MaxAttempts", "IntervalSeconds", "BackoffRate", "MaxDelaySeconds"):
                    if number in clause:
                        yield _changed((name, field, at, number), clause[number] * 2 + 1)
                if "JitterStrategy" in clause:
                    yield _changed((name, field, at, "JitterStrategy"), "NONE")
                if "Condition" in clause:
                    yield _changed((name, field, at, "Condition"), "{% false %}")
                    yield _changed((name, field, at, "Condition"), "{% true %}")
                if "Next" in clause:
                    yield _changed((name, field, at, "Next"), _other(others, clause["Next"]))
                for variable in clause.get("Assign", {}):
                    yield _removed(name, field, at, "Assign", variable)
        for field in ("Next", "Default"):
            if field in state:
                yield _changed((name, field), _other(others, state[field]))
        for field in ("Assign", "Output"):
            value = state.get(field)
            for variable in value if isinstance(value, dict) else ():
                yield _removed(name, field, variable)
            if isinstance(value, str):
                yield _removed(name, field)
        payload = state.get("Arguments", {}).get("Payload", {})
        for key in payload if isinstance(payload, dict) else ():
            yield _removed(name, "Arguments", "Payload", key)
        for field in ("TimeoutSeconds", "Seconds", "Error", "Cause"):
            if field in state:
                yield (
                    _removed(name, field)
                    if field in {"TimeoutSeconds", "Error", "Cause"}
                    else _changed((name, field), 1)
                )

    def timeless(wiring: Wiring) -> None:
        del wiring.machine["TimeoutSeconds"]

    yield Mutant("the machine: without TimeoutSeconds", timeless, of_the_template=False)


def _removed(*path: Any) -> Mutant:
    def change(wiring: Wiring) -> None:
        *way, last = path
        del _at(wiring.machine["States"], way)[last]

    return Mutant(f"{' / '.join(map(str, path))}: removed", change, of_the_template=False)


def _changed(path: tuple[Any, ...], value: Any, how: str = "") -> Mutant:
    def change(wiring: Wiring) -> None:
        *way, last = path
        _at(wiring.machine["States"], way)[last] = value

    return Mutant(f"{' / '.join(map(str, path))}: {how or value}", change, of_the_template=False)


def _without(items: list[Any], item: Any) -> list[Any]:
    return [other for other in items if other != item] or ["Nothing.OfThisName"]


def _other(names: list[str], name: str) -> str:
    return next(other for other in ("Close Episode", "Start Pipeline", *names) if other != name)


def _at(item: Any, way: Any) -> Any:
    for step in way:
        item = item[step]
    return item


# The template --------------------------------------------------------------------------------------------------------

WIRED = {
    "AWS::CloudWatch::Alarm",
    "AWS::SNS::Subscription",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}


def template_mutants(template: Resource) -> Iterator[Mutant]:
    """Variables, alarms, rules, destinations, statements, substitutions and dependencies taken away or changed."""
    for name in template["Globals"]["Function"]["Environment"]["Variables"]:
        yield from _emptied("Globals", "Function", "Environment", "Variables", name)
    for name, resource in template["Resources"].items():
        way = ("Resources", name, "Properties")
        made = resource.get("Properties", {})
        if resource["Type"] in WIRED:
            yield _template_removed("Resources", name)
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            yield from _alarm_mutants(way, made)
        if resource["Type"] == "AWS::Serverless::Function":
            for variable in made["Environment"]["Variables"]:
                yield from _emptied(*way, "Environment", "Variables", variable)
            yield from _event_mutants(way, made)
        if "PolicyDocument" in made and resource["Type"] in WIRED:
            yield from _statement_mutants((*way, "PolicyDocument", "Statement"), made["PolicyDocument"]["Statement"])
        if resource["Type"] == "AWS::KMS::Key":
            yield from _statement_mutants((*way, "KeyPolicy", "Statement"), made["KeyPolicy"]["Statement"])
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            for variable in made["DefinitionSubstitutions"]:
                yield _template_changed((*way, "DefinitionSubstitutions", variable), "1")
            yield _template_changed((*way, "LoggingConfiguration", "IncludeExecutionData"), True)
            yield _template_changed((*way, "LoggingConfiguration", "Level"), "OFF")
            yield _template_changed((*way, "TracingConfiguration", "Enabled"), False)
        for other in resource.get("DependsOn", []) if isinstance(resource.get("DependsOn"), list) else ():
            rest = [each for each in resource["DependsOn"] if each != other]
            yield _template_changed(("Resources", name, "DependsOn"), rest, f"without {other}")
        if "Condition" in resource and resource["Type"] in WIRED:
            yield _template_removed("Resources", name, "Condition")


def _alarm_mutants(way: tuple[str, ...], made: Resource) -> Iterator[Mutant]:
    for field in ("AlarmActions", "OKActions"):
        if field in made:
            yield _template_removed(*way, field)
            yield _template_changed((*way, field), [])
    for field in ("Namespace", "MetricName"):
        if field in made:
            yield _template_changed((*way, field), "Something")
    flipped = {"GreaterThanThreshold": "LessThanThreshold", "LessThanThreshold": "GreaterThanThreshold"}
    yield _template_changed(
        (*way, "ComparisonOperator"), flipped.get(made["ComparisonOperator"], "GreaterThanThreshold")
    )
    yield _template_changed((*way, "Threshold"), 1_000_000)
    yield _template_changed((*way, "Threshold"), -1_000_000)
    missing = "breaching" if made["TreatMissingData"] == "notBreaching" else "notBreaching"
    yield _template_changed((*way, "TreatMissingData"), missing)
    yield _template_changed((*way, "EvaluationPeriods"), 4000)
    for at, _ in enumerate(made.get("Dimensions", [])):
        yield _template_removed(*way, "Dimensions", at)
    if "Period" in made:
        yield _template_changed((*way, "Period"), made["Period"] * 60)
    if "Statistic" in made:
        yield _template_changed(
            (*way, "Statistic"), "Sum" if made["Statistic"] in {"Average", "Minimum"} else "Minimum"
        )
    for at, query in enumerate(made.get("Metrics", [])):
        yield _template_removed(*way, "Metrics", at)
        if "MetricStat" in query:
            metric = (*way, "Metrics", at, "MetricStat", "Metric")
            yield _template_changed((*metric, "Namespace"), "Something")
            yield _template_changed((*metric, "MetricName"), "something")
            yield _template_changed((*way, "Metrics", at, "MetricStat", "Stat"), "Minimum")


def _event_mutants(way: tuple[str, ...], made: Resource) -> Iterator[Mutant]:
    if "EventInvokeConfig" in made:
        yield _template_removed(*way, "EventInvokeConfig")
        for field in made["EventInvokeConfig"]:
            yield _template_removed(*way, "EventInvokeConfig", field)
    for event, item in made.get("Events", {}).items():
        here = (*way, "Events", event, "Properties")
        yield _template_removed(*way, "Events", event)
        for field in ("RetryPolicy", "DeadLetterConfig"):
            yield _template_removed(*here, field)
        if "Schedule" in item["Properties"]:
            yield _template_changed((*here, "Schedule"), "rate(1 day)")
            yield _template_changed((*here, "Enabled"), False)
        yield from _pattern_mutants((*here, "Pattern"), item["Properties"].get("Pattern", {}))


def _pattern_mutants(way: tuple[Any, ...], pattern: Resource) -> Iterator[Mutant]:
    for key, wanted in pattern.items():
        yield _template_removed(*way, key)
        if isinstance(wanted, dict):
            yield from _pattern_mutants((*way, key), wanted)
            continue
        for at, one in enumerate(wanted):
            if len(wanted) > 1:
                yield _template_removed(*way, key, at)
            if isinstance(one, str):
                yield _template_changed((*way, key, at), f"{one}x")


def _statement_mutants(way: tuple[Any, ...], statements: list[Resource]) -> Iterator[Mutant]:
    for at, statement in enumerate(statements):
        yield _template_removed(*way, at)
        if "Condition" in statement:
            yield _template_removed(*way, at, "Condition")
        if isinstance(statement["Action"], list):
            for number, _ in enumerate(statement["Action"]):
                yield _template_removed(*way, at, "Action", number)
        if isinstance(statement.get("Resource"), list):
            for number, _ in enumerate(statement["Resource"]):
                yield _template_removed(*way, at, "Resource", number)


def _emptied(*way: Any) -> Iterator[Mutant]:
    yield _template_changed(way, "", "emptied")
    yield _template_removed(*way)


def _template_removed(*path: Any) -> Mutant:
    def change(wiring: Wiring) -> None:
        *way, last = path
        del _at(wiring.template, way)[last]

    return Mutant(f"{' / '.join(map(str, path))}: removed", change)


def _template_changed(path: tuple[Any, ...], value: Any, how: str = "") -> Mutant:
    def change(wiring: Wiring) -> None:
        *way, last = path
        _at(wiring.template, way)[last] = copy.deepcopy(value)

    return Mutant(f"{' / '.join(map(str, path))}: {how or json.dumps(value)}", change)


# All of them ---------------------------------------------------------------------------------------------------------


def wiring_mutants(wiring: Wiring) -> list[Mutant]:
    """Those of the machine and of the template."""
    return [*machine_mutants(wiring.machine), *template_mutants(wiring.template)]


def written_wiring() -> Wiring:
    """The template and the machine as they are, gone through once: of a mutant, only the difference is gone through."""
    wiring = Wiring(source(), written())
    for check in CHECKS:
        check(wiring)
    return wiring


def found(of: str, names: list[str], processes: int) -> Iterator[tuple[str, str | None]]:
    """Each mutant of that name, and what killed it, as they come."""
    if processes == 1:
        _prepare(of)
        yield from map(_judged, names)
        return
    with multiprocessing.get_context("fork").Pool(processes, _prepare, (of,)) as pool:
        yield from pool.imap_unordered(_judged, names, chunksize=4)


_JUDGES: dict[str, Callable[[], str | None]] = {}


def _prepare(of: str) -> None:
    _JUDGES.clear()
    if of == "policies":
        _JUDGES.update(policy_mutants())
    else:
        wiring = written_wiring()
        _JUDGES.update({mutant.name: partial(killer, wiring, mutant) for mutant in wiring_mutants(wiring)})


def _judged(name: str) -> tuple[str, str | None]:
    return name, _JUDGES[name]()


def main() -> int:
    """0 when every mutant was killed, or its survival is argued."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("of", choices=["policies", "wiring"])
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    wiring = Wiring(source(), written())
    names = [name for name, _ in policy_mutants()] if options.of == "policies" else None
    names = names or [mutant.name for mutant in wiring_mutants(wiring)]
    if options.sample:
        names = random.Random(options.seed).sample(names, options.sample)
    began, alive = time.monotonic(), []
    for number, (name, by) in enumerate(found(options.of, names, options.processes), 1):
        if by is None:
            alive.append(name)
            print(f"  survived: {name}{': ' + ARGUED[name] if name in ARGUED else ''}", flush=True)
        if number % 50 == 0:
            took = time.monotonic() - began
            print(f"  {number} of {len(names)}, {len(alive)} survived, {took:.0f} s", flush=True)
    took = time.monotonic() - began
    argued = len(set(alive) & set(ARGUED))
    print(
        f"{options.of}: {len(names) - len(alive)}/{len(names)} mutants killed, {argued} argued, "
        f"{len(alive) - argued} survived, {took / len(names):.2f} s each"
    )
    return 0 if set(alive) <= set(ARGUED) else 1


if __name__ == "__main__":
    sys.exit(main())
