"""May the challenger serve? The gate's evidence is verified, then a policy or a person decides, once.

A decision is bound to one package and its SHA-256. The first one is final. A task token is kept in the ledger and
goes nowhere else: not into logs, notifications or return values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from retrain.core import clock, telemetry
from retrain.core.answers import ignored
from retrain.core.errors import InvalidSettings, MalformedEvent, NoArtifact, Permanent, Refused, Throttled
from retrain.core.telemetry import logger
from retrain.core.values import Episode, Step, moment
from retrain.core.window import Window
from retrain.episode import model_card
from retrain.episode.afterthoughts import announce, attempt
from retrain.episode.policy import ApprovalPolicy, unmet
from retrain.episode.retraining import exclusions, learnable, rows_folder
from retrain.episode.seals import container_sha256

if TYPE_CHECKING:
    from retrain.aws.events import Bus
    from retrain.aws.ledger import Ledger
    from retrain.aws.s3 import Store
    from retrain.aws.sagemaker import SageMaker
    from retrain.aws.sns import Topic
    from retrain.aws.stepfunctions import Callbacks
    from retrain.episode.approval_links import Links

EVALUATION = "EvaluateChallenger"  # the pipeline's step whose job writes evaluation.json
DECISIONS = {"Approved": "approved", "Rejected": "rejected"}
MODES = frozenset({"auto", "registry"})


@dataclass(frozen=True)
class ApprovalRules:
    """Whose challengers are judged here, and who approves: `auto` the gate alone, `registry` a person as well.

    `by_link`: approvers have links to the approval page.
    """

    endpoint_name: str
    mode: str
    account: str
    region: str
    model_package_group: str
    policy: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    by_link: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidSettings(f"the approval mode is one of {sorted(MODES)}, not {self.mode!r}")


@dataclass(frozen=True)
class Challenger:
    """What the pipeline left behind, verified."""

    package_arn: str
    package: Mapping[str, Any]
    model_data_uri: str
    model_sha256: str


def judge_challenger(
    step: Step, *, rules: ApprovalRules, ledger: Ledger, store: Store, sagemaker: SageMaker, bus: Bus
) -> dict[str, Any]:
    """`decision` is approved, await or keep_champion; the ledger knows the numbers and the package.

    NoArtifact if the pipeline's results are missing, unreadable or another episode's; Refused if the evidence does not
    support what the gate decided, or is not what the pipeline wrote. What the roll-out has to find unchanged is sealed:
    the ledger keeps its SHA-256, by URI.
    """
    episode = step.episode
    item = ledger.held(episode)
    folder = store.uri(f"episodes/{episode.episode_id}")
    uri = f"{folder}/evaluation/evaluation.json"
    text = store.read(uri)
    evaluation = _read_evaluation(text, uri)
    _require_genuine(uri, text, item, sagemaker)
    gate = evaluation["gate"]
    ledger.note(episode, gate_summary=summary(gate), shadow_summary=model_card.shadow(gate))
    spans = exclusions(ledger, episode.endpoint_name)
    verify_history(evaluation, ledger.kept_rows(episode.endpoint_name), spans)
    if rows := evaluation.get("rows_sha256"):  # whatever becomes of the challenger, its window was sound
        window = clock.parse(item["window_start"]), clock.parse(item["window_end"])
        ledger.keep_rows(episode, window, rows_folder(episode), str(rows))
    if gate["decision"] == "keep_champion":
        first = gate["reasons"][0] if gate.get("reasons") else {"code": "not_better", "detail": ""}
        detail = "; ".join(reason["detail"] for reason in gate.get("reasons", []))
        return {"decision": "keep_champion", "reason": str(first["code"]), "detail": detail[:1500]}
    verify_evidence(gate, bootstrap=episode.bootstrap)
    champion = ledger.champion(episode.endpoint_name)
    verify_descent(evaluation, champion)
    challenger = _find_challenger(item, step, rules, evaluation, sagemaker)
    baseline = {
        "statistics": f"{folder}/baseline/statistics.json",
        "constraints": f"{folder}/baseline/constraints.json",
        "quality_constraints": f"{folder}/evaluation/constraints.json",
    }
    dataset_sha256 = _sha256(evaluation, "dataset_sha256")
    seals = {
        challenger.model_data_uri: challenger.model_sha256,
        uri: sha256(text).hexdigest(),
        f"{folder}/dataset/manifest.json": dataset_sha256,
        **{file: store.sha256(file) for file in baseline.values()},
        baseline["quality_constraints"]: _sha256(evaluation, "constraints_sha256"),
    }
    ledger.note(
        episode,
        model_package_arn=challenger.package_arn,
        model_data_uri=challenger.model_data_uri,
        model_sha256=challenger.model_sha256,
        dataset_uri=f"{folder}/dataset",
        dataset_sha256=dataset_sha256,
        seals=seals,
        container_sha256=container_sha256(challenger.package),
        **{f"{name}_uri": file for name, file in baseline.items()},
    )
    _document(challenger, evaluation, episode.episode_id, champion, ledger=ledger, sagemaker=sagemaker)
    announce(episode.episode_id, episode.endpoint_name, bus)  # its page is the evidence an approver sees
    if not episode.bootstrap and (rules.mode == "registry" or _put_to_people(step, evaluation, rules, ledger)):
        return {"decision": "await"}
    policy = "policy:bootstrap" if episode.bootstrap else "policy:auto"
    if not ledger.decide(episode.episode_id, "approved", policy, step.now):
        decided = ledger.episode(episode.episode_id) or {}
        if decided.get("decision") != "approved":
            raise Refused("rejected", f"by {decided.get('decided_by')} at {decided.get('decided_at')}")
    sagemaker.set_approval(challenger.package_arn, "Approved", f"{policy}: {summary(gate)}")
    return {"decision": "approved"}


def _put_to_people(step: Step, evaluation: Mapping[str, Any], rules: ApprovalRules, ledger: Ledger) -> bool:
    """Whether the policy wants a person after all; the ledger knows why."""
    episodes = ledger.episodes(step.episode.endpoint_name) if rules.policy.most_a_week else []
    because = "; ".join(unmet(rules.policy, evaluation, episodes, step.now))
    if because:
        ledger.note(step.episode, asked_because=because)
        logger.info("put to people", because=because)
    return bool(because)


def _document(
    challenger: Challenger,
    evaluation: Mapping[str, Any],
    episode_id: str,
    champion: Mapping[str, Any] | None,
    *,
    ledger: Ledger,
    sagemaker: SageMaker,
) -> None:
    """The registry tells the challenger's lineage and shows its card. Nothing depends on it: a refusal is counted."""
    item = ledger.episode(episode_id) or {}
    origin = model_card.lineage(item, champion)
    card = model_card.model_card(evaluation, item, challenger.package, origin)
    try:
        sagemaker.describe_package(challenger.package_arn, origin, card, model_card.STATUS)
    except Permanent as error:
        logger.error("the package could not be described", error=str(error))
        telemetry.count("AfterthoughtFailed", reason="model_card")


