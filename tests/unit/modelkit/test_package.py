from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyrex.engine import adapter_file
from modelkit import lora, package
from modelkit.errors import PackageRefused, Refusal
from modelkit.package import FileEntry, Manifest

Make = Callable[..., Path]
BAD = Refusal.BAD_TENSORS
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def refusal(action: Callable[[], object]) -> tuple[Refusal, str]:
    with pytest.raises(PackageRefused) as refused:
        action()
    assert refused.value.file in str(refused.value)
    assert refused.value.reason.value in str(refused.value)
    return refused.value.reason, refused.value.file


def test_the_manifest_names_every_byte(make_package: Make) -> None:
    manifest = package.build(make_package("a"))
    assert [e.path for e in manifest.files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "receipt.json",
    ]
    assert manifest.weights_sha256 == manifest.files[1].sha256
    assert package.build(make_package("same")).sha256 == manifest.sha256
    assert package.build(make_package("other", seed=1)).sha256 != manifest.sha256
    assert Manifest.from_json(manifest.to_json()) == manifest
    package.verify(make_package("a"), manifest)


def test_the_identity_does_not_drift() -> None:
    entry = FileEntry("adapter_config.json", 1, "0" * 64)
    weights = FileEntry("adapter_model.safetensors", 2, "1" * 64)
    identity = "9f4c062d9e1aa882882a5b774ee43a4eebfc77183c32d58230c768bd27814c26"
    assert Manifest((entry, weights)).sha256 == identity
    assert Manifest((entry, weights)).to_json() == (
        '{"files":[{"path":"adapter_config.json","sha256":"' + "0" * 64 + '","size":1},'
        '{"path":"adapter_model.safetensors","sha256":"' + "1" * 64 + '","size":2}],"format":1}'
    )


@pytest.mark.parametrize("name", ["model.bin", "a.PT", "x.pkl", "y.pickle", "z.ckpt", "w.pth"])
def test_pickles_are_refused(make_package: Make, name: str) -> None:
    folder = make_package("a")
    (folder / name).write_bytes(pickle.dumps({"a": 1}))
    assert refusal(lambda: package.build(folder)) == (Refusal.PICKLE, name)


