"""A content-addressed store of bytes: datasets, checkpoints, packages and receipts.

`modelkit.blobs.directory` keeps blobs in a directory, for one machine or all that share it;
`modelkit.blobs.s3` in an S3 bucket, for machines that share nothing else.
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
    """The settings that `get_blob_store` reads."""

    @property
    def blob_store_type(self) -> str: ...
    @property
    def blob_dir(self) -> str | os.PathLike[str]: ...
    @property
    def blob_s3_prefix(self) -> str: ...
    @property
    def work_dir(self) -> str | os.PathLike[str]: ...


def get_blob_store(settings: BlobSettings) -> BlobStore:
    """The store that BLOB_STORE_TYPE names: one object a process for the same settings.

    Does not connect yet. Raises OSError if BLOB_DIR cannot be made.
    """
    if settings.blob_store_type == "s3":
        pid = os.getpid()  # A forked process needs connections of its own.
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