def verify_evidence(gate: Mapping[str, Any], *, bootstrap: bool) -> None:
    """The gate's numbers support its decision to promote; Refused if any is missing, absurd or says otherwise."""
    if not _finite(gate.get("challenger")):
        raise Refused("bad_metric", f"the challenger's {gate.get('metric')} is {gate.get('challenger')}")
    if gate["decision"] == "bootstrap":
        if not bootstrap:
            raise Refused("no_champion", "the gate had no champion to compare with, and this is not a bootstrap")
        return
    if gate["decision"] != "promote":
        raise NoArtifact(f"the gate's decision is {gate['decision']!r}")
    if not _finite(gate.get("champion")):
        raise Refused("no_champion_metric", f"the champion's {gate.get('metric')} is {gate.get('champion')}")
    if gate.get("policy") == "insurance":
        _require_insured(gate)
        return
    interval = gate.get("interval")
    if not isinstance(interval, list) or len(interval) != 2 or not all(_finite(bound) for bound in interval):
        raise Refused("bad_metric", f"the interval of the difference is {interval}")
    margin = gate.get("margin") or 0.0
    if not _finite(margin) or not interval[0] > max(0.0, margin) or gate.get("reasons"):
        raise Refused("not_better", f"promoted, but the lower bound is {interval[0]} and the margin {margin}")


def _require_insured(gate: Mapping[str, Any]) -> None:
    gain, share, lost = gate.get("difference"), gate.get("trade_off"), gate.get("given_up")
    if gain is None or share is None or not _finite(gain) or not _finite(share):
        raise Refused("bad_metric", f"the gain is {gain}, and what counts of losses {share}")
    if not gain > 0 or gate.get("reasons"):
        raise Refused("not_better", f"promoted, but the gain on the holdout is {gain}")
    if lost is not None and not (_finite(lost) and share * lost <= gain):
        raise Refused("trade_off", f"promoted, but {share} of {lost}, lost on old rows, exceeds the gain of {gain}")


