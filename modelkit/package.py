"""An adapter package: a flat folder of plain files and the manifest that identifies it.

The adapter's identity is `Manifest.sha256`, the SHA-256 of the manifest's canonical JSON: it
covers every byte of every file. A package holds `adapter_config.json`, `adapter_model.safetensors`
and small text files (a receipt, a model card), and no code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from modelkit.blobs.base import SHA256_PATTERN
from modelkit.durable import copy_synced, open_plain, sha256_of, sync_folder
from modelkit.errors import PackageRefused, Refusal
from modelkit.lora import CONFIG_FILE, WEIGHTS_FILE, check_config, check_tensors
from modelkit.tensors import read_header

MANIFEST_FORMAT = 1
MAX_FILES = 32
MAX_CONFIG_BYTES = 1 << 20
TEXT_SUFFIXES = (".json", ".jsonl", ".md", ".txt", ".jinja")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
VOCABULARY_FILES = ("added_tokens.json",)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a package: its plain name, its size in bytes and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a package, sorted by name."""

    files: tuple[FileEntry, ...]

    @property
    def sha256(self) -> str:
        """The adapter's identity."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of `adapter_model.safetensors`, which the engine checks when it loads it."""
        return next(entry.sha256 for entry in self.files if entry.path == WEIGHTS_FILE)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, files in order of name."""
        files = [{"path": e.path, "sha256": e.sha256, "size": e.size} for e in self.files]
        document = {"files": files, "format": MANIFEST_FORMAT}
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, file: str = "manifest") -> Manifest:
        """Parse what `to_json` wrote. Raises PackageRefused(BAD_MANIFEST | BAD_PATH, …)."""
        try:
            document = json.loads(text)
            entries = tuple(FileEntry(e["path"], e["size"], e["sha256"]) for e in document["files"])
            manifest = cls(tuple(sorted(entries, key=lambda entry: entry.path)))
            valid = document["format"] == MANIFEST_FORMAT and all(map(_is_valid, entries))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PackageRefused(Refusal.BAD_MANIFEST, file, str(error)[:200]) from None
        if not valid:
            raise PackageRefused(Refusal.BAD_MANIFEST, file)
        _check_names([entry.path for entry in entries])
        return manifest


def _is_valid(entry: FileEntry) -> bool:
    return (
        isinstance(entry.path, str)
        and type(entry.size) is int
        and entry.size >= 0
        and isinstance(entry.sha256, str)
        and SHA256_PATTERN.fullmatch(entry.sha256) is not None
    )


def build(folder: str | Path) -> Manifest:
    """Check all of a folder and return its manifest.

    Raises PackageRefused naming the file and the reason.
    """
    folder = Path(folder)
    entries = []
    for name, size, stream in _judged(folder):
        stream.seek(0)
        entries.append(FileEntry(name, size, sha256_of(stream)))
    return Manifest(tuple(entries))


def check(folder: str | Path) -> None:
    """Check a folder as `build` does, but without hashing: for bytes that are already verified."""
    for _ in _judged(Path(folder)):
        pass


def _judged(folder: Path) -> Iterator[tuple[str, int, BufferedReader]]:
    """Yield every file after its check, opened: (name, size in bytes, stream).

    Raises PackageRefused for the first file that fails.
    """
    config: dict[str, Any] = {}
    for name in _names_in(folder):  # CONFIG_FILE sorts before WEIGHTS_FILE, which needs it.
        with open_file(folder, name) as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            if name == CONFIG_FILE:
                config = check_config(_read_config(stream, size))
            elif name == WEIGHTS_FILE:
                check_tensors(config, read_header(stream, size, name))
            yield name, size, stream


def verify(folder: str | Path, manifest: Manifest) -> None:
    """Raise PackageRefused unless the folder is a valid package with the manifest's bytes."""
    folder = Path(folder)
    listed = {entry.path: entry for entry in manifest.files}
    _check_names(list(listed))
    names = _names_in(folder)
    for name in sorted(set(listed) - set(names)):
        raise PackageRefused(Refusal.MISSING, name)
    for name in sorted(set(names) - set(listed)):
        raise PackageRefused(Refusal.EXTRA_FILE, name)
    for name in names:  # Sizes and hashes first: a wrong size says more than a parse error.
        with open_file(folder, name) as stream:
            if stream.seek(0, 2) != listed[name].size:
                raise PackageRefused(Refusal.WRONG_SIZE, name)
            stream.seek(0)
            if sha256_of(stream) != listed[name].sha256:
                raise PackageRefused(Refusal.WRONG_HASH, name)
    if build(folder) != manifest:
        raise PackageRefused(Refusal.WRONG_IDENTITY, folder.name)


