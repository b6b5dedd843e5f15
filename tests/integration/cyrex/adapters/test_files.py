"""A package's way through the blob store: whole, verified, the same bytes the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrex.adapters.files import get_package, put_package
from modelkit import package
from modelkit.blobs import BlobStore
from modelkit.errors import BlobCorrupt, BlobMissing, PackageRefused
from tests.support.blob_places import BlobPlace
from tests.support.packages import write_package


@pytest.fixture
def blobs(blob_place: BlobPlace) -> BlobStore:
    return blob_place.store


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_package_comes_back_byte_by_byte(tmp_path: Path, blobs: BlobStore) -> None:
    folder = write_package(tmp_path / "trained")
    sha256 = put_package(blobs, folder)
    assert sha256 == package.build(folder).sha256
    assert put_package(blobs, folder) == sha256
    copy = tmp_path / "copy"
    copy.mkdir()
    get_package(blobs, sha256, copy)
    assert files(copy) == files(folder)


def test_other_bytes_are_another_package(tmp_path: Path, blobs: BlobStore) -> None:
    first, second = (write_package(tmp_path / str(n), seed=n) for n in (1, 2))
    assert put_package(blobs, first) != put_package(blobs, second)


def test_what_cannot_be_served_is_not_stored(
    tmp_path: Path, blob_place: BlobPlace, blobs: BlobStore
) -> None:
    folder = write_package(tmp_path / "trained", bias="all")
    with pytest.raises(PackageRefused, match="biases"):
        put_package(blobs, folder)
    assert blob_place.files() == []


def test_missing_and_damaged_bytes_are_said(
    tmp_path: Path, blob_place: BlobPlace, blobs: BlobStore
) -> None:
    folder = write_package(tmp_path / "trained")
    sha256 = put_package(blobs, folder)
    target = tmp_path / "copy"
    target.mkdir()
    with pytest.raises(BlobMissing):
        get_package(blobs, "0" * 64, target)
    weights = next(f for f in package.build(folder).files if f.path.endswith(".safetensors"))
    blob_place.write(weights.sha256, blobs.read(weights.sha256)[:-1] + b"\x01")
    with pytest.raises(BlobCorrupt):
        get_package(blobs, sha256, target)
    blobs.delete(weights.sha256)
    with pytest.raises(BlobMissing):
        get_package(blobs, sha256, target)
