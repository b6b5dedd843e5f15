"""A content-addressed store of bytes: datasets, checkpoints, packages and receipts.

In a directory (`modelkit.directory_blobs`) for one machine, or for all that share it; in an S3
bucket (`modelkit.s3_blobs`) for machines that share nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from modelkit.durable import CHUNK_BYTES, open_plain
from modelkit.errors import BlobTooLarge
from modelkit.s3_client import Bucket, S3Settings, bucket_of

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


class BlobSettings(S3Settings, Protocol):
    """What `get_blob_store` reads of the settings."""

    @property
    def blob_store_type(self) -> str: ...
    @property
    def blob_dir(self) -> str | os.PathLike[str]: ...
    @property
    def blob_s3_prefix(self) -> str: ...
    @property
    def work_dir(self) -> str | os.PathLike[str]: ...


def get_blob_store(settings: BlobSettings) -> BlobStore:
    """The store that BLOB_STORE_TYPE names, one a process for the same settings.

    Connects to nothing yet. Raises OSError where BLOB_DIR cannot be made.
    """
    if settings.blob_store_type == "s3":
        pid = os.getpid()  # A forked process makes connections of its own.
        return _in_s3(pid, bucket_of(settings), settings.blob_s3_prefix, Path(settings.work_dir))
    return _in_directory(Path(settings.blob_dir))


@lru_cache(maxsize=8)
def _in_directory(root: Path) -> BlobStore:
    from modelkit.directory_blobs import DirectoryBlobs

    return DirectoryBlobs(root)


@lru_cache(maxsize=8)
def _in_s3(_pid: int, bucket: Bucket, prefix: str, scratch: Path) -> BlobStore:
    from modelkit.s3_blobs import S3Blobs

    return S3Blobs(bucket, prefix, scratch)
