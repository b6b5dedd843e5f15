"""The tokenizer: byte-level BPE that gives a value the same tokens in every context.

A small model copies well only if the copy has the same tokens as the source. So each digit is a
token, and only lower-case words include their leading space: names, codes and numbers have the same
tokens after a space, after a quote and at the start of a line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 4096
PAD, END = "<|pad|>", "<|end|>"
SYSTEM, USER, ASSISTANT, TOOL = "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"
TOOLS, TOOL_CALL = "<|tools|>", "<|tool_call|>"
SPECIAL_TOKENS = (PAD, END, SYSTEM, USER, ASSISTANT, TOOL, TOOLS, TOOL_CALL)
MODEL_MAX_LENGTH = 2048
TEMPLATE_FILE = Path(__file__).parent / "chat_template.jinja"

# In order: contraction, lower-case word with its space, capitalised word, capitals, one digit,
# punctuation run, spaces that leave one for a lower-case word, other white space.
WORD_PATTERN = (
    r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})| ?[\p{Ll}\p{Lo}\p{M}]+|\p{Lu}\p{Ll}+|\p{Lu}+(?!\p{Ll})"
    r"|\p{Lu}|\p{N}|_|[^\s\p{L}\p{N}_]+|[^\S\n]+(?= \p{Ll})|\n+|[^\S\n]+"
)


def train(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of `VOCAB_SIZE` entries, special tokens first (pad is id 0, end of turn id 1)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "bos_token": None,
        "unk_token": None,
        "additional_special_tokens": list(SPECIAL_TOKENS[2:]),
        "clean_up_tokenization_spaces": False,
        "model_max_length": MODEL_MAX_LENGTH,
        "padding_side": "left",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shutil.copyfile(TEMPLATE_FILE, directory / TEMPLATE_FILE.name)
