"""How files come from S3 into a container's folders, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stand_ins import FakeS3

from local.sagemaker.s3 import NoObjectsError, download, split, upload


@pytest.fixture
def s3() -> FakeS3:
    s3 = FakeS3()
    for key in ("rows/a.csv", "rows/2013/03/b.csv", "rows-of-others/c.csv", "rows/folder/"):
        s3.put(f"s3://bucket/{key}", key)
    return s3


def prefix(uri: str) -> dict[str, str]:
    return {"S3Uri": uri, "S3DataType": "S3Prefix"}


def files(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/rows/", {"a.csv", "2013/03/b.csv"}),
        ("s3://bucket/rows", {"a.csv", "2013/03/b.csv"}),
        ("s3://bucket/rows/2013", {"03/b.csv"}),
        ("s3://bucket/rows/a.csv", {"a.csv"}),
        ("s3://bucket", {"rows/a.csv", "rows/2013/03/b.csv", "rows-of-others/c.csv"}),
    ],
    ids=["a folder", "a folder without its slash", "a folder inside", "one object", "a bucket"],
)
def test_a_prefix_is_what_lies_below_it(s3: FakeS3, tmp_path: Path, uri: str, expected: set[str]) -> None:
    download(s3, prefix(uri), tmp_path)
    assert set(files(tmp_path)) == expected


@pytest.mark.parametrize("uri", ["s3://bucket/nothing", "s3://bucket/ro", "s3://bucket/rows/folder/"])
def test_a_prefix_without_objects_is_an_error_with_its_uri(s3: FakeS3, tmp_path: Path, uri: str) -> None:
    with pytest.raises(NoObjectsError, match=uri):
        download(s3, prefix(uri), tmp_path)


def manifest(s3: FakeS3, *lines: object) -> dict[str, str]:
    return {"S3Uri": s3.put("s3://other/m.manifest", json.dumps(lines)), "S3DataType": "ManifestFile"}


def test_a_manifest_names_the_objects_below_its_prefix(s3: FakeS3, tmp_path: Path) -> None:
    download(s3, manifest(s3, {"prefix": "s3://bucket/rows/"}, "a.csv", "2013/03/b.csv"), tmp_path / "in")
    assert files(tmp_path / "in") == {"a.csv": "rows/a.csv", "2013/03/b.csv": "rows/2013/03/b.csv"}


@pytest.mark.parametrize(
    ("names", "missing"),
    [(["a.csv", "gone.csv"], "s3://bucket/rows/gone.csv"), ([], "s3://other/m.manifest")],
    ids=["of an object that is not there", "of nothing"],
)
def test_a_manifest_is_an_error(s3: FakeS3, tmp_path: Path, names: list[str], missing: str) -> None:
    with pytest.raises(NoObjectsError, match=missing):
        download(s3, manifest(s3, {"prefix": "s3://bucket/rows/"}, *names), tmp_path)


def test_a_manifest_that_is_not_there_is_an_error(s3: FakeS3, tmp_path: Path) -> None:
    with pytest.raises(NoObjectsError, match="s3://bucket/none"):
        download(s3, {"S3Uri": "s3://bucket/none", "S3DataType": "ManifestFile"}, tmp_path)


@pytest.mark.parametrize("uri", ["s3://bucket/out", "s3://bucket/out/"])
def test_a_folders_files_are_uploaded_below_the_uri(tmp_path: Path, uri: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "deep" / "b.txt").write_text("b")
    s3 = FakeS3()
    upload(s3, tmp_path, uri)
    assert s3.under("s3://bucket/out/") == {"a.txt": "a", "deep/b.txt": "b"}


def test_a_uri_is_a_bucket_and_a_key() -> None:
    assert split("s3://bucket/episodes/e-1/a b#c.json") == ("bucket", "episodes/e-1/a b#c.json")
