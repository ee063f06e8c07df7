"""docs/data.md lists what is read of a request; every example in it is."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path

import pytest
from capture_records import line

from retrain.capture.quarantine import Quarantine
from retrain.capture.records import read

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| (CSV|JSON) \| `(.+?)` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("encoding", "body"), EXAMPLES)
def test_every_documented_request_is_read(encoding: str, body: str, packed: bool) -> None:
    data = body.replace("\\n", "\n")
    if packed:
        data, encoding = b64encode(data.encode()).decode(), "BASE64"
    quarantine = Quarantine()
    [capture] = read([line(data, encoding=encoding)], "a.jsonl", quarantine, columns=("age", "town"))
    assert not quarantine.reasons
    assert capture.rows in ([["44", "web"]], [["44", "web"], ["45", "app"]], [["44", ""], ["45", ""]])


def test_the_table_is_there() -> None:
    assert len(EXAMPLES) >= 16
