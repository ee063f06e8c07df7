"""Which old models may go, and which stay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.core.errors import InvalidSettings
from retrain.episode.retention import RetentionRules, outdated


def item(name: str, package: str | None, outcome: str = "promoted", **more: Any) -> dict[str, Any]:
    made = {"model_package_arn": package, "endpoint_config_name": name} if package else {}
    return {"pk": f"EPISODE#{name}", "status": "CLOSED", "outcome": outcome, **made, **more}


def ids(items: Any) -> list[str]:
    return [found["pk"].removeprefix("EPISODE#") for found in items]


HISTORY = [item(f"e{n}", f"p{n}") for n in range(6, 0, -1)]
SERVES = frozenset({"e6", "p6"})


@pytest.mark.parametrize(
    ("episodes", "in_use", "models", "gone"),
    [
        (HISTORY, SERVES, 2, ["e4", "e3", "e2", "e1"]),
        (HISTORY, SERVES, 6, []),
        ([], SERVES, 2, []),
        # what was not promoted goes with the promotions around it
        ([HISTORY[0], item("r", "pr", "refused"), *HISTORY[1:]], SERVES, 2, ["e4", "e3", "e2", "e1"]),
        ([*HISTORY[:3], item("r", "pr", "refused"), *HISTORY[3:]], SERVES, 2, ["e4", "r", "e3", "e2", "e1"]),
        # an episode that made nothing, and one whose model is gone already
        ([*HISTORY[:3], item("k", None, "champion_kept")], SERVES, 2, ["e4"]),
        ([*HISTORY[:2], item("e4", "p4", model_removed_at="2026"), HISTORY[3]], SERVES, 2, ["e3"]),
        # an old model serves, adopted or not
        (HISTORY, frozenset({"e2", "p2"}), 2, ["e4", "e3", "e1"]),
        # an old episode that is still open
        ([*HISTORY[:4], item("e2", "p2", status="OPEN")], SERVES, 2, ["e4", "e3"]),
        # rolled back twice between two models: the one before them is still there
        ([item("b2", "p5"), item("b1", "p6"), *HISTORY], frozenset({"b2", "p5"}), 3, ["e3", "e2", "e1"]),
    ],
)
def test_what_is_outdated(episodes: Any, in_use: frozenset[str], models: int, gone: list[str]) -> None:
    assert ids(outdated(episodes, in_use, RetentionRules(models))[0]) == gone


def test_a_package_that_a_kept_episode_shares_stays() -> None:
    rolled_back = [item("b", "p1"), *HISTORY]
    old, kept = outdated(rolled_back, frozenset({"b", "p1"}), RetentionRules(2))
    assert "e1" not in ids(old)  # its package serves
    assert "p1" in kept


@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["promoted", "refused", "failed"])), max_size=20),
    st.integers(2, 6),
    st.data(),
)
def test_what_serves_and_the_last_promoted_models_always_stay(history: Any, models: int, data: Any) -> None:
    episodes = [item(f"e{number}", f"p{package}", outcome) for number, (package, outcome) in enumerate(history)]
    serving = data.draw(st.sampled_from(episodes)) if episodes else item("e", "p")
    in_use = frozenset({serving["endpoint_config_name"], serving["model_package_arn"]})
    old, kept = outdated(episodes, in_use, RetentionRules(models))
    removed = {found["model_package_arn"] for found in old} - kept
    last = list(dict.fromkeys(e["model_package_arn"] for e in episodes if e["outcome"] == "promoted"))[:models]
    assert not removed & {*last, serving["model_package_arn"]}
    assert serving["endpoint_config_name"] not in {found["endpoint_config_name"] for found in old} - kept


def test_less_than_two_can_not_be_kept() -> None:
    with pytest.raises(InvalidSettings, match="one to roll back to"):
        RetentionRules(1)
