"""The shadow: a challenger that would serve badly is found before it serves."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import houses
import pytest

from retrain.capture.asked import read_asked, spread
from retrain.core.errors import Refused
from retrain.gate.shadow import MOST, Serve, Shadow, failing, replay, served
from retrain.model.archive import load_model
from retrain.model.read_spec import parse_spec
from retrain.model.spec import GateOptions

SPEC = parse_spec(houses.MODEL)
VALUES, _ = houses.texts(houses.table(400, seed=5))
FINE = Shadow(
    asked=120, requests=100, rows=400, failed=0, error="", unlike=0, difference=0.2, champion_ms=1.0, challenger_ms=1.1
)
# What somebody, or a mistake, may have done to the serving code of an archive.
RAISES = """
_answered, _real = [], transform_fn
def transform_fn(*request):
    _answered.append(1)
    if len(_answered) % 10 == 0:
        raise RuntimeError("every tenth")
    return _real(*request)
"""
CONSTANT = """
def transform_fn(model, body, content_type, accept):
    return answer([250.0 for _ in read_rows(body, content_type)], accept)
"""
NOT_A_NUMBER = CONSTANT.replace("250.0", "float('nan')")
ONE_ANSWER = """
def transform_fn(model, body, content_type, accept):
    return answer([250.0], accept)
