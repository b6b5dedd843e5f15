"""Pretrains cyrex-small: `python -m base_model.pretrain --minutes 60 --out base_model/cyrex-small`.

Resumable: a checkpoint is written every few minutes and picked up again unless `--fresh` is given.
The schedule runs by wall clock: a short warm-up, a plateau, a linear decay to zero at the end.
Muon trains the hidden matrices (it needs fewer tokens than AdamW), AdamW embeddings and norms.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import MistralForCausalLM

from base_model.compute import FastForward
from base_model.diet.mixture import Diet
from base_model.export import config, export
from base_model.pack import Rows, encode, fill
from base_model.probes import probe

# Micro-batches of 2,048 tokens fit the second-level cache, which is fastest.
SHAPES = ((8, 256), (8, 256), (4, 512))
STEP_TOKENS = sum(rows * length for rows, length in SHAPES)
WARMUP_STEPS = 60
DECAY_SHARE = 0.3
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
CLIP_NORM = 1.0
CHECKPOINT_SECONDS = 120
LOG_STEPS = 20
PROBE_STEPS = 200


def batch(diet: Diet, tokenizer: Tokenizer, seed: int, step: int) -> list[Rows]:
    """The micro-batches of one step: a function of seed and step, so resuming needs no state."""
    rng = random.Random(f"{seed}-{step}")
    encoded: list[tuple[list[int], list[float]]] = []
    tokens = 0
    while tokens < STEP_TOKENS * 1.25:
        ids, weights = encode(tokenizer, diet.draw(rng))
        encoded.append((ids, weights))
        tokens += len(ids)
    long = [e for e in encoded if len(e[0]) > 256]
    short = [e for e in encoded if len(e[0]) <= 256]
    out: list[Rows] = []
    for rows, length in sorted(SHAPES, key=lambda s: -s[1]):
        pool = (long if length > 256 else []) + short
        filled = fill(pool, rows, length)
        used = set(filled.segments.flatten().tolist())
        rest = [e for i, e in enumerate(pool) if i not in used]
        short = [e for e in rest if len(e[0]) <= 256]
        out.append(filled)
    return out


def learning_rate(step: int, seconds: float, budget: float) -> float:
    """Warm-up by steps, a plateau, linear decay over the last `DECAY_SHARE` of the budget."""
    left = max(0.0, (budget - seconds) / (DECAY_SHARE * budget))
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, left)


class Run:
    """Model, optimisers and counters of one pretraining, saved and restored as one file."""

    def __init__(self, checkpoint: Path, seed: int, fresh: bool) -> None:
        torch.manual_seed(seed)
        self.model = MistralForCausalLM(config())
        for layer in self.model.model.layers:
            # A layer that starts by adding nothing trains faster.
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        matrices = [
            p for n, p in self.model.named_parameters() if p.dim() == 2 and "embed" not in n
        ]
        others = [p for n, p in self.model.named_parameters() if p.dim() != 2 or "embed" in n]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
        self.checkpoint = checkpoint
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        if checkpoint.exists() and not fresh:
            state = torch.load(checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]

    def save(self) -> None:
        """Replaces the checkpoint atomically."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def update(self, forward: FastForward, rows: list[Rows], rate: float) -> float:
        """One optimiser step; the loss is summed over the step and divided once. Returns it."""
        weight = sum(float(r.weights[:, 1:].sum()) for r in rows)
        total = 0.0
        for r in rows:
            loss, _ = forward.loss(r.tokens, r.positions, r.segments, r.weights)
            (loss / weight).backward()  # type: ignore[no-untyped-call]
            total += loss.item() / weight
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += sum(int((r.segments >= 0).sum()) for r in rows)
        return total


class Log:
    """Prints each line and appends it to a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def say(self, line: str) -> None:
        print(line, flush=True)
        print(line, file=self._file, flush=True)


def say_probes(log: Log, diet: Diet, forward: FastForward, tokenizer: Tokenizer, seed: int) -> None:
    """One line a family: loss and exact match on fresh examples."""
    for name, family in diet.families.items():
        result = probe(forward, tokenizer, family.generate, seed)
        figures = f"loss {result.loss:.3f} exact {result.exact:.2f} of {result.examples}"
        log.say(f"  probe {name:<12} {figures}")


def pretrain(out: Path, cache: Path, minutes: float, seed: int, fresh: bool) -> None:
    """Trains until the wall-clock budget is used, then exports to `out`."""
    cache.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    diet = Diet.load(cache)
    run = Run(cache / "pretrain.pt", seed, fresh)
    forward = FastForward(run.model)
    budget = minutes * 60
    log = Log(cache / "pretrain.log")
    last = saved = time.monotonic()
    losses: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(batch, diet, tokenizer, seed, run.step)
        while run.seconds < budget:
            rows = coming.result()
            coming = pool.submit(batch, diet, tokenizer, seed, run.step + 1)
            rate = learning_rate(run.step, run.seconds, budget)
            losses.append(run.update(forward, rows, rate))
            now = time.monotonic()
            run.seconds += now - last
            last = now
            if run.step % LOG_STEPS == 0:
                where = f"step {run.step} seconds {run.seconds:.0f} tokens {run.tokens}"
                log.say(f"{where} loss {sum(losses) / len(losses):.3f} lr {rate:.2e}")
                losses.clear()
            if run.step % PROBE_STEPS == 0:
                say_probes(log, diet, forward, tokenizer, run.step)
            if now - saved > CHECKPOINT_SECONDS:
                run.save()
                saved = now
    run.save()
    export(run.model, out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrain the small base model.")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="wall-clock budget, resumes included"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="model directory; holds the tokenizer already"
    )
    parser.add_argument("--cache", type=Path, default=Path(".data/base_model"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="ignore the checkpoint")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pretrain(args.out, args.cache, args.minutes, args.seed, args.fresh)


if __name__ == "__main__":
    main()
