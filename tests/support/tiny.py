"""A tiny random base model with a byte-level tokenizer, and random adapters on it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from cyrex.engine import AdapterRef

SPECIAL = ["<pad>", "<end>", "<user>", "<assistant>"]
CONTEXT = 160
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_base(folder: Path, **changes: Any) -> Path:
    """A random Mistral whose logits are spread widely enough that no two tokens tie."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(SPECIAL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        additional_special_tokens=SPECIAL[2:],
    ).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    values: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "sliding_window": None,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
    }
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**(values | changes)))
    # The end-of-turn token comes up now and then, so that rows leave at different times.
    with torch.no_grad():
        model.lm_head.weight[1] *= 1.3
    model.save_pretrained(folder)
    return folder


def write_adapter(folder: Path, base: Path, seed: int, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
        "init_lora_weights": False,
    }
    torch.manual_seed(seed)
    model = MistralForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(**(values | changes))).save_pretrained(folder)
    return folder


def ref_of(folder: Path, company: str, adapter_id: str) -> AdapterRef:
    weights = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    config = (folder / "adapter_config.json").read_bytes()
    identity = hashlib.sha256(weights.encode() + config).hexdigest()
    return AdapterRef(company, adapter_id, identity, str(folder), weights)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    """Five adapters of two companies, of different ranks and modules."""
    kinds: list[dict[str, Any]] = [
        {},
        {"r": 8, "use_rslora": True},
        {"target_modules": ["q_proj", "v_proj"]},
        {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"q_proj": 16}},
        {"target_modules": ["gate_proj", "o_proj"], "use_rslora": True},
    ]
    folder = tmp_path_factory.mktemp("adapters")
    return [
        ref_of(
            write_adapter(folder / str(i), base, i + 1, **kind), f"company{i % 2}", f"adapter{i}"
        )
        for i, kind in enumerate(kinds)
    ]


@pytest.fixture(scope="session")
def make_adapter(base: Path) -> Callable[..., AdapterRef]:
    """`make_adapter(folder, company, adapter_id, seed, **config)` writes one and refers to it."""

    def make(folder: Path, company: str, adapter_id: str, seed: int, **changes: Any) -> AdapterRef:
        return ref_of(write_adapter(folder, base, seed, **changes), company, adapter_id)

    return make


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
