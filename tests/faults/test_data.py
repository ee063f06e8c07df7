"""Rows F34 to F40: what is wrong with captures and labels, as the dataset job and the monitor read them from files."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import houses
import pytest
from capture_records import captures_of, label, line

from retrain.capture.records import Capture
from retrain.core.clock import parse, render
from retrain.drift.analysis import Analysis, analyse
from retrain.drift.baseline import baseline_of
from retrain.drift.verdict import Verdict
from retrain.jobs import dataset as job
from retrain.model.monitor_options import MonitorOptions
from retrain.model.read_spec import parse_spec
from retrain.model.table import Table, concat
from retrain.training.candidates import train
from retrain.training.dataset import bootstrap_dataset, write_dataset

SPEC = parse_spec(houses.MODEL)
AFTER, LEAKED = "labels/2026/03/12/05/a.jsonl", "labels/2026/02/27/05/a.jsonl"


class Job:
    """The dataset job in a folder, with 400 requests and their labels, and the champion's dataset of 600 rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "history").mkdir()
        write_dataset(
            folder / "reference", bootstrap_dataset(SPEC, houses.table(600, seed=1)), houses.MODEL.encode(), "e1"
        )
        self.asks(houses.table(400, seed=2))

    def asks(self, rows: Table, per_request: int = 1) -> None:
        """The endpoint was asked for these rows, and answers the truth."""
        self.requests, self.labels = houses.requests(rows, per_request)
        found = [captured(one, [float(text) for text in self.labels[one.id]]) for one in self.requests]
        self.captures: list[bytes] = found
        self.truth = {AFTER: [label("\n".join(values), identity) for identity, values in self.labels.items()]}

    def changes(self, change: Callable[[list[str]], list[str]]) -> None:
        """The endpoint was asked for these rows instead."""
        changed = [replace(one, rows=[change(row) for row in one.rows]) for one in self.requests]
        self.captures = [captured(one, [1.0] * len(one.rows)) for one in changed]

    def run(self, packed: bool = False) -> dict[str, Any] | str:
        """The manifest; or `code: detail` of what the job refused."""
        captures = self.folder / "captures" / "2026" / "03" / "01" / "00" / f"a.jsonl{'.gz' if packed else ''}"
        captures.parent.mkdir(parents=True)
        body = b"".join(self.captures)
        captures.write_bytes(gzip.compress(body) if packed else body)
        for name, lines in self.truth.items():
            (self.folder / name).parent.mkdir(parents=True)
            (self.folder / name).write_bytes(b"\n".join(lines) + b"\n")
        folders = [f"--{name}={self.folder / name}" for name in FOLDERS]
        window = [f"--window-start={render(houses.START)}", f"--window-end={render(houses.END)}"]
        if job.main([*folders, *window, "--episode-id=e2", "--bootstrap=false"]):
            return (self.folder / "message").read_text()
        manifest: dict[str, Any] = json.loads((self.folder / "output" / "manifest.json").read_text())
        return manifest


FOLDERS = ("captures", "labels", "reference", "history", "output", "rows", "message")


def captured(asked: Capture, answers: Iterable[float]) -> bytes:
    output = "".join(f"{answer!r}\n" for answer in answers)
    body = "".join(",".join(row) + "\n" for row in asked.rows)
    return line(body, inference_id=asked.id, event_id=f"e-{asked.id}", time=render(asked.time), output=output)


@pytest.fixture
def dataset(tmp_path: Path) -> Job:
    return Job(tmp_path)


def ran(job: Job, **how: bool) -> dict[str, Any]:
    found = job.run(**how)
    assert not isinstance(found, str), found
    return found


def refused(job: Job) -> str:
    found = job.run()
    assert isinstance(found, str), "nothing was refused"
    return found


def test_F34_a_label_that_comes_twice_counts_once_and_one_that_contradicts_itself_not_at_all(dataset: Job) -> None:
    dataset.truth[AFTER] += dataset.truth[AFTER][:50]
    dataset.truth[AFTER].append(label("-1", "r00399"))
    manifest = ran(dataset)
    assert manifest["rows"]["labelled"] == 399
    assert manifest["repeated"]["labels"] == 50


