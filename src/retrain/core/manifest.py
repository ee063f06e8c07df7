"""SageMaker's ManifestFile: the list of files that a job is given."""

from __future__ import annotations

import json
from collections.abc import Sequence


def manifest(keys: Sequence[str], root: str, none: str = "") -> str:
    """The manifest of those keys below `root`; of the empty file below `none` if there are no keys.

    >>> manifest(["labels/a.jsonl", "labels/b.jsonl"], "s3://bucket/")
    '[{"prefix": "s3://bucket/"}, "labels/a.jsonl", "labels/b.jsonl"]'
    >>> manifest([], "s3://bucket/", none="s3://bucket/code/1/none/")
    '[{"prefix": "s3://bucket/code/1/none/"}, "none.jsonl"]'
    """
    if not keys:
        return json.dumps([{"prefix": none}, "none.jsonl"])
    return json.dumps([{"prefix": root}, *keys])
