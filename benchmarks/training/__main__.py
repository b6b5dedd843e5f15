"""Helox's trainer beside TRL's SFTTrainer and Hugging Face's Trainer, on the CPU.

    python -m benchmarks.training [--base DIR] [--lines N] [--rounds N]

All train the same LoRA (rank 16 on all linear layers, fp32, fused AdamW) from the same first
weights, on the same tokens, eight examples a step, one epoch; each is a process of its own, and
they take turns. Helox packs its rows; SFTTrainer pads each batch, as it does unless told otherwise
(its packing keeps examples apart with flash attention alone, which a CPU lacks); Trainer groups by
length. Gradient checkpointing, which SFTTrainer turns on, is off: it trades speed for memory. TRL
lives in .venv-trl, which `make bench NAME=training` makes.

Last line, JSON: real tokens a second of Helox over theirs (`over_trl` and `over_trainer`: the
median of the rounds, the less of one and two threads), `loss_max_difference` between Helox and
SFTTrainer over the first 20 steps on the same unpacked batches, `memory_over` (peak of Helox over
the smaller of theirs), `packing_efficiency` (tokens of the examples over tokens in the tensors).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.training import rival_arm, work
from benchmarks.training.work import BATCH, LEARNING_RATE, MAX_GRAD_NORM, WEIGHT_DECAY

ROOT = Path(__file__).parents[2]
TRL_PYTHON = ROOT / ".venv-trl" / "bin" / "python"
DATA = ROOT / ".data" / "bench-training"
THREADS = (1, 2)
COMPARED_STEPS = 20

Found = dict[str, Any]


def start(command: list[str], threads: int) -> Found:
    """Runs one arm; returns the JSON of its last line."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "0",  # threads that wait leave the cores to others
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def helox(base: Path, threads: int, how: str) -> Found:
    command = [sys.executable, "-m", "benchmarks.training.helox_arm", str(DATA), str(base)]
    return start([*command, str(threads), how], threads)


def rival(kind: str, order: str, base: Path, threads: int) -> Found:
    settings = {
        "per_device_train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "gradient_checkpointing": False,
    }
    python = str(TRL_PYTHON if kind == "trl" else sys.executable)
    command = [python, rival_arm.__file__, str(DATA), str(base), str(threads), kind, order]
    return start([*command, json.dumps(settings)], threads)


def compare(base: Path, threads: int, rounds: int, tokens: int) -> dict[str, list[Found]]:
    """All arms in turn, `rounds` times."""
    arms: dict[str, Callable[[], Found]] = {
        "helox": lambda: helox(base, threads, "packed"),
        "trl": lambda: rival("trl", "sequential", base, threads),
        "trainer": lambda: rival("hf", "group_by_length", base, threads),
    }
    found: dict[str, list[Found]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            found[name].append(arm())
            speed = tokens / found[name][-1]["seconds"]
            print(f"{threads} thread(s), {name}: {speed:.0f} tokens/s", flush=True)
    return found


def ratio(found: dict[str, list[Found]], rival_name: str) -> float:
    """How many times the rival's seconds are ours: the median of the rounds."""
    pairs = zip(found["helox"], found[rival_name], strict=True)
    return float(median(theirs["seconds"] / ours["seconds"] for ours, theirs in pairs))


def loss_difference(base: Path) -> float:
    """The most that a step's loss differs, over the first steps on the same unpacked batches."""
    ours, theirs = helox(base, 1, "plain")["losses"], rival("trl", "sequential", base, 1)["losses"]
    pairs = list(zip(ours, theirs, strict=True))[:COMPARED_STEPS]
    assert len(pairs) == COMPARED_STEPS, "too few lines for the steps that are compared"
    return float(max(abs(a - b) for a, b in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=ROOT / "base_model" / "cyrex-small")
    parser.add_argument("--lines", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not TRL_PYTHON.is_file():
        sys.exit("TRL has no environment yet: make bench NAME=training makes it")
    base = given.base.resolve()
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    work.write_lines(DATA, given.lines)
    ordered = work.ordered_examples(work.make_spec(DATA, base, 1, packing=True))
    work.write_examples(DATA, ordered)
    tokens = sum(len(example.ids) for example in ordered)
    difference = loss_difference(base)
    print(
        f"{len(ordered)} examples, {tokens} tokens; losses differ by {difference:.1e}", flush=True
    )
    by_threads = {n: compare(base, n, given.rounds, tokens) for n in THREADS}
    peaks = {
        name: max(f["peak_bytes"] for found in by_threads.values() for f in found[name])
        for name in ("helox", "trl", "trainer")
    }
    figures = {
        "over_trl": round(min(ratio(found, "trl") for found in by_threads.values()), 2),
        "over_trainer": round(min(ratio(found, "trainer") for found in by_threads.values()), 2),
        **{f"over_trl_{n}": round(ratio(found, "trl"), 2) for n, found in by_threads.items()},
        **{f"over_trainer_{n}": round(ratio(f, "trainer"), 2) for n, f in by_threads.items()},
        "loss_max_difference": difference,
        "memory_over": round(peaks["helox"] / min(peaks["trl"], peaks["trainer"]), 3),
        "peak_mb": {name: round(peak / 1e6) for name, peak in peaks.items()},
        "packing_efficiency": round(work.packing_efficiency(ordered), 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
