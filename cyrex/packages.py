"""An adapter package on its way from the trainer to the registry, by way of the blob store.

The manifest is stored as a blob too: its SHA-256 is the package's identity.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from modelkit import package
from modelkit.blobs import BlobStore
from modelkit.durable import CHUNK_BYTES
from modelkit.package import Manifest


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