def test_a_pickle_under_the_name_of_the_weights_is_refused(make_package: Make) -> None:
    folder = make_package("a")
    (folder / "adapter_model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    expected = (Refusal.BAD_TENSORS, "adapter_model.safetensors")
    assert refusal(lambda: package.build(folder)) == expected


def test_only_regular_files_belong(make_package: Make, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    linked = make_package("linked")
    (linked / "notes.txt").symlink_to(tmp_path / "secret.txt")
    assert refusal(lambda: package.build(linked)) == (Refusal.SYMLINK, "notes.txt")

    weights = make_package("weights")
    (weights / "adapter_model.safetensors").rename(tmp_path / "elsewhere")
    (weights / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere")
    expected = (Refusal.SYMLINK, "adapter_model.safetensors")
    assert refusal(lambda: package.build(weights)) == expected

    nested = make_package("nested")
    (nested / "notes.txt").mkdir()
    assert refusal(lambda: package.build(nested)) == (Refusal.NOT_A_FILE, "notes.txt")

    piped = make_package("piped")
    os.mkfifo(piped / "notes.txt")
    assert refusal(lambda: package.build(piped)) == (Refusal.NOT_A_FILE, "notes.txt")


@pytest.mark.parametrize("name", [".hidden.json", "-x.json", "a b.json", "a\n.json", "é.json"])
def test_odd_names_are_refused(make_package: Make, name: str) -> None:
    folder = make_package("a")
    (folder / name).write_text("{}")
    assert refusal(lambda: package.build(folder)) == (Refusal.BAD_PATH, name)


@pytest.mark.parametrize("name", ["evil.py", "lib.so", "more.safetensors", "LICENSE"])
def test_other_types_are_refused(make_package: Make, name: str) -> None:
    folder = make_package("a")
    (folder / name).write_text("x")
    assert refusal(lambda: package.build(folder)) == (Refusal.FILE_TYPE, name)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_missing_is_named(make_package: Make, name: str) -> None:
    folder = make_package("a")
    (folder / name).unlink()
    assert refusal(lambda: package.build(folder)) == (Refusal.MISSING, name)


def test_a_folder_that_is_none_or_too_full_is_refused(make_package: Make, tmp_path: Path) -> None:
    assert refusal(lambda: package.build(tmp_path / "no"))[0] is Refusal.UNREADABLE
    full = make_package("full")
    for number in range(package.MAX_FILES):
        (full / f"{number}.txt").write_text("")
    assert refusal(lambda: package.build(full))[0] is Refusal.TOO_MANY_FILES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": "IA3"}, Refusal.NOT_LORA),
        ({"modules_to_save": ["lm_head"]}, Refusal.MODULES_TO_SAVE),
        ({"bias": "all"}, Refusal.BIAS),
        ({"lora_bias": True}, Refusal.BIAS),
        ({"trainable_token_indices": [5]}, Refusal.NEW_VOCABULARY),
        ({"use_dora": True}, Refusal.NOT_SERVABLE),
        ({"layer_replication": [[0, 2]]}, Refusal.NOT_SERVABLE),
        ({"target_parameters": ["experts"]}, Refusal.NOT_SERVABLE),
        ({"an_option_of_tomorrow": 3}, Refusal.NOT_SERVABLE),
        ({"init_lora_weights": "pissa_niter_16"}, Refusal.NOT_SERVABLE),
        ({"init_lora_weights": []}, Refusal.NOT_SERVABLE),
        ({"r": 0}, Refusal.BAD_CONFIG),
        ({"r": True}, Refusal.BAD_CONFIG),
        ({"r": "16"}, Refusal.BAD_CONFIG),
        ({"r": 10**9}, Refusal.BAD_CONFIG),
        ({"lora_alpha": 10**400}, Refusal.BAD_CONFIG),
        ({"lora_alpha": None}, Refusal.BAD_CONFIG),
        ({"lora_alpha": float("nan")}, Refusal.BAD_CONFIG),
        ({"rank_pattern": {"(a+)+$": 2}}, Refusal.BAD_CONFIG),
        ({"alpha_pattern": ["q_proj"]}, Refusal.BAD_CONFIG),
        ({"use_rslora": "yes"}, Refusal.BAD_CONFIG),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    make_package: Make, change: dict[str, Any], reason: Refusal
) -> None:
    folder = make_package("a", **change)
    assert refusal(lambda: package.build(folder)) == (reason, "adapter_config.json")


def test_a_rank_that_the_engine_does_not_load_is_refused_with_the_limit(make_package: Make) -> None:
    assert lora.MAX_RANK == adapter_file.MAX_RANK
    with pytest.raises(PackageRefused, match="r is 513: a rank is an integer from 1 to 512"):
        package.build(make_package("a", r=513))


@pytest.mark.parametrize("text", ["", "[]", '"x"', "{", "[" * 100_000, "\xff"])
def test_a_config_that_is_no_object_is_refused(make_package: Make, text: str) -> None:
    folder = make_package("a")
    (folder / "adapter_config.json").write_bytes(text.encode("latin-1"))
    assert refusal(lambda: package.build(folder)) == (Refusal.BAD_CONFIG, "adapter_config.json")


def test_what_peft_writes_of_its_defaults_is_accepted(make_package: Make) -> None:
    defaults: dict[str, Any] = {
        "auto_mapping": None,
        "megatron_core": "megatron.core",
        "qalora_group_size": 16,
        "loftq_config": {},
        "eva_config": None,
        "ensure_weight_tying": False,
        "init_lora_weights": True,
        "rank_pattern": {},
    }
    assert package.build(make_package("a", **defaults))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, Refusal.BAD_TENSORS),
        ({f"{Q_PROJ}.lora_A.weight": [2, 8]}, Refusal.BAD_TENSORS),
        ({f"{Q_PROJ}.lora_A.weight": [2, 8], f"{Q_PROJ}.lora_B.weight": [8, 3]}, BAD),
        ({f"{Q_PROJ}.lora_A.weight": [3, 8], f"{Q_PROJ}.lora_B.weight": [8, 3]}, BAD),
        ({f"{Q_PROJ}.lora_A.weight": [2, 8, 1]}, Refusal.NOT_SERVABLE),
        ({f"{Q_PROJ}.weight": [8, 8]}, Refusal.NOT_SERVABLE),
        ({f"{Q_PROJ}.lora_magnitude_vector": [8]}, Refusal.NOT_SERVABLE),
        ({"base_model.model.model.embed_tokens.lora_embedding_A": [2, 8]}, Refusal.NEW_VOCABULARY),
        ({"base_model.model.model.embed_tokens.weight": [9, 8]}, Refusal.NEW_VOCABULARY),
    ],
)  # fmt: skip
def test_odd_tensors_are_refused(
    make_package: Make,
    make_safetensors: Callable[..., bytes],
    tensors: dict[str, list[int]],
    reason: Refusal,
) -> None:
    folder = make_package("a")
    (folder / "adapter_model.safetensors").write_bytes(make_safetensors(tensors))
    assert refusal(lambda: package.build(folder)) == (reason, "adapter_model.safetensors")


