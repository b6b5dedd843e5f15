"""A store of blobs in a directory.

A blob appears whole or not at all: it is written to a temporary file and renamed.
Layout: `{root}/{first two hex digits}/{sha256}`; temporary files are in `{root}/.incoming`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from modelkit.blobs.base import (
    INCOMING_MAX_AGE_SECONDS,
    SHA256_PATTERN,
    BlobStore,
    checked_sha256,
    limited,
)
from modelkit.durable import make_folder, open_plain, sha256_of, sync_folder
from modelkit.errors import BlobCorrupt, BlobMissing


class DirectoryBlobs(BlobStore):
    """See BlobStore. Machines that share the directory must share its locks (`flock`) too."""

    put_seconds = 0.0

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._incoming = self.root / ".incoming"
        self._lock = self.root / ".lock"
        make_folder(self._incoming)
        self.tidy(INCOMING_MAX_AGE_SECONDS)

    def put_stream(self, chunks: Iterable[bytes], max_bytes: int | None = None) -> str:
        """See BlobStore."""
        digest = hashlib.sha256()
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(descriptor, "wb") as target:
                for chunk in limited(chunks, max_bytes):
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            sha256 = digest.hexdigest()
            path = self.path(sha256)
            make_folder(path.parent)
            with self._locked(fcntl.LOCK_SH):
                os.utime(name)
                os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        return sha256

    def path(self, sha256: str) -> Path:
        """The blob's path, whether it exists or not. Does not verify its bytes."""
        return self.root / checked_sha256(sha256)[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """See BlobStore."""
        return self.path(sha256).is_file()

    def open(self, sha256: str) -> BufferedReader:
        """See BlobStore."""
        try:
            stream = open_plain(self.path(sha256))
        except FileNotFoundError:
            raise BlobMissing(f"no blob {sha256}") from None
        # The returned descriptor is the one that was hashed, so the caller reads verified bytes
        # even if the file is replaced meanwhile.
        if sha256_of(stream) != sha256:
            stream.close()
            raise BlobCorrupt(f"the bytes of blob {sha256} do not match its name")
        stream.seek(0)
        return stream

    def read(self, sha256: str) -> bytes:
        """See BlobStore."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(f"no blob {sha256}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobCorrupt(f"the bytes of blob {sha256} do not match its name")
        return data

    def delete(self, sha256: str) -> bool:
        """See BlobStore."""
        path = self.path(sha256)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        return True

    def older_than(self, seconds: float) -> Iterator[str]:
        """See BlobStore."""
        oldest = time.time() - seconds
        for folder in sorted(self.root.iterdir()):
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if SHA256_PATTERN.fullmatch(path.name) and _modified(path, oldest) < oldest:
                    yield path.name

    def delete_older(self, sha256: str, seconds: float) -> bool:
        """See BlobStore."""
        oldest = time.time() - seconds
        with self._locked(fcntl.LOCK_EX):
            return _modified(self.path(sha256), oldest) < oldest and self.delete(sha256)

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the store's lock: shared to store, exclusive to check a blob's age and delete it."""
        with self._lock.open("a") as lock:
            fcntl.flock(lock, kind)
            yield

    def tidy(self, seconds: float) -> None:
        """See BlobStore. There are temporary files only, no duplicates."""
        oldest = time.time() - seconds
        for path in self._incoming.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue  # Another process swept it first.


def _modified(path: Path, missing: float) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return missing
