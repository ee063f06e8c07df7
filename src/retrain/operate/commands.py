"""The operator's part of the command line. Exit codes: 0 done, or all is well; 1 something needs a person; 2 the loop
did not do what was asked, and says why; 3 bad input, or no such stack.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from retrain.aws.calls import client
from retrain.core import clock
from retrain.core.errors import Refused
from retrain.model.read_spec import read_spec
from retrain.model.spec import DatasetOptions
from retrain.operate import cost, doctor, invoke, overview, requests, words
from retrain.operate.deployment import STACK, Clients, Deployment, find

WELL, NEEDS_A_PERSON, NOT_DONE = 0, 1, 2


def add_to(commands: Any) -> None:
    """The operator's commands are among `commands`."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--stack", default=STACK, metavar="NAME", help=f"the stack's name or id ({STACK})")
    shared.add_argument("--region", metavar="REGION", help="as the AWS CLI has it")
    shared.add_argument("--profile", metavar="PROFILE", help="as the AWS CLI has it")
    shared.add_argument("--json", action="store_true", help="say it as JSON")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, parents=[shared], help=text, description=text)
        parser.set_defaults(command=command)
        return parser

    def asking(name: str, text: str, *, reason: bool = True) -> argparse.ArgumentParser:
        parser = add(name, _ask, text)
        parser.set_defaults(request=name)
        if reason:
            parser.add_argument("--reason", required=True, metavar="TEXT", help="kept with what it leads to")
        return parser

    add("status", _status, "what the loop is doing, and what it would do next")
    add("episodes", _episodes, "every episode, the newest first")
    for name, command, text in (
        ("show", _show, "all that is known of an episode"),
        ("trace", _trace, "where an episode's time went: its states and its pipeline's steps"),
    ):
        add(name, command, text).add_argument("episode", metavar="EPISODE")
    examined = add("doctor", _doctor, "what is wrong with a deployed stack, or with an account, and remedies")
    examined.add_argument(
        "--account",
        nargs="*",
        type=parameter,
        metavar="PARAMETER=VALUE",
        help="of the account, before a stack with these parameters is deployed",
    )
    costs = commands.add_parser("cost", help="what a stack costs a month, and its episodes", description=cost.__doc__)
    costs.add_argument(
        "parameters", nargs="*", type=parameter, metavar="PARAMETER=VALUE", help="of the template, beside its defaults"
    )
    costs.add_argument("--model", type=Path, metavar="model.toml", help="whose [dataset] cycle_hours apply (0: a day)")
    costs.set_defaults(command=_cost)
    asking("bootstrap", "train the first model", reason=False)
    retrain = asking("retrain", "an episode now, through the same gate as any")
    retrain.add_argument("--from", dest="start", metavar="TIME", help="first moment of the window")
    retrain.add_argument("--to", dest="end", metavar="TIME", help="first moment after the window")
    rollback = asking("rollback", "an earlier model serves again, with its baseline")
    rollback.add_argument("--to", dest="version", metavar="VERSION", help="of the model package; the one before")
    asking("adopt", "what serves now is the champion, with its baseline")
    asking("restore", "the champion serves again")
    pause = asking("pause", "no alarm, calendar or event opens an episode")
    pause.add_argument("--until", metavar="TIME", help="a time, or how long: 90m, 12h, 3d; else until resumed")
    asking("resume", "episodes are opened again", reason=False)
    exclude = asking("exclude", "nothing is learned any more from a bad window")
    exclude.add_argument("window", metavar="EPISODE|START/END", help="an episode's, or two times with a slash between")
    add("stop", _stop, "the open episode ends; its pipeline is stopped").add_argument(
        "--reason", required=True, metavar="TEXT", help="kept with its execution, and shown by show"
    )
    add("env", _env, "a template of the deployed functions for `sam local invoke`, on standard output").add_argument(
        "--endpoint-url",
        metavar="URL",
        default=os.environ.get("AWS_ENDPOINT_URL"),
        help="where containers reach the embedded AWS (AWS_ENDPOINT_URL)",
    )
    event = add("event", _event, "a file of events/ with this stack's names, on standard output")
    event.add_argument("file", type=Path, metavar="FILE")


