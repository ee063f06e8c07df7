"""Between S3 and a container's folders, the way SageMaker moves files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class NoObjectsError(Exception):
    """There is nothing under the S3 URI; the text is SageMaker's."""

    def __init__(self, uri: str) -> None:
        super().__init__(f'ClientError: Data download failed: No S3 objects found under S3 URL "{uri}".')


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def download(s3: Any, source: dict[str, Any], folder: Path) -> None:
    """The objects of an S3 data source (S3Prefix or ManifestFile) lie in `folder`; NoObjectsError if there are none."""
    uri = source["S3Uri"]
    files = _manifest(s3, uri) if source.get("S3DataType") == "ManifestFile" else _prefix(s3, uri)
    folder.mkdir(parents=True, exist_ok=True)
    found = False
    for bucket, key, name in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            raise NoObjectsError(f"s3://{bucket}/{key}") from None
        target.write_bytes(body)
        found = True
    if not found:
        raise NoObjectsError(uri)


def upload(s3: Any, folder: Path, uri: str) -> None:
    """Every file of `folder` lies under the URI."""
    bucket, prefix = split(uri)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            key = "/".join(part for part in (prefix.rstrip("/"), file.relative_to(folder).as_posix()) if part)
            s3.upload_file(str(file), bucket, key)


def _prefix(s3: Any, uri: str) -> Iterator[tuple[str, str, str]]:
    bucket, prefix = split(uri)
    folder = prefix if prefix.endswith("/") or not prefix else prefix + "/"
    for contents in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in contents.get("Contents", []):
            key = item["Key"]
            if key.endswith("/"):
                continue  # what the console makes of an empty folder
            if key == prefix:
                yield bucket, key, key.rpartition("/")[2]
            elif key.startswith(folder):
                yield bucket, key, key.removeprefix(folder)


def _manifest(s3: Any, uri: str) -> Iterator[tuple[str, str, str]]:
    bucket, key = split(uri)
    try:
        first, *names = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        raise NoObjectsError(uri) from None
    there, prefix = split(first["prefix"])
    for name in names:
        yield there, prefix + name, name
