"""A registry with its catalogue in MLflow and its bytes in a store (a directory or a bucket).

MLflow numbers versions itself, so our version is a tag: an entry is found by name and tag, and has
the tags `adapter_id` and `sha256` to search by. The store's `metadata.json` and the catalogue must
name the same SHA-256. A version that is in the store but not in the catalogue (after a crash, or in
a registry that was `local`) is entered at its next use. Aliases are MLflow's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelkit import mlflow_client
from modelkit.errors import ModelNotFound, RegistryDamaged, RegistryError
from modelkit.store import Store
from modelkit.store_registry import StoreRegistry
from modelkit.versions import ModelVersion, checked_alias, checked_name, checked_version

VERSION_TAG = "cyrex.version"
SHA256_TAG = "sha256"
ADAPTER_TAG = "adapter_id"
PAGE = 1000
# MLflow's error codes for an unknown model, and for an unknown alias of a model.
NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MlflowRegistry(StoreRegistry):
    """See `modelkit.registry.Registry`. Connects at first use."""

    def __init__(self, store: Store, tracking_uri: str) -> None:
        super().__init__(store)
        self._uri = tracking_uri
        self._lock = threading.Lock()
        self._connected: Any = None

    def register_model(
        self, name: str, version: int, path: str | Path, metadata: Mapping[str, Any]
    ) -> ModelVersion:
        """See Registry. Stores the bytes, then the catalogue's entry; either may exist already."""
        model = super().register_model(name, version, path, metadata)
        self._entry(model)
        return model

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        """See Registry."""
        model = super().get_model(name, version)
        self._entry(model)
        return model

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """See Registry."""
        models = super().list_models(name)
        if models:
            known = {_key(entry): entry for entry in self._search(name)}
            for model in models:
                entry = known.get((model.name, model.version))
                self._checked(model, entry) if entry is not None else self._entry(model)
        return models

    def delete_model(self, name: str, version: int) -> bool:
        """See Registry. MLflow takes its aliases of the version away with its entry."""
        checked_name(name)
        checked_version(version)
        for entry in list(self._search(name, version)):
            with mlflow_client.outages(self._uri):
                self._client.delete_model_version(name, entry.version)
        return super().delete_model(name, version)

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """See Registry."""
        checked_name(name)
        checked_alias(alias)
        if version is not None:
            number = self._entry(super().get_model(name, version)).version
            with mlflow_client.outages(self._uri):
                self._client.set_registered_model_alias(name, alias, str(number))
        elif self.get_alias(name, alias) is not None:
            with mlflow_client.outages(self._uri):
                self._client.delete_registered_model_alias(name, alias)

    def get_alias(self, name: str, alias: str) -> int | None:
        """See Registry."""
        checked_name(name)
        checked_alias(alias)
        try:
            with mlflow_client.outages(self._uri):
                entry = self._client.get_model_version_by_alias(name, alias)
        except RegistryError as error:
            if mlflow_client.code_of(error) in NO_ALIAS:
                return None
            raise
        return _key(entry)[1]

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = mlflow_client.connect(self._uri)
            return self._connected

    def _entry(self, model: ModelVersion) -> Any:
        """Get or make the catalogue's entry of a version."""
        entry = self._find(model)
        if entry is None:
            mine = self._create(model)
            # Another process may have made one too: the lowest MLflow number stays.
            entry = self._find(model)
            if entry is None:
                raise ModelNotFound(f"MLflow has lost model {model.name!r} version {model.version}")
            if entry.version != mine.version:
                with mlflow_client.outages(self._uri):
                    self._client.delete_model_version(model.name, mine.version)
        return self._checked(model, entry)

    def _checked(self, model: ModelVersion, entry: Any) -> Any:
        if entry.tags.get(SHA256_TAG) != model.sha256:
            place = f"model {model.name!r} version {model.version}"
            raise RegistryDamaged(f"{place}: MLflow and metadata.json name different packages")
        return entry

    def _find(self, model: ModelVersion) -> Any:
        entries = self._search(model.name, model.version)
        return min(entries, key=lambda entry: int(entry.version), default=None)

    def _create(self, model: ModelVersion) -> Any:
        tags = {VERSION_TAG: str(model.version), SHA256_TAG: model.sha256}
        if "adapter_id" in model.metadata:
            tags[ADAPTER_TAG] = str(model.metadata["adapter_id"])
        source = self.store.address(model.name, model.version, model.sha256)
        try:
            with mlflow_client.outages(self._uri):
                self._client.create_registered_model(model.name)
        except RegistryError as error:
            if mlflow_client.code_of(error) != "RESOURCE_ALREADY_EXISTS":
                raise
        with mlflow_client.outages(self._uri):
            return self._client.create_model_version(
                model.name, source, tags=tags, await_creation_for=0
            )

    def _search(self, name: str | None, version: int | None = None) -> Iterator[Any]:
        """Our entries, filtered by `name` and `version` if given.

        Callers have checked both, so they need no quoting.
        """
        terms = [f"name = '{name}'"] if name is not None else []
        if version is not None:
            terms.append(f"tags.`{VERSION_TAG}` = '{version}'")
        token = None
        while True:
            with mlflow_client.outages(self._uri):
                page = self._client.search_model_versions(
                    " and ".join(terms) or None, max_results=PAGE, page_token=token
                )
            yield from (entry for entry in page if VERSION_TAG in entry.tags)
            token = page.token
            if not token:
                return


def _key(entry: Any) -> tuple[str, int]:
    try:
        return entry.name, int(entry.tags[VERSION_TAG])
    except (KeyError, ValueError):
        place = f"MLflow's version {entry.version} of {entry.name!r}"
        raise RegistryDamaged(f"{place} has no good tag {VERSION_TAG}") from None
