from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkit.blobs import BlobStore
from modelkit.errors import BlobCorrupt, BlobMissing, BlobTooLarge

DATA = b"a line\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def incoming(store: BlobStore) -> list[Path]:
    return list((store.root / ".incoming").iterdir())


def test_what_is_put_is_read_under_its_hash(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "upload"
    source.write_bytes(DATA)
    assert store.put_bytes(DATA) == store.put_file(source) == SHA256
    assert store.exists(SHA256)
    assert store.read(SHA256) == DATA
    with store.open(SHA256) as stream:
        assert stream.read() == DATA
    assert incoming(store) == []


def test_damage_is_noticed_and_repaired_by_the_next_put(store: BlobStore) -> None:
    store.put_bytes(DATA)
    store.path(SHA256).write_bytes(DATA[:-1])
    with pytest.raises(BlobCorrupt, match=SHA256):
        store.read(SHA256)
    with pytest.raises(BlobCorrupt, match=SHA256):
        store.open(SHA256)
    store.put_bytes(DATA)
    assert store.read(SHA256) == DATA


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    assert not store.exists(SHA256)
    assert store.delete(SHA256) is False
    with pytest.raises(BlobMissing, match=SHA256):
        store.read(SHA256)
    with pytest.raises(BlobMissing, match=SHA256):
        store.open(SHA256)


def test_delete_removes_the_bytes(store: BlobStore) -> None:
    store.put_bytes(DATA)
    assert store.delete(SHA256) is True
    assert not store.exists(SHA256)


@pytest.mark.parametrize("name", ["", "../etc/passwd", SHA256.upper(), SHA256[:-1], SHA256 + "\n"])
def test_only_a_hash_is_a_name(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.path(name)


def test_a_stream_over_its_limit_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(BlobTooLarge, match="10 bytes"):
        store.put_stream([b"12345", b"67890", b"!"], max_bytes=10)
    assert incoming(store) == []
    assert store.put_stream([b"12345", b"67890"], max_bytes=10)


def test_a_stream_that_breaks_leaves_nothing(store: BlobStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"part"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put_stream(broken())
    assert [path.name for path in store.root.iterdir()] == [".incoming"]
    assert incoming(store) == []


def test_links_are_not_followed(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        store.put_file(tmp_path / "link")


def test_what_a_dead_process_left_is_swept(store: BlobStore) -> None:
    old, young = store.root / ".incoming/old", store.root / ".incoming/young"
    old.write_bytes(b"part")
    young.write_bytes(b"part")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    BlobStore(store.root)
    assert incoming(store) == [young]