def test_F34_a_label_that_was_collected_before_the_question_is_a_leak_and_left_out(dataset: Job) -> None:
    lines = dataset.truth[AFTER]
    dataset.truth = {AFTER: lines[20:], LEAKED: lines[:20]}
    manifest = ran(dataset)
    assert manifest["rows"]["labelled"] == 380
    assert manifest["quarantined"]["labels"] == {"label_before_capture": 20}


def test_F34_nothing_trained_on_is_as_new_as_anything_held_out(dataset: Job) -> None:
    manifest = ran(dataset)
    assert manifest["rows"]["holdout"] == 80
    newest = {part: newest_of(dataset.folder / "output" / f"{part}.csv") for part in ("train", "validation")}
    oldest = min(times_of(dataset.folder / "output" / "holdout.csv"))
    assert max(newest.values()) < oldest


def newest_of(file: Path) -> float:
    return max(times_of(file))


def times_of(file: Path) -> list[float]:
    """The times of a part's rows."""
    header, *rows = file.read_text().splitlines()
    at = header.split(",").index("__time")
    return [float(row.split(",")[at]) for row in rows if row.split(",")[at]]


BROKEN = {
    "truncated": b'{"captureData": {"endpointInput": {"da\n',
    "base64 of nothing readable": line(base64.b64encode(b"\xff\xfe\x00").decode(), encoding="BASE64"),
    "no object": b"[1, 2]\n",
    "ten megabytes": b'{"captureData": "' + b"x" * 10_000_000 + b'"}\n',
    "not UTF-8": b"\xff\xfe\xfa\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_F35_a_line_that_can_not_be_read_is_counted_and_too_many_are_refused(broken: bytes, dataset: Job) -> None:
    dataset.captures += [broken] * 2
    manifest = ran(dataset)
    assert manifest["rows"]["labelled"] == 400
    assert sum(manifest["quarantined"]["captures"].values()) == 2


def test_F35_more_unreadable_lines_than_allowed_are_refused(dataset: Job) -> None:
    dataset.captures += [BROKEN["truncated"]] * 40
    assert refused(dataset).startswith("capture_corrupt: 40 of 440 capture lines are unreadable")


def test_F35_what_is_only_written_otherwise_is_read(dataset: Job) -> None:
    body = ",".join(dataset.requests[7].rows[0])
    asked = {"inference_id": "r00007", "event_id": "e", "time": render(dataset.requests[7].time)}
    dataset.captures[7] = line(base64.b64encode(body.encode()).decode(), encoding="BASE64", **asked)
    dataset.captures = [b"\xef\xbb\xbf" + dataset.captures[0], b"\n", *dataset.captures[1:], dataset.captures[9]]
    manifest = ran(dataset, packed=True)
    assert manifest["rows"]["labelled"] == 400
    assert manifest["repeated"]["captures"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: row[:2], "rows have 2 columns, model.toml has 3"),
        (lambda row: [*row, "1"], "rows have 4 columns, model.toml has 3"),
        (lambda row: [row[2], row[1], row[0]], "size: 400 of 400 captured values are not numbers"),
        (lambda row: [row[0], "", row[2]], "age: no value any more"),
        (lambda row: [row[0], row[1], row[1]], "town: "),
    ],
    ids=["dropped", "added", "retyped", "all null", "another column's"],
)
def test_F36_a_changed_schema_is_refused_with_what_changed(
    change: Callable[[list[str]], list[str]], says: str, dataset: Job
) -> None:
    dataset.changes(change)
    said = refused(dataset)
    assert said.startswith("schema_mismatch: ")
    assert says in said


def test_F36_a_category_that_nobody_has_seen_is_news_and_is_not_named_beyond_the_dataset(dataset: Job) -> None:
    dataset.changes(lambda row: [row[0], row[1], "Secretville" if row[2] == "Aa" else row[2]])
    manifest = ran(dataset)
    assert manifest["unseen_categories"] == {"town": ["Secretville"]}
    assert "Secretville" not in json.dumps(manifest["news"])


def flood(rows: Table) -> Table:
    return concat([rows, *[houses.table(100, seed=3)] * 5])


def far(rows: Table) -> Table:
    prices = rows.numbers("price").copy()
    prices[::20] *= 1000
    return rows.having("price", prices)


