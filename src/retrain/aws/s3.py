"""S3: the stack's bucket, and the reading of others."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from retrain.aws.calls import classified
from retrain.core.errors import NoArtifact
from retrain.core.names import console_link
from retrain.core.window import CaptureFile, prefixes

Body = TypeVar("Body")

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

    def link(self, uri: str) -> str:
        """Where the object is in AWS's console, for people."""
        return console_link(*_split(uri), self._s3.meta.region_name)

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
        return [file.key for file in self.files_between(folder, start, end)]

    def files_between(self, folder: str, start: datetime, end: datetime) -> list[CaptureFile]:
        """The files of [start, end) below the folder, in order: key, etag, bytes. Empty files are left out.

        One listing for each day, from its first hour to its last: one for each hour would be 25 calls for a window of a
        day.
        """
        root, found = folder.rstrip("/"), []
        for day, some in groupby(prefixes(start, end), key=lambda prefix: prefix[: len("yyyy/mm/dd/")]):
            spans = list(some)
            first, last = f"{root}/{spans[0]}", f"{root}/{spans[-1]}"
            for file in self._list(f"{root}/{day}", after=first):
                if file.key[: len(last)] > last:
                    break
                found.append(file)
        return sorted(file for file in found if file.size > 0)

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with that, in order."""
        return [file.key for file in self._list(prefix)]

    def _list(self, prefix: str, after: str = "") -> Iterator[CaptureFile]:
        asked = {"Bucket": self._bucket, "Prefix": prefix, **({"StartAfter": after} if after else {})}
        with classified("s3:ListObjectsV2"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(**asked):
                for item in page.get("Contents", []):
                    yield CaptureFile(item["Key"], item["ETag"], item["Size"])

    def files(self, keys: Sequence[str]) -> Iterator[tuple[str, io.BytesIO]]:
        """Each object's key and content, in their order; read a few at a time, and never more of them in memory."""
        for key, body in self._bodies(keys, self.read):
            yield key, io.BytesIO(body)

    def bodies(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Key and content of each file, in that order; what does not exist (any more) is left out."""

        def read(uri: str) -> bytes | None:
            try:
                return self.read(uri)
            except NoArtifact:
                return None

        for key, body in self._bodies(keys, read):
            if body is not None:
                yield key, body

    def _bodies(self, keys: Sequence[str], read: Callable[[str], Body]) -> Iterator[tuple[str, Body]]:
        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(keys), _READERS):
                some = keys[start : start + _READERS]
                yield from zip(some, readers.map(lambda key: read(self.uri(key)), some), strict=True)


def _split(uri: str) -> tuple[str, str]:
    parts = urlparse(uri)
    return parts.netloc, parts.path.lstrip("/")