"""
BROKEN = "raise ImportError('a library that the image does not have')\n"


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> Path:
    return houses.archive(tmp_path_factory.mktemp("shadow") / "champion", seed=1)


def captured(kind: str = "text/csv", per_request: int = 2) -> list[bytes]:
    """Capture lines of the values, in that type."""
    lines = []
    for number, at in enumerate(range(0, len(VALUES), per_request)):
        rows = VALUES[at : at + per_request]
        if kind == "text/csv":
            asked, told, encoding = "".join(",".join(row) + "\n" for row in rows), "1.0\n" * len(rows), "CSV"
        else:
            asked = json.dumps({"instances": [dict(zip(SPEC.names, row, strict=True)) for row in rows]})
            told, encoding = json.dumps({"predictions": [1.0] * len(rows)}), "JSON"
        sides = {
            name: {"observedContentType": kind, "mode": "x", "data": data, "encoding": encoding}
            for name, data in (("endpointInput", asked), ("endpointOutput", told))
        }
        when = {"eventId": f"e{number}", "inferenceTime": "2026-03-01T00:00:00Z"}
        lines.append(json.dumps({"captureData": sides, "eventMetadata": when, "eventVersion": "0"}).encode())
    return lines


def shadowed(champion: Path, challenger: Path, folder: Path, lines: list[bytes] | None = None) -> Shadow:
    return replay(
        SPEC,
        captured() if lines is None else lines,
        champion=served(champion, folder / "champion-served"),
        challenger=served(challenger, folder / "challenger-served"),
        judged=load_model(challenger),
    )


@pytest.mark.parametrize("kind", ["text/csv", "application/json"])
def test_a_sound_challenger_answers_all_as_it_was_judged(kind: str, champion: Path, tmp_path: Path) -> None:
    found = shadowed(champion, houses.archive(tmp_path / "new", seed=2), tmp_path, captured(kind))
    assert (found.asked, found.requests, found.rows, found.failed, found.unlike) == (200, 200, 400, 0, 0)
    assert found.difference is not None
    assert 0 < found.difference < 0.5
    assert failing(replace(found, challenger_ms=found.champion_ms), GateOptions()) is None


def test_a_model_differs_from_itself_by_nothing(champion: Path, tmp_path: Path) -> None:
    assert shadowed(champion, champion, tmp_path).difference == 0.0


@pytest.mark.parametrize(
    ("sabotage", "what"),
    [
        ({"code": RAISES}, "20 of 200 requests of the window that the champion answers fail (RuntimeError)"),
        ({"code": CONSTANT}, "400 of 400 rows are answered otherwise"),
        ({"code": NOT_A_NUMBER}, "400 of 400 rows are answered otherwise"),
        ({"code": ONE_ANSWER}, "200 of 200 requests"),
        (
            {
                "model_toml": houses.MODEL.replace(
                    'size = "numeric"\nage = "numeric"', 'age = "numeric"\nsize = "numeric"'
                )
            },
            "rows are answered otherwise than the model that was judged answers them: the order of columns",
        ),
    ],
    ids=["raises on a tenth", "constant", "not a number", "one answer for all", "another order of columns"],
)
def test_a_sabotaged_challenger_is_found(sabotage, what: str, champion: Path, tmp_path: Path) -> None:
    found = shadowed(champion, houses.archive(tmp_path / "new", seed=2, **sabotage), tmp_path)
    assert what in (failing(found, GateOptions()) or "")


def test_a_challenger_that_takes_ten_times_as_long_is_found(champion: Path, tmp_path: Path) -> None:
    now = [0.0]

    def taking(seconds: float, serve: Serve) -> Serve:
        def answer(*request: str) -> tuple[str, str]:
            now[0] += seconds
            return serve(*request)

        return answer

    serve = served(champion, tmp_path / "served")
    found = replay(
        SPEC,
        captured(),
        champion=taking(0.002, serve),
        challenger=taking(0.02, serve),
        judged=load_model(champion),
        timer=lambda: now[0],
    )
    assert (found.champion_ms, found.challenger_ms) == (2.0, 20.0)
    assert "20 ms where the champion takes 2: more than 5 times as long" in (failing(found, GateOptions()) or "")
    assert failing(found, GateOptions(max_slowdown=10.0)) is None


def test_an_archive_that_can_not_be_served_is_refused(tmp_path: Path) -> None:
    broken = houses.archive(tmp_path / "new", seed=2, code=BROKEN)
    with pytest.raises(Refused, match="fails_in_shadow: served: the archive can't be served: ImportError"):
        served(broken, tmp_path / "served")


def test_what_the_champion_does_not_answer_either_tells_nothing(champion: Path, tmp_path: Path) -> None:
    lines = captured()
    lines[3] = lines[3].replace(VALUES[6][0].encode(), b"wide", 1)
    found = shadowed(champion, champion, tmp_path, [*lines, b"{", b""])
    assert (found.asked, found.requests, found.failed) == (200, 199, 0)


def test_captures_without_an_answer_are_not_asked_again(champion: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in captured()]
    for line in lines:
        del line["captureData"]["endpointOutput"]
    found = shadowed(champion, champion, tmp_path, [json.dumps(line).encode() for line in lines])
    assert (found.asked, found.rows, found.difference) == (0, 0, None)
    assert failing(found, GateOptions()) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"failed": 1, "error": "KeyError"}, "1 of 100 requests"),
        ({"unlike": 4}, None),  # a hundredth of the rows
        ({"unlike": 5}, "5 of 400 rows"),
        ({"challenger_ms": 5.0}, None),
        ({"challenger_ms": 5.1}, "5.1 ms"),
        ({"challenger_ms": 50.0, "requests": 29}, None),  # too few to time
        ({"failed": 2, "unlike": 9, "challenger_ms": 9.0}, "2 of 100 requests"),
    ],
)
def test_what_keeps_a_challenger_from_serving(change, said: str | None) -> None:
    found = failing(replace(FINE, **change), GateOptions())
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize(("lines", "kept"), [(0, 0), (1, 1), (MOST, MOST), (MOST + 1, MOST // 2 + 1), (10_000, 313)])
def test_requests_are_taken_from_the_whole_window(lines: int, kept: int) -> None:
    found = spread((b"%d" % number for number in range(lines)), MOST)
    assert len(found) == kept
    if kept > 1:
        steps = {int(b) - int(a) for a, b in pairwise(found)}
        assert len(steps) == 1
        assert int(found[-1]) > lines - steps.pop() - 1


def test_a_request_is_read_as_it_was_sent() -> None:
    side = {"mode": "x", "encoding": "BASE64", "data": "MTAsMyxBYQo=", "observedContentType": "text/csv; charset=utf-8"}
    told = {"mode": "x", "encoding": "JSON", "data": {"predictions": [1.5]}}
    line = {
        "captureData": {"endpointInput": side, "endpointOutput": told},
        "eventMetadata": {"eventId": "e", "inferenceTime": "2026-03-01T00:00:00Z"},
    }
    asked = read_asked(json.dumps(line).encode(), SPEC.names)
    assert asked is not None
    assert (asked.body, asked.content_type, asked.accept) == (
        "10,3,Aa\n",
        "text/csv; charset=utf-8",
        "application/json",
    )
    assert asked.outputs == [["1.5"]]
