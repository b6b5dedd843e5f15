"""A blob store of either kind, and the bytes on this disk beneath it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelkit.blobs import BlobStore
from modelkit.s3_client import Bucket
from tests.support.s3_server import S3Server

KINDS = ("local", "s3")


@dataclass(frozen=True)
class BlobPlace:
    """A store; what a test does to its files, the store sees."""

    kind: str
    store: BlobStore
    root: Path
    server: S3Server

    def files(self, sha256: str = "") -> list[Path]:
        """The files of a blob, or everything that is no folder."""
        found = [path for path in self.root.rglob("*") if path.is_file() and path.name != ".lock"]
        return [path for path in found if sha256 in path.parts[-2:] or not sha256]

    def write(self, sha256: str, data: bytes) -> None:
        """Let a blob, every copy of it, have other bytes."""
        for path in self.files(sha256):
            path.write_bytes(data)
        self.notice()

    def age(self, sha256: str, seconds: float) -> None:
        """Let a blob, every copy of it, be so old."""
        then = time.time() - seconds
        for path in self.files(sha256):
            os.utime(path, (then, then))
        self.notice()

    def notice(self) -> None:
        if self.kind == "s3":
            self.server.notice()


def point_at(patch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    """Let the settings name this bucket, for blobs."""
    patch.setenv("BLOB_STORE_TYPE", "s3")
    patch.setenv("S3_ENDPOINT_URL", bucket.endpoint_url)
    patch.setenv("S3_BUCKET", bucket.name)
    patch.setenv("S3_ACCESS_KEY_ID", bucket.access_key_id)
    patch.setenv("S3_SECRET_ACCESS_KEY", bucket.secret_access_key)
