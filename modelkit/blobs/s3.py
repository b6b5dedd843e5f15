"""A store of blobs in an S3 bucket, for machines that share nothing else.

Layout: `{prefix}/{sha256}/{a name of its own}`. S3 has no lock, and needs none here: whoever
stores a blob writes a copy under a name that nobody else has, so a copy never changes and never
becomes young again. A deletion names copies that the server's own clock says are old, and what is
stored meanwhile is another copy: between the look and the deletion nothing can happen to it.

The server must list what it has just taken, as AWS and the common servers do.
"""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from io import BytesIO
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import IO, Any, BinaryIO

from modelkit.blobs.base import SHA256_PATTERN, BlobStore, checked_sha256, limited
from modelkit.durable import CHUNK_BYTES, make_folder
from modelkit.errors import (
    BlobCorrupt,
    BlobMissing,
    BlobsDenied,
    BlobsUnavailable,
    RegistryDenied,
    RegistryUnavailable,
)
from modelkit.s3_client import Bucket, code_of, outages

# What is larger is sent and brought in parts of this size, so many at a time.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
# One request copies at most 5 GB; S3 does it by itself.
COPY_BYTES = 5_000_000_000
# S3 dates an object from when its upload began. One that took longer is copied, which makes it
# young.
PUT_SECONDS = 60.0
# The server cannot tell which uploads broke off, or knows of none.
UNTOLD = frozenset({"501", "NotImplemented", "405", "MethodNotAllowed", "NoSuchUpload"})


@dataclass(frozen=True, slots=True)
class _Copy:
    """An object that holds a blob's bytes; `age` in seconds, by the server's clock."""

    sha256: str
    key: str
    age: float


