"""What the loop is doing, and what it would do next: read from the ledger, the endpoint, the alarms and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from retrain.core import clock, names
from retrain.core.errors import NotDeployed
from retrain.operate.deployment import Deployment

ALARMS: tuple[str, ...] = ("DriftAlarm", "QualityAlarm", "NativeDriftAlarm", "SilenceAlarm", "QualitySilenceAlarm")
ALARMS += (
    "EndpointErrorsAlarm",
    "PredictionSanityAlarm",
    "EndpointLatencyAlarm",
    "UndeliveredEventsAlarm",
    "RejectedEventsAlarm",
)
_ANALYSIS = ("verdict", "reason", "detail", "window_start", "window_end", "analysed_at", "rows", "report_uri")
_NUMBERS = ("worst_feature", "drift_max", "threshold", "quality_max", "label_coverage")
_EPISODE = (
    "trigger",
    "trigger_text",
    "opened_at",
    "closed_at",
    "status",
    "outcome",
    "reason",
    "detail",
    "gate_summary",
    "shadow_summary",
)
_EVIDENCE = ("rows", "since", "until", "lost", "training_dollars")
_CHAMPION = ("model_package_arn", "endpoint_config_name", "since", "episode_id", "statistics_uri", "dataset_uri")


def status(deployed: Deployment) -> dict[str, Any]:
    """The endpoint's situation as a document: what serves, who holds the lock, what was seen last, what comes next.

    `attention` has a sentence for everything that a person should look at; [] is how it should be.
    """
    now, endpoint, ledger = deployed.caller().now, deployed.endpoint_name, deployed.ledger
    champion, lock = ledger.champion(endpoint), ledger.lock(endpoint)
    serving = deployed.sagemaker.endpoint(endpoint)
    owner = lock.get("owner")
    open_episode = _open_episode(deployed, str(owner), now) if owner else None
    alarms = _alarms(deployed)
    document: dict[str, Any] = {
        "stack": deployed.name,
        "endpoint": {"name": endpoint, **_serving(serving)},
        "champion": _some(champion or {}, _CHAMPION) or None,
        "lock": {"owner": owner, "expires_at": _time(lock["expires_at"])} if owner else None,
        "episode": open_episode,
        "analysis": _some(ledger.analysis(endpoint) or {}, (*_ANALYSIS, *_NUMBERS)) or None,
        "quality": _some(ledger.analysis(endpoint, of="QUALITY") or {}, (*_ANALYSIS, *_NUMBERS)) or None,
        "evidence": _some(ledger.evidence(endpoint), _EVIDENCE) or None,
        "month": _some(ledger.spent(endpoint, now), ("opened", "dollars")) or None,
        "alarms": alarms,
        "paused": ledger.paused(endpoint, now),
        "rearmed_at": _rendered(ledger.rearm_at(endpoint)),
        "time": clock.render(now),
    }
    document["next"] = following(document, deployed.parameters)
    document["attention"] = attention(document, serving)
    return document


def following(document: Mapping[str, Any], parameters: Mapping[str, str]) -> str:
    """What the loop would do next, and when, in a sentence."""
    episode, paused, now = document["episode"], document["paused"], document["time"]
    if episode:
        waits = {
            "Await Approval": "it waits for a decision in the Model Registry"
            f"{' or by a link' if parameters.get('ApproverEmail') else ''}, for "
            f"{parameters.get('ApprovalTimeoutHours')} hours at most",
            "Wait for Labels": f"it waits for labels, until {parameters.get('LabelWaitHours')} hours after its opening",
        }
        state = episode.get("state") or "its beginning"
        return f"the episode goes on from {state}" + (f": {waits[state]}" if state in waits else "")
    if document["champion"] is None:
        return "nothing is watched before there is a first model: `python -m retrain bootstrap`"
    if paused:
        until = f"until {paused['until']}" if paused.get("until") else "until `python -m retrain resume`"
        return f"alarms, the calendar and events open no episode {until}"
    if parameters.get("RetrainingEnabled") == "false":
        return "no episode is opened: RetrainingEnabled is false"
    if (rearmed := document["rearmed_at"]) and rearmed > now:
        return f"no episode is opened before {rearmed}, when the cool-down of the last one is over"
    return f"the next analysis at {parameters.get('MonitorSchedule')}; an alarm opens an episode"


def attention(document: Mapping[str, Any], serving: Mapping[str, Any] | None) -> list[str]:
    """A sentence for everything that a person should look at."""
    found = [
        f"{alarm['name']} is in ALARM since {alarm['since']}: {alarm['reason']}"
        for alarm in document["alarms"]
        if alarm["state"] == "ALARM"
    ]
    champion, episode, name = document["champion"], document["episode"], document["endpoint"]["name"]
    if champion and serving is None:
        found.append(f"{name} does not exist, although {champion['endpoint_config_name']} should serve there: restore")
    elif champion and serving and not episode and serving["EndpointConfigName"] != champion["endpoint_config_name"]:
        found.append(
            f"{name} serves {serving['EndpointConfigName']}, not the champion's {champion['endpoint_config_name']}: "
            "adopt or restore"
        )
    if serving and str(serving["EndpointStatus"]) in {"Failed", "OutOfService", "UpdateRollbackFailed"}:
        found.append(f"{name} is {serving['EndpointStatus']}: {serving.get('FailureReason') or 'no reason given'}")
    return found


def episodes(deployed: Deployment) -> list[dict[str, Any]]:
    """Every episode of the endpoint, newest first."""
    return [
        {"episode_id": item["pk"].removeprefix("EPISODE#"), **_some(item, _EPISODE)}
        for item in deployed.ledger.episodes(deployed.endpoint_name)
    ]


def show(deployed: Deployment, episode_id: str) -> dict[str, Any]:
    """All that the ledger knows of the episode but its task token; where it is, while it is open.

    Of one whose execution was cut off, also what the execution says of it: who stopped it, and why.
    """
    item = dict(_episode(deployed, episode_id))
    item.pop("task_tokens", None)
    found = {**item, "episode_id": episode_id}
    if item["status"] == "OPEN" and (state := _state(deployed, item)):
        found["state"] = state
    if str(item.get("reason", "")).startswith("execution_") and (arn := item.get("execution_arn")):
        found |= {f"execution_{key}": value for key, value in deployed.executions.why(str(arn)).items()}
    return found


def trace(deployed: Deployment, episode_id: str) -> list[dict[str, Any]]:
    """The waterfall: each state of the machine and each step of the pipeline, with its beginning and its seconds."""
    item = _episode(deployed, episode_id)
    spans: list[tuple[str, str, datetime, datetime | None]] = []
    if arn := item.get("execution_arn"):
        spans += [("state", *state) for state in deployed.executions.states(str(arn))]
    if arn := item.get("pipeline_execution_arn"):
        spans += [
            ("pipeline", str(step["StepName"]), step["StartTime"], step.get("EndTime"))
            for step in deployed.sagemaker.pipeline_steps(str(arn))
            if step.get("StartTime")
        ]
    now = deployed.caller().now
    return [
        {
            "kind": kind,
            "name": name,
            "start": clock.render(start),
            "seconds": round(((end or now) - start).total_seconds(), 1),
            "over": end is not None,
        }
        for kind, name, start, end in sorted(spans, key=lambda span: span[2])
    ]


def _open_episode(deployed: Deployment, episode_id: str, now: datetime) -> dict[str, Any]:
    item = _episode(deployed, episode_id)
    age = max(now - clock.parse(item["opened_at"]), timedelta(0))
    found = {"episode_id": episode_id, **_some(item, _EPISODE), "age_seconds": int(age.total_seconds())}
    return {**found, "state": _state(deployed, item), "waiting_for": item.get("waiting_for") or None}


def _state(deployed: Deployment, item: Mapping[str, Any]) -> str | None:
    """The state that the episode's execution is in, None where it does not run (yet)."""
    arn = item.get("execution_arn")
    states = deployed.executions.states(str(arn)) if arn else []
    return next((name for name, _, left in reversed(states) if left is None), None)


