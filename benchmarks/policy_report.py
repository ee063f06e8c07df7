"""What benchmarks/policy.py found, as the document that people read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, median
from typing import Any

from benchmarks.tables import CHOSE, TABLES, VERIFIED
from benchmarks.worlds import WORLDS
from retrain.core.prices import episode_dollars

NONE = "\N{EN DASH}"
NOTHING = 0.01  # share of the stale model's error below which there is nothing to recover
OURS = "insurance"  # the default
STILL = ("diamonds", "harmless")  # where nothing changes that matters
MACHINE = "ml.m5.xlarge"  # the template's default, of processing and training

Run = Mapping[str, Any]


def recovered(stale: float, ours: float, best: float) -> float | None:
    """The share of what could be gained that was; None where there was nothing to gain."""
    return (stale - ours) / (stale - best) if stale - best > NOTHING * stale else None


def share(run: Run, policy: str, key: str) -> float | None:
    """What the policy recovered of what the best fixed strategy or the oracle (`key`) would; None if not played."""
    means = {name: found["mean"] for name, found in run["policies"].items()}
    fixed = [value for name, value in means.items() if name.startswith("always ")]
    if policy not in means or not fixed:
        return None
    best = mean(run["oracle"]) if key == "oracle" else min(means["never"], *fixed)
    return recovered(means["never"], means[policy], best)


def report(document: Mapping[str, Any], verbose: bool) -> Iterator[str]:
    """The document's lines."""
    runs: Sequence[Run] = document["runs"]
    yield f"# Policies of retraining\n\n{PREFACE}"
    yield (
        f"{document['machine']}; {document['seconds']} s of CPU. Roles are decision 60's. Where a table has fewer "
        "seeds than others, or is missing, the rest was not run. Measured on these commits:\n"
    )
    yield from (f"{number}. {commit}" for number, commit in enumerate(document["commits"], 1))
    if runs:
        names = list(dict.fromkeys(run["name"] for run in runs))
        yield from _about(runs, names, document["commits"])
        yield from _goals(runs, names, document["attacks"])
        for title, key in (("the best fixed strategy", "best"), ("the oracle", "oracle")):
            yield from _recovered(runs, names, title, key)
        yield from _worst(runs, names)
        yield from _costs(runs)
        yield from _unchanged(runs)
    if document["attacks"]:
        yield from _attacks(document["attacks"])
    if verbose:
        yield from _windows(runs)


def _about(runs: Sequence[Run], names: Sequence[str], commits: Sequence[str]) -> Iterator[str]:
    yield "\n## Tables and worlds\n\n| | role | seeds | commit | task | | package | licence |\n" + "| --- " * 8 + "|"
    for name in names:
        seeds = ", ".join(str(run["seed"]) for run in runs if run["name"] == name)
        seeds += " | " + ", ".join(
            sorted({str(commits.index(run["commit"]) + 1) for run in runs if run["name"] == name})
        )
        if name in TABLES:
            t = TABLES[name]
            yield f"| {name} | {t.role} | {seeds} | {t.task} | {t.about} | {t.package} | {t.licence} |"
        else:
            world = WORLDS[name]
            yield f"| {name} | {world.role} | {seeds} | {world.task} | {world.truth} | made here | {NONE} |"


def _role(name: str) -> str:
    return TABLES[name].role if name in TABLES else WORLDS[name].role


