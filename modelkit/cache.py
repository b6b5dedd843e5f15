"""A cache of adapter packages on local disk, shared by the processes of one machine.

Layout: `{root}/{sha256}/…` holds exactly the package's files; `{root}/.locks` and
`{root}/.incoming` hold the cache's locks and unfinished downloads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelkit import package
from modelkit.blobs.base import INCOMING_MAX_AGE_SECONDS, SHA256_PATTERN
from modelkit.durable import locked, make_folder, sync_folder, sync_tree
from modelkit.errors import PackageRefused, Refusal
from modelkit.package import Manifest

# (name, inode, size, mtime, ctime) of every file of an entry.
_Signature = tuple[tuple[str, int, int, int, int], ...]


class AdapterCache:
    """Verified packages; many threads and processes together download each at most once.

    A process hashes an entry at its first use, and again whenever a file's inode, size or times
    have changed; otherwise a fetch costs a few `stat` calls.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._locks = self.root / ".locks"
        self._incoming = self.root / ".incoming"
        make_folder(self._locks)
        make_folder(self._incoming)
        self._sweep()
        self._verified: dict[str, tuple[_Signature, Manifest]] = {}
        self._guard = threading.Lock()

    def fetch(self, sha256: str, download: Callable[[Path], object]) -> Path:
        """The folder of the package `sha256`, downloaded if it is absent or damaged.

        `download` gets an existing empty folder to fill. Its exceptions pass through; after an
        OSError, the files that it keeps beside that folder stay for the next try. Raises
        PackageRefused if it downloaded another package.
        """
        if not SHA256_PATTERN.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in lower-case hex: {sha256!r}")
        if self._known(sha256) is None:
            with locked(self._locks / sha256):
                # Another thread or process may have downloaded it while this one waited.
                if self._known(sha256) is None:
                    self._bring(sha256, download)
        return self.root / sha256

    def manifest(self, sha256: str) -> Manifest:
        """The manifest of an entry. `fetch` it first: raises PackageRefused(MISSING, …) if it is
        absent or damaged."""
        manifest = self._known(sha256)
        if manifest is None:
            raise PackageRefused(Refusal.MISSING, sha256)
        return manifest

    def delete(self, sha256: str) -> bool:
        """Delete an entry; returns whether it existed."""
        with locked(self._locks / sha256):
            return self._remove(sha256)

    def _known(self, sha256: str) -> Manifest | None:
        """The entry's manifest, or None where it is absent or damaged."""
        folder = self.root / sha256
        try:
            signature = _signature(folder)
            with self._guard:
                known = self._verified.get(sha256)
            if known is not None and known[0] == signature:
                return known[1]
            manifest = package.build(folder)
        except (FileNotFoundError, PackageRefused):
            return None
        if manifest.sha256 != sha256:
            return None
        with self._guard:
            self._verified[sha256] = (signature, manifest)
        return manifest

    def _bring(self, sha256: str, download: Callable[[Path], object]) -> None:
        workplace = self._incoming / sha256
        staging = workplace / "package"
        # Only the lock's holder uses this folder: one that exists was left by a process that died.
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            download(staging)
            manifest = package.build(staging)
            if manifest.sha256 != sha256:
                detail = f"expected {sha256}, got {manifest.sha256}"
                raise PackageRefused(Refusal.WRONG_IDENTITY, "package", detail)
            sync_tree(staging)
            self._remove(sha256)
            staging.rename(self.root / sha256)
            sync_folder(self.root)
        except OSError:
            # Partial files that the download keeps beside `staging` stay; see `download.bring`.
            shutil.rmtree(staging, ignore_errors=True)
            with contextlib.suppress(OSError):
                workplace.rmdir()
            raise
        except BaseException:
            shutil.rmtree(workplace, ignore_errors=True)
            raise
        shutil.rmtree(workplace, ignore_errors=True)
        with self._guard:
            self._verified[sha256] = (_signature(self.root / sha256), manifest)

    def _sweep(self) -> None:
        """Delete unfinished downloads that were not resumed for INCOMING_MAX_AGE_SECONDS."""
        oldest = time.time() - INCOMING_MAX_AGE_SECONDS
        for workplace in self._incoming.iterdir():
            try:
                newest = max(p.stat().st_mtime for p in [workplace, *workplace.rglob("*")])
            except FileNotFoundError:
                continue  # Another process is working in this folder.
            if newest < oldest:
                shutil.rmtree(workplace, ignore_errors=True)

    def _remove(self, sha256: str) -> bool:
        """Delete the entry; the rename makes it vanish at once, so no reader finds half of it."""
        doomed = self._incoming / f"{sha256}.removed"
        shutil.rmtree(doomed, ignore_errors=True)
        try:
            (self.root / sha256).rename(doomed)
        except FileNotFoundError:
            return False
        shutil.rmtree(doomed, ignore_errors=True)
        return True


def _signature(folder: Path) -> _Signature:
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            times = (status.st_mtime_ns, status.st_ctime_ns)
            files.append((entry.name, status.st_ino, status.st_size, *times))
    return tuple(sorted(files))
