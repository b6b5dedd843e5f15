"""The interface of a package store: a directory or a bucket.

Layout: `models/{name}/{version}/model/…` beside `models/{name}/{version}/metadata.json`, and
`models/{name}/aliases/{alias}`. A version exists once its `metadata.json` does, which is written
last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from modelkit.package import FileEntry, Manifest


class Store(Protocol):
    """Callers check names and versions. Every method raises OSError in an outage."""

    def names(self) -> list[str]:
        """The names of models, sorted. A model may have no version yet."""

    def versions(self, name: str) -> list[int]:
        """The versions of `name`, ascending."""

    def put(
        self, name: str, version: int, source: Path, manifest: Manifest, document: bytes
    ) -> bytes:
        """Store a version unless it exists; returns the version's document.

        Raises PackageRefused if the files at `source` are not those of the manifest.
        """

    def delete(self, name: str, version: int) -> bool:
        """Delete a version, its document first; returns whether it was there."""

    def document(self, name: str, version: int) -> bytes | None:
        """The version's document, or None if the version does not exist."""

    def path(self, name: str, version: int, sha256: str) -> str:
        """The place of the package's files: a folder, or an `s3://` address."""

    def address(self, name: str, version: int, sha256: str) -> str:
        """The place of the package's files as a URI."""

    def read(
        self, name: str, version: int, sha256: str, entry: FileEntry, offset: int
    ) -> Iterator[bytes]:
        """A file's bytes from `offset` on.

        Raises PackageRefused if it is missing, a link, or of another size than the entry says.
        """

    def read_alias(self, name: str, alias: str) -> bytes | None:
        """The bytes of an alias, or None."""

    def write_alias(self, name: str, alias: str, value: bytes | None) -> None:
        """Replace an alias atomically, or remove it (None)."""
