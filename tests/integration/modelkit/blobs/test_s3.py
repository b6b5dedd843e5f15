"""Blobs in S3: credentials, outages, rivals without a lock, slow uploads and broken ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelkit.blobs import get_blob_store
from modelkit.blobs import s3 as s3_blobs
from modelkit.blobs.s3 import PART_BYTES, PUT_SECONDS, S3Blobs
from modelkit.errors import BlobsDenied, BlobsUnavailable
from modelkit.s3_client import Bucket
from tests.integration.modelkit.cutting_proxy import CuttingProxy
from tests.support.registries import with_secret
from tests.support.s3_server import S3Server, free_port

DATA = b"a line\n" * 1000
MIB = 1 << 20
HOUR = 3600.0
# An outage is noticed within the client's own attempts.
OUTAGE_SECONDS = 20.0


@pytest.fixture
def store(bucket: Bucket, s3_server: S3Server, tmp_path: Path) -> S3Blobs:
    made = S3Blobs(bucket, "cyrex/blobs", tmp_path / "scratch")
    vars(made)["_client"] = s3_server.client(bucket)
    return made


def elsewhere(store: S3Blobs, bucket: Bucket) -> S3Blobs:
    return S3Blobs(bucket, store.prefix, store._scratch)


def calls(store: S3Blobs, sha256: str) -> list[Callable[[], object]]:
    """Everything that asks the server."""
    return [
        partial(store.put_bytes, DATA),
        partial(store.exists, sha256),
        partial(store.open, sha256),
        partial(store.read, sha256),
        partial(store.delete, sha256),
        partial(store.delete_older, sha256, HOUR),
        lambda: list(store.older_than(HOUR)),
        partial(store.tidy, HOUR),
    ]


def test_a_wrong_secret_is_one_clear_error(store: S3Blobs) -> None:
    sha256 = store.put_bytes(DATA)
    for wrong in (with_secret(store.bucket, "wrong"), replace(store.bucket, access_key_id="no")):
        for call in calls(elsewhere(store, wrong), sha256):
            with pytest.raises(BlobsDenied, match="refuses the credentials") as denied:
                call()
            said = str(denied.value)
            assert len(said.splitlines()) == 1
            assert f"{store.bucket.name!r} at {store.bucket.endpoint_url}" in said
            assert wrong.secret_access_key not in said + repr(wrong)
    assert store.read(sha256) == DATA


def test_a_bucket_that_is_not_there_is_named(store: S3Blobs) -> None:
    nowhere = elsewhere(store, replace(store.bucket, name="nowhere"))
    with pytest.raises(BlobsUnavailable, match=r"'nowhere'.* does not exist"):
        nowhere.put_bytes(DATA)


def test_an_outage_is_an_os_error_and_is_outlived(tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    server = S3Server(tmp_path / "s3")
    store = S3Blobs(server.bucket("blobs"), "blobs", tmp_path / "scratch")
    sha256 = store.put_bytes(DATA)
    server.stop()
    try:
        began = time.monotonic()
        with pytest.raises(BlobsUnavailable, match=r"127\.0\.0\.1") as away:
            store.read(sha256)
        assert isinstance(away.value, OSError)
        assert time.monotonic() - began < OUTAGE_SECONDS
    finally:
        server.start()
    try:
        assert store.read(sha256) == DATA
    finally:
        server.stop()


def test_nothing_is_connected_before_it_is_used(tmp_path: Path) -> None:
    settings: Any = SimpleNamespace(
        blob_store_type="s3",
        blob_s3_prefix="blobs",
        work_dir=tmp_path / "work",
        s3_endpoint_url=f"http://127.0.0.1:{free_port()}",
        s3_bucket="bucket",
        s3_access_key_id="me",
        s3_secret_access_key="secret",
        s3_region="us-east-1",
    )
    store = get_blob_store(settings)
    assert get_blob_store(settings) is store
    assert not (tmp_path / "work").exists()
    with pytest.raises(BlobsUnavailable):
        store.put_bytes(DATA)
    assert list((tmp_path / "work").iterdir()) == []


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[CuttingProxy]:
    made = CuttingProxy(s3_server.port)
    yield made
    made.close()


def test_a_download_that_breaks_leaves_nothing(store: S3Blobs, proxy: CuttingProxy) -> None:
    data = os.urandom(PART_BYTES + MIB)
    sha256 = store.put_bytes(data)
    cut = elsewhere(store, replace(store.bucket, endpoint_url=f"http://127.0.0.1:{proxy.port}"))
    proxy.cut_after = 5 * MIB
    for read in (cut.read, cut.open):
        with pytest.raises(BlobsUnavailable):
            read(sha256)
    proxy.cut_after = None
    with cut.open(sha256) as stream:
        assert stream.read() == data
    assert list(store._scratch.iterdir()) == []


def test_what_is_stored_between_a_look_and_its_deletion_stays(
    store: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = store.put_bytes(DATA)
    look = store._copies

    def slowly(name: str) -> Any:
        found = look(name)
        store.put_bytes(DATA)
        return found

    monkeypatch.setattr(store, "_copies", slowly)
    assert store.delete_older(sha256, -HOUR) is True, "what was seen was old"
    monkeypatch.undo()
    assert store.read(sha256) == DATA


class Clock:
    """`monotonic`, which goes on by so many seconds from one look to the next."""

    def __init__(self, step: float, then: Callable[[], object] = lambda: None) -> None:
        self.now, self._step, self._then = 0.0, step, then

    def __call__(self) -> float:
        self.now += self._step
        if self.now > self._step:
            self._then()
        return self.now


def test_an_upload_that_took_long_is_young_nevertheless(
    store: S3Blobs, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_blobs, "monotonic", Clock(PUT_SECONDS + 1))
    sha256 = store.put_bytes(DATA)
    copies = store._copies(sha256)
    assert len(copies) == 2, "what took long, and what the server made of it"
    assert copies[0].age < PUT_SECONDS
    assert store.read(sha256) == DATA


def test_no_blob_is_named_that_is_already_old(
    store: S3Blobs, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This server dates a copy like its source."""

    def get_old() -> None:
        for path in (s3_server.root / store.bucket.name).rglob("*"):
            if path.is_file():
                os.utime(path, (1, 1))
        s3_server.notice()

    monkeypatch.setattr(s3_blobs, "monotonic", Clock(PUT_SECONDS + 1, get_old))
    monkeypatch.setattr(store, "_new_key", partial(_aged_key, store, get_old))
    with pytest.raises(BlobsUnavailable, match="more than 60 s"):
        store.put_bytes(DATA)


