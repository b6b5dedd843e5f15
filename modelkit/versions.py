"""A registered version, and the document (`metadata.json`) that describes it in every store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelkit.errors import Refusal, RegistryDamaged, RegistryError
from modelkit.package import Manifest

MAX_DOCUMENT_BYTES = 4 << 20
MAX_VERSION = 10**9 - 1
VERSION_PATTERN = re.compile(r"[1-9][0-9]{0,8}")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# MLflow reserves `latest` and `v1`, `v2`, ….
ALIAS_PATTERN = re.compile(r"(?!latest\Z|v[0-9]+\Z)[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered package. `path`: its folder in the registry, not verified (download it)."""

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


def checked_name(name: str) -> str:
    """Return a model's name. Raises RegistryError unless it can be one folder or key anywhere."""
    if not NAME_PATTERN.fullmatch(name):
        raise RegistryError(f"not a model name: {name!r}")
    return name


def checked_version(version: int) -> int:
    """Return a version. Raises RegistryError unless it is an integer from 1 to MAX_VERSION."""
    if type(version) is not int or not 1 <= version <= MAX_VERSION:
        raise RegistryError(f"a version is an integer from 1, not {version!r}")
    return version


def checked_alias(alias: str) -> str:
    """Return an alias. Raises RegistryError unless it is lower-case letters, digits, `-` and `_`,
    begins with a letter, and is neither `latest` nor like `v1`."""
    if not ALIAS_PATTERN.fullmatch(alias):
        raise RegistryError(f"not an alias: {alias!r}")
    return alias


def write_document(
    name: str, version: int, manifest: Manifest, metadata: Mapping[str, Any]
) -> bytes:
    """The document of a version registered now. Raises TypeError if `metadata` is not JSON."""
    document = {
        "name": name,
        "version": version,
        "sha256": manifest.sha256,
        "manifest": json.loads(manifest.to_json()),
        "metadata": dict(metadata),
        "created_at": datetime.now(UTC).isoformat(),
    }
    return (json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def read_document(
    data: bytes, name: str, version: int, path_of: Callable[[str], str]
) -> ModelVersion:
    """Parse a version's document. path_of: SHA-256 of a package to its folder.

    Raises RegistryDamaged if it is unreadable or describes another version, and PackageRefused if
    its manifest lists a file that no package may have.
    """
    place = f"model {name!r} version {version}"
    try:
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ValueError("metadata.json is larger than 4 MiB")
        document = json.loads(data)
        listed = json.dumps(document["manifest"])
        created_at = datetime.fromisoformat(document["created_at"])
        stated = (document["name"], document["version"], document["sha256"])
        metadata = dict(document["metadata"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RegistryDamaged(f"{place}: {str(error)[:200]}") from error
    manifest = Manifest.from_json(listed, "metadata.json")
    if stated != (name, version, manifest.sha256):
        raise RegistryDamaged(f"{place} {Refusal.WRONG_IDENTITY}")
    path = path_of(manifest.sha256)
    return ModelVersion(name, version, path, manifest, metadata, created_at)
