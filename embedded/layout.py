"""The data folder: where everything of one stack lives."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
SECRET_BYTES = 24


class DataFolderError(RuntimeError):
    """The data folder cannot be used; the message says why."""


@dataclass(frozen=True)
class Layout:
    """Paths below `root`, which is absolute."""

    root: Path

    @classmethod
    def at(cls, folder: Path | str) -> Layout:
        return cls(Path(folder).resolve())

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Files of the stack that runs now: lock, state, environment, ready files."""
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def operator_key(self) -> Path:
        return self.root / "operator.key"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def environment(self) -> Path:
        return self.run / "environment.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def ready_file(self, name: str) -> Path:
        return self.run / f"{name}.ready"

    def make_folders(self) -> None:
        """Make what is missing; a folder that was empty or absent is marked as a stack's own."""
        empty = not self.root.exists() or not any(self.root.iterdir())
        for folder in (self.logs, self.run, self.secrets):
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        if empty:
            write_private(self.ports, "{}")

    def secret(self, name: str) -> str:
        """The password called `name`, made on first use, readable by its owner only."""
        path = self.secrets / name
        if not path.exists() or not path.stat().st_size:
            write_private(path, secrets.token_urlsafe(SECRET_BYTES))
        return path.read_text().strip()

    def forget(self) -> None:
        """Delete what earlier stacks left here, except `run/`, whose lock the caller holds."""
        entries = [entry for entry in self.root.iterdir() if entry != self.run]
        if entries and self.ports not in entries:
            raise DataFolderError(
                f"{self.root} holds {entries[0].name!r} and no stack made it: not deleting it"
            )
        # Last of all, so that an interrupted deletion can be taken up again.
        for entry in sorted(entries, key=lambda entry: entry == self.ports):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one supervisor. Raises `DataFolderError` when another holds it."""
        self.run.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        with self._lock_file() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                owner = os.pread(descriptor, 32, 0).decode() or "unknown"
                raise DataFolderError(
                    f"a stack is already running on {self.root} (supervisor: process {owner}); "
                    "stop that one first, or name another folder with --data-dir"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield

    def is_locked(self) -> bool:
        """True while a supervisor holds the folder."""
        if not (self.run / "lock").exists():
            return False
        with self._lock_file() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
            return False

    @contextmanager
    def _lock_file(self) -> Iterator[int]:
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def write_private(path: Path, content: str) -> None:
    """Replace `path` as a whole, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    temporary.replace(path)