def copy(source: str | Path, destination: Path, manifest: Manifest) -> None:
    """Copy exactly the manifest's files into the empty folder `destination`, durably.

    The bytes are hashed while they are written, so a source that changes is refused.
    """
    _check_names([entry.path for entry in manifest.files])
    for entry in manifest.files:
        with open_file(Path(source), entry.path) as stream:
            size, sha256 = copy_synced(stream, destination / entry.path)
        if size != entry.size:
            raise PackageRefused(Refusal.WRONG_SIZE, entry.path)
        if sha256 != entry.sha256:
            raise PackageRefused(Refusal.WRONG_HASH, entry.path)
    sync_folder(destination)


def _names_in(folder: Path) -> list[str]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise PackageRefused(Refusal.UNREADABLE, folder.name, error.strerror or "") from None
    if len(names) > MAX_FILES:
        raise PackageRefused(Refusal.TOO_MANY_FILES, folder.name, f"more than {MAX_FILES}")
    for name in names:
        if (folder / name).is_symlink():
            raise PackageRefused(Refusal.SYMLINK, name)
        if not (folder / name).is_file():
            raise PackageRefused(Refusal.NOT_A_FILE, name)
    _check_names(names)
    return names


def _check_names(names: list[str]) -> None:
    for name in names:
        if not _PLAIN_NAME.fullmatch(name):
            raise PackageRefused(Refusal.BAD_PATH, name)
        if name.lower().endswith(PICKLE_SUFFIXES):
            raise PackageRefused(Refusal.PICKLE, name)
        if name in VOCABULARY_FILES:
            raise PackageRefused(Refusal.NEW_VOCABULARY, name)
        if name != WEIGHTS_FILE and not name.lower().endswith(TEXT_SUFFIXES):
            raise PackageRefused(Refusal.FILE_TYPE, name)
    if len(set(names)) != len(names):
        raise PackageRefused(Refusal.BAD_MANIFEST, "manifest", "a file is listed twice")
    for required in (CONFIG_FILE, WEIGHTS_FILE):
        if required not in names:
            raise PackageRefused(Refusal.MISSING, required)


def open_file(folder: Path, name: str) -> BufferedReader:
    """Open a regular file of `folder`. Raises PackageRefused if it is missing or another thing."""
    try:
        return open_plain(folder / name)
    except FileNotFoundError:
        raise PackageRefused(Refusal.MISSING, name) from None
    except OSError as error:
        known = {errno.ELOOP: Refusal.SYMLINK, errno.EINVAL: Refusal.NOT_A_FILE}
        reason = known.get(error.errno or 0, Refusal.UNREADABLE)
        raise PackageRefused(reason, name) from None


def _read_config(stream: BufferedReader, size: int) -> object:
    if size > MAX_CONFIG_BYTES:
        raise PackageRefused(Refusal.BAD_CONFIG, CONFIG_FILE, "it is larger than 1 MiB")
    try:
        return json.loads(stream.read())
    except RecursionError:
        raise PackageRefused(Refusal.BAD_CONFIG, CONFIG_FILE, "it is nested too deeply") from None
    except ValueError as error:
        raise PackageRefused(Refusal.BAD_CONFIG, CONFIG_FILE, str(error)[:200]) from None
