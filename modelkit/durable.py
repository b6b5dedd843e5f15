"""File operations that survive a power cut, and locks that end with their process.

A rename is durable only once the file's bytes *and* the folder that names it are synced.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

CHUNK_BYTES = 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the entries of `folder` durable (fsync)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, each durable. An existing folder is fine."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def open_plain(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Never follows a link in the last part of `path` and never waits on a pipe.
    Raises OSError (ELOOP for a link; EINVAL for anything but a regular file).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(22, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def sha256_of(stream: BufferedReader) -> str:
    """Hex SHA-256 of the rest of `stream`."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_synced(source: BufferedReader, destination: Path) -> tuple[int, str]:
    """Copy the rest of `source` to the new file `destination`, synced: (bytes, SHA-256).

    The folder is not synced: the caller does that once for all its files.
    """
    digest = hashlib.sha256()
    size = 0
    with destination.open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        target.flush()
        os.fsync(target.fileno())
    return size, digest.hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: readers see the old bytes or the new ones, never a part."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Make a flat folder of files durable: every file, then the folder itself."""
    for path in folder.iterdir():
        with open_plain(path) as stream:
            os.fsync(stream.fileno())
    sync_folder(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, against threads and processes alike.

    The kernel frees it when its holder dies. The file stays: deleting it would allow two holders.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make `folder` if it is absent and lock it, against threads and processes alike.

    The holder may rename or delete it: the next holder then gets a new folder. The folder's parent
    must exist.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(folder, flags)
        except FileNotFoundError:
            continue  # Its holder has just renamed or deleted it.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _still_names(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _still_names(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
