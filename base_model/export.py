"""Writes the model directory.

`python -m base_model.export --checkpoint FILE --out DIR` exports a run's checkpoint while it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from base_model.tokenizer import MODEL_MAX_LENGTH, SPECIAL_TOKENS, VOCAB_SIZE

PAD_ID, END_ID = 0, 1
MAX_NEW_TOKENS = 256


def config() -> MistralConfig:
    """4.2 million parameters; embeddings are tied, attention sees the whole context."""
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
        do_sample=False, eos_token_id=END_ID, pad_token_id=PAD_ID, max_new_tokens=MAX_NEW_TOKENS
    )
    copy.save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description="Export the model of a pretraining checkpoint.")
    parser.add_argument("--checkpoint", type=Path, default=Path(".data/base_model/pretrain.pt"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = MistralForCausalLM(config())
    model.load_state_dict(torch.load(args.checkpoint, weights_only=True)["model"])
    export(model, args.out)


if __name__ == "__main__":
    main()