class S3Blobs(BlobStore):
    """See BlobStore. Connects when it is first used. `scratch`: a folder for passing files."""

    put_seconds = PUT_SECONDS

    def __init__(self, bucket: Bucket, prefix: str, scratch: Path) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self._scratch = scratch

    @cached_property
    def _client(self) -> Any:
        return self.bucket.connect()

    def put_stream(self, chunks: Iterable[bytes], max_bytes: int | None = None) -> str:
        """See BlobStore. The bytes pass through a file, for nothing is sent before its name is
        known; a process that is killed leaves none."""
        digest = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(PART_BYTES, dir=str(self._folder())) as file:
            for chunk in limited(chunks, max_bytes):
                digest.update(chunk)
                file.write(chunk)
            file.seek(0)
            self._send(digest.hexdigest(), file)
        return digest.hexdigest()

    def exists(self, sha256: str) -> bool:
        """See BlobStore."""
        return bool(self._copies(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """See BlobStore. The file has no name, and goes when it is closed."""
        with ExitStack() as unless_whole:
            file = unless_whole.enter_context(tempfile.TemporaryFile(dir=self._folder()))
            self._bring(sha256, file)
            unless_whole.pop_all()
        return file

    def read(self, sha256: str) -> bytes:
        """See BlobStore."""
        data = BytesIO()
        self._bring(sha256, data)
        return data.getvalue()

    def delete(self, sha256: str) -> bool:
        """See BlobStore."""
        copies = self._copies(sha256)
        self._remove(copies)
        return bool(copies)

    def older_than(self, seconds: float) -> Iterator[str]:
        """See BlobStore."""
        for sha256, copies in groupby(self._list(), attrgetter("sha256")):
            if all(copy.age > seconds for copy in copies):
                yield sha256

    def delete_older(self, sha256: str, seconds: float) -> bool:
        """See BlobStore."""
        copies = self._copies(sha256)
        old = [copy for copy in copies if copy.age > seconds]
        self._remove(old)
        return bool(copies) and len(old) == len(copies)

    def tidy(self, seconds: float) -> None:
        """See BlobStore: uploads that broke off, and of a blob's old copies all but the newest."""
        for _, copies in groupby(self._list(), attrgetter("sha256")):
            old = [copy for copy in copies if copy.age > seconds]
            self._remove(sorted(old, key=attrgetter("age"))[1:])
        self._abort_uploads(seconds)

    def _send(self, sha256: str, file: IO[bytes]) -> None:
        """Write a new copy, which is at most PUT_SECONDS old when this returns."""
        began, key = monotonic(), self._new_key(sha256)
        with self._answers():
            self._client.upload_fileobj(file, self.bucket.name, key, Config=_parts())
        if monotonic() - began > PUT_SECONDS:
            self._renew(sha256, key)

    def _renew(self, sha256: str, key: str) -> None:
        """Let the server copy what was long under way, and look what age it gives to the copy."""
        source, renewed = {"Bucket": self.bucket.name, "Key": key}, self._new_key(sha256)
        with self._answers():
            self._client.copy(source, self.bucket.name, renewed, Config=_parts(COPY_BYTES))
        if not any(c.key == renewed and c.age <= PUT_SECONDS for c in self._copies(sha256)):
            raise BlobsUnavailable(
                f"{self.bucket.place} took more than {PUT_SECONDS:g} s to take blob {sha256}, "
                "and has no younger copy of it"
            )

    def _bring(self, sha256: str, target: IO[bytes]) -> None:
        """Fill `target` with the verified bytes, and go back to its start."""
        copies = self._copies(sha256)
        came = False
        for copy in copies:
            target.seek(0)
            target.truncate()
            try:
                with self._answers():
                    self._client.download_fileobj(
                        self.bucket.name, copy.key, target, Config=_parts()
                    )
            except FileNotFoundError:
                continue
            came = True
            if _sha256_of(target) == sha256:
                target.seek(0)
                return
        if came:
            raise BlobCorrupt(f"the bytes of blob {sha256} do not match its name")
        raise BlobMissing(f"no blob {sha256}")

    def _new_key(self, sha256: str) -> str:
        return f"{self.prefix}/{sha256}/{uuid.uuid4().hex}"

    def _copies(self, sha256: str) -> list[_Copy]:
        """All copies of a blob, the newest first."""
        return sorted(self._list(f"{checked_sha256(sha256)}/"), key=attrgetter("age"))

    def _list(self, start: str = "") -> Iterator[_Copy]:
        """All copies in the order of their keys, so that those of a blob come together."""
        with self._answers():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket.name, Prefix=f"{self.prefix}/{start}"
            )
            for page in pages:
                now = _date_of(page)
                for item in page.get("Contents", []):
                    sha256, _, name = item["Key"].removeprefix(f"{self.prefix}/").partition("/")
                    if SHA256_PATTERN.fullmatch(sha256) and name:
                        age = (now - item["LastModified"]).total_seconds()
                        yield _Copy(sha256, item["Key"], age)

    def _remove(self, copies: Iterable[_Copy]) -> None:
        for copy in copies:
            with self._answers():
                self._client.delete_object(Bucket=self.bucket.name, Key=copy.key)

    def _abort_uploads(self, seconds: float) -> None:
        from botocore.exceptions import ClientError

        with self._answers():
            try:
                pages = self._client.get_paginator("list_multipart_uploads").paginate(
                    Bucket=self.bucket.name, Prefix=f"{self.prefix}/"
                )
                for page in pages:
                    now = _date_of(page)
                    for upload in page.get("Uploads", []):
                        if (now - upload["Initiated"]).total_seconds() > seconds:
                            self._abort(upload)
            except ClientError as error:
                if code_of(error) not in UNTOLD:
                    raise

    def _abort(self, upload: Any) -> None:
        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            self._client.abort_multipart_upload(Bucket=self.bucket.name, **named)
        except self._client.exceptions.NoSuchUpload:
            return  # It has ended meanwhile.

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """`outages`, under the names of a blob store's errors."""
        try:
            _ = self._client  # Without boto3, this says so.
            with outages(self.bucket):
                yield
        except RegistryDenied as error:
            raise BlobsDenied(str(error)) from error
        except RegistryUnavailable as error:
            raise BlobsUnavailable(str(error)) from error

    def _folder(self) -> Path:
        make_folder(self._scratch)
        return self._scratch


def _parts(threshold: int = PART_BYTES) -> Any:
    """How what is larger than `threshold` is sent, brought or copied."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=threshold,
        multipart_chunksize=PART_BYTES,
        max_concurrency=PARTS_AT_ONCE,
    )
    # Parts that are read and wait for a thread are held in memory.
    config.max_in_memory_upload_chunks = PARTS_AT_ONCE
    return config


def _date_of(answer: Any) -> datetime:
    """When the server gave an answer, by its own clock."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _sha256_of(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
