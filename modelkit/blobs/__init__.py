"""A content-addressed store of bytes: datasets, checkpoints, packages and receipts.

In a directory (`modelkit.blobs.directory`) for one machine, or for all that share it; in an S3
bucket (`modelkit.blobs.s3`) for machines that share nothing else.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from modelkit.blobs.base import BlobStore
from modelkit.s3_client import Bucket, S3Settings, bucket_of

__all__ = ["BlobSettings", "BlobStore", "get_blob_store"]


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
    from modelkit.blobs.directory import DirectoryBlobs

    return DirectoryBlobs(root)


@lru_cache(maxsize=8)
def _in_s3(_pid: int, bucket: Bucket, prefix: str, scratch: Path) -> BlobStore:
    from modelkit.blobs.s3 import S3Blobs

    return S3Blobs(bucket, prefix, scratch)
