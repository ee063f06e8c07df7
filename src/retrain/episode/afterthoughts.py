"""What follows a decision and can't change it: telling people, and telling the report writer what it may draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from retrain.core import names, telemetry
from retrain.core.errors import RetrainError
from retrain.core.telemetry import logger

if TYPE_CHECKING:
    from retrain.aws.events import Bus


def attempt(what: str, act: Callable[[], object]) -> bool:
    """Whether it worked; if not, that is logged and counted, and the episode's end is none the worse for it."""
    try:
        act()
    except RetrainError as error:
        logger.warning("an afterthought failed", what=what, error=str(error))
        telemetry.count("AfterthoughtFailed", reason=what.replace(" ", "_"))
        return False
    return True


def announce(episode_id: str, endpoint_name: str, bus: Bus) -> None:
    """The report writer will hear that the ledger has news of the episode; if not, that is logged and counted."""
    detail = {"episode_id": episode_id, "endpoint_name": endpoint_name}
    attempt("announce the episode", lambda: bus.put(names.EPISODE_CHANGED, detail))


def announce_window(report_uri: str, baseline_uri: str, endpoint_name: str, bus: Bus) -> None:
    """The report writer will hear that a monitor analysed a window; a page that is not drawn changes no verdict."""
    detail = {"endpoint_name": endpoint_name, "report_uri": report_uri, "baseline_uri": baseline_uri}
    attempt("announce the window", lambda: bus.put(names.WINDOW_ANALYSED, detail))
