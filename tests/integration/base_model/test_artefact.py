"""The committed model directory: loads, is small, is documented, and can do what its card says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralForCausalLM

from base_model.compute import FastForward
from base_model.diet import extraction, repeats
from base_model.diet.example import Example
from base_model.export import config, export
from base_model.probes import probe

MODEL = Path(__file__).parents[3] / "base_model" / "cyrex-small"
MAX_WEIGHT_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def model() -> MistralForCausalLM:
    loaded = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    assert isinstance(loaded, MistralForCausalLM)
    return loaded.eval()


def test_directory_is_complete_and_small() -> None:
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
        "README.md",
    ):
        assert (MODEL / name).stat().st_size > 0
    assert (MODEL / "model.safetensors").stat().st_size <= MAX_WEIGHT_BYTES
    assert json.loads((MODEL / "config.json").read_text("utf-8"))["sliding_window"] is None


def test_card_names_every_source() -> None:
    from base_model.sources import SOURCES

    card = (MODEL / "README.md").read_text("utf-8")
    for source in SOURCES:
        assert source.package in card and source.licence in card


def test_weights_are_finite_and_the_library_finds_nothing_missing(
    model: MistralForCausalLM,
) -> None:
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert sum(p.numel() for p in model.parameters()) < 5_000_000


def test_export_and_load_keep_the_weights(tmp_path: Path) -> None:
    fresh = MistralForCausalLM(config())
    export(fresh, tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for (name, one), two in zip(fresh.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), two), name


def test_it_generates_and_stops_at_the_end_token(model: MistralForCausalLM) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    messages = [{"role": "user", "content": "Repeat: KX-4071 77"}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=40)
    answer = out[0, inputs["input_ids"].shape[1] :]
    assert answer[-1].item() == tokenizer.eos_token_id
    assert tokenizer.decode(answer, skip_special_tokens=True) == "KX-4071 77"


FAMILIES: list[tuple[str, Callable[[random.Random], Example], float]] = [
    ("echo", repeats.echo, 0.8),
    ("typed", extraction.typed, 0.5),
]


@pytest.mark.parametrize(("name", "generate", "floor"), FAMILIES)
def test_it_copies(
    model: MistralForCausalLM, name: str, generate: Callable[[random.Random], Example], floor: float
) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    result = probe(FastForward(model, compiled=False), tokenizer, generate, seed=99, batches=3)
    assert result.exact >= floor, f"{name}: {result}"
