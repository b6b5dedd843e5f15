"""The engine's speed against the base model's alone, the machine's bound, and its rivals.

    python -m benchmarks.engine [--full] [--only SECTION ...] [--cpu-time]

The process pins itself to one core; every arm of a comparison is a thread of it, with one torch
thread, and arms take turns. Random Mistrals in fp32: `small` is hidden 256 x 4 layers, `large`
1024 x 12; a batch is 32 rows; adapters are of rank 16 on every linear layer. The last line is JSON,
and every figure of it is a median. {D}: by number of distinct adapters in a step.

By default every arm runs for two to five rounds, in two to three minutes together.
--full has three to five times the rounds; figures marked * are then of the large model too.

mixed_over_base {D}      decode throughput over the same engine's without adapters
share_of_bound {D}       share of the machine's bound (bound.py) that a step with adapters reaches,
                         over the share that a step without adapters reaches
resident_flatness *      256 adapters loaded over 32 loaded, 16 in a step
base_only_over_base *    rows without adapter on an engine with 256, over an engine with none
oversubscribed           64 adapters in turn with room for 32, over room for 64
mixed_over_peft {D} *    throughput of whole requests over PEFT's `adapter_names`
mixed_over_sequential    ... over `set_adapter` and `generate`, one by one
continuous_over_static   answers of 8 to 128 tokens, over static batches
over_transformers_cb     ... over transformers' continuous batching (the rivals' settings are in
                         rivals.py)
loop_overhead            seconds outside the forward pass over those inside it
grammar_overhead *       extra time of a step (a share) with every row constrained by a JSON schema
load_ms                  loading a 16 MB adapter from disk, SHA-256 check included
load_stall_steps         longest delay of running rows during a load, in steps
fair_p95_over_bound      p95 time to first token of 10 requests behind 10,000 of another company's,
                         over the mean time running rows have left and one prefill
fair_share               tokens of a company with short answers over its fair share
jain                     Jain's index over 16 companies
stack_over_engine, stack_overhead_ms
                         through HTTP and Celery, over the engine alone (stack.py)

--cpu-time measures this process's CPU time instead of wall time, for a busy machine. It leaves out
waiting for the disk, and does not apply to fairness and the stack.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

SECTIONS = ("mixed", "too_many", "peft", "batching", "grammar", "loading", "fairness", "stack")


def pin() -> None:
    """Pin to one core and one thread of every library. Call it before anything starts threads."""
    os.environ.update(OMP_NUM_THREADS="1", GOMP_SPINCOUNT="0", HF_HUB_OFFLINE="1")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(given: argparse.Namespace) -> dict[str, Any]:
    """The chosen sections' figures."""
    # After `pin`: these start threads, which inherit the core.
    import torch

    from benchmarks.engine.arms import Clock
    from benchmarks.engine.sections import Sections

    torch.set_num_threads(1)
    if given.cpu_time:
        Clock.use_cpu_time()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        sections = Sections(Path(folder), given.full).by_name()
        for name in given.only or sections:
            started = time.monotonic()
            found |= sections[name]()
            print(f"[{name}: {time.monotonic() - started:.0f} s]", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="more rounds, some ten minutes")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="only these sections")
    parser.add_argument("--cpu-time", action="store_true", help="on a machine that is not quiet")
    given = parser.parse_args()
    pin()
    print(json.dumps(run(given)))


if __name__ == "__main__":
    main()
