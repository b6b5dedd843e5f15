"""Adapter packages on this machine's disk: fetched from the registry once, verified, shared."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from database.models import LoraAdapter
from modelkit.cache import AdapterCache
from modelkit.registry import get_registry
from settings import get_settings


def adapter_cache() -> AdapterCache:
    return _cache(get_settings().adapter_cache_dir.resolve())


@lru_cache(maxsize=1)
def _cache(folder: Path) -> AdapterCache:
    return AdapterCache(folder)


def local_package(company_id: str, version: int, sha256: str) -> Path:
    """The folder of a registered adapter, whose bytes are those that its row names.

    Raises what the registry raises, or `PackageRefused` when it holds other bytes.
    """
    registry = get_registry(get_settings())

    def download(folder: Path) -> None:
        registry.download_model(company_id, version, folder)

    return adapter_cache().fetch(sha256, download)


def package_of(adapter: LoraAdapter) -> Path:
    """`local_package` of a row that has been registered."""
    assert adapter.sha256 is not None, f"adapter {adapter.adapter_id} has no package"
    return local_package(adapter.company_id, adapter.version, adapter.sha256)
