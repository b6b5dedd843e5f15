"""The engine's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Dtype = Literal["fp32", "bf16", "nf4"]
Device = Literal["auto", "cpu", "cuda"]

MIB = 1024 * 1024
COUNTS = (
    "threads",
    "max_batch",
    "kv_tokens",
    "max_adapters",
    "max_adapter_bytes",
    "prefill_chunk",
    "max_waiting",
)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Raises ValueError naming a field that is out of range.

    base_model: a folder, or a name on the Hugging Face hub, of any causal language model.
    dtype: the base model's. "nf4" is 4-bit with double quantisation, computing in bf16.
    device: "auto" takes the GPU where there is one.
    threads: for torch's CPU operators and the engine's compiled loops.
    max_batch: sequences that run at once; each has a slot of `max_context` tokens in the KV cache,
        which takes memory as it fills (on a GPU: at once).
    max_context: tokens of prompt and answer together; None takes the base model's maximum,
        on a GPU at most `kv_tokens / max_batch`.
    kv_tokens: KV-cache budget: most tokens that all running sequences together may need.
    max_adapters, max_adapter_bytes: limits of what stays loaded; eviction is by LRU.
    prefill_chunk: most prompt tokens that one step computes beside the decoding sequences.
    max_waiting: requests of one company that may wait; one more is refused with QueueFull.
    prefix_cache_bytes: size of the prefix cache; 0 turns it off.
    end_tokens: tokens that end an answer, beside those that the base model names.
    """

    base_model: str
    revision: str = "main"
    dtype: Dtype = "fp32"
    device: Device = "auto"
    threads: int = 1
    max_batch: int = 32
    max_context: int | None = None
    kv_tokens: int = 131_072
    max_adapters: int = 256
    max_adapter_bytes: int = 2048 * MIB
    prefill_chunk: int = 256
    max_waiting: int = 20_000
    prefix_cache_bytes: int = 256 * MIB
    end_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(f"dtype must be one of {get_args(Dtype)}, not {self.dtype!r}")
        if self.device not in get_args(Device):
            raise ValueError(f"device must be one of {get_args(Device)}, not {self.device!r}")
        for field in COUNTS:
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1")
        if self.prefix_cache_bytes < 0:
            raise ValueError("prefix_cache_bytes must not be negative")
        if self.max_context is not None and self.max_context < 2:
            raise ValueError("max_context must be at least 2")

    def check_base_model(self) -> None:
        """Raise FileNotFoundError if `base_model` is a path and no folder is there.

        A cheap check: the loader fails only after seconds, with a message about a hub.
        """
        is_path = self.base_model.startswith(("/", ".", "~")) or self.base_model.count("/") > 1
        if is_path and not Path(self.base_model).is_dir():
            raise FileNotFoundError(f"base_model: there is no folder {self.base_model}")
