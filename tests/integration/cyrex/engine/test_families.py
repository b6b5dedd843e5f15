"""Other kinds of base model: each answers as transformers and PEFT answer with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GptOssConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from cyrex.engine import AdapterRef, EngineConfig, Request
from cyrex.engine.loop import Engine
from tests.integration.cyrex.engine.same import generate, is_tie
from tests.support.tiny import ref_of, write_base

SHAPE: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama3_rope": LlamaConfig(
        **SHAPE,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "qwen2_bias": Qwen2Config(**SHAPE),
    "qwen2_sliding": Qwen2Config(**SHAPE, use_sliding_window=True, **SLIDING),
    "qwen3_norms": Qwen3Config(**SHAPE),
    "phi3_fused": Phi3Config(**SHAPE),
    "gemma_tied": GemmaConfig(**SHAPE),
    "gemma2_softcaps": Gemma2Config(
        **SHAPE,
        **SLIDING,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0,
        query_pre_attn_scalar=16,
    ),
    "gemma3_sliding": Gemma3TextConfig(**SHAPE, **SLIDING, query_pre_attn_scalar=16),
}


def write(folder: Path, config: PreTrainedConfig) -> tuple[Path, AdapterRef]:
    base = write_base(folder / "base")  # For its tokenizer.
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_output_embeddings().weight[1] *= 0.1  # Answers do not end at once.
    model.save_pretrained(base)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(folder / "adapter")
    return base, ref_of(folder / "adapter", "acme", "a")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_answers_as_transformers_does(tmp_path: Path, name: str) -> None:
    base, ref = write(tmp_path, FAMILIES[name])
    engine = Engine(EngineConfig(str(base), prefill_chunk=7))
    prompts = [list(range(5, 5 + length)) for length in (1, 6, 30)]
    asked = [Request("acme", adapter, prompt, 24) for adapter in (None, ref) for prompt in prompts]
    handles = [engine.submit(request) for request in asked]
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), ref.path).eval()
    ties = 0
    for request, handle in zip(asked, handles, strict=True):
        model = plain if request.adapter is None else tuned
        expected = generate(model, list(map(int, request.prompt)), 24)
        ties += is_tie(handle.result(60).tokens, expected)
    assert ties <= 1
    engine.close()


def test_a_family_that_is_computed_otherwise_is_refused(tmp_path: Path) -> None:
    config = GptOssConfig(**SHAPE, num_local_experts=2, num_experts_per_tok=1)
    base, _ = write(tmp_path, config)
    with pytest.raises(ValueError, match=r"GptOss|sinks"):
        Engine(EngineConfig(str(base)))
