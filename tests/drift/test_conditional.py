"""What of a drift matters: breaks of what the model leans on do, rows that come in other proportions do not."""

import json

import numpy as np
import pytest

from retrain.core.clock import parse
from retrain.core.errors import NoBaseline
from retrain.drift.analysis import analyse
from retrain.drift.baseline import baseline_of, read_statistics
from retrain.drift.conditional import with_joint
from retrain.drift.intake import merge_intakes, read_captures
from retrain.drift.intake_cache import Stored, dump_intake, load_intake
from retrain.drift.learning import with_chance
from retrain.drift.moments import Axes, merge_moments, moments_of
from retrain.drift.verdict import Verdict
from retrain.model.monitor_options import MonitorOptions

NAMES = ("a", "b", "c", "unused")
KINDS = {**dict.fromkeys(NAMES, "numeric"), "kind": "categorical"}
IMPORTANCE = {"a": 0.5, "b": 0.3, "c": 0.08, "unused": 0.0, "kind": 0.12}
WINDOW = parse("2026-03-01T00:00:00Z"), parse("2026-03-02T00:00:00Z")
ROWS = 4_000


def world(seed, rows=ROWS):
    """Four normal features, of which a, b and c go together."""
    random = np.random.default_rng(seed)
    common = random.normal(size=rows)
    x = random.normal(size=(rows, 4))
    x[:, :3] += common[:, None]
    return x


def texts(x, kind=None):
    kinds = np.resize(["u", "v"], len(x)) if kind is None else kind
    return [
        [*("" if value != value else repr(float(value)) for value in row), str(of)]
        for row, of in zip(x, kinds, strict=True)
    ]


def captures(rows, first=0):
    for number, row in enumerate(rows, first):
        data = {"endpointInput": {"data": ",".join(row), "encoding": "CSV"}}
        event = {"eventId": str(number), "inferenceTime": f"2026-03-01T{number % 24:02d}:30:00Z"}
        yield json.dumps({"captureData": data, "eventMetadata": event})


def baseline(importance=IMPORTANCE, x=None, times=None, opens="harm"):
    rows = texts(world(1) if x is None else x)
    statistics, constraints = baseline_of(rows, KINDS, MonitorOptions(opens=opens), None, importance)
    if times is not None:
        statistics = with_chance(statistics, rows, times)
    return json.loads(json.dumps(with_joint(statistics, lambda: rows, times), allow_nan=False)), constraints


def judged(rows, known=None):
    return analyse([("w", captures(rows))], *(known or baseline()), WINDOW)


def selected(x, by, strength=0.8):
    weight = np.exp(strength * by / by.std())
    return x[np.random.default_rng(5).choice(len(x), ROWS, replace=False, p=weight / weight.sum())]


def scaled(x, place, factor):
    x = x.copy()
    x[:, place] *= factor
    return x


def missing(x, place, share):
    x = x.copy()
    x[: int(share * len(x)), place] = np.nan
    return x


MATTERS = {
    "another unit of what the model leans on": lambda x: scaled(x, 0, 2.5),
    "its values are filled in": lambda x: np.c_[np.where(np.arange(len(x)) % 10 < 9, 0.0, x[:, 0]), x[:, 1:]],
    "a quarter of it is missing": lambda x: missing(x, 1, 0.25),
    "it no longer goes together with the others": lambda x: np.c_[
        np.random.default_rng(9).permutation(x[:, 0]), x[:, 1:]
    ],
    "it is far from where it was": lambda x: x + np.array([4.0, 0, 0, 0]),
}
DOES_NOT = {
    "nothing has changed": lambda x: x,
    "rows with large values come more often": lambda x: selected(world(3, 40_000), world(3, 40_000)[:, 0]),
    "rows with large values of several": lambda x: selected(world(3, 40_000), world(3, 40_000)[:, :3].sum(axis=1)),
    "a feature that the model does not use": lambda x: scaled(x, 3, 9.0),
    "a feature that holds too little of the gain": lambda x: scaled(x, 2, 0.2),
}


@pytest.mark.parametrize("change", MATTERS.values(), ids=list(MATTERS))
def test_breaks_of_what_the_model_leans_on_matter(change):
    found = judged(texts(change(world(2))))
    assert found.harm.likely
    assert found.drift_harm > found.threshold
    assert {item["name"] for item in found.document()["harm"]["features"]} & {"a", "b"}


@pytest.mark.parametrize("change", DOES_NOT.values(), ids=list(DOES_NOT))
def test_other_proportions_and_what_nobody_needs_do_not(change):
    found = judged(texts(change(world(2))))
    assert not found.harm.likely
    assert found.drift_harm <= found.threshold


