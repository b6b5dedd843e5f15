"""What all arms train on: the same examples, in one order, from the same first adapter."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.quality.data import examples
from benchmarks.quality.sides import TRAIN
from helox.base import Base
from helox.mask import Example
from helox.methods.method import load_method
from helox.pack import layout, split_step, steps_of_epoch
from helox.spec import TrainingSpec

BATCH = 8  # examples in a step
RANK, ALPHA = 16, 32
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
SEED = 0
TASKS = ("sentiment", "invoices", "tools")  # a line of text, a short letter, a call
SPEC_FILE, EXAMPLES_FILE, FIRST_ADAPTER = "spec.json", "examples.json", "first"


def make_spec(folder: Path, base: Path, threads: int, *, packing: bool) -> TrainingSpec:
    """A run of one epoch without hold-out, at a constant rate, on lines that are not changed."""
    config = {
        "num_epochs": 1,
        "batch_size": BATCH,
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "constant",
        "warmup_steps": 0,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "holdout_fraction": 0,
        "prompt_noise": 0,
        "copy_variation": 0,
        "precision": "fp32",
        "packing": packing,
    }
    return TrainingSpec.model_validate(
        {
            "base_model": base,
            "data": folder / "train.jsonl",
            "work_dir": folder / "work",
            "output_dir": folder / "adapter",
            "use_qlora": False,
            "seed": SEED,
            "threads": threads,
            "config": config,
        }
    )


def write_lines(folder: Path, count: int) -> None:
    """`count` lines, a third of each task, mixed."""
    lines = [line for task in TASKS for line in examples(task, TRAIN, count // len(TASKS))]
    random.Random(SEED).shuffle(lines)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "train.jsonl").write_text(text)


def ordered_examples(spec: TrainingSpec) -> list[Example]:
    """The examples in the order in which Helox trains on them."""
    data = load_method(spec, Base.open(spec.base_model)).data
    steps = steps_of_epoch(data.train, BATCH, seed=spec.seed, epoch=0, done=0)
    return [example for step in steps for example in step]


def write_examples(folder: Path, ordered: list[Example]) -> None:
    """Token ids and labels; -100 where no loss is taken, as the other trainers have it."""
    rows: list[dict[str, Any]] = [
        {
            "input_ids": list(e.ids),
            "labels": [i if t else -100 for i, t in zip(e.ids, e.trained, strict=True)],
        }
        for e in ordered
    ]
    (folder / EXAMPLES_FILE).write_text(json.dumps(rows))


def packing_efficiency(ordered: list[Example]) -> float:
    """Tokens of the examples over tokens of the tensors that they are packed in."""
    real = laid_out = 0
    for start in range(0, len(ordered), BATCH):
        for part in split_step(ordered[start : start + BATCH], BATCH):
            batch = layout(part, True, None)
            real += batch.tokens
            laid_out += batch.ids_RT.numel()
    return real / laid_out