def verify_descent(evaluation: Mapping[str, Any], champion: Mapping[str, Any] | None) -> None:
    """The challenger was trained and judged against the champion of the ledger, and rehearsed that one's dataset."""
    for what, known in (("champion", "model_sha256"), ("reference", "dataset_sha256")):
        judged, expected = evaluation.get(f"{what}_sha256"), champion and champion.get(known)
        if judged != expected:
            raise Refused("artifact_tampered", f"the {what} of the judgement has SHA-256 {judged}, not {expected}")


def verify_history(evaluation: Mapping[str, Any], kept: Sequence[Mapping[str, Any]], spans: Sequence[Window]) -> None:
    """The old rows that were learned from are, byte for byte, what earlier episodes kept and nobody excluded since."""
    known = {item["episode_id"]: item for item in kept}
    for name, found in (evaluation.get("history_sha256") or {}).items():
        item = known.get(name)
        if item is None or item["sha256"] != found:
            expected = item["sha256"] if item else "that of any window that was kept"
            raise Refused("artifact_tampered", f"the rows of {name} have SHA-256 {found}, not {expected}")
        if not learnable(item, spans):
            raise Refused("suspect_data", f"the rows of {name} were learned from, and have been excluded since")


def summary(gate: Mapping[str, Any]) -> str:
    """The gate's numbers in a line for people.

    >>> summary({"decision": "promote", "metric": "rmse", "champion": 12.0, "challenger": 10.5, "interval": [1.0, 2.0]})
    'promote: rmse 12 -> 10.5, better by 1 to 2'
    """
    numbers = f"{gate.get('metric')} {_short(gate.get('champion'))} -> {_short(gate.get('challenger'))}"
    interval = gate.get("interval")
    between = f", better by {_short(interval[0])} to {_short(interval[1])}" if interval else ""
    reasons = "".join(f" ({reason['code']})" for reason in gate.get("reasons") or [])
    return f"{gate.get('decision')}: {numbers}{between}{reasons}"


def request_approval(
    step: Step,
    *,
    rules: ApprovalRules,
    ledger: Ledger,
    sagemaker: SageMaker,
    callbacks: Callbacks,
    topic: Topic,
    links: Links | None = None,
) -> dict[str, Any]:
    """The ledger keeps the task token and people were asked, or the decision they had made already was passed on.

    With `links`, those who approve were sent one each.
    """
    token = step.fields.get("task_token")
    if not isinstance(token, str) or not token:
        raise MalformedEvent("request_approval needs a task_token")
    episode = step.episode
    item = ledger.held(episode)
    ledger.keep_token(episode, token)
    status = str(sagemaker.model_package(item["model_package_arn"]).get("ModelApprovalStatus"))
    alone = rules.policy.eyes == 1 or status == "Rejected"
    by_link_only = rules.by_link and rules.policy.eyes == 2
    if status in DECISIONS and alone:  # somebody was quicker than this message
        ledger.decide(episode.episode_id, DECISIONS[status], "registry", step.now)
    item = ledger.held(episode)
    if decision := item.get("decision"):
        callbacks.succeed(token, {"decision": decision})
        return {"status": "decided"}
    text = "\n".join(
        [
            f"A challenger for {rules.endpoint_name} waits for your decision.",
            "",
            f"Gate           {item.get('gate_summary')}",
            *([f"Shadow         {item['shadow_summary']}"] if item.get("shadow_summary") else []),
            *([f"Because        {item['asked_because']}"] if item.get("asked_because") else []),
            *(["Approvals      two, of different people"] if rules.policy.eyes == 2 else []),
            f"Model package  {item['model_package_arn']}",
            f"SHA-256        {item['model_sha256']}",
            f"Episode        {episode.episode_id}",
            f"Report         {item.get('page_uri')}",
            f"               {item.get('page_url')}",
        ]
    )
    registry = [
        f"{'Reject' if by_link_only else 'Approve or reject'} the package in the Model Registry, for example with",
        f"aws sagemaker update-model-package --model-package-arn {item['model_package_arn']} "
        f"--model-approval-status {'Rejected' if by_link_only else 'Approved'}",
    ]
    subject = f"{rules.endpoint_name}: approve the challenger?"
    if links:
        links.send(step, item, subject, text)
        registry = ["Approvers were sent a link each.", *registry]
    attempt("notify", lambda: topic.publish(subject, "\n".join([text, "", *registry])))
    return {"status": "requested"}


