"""What a place for packages does: a directory, or a bucket.

Layout: `models/{name}/{version}/model/…` beside `models/{name}/{version}/metadata.json`, and
`models/{name}/aliases/{alias}`. A version exists once its `metadata.json` does, which is written
after everything that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from modelkit.package import FileEntry, Manifest


class Store(Protocol):
    """Names and versions are checked by the caller. An outage is an OSError in every method."""

    def names(self) -> list[str]:
        """Names that may have versions, sorted."""

    def versions(self, name: str) -> list[int]:
        """The versions of `name`, ascending."""

    def put(
        self, name: str, version: int, source: Path, manifest: Manifest, document: bytes
    ) -> bytes:
        """Store a version unless it exists; returns the document that it has afterwards.

        Raises PackageRefused where the files at `source` are not those of the manifest.
        """

    def delete(self, name: str, version: int) -> bool:
        """Delete a version, its document first; returns whether it was there."""

    def document(self, name: str, version: int) -> bytes | None:
        """The version's document; None where it does not exist."""

    def path(self, name: str, version: int, sha256: str) -> str:
        """Where the package's files lie: a folder, or an `s3://` address."""

    def address(self, name: str, version: int, sha256: str) -> str:
        """The same as a URI."""

    def read(
        self, name: str, version: int, sha256: str, entry: FileEntry, offset: int
    ) -> Iterator[bytes]:
        """A file's bytes from `offset` on.

        Raises PackageRefused where it is missing, a link, or of another size than the entry says.
        """

    def read_alias(self, name: str, alias: str) -> bytes | None:
        """What an alias holds; None where there is none."""

    def write_alias(self, name: str, alias: str, value: bytes | None) -> None:
        """Replace an alias as a whole, or remove it (None)."""
