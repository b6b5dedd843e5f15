"""The base model and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from cyrex.engine.config import EngineConfig
from cyrex.engine.constraint import Constraints
from cyrex.engine.kv import BatchCache
from cyrex.engine.text import TextStream

logger = logging.getLogger(__name__)


class LanguageModel:
    """A causal language model: text to tokens, tokens to logits. Runs on one thread at a time.

    `module` is what the forward pass runs through; an adapter pool may inject layers into it.
    """

    def __init__(self, config: EngineConfig) -> None:
        """Load from `config.base_model`. Raises OSError or ValueError where that is no model."""
        config.check_base_model()
        transformers_logging.disable_progress_bar()  # A log is no terminal.
        torch.set_num_threads(config.threads)
        self.device = _device(config)
        # trust_remote_code stays off and only safetensors are read: a base model is data.
        self.tokenizer = AutoTokenizer.from_pretrained(config.base_model, revision=config.revision)
        self.module = AutoModelForCausalLM.from_pretrained(
            config.base_model,
            revision=config.revision,
            use_safetensors=True,
            dtype=torch.float32 if config.dtype == "fp32" else torch.bfloat16,
            **_placement(config, self.device),
        ).eval()
        self.module.requires_grad_(False)
        # On some CPUs 4-bit layers repack their weights at the first pass, for a kernel that
        # refuses small layers and rounds otherwise than the one that adapters are trained with.
        for part in self.module.modules():
            if hasattr(part, "support_avx512bf16_for_cpu"):
                part.support_avx512bf16_for_cpu = False
        # The Rust tokenizer itself: encoding changes nothing in it, so any thread may use it.
        self._text_to_tokens = self.tokenizer.backend_tokenizer
        self._text_to_tokens.no_truncation()
        self._text_to_tokens.no_padding()
        text = self.module.config.get_text_config()
        self.vocabulary: int = text.vocab_size
        made_for = getattr(text, "max_position_embeddings", None)
        self.max_context: int = config.max_context or made_for or config.kv_tokens
        self.end_tokens = self._end_tokens()
        self.constraints = Constraints(
            self.tokenizer, self.vocabulary, self.end_tokens, config.threads
        )

    def encode(self, text: str) -> list[int]:
        """Tokens of rendered text: special tokens are read where the text spells them."""
        tokens: list[int] = self._text_to_tokens.encode(text, add_special_tokens=False).ids
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """Text of tokens, special ones spelled out, a final end-of-turn token left away."""
        if tokens and tokens[-1] in self.end_tokens:
            tokens = tokens[:-1]
        text: str = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text

    def text_stream(self, stop: Sequence[str]) -> TextStream:
        """For one answer, whose tokens come one by one."""
        return TextStream(self._text_to_tokens, stop)

    def forward(
        self,
        tokens: torch.Tensor,
        starts: torch.Tensor,
        cache: BatchCache,
        logits_to_keep: int = 1,
    ) -> torch.Tensor:
        """Logits (rows, logits_to_keep, vocabulary) of `tokens` (rows, new columns).

        `starts` (rows,) is the column in which each row begins; what is left of it is hidden.
        The new columns' keys and values are appended to `cache`.
        """
        past = cache.length
        columns = torch.arange(past + tokens.shape[1], device=self.device)
        visible = columns >= starts[:, None]
        positions = (columns[past:] - starts[:, None]).clamp_(min=0)
        logits: torch.Tensor = self.module(
            input_ids=tokens,
            attention_mask=visible,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        ).logits
        return logits

    def _end_tokens(self) -> frozenset[int]:
        stated = self.module.generation_config.eos_token_id
        stated = stated if isinstance(stated, list) else [stated]
        known = {*stated, self.tokenizer.eos_token_id} - {None}
        if not known:
            logger.warning("the base model names no end-of-turn token: answers end by length")
        return frozenset(known)


def _device(config: EngineConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU")
    return torch.device(config.device)


def _placement(config: EngineConfig, device: torch.device) -> dict[str, Any]:
    if config.dtype != "nf4":
        return {"device_map": None if device.type == "cpu" else {"": device}}
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantisation, "device_map": {"": device}}