def _goals(runs: Sequence[Run], names: Sequence[str], attacks: Sequence[Run]) -> Iterator[str]:
    """Each goal of the default policy, and on which tables it is met."""
    yield f"\n## Goals, and how far `{OURS}` comes\n"
    yield "| goal | where it chose | where it verified |\n| --- | --- | --- |"
    halves = [[name for name in names if _role(name) == role] for role in (CHOSE, VERIFIED)]

    def every(each: Callable[[str], float | None], least: float, form: Callable[[float], str]) -> Iterator[str]:
        for half in halves:
            known = {name: value for name in half if (value := each(name)) is not None}
            short = [f"{name} {form(value)}" for name, value in known.items() if value < least]
            yield f"{len(known) - len(short)} of {len(known)}" + (f"; not {', '.join(short)}" if short else "")

    def best(name: str) -> float | None:
        return _middle(runs, name, OURS, "best")

    def beside(name: str) -> float | None:
        of = [run["policies"] for run in runs if run["name"] == name]
        return float(median(one["always scratch"]["mean"] / one[OURS]["mean"] - 1 for one in of))

    def calm(name: str) -> float | None:
        worst = _worst_of(runs, name, OURS)
        return None if worst is None else -worst

    def averages() -> Iterator[str]:
        for half in halves:
            known = [value for name in half if (value := _middle(runs, name, OURS, "oracle")) is not None]
            yield f"{mean(known):.0%}" if known else NONE

    rows = {
        "at least 95 % of the best fixed strategy": every(best, 0.95, lambda value: f"{value:.0%}"),
        "at least 90 % of the oracle, on average": averages(),
        "error not above that of always scratch": every(beside, 0.0, lambda value: f"{-value:+.1%}"),
        "worst window after a promotion at most +15 %": every(calm, -0.15, lambda value: f"{-value:+.0%}"),
    }
    for goal, cells in rows.items():
        yield f"| {goal} | {' | '.join(cells)} |"
    if attacks:
        spoiled = [run["policies"][OURS]["worse"] for run in attacks]
        harms = {name: _harm(attacks, name) for name in (OURS, "always scratch")}
        yield (
            f"\nPoisoned evidence: of {len(spoiled)} windows, what was promoted on {sum(v > 0.05 for v in spoiled)} is "
            f"worse on clean rows by more than 5 % (at worst {max(spoiled):+.1%}); the harm in all is "
            f"{harms[OURS]:.0%} where always scratch takes {harms['always scratch']:.0%}."
        )


def _recovered(runs: Sequence[Run], names: Sequence[str], title: str, key: str) -> Iterator[str]:
    policies = _policies(runs)[1:]
    yield f"\n## Recovered, of {title}\n\nPer cent, medians over the seeds. {NONE}: nothing to recover.\n"
    yield f"| | role | {' | '.join(policies)} |\n" + "| --- " * (len(policies) + 2) + "|"
    for name in names:
        cells = (_percent(_middle(runs, name, policy, key)) for policy in policies)
        yield f"| {name} | {_role(name)} | {' | '.join(cells)} |"
    for role in (CHOSE, VERIFIED):
        averages = []
        for policy in policies:
            found = [_middle(runs, name, policy, key) for name in names if _role(name) == role]
            known = [value for value in found if value is not None]
            averages.append(_percent(mean(known)) if known else NONE)
        yield f"| mean | {role} | {' | '.join(averages)} |"


def _worst(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    policies = _policies(runs)[1:]
    yield (
        "\n## The worst window after a promotion\n\nThe error beside that of the champion that was replaced, per cent, "
        "the worst of all seeds.\n"
    )
    yield f"| | role | {' | '.join(policies)} |\n" + "| --- " * (len(policies) + 2) + "|"
    for name in names:
        cells = ((NONE if (w := _worst_of(runs, name, policy)) is None else f"{100 * w:+.0f}") for policy in policies)
        yield f"| {name} | {_role(name)} | {' | '.join(cells)} |"


def _policies(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run["policies"]))


def _worst_of(runs: Sequence[Run], name: str, policy: str) -> float | None:
    found = [run["policies"][policy]["worst"] for run in runs if run["name"] == name and policy in run["policies"]]
    return max((value for value in found if value is not None), default=None)


def _middle(runs: Sequence[Run], name: str, policy: str, key: str) -> float | None:
    known = [value for run in runs if run["name"] == name and (value := share(run, policy, key)) is not None]
    return median(known) if known else None


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f}"


