"""The base model and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from cyrex.engine import attention
from cyrex.engine.config import EngineConfig
from cyrex.engine.constraint import Constraints
from cyrex.engine.kernels import use_threads
from cyrex.engine.kv import SlotCache
from cyrex.engine.layout import Layout, Piece
from cyrex.engine.lora import CurrentPlan, Planner, install
from cyrex.engine.text import TextStream

logger = logging.getLogger(__name__)

# The pass that is compared with the model's own at the start: two prompt chunks, then two decoded
# tokens.
CHECK_PIECES = (7, 3, 1, 1)
# Largest allowed difference of two logits, as a share of the largest logit.
CHECK_TOLERANCE = {"fp32": 1e-3, "bf16": 0.15, "nf4": 0.15}


class LanguageModel:
    """A causal language model: text to tokens, tokens to logits. Runs on one thread at a time."""

    def __init__(self, config: EngineConfig) -> None:
        """Load `config.base_model`. Raises OSError or ValueError if that is no usable model."""
        config.check_base_model()
        transformers_logging.disable_progress_bar()  # It writes to a log, not to a terminal.
        torch.set_num_threads(config.threads)
        use_threads(config.threads)
        self.device = _device(config)
        # trust_remote_code stays off and only safetensors are read: a base model runs no code.
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
        # refuses small layers and rounds differently from the one used in training.
        for part in self.module.modules():
            if hasattr(part, "support_avx512bf16_for_cpu"):
                part.support_avx512bf16_for_cpu = False
        # The Rust tokenizer itself: encoding does not change it, so it is thread-safe.
        self._text_to_tokens = self.tokenizer.backend_tokenizer
        self._text_to_tokens.no_truncation()
        self._text_to_tokens.no_padding()
        text = self.module.config.get_text_config()
        self.vocabulary: int = text.vocab_size
        self.max_context = _context(text, config, self.device)
        # A longer text exceeds the context even if each token is as long as the longest.
        self.max_characters = self.max_context * max(map(len, self._text_to_tokens.get_vocab()))
        self.cache = SlotCache(
            text.num_hidden_layers, config.max_batch, self.max_context, config.threads
        )
        self.end_tokens = self._end_tokens(config.end_tokens)
        self.constraints = Constraints(
            self.tokenizer, self.vocabulary, self.end_tokens, config.threads
        )
        self._current = CurrentPlan()
        self.places = install(self.module, self._current)
        self._check(CHECK_TOLERANCE[config.dtype])

    def encode(self, text: str) -> list[int]:
        """Tokens of rendered text: no special token is added, those in the text count as such.

        Releases the GIL, so the decode loop goes on: a megabyte takes a second.
        """
        batch = self._text_to_tokens.encode_batch_fast([text], add_special_tokens=False)
        tokens: list[int] = batch[0].ids
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """Text of tokens, special ones included, but for a final end-of-turn token."""
        if tokens and tokens[-1] in self.end_tokens:
            tokens = tokens[:-1]
        text: str = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text

    def text_stream(self, stop: Sequence[str]) -> TextStream:
        """An incremental detokenizer for one answer with these stop strings."""
        return TextStream(self._text_to_tokens, stop)

    def forward(
        self,
        decoding: Sequence[Piece],
        prompts: Sequence[Piece],
        keep: Sequence[int],
        planner: Planner | None = None,
    ) -> torch.Tensor:
        """One pass over the pieces' tokens: decoding pieces (one token each), then prompts.

        Returns the logits (len(keep), vocabulary) of the tokens at the indices `keep` of the pass.
        Keys and values of pieces with a slot are stored. Without a planner, adapters are ignored.
        """
        layout = Layout(decoding, prompts, self.cache, self.device)
        kept: int | torch.Tensor = 0  # 0 keeps all logits, without a copy.
        if len(keep) < layout.tokens.shape[1]:
            kept = torch.tensor(keep, dtype=torch.long, device=self.device)
        if planner is not None:
            self._current.plan = planner.plan(
                [piece.adapter for piece in decoding],
                [(len(piece.tokens), piece.adapter) for piece in prompts],
            )
        try:
            logits: torch.Tensor = self.module(
                input_ids=layout.tokens,
                position_ids=layout.positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=kept,
                layout=layout,
            ).logits
        finally:
            self._current.plan = None
        return logits[0]

    def check_device(self) -> None:
        """Raise if the device has failed for good: after some errors a GPU works only for a new
        process."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def _check(self, tolerance: float) -> None:
        """Compare the engine's pass with the model's own. Raises ValueError if they differ.

        Without this, a model that does something unknown around attention would answer wrongly
        and nothing would say so.
        """
        tokens = [(7 * i + 3) % self.vocabulary for i in range(sum(CHECK_PIECES))]
        own = self.module(torch.tensor([tokens], device=self.device)).logits[0].float()
        self.module.set_attn_implementation(attention.NAME)
        try:
            difference = float((self._in_pieces(tokens) - own).abs().max() / own.abs().max())
        except Exception as error:  # Any error here means that the base model cannot be served.
            raise ValueError(f"base_model: {self._name} does not run here: {error}") from error
        if not difference <= tolerance:
            raise ValueError(f"base_model: the engine does not compute {self._name} as it should")

    def _in_pieces(self, tokens: list[int]) -> torch.Tensor:
        """The logits of every token, computed as in serving: prompt chunks, then decoding."""
        slot, parts, past = self.cache.take(), [], 0
        for length in CHECK_PIECES:
            pieces = [Piece(tokens[past : past + length], past, slot, None)]
            decoding, prompts = (pieces, []) if length == 1 else ([], pieces)
            parts.append(self.forward(decoding, prompts, range(length)))
            past += length
        self.cache.give_back(slot)
        return torch.cat(parts).float()

    @property
    def _name(self) -> str:
        return type(self.module).__name__

    def _end_tokens(self, given: Sequence[int]) -> frozenset[int]:
        stated = self.module.generation_config.eos_token_id
        stated = stated if isinstance(stated, list) else [stated]
        known = {*given, *stated, self.tokenizer.eos_token_id} - {None}
        if not known:
            logger.warning("the base model names no end-of-turn token: answers end by length")
        return frozenset(known)


def _context(text: Any, config: EngineConfig, device: torch.device) -> int:
    """Tokens of one KV-cache slot."""
    made_for = getattr(text, "max_position_embeddings", None) or config.kv_tokens
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        # Beyond this length these models rotate the positions of the whole pass differently.
        made_for = rope.get("original_max_position_embeddings") or made_for
    if config.max_context is not None:
        return config.max_context
    if device.type == "cpu":
        return int(made_for)
    # A GPU's memory is taken when it is allocated, so the slots share the budget.
    return min(int(made_for), max(2, config.kv_tokens // config.max_batch))


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
