"""The overhead of HTTP and Celery over the engine alone.

    python -m benchmarks.engine.stack [--rounds N]

Two arms take turns: `Engine.submit` in a process that does nothing else, and chat completions of
a whole stack (API, Valkey, Postgres, worker). Both engines are pinned to the same core and never
run at once; everything else, clients included, has the machine's other cores. The model is
`small`, whose tokens are the cheapest, so that the overhead counts most. The last line is JSON.

stack_over_engine     tokens a second of 48 clients with answers of 64 tokens, batch 32, medians;
                      neither arm streams
stack_over_engine_streamed   the same, but the stack's answers are streamed
stack_overhead_ms     median latency of one client with answers of 8 tokens, less the engine's own
stack_first_token_ms  median time to the first piece of that client's streams

On a busy machine wall time says little. So these are of CPU seconds:

stack_engine_cpu      the engine's CPU time for a token, alone over streaming in the stack: the
                      value of stack_over_engine_streamed if the rest has enough cores
stack_rest_cpu        CPU time of API, worker, Valkey and Postgres over the engine's: the cores that
                      they need
stack_overhead_cpu_ms CPU time of the same four for one short answer
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engine.models import SMALL, write
from demo.client import Api
from embedded import Stack

ROUNDS = 3
BATCH = 32
CLIENTS = 48
REQUESTS = 128
TOKENS = 64
SHORT = 8
SHORT_REQUESTS = 20
PROCESSES = ("web", "inference", "valkey", "postgres")
ARMS = Path(__file__).with_name("stack_arms.py")
# Variables removed for the stack, so that it uses folders of its own.
FOLDERS = ("DATA_DIR", "BLOB_DIR", "WORK_DIR", "ADAPTER_CACHE_DIR", "MODEL_REGISTRY_PATH")


class Arm:
    """A child process that runs rounds of requests."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ARMS), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, clients: int, requests: int, tokens: int, stream: bool = False) -> dict[str, Any]:
        """`rate` in tokens a second; the medians `latency` and `first` in seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([clients, requests, tokens, stream]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("an arm of the comparison has died")
        found: dict[str, Any] = json.loads(answer)
        return found

    def cpu(self) -> float:
        """CPU seconds so far."""
        return float(sum(psutil.Process(self._process.pid).cpu_times()[:2]))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def cores() -> Iterator[tuple[set[int], set[int]]]:
    """The engine's core and the other cores, whatever this process was pinned to before."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    everything = os.sched_getaffinity(0)
    engine = {max(everything)}
    others = everything - engine or everything
    os.sched_setaffinity(0, others)
    try:
        yield engine, others
    finally:
        os.sched_setaffinity(0, before)


def engine_of(stack: Stack) -> psutil.Process:
    for child in psutil.Process(stack.pid("inference")).children(recursive=True):
        if "cyrex.serving.child" in child.cmdline():
            return child
    raise RuntimeError("the worker has no engine")


def pin_engine(stack: Stack, core: set[int]) -> None:
    for thread in engine_of(stack).threads():
        os.sched_setaffinity(thread.id, core)


def cpu_of(stack: Stack) -> tuple[float, float]:
    """CPU seconds so far: the engine's, and those of everything between it and the client."""
    engine = engine_of(stack)
    rest = 0.0
    for name in PROCESSES:
        process = psutil.Process(stack.pid(name))
        for each in (process, *process.children(recursive=True)):
            if each.pid != engine.pid:
                rest += sum(each.cpu_times()[:2])
    return float(sum(engine.cpu_times()[:2])), rest


def start_stack(folder: Path, base: Path) -> Stack:
    return Stack(
        folder,
        processes="web,inference",
        env={
            **dict.fromkeys(FOLDERS, ""),
            "BASE_MODEL_PATH": str(base),
            "ENGINE_BATCH": str(BATCH),
            "MODEL_REGISTRY_TYPE": "local",
        },
    )


def http_arm(stack: Stack) -> Arm:
    environment = stack.environment
    operator = Path(environment["CYREX_OPERATOR_KEY_FILE"]).read_text().strip()
    made = Api(environment["CYREX_API_URL"], operator).post("/companies", {"company_id": "acme"})
    return Arm("http", environment["CYREX_API_URL"], made["api_key"])


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    with ExitStack() as held:
        engine_core, _ = held.enter_context(cores())
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        model = write(SMALL, folder)
        stack = held.enter_context(start_stack(folder / "stack", model.base))
        pin_engine(stack, engine_core)
        alone = Arm("alone", str(model.base), str(BATCH), str(max(engine_core)))
        held.callback(alone.close)
        http = http_arm(stack)
        held.callback(http.close)
        return compare(alone, http, stack, rounds)


def compare(alone: Arm, http: Arm, stack: Stack, rounds: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        samples.setdefault(name, []).append(value)

    for arm in (alone, http):  # compilers, caches, connections
        arm.run(CLIENTS, CLIENTS, SHORT, stream=True)
    for number in range(rounds):
        alone_cpu = alone.cpu()
        direct = alone.run(CLIENTS, REQUESTS, TOKENS)
        alone_cpu = alone.cpu() - alone_cpu
        before = cpu_of(stack)
        streamed = http.run(CLIENTS, REQUESTS, TOKENS, stream=True)
        engine_cpu, rest_cpu = (b - a for a, b in zip(before, cpu_of(stack), strict=True))
        note("stack_engine_cpu", alone_cpu / engine_cpu)
        note("stack_rest_cpu", rest_cpu / engine_cpu)
        whole = http.run(CLIENTS, REQUESTS, TOKENS)
        quick = alone.run(1, SHORT_REQUESTS, SHORT)
        before = cpu_of(stack)
        slow = http.run(1, SHORT_REQUESTS, SHORT)
        note("stack_overhead_cpu_ms", 1000 * (cpu_of(stack)[1] - before[1]) / SHORT_REQUESTS)
        first = http.run(1, SHORT_REQUESTS, SHORT, stream=True)
        note("stack_over_engine_streamed", streamed["rate"] / direct["rate"])
        note("stack_over_engine", whole["rate"] / direct["rate"])
        note("stack_overhead_ms", 1000 * (slow["latency"] - quick["latency"]))
        note("stack_first_token_ms", 1000 * first["first"])
        shown = {name: round(values[-1], 3) for name, values in samples.items()}
        print(f"round {number + 1}: engine {direct['rate']:.0f} tokens/s, {shown}", flush=True)
    return {name: round(statistics.median(values), 3) for name, values in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    print(json.dumps(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
