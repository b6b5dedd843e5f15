from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelkit import package
from modelkit.errors import RegistryDamaged, RegistryError
from modelkit.package import Manifest
from modelkit.versions import (
    MAX_DOCUMENT_BYTES,
    MAX_VERSION,
    checked_alias,
    checked_name,
    checked_version,
    read_document,
    write_document,
)


@pytest.fixture
def manifest(make_package: Callable[..., Path]) -> Manifest:
    return package.build(make_package("source"))


def path_of(sha256: str) -> str:
    return f"/store/{sha256}"


@pytest.mark.parametrize("name", ["", ".a", "a/b", "a b", "a" * 129, "ä"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="not a model name"):
        checked_name(name)


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, MAX_VERSION + 1])
def test_versions_that_are_refused(version: Any) -> None:
    with pytest.raises(RegistryError, match="integer from 1"):
        checked_version(version)


@pytest.mark.parametrize("alias", ["latest", "v1", "V", "1a", "", "a" * 64])
def test_aliases_that_are_refused(alias: str) -> None:
    with pytest.raises(RegistryError, match="not an alias"):
        checked_alias(alias)


def test_what_is_good_comes_back() -> None:
    assert checked_name("acme-1.x_y") == "acme-1.x_y"
    assert checked_version(MAX_VERSION) == MAX_VERSION
    assert [checked_alias(alias) for alias in ("champion", "latest2", "v1x")]


def test_a_document_is_read_as_it_was_written(manifest: Manifest) -> None:
    data = write_document("acme", 3, manifest, {"loss": 0.5, "name": "Zoë"})
    version = read_document(data, "acme", 3, path_of)
    assert (version.name, version.version, version.sha256) == ("acme", 3, manifest.sha256)
    assert version.metadata == {"loss": 0.5, "name": "Zoë"}
    assert version.path == f"/store/{manifest.sha256}"
    assert version.manifest == manifest
    assert version.created_at.tzinfo is not None


def test_a_document_of_another_version_is_refused(manifest: Manifest) -> None:
    data = write_document("acme", 3, manifest, {})
    for name, number in (("acme", 4), ("other", 3)):
        with pytest.raises(RegistryDamaged, match=f"{name}.* version {number}"):
            read_document(data, name, number, path_of)


def test_damaged_documents_are_refused(manifest: Manifest) -> None:
    good = json.loads(write_document("acme", 1, manifest, {}))
    damaged = [b"{", b"[]", b" " * (MAX_DOCUMENT_BYTES + 1)]
    damaged += [json.dumps({**good, "created_at": "yesterday"}).encode()]
    damaged += [json.dumps({k: v for k, v in good.items() if k != key}).encode() for key in good]
    for data in damaged:
        with pytest.raises(RegistryDamaged, match="version 1"):
            read_document(data, "acme", 1, path_of)


def test_metadata_must_be_json(manifest: Manifest) -> None:
    with pytest.raises(TypeError):
        write_document("acme", 1, manifest, {"when": object()})
