"""An adapter's files: a package in the blob store, in the registry, and in a cache on disk.

The manifest is a blob too: its SHA-256 is the package's identity.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

from database.models import LoraAdapter
from modelkit import package
from modelkit.blobs import BlobStore
from modelkit.cache import AdapterCache
from modelkit.durable import CHUNK_BYTES
from modelkit.package import Manifest
from modelkit.registry import get_registry
from settings import get_settings


def put_package(blobs: BlobStore, folder: Path) -> str:
    """Store a package file by file, then its manifest; returns the package's SHA-256.

    Raises `modelkit.errors.PackageRefused` for what is not a servable adapter.
    """
    manifest = package.build(folder)
    for entry in manifest.files:
        blobs.put_file(folder / entry.path)
    sha256 = blobs.put_bytes(manifest.to_json().encode())
    assert sha256 == manifest.sha256
    return sha256


def get_package(blobs: BlobStore, sha256: str, folder: Path) -> None:
    """Fill an empty folder with the package's verified files.

    Raises `BlobMissing`, `BlobCorrupt` or `PackageRefused`.
    """
    manifest = Manifest.from_json(blobs.read(sha256).decode(), sha256)
    for entry in manifest.files:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with blobs.open(entry.sha256) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
    package.verify(folder, manifest)


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