def test_drift_that_does_not_matter_is_drift_all_the_same():
    found = judged(texts(scaled(world(2), 3, 9.0)))
    assert (found.verdict, found.worst_feature, found.harm.share) == (Verdict.DRIFTED, "unused", 0.0)
    metrics = {item["MetricName"]: item.get("Value") for item in found.metrics("e", "s")}
    assert metrics["drift_max"] > found.threshold >= metrics["drift_harm"]


def test_categories_that_turn_over_matter_by_their_gain():
    found = judged(texts(world(2), ["z"] * ROWS))
    assert found.harm.likely
    assert [item.name for item in found.harm.features if item.counts] == ["kind"]


@pytest.mark.parametrize(
    "known",
    [baseline(opens="any"), baseline(importance=None)],
    ids=["any drift is to", "nobody knows what it leans on"],
)
def test_where_any_drift_begins_an_episode_it_is_the_largest_distance(known):
    found = judged(texts(scaled(world(2), 3, 9.0)), known)
    assert found.drift_harm == found.drift_max > found.threshold


def test_what_is_not_decided_is_not_published():
    found = judged(texts(scaled(world(2), 0, 9.0))[:50])
    assert (found.verdict, found.harm, found.drift_harm) == (Verdict.UNDECIDED, None, None)


def test_days_that_are_unlike_each_other_anyhow_are_chance():
    """Of an unchanged world whose days differ in spread, one day is no harm; where rows had no times it would be."""
    random = np.random.default_rng(4)
    moods = np.exp(random.normal(0, 0.4, 40)).repeat(200)
    x = world(6, 8_000) * moods[:, None]
    times = parse("2026-01-01T00:00:00Z").timestamp() + np.arange(8_000) * 432.0  # 200 a day
    moody = texts(world(7, 1_000) * 1.6)
    assert judged(moody, baseline(x=x)).harm.likely
    assert not judged(moody, baseline(x=x, times=times)).harm.likely
    assert judged(texts(scaled(world(7, 1_000), 0, 40.0)), baseline(x=x, times=times)).harm.likely


def test_copies_of_rows_count_once():
    rows = np.random.default_rng(8).choice(40, ROWS)  # a hundred times forty rows
    found = judged(texts(world(9, 40)[rows]))
    assert not found.harm.likely


def test_moments_merge_whatever_the_parts():
    x, axes = world(1), Axes(NAMES, np.zeros(4))
    whole, one, two = (moments_of(dict(zip(NAMES, part.T, strict=True)), axes) for part in (x, x[:1_000], x[1_000:]))
    both = merge_moments(two, one)
    assert np.allclose(both.covariance, whole.covariance)
    assert np.allclose(whole.covariance, np.cov(x.T, bias=True))
    assert both.worth == pytest.approx(whole.worth) == pytest.approx(ROWS)


def test_a_stored_intake_holds_what_goes_together():
    statistics = read_statistics(baseline()[0])
    rows = list(captures(texts(world(2))))
    whole, one, two = (read_captures([("f", part)], statistics, WINDOW) for part in (rows, rows[::2], rows[1::2]))
    stored = [load_intake(dump_intake(Stored(part, {"f": "1"})), statistics).intake for part in (one, two)]
    assert np.allclose(merge_intakes(*stored).profile.moments.products, whole.profile.moments.products)
    slow = read_captures([("f", rows)], statistics, WINDOW, fast=False)
    assert np.allclose(slow.profile.moments.products, whole.profile.moments.products)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda joint: joint.pop("centres"),
        lambda joint: joint["covariance"].pop(),
        lambda joint: joint["features"].append("d"),
        lambda joint: joint.update(features=["kind", *joint["features"][1:]]),
        lambda joint: joint.update(rows="many"),
    ],
)
def test_a_broken_document_is_named(spoil):
    statistics, _ = baseline()
    spoil(statistics["joint"])
    with pytest.raises(NoBaseline, match="joint"):
        read_statistics(statistics)


def test_of_a_thousand_features_a_few_take_part():
    names = [f"x{number:03d}" for number in range(200)]
    rows = [[repr(value) for value in row] for row in np.random.default_rng(1).normal(size=(60, 200)).tolist()]
    statistics, _ = baseline_of(rows, dict.fromkeys(names, "numeric"), None, None, dict.fromkeys(names, 0.005))
    assert len(with_joint(statistics, lambda: rows)["joint"]["features"]) == 32
