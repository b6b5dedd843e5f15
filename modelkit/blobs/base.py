"""The interface of a blob store, and helpers that its implementations share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from modelkit.durable import CHUNK_BYTES, open_plain
from modelkit.errors import BlobTooLarge

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
# A temporary file this old belongs to a process that died.
INCOMING_MAX_AGE_SECONDS = 24 * 3600


def checked_sha256(sha256: str) -> str:
    """Return `sha256`. Raises ValueError unless it is a SHA-256 in lower-case hex."""
    if not SHA256_PATTERN.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    return sha256


def limited(chunks: Iterable[bytes], max_bytes: int | None) -> Iterator[bytes]:
    """Pass the chunks through. Raises BlobTooLarge once they exceed `max_bytes` in total."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise BlobTooLarge(f"more than {max_bytes} bytes")
        yield chunk


class BlobStore(Protocol):
    """Bytes under their own SHA-256. Safe for any number of threads, processes and machines.

    A blob is durable before its name is returned, so a row that names it may commit afterwards.
    Storing the same bytes again resets the blob's age. So a sweep that deletes only blobs older
    than the time from storing to commit never deletes one that a row is about to name. A blob that
    was just stored is at most `put_seconds` old.
    Every method raises OSError in an outage, and ValueError for a malformed SHA-256.
    """

    put_seconds: float

    def put_bytes(self, data: bytes) -> str:
        """Store `data`; returns its SHA-256. Storing it again repairs a damaged blob."""
        return self.put_stream([data])

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Store a copy of a regular file (links are not followed); returns its SHA-256."""
        with open_plain(Path(path)) as source:
            return self.put_stream(iter(lambda: source.read(CHUNK_BYTES), b""))

    def put_stream(self, chunks: Iterable[bytes], max_bytes: int | None = None) -> str:
        """Store the joined chunks; returns their SHA-256.

        Raises BlobTooLarge as soon as they exceed `max_bytes`, and stores nothing.
        """

    def exists(self, sha256: str) -> bool:
        """Whether the blob exists. Does not verify its bytes."""

    def open(self, sha256: str) -> BinaryIO:
        """A local file with the verified bytes, opened for reading at its start.

        Raises BlobMissing, or BlobCorrupt if the bytes do not match the name.
        """

    def read(self, sha256: str) -> bytes:
        """The verified bytes. Raises BlobMissing or BlobCorrupt."""

    def delete(self, sha256: str) -> bool:
        """Delete a blob; returns whether it existed."""

    def older_than(self, seconds: float) -> Iterator[str]:
        """The names of blobs that were last stored more than `seconds` ago."""

    def delete_older(self, sha256: str, seconds: float) -> bool:
        """`delete`, unless the blob was stored (again) within the last `seconds`."""

    def tidy(self, seconds: float) -> None:
        """Delete temporary files and duplicate copies of blobs that are older than `seconds`."""
