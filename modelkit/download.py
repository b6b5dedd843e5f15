"""Bring a package here: resumable, verified, and whole or not at all.

The files grow in a hidden folder beside the destination that is named by the package's identity.
A download that broke off leaves it, and the next one goes on from there: what is on disk is
hashed again, never trusted.
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

# (file, offset) → its bytes from there on.
Read = Callable[[FileEntry, int], Iterator[bytes]]


def bring(destination: Path, manifest: Manifest, read: Read) -> Path:
    """Fill `destination` (absent, or an empty folder) with exactly the manifest's files.

    What `read` raises as an OSError leaves what has come for the next call; PackageRefused (other
    bytes than the manifest's, or no good package) leaves nothing.
    """
    _check_free(destination)
    make_folder(destination.parent)
    staging = destination.parent / f"{INCOMING}{manifest.sha256}"
    with locked_folder(staging):
        try:
            _fill(staging, manifest, read)
            package.check(staging)
            _check_free(destination)
            staging.rename(destination)  # An empty folder is replaced; a full one refuses.
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
    """Bring one file. What an earlier try left is used if the whole turns out right."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "r+b") as target:
        if target.seek(0, os.SEEK_END) and _complete(target, entry, read) is None:
            return
        target.truncate(0)
        refused = _complete(target, entry, read)
    if refused is not None:
        raise PackageRefused(refused, entry.path)


def _complete(target: BufferedRandom, entry: FileEntry, read: Read) -> Refusal | None:
    """Append what is missing; None when the whole has the entry's size and hash."""
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
