"""A store of blobs in an S3 bucket, for machines that share nothing else.

Layout: `{prefix}/{sha256}/{uuid}`. S3 has no lock, and none is needed here: every `put` writes a
copy under a unique name, so a copy never changes and its age is never reset. A deletion names the
copies that are old by the server's clock; a `put` in the meantime makes another copy, which the
deletion does not touch.

The server must list an object as soon as it has accepted it, as AWS and the common servers do.
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

# Larger objects are uploaded and downloaded in parts of this size, PARTS_AT_ONCE at a time.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
# One request copies at most 5 GB, on the server's side.
COPY_BYTES = 5_000_000_000
# S3 dates an object from the start of its upload. After a longer upload the object is copied on the
# server, which gives it a new date.
PUT_SECONDS = 60.0
# Error codes of a server that cannot list unfinished uploads, or has none.
UNTOLD = frozenset({"501", "NotImplemented", "405", "MethodNotAllowed", "NoSuchUpload"})


@dataclass(frozen=True, slots=True)
class _Copy:
    """An object that holds a blob's bytes; `age` in seconds, by the server's clock."""

    sha256: str
    key: str
    age: float


class S3Blobs(BlobStore):
    """See BlobStore. Connects at first use. `scratch`: a folder for temporary files."""

    put_seconds = PUT_SECONDS

    def __init__(self, bucket: Bucket, prefix: str, scratch: Path) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self._scratch = scratch

    @cached_property
    def _client(self) -> Any:
        return self.bucket.connect()

    def put_stream(self, chunks: Iterable[bytes], max_bytes: int | None = None) -> str:
        """See BlobStore. The bytes are spooled to an unnamed file first, as the object's name is
        their SHA-256; a killed process leaves no file."""
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
        """See BlobStore. The file has no name and is gone when it is closed."""
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
        """See BlobStore: aborts old unfinished uploads; keeps the newest of a blob's old copies."""
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
        """Let the server copy an object whose upload took long, and check the new copy's age."""
        source, renewed = {"Bucket": self.bucket.name, "Key": key}, self._new_key(sha256)
        with self._answers():
            self._client.copy(source, self.bucket.name, renewed, Config=_parts(COPY_BYTES))
        if not any(c.key == renewed and c.age <= PUT_SECONDS for c in self._copies(sha256)):
            raise BlobsUnavailable(
                f"{self.bucket.place} took more than {PUT_SECONDS:g} s to take blob {sha256}, "
                "and has no younger copy of it"
            )

    def _bring(self, sha256: str, target: IO[bytes]) -> None:
        """Download the verified bytes into `target`, and seek to its start."""
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
        """All copies in the order of their keys, so that a blob's copies are adjacent."""
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
            return  # The upload has ended meanwhile.

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """`outages`, raising the blob store's errors."""
        try:
            _ = self._client  # Raises if boto3 is not installed.
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
    """The transfer configuration; objects above `threshold` bytes go in parts."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=threshold,
        multipart_chunksize=PART_BYTES,
        max_concurrency=PARTS_AT_ONCE,
    )
    # Parts that wait for a thread are held in memory.
    config.max_in_memory_upload_chunks = PARTS_AT_ONCE
    return config


def _date_of(answer: Any) -> datetime:
    """The time of an answer by the server's clock."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _sha256_of(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
