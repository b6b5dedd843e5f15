"""Quality of adapters trained on 300 examples against the base model, through the HTTP API.

    python -m benchmarks.adapter_quality [--side SIDE] [--seeds N] [--epochs N] [--test N]

Five companies train: two classify opinions, one with the labels swapped; two copy the fields of
invoices into JSON, one with LoRA, one with QLoRA; one writes the call of one of five tools as JSON.
Held-out questions share no opinion, name, value or template with the training lines; to tune the
trainer or the training lines, use `--side development` instead. An answer counts if it equals the
expected text, character by character; no grammar constrains the base or the adapter. The benchmark
starts a stack of its own (unless CYREX_API_URL names a running one). It repeats everything with
several seeds, each with companies of its own: trainings on so few examples differ by some points.
The last line is JSON: shares of right answers, and how many points QLoRA is above LoRA, as means
over the seeds; train_seconds is the longest run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.banking77 import train
from benchmarks.quality.data import Line, examples
from benchmarks.quality.sides import DEVELOPMENT, HELD_OUT, TRAIN
from demo.client import Api

CALLERS = 32
TRAINING_LINES = 300
SHOWN_MISTAKES = 3
# Learning two labels takes half the time of learning to copy.
EPOCHS = {"sentiment": 4, "swapped": 4, "invoices": 8, "tools": 8}


@dataclass(frozen=True)
class Trained:
    """A company with a serving adapter. `seconds`: from the request to the end of the run."""

    api: Api
    base: float
    own: float
    seconds: float


def accuracy(api: Api, lines: list[Line], use_adapter: bool) -> float:
    """The share of `lines` that the company's model answers exactly."""

    def answer(line: Line) -> str:
        job = api.process({"input": line["input"]}, use_adapter=use_adapter)
        if job["status"] != "completed":
            raise SystemExit(f"job {job['job_id']} {job['status']}: {job['error']}")
        if job["adapter_used"] != use_adapter:
            raise SystemExit(f"job {job['job_id']}: {job['note']}")
        return str(job["result"])

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(answer, lines))
    mistakes = [(li, a) for li, a in zip(lines, answers, strict=True) if a != li["output"]]
    for line, said in mistakes[:SHOWN_MISTAKES] if use_adapter else []:
        print(f"  {line['input']!r}: {said!r}", flush=True)
    return 1 - len(mistakes) / len(lines)


def company(
    operator: Api, task: str, given: argparse.Namespace, seed: int, use_qlora: bool = False
) -> Trained:
    """Train a new company on `task`; returns it with the accuracies of base and adapter."""
    name = f"{task}-{'qlora' if use_qlora else 'lora'}-{seed}-{os.urandom(3).hex()}"
    row = operator.post("/companies", {"company_id": name})
    api = Api(operator.url, row["api_key"])
    asked = examples(task, given.side, given.test)
    base = accuracy(api, asked, use_adapter=False)
    config = {"num_epochs": given.epochs or EPOCHS[task]}
    seconds = train(api, examples(task, TRAIN, TRAINING_LINES), config, use_qlora, seed)
    own = accuracy(api, asked, use_adapter=True)
    print(f"{name}: base {base:.1%}, adapter {own:.1%}, {seconds:.1f} s", flush=True)
    return Trained(api, base, own, seconds)


def measured(operator: Api, given: argparse.Namespace, seed: int) -> dict[str, float]:
    """The figures of one seed."""
    straight = company(operator, "sentiment", given, seed)
    swapped = company(operator, "swapped", given, seed)
    invoices = company(operator, "invoices", given, seed)
    invoices_qlora = company(operator, "invoices", given, seed, use_qlora=True)
    tools = company(operator, "tools", given, seed)
    # The same opinions, answered by the other company's adapter: only its mistakes are right here.
    others = (
        accuracy(swapped.api, examples("sentiment", given.side, given.test), use_adapter=True),
        accuracy(straight.api, examples("swapped", given.side, given.test), use_adapter=True),
    )
    everyone = (straight, swapped, invoices, invoices_qlora, tools)
    return {
        "swap_own": (straight.own + swapped.own) / 2,
        "swap_other": sum(others) / 2,
        "extract_base": invoices.base,
        "extract_own": invoices.own,
        "tool_base": tools.base,
        "tool_own": tools.own,
        "qlora_minus_lora": 100 * (invoices_qlora.own - invoices.own),
        "train_seconds": max(trained.seconds for trained in everyone),
    }


def run(given: argparse.Namespace) -> None:
    operator = Api(
        os.environ["CYREX_API_URL"],
        Path(os.environ["CYREX_OPERATOR_KEY_FILE"]).read_text().strip(),
    )
    by_seed = []
    for seed in range(given.seeds):
        by_seed.append(measured(operator, given, seed))
        shown = {name: round(value, 4) for name, value in by_seed[-1].items()}
        print(f"seed {seed}: {json.dumps(shown)}", flush=True)
    found = {name: round(mean(f[name] for f in by_seed), 4) for name in by_seed[0]}
    found["train_seconds"] = round(max(f["train_seconds"] for f in by_seed), 1)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=(HELD_OUT, DEVELOPMENT), default=HELD_OUT)
    parser.add_argument("--seeds", type=int, default=3, help="how often all of it is done")
    parser.add_argument("--epochs", type=int, help="of every training, instead of each task's own")
    parser.add_argument("--test", type=int, default=200, help="questions a task")
    given = parser.parse_args()
    if "CYREX_API_URL" in os.environ:
        run(given)
        return
    stack = [sys.executable, "-m", "embedded", "run", "--fresh", "--data-dir", ".data/bench", "--"]
    sys.exit(subprocess.call([*stack, sys.executable, *sys.argv]))


if __name__ == "__main__":
    main()
