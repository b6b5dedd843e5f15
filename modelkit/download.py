"""Download a package: resumable, verified, and whole or not at all.

Files are written to a hidden folder beside the destination, named by the package's SHA-256. An
interrupted download leaves that folder, and the next one resumes from it after hashing the bytes on
disk again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from io import BufferedRandom
from pathlib import Path

from modelkit import package
from modelkit.durable import CHUNK_BYTES, locked_folder, make_folder, sync_folder
from modelkit.errors import PackageRefused, Refusal, RegistryError, RegistryUnavailable
from modelkit.package import FileEntry, Manifest

INCOMING = ".incoming-"

# (file, offset) → the file's bytes from the offset on.
Read = Callable[[FileEntry, int], Iterator[bytes]]


def bring(destination: Path, manifest: Manifest, read: Read) -> Path:
    """Fill `destination` (absent, or an empty folder) with exactly the manifest's files.

    If `read` raises an OSError, the partial files stay for the next call. Raises PackageRefused if
    the bytes are not the manifest's or the package is not valid; then no file stays.
    """
    _check_free(destination)
    make_folder(destination.parent)
    staging = destination.parent / f"{INCOMING}{manifest.sha256}"
    with locked_folder(staging):
        try:
            _fill(staging, manifest, read)
            package.check(staging)
            _check_free(destination)
            staging.rename(destination)  # Replaces an empty folder; fails on a full one.
        except RegistryUnavailable:
            raise
        except (PackageRefused, RegistryError):
            shutil.rmtree(staging, ignore_errors=True)
            raise
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(staging, ignore_errors=True)
            raise _not_empty(destination) from None
    sync_folder(destination.parent)
    return destination


def _check_free(destination: Path) -> None:
    if destination.exists() and any(destination.iterdir()):
        raise _not_empty(destination)


def _not_empty(destination: Path) -> RegistryError:
    return RegistryError(f"the destination {destination.name!r} is not empty")


def _fill(folder: Path, manifest: Manifest, read: Read) -> None:
    names = {entry.path for entry in manifest.files}
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in names or path.is_symlink():
            path.unlink()
    for entry in manifest.files:
        _bring_file(folder / entry.path, entry, read)
    sync_folder(folder)


def _bring_file(path: Path, entry: FileEntry, read: Read) -> None:
    """Download one file: resume a partial one, and if the result is wrong, start over."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "r+b") as target:
        if target.seek(0, os.SEEK_END) and _complete(target, entry, read) is None:
            return
        target.truncate(0)
        refused = _complete(target, entry, read)
    if refused is not None:
        raise PackageRefused(refused, entry.path)


def _complete(target: BufferedRandom, entry: FileEntry, read: Read) -> Refusal | None:
    """Append the missing bytes; None if the whole file has the entry's size and hash."""
    target.seek(0)
    digest = hashlib.sha256()
    size = 0
    while chunk := target.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    if size < entry.size:
        for chunk in read(entry, size):
            size += len(chunk)
            if size > entry.size:
                break
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    if size != entry.size:
        return Refusal.WRONG_SIZE
    return None if digest.hexdigest() == entry.sha256 else Refusal.WRONG_HASH
