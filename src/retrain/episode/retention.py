"""Old models go: endpoint configs, models and packages that neither serve nor could be rolled back to.

What could be rolled back to are the models of the last promotions, as many as are kept. Everything that an older
episode made, promoted or not, is removed; its page, its evidence and its line in the ledger stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from retrain.core import names
from retrain.core.errors import InvalidSettings
from retrain.core.telemetry import logger
from retrain.episode.afterthoughts import attempt

if TYPE_CHECKING:
    from retrain.aws.ledger import Ledger
    from retrain.aws.sagemaker import SageMaker

AT_ONCE = 10  # episodes that one sweep removes the models of


@dataclass(frozen=True)
class RetentionRules:
    """How many models stay that were promoted one after the other: the champion is the first of them."""

    models: int

    def __post_init__(self) -> None:
        if self.models < 2:
            raise InvalidSettings("at least two models are kept: the champion, and one to roll back to")


def outdated(
    episodes: Iterable[Mapping[str, Any]], in_use: frozenset[str], rules: RetentionRules
) -> tuple[list[Mapping[str, Any]], frozenset[str]]:
    """The episodes whose models may go, and the names and packages that may not, though such an episode made them too.

    `episodes` are the newest first; `in_use` are the config and the package that serve. A roll-back and its
    target have one package: it counts once, and stays as long as either of them does.
    """
    old: list[Mapping[str, Any]] = []
    promoted: set[str] = set()
    kept = set(in_use)
    for item in episodes:
        package, config = item.get("model_package_arn"), item.get("endpoint_config_name")
        if len(promoted) < rules.models or item["status"] != "CLOSED" or {package, config} & in_use:
            kept.update(filter(None, (package, config)))
            if item.get("outcome") == "promoted" and package:
                promoted.add(package)
        elif (package or config) and not item.get("model_removed_at"):
            old.append(item)
    return old, frozenset(kept)


def remove_outdated(
    endpoint_name: str,
    champion: Mapping[str, Any],
    now: datetime,
    *,
    rules: RetentionRules,
    ledger: Ledger,
    sagemaker: SageMaker,
) -> list[str]:
    """The episodes whose models are gone now. A failure is counted, and the next sweep tries again.

    Nothing but the champion serves, no episode is open, and the endpoint rests.
    """
    in_use = frozenset({champion["endpoint_config_name"], champion["model_package_arn"]})
    old, kept = outdated(ledger.episodes(endpoint_name), in_use, rules)
    removed = []
    for item in reversed(old[-AT_ONCE:]):  # the oldest first
        if attempt("remove an old model", partial(_remove, item, kept, now, ledger=ledger, sagemaker=sagemaker)):
            removed.append(item["pk"].removeprefix("EPISODE#"))
    if removed:
        logger.info("old models removed", episodes=removed)
    return removed


def _remove(
    item: Mapping[str, Any], kept: frozenset[str], now: datetime, *, ledger: Ledger, sagemaker: SageMaker
) -> None:
    episode_id = item["pk"].removeprefix("EPISODE#")
    own = names.endpoint_config_name(episode_id)  # one that was adopted is another episode's, or nobody's
    if item.get("endpoint_config_name") == own and own not in kept:
        sagemaker.delete_endpoint_config(own)
        sagemaker.delete_model(own)
    package = item.get("model_package_arn")
    if package and package not in kept:
        sagemaker.delete_package(package)
    ledger.record_removed(episode_id, now)
