"""What a directory of blobs does beyond the contract: see test_blob_stores for that."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkit.blobs.directory import DirectoryBlobs
from modelkit.errors import BlobTooLarge


@pytest.fixture
def store(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


def incoming(store: DirectoryBlobs) -> list[Path]:
    return list((store.root / ".incoming").iterdir())


def test_a_stream_over_its_limit_leaves_nothing(store: DirectoryBlobs) -> None:
    with pytest.raises(BlobTooLarge, match="10 bytes"):
        store.put_stream([b"12345", b"67890", b"!"], max_bytes=10)
    assert incoming(store) == []
    assert store.put_stream([b"12345", b"67890"], max_bytes=10)
    assert incoming(store) == []


def test_a_stream_that_breaks_leaves_nothing(store: DirectoryBlobs) -> None:
    def broken() -> Iterator[bytes]:
        yield b"part"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put_stream(broken())
    assert [path.name for path in store.root.iterdir()] == [".incoming"]
    assert incoming(store) == []


def test_what_a_dead_process_left_is_swept(store: DirectoryBlobs) -> None:
    old, young = store.root / ".incoming/old", store.root / ".incoming/young"
    old.write_bytes(b"part")
    young.write_bytes(b"part")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    DirectoryBlobs(store.root)
    assert incoming(store) == [young]
