from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkit import package
from modelkit.cache import AdapterCache
from modelkit.errors import PackageRefused, Refusal

Make = Callable[..., Path]


class Source:
    """A download that counts how often it ran."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.folder = folder
        self.seconds = seconds
        self.calls = 0
        self.sha256 = package.build(folder).sha256

    def __call__(self, destination: Path) -> None:
        self.calls += 1
        time.sleep(self.seconds)
        shutil.copytree(self.folder, destination, dirs_exist_ok=True)


@pytest.fixture
def cache(tmp_path: Path) -> AdapterCache:
    return AdapterCache(tmp_path / "cache")


def leftovers(cache: AdapterCache) -> list[str]:
    return [path.name for path in (cache.root / ".incoming").iterdir()]


def test_a_package_is_fetched_once(cache: AdapterCache, make_package: Make) -> None:
    source = Source(make_package("a"))
    path = cache.fetch(source.sha256, source)
    assert cache.fetch(source.sha256, source) == path
    assert AdapterCache(cache.root).fetch(source.sha256, source) == path
    assert source.calls == 1
    assert package.build(path) == cache.manifest(source.sha256)
    assert leftovers(cache) == []


def test_many_threads_fetch_once(cache: AdapterCache, make_package: Make) -> None:
    source = Source(make_package("a"), seconds=0.05)
    threads = [
        threading.Thread(target=cache.fetch, args=(source.sha256, source)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls == 1


def damage_bytes(path: Path) -> None:
    weights = path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")


def truncate(path: Path) -> None:
    (path / "adapter_model.safetensors").write_bytes(b"")


def remove_file(path: Path) -> None:
    (path / "receipt.json").unlink()


def add_file(path: Path) -> None:
    (path / "x.pkl").write_bytes(b"x")


@pytest.mark.parametrize("damage", [damage_bytes, truncate, remove_file, add_file])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_damaged_entry_is_fetched_again(
    cache: AdapterCache, make_package: Make, damage: Callable[[Path], None], fresh: bool
) -> None:
    source = Source(make_package("a"))
    damage(cache.fetch(source.sha256, source))
    if fresh:
        cache = AdapterCache(cache.root)
    with pytest.raises(PackageRefused, match="is missing"):
        cache.manifest(source.sha256)
    assert package.build(cache.fetch(source.sha256, source)).sha256 == source.sha256
    assert source.calls == 2
    assert leftovers(cache) == []


def test_other_bytes_are_refused_and_nothing_stays(cache: AdapterCache, make_package: Make) -> None:
    wanted, brought = Source(make_package("a")), Source(make_package("b", seed=1))
    with pytest.raises(PackageRefused) as refused:
        cache.fetch(wanted.sha256, brought)
    assert refused.value.reason is Refusal.WRONG_IDENTITY
    assert not (cache.root / wanted.sha256).exists()
    assert leftovers(cache) == []
    cache.fetch(wanted.sha256, wanted)


def test_a_download_that_fails_leaves_nothing(cache: AdapterCache, make_package: Make) -> None:
    source = Source(make_package("a"))

    def broken(destination: Path) -> None:
        (destination / "adapter_config.json").write_text("{")
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        cache.fetch(source.sha256, broken)
    assert leftovers(cache) == []


def test_what_a_dead_process_left_does_not_get_in(cache: AdapterCache, make_package: Make) -> None:
    source = Source(make_package("a"))
    remains = cache.root / ".incoming" / source.sha256 / "package"
    remains.mkdir(parents=True)
    (remains / "x.pkl").write_bytes(b"x")
    assert cache.fetch(source.sha256, source)
    assert leftovers(cache) == []


def test_delete_removes_an_entry(cache: AdapterCache, make_package: Make) -> None:
    source = Source(make_package("a"))
    path = cache.fetch(source.sha256, source)
    assert cache.delete(source.sha256) is True
    assert not path.exists()
    assert cache.delete(source.sha256) is False


@pytest.mark.parametrize("name", ["", "..", "x" * 64, "A" * 64])
def test_only_a_hash_is_an_identity(cache: AdapterCache, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        cache.fetch(name, lambda _: None)
