"""What is wrong with a deployed stack, or would be, and how to mend it. Nothing is written.

A check looks at one thing and returns findings: `ok`, `warning`, `error`, or `unknown` where the credentials at hand
may not look, or the API is not there. Every finding but an `ok` has a remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from retrain.aws.calls import classified
from retrain.core import clock, names
from retrain.core.enough import Conflict, Plan, conflicts, plan_of, rows_in
from retrain.core.errors import RetrainError
from retrain.model.spec import TrainingOptions
from retrain.operate.cost import Post, episodes, interval, standing
from retrain.operate.deployment import Clients, Deployment


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    level: str
    text: str
    remedy: str = ""


def examine(deployed: Deployment) -> list[Finding]:
    """What every check of a deployed stack found; one that may not look finds `unknown`."""
    checks: list[Callable[[Deployment], Iterator[Finding]]] = [
        _endpoint,
        _captures,
        row_findings,
        _labels,
        _people,
        _schedules,
        _roles,
        _key,
        _image,
    ]
    found = [finding for check in checks for finding in _looked(check, deployed)]
    found += consistency(deployed.parameters)
    return [*found, *_quotas(deployed.clients, deployed.parameters), cost(deployed.parameters)]


def examine_account(clients: Clients, parameters: Mapping[str, str]) -> list[Finding]:
    """What an account lacks, looked at before a stack with these parameters is deployed to it."""
    return [*consistency(parameters), *_quotas(clients, parameters), *_images(clients, parameters), cost(parameters)]


def consistency(parameters: Mapping[str, str]) -> list[Finding]:
    """Which of the parameters contradict each other, so that something never trains or never tells.

    >>> consistency({"LabelDelayHours": "72", "LabelWaitHours": "24", "WindowHours": "24"})[0].level
    'warning'
    """
    found = [_finding(conflict) for conflict in conflicts(plan_of(parameters))]
    delay, cooldown = _number(parameters, "LabelDelayHours", 24), _number(parameters, "CooldownHours", 6)
    every = interval(parameters.get("MonitorSchedule", "rate(5 minutes)"))
    silence = _number(parameters, "MonitorSilenceHours", 2)
    if every is not None and silence < every:
        longest = 168  # CloudWatch looks back a week
        remedy = (
            f"MonitorSilenceHours={int(every) + 1}" if every < longest else "MonitorSchedule once a week or oftener"
        )
        found.append(Finding("silence", "error", f"an analysis every {every:g} hours is called silence", remedy))
    quality = _number(parameters, "QualitySilenceHours", 48)
    if 0 < quality <= delay + cooldown:
        found.append(
            Finding(
                "silence of labels",
                "error",
                f"after an episode there is nothing to judge for {delay + cooldown:g} hours, {quality:g} are silence",
                f"QualitySilenceHours={int(delay + cooldown) + 1}, or 0 for no such alarm",
            )
        )
    if parameters.get("RetrainingEnabled") == "false":
        found.append(Finding("kill switch", "warning", "no episode is opened", "deploy with RetrainingEnabled=true"))
    if not found:
        found.append(Finding("parameters", "ok", "they don't contradict each other"))
    return found


def cost(parameters: Mapping[str, str]) -> Finding:
    """What a month costs while nothing is trained, and what the episodes add at most, by prices that nobody checked.

    >>> cost({"EndpointInstanceType": "ml.m5.large", "MetricFeatures": "20"}).text.split("; ")[0]
    'about 107 dollars a month, by unchecked prices (endpoint 83.95, metrics 20.70, monitors 0.23, alarms 0.70, key \
1.00), and episodes 2.33'
    """
    posts, more = standing(parameters), episodes(parameters)
    parts = ", ".join(f"{post.name} {_dollars(post)}" for post in posts)
    text = (
        f"about {sum(post.dollars or 0.0 for post in posts):.0f} dollars a month, by unchecked prices ({parts}), and "
        f"episodes {_dollars(more)}; the AWS Pricing Calculator knows your region's"
    )
    if more.dollars is None:
        remedy = "add the instance types to src/retrain/core/prices.py, or MonthlyDollars=0"
        return Finding("cost", "warning", f"{text}; MonthlyDollars does not count what has no price", remedy)
    return Finding("cost", "ok", text)


def _dollars(post: Post) -> str:
    return f"unknown, of {post.text}" if post.dollars is None else f"{post.dollars:.2f}"


def _looked(check: Callable[[Deployment], Iterator[Finding]], deployed: Deployment) -> Iterator[Finding]:
    name = check.__name__.strip("_").removesuffix("_findings").replace("_", " ")
    try:
        yield from check(deployed)
    except RetrainError as error:
        yield Finding(
            name, "unknown", f"could not be looked at: {error}", "give these credentials docs/operating.md's policy"
        )


def _endpoint(deployed: Deployment) -> Iterator[Finding]:
    name, champion = deployed.endpoint_name, deployed.ledger.champion(deployed.endpoint_name)
    endpoint = deployed.sagemaker.endpoint(name)
    if endpoint is None:
        if champion:
            yield Finding("endpoint", "error", f"{name} does not exist", "python -m retrain restore")
        else:
            yield Finding("endpoint", "warning", f"{name} has no model yet", "python -m retrain bootstrap")
        return
    config = deployed.sagemaker.endpoint_config(str(endpoint["EndpointConfigName"])) or {}
    if endpoint["EndpointStatus"] != "InService":
        why = endpoint.get("FailureReason") or "no reason given"
        yield Finding("endpoint", "error", f"{name} is {endpoint['EndpointStatus']}: {why}", "python -m retrain status")
    elif champion and champion["endpoint_config_name"] != endpoint["EndpointConfigName"]:
        serves = f"{name} serves {endpoint['EndpointConfigName']}, not the champion"
        yield Finding("endpoint", "error", serves, "python -m retrain adopt, or restore")
    else:
        yield Finding("endpoint", "ok", f"{name} serves {endpoint['EndpointConfigName']}")
    variants = endpoint.get("ProductionVariants") or []
    if [variant.get("VariantName") for variant in variants] != [names.VARIANT] or config.get("AsyncInferenceConfig"):
        remedy = f"one variant named {names.VARIANT} on instances"
        yield Finding("endpoint type", "error", f"{name} can't be updated blue/green", remedy)
    capture = config.get("DataCaptureConfig") or {}
    wanted = deployed.store.uri("capture")
    if not capture.get("EnableCapture") or not str(capture.get("DestinationS3Uri", "")).startswith(wanted):
        remedy = "python -m retrain restore, which deploys the champion with the stack's config"
        yield Finding("data capture", "error", f"requests are not captured to {wanted}: nothing can drift", remedy)
    elif capture.get("InitialSamplingPercentage") != 100:
        share = f"{capture.get('InitialSamplingPercentage')} % of the requests are captured"
        yield Finding("data capture", "warning", share, "python -m retrain restore")
    else:
        yield Finding("data capture", "ok", f"every request is captured to {wanted}")


def row_findings(deployed: Deployment) -> Iterator[Finding]:
    """Whether the traffic gives an episode its rows, and what else does not fit together by what monitors have seen."""
    plan = _seen(deployed)
    if plan is None or (hours := rows_in(plan)) is None:
        return
    known = set(map(str, conflicts(plan_of(deployed.parameters))))
    told = [_finding(conflict) for conflict in conflicts(plan) if str(conflict) not in known]
    yield from told
    if not any(finding.check == "rows" for finding in told):
        said = f"an episode learns from {plan.rows} labelled rows, which is {hours:.0f} hours of this traffic"
        yield Finding("rows", "ok", said)


def _seen(deployed: Deployment) -> Plan | None:
    """The deployment's plan with what the champion asks for, and the traffic; None before both monitors have looked."""
    drift = deployed.ledger.analysis(deployed.endpoint_name) or {}
    quality = deployed.ledger.analysis(deployed.endpoint_name, of="QUALITY") or {}
    if not drift.get("rows") or not quality.get("needed_rows"):
        return None
    window = (clock.parse(drift["window_end"]) - clock.parse(drift["window_start"])) / timedelta(hours=1)
    plan = plan_of(deployed.parameters)
    return replace(
        plan,
        delay=float(quality.get("label_delay_hours", plan.delay)),
        reach=float(quality.get("needed_reach", plan.reach)),
        cycle=float(quality.get("cycle_hours", plan.cycle)),
        rows=int(quality["needed_rows"]),
        labelled=float(quality.get("label_coverage") or 1.0),
        traffic=drift["rows"] / window,
    )


