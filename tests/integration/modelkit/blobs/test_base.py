"""What every blob store does, in a directory and in S3."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from modelkit.blobs import BlobStore
from modelkit.errors import BlobCorrupt, BlobMissing, BlobTooLarge
from tests.support.blob_places import BlobPlace
from tests.support.waiting import together

DATA = b"a line\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
MIB = 1 << 20
HOUR = 3600.0


@pytest.fixture
def store(blob_place: BlobPlace) -> BlobStore:
    return blob_place.store


def test_what_is_put_is_read_under_its_hash(
    blob_place: BlobPlace, store: BlobStore, tmp_path: Path
) -> None:
    source = tmp_path / "upload"
    source.write_bytes(DATA)
    assert store.put_bytes(DATA) == store.put_file(source) == SHA256
    assert store.exists(SHA256)
    assert store.read(SHA256) == DATA
    with store.open(SHA256) as stream:
        assert stream.read() == DATA
    assert blob_place.files() == blob_place.files(SHA256), "nothing else is left"


def test_the_empty_blob(store: BlobStore) -> None:
    sha256 = store.put_bytes(b"")
    assert sha256 == hashlib.sha256(b"").hexdigest()
    assert store.read(sha256) == b""


def test_a_long_stream_comes_back(store: BlobStore) -> None:
    """Longer than one part of an upload, and than what is held in memory."""
    chunks = [os.urandom(MIB) for _ in range(19)] + [b"the end"]
    sha256 = store.put_stream(iter(chunks))
    assert sha256 == hashlib.sha256(b"".join(chunks)).hexdigest()
    with store.open(sha256) as stream:
        assert all(stream.read(len(chunk)) == chunk for chunk in chunks)
        assert stream.read() == b""


def test_a_long_stream_is_not_held_in_memory(store: BlobStore) -> None:
    chunk = os.urandom(MIB)
    tracemalloc.start()
    try:
        sha256 = store.put_stream(chunk for _ in range(96))
        store.open(sha256).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB


def test_damage_is_noticed_and_repaired_by_the_next_put(
    blob_place: BlobPlace, store: BlobStore
) -> None:
    store.put_bytes(DATA)
    for damaged in (DATA[:-1], b"x" + DATA[1:]):
        blob_place.write(SHA256, damaged)
        for read in (store.read, store.open):
            with pytest.raises(BlobCorrupt, match=SHA256):
                read(SHA256)
    store.put_bytes(DATA)
    assert store.read(SHA256) == DATA


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    assert not store.exists(SHA256)
    assert store.delete(SHA256) is False
    assert store.delete_older(SHA256, -HOUR) is False
    for read in (store.read, store.open):
        with pytest.raises(BlobMissing, match=SHA256):
            read(SHA256)


def test_delete_removes_the_bytes(blob_place: BlobPlace, store: BlobStore) -> None:
    store.put_bytes(DATA)
    store.put_bytes(DATA)
    assert store.delete(SHA256) is True
    assert not store.exists(SHA256)
    assert blob_place.files() == []


@pytest.mark.parametrize("name", ["", "../etc/passwd", SHA256.upper(), SHA256[:-1], SHA256 + "\n"])
def test_only_a_hash_is_a_name(store: BlobStore, name: str) -> None:
    calls: list[Callable[[str], object]] = [store.exists, store.open, store.read, store.delete]
    for call in [*calls, partial(store.delete_older, seconds=0)]:
        with pytest.raises(ValueError, match="SHA-256"):
            call(name)


def test_a_stream_over_its_limit_leaves_nothing(blob_place: BlobPlace, store: BlobStore) -> None:
    with pytest.raises(BlobTooLarge, match="10 bytes"):
        store.put_stream([b"12345", b"67890", b"!"], max_bytes=10)
    assert blob_place.files() == []
    assert store.put_stream([b"12345", b"67890"], max_bytes=10)


def test_a_stream_that_breaks_leaves_nothing(blob_place: BlobPlace, store: BlobStore) -> None:
    def broken() -> Iterator[bytes]:
        yield os.urandom(20 * MIB)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put_stream(broken())
    assert blob_place.files() == []


def test_links_are_not_followed(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        store.put_file(tmp_path / "link")


def test_only_what_is_old_is_deleted_by_age(blob_place: BlobPlace, store: BlobStore) -> None:
    young, old = store.put_bytes(b"young"), store.put_bytes(b"old")
    blob_place.age(old, HOUR)
    assert set(store.older_than(HOUR / 2)) == {old}
    assert set(store.older_than(2 * HOUR)) == set()
    assert set(store.older_than(-HOUR)) == {young, old}
    assert store.delete_older(young, HOUR / 2) is False
    assert store.delete_older(old, 2 * HOUR) is False
    assert store.delete_older(old, HOUR / 2) is True
    assert store.exists(young)
    assert not store.exists(old)


def test_what_is_stored_again_is_young_again(blob_place: BlobPlace, store: BlobStore) -> None:
    store.put_bytes(DATA)
    blob_place.age(SHA256, HOUR)
    store.put_bytes(DATA)
    assert set(store.older_than(HOUR / 2)) == set()
    assert store.delete_older(SHA256, HOUR / 2) is False
    assert store.read(SHA256) == DATA


def test_a_deletion_beside_a_put_spares_what_was_put(
    blob_place: BlobPlace, store: BlobStore
) -> None:
    """Whichever comes first: who has stored a blob has it."""
    for _ in range(20):
        store.put_bytes(DATA)
        blob_place.age(SHA256, HOUR)
        together(
            [
                *[partial(store.delete_older, SHA256, HOUR / 2) for _ in range(2)],
                *[partial(store.put_bytes, DATA) for _ in range(2)],
            ]
        )
        assert store.read(SHA256) == DATA


def test_tidying_keeps_every_blob(blob_place: BlobPlace, store: BlobStore) -> None:
    sha256s = {store.put_bytes(text) for text in (b"one", b"two", b"one", b"two", b"one")}
    store.tidy(HOUR)
    for sha256 in sha256s:
        blob_place.age(sha256, HOUR)
    store.put_bytes(b"one")
    store.tidy(HOUR / 2)
    assert set(store.older_than(-HOUR)) == sha256s
    assert store.read(hashlib.sha256(b"one").hexdigest()) == b"one"
    store.tidy(-HOUR)
    assert len(blob_place.files()) == 2, "one copy of each"
    assert store.read(hashlib.sha256(b"two").hexdigest()) == b"two"