def _clients(options: argparse.Namespace) -> Clients:
    if options.profile:
        os.environ["AWS_PROFILE"] = options.profile
    if options.region:
        os.environ["AWS_DEFAULT_REGION"] = options.region
    return client


def _deployed(options: argparse.Namespace) -> Deployment:
    return find(_clients(options), options.stack)


def _say(options: argparse.Namespace, document: Any, lines: Iterable[str]) -> None:
    text = json.dumps(document, indent=2, sort_keys=True, default=_plain) if options.json else "\n".join(lines)
    print(text)


def _plain(value: Any) -> Any:
    """What JSON has no word for: the ledger's sets, and findings."""
    return sorted(value) if isinstance(value, set | frozenset) else vars(value)


def _status(options: argparse.Namespace) -> int:
    document = overview.status(_deployed(options))
    _say(options, document, words.status(document))
    return NEEDS_A_PERSON if document["attention"] else WELL


def _episodes(options: argparse.Namespace) -> int:
    found = overview.episodes(_deployed(options))
    _say(options, found, words.episodes(found))
    return WELL


def _show(options: argparse.Namespace) -> int:
    item = overview.show(_deployed(options), options.episode)
    _say(options, item, words.fields(item))
    return WELL


def _trace(options: argparse.Namespace) -> int:
    spans = overview.trace(_deployed(options), options.episode)
    _say(options, spans, words.waterfall(spans))
    return WELL


def parameter(text: str) -> tuple[str, str]:
    """Name and value of a parameter of the template."""
    name, equals, value = text.partition("=")
    if not (name.isalnum() and equals):
        raise argparse.ArgumentTypeError(f"{text} is no PARAMETER=VALUE, as WindowHours=24 is")
    return name, value


def _doctor(options: argparse.Namespace) -> int:
    if options.account is not None:
        found = doctor.examine_account(_clients(options), dict(options.account))
    else:
        found = doctor.examine(_deployed(options))
    _say(options, found, words.findings(found))
    return NEEDS_A_PERSON if any(finding.level == "error" for finding in found) else WELL


def _cost(options: argparse.Namespace) -> int:
    cycle = (read_spec(options.model).dataset if options.model else DatasetOptions()).cycle_hours
    print("\n".join(cost.bill(dict(options.parameters), cycle)))
    return WELL


def _ask(options: argparse.Namespace) -> int:
    deployed = _deployed(options)
    detail = {"reason": getattr(options, "reason", "")}
    try:
        if options.request == "pause" and options.until:
            detail["until"] = clock.render(requests.moment_of(options.until, deployed.caller().now))
        if options.request == "retrain":
            for name, text in (("window_start", options.start), ("window_end", options.end)):
                detail[name] = clock.render(clock.parse(text)) if text else ""
        if options.request == "exclude":
            detail |= requests.bad_window(options.window)
    except ValueError as error:
        raise Refused("malformed_event", f"{error}: write a time with its zone, 2026-11-22T14:00:00Z") from error
    if options.request == "rollback":
        detail["target"] = requests.version_to_return_to(deployed, options.version)
    answer = requests.ask(deployed, options.request, **detail)
    _say(options, answer, words.answer(answer))
    return WELL if answer["action"] in {"opened", "done"} else NOT_DONE


def _stop(options: argparse.Namespace) -> int:
    deployed = _deployed(options)
    episode_id = deployed.ledger.open_episode_id(deployed.endpoint_name)
    item = deployed.ledger.episode(episode_id) if episode_id else None
    if not item or not item.get("execution_arn"):
        print("no episode is open", file=sys.stderr)
        return NOT_DONE
    deployed.executions.stop(str(item["execution_arn"]), f"{options.reason} ({deployed.caller().arn})")
    answer = {"action": "done", "episode_id": episode_id}
    _say(options, answer, words.answer(answer))
    return WELL


def _env(options: argparse.Namespace) -> int:
    print(json.dumps(invoke.functions_template(_deployed(options), options.endpoint_url), indent=2))
    return WELL


def _event(options: argparse.Namespace) -> int:
    print(json.dumps(invoke.event_here(json.loads(options.file.read_text()), _deployed(options)), indent=2))
    return WELL
