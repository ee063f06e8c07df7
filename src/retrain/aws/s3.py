"""S3: the stack's bucket, and the reading of others."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from botocore.exceptions import ClientError

from retrain.aws.calls import classified, is_missing
from retrain.errors import NoArtifact
from retrain.window import prefixes

_CHUNK = 1 << 20
_READERS = 16  # files of a window that are read at the same time


class Store:
    """The bucket of the stack, addressed by key; other places by URI."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def uri(self, key: str) -> str:
        """The key's URI."""
        return f"s3://{self._bucket}/{key}"

    def put(self, key: str, body: bytes | str, content_type: str = "application/json") -> str:
        """The key holds `body`; its URI."""
        with classified("s3:PutObject"):
            self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body.encode() if isinstance(body, str) else body,
                ContentType=content_type,
            )
        return self.uri(key)

    def upload(self, key: str, file: Path) -> None:
        """The key holds the file's content."""
        self.put(key, file.read_bytes(), "binary/octet-stream")

    def read(self, uri: str) -> bytes:
        """The object's bytes; NoArtifact if there is none."""
        bucket, key = _split(uri)
        with classified("s3:GetObject", NoArtifact):
            return bytes(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def exists(self, uri: str) -> bool:
        """Whether there is an object."""
        bucket, key = _split(uri)
        with classified("s3:HeadObject"):
            try:
                self._s3.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if is_missing(error):
                    return False
                raise
        return True

    def sha256(self, uri: str) -> str:
        """The SHA-256 of the object's bytes; NoArtifact if there is none. Never the whole object in memory."""
        bucket, key = _split(uri)
        digest = hashlib.sha256()
        with classified("s3:GetObject", NoArtifact):
            for chunk in self._s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def keys_between(self, folder: str, start: datetime, end: datetime) -> list[str]:
        """The keys below `folder`/yyyy/mm/dd/hh/ of the hours that [start, end) touches, in order."""
        found = []
        with classified("s3:ListObjectsV2"):
            pages = self._s3.get_paginator("list_objects_v2")
            for prefix in prefixes(start, end):
                for page in pages.paginate(Bucket=self._bucket, Prefix=f"{folder.rstrip('/')}/{prefix}"):
                    found += [item["Key"] for item in page.get("Contents", []) if item["Size"] > 0]
        return sorted(found)

    def files(self, keys: Sequence[str]) -> Iterator[tuple[str, io.BytesIO]]:
        """Each object's key and content, in their order; read a few at a time, and never more of them in memory."""
        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(keys), _READERS):
                some = keys[start : start + _READERS]
                for key, body in zip(some, readers.map(lambda key: self.read(self.uri(key)), some), strict=True):
                    yield key, io.BytesIO(body)


def _split(uri: str) -> tuple[str, str]:
    parts = urlparse(uri)
    return parts.netloc, parts.path.lstrip("/")