def _aged_key(store: S3Blobs, get_old: Callable[[], None], sha256: str) -> str:
    get_old()
    return S3Blobs._new_key(store, sha256)


def test_uploads_that_broke_off_are_aborted(store: S3Blobs, s3_server: S3Server) -> None:
    """What a process leaves that is killed while it sends."""
    client, name = s3_server.client(store.bucket), store.bucket.name
    keys = [store._new_key("0" * 64), "models/acme/1/model/weights"]
    for key in keys:
        upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
        client.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=1, Body=bytes(5 * MIB))

    def under_way() -> list[str]:
        return [u["Key"] for u in client.list_multipart_uploads(Bucket=name).get("Uploads", [])]

    assert sorted(under_way()) == sorted(keys)
    assert list(store.older_than(-HOUR)) == []
    store.tidy(HOUR)
    assert sorted(under_way()) == sorted(keys), "they may be going on"
    store.tidy(-HOUR)
    assert under_way() == keys[1:], "the registry's are not ours"


def test_what_others_keep_in_the_bucket_is_left_alone(store: S3Blobs, s3_server: S3Server) -> None:
    client, name = s3_server.client(store.bucket), store.bucket.name
    sha256 = store.put_bytes(DATA)
    others = [
        "models/acme/1/metadata.json",
        "cyrex/blobs/readme",
        f"cyrex/blobs2/{sha256}/1",
        f"other/{sha256}/1",
    ]
    for key in others:
        client.put_object(Bucket=name, Key=key, Body=b"")
    store.tidy(-HOUR)
    assert list(store.older_than(-HOUR)) == [sha256]
    assert store.delete_older(sha256, -HOUR)
    listed = client.list_objects_v2(Bucket=name)["Contents"]
    assert sorted(item["Key"] for item in listed) == sorted(others)
