"""A content-addressed store in a directory: uploads, datasets and receipts.

A blob is durable before its name is returned, so a row that names it may commit afterwards.
Storing the same bytes again makes the blob as young as if it were new: who deletes only what is
older than any such commit takes never deletes what is about to be named.
Layout: `{root}/{first two hex digits}/{sha256}`; files under way are in `{root}/.incoming`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from modelkit.durable import CHUNK_BYTES, make_folder, open_plain, sha256_of, sync_folder
from modelkit.errors import BlobCorrupt, BlobMissing, BlobTooLarge

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
# A temporary file this old belongs to a process that died.
INCOMING_MAX_AGE_SECONDS = 24 * 3600


class BlobStore:
    """Bytes under their own SHA-256. Safe for any number of threads and processes."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._incoming = self.root / ".incoming"
        self._lock = self.root / ".lock"
        make_folder(self._incoming)
        self.sweep_incoming(INCOMING_MAX_AGE_SECONDS)

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
        digest = hashlib.sha256()
        size = 0
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(descriptor, "wb") as target:
                for chunk in chunks:
                    size += len(chunk)
                    if max_bytes is not None and size > max_bytes:
                        raise BlobTooLarge(f"more than {max_bytes} bytes")
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
        """Where the blob lies or would lie. The bytes there are not verified by this call."""
        if not SHA256_PATTERN.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
        return self.root / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """Whether the blob is there. Its bytes are not verified by this call."""
        return self.path(sha256).is_file()

    def open(self, sha256: str) -> BufferedReader:
        """A verified blob, opened for reading at its start.

        Raises BlobMissing, or BlobCorrupt where the bytes no longer match the name.
        """
        try:
            stream = open_plain(self.path(sha256))
        except FileNotFoundError:
            raise BlobMissing(f"no blob {sha256}") from None
        # The file is hashed through the descriptor that is returned, so that what was verified
        # is what is read even if the name is replaced meanwhile.
        if sha256_of(stream) != sha256:
            stream.close()
            raise BlobCorrupt(f"the bytes of blob {sha256} do not match its name")
        stream.seek(0)
        return stream

    def read(self, sha256: str) -> bytes:
        """The verified bytes. Raises BlobMissing or BlobCorrupt."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(f"no blob {sha256}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobCorrupt(f"the bytes of blob {sha256} do not match its name")
        return data

    def delete(self, sha256: str) -> bool:
        """Remove a blob for good; returns whether it was there."""
        path = self.path(sha256)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        return True

    def older_than(self, seconds: float) -> Iterator[str]:
        """The names of blobs that nobody has stored for so long."""
        oldest = time.time() - seconds
        for folder in sorted(self.root.iterdir()):
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if SHA256_PATTERN.fullmatch(path.name) and _modified(path, oldest) < oldest:
                    yield path.name

    def delete_older(self, sha256: str, seconds: float) -> bool:
        """`delete`, unless somebody has stored the same bytes within the last `seconds`."""
        oldest = time.time() - seconds
        with self._locked(fcntl.LOCK_EX):
            return _modified(self.path(sha256), oldest) < oldest and self.delete(sha256)

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Many store at a time; none does between a deletion's look at a blob and its end."""
        with self._lock.open("a") as lock:
            fcntl.flock(lock, kind)
            yield

    def sweep_incoming(self, seconds: float) -> None:
        """Remove temporary files that nobody has written to for so long."""
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