def hear_decision(
    event: Mapping[str, Any],
    *,
    rules: ApprovalRules,
    ledger: Ledger,
    sagemaker: SageMaker,
    callbacks: Callbacks,
    topic: Topic,
) -> dict[str, Any]:
    """What became of a package's new approval status: the open episode's decision, or ignored and why.

    The same event comes on registration, on approval and on every later edit, perhaps twice, perhaps late. Only the
    registry's own word counts, so it is asked.
    """
    detail = event.get("detail")
    if not isinstance(detail, Mapping) or not isinstance(arn := detail.get("ModelPackageArn"), str):
        raise MalformedEvent("a model package event needs detail.ModelPackageArn")
    now = moment(event, "time")
    ours = (rules.account, rules.region, rules.model_package_group)
    said = str(detail.get("ModelApprovalStatus"))
    foreign = (event.get("account"), event.get("region"), detail.get("ModelPackageGroupName")) != ours
    if foreign or said not in DECISIONS:
        return ignored("foreign_source" if foreign else "not_a_decision")
    item, episode_id = _open_episode_of(arn, rules, ledger)
    if item is None or episode_id is None:
        serves = _is_champion(arn, rules, ledger)
        if said == "Approved" and not serves:
            _tell(topic, f"{arn} was approved, but no open episode waits for it. Nothing was deployed.")
        if said == "Rejected" and serves:
            _tell(topic, f"{arn} was rejected, and it serves. It goes on serving until another model is rolled out.")
        return ignored("no_open_episode")
    telemetry.about(episode_id)
    package = sagemaker.model_package(arn)
    if container_sha256(package) != item["container_sha256"]:
        raise Refused("artifact_tampered", f"{arn} is another container than the one that was judged")
    status, who = str(package.get("ModelApprovalStatus")), _who(package)
    if status not in DECISIONS:
        if decided := item.get("decision"):  # whoever made it may have died before it was passed on
            pass_on(episode_id, str(decided), ledger, callbacks)
        return ignored("not_a_decision")
    if rules.policy.eyes == 2 and status == "Approved" and not item.get("decision"):
        first = item.get("first_approval_by")
        if first in {None, who} or rules.by_link:
            return _half_approved(episode_id, item, who, rules=rules, ledger=ledger, sagemaker=sagemaker, topic=topic)
        who = f"{first} and {who}"
    decision = DECISIONS[status]
    if not ledger.decide(episode_id, decision, who, now):
        return _repeat(episode_id, decision, who, ledger=ledger, callbacks=callbacks, topic=topic)
    logger.info("decision made", decision=decision, by=who)
    return pass_on(episode_id, decision, ledger, callbacks)


def _half_approved(
    episode_id: str,
    item: Mapping[str, Any],
    who: str,
    *,
    rules: ApprovalRules,
    ledger: Ledger,
    sagemaker: SageMaker,
    topic: Topic,
) -> dict[str, Any]:
    """The first approval is kept, and the package waits for another person's; the same person's is none.

    Where approvers have links, the registry's are none: whether an identity and a link are two people, nobody can tell.
    """
    arn = str(item["model_package_arn"])
    if rules.by_link:
        reason, rest, why = "not_by_link", "Two people have to, by their links.", f"approved by {who}, not by link"
    else:
        episode = Episode(episode_id, str(item["endpoint_name"]), int(item["fence"]), bool(item["bootstrap"]))
        ledger.note(episode, first_approval_by=who)
        reason, rest = "first_of_two", "It needs another person's approval, too."
        why = f"first of two approvals, by {who}"
    sagemaker.set_approval(arn, "PendingManualApproval", why)
    _tell(topic, f"{arn} was approved by {who}. {rest}")
    return ignored(reason)


def pass_on(episode_id: str, decision: str, ledger: Ledger, callbacks: Callbacks) -> dict[str, Any]:
    """The waiting state knows the decision; if none waits yet, it will find the decision in the ledger.

    Of several attempts, each with a token of its own, Step Functions waits for one only, and nobody knows for which.
    """
    tokens = sorted((ledger.episode(episode_id) or {}).get("task_tokens", ()))
    woken = [callbacks.succeed(token, {"decision": decision}) for token in tokens]
    if tokens and not any(woken):
        return ignored("expired")
    return {"decision": decision, "status": "passed_on" if tokens else "recorded"}