@pytest.mark.parametrize(
    ("rows", "says"),
    [(flood(houses.table(600, seed=2)), "max_copies"), (far(houses.table(1000, seed=2)), "max_outlier_share")],
    ids=["duplicated block", "extreme outliers"],
)
def test_F37_rows_that_somebody_copied_or_made_up_are_suspect(rows: Table, says: str, dataset: Job) -> None:
    dataset.asks(rows)
    said = refused(dataset)
    assert said.startswith("suspect_data: ")
    assert says in said


def test_F37_one_request_that_gives_nearly_every_row_is_suspect(dataset: Job) -> None:
    few, of_few = dataset.captures[:50], dataset.truth[AFTER][:50]
    dataset.asks(houses.table(600, seed=3), per_request=600)
    flooded = dataset.requests[0]
    truth = label("\n".join(dataset.labels[flooded.id]), "flood")
    dataset.captures = [*few, captured(replace(flooded, id="flood"), [1.0] * 600)]
    dataset.truth = {AFTER: [*of_few, truth]}
    assert "max_source_share" in refused(dataset)


def test_F37_labels_that_are_flipped_for_a_while_are_suspect(dataset: Job) -> None:
    dataset.asks(houses.table(1000, seed=2))
    highest = max(float(text) for texts in dataset.labels.values() for text in texts)
    lines = dataset.truth[AFTER]
    for number in range(300, 500):
        identity = dataset.requests[number].id
        lines[number] = label(f"{highest - float(dataset.labels[identity][0])}", identity)
    said = refused(dataset)
    assert said.startswith("suspect_data: ")
    assert "flip" in said


# The monitor ---------------------------------------------------------------------------------------------------------

WINDOW = parse("2026-11-22T14:00:00Z"), parse("2026-11-22T15:00:00Z")
KINDS = {"size": "numeric", "floors": "numeric", "town": "categorical"}


def rooms(count: int, size: float = 100.0, floors: str = "2", seed: int = 1) -> list[list[str]]:
    """Rows of a model one of whose features never changes."""
    rows = houses.table(count, seed=seed, larger=size - 100.0)
    values, _ = houses.texts(rows)
    return [[row[0], floors, row[2]] for row in values]


BASELINE = baseline_of(rooms(4000), KINDS, MonitorOptions.of({}), None)


def analysed(rows: list[list[str]]) -> Analysis:
    return analyse([("a.jsonl", captures_of(rows))], *BASELINE, WINDOW)


@pytest.mark.parametrize("size", [100.0, 500.0])
def test_F38_too_few_rows_are_never_stable_and_never_drifted(size: float) -> None:
    found = analysed(rooms(100, size, seed=2))
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "too_few_rows")


def test_F38_a_feature_that_never_changed_and_does_not_is_no_drift_and_hides_none() -> None:
    calm, moved = analysed(rooms(2000, seed=2)), analysed(rooms(2000, 300.0, seed=2))
    assert (calm.verdict, moved.verdict) == (Verdict.STABLE, Verdict.DRIFTED)
    assert moved.worst_feature == "size"
    assert {one.name: one.distance for one in calm.features}["floors"] == 0.0


def test_F38_a_feature_without_any_variance_that_has_another_value_now_has_drifted() -> None:
    found = analysed(rooms(2000, floors="3", seed=2))
    assert (found.verdict, found.worst_feature) == (Verdict.DRIFTED, "floors")


def test_F39_a_window_without_traffic_is_undecided_and_publishes_that_it_had_no_rows() -> None:
    found = analysed([])
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "capture_missing")
    published = {metric["MetricName"]: metric["Value"] for metric in found.metrics("endpoint", "schedule")}
    assert published["rows_analyzed"] == 0.0
    assert "drift_max" not in published


def test_F40_the_same_rows_give_the_same_dataset_and_the_same_model(tmp_path: Path) -> None:
    manifests, models = [], []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        manifests.append(ran(Job(tmp_path / name)))
        parts = bootstrap_dataset(SPEC, houses.table(600, seed=1)).parts
        models.append(train(SPEC, parts["train"], parts["validation"], None).model.booster.save_raw("ubj"))
    assert manifests[0]["sha256"] == manifests[1]["sha256"]
    assert models[0] == models[1]
