"""What the quality of a window's answers is to be expected to be, before their labels come.

A sample of the window's captures is enough: what is read of them is bounded.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from retrain.capture import records
from retrain.capture.quarantine import Quarantine
from retrain.core import clock, names
from retrain.core.telemetry import logger
from retrain.core.window import Window
from retrain.quality.asked import read_asked
from retrain.quality.estimate import Estimate, estimate

if TYPE_CHECKING:
    from retrain.aws.cloudwatch import CloudWatch
    from retrain.aws.s3 import Store
    from retrain.quality.estimate import Estimator
    from retrain.quality.verdict import QualityBaseline

MOST_BYTES = 2**23  # of captures that an estimate is made of
_FILES = 48  # that are read of many, evenly spread over the window


def expect(known: Estimator, window: Window, endpoint: str, store: Store) -> Estimate:
    """The estimate of the window's answers, of every so many-th capture of every so many-th file."""
    files = store.files_between(f"capture/{endpoint}/{names.VARIANT}", *window)
    step = math.ceil(sum(file.size for file in files) / MOST_BYTES)
    of_files = max(min(step, len(files) // _FILES), 1)
    chosen = [file.key for file in files[::of_files]]
    captures = (
        capture
        for source, lines in store.files(chosen)
        for capture in records.read(lines, source, Quarantine(), window, list(known.features))
    )
    taken = islice(captures, None, None, max(math.ceil(step / of_files), 1))
    return estimate(known, *read_asked(taken, known.features, known.classes))


def tell_expected(
    baseline: QualityBaseline,
    window: Window,
    endpoint: str,
    *,
    contradicted: bool,
    store: Store,
    cloudwatch: CloudWatch,
) -> None:
    """The estimate of the window that ends now is filed and published; it raises no alarm and begins no episode.

    `contradicted` says that the labels of the last window that had some did not bear its estimate out: the relation of
    rows and labels is another one by now, and nothing that was learned from the old one is worth anything.
    """
    if baseline.estimator is None:
        return
    found = expect(baseline.estimator, window, endpoint, store)
    if contradicted and found.value is not None:
        said = "the last labels did not bear out what was to be expected of their rows: the relation has changed"
        found = replace(found, value=None, interval=None, reason="relation_changed", detail=said)
    schedule, end = names.quality_schedule_name(endpoint), window[1]
    times = {"window_start": clock.render(window[0]), "window_end": clock.render(end)}
    key = f"monitor/{endpoint}/{schedule}/{end:%Y/%m/%d/%H}/estimate.json"
    store.put(key, json.dumps({"version": 1, **times, **found.document()}, sort_keys=True))
    if metrics := published(found, baseline, endpoint, end):
        cloudwatch.put_metrics(metrics)
    logger.info("quality estimated", window=times, rows=found.rows, reason=found.reason)


def published(found: Estimate, baseline: QualityBaseline, endpoint: str, time: datetime) -> list[dict[str, Any]]:
    """The estimate as PutMetricData takes it: the metric, and in units of its threshold, as `quality_max` is.

    `quality_expected` is the estimate's, `quality_expected_worst` that of the interval's bad end. Nothing is published
    of what cannot be known.
    """
    if found.value is None or found.interval is None:
        return []
    of_endpoint = [{"Name": "Endpoint", "Value": endpoint}]
    of_schedule = [*of_endpoint, {"Name": "MonitoringSchedule", "Value": names.quality_schedule_name(endpoint)}]
    values = [(f"expected_{found.metric}", found.value, of_schedule)]
    severities = [baseline.severity(found.metric, value) for value in (found.value, *found.interval)]
    known = [value for value in severities if value is not None]
    if known:
        values += [("quality_expected", known[0], of_endpoint), ("quality_expected_worst", max(known), of_endpoint)]
    return [
        {"MetricName": name, "Dimensions": dimensions, "Timestamp": time, "Value": float(value), "Unit": "None"}
        for name, value, dimensions in values
    ]
