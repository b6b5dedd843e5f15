"""Tiny random base models of several families, adapters of every kind, and what PEFT answers."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

# Not its counterpart for torch, which compiles itself and keeps that: a cache that was filled with
# other vector instructions computes wrong masks.
from llguidance.numpy import apply_token_bitmask_inplace, fill_next_token_bitmask
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GemmaConfig,
    LlamaConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from cyrex.engine import AdapterRef, Grammar
from tests.integration.cyrex.engine.same import Answer, generate
from tests.support.tiny import CONTEXT, ref_of, write_base

END = 1
VOCABULARY = 260
FAMILIES: dict[str, type[PreTrainedConfig]] = {
    "mistral": MistralConfig,
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "gemma": GemmaConfig,
}
# Ranks, modules, scalings: what one company's adapter has and its neighbour in the batch has not.
KINDS: list[dict[str, Any]] = [
    {},
    {"r": 8, "use_rslora": True},
    {"r": 1, "lora_alpha": 1},
    {"target_modules": ["q_proj", "v_proj"]},
    {"r": 16, "lora_alpha": 4, "target_modules": ["gate_proj", "up_proj", "down_proj"]},
    {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"q_proj": 16}},
    {"r": 5, "target_modules": ["gate_proj", "o_proj"], "use_rslora": True},
    {"target_modules": r".*layers\.1\.self_attn\.(k|o)_proj"},
]
COMPANIES = 3


@dataclass
class Family:
    """A base model with adapters, and the reference for both."""

    name: str
    base: Path
    adapters: list[AdapterRef]
    _models: dict[AdapterRef | None, Any]
    _answers: dict[Any, Answer] = field(default_factory=dict)

    def reference(
        self, adapter: AdapterRef | None, prompt: list[int], length: int, grammar: Grammar | None
    ) -> Answer:
        """What `generate` answers with that adapter alone; computed once."""
        key = (adapter, tuple(prompt), length, grammar)
        if key not in self._answers:
            self._answers[key] = self._generate(adapter, prompt, length, grammar)
        return self._answers[key]

    def _generate(
        self, adapter: AdapterRef | None, prompt: list[int], length: int, grammar: Grammar | None
    ) -> Answer:
        held = [] if grammar is None else [Held(self._tokenizer, grammar)]
        processors = LogitsProcessorList(held)
        return generate(self._models[adapter], prompt, length, logits_processor=processors)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        # Some families' tokenizers bring a token that the model has no logit for.
        return from_tokenizer(tokenizer, n_vocab=max(VOCABULARY, len(tokenizer)), eos_token=[END])


class Held(LogitsProcessor):
    """Holds one row of `generate` to a grammar, with nothing of the engine's code."""

    def __init__(self, tokenizer: Any, grammar: Grammar) -> None:
        source = (
            LLMatcher.grammar_from_lark(grammar.source)
            if grammar.kind == "lark"
            else LLMatcher.grammar_from_json_schema(
                grammar.source, defaults={"whitespace_flexible": False}
            )
        )
        self._matcher = LLMatcher(tokenizer, source)
        self._seen: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._seen is not None:
            for token in input_ids[0, self._seen :].tolist():
                assert self._matcher.consume_token(token), self._matcher.get_error()
        self._seen = input_ids.shape[1]
        bitmask = np.zeros((1, VOCABULARY // 32 + 1), dtype=np.int32)
        fill_next_token_bitmask(self._matcher, bitmask, 0)
        held = scores.clone()
        apply_token_bitmask_inplace(held.numpy(), bitmask)
        return held


def write_family(name: str, folder: Path) -> Family:
    base = folder / "base"
    write_base(base)
    config = FAMILIES[name](
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
        eos_token_id=END,
        bos_token_id=None,
        initializer_range=0.3,
        tie_word_embeddings=name == "gemma",
    )
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        # The end-of-turn token comes up now and then, so that rows leave at different times.
        model.get_output_embeddings().weight[END] *= 1.3
        for parameter, values in model.named_parameters():
            if parameter.endswith("bias"):
                values.normal_(std=0.3)
    model.save_pretrained(base)
    assert AutoConfig.from_pretrained(base).model_type == name
    adapters = []
    for number, kind in enumerate(KINDS):
        path = folder / f"adapter{number}"
        write_adapter(path, base, seed=number, **kind)
        adapters.append(ref_of(path, f"company{number % COMPANIES}", f"adapter{number}"))
    # All of them now: loading a model changes torch's settings for a moment, for every thread.
    models = {adapter: _reference_model(base, adapter) for adapter in [None, *adapters]}
    return Family(name, base, adapters, models)


def _reference_model(base: Path, adapter: AdapterRef | None) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, adapter.path) if adapter else model).eval()


def write_adapter(folder: Path, base: Path, seed: int, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
        "init_lora_weights": False,
    }
    torch.manual_seed(1000 + seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(**(values | changes))).save_pretrained(folder)
    return folder
