"""What every registry does, and what every registry refuses."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkit import package
from modelkit.errors import (
    ModelNotFound,
    PackageRefused,
    Refusal,
    RegistryDamaged,
    RegistryError,
    VersionExists,
)
from modelkit.package import FileEntry, Manifest
from tests.support.model_packages import write_package
from tests.support.registries import Place

WEIGHTS = "adapter_model.safetensors"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda name, seed=0: write_package(tmp_path / "packages" / name, seed)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_package_goes_in_and_comes_out_whole(place: Place, make: Make, tmp_path: Path) -> None:
    source = make("a")
    model = place.registry.register_model("acme", 1, source, {"adapter_id": "x", "é": [1]})
    assert model.sha256 == package.build(source).sha256
    assert model.metadata == {"adapter_id": "x", "é": [1]}
    assert model.created_at.tzinfo is not None
    assert place.registry.get_model("acme", 1) == model
    assert left_in(place.models / "acme" / "1") == ["metadata.json", "model"]
    copies = tmp_path / "copies"
    copy = place.registry.download_model("acme", None, copies / "new")
    package.verify(copy, model.manifest)
    assert left_in(copies) == ["new"]
    (copies / "empty").mkdir()
    package.verify(place.registry.download_model("acme", 1, copies / "empty"), model.manifest)
    with pytest.raises(RegistryError, match="not empty"):
        place.registry.download_model("acme", 1, copies / "empty")


def test_versions_are_integers_and_never_change(place: Place, make: Make) -> None:
    registry = place.registry
    for version in (9, 10):
        registry.register_model("acme", version, make(f"v{version}", version), {"n": version})
    registry.register_model("bolt", 2, make("b", 2), {})
    assert registry.get_model("acme").version == 10
    assert [m.version for m in registry.list_models("acme")] == [9, 10]
    assert [(m.name, m.version) for m in registry.list_models()] == [
        ("acme", 9), ("acme", 10), ("bolt", 2),
    ]  # fmt: skip
    assert registry.list_models("nobody") == []
    first = registry.get_model("acme", 9)
    assert registry.register_model("acme", 9, make("again", 9), {"n": "other"}) == first
    with pytest.raises(VersionExists, match="acme"):
        registry.register_model("acme", 9, make("other", 3), {})
    assert registry.get_model("acme", 9) == first
    for name, version in (("nobody", None), ("nobody", 1), ("acme", 2)):
        with pytest.raises(ModelNotFound, match=name):
            registry.get_model(name, version)
    with pytest.raises(RegistryError, match="not a model name"):
        registry.get_model("../acme")
    with pytest.raises(RegistryError, match="integer from 1"):
        registry.register_model("acme", 0, make("zero"), {})


def test_a_deleted_version_is_gone_with_its_bytes(place: Place, make: Make) -> None:
    registry = place.registry
    for version in (1, 2):
        registry.register_model("acme", version, make("a", seed=version), {})
    assert registry.delete_model("acme", 1) is True
    assert [model.version for model in registry.list_models("acme")] == [2]
    with pytest.raises(ModelNotFound):
        registry.get_model("acme", 1)
    assert not list((place.models / "acme").glob("1/**/*.safetensors"))
    assert registry.get_model("acme").version == 2
    assert registry.delete_model("acme", 1) is False
    assert registry.delete_model("nobody", 1) is False
    again = registry.register_model("acme", 1, make("b", seed=9), {})
    assert registry.get_model("acme", 1) == again


def test_an_alias_names_a_version(place: Place, make: Make) -> None:
    registry = place.registry
    for version in (1, 2):
        registry.register_model("acme", version, make(f"v{version}", version), {})
    assert registry.get_alias("acme", "champion") is None
    assert registry.get_alias("nobody", "champion") is None
    for version in (2, 1):
        registry.set_alias("acme", "champion", version)
        assert registry.get_alias("acme", "champion") == version
    with pytest.raises(ModelNotFound):
        registry.set_alias("acme", "champion", 3)
    for alias in ("latest", "v1", "../x", ""):
        with pytest.raises(RegistryError, match="not an alias"):
            registry.set_alias("acme", alias, 1)
    assert registry.get_alias("acme", "champion") == 1
    for _ in range(2):
        registry.set_alias("acme", "champion", None)
        assert registry.get_alias("acme", "champion") is None
    assert [m.version for m in registry.list_models("acme")] == [1, 2]


def add_pickle(folder: Path) -> None:
    (folder / "weights.pkl").write_bytes(pickle.dumps({"a": 1}))


def pickle_as_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps({"a": 1}))


def truncate(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 100)


def link_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


def link_outside(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/hostname")


def odd_name(folder: Path) -> None:
    (folder / "..\\evil.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (add_pickle, Refusal.PICKLE),
        (pickle_as_weights, Refusal.BAD_TENSORS),
        (truncate, Refusal.BAD_TENSORS),
        (link_weights, Refusal.SYMLINK),
        (link_outside, Refusal.SYMLINK),
        (odd_name, Refusal.BAD_PATH),
    ],
)
def test_a_bad_package_does_not_get_in(
    place: Place, make: Make, spoil: Callable[[Path], None], reason: Refusal
) -> None:
    folder = make("a")
    spoil(folder)
    with pytest.raises(PackageRefused) as refused:
        place.registry.register_model("acme", 1, folder, {})
    assert refused.value.reason is reason
    assert place.registry.list_models() == []


def flip_a_bit(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def lengthen(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as stream:
        stream.write(b"more")


def remove(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, Refusal.WRONG_HASH),
        (truncate, Refusal.WRONG_SIZE),
        (lengthen, Refusal.WRONG_SIZE),
        (remove, Refusal.MISSING),
        (link_weights, Refusal.SYMLINK),
    ],
)
def test_damaged_bytes_are_not_handed_out(
    place: Place,
    make: Make,
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: Refusal,
) -> None:
    model = place.registry.register_model("acme", 1, make("a"), {})
    damage(place.files("acme", 1, model.sha256))
    place.notice()
    if place.in_s3 and reason is Refusal.SYMLINK:
        reason = Refusal.MISSING  # A bucket has no links: the server leaves them out.
    with pytest.raises(PackageRefused) as refused:
        place.registry.download_model("acme", 1, tmp_path / "copies" / "new")
    assert (refused.value.reason, refused.value.file) == (reason, WEIGHTS)
    assert left_in(tmp_path / "copies") == []


def forge(place: Place, files: dict[str, bytes]) -> None:
    """Put a version into the store as somebody would who may write there, manifest and all."""
    entries = tuple(
        FileEntry(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in sorted(files.items())
    )
    manifest = Manifest(entries)
    folder = place.files("evil", 1, manifest.sha256)
    folder.mkdir(parents=True)
    for name, data in files.items():
        if "/" not in name:
            (folder / name).write_bytes(data)
    document = {
        "name": "evil",
        "version": 1,
        "sha256": manifest.sha256,
        "manifest": json.loads(manifest.to_json()),
        "metadata": {},
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    (place.models / "evil" / "1" / "metadata.json").write_text(json.dumps(document))
    place.notice()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({WEIGHTS: pickle.dumps({"a": 1})}, Refusal.BAD_TENSORS),
        ({"x.pkl": pickle.dumps({"a": 1})}, Refusal.PICKLE),
        ({"../../../evil.json": b"{}"}, Refusal.BAD_PATH),
        ({"adapter_config.json": b'{"peft_type": "LORA", "bias": "all"}'}, Refusal.BIAS),
        ({"run.sh": b"rm -r /"}, Refusal.FILE_TYPE),
    ],
)
def test_a_forged_version_is_refused_by_name(
    place: Place, make: Make, tmp_path: Path, files: dict[str, bytes], reason: Refusal
) -> None:
    good = {path.name: path.read_bytes() for path in make("a").iterdir()}
    forge(place, good | files)
    with pytest.raises(PackageRefused) as refused:
        place.registry.download_model("evil", 1, tmp_path / "copies" / "new")
    assert refused.value.reason is reason
    assert not (tmp_path / "copies" / "new").exists()


def test_another_versions_document_is_not_believed(place: Place, make: Make) -> None:
    for version in (1, 2):
        place.registry.register_model("acme", version, make(f"v{version}", version), {})
    second = (place.models / "acme" / "2" / "metadata.json").read_bytes()
    for damaged in (second, b"{", b"[]", b"[" * 10_000):
        (place.models / "acme" / "1" / "metadata.json").write_bytes(damaged)
        place.notice()
        with pytest.raises(RegistryDamaged, match="acme"):
            place.registry.get_model("acme", 1)


def test_without_its_document_a_version_does_not_exist(place: Place, make: Make) -> None:
    """As a writer that dies before its last step leaves it; the next one completes it."""
    model = place.registry.register_model("acme", 3, make("a"), {})
    if not place.in_s3:
        pytest.skip("a directory's versions appear by one rename")
    (place.models / "acme" / "3" / "metadata.json").unlink()
    place.notice()
    assert place.registry.list_models("acme") == []
    with pytest.raises(ModelNotFound):
        place.registry.get_model("acme")
    again = place.registry.register_model("acme", 3, make("b"), {})
    assert again.sha256 == model.sha256
