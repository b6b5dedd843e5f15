"""A registry on a store alone: the types `local` and `s3`, and the base of `mlflow`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from modelkit import package
from modelkit.download import bring
from modelkit.errors import ModelNotFound, RegistryDamaged, VersionExists
from modelkit.package import FileEntry
from modelkit.store import Store
from modelkit.versions import (
    ModelVersion,
    checked_alias,
    checked_name,
    checked_version,
    read_document,
    write_document,
)


class StoreRegistry:
    """See `modelkit.registry.Registry`. Safe for any number of threads and processes."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def register_model(
        self, name: str, version: int, path: str | Path, metadata: Mapping[str, Any]
    ) -> ModelVersion:
        """See Registry."""
        checked_name(name)
        checked_version(version)
        source = Path(path)
        manifest = package.build(source)
        document = write_document(name, version, manifest, metadata)
        model = self._model(
            name, version, self.store.put(name, version, source, manifest, document)
        )
        if model.sha256 != manifest.sha256:
            raise VersionExists(f"model {name!r} version {version} has other bytes")
        return model

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        """See Registry."""
        checked_name(name)
        wanted = version
        if version is None:
            version = max(self.store.versions(name), default=0)
        data = self.store.document(name, checked_version(version)) if version else None
        if data is None:
            raise ModelNotFound(f"no model {name!r} version {wanted or 'latest'}")
        return self._model(name, version, data)

    def download_model(self, name: str, version: int | None, destination: str | Path) -> Path:
        """See Registry."""
        model = self.get_model(name, version)

        def read(entry: FileEntry, offset: int) -> Iterator[bytes]:
            return self.store.read(model.name, model.version, model.sha256, entry, offset)

        return bring(Path(destination), model.manifest, read)

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """See Registry."""
        names = [checked_name(name)] if name is not None else self.store.names()
        found = []
        for each in names:
            for version in self.store.versions(each):
                data = self.store.document(each, version)
                if data is not None:
                    found.append(self._model(each, version, data))
        return found

    def delete_model(self, name: str, version: int) -> bool:
        """See Registry."""
        return self.store.delete(checked_name(name), checked_version(version))

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """See Registry."""
        checked_name(name)
        checked_alias(alias)
        if version is None:
            self.store.write_alias(name, alias, None)
            return
        self.get_model(name, version)
        self.store.write_alias(name, alias, json.dumps({"version": version}).encode())

    def get_alias(self, name: str, alias: str) -> int | None:
        """See Registry."""
        data = self.store.read_alias(checked_name(name), checked_alias(alias))
        if data is None:
            return None
        try:
            version = json.loads(data)["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryDamaged(f"model {name!r} alias {alias!r}: {error}") from error
        return checked_version(version)

    def _model(self, name: str, version: int, data: bytes) -> ModelVersion:
        return read_document(data, name, version, partial(self.store.path, name, version))
