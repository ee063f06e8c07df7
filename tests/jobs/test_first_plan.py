"""The first model's specification and rows are held against the deployment before anything is trained."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrain.jobs import dataset

START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def built(tmp_path: Path) -> Any:
    """`built(plan, monitor)` builds a first dataset of five weeks, whose `x` has weekends: code and message."""
    random = np.random.default_rng(1)
    times = [START + timedelta(hours=number / 2) for number in range(35 * 48)]
    x = [float(random.normal() + 2 * (time.weekday() >= 5)) for time in times]
    rows = [f"{time:%Y-%m-%dT%H:%M:%S},{value:.4f},{2 * value:.4f}" for time, value in zip(times, x, strict=True)]
    initial = tmp_path / "initial"
    initial.mkdir()
    (initial / "train.csv").write_text("\n".join(["when,x,y", *rows]) + "\n")

    def build(plan: dict[str, float], monitor: str = "") -> tuple[int, str]:
        (initial / "model.toml").write_text(
            f"""
[model]
label = "y"
task = "regression"
metric = "rmse"
time = "when"
[features]
x = "numeric"
[hyperparameters]
objective = "reg:squarederror"
num_boost_round = 5
[monitor]
{monitor}
"""
        )
        folders = {name: tmp_path / name for name in ("captures", "labels", "history", "output", "rows", "message")}
        for name in ("captures", "labels", "history"):
            folders[name].mkdir(exist_ok=True)
        paths = {**folders, "reference": initial}
        texts = {"window-start": "x", "window-end": "x", "episode-id": "e", "bootstrap": "true"}
        options = [part for name, value in {**paths, **texts}.items() for part in (f"--{name}", str(value))]
        return dataset.main([*options, "--plan", json.dumps(plan)]), folders["message"].read_text()

    return build


def test_a_deployment_that_fits_is_not_worth_a_word(built: Any) -> None:
    code, message = built({})
    assert code == 0
    assert "KeepDataDays" not in message


def test_labels_that_come_after_their_captures_are_gone_are_refused(built: Any) -> None:
    code, message = built({"keep": 96.0}, "label_delay_hours = 200")
    assert code == 1
    assert message.startswith("InvalidSpec: after the first model nothing would ever be trained: KeepDataDays 4")
    assert "LabelDelayHours 200" in message


def test_a_week_that_the_rows_show_and_nobody_keeps_is_said(built: Any) -> None:
    code, message = built({"keep": 120.0})
    assert code == 0
    assert "KeepDataDays 5, a cycle of 168 hours" in message
