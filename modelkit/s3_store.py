"""A store in an S3 bucket.

A package's files lie in `models/{name}/{version}/model/{sha256}/`, so two writers of one version
never touch each other's bytes. `metadata.json`, written last, says which SHA-256 the version has.
It is created by a conditional write and then read back: on a server that refuses or ignores the
condition, the last of several writers wins.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from modelkit import package
from modelkit.durable import CHUNK_BYTES
from modelkit.errors import PackageRefused, Refusal, RegistryUnavailable
from modelkit.package import FileEntry, Manifest
from modelkit.s3_client import TAKEN, UNCONDITIONAL, Bucket, code_of, outages
from modelkit.versions import MAX_DOCUMENT_BYTES, NAME_PATTERN, VERSION_PATTERN

# On a server without conditional writes: longer than from a writer's read to its write.
SETTLE_SECONDS = 1.0
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")


class S3Store:
    """See `modelkit.store.Store`. Connects at first use."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    @cached_property
    def _client(self) -> Any:
        return self.bucket.connect()

    def names(self) -> list[str]:
        """See Store."""
        prefixes = self._list("models/", "CommonPrefixes", Delimiter="/")
        names = (item["Prefix"].split("/")[1] for item in prefixes)
        return sorted(name for name in names if NAME_PATTERN.fullmatch(name))

    def versions(self, name: str) -> list[int]:
        """See Store."""
        found = []
        for item in self._list(f"models/{name}/", "Contents"):
            parts = item["Key"].split("/")
            is_document = len(parts) == 4 and parts[3] == "metadata.json"
            if is_document and VERSION_PATTERN.fullmatch(parts[2]):
                found.append(int(parts[2]))
        return sorted(found)

    def put(
        self, name: str, version: int, source: Path, manifest: Manifest, document: bytes
    ) -> bytes:
        """See Store."""
        existing = self.document(name, version)
        if existing is not None:
            return existing
        folder = self._folder(name, version, manifest.sha256)
        for entry in manifest.files:
            self._upload(source, entry, f"{folder}/{entry.path}")
        key = f"models/{name}/{version}/metadata.json"
        self._create(key, document)
        written = self._get(key)
        if written is None:
            raise RegistryUnavailable(f"S3 bucket {self.bucket.name!r} has lost {key}")
        return written

    def delete(self, name: str, version: int) -> bool:
        """See Store."""
        folder = f"models/{name}/{version}/"
        keys = [item["Key"] for item in self._list(folder, "Contents")]
        document = f"{folder}metadata.json"
        # Without its document a version does not exist, however much of it is still there.
        for key in sorted(keys, key=lambda key: key != document):
            with outages(self.bucket):
                self._client.delete_object(Bucket=self.bucket.name, Key=key)
        return document in keys

    def document(self, name: str, version: int) -> bytes | None:
        """See Store."""
        return self._get(f"models/{name}/{version}/metadata.json")

    def path(self, name: str, version: int, sha256: str) -> str:
        """See Store."""
        return f"s3://{self.bucket.name}/{self._folder(name, version, sha256)}"

    def address(self, name: str, version: int, sha256: str) -> str:
        """See Store."""
        return self.path(name, version, sha256)

    def read(
        self, name: str, version: int, sha256: str, entry: FileEntry, offset: int
    ) -> Iterator[bytes]:
        """See Store. Requests the byte range from `offset` on."""
        key = f"{self._folder(name, version, sha256)}/{entry.path}"
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with outages(self.bucket):
                answer = self._client.get_object(Bucket=self.bucket.name, Key=key, **wanted)
        except FileNotFoundError:
            raise PackageRefused(Refusal.MISSING, entry.path) from None
        with outages(self.bucket), closing(answer["Body"]) as body:
            ranged = _TOTAL.fullmatch(answer.get("ContentRange", ""))
            if int(ranged[1] if ranged else answer["ContentLength"]) != entry.size:
                raise PackageRefused(Refusal.WRONG_SIZE, entry.path)
            unwanted = 0 if ranged else offset  # A server may ignore the range.
            for chunk in body.iter_chunks(CHUNK_BYTES):
                yield chunk[unwanted:]
                unwanted = max(0, unwanted - len(chunk))

    def read_alias(self, name: str, alias: str) -> bytes | None:
        """See Store."""
        return self._get(f"models/{name}/aliases/{alias}")

    def write_alias(self, name: str, alias: str, value: bytes | None) -> None:
        """See Store."""
        key = f"models/{name}/aliases/{alias}"
        with outages(self.bucket):
            if value is None:
                self._client.delete_object(Bucket=self.bucket.name, Key=key)
            else:
                self._client.put_object(Bucket=self.bucket.name, Key=key, Body=value)

    def _folder(self, name: str, version: int, sha256: str) -> str:
        return f"models/{name}/{version}/model/{sha256}"

    def _list(self, prefix: str, part: str, **options: str) -> Iterator[Any]:
        with outages(self.bucket):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket.name, Prefix=prefix, **options
            )
            for page in pages:
                yield from page.get(part, [])

    def _get(self, key: str) -> bytes | None:
        """The bytes of a small object, or None."""
        try:
            with outages(self.bucket):
                answer = self._client.get_object(Bucket=self.bucket.name, Key=key)
                with closing(answer["Body"]) as body:
                    return bytes(body.read(MAX_DOCUMENT_BYTES + 1))
        except FileNotFoundError:
            return None

    def _create(self, key: str, data: bytes) -> None:
        """Write `key` unless it exists. The caller must read which writer's bytes it has now.

        If the server ignores the condition, wait until other writers have written too, so that all
        of them read the same bytes.
        """
        if not self._put_if_absent(key, data):
            return
        # A second conditional write succeeds only on a server that ignores the condition.
        if self._put_if_absent(key, data):
            time.sleep(SETTLE_SECONDS)

    def _put_if_absent(self, key: str, data: bytes) -> bool:
        """Write `key`, on condition that it is absent. False: the server says that it exists."""
        from botocore.exceptions import ClientError

        place = {"Bucket": self.bucket.name, "Key": key, "Body": data}
        with outages(self.bucket):
            try:
                self._client.put_object(**place, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) in TAKEN:
                    return False
                if code_of(error) not in UNCONDITIONAL:
                    raise
                self._client.put_object(**place)
        return True

    def _upload(self, source: Path, entry: FileEntry, key: str) -> None:
        """Upload a file in parts and hash it meanwhile: a source that changes is refused."""
        with package.open_file(source, entry.path) as stream, outages(self.bucket):
            hashing = _Hashing(stream)
            self._client.upload_fileobj(hashing, self.bucket.name, key)
            if (hashing.size, hashing.digest.hexdigest()) == (entry.size, entry.sha256):
                return
            self._client.delete_object(Bucket=self.bucket.name, Key=key)
        reason = Refusal.WRONG_SIZE if hashing.size != entry.size else Refusal.WRONG_HASH
        raise PackageRefused(reason, entry.path)


class _Hashing:
    """Reads a stream from start to end; without `seek`, boto3 cannot read it in another order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data
