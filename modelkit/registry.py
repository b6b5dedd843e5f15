"""Named, integer-versioned adapter packages.

A model's name is its company's id. Layout, on disk as in any other store:
`models/{name}/{version}/model/…` beside `models/{name}/{version}/metadata.json`.
A version appears at once and whole, and never changes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from modelkit import package
from modelkit.durable import locked, make_folder, sync_folder, write_atomic
from modelkit.errors import (
    ModelNotFound,
    PackageRefused,
    Refusal,
    RegistryDamaged,
    RegistryError,
    VersionExists,
)
from modelkit.package import Manifest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_INCOMING = ".incoming-"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered package. `path` is its folder in the registry (unverified: download it)."""

    name: str
    version: int
    path: str
    manifest: Manifest
    metadata: dict[str, Any]
    created_at: datetime

    @property
    def sha256(self) -> str:
        """The adapter's identity."""
        return self.manifest.sha256


class Registry(Protocol):
    """What every registry does, wherever it keeps its bytes."""

    def register_model(
        self, name: str, version: int, path: str | Path, metadata: Mapping[str, Any]
    ) -> ModelVersion:
        """Store the package at `path` as `name` `version`; the same bytes again change nothing.

        Raises PackageRefused, VersionExists (other bytes), RegistryError (a bad name or version).
        """

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        """One version; the highest where none is named. Raises ModelNotFound."""

    def download_model(self, name: str, version: int | None, destination: str | Path) -> Path:
        """Copy a verified package to `destination`, which must be absent or an empty folder.

        Raises ModelNotFound, or PackageRefused where the stored bytes are damaged.
        """

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """Every version of `name` (of all, where None), by name and then by version."""


class RegistrySettings(Protocol):
    """What `get_registry` reads of the settings."""

    @property
    def model_registry_type(self) -> str: ...

    @property
    def model_registry_path(self) -> str | os.PathLike[str]: ...


def get_registry(settings: RegistrySettings) -> Registry:
    """The registry that MODEL_REGISTRY_TYPE names. Raises RegistryError for an unknown type."""
    if settings.model_registry_type == "local":
        return LocalRegistry(settings.model_registry_path)
    raise RegistryError(f"MODEL_REGISTRY_TYPE {settings.model_registry_type!r}: known are: local")


class LocalRegistry:
    """A registry in a directory. Safe for any number of processes on one machine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.models = Path(path) / "models"
        make_folder(self.models)

    def register_model(
        self, name: str, version: int, path: str | Path, metadata: Mapping[str, Any]
    ) -> ModelVersion:
        """See Registry."""
        final = self._folder(name) / str(_checked_version(version))
        manifest = package.build(path)
        document = {
            "name": name,
            "version": version,
            "sha256": manifest.sha256,
            "manifest": json.loads(manifest.to_json()),
            "metadata": dict(metadata),
            "created_at": datetime.now(UTC).isoformat(),
        }
        make_folder(final.parent)
        with locked(final.parent / ".lock"):
            self._sweep(final.parent)
            if final.exists():
                return self._same_bytes(name, version, manifest)
            staging = Path(tempfile.mkdtemp(dir=final.parent, prefix=_INCOMING))
            try:
                (staging / "model").mkdir()
                package.copy(path, staging / "model", manifest)
                write_atomic(staging / "metadata.json", _json_bytes(document))
                staging.rename(final)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            sync_folder(final.parent)
        return self._read(name, version)

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        """See Registry."""
        if version is None:
            version = max(self._versions(name), default=0)
        if version not in self._versions(name):
            raise ModelNotFound(f"no model {name!r} version {version or 'latest'}")
        return self._read(name, version)

    def download_model(self, name: str, version: int | None, destination: str | Path) -> Path:
        """See Registry."""
        model = self.get_model(name, version)
        destination = Path(destination)
        if destination.exists() and any(destination.iterdir()):
            raise RegistryError(f"the destination {destination.name!r} is not empty")
        make_folder(destination.parent)
        staging = Path(tempfile.mkdtemp(dir=destination.parent, prefix=_INCOMING))
        try:
            package.copy(model.path, staging, model.manifest)
            staging.rename(destination)  # An empty folder is replaced; a full one refuses.
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_folder(destination.parent)
        return destination

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """See Registry."""
        names = [name] if name is not None else self._names()
        return [self._read(n, version) for n in names for version in self._versions(n)]

    def _same_bytes(self, name: str, version: int, manifest: Manifest) -> ModelVersion:
        existing = self._read(name, version)
        if existing.sha256 != manifest.sha256:
            raise VersionExists(f"model {name!r} version {version} has other bytes")
        return existing

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise RegistryError(f"not a model name: {name!r}")
        return self.models / name

    def _names(self) -> list[str]:
        return sorted(p.name for p in self.models.iterdir() if _NAME.fullmatch(p.name))

    def _versions(self, name: str) -> list[int]:
        folder = self._folder(name)
        if not folder.is_dir():
            return []
        return sorted(
            int(p.name) for p in folder.iterdir() if p.name.isascii() and p.name.isdigit()
        )

    def _read(self, name: str, version: int) -> ModelVersion:
        folder = self._folder(name) / str(version)
        try:
            document = json.loads((folder / "metadata.json").read_bytes())
            manifest = Manifest.from_json(json.dumps(document["manifest"]), "metadata.json")
            created_at = datetime.fromisoformat(document["created_at"])
            stated = (document["name"], document["version"], document["sha256"])
            metadata = dict(document["metadata"])
        except (OSError, ValueError, KeyError, TypeError, PackageRefused) as error:
            raise RegistryDamaged(f"model {name!r} version {version}: {error}") from error
        if stated != (name, version, manifest.sha256):
            raise RegistryDamaged(f"model {name!r} version {version} {Refusal.WRONG_IDENTITY}")
        return ModelVersion(name, version, str(folder / "model"), manifest, metadata, created_at)

    def _sweep(self, folder: Path) -> None:
        """Remove what a process that died left behind. Called under the folder's lock."""
        for path in folder.glob(f"{_INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)


def _checked_version(version: int) -> int:
    if type(version) is not int or version < 1:
        raise RegistryError(f"a version is an integer from 1, not {version!r}")
    return version


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
