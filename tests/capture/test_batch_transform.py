"""Captures of batch transform jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retrain.capture.batch_transform import read_manifest, transformed
from retrain.capture.quarantine import Quarantine
from retrain.capture.records import Capture, read
from retrain.core.clock import parse
from retrain.core.errors import Refused

HOUR = parse("2026-11-22T14:00:00Z")
IDENTITY, TIME = "1f1d57b1-2e6f-488c-8c30-db4e6d757861", "2026-11-22T14:07:15Z"


def captures(
    asked: bytes, answered: bytes | None, columns: list[str] | None = None
) -> tuple[list[Capture], Quarantine]:
    files = {"s3://b/in/a.csv": asked, "s3://b/out/a.csv.out": answered or b""}
    inputs = read_manifest('[{"prefix": "s3://b/in/"}, "a.csv"]', "input")
    outputs = read_manifest('[{"prefix": "s3://b/out/"}, "a.csv.out"]', "output") if answered is not None else ()
    quarantine, found = Quarantine(), []
    for source, lines in transformed(inputs, outputs, lambda uri: files[uri].splitlines(keepends=True), HOUR):
        found += read(lines, source, quarantine, columns=columns)
    return found, quarantine


def test_a_line_is_joined_with_its_answer_and_has_its_id_and_time() -> None:
    found, quarantine = captures(b"34,web\n35,app\n", f"0.1,{IDENTITY},{TIME}\n0.2,{IDENTITY},{TIME}\n".encode())
    assert [(c.rows, c.outputs) for c in found] == [([["34", "web"]], [["0.1"]]), ([["35", "app"]], [["0.2"]])]
    assert {(c.id, c.time) for c in found} == {(IDENTITY, parse(TIME))}
    assert quarantine.bad == 0


def test_json_lines_name_their_columns_and_carry_id_and_time_as_keys() -> None:
    answer = json.dumps({"output": 0, "SageMakerInferenceId": IDENTITY, "SageMakerInferenceTime": TIME})
    [capture], _ = captures(b'{"kind": "web", "x": 3}\n', answer.encode(), ["x", "kind"])
    assert (capture.rows, capture.outputs, capture.id) == ([["3", "web"]], [["0"]], IDENTITY)
    assert capture.time == parse(TIME)


def test_without_ids_a_line_is_of_its_hour_and_named_after_file_and_place() -> None:
    found, _ = captures(b"1,a\n2,b\n", b"0.5\n0.6\n")
    assert [c.id for c in found] == ["s3://b/in/a.csv:1", "s3://b/in/a.csv:2"]
    assert {c.time for c in found} == {HOUR}


def test_an_input_without_an_output_is_a_capture_without_an_answer() -> None:
    [capture], _ = captures(b"1,a\n", None)
    assert (capture.rows, capture.outputs) == ([["1", "a"]], [])


def test_a_line_that_is_no_text_is_counted_as_bad() -> None:
    found, quarantine = captures(b"1,a\n\xfe\xfe\n", b"0.5\n0.6\n")
    assert (len(found), dict(quarantine.reasons)) == (1, {"not_utf8": 1})


@pytest.mark.parametrize("text", ["", "{}", "[]", '["a.csv"]', '[{"prefix": 3}, "a"]', '[{"prefix": "s3://b/"}, 3]'])
def test_what_is_no_manifest_is_refused_with_its_name(text: Any) -> None:
    with pytest.raises(Refused, match=r"input/x\.manifest"):
        read_manifest(text, "input/x.manifest")