def test_a_package_that_differs_from_its_manifest_is_refused(make_package: Make) -> None:
    manifest = package.build(make_package("good"))
    other = make_package("other", seed=1)
    expected = (Refusal.WRONG_HASH, "adapter_model.safetensors")
    assert refusal(lambda: package.verify(other, manifest)) == expected

    short = make_package("short")
    weights = short / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    expected = (Refusal.WRONG_SIZE, "adapter_model.safetensors")
    assert refusal(lambda: package.verify(short, manifest)) == expected

    extra = make_package("extra")
    (extra / "notes.txt").write_text("x")
    assert refusal(lambda: package.verify(extra, manifest)) == (Refusal.EXTRA_FILE, "notes.txt")

    fewer = make_package("fewer")
    (fewer / "receipt.json").unlink()
    assert refusal(lambda: package.verify(fewer, manifest)) == (Refusal.MISSING, "receipt.json")


def manifest_json(*paths: str, sha256: object = "0" * 64, size: object = 1) -> str:
    files = [{"path": path, "sha256": sha256, "size": size} for path in paths]
    return json.dumps({"format": 1, "files": files})


GOOD = ("adapter_config.json", "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Refusal.BAD_MANIFEST),
        ("{}", Refusal.BAD_MANIFEST),
        ('{"format": 2, "files": []}', Refusal.BAD_MANIFEST),
        ("[" * 100_000, Refusal.BAD_MANIFEST),
        (manifest_json(*GOOD, sha256="x"), Refusal.BAD_MANIFEST),
        (manifest_json(*GOOD, sha256=None), Refusal.BAD_MANIFEST),
        (manifest_json(*GOOD, size=-1), Refusal.BAD_MANIFEST),
        (manifest_json(*GOOD, size="1"), Refusal.BAD_MANIFEST),
        (manifest_json(*GOOD, GOOD[0]), Refusal.BAD_MANIFEST),
        (manifest_json(GOOD[0]), Refusal.MISSING),
        (manifest_json(*GOOD, "../../etc/cron.d/x.txt"), Refusal.BAD_PATH),
        (manifest_json(*GOOD, "/etc/passwd.txt"), Refusal.BAD_PATH),
        (manifest_json(*GOOD, "a/b.txt"), Refusal.BAD_PATH),
        (manifest_json(*GOOD, "x.pkl"), Refusal.PICKLE),
    ],
)
def test_a_bad_manifest_is_refused(text: str, reason: Refusal) -> None:
    assert refusal(lambda: Manifest.from_json(text))[0] is reason


def test_a_copy_refuses_a_source_that_is_not_what_the_manifest_says(
    make_package: Make, tmp_path: Path
) -> None:
    manifest = package.build(make_package("good"))
    bad = make_package("bad", seed=1)
    (tmp_path / "copy").mkdir()
    expected = (Refusal.WRONG_HASH, "adapter_model.safetensors")
    assert refusal(lambda: package.copy(bad, tmp_path / "copy", manifest)) == expected
    escape = Manifest((*manifest.files, FileEntry("../out.txt", 1, "0" * 64)))
    (tmp_path / "second").mkdir()
    assert refusal(lambda: package.copy(bad, tmp_path / "second", escape))[0] is Refusal.BAD_PATH
    assert not (tmp_path / "out.txt").exists()