def _repeat(
    episode_id: str, decision: str, by: str, *, ledger: Ledger, callbacks: Callbacks, topic: Topic
) -> dict[str, Any]:
    """The first decision stays. The same one again may be what is left of an attempt that died half-way."""
    item = ledger.episode(episode_id) or {}
    if item.get("decision") == decision:
        pass_on(episode_id, decision, ledger, callbacks)
    else:
        _tell(
            topic,
            f"Episode {episode_id} was {item.get('decision')} by {item.get('decided_by')} at {item.get('decided_at')}; "
            f"the first decision is final, {decision} by {by} came too late.",
        )
    return ignored("already_decided")


def _open_episode_of(arn: str, rules: ApprovalRules, ledger: Ledger) -> tuple[Mapping[str, Any] | None, str | None]:
    """The open episode that waits for the package, if there is one."""
    episode_id = ledger.open_episode_id(rules.endpoint_name)
    item = ledger.episode(episode_id) if episode_id else None
    if item is None or item.get("status") != "OPEN" or item.get("model_package_arn") != arn:
        return None, None
    return item, episode_id


def _is_champion(arn: str, rules: ApprovalRules, ledger: Ledger) -> bool:
    """Whether the package serves already; its approval is then no news."""
    return (ledger.champion(rules.endpoint_name) or {}).get("model_package_arn") == arn


def _find_challenger(
    item: Mapping[str, Any], step: Step, rules: ApprovalRules, evaluation: Mapping[str, Any], sagemaker: SageMaker
) -> Challenger:
    """The package that this episode's own pipeline execution registered."""
    arns = [
        str(arn)
        for pipeline_step in sagemaker.pipeline_steps(item["pipeline_execution_arn"])
        if (arn := pipeline_step.get("Metadata", {}).get("RegisterModel", {}).get("Arn"))
    ]
    if len(arns) != 1:
        raise NoArtifact(f"the pipeline registered {len(arns)} packages, expected one")
    package = sagemaker.model_package(arns[0])
    status = str(package.get("ModelPackageStatus"))
    if status in {"Pending", "InProgress"}:
        raise Throttled(f"{arns[0]} is still {status}")
    if status != "Completed":
        raise NoArtifact(f"{arns[0]} is {status}")
    if package.get("ModelPackageGroupName") != rules.model_package_group:
        raise NoArtifact(f"{arns[0]} is in another group")
    if package.get("CustomerMetadataProperties", {}).get("episode_id") != step.episode.episode_id:
        raise NoArtifact(f"{arns[0]} belongs to another episode")
    return Challenger(arns[0], package, _model_data(package), _sha256(evaluation, "model_sha256"))


def _sha256(evaluation: Mapping[str, Any], name: str) -> str:
    value = evaluation.get(name)
    if not isinstance(value, str) or len(value) != 64:
        raise NoArtifact(f"the evaluation has no {name} but {value!r}")
    return value


def _require_genuine(uri: str, text: bytes, item: Mapping[str, Any], sagemaker: SageMaker) -> None:
    """The file is the one that the job wrote: SageMaker keeps the job's last message, which names its SHA-256."""
    found = sha256(text).hexdigest()
    for pipeline_step in sagemaker.pipeline_steps(item["pipeline_execution_arn"]):
        if pipeline_step["StepName"] == EVALUATION and found in sagemaker.job_text(pipeline_step):
            return
    raise Refused("artifact_tampered", f"{uri} has SHA-256 {found}, which {EVALUATION} did not write")


def _model_data(package: Mapping[str, Any]) -> str:
    try:
        return str(package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    except (KeyError, IndexError, TypeError) as error:
        raise NoArtifact("the package has no model artefact") from error


def _who(package: Mapping[str, Any]) -> str:
    """Who changed the package last, as far as the registry tells."""
    by = package.get("LastModifiedBy") or {}
    identity = by.get("IamIdentity") or {}
    return str(identity.get("Arn") or by.get("UserProfileName") or "registry")


def _read_evaluation(text: bytes, uri: str) -> Mapping[str, Any]:
    try:
        evaluation = json.loads(text)
        evaluation["gate"]["decision"]
    except (ValueError, KeyError, TypeError) as error:
        raise NoArtifact(f"{uri} is not an evaluation: {error!r}") from error
    return dict(evaluation)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if _finite(value) else str(value)


def _tell(topic: Topic, text: str) -> None:
    attempt("notify", lambda: topic.publish("An approval changed nothing", text))
