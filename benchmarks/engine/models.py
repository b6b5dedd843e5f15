"""The benchmarks' models: random Mistrals of two sizes, and random adapters for them.

Nothing is trained, as a multiplication's time does not depend on the values. The end-of-turn token
is never the likeliest, so every answer has exactly the requested length.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MistralConfig, MistralForCausalLM

from cyrex.engine import AdapterRef

TOKENIZER = Path(__file__).parents[2] / "base_model" / "cyrex-small"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
VOCABULARY = 4096
END_TOKEN = 1
# Prompts avoid the special tokens at the front of the vocabulary.
FIRST_PLAIN_TOKEN = 32
CONTEXT = 512
RANK = 16
ALPHA = 32
# Adapter files on disk. Further adapter ids share a file, but no memory in the engine.
FILES = 8


@dataclass(frozen=True)
class Shape:
    """A Mistral with the usual ratios: an MLP 3.5 times as wide, a quarter as many KV heads."""

    name: str
    hidden: int
    layers: int
    heads: int

    @property
    def kv_heads(self) -> int:
        return self.heads // 4

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads

    @property
    def intermediate(self) -> int:
        return self.hidden * 7 // 2

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) of one layer's linear layers, by their names in PEFT."""
        kv = self.kv_heads * self.head_width
        return {
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (self.hidden, kv),
            "self_attn.v_proj": (self.hidden, kv),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.hidden, self.intermediate),
            "mlp.up_proj": (self.hidden, self.intermediate),
            "mlp.down_proj": (self.intermediate, self.hidden),
        }

    @property
    def adapter_bytes(self) -> int:
        return 4 * RANK * self.layers * sum(i + o for i, o in self.linears.values())


SMALL = Shape("small", hidden=256, layers=4, heads=8)
LARGE = Shape("large", hidden=1024, layers=12, heads=16)


@dataclass(frozen=True)
class Model:
    """A base model on disk and its adapters."""

    shape: Shape
    base: Path
    files: list[Path]
    weights: list[str]

    def adapter(self, number: int) -> AdapterRef:
        """The adapter of company `number`, with a key (and so memory in the engine) of its own."""
        place = number % len(self.files)
        return AdapterRef(
            company=f"company{number}",
            adapter_id=f"adapter{number}",
            sha256=f"{number:064x}",
            path=str(self.files[place]),
            weights_sha256=self.weights[place],
        )

    def adapters(self, count: int) -> list[AdapterRef]:
        return [self.adapter(number) for number in range(count)]


def write(shape: Shape, folder: Path) -> Model:
    base = folder / shape.name
    base.mkdir()
    _write_base(shape, base)
    files = [folder / f"{shape.name}-adapter{number}" for number in range(FILES)]
    weights = [_write_adapter(shape, file, seed) for seed, file in enumerate(files)]
    return Model(shape, base, files, weights)


def _write_base(shape: Shape, folder: Path) -> None:
    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCABULARY,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_width,
            max_position_embeddings=CONTEXT,
            sliding_window=None,
            bos_token_id=None,
            eos_token_id=END_TOKEN,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        # Its logit is 0, and the largest of thousands is always above that.
        model.lm_head.weight[END_TOKEN] = 0
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(TOKENIZER / name, folder)


def _write_adapter(shape: Shape, folder: Path, seed: int) -> str:
    """Write a rank-16 adapter of every linear layer, as PEFT does; returns the weights' SHA-256."""
    folder.mkdir()
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(shape.layers):
        for name, (inputs, outputs) in shape.linears.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            for side, size in (("A", (RANK, inputs)), ("B", (outputs, RANK))):
                values = torch.randn(size, generator=random).mul_(0.02)
                tensors[f"{prefix}.lora_{side}.weight"] = values
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.split(".")[1] for name in shape.linears}),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