def _finding(conflict: Conflict) -> Finding:
    level = "error" if conflict.never else "warning"
    return Finding(conflict.check, level, f"{conflict.parameters}: {conflict.text}", conflict.remedy)


def _captures(deployed: Deployment) -> Iterator[Finding]:
    champion, now = deployed.ledger.champion(deployed.endpoint_name), deployed.caller().now
    if champion is None:
        return
    window = timedelta(hours=_number(deployed.parameters, "WindowHours", 24))
    since = max(now - window, clock.parse(champion["since"]))
    found = deployed.store.keys_between(f"capture/{deployed.endpoint_name}/{names.VARIANT}", since, now)
    if found:
        yield Finding("requests", "ok", f"captured last in {found[-1].rpartition('/')[0]}")
    else:
        yield Finding("requests", "warning", f"none was captured since {clock.render(since)}", "send requests to it")


def _labels(deployed: Deployment) -> Iterator[Finding]:
    now = deployed.caller().now
    span = timedelta(hours=max(_number(deployed.parameters, "QualitySilenceHours", 48), 24))
    found = deployed.store.keys_between("labels", now - span, now)
    if found:
        yield Finding("labels", "ok", f"came last to {found[-1].rpartition('/')[0]}")
    elif deployed.ledger.champion(deployed.endpoint_name):
        where = deployed.store.uri(f"labels/{now:%Y/%m/%d/%H}/")
        key = deployed.outputs.get("KeyArn", deployed.resources["DataKey"])
        remedy = f"write them to {where} (docs/data.md); their writer needs s3:PutObject there and the key {key}"
        yield Finding("labels", "error", f"none came since {clock.render(now - span)}: nothing can be trained", remedy)


