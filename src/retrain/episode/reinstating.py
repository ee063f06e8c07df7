"""A model that was judged before serves again, or what serves is taken for the champion: asked for by an operator.

Nothing is trained, and nothing judged anew: what an earlier episode sealed is this episode's, word for word, and the
roll-out checks it byte for byte as it checks a challenger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retrain.core.errors import EndpointBroken, EndpointBusy, Refused
from retrain.core.telemetry import logger
from retrain.core.values import Step
from retrain.episode.rollout import CHANGING

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker

# What an episode is promoted with: its model, its baseline, its dataset, and the seals of them all.
JUDGED = (
    "model_package_arn",
    "model_data_uri",
    "model_sha256",
    "dataset_uri",
    "dataset_sha256",
    "statistics_uri",
    "constraints_uri",
    "quality_constraints_uri",
    "seals",
    "container_sha256",
)


def reinstate_model(step: Step, *, ledger: Ledger) -> dict[str, Any]:
    """The episode is about to roll out what an earlier one was promoted with, and is approved by who asked for it.

    Which one: `target`, or, to restore the champion, the one that made it. Refused("unknown_model") if that one never
    served here.
    """
    item = ledger.held(step.episode)
    target = item.get("target") or (ledger.champion(step.episode.endpoint_name) or {}).get("episode_id")
    _take_over(step, item, _promoted(str(target), step, ledger), ledger)
    return {"status": "reinstated", "target": target}


def adopt_what_serves(step: Step, *, ledger: Ledger, sagemaker: SageMaker) -> dict[str, Any]:
    """The episode is about to make the model that serves now the champion, with the baseline of its own training.

    EndpointBusy while it changes; Refused("unknown_model") if no episode of this ledger made it: without what it was
    trained on, nothing can be compared with it.
    """
    item = ledger.held(step.episode)
    name = step.episode.endpoint_name
    endpoint = sagemaker.endpoint(name)
    if endpoint is None:
        raise EndpointBroken(f"{name} does not exist: nothing serves that could be adopted")
    status, config = str(endpoint["EndpointStatus"]), str(endpoint["EndpointConfigName"])
    if status in CHANGING:
        raise EndpointBusy(f"{name} is {status}")
    if status != "InService":
        raise EndpointBroken(f"{name} is {status}: {endpoint.get('FailureReason') or 'no reason given'}")
    # A config is named after the episode that made it.
    _take_over(step, item, _promoted(config, step, ledger), ledger, endpoint_config_name=config)
    return {"status": "adopted", "endpoint_config": config}


def _promoted(episode_id: str, step: Step, ledger: Ledger) -> Mapping[str, Any]:
    found = ledger.episode(episode_id)
    if found is None or found.get("endpoint_name") != step.episode.endpoint_name or not found.get("seals"):
        raise Refused("unknown_model", f"no episode {episode_id} of this ledger has a model that was judged")
    if removed := found.get("model_removed_at"):
        raise Refused("unknown_model", f"the model of {episode_id} was removed at {removed}: later ones were promoted")
    return found


def _take_over(step: Step, item: Mapping[str, Any], source: Mapping[str, Any], ledger: Ledger, **more: str) -> None:
    judged = {name: source[name] for name in JUDGED if name in source}
    version = str(source["model_package_arn"]).rpartition("/")[2]
    summary = f"{item['asked']}: version {version}, judged as {source.get('gate_summary') or 'the first model'}"
    ledger.note(step.episode, **judged, **more, gate_summary=summary[:1000])
    ledger.decide(step.episode.episode_id, "approved", f"operator:{item.get('asked_by') or 'unknown'}", step.now)
    logger.info("model taken over", asked=item["asked"], model_package_arn=source["model_package_arn"])