def _costs(runs: Sequence[Run]) -> Iterator[str]:
    each = episode_dollars(MACHINE, MACHINE, 1)
    yield (
        "\n## What it cost, and what went wrong\n\nSums over all runs, of a table and a seed each. Refused and better, "
        f"promoted and worse: on the next window, seen by nobody. Dollars: {each:.3f} for each training, on {MACHINE} "
        "(`retrain.core.prices`).\n"
    )
    yield (
        "| | runs | trainings | dollars | promotions | refused and better | promoted and worse |\n" + "| --- " * 7 + "|"
    )
    for policy in _policies(runs):
        found = [run["policies"][policy] for run in runs if policy in run["policies"]]
        kept, promoted = ([value for one in found for value in one[key]] for key in ("kept", "promoted"))
        trainings = sum(one["trainings"] for one in found)
        cells = [
            str(len(found)),
            str(trainings),
            f"{trainings * each:.2f}",
            str(sum(one["promotions"] for one in found)),
            _of(kept, sum(value < 0 for value in kept)),
            _of(promoted, sum(value > 0 for value in promoted)),
        ]
        yield f"| {policy} | {' | '.join(cells)} |"


def _of(changes: Sequence[float], count: int) -> str:
    return f"{count} of {len(changes)}" + (f", all of them {mean(changes):+.1%}" if changes else "")


def _unchanged(runs: Sequence[Run]) -> Iterator[str]:
    still = [run for run in runs if run["name"] in STILL]
    if not still:
        return
    yield "\n## Where nothing changes\n\nDiamonds in random order, and the world whose drift does no harm.\n"
    yield "| | error beside never | promotions | truly worse by more than 1 % | worst |\n" + "| --- " * 5 + "|"
    for policy in _policies(still)[1:]:
        of = [run["policies"] for run in still if policy in run["policies"]]
        gain = mean(one[policy]["mean"] / one["never"]["mean"] - 1 for one in of)
        promoted = [value for one in of for value in one[policy]["promoted"]]
        worst = f"{max(promoted):+.1%}" if promoted else NONE
        yield f"| {policy} | {gain:+.1%} | {len(promoted)} | {sum(value > 0.01 for value in promoted)} | {worst} |"


def _attacks(attacks: Sequence[Run]) -> Iterator[str]:
    policies = list(attacks[0]["policies"])
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(run["seed"] for run in attacks))
    yield (
        "\n## Poisoned evidence\n\nThe evidence of one window is poisoned, in abrupt worlds the one after the first "
        f"that is unlike before; what serves the next window is scored on its clean rows. Seeds {seeds}, the worst. "
        "Harm: against what the same policy would have served had nothing been poisoned. Worse: against the champion "
        "that the poisoned challenger replaced, 0 if none was.\n"
    )
    yield f"| world | attack | {' | '.join(f'{name}: harm | worse' for name in policies)} | {OURS} said |"
    yield "| --- " * (3 + 2 * len(policies)) + "|"
    for name, kind in dict.fromkeys((run["name"], run["kind"]) for run in attacks):
        of = [run["policies"] for run in attacks if (run["name"], run["kind"]) == (name, kind)]
        cells = [f"{max(one[policy][key] for one in of):+.1%}" for policy in policies for key in ("harm", "worse")]
        said = "; or ".join(dict.fromkeys(one[OURS]["said"].removeprefix("every").lstrip(";: ") for one in of))
        yield f"| {name} | {kind} | {' | '.join(cells)} | {said} |"
    yield ""
    for policy in policies:
        worst = max(run["policies"][policy]["worse"] for run in attacks)
        yield f"- {policy}: harm in all {_harm(attacks, policy):.0%}; at worst {worst:+.1%} beside what was replaced."


def _harm(attacks: Sequence[Run], policy: str) -> float:
    return float(sum(max(run["policies"][policy]["harm"], 0.0) for run in attacks))


def _windows(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        yield f"\n### {run['name']}, seed {run['seed']}: {run['metric']}\n"
        for policy, found in run["policies"].items():
            yield f"{policy}: " + "; ".join(f"{served:.4g} {said}" for served, said, *_ in found["windows"])


PREFACE = """Written by `make bench-policy`. A fixed strategy trains on every window in one way, without triage and
gate; `before` is the project as it was on 27 November 2026. Tables and worlds that *chose* are those that defaults were
set on; the others *verified* them. Decisions 115 and 116 were set on what chose, by people who had seen what some that
verify made of the rules before. Windows are spread over a month, labels come a day late.
"""