def _episode(deployed: Deployment, episode_id: str) -> Mapping[str, Any]:
    if item := deployed.ledger.episode(episode_id):
        return item
    raise NotDeployed(f"there is no episode {episode_id}: `python -m retrain episodes` lists them")


def _alarms(deployed: Deployment) -> list[dict[str, str]]:
    known = {deployed.resources[name]: name for name in ALARMS if deployed.resources.get(name)}
    return sorted(
        (
            {
                "name": known[str(alarm["AlarmName"])],
                "state": str(alarm["StateValue"]),
                "since": clock.render(alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]),
                "reason": str(alarm.get("StateReason", "")),
            }
            for alarm in deployed.cloudwatch.alarms(list(known))
        ),
        key=lambda alarm: alarm["name"],
    )


def _serving(endpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    if endpoint is None:
        return {"status": None}
    variants = endpoint.get("ProductionVariants") or [{}]
    return {
        "status": endpoint["EndpointStatus"],
        "config": endpoint["EndpointConfigName"],
        "instances": next(
            (v.get("CurrentInstanceCount") for v in variants if v.get("VariantName") == names.VARIANT), 0
        ),
    }


def _some(item: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: item[name] for name in wanted if item.get(name) not in {None, ""}}


def _time(epoch: float) -> str:
    return clock.render(clock.of_epoch(epoch))


def _rendered(moment: datetime | None) -> str | None:
    return clock.render(moment) if moment else None
