"""The interface of a blob store, and what its implementations share."""

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
    """The same text. Raises ValueError for what is no SHA-256 in lower-case hex."""
    if not SHA256_PATTERN.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
    return sha256


def limited(chunks: Iterable[bytes], max_bytes: int | None) -> Iterator[bytes]:
    """The chunks as they come. Raises BlobTooLarge once they are more than `max_bytes`."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise BlobTooLarge(f"more than {max_bytes} bytes")
        yield chunk


class BlobStore(Protocol):
    """Bytes under their own SHA-256. Safe for any number of threads, processes and machines.

    A blob is durable before its name is returned, so a row that names it may commit afterwards.
    Storing the same bytes again makes the blob young again: who deletes only what is older than
    it takes from storing to commit never deletes what is about to be named. A blob that has just
    been stored is at most `put_seconds` old.
    An outage is an OSError in every method. What is no SHA-256 in lower-case hex is a ValueError.
    """

    put_seconds: float

    def put_bytes(self, data: bytes) -> str:
        """Store `data`; returns its SHA-256. Storing the same bytes again repairs the blob."""
        return self.put_stream([data])

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Store a copy of a regular file (links are not followed); returns its SHA-256."""
        with open_plain(Path(path)) as source:
            return self.put_stream(iter(lambda: source.read(CHUNK_BYTES), b""))

    def put_stream(self, chunks: Iterable[bytes], max_bytes: int | None = None) -> str:
        """Store chunks as they come; returns the SHA-256 of the whole.

        Raises BlobTooLarge as soon as more than `max_bytes` have come, and keeps nothing.
        """

    def exists(self, sha256: str) -> bool:
        """Whether the blob is there. Its bytes are not verified by this call."""

    def open(self, sha256: str) -> BinaryIO:
        """A verified blob on this machine, opened for reading at its start.

        Raises BlobMissing, or BlobCorrupt where the bytes do not match the name.
        """

    def read(self, sha256: str) -> bytes:
        """The verified bytes. Raises BlobMissing or BlobCorrupt."""

    def delete(self, sha256: str) -> bool:
        """Remove a blob for good; returns whether it was there."""

    def older_than(self, seconds: float) -> Iterator[str]:
        """The names of blobs that nobody has stored for so long."""

    def delete_older(self, sha256: str, seconds: float) -> bool:
        """`delete`, unless somebody has stored the same bytes within the last `seconds`."""

    def tidy(self, seconds: float) -> None:
        """Remove what is no blob, or a blob's second copy, and that nobody touched for so long."""
