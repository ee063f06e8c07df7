"""What a user gets who changes nothing: labels come, and with enough of them an episode begins by itself, end to end.

Schedules, window, label delay and cool-down are the template's own; nothing drifts and no alarm rings.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from a_line import MODEL, month, upload
from e2e import denials

from demo.replay import Answer, Replay, WindowResult
from demo.stack import Stack, wait_for
from demo.windows import Row, Window
from local import LocalAws
from retrain.model.read_spec import parse_spec

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BEGIN = datetime(2026, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def aws(free_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(port=free_port, root=tmp_path_factory.mktemp("state"), fresh=True, wait_scale=0.02) as aws:
        yield aws
        assert aws.violations() == []


@pytest.fixture(scope="module")
def stack(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The application with its first model in service."""
    first = upload(month(1), aws, tmp_path_factory.mktemp("initial"))
    stack = Stack(aws, tmp_path_factory.mktemp("log") / "sam.log")
    stack.build()
    aws.set_clock(BEGIN)
    stack.deploy({"InitialDataUri": first, "RetrainOn": "evidence"})
    wait_for("a champion", stack.champion, seconds=240)
    wait_for("the bootstrap's end", lambda: closed(stack), seconds=60)
    return stack


def closed(stack: Stack) -> list[dict[str, Any]]:
    return [episode for episode in stack.episodes() if episode["status"] == "CLOSED"]


def days(count: int) -> Window:
    """So many days of rows as those that the first model has learned from."""
    rows, span = month(2).rows, timedelta(days=count)
    begin = BEGIN + 2 * HOUR
    timed = [Row(begin + span * place / len(rows), row.values, row.label) for place, row in enumerate(rows)]
    return Window("February", begin, begin + span, timed)


class Unattended(Replay):
    """A replay after which the clock goes on by the hour until an episode was opened, and has ended."""

    def _look_back(self, window: Window, following: Window | None, result: WindowResult, model: str) -> list[Answer]:
        now = window.end
        while len(self.stack.episodes()) == 1 and now < window.end + timedelta(days=3):
            now += HOUR
            self._deliver_labels(now)
            self.stack.aws.set_clock(now)
            judged = f"{now:%Y-%m-%dT%H}"

            def told(judged: str = judged) -> bool:
                at = str(self.stack.analysis("QUALITY").get("analysed_at", ""))
                return at >= judged or len(self.stack.episodes()) > 1

            wait_for("the quality monitor", told, seconds=60)
        wait_for("the episode to end", lambda: len(closed(self.stack)) == 2, seconds=240)
        return []


def test_enough_labels_begin_an_episode_at_the_templates_defaults(stack: Stack) -> None:
    run = Unattended(stack, "a line", parse_spec(MODEL, "model.toml"), [days(3)], lambda *_: None)
    run.run()
    first, second = sorted(stack.episodes(), key=lambda episode: str(episode["opened_at"]))
    assert (first["trigger"], second["asked_by"]) == ("bootstrap", "evidence")
    assert "labelled rows that nobody has learned from" in second["trigger_text"]
    assert second["outcome"] in {"promoted", "champion_kept"}, second.get("detail")
    assert second["window_start"] < second["window_end"] <= second["opened_at"]
    assert stack.alarm_state() != "ALARM"
    assert run.failed == 0
    assert denials(stack, "evidence") == []
