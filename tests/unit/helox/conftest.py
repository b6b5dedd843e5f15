"""A tiny random base model with a tokenizer and a chat template, made once a session."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

CONTROL_TOKENS = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
TEMPLATE = (
    "{%- for m in messages -%}"
    "{{ '<|' + m.role + '|>' + m.content }}"
    "{%- if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif -%}"
    "<|end|>"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)

MakeTokenizerDir = Callable[..., Path]
WriteLines = Callable[[Iterable[Any]], Path]
MakeSpec = Callable[..., Any]


def write_tokenizer(directory: Path, template: str | None = TEMPLATE, **config: Any) -> None:
    """A byte-level tokenizer: 256 bytes and the control tokens, no merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in CONTROL_TOKENS])
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    values: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|end|>",  # padding with the stop token: masks must go by length
        **config,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    if template is not None:
        (directory / "chat_template.jinja").write_text(template)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("bases") / "tiny"
    write_tokenizer(directory)
    config = MistralConfig(
        vocab_size=264,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        sliding_window=None,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=256,
        pad_token_id=256,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    MistralForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture
def tokenizer_dir(tmp_path: Path) -> MakeTokenizerDir:
    """Makes a directory with the tiny tokenizer and a chat template of one's own."""

    def make(template: str | None = TEMPLATE, **config: Any) -> Path:
        write_tokenizer(tmp_path / "tokenizer", template, **config)
        return tmp_path / "tokenizer"

    return make


@pytest.fixture
def write_lines(tmp_path: Path) -> WriteLines:
    """Writes objects (as JSON) or raw text lines to a data file."""

    def write(lines: Iterable[Any]) -> Path:
        path = tmp_path / "data.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts))
        return path

    return write


@pytest.fixture
def twelve_lines() -> list[Mapping[str, str]]:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    words += ["eta", "theta", "iota", "kappa", "lambda", "mu"]
    return [{"input": word, "output": word[::-1]} for word in words]


@pytest.fixture
def make_spec(tiny_base: Path, tmp_path: Path, write_lines: WriteLines) -> MakeSpec:
    """A TrainingSpec on the tiny base; `name` tells the folders of two runs apart."""
    from helox.spec import TrainingSpec

    def make(lines: Iterable[Any], name: str = "run", **values: Any) -> TrainingSpec:
        config = {"max_length": 64, "batch_size": 4, "num_epochs": 2, **values.pop("config", {})}
        return TrainingSpec.model_validate(
            {
                "base_model": tiny_base,
                "data": write_lines(lines),
                "work_dir": tmp_path / name / "work",
                "output_dir": tmp_path / name / "adapter",
                "use_qlora": False,  # quantised weights cost time on a CPU
                "config": config,
                **values,
            }
        )

    return make
