"""S3: broken downloads, credentials, outages, rivals."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from modelkit import package, s3_store
from modelkit.cache import AdapterCache
from modelkit.errors import RegistryDenied, RegistryUnavailable, VersionExists
from modelkit.s3_client import Bucket
from modelkit.s3_store import S3Store
from modelkit.store_registry import StoreRegistry
from tests.integration.modelkit.condition_proxy import ConditionProxy
from tests.integration.modelkit.cutting_proxy import CuttingProxy
from tests.support.model_packages import CONFIG, Q_PROJ, write_package
from tests.support.registries import with_secret
from tests.support.s3_server import S3Server, free_port
from tests.support.waiting import together

WEIGHTS = "adapter_model.safetensors"
MIB = 1 << 20
# An outage is noticed within the client's own attempts.
OUTAGE_SECONDS = 20.0


def registry_of(bucket: Bucket) -> StoreRegistry:
    return StoreRegistry(S3Store(bucket))


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[CuttingProxy]:
    made = CuttingProxy(s3_server.port)
    yield made
    made.close()


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A package of 12 MiB: more than one part of an upload."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    width = 12 * MIB // 16
    header = {
        f"{Q_PROJ}.lora_{side}.weight": {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [begin, begin + 8 * width],
        }
        for side, shape, begin in (("A", [2, width], 0), ("B", [width, 2], 8 * width))
    }
    text = json.dumps(header).encode()
    body = b"".join(struct.pack("<Q", i) for i in range(2 * width))
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + body)
    return folder


def test_a_download_that_breaks_goes_on_from_there(
    bucket: Bucket, proxy: CuttingProxy, big: Path, tmp_path: Path
) -> None:
    model = registry_of(bucket).register_model("acme", 1, big, {})
    registry = registry_of(replace(bucket, endpoint_url=f"http://127.0.0.1:{proxy.port}"))
    cache = AdapterCache(tmp_path / "cache")
    download = partial(registry.download_model, "acme", 1)
    proxy.cut_after = 5 * MIB
    for _ in range(2):
        with pytest.raises(RegistryUnavailable) as unavailable:
            cache.fetch(model.sha256, download)
        assert isinstance(unavailable.value, OSError)
    assert not (cache.root / model.sha256).exists()
    proxy.cut_after = None
    package.verify(cache.fetch(model.sha256, download), model.manifest)
    # Every byte came about once, by ranges.
    size = (big / WEIGHTS).stat().st_size
    assert size < proxy.passed < size + MIB
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in proxy.ranges]
    assert len(starts) == 2
    assert 4 * MIB < starts[0] < starts[1] < size
    assert list((cache.root / ".incoming").iterdir()) == []


def test_what_an_earlier_try_left_is_verified_too(
    bucket: Bucket, proxy: CuttingProxy, big: Path, tmp_path: Path
) -> None:
    model = registry_of(bucket).register_model("acme", 1, big, {})
    registry = registry_of(replace(bucket, endpoint_url=f"http://127.0.0.1:{proxy.port}"))
    proxy.cut_after = 5 * MIB
    with pytest.raises(RegistryUnavailable):
        registry.download_model("acme", 1, tmp_path / "copies" / "new")
    (left,) = (tmp_path / "copies").iterdir()
    with (left / WEIGHTS).open("r+b") as stream:
        stream.seek(MIB)
        stream.write(b"damaged on this disk")
    (left / "evil.pkl").write_bytes(b"")
    (left / "folder").mkdir()
    proxy.cut_after = None
    copy = registry.download_model("acme", 1, tmp_path / "copies" / "new")
    package.verify(copy, model.manifest)
    assert list((tmp_path / "copies").iterdir()) == [copy]


def test_a_broken_upload_leaves_no_version(
    bucket: Bucket, big: Path, s3_server: S3Server, tmp_path: Path
) -> None:
    nowhere = registry_of(replace(bucket, endpoint_url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(RegistryUnavailable):
        nowhere.register_model("acme", 1, big, {})
    registry = registry_of(bucket)
    assert registry.list_models() == []
    assert registry.register_model("acme", 1, big, {}).version == 1


def test_a_wrong_secret_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    source = write_package(tmp_path / "a")
    registry_of(bucket).register_model("acme", 1, source, {})
    for wrong in (with_secret(bucket, "wrong"), replace(bucket, access_key_id="nobody")):
        registry = registry_of(wrong)
        for call in (
            partial(registry.get_model, "acme", 1),
            partial(registry.list_models),
            partial(registry.register_model, "acme", 2, source, {}),
            partial(registry.download_model, "acme", 1, tmp_path / "copy"),
            partial(registry.set_alias, "acme", "champion", None),
        ):
            with pytest.raises(RegistryDenied, match="refuses the credentials") as denied:
                call()
            assert wrong.secret_access_key not in str(denied.value)
    assert [m.version for m in registry_of(bucket).list_models()] == [1]


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(RegistryUnavailable, match=r"'nowhere'.* does not exist"):
        registry_of(replace(bucket, name="nowhere")).list_models()


def test_an_outage_is_noticed_and_outlived(tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    server = S3Server(tmp_path / "s3")
    registry = registry_of(server.bucket("adapters"))
    registry.register_model("acme", 1, write_package(tmp_path / "a"), {})
    server.stop()
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1") as away:
        registry.get_model("acme", 1)
    assert isinstance(away.value, OSError)
    assert time.monotonic() - began < OUTAGE_SECONDS
    server.start()
    try:
        assert registry.get_model("acme", 1).version == 1
    finally:
        server.stop()


@pytest.fixture
def looking(s3_server: S3Server) -> Iterator[ConditionProxy]:
    made = ConditionProxy(s3_server.port)
    yield made
    made.close()


@pytest.mark.parametrize("looks", [True, False])
def test_rivals_for_a_version_leave_one_whole(
    bucket: Bucket, looking: ConditionProxy, looks: bool, tmp_path: Path
) -> None:
    """Where the server looks at If-None-Match, and where it takes no notice."""
    if looks:
        bucket = replace(bucket, endpoint_url=f"http://127.0.0.1:{looking.port}")
    sources = [write_package(tmp_path / str(seed), seed) for seed in range(4)]
    registries = [registry_of(bucket) for _ in sources]

    def register(registry: StoreRegistry, source: Path) -> str | None:
        try:
            return registry.register_model("acme", 1, source, {}).sha256
        except VersionExists:
            return None

    answers = together([partial(register, *pair) for pair in zip(registries, sources, strict=True)])
    stored = registry_of(bucket).get_model("acme", 1)
    assert {answer for answer in answers if answer is not None} == {stored.sha256}
    copy = registry_of(bucket).download_model("acme", 1, tmp_path / "copy")
    package.verify(copy, stored.manifest)
    # The winner asks once more, to learn whether the server looks.
    assert (looking.refused >= 1) is looks


def test_a_document_is_not_written_over(
    bucket: Bucket, looking: ConditionProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where the server looks, nobody waits to see whose it became."""
    monkeypatch.setattr(s3_store, "SETTLE_SECONDS", 60.0)
    store = S3Store(replace(bucket, endpoint_url=f"http://127.0.0.1:{looking.port}"))
    began = time.monotonic()
    store._create("models/acme/1/metadata.json", b"first")
    store._create("models/acme/1/metadata.json", b"second")
    assert store.document("acme", 1) == b"first"
    assert time.monotonic() - began < 60