def _people(deployed: Deployment) -> Iterator[Finding]:
    topic, found = deployed.outputs["NotificationsTopicArn"], []
    for each in sorted({topic, *deployed.of_type("AWS::SNS::Topic").values()}):  # approvers have topics of their own
        with classified("sns:ListSubscriptionsByTopic"):
            found += deployed.clients("sns").list_subscriptions_by_topic(TopicArn=each)["Subscriptions"]
    waiting = [item["Endpoint"] for item in found if not str(item["SubscriptionArn"]).startswith("arn:")]
    asks = deployed.parameters.get("ApprovalMode") == "registry"
    if waiting:
        remedy = "its owner follows the link in the mail of AWS Notifications, within three days"
        yield Finding("people", "error", f"the subscription of {', '.join(waiting)} is not confirmed", remedy)
    elif not found:
        level = "error" if asks else "warning"
        yield Finding(
            "people", level, "nobody hears of anything", f"subscribe to {topic}, or deploy with NotificationEmail"
        )
    else:
        yield Finding("people", "ok", f"{len(found)} subscribed and confirmed")


def _schedules(deployed: Deployment) -> Iterator[Finding]:
    events, off = deployed.clients("events"), []
    for name, physical in deployed.of_type("AWS::Events::Rule").items():
        with classified("events:DescribeRule"):
            if events.describe_rule(Name=physical.rpartition("/")[2])["State"] != "ENABLED":
                off.append(name)
    alarms = deployed.cloudwatch.alarms(list(deployed.of_type("AWS::CloudWatch::Alarm").values()))
    quiet = [alarm["AlarmName"] for alarm in alarms if alarm.get("ActionsEnabled") is False]
    if off:
        yield Finding("rules", "error", f"disabled: {', '.join(off)}", "aws events enable-rule, or deploy again")
    if quiet:
        yield Finding("alarms", "error", f"without actions: {', '.join(quiet)}", "aws cloudwatch enable-alarm-actions")
    if not off and not quiet:
        yield Finding("rules and alarms", "ok", "all are enabled")


