"""Named, integer-versioned adapter packages, in a directory, in S3, or catalogued by MLflow.

A model's name is its company's id. A version appears atomically and never changes; its bytes are
verified whenever they leave the registry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from modelkit.directory_store import DirectoryStore
from modelkit.errors import RegistryError
from modelkit.s3_client import Bucket, S3Settings, bucket_of
from modelkit.store import Store
from modelkit.store_registry import StoreRegistry
from modelkit.versions import ModelVersion

__all__ = ["LocalRegistry", "ModelVersion", "Registry", "RegistrySettings", "get_registry"]

TYPES = ("mlflow", "s3", "local")


class Registry(Protocol):
    """The interface of every registry.

    Every method raises RegistryUnavailable (an OSError) if the registry is down, and RegistryError
    for a bad name, version or alias.
    """

    def register_model(
        self, name: str, version: int, path: str | Path, metadata: Mapping[str, Any]
    ) -> ModelVersion:
        """Store the package at `path` as `name` `version`. Idempotent for the same bytes.

        Raises PackageRefused, or VersionExists if the version has other bytes.
        """

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        """One version; None gets the highest. Raises ModelNotFound."""

    def download_model(self, name: str, version: int | None, destination: str | Path) -> Path:
        """Download a verified package to `destination`, which must be absent or an empty folder.

        Raises ModelNotFound, or PackageRefused if the stored bytes are not a valid package. An
        interrupted download is resumed by the next call for a folder with the same parent.
        """

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """Every version of `name` (None: of all models), sorted by name, then version."""

    def delete_model(self, name: str, version: int) -> bool:
        """Delete a version and its bytes; returns whether it was there. Aliases stay."""

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Point `alias` to a version; None removes the alias. Raises ModelNotFound."""

    def get_alias(self, name: str, alias: str) -> int | None:
        """The version that `alias` points to, or None."""


class RegistrySettings(S3Settings, Protocol):
    """The settings that `get_registry` reads. An empty text stands for "not given"."""

    @property
    def model_registry_type(self) -> str: ...
    @property
    def model_registry_path(self) -> str | os.PathLike[str]: ...
    @property
    def mlflow_tracking_uri(self) -> str: ...


class LocalRegistry(StoreRegistry):
    """A registry in a directory. Safe for any number of processes on one machine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        store = DirectoryStore(path)
        super().__init__(store)
        self.models = store.models


def get_registry(settings: RegistrySettings) -> Registry:
    """The registry that MODEL_REGISTRY_TYPE names: one object a process for the same settings.

    `mlflow` keeps its bytes in S3 if a bucket is given, else in MODEL_REGISTRY_PATH. Does not
    connect yet. Raises RegistryError for an unknown type.
    """
    return _registry(
        os.getpid(),  # A forked process needs connections of its own.
        settings.model_registry_type,
        str(settings.model_registry_path),
        settings.mlflow_tracking_uri,
        bucket_of(settings),
    )


@lru_cache(maxsize=8)
def _registry(_pid: int, kind: str, path: str, tracking_uri: str, bucket: Bucket) -> Registry:
    match kind:
        case "local":
            return LocalRegistry(path)
        case "s3":
            return StoreRegistry(_s3_store(bucket))
        case "mlflow":
            from modelkit.mlflow_registry import MlflowRegistry

            store: Store = _s3_store(bucket) if bucket.name else DirectoryStore(path)
            return MlflowRegistry(store, tracking_uri)
    raise RegistryError(f"MODEL_REGISTRY_TYPE {kind!r}: known are: {', '.join(TYPES)}")


def _s3_store(bucket: Bucket) -> Store:
    from modelkit.s3_store import S3Store

    return S3Store(bucket)
