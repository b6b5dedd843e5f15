"""Writes the model directory that everything else loads."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from base_model.tokenizer import MODEL_MAX_LENGTH, SPECIAL_TOKENS, VOCAB_SIZE

PAD_ID, END_ID = 0, 1


def config() -> MistralConfig:
    """4.2 million parameters: 256 wide, 4 layers, 8 query heads on 4 key-value heads, tied embeddings."""
    return MistralConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=MODEL_MAX_LENGTH,
        sliding_window=None,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )


def export(model: MistralForCausalLM, directory: Path) -> None:
    """Saves config, generation settings and bf16 weights beside the tokenizer's files."""
    assert SPECIAL_TOKENS[PAD_ID] == "<|pad|>" and SPECIAL_TOKENS[END_ID] == "<|end|>"
    copy = MistralForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.to(torch.bfloat16)
    copy.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=END_ID, pad_token_id=PAD_ID, max_new_tokens=256
    )
    copy.save_pretrained(directory)