def _roles(deployed: Deployment) -> Iterator[Finding]:
    iam, gone = deployed.clients("iam"), []
    for name, physical in deployed.of_type("AWS::IAM::Role").items():
        try:
            with classified("iam:GetRole"):
                iam.get_role(RoleName=physical.rpartition("/")[2])
        except RetrainError as error:
            if "NoSuchEntity" not in str(error):
                raise
            gone.append(name)
    if gone:
        yield Finding("roles", "error", f"deleted by hand: {', '.join(gone)}", "deploy again")
    else:
        yield Finding("roles", "ok", "all are there")


def _key(deployed: Deployment) -> Iterator[Finding]:
    with classified("kms:DescribeKey"):
        key = deployed.clients("kms").describe_key(KeyId=deployed.resources["DataKey"])["KeyMetadata"]
    if key["KeyState"] == "Enabled":
        yield Finding("key", "ok", key["Arn"])
    else:
        yield Finding("key", "error", f"{key['Arn']} is {key['KeyState']}", "aws kms cancel-key-deletion, enable-key")


def _image(deployed: Deployment) -> Iterator[Finding]:
    yield from _images(deployed.clients, deployed.parameters)


def _images(clients: Clients, parameters: Mapping[str, str]) -> Iterator[Finding]:
    uri = parameters.get("XGBoostImageUri", "")
    found = re.fullmatch(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+/([^:@]+)[:@](.+)", uri)
    if not found:
        yield Finding("image", "error", f"{uri or 'none'} is no image", "XGBoostImageUri: see README")
        return
    which = {"imageDigest": found[4]} if found[4].startswith("sha256:") else {"imageTag": found[4]}
    try:
        with classified("ecr:BatchGetImage"):
            answer = clients("ecr").batch_get_image(registryId=found[1], repositoryName=found[3], imageIds=[which])
    except RetrainError as error:
        yield Finding("image", "unknown", f"{uri}: {error}", "look whether the account and the region are right")
        return
    if answer["images"]:
        yield Finding("image", "ok", uri)
    else:
        yield Finding("image", "error", f"{uri} is not there", "take a tag that AWS lists for your region")


def _quotas(clients: Clients, parameters: Mapping[str, str]) -> list[Finding]:
    """Whether SageMaker's quotas allow the instances; blue/green needs twice the fleet."""
    fleet = 2 * int(_number(parameters, "EndpointInstanceCount", 1))
    jobs = len(TrainingOptions().candidates) if parameters.get("CandidateJobs") == "each" else 1
    training = "spot training job usage" if parameters.get("TrainingUseSpot") == "true" else "training job usage"
    needed = {
        f"{parameters.get('EndpointInstanceType', 'ml.m5.large')} for endpoint usage": fleet,
        f"{parameters.get('TrainingInstanceType', 'ml.m5.xlarge')} for {training}": jobs
        * int(_number(parameters, "TrainingInstanceCount", 1)),
        f"{parameters.get('ProcessingInstanceType', 'ml.m5.xlarge')} for processing job usage": 1,
    }
    try:
        with classified("servicequotas:ListServiceQuotas"):
            pages = clients("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
            allowed = {item["QuotaName"]: item["Value"] for page in pages for item in page["Quotas"]}
    except RetrainError as error:
        return [Finding("quotas", "unknown", f"could not be read: {error}", "look in the Service Quotas console")]
    found = [
        Finding("quotas", "error", f"{name}: {allowed[name]:.0f}, needed {count}", "ask for more in Service Quotas")
        for name, count in needed.items()
        if name in allowed and allowed[name] < count
    ]
    if unknown := [name for name in needed if name not in allowed]:
        text = f"SageMaker lists no quota {', '.join(unknown)}"
        found.append(Finding("quotas", "unknown", text, "look whether the instance type exists in this region"))
    return found or [
        Finding("quotas", "ok", ", ".join(f"{name}: {count} of {allowed[name]:.0f}" for name, count in needed.items()))
    ]


def _number(parameters: Mapping[str, Any], name: str, default: float) -> float:
    return float(parameters.get(name, default))
