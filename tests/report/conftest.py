"""An episode as its files tell of it."""

from __future__ import annotations

from typing import Any

import pytest

NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def item() -> dict[str, Any]:
    return {
        "endpoint_name": "flights",
        "status": "OPEN",
        "trigger": "alarm",
        "trigger_text": f"Threshold crossed: drift_max 0.41 > 0.3 {NASTY}",
        "bootstrap": False,
        "opened_at": "2013-08-01T00:00:12Z",
        "window_start": "2013-07-01T00:00:00Z",
        "window_end": "2013-08-01T00:00:00Z",
        "model_package_arn": "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/7",
        "model_sha256": "ab" * 32,
        "task_tokens": {"never-shown"},
        "page_uri": "s3://bucket/episodes/flights-1/episode.html",
    }


@pytest.fixture
def manifest() -> dict[str, Any]:
    return {
        "bootstrap": False,
        "window": {"start": "2013-07-01T00:00:00Z", "end": "2013-08-01T00:00:00Z"},
        "rows": {
            "captured": 5500,
            "labelled": 5480,
            "train": 8200,
            "validation": 900,
            "holdout": 1100,
            "reference": 700,
        },
        "times": {
            name: [f"2013-07-{first}T06:00:00Z", f"2013-07-{last}T23:00:00Z"]
            for name, first, last in (("train", "01", "20"), ("validation", "21", "25"), ("holdout", "26", "31"))
        },
        "label_coverage": 0.9964,
        "quarantined": {"captures": {"not_json": 3}, "labels": {}, "rows": {"bad_value": 0}},
        "unseen_categories": {"carrier": ["ZZ", NASTY]},
        "unchecked": ["flipped labels: 12 of 900 labelled rows have no answer to compare with"],
        "sha256": {"train.csv": "0f" * 32, "holdout.csv": "1e" * 32},
    }


@pytest.fixture
def evaluation() -> dict[str, Any]:
    bins = [{"rows": 110, "predicted": 40.0 + 35 * n, "observed": 42.0 + 34 * n + n % 3} for n in range(10)]
    worse = [{**b, "observed": b["observed"] + 14 - 2 * n} for n, b in enumerate(bins)]
    names = ["distance", "dest", "wind_dir", NASTY, "carrier", "pressure"]
    return {
        "gate": {
            "decision": "promote",
            "reasons": [],
            "metric": "rmse",
            "direction": "min",
            "champion": 21.6,
            "challenger": 11.7,
            "difference": 9.9,
            "interval": [8.7, 11.2],
            "confidence": 0.95,
            "margin": 0.3,
            "reference": {"champion": 12.1, "challenger": 12.4, "limit": 14.5, "interval": [-0.9, 0.2]},
            "rows": {"holdout": 1100, "reference": 700},
            "candidate": "continued",
        },
        "segments": [
            segment("carrier", "UA", 420, 10.1, [8.0, 12.3]),
            segment("carrier", NASTY, 210, -2.2, [-3.9, -0.4]),
            segment("carrier", None, 60, None, None, "fewer than 100 rows"),
            segment("origin", "JFK", 380, 9.0, [6.2, 11.5]),
        ],
        "curves": {"kind": "residuals", "champion": worse, "challenger": bins},
        "importance": {
            "measure": "total_gain",
            "champion": dict(zip(names, [0.7, 0.1, 0.08, 0.05, 0.04, 0.03], strict=True)),
            "challenger": dict(zip(names, [0.55, 0.12, 0.2, 0.06, 0.04, 0.03], strict=True)),
        },
        "over_time": [{"rows": 110, "champion": 20.0 + n % 4, "challenger": 11.0 + n % 3} for n in range(10)],
        "training": {
            "candidate": "continued",
            "candidates": [
                {"name": "continued", "validation": 11.9, "rounds": 410},
                {"name": "scratch", "validation": 12.6, "rounds": 260},
                {"name": "refreshed", "validation": None, "rounds": 0, "skipped": "the budget is used up"},
            ],
        },
    }


def segment(feature: str, level: str | None, rows: int, gain: Any, interval: Any, why: Any = None) -> dict[str, Any]:
    models = (
        {"champion": 21.0, "challenger": 21.0 - gain} if gain is not None else dict.fromkeys(("champion", "challenger"))
    )
    return {
        "feature": feature,
        "level": level,
        "rows": rows,
        **models,
        "difference": gain,
        "interval": interval,
        "why": why,
    }
