from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helox.base import Base
from helox.errors import UserError


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "copy"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_is_known_without_torch(tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = Base.open(tiny_base)
    assert base.name == "tiny" and base.max_positions == 256 and base.stop_ids == (256,)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert base.parameters == sum(p.numel() for p in model.parameters())


def test_the_identity_is_in_the_files_that_matter(tiny_base: Path, copy: Path) -> None:
    (copy / "README.md").write_text("a card")
    assert Base.open(copy).sha256 == Base.open(tiny_base).sha256
    template = copy / "chat_template.jinja"
    template.write_text("{# other #}" + template.read_text())
    assert Base.open(copy).sha256 != Base.open(tiny_base).sha256


def test_the_tokenizer_never_cuts_or_pads(copy: Path) -> None:
    edit(
        copy / "tokenizer.json",
        truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    )
    assert len(Base.open(copy).tokenizer.encode("abcdef").ids) == 6


def test_every_stop_token_that_the_base_names(copy: Path) -> None:
    edit(copy / "generation_config.json", eos_token_id=[256, 259])
    assert Base.open(copy).stop_ids == (256, 259)


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a directory") as caught:
        Base.open(tmp_path / "nowhere")
    assert caught.value.field == "base_model"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "has no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "cannot be read"),
        (lambda d: edit(d / "config.json", architectures=["BertForMaskedLM"]), "not a causal"),
        (lambda d: edit(d / "config.json", auto_map={"AutoModel": "x.Y"}), "code of its own"),
        (lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"), ".safetensors"),
        (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda d: (d / "adapter_config.json").write_text("{}"), "is an adapter"),
    ],
)
def test_what_is_no_usable_base_is_refused(copy: Path, change: Any, message: str) -> None:
    change(copy)
    with pytest.raises(UserError, match=message) as caught:
        Base.open(copy)
    assert caught.value.field == "base_model"


def test_broken_weights_are_the_users_error(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="not safetensors"):
        _ = Base.open(copy).parameters
