"""A store in a directory. Safe for any number of processes on one machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelkit import package
from modelkit.durable import (
    CHUNK_BYTES,
    locked,
    make_folder,
    open_plain,
    sync_folder,
    write_atomic,
)
from modelkit.errors import PackageRefused, Refusal
from modelkit.package import FileEntry, Manifest
from modelkit.versions import MAX_DOCUMENT_BYTES, NAME_PATTERN, VERSION_PATTERN

DOCUMENT = "metadata.json"
_INCOMING = ".incoming-"


class DirectoryStore:
    """See `modelkit.store.Store`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.models = Path(root) / "models"
        make_folder(self.models)

    def names(self) -> list[str]:
        """See Store."""
        return sorted(p.name for p in self.models.iterdir() if NAME_PATTERN.fullmatch(p.name))

    def versions(self, name: str) -> list[int]:
        """See Store."""
        folder = self.models / name
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if VERSION_PATTERN.fullmatch(p.name))

    def put(
        self, name: str, version: int, source: Path, manifest: Manifest, document: bytes
    ) -> bytes:
        """See Store."""
        final = self.models / name / str(version)
        make_folder(final.parent)
        with locked(final.parent / ".lock"):
            self._sweep(final.parent)
            existing = self.document(name, version)
            if existing is not None:
                return existing
            staging = Path(tempfile.mkdtemp(dir=final.parent, prefix=_INCOMING))
            try:
                (staging / "model").mkdir()
                package.copy(source, staging / "model", manifest)
                write_atomic(staging / DOCUMENT, document)
                staging.rename(final)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            sync_folder(final.parent)
        return document

    def delete(self, name: str, version: int) -> bool:
        """See Store. The whole version goes in one step, so that no reader meets half of it."""
        final = self.models / name / str(version)
        if not os.path.lexists(final):
            return False
        _refuse_link(final)
        with locked(final.parent / ".lock"):
            doomed = Path(tempfile.mkdtemp(dir=final.parent, prefix=_INCOMING))
            try:
                final.rename(doomed / "removed")
            except FileNotFoundError:
                return False
            finally:
                self._sweep(final.parent)
            sync_folder(final.parent)
        return True

    def document(self, name: str, version: int) -> bytes | None:
        """See Store. Returns empty bytes (never a valid document) for a version without one."""
        folder = self.models / name / str(version)
        if not os.path.lexists(folder):
            return None
        _refuse_link(folder)
        try:
            with open_plain(folder / DOCUMENT) as stream:
                return stream.read(MAX_DOCUMENT_BYTES + 1)
        except FileNotFoundError:
            return b""
        except OSError:
            _refuse_link(folder / DOCUMENT)
            raise

    def path(self, name: str, version: int, sha256: str) -> str:
        """See Store."""
        return str(self.models / name / str(version) / "model")

    def address(self, name: str, version: int, sha256: str) -> str:
        """See Store."""
        return Path(self.path(name, version, sha256)).resolve().as_uri()

    def read(
        self, name: str, version: int, sha256: str, entry: FileEntry, offset: int
    ) -> Iterator[bytes]:
        """See Store."""
        folder = Path(self.path(name, version, sha256))
        _refuse_link(folder.parent)
        _refuse_link(folder)
        with package.open_file(folder, entry.path) as stream:
            if stream.seek(0, os.SEEK_END) != entry.size:
                raise PackageRefused(Refusal.WRONG_SIZE, entry.path)
            stream.seek(offset)
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def read_alias(self, name: str, alias: str) -> bytes | None:
        """See Store."""
        try:
            return (self.models / name / "aliases" / alias).read_bytes()
        except FileNotFoundError:
            return None

    def write_alias(self, name: str, alias: str, value: bytes | None) -> None:
        """See Store."""
        path = self.models / name / "aliases" / alias
        if value is None:
            path.unlink(missing_ok=True)
            return
        make_folder(path.parent)
        write_atomic(path, value)

    def _sweep(self, folder: Path) -> None:
        """Delete the staging folders of processes that died. The caller holds the folder's lock."""
        for path in folder.glob(f"{_INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise PackageRefused(Refusal.SYMLINK, path.name)
