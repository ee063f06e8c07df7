"""Why drift of the data is not enough: real flights whose truth changed while everything that the model sees did not.

The flights of New York without the weather. What the seasons change is the wind up there, and that no feature tells.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from demo import flights
from demo.windows import Source, Window
from retrain.capture import ground_truth, records
from retrain.capture.ground_truth import Coverage
from retrain.capture.quarantine import Quarantine
from retrain.core.clock import render
from retrain.drift.analysis import Analysis, analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.verdict import Verdict
from retrain.model.read_spec import parse_spec
from retrain.model.serving import Model, predict
from retrain.model.spec import Spec
from retrain.model.table import read_table
from retrain.quality.metrics import model_quality
from retrain.quality.verdict import (
    QualityAnalysis,
    judge_quality,
    pairs_of,
    read_baseline,
    read_pairs,
    suggest_constraints,
)
from retrain.training.candidates import encode, train, truth
from retrain.training.dataset import bootstrap_dataset, kinds

pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources")
WEATHER = {
    "temperature",
    "dew_point",
    "humidity",
    "wind_direction",
    "wind_speed",
    "wind_gust",
    "precipitation",
    "pressure",
    "visibility",
}


@dataclass(frozen=True)
class Champion:
    """A model of January and February, and what its traffic and its answers are held to."""

    spec: Spec
    model: Model
    baseline: tuple
    holdout: dict[str, float]
    constraints: dict

    def look_back(self, window: Window) -> tuple[Analysis, QualityAnalysis]:
        """Both monitors on the month: what was asked and answered, and what came true."""
        places = [list(flights.FEATURES).index(name) for name in self.spec.names]
        asked = [[row.values[place] for place in places] for row in window.rows]
        answers = predict(asked, self.model)
        lines, labels = [], []
        for number, (row, values, answer) in enumerate(zip(window.rows, asked, answers, strict=True)):
            sides = {"endpointInput": ",".join(values), "endpointOutput": str(answer)}
            data = {side: {"data": f"{text}\n", "encoding": "CSV"} for side, text in sides.items()}
            metadata = {"eventId": f"flight-{number}", "inferenceTime": render(row.time)}
            lines.append(json.dumps({"captureData": data, "eventMetadata": metadata}).encode())
            known = {"data": row.label, "encoding": "CSV"}
            labels.append(json.dumps({"groundTruthData": known, "eventMetadata": metadata}).encode())
        span = window.start, window.end
        data_drift = analyse([("c.jsonl", lines)], *self.baseline, span, alarm_threshold=0.3)
        bad, coverage = Quarantine(), Coverage()
        sample = ground_truth.draw(records.read(lines, "c.jsonl", bad, span), 100_000)
        known_labels = ground_truth.read([("l.jsonl", labels)], bad, window.end + timedelta(days=1))
        pairs = pairs_of(ground_truth.join(sample.drawn, known_labels, bad, coverage))
        held_to = read_baseline(self.constraints)
        judged = judge_quality(read_pairs(held_to.task, pairs), coverage.rows, held_to.demands, span)
        assert (bad.bad, coverage.share) == (0, 1.0)
        return data_drift, judged


def champion_without(left_out: set[str], folder: Path) -> Champion:
    spec = parse_spec("\n".join(line for line in flights.MODEL.splitlines() if line.split(" = ")[0] not in left_out))
    source = flights.source()
    Source(source.title, source.model, source.spec, source.initial, []).write_initial(folder)
    wanted = {name: kind for name, kind in kinds(spec).items() if not name.startswith("__")}
    parts = bootstrap_dataset(spec, read_table(folder / "train.csv", wanted)).parts
    model = train(spec, parts["train"], parts["validation"], None).model
    labels, output = (
        truth(spec, model.encoder, parts["holdout"]),
        model.predict(encode(model.encoder, parts["holdout"])),
    )
    statistics = model_quality(spec.task, labels, output, ())
    places = [list(flights.FEATURES).index(name) for name in spec.names]
    rows = [[row.values[place] for place in places] for row in source.initial]
    return Champion(
        spec,
        model,
        baseline_of(rows, {feature.name: feature.type for feature in spec.features}),
        {name: statistics["regression_metrics"][name]["value"] for name in ("mae", "rmse")},
        suggest_constraints(statistics, spec.task),
    )


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Champion:
    """What the timetable says: when, by whom, from where and how far; not the hundred airports, which come and go."""
    return champion_without(WEATHER | {"departure_delay", "destination"}, tmp_path_factory.mktemp("initial"))


@pytest.fixture(scope="module")
def months() -> dict[str, Window]:
    return {window.name: window for window in flights.months()}


def test_in_september_the_error_is_twice_the_holdouts_and_no_feature_has_moved(
    champion: Champion, months: dict[str, Window]
):
    data, quality = champion.look_back(months["September"])
    assert data.verdict is Verdict.STABLE
    assert max(feature.psi for feature in data.features) < 0.1
    assert quality.verdict is Verdict.DRIFTED
    assert {demand.metric for demand in quality.violated} == {"mae", "rmse"}
    assert quality.values["mae"] / champion.holdout["mae"] == pytest.approx(1.99, abs=0.06)
    assert quality.values["rmse"] / champion.holdout["rmse"] == pytest.approx(1.73, abs=0.06)


def test_when_the_winter_is_back_the_old_model_is_good_again_and_nothing_is_raised(
    champion: Champion, months: dict[str, Window]
):
    data, quality = champion.look_back(months["November"])
    assert (data.verdict, quality.verdict) == (Verdict.STABLE, Verdict.STABLE)


def test_with_delay_and_destination_too_the_data_alone_raises_nothing(tmp_path: Path, months: dict[str, Window]):
    data, quality = champion_without(WEATHER, tmp_path).look_back(months["September"])
    assert (data.verdict, quality.verdict) == (Verdict.STABLE, Verdict.DRIFTED)
    # The index of a column with a hundred categories is above 0.1 by its rare ones alone.
    assert {feature.name for feature in data.features if feature.psi >= 0.1} == {"destination"}
